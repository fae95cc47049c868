"""What a report says, before it is written in any form: sections of paragraphs, tables and figures."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayescale import plots
from bayescale.checks import check
from bayescale.decide import allocate
from bayescale.forecast import capability, diminishing, inputs_along, predict, returns, summarise
from bayescale.forecast.curve import Saved, read_fit
from bayescale.forecast.path import PathLike
from bayescale.notes import SEVERITIES, Note, get_notes
from bayescale.report.checklist import checklist

#: What a step has to be worth unless the reader says otherwise [unit of the loss].
WORTH = 0.01
#: Scales of the curves.
GRID = 40
LEVELS = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first column names the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure; its label is its description in words."""

    figure: Figure
    caption: str

    @property
    def alt(self) -> str:
        """The description in words."""
        return str(self.figure.get_label())


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file."""

    text: str


type Block = str | Table | Picture | Code | tuple[Note, ...]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Content:
    """A report.

    Parameters
    ----------
    title : str
    answer : tuple of str
        Sentences with numbers, the most important first.
    sections : tuple of Section
    numbers : mapping
        The same numbers for a script, under stable keys.
    """

    title: str
    answer: tuple[str, ...]
    sections: tuple[Section, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What a report is asked."""

    beyond: float
    gain_below: float
    step: float
    path: PathLike | None
    family: str | None


def compose(
    fit: xr.DataTree,
    *,
    beyond: float | None,
    gain_below: float | None,
    step: float,
    path: PathLike | None,
    family: str | None,
    command: str,
) -> Content:
    """Ask a fit everything that a report tells.

    Parameters
    ----------
    fit : xr.DataTree
    beyond : float or None
        Compute asked about [FLOP]; by default ten times the largest run.
    gain_below : float or None
        What a step has to be worth; by default :data:`WORTH`.
    step : float
    path, family
        As for :func:`bayescale.returns`.
    command : str
        How the report was asked for, if that is known.
    """
    saved = read_fit(fit)
    asked = Asked(
        beyond=float(beyond or 10 * saved.largest),
        gain_below=float(gain_below or WORTH),
        step=step,
        path=path,
        family=family,
    )
    answer = diminishing(
        fit,
        beyond=asked.beyond,
        gain_below=asked.gain_below,
        step=step,
        path=path,
        family=family,
    )
    here = summarise(returns(fit, flops=[asked.beyond], step=step, path=path, family=family))
    sentences, numbers = _answer(fit, saved, asked, answer, here.isel(flops=0))
    makers: dict[str, tuple[str, Callable[[], Iterator[Block]]]] = {
        "loss": ("Loss and what more compute buys", lambda: _loss(fit, saved, asked, answer)),
        "allocation": ("How to divide a budget", lambda: _allocation(fit, saved, asked)),
        "capability": ("Scores of tasks", lambda: _capability(fit, saved, asked)),
        "assumptions": ("What the answer assumes", lambda: _assumptions(fit, saved, answer)),
        "trust": ("Can the fit be trusted?", lambda: _trust(fit, saved)),
        "prior": ("What is prior, what is data", lambda: _prior(fit)),
        "doubts": ("Doubts", lambda: _doubts(fit, answer, here)),
        "checklist": ("Checklist of a scaling-law study", lambda: _checklist(fit, saved)),
        "reproduce": ("Reproduce", lambda: _reproduce(fit, command)),
    }
    sections = []
    for key, (title, make) in makers.items():
        try:
            blocks = tuple(make())
        except ValueError as error:
            # A law that cannot say this says so; the rest of the report stands.
            blocks = (f"Not answered: {error}.",)
        if blocks:
            sections.append(Section(key, title, blocks))
    name = str(fit.attrs["model_name"])
    source = str(fit.attrs.get("source") or "runs")
    return Content(f"Returns to scale: {source}, model {name}", sentences, tuple(sections), numbers)


def number(value: float, digits: int = 3) -> str:
    """A number as people write it.

    Examples
    --------
    >>> number(9.62e9), number(1.5e-7), number(0.01234), number(float("inf")), number(float("nan"))
    ('9.62e9', '1.5e-7', '0.0123', 'never', '–')
    """
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "never"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.{digits}g}")


def percent(share: float, error: float = 0.0) -> str:
    """A probability in per cent, no finer than its Monte Carlo error.

    Examples
    --------
    >>> percent(0.273), percent(0.0, 0.0005), percent(1.0, 0.0005), percent(0.004)
    ('27 %', 'less than 0.1 %', 'more than 99.9 %', '0.4 %')
    """
    least = max(0.1, np.ceil(1000 * error) / 10)
    if share < error or 100 * share < least / 2:
        return f"less than {least:.1f} %"
    if share > 1 - error or 100 * (1 - share) < least / 2:
        return f"more than {100 - least:.1f} %"
    return f"{100 * share:.{0 if 0.02 <= share <= 0.98 else 1}f} %"


