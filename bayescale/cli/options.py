"""What the verbs of the command line share: their common options, exit codes and endings."""

import difflib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    import xarray as xr

EXIT_BAD_INPUT = 2
EXIT_NOT_CONVERGED = 3
#: Of ``bayescale budget``: do not make the run; the asked confidence is not reached either way.
EXIT_NO_GO, EXIT_UNDECIDED = 10, 20
EXIT_INTERRUPTED = 130


#: Words of ``--path``. The room that knows them takes a second to import, which is too long for the tab key.
PATH_WORDS = {
    "compute-optimal": "the allocation of least loss, for each draw its own",
    "compute-optimal-expected": "the one allocation of least expected loss",
    "fixed-ratio=20": "so many training tokens for each parameter",
    "fixed-params=7B": "one model size, ever more tokens",
    "fixed-tokens=3T": "one number of tokens, ever larger models",
}


def complete_path(incomplete: str) -> list[tuple[str, str]]:
    """Ways to grow that begin so, with their meaning.

    Examples
    --------
    >>> complete_path("fixed-p")
    [('fixed-params=7B', 'one model size, ever more tokens')]
    """
    return [each for each in PATH_WORDS.items() if each[0].startswith(incomplete)]


def complete_model(incomplete: str) -> list[str]:
    """Shipped models that begin so, and model files of this folder.

    Examples
    --------
    >>> complete_model("chinchilla-f")
    ['chinchilla-families']
    """
    from bayescale.model import shipped

    files = (str(each) for each in Path().glob("*.toml"))
    return [each for each in (*shipped(), *sorted(files)) if each.startswith(incomplete)]


def complete_law(incomplete: str) -> list[str]:
    """Laws that begin so.

    Examples
    --------
    >>> complete_law("broken")
    ['broken', 'broken_2']
    """
    from bayescale.laws import names

    return [each for each in names() if each.startswith(incomplete)]


#: What is forecast, is to meet a target, or is compared.
Kind = Literal["curve", "run"]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON with stable keys instead of tables.")
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Print only the answer and its doubts: no progress, no next verb."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Exit 0 even if the fit did not converge.")]
# What every generator of random numbers takes; a saved fit and JSON hold it exactly.
_SEED = typer.Option(
    "--seed",
    min=0,
    max=2**32 - 1,
    help="Same seed, same numbers; of a fit, once this machine has compiled its model.",
)
Seed = Annotated[int | None, _SEED]
FixedSeed = Annotated[int, _SEED]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", "-c", help="Name a column yourself: --column loss=val_ppl. May be repeated."
    ),
]
# The rooms that know these words take a second to import; tests compare them.
Form = Literal["table", "wandb", "mlflow", "trainer", "tensorboard", "lm-eval"]
LossUnit = Literal["nat/token", "bit/token", "bit/byte", "perplexity"]
From = Annotated[Form | None, typer.Option("--from", help="What RUNS is, if that cannot be told.")]
Join = Annotated[
    str | None,
    typer.Option("--join", help="Further columns of the same runs, by run_id: sizes or scores."),
]
Unit = Annotated[LossUnit | None, typer.Option("--unit", help="Unit of the losses.")]
TokensPerByte = Annotated[
    float | None, typer.Option("--tokens-per-byte", help="For --unit bit/byte, such as 0.25.")
]
RunsFile = Annotated[
    str,
    typer.Argument(
        metavar="RUNS",
        help="Table of runs: CSV, TSV, Parquet, JSON; an export or folder of a tracker; or a data set's name: pile.",
    ),
]
FitFile = Annotated[Path, typer.Argument(metavar="FIT", help="A fit that `bayescale fit` wrote.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A shipped model (`bayescale models`) or a file ending in .toml; if left out, that for the columns.",
        autocompletion=complete_model,
    ),
]
PathOption = Annotated[
    str | None,
    typer.Option(
        "--path",
        help="How scale grows: compute-optimal (unless said otherwise), fixed-ratio=20, fixed-params=7B, "
        "fixed-tokens=3T.",
        autocompletion=complete_path,
    ),
]
Family = Annotated[
    str | None, typer.Option("--family", help="Family of the forecast run; a new one if left out.")
]

At = Annotated[
    list[str] | None,
    typer.Option("--at", help="Value of another input of the law: weight_bits=8. May be repeated."),
]


#: A power as people type it who think of 1e25.
_POWER = re.compile(r"(?:([\d.]+) ?[x×*] ?)?10 ?(?:\^|\*\*) ?(\d+)")


