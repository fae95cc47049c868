"""What the verbs of the command line share: their common options, exit codes and endings."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import xarray as xr

EXIT_BAD_INPUT = 2
EXIT_NOT_CONVERGED = 3
#: Of ``bayescale budget``: do not make the run; the asked confidence is not reached either way.
EXIT_NO_GO, EXIT_UNDECIDED = 10, 20
EXIT_INTERRUPTED = 130


class Kind(StrEnum):
    """What is forecast, is to meet a target, or is compared."""

    curve = "curve"
    run = "run"


Json = Annotated[
    bool, typer.Option("--json", help="Print JSON with stable keys instead of tables.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the answer.")]
Force = Annotated[bool, typer.Option("--force", help="Exit 0 even if the fit did not converge.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same numbers.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", "-c", help="Name a column yourself: --column loss=val_ppl. May be repeated."
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="What RUNS is, if that cannot be told: table, wandb, mlflow, trainer, tensorboard, lm-eval.",
    ),
]
Join = Annotated[
    str | None,
    typer.Option("--join", help="Further columns of the same runs, by run_id: sizes or scores."),
]
Unit = Annotated[
    str | None,
    typer.Option("--unit", help="Unit of the losses: nat/token, bit/token, bit/byte, perplexity."),
]
TokensPerByte = Annotated[
    float | None, typer.Option("--tokens-per-byte", help="For --unit bit/byte, such as 0.25.")
]
RunsFile = Annotated[
    str,
    typer.Argument(
        metavar="RUNS", help="Table of runs: CSV, TSV, Parquet, JSON lines; or a data set's name."
    ),
]
FitFile = Annotated[Path, typer.Argument(metavar="FIT", help="A fit that `bayescale fit` wrote.")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Name of a shipped model, or a file ending in .toml."),
]
PathOption = Annotated[
    str | None,
    typer.Option(
        "--path",
        help="How scale grows: compute-optimal, fixed-ratio=20, fixed-params=7e9, fixed-tokens=3e11.",
    ),
]
Family = Annotated[
    str | None, typer.Option("--family", help="Family of the forecast run; a new one if left out.")
]


def sizes(text: str | None) -> list[float]:
    """Sizes separated by commas, as people write them."""
    from bayescale.runs import parse_size

    return [parse_size(each) for each in (text or "").split(",")]


def finish(tree: "xr.DataTree", force: bool) -> None:
    """Leave with exit code 3 if the fit did not converge and that was not overridden."""
    if not tree.attrs["converged"] and not force:
        raise typer.Exit(EXIT_NOT_CONVERGED)