def spread(values: xr.DataArray) -> str:
    """Median and central 90 % interval of a summary, to two digits of the interval's width.

    Examples
    --------
    >>> levels = {"quantile": [0.05, 0.5, 0.95]}
    >>> spread(xr.DataArray([-0.000969, 0.0276, 0.0602], levels, "quantile"))
    '0.028 (90 %: -0.001 to 0.060)'
    >>> spread(xr.DataArray([9.62e9, 1.98e10, 4.33e10], levels, "quantile"))
    '1.98e10 (90 %: 9.62e9 to 4.33e10)'
    """
    low, middle, high = (float(values.sel(quantile=level)) for level in LEVELS)
    width = high - low
    if 1e-5 < width < np.inf and max(abs(low), abs(high)) < 1e4:
        places = max(0, 1 - int(np.floor(np.log10(width))))
        told = [f"{each:.{places}f}" for each in (low, middle, high)]
    else:
        told = [number(each) for each in (low, middle, high)]
    return f"{told[1]} (90 %: {told[0]} to {told[2]})"


def _levels(values: xr.DataArray) -> dict[str, float]:
    return {
        key: float(values.sel(quantile=level))
        for key, level in zip(("q05", "median", "q95"), LEVELS, strict=True)
    }


def _unit(saved: Saved) -> str:
    return " FLOP" if saved.has_compute or "flops" in saved.model.inputs.values() else ""


def _answer(
    fit: xr.DataTree, saved: Saved, asked: Asked, answer: xr.Dataset, here: xr.Dataset
) -> tuple[tuple[str, ...], dict[str, Any]]:
    unit, loss_unit = _unit(saved), here["gain"].attrs["units"]
    what = "a doubling" if asked.step == 2 else f"{asked.step:g} times the compute"
    where = f"{number(asked.beyond)}{unit}"
    beyond = float(answer["decades_beyond"])
    share, error = float(answer["probability"]), float(answer["probability_mcse"])
    sentences = [
        f"At {where} {what} buys {spread(here['gain'])} {loss_unit}; the probability that it buys less than "
        f"{asked.gain_below:g} is {percent(share, error)}.",
        f"The loss there is {spread(here['loss'])} {loss_unit}."
        + (
            f" That is {beyond:.1f} decades beyond the largest run, {number(saved.largest)}{unit}."
            if beyond > 0
            else " That is within the range of the runs."
        ),
    ]
    already, never = float(answer["p_already"]), float(answer["p_never"])
    onset = answer["onset"]
    middle = float(onset.sel(quantile=0.5))
    if already > 0.5:
        told = f"Most probably ({percent(already)}) it buys less all the way from {number(answer.attrs['start'])}{unit}"
    elif np.isinf(middle):
        told = f"Most probably ({percent(never)}) it still buys more at {number(answer.attrs['horizon'])}{unit}"
    else:
        told = f"From about {number(middle)}{unit} on it buys less (90 %: {_onset_range(onset, answer, unit)})"
    sentences.append(f"{told}.")
    if not fit.attrs["converged"]:
        sentences.insert(
            0, "The sampler did not converge: do not rest a decision on any number of this report."
        )
    numbers = {
        "beyond": asked.beyond,
        "gain_below": asked.gain_below,
        "step": asked.step,
        "gain": _levels(here["gain"]),
        "loss": _levels(here["loss"]),
        "elasticity": _levels(here["elasticity"]),
        "units": loss_unit,
        "probability": share,
        "probability_mcse": error,
        "onset": _levels(onset),
        "p_already": already,
        "p_never": never,
        "decades_beyond": beyond,
        "largest_run": saved.largest,
        "path": str(answer.attrs["path"]),
        "family": str(answer.attrs["family"]),
        "converged": bool(fit.attrs["converged"]),
    }
    return tuple(sentences), numbers


def _onset_range(onset: xr.DataArray, answer: xr.Dataset, unit: str) -> str:
    low, high = float(onset.sel(quantile=0.05)), float(onset.sel(quantile=0.95))
    start = "at once" if low <= answer.attrs["start"] else f"{number(low)}{unit}"
    return f"{start} to {'never within the search' if np.isinf(high) else number(high) + unit}"


