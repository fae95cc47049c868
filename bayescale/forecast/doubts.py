"""The notes that forecasts share: convergence, distance, the trust in the law, and groups without runs."""

import difflib
from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from bayescale.forecast.curve import Group, Saved, largest_of
from bayescale.forecast.noise import noise_scale
from bayescale.notes import Note, get_notes

#: Share of a forecast's variance from which the drift is said to make it.
DRIFT_SHARE = 0.5
#: Factor outside the range of the runs from which tokens per parameter, or another input, is called outside.
OUTSIDE = 3.0
#: Decades of compute beyond the largest run from which a forecast is called far.
FAR = 1.0
#: Decades by which the runs of a group end below the largest of all, from which it is said.
BEHIND = 0.5


def fit_notes(fit: xr.DataTree, saved: Saved) -> list[Note]:
    """Errors that the fit carries, and, if so, that the law is trusted as it stands.

    Parameters
    ----------
    fit : xr.DataTree
    saved : Saved

    Returns
    -------
    list of Note
    """
    notes = [note for note in get_notes(fit) if note.severity == "error"]
    if not fit.attrs.get("converged", 1) and all(note.code != "not_converged" for note in notes):
        advice = (
            "do not use these numbers: fit again with more draws, a simpler model or tighter priors"
        )
        notes.append(Note("not_converged", "error", "the sampler did not converge", advice))
    if saved.model.discrepancy is not None:
        return notes
    notes.append(
        Note(
            "bare_law",
            "info",
            f"intervals hold if law {saved.law.name!r} holds exactly at every scale: no discrepancy is added",
            "read them as the least uncertainty, and compare models",
        )
    )
    return notes


def distance_note(saved: Saved, compute: np.ndarray, groups: Iterable[Group] = ()) -> list[Note]:
    """The notes that scales lie far beyond the runs, or far below them, if they do.

    Parameters
    ----------
    saved : Saved
    compute : numpy.ndarray
        Training compute of the scales, in the unit of ``saved.largest``.
    groups : iterable of mapping
        Groups that are asked about: the runs of one may end far below those of another.

    Returns
    -------
    list of Note
        ``far_extrapolation``, ``below_the_runs``, both or none.
    """
    scales, unit = np.asarray(compute, dtype=float).reshape(-1), scale_unit(saved)
    asked = np.log10(scales)
    notes = []
    for code, decades, end, advice in (
        (
            "far_extrapolation",
            asked - np.log10(saved.largest),
            f"beyond the largest run ({saved.largest:.3g}{unit})",
            "add larger runs, or read the answer as what the law says rather than what will happen",
        ),
        (
            "below_the_runs",
            np.log10(saved.smallest) - asked,
            f"below the smallest run ({saved.smallest:.3g}{unit})",
            "was a unit meant, such as 7B for 7e9? Laws of large runs say little of small ones",
        ),
    ):
        # As they are told, so that no distance of one decade is called more than one.
        decades = decades.round(2)
        far = int((decades > FAR).sum())
        if not far:
            continue
        farthest = f"{scales[decades.argmax()]:.3g}{unit}"
        distance = f"{decades.max():.3g} decades"
        if decades.size == 1:
            which = f"the scale {farthest} lies"
        else:
            which = f"{far} of {decades.size} scales {'lies' if far == 1 else 'lie'}"
            distance += f" at most, at {farthest}"
        message = f"{which} more than a decade {end}: {distance}"
        notes.append(Note(code, "warning", message, advice))
    return [*notes, *_behind(saved, asked, groups)]


def _behind(saved: Saved, asked: np.ndarray, groups: Iterable[Group]) -> list[Note]:
    """The note that a group's own runs end far below what is asked of it, though those of others do not."""
    notes = []
    for column, name in dict.fromkeys(pair for group in groups for pair in group.items()):
        largest = largest_of(saved, {column: name})
        if largest is None or not asked.size or largest * 10**BEHIND > saved.largest:
            continue
        beyond = float(asked.max() - np.log10(largest))
        if beyond > FAR:
            message = (
                f"{column}: the runs of {name!r} end at {largest:.3g}{scale_unit(saved)}, {beyond:.1f} decades below "
                "what is asked: that it keeps its distance to the others is the model's assumption"
            )
            notes.append(
                Note("far_extrapolation", "warning", message, f"add larger runs of {name!r}")
            )
    return notes


def noise_note(saved: Saved, ratios: Mapping[str, np.ndarray]) -> list[Note]:
    """The note that scatter which changes with scale is carried to where no run shows it.

    Parameters
    ----------
    saved : Saved
    ratios : mapping
        Inputs of the farthest point as ratios to the reference, axes (sample, 1).
    """
    decades = sum(np.log10(np.median(ratios[slot])) for slot in saved.law.scales)
    if saved.model.noise.slope is None or not decades > FAR:
        return []
    scale = noise_scale(saved, ratios)
    assert scale is not None
    here, there = np.median(saved.draws_of("sigma")), np.median(scale)
    return [
        Note(
            "by_construction",
            "info",
            f"the scatter of runs changes with scale: its sigma is {here:.2g} about the largest runs and "
            f"{there:.2g} at the farthest point, where no run shows it",
            "a model without a slope of the noise keeps it as it is",
        )
    ]


