"""What proposals lose: loss above the optimum's at their cost, and what the least cost of their loss would save.

The model of least lifetime cost for a loss meets the first-order condition of :mod:`bayescale.decide.lifetime`. Bounds
move it along the curve of equal loss, on which cost has one minimum, to where they end; of sizes that can be trained
it is one of the few below the best at the proposal's own cost. Arrays have axes (sample, point).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from bayescale.cost import inference_flops, training_flops
from bayescale.decide.draws import (
    Draws,
    floors,
    loss_and_marginals,
    loss_of,
    of_samples,
    some_of,
)
from bayescale.decide.lifetime import REACH, Feasible, optimal_params, tokens_left
from bayescale.forecast.curve import BLOCK
from bayescale.forecast.optimum import falling_root

#: Steps of Newton's method that a draw may take.
_NEWTON = 15
#: Of steps so short, in ln(params) and ln(tokens), the next needs no slopes of its own.
_SLOPES_LAST = 1e-3
#: A draw's last step, in ln(params) and ln(tokens): the next would be far smaller.
SETTLED = 1e-7
#: Share of samples that are left to a search rather than step on all together.
_FEW = 0.02
#: ln(params) or ln(tokens) beyond which nothing is sought.
_MOST = 100.0


@dataclass(frozen=True)
class Regret:
    """What proposals lose against the optimum of the same cost; axes (sample, point).

    Parameters
    ----------
    cost : numpy.ndarray
        Lifetime FLOP of the proposals.
    params_optimal : numpy.ndarray
        Optimal parameters at that cost.
    regret : numpy.ndarray
        Loss above the optimum's [unit of the runs].
    wasted : numpy.ndarray
        FLOP that the optimum would have saved at the proposals' loss.
    instead : tuple of numpy.ndarray or None
        Parameters and tokens that reach it at the least cost, where they were solved for.
    """

    cost: np.ndarray
    params_optimal: np.ndarray
    regret: np.ndarray
    wasted: np.ndarray
    instead: tuple[np.ndarray, np.ndarray] | None = None


def regret_of(
    draws: Draws,
    params: np.ndarray,
    tokens: np.ndarray,
    feasible: Feasible,
    best: np.ndarray | None = None,
    *,
    near: np.ndarray | None = None,
    instead: tuple[np.ndarray, np.ndarray] | None = None,
) -> Regret:
    """What models of given parameters and tokens lose against the optimum of the same lifetime cost.

    Parameters
    ----------
    draws : Draws
    params, tokens : numpy.ndarray
    feasible : Feasible
    best : numpy.ndarray, optional
        Optimal parameters at that cost, where they are known.
    near : numpy.ndarray, optional
        About those parameters, where they are not.
    instead : tuple of numpy.ndarray, optional
        About the parameters and tokens that reach the models' loss at the least cost.
    """
    cost = training_flops(params, tokens) + inference_flops(params, feasible.demand)
    best = optimal_params(draws, cost, feasible, near=near) if best is None else best
    loss = loss_of(draws, params, tokens)
    best_tokens = tokens_left(cost, best, feasible)
    at_best = loss_of(draws, best, best_tokens)
    # Rounding may put a proposal that is the optimum a hair below it.
    regret = np.maximum(loss - at_best, 0.0)
    wanted = at_best + regret
    free = feasible.unbounded
    if feasible.cut:
        most = optimal_params(draws, cost, free, near=best)
        most_tokens = tokens_left(cost, most, free)
        known = most, most_tokens, np.minimum(loss_of(draws, most, most_tokens), wanted)
    else:
        known = best, best_tokens, at_best
    size, seen = _least_cost(draws, cost, wanted, known, free, instead)
    instead = size, seen
    if feasible.cut:
        size, seen = _within_bounds(draws, wanted, size, seen, feasible)
    if feasible.sizes is not None:
        size, seen = _of_sizes(draws, wanted, size, seen, best, regret > 0, feasible)
    spent = training_flops(size, seen) + inference_flops(size, feasible.demand)
    wasted = np.where(regret > 0, np.maximum(cost - spent, 0.0), 0.0)
    return Regret(np.broadcast_to(cost, regret.shape), best, regret, wasted, instead)


def _least_cost(
    draws: Draws,
    cost: np.ndarray,
    loss: np.ndarray,
    known: tuple[np.ndarray, np.ndarray, np.ndarray],
    feasible: Feasible,
    start: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and tokens that reach a loss at the least cost, without bounds; axes (sample, point).

    ``known`` are those of the optimum at ``cost``, and the loss there.
    """
    if feasible.demand.any():
        begin = known[:2] if start is None else start
        size, seen, settled = cheapest(draws, loss, feasible.demand, *begin)
    else:
        size, seen, settled = _along_optimum(draws, cost, loss, known[:2], feasible)
    rows = np.flatnonzero(~settled)
    if rows.size:
        few = some_of(draws, rows) if rows.size < draws.samples else draws
        own = replace(feasible, demand=of_samples(feasible.demand, rows))
        paid, asked, best, at_best = (
            of_samples(each, rows) for each in (cost, loss, known[0], known[2])
        )
        less = paid - _saved(few, paid, asked, best, at_best, own)
        size[rows] = optimal_params(few, less, own, near=best)
        seen[rows] = tokens_left(less, size[rows], own)
    return size, seen