def _runs(fit: xr.DataTree) -> xr.Dataset:
    return fit["constant_data"].to_dataset().assign(loss=fit["observed_data"]["loss"])


def _column(saved: Saved) -> str:
    """The column that scales are of."""
    return "flops" if saved.has_compute else next(iter(saved.model.inputs.values()))


def _with_column(saved: Saved, runs: xr.Dataset) -> xr.Dataset:
    if saved.has_compute and "flops" not in runs:
        return runs.assign(flops=6 * runs["params"] * runs["tokens"])
    return runs


def _loss(fit: xr.DataTree, saved: Saved, asked: Asked, answer: xr.Dataset) -> Iterator[Block]:
    runs = _with_column(saved, _runs(fit))
    smallest = float(runs[_column(saved)].min())
    options: dict[str, Any] = {"path": asked.path, "family": asked.family}
    grid = np.geomspace(smallest, max(asked.beyond, saved.largest) * 3, GRID)
    along = returns(fit, flops=grid, step=asked.step, **options)
    summary = summarise(along)
    new_run = inputs_along(fit, grid, asked.path, family=asked.family)
    yield Picture(
        plots.plot_forecast(
            summary,
            runs=runs,
            fitted=summarise(predict(fit, runs)),
            new_run=summarise(predict(fit, new_run, kind="run")),
            answers=[answer],
        ),
        "The runs, the curve along the path with its 50 and 90 % intervals, and below it what the next step buys. "
        "Shaded: beyond the runs.",
    )
    rows = []
    scales = sorted({saved.largest, asked.beyond / 10, asked.beyond, asked.beyond * 10})
    at = summarise(returns(fit, flops=scales, step=asked.step, **options))
    for place, scale in enumerate(scales):
        here = at.isel(flops=place)
        rows.append(
            (
                number(scale),
                spread(here["loss"]),
                spread(here["gain"]),
                spread(here["elasticity"]),
                spread(here["share_left"]),
                f"{float(here['decades_beyond']):.1f}",
            )
        )
    yield Table(
        "Marginal returns: medians and central 90 % intervals",
        (
            f"scale{_unit(saved)}",
            f"loss [{saved.units}]",
            f"gain of {asked.step:g}x [{saved.units}]",
            "elasticity",
            "reducible share",
            "decades beyond",
        ),
        tuple(rows),
    )
    yield Picture(
        plots.plot_onset(answer),
        f"Where the gain of {asked.step:g}x falls below {asked.gain_below:g} for good.",
    )
    yield Picture(
        plots.plot_residuals(runs, summarise(predict(fit, runs))),
        "What the law leaves over. A trend would be a law that bends otherwise than the runs do.",
    )


def _allocation(fit: xr.DataTree, saved: Saved, asked: Asked) -> Iterator[Block]:
    if not saved.has_compute:
        return
    runs = _with_column(saved, _runs(fit))
    grid = np.geomspace(saved.largest / 100, max(asked.beyond, saved.largest) * 3, GRID)
    found = allocate(fit, flops=grid, family=asked.family)
    names = ["params_optimal", "tokens_optimal", "tokens_per_param"]
    yield Picture(
        plots.plot_allocation(found, summarise(found[names]), runs=runs),
        "The optimum of each budget, and the one division of least expected loss.",
    )
    rows = []
    scales = [asked.beyond / 10, asked.beyond]
    at = allocate(fit, flops=scales, family=asked.family)
    levels = summarise(at[[*names, "regret"]])
    for place, scale in enumerate(scales):
        here = levels.isel(flops=place)
        near = at["near_params"].isel(flops=place).values
        safe = f"{number(near[0])} to {number(near[1])}" if np.isfinite(near).all() else "none"
        rows.append(
            (
                number(scale),
                f"{number(float(at['params'][place]))} on {number(float(at['tokens'][place]))}",
                spread(here["params_optimal"]),
                spread(here["tokens_per_param"]),
                safe,
                number(float(here["regret"].sel(quantile=0.95))),
            )
        )
    yield Table(
        f"Division of a budget; near-optimal is within {at.attrs['near']:g} {saved.units} of the optimum with "
        f"{at.attrs['probability']:.0%}",
        (
            "budget [FLOP]",
            "train (parameters on tokens)",
            "optimal parameters",
            "tokens per parameter",
            "near-optimal parameters",
            f"regret at most, 95 % [{saved.units}]",
        ),
        tuple(rows),
    )


