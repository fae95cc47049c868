"""Optima of budgets, what other allocations lose, and the bowl of each draw; arrays with axes (sample, point)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr

from bayescale.decide.draws import Draws, loss_of, of_samples, so_many, some_of
from bayescale.decide.lifetime import (
    FIRST_STEP,
    REACH,
    Feasible,
    bounded,
    expected_optimum,
    optimal_params,
    params_within,
    size_losses,
    sizes_of,
    tokens_left,
)
from bayescale.decide.smooth import Answers, over_scales
from bayescale.decide.waste import regret_of
from bayescale.forecast.curve import blocks
from bayescale.forecast.optimum import falling_root

#: How well the edges of a draw's bowl are known, in ln(parameters).
EDGE = 1e-7
#: How well what is smooth in compute need be known between nodes.
ENOUGH = {"wasted_share": 1e-8, "lower": EDGE, "upper": EDGE}
#: What only guides the search at further nodes.
ENOUGH |= dict.fromkeys(("log_best", "log_instead", "log_seen"), np.inf)


def by_params(
    draws: Draws, budget: np.ndarray, feasible: Feasible, near: float
) -> dict[str, np.ndarray]:
    """Optima, the one allocation, what it loses, and each draw's bowl; axes (sample, point)."""
    free = feasible.unbounded
    known: dict[bytes, np.ndarray] = {}

    def expected(flops: np.ndarray, rows: np.ndarray | None, about: Answers) -> Answers:
        if flops.tobytes() not in known:
            known[flops.tobytes()] = expected_optimum(
                draws, flops, free.expected, near=_exp(about.get("log_params"))
            )
        return {"log_params": np.log(known[flops.tobytes()])}

    def solve(flops: np.ndarray, rows: np.ndarray | None, about: Answers) -> Answers:
        some, own = draws, free
        if rows is not None:
            some, own = some_of(draws, rows), replace(free, demand=of_samples(free.demand, rows))
        found = _optima(some, flops, own, free.expected, near, about)
        # Where bounds cut the optima off, what is lost is not smooth.
        if feasible.cut:
            return found
        expected(flops, None, {})
        params = known[flops.tobytes()]
        best = np.exp(found["log_optimal"])
        return found | _lost(some, flops, params, best, own, free.expected, about)

    params = np.exp(over_scales(expected, budget)["log_params"])
    known[budget.tobytes()] = params
    found = over_scales(solve, budget, ENOUGH)
    if not feasible.cut:
        return found | {"params": params, "params_optimal": np.exp(found["log_optimal"])}
    params = bounded(params, budget, feasible.expected)

    def within(block: slice) -> dict[str, np.ndarray]:
        here = {name: values[:, block] for name, values in found.items()}
        return _within(draws, budget[:, block], params[:, block], feasible, near, here)

    return _block_by_block(within, budget, draws.samples) | {"params": params}


def by_sizes(
    draws: Draws, budget: np.ndarray, feasible: Feasible, near: float, probability: float
) -> dict[str, np.ndarray]:
    """Of sizes that can be trained: the best, the one for all, what that loses, and which are near-optimal."""
    if feasible.sizes is None:
        return {}
    sizes, expected = feasible.sizes, feasible.expected
    enough = so_many(probability, draws.samples)

    def solve(block: slice) -> dict[str, np.ndarray]:
        flops = budget[:, block]
        table = size_losses(draws, flops, expected)
        chosen = table.mean(axis=1).argmin(axis=0)
        params = sizes[chosen][None, :]
        least = table.min(axis=0)
        # Each draw's own demand; with one for all the table is known.
        best = (
            sizes_of(table, least, sizes)
            if feasible.demand.shape[0] == 1
            else optimal_params(draws, flops, feasible)
        )
        close = (np.subtract(table, least, out=table) <= near).sum(axis=1)
        p_near = close[chosen, np.arange(chosen.size)][None, :] / draws.samples
        lost = _lost(draws, flops, params, best, feasible, expected, {})
        found = {name: lost[name] for name in ("regret", "wasted_share")}
        return found | {
            "params": params,
            "params_optimal": best,
            "is_near": close >= enough,
            "p_near": p_near,
        }

    return _block_by_block(solve, budget, draws.samples)


