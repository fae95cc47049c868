"""Are returns diminishing? The asker chooses what that means; the answer is a probability and an onset.

Each predicate holds where a quantity lies below a threshold. The onset is the smallest compute from which it holds all
the way to the horizon: an inverse quantity that may not exist, hence quantiles among all draws and the two
probabilities *already* and *never*, no mean.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.forecast.alternative import Elsewhere
from bayescale.forecast.capability import linked
from bayescale.forecast.curve import Saved, blocks, decades_beyond, read_fit, samples
from bayescale.forecast.doubts import design_note, distance_note, fit_notes, group_notes
from bayescale.forecast.growth import HORIZON, check_range
from bayescale.forecast.held import Held, hold_given
from bayescale.forecast.montecarlo import (
    QUANTILES,
    SAMPLE_DIMS,
    effective_size,
    probability_mcse,
    quantiles,
)
from bayescale.forecast.path import PathLike
from bayescale.forecast.predicates import (
    Predicate,
    bends_within,
    choose,
    departure,
    gain_at,
)
from bayescale.forecast.returns import Route, loss_at, route_attrs, route_for
from bayescale.forecast.scales import group_of, pooled_columns, read_flops, read_one
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import is_stack, members, mixed, of_stack
from bayescale.notes import Note, dump_notes, get_notes

#: A rise of the loss smaller than this, relatively, is rounding.
_RISE = 1e-12


def diminishing(
    fit: xr.DataTree,
    *,
    beyond: float,
    to: float | None = None,
    gain_below: float | None = None,
    elasticity_below: float | None = None,
    relative_below: tuple[float, float] | None = None,
    floor: float | None = None,
    flattening: float | None = None,
    price_above: tuple[float, float] | None = None,
    capability_below: float | None = None,
    task: str | None = None,
    data_limited: float | None = None,
    alternative: xr.DataTree | tuple[str, float] | tuple[xr.DataTree, float, float] | None = None,
    step: float = 2.0,
    path: PathLike | None = None,
    at: Held | None = None,
    family: str | Mapping[str, str] | None = None,
    horizon: float | None = None,
    grid: int = 200,
    random_seed: int = 0,
) -> xr.Dataset:
    """Probability that returns to compute are diminishing, in the sense that the asker chooses.

    Give exactly one of ``gain_below``, ``elasticity_below``, ``relative_below``, ``floor``, ``flattening``,
    ``price_above``, ``capability_below``, ``data_limited`` and ``alternative``.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`, or opened from its file.
    beyond : float
        Training compute asked about [FLOP]; for a law of one input, that input in its own unit.
    to : float, optional
        Ask also whether it holds throughout ``beyond`` to here.
    gain_below : float
        Holds at C where the next step lowers the loss by less [nat/token].
    elasticity_below : float
        Where ``-d ln L / d ln C`` is less.
    relative_below : tuple of float
        ``(r, C0)``: where a step is worth less than ``r`` times what it was at ``C0``.
    floor : float
        Where the share of the loss that is reducible is less.
    flattening : float
        Of a model whose slope may drift: where the elasticity of the loss is lower than the law alone would give, by
        more than this. Of a law that can bend: where the elasticity of the reducible loss is lower than one decade
        earlier, by more than this. Of any other the answer is 0 by construction, and a note says so.
    price_above : tuple of float
        ``(worth, price)``: where an improvement by one nat, at the pace of the next step, costs more money than it is
        worth; ``price`` is that of a FLOP.
    capability_below : float
        Where the next step adds less to the score of ``task`` (0.01 is one point); of a model with ``[tasks]``.
    task : str, optional
        Of ``capability_below``, and of an ``alternative`` at inference; may be left out where there is one.
    data_limited : float
        Where a token that is read again lowers the loss by less than this share of what a fresh one would; of a law of
        repeated data, with ``at={"unique_tokens": ...}``. See :func:`data_value`.
    alternative : xr.DataTree or tuple
        Where what the next step costs buys more elsewhere: a fit of another recipe, trained with the same compute; or
        ``("unique_tokens", price)``, fresh tokens at a price of one [FLOP]; or ``(fit, spent, price)``, inference: a
        fit of ``voting``, ``coverage``, ``pass-at-k`` or ``test-time``, what is spent on a problem now in the unit of
        its input, and what one more costs over all problems that will be served [FLOP]. The two are compared in the
        score of ``task``. A curve of inference is that of one model and taken as it stands: ask near its compute.
    step : float
        Factor of compute of one step; above 1.
    path : str, Path or table, optional
        See :func:`returns`.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.
    family : str or mapping, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    horizon : float, optional
        Where the search for the onset ends: ``to``, or 1e4 times ``beyond``. A plan ends it sooner, and so does a
        slope that drifts, which is followed over eight decades beyond the largest run.
    grid : int
        Scales in the search.
    random_seed : int
        Of a new group.

    Returns
    -------
    xr.Dataset
        *How to read it*: every ``*_mcse`` is a Monte Carlo standard error.

        - ``probability``, ``probability_mcse``: that it holds at ``beyond``;
        - ``probability_throughout``, ``probability_throughout_mcse``: at every scale of ``beyond`` to ``to``; only
          where ``to`` is given;
        - ``probability_within_runs``, ``probability_within_runs_mcse``: that the slope fell so over the last decade of
          the runs: the part of a flattening that is evidence; only for ``flattening`` of a model that drifts;
        - ``onset``, ``onset_mcse``, dim ``quantile``: smallest compute [FLOP] from which it holds to the horizon,
          among all draws. A draw in which it holds all along counts as the start of the search: such a quantile
          reads "at most". One in which it does not hold at the horizon counts as infinite;
        - ``onset_decades_beyond``, dim ``quantile``: decades of compute beyond the largest run;
        - ``p_already``, ``p_never``, each with ``_mcse``: of holding all along, and of not holding at the horizon;
        - ``p_loss_rises``, ``p_loss_rises_mcse``: that a step raises the loss, somewhere in ``beyond`` to ``to``;
        - ``decades_beyond``: of ``beyond``;
        - ``onset_draws``, dims chain, draw: the onset of each draw [FLOP].

        In attrs: ``predicate``, ``threshold``, ``relative_to`` (C0), ``price``, ``task``, ``beyond``, ``to``,
        ``start``, ``horizon``, ``largest_run``, ``loss_units``, ``path``, ``step``, ``family``, ``model``, ``kind``,
        ``notes``.

    Raises
    ------
    ValueError
        If not exactly one predicate is given, a number makes no sense, or the law cannot grow along the path.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=200)
    >>> found = diminishing(prior, beyond=1e25, gain_below=0.01, path="fixed-ratio=20")
    >>> 0 < float(found["probability"]) < 1, found.attrs["predicate"]
    (True, 'gain_below')
    """
    if is_stack(fit):
        options = {
            "beyond": beyond,
            "to": to,
            "gain_below": gain_below,
            "elasticity_below": elasticity_below,
            "relative_below": relative_below,
            "floor": floor,
            "flattening": flattening,
            "price_above": price_above,
            "capability_below": capability_below,
            "task": task,
            "data_limited": data_limited,
            "alternative": alternative,
            "step": step,
            "path": path,
            "at": at,
            "family": family,
            "horizon": horizon,
            "grid": grid,
            "random_seed": random_seed,
        }
        return _of_stack(fit, options)
    whole = read_fit(fit)
    saved = hold_given(whole, at)

    def route_of(other: Saved, held: Held) -> Route:
        known = {name: value for name, value in held.items() if name in other.model.inputs.values()}
        group = family if other.pooled == pooled_columns(whole) else None
        # A law of one input grows along it, whatever the path here.
        along = None if len(other.law.inputs) == 1 else path
        return route_for(hold_given(other, known), along, group, random_seed)

    predicate = choose(
        saved,
        step,
        {
            "gain_below": gain_below,
            "elasticity_below": elasticity_below,
            "relative_below": relative_below,
            "floor": floor,
            "flattening": flattening,
            "price_above": price_above,
            "capability_below": capability_below,
            "data_limited": data_limited,
            "alternative": alternative,
        },
        task,
        Elsewhere(whole, at or {}, route_of),
    )
    route = route_for(saved, path, family, random_seed)
    beyond, to, start, horizon = _range(route, beyond, to, horizon, predicate, step)
    scales = _grid(start, horizon, [beyond, *([to] if to else [])], grid)
    asked = scales[(scales >= beyond) & (scales <= (to or beyond))]
    gain = gain_at(route, asked[None, :1], step)
    rises = _rises(route, asked, step)
    onset, answers = _search(route, scales, asked, predicate)
    if to is None:
        del answers["probability_throughout"]
    if predicate.measure is departure:
        if beyond <= saved.largest:
            raise ValueError(
                f"beyond = {beyond:.3g}: where a slope may drift, flattening is told beyond the largest run "
                f"({saved.largest:.3g}), at which the slope is the law's own; ask there, and read "
                "probability_within_runs for the last decade of the runs"
            )
        within = bends_within(route, predicate.threshold)
        answers |= {} if within is None else {"probability_within_runs": within}
    answers |= {"p_loss_rises": rises}
    result = _answers(saved, answers, onset, gain[:, 0])
    if predicate.never:
        # Known from the law, not from the draws.
        exact = [f"{name}_mcse" for name in answers if name != "p_loss_rises"]
        result = result.assign({name: xr.zeros_like(result[name]) for name in exact})
    groups = [group_of(saved, family)]
    notes = [*fit_notes(fit, saved), *group_notes(saved, groups)]
    if predicate.name == "flattening" and (predicate.never or saved.drift is not None):
        notes.append(_flattening_note(saved, predicate, result))
    if rises.any():
        notes.append(_rise_note(float(rises.mean()), beyond, to))
    result = result.assign_attrs(
        predicate=predicate.name,
        threshold=predicate.threshold,
        **({"relative_to": float(relative_below[1])} if relative_below else {}),
        **({"price": float(price_above[1])} if price_above else {}),
        **({"task": linked(whole, task).task} if capability_below or task else {}),
        beyond=beyond,
        **({"to": to} if to else {}),
        start=start,
        horizon=horizon,
        largest_run=saved.largest,
        loss_units=saved.units,
        **route_attrs(route, step, family),
    )
    result["decades_beyond"] = decades_beyond(saved, xr.DataArray(beyond))
    farthest = np.array([to or beyond])
    notes += distance_note(saved, farthest, groups)
    notes += design_note(
        saved, route.growth.inputs(farthest[None]), f"the path at {farthest[0]:.3g}"
    )
    notes += prior_note(fit, saved, samples(saved, gain[:, 0]), f"the gain at {beyond:.3g}")
    return result.assign_attrs(notes=dump_notes(notes))


def _range(
    route: Route,
    beyond: float,
    to: float | None,
    horizon: float | None,
    predicate: Predicate,
    step: float,
) -> tuple[float, float | None, float, float]:
    """Checked ``beyond`` and ``to``, and where the search for the onset starts and ends."""
    beyond = read_one(beyond, route.saved, "beyond")
    to = None if to is None else read_one(to, route.saved, "to")
    if horizon is not None:
        horizon = read_one(horizon, route.saved, "horizon")
    if to is not None and not to > beyond:
        raise ValueError(f"to = {to:.4g} must lie above beyond = {beyond:.4g}")
    # Both the measure and the gain look ahead or back of C.
    factors = (1.0, step, *predicate.reach)
    low, high = route.growth.lowest / min(factors), route.growth.highest / max(factors)
    if horizon is None:
        horizon = to or min(beyond * HORIZON, max(high, beyond))
    if horizon < (to or beyond):
        raise ValueError(f"horizon = {horizon:.4g} must not lie below {(to or beyond):.4g}")
    start = min(max(route.saved.largest, low), beyond)
    for factor in factors:
        check_range(
            route.growth, np.array([start, beyond, horizon]) * factor, f"compute * {factor:g}"
        )
    check_range(route.growth, np.array(predicate.base), "relative_below: C0")
    return beyond, to, start, horizon


def _grid(start: float, horizon: float, points: list[float], size: int) -> np.ndarray:
    if size < 2:
        raise ValueError(f"grid = {size}: expected at least 2 scales")
    scales = np.geomspace(start, horizon, size) if horizon > start else np.array([start])
    # The ends as given, not as rounded by the logarithm.
    scales[0], scales[-1] = start, max(horizon, start)
    return np.unique(np.concatenate([scales, points]))


def _rises(route: Route, scales: np.ndarray, step: float) -> np.ndarray:
    """Whether a step raises the loss anywhere; axis (sample,)."""
    found = np.zeros(route.saved.samples, bool)
    rounding = _RISE * loss_at(route, scales[None, :1])
    for block in blocks(scales.size, route.saved.samples):
        found |= (gain_at(route, scales[None, block], step) < -rounding).any(axis=1)
    return found


def _search(
    route: Route, scales: np.ndarray, asked: np.ndarray, predicate: Predicate
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Onset, and whether it holds at the first scale asked about, at all of them, all along, never; axis (sample,).

    Block by block, so that memory does not grow with the number of scales.
    """
    samples = route.saved.samples
    if predicate.never:
        no = np.zeros(samples, bool)
        names = ("probability", "probability_throughout", "p_already")
        return np.full(samples, np.inf), dict.fromkeys(names, no) | {"p_never": ~no}
    onset = np.full(samples, scales[0])
    first, throughout, already = np.ones((3, samples), bool)
    before = np.empty((samples, 0))
    for block in blocks(scales.size, samples):
        new = predicate.measure(route, scales[None, block])
        values = np.concatenate([before, np.broadcast_to(new, (samples, new.shape[1]))], axis=1)
        here = scales[block.start - before.shape[1] : block.stop]
        holds = values < predicate.below
        first &= holds[:, here == asked[0]].all(axis=1)
        throughout &= holds[:, np.isin(here, asked)].all(axis=1)
        already &= holds.all(axis=1)
        # Where it holds all through the block, the onset lies before.
        onset = np.where(holds.all(axis=1), onset, _onset(here, values, predicate.below))
        before = values[:, -1:]
    return onset, {
        "probability": first,
        "probability_throughout": throughout,
        "p_already": already,
        "p_never": ~holds[:, -1],
    }


def _onset(scales: np.ndarray, values: np.ndarray, below: float) -> np.ndarray:
    """Smallest scale from which values stay below the threshold; infinite if the last is not.

    Between two scales the value is taken as a power of scale where it is positive, and as linear in the log of scale
    elsewhere.
    """
    holds = values < below
    rows = np.arange(values.shape[0])
    last = values.shape[1] - 1 - np.argmax(~holds[:, ::-1], axis=1)
    already, never = holds.all(axis=1), ~holds[:, -1]
    after = np.minimum(last + 1, values.shape[1] - 1)
    before, behind = values[rows, last], values[rows, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        linear = (before - below) / (before - behind)
        power = np.log(before / below) / np.log(before / behind)
    place = np.clip(np.where(np.isfinite(power), power, linear), 0.0, 1.0)
    logs = np.log(scales)
    onset = np.exp(logs[last] + place * (logs[after] - logs[last]))
    return np.where(already, scales[0], np.where(never, np.inf, onset))


def _of_stack(fit: xr.DataTree, options: Mapping[str, Any]) -> xr.Dataset:
    """Mix the answers of a stack's members: probabilities by weight, onsets by their share of the draws."""
    asked = list(members(fit))
    answers = {member.name: diminishing(member.whole, **options) for member in asked}
    first = next(iter(answers.values()))
    shared = set.intersection(*(set(each.data_vars) for each in answers.values()))
    chances = [
        name
        for name in first.data_vars
        if name in shared and f"{name}_mcse" in first and name != "onset"
    ]
    result = mixed(fit, answers, [str(name) for name in chances])
    # Of the shares, as every other answer by draw: a share drifts along paths of its own.
    onsets = [
        diminishing(member.share, **options)["onset_draws"].assign_coords(
            draw=np.arange(member.draws.start, member.draws.stop)
        )
        for member in asked
    ]
    result["onset_draws"] = xr.concat(onsets, "draw", join="exact")
    result["onset"], result["onset_mcse"] = quantiles(result["onset_draws"], QUANTILES)
    beyond = xr.ufuncs.log10(result["onset"] / first.attrs["largest_run"])
    result["onset_decades_beyond"] = beyond.clip(min=0.0)
    result["decades_beyond"] = first["decades_beyond"]

    def gain(share: xr.DataTree, _: slice) -> xr.DataArray:
        saved = hold_given(read_fit(share), options["at"])
        route = route_for(saved, options["path"], options["family"], options["random_seed"])
        scale = np.full((1, 1), first.attrs["beyond"])
        return samples(saved, gain_at(route, scale, options["step"])[:, 0]).rename("gain")

    notes = [note for each in answers.values() for note in get_notes(each)]
    notes += get_notes(of_stack(fit, gain))
    attrs = {**first.attrs, "model": fit.attrs["model_name"], "weights": fit.attrs["stack"]}
    return result.assign_attrs({**attrs, "notes": dump_notes(notes)})


def _answers(
    saved: Saved, answers: Mapping[str, np.ndarray], onset: np.ndarray, gain: np.ndarray
) -> xr.Dataset:
    size = effective_size(samples(saved, gain))
    found: dict[str, xr.DataArray] = {}
    for name, holds in answers.items():
        draws = samples(saved, holds)
        found[name] = draws.mean(SAMPLE_DIMS).assign_attrs(units="1")
        found[f"{name}_mcse"] = probability_mcse(draws, size).assign_attrs(units="1")
    unit = {"units": read_flops(1.0, saved).attrs["units"]}
    draws = samples(saved, onset)
    level, error = quantiles(draws, QUANTILES)
    found["onset"] = level.assign_attrs(unit)
    found["onset_mcse"] = error.assign_attrs(unit)
    found["onset_decades_beyond"] = decades_beyond(saved, level)
    found["onset_draws"] = draws.assign_attrs(unit)
    return xr.Dataset(found)


def _flattening_note(saved: Saved, predicate: Predicate, found: xr.Dataset) -> Note:
    if predicate.never:
        return Note(
            "law_cannot_bend",
            "info",
            f"the answer is no by construction: law {saved.law.name!r} has no way to flatten beyond what its "
            "exponents and the path imply, so these runs cannot say whether returns do",
            "fit a model that can bend, or ask for gain_below, elasticity_below or floor",
        )
    within = ""
    if "probability_within_runs" in found:
        share = float(found["probability_within_runs"])
        within = (
            f"; over the last decade of the runs themselves P = {share:.2f}, as this model divides what it saw "
            "between the law and its drift"
        )
    return Note(
        "by_construction",
        "warning",
        "beyond the runs a slope drifts up as readily as down, so that much of P = "
        f"{float(found['probability']):.2f} is the prior's symmetry, not a finding{within}",
        "do not report it as flattening; ask for gain_below or elasticity_below",
    )


def _rise_note(share: float, beyond: float, to: float | None) -> Note:
    where = f"at {beyond:.3g}" if to is None else f"between {beyond:.3g} and {to:.3g}"
    return Note(
        "loss_may_rise",
        "warning",
        f"in {share:.1%} of draws more compute raises the loss {where}",
        "that is a limit of the model or of the path, not a forecast to act upon",
    )
