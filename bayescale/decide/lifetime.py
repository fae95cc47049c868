"""Optima of a lifetime budget, draw by draw: training takes ``6 * N * D`` FLOP, serving ``2 * N * D_inf``.

At the best division of a budget a per cent of parameters and a per cent of tokens are to what they cost as to what they
buy:

    eps_N / eps_D = 1 + D_inf / (3 * D),    eps_x = -dL / dln x

(Sardana et al. 2024, arXiv 2401.00448; without demand, Hoffmann et al. 2022, arXiv 2203.15556). The same condition
holds at the least lifetime cost of a given loss. Arrays have axes (sample, point).
"""

from dataclasses import dataclass, replace

import numpy as np

from bayescale.cost import inference_flops, tokens_for, training_flops
from bayescale.decide.draws import (
    Draws,
    Part,
    evaluate,
    loss_and_marginals,
    loss_of,
    marginal_losses,
    of_samples,
    some_of,
)
from bayescale.forecast.optimum import falling_root

#: Steps of Newton's method that a draw may take.
_NEWTON = 15
#: Of steps so short, in ln(params) and ln(tokens), the next needs no slopes of its own.
_SLOPES_LAST = 1e-3
#: A draw's last step, in ln(params) and ln(tokens): the next would be far smaller.
SETTLED = 1e-7
#: First secants of a search are this long, in ln(tokens).
FIRST_STEP = 1e-5
#: Searches reach this many units of ln(tokens), ln(params) or ln(FLOP) from where they start.
REACH = 30.0


@dataclass(frozen=True)
class Feasible:
    """What can be trained, and what it will serve.

    Parameters
    ----------
    demand : numpy.ndarray
        Tokens served over the model's lifetime; axes (sample, 1) or (1, 1).
    params_max, tokens_max : float
    sizes : numpy.ndarray or None
        The only numbers of parameters that can be trained.
    """

    demand: np.ndarray
    params_max: float = np.inf
    tokens_max: float = np.inf
    sizes: np.ndarray | None = None

    @property
    def cut(self) -> bool:
        """Whether bounds or sizes may cut an optimum off."""
        bounded = np.isfinite(self.params_max) or np.isfinite(self.tokens_max)
        return bool(bounded or self.sizes is not None)

    @property
    def expected(self) -> "Feasible":
        """The same at the mean demand: lifetime FLOP is linear in it."""
        return replace(self, demand=self.demand.mean(axis=0, keepdims=True))


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
    wasted = np.empty_like(regret)
    rows = np.arange(draws.samples)
    if feasible.demand.any() and not feasible.cut:
        start = (best, best_tokens) if instead is None else instead
        size, seen, settled = cheapest(draws, at_best + regret, feasible.demand, *start)
        whole = settled[:, None]
        instead = np.where(whole, size, best), np.where(whole, seen, best_tokens)
        spent = training_flops(size, seen) + inference_flops(size, feasible.demand)
        wasted = np.maximum(cost - spent, 0.0)
        rows = np.flatnonzero(~settled)
    if rows.size:
        few = rows.size < draws.samples
        some = some_of(draws, rows) if few else draws
        own = replace(feasible, demand=of_samples(feasible.demand, rows))
        wasted[rows] = _wasted(
            some,
            of_samples(cost, rows),
            of_samples(loss, rows),
            of_samples(best, rows),
            of_samples(at_best, rows),
            own,
        )
    return Regret(np.broadcast_to(cost, regret.shape), best, regret, wasted, instead)


