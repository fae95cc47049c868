"""The demonstration: published runs, one held out, and whether a doubling of compute is still worth it.

Every number is worked out when it runs. The folder gets ``forecast.png`` and ``forecast.svg``, ``fit.nc`` and
``demo.json``, which holds all numbers under stable keys; they appear together, when everything is done.
"""

import json as jsonlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import typer
import xarray as xr
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from bayescale import __version__
from bayescale.checks import check
from bayescale.cli import render
from bayescale.cli.options import quoted
from bayescale.datasets import load_dataset
from bayescale.forecast import diminishing, inputs_along, predict, returns, summarise
from bayescale.notes import SEVERITIES
from bayescale.runs import summarise_runs
from bayescale.runs.cells import typed
from bayescale.saving import check_folder, save

DATASET = "pile"
HELD_OUT = "gpt-neox-20B"
MODEL = "skaling-drift-families"
#: Ways to grow that are asked about; the figure shows the first.
PATHS = ("compute-optimal", "fixed-ratio=20")
#: Training compute asked about [FLOP].
ASKED = (1e24, 1e25)
#: What a doubling of compute has to be worth [nat/token].
WORTH = 0.01
#: Where the figure ends [FLOP], and how many scales it has.
FARTHEST, GRID = 3e25, 48
FILES = ("forecast.png", "forecast.svg", "demo.json", "fit.nc")

Facts = render.Facts


def run_demo(output: Path, *, seed: int, json: bool) -> None:
    """Fit, check, forecast and decide on published runs; write the figure, the fit and the numbers.

    Parameters
    ----------
    output : Path
        Folder to write into; made if its parent exists. Files of an earlier demonstration are replaced.
    seed : int
        Same seed, same numbers, once the machine has compiled the models.
    json : bool
        Print ``demo.json`` in place of the story.

    Raises
    ------
    OSError
        If the folder cannot be made or written to; nothing is left behind.
    typer.Exit
        With code 3 if the fit did not converge. The files are there, and say so.
    """
    told = render.console()
    told.quiet = json
    with _whole_or_nothing(output) as scratch:
        facts, converged = _answer(scratch, output, seed=seed, progress=not json, told=told)
        (scratch / "demo.json").write_text(_dump(facts), encoding="utf-8")
    if json:
        print(_dump(facts), end="")
    _tell_files(told, output)
    if not converged:
        from bayescale.cli.options import EXIT_NOT_CONVERGED

        raise typer.Exit(EXIT_NOT_CONVERGED)


