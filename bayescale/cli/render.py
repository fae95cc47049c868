"""What the command line prints: the facts of an answer as plain data, and the tables that show them.

``*_facts`` functions return what ``--json`` prints; their keys are stable. The functions that print take those facts
and nothing else, so that a table never shows what the JSON lacks.
"""

import json as jsonlib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bayescale.cli.options import on_command_line
from bayescale.notes import SEVERITIES, get_notes

Facts = Any
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
#: What the summary of a fit leaves to --json: amplitudes and what follows from other parameters.
_ASIDE = {"level", "A", "B", "kappa", "nu"}
_ASIDE_ENDS = ("_ref", "_sd")
_STYLES = {
    "error": "bold red",
    "warning": "yellow",
    "info": "dim",
    "fail": "bold red",
    "warn": "yellow",
    "ok": "green",
}


def out(facts: Facts, json: bool, show: Callable[[Facts], None]) -> None:
    """Print facts as JSON, or show them as tables; notes in the words of the command line."""
    if isinstance(facts, Mapping) and "notes" in facts:
        facts = {**facts, "notes": [_noted(each) for each in facts["notes"]]}
    if json:
        print(jsonlib.dumps(plain(facts), indent=2))
    else:
        show(facts)


def _noted(note: Mapping[str, str]) -> dict[str, str]:
    return {**note, **{key: on_command_line(note[key]) for key in ("message", "advice")}}


def next_step(silent: bool, *commands: str, link: str = "or:  ", remark: str = "") -> None:
    """Name the verbs that usually follow, each on a line of its own that can be copied whole."""
    if silent or not commands:
        return
    shown = console()
    shown.print()
    if remark:
        shown.print(f"[dim]{escape(remark)}:[/]")
    for place, command in enumerate(commands):
        head = "next:" if place == 0 else link
        shown.print(f"[dim]{head}[/] {escape(command)}", soft_wrap=True)


class _Pipe(Console):
    """Leaves a pipe that its reader has closed to the command line, which knows how a verb ends."""

    def on_broken_pipe(self) -> None:
        """Raise what was caught."""
        raise


def console() -> Console:
    """Standard output, if there is one; tables keep their shape when piped."""
    seen = sys.stdout is not None and sys.stdout.isatty()
    return _Pipe(width=None if seen else 120, highlight=False, soft_wrap=False)


def plain(value: Facts) -> Facts:
    """Facts that JSON can hold: NumPy scalars become Python's, what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


#: Exponents as format() writes them, where they belong to a number and not to a name.
_EXPONENT = re.compile(r"(?<![\w'\"/.])(-?\d[\d.]*)e(\+|-)0*(\d+)(?![\w/'\"]|\.\w)")


def short(text: str) -> str:
    """A text whose powers are written as people type them.

    Examples
    --------
    >>> short("from 6.4e+22 to 1e+25, -2e-07 each; 'a1e+25', runs/1e+25.csv")
    "from 6.4e22 to 1e25, -2e-7 each; 'a1e+25', runs/1e+25.csv"
    """
    return _EXPONENT.sub(lambda at: f"{at[1]}e{at[2].strip('+')}{at[3]}", text)


def number(value: float | None, digits: int = 4) -> str:
    """A number as people write it.

    Examples
    --------
    >>> number(1.5e24), number(27040.0), number(0.01234), number(None), number(float("inf"))
    ('1.5e24', '27,040', '0.01234', '–', '∞')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    told = f"{value:,.{digits}g}"
    return f"{float(told):,.0f}" if "e+" in told and abs(value) < 1e6 else short(told)


def fixed(value: float | None, decimals: int = 0) -> str:
    """A number with so many decimals.

    Examples
    --------
    >>> fixed(27041.6), fixed(1.0004, 3), fixed(None)
    ('27,042', '1.000', '–')
    """
    return number(value) if value is None or math.isnan(value) else f"{value:,.{decimals}f}"


