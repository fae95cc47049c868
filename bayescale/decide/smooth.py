"""Answers that are smooth in the log of compute: found at Chebyshev nodes, and read between them.

Optima, regrets and the edges of a bowl are analytic in ln C where no bound cuts them off, so that a polynomial through
some dozens of Chebyshev nodes has them to ten digits over many decades (Trefethen 2019, Approximation Theory and
Approximation Practice, chapter 8). Whether it does is read off its last coefficients; the draws in which it does not
are solved at every scale.
"""

from collections.abc import Callable, Mapping

import numpy as np

#: Degrees that are tried, in turn, where more than half as many scales again are asked for.
DEGREES = (32, 64)
#: Size of the last coefficients at which the rest are taken for rounding.
TOLERANCE = 1e-9
#: Share of samples that may be solved by themselves rather than all of them with more nodes.
_FEW = 0.2

type Solve = Callable[[np.ndarray, np.ndarray | None], Mapping[str, np.ndarray]]


def over_scales(
    solve: Solve, flops: np.ndarray, tolerances: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Solve at every scale, or at nodes between which the answers are smooth.

    Parameters
    ----------
    solve : callable
        Of compute with axes (1, point), and of the indices of samples or None for all: arrays with axes (sample,
        point), of about unit size, such as logs and shares.
    flops : numpy.ndarray
        Axes (1, point).
    tolerances : mapping of float, optional
        By name, for answers that need less than :data:`TOLERANCE`.

    Returns
    -------
    dict of numpy.ndarray

    Examples
    --------
    >>> flops = np.geomspace(1e20, 1e26, 500)[None]
    >>> found = over_scales(lambda c, _: {"x": 1 / (1 + (c / 1e23) ** -0.4)}, flops)["x"]
    >>> bool(np.abs(found - 1 / (1 + (flops / 1e23) ** -0.4)).max() < 1e-9)
    True
    """
    logs = np.log(flops[0])
    low, high = logs.min(), logs.max()
    for degree in DEGREES:
        if flops.shape[1] <= 1.5 * degree or high - low < 1e-6:
            break
        at = np.cos(np.pi * np.arange(degree + 1) / degree)
        nodes = np.exp((low + high) / 2 + (high - low) / 2 * at)[None, :]
        # The ends as given: a budget at a bound must not be missed by rounding.
        nodes[0, 0], nodes[0, -1] = flops.max(), flops.min()
        known = solve(nodes, None)
        allowed = {name: (tolerances or {}).get(name, TOLERANCE) for name in known}
        rough = np.any([~(_tail(known[name], at) <= allowed[name]) for name in known], axis=0)
        if rough.mean() > _FEW:
            continue
        weights = _weights(at, (2 * logs - low - high) / (high - low))
        found = {name: values @ weights for name, values in known.items()}
        if rough.any():
            rows = np.flatnonzero(rough)
            for name, values in solve(flops, rows).items():
                found[name][rows] = values
        return found
    return dict(solve(flops, None))


def _tail(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Largest of the last eighth of the Chebyshev coefficients; axis (sample,)."""
    degree = at.size - 1
    last = np.arange(degree - degree // 8, degree)
    waves = np.cos(last[:, None] * np.arccos(np.clip(at, -1, 1))[None, :]) * (2 / degree)
    waves[:, [0, -1]] /= 2
    return np.asarray(np.abs(values @ waves.T).max(axis=1))


def _weights(at: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Barycentric weights of the nodes for each place in -1 to 1 (Berrut and Trefethen 2004); axes (node, place)."""
    signs = (-1.0) ** np.arange(at.size)
    signs[[0, -1]] /= 2
    apart = place[None, :] - at[:, None]
    hit = np.abs(apart) < 1e-14
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = signs[:, None] / apart
        weights = weights / weights.sum(axis=0)
    return np.where(hit.any(axis=0), hit.astype(float), weights)