def share_near(lower: np.ndarray, upper: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Share of the draws in whose bowl an allocation lies, to the precision of its edges; axes (1, point)."""
    at = np.log(params)
    return ((lower - EDGE <= at) & (at <= upper + EDGE)).mean(axis=0, keepdims=True)


def near_params(
    lower: np.ndarray, upper: np.ndarray, probability: float
) -> dict[str, xr.DataArray]:
    """The parameters that lie in so many draws' bowls; along a budget the loss has one minimum, so a bowl is whole."""
    samples, points = lower.shape
    enough = so_many(probability, samples)
    starts, ends = np.sort(lower, axis=0), np.sort(upper, axis=0)
    table = np.full((points, 2), np.nan)
    for point in range(points):
        # Bowls that hold the place where one begins: those begun by then, less those ended before.
        held = np.arange(1, samples + 1) - np.searchsorted(
            ends[:, point], starts[:, point], side="left"
        )
        reached = np.flatnonzero(held >= enough)
        if not reached.size:
            continue
        # The set ends where the last of its bowls but so many ends, after its last beginning.
        last = np.searchsorted(starts[:, point], ends[:, point], side="right")
        full = np.flatnonzero(last - np.arange(samples) >= enough)
        table[point] = np.exp([starts[reached[0], point], ends[full[-1], point]])
    array = xr.DataArray(table, dims=("flops", "bound"), coords={"bound": ["lower", "upper"]})
    return {"near_params": array.assign_attrs(units="parameters")}


def _optima(
    draws: Draws,
    flops: np.ndarray,
    feasible: Feasible,
    expected: Feasible,
    near: float,
    about: Answers,
) -> dict[str, np.ndarray]:
    """Optima at each draw's demand and at the mean one, and bowls; ``about`` holds the like, from which to look."""
    own = optimal_params(draws, flops, feasible, near=_exp(about.get("log_optimal")))
    found = {"log_optimal": np.log(own)}
    best = own
    if feasible.demand.shape[0] > 1:
        start = about.get("log_alike", found["log_optimal"])
        best = optimal_params(draws, flops, expected, near=_exp(start))
        found["log_alike"] = np.log(best)
    return found | _bowls(draws, flops, best, expected, near, about)


def _lost(
    draws: Draws,
    flops: np.ndarray,
    params: np.ndarray,
    own: np.ndarray,
    feasible: Feasible,
    expected: Feasible,
    about: Answers,
) -> dict[str, np.ndarray]:
    """What the allocation ``params`` loses beside ``own``, the optima; axes (sample, point)."""
    tokens = tokens_left(flops, params, expected)
    # With one demand for all draws every allocation costs the budget, and its optimum is known.
    alike = feasible.demand.shape[0] == 1
    instead = None
    if {"log_instead", "log_seen"} <= about.keys():
        instead = np.exp(about["log_instead"]), np.exp(about["log_seen"])
    lost = regret_of(
        draws,
        params,
        tokens,
        feasible,
        own if alike else None,
        near=_exp(about.get("log_best")),
        instead=instead,
    )
    found = {"regret": lost.regret, "wasted_share": lost.wasted / lost.cost}
    if not alike:
        found["log_best"] = np.log(lost.params_optimal)
    if lost.instead is not None:
        found |= dict(zip(("log_instead", "log_seen"), map(np.log, lost.instead), strict=True))
    return found


def _within(
    draws: Draws,
    flops: np.ndarray,
    params: np.ndarray,
    feasible: Feasible,
    near: float,
    free: Answers,
) -> dict[str, np.ndarray]:
    """Optima, losses and bowls within bounds, from the optima and bowls without."""
    expected = feasible.expected
    own = bounded(np.exp(free["log_optimal"]), flops, feasible)
    lost = _lost(draws, flops, params, own, feasible, expected, {})
    found = {name: lost[name] for name in ("regret", "wasted_share")} | {"params_optimal": own}
    best = np.exp(free.get("log_alike", free["log_optimal"]))
    held = bounded(best, flops, expected)
    for name in ("lower", "upper"):
        found[name] = np.log(bounded(np.exp(free[name]), flops, expected))
    # The bowl of an optimum that is cut off is another.
    rows, points = np.nonzero(held != best)
    if rows.size:
        some, at = some_of(draws, rows), (rows, points)
        edges = _bowls(some, flops[:, points].T, held[at][:, None], expected, near, {})
        for name, values in edges.items():
            found[name][at] = values[:, 0]
    return found


def _bowls(
    draws: Draws,
    flops: np.ndarray,
    best: np.ndarray,
    feasible: Feasible,
    near: float,
    about: Answers,
) -> dict[str, np.ndarray]:
    """Log of the least and most parameters with which a draw's regret is at most ``near``; axes (sample, point)."""
    at_best = loss_of(draws, best, tokens_left(flops, best, feasible))
    center = np.log(best)
    least = np.log(bounded(np.full_like(best, 1e-300), flops, feasible))
    most = np.log(np.minimum(feasible.params_max, _most_params(flops, feasible)))
    edges = {}
    for name, side, bound in (("lower", -1, least), ("upper", 1, most)):
        reach = np.clip(side * (bound - center), 0.0, REACH)

        def room(distance: np.ndarray, side: int = side) -> np.ndarray:
            size = np.exp(center + side * distance)
            regret = loss_of(draws, size, tokens_left(flops, size, feasible)) - at_best
            # The root makes a bowl's wall straight.
            return np.sqrt(near) - np.sqrt(np.maximum(regret, 0.0))

        start, step = np.minimum(0.5, reach / 2), None
        if name in about:
            start, step = np.clip(side * (about[name] - center), 1e-3, None), FIRST_STEP
        distance = falling_root(
            room,
            np.zeros_like(reach),
            reach,
            np.minimum(start, reach),
            tolerance=EDGE,
            step=step,
        )
        edges[name] = center + side * distance
    return edges


def _most_params(flops: np.ndarray, feasible: Feasible) -> np.ndarray:
    """Parameters at which serving, or training on one token, takes all of a budget."""
    return params_within(flops, np.ones((1, 1)), feasible)


def _block_by_block(
    solve: Callable[[slice], dict[str, np.ndarray]], flops: np.ndarray, samples: int
) -> dict[str, np.ndarray]:
    """Solve some scales at a time: arrays stay in a processor's cache, and searches end each in its own time."""
    found = [solve(block) for block in blocks(flops.shape[1], samples)]
    return {name: np.concatenate([each[name] for each in found], axis=1) for name in found[0]}


def _exp(logs: np.ndarray | None) -> np.ndarray | None:
    return None if logs is None else np.exp(logs)