def design_note(saved: Saved, inputs: Mapping[str, np.ndarray], where: str) -> list[Note]:
    """The note that a scale is of another shape than any run: compute alone does not tell that it is far.

    Tokens per parameter for a law of both, and every other input but compute, params and tokens, is held against
    the range of the runs.

    Parameters
    ----------
    saved : Saved
    inputs : mapping
        Inputs of the scales by slot, axes (sample, point).
    where : str
        Which scale it is, for the message.

    Returns
    -------
    list of Note
        Empty, or one ``outside_domain`` for each.
    """
    columns = saved.model.inputs
    asked = {
        slot: np.median(values, axis=0)
        for slot, values in inputs.items()
        if columns[slot] not in ("params", "tokens", "flops") and len(columns) > 1
    }
    runs = {slot: saved.runs[columns[slot]].values for slot in asked}
    names = {slot: columns[slot] for slot in asked}
    if saved.has_compute:
        asked["ratio"] = np.median(inputs["tokens"] / inputs["params"], axis=0)
        runs["ratio"] = saved.runs[columns["tokens"]].values / saved.runs[columns["params"]].values
        names["ratio"] = "tokens per parameter"
    notes = []
    for slot, values in asked.items():
        low, high = float(runs[slot].min()), float(runs[slot].max())
        far = values.max() if values.max() / high > low / values.min() else values.min()
        if low / OUTSIDE <= far <= high * OUTSIDE:
            continue
        notes.append(
            Note(
                "outside_domain",
                "warning",
                f"{where} has {far:.3g} {names[slot]}; the runs span {low:.3g} to {high:.3g}",
                f"add runs there, or choose a path that stays within {low:.3g} to {high:.3g}",
            )
        )
    return notes


def drift_note(
    saved: Saved, inputs: Mapping[str, np.ndarray], log_loss: np.ndarray, label: str
) -> list[Note]:
    """The note that the width of a forecast is mostly the drift's prior, if it is.

    Beyond the runs nothing but its prior says how the law's slope will drift: power-scaling the prior of its rate does
    not show that.

    Parameters
    ----------
    saved : Saved
    inputs : mapping
        Inputs of one scale, axes (sample, 1) or (1, 1).
    log_loss : numpy.ndarray
        Draws there, axis (sample,).
    label : str
        What is forecast, for the message.

    Returns
    -------
    list of Note
        Empty, or one ``by_construction``.
    """
    if saved.drift is None:
        return []
    delta = saved.drift.delta(inputs)
    share = float(np.var(delta) / max(np.var(log_loss), 1e-300))
    if share < DRIFT_SHARE:
        return []
    return [
        Note(
            "by_construction",
            "info",
            f"{min(share, 1.0):.0%} of the variance of {label} is the drift of the law's slope away from the runs, "
            "which follows from the drift's prior and the rate seen within the runs",
            "runs there narrow it; a fit with discrepancy none shows what the law alone would say",
        )
    ]


def scale_unit(saved: Saved) -> str:
    """Unit of compute, or of what takes its place, with a space before it; empty where it is not known."""
    if saved.grows_by_compute:
        return " FLOP"
    return f" {next(iter(saved.model.inputs.values()))}" if len(saved.model.inputs) == 1 else ""


def group_notes(saved: Saved, groups: Iterable[Group]) -> list[Note]:
    """A note for the groups that have no runs, one for each pooling column.

    Parameters
    ----------
    saved : Saved
    groups : iterable of mapping
        Name of the group in each pooling column; empty for a group that was not named.

    Returns
    -------
    list of Note
    """
    groups = list(groups)
    notes = []
    for column in saved.pooled:
        known = saved.names_of(column)
        new = [
            name for name in dict.fromkeys(group[column] for group in groups) if name not in known
        ]
        if not new:
            continue
        named = [name for name in new if name]
        what = ", ".join(map(repr, named[:5])) if named else f"no {column} was given"
        near = [match for name in named for match in difflib.get_close_matches(name, known, n=1)]
        hint = f"did you mean {near[0]!r}? " if near else ""
        notes.append(
            Note(
                "new_family",
                # Where a name is like one that has runs, it is more likely misspelt than new.
                "warning" if near else "info",
                f"{column}: {what}: the forecast is for a new one, drawn from the spread between the "
                f"{len(known)} that have runs",
                f"{hint}name one of {', '.join(known[:12])} to forecast for it",
            )
        )
    return notes