def size(option: str, text: str) -> float:
    """A size as people write it."""
    from bayescale.runs import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        power = _POWER.fullmatch(text.strip())
        hint = f"; did you mean {power[1] or 1}e{power[2]}?" if power else ""
        raise ValueError(f"{option}: {error}{hint}") from error


def sizes(option: str, text: str) -> list[float]:
    """Sizes separated by commas, as people write them."""
    items = text.split(",")
    places = [option] if len(items) == 1 else [f"{option}, item {i + 1}" for i in range(len(items))]
    return [size(place, item) for place, item in zip(places, items, strict=True)]


def counts(option: str, text: str) -> list[int]:
    """Whole numbers above zero, separated by commas."""
    try:
        found = sizes(option, text)
        if any(each % 1 for each in found):
            raise ValueError("not whole")
    except ValueError as error:
        raise ValueError(
            f"{option} {text!r}: expected whole numbers above zero, separated by commas: 1,10,100"
        ) from error
    return [int(each) for each in found]


def quoted(path: str | Path) -> str:
    """A path as a shell reads it, in a command that is shown to be copied.

    Examples
    --------
    >>> quoted("runs.csv"), quoted("my runs.csv"), quoted("-fit.nc")
    ('runs.csv', "'my runs.csv'", './-fit.nc')
    """
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))


def as_read(
    table: str,
    column: list[str] | None,
    form: str | None = None,
    join: str | None = None,
    unit: str | None = None,
    tokens_per_byte: float | None = None,
) -> str:
    """A table with the options that it was read with, in a command that is shown to be copied.

    Examples
    --------
    >>> as_read("my runs.csv", ["loss=ppl"], unit="perplexity")
    "'my runs.csv' --column loss=ppl --unit perplexity"
    """
    given = _given(column, form, join, unit, tokens_per_byte)
    return " ".join((quoted(table), *(f"{name} {shlex.quote(value)}" for name, value in given)))


def _given(
    column: list[str] | None,
    form: str | None,
    join: str | None,
    unit: str | None,
    tokens_per_byte: float | None,
) -> list[tuple[str, str]]:
    """Options of reading that were given, with their values."""
    options = {"--from": form, "--join": join, "--unit": unit, "--tokens-per-byte": tokens_per_byte}
    return [
        *(("--column", each) for each in column or []),
        *((name, str(value)) for name, value in options.items() if value is not None),
    ]


def asked(**options: object) -> str:
    """Options of a question with a space before them, in a command that is shown to be copied.

    Examples
    --------
    >>> asked(path="fixed-ratio=20", at=["a=1", "b=2"], family="my own", gain_below=0.02, loss=None)
    " --path fixed-ratio=20 --at a=1 --at b=2 --family 'my own' --gain-below 0.02"
    """
    return "".join(
        f" --{name.replace('_', '-')} {shlex.quote(str(each))}"
        for name, value in options.items()
        for each in (value if isinstance(value, list) else [value])
        if each is not None
    )


def check_figure(path: Path, option: str = "") -> None:
    """Raise ValueError if a figure cannot be written there, before the work that it shows is done."""
    from bayescale.saving import check_folder

    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{option}{path}: expected a name in .png, .pdf or .svg")
    check_folder(path)


def check_apart(output: Path, *sources: str | Path | None) -> None:
    """Raise ValueError if what is written would replace what is read."""
    for each in sources:
        if each is not None and output.exists() and Path(each).exists() and output.samefile(each):
            raise ValueError(f"{output}: that is what is read here; name another file with -o")


def numbers(option: str, text: str) -> list[float]:
    """Numbers separated by commas, as people write them."""
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: expected numbers separated by commas") from error


def held(given: list[str] | None) -> dict[str, float]:
    """Values of inputs as people write them: ``weight_bits=8``."""
    from bayescale.runs import parse_size

    found = {}
    for text in given or []:
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = parse_size(value)
        except ValueError as error:
            raise ValueError(
                f"--at {text!r}: expected INPUT=VALUE, such as weight_bits=8"
            ) from error
    return found


