"""What ``bayescale backtest`` prints: the facts of a backtest as plain data, and the tables that show them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import xarray as xr
from rich.markup import escape
from rich.table import Table

from bayescale.cli.render import Facts, console, number, print_notes, short, show_table
from bayescale.notes import get_notes

#: So many of the largest held-out runs of a cut are counted apart.
LARGEST = 10
_SCORES = ("mean_lpd", "mean_crps", "rmsle", "msce")


def backtest_facts(result: xr.Dataset) -> dict[str, Facts]:
    """Facts of a backtest: one row a model and cut, each score with its two errors; the verdict in words."""
    from bayescale.validate.verdict import recalibration, summarise_backtest, verdict

    top = summarise_backtest(result, largest=LARGEST)
    rows = []
    for name in map(str, result["model"].values):
        for cut in map(float, result["cut"].values):
            at = {"model": name, "cut": cut}
            rows.append(_row(result.sel(at), at, top.sel(at)))
    main = next(row["model"] for row in rows if row["fitted"] and row["status"] == "done")
    return {
        **{
            key: result.attrs[key]
            for key in ("source", "input", "scale_units", "units", "random_seed")
        },
        "largest": LARGEST,
        "cuts": [
            {
                name: result[name].sel(cut=cut).item()
                for name in ("cut", "training", "held_out", "largest_training")
            }
            for cut in result["cut"].values
        ],
        "scores": rows,
        "recalibration": [asdict(recalibration(result, main, level)) for level in (0.5, 0.9)],
        "verdict": verdict(result),
        "notes": [asdict(note) for note in get_notes(result)],
    }


def _row(at: xr.Dataset, where: Mapping[str, Facts], top: xr.Dataset) -> dict[str, Facts]:
    row: dict[str, Facts] = {
        **where,
        "fitted": bool(at["is_fit"]),
        **{name: at[name].item() for name in ("status", "converged", "error", "seconds")},
    }
    for name in ("coverage", "width"):
        row[name] = {
            f"{level:g}": _with_errors(at.sel(level=level), name) for level in at["level"].values
        }
    row["coverage_largest"] = {
        f"{level:g}": float(top["coverage"].sel(level=level)) for level in at["level"].values
    }
    return row | {name: _with_errors(at, name) for name in _SCORES}


def _with_errors(at: xr.Dataset, name: str) -> dict[str, float]:
    parts = {"value": name, "se": f"{name}_se", "mcse": f"{name}_mcse"}
    return {key: float(at[each]) for key, each in parts.items() if each in at}


def backtest_table(facts: Mapping[str, Facts]) -> None:
    """Show a backtest: a table for each cut, then the verdict."""
    shown = console()
    unit = facts["scale_units"]
    for cut in facts["cuts"]:
        shown.print(
            f"[bold]fitted up to {number(cut['cut'], 3)} {escape(unit)}[/]: {cut['training']} runs, "
            f"{cut['held_out']} larger ones held out"
        )
        show_table(
            _cut_table(
                [row for row in facts["scores"] if row["cut"] == cut["cut"]],
                min(facts["largest"], cut["held_out"]),
            )
        )
        shown.print()
    shown.print(
        "[dim]coverage of central intervals, ± standard error over runs, taken as independent; width of the 90 % "
        "interval as a share of the loss; log density and CRPS of the log loss; in parentheses the Monte Carlo error[/]"
    )
    for line in facts["verdict"]:
        shown.print(f"• {escape(short(line))}")
    print_notes(facts["notes"])


def _cut_table(rows: Sequence[Mapping[str, Facts]], largest: int) -> Table:
    table = Table(
        "model",
        "50 %",
        "80 %",
        "90 %",
        f"90 %, {largest} largest",
        "width",
        "log density",
        "CRPS",
        "RMSLE",
        "",
        box=None,
        pad_edge=False,
    )
    for row in rows:
        if row["status"] != "done":
            # The error of an interrupted fit says just that.
            became = "" if row["status"] == "interrupted" else f"{row['status']}: "
            table.add_row(escape(row["model"]), f"[red]{became}{escape(row['error'])[:70]}[/]")
            continue
        cells = [f"{row['coverage'][level]['value']:.2f}" for level in ("0.5", "0.8")]
        ninety = row["coverage"]["0.9"]
        table.add_row(
            escape(row["model"]),
            *cells,
            f"{ninety['value']:.2f} ± {ninety['se']:.2f} ({ninety['mcse']:.3f})",
            f"{row['coverage_largest']['0.9']:.2f}",
            f"{row['width']['0.9']['value']:.1%}",
            _scored(row["mean_lpd"], 2),
            f"{row['mean_crps']['value']:.4f}",
            f"{row['rmsle']['value']:.4f}",
            "" if row["converged"] else "[bold red]not converged[/]",
        )
    return table


def _scored(score: Mapping[str, float], digits: int) -> str:
    error = "–" if not np.isfinite(score["se"]) else f"{score['se']:.{digits}f}"
    return f"{score['value']:.{digits}f} ± {error} ({score['mcse']:.1g})"