def _along_optimum(
    draws: Draws,
    cost: np.ndarray,
    loss: np.ndarray,
    known: tuple[np.ndarray, np.ndarray],
    feasible: Feasible,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters and tokens of the optimum that reaches a loss, where serving costs nothing; axes (sample, point).

    Newton's method from the optimum at ``cost``, in the logs of compute and of the loss above its floor: one step
    where that is a power of compute along the optimum. The last answer tells in which samples it settled, axis
    (sample,).
    """
    floor = floors(draws)
    size, seen = known
    saved = np.zeros(size.shape)
    with np.errstate(all="ignore"):
        wanted = np.log(loss - floor)
        for _ in range(_NEWTON):
            # Along the optimum the loss falls by what parameters buy.
            reached, buys = loss_and_marginals(draws, size, seen, ["params"])
            over = reached - floor
            before = saved
            saved = np.clip(before + (wanted - np.log(over)) * over / buys, 0.0, REACH)
            moved = np.abs(saved - before).max(axis=1)
            less = cost * np.exp(-saved)
            if (moved > SETTLED).mean() <= _FEW:
                break
            size = optimal_params(draws, less, feasible, near=size)
            seen = tokens_left(less, size, feasible)
        return size, tokens_left(less, size, feasible), moved <= SETTLED


def _saved(
    draws: Draws,
    cost: np.ndarray,
    loss: np.ndarray,
    best: np.ndarray,
    at_best: np.ndarray,
    feasible: Feasible,
) -> np.ndarray:
    """FLOP that the optimum would have saved at a loss, by a search along the optimum; axes (sample, point)."""
    floor = floors(draws)

    def excess(saved: np.ndarray) -> np.ndarray:
        """Falls with the log of the factor of compute that is saved; linear in it for power laws."""
        if not saved.any():
            return np.log((loss - floor) / (at_best - floor))
        less = cost * np.exp(-saved)
        # The loss is flat about its minimum: the optimum need not be known to the last digit.
        nearby = best * np.exp(-saved / 2)
        sizes = optimal_params(draws, less, feasible, near=nearby, tolerance=1e-6)
        there = loss_of(draws, sizes, tokens_left(less, sizes, feasible))
        return np.log((loss - floor) / (there - floor))

    lower = np.zeros_like(at_best)
    # Along the optimum the loss falls by what parameters buy.
    _, buys = loss_and_marginals(draws, best, tokens_left(cost, best, feasible), ["params"])
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.nan_to_num(excess(lower) * (at_best - floor) / buys, nan=0.1)
    start = np.clip(start, 1e-12, REACH / 2)
    factor = falling_root(excess, lower, lower + REACH, start, tolerance=1e-9)
    return np.asarray(cost * -np.expm1(-factor))


def cheapest(
    draws: Draws, loss: np.ndarray, demand: np.ndarray, params: np.ndarray, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters and tokens that reach a loss at the least lifetime cost, from a guess; axes (sample, point).

    Newton's method on the loss and the first-order condition, in the logs of parameters and tokens, in which power
    laws are straight. The last answer tells in which samples it settled, axis (sample,).

    Parameters
    ----------
    draws : Draws
    loss : numpy.ndarray
        Above each draw's floor.
    demand : numpy.ndarray
        Tokens served, or what serving costs in training tokens of a third of its FLOP.
    params, tokens : numpy.ndarray
        Where to start.
    """
    floor = floors(draws)
    wanted = np.log(loss - floor)

    def misses(size: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, d = np.exp(size), np.exp(seen)
        reached, of_params, of_tokens = loss_and_marginals(draws, n, d)
        left = np.log(reached - floor) - wanted
        return left, np.log(of_tokens) - np.log(of_params) + np.log1p(demand / (3 * d))

    shape = np.broadcast_shapes(loss.shape, params.shape, tokens.shape, (draws.samples, 1))
    with np.errstate(all="ignore"):
        size, seen = (np.broadcast_to(np.log(each), shape) for each in (params, tokens))
    width, moved = 1e-5, np.full(shape[0], np.inf)
    with np.errstate(all="ignore"):
        for count in range(_NEWTON):
            of_loss, pull = misses(size, seen)
            if count < 3 and (moved > _SLOPES_LAST).any():
                loss_n, pull_n = misses(size + width, seen)
                loss_d, pull_d = misses(size, seen + width)
                loss_n, loss_d = (loss_n - of_loss) / width, (loss_d - of_loss) / width
                pull_n, pull_d = (pull_n - pull) / width, (pull_d - pull) / width
                turn = loss_n * pull_d - loss_d * pull_n
            step_n = np.clip((loss_d * pull - pull_d * of_loss) / turn, -3.0, 3.0)
            step_d = np.clip((pull_n * of_loss - loss_n * pull) / turn, -3.0, 3.0)
            size, seen = size + step_n, seen + step_d
            moved = np.maximum(np.abs(step_n), np.abs(step_d)).max(axis=1)
            if not (moved[np.isfinite(moved)] > SETTLED).any():
                break
        return np.exp(size), np.exp(seen), moved <= SETTLED


def _within_bounds(
    draws: Draws, loss: np.ndarray, size: np.ndarray, seen: np.ndarray, feasible: Feasible
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and tokens moved along the curve of their loss to within the bounds; axes (sample, point)."""
    large, long = size > feasible.params_max, seen > feasible.tokens_max
    # As much training as without bounds nearly does.
    both = size * seen
    size, seen = np.minimum(size, feasible.params_max), np.minimum(seen, feasible.tokens_max)
    # Where too many tokens and too many parameters would do it, the tokens are what gives.
    for by, moved, wanted in (("tokens", seen, large), ("params", size, long & ~large)):
        moved[wanted] = (both / (size if by == "tokens" else seen))[wanted]
        for at in _elements(wanted):
            n, d = size[at][:, None], seen[at][:, None]
            moved[at] = _meet(some_of(draws, at[0]), loss[at][:, None], n, d, by)[:, 0]
    return size, seen


def _of_sizes(
    draws: Draws,
    loss: np.ndarray,
    size: np.ndarray,
    seen: np.ndarray,
    best: np.ndarray,
    asked: np.ndarray,
    feasible: Feasible,
) -> tuple[np.ndarray, np.ndarray]:
    """Of the sizes that can be trained, the cheapest that reaches a loss, and its tokens; axes (sample, point).

    Cost has one minimum along a curve of equal loss: the cheapest is a neighbour of what would be without sizes. Where
    neither reaches the loss, ``best`` is known to. Elsewhere than ``asked`` no answer is sought.
    """
    assert feasible.sizes is not None
    sizes = feasible.sizes[feasible.sizes <= feasible.params_max]
    above = np.searchsorted(sizes, size)
    found, tokens = np.array(best), np.full(best.shape, np.inf)
    least = np.full(best.shape, np.inf)
    below, above = sizes[np.maximum(above - 1, 0)], sizes[np.minimum(above, sizes.size - 1)]
    for tried, also in ((below, True), (above, above != below), (best, None)):
        for at in _elements(asked & (np.isinf(least) if also is None else also)):
            n, served = tried[at][:, None], of_samples(feasible.demand, at[0])
            few, level = some_of(draws, at[0]), loss[at][:, None]
            # Near the least cost of a loss, as much training reaches it.
            start = (size[at] * seen[at])[:, None] / n
            d = _meet(few, level, n, start, "tokens")
            spent = (training_flops(n, d) + inference_flops(n, served))[:, 0]
            better = (d[:, 0] <= feasible.tokens_max * (1 + 1e-9)) & (spent < least[at])
            for values, new in ((least, spent), (found, n[:, 0]), (tokens, d[:, 0])):
                values[at] = np.where(better, new, values[at])
    return found, tokens


def _elements(wanted: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples and points of what is wanted, so many at a time as stay in a processor's cache."""
    rows, points = np.nonzero(wanted)
    for start in range(0, rows.size, BLOCK):
        yield rows[start : start + BLOCK], points[start : start + BLOCK]


def _meet(
    draws: Draws, loss: np.ndarray, params: np.ndarray, tokens: np.ndarray, by: str
) -> np.ndarray:
    """Tokens, or parameters if these are named, that meet a loss with the other input as it is; axes (sample, 1).

    By Newton's method in logs, where the loss above its floor falls along a convex curve; infinite where none does.
    """
    floor = floors(draws)
    with np.errstate(all="ignore"):
        wanted = np.log(loss - floor)
        moving = np.log(tokens if by == "tokens" else params)
        for _ in range(2 * _NEWTON):
            at = np.exp(moving)
            n, d = (params, at) if by == "tokens" else (at, tokens)
            reached, buys = loss_and_marginals(draws, n, d, [by])
            over = reached - floor
            step = np.clip((np.log(over) - wanted) * over / buys, -10.0, 10.0)
            # Not even so many, nor the other input alone.
            step[moving > _MOST] = np.nan
            moving = moving + step
            left = np.flatnonzero(np.abs(step[:, 0]) > SETTLED)
            if left.size < len(step) / 2:
                break
        found = np.where(np.abs(step) <= SETTLED, np.exp(moving), np.inf)
        if 0 < left.size < len(step) / 2:
            # The few that are left step on by themselves.
            n, d = (params, np.exp(moving)) if by == "tokens" else (np.exp(moving), tokens)
            found[left] = _meet(some_of(draws, left), loss[left], n[left], d[left], by)
        return found
