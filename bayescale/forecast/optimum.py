"""Compute-optimal parameters of a law without a closed form, and the one allocation of least expected loss.

At the optimum a per cent more parameters and a per cent more tokens buy the same: ``dL/dln N = dL/dln D``. The log of
the ratio of the two falls almost linearly with ln N (exactly so for additive and coupled power laws), so that a
bracketed secant finds its root in a few steps. It is solved on a lattice of compute and interpolated between.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from bayescale.cost import tokens_for
from bayescale.forecast.curve import BLOCK, Saved
from bayescale.forecast.tangent import marginal_loss

#: Distance of the lattice's nodes in ln(compute): a quarter of a decade.
SPACING = np.log(10.0) / 4
#: The optimum is sought within this many units of ln N about equal shares of compute.
_REACH = 80.0
#: Secants after which a root that they do not close in on is bisected.
_PATIENCE = 4

type Curve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def numeric_optimum(saved: Saved, params: Mapping[str, np.ndarray], *, expected: bool) -> Curve:
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
    callable
        Of FLOP with axes (sample, point): ln N and its derivative with respect to ln(FLOP).
    """
    # Closed forms are optima of the law; one draw's own drift is not to be known beforehand.
    saved = saved if expected else replace(saved, drift=None)
    nodes: dict[int, np.ndarray] = {}

    def optimum(flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_flops = np.log(flops)
        cell = np.floor(log_flops / SPACING).astype(int)
        wanted = np.unique(np.unique(cell)[:, None] + np.arange(-1, 3))
        _solve_nodes(saved, params, [k for k in wanted if k not in nodes], nodes, expected=expected)
        table = np.stack([nodes[k] for k in wanted], axis=1)
        return _interpolate(table, np.searchsorted(wanted, cell), log_flops / SPACING - cell)

    return optimum


def _solve_nodes(
    saved: Saved,
    params: Mapping[str, np.ndarray],
    missing: list[int],
    nodes: dict[int, np.ndarray],
    *,
    expected: bool,
) -> None:
    size = max(1, BLOCK // saved.samples)
    for start in range(0, len(missing), size):
        keys = missing[start : start + size]
        flops = np.exp(SPACING * np.array(keys, dtype=float))[None, :]

        def pull(log_params: np.ndarray, flops: np.ndarray = flops) -> np.ndarray:
            return _pull(saved, params, log_params, flops, expected=expected)

        balanced = np.log(flops) / 2 + np.zeros((1 if expected else saved.samples, 1))
        found = falling_root(pull, balanced - _REACH, balanced + _REACH, balanced)
        nodes.update({key: found[:, index] for index, key in enumerate(keys)})


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
