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

type Answers = Mapping[str, np.ndarray]
type Solve = Callable[[np.ndarray, np.ndarray | None, Answers], Answers]


def over_scales(
    solve: Solve, flops: np.ndarray, tolerances: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Solve at every scale, or at nodes between which the answers are smooth.

    The nodes of one degree are every other one of the next: what is known at the first tells where to look at the rest.

    Parameters
    ----------
    solve : callable
        Of compute with axes (1, point), of the indices of samples or None for all, and of answers near which to look,
        empty at first: arrays with axes (sample, point), of about unit size, such as logs and shares.
    flops : numpy.ndarray
        Axes (1, point).
    tolerances : mapping of float, optional
        By name, for answers that need less than :data:`TOLERANCE`; infinite for those that only guide a search.

    Returns
    -------
    dict of numpy.ndarray

    Examples
    --------
    >>> flops = np.geomspace(1e20, 1e26, 500)[None]
    >>> found = over_scales(lambda c, *_: {"x": 1 / (1 + (c / 1e23) ** -0.4)}, flops)["x"]
    >>> bool(np.abs(found - 1 / (1 + (flops / 1e23) ** -0.4)).max() < 1e-9)
    True
    """
    logs = np.log(flops[0])
    low, high = logs.min(), logs.max()
    if flops.shape[1] <= 1.5 * DEGREES[0] or high - low < 1e-6:
        return dict(solve(flops, None, {}))
    wanted = (2 * logs - low - high) / (high - low)

    def nodes(at: np.ndarray) -> np.ndarray:
        inside = np.exp((low + high) / 2 + (high - low) / 2 * at)
        # The ends as given: a budget at a bound must not be missed by rounding.
        return np.where(at == 1, flops.max(), np.where(at == -1, flops.min(), inside))[None, :]

    at = _places(DEGREES[0] // 2)
    known = solve(nodes(at), None, {})
    for degree in DEGREES:
        if flops.shape[1] <= 1.5 * degree:
            break
        fewer, at = at, _places(degree)
        new = solve(nodes(at[1::2]), None, _about(known, _weights(fewer, at[1::2])))
        known = {name: _interleaved(values, new[name]) for name, values in known.items()}
        allowed = {name: (tolerances or {}).get(name, TOLERANCE) for name in known}
        told = [name for name in known if allowed[name] < np.inf]
        rough = np.any([~(_tail(known[name], at) <= allowed[name]) for name in told], axis=0)
        if rough.mean() > _FEW:
            continue
        weights = _weights(at, wanted)
        rows = np.flatnonzero(rough)
        found = _between({name: known[name] for name in told}, weights)
        if rows.size:
            near = _about({name: values[rows] for name, values in known.items()}, weights)
            for name, values in solve(flops, rows, near).items():
                if name in found:
                    found[name][rows] = values
        return found
    return dict(solve(flops, None, _about(known, _weights(at, wanted))))


def _places(degree: int) -> np.ndarray:
    """Chebyshev nodes in 1 to -1, to the last bit those of half the degree among them."""
    return np.cos(np.pi * (np.arange(degree + 1) / degree))


def _between(known: Answers, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values @ weights for name, values in known.items()}


def _about(known: Answers, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Where to look between nodes: what is finite at all of them."""
    return _between({name: v for name, v in known.items() if np.isfinite(v).all()}, weights)


def _interleaved(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    both = np.empty((old.shape[0], old.shape[1] + new.shape[1]))
    both[:, ::2], both[:, 1::2] = old, new
    return both


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