def _answer(
    scratch: Path, output: Path, *, seed: int, progress: bool, told: Console
) -> tuple[dict[str, Facts], bool]:
    """Every number of the demonstration, told step by step; the figure and the fit go into ``scratch``."""
    clock = _Clock()
    table = load_dataset(DATASET)
    aside = table["run_id"] == HELD_OUT
    runs, held_out = table.isel(run=(~aside).values), table.isel(run=aside.values)
    described = summarise_runs(runs)
    _tell_runs(told, table, described)

    told.print(
        f"\n[bold]1  Fit[/] model {MODEL!r}: sampling takes seconds; the first time its code is compiled, "
        "which takes some ten seconds more"
    )
    from bayescale.inference import fit as sample

    tree = sample(runs, MODEL, random_seed=seed, progress=progress and sys.stderr.isatty())
    save(tree, scratch / "fit.nc")
    fitted = render.fit_facts(tree, output / "fit.nc")
    clock.lap("fit")
    _tell_verdict(told, fitted, clock.seconds["fit"])

    told.print("\n[bold]2  Check[/] whether the fit can be trusted")
    checked = render.check_facts(tree, check(tree))
    clock.lap("check")
    _tell_checks(told, checked)

    told.print(f"\n[bold]3  Forecast[/] {HELD_OUT}, a run of a family that the fit has never seen")
    draws = predict(tree, held_out, kind="run")
    forecast = render.forecast_facts(tree, draws, held_out)
    (row,) = forecast["rows"]
    forecast["published"] = float(held_out["loss"].item())
    forecast["inside_90"] = row["q05"] <= forecast["published"] <= row["q95"]
    clock.lap("forecast")
    _tell_forecast(told, forecast)

    told.print(
        f"\n[bold]4  Decide[/]: is a doubling of compute still worth {WORTH:g} {forecast['units']}?"
    )
    answers = {
        (path, flops): diminishing(tree, beyond=flops, gain_below=WORTH, path=path)
        for path in PATHS
        for flops in ASKED
    }
    gains = {path: returns(tree, flops=ASKED, path=path) for path in PATHS}
    decided = [
        render.returns_facts(tree, answer, gains[path].sel(flops=[flops]))
        for (path, flops), answer in answers.items()
    ]
    clock.lap("decide")
    _tell_returns(told, decided)

    told.print("\n[bold]5  Draw[/] the figure")
    scales = np.geomspace(float(runs["flops"].min()), FARTHEST, GRID)
    summary = summarise(returns(tree, flops=scales, path=PATHS[0]))
    new_run = summarise(predict(tree, inputs_along(tree, scales, PATHS[0]), kind="run"))
    alt = _draw(
        scratch,
        summary,
        runs=runs,
        fitted=summarise(predict(tree, runs)),
        new_run=new_run,
        held_out=held_out,
        held_out_forecast=summarise(draws),
        answers=[answers[PATHS[0], flops] for flops in ASKED],
    )
    clock.lap("draw")
    _tell_notes(told, *reversed(decided[: len(ASKED)]), forecast, fitted)
    facts = {
        "bayescale": __version__,
        "versions": jsonlib.loads(tree.attrs["versions"]),
        "seed": seed,
        "seconds": clock.seconds,
        "data": {key: table.attrs[key] for key in ("dataset", "citation", "licence")},
        "held_out": HELD_OUT,
        "runs": described,
        "fit": fitted,
        "check": checked,
        "forecast": forecast,
        "returns": decided,
        "curve": _curve_facts(summary, new_run),
        "figure": {"files": [str(output / name) for name in FILES[:2]], "alt": alt},
    }
    return facts, fitted["converged"]


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


@contextmanager
def _whole_or_nothing(output: Path) -> Iterator[Path]:
    """A folder for the files, which move to ``output`` together once all are written."""
    made = not output.exists()
    check_folder(output)
    if not made and not output.is_dir():
        raise NotADirectoryError(f"{output}: a file of this name exists; name a folder with -o")
    output.mkdir(exist_ok=True)
    scratch = None
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".demo.", dir=output))
        yield scratch
        for name in FILES:
            os.replace(scratch / name, output / name)
        made = False
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if made:
            output.rmdir()


def _draw(scratch: Path, summary: xr.Dataset, **parts: xr.Dataset | Sequence[xr.Dataset]) -> str:
    """Draw the figure as PNG and SVG; return its description."""
    from matplotlib import rc_context

    from bayescale.plots import plot_forecast

    figure = plot_forecast(summary, **parts)  # type: ignore[arg-type]
    alt = str(figure.get_label())
    # The same numbers give the same bytes.
    with rc_context({"svg.hashsalt": "bayescale"}):
        figure.savefig(scratch / "forecast.svg", metadata={"Date": None, "Description": alt})
    figure.savefig(scratch / "forecast.png", dpi=160, metadata={"Description": alt})
    return alt


def _curve_facts(summary: xr.Dataset, new_run: xr.Dataset) -> dict[str, Facts]:
    def levels(values: xr.DataArray) -> dict[str, list[float]]:
        return {
            key: values.sel(quantile=level).values.tolist()
            for key, level in render.QUANTILES.items()
        }

    return {
        "path": summary.attrs["path"],
        "family": summary.attrs["family"],
        "step": summary.attrs["step"],
        "flops": summary["flops"].values.tolist(),
        "decades_beyond": summary["decades_beyond"].values.tolist(),
        "loss": levels(summary["loss"]),
        "loss_of_a_run": levels(new_run["loss"]),
        "gain": levels(summary["gain"]),
    }


def _dump(facts: Mapping[str, Facts]) -> str:
    return jsonlib.dumps(render.plain(facts), indent=2) + "\n"


def _tell(told: Console, text: str) -> None:
    """Print what belongs to a step, indented."""
    told.print(Padding(text, (0, 0, 0, 3), expand=False))