def _capability(fit: xr.DataTree, saved: Saved, asked: Asked) -> Iterator[Block]:
    if saved.model.tasks is None:
        return
    grid = np.geomspace(saved.largest / 30, asked.beyond * 30, GRID)
    options: dict[str, Any] = {"path": asked.path, "family": asked.family, "step": asked.step}
    lengths = (1, 10, 100)
    found = capability(fit, flops=grid, length=lengths, **options)
    summary = summarise(found[["loss_gain", "gain", "score"]])
    first = str(found["task"].values[0])
    yield Picture(
        plots.plot_capability(summary, task=first),
        f"Returns in loss may diminish where returns in capability rise: {first}, alone and chained.",
    )
    at = summarise(
        capability(fit, flops=[asked.beyond], length=lengths, **options)[["score", "gain"]]
    )
    rows = []
    for task in found["task"].values:
        here = at.sel(task=task, length=1).isel(flops=0)
        peak = found["peak_quantile"].sel(task=task, length=1)
        rows.append(
            (str(task), spread(100 * here["score"]), spread(100 * here["gain"]), spread(peak))
        )
    yield Table(
        f"Scores at {number(asked.beyond)} FLOP",
        ("task", "score [%]", f"{asked.step:g}x adds [points]", "gain peaks at [FLOP]"),
        tuple(rows),
    )


def _assumptions(fit: xr.DataTree, saved: Saved, answer: xr.Dataset) -> Iterator[Block]:
    drifts = saved.model.discrepancy is not None
    yield (
        "The law's slope may drift with scale: it holds where the runs are, and ever more loosely beyond them."
        if drifts
        else "The law is trusted exactly, at every scale: if it is wrong beyond the runs, the intervals are too narrow."
    )
    yield f"Path: {answer.attrs['path']}. Loss in {saved.units}. Law: {saved.law.equation} ({saved.law.source})."
    if saved.pooled:
        who = answer.attrs["family"]
        told = "a group that has no runs yet" if who == "new" else str(who)
        yield f"Pooled over {', '.join(saved.pooled)}; this answer is for {told}."
    yield Code(str(fit.attrs["model"]).strip())


def _trust(fit: xr.DataTree, saved: Saved) -> Iterator[Block]:
    table = check(fit)
    yield Table(
        "Checks of the sampler and of the fit",
        ("check", "value", "expected", "verdict", "what to do"),
        tuple(
            (str(name), number(row["value"]), row["threshold"], row["verdict"], row["advice"])
            for name, row in table.iterrows()
        ),
    )


def _prior(fit: xr.DataTree) -> Iterator[Block]:
    posterior = fit["posterior"].to_dataset()
    if "prior" not in fit.children:
        return
    prior = fit["prior"].to_dataset()
    names = [
        str(name)
        for name in ("E", "alpha", "beta", "gamma", "k", "drift_rate", "sigma")
        if name in posterior and name in prior and posterior[name].ndim == 2
    ]
    if names:
        yield Picture(
            plots.plot_prior(fit, names),
            "Posterior over prior: where they agree, the runs have said nothing.",
        )


def _doubts(fit: xr.DataTree, *answers: xr.Dataset) -> Iterator[Block]:
    found: dict[tuple[str, str], Note] = {}
    told = [*get_notes(fit), *(note for answer in answers for note in get_notes(answer))]
    for note in told:
        found.setdefault((note.code, note.message), note)
    notes = sorted(found.values(), key=lambda note: -SEVERITIES.index(note.severity))
    yield tuple(notes) or "None was noted."


def _checklist(fit: xr.DataTree, saved: Saved) -> Iterator[Block]:
    yield (
        "The questions of (Mis)Fitting (Li et al. 2025, arXiv 2502.18969), answered from what the fit records. Where "
        "it says that something is not recorded, the report's author should."
    )
    yield Table("Checklist", ("question", "answer"), tuple(checklist(fit, saved)))


def _reproduce(fit: xr.DataTree, command: str) -> Iterator[Block]:
    versions = json.loads(fit.attrs.get("versions", "{}"))
    rows: list[tuple[str, str]] = [
        ("runs", str(fit.attrs.get("source") or "not recorded")),
        ("SHA-256 of the runs", str(fit.attrs.get("sha256") or "not recorded")),
        ("seed", str(fit.attrs["seed"])),
        ("sampler", str(fit.attrs.get("sampler", "not recorded"))),
        ("fitted", str(fit.attrs.get("created", "not recorded"))),
        (
            "versions",
            ", ".join(f"{name} {each}" for name, each in versions.items()) or "not recorded",
        ),
    ]
    yield Table("Where the numbers come from", ("what", "value"), tuple(rows))
    if command:
        yield Code(command)
