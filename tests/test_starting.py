"""``bayescale init``: files that can be run as they stand, that say what they hold, and that never replace others unasked."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli, decide
from bayescale.cli.starting import write_files
from bayescale.decide.scenario import Scenario
from bayescale.model import Model, shipped


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The runs of the demonstration as a file."""
    path = tmp_path / "runs.csv"
    bs.load_dataset("pile").to_dataframe().to_csv(path, index=False)
    return path


def invoke(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(each) for each in args])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_the_files_are_read_by_the_verbs_that_take_them(table: Path, tmp_path: Path) -> None:
    text = invoke("init", table, "-o", tmp_path / "start")
    model = Model.load(tmp_path / "start" / "model.toml")
    base = Model.load("skaling-drift-families")
    for part in ("law", "inputs", "priors", "pool", "noise", "discrepancy"):
        assert getattr(model, part) == getattr(base, part), part
    scenario = Scenario.load(tmp_path / "start" / "budget.toml")
    largest = float(bs.load_dataset("pile")["flops"].max())
    assert scenario.flops == pytest.approx(10 * largest, rel=5e-3)
    assert "bayescale fit" in text
    assert "bayescale budget fit.nc" in " ".join(text.split())


@pytest.mark.parametrize("name", shipped())
def test_a_commented_model_is_the_model(name: str, tmp_path: Path) -> None:
    base = Model.load(name)
    columns = {each: [1e8, 2e9, 3e10] for each in ("loss", *base.columns)}
    columns["loss"] = [3.0, 2.5, 2.2]
    runs = bs.read_runs(pd.DataFrame({"params": [1e8, 1e9, 1e10], "loss": [3.0, 2.5, 2.2]}))
    runs = runs.assign({key: ("run", value) for key, value in columns.items()})
    for pool in base.pool.values():
        runs[pool.over] = "run", ["a", "b\nc", "c"]
    found = write_files(runs, "runs.csv", tmp_path, model=name)
    model = Model.load(found.model)
    assert (model.priors, model.noise, model.tasks) == (base.priors, base.noise, base.tasks)
    if found.budget is None:
        assert found.why
    else:
        assert Scenario.load(found.budget).flops > 0


def test_a_fit_can_be_judged_by_the_budget_file(table: Path, tmp_path: Path, fit) -> None:
    invoke("init", table, "-o", tmp_path / "start")
    assert str(decide.budget(fit, tmp_path / "start" / "budget.toml").attrs["decision"])


def test_nothing_is_replaced_unasked_and_both_or_none_are_written(
    table: Path, tmp_path: Path
) -> None:
    (tmp_path / "budget.toml").write_text("mine", encoding="utf-8")
    message = invoke("init", table, "-o", tmp_path, code=2)
    assert "budget.toml: there already; --force replaces" in message
    assert not (tmp_path / "model.toml").exists()
    assert (tmp_path / "budget.toml").read_text(encoding="utf-8") == "mine"
    told = json.loads(invoke("init", table, "-o", tmp_path, "--force", "--json"))
    assert told["base"] == "skaling-drift-families"
    assert "[run]" in (tmp_path / "budget.toml").read_text(encoding="utf-8")
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "budget.toml",
        "model.toml",
        "runs.csv",
    ]


def test_the_command_to_copy_reads_the_table_as_it_was_read(table: Path, tmp_path: Path) -> None:
    runs = pd.read_csv(table)
    runs.assign(ppl=runs.pop("loss").map(math.exp)).to_csv(table, index=False)
    options = ["--column", "loss=ppl", "--unit", "perplexity"]
    text = invoke("init", table, "-o", tmp_path / "start", *options)
    wanted = f"bayescale fit {table} --column loss=ppl --unit perplexity --model "
    assert wanted in " ".join(text.split())
    assert wanted in (tmp_path / "start" / "model.toml").read_text(encoding="utf-8")


def test_a_model_that_the_table_cannot_feed_is_refused(table: Path, tmp_path: Path) -> None:
    message = invoke("init", table, "-o", tmp_path / "x", "--model", "precision", code=2)
    assert "needs column 'precision'" in message
    assert not (tmp_path / "x").exists()
    message = invoke("init", table, "-o", tmp_path / "no" / "such", code=2)
    assert "no" in message
    assert not (tmp_path / "no").exists()
