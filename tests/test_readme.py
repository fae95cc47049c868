"""The README keeps its word: its commands and its code run, its tables are those of the package."""

import json
import re
import shlex
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli
from bayescale.cli import options as cli_options
from bayescale.decide.scenario import EXAMPLE

REPO = Path(__file__).resolve().parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")
REFERENCE = (REPO / "docs" / "reference" / "json.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))
#: Keys of JSON that are there only where they were asked for.
OPTIONAL = {
    "log_marginal_likelihood",
    "relative_to",
    "to",
    "probability_throughout",
    "probability_throughout_mcse",
    "price",
    "task",
}


@pytest.fixture
def folder(
    pile: xr.Dataset, fit: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with the table and the fit that the README's lines name."""
    columns = ["run_id", "family", "params", "tokens", "flops", "loss"]
    pile.to_dataframe()[columns].to_csv(tmp_path / "runs.csv", index=False)
    bs.save(fit, tmp_path / "fit.nc")
    (tmp_path / "budget.toml").write_text(EXAMPLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def python_block() -> str:
    (block,) = blocks("python")
    return block


def commands() -> list[list[str]]:
    lines = [line.partition("#")[0].strip() for text in blocks() for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("bayescale ")]


def json_keys() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `([\w-]+)` \| (`.*) \|$", REFERENCE, re.MULTILINE)
    return {verb: set(re.findall(r"`(\w+)`", keys)) - {"_mcse"} for verb, keys in rows}


def test_the_python_block_runs(
    folder: Path, fit: xr.DataTree, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(bs, "fit", lambda *_, **__: fit, raising=False)
    exec(compile(python_block(), "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "far_extrapolation" in printed
    assert "quantile" in printed


@pytest.mark.slow
def test_the_python_block_runs_as_it_stands(folder: Path) -> None:
    exec(compile(python_block(), "README.md", "exec"), {})


def test_the_python_block_has_ten_lines() -> None:
    assert len([line for line in python_block().splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_the_commands_are_understood(folder: Path, arguments: list[str]) -> None:
    if arguments[0] == "fit" or ">" in arguments:
        arguments = [arguments[0], "--help"]
    done = CliRunner().invoke(cli.app, arguments)
    decisions = {0, 10, 20} if arguments[0] == "budget" else {0}
    assert done.exit_code in decisions, done.output


@pytest.mark.parametrize(
    "arguments",
    [
        "runs runs.csv",
        "check fit.nc",
        "forecast fit.nc --flops 1e24",
        "returns fit.nc --beyond 1e25 --gain-below 0.01",
    ],
)
def test_the_json_keys_are_those_of_the_table(folder: Path, arguments: str) -> None:
    done = CliRunner().invoke(cli.app, [*arguments.split(), "--json"])
    assert done.exit_code == 0, done.output
    found = set(json.loads(done.stdout))
    if arguments.startswith("returns"):
        found = {key for key in found if not key.endswith("_mcse")}
    assert found == json_keys()[arguments.split()[0]] - OPTIONAL


def test_the_keys_of_a_fit_are_those_of_the_table(fit: xr.DataTree) -> None:
    from bayescale.cli.render import fit_facts

    assert set(fit_facts(fit, Path("fit.nc"))) == json_keys()["fit"] - OPTIONAL


def test_the_keys_of_some_questions_alone_are_in_the_table() -> None:
    assert {"price", "task", "to", "relative_to"} <= json_keys()["returns"]
    assert {"budget", "task"} <= json_keys()["target"]


def test_the_exit_codes_are_those_of_the_command_line() -> None:
    told = {
        text: re.findall(r"^\| (\d+) \| .*$", text, re.MULTILINE) for text in (README, REFERENCE)
    }
    documented, again = ({int(code) for code in codes} for codes in told.values())
    known = {
        cli_options.EXIT_BAD_INPUT,
        cli_options.EXIT_NOT_CONVERGED,
        cli_options.EXIT_INTERRUPTED,
    }
    known |= {cli_options.EXIT_NO_GO, cli_options.EXIT_UNDECIDED}
    assert documented == again == {0} | known


def test_every_verb_of_json_is_a_verb() -> None:
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(json_keys()) <= verbs


def test_the_figure_is_there_and_small() -> None:
    (image,) = re.findall(r'<img src="([^"]+)"', README)
    assert (REPO / image).stat().st_size < 120_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_was_run_as_it_stands_and_is_short(path: Path) -> None:
    assert path.stat().st_size < 500_000
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert max(len("".join(cell["source"]).splitlines()) for cell in code) <= 12
    outputs = json.dumps([cell["outputs"] for cell in code])
    assert not re.search(r"/(?:home|root|tmp|Users|work)/", outputs), "an absolute path"
    assert "Traceback" not in outputs
