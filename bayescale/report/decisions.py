"""The sections that a decision is read from: returns, how to divide a budget, what a target takes, scores of tasks."""

from typing import Any

import numpy as np
import xarray as xr

from bayescale import plots
from bayescale.cost import tokens_for
from bayescale.decide import allocate
from bayescale.forecast import capability, inputs_along, predict, returns, summarise
from bayescale.forecast.montecarlo import probability_mcse
from bayescale.forecast.scales import group_of
from bayescale.report.content import FULL, LOW, WIDE, Blocks, Picture, Table
from bayescale.report.question import GRID, TOLD, Case
from bayescale.report.words import levels, listed, more, number, percent, size, spread

#: Times what a step has to be worth, to show how much hangs on that number.
_WORTHS = (0.5, 1.0, 2.0)
_NONE_SAFE = "none so safe"
_OPTIMA = ["params_optimal", "tokens_optimal", "tokens_per_param"]
#: Least relative to the optimum, and most, of the sizes in a bowl.
_BOWL = (0.05, 20.0)


def loss_and_returns(case: Case) -> Blocks:
    """The runs, the curve and what the next step buys; the same as numbers; and from where on it is too little."""
    smallest = float(case.runs[case.column].min())
    grid = case.grid(smallest, 3 * max(case.beyond, case.saved.largest))
    along = returns(case.fit, flops=grid, step=case.asked.step, **case.route)
    new_run = inputs_along(case.fit, grid, **case.route)
    # Two numbers side by side need half a decade.
    apart = abs(np.log10(case.beyond / case.saved.largest)) > 0.5
    marked = case.within([case.beyond, *([case.saved.largest] if apart else [])])
    yield Picture(
        plots.plot_forecast(
            summarise(along),
            runs=case.runs,
            fitted=summarise(predict(case.fit, case.runs)),
            new_run=summarise(predict(case.fit, new_run, kind="run")),
            answers=[case.answer if each == case.beyond else case.ask(each) for each in marked],
            size=FULL,
        ),
        "The runs, the curve along the path with its 50 and 90 % intervals, and below it what the next step buys. "
        f"Shaded: beyond the runs.{f' All with {case.held}.' if case.held else ''}",
    )
    unit, step = case.saved.units, f"{case.asked.step:g}x"
    table = summarise(case.several)
    rows = []
    for place, scale in enumerate(case.several["flops"].values):
        here = table.isel(flops=place)
        rows.append(
            (
                number(scale),
                f"{float(here['decades_beyond']):.1f}",
                *(spread(here[name]) for name in ("loss", "gain", "elasticity", "share_left")),
            )
        )
    yield Table(
        "Marginal returns: medians and central 90 % intervals",
        (
            f"scale{f' [{case.unit.strip()}]' if case.unit else ''}",
            "decades beyond the runs",
            f"loss [{unit}]",
            f"gain of {step} [{unit}]",
            "elasticity",
            "reducible share of the loss",
        ),
        tuple(rows),
    )
    yield from _past_floor(case)
    worths = [factor * case.worth for factor in _WORTHS]
    yield Table(
        f"How probable it is that {more(case.asked.step)} buys less than so much [{unit}]",
        ("scale", *(f"{worth:g}" for worth in worths)),
        tuple(
            (
                number(scale),
                *(_chance(case.several["gain"].isel(flops=place) < worth) for worth in worths),
            )
            for place, scale in enumerate(case.several["flops"].values)
        ),
    )
    yield Picture(
        plots.plot_onset(case.answer, size=LOW),
        f"From where on {more(case.asked.step)} buys less than {case.worth:g} {unit} for good. The search ends at "
        f"{number(case.answer.attrs['horizon'])}{case.unit}.",
    )


def _past_floor(case: Case) -> Blocks:
    """What a negative share of the loss means, and in how many draws there is one."""
    shares = (case.several["share_left"] < 0).mean(("chain", "draw"))
    told = [
        f"{percent(float(share))} of draws at {number(float(scale))}{case.unit}"
        for scale, share in zip(shares["flops"].values, shares.values, strict=True)
        if share > 0
    ]
    if told:
        yield (
            "Reducible share below 0: the drift of the slope carries the draw under the law's own floor, in "
            f"{listed(told)}."
        )


def _chance(holds: xr.DataArray) -> str:
    return percent(float(holds.mean()), float(probability_mcse(holds.astype(float))))