def together(values: Sequence[float], digits: int = 4) -> list[str]:
    """Numbers of one quantity, with as many decimals each, unless they lie too far apart.

    Examples
    --------
    >>> together([1.392, 1.29, 1.354]), together([0.0214, -0.00373, 0.0562], 3)
    (['1.392', '1.290', '1.354'], ['0.0214', '-0.0037', '0.0562'])
    >>> together([2.14, 0.042, 72.3], 3), together([1e22, 1.43e25, float("inf")], 3)
    (['2.14', '0.042', '72.3'], ['1e22', '1.43e25', '∞'])
    """
    most, least = max(map(abs, values)), min(values)
    alike = all(map(math.isfinite, values)) and 1e-4 <= most < 1e6 and not 0 < least < most / 10
    decimals = digits - 1 - math.floor(math.log10(most)) if alike else 0
    if decimals < 1:
        return [number(value, digits) for value in values]
    # Adding zero makes minus zero plain zero.
    return [f"{round(value, decimals) + 0.0:,.{decimals}f}" for value in values]


def interval(row: Mapping[str, float], digits: int = 3) -> str:
    """A median with its central 90 % interval.

    Examples
    --------
    >>> interval({"median": 2.13, "q05": 2.1, "q95": 2.161}, 4)
    '2.130 (2.100 to 2.161)'
    """
    middle, low, high = together([row[key] for key in ("median", "q05", "q95")], digits)
    return f"{middle} ({low} to {high})"


def spread(values: xr.DataArray) -> dict[str, float]:
    """The quantiles that are told, of what has a dim ``quantile`` alone."""
    return {key: float(values.sel(quantile=level)) for key, level in QUANTILES.items()}


def fit_columns(table: Table, width: int) -> Table:
    """Set the widths of a table's columns: headings and sentences wrap, no number is ever cut.

    Rich would shorten the widest columns, whatever is in them.
    """
    cells, heads = (
        [[Text.from_markup(str(each)).plain for each in texts] for texts in columns]
        for columns in (
            [[*column.cells] for column in table.columns],
            [[column.header] for column in table.columns],
        )
    )
    widths = [max(map(_longest_word, column), default=1) for column in cells]
    spare = width - sum(widths) - 2 * (len(widths) - 1)
    for wanted in (
        [max(map(_longest_word, column)) for column in heads],
        [max(map(cell_len, column), default=1) for column in cells],
        [max(map(cell_len, column)) for column in heads],
    ):
        # The narrowest first, so that what does not fit wraps where there is most room.
        while spare > 0 and any(map(int.__lt__, widths, wanted)):
            lacking = [place for place, most in enumerate(wanted) if widths[place] < most]
            widths[min(lacking, key=widths.__getitem__)] += 1
            spare -= 1
    for column, wide in zip(table.columns, widths, strict=True):
        column.width, column.overflow = max(wide, 1), "fold"
    return table


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def show_table(table: Table) -> None:
    """Print a table."""
    shown = console()
    fit_columns(table, shown.width)
    # What is wider than the terminal is wrapped by it, not cut.
    widths = [column.width or 1 for column in table.columns]
    shown.width = max(shown.width, sum(widths) + 2 * (len(widths) - 1))
    shown.print(table)


def print_notes(notes: Sequence[Mapping[str, str]]) -> None:
    """Print notes, most severe first."""
    for note in notes:
        text = f"{note['code']}: {note['message']}" + (
            f" — {note['advice']}" if note["advice"] else ""
        )
        console().print(
            f"[{_STYLES[note['severity']]}]{note['severity']:8s}[/]{escape(short(text))}"
        )


def verdict_facts(tree: xr.DataTree) -> dict[str, Facts]:
    """Facts that every answer from a fit begins with: its model, and the sampler's verdict."""
    tried = jsonlib.loads(tree.attrs.get("sampling", "[]"))
    kept = _kept(tried, converged=bool(tree.attrs["converged"])) if tried else {}
    return {
        "model": tree.attrs["model_name"],
        "converged": bool(tree.attrs["converged"]),
        "rhat": kept.get("rhat"),
        "ess_bulk": kept.get("ess_bulk"),
        "ess_tail": kept.get("ess_tail"),
        "divergences": kept.get("divergences"),
    }


