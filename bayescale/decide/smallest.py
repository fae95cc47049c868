"""Large or small, build or buy: the model that meets a target at the least lifetime cost.

A small model needs more training tokens for the same loss, and is cheaper to serve (Sardana et al. 2024,
arXiv 2401.00448). Here the target is to be met with an asked probability: every size is trained on the tokens with
which so many draws meet it, and the cheapest over its lifetime is found among them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.cost import inference_flops, tokens_for, training_flops
from bayescale.decide.draws import Draws, Family, loss_of, read_draws, so_many, told
from bayescale.decide.lifetime import Feasible, optimal_params, read_grid, read_one
from bayescale.decide.target import DRIFT_STEPS, compute_for
from bayescale.forecast.capability import linked
from bayescale.forecast.curve import compute_of
from bayescale.forecast.doubts import distance_note
from bayescale.forecast.held import Held, pair_draws
from bayescale.forecast.optimum import SPACING, falling_root
from bayescale.notes import Note, dump_notes

#: Sizes that are looked at about the compute-optimal one; half as many then between neighbours, and in a widening.
SIZES = 41
#: Times the compute-optimal size between which they lie.
SPAN = (0.01, 4.0)
#: Factor of size by which they are widened where the answer lies beyond, and how often at most.
WIDER, MOST_WIDER = 100.0, 5
#: No size is trained on more tokens than this.
MOST_TOKENS = 1e18
#: Nor on fewer.
LEAST_TOKENS = 1e6
#: Distance in ln(tokens) of the nodes between which a drifting loss is searched: an eighth of a decade.
LATTICE = SPACING / 2

#: Sizes, the training tokens that each needs, and what it costs over its lifetime.
type Looked = tuple[np.ndarray, np.ndarray, np.ndarray]


def smallest_model(
    fit: xr.DataTree,
    *,
    loss: float | None = None,
    accuracy: float | None = None,
    task: str | None = None,
    confidence: float = 0.9,
    inference_tokens: ArrayLike = 0.0,
    grid: ArrayLike | None = None,
    tokens_max: float | str | None = None,
    buy: float | None = None,
    at: Held | None = None,
    family: Family = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Size and training tokens that meet a target at the least lifetime cost.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.stack`, of a law of params and tokens.
    loss, accuracy : float
        The target, one of the two; see :func:`compute_for`.
    task : str, optional
        Of ``accuracy``.
    confidence : float
        How probable meeting the target must be; in (0, 1).
    inference_tokens : array-like
        Tokens served over the lifetime, or draws of an uncertain demand. In money, with other utilisations of prefill
        and decode than of training, what :func:`bayescale.cost.served_tokens` gives.
    grid : array-like, optional
        The only numbers of parameters that can be trained.
    tokens_max : float or str, optional
        Training tokens that there are.
    buy : float, optional
        What a token served by a bought model costs [training FLOP]: its price, divided by that of a FLOP.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, or draws of them.
    family : str or mapping, optional
    random_seed : int

    Returns
    -------
    xr.Dataset
        *How to read it*:

        - ``params``, ``tokens``: the model to train, infinite or NaN where none meets the target: trained on just so
          many tokens, so large a share of the draws meets it;
        - ``cost`` [FLOP]: of training and of serving the mean demand;
        - ``params_least``: the smallest size that meets the target at all, to a part in a thousand; with ``grid``, the
          smallest of it;
        - dim size: ``size``, ``tokens_needed`` (infinite where no number of tokens does), ``lifetime_cost`` [FLOP];
        - ``cost_bought`` [FLOP], ``break_even`` [tokens]: only with ``buy``: of buying the mean demand, and the demand
          from which building this model is the cheaper (infinite if serving it costs more than buying).

        In attrs: ``confidence``, ``inference_tokens``, ``task``, ``family``, ``model``, ``notes``.

    Raises
    ------
    ValueError
        If a number makes no sense or the law has no params and tokens.

    References
    ----------
    Sardana et al. 2024, arXiv 2401.00448.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> few, many = (smallest_model(prior, loss=2.5, confidence=0.6, inference_tokens=x) for x in (0, 1e13))
    >>> bool(many["params"] < few["params"]), bool(many["tokens"] > few["tokens"])
    (True, True)
    """
    for name, target in (("loss", loss), ("accuracy", accuracy)):
        if target is not None and np.ndim(target):
            raise ValueError(f"{name} = {target!r}: expected one target; ask about each by itself")
    reach = compute_for(
        fit,
        loss=loss,
        accuracy=accuracy,
        task=task,
        confidence=confidence,
        at=at,
        family=family,
        random_seed=random_seed,
    )
    draws = read_draws(fit, "compute-optimal", family, random_seed, at)
    demand = pair_draws(inference_tokens, draws.samples, "inference_tokens")
    served = float(demand.mean())
    most, price, given = read_one(tokens_max, "tokens_max"), read_one(buy, "buy"), read_grid(grid)
    if loss is not None:
        wanted = np.full((1, 1), float(loss))
    else:
        links = [linked(part.whole, task) for part in draws.parts]
        wanted = np.concatenate(
            [
                np.broadcast_to(link.loss(np.full((1, 1), accuracy)), (part.saved.samples, 1))
                for link, part in zip(links, draws.parts, strict=True)
            ]
        )
    enough = float(reach["compute_at_confidence"].item())

    def lifetime(sizes: np.ndarray) -> Looked:
        needed = _tokens_needed(draws, sizes, wanted, most or MOST_TOKENS, confidence)
        return sizes, needed, training_flops(sizes, needed) + inference_flops(sizes, served)

    if given is not None:
        sizes, needed, cost = lifetime(given)
    elif np.isfinite(enough):
        optima = optimal_params(draws, np.full((1, 1), enough), Feasible(np.zeros((1, 1))))
        sizes, needed, cost = _looked_at(lifetime, float(np.median(optima)))
    else:
        sizes, needed, cost = np.array([np.nan]), np.array([np.inf]), np.array([np.inf])
    best = int(np.argmin(cost))
    met = np.isfinite(cost)
    unit = {"units": "FLOP"}
    found: dict[str, tuple[Any, ...]] = {
        "params": ((), sizes[best] if met.any() else np.nan, {"units": "parameters"}),
        "tokens": ((), needed[best], {"units": "tokens"}),
        "cost": ((), cost[best], unit),
        "params_least": ((), sizes[met][0] if met.any() else np.nan, {"units": "parameters"}),
        "tokens_needed": ("size", needed, {"units": "tokens"}),
        "lifetime_cost": ("size", cost, unit),
    }
    if price is not None:
        saved = price - float(inference_flops(sizes[best], 1.0))
        trained = training_flops(sizes[best], needed[best])
        found["cost_bought"] = ((), price * served, unit)
        even = trained / saved if saved > 0 and met.any() else np.inf
        found["break_even"] = ((), even, {"units": "tokens"})
    result = xr.Dataset(found, coords={"size": ("size", sizes, {"units": "parameters"})})
    notes = [*draws.notes, *_unmet(met, sizes, confidence, most)]
    if met.any():
        notes += distance_note(draws.saved, np.array([training_flops(sizes[best], needed[best])]))
    return result.assign_attrs(
        confidence=float(confidence),
        inference_tokens=served,
        **({} if task is None and accuracy is None else {"task": reach.attrs["task"]}),
        **told(draws, family),
        notes=dump_notes(notes),
    )


