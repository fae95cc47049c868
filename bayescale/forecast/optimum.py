"""Compute-optimal parameters of a law without a closed form, and the one allocation of least expected loss.

At the optimum a per cent more parameters and a per cent more tokens buy the same: ``dL/dln N = dL/dln D``. The log of
the ratio of the two falls almost linearly with ln N (exactly so for additive and coupled power laws), so that a
bracketed secant finds its root in a few steps. Some laws favour ever larger models once more, far from all runs: the
root meant is the nearest to the runs' own tokens per parameter. It is solved on a lattice of compute and interpolated
between.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from bayescale.cost import tokens_for
from bayescale.forecast.curve import BLOCK, Saved
from bayescale.forecast.tangent import marginal_loss

#: Distance of the lattice's nodes in ln(compute): a quarter of a decade.
SPACING = np.log(10.0) / 4
#: The optimum is sought so far, in ln N, from the runs' own tokens per parameter, and bracketed by the first of these
#: beyond it.
_FROM_RUNS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0, 20.0, 27.0, 36.0, 48.0, 64.0, 80.0)
#: Secants after which a root that they do not close in on is bisected.
_PATIENCE = 4

type Curve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def numeric_optimum(
    saved: Saved, params: Mapping[str, np.ndarray], *, expected: bool
) -> tuple[Curve, Callable[[np.ndarray], np.ndarray]]:
    """Log of the compute-optimal parameters as a function of compute.

    Parameters
    ----------
    saved : Saved
        Its law has inputs ``params`` and ``tokens`` only.
    params : mapping
        Parameters of the law; axes (sample, 1).
    expected : bool
        One allocation for all samples, that of least mean loss, rather than one for each.

    Returns
    -------
    optimum : callable
        Of FLOP with axes (sample, point): ln N and its derivative with respect to ln(FLOP). Draws that have no optimum
        keep the runs' own tokens per parameter.
    missing : callable
        Of FLOP: the share of draws that have none, near there.
    """
    # Closed forms are optima of the law; one draw's own drift is not to be known beforehand.
    saved = saved if expected else replace(saved, drift=None)
    nodes: dict[int, np.ndarray] = {}
    lacking: dict[int, float] = {}

    def solve(wanted: np.ndarray) -> None:
        left = [int(k) for k in wanted if k not in nodes]
        _solve_nodes(saved, params, left, nodes, lacking, expected=expected)

    def optimum(flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_flops = np.log(flops)
        cell = np.floor(log_flops / SPACING).astype(int)
        wanted = np.unique(np.unique(cell)[:, None] + np.arange(-1, 3))
        solve(wanted)
        table = np.stack([nodes[k] for k in wanted], axis=1)
        return _interpolate(table, np.searchsorted(wanted, cell), log_flops / SPACING - cell)

    def missing(flops: np.ndarray) -> np.ndarray:
        near = np.round(np.log(flops) / SPACING).astype(int)
        solve(np.unique(near))
        return np.vectorize(lacking.__getitem__, otypes=[float])(near)

    return optimum, missing


def _solve_nodes(
    saved: Saved,
    params: Mapping[str, np.ndarray],
    left: list[int],
    nodes: dict[int, np.ndarray],
    lacking: dict[int, float],
    *,
    expected: bool,
) -> None:
    size = max(1, BLOCK // saved.samples)
    for start in range(0, len(left), size):
        keys = left[start : start + size]
        flops = np.exp(SPACING * np.array(keys, dtype=float))[None, :]

        def pull(log_params: np.ndarray, flops: np.ndarray = flops) -> np.ndarray:
            return _pull(saved, params, log_params, flops, expected=expected)

        ratio = saved.reference["tokens"] / saved.reference["params"]
        alike = np.log(flops / 6 / ratio) / 2 + np.zeros((1 if expected else saved.samples, 1))
        lower, upper, at_lower, turned = _bracket(pull, alike)
        found = falling_root(pull, lower, upper, (lower + upper) / 2, at_lower=at_lower)
        nodes.update({key: found[:, index] for index, key in enumerate(keys)})
        lacking.update(dict(zip(keys, 1 - turned.mean(axis=0), strict=True)))


def _bracket(
    pull: Callable[[np.ndarray], np.ndarray], start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bounds about the nearest place where the pull turns, the pull at the lower one, and whether there is one.

    Without one both bounds are where the search starts.
    """
    at_start = pull(start)
    up = at_start > 0
    inner, outer, at_inner, at_outer = start, start, at_start, at_start
    turned = at_start == 0
    for distance in _FROM_RUNS:
        inner, at_inner = np.where(turned, inner, outer), np.where(turned, at_inner, at_outer)
        tried = start + np.where(up, distance, -distance)
        value = pull(tried)
        outer, at_outer = np.where(turned, outer, tried), np.where(turned, at_outer, value)
        turned = turned | np.where(up, value <= 0, value > 0)
        if turned.all():
            break
    inner, outer = np.where(turned, inner, start), np.where(turned, outer, start)
    at_lower = np.where(turned, np.where(up, at_inner, at_outer), at_start)
    return np.where(up, inner, outer), np.where(up, outer, inner), at_lower, turned