def _kept(tried: Sequence[Mapping[str, Facts]], *, converged: bool) -> Mapping[str, Facts]:
    """Verdict on the draws that were kept: of the attempt that converged, otherwise of the best."""
    if converged or len(tried) == 1:
        return tried[-1]
    from bayescale.checks.sampler import SamplerVerdict

    names = [each.name for each in fields(SamplerVerdict)]
    return min(tried, key=lambda each: SamplerVerdict(**{name: each[name] for name in names}).rank)


def evidence_facts(tree: xr.DataTree) -> dict[str, Facts]:
    """Log marginal likelihood, where the sampler gives one: mean and standard deviation of its chains, and each."""
    stats = tree["sample_stats"].dataset
    if "log_marginal_likelihood" not in stats:
        return {}
    chains = stats["log_marginal_likelihood"].values
    found = {"mean": chains.mean(), "sd": chains.std(ddof=1), "chains": chains.tolist()}
    return {"log_marginal_likelihood": found}


def print_evidence(facts: Mapping[str, Facts]) -> None:
    """Show the log marginal likelihood, if there is one."""
    if "log_marginal_likelihood" in facts:
        found = facts["log_marginal_likelihood"]
        each = ", ".join(f"{value:.2f}" for value in found["chains"])
        console().print(
            f"log marginal likelihood {found['mean']:.2f}, sd {found['sd']:.2f} between chains ({each})"
        )


def print_verdict(facts: Mapping[str, Facts]) -> None:
    """Show the sampler's verdict."""
    told = (
        f"model {escape(facts['model'])}; sampler: R-hat {fixed(facts['rhat'], 3)}, "
        f"ESS {fixed(facts['ess_bulk'])} bulk {fixed(facts['ess_tail'])} tail, "
        f"{fixed(facts['divergences'])} divergences"
    )
    word = (
        "[green]converged[/]"
        if facts["converged"]
        else "[bold red]NOT CONVERGED: do not use these numbers[/]"
    )
    console().print(f"{told}: {word}")


def notes_of(*carriers: xr.DataTree | xr.Dataset | xr.DataArray) -> list[dict[str, str]]:
    """Notes of a fit and of its answers as plain data, most severe first, without repeats."""
    found = dict.fromkeys(note for carrier in carriers for note in get_notes(carrier))
    ranked = sorted(found, key=lambda note: -SEVERITIES.index(note.severity))
    return [asdict(note) for note in ranked]


def runs_summary(facts: Mapping[str, Facts]) -> None:
    """Show what was understood of a table of runs."""
    shown = console()
    distinct, rows = facts["distinct_runs"], facts["runs"]
    count = f"{rows} runs" if distinct == rows else f"{distinct} runs, {rows} checkpoints"
    shown.print(f"[bold]{escape(str(facts['source']))}[/]: {count}")
    table = Table(
        "column", "from", "unit", "least", "most", "decades", "levels", box=None, pad_edge=False
    )
    loss = {} if facts["loss"] is None else {"loss": facts["loss"]}
    for name, entry in {**facts["inputs"], **loss}.items():
        source = facts["columns"].get(name, "derived")
        # Decades and levels are of a design, not of what came of it.
        design = [number(entry[key]) if key in entry else "" for key in ("decades", "levels")]
        told = (name, source, entry["unit"], number(entry["min"]), number(entry["max"]), *design)
        table.add_row(*map(escape, told))
    show_table(table)
    if facts.get("families"):
        families = ", ".join(f"{name} ({count})" for name, count in facts["families"].items())
        shown.print(f"families: {escape(families)}")
    listed = {*facts["inputs"], "loss", "family"}
    others = [name for name in facts["columns"] if name not in listed]
    if others:
        shown.print(f"also read: {escape(', '.join(others))}")
    if facts.get("kept"):
        shown.print(f"[dim]kept as they are: {escape(', '.join(facts['kept']))}[/]")
    print_notes(facts["notes"])