def _tell_runs(told: Console, table: xr.Dataset, described: Mapping[str, Facts]) -> None:
    compute = described["inputs"]["flops"]
    told.print(
        f"[bold]bayescale {__version__}[/]: what will a larger run give, and is it worth it?\n"
        f"{described['runs']} published runs of {len(described['families'])} families, "
        f"{render.number(compute['min'], 2)} to {render.number(compute['max'], 2)} {compute['unit']}; "
        f"{HELD_OUT} is kept aside\n"
        f"[dim]{escape(table.attrs['citation'])}[/]"
    )


def _tell_verdict(told: Console, facts: Mapping[str, Facts], seconds: float) -> None:
    verdict = "[green]converged[/]" if facts["converged"] else "[bold red]NOT CONVERGED[/]"
    _tell(
        told,
        f"{verdict} after {seconds:.0f} s: R-hat {render.fixed(facts['rhat'], 3)}, effective sample size "
        f"{render.fixed(facts['ess_bulk'])}, {render.fixed(facts['divergences'])} divergences",
    )


def _tell_checks(told: Console, facts: Mapping[str, Facts]) -> None:
    found = [row["verdict"] for row in facts["checks"]]
    counts = {verdict: found.count(verdict) for verdict in ("ok", "warn", "fail")}
    _tell(told, ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    for row in facts["checks"]:
        if row["verdict"] != "ok":
            _tell(
                told,
                f"[yellow]{row['verdict']}[/] {row['check']} is {render.number(row['value'], 3)} "
                f"({row['threshold']} expected): {escape(row['advice'])}",
            )


def _tell_forecast(told: Console, facts: Mapping[str, Facts]) -> None:
    (row,) = facts["rows"]
    inside = "[green]inside[/]" if facts["inside_90"] else "[yellow]outside[/]"
    _tell(
        told,
        f"forecast  [bold]{row['median']:.3f}[/] {facts['units']}, 90 % interval {row['q05']:.3f} to "
        f"{row['q95']:.3f}\npublished [bold]{facts['published']:.3f}[/], {inside} the interval; "
        f"{render.how_far(row['decades_beyond'])} fitted",
    )


def _tell_returns(told: Console, decided: Sequence[Mapping[str, Facts]]) -> None:
    head = ("path", "from [FLOP]", "a doubling buys", "90 % interval", f"P(less than {WORTH:g})")
    table = Table(*map(escape, head), "decades beyond", box=None, pad_edge=False)
    for facts in decided:
        gain = facts["marginal"]["gain"]
        table.add_row(
            escape(facts["path"]),
            render.number(facts["beyond"]),
            f"{gain['median']:.4f}",
            f"{gain['q05']:.4f} to {gain['q95']:.4f}",
            f"{100 * facts['probability']:.2f} ± {100 * facts['probability_mcse']:.2f} %",
            f"{facts['decades_beyond']:.1f}",
        )
    render.fit_columns(table, told.width - 3)
    told.print(Padding(table, (0, 0, 0, 3), expand=False))
    farthest = max(decided, key=lambda facts: (facts["path"] == PATHS[0], facts["beyond"]))
    _tell(
        told,
        f"at {render.number(farthest['beyond'], 3)} FLOP, {farthest['path']}, a doubling is still worth it "
        f"with probability [bold]{100 * (1 - farthest['probability']):.1f} %[/]",
    )


def _tell_notes(told: Console, *answers: Mapping[str, Facts]) -> None:
    """The first note of each code; all of them are in ``demo.json``."""
    found: dict[str, Mapping[str, str]] = {}
    for note in (note for facts in answers for note in facts["notes"]):
        found.setdefault(note["code"], note)
    if found and not told.quiet:
        told.print("\nWhat these numbers rest on")
        render.print_notes(
            sorted(found.values(), key=lambda note: -SEVERITIES.index(note["severity"]))
        )


def _tell_files(told: Console, output: Path) -> None:
    told.print(f"\nWritten to {escape(str(output))}: {', '.join(FILES)}")
    if not told.quiet:
        render.next_step(
            False,
            f"bayescale returns {quoted(output / 'fit.nc')} --beyond {typed(FARTHEST)} --gain-below {WORTH:g}",
            "bayescale runs YOUR_RUNS.csv",
        )