def division(case: Case) -> Blocks:
    """How to divide a budget: its optimum, and how much is lost off it."""
    found = case.division
    if found is None:
        return
    options: dict[str, Any] = {"family": case.asked.family, "at": case.asked.at}
    unit = case.saved.units
    summary = summarise(found[[*_OPTIMA, "regret"]])
    rows = []
    for place, scale in enumerate(found["flops"].values):
        here, one = summary.isel(flops=place), found.isel(flops=place)
        near = one["near_params"].values
        rows.append(
            (
                number(scale),
                f"{size(float(one['params']))} on {size(float(one['tokens']))}",
                spread(here["params_optimal"], sizes=True),
                spread(here["tokens_per_param"]),
                f"{size(near[0])} to {size(near[1])}" if np.isfinite(near).all() else _NONE_SAFE,
                number(float(here["regret"].sel(quantile=0.95)), 2),
            )
        )
    sure = f"{found.attrs['probability']:.0%}".replace("%", " %")
    yield Table(
        f"The division of least expected loss{case.holding} and what may be lost by it; near-optimal sizes lie within "
        f"{found.attrs['near']:g} {unit} of the optimum with {sure}",
        (
            "budget [FLOP]",
            "train (parameters on tokens)",
            "optimal parameters",
            "optimal tokens per parameter",
            "near-optimal parameters",
            f"regret, at most with 95 % [{unit}]",
        ),
        tuple(rows),
    )
    if any(_NONE_SAFE in row for row in rows):
        yield (
            f"{_NONE_SAFE.capitalize()}: no size lies within {found.attrs['near']:g} {unit} of its draw's optimum in "
            f"{sure} of draws, so little do the runs say of the optimum there. The size of least expected loss stays "
            "the best bet; the regret says what it may cost."
        )
    grid = np.geomspace(case.saved.largest / 100, max(case.beyond, case.saved.largest) * 3, GRID)
    curve = allocate(case.fit, flops=grid, **options)
    yield Picture(
        plots.plot_allocation(curve, summarise(curve[_OPTIMA]), runs=case.runs, size=FULL),
        "The optimum of each budget, and the one division of least expected loss.",
    )
    if len(case.saved.model.inputs) == 2:
        yield Picture(
            plots.plot_isoflops(_bowls(case, found), found, size=WIDE),
            "What every size would give at each budget; marked is the division of least expected loss.",
        )


def _bowls(case: Case, found: xr.Dataset) -> xr.Dataset:
    """Losses of many sizes at each budget."""
    budgets = found["flops"].values[:, None]
    sizes = found["params"].values[:, None] * np.geomspace(*_BOWL, GRID)
    inputs = case.saved.model.inputs
    table = xr.Dataset(
        {
            inputs["params"]: (("flops", "size"), sizes),
            inputs["tokens"]: (("flops", "size"), tokens_for(budgets, sizes)),
        },
        {"flops": found["flops"].values},
    )
    losses = summarise(predict(case.fit, table.assign(group_of(case.saved, case.asked.family))))
    return losses.assign_coords(params=(("flops", "size"), sizes))


def targets(case: Case) -> Blocks:
    """What the target losses take."""
    found = case.target
    if found is None:
        return
    rows = []
    for place, loss in enumerate(found["loss"].values):
        here = found.isel(loss=place)
        rows.append(
            (
                f"{loss:g}",
                spread(here["compute_quantile"]),
                *_needed(case, place),
                percent(float(here["p_unreachable"]), float(here["p_unreachable_mcse"])),
            )
        )
    sure = f"{found.attrs['confidence']:.0%}".replace("%", " %")
    where = f" [{case.unit.strip()}]" if case.unit else ""
    yield Table(
        f"Least compute on path {found.attrs['path']} at which the law's curve meets a loss",
        (
            f"loss [{case.saved.units}]",
            f"compute{where}",
            f"with {sure} confidence{where}",
            "decades beyond the runs",
            "P(nothing reaches it)" if case.plan is None else "P(nothing in the plan reaches it)",
        ),
        tuple(rows),
    )


def _needed(case: Case, place: int) -> tuple[str, str]:
    """The compute for the asked confidence of a target, and its distance in decades."""
    assert case.target is not None
    here, start = case.target.isel(loss=place), case.target.attrs["start"]
    needed, reach = float(here["compute_at_confidence"]), float(here["decades_beyond"])
    match case.edge(place):
        case "far":
            return f"more than {number(10**TOLD * case.saved.largest)}", f"over {TOLD:g}"
        case "edge":
            return "only just, or never", "–"
    told = ("at most " if needed <= start else "") + number(needed)
    return told, f"{reach:.1f}" if np.isfinite(reach) else "–"


def scores(case: Case) -> Blocks:
    """Scores of tasks, where the model knows of some."""
    if case.saved.model.tasks is None:
        return
    step = case.asked.step
    grid = case.grid(case.saved.largest / 30, case.beyond * 30)
    lengths = (1, 10, 100)
    found = capability(case.fit, flops=grid, length=lengths, step=step, **case.route)
    first = str(found["task"].values[0])
    yield Picture(
        plots.plot_capability(summarise(found[["loss_gain", "gain", "score"]]), task=first),
        f"Returns in loss may diminish where returns in capability rise: {first}, alone and chained.",
    )
    at = capability(case.fit, flops=[case.beyond], length=(1,), step=step, **case.route)
    summary = summarise(at[["score", "gain"]]).isel(flops=0)
    rows = []
    for task in found["task"].values:
        here = summary.sel(task=task).squeeze()
        known = found.sel(task=task, length=1)
        peak = {
            key: ("at or before " if value <= found.attrs["start"] else "") + number(value)
            for key, value in levels(known["peak_quantile"]).items()
        }
        rows.append(
            (
                str(task),
                spread(100 * here["score"]),
                spread(100 * here["gain"]),
                f"{peak['median']} (90 %: {peak['q05']} to {peak['q95']})",
                percent(float(known["p_peak_passed"]), float(known["p_peak_passed_mcse"])),
            )
        )
    yield Table(
        f"Scores at {number(case.beyond)}{case.unit}",
        (
            "task",
            "score [%]",
            f"{step:g}x adds [points]",
            f"gain peaks at{case.unit and f' [{case.unit.strip()}]'}",
            "P(peak behind the runs)",
        ),
        tuple(rows),
    )
