"""The command line: every verb in process, its JSON, its exit codes, and a few real processes."""

import importlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import Result
from fake_fit import fake_fit
from rich.console import Console
from rich.table import Table
from test_held import of_repeated
from typer.main import get_command
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli, laws, links
from bayescale.cli import options as cli_options
from bayescale.cli import render
from bayescale.cli.following import forecast_step, further, returns_steps
from bayescale.cli.verbs import PANELS
from bayescale.inference.many import Job, Outcome
from bayescale.model import Model, shipped
from bayescale.notes import Note, dump_notes
from bayescale.validate.score import Predictive, score_runs

inference = importlib.import_module("bayescale.inference")

VERDICT = {"model", "converged", "rhat", "ess_bulk", "ess_tail", "divergences"}
QUANTILES = ["q05", "q25", "median", "q75", "q95"]
ANSI = re.compile("\x1b")


def invoke(*args: object, code: int = 0) -> Result:
    """Run a verb; its exit code must be the given one, and no other exception may leave it."""
    result = CliRunner().invoke(cli.app, [str(each) for each in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, (
        f"{args}: exit {result.exit_code}\n{result.stdout}\n{result.stderr}"
    )
    assert not ANSI.search(result.stdout + result.stderr), (
        f"{args}: escapes in output that is no terminal"
    )
    return result


def facts(*args: object, code: int = 0) -> Any:
    """What a verb prints with --json."""
    result = invoke(*args, "--json", code=code)
    assert result.stderr == ""
    return json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def fails(*args: object) -> str:
    """The message of a verb that is given bad input: one line, no table, no traceback."""
    result = invoke(*args, code=cli_options.EXIT_BAD_INPUT)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("error: ").strip()


@pytest.fixture(scope="module")
def saved(fit: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bs.save(fit, tmp_path_factory.mktemp("fit") / "fit.nc")


@pytest.fixture(scope="module")
def unconverged(fit: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared fit, had no attempt converged: the second of three was the best."""
    tree = fit.copy()
    one = {
        "worst": "alpha",
        "ess_bulk": 500.0,
        "ess_tail": 500.0,
        "divergences": 0,
        "draws": 4000,
        "bfmi": 1.0,
    }
    tried = [one | {"rhat": rhat} for rhat in (1.3, 1.05, 1.2)]
    note = Note(
        "not_converged",
        "error",
        "R-hat of alpha is 1.050 (at most 1.01)",
        "do not use these numbers",
    )
    tree.attrs = {
        **fit.attrs,
        "converged": 0,
        "sampling": json.dumps(tried),
        "notes": dump_notes([note]),
    }
    return bs.save(tree, tmp_path_factory.mktemp("unconverged") / "fit.nc")


@pytest.fixture
def sampled(fit: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ``fit`` is called with; it returns the shared fit at once."""
    calls: list[dict[str, Any]] = []

    def sample(runs: xr.Dataset, model: object = None, **settings: object) -> xr.DataTree:
        calls.append({"runs": runs, "model": model, **settings})
        return fit

    monkeypatch.setattr(inference, "fit", sample)
    return calls


@pytest.fixture
def table(pile: xr.Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    pile.to_dataframe()[["run_id", "family", "params", "tokens", "flops", "loss"]].to_csv(
        path, index=False
    )
    return path


def written(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


# --- Help ----------------------------------------------------------------------------------------------------------------

VERBS = sorted(get_command(cli.app).commands)


def test_the_verbs_are_these() -> None:
    assert {"runs", "fit", "check", "forecast", "returns", "models", "laws", "demo"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    result = invoke(verb, "--help")
    assert f"bayescale {verb}" in result.stdout or f" {verb} [OPTIONS]" in result.stdout
    assert invoke(verb, "-h").stdout == result.stdout


def test_help_names_the_exit_codes() -> None:
    text = " ".join(invoke("--help").stdout.split())
    for verb in VERBS:
        assert f" {verb} " in text
    told = (
        "Exit codes: 0 done, 2 bad input, 3 not converged (--force overrides), 10 and 20 no-go and undecided of budget, "
        "130 interrupted."
    )
    assert told in text


def test_an_unknown_verb_or_option_is_bad_input() -> None:
    invoke("fits", code=2)
    for verb, option, value in (
        ("fit", "--sampler", "stan"),
        ("fit", "--discrepancy", "some"),
        ("runs", "--from", "wand"),
        ("runs", "--unit", "nats"),
    ):
        assert f"'{value}' is not one of" in invoke(verb, "runs.csv", option, value, code=2).stderr


def test_bayescale_alone_prints_the_way_and_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = invoke().stdout
    for verb in ("demo", "runs", "init", "fit", "check", "returns", "report"):
        assert f"bayescale {verb}" in text
    assert text.rstrip().endswith("next: bayescale demo")
    (tmp_path / "my runs.csv").write_text("loss\n", encoding="utf-8")
    assert "bayescale fit 'my runs.csv'" in invoke().stdout.splitlines()[-1]
    (tmp_path / "-fit.nc").touch()
    assert "bayescale check ./-fit.nc" in invoke().stdout.splitlines()[-1]


def test_starting_and_help_load_nothing_heavy() -> None:
    code = """
import sys
from bayescale.cli import app
try:
    app(["fit", "--help"])
except SystemExit as end:
    assert not end.code
heavy = [name for name in ("numpy", "pandas", "xarray", "pymc", "matplotlib") if name in sys.modules]
sys.exit(f"loaded {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- runs ------------------------------------------------------------------------------------------------------------------


def test_runs_shows_what_was_understood(table: Path) -> None:
    text = invoke("runs", table).stdout
    assert "29 runs" in text
    assert "pythia (8)" in text
    assert text.rstrip().splitlines()[-1].startswith("next: bayescale fit ")
    found = facts("runs", table)
    assert set(found) == {
        "source",
        "sha256",
        "runs",
        "inputs",
        "distinct_runs",
        "tokens_per_parameter",
        "loss",
        "families",
        "columns",
        "kept",
        "derived_flops",
        "notes",
    }
    assert (found["runs"], found["source"], found["families"]["gpt-j"]) == (29, str(table), 1)
    assert set(found["inputs"]["params"]) == {"unit", "count", "min", "max", "decades", "levels"}


def test_runs_takes_a_data_sets_name() -> None:
    assert facts("runs", "pile")["runs"] == 30


@pytest.fixture
def perplexities(table: Path) -> tuple[Path, list[str]]:
    """The same runs in other words, and the options that read them."""
    frame = pd.read_csv(table)
    sizes = frame[["run_id", "params", "tokens", "flops"]]
    sizes.to_csv(table.parent / "my sizes.csv", index=False)
    frame = frame[["run_id", "loss"]].assign(loss=np.exp(frame["loss"]))
    frame.rename(columns={"loss": "val ppl"}).to_csv(table, index=False)
    options = ["--column", "loss=val ppl", "--join", str(table.parent / "my sizes.csv")]
    return table, [*options, "--unit", "perplexity"]


def test_the_next_command_reads_the_table_as_it_was_read(
    perplexities: tuple[Path, list[str]], sampled: list
) -> None:
    table, options = perplexities
    line = invoke("runs", table, *options).stdout.rstrip().splitlines()[-1]
    program, *again = shlex.split(line.removeprefix("next: "))
    assert (program, *again[:2]) == ("bayescale", "fit", str(table))
    invoke(*again, "-o", table.parent / "out.nc")
    (call,) = sampled
    assert call["runs"]["loss"].max() < 10
    assert dict(call["runs"].sizes) == {"run": 29}


def test_the_next_command_names_every_option_of_reading() -> None:
    found = cli_options.as_read("-runs.csv", ["loss=a", "N=b"], "table", "s.csv", "bit/byte", 0.25)
    assert found == (
        "./-runs.csv --column loss=a --column N=b --from table --join s.csv --unit bit/byte "
        "--tokens-per-byte 0.25"
    )
    assert cli_options.as_read("runs.csv", None) == "runs.csv"


@pytest.mark.parametrize("verb", ["runs", "fit", "init", "backtest"])
def test_a_data_set_is_not_read_in_other_ways(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {
        "--column": "loss=foo",
        "--from": "wandb",
        "--join": "nothing.csv",
        "--unit": "perplexity",
        "--tokens-per-byte": "0.25",
    }
    message = fails(verb, "pile", *(part for each in options.items() for part in each))
    assert message == (
        f"pile: a data set has its columns and units already; got {', '.join(options)}: leave out what says how to "
        "read a table, or name a file"
    )
    for name, value in options.items():
        assert f"got {name}: " in fails(verb, "pile", name, value)
    assert not written(tmp_path)


def test_columns_can_be_named(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "odd.csv"
    pd.read_csv(table).rename(columns={"loss": "final", "params": "size"}).to_csv(
        other, index=False
    )
    found = facts("runs", other, "-c", "loss=final", "--column", "params=size")
    assert found["columns"]["loss"] == "final"
    assert found["runs"] == 29
    assert "'final'" in fails("runs", other)
    assert fails("runs", other, "-c", "final") == (
        "--column 'final': expected CANONICAL=COLUMN, such as --column loss=val_loss"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda frame: frame.assign(loss=frame["loss"].where(frame.index != 4, -1.0)),
            ["'loss'", "row", "5"],
        ),
        (
            lambda frame: frame.assign(
                loss=frame["loss"].astype(object).where(frame.index != 7, "n/a?")
            ),
            ["'loss'", "8"],
        ),
        (lambda frame: frame.drop(columns="loss"), ["loss", "no column"]),
        (lambda frame: frame.iloc[:2], ["2 runs", "at least 3"]),
    ],
)
def test_errors_name_the_file_the_column_and_the_rows(
    change: Callable[[pd.DataFrame], pd.DataFrame], expected: list[str], table: Path
) -> None:
    change(pd.read_csv(table)).to_csv(table, index=False)
    before = written(table.parent)
    for verb in (("runs", table), ("fit", table, "-o", table.parent / "fit.nc")):
        message = fails(*verb)
        assert message.startswith(f"{table}: ")
        assert all(each in message for each in expected), message
    assert written(table.parent) == before


# --- fit ---------------------------------------------------------------------------------------------------------------------


def test_fit_saves_and_sums_up(table: Path, sampled: list, fit: xr.DataTree) -> None:
    output = table.parent / "out.nc"
    text = invoke("fit", table, "-o", output, "--seed", 1, "--model", "chinchilla-families").stdout
    for expected in (
        "model chinchilla-families",
        ": converged",
        "alpha",
        "29 runs",
        "seed 1",
        f"saved: {output}",
    ):
        assert expected in text
    assert f"next: bayescale check {output}" in text
    (call,) = sampled
    assert dict(call["runs"].sizes) == {"run": 29}
    del call["runs"]
    assert call == {
        "model": "chinchilla-families",
        "draws": 1000,
        "chains": 4,
        "random_seed": 1,
        "sampler": "nutpie",
        "discrepancy": None,
        "progress": False,
    }
    xr.testing.assert_identical(
        bs.load(output)["posterior"].to_dataset(), fit["posterior"].to_dataset()
    )
    quiet = invoke("fit", table, "-o", output, "--quiet").stdout
    assert "next:" not in quiet


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
@pytest.mark.parametrize("verb", ["fit", "backtest", "demo"])
def test_a_seed_that_no_generator_takes_is_bad_input(
    verb: str, seed: int, table: Path, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    result = invoke(verb, *([] if verb == "demo" else [table]), "--seed", seed, code=2)
    assert "Invalid value for '--seed'" in result.stderr
    assert not sampled
    assert written(table.parent) == {"runs.csv"}


def test_quiet_leaves_the_next_verb_out_of_every_verb_that_names_one(table: Path) -> None:
    takers = {name for name, each in get_command(cli.app).commands.items() if quiet_of(each)}
    assert takers == set(get_command(cli.app).commands) - {"demo"}
    for verb in (["runs", table], ["models"], ["laws"]):
        loud, quiet = invoke(*verb).stdout, invoke(*verb, "-q").stdout
        assert loud.startswith(quiet)
        assert loud.removeprefix(quiet).startswith("\nnext: bayescale ")


def quiet_of(command: Any) -> bool:
    return any("--quiet" in each.opts for each in command.params)


def test_help_lists_every_verb_in_one_panel_and_shows_units() -> None:
    verbs = list(get_command(cli.app).commands)
    assert verbs == [name for names in PANELS.values() for name in names]
    shown = invoke("--help").stdout
    assert all(panel in shown for panel in PANELS)
    for verb, option in (
        ("returns", "buys less than this [nat/token]"),
        ("allocate", "[nat/token]"),
    ):
        text = " ".join(re.sub("[│\n]", " ", invoke(verb, "--help").stdout).split())
        assert option in text


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "bayescale fit runs.csv --model chinchilla-",
            ["chinchilla-families", "chinchilla-published"],
        ),
        ("bayescale models skaling-dr", ["skaling-drift", "skaling-drift-families"]),
        ("bayescale laws broken", ["broken", "broken_2"]),
        ("bayescale returns fit.nc --path fixed-r", ["fixed-ratio=20"]),
        ("bayescale al", ["allocate"]),
        ("bayescale fit runs.csv --sam", ["--sampler"]),
    ],
)
def test_the_tab_key_completes_names(line: str, wanted: list[str]) -> None:
    asked = {
        "_BAYESCALE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    done = CliRunner().invoke(cli.app, [], prog_name="bayescale", env=asked)
    assert done.stdout.split() == wanted


def test_the_tab_key_knows_every_path_and_loads_nothing_heavy() -> None:
    from bayescale.forecast.path import PATHS, parse_path

    known = {key.rstrip("=") for key in PATHS} - {"table", "input"}
    assert {word.partition("=")[0] for word in cli_options.PATH_WORDS} == known
    for word, meaning in cli_options.PATH_WORDS.items():
        assert PATHS[word.partition("=")[0] + ("=" if "=" in word else "")] == meaning
        assert parse_path(word).kind == word.partition("=")[0]
    code = (
        "import sys; from bayescale.cli import options as o; "
        "o.complete_model(''), o.complete_law(''), o.complete_path(''); "
        "sys.exit(bool({'pandas', 'xarray', 'matplotlib', 'pymc'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_told() -> None:
    assert invoke("--version").stdout == f"bayescale {bs.__version__}\n"


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bayescale", "laws", "nope"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == cli_options.EXIT_BAD_INPUT
    assert done.stderr.startswith("error: unknown law 'nope'")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(more: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "bayescale", "laws", *more]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_standard_output_a_verb_still_ends_well() -> None:
    command = [sys.executable, "-m", "bayescale", "laws"]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_that_lacks_a_letter_shows_the_rest(tmp_path: Path) -> None:
    rows = [f"{1e8 * 2**i:g},{2e9 * 2**i:g},{4 - i / 5},µP" for i in range(6)]
    (tmp_path / "runs.csv").write_text("\n".join(["params,tokens,loss,family", *rows]), "utf-8")
    said = run("runs", "runs.csv", cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (said.returncode, said.stderr) == (0, "")
    assert "?P (6)" in said.stdout


def test_a_package_that_is_missing_is_a_message(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "reading Parquet needs pyarrow; install it"

    def lacks(*args: object, **options: object) -> None:
        raise ImportError(told)

    monkeypatch.setattr("bayescale.runs.read_runs", lacks)
    assert told in fails("runs", table)


def test_a_column_is_read_from_one_place(table: Path) -> None:
    message = fails("runs", table, "--column", "loss=loss", "--column", "loss=tokens")
    assert "--column loss=tokens: 'loss' is read from 'loss' already" in message


def test_the_next_command_can_be_copied_whole(table: Path, sampled: list) -> None:
    long = table.parent / f"{'long name ' * 12}.nc"
    lines = invoke("fit", table, "-o", long, "--seed", 1).stdout.splitlines()
    assert f"next: bayescale check '{long}'" in lines
    # Ten times the largest run of the table, not of somebody else's; and no farther, which is doubted.
    (asked,) = (
        line for line in lines if line.startswith(f"or:   bayescale forecast '{long}' --flops ")
    )
    largest = float(bs.load(long)["constant_data"]["flops"].max())
    assert 9 * largest < float(asked.split()[-1]) <= 10 * largest


@pytest.mark.parametrize("largest", [1e23, 9.256e21, 1.999e20, 3e5, 0.97])
def test_what_is_asked_next_is_rounded_down(largest: float) -> None:
    runs = xr.Dataset({"flops": ("run", [largest / 100, largest])})
    asked = float(further(fake_fit("power", runs=runs)))
    assert asked == pytest.approx(10 * largest, rel=0.1)
    assert np.log10(asked) - np.log10(largest) <= 1


def test_the_next_command_asks_the_same_question(saved: Path, tmp_path: Path) -> None:
    path = ["--path", "fixed-ratio=20", "--family", "pythia"]
    last = f"{' '.join(path)}"
    told = invoke("forecast", saved, "--flops", "1e23,1e24", *path).stdout.splitlines()[-1]
    assert told == (f"next: bayescale returns {saved} --beyond 1e24 --gain-below 0.01 {last}")
    call = ["returns", saved, "--beyond", "1e24", "--gain-below", "0.02", "--step", "10", *path]
    told = invoke(*call).stdout.splitlines()[-1]
    asked = "--beyond 1e24 --gain-below 0.02 --step 10.0"
    assert told == f"next: bayescale report {saved} {asked} {last}"
    told = invoke("returns", saved, "--beyond", "1e24", "--floor", "0.1").stdout.splitlines()
    assert told[-2:] == [
        "a report asks --gain-below, not --floor:",
        f"next: bayescale report {saved} --beyond 1e24",
    ]
    bs.save(of_repeated("repetition"), tmp_path / "held.nc")
    held = ["--path", "fixed-ratio=20", "--at", "unique_tokens=1e10"]
    call = ["forecast", tmp_path / "held.nc", "--flops", "1e22", *held]
    (*_, told) = invoke(*call).stdout.splitlines()
    assert told.endswith(f"--beyond 1e22 --gain-below 0.01 {' '.join(held)}")
    invoke(*shlex.split(told.removeprefix("next: bayescale ")))


def test_the_next_command_runs_where_a_law_needs_more_than_a_scale(tmp_path: Path) -> None:
    held = of_repeated("repetition")
    told = forecast_step(held, bs.save(held, tmp_path / "held.nc"))
    assert " --at unique_tokens=" in told
    invoke(*shlex.split(told)[1:])
    runs = xr.Dataset({"params": ("run", [1e8, 1e9, 1e10]), "experts": ("run", [2.0, 8.0, 32.0])})
    known = {"b": 0.1, "c": 0.01, "a": 0.1, "E_start": 2.0, "E_max": 300.0}
    moe = fake_fit("moe", runs=runs, **known)
    path = bs.save(moe, tmp_path / "moe.nc")
    assert forecast_step(moe, path) == f"bayescale forecast {path} --planned TABLE"
    assert returns_steps(moe, path, None, None, None, None) == [f"bayescale report {path}"]


def test_a_handful_of_runs_is_named_priors_that_others_measured(tmp_path: Path) -> None:
    for size, model in ((7, " --model chinchilla-published --discrepancy drift"), (8, "")):
        frame = pd.DataFrame({"params": np.geomspace(1e8, 1e9, size)})
        frame["tokens"] = np.resize([5.0, 20.0, 80.0], size) * frame["params"]
        frame["loss"] = 2 + 400 * frame["params"] ** -0.35
        frame.to_csv(tmp_path / "few.csv", index=False)
        lines = invoke("runs", tmp_path / "few.csv").stdout.splitlines()
        assert lines[-1] == f"next: bayescale fit {tmp_path / 'few.csv'}{model}"


def test_the_summary_of_a_fit_has_five_lines_and_its_doubts(table: Path, sampled: list) -> None:
    output = table.parent / "out.nc"
    lines = invoke(
        "fit", table, "-o", output, "--quiet", "-m", "chinchilla-families"
    ).stdout.splitlines()
    heads = ("model chinchilla-families", "29 runs; seed", "median", "reference scale")
    for line, head in zip(lines[:4], heads, strict=True):
        assert line.startswith(head)
    # Doubts stand before the last line, the most severe first.
    assert all(line.startswith(("error", "warning", "info")) for line in lines[4:-1][:1])
    assert lines[-1] == f"saved: {output}"
    told = next(line for line in lines if line.startswith("median"))
    assert all(name in told for name in ("E ", "alpha ", "beta "))
    assert "_ref" not in told


@pytest.mark.parametrize("name", ["runs.csv", "fit.csv", "fit", "nowhere/fit.nc", "taken.zarr"])
def test_where_no_fit_can_be_saved_is_said_before_sampling(
    name: str, table: Path, sampled: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    Path("taken.zarr").write_text("precious")
    before = table.read_bytes()
    message = fails("fit", "runs.csv", "-o", name)
    assert message.startswith(f"{name}: ")
    assert not sampled
    assert written(table.parent) == {"runs.csv", "taken.zarr"}
    assert table.read_bytes() == before


def test_what_is_read_is_not_replaced(
    table: Path, sampled: list, saved: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "fit.nc"
    copy.write_bytes(saved.read_bytes())
    link = tmp_path / "link.html"
    link.symlink_to(copy)
    for output in (copy, link):
        message = fails("report", copy, "-o", output, "--format", "html")
        assert message == f"{output}: that is what is read here; name another file with -o"
    message = fails("report", saved, "-o", table, "--format", "md")
    assert message == (
        "runs.csv: the name of a fit or of a table, which a report would replace; name it runs.md"
    )
    assert copy.read_bytes() == saved.read_bytes()
    assert written(tmp_path) == {"runs.csv", "fit.nc", "link.html"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("runs {} --column loss=mine", "runs.csv: --column loss=mine, but there is no column"),
        ("runs {} --column los=mine", "runs.csv: --column los=... is not a name"),
        ("fit {} --draws 5", "--draws 5: convergence cannot be judged with fewer than 100 draws"),
        ("backtest {} --input size", "runs.csv: --input size is not a column of numbers"),
    ],
)
def test_an_error_names_the_options(
    call: str, message: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    assert message in fails(*call.format(table).split())
    assert written(table.parent) == {"runs.csv"}


def test_a_note_names_the_options(table: Path) -> None:
    pd.read_csv(table).rename(columns={"loss": "val_loss"}).to_csv(table, index=False)
    (note,) = [
        each for each in facts("runs", table)["notes"] if each["code"] == "columns_recognised"
    ]
    assert note["advice"] == "if one is wrong say so: --column loss=val_loss"
    assert "--column loss=val_loss" in invoke("runs", table).stdout


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("say which: columns={'loss': \"it's\"}", "say which: --column 'loss=it'\"'\"'s'"),
        ("such as at={'bits': 8}, or --at bits=VALUE", "such as --at bits=8"),
        ("set X to that folder, or pass path=; or pass sha256=", "set X to that folder"),
        (
            "fit a model that can bend, or ask for gain_below, elasticity_below or floor",
            "fit a model that can bend, or ask for --gain-below, --elasticity-below or --floor",
        ),
        (
            "ask for gain_below or elasticity_below",
            "ask for --gain-below or --elasticity-below",
        ),
        (
            "a fit with discrepancy none shows it",
            "`bayescale fit ... --discrepancy none` shows it",
        ),
        ("flops = 6 * params * tokens, derived", "flops = 6 * params * tokens, derived"),
    ],
)
def test_notes_speak_of_options(message: str, told: str) -> None:
    assert cli_options.on_command_line(message) == told


@pytest.mark.parametrize(
    "message",
    [
        "a/gain_below=1/gain_below.csv: no such file",
        "runs.csv: column 'gain_below' has 2 values <= 0",
        "--gain-below 0.1: expected a number",
        "the loss is to rise",
    ],
)
def test_what_is_the_users_keeps_its_name(message: str) -> None:
    options = {"gain_below": "--gain-below", "loss": "--loss", "to": "--to"}
    assert cli_options.on_command_line(message, options) == message


def test_columns_are_renamed_where_a_verb_cannot_name_them() -> None:
    message = "say which it is: columns={'params': 'size'}"
    told = {
        "rename 'size' to 'params'": {"seed": "--seed"},
        "--column params=size": {"column": "--column", "params": "--params"},
    }
    for advice, options in told.items():
        assert cli_options.on_command_line(message, options) == f"say which it is: {advice}"


def test_fit_hands_its_options_on(table: Path, sampled: list) -> None:
    options = [
        "--draws",
        200,
        "--chains",
        2,
        "--sampler",
        "pymc",
        "--discrepancy",
        "none",
        "-m",
        "power",
    ]
    invoke("fit", table, "-o", table.parent / "out.zarr", *options)
    (call,) = sampled
    assert (call["draws"], call["chains"], call["sampler"]) == (200, 2, "pymc")
    assert (call["discrepancy"], call["model"], call["random_seed"]) == ("none", "power", None)
    assert bs.load(table.parent / "out.zarr").attrs["model_name"] == "chinchilla-families"


def test_fit_in_json(table: Path, sampled: list, fit: xr.DataTree) -> None:
    found = facts("fit", table, "-o", table.parent / "out.nc")
    assert set(found) == VERDICT | {
        *("fit", "runs", "seed", "reference", "centered", "parameters", "notes")
    }
    assert (found["runs"], found["converged"], found["seed"]) == (29, True, 1)
    assert found["centered"] == {"level_family": []}
    assert list(found["parameters"]["alpha"]) == ["mean", "sd", *QUANTILES]
    alpha = fit["posterior"]["alpha"].values
    assert found["parameters"]["alpha"]["mean"] == pytest.approx(alpha.mean())
    assert found["parameters"]["alpha"]["q95"] == pytest.approx(np.quantile(alpha, 0.95))
    assert set(found["parameters"]) == {
        name for name, values in fit["posterior"].data_vars.items() if values.ndim == 2
    }
    assert found["rhat"] == json.loads(fit.attrs["sampling"])[-1]["rhat"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "chinchila"], "unknown model 'chinchila': did you mean 'chinchilla'?"),
        (["--model", "nowhere.toml"], "nowhere.toml: no such model file"),
        (["--draws", "10"], "--draws 10: convergence cannot be judged with fewer than 100 draws"),
        (
            ["-o", "nowhere/fit.nc"],
            "nowhere/fit.nc: folder 'nowhere' does not exist; make it first",
        ),
        (["-o", "."], ".: a folder; name a file in it, such as fit.nc"),
        (["-c", "loss=perplexity"], "perplexity"),
    ],
)
def test_bad_input_to_fit_is_told_before_it_samples(
    options: list[str], message: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    assert message in fails("fit", table, *options)
    assert written(table.parent) == {"runs.csv"}


def test_a_fit_that_did_not_converge_is_saved_and_exits_with_3(
    table: Path, unconverged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = bs.load(unconverged)
    monkeypatch.setattr(inference, "fit", lambda *args, **settings: tree)
    output = table.parent / "out.nc"
    text = " ".join(invoke("fit", table, "-o", output, code=3).stdout.split())
    assert "NOT CONVERGED: do not use these numbers" in text
    assert "error not_converged: R-hat of alpha is 1.050" in text
    assert bs.load(output).attrs["converged"] == 0
    invoke("fit", table, "-o", output, "--force")
    found = facts("fit", table, "-o", output, code=3)
    assert (found["converged"], found["rhat"]) == (False, 1.05)  # Of the attempt that was kept.


def test_an_interrupted_fit_writes_nothing(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "fit", interrupted)
    result = invoke("fit", table, "-o", table.parent / "out.nc", code=130)
    assert result.stderr == "interrupted: nothing was written\n"
    assert written(table.parent) == {"runs.csv"}


# --- check -------------------------------------------------------------------------------------------------------------------


def test_check_judges(saved: Path, fit: xr.DataTree) -> None:
    text = invoke("check", saved).stdout
    assert "R-hat" in text
    assert "prior sensitivity" in text
    assert f"next: bayescale forecast {saved}" in " ".join(text.split())
    found = facts("check", saved)
    assert set(found) == VERDICT | {"verdict", "checks", "notes"}
    own = bs.check(fit)
    assert [row["check"] for row in found["checks"]] == list(own.index)
    assert set(found["checks"][0]) == {"check", "value", "threshold", "verdict", "code", "advice"}
    assert found["verdict"] == own.attrs["verdict"]


def test_what_is_read_of_a_fit_that_did_not_converge_exits_with_3(unconverged: Path) -> None:
    assert "NOT CONVERGED" in invoke("check", unconverged, code=3).stdout
    assert "NOT CONVERGED" in invoke("check", unconverged, "--force").stdout
    for call in (
        ["forecast", unconverged, "--flops", "1e24"],
        ["returns", unconverged, "--beyond", "1e24", "--gain-below", "0.01"],
    ):
        invoke(*call, "--force")
        found = facts(*call, code=3)
        assert found["converged"] is False
        assert found["notes"][0]["code"] == "not_converged"


@pytest.mark.parametrize(
    "verb",
    [
        ["check"],
        ["forecast", "--flops", "1e24"],
        ["returns", "--beyond", "1e24", "--gain-below", "0.01"],
    ],
)
def test_what_is_no_fit_is_refused(verb: list[str], table: Path) -> None:
    missing = fails(verb[0], table.parent / "no.nc", *verb[1:])
    assert missing.startswith(f"{table.parent / 'no.nc'}: no such file; `bayescale fit RUNS -o ")
    message = fails(verb[0], table, *verb[1:])
    assert message.startswith(
        f"{table}: a table, and a fit is expected, in .nc or .zarr; `bayescale fit "
    )


def test_a_fit_without_its_predictions_cannot_be_checked(tmp_path: Path) -> None:
    path = bs.save(fake_fit(), tmp_path / "fit.nc")
    assert "fit has no group posterior_predictive" in fails("check", path)


# --- forecast ----------------------------------------------------------------------------------------------------------------


def test_forecast_along_the_default_path(saved: Path, fit: xr.DataTree) -> None:
    found = facts("forecast", saved, "--flops", "1e24,1e25")
    assert set(found) == VERDICT | {"kind", "path", "units", "rows", "notes"}
    assert (found["kind"], found["path"], found["units"]) == (
        "curve",
        "compute-optimal",
        "nat/token",
    )
    first, second = found["rows"]
    assert list(first) == ["flops", "params", "tokens", "decades_beyond", *QUANTILES, "mcse"]
    assert [first["flops"], second["flops"]] == [1e24, 1e25]
    loss = bs.predict(fit, bs.inputs_along(fit, [1e24, 1e25]))
    expected = bs.summarise(loss)["loss"]
    for row, at in ((first, 0), (second, 1)):
        assert [row[key] for key in QUANTILES] == pytest.approx(
            expected.isel(flops=at).values.tolist()
        )
    assert first["decades_beyond"] == pytest.approx(np.log10(1e24 / 2.4e22))
    codes = {note["code"] for note in found["notes"]}
    assert {"far_extrapolation", "bare_law", "new_family"} <= codes
    text = invoke("forecast", saved, "--flops", "1e24,1e25").stdout
    assert "loss [nat/token], where the law runs; path compute-optimal" in text
    assert "decades beyond the runs" in text


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("fixed-ratio=20", (1e24 / 120) ** 0.5),
        ("fixed-params=7B", 7e9),
        ("fixed-tokens=3e12", 1e24 / 6 / 3e12),
    ],
)
def test_forecast_along_other_paths(path: str, params: float, saved: Path) -> None:
    found = facts("forecast", saved, "--flops", "1e24", "--path", path, "--family", "pythia")
    (row,) = found["rows"]
    assert found["path"].startswith(path.partition("=")[0])
    assert row["params"] == pytest.approx(params)
    assert 6 * row["params"] * row["tokens"] == pytest.approx(1e24)
    assert row["family"] == "pythia"
    assert "new_family" not in {note["code"] for note in found["notes"]}


def test_forecast_of_a_run_is_wider_than_of_the_curve(saved: Path) -> None:
    call = ["forecast", saved, "--flops", "3e22", "--path", "fixed-ratio=20", "--family", "pythia"]
    curve, run = (facts(*call, "--kind", kind) for kind in ("curve", "run"))
    width = [found["rows"][0]["q95"] - found["rows"][0]["q05"] for found in (curve, run)]
    assert width[1] > 1.2 * width[0]
    assert run["kind"] == "run"
    assert "what one more run would give" in invoke(*call, "--kind", "run").stdout


def test_forecast_of_planned_runs(saved: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.csv"
    plan.write_text("run_id,family,N,D\nbig,pythia,20B,1T\nbigger,other,70B,2T\n")
    found = facts("forecast", saved, "--planned", plan)
    assert found["path"] == "table"
    assert [(row["run_id"], row["family"]) for row in found["rows"]] == [
        ("big", "pythia"),
        ("bigger", "other"),
    ]
    assert [row["params"] for row in found["rows"]] == [20e9, 70e9]
    assert found["rows"][0]["median"] > found["rows"][1]["median"]
    text = invoke("forecast", saved, "--planned", plan).stdout
    assert "bigger" in text
    assert "'other'" in text  # A family without runs is new.


def test_a_forecast_is_of_the_group_whatever_its_column(tmp_path: Path) -> None:
    text = Model.load("chinchilla-families").text.replace('over = "family"', 'over = "corpus"')
    fit = fake_fit(Model.from_toml(text), families={"a": 1.0, "b": 1.3}, jitter=0.01)
    path, plan = bs.save(fit, tmp_path / "fit.nc"), tmp_path / "plan.csv"
    plan.write_text("N,D\n20B,1T\n")
    for group in ("a", "b"):
        expected = bs.predict(fit, {"params": 20e9, "tokens": 1e12, "corpus": [group]})
        middle = float(bs.summarise(expected)["loss"].sel(quantile=0.5)[0])
        for options in (["--flops", "1.2e23", "--path", "fixed-ratio=50"], ["--planned", plan]):
            (row,) = facts("forecast", path, *options, "--family", group)["rows"]
            assert row["median"] == pytest.approx(middle)


def test_a_family_that_is_misspelt_is_new_with_a_hint(saved: Path) -> None:
    found = facts("forecast", saved, "--flops", "1e24", "--family", "pythja")
    (note,) = [note for note in found["notes"] if note["code"] == "new_family"]
    assert "did you mean 'pythia'?" in note["advice"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --flops 1e24,1e25 (with --path and --at) or --planned TABLE"),
        (["--flops", "1e24", "--planned", "plan.csv"], "give either --flops"),
        (["--planned", "plan.csv", "--path", "fixed-ratio=20"], "--path goes with --flops"),
        (["--planned", "plan.csv", "--at", "vocab=1e5"], "--at goes with --flops"),
        (["--planned", "plan.csv"], "plan.csv: no column for 'tokens'"),
        (
            ["--planned", "long.csv"],
            "Did you mean 'tokns'? Add the column, or say which it is: rename",
        ),
        (["--flops", "1e24,much"], "--flops, item 2: 'much' is not a size"),
        (["--flops", "1e24,,1e25"], "--flops, item 2: '' is not a size"),
        (["--flops", "10^25"], "; did you mean 1e25?"),
        (["--flops", "3 x 10**24"], "; did you mean 3e24?"),
        (["--flops", "-1"], "--flops: '-1' is not a size"),
        (["--flops", "1e24", "--path", "fixed-ration=20"], "fixed-ratio"),
    ],
)
def test_bad_input_to_forecast(
    options: list[str], message: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.csv").write_text("params\n1e10\n")
    Path("long.csv").write_text("params,tokns\n1e10,1e11\n")
    assert message in fails("forecast", saved, *options)


def test_a_forecast_holds_what_a_law_has_besides(tmp_path: Path) -> None:
    known = of_repeated("repetition")
    bs.save(known, tmp_path / "fit.nc")
    at = {"unique_tokens": 1e11}
    expected = bs.predict(known, bs.inputs_along(known, [1e24], "fixed-ratio=20", at=at))
    options = ["--flops", "1e24", "--path", "fixed-ratio=20", "--at", "unique_tokens=100B"]
    (row,) = facts("forecast", tmp_path / "fit.nc", *options)["rows"]
    assert row["median"] == pytest.approx(float(expected.median()))
    assert "hold the others with --at" in fails("forecast", tmp_path / "fit.nc", *options[:4])


# --- returns -----------------------------------------------------------------------------------------------------------------

RETURNS = VERDICT | {
    "predicate",
    "threshold",
    "beyond",
    "start",
    "horizon",
    "path",
    "step",
    "family",
    "probability",
    "probability_mcse",
    "p_already",
    "p_already_mcse",
    "p_never",
    "p_never_mcse",
    "p_loss_rises",
    "p_loss_rises_mcse",
    "loss_unit",
    "decades_beyond",
    "onset",
    "marginal",
    "notes",
}

PREDICATES = {
    "gain_below": ("0.01", 0.01),
    "elasticity_below": ("0.01", 0.01),
    "relative_below": ("0.5@1e23", (0.5, 1e23)),
    "floor": ("0.1", 0.1),
    "flattening": ("0.01", 0.01),
}


@pytest.mark.parametrize("predicate", PREDICATES)
def test_returns_in_every_sense(predicate: str, saved: Path, fit: xr.DataTree) -> None:
    text, value = PREDICATES[predicate]
    call = ["returns", saved, "--beyond", "1e24", f"--{predicate.replace('_', '-')}", text]
    found = facts(*call)
    assert set(found) == RETURNS | ({"relative_to"} if predicate == "relative_below" else set())
    assert found["predicate"] == predicate
    assert set(found["onset"]) == set(QUANTILES)
    assert set(found["marginal"]) == {
        "loss",
        "gain",
        "elasticity",
        "reducible_elasticity",
        "share_left",
        "halving_compute",
        "improvement_flops",
    }
    own = bs.diminishing(fit, beyond=1e24, **{predicate: value})
    for key in ("probability", "p_already", "p_never", "probability_mcse"):
        assert found[key] == pytest.approx(float(own[key])), key
    median = float(own["onset"].sel(quantile=0.5))
    assert found["onset"]["median"] == (pytest.approx(median) if np.isfinite(median) else None)
    shown = invoke(*call).stdout
    assert "diminishing here means: " in shown
    assert f"{found['probability']:.1%}" in shown
    cannot_bend = "law_cannot_bend" in {note["code"] for note in found["notes"]}
    assert cannot_bend == (predicate == "flattening")


def test_returns_over_an_interval_with_other_steps(saved: Path, fit: xr.DataTree) -> None:
    call = ["returns", saved, "--beyond", "1e24", "--gain-below", "0.1", "--step", "10"]
    call += ["--to", "1e25", "--path", "fixed-ratio=20", "--family", "pythia"]
    found = facts(*call)
    assert set(found) == RETURNS | {"to", "probability_throughout", "probability_throughout_mcse"}
    assert (found["to"], found["step"], found["family"]) == (1e25, 10.0, "pythia")
    own = bs.returns(fit, flops=[1e24], step=10, path="fixed-ratio=20", family="pythia")
    median = float(bs.summarise(own)["gain"].sel(quantile=0.5).item())
    assert found["marginal"]["gain"]["median"] == pytest.approx(median)
    assert "P(it holds from there to 1e25)" in invoke(*call).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "diminishing in which sense? Give one of --gain-below, --elasticity-below"),
        (["--gain-below", "0.01", "--floor", "0.1"], "got --gain-below and --floor"),
        (["--relative-below", "0.5"], "--relative-below '0.5': expected R@C0, such as 0.5@1e22"),
        (["--gain-below", "-1"], "expected a number above zero"),
        (["--gain-below", "0.01", "--to", "1e23"], "must lie above --beyond 1e24"),
        (["--gain-below", "0.01", "--step", "1"], "a step is a factor of compute above 1"),
    ],
)
def test_bad_input_to_returns(options: list[str], message: str, saved: Path) -> None:
    assert message in fails("returns", saved, "--beyond", "1e24", *options)


def test_a_stack_is_sent_to_no_report(saved: Path, fit: xr.DataTree, tmp_path: Path) -> None:
    both = bs.stack({"one": fit, "other": fit}, weights={"one": 1, "other": 1})
    path = bs.save(both, tmp_path / "stack.nc")
    call = ["--beyond", "1e24", "--gain-below", "0.01"]
    assert "next:" not in invoke("returns", path, *call).stdout
    assert f"next: bayescale report {saved}" in invoke("returns", saved, *call).stdout
    assert "this is a stack" in fails("check", path)


# --- What is printed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_number_of_a_table_is_cut(width: int) -> None:
    numbers = ["1.43e10", "-0.00373", "<0.1", "acc_hellaswag"]
    heads = ["params", "unique_tokens_of_all", "decades beyond the runs", "a longer one", "P(no)"]
    table = Table(*heads, box=None, pad_edge=False)
    table.add_row(*numbers, "advice that is as long as a sentence of some twenty words would be")
    shown = Console(width=width, record=True, file=io.StringIO())
    shown.print(render.fit_columns(table, width))
    text = shown.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert all(each in text for each in numbers)


def test_a_table_that_is_wider_than_the_terminal_is_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "console", lambda: Console(width=20))
    table = Table("a", "b", "c", box=None, pad_edge=False)
    table.add_row("1.43e10", "2.43e10", "3.43e10")
    render.show_table(table)
    assert "1.43e10  2.43e10  3.43e10" in capsys.readouterr().out


def test_powers_are_written_as_people_type_them_but_not_in_json(saved: Path) -> None:
    call = ["returns", saved, "--beyond", "1e25", "--gain-below", "0.01"]
    assert "e+" not in invoke(*call).stdout
    assert "e+" in invoke(*call, "--json").stdout


def test_the_verdict_counts_draws_whole(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"model": "m", "converged": True, "rhat": 1.0, "divergences": 0}
    render.print_verdict(facts | {"ess_bulk": 27040.4, "ess_tail": 894.4})
    told = "R-hat 1.000, ESS 27,040 bulk 894 tail, 0 divergences"
    assert told in capsys.readouterr().out


def test_the_words_of_options_are_those_of_the_package() -> None:
    from bayescale.cli.report import _FITS
    from bayescale.decide.aim import Target
    from bayescale.forecast.predict import Kind
    from bayescale.inference.fit import SamplerName
    from bayescale.report.write import Format
    from bayescale.runs.trackers import Form
    from bayescale.runs.units import Unit
    from bayescale.saving import FITS

    known = get_command(cli.app).commands
    for verb, name, words in (
        ("fit", "sampler", SamplerName),
        ("next", "target", Target),
        ("forecast", "kind", Kind),
        ("report", "format", Format),
        ("runs", "form", Form),
        ("runs", "unit", Unit),
    ):
        (option,) = (each for each in known[verb].params if each.name == name)
        typed = option.type_descriptor.annotation  # type: ignore[attr-defined]
        assert get_args(typed) == get_args(words)
    assert _FITS == FITS


# --- models, laws, backtest, demo -----------------------------------------------------------------------------------------------


def test_models_are_listed_and_printed_word_for_word() -> None:
    listed = facts("models")
    assert [each["name"] for each in listed] == shipped()
    assert set(listed[0]) == {"name", "title", "law", "columns"}
    text = invoke("models").stdout
    for name in shipped():
        model = Model.load(name)
        assert name in text
        assert invoke("models", name).stdout == model.text
        assert facts("models", name) == {"name": name, "toml": model.text}
    assert "did you mean 'skaling'?" in fails("models", "skalling")


def test_laws_and_links_are_listed_by_question() -> None:
    listed = facts("laws")
    assert [set(each) for each in listed] == [{"group", "name", "question", "equation"}] * len(
        listed
    )
    assert {each["name"] for each in listed} == {*laws.names(), *links.names()}
    places = [laws.GROUPS.index(each["group"]) for each in listed]
    assert places == sorted(places)
    lines = invoke("laws").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for each in listed:
        assert f"{each['name']} {each['question']}" in [" ".join(line.split()) for line in lines]
        heading = next(i for i, line in enumerate(lines) if line == each["group"])
        assert next(i for i, line in enumerate(lines) if each["question"] in line) > heading


@pytest.mark.parametrize("name", [*laws.names(), *links.names()])
def test_a_law_and_a_link_are_described(name: str) -> None:
    law = laws.get(name) if name in laws.names() else links.get(name)
    found = facts("laws", name)
    told = "name title group question equation latex source noises inputs params terms models"
    assert set(found) == set(told.split())
    assert [each["name"] for each in found["params"]] == [each.name for each in law.params]
    for model in found["models"]:
        loaded = Model.load(model)
        assert name in (loaded.law, loaded.tasks.link if loaded.tasks else None)
    shown = " ".join(invoke("laws", name).stdout.split())
    assert all(each in shown for each in found["noises"])
    for part in (law.title, law.question, law.latex, " ".join(law.equation.split()), law.source):
        assert part in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chinchila"], "did you mean 'chinchilla'?"),
        (["pass-at-k"], "did you mean 'pass_at_k'?"),
        (["sigmiod"], "did you mean 'sigmoid'?"),
        (["--plot"], "say which law"),
        (["power", "power.png"], "a file goes with --plot"),
        (["power", "power.bmp", "--plot"], "expected a name in .png, .pdf or .svg"),
        (["power", "nowhere/power.png", "--plot"], "folder 'nowhere' does not exist"),
    ],
)
def test_bad_input_to_laws(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails("laws", *arguments)
    assert not written(tmp_path)


def test_a_law_is_drawn_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert facts("laws", "repetition", "--plot")["figure"] == "repetition.png"
    assert "figure: moe.svg" in invoke("laws", "moe", "moe.svg", "--plot").stdout
    assert written(tmp_path) == {"repetition.png", "moe.svg"}
    assert (tmp_path / "repetition.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "moe.svg").read_text(encoding="utf-8")


@pytest.mark.skipif("backtest" not in VERBS, reason="there is no such verb")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "powr"], "unknown model 'powr': did you mean 'power'?"),
        (["--figure", "figure.bmp"], "expected a name in .png, .pdf or .svg"),
        (["--figure", "nowhere/figure.png"], "folder 'nowhere' does not exist"),
        (["--cut", "soon"], "--cut: 'soon' is not a size"),
    ],
)
def test_bad_input_to_backtest(
    options: list[str], message: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    assert message in fails("backtest", table, *options)
    assert written(table.parent) == {"runs.csv"}


@pytest.fixture
def backtested(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What ``backtest`` fits; forecasts as good as the runs' scatter come back at once."""
    jobs: list[Job] = []

    def fit_many(given: list[Job], **_: object) -> list[Outcome]:
        jobs.extend(given)
        done = []
        for job in given:
            loss = job.aside["loss"].values
            table = score_runs(Predictive(np.log(loss)[None, None], np.full((1, 1, 1), 0.01)), loss)
            value = {str(name): each.values for name, each in table.items()}
            done.append(Outcome(job.name, value={**value, "converged": np.array(True)}, seconds=1))
        return done

    monkeypatch.setattr(
        importlib.import_module("bayescale.validate.backtest"), "fit_many", fit_many
    )
    return jobs


def test_backtest_reads_a_table_as_fit_does(
    perplexities: tuple[Path, list[str]], backtested: list[Job]
) -> None:
    options = {name: of for name, of in reading("fit").items() if of.startswith("--")}
    assert set(options.values()) == {"--column", "--from", "--join", "--unit", "--tokens-per-byte"}
    assert reading("backtest") == reading("runs") == reading("init") == options
    table, given = perplexities
    text = invoke("backtest", table, *given, "-m", "power", "--cut", "1e21").stdout
    (job,) = backtested
    assert job.runs["loss"].max() < 10
    again = shlex.join(["bayescale", "fit", str(table), *given, "--model", "power"])
    assert text.rstrip().splitlines()[-1] == f"next: {again}"


def reading(verb: str) -> dict[str, str]:
    """Options of a verb that say how a table is read."""
    names = ("column", "form", "join", "unit", "tokens_per_byte")
    params = get_command(cli.app).commands[verb].params
    return {each.name: each.opts[0] for each in params if each.name in names}


def test_the_verdict_on_one_run_is_that_it_cannot_tell(table: Path, backtested: list[Job]) -> None:
    runs = pd.read_csv(table).drop_duplicates("flops").sort_values("flops")
    runs.to_csv(table, index=False)
    call = ["backtest", table, "-m", "power", "--cut", f"{runs['flops'].iloc[-2]:.17g}"]
    found = facts(*call)
    assert found["cuts"][0]["held_out"] == 1
    told = "\n".join(found["verdict"])
    for each in ("nan", "fine", "0 % to 100 %", "not recommended"):
        assert each not in told
    for level in (90, 50):
        assert f"one run cannot tell whether {level} % intervals are too narrow or too wide" in told
    assert "(on one run, which cannot tell)" in told
    assert [each["width"] for each in found["recalibration"]] == ["untold", "untold"]


@pytest.mark.parametrize(
    ("gaps", "runs", "scatter", "said"),
    [
        ((5.0, 5.0), 8, 2.0, "It loses to persistence: not recommended"),
        ((0.5, 0.5), 8, 2.0, None),
        # Less than a tenth of a nat a run is nothing, however certain.
        ((0.05, 0.05), 8, 0.01, None),
        ((5.0,), 8, 2.0, "one cut, whose runs share the errors of its fits, cannot tell whether"),
        ((9.0, -1.0), 8, 2.0, "the cuts disagree whether persistence forecasts better"),
        ((5.0, 5.0), 4, 0.5, "4 runs, fewer than 8, cannot tell whether persistence forecasts"),
        # Two standard errors, which mean little on two runs.
        ((5.0, 5.0), 2, 2.0, None),
    ],
)
def test_a_model_loses_to_a_baseline_if_runs_and_cuts_enough_say_so(
    gaps: tuple[float, ...], runs: int, scatter: float, said: str | None
) -> None:
    from bayescale.validate import verdict

    names, cuts = ["power", "persistence"], [1e21, 2e21][: len(gaps)]
    other = np.add.outer(gaps, np.tile([-scatter, scatter], runs // 2)).ravel()
    both = ("model", "cut")
    size = 2 * other.size
    found = xr.Dataset(
        {
            "of_model": ("forecast", np.repeat(names, other.size)),
            "of_cut": ("forecast", np.tile(np.repeat(cuts, runs), 2)),
            "of_run": ("forecast", np.tile(np.arange(runs), 2 * len(cuts))),
            "of_run_id": ("forecast", np.tile(np.arange(runs).astype(str), 2 * len(cuts))),
            "lpd": ("forecast", np.concatenate([np.zeros(other.size), other])),
            "pit": ("forecast", np.full(size, 0.5)),
            "decades_beyond": ("forecast", np.full(size, 0.5)),
            "is_fit": ("model", [True, False]),
            "status": (both, np.full((2, len(cuts)), "done")),
            "converged": (both, np.full((2, len(cuts)), True)),
        },
        {"model": names, "cut": cuts},
    )
    told = "\n".join(verdict(found))
    assert f"below persistence by {np.mean(gaps):.2f} ±" in told
    assert ("not recommended" in told) == (said is not None and "not recommended" in said)
    assert said in told if said else "forecasts better" not in told
    assert "these shares and densities" in told


def test_the_demonstration_tells_and_writes(
    tmp_path: Path, sampled: list, fit: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = pytest.importorskip("bayescale.cli.demo")
    text = invoke("demo", "-o", tmp_path / "demo").stdout
    assert written(tmp_path / "demo") == set(demo.FILES)
    assert "gpt-neox" in text
    (call,) = sampled
    assert "gpt-neox-20B" not in call["runs"]["run_id"].values
    assert call["random_seed"] == 1
    kept = json.loads((tmp_path / "demo" / "demo.json").read_text())
    found = facts("demo", "-o", tmp_path / "again")
    keys = (
        "bayescale versions seed seconds data held_out runs fit check forecast returns curve figure"
    )
    assert set(found) == set(kept) == set(keys.split())
    assert "does not exist" in fails("demo", "-o", tmp_path / "no" / "where")


# --- Real processes ------------------------------------------------------------------------------------------------------------------


def run(*args: object, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bayescale", *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, **options)


def test_from_a_table_to_a_forecast_in_real_processes(tmp_path: Path, simulate: Callable) -> None:
    sweep = simulate(5, (10.0, 40.0))
    sweep.to_dataframe()[["params", "tokens", "loss"]].to_csv(tmp_path / "tiny.csv", index=False)
    done = run(
        "fit", "tiny.csv", "--model", "chinchilla", "--seed", 1, "--draws", 500, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "saved: fit.nc" in done.stdout
    assert not ANSI.search(done.stdout)
    assert written(tmp_path) == {"tiny.csv", "fit.nc"}
    done = run(
        "forecast", "fit.nc", "--flops", "1e22", "--path", "fixed-ratio=20", "--json", cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)["rows"]
    truth = 1.8172 + 482.01 * row["params"] ** -0.3478 + 2085.43 * row["tokens"] ** -0.3658
    assert row["q05"] - 0.05 < truth < row["q95"] + 0.05
    done = run("forecast", "fit.nc", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "error: give either --flops 1e24,1e25 (with --path and --at) or --planned TABLE\n"
    )


@pytest.mark.slow
def test_ctrl_c_while_sampling_writes_nothing(tmp_path: Path, simulate: Callable) -> None:
    simulate().to_dataframe()[["params", "tokens", "loss"]].to_csv(
        tmp_path / "tiny.csv", index=False
    )
    code = """
import nutpie, sys
sample = nutpie.sample
def told(*args, **kwargs):
    print("sampling", flush=True)
    return sample(*args, **kwargs)
nutpie.sample = told
from bayescale.cli import main
sys.argv = ["bayescale", "fit", "tiny.csv", "--model", "chinchilla", "--draws", "1000000", "--seed", "1"]
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "sampling\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "interrupted: nothing was written" in message
    assert written(tmp_path) == {"tiny.csv"}
