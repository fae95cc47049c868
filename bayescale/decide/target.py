"""Compute to a target: how much it takes to reach a loss or a score, and how likely that is not to be enough.

The compute at which a curve crosses a loss has heavy tails, and is infinite where the curve levels out above it. So the
answer is quantiles and probabilities, never a mean.
"""

import numpy as np
import scipy  # Its rooms, which take longer to load than a forecast to make, are loaded when first entered.
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.decide.draws import (
    Draws,
    Family,
    Part,
    as_draws,
    floors,
    loss_along,
    models_note,
    read_draws,
    so_many,
    told,
)
from bayescale.forecast.capability import Linked, linked
from bayescale.forecast.curve import blocks, compute_of, stream
from bayescale.forecast.doubts import distance_note, scale_unit
from bayescale.forecast.held import Held
from bayescale.forecast.montecarlo import (
    QUANTILES,
    SAMPLE_DIMS,
    effective_size,
    probability_mcse,
    quantiles,
)
from bayescale.forecast.optimum import SPACING, falling_root
from bayescale.forecast.path import PathLike
from bayescale.forecast.predict import Kind, check_kind
from bayescale.forecast.returns import FARTHEST
from bayescale.forecast.scales import positive, read_flops
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import is_stack
from bayescale.notes import Note, dump_notes
from bayescale.rates import EDGE, Rates, draw

#: Share of the draws from which it is said that they pass the law's own floor.
PAST_FLOOR = 0.01
#: Share of the largest run's compute from which the search starts; from the smallest run, if the slope drifts.
START = 1e-9
#: Distance of the nodes between which crossings are bracketed, as a share of :data:`SPACING`, and secants within, where
#: the slope drifts: the loss is then met to one part in a million.
DRIFT_SPACING, DRIFT_STEPS = 1 / 4, 3
#: First secants of the search for what a score's luck asks of its link are this long, in its logit.
FIRST_STEP = 0.5