def read_table(
    table: str,
    column: list[str] | None,
    form: Form | None = None,
    join: str | None = None,
    unit: LossUnit | None = None,
    tokens_per_byte: float | None = None,
) -> "xr.Dataset":
    """A table of runs, or a data set by its name."""
    from bayescale.datasets import list_datasets, load_dataset
    from bayescale.runs import read_runs

    chosen: dict[str, str] = {}
    for name, source in map(_assignment, column or []):
        if chosen.setdefault(name, source) != source:
            raise ValueError(
                f"--column {name}={source}: {name!r} is read from {chosen[name]!r} already; name one column for it"
            )
    if not Path(table).exists() and not Path(table).suffix and Path(table).name == table:
        known = list_datasets()["name"].tolist()
        if table in known:
            given = dict.fromkeys(
                name for name, _ in _given(column, form, join, unit, tokens_per_byte)
            )
            if given:
                raise ValueError(
                    f"{table}: a data set has its columns and units already; got {', '.join(given)}: leave out what "
                    "says how to read a table, or name a file"
                )
            return load_dataset(table)
        near = difflib.get_close_matches(table, known, n=1)
        hint = f"did you mean {near[0]!r}? The" if near else "the"
        raise FileNotFoundError(
            f"{table}: neither a file nor a data set; {hint} data sets are {', '.join(known)}"
        )
    return read_runs(
        table,
        columns=chosen or None,
        form=form,
        join=join,
        unit=unit,
        tokens_per_byte=tokens_per_byte,
    )


def _assignment(text: str) -> tuple[str, str]:
    canonical, equals, source = text.partition("=")
    if not equals or not canonical or not source:
        raise ValueError(
            f"--column {text!r}: expected CANONICAL=COLUMN, such as --column loss=val_loss"
        )
    return canonical.strip(), source.strip()


#: What the library says in the words of Python, and what that is on the command line.
_PHRASES = tuple(
    (re.compile(said), meant)
    for said, meant in (
        (r", or pass path=.*", ""),
        (r"at=\{'(\w+)': ([^}]+)\}, or --at \S+", r"--at \1=\2"),
        (r"with at= or --at", "with --at"),
        (r"cuts=\[\.\.\.\]", "--cut 1e20"),
        (r"input=\.\.\.", "--input COLUMN"),
        (r"a fit with discrepancy none", "`bayescale fit ... --discrepancy none`"),
        (r"\bask for gain_below", "ask for --gain-below"),
        (r"(--gain-below(?:,| or)) elasticity_below", r"\1 --elasticity-below"),
        (r"(--elasticity-below or) floor", r"\1 --floor"),
    )
)
_COLUMNS = re.compile(r"columns=\{'(\w+)': (?:'([^']*)'|\"([^\"]*)\"|(\.\.\.))\}")
_VALUE = r"'[^']*'|\"[^\"]*\"|\([^()]*\)|\[[^\]]*\]|[^\s,:;)]+"


def on_command_line(message: str, options: Mapping[str, str] | None = None) -> str:
    """A message of the library in the words of the command line.

    Parameters
    ----------
    message : str
    options : mapping, optional
        Options by their name in Python, for an error; a note speaks of no values that were given.

    Examples
    --------
    >>> on_command_line("say which one is: columns={'loss': 'val loss'}")
    "say which one is: --column 'loss=val loss'"
    >>> on_command_line("form = 'wand': expected one of table, wandb", {"form": "--from"})
    '--from wand: expected one of table, wandb'
    """

    def column(at: re.Match[str]) -> str:
        source = at[2] or at[3] or at[4]
        # A table of plans is read as it is: its verbs have no option for its columns.
        if options and "column" not in options:
            return f"rename {'that' if source == '...' else repr(source)} to {at[1]!r}"
        return "--column " + shlex.quote(f"{at[1]}={source}")

    message = _COLUMNS.sub(column, message)
    for said, meant in _PHRASES:
        message = said.sub(meant, message)
    if not options:
        return message
    names = "|".join(sorted(options, key=len, reverse=True))
    long = "|".join(name for name in options if "_" in name) or "(?!)"

    def given(at: re.Match[str]) -> str:
        option, value = options[at[1]], at[2].strip("'\"()[]").replace(", ", ",")
        return f"{option} is missing" if value == "None" else f"{option} {shlex.quote(value)}"

    # Never inside a name, a path, a quotation or an option.
    message = re.sub(
        rf"(?<![\w.'\"/(-])(?<!--column )({names}) ?= ?({_VALUE})(?=[\s,:;.)]|$)", given, message
    )
    for shape in (
        rf"^({names})(?=: )",
        rf"(?<![\w.'\"/-])({long})(?![\w.'\"/])",
        rf"(?<=goes with )({names})\b",
        rf"(?<=, not with )({names})\b",
        rf"(?<=--)(?P<before>[\w-]+(?:,| or) )({names})\b",
    ):
        message = re.sub(
            shape, lambda at: at.groupdict().get("before", "") + options[at[at.re.groups]], message
        )
    return message


def finish(tree: "xr.DataTree", force: bool) -> None:
    """Leave with exit code 3 if the fit did not converge and that was not overridden."""
    if not tree.attrs["converged"] and not force:
        raise typer.Exit(EXIT_NOT_CONVERGED)