def _wasted(
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
        with np.errstate(invalid="ignore"):
            found = np.log((loss - floor) / (there - floor))
        # So little compute trains none of the sizes.
        return np.where(np.isfinite(found), found, -1.0)

    lower = np.zeros_like(at_best)
    # Along the optimum the loss falls by what parameters buy.
    buys, _ = marginal_losses(draws, best, tokens_left(cost, best, feasible))
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.nan_to_num(excess(lower) * (at_best - floor) / buys, nan=0.1)
    start = np.clip(start, 1e-12, REACH / 2)
    factor = falling_root(excess, lower, lower + REACH, start, tolerance=1e-9)
    return np.asarray(cost * -np.expm1(-factor))


def floors(draws: Draws) -> np.ndarray:
    """Irreducible loss of each draw; axes (sample, 1)."""
    return np.concatenate(
        [np.broadcast_to(p.route.floor, (p.saved.samples, 1)) for p in draws.parts]
    )


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


def tokens_within(flops: np.ndarray, params: np.ndarray, feasible: Feasible) -> np.ndarray:
    """Training tokens that are left of a lifetime budget."""
    return tokens_for(flops - inference_flops(params, feasible.demand), params)


def tokens_left(flops: np.ndarray, params: np.ndarray, feasible: Feasible) -> np.ndarray:
    """The same of an optimum: where serving takes all of a budget, to the last bit, one token is left."""
    return np.maximum(tokens_within(flops, params, feasible), 1.0)


def params_within(flops: np.ndarray, tokens: np.ndarray, feasible: Feasible) -> np.ndarray:
    """Parameters that spend a lifetime budget on so many training tokens."""
    return flops / (training_flops(tokens, 1.0) + inference_flops(feasible.demand, 1.0))


def optimal_params(
    draws: Draws,
    flops: np.ndarray,
    feasible: Feasible,
    *,
    near: np.ndarray | None = None,
    tolerance: float = 1e-12,
) -> np.ndarray:
    """Optimal parameters of each draw under a budget; axes (sample, point).

    Parameters
    ----------
    draws : Draws
    flops : numpy.ndarray
    feasible : Feasible
    near : numpy.ndarray, optional
        Parameters from which a search starts.
    tolerance : float
        Of a search, in ln(tokens) as a share of itself.
    """
    if feasible.sizes is not None:
        return _best_size(draws, flops, feasible, expected=False)
    if not feasible.demand.any():
        best = evaluate(draws, _own_optimum, flops)
    else:
        rows = np.zeros((draws.samples, 1))
        best = _balanced(
            draws, flops + rows, feasible, expected=False, near=near, tolerance=tolerance
        )
    return bounded(best, flops, feasible)


def expected_optimum(
    draws: Draws, flops: np.ndarray, feasible: Feasible, *, near: np.ndarray | None = None
) -> np.ndarray:
    """Parameters of the one allocation of least expected loss; axes (1, point)."""
    if feasible.sizes is not None:
        return _best_size(draws, flops, feasible, expected=True)
    return bounded(_balanced(draws, flops, feasible, expected=True, near=near), flops, feasible)


def _own_optimum(part: Part, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
    return part.route.growth.inputs(inputs[0])["params"]


def bounded(params: np.ndarray, flops: np.ndarray, feasible: Feasible) -> np.ndarray:
    """The nearest parameters that the bounds allow: along a budget the loss has one minimum."""
    least = np.zeros(1)
    if np.isfinite(feasible.tokens_max):
        least = params_within(flops, np.full((1, 1), feasible.tokens_max), feasible)
    return np.minimum(np.maximum(params, least), feasible.params_max)


def _balanced(
    draws: Draws,
    flops: np.ndarray,
    feasible: Feasible,
    *,
    expected: bool,
    near: np.ndarray | None = None,
    tolerance: float = 1e-12,
) -> np.ndarray:
    """Parameters at which the first-order condition holds, for each draw or for the mean loss."""
    unserved = evaluate(draws, _own_optimum, flops) if near is None else near
    start = np.log(tokens_for(np.broadcast_to(flops, unserved.shape), unserved))
    if near is not None:
        left = tokens_within(flops, near, feasible)
        start = np.where(left > 0, np.log(np.maximum(left, 1e-300)), start)
    elif expected:
        start = np.median(start, axis=0, keepdims=True)

    def pull(log_tokens: np.ndarray) -> np.ndarray:
        tokens = np.exp(log_tokens)
        params = params_within(flops, tokens, feasible)
        of_params, of_tokens = marginal_losses(draws, params, tokens)
        if expected:
            of_params, of_tokens = (
                each.mean(axis=0, keepdims=True) for each in (of_params, of_tokens)
            )
        dear = np.log1p(feasible.demand / (3 * tokens))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(of_tokens) - np.log(of_params) + dear
        # Where one input no longer helps, only the direction is known.
        return np.where(np.isfinite(ratio), ratio, 50.0 * np.sign(of_tokens - of_params))

    found = falling_root(
        pull, start - REACH, start + REACH, start, tolerance=tolerance, step=FIRST_STEP
    )
    return params_within(flops, np.exp(found), feasible)


def _best_size(
    draws: Draws, flops: np.ndarray, feasible: Feasible, *, expected: bool
) -> np.ndarray:
    """The best of the sizes that can be trained, for each draw or for the mean loss."""
    assert feasible.sizes is not None
    rows = 1 if expected else draws.samples
    best, least = np.full((2, rows, flops.shape[1]), np.inf)
    for size in feasible.sizes:
        loss = loss_of_size(draws, flops, size, feasible)
        loss = loss.mean(axis=0, keepdims=True) if expected else loss
        best = np.where(loss < least, size, best)
        least = np.minimum(loss, least)
    return best


def loss_of_size(draws: Draws, flops: np.ndarray, size: float, feasible: Feasible) -> np.ndarray:
    """Loss of a size under a budget; infinite where the budget does not allow it."""
    params = np.full((1, 1), size)
    tokens = tokens_within(flops, params, feasible)
    allowed = allowed_tokens(tokens, size, feasible)
    loss = loss_of(draws, params, np.where(allowed, tokens, 1.0))
    return np.where(allowed, loss, np.inf)


def allowed_tokens(tokens: np.ndarray, size: float, feasible: Feasible) -> np.ndarray:
    """Whether a size may be trained on so many tokens.

    One that a budget only just pays for may, whatever the rounding.
    """
    within = (tokens > 0) & (tokens <= feasible.tokens_max * (1 + 1e-12))
    return within & (size <= feasible.params_max * (1 + 1e-12))