def fit_facts(tree: xr.DataTree, output: Path) -> dict[str, Facts]:
    """Facts of a fit: file, verdict, parameters with central 90 % intervals, notes."""
    posterior = tree["posterior"].to_dataset()
    scalars = {
        name: values.values for name, values in posterior.data_vars.items() if values.ndim == 2
    }
    units = _parameter_units(tree)
    parameters = {
        name: {"mean": values.mean(), "sd": values.std()}
        | {key: np.quantile(values, level) for key, level in QUANTILES.items()}
        | ({"unit": units[name]} if name in units else {})
        for name, values in scalars.items()
    }
    return {
        "fit": str(output),
        **verdict_facts(tree),
        "runs": tree["observed_data"].sizes["run"],
        "seed": tree.attrs["seed"],
        "reference": jsonlib.loads(tree.attrs["reference"]),
        "centered": jsonlib.loads(tree.attrs.get("centered", "{}")),
        "parameters": parameters,
        **evidence_facts(tree),
        "notes": notes_of(tree),
    }


def _parameter_units(tree: xr.DataTree) -> dict[str, str]:
    """Units of the parameters that have one; of the scatter, what it is the scatter of."""
    from bayescale.model import Model

    model = Model.from_toml(tree.attrs["model"])
    law = model.law_object
    loss = str(tree["observed_data"]["loss"].attrs.get("units", "nat/token"))
    units = {law.posterior_name(each.name): each.unit for each in law.params if each.unit != "1"}
    # Laws are stated in nats per token; losses of another unit make their terms so.
    units = {name: loss if unit == "nat/token" else unit for name, unit in units.items()}
    if model.noise.dist == "LogitNormal":
        units["sigma"] = "logit"
    elif not model.noise.of_rate:
        units["sigma"] = "log loss"
    return units


def fit_summary(facts: Mapping[str, Facts]) -> None:
    """Show a fit in five lines, and its doubts: verdict, runs, exponents and floor, scale, file."""
    shown = console()
    print_verdict(facts)
    told = [
        f"{_headed(name, row.get('unit'))} {interval(row)}"
        for name, row in facts["parameters"].items()
        if name not in _ASIDE and not name.endswith(_ASIDE_ENDS)
    ]
    scale = ", ".join(f"{name} {number(value)}" for name, value in facts["reference"].items())
    shown.print(f"{facts['runs']} runs; seed {facts['seed']}")
    shown.print(f"median (90 % interval): {escape(', '.join(told))}", soft_wrap=True)
    shown.print(f"reference scale: {escape(scale)}", soft_wrap=True)
    print_evidence(facts)
    print_notes(facts["notes"])
    shown.print(f"saved: {escape(facts['fit'])}", soft_wrap=True)


def _headed(name: str, unit: str | None) -> str:
    """A name with its unit, unless it says it itself.

    Examples
    --------
    >>> _headed("flops", "FLOP"), _headed("unique_tokens", "tokens"), _headed("alpha", None)
    ('flops [FLOP]', 'unique_tokens', 'alpha')
    """
    said = unit in (None, "", "1", "parameters") or name.endswith(str(unit))
    return name if said else f"{name} [{unit}]"


def check_facts(tree: xr.DataTree, table: pd.DataFrame) -> dict[str, Facts]:
    """Facts of a check: overall verdict and one entry a check."""
    rows = table.reset_index().to_dict(orient="records")
    return {
        **verdict_facts(tree),
        "verdict": table.attrs["verdict"],
        "checks": rows,
        **evidence_facts(tree),
        "notes": notes_of(tree),
    }


def check_table(facts: Mapping[str, Facts]) -> None:
    """Show a check."""
    print_verdict(facts)
    table = Table("check", "value", "threshold", "verdict", "what to do", box=None, pad_edge=False)
    for row in facts["checks"]:
        verdict = f"[{_STYLES[row['verdict']]}]{row['verdict']}[/]"
        value = fixed(row["value"], 3) if row["check"] == "R-hat" else number(row["value"])
        table.add_row(row["check"], value, row["threshold"], verdict, escape(row["advice"]))
    show_table(table)
    print_evidence(facts)
    print_notes(facts["notes"])