def _looked_at(lifetime: Callable[[np.ndarray], Looked], center: float) -> Looked:
    """Sizes about the compute-optimal one, closer where the best and the smallest that meets the target lie."""
    found = lifetime(center * np.geomspace(*SPAN, SIZES))
    wider = np.geomspace(1.0, WIDER, SIZES // 2 + 1)[1:]
    for _ in range(MOST_WIDER):
        sizes, _, cost = found
        if np.isfinite(cost[0]):
            found = _joined(found, lifetime(sizes[0] / wider))
        # Of few tokens, only larger models make enough.
        elif not np.isfinite(cost).any() or np.argmin(cost) == sizes.size - 1:
            found = _joined(found, lifetime(sizes[-1] * wider))
        else:
            break
    for _ in range(2):
        sizes, _, cost = found
        if not np.isfinite(cost).any():
            break
        best, least = int(np.argmin(cost)), int(np.argmax(np.isfinite(cost)))
        ends = {(max(best - 1, 0), min(best + 1, sizes.size - 1)), (max(least - 1, 0), least)}
        closer = [
            np.geomspace(sizes[low], sizes[high], SIZES // 2)[1:-1] for low, high in sorted(ends)
        ]
        found = _joined(found, lifetime(np.setdiff1d(np.concatenate(closer), sizes)))
    return found


def _joined(found: Looked, more: Looked) -> Looked:
    """The same with further sizes, in order."""
    order = np.argsort(np.concatenate([found[0], more[0]]), kind="stable")
    sizes, needed, cost = (np.concatenate(both)[order] for both in zip(found, more, strict=True))
    return sizes, needed, cost


def _tokens_needed(
    draws: Draws, sizes: np.ndarray, wanted: np.ndarray, most: float, confidence: float
) -> np.ndarray:
    """Training tokens with which so many draws meet a loss, for each size; infinite where ``most`` do not do."""
    params = sizes[None, :]
    shape = (draws.samples, sizes.size)
    # A target of zero is never met, an infinite one at once.
    with np.errstate(divide="ignore"):
        level = np.broadcast_to(np.log(wanted), shape)
    known = np.isfinite(level)
    place = so_many(confidence, draws.samples) - 1

    def excess(log_tokens: np.ndarray, some: np.ndarray | slice = slice(None)) -> np.ndarray:
        above = np.log(loss_of(draws, params[:, some], np.exp(log_tokens)))
        finite, target = known[:, some], level[:, some]
        return np.where(finite, above - np.where(finite, target, 0.0), -target)

    if draws.drifts:
        tokens = _first_enough(excess, _fewest(draws, sizes), np.log(most), place)
    else:
        upper = np.full(shape, np.log(most))
        reached = excess(upper) <= 0
        lower = np.minimum(np.full(shape, np.log(LEAST_TOKENS)), upper - 1)
        start = np.clip(np.log(20 * params) + np.zeros(shape), lower, upper)
        root = falling_root(excess, lower, upper, start, tolerance=1e-6, iterations=60)
        tokens = np.where(reached, np.exp(root), np.inf)
    return np.partition(tokens, place, axis=0)[place]


def _fewest(draws: Draws, sizes: np.ndarray) -> np.ndarray:
    """Log of the tokens from which each size is searched, where the slope drifts.

    A drift says nothing where both tokens and compute lie below those of every run.
    """
    saved = draws.saved
    tokens = np.nanmin(saved.runs[saved.model.inputs["tokens"]].values)
    compute = np.nanmin(compute_of(saved, saved.runs).values)
    return np.log(np.maximum(np.minimum(tokens, tokens_for(compute, sizes)), LEAST_TOKENS))


def _first_enough(
    excess: Callable[..., np.ndarray], first: np.ndarray, last: float, place: int
) -> np.ndarray:
    """Tokens with which each draw meets a loss, near where more than ``place`` of them first do; axes (sample, size).

    Bracketed on a lattice, since a drift may let the loss rise with tokens for a while: where that ends says nothing of
    where it has been. Draws that do not meet the loss there are infinite, and so are all where there is no such place.

    Parameters
    ----------
    excess : callable
        ``excess(log_tokens, sizes)``: log loss less the target's; axes (sample, size).
    first, last : numpy.ndarray, float
        Log of the tokens between which it is sought; the first by size.
    place : int
    """
    at = np.minimum(first, last)
    before = excess(at[None, :])
    over, under, ends = before.copy(), before.copy(), at.copy()
    enough = (before <= 0).sum(axis=0) > place
    # The lattice does not depend on where it ends: more tokens to choose from are never worse.
    while (left := np.flatnonzero(~enough & (at < last))).size:
        over[:, left] = under[:, left]
        at[left], ends[left] = ends[left], np.minimum(ends[left] + LATTICE, last)
        under[:, left] = excess(ends[None, left], left)
        enough[left] = (under[:, left] <= 0).sum(axis=0) > place
        at[~enough & (ends >= last)] = last
    lower, upper = (np.broadcast_to(each, over.shape) for each in (at, ends))
    inside = (over > 0) & (under <= 0) & enough
    # The line between the two nodes tells the place to within some hundredths.
    part = np.divide(over, over - under, out=np.zeros(over.shape), where=inside)

    def within(log_tokens: np.ndarray) -> np.ndarray:
        return np.where(inside, excess(log_tokens), 0.0)

    guess = lower + part * (upper - lower)
    root = falling_root(within, lower, upper, guess, iterations=DRIFT_STEPS, at_lower=over)
    return np.where(enough & (under <= 0), np.exp(np.where(inside, root, lower)), np.inf)


def _unmet(
    met: np.ndarray, sizes: np.ndarray, confidence: float, tokens_max: float | None
) -> list[Note]:
    if met.any():
        return []
    largest = f" up to {sizes[-1]:.3g} parameters" if np.isfinite(sizes[-1]) else ""
    bound, more = (
        ("", "") if tokens_max is None else (f" on {tokens_max:.3g} tokens", "more tokens, ")
    )
    return [
        Note(
            "unreachable_target",
            "error",
            f"no size{largest} meets the target with {confidence:.0%} confidence{bound}",
            f"choose {more}an easier target or less confidence, or make runs that tell the floor",
        )
    ]
