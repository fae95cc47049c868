"""The verbs at both ends of the way: ``init``, which makes files to edit, and ``report``, which tells all in one file.

And what ``bayescale`` alone prints. Heavy imports live inside each verb, as in :mod:`bayescale.cli`.
"""

import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bayescale.cli.options import (
    At,
    Columns,
    Family,
    FitFile,
    Force,
    From,
    Join,
    Json,
    ModelName,
    PathOption,
    Quiet,
    RunsFile,
    TokensPerByte,
    Unit,
    as_read,
    check_apart,
    finish,
    held,
    numbers,
    quoted,
    read_table,
    size,
)

if TYPE_CHECKING:
    from bayescale.cli.starting import Started

#: What a fit is saved as, and what a table of runs usually is.
_FITS, _TABLES = (".nc", ".zarr"), (".csv", ".tsv", ".parquet", ".jsonl")

_GUIDE = """\
bayescale {version}: from a table of training runs to a credible answer about returns to scale

  bayescale demo                 an answer from 30 published runs, in a minute
  bayescale runs RUNS.csv        what is understood of a table of runs
  bayescale init RUNS.csv        a model file and a budget file to edit, if the defaults are not enough
  bayescale fit RUNS.csv         fit a law; the posterior is kept in fit.nc
  bayescale check fit.nc         can the fit be trusted?
  bayescale returns fit.nc --beyond 1e25 --gain-below 0.01
                                 is a doubling of compute still worth 0.01 there?
  bayescale report fit.nc        all of it in one file, to read and to pass on

bayescale --help lists every verb, bayescale VERB --help what it takes"""


def guide() -> None:
    """Print the way, and the next step from what lies in this folder."""
    from bayescale import __version__

    typer.echo(_GUIDE.format(version=__version__))
    typer.echo(f"\nnext: {_next_here()}")


def _next_here() -> str:
    try:
        # A name that a terminal would obey is none to print.
        found = [each for each in Path().iterdir() if each.name.isprintable()]
        found.sort(key=lambda each: each.stat().st_mtime)
    except OSError:
        found = []
    for suffixes, steps in (
        (_FITS, ("check {}", "report {}")),
        (_TABLES, ("runs {}", "fit {}")),
    ):
        newest = [each.name for each in found if each.suffix in suffixes][-1:]
        if newest:
            name = quoted(newest[0])
            return "   or   ".join(f"bayescale {step.format(name)}" for step in steps)
    return "bayescale demo"


def report(
    fit: FitFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write: .html, .md or .json; by default report.html."
        ),
    ] = None,
    format: Annotated[
        Literal["html", "md", "json"] | None,
        typer.Option(help="By default what the file's name ends in."),
    ] = None,
    beyond: Annotated[
        str | None,
        typer.Option(help="Compute asked about [FLOP]; by default ten times the largest run."),
    ] = None,
    gain_below: Annotated[
        float | None,
        typer.Option(help="What a step has to be worth; by default 0.01 in the unit of the loss."),
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="Ask also what these losses take: 2.0,1.9.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="How probable reaching --loss must be.")] = 0.9,
    step: Annotated[float, typer.Option(help="Factor of compute of one step.")] = 2.0,
    path: PathOption = None,
    at: At = None,
    family: Family = None,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Write one file for a decision-maker and a reviewer: the answer, figures, assumptions, checks."""
    from bayescale.saving import check_folder

    if output is None:
        output = Path(f"report.{format or 'html'}")
    named = output.suffix.removeprefix(".")
    if format is not None and named in ("html", "md", "json") and named != format:
        raise ValueError(
            f"--format {format} and the name {output.name!r} do not agree; leave one out"
        )
    check_folder(output)
    check_apart(output, fit)
    asked = None if beyond is None else size("--beyond", beyond)
    losses = None if loss is None else numbers("--loss", loss)
    from bayescale.cli import render
    from bayescale.saving import load

    tree = load(fit)
    from bayescale.report import write_report

    written = write_report(
        tree,
        output,
        format=format,
        beyond=asked,
        gain_below=gain_below,
        loss=losses,
        confidence=confidence,
        step=step,
        along=path,
        at=held(at),
        family=family,
        command=shlex.join(["bayescale", *sys.argv[1:]]),
    )
    facts = {"report": str(written), "converged": bool(tree.attrs["converged"])}
    render.out(facts, json, lambda told: typer.echo(f"written to {told['report']}"))
    render.next_step(
        json or quiet,
        f"open {written} in a browser" if written.suffix == ".html" else f"read {written}",
    )
    finish(tree, force)


def init(
    table: RunsFile,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for model.toml and budget.toml.")
    ] = Path(),
    model: ModelName = None,
    column: Columns = None,
    form: From = None,
    join: Join = None,
    unit: Unit = None,
    tokens_per_byte: TokensPerByte = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write a commented model file and budget file for a table of runs, to edit."""
    from bayescale.cli import render
    from bayescale.cli.starting import write_files

    runs = read_table(table, column, form, join, unit, tokens_per_byte)
    again = as_read(table, column, form, join, unit, tokens_per_byte)
    found = write_files(runs, table, output, again=again, model=model, force=force)
    render.out(asdict(found), json, lambda _: _tell(found))
    steps = [f"bayescale fit {again} --model {shlex.quote(found.model)} -o fit.nc"]
    if found.budget is not None:
        steps.append(f"bayescale budget fit.nc {shlex.quote(found.budget)}")
    render.next_step(json or quiet, *steps, link="then:")


def _tell(found: "Started") -> None:
    typer.echo(f"{found.model}: {found.base}, explained; edit it, or leave it out of the fit")
    if found.budget is None:
        typer.echo(f"no budget file: {found.why}")
    else:
        typer.echo(
            f"{found.budget}: what a run costs and is worth; all its numbers are yours to set"
        )


#: Verbs by the name that people type.
VERBS: dict[str, Callable[..., None]] = {"report": report, "init": init}