def forecast_facts(tree: xr.DataTree, loss: xr.DataArray, where: xr.Dataset) -> dict[str, Facts]:
    """Facts of a forecast: one row a scale, with quantiles of the loss."""
    from bayescale.forecast import summarise

    (dim,) = (name for name in loss.dims if name not in ("chain", "draw"))
    table = summarise(loss, list(QUANTILES.values()))
    scales = {
        name: values.median([each for each in ("chain", "draw") if each in values.dims])
        for name, values in {**where.coords, **where.data_vars}.items()
        if name not in ("chain", "draw") and values.dtype.kind in "fiu"
    }
    labels = {
        name: where[name]
        for name in ("run_id", "family")
        if name in where and where[name].dtype.kind not in "fiu"
    }
    rows = []
    for index in range(loss.sizes[dim]):
        here = {dim: index}
        row: dict[str, Facts] = {
            name: str(values.isel(here).item() if values.ndim else values.item())
            for name, values in labels.items()
        }
        row |= {
            str(name): float(values.isel(here) if values.ndim else values)
            for name, values in scales.items()
            if name in ("flops", "params", "tokens", *tree["constant_data"].data_vars)
        }
        row["decades_beyond"] = float(table["decades_beyond"].isel(here))
        row |= spread(table["loss"].isel(here))
        row["mcse"] = float(table["loss_mcse"].isel(here).sel(quantile=0.5))
        rows.append(row)
    return {
        **verdict_facts(tree),
        "kind": loss.attrs["kind"],
        "path": where.attrs.get("path", "table"),
        "units": loss.attrs["units"],
        "rows": rows,
        "notes": notes_of(tree, loss),
    }


def forecast_table(facts: Mapping[str, Facts]) -> None:
    """Show a forecast."""
    from bayescale.runs.columns import COLUMNS

    print_verdict(facts)
    shown = console()
    what = {"curve": "where the law runs", "run": "what one more run would give"}[facts["kind"]]
    shown.print(f"loss [{facts['units']}], {what}; path {escape(facts['path'])}", markup=False)
    hidden = (*QUANTILES, "mcse", "decades_beyond")
    first = facts["rows"][0]
    scales = [name for name in first if name not in hidden]
    # A law of one input has its own scale there, which is no FLOP and has a column of its own.
    if any(first[name] == first.get("flops") for name in scales if name != "flops"):
        scales.remove("flops")
    units = {name: COLUMNS[name].unit for name in scales if name in COLUMNS}
    table = Table(
        *(escape(_headed(name, units.get(name))) for name in scales),
        "median",
        "5 %",
        "25 %",
        "75 %",
        "95 %",
        "decades beyond the runs",
        box=None,
        pad_edge=False,
    )
    for row in facts["rows"]:
        cells = [
            escape(row[name]) if isinstance(row[name], str) else number(row[name], 3)
            for name in scales
        ]
        cells += together([row[key] for key in ("median", "q05", "q25", "q75", "q95")])
        table.add_row(*cells, f"{row['decades_beyond']:.2f}")
    show_table(table)
    print_notes(facts["notes"])


def returns_facts(tree: xr.DataTree, answer: xr.Dataset, table: xr.Dataset) -> dict[str, Facts]:
    """Facts about returns: the probabilities, the onset, and the marginal returns at the scale asked about."""
    from bayescale.forecast import summarise

    at = summarise(table, list(QUANTILES.values())).isel(flops=0)
    marginal = {name: spread(at[name]) for name in table.data_vars}
    scalars = {
        str(name): float(values) for name, values in answer.data_vars.items() if values.ndim == 0
    }
    onset = spread(answer["onset"])
    kept = (
        "predicate",
        "threshold",
        "relative_to",
        "price",
        "task",
        "beyond",
        "to",
        "start",
        "horizon",
        "path",
        "step",
        "family",
    )
    return {
        **verdict_facts(tree),
        **{key: answer.attrs[key] for key in kept if key in answer.attrs},
        **scalars,
        "decades_beyond": float(answer["decades_beyond"]),
        "loss_unit": table["gain"].attrs["units"],
        "onset": onset,
        "marginal": marginal,
        "notes": notes_of(tree, answer),
    }