def compute_for(
    fit: xr.DataTree,
    *,
    loss: ArrayLike | None = None,
    accuracy: ArrayLike | None = None,
    task: str | None = None,
    confidence: float = 0.9,
    budget: float | None = None,
    path: PathLike | None = None,
    kind: Kind = "curve",
    at: Held | None = None,
    family: Family = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Compute that reaches a target loss, or a target score of a task, along a path.

    Give either ``loss`` or ``accuracy``.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.stack`.
    loss : array-like
        Targets [nat/token, or the unit of the runs].
    accuracy : array-like
        Targets for the score of ``task``; in (0, 1). Of a model with ``[tasks]``.
    task : str, optional
        Task of ``accuracy``; may be left out where there is one.
    confidence : float
        How probable meeting the target must be; in (0, 1).
    budget : float, optional
        Compute that there is [FLOP]: asks how probable it is that this will not do.
    path : str, Path or table, optional
        As for :func:`bayescale.returns`: compute-optimal if left out.
    kind : {"curve", "run"}
        Whether the law's curve is to meet the target, or one run with its scatter: of its loss, and of its score.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.
    family : str or mapping, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    random_seed : int
        Of a new group, and of the scatter of a run.

    Returns
    -------
    xr.Dataset
        Dim ``loss`` or ``accuracy``, the targets. *How to read it*: every ``*_mcse`` is a Monte Carlo standard error.

        - ``compute``, dims chain, draw, target: least compute of each draw that meets the target [FLOP]; infinite where
          none does up to the end of the search;
        - ``compute_quantile``, ``compute_quantile_mcse``, dims target, quantile: among all draws, the infinite ones
          included;
        - ``compute_at_confidence``, ``compute_at_confidence_mcse``: smallest compute that meets the target with
          probability ``confidence``; infinite if there is none;
        - ``p_unreachable``: that no compute up to the end of the search, or of a plan, meets it;
        - ``p_below_floor``: that the target is not above the law's irreducible loss, or that the score's ceiling or the
          score at the irreducible loss is not above the target: a part of it, unless the slope drifts;
        - ``p_over_budget``: that it takes more than ``budget``, unreachable included; only where a budget is given;
        - ``decades_beyond``: of ``compute_at_confidence``, beyond the largest run.

        In attrs: ``confidence``, ``budget``, ``task``, ``path`` ("table" of a plan), ``kind``, ``horizon`` (where the
        search ends; with a plan at its end), ``start`` (where it starts: compute equal to it reads "at most"),
        ``family``, ``model``, ``notes``. The note ``unreachable_target`` is an error where no draw reaches a target, a
        warning where too few for the asked confidence do, or where it is only the plan that ends before.

    Raises
    ------
    ValueError
        If not one of ``loss`` and ``accuracy`` is given, a target or the budget makes no sense, the confidence is
        none, the fit does not know the task, or the law cannot grow along the path.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> found = compute_for(prior, loss=[2.2, 2.0], budget=1e24)
    >>> bool(found["p_over_budget"][0] <= found["p_over_budget"][1])
    True
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence!r}: expected a probability, such as 0.9")
    check_kind(kind)
    draws = read_draws(fit, path, family, random_seed, at)
    saved = draws.saved
    name, targets = _targets(loss, accuracy)
    if name == "loss":
        if task is not None:
            raise ValueError(f"task = {task!r} goes with accuracy, not with loss")
        wanted = targets[None, :]
    else:
        links = [linked(part.whole, task) for part in draws.parts]
        task = links[0].task
        wanted = np.concatenate(
            [
                link.loss(_expected(part, link, targets, random_seed) if kind == "run" else targets)
                for part, link in zip(draws.parts, links, strict=True)
            ]
        )
    if budget is not None:
        budget = float(read_flops(budget, saved, "budget").item())
    start, horizon = _range(draws)
    crossing = _first_crossing(draws, wanted, start, horizon, kind, random_seed)
    unit = read_flops(1.0, saved).attrs["units"]
    compute = as_draws(draws, crossing, name).assign_coords({name: targets})
    chances = {
        "p_unreachable": np.isinf(crossing),
        "p_below_floor": floors(draws) >= wanted,
    }
    if budget is not None:
        chances["p_over_budget"] = crossing > budget
    size = effective_size(compute)
    found = {"compute": compute.assign_attrs(units=unit)}
    level, error = quantiles(compute, QUANTILES)
    found["compute_quantile"] = level.assign_attrs(units=unit)
    found["compute_quantile_mcse"] = error.assign_attrs(units=unit)
    # The order statistic itself: so many draws meet the target there, and not one fewer.
    place = so_many(confidence, draws.samples) - 1
    # A copy: a view would keep the compute of every draw.
    enough = np.partition(crossing, place, axis=0)[place].copy()
    found["compute_at_confidence"] = xr.DataArray(enough, dims=name, attrs={"units": unit})
    _, error = quantiles(compute, (confidence,))
    found["compute_at_confidence_mcse"] = error.isel(quantile=0, drop=True).assign_attrs(units=unit)
    for chance, holds in chances.items():
        each = as_draws(draws, holds, name)
        found[chance] = each.mean(SAMPLE_DIMS).assign_attrs(units="1")
        found[f"{chance}_mcse"] = probability_mcse(each, size).assign_attrs(units="1")
    result = xr.Dataset(found)
    beyond = xr.DataArray(np.log10(enough / saved.largest).clip(min=0.0), dims=name)
    result["decades_beyond"] = beyond.assign_attrs(units="decade")
    result[name] = result[name].assign_attrs(units=saved.units if name == "loss" else "1")
    result = result.assign_attrs({} if task is None else {"task": task})
    plan = draws.parts[0].route.growth.path.table
    plan_ends = plan is not None and horizon == float(plan["flops"][-1])
    notes = [
        *draws.notes,
        *_unreachable_notes(result, confidence, horizon, scale_unit(saved), plan_ends),
    ]
    reached = enough[np.isfinite(enough)]
    notes += distance_note(saved, reached) if reached.size else []
    last = int(targets.argmin() if name == "loss" else targets.argmax())
    hardest, what = crossing[:, last], f"the compute to {targets[last]:.4g}"
    notes += models_note(draws, np.minimum(hardest, horizon), what, unit)
    if not is_stack(fit) and np.isfinite(hardest).all():
        notes += prior_note(fit, saved, as_draws(draws, np.log(hardest)), what)
    return result.assign_attrs(
        confidence=float(confidence),
        **({} if budget is None else {"budget": budget}),
        path=str(draws.parts[0].route.growth.path),
        kind=kind,
        start=start,
        horizon=horizon,
        **told(draws, family),
        notes=dump_notes(notes),
    )


def _targets(loss: ArrayLike | None, accuracy: ArrayLike | None) -> tuple[str, np.ndarray]:
    """What is asked for, and the values."""
    if (loss is None) == (accuracy is None):
        what = "neither" if loss is None else "both"
        raise ValueError(f"a target is either a loss or an accuracy; got {what}")
    name, asked = ("loss", loss) if accuracy is None else ("accuracy", accuracy)
    if not np.asarray(asked).size:
        raise ValueError(f"{name} = {asked!r}: expected one target or more")
    if accuracy is None:
        given = xr.DataArray(np.atleast_1d(np.asarray(loss)).reshape(-1))
        return "loss", positive(given, "loss: the target").values
    values = np.atleast_1d(np.asarray(accuracy, dtype=float)).reshape(-1)
    if not ((values > 0) & (values < 1)).all():
        raise ValueError(
            f"accuracy = {accuracy!r}: expected scores between 0 and 1, such as 0.7 for 70 %"
        )
    return "accuracy", values


def _expected(part: Part, link: Linked, scores: np.ndarray, random_seed: int) -> np.ndarray:
    """Scores that a link must give for one run, with its luck, to reach some; axes (sample, target).

    Each sample has one draw of luck, the same at every scale.
    """
    saved, tasks = part.whole, part.whole.model.tasks
    assert tasks is not None
    shape = (saved.samples, scores.size)
    if tasks.scatter is None:
        # So many trials that counting adds nothing.
        return np.broadcast_to(scores, shape)
    scatter = saved.posterior["scatter_task"].sel(task=link.task).transpose(*SAMPLE_DIMS)
    luck = stream(random_seed, "score", part.name, link.task).random((2, saved.samples, 1))

    def lacking(logit: np.ndarray) -> np.ndarray:
        rates = Rates(tasks.dist, scipy.special.expit(logit), scatter.values.reshape(-1, 1))
        return scores - draw(rates, luck)

    most = np.full(shape, -scipy.special.logit(EDGE))
    start = np.broadcast_to(scipy.special.logit(scores), shape)
    found = falling_root(lacking, -most, most, start, tolerance=1e-9, step=FIRST_STEP)
    return np.where(lacking(most) > 0, 1.0, scipy.special.expit(found))


def _range(draws: Draws) -> tuple[float, float]:
    """Compute at which the search starts and ends.

    A drift says nothing below the runs, and little many decades beyond them.
    """
    saved = draws.saved
    start = saved.largest * START
    if draws.drifts:
        start = float(compute_of(saved, saved.runs).min())
    horizon = saved.largest * FARTHEST
    return max(start, draws.lowest), min(horizon, draws.highest)


def _first_crossing(
    draws: Draws, targets: np.ndarray, start: float, horizon: float, kind: Kind, random_seed: int
) -> np.ndarray:
    """Least compute at which each draw is at or below its target losses, both with axes (sample, target).

    Bracketed on a lattice of compute, since a drift or a plan may let the loss rise for a while.
    """

    def log_loss(flops: np.ndarray) -> np.ndarray:
        return np.log(loss_along(draws, flops, kind, random_seed))

    spacing = SPACING * (DRIFT_SPACING if draws.drifts else 1)
    nodes = np.exp(np.arange(np.log(start), np.log(horizon), spacing))
    nodes[0], nodes = start, np.append(nodes, horizon)
    ahead = log_loss(nodes[None, :])
    # A target of zero is never met, an infinite one at once.
    with np.errstate(divide="ignore"):
        wanted = np.log(targets)
    logs, rows = np.log(nodes), np.arange(draws.samples)[:, None]
    # A drawn drift is known on a lattice: the last digits of its crossing mean nothing, and each step is dear.
    steps = DRIFT_STEPS if draws.drifts else 200
    found = np.empty((draws.samples, targets.shape[1]))
    # Some targets at a time: arrays stay in a processor's cache, and each search ends in its own time.
    for block in blocks(targets.shape[1], draws.samples):
        level = np.broadcast_to(wanted[:, block], found[:, block].shape)
        place = np.stack([(ahead <= each[:, None]).argmax(axis=1) for each in level.T], axis=1)
        reached = ahead[rows, place] <= level
        inside = reached & (place > 0)
        before = np.where(inside, place - 1, 0)
        low, high = logs[before], np.where(inside, logs[place], logs[before])
        level = np.where(inside, level, 0.0)
        over, under = (np.where(inside, ahead[rows, at] - level, 0.0) for at in (before, place))
        # The line between the two nodes tells the place to within some hundredths.
        with np.errstate(invalid="ignore"):
            part = np.where(inside, over / (over - under), 0.0)

        def excess(
            at: np.ndarray, level: np.ndarray = level, inside: np.ndarray = inside
        ) -> np.ndarray:
            return np.where(inside, log_loss(np.exp(at)) - level, 0.0)

        at = falling_root(
            excess, low, high, low + part * (high - low), iterations=steps, at_lower=over
        )
        found[:, block] = np.where(reached, np.where(inside, np.exp(at), start), np.inf)
    return found


def _unreachable_notes(
    found: xr.Dataset, confidence: float, horizon: float, unit: str, plan_ends: bool
) -> list[Note]:
    notes = []
    name = "loss" if "loss" in found.dims else "accuracy"
    what = {
        "loss": ("a loss of", "irreducible loss above it", "a higher one"),
        "accuracy": (
            f"{found.attrs.get('task', 'a score')} of",
            "score at the irreducible loss below it",
            "a lower one",
        ),
    }[name]
    # Not by the coordinate: of many targets, looking each up takes longer than all the rest.
    targets, shares, floors = (
        found[each].values for each in (name, "p_unreachable", "p_below_floor")
    )
    past = floors - shares
    most = int(past.argmax())
    if past[most] >= PAST_FLOOR:
        notes.append(
            Note(
                "below_the_floor",
                "warning",
                f"{what[0]} {targets[most]:.4g} is met in {past[most]:.1%} of draws that have their {what[1]}: the "
                "drift of the slope carries them past what the law alone allows",
                "larger runs tell floor and drift apart; a fit with discrepancy none takes the floor for certain",
            )
        )
    for target, share, floor in zip(targets, shares, floors, strict=True):
        if share == 0:
            continue
        why = f"{floor:.1%} have their {what[1]}" if floor else "it lies too far off"
        if plan_ends and share > floor:
            why = f"{floor:.1%} have their {what[1]}" if floor else "more compute may do"
            notes.append(
                Note(
                    "unreachable_target",
                    "warning" if share > 1 - confidence else "info",
                    f"{what[0]} {target:.4g} is unreachable in {share:.1%} of draws within the plan, which ends at "
                    f"{horizon:.3g}{unit}; {why}",
                    f"add rows to the plan to ask further, or choose {what[2]}",
                )
            )
        elif share == 1:
            notes.append(
                Note(
                    "unreachable_target",
                    "error",
                    f"{what[0]} {target:.4g} is unreachable in every draw: none meets it up to {horizon:.3g}{unit}; "
                    f"{why}",
                    f"no budget buys this target by this law; choose {what[2]}, another path or another recipe",
                )
            )
        elif share > 1 - confidence:
            notes.append(
                Note(
                    "unreachable_target",
                    "warning",
                    f"{what[0]} {target:.4g} is unreachable in {share:.1%} of draws ({why}): no compute meets it with "
                    f"{confidence:.0%} confidence",
                    f"choose {what[2]} or less confidence, or make runs that tell the floor",
                )
            )
        else:
            notes.append(
                Note(
                    "unreachable_target",
                    "info",
                    f"{what[0]} {target:.4g} is unreachable in {share:.1%} of draws ({why})",
                    "quantiles of the compute count these as infinite",
                )
            )
    return notes