def _pull(
    saved: Saved,
    params: Mapping[str, np.ndarray],
    log_params: np.ndarray,
    flops: np.ndarray,
    *,
    expected: bool,
) -> np.ndarray:
    """Log ratio of what parameters and tokens buy; positive where more parameters are better."""
    size = np.exp(log_params)
    inputs = {"params": size, "tokens": tokens_for(flops, size)}
    _, each = marginal_loss(saved, inputs, params)
    gains = [
        gain.mean(axis=0, keepdims=True) if expected else gain
        for gain in (each["params"], each["tokens"])
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(gains[0]) - np.log(gains[1])
    # Where one input no longer helps, only the direction is known.
    return np.where(np.isfinite(ratio), ratio, 50.0 * np.sign(gains[0] - gains[1]))


def falling_root(
    function: Callable[[np.ndarray], np.ndarray],
    lower: np.ndarray,
    upper: np.ndarray,
    start: np.ndarray,
    *,
    tolerance: float = 1e-13,
    iterations: int = 200,
    step: float | None = None,
    at_lower: np.ndarray | None = None,
) -> np.ndarray:
    """Root of a function that falls with its argument, element by element, by bracketed secants.

    Parameters
    ----------
    function : callable
        Of an array of the shape of ``start``.
    lower, upper : numpy.ndarray
        Bounds of the root; where the function has no root between them, the nearer bound is returned.
    start : numpy.ndarray
        First guess, between the bounds.
    tolerance : float
        Relative to 1 + abs(root).
    iterations : int
        At most.
    step : float, optional
        How far about the root lies from ``start``: the first secant goes through two points so far apart, rather than
        through the lower bound.
    at_lower : numpy.ndarray, optional
        Values at the lower bound, where they are known and no ``step`` is given.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> falling_root(lambda x: 2.0 - x**3, np.zeros(1), np.full(1, 9.0), np.ones(1)).round(9)
    array([1.25992105])
    """
    lower, upper = lower + 0.0 * start, upper + 0.0 * start
    previous = lower if step is None else np.maximum(lower, start - step)
    at_previous, x = function(previous) if at_lower is None else at_lower, start
    if step is not None:
        lower, upper = (
            np.where(at_previous > 0, previous, lower),
            np.where(at_previous > 0, upper, previous),
        )
        # The root lies on the other side of the first point.
        x = np.where(at_previous > 0, x, np.maximum(lower, previous - step))
    checked = np.full_like(x, np.inf)
    for iteration in range(1, iterations + 1):
        value = function(x)
        lower, upper = np.where(value > 0, x, lower), np.where(value > 0, upper, x)
        with np.errstate(divide="ignore", invalid="ignore"):
            proposal = x - value * (x - previous) / (value - at_previous)
        bad = ~((proposal >= lower) & (proposal <= upper))
        if iteration % _PATIENCE == 0:
            bad |= np.abs(value) > checked / 2
            checked = np.abs(value)
        proposal = np.where(bad, (lower + upper) / 2, proposal)
        # An element at rest stays: its secant is 0 / 0.
        rests = (value == 0) | (np.abs(x - previous) <= tolerance * (1 + np.abs(x)))
        proposal = np.where(rests, x, proposal)
        previous, at_previous, x = x, value, proposal
        if np.all(np.abs(x - previous) <= tolerance * (1 + np.abs(x))):
            break
    return x


def _interpolate(
    table: np.ndarray, cell: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cubic through the four nodes about each point, and its slope; ``place`` in 0..1 within the cell."""
    t = place
    weights = (
        (-t * (t - 1) * (t - 2) / 6, -(3 * t**2 - 6 * t + 2) / 6),
        ((t + 1) * (t - 1) * (t - 2) / 2, (3 * t**2 - 4 * t - 1) / 2),
        (-(t + 1) * t * (t - 2) / 2, -(3 * t**2 - 2 * t - 2) / 2),
        ((t + 1) * t * (t - 1) / 6, (3 * t**2 - 1) / 6),
    )
    value, slope = np.zeros(1), np.zeros(1)
    for offset, (weight, rate) in enumerate(weights, start=-1):
        if cell.shape[0] == 1:
            node = table[:, cell[0] + offset]
        elif table.shape[0] == 1:
            node = table[0, cell + offset]
        else:
            node = np.take_along_axis(table, cell + offset, axis=1)
        value, slope = value + weight * node, slope + rate * node
    return value, slope / SPACING