def capability_facts(tree: xr.DataTree, found: xr.Dataset) -> dict[str, Facts]:
    """Facts of returns in loss and in capability: one row a scale, a task and a length."""
    from bayescale.forecast import summarise

    levels = list(QUANTILES.values())
    drawn = summarise(found[["loss", "loss_gain", "score", "gain"]], levels)

    rows: list[dict[str, Facts]] = []
    for place, flops in enumerate(found["flops"].values):
        here = drawn.isel(flops=place)
        row = {
            "flops": float(flops),
            "decades_beyond": float(found["decades_beyond"][place]),
            "loss": spread(here["loss"]),
            "loss_gain": spread(here["loss_gain"]),
        }
        for task in found["task"].values:
            for length in found["length"].values:
                at = here.sel(task=task, length=length)
                both = {"score": spread(at["score"]), "gain": spread(at["gain"])}
                rows.append({**row, "task": str(task), "length": int(length), **both})
    peaks = []
    for task in found["task"].values:
        for length in found["length"].values:
            at = found[["peak_quantile", "p_peak_passed", "p_peak_beyond"]].sel(
                task=task, length=length
            )
            peaks.append(
                {
                    "task": str(task),
                    "length": int(length),
                    "peak": spread(at["peak_quantile"]),
                    "p_peak_passed": float(at["p_peak_passed"]),
                    "p_peak_beyond": float(at["p_peak_beyond"]),
                }
            )
    kept = ("path", "step", "dependence", "start", "horizon", "family")
    return {
        **verdict_facts(tree),
        **{key: found.attrs[key] for key in kept},
        "loss_unit": found["loss"].attrs["units"],
        "rows": rows,
        "peaks": peaks,
        "notes": notes_of(tree, found),
    }


def capability_table(facts: Mapping[str, Facts]) -> None:
    """Show what compute buys in loss and in capability."""
    print_verdict(facts)
    shown = console()
    more = "a doubling" if facts["step"] == 2 else f"{facts['step']:g}x compute"
    shown.print(
        f"what {more} takes off the loss, and adds to the chance that every step of a task succeeds; path "
        f"{escape(facts['path'])}; medians, and 90 % of the draws",
        soft_wrap=True,
    )
    table = Table(
        "compute",
        escape(f"{more} takes off [{facts['loss_unit']}]"),
        "task",
        "steps of the task",
        "chance [%]",
        escape(f"{more} adds [points]"),
        box=None,
        pad_edge=False,
    )

    last = None
    for row in facts["rows"]:
        what = interval(row["loss_gain"])
        fresh = row["flops"] != last
        last = row["flops"]
        table.add_row(
            number(row["flops"], 3) if fresh else "",
            what if fresh else "",
            escape(row["task"]) if row["length"] == facts["rows"][0]["length"] else "",
            str(row["length"]),
            _points(row["score"]),
            _points(row["gain"]),
        )
    show_table(table)
    shown.print(
        f"\nwhere {more} adds most, from the largest run {number(facts['start'], 3)} to {number(facts['horizon'], 3)}"
    )
    table = Table(
        "task",
        "steps of the task",
        "median",
        "5 %",
        "95 %",
        "P(behind the runs)",
        "P(not yet)",
        box=None,
        pad_edge=False,
    )
    for row in facts["peaks"]:
        table.add_row(
            escape(row["task"]),
            str(row["length"]),
            *(number(row["peak"][key], 3) for key in ("median", "q05", "q95")),
            f"{row['p_peak_passed']:.0%}",
            f"{row['p_peak_beyond']:.0%}",
        )
    show_table(table)
    print_notes(facts["notes"])


def _points(values: Mapping[str, float]) -> str:
    """A percentage with its central 90 % interval, or that all of it is next to nothing.

    Examples
    --------
    >>> _points({"median": 0.1, "q05": 0.0, "q95": 0.12}), _points({"median": 0.0, "q05": 0.0, "q95": 1e-5})
    ('10.0 (0.0 to 12.0)', '<0.1')
    """
    low, middle, high = (100 * values[key] for key in ("q05", "median", "q95"))
    if max(abs(low), abs(high)) < 0.05:
        return _tenths(high)
    return f"{_tenths(middle)} ({_tenths(low)} to {_tenths(high)})"


def _tenths(value: float) -> str:
    """A percentage to tenths, where less than half a tenth is not nothing.

    Examples
    --------
    >>> _tenths(62.83), _tenths(0.003), _tenths(-0.003), _tenths(0.0)
    ('62.8', '<0.1', '0.0', '0.0')
    """
    # Adding zero makes minus zero plain zero.
    return "<0.1" if 0 < value < 0.05 else f"{round(value, 1) + 0.0:.1f}"


_PREDICATES = {
    "gain_below": "a step of {step:g}x buys less than {threshold:g} {loss_unit}",
    "elasticity_below": "the elasticity of the loss is below {threshold:g}",
    "relative_below": "a step is worth less than {threshold:g} of what it was at {relative_to:.3g}",
    "floor": "less than {threshold:g} of the loss is reducible",
    "flattening": "the elasticity fell by more than {threshold:g} over a decade, or below that of a law which drifts",
    "price_above": "a {loss_unit} costs more than {threshold:g}, at {price:g} a FLOP",
    "capability_below": "a step of {step:g}x adds less than {threshold:g} to {task}",
    "data_limited": "a token that is read again is worth less than {threshold:g} of a fresh one",
    "alternative": "what a step of {step:g}x costs buys more elsewhere",
}


def returns_table(facts: Mapping[str, Facts]) -> None:
    """Show whether returns are diminishing."""
    print_verdict(facts)
    shown = console()
    meaning = short(_PREDICATES[facts["predicate"]].format(**facts))
    shown.print(f"diminishing here means: {escape(meaning)}; path {escape(facts['path'])}")
    beyond, start, horizon = (number(facts[key], 3) for key in ("beyond", "start", "horizon"))
    table = Table("question", "answer", "Monte Carlo error", box=None, pad_edge=False)

    def chance(question: str, key: str) -> None:
        if key in facts:
            table.add_row(question, f"{facts[key]:.1%}", f"{facts[key + '_mcse']:.1%}")

    chance(f"P(it holds at {beyond})", "probability")
    chance(f"P(it holds from there to {number(facts.get('to'), 3)})", "probability_throughout")
    chance(f"P(it holds all the way from {start} to {horizon})", "p_already")
    chance(f"P(it never holds for good before {horizon})", "p_never")
    chance("P(the loss rises)", "p_loss_rises")
    onset = facts["onset"]
    table.add_row(
        f"onset, from where it holds for good, to {horizon}: 5 %, 50 %, 95 %",
        ", ".join(number(onset[key], 3) for key in ("q05", "median", "q95")),
        "",
    )
    gain, elasticity = facts["marginal"]["gain"], facts["marginal"]["elasticity"]
    table.add_row(escape(f"gain of a step at {beyond} [{facts['loss_unit']}]"), interval(gain), "")
    table.add_row("elasticity of the loss there", interval(elasticity), "")
    show_table(table)
    shown.print(f"[dim]{how_far(facts['decades_beyond'])}; intervals are central 90 %[/]")
    print_notes(facts["notes"])


def how_far(decades: float) -> str:
    """How far beyond the runs, in words.

    Examples
    --------
    >>> how_far(1.234), how_far(0.0)
    ('1.23 decades beyond the largest run', 'not beyond the largest run')
    """
    if decades == 0:
        return "not beyond the largest run"
    return f"{decades:.2f} decades beyond the largest run"


def listing(facts: Sequence[Mapping[str, Facts]]) -> None:
    """Show a list of models."""
    table = Table(*facts[0], box=None, pad_edge=False)
    for row in facts:
        table.add_row(
            *(
                escape(", ".join(each) if isinstance(each, list) else str(each))
                for each in row.values()
            )
        )
    show_table(table)
