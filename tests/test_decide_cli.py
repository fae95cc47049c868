"""The verbs that decide: their JSON is what the functions say, their exit codes are documented."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import Result
from fake_fit import fake_fit, with_tasks
from test_decide import stacked, three_inputs
from test_readme import json_keys
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli, decide
from bayescale.cli.following import further, held_at
from bayescale.cli.options import EXIT_BAD_INPUT, EXIT_NO_GO, EXIT_NOT_CONVERGED, EXIT_UNDECIDED
from bayescale.cli.render import number
from bayescale.decide.scenario import EXAMPLE
from bayescale.forecast.curve import read_bare


def invoke(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.app, [str(each) for each in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"{args}: {result.exit_code}\n{result.stdout}{result.stderr}"
    return result


def facts(*args: object, code: int = 0) -> Any:
    result = invoke(*args, "--json", code=code)
    assert result.stderr == ""
    return json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def fails(*args: object) -> str:
    result = invoke(*args, code=EXIT_BAD_INPUT)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    families = {"pythia": 1.0, "gpt": 1.02}
    return fake_fit("chinchilla-families", 2, 200, jitter=0.03, families=families)


@pytest.fixture(scope="module")
def folder(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("decide")
    bs.save(tree, found / "fit.nc")
    bs.save(fake_fit("kaplan", 2, 200, jitter=0.03, seed=1), found / "other.nc")
    bs.save(stacked(chinchilla=0.6, skaling=0.4), found / "stack.nc")
    bs.save(fake_fit("chinchilla", 2, 50, jitter=0.03, converged=False), found / "bad.nc")
    links = {"acc_hard": (0.2, 9.0, 0.25, 0.95), "acc_easy": (-0.2, 8.0, 0.25, 0.95)}
    known = with_tasks(fake_fit("chinchilla", 2, 200, jitter=0.03), links)
    bs.save(known, found / "tasks.nc")
    (found / "budget.toml").write_text(EXAMPLE)
    models = pd.DataFrame(
        {"run_id": ["GPT-3", "Chinchilla"], "params": ["175B", "70B"], "tokens": ["300B", "1.4T"]}
    )
    models.to_csv(found / "models.csv", index=False)
    pd.DataFrame({"params": [1e8], "tokens": [2e9]}).to_csv(found / "small.csv", index=False)
    return found


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


CALLS = {
    "allocate": ["allocate", "fit.nc", "--flops", "1e23,1e24"],
    "target": ["target", "fit.nc", "--loss", "2.1,1.0"],
    "budget": ["budget", "fit.nc", "budget.toml"],
    "next": ["next", "fit.nc", "--budget", "1e21", "--flops", "1e24"],
    "compare-recipes": ["compare-recipes", "fit.nc", "other.nc", "--flops", "1e22,1e24"],
}


@pytest.mark.parametrize("verb", CALLS)
def test_the_json_keys_are_those_of_the_table(verb: str) -> None:
    found = {key for key in facts(*CALLS[verb]) if not key.endswith("_mcse")}
    optional = {"target": {"budget", "task"}, "next": {"gain_below", "horizon"}}
    assert found == json_keys()[verb] - optional.get(verb, set())


@pytest.mark.parametrize("verb", CALLS)
def test_tables_are_shown_without_escapes_and_within_the_width(verb: str) -> None:
    text = invoke(*CALLS[verb]).stdout
    assert "\x1b" not in text
    assert "converged" in text
    assert len(text.splitlines()) > 4


def test_allocate_says_what_the_function_says(tree: xr.DataTree) -> None:
    found = facts(
        *CALLS["allocate"], "--inference-tokens", "2T", "--params-max", "100B", "--family", "gpt"
    )
    own = decide.allocate(
        tree, flops=[1e23, 1e24], inference_tokens=2e12, params_max=1e11, family="gpt"
    )
    for index, row in enumerate(found["rows"]):
        here = own.isel(flops=index)
        assert row["params"] == pytest.approx(float(here["params"]))
        assert row["near_params"] == pytest.approx(list(here["near_params"].values))
        assert row["tokens_per_param"]["median"] == pytest.approx(
            float(here["tokens_per_param"].median())
        )
        assert row["expected_regret"] == pytest.approx(float(here["regret"].mean()))
    grid = facts("allocate", "fit.nc", "--flops", "1e24", "--grid", "7B,70B,700B")
    assert set(grid["rows"][0]["near_sizes"]) <= {7e9, 7e10, 7e11}


def test_released_models_are_judged(tree: xr.DataTree) -> None:
    found = facts("allocate", "fit.nc", "--released", "models.csv", "--family", "gpt")
    own = decide.under_trained(
        tree, {"params": [175e9, 70e9], "tokens": [3e11, 1.4e12]}, family="gpt"
    )
    assert [row["run_id"] for row in found["rows"]] == ["GPT-3", "Chinchilla"]
    for index, row in enumerate(found["rows"]):
        assert row["p_under_trained"] == float(own["p_under_trained"][index])
        assert row["wasted_share"]["median"] == pytest.approx(
            float(own["wasted_share"].isel(run=index).median())
        )
    assert "GPT-3" in invoke("allocate", "fit.nc", "--released", "models.csv").stdout


def test_target_says_what_the_function_says(tree: xr.DataTree) -> None:
    found = facts(*CALLS["target"], "--budget", "1e23", "--family", "gpt", "--kind", "run")
    own = decide.compute_for(tree, loss=[2.1, 1.0], budget=1e23, family="gpt", kind="run")
    first, second = found["rows"]
    assert first["compute"]["median"] == pytest.approx(
        float(own["compute_quantile"].isel(loss=0).sel(quantile=0.5))
    )
    assert first["p_over_budget"] == float(own["p_over_budget"][0])
    # What is infinite is null.
    assert second["compute_at_confidence"] is None
    assert second["p_unreachable"] == 1
    assert "unreachable_target" in {note["code"] for note in found["notes"]}
    text = invoke(*CALLS["target"], "--budget", "1e23").stdout
    assert "P(more than 1e23)" in text
    assert "∞" in text


@pytest.mark.parametrize(
    ("per_nat", "decision", "code"),
    [("5e7", "go", 0), ("1e3", "no-go", EXIT_NO_GO), ("LEVEL", "undecided", EXIT_UNDECIDED)],
)
def test_budget_exits_with_its_decision(
    per_nat: str, decision: str, code: int, tree: xr.DataTree, tmp_path: Path
) -> None:
    text = EXAMPLE.replace('"1e24" ', '"1e24"\nfamily = "gpt" ')
    if per_nat == "LEVEL":
        go = decide.budget(tree, decide.Scenario.from_toml(text))
        per_nat = f"{5e7 * float(go['money'].mean() / go['value'].mean()):.6g}"
    (tmp_path / "mine.toml").write_text(text.replace("5e7", per_nat))
    found = facts("budget", "fit.nc", tmp_path / "mine.toml", code=code)
    assert found["decision"] == decision
    own = decide.budget(tree, tmp_path / "mine.toml")
    assert found["expected_utility"] == pytest.approx(float(own["expected_utility"]))
    assert found["outcomes"]["money"]["median"] == pytest.approx(float(own["money"].median()))
    assert set(found["evppi"]) == {"law", "price", "utilisation"}
    assert decision.upper() in invoke("budget", "fit.nc", tmp_path / "mine.toml", code=code).stdout


def test_budget_of_a_stack_lists_its_models() -> None:
    found = facts("budget", "stack.nc", "budget.toml")
    assert [each["model"] for each in found["models"]] == ["chinchilla", "skaling"]
    assert "regret" in invoke("budget", "stack.nc", "budget.toml").stdout


def test_budget_prints_a_scenario_to_start_from() -> None:
    assert invoke("budget", "--example").stdout == EXAMPLE


def test_next_says_what_the_function_says(tree: xr.DataTree) -> None:
    found = facts(*CALLS["next"], "--candidates", "models.csv", "--budget", "1e24")
    own = decide.next_runs(
        tree, {"params": [175e9, 70e9], "tokens": [3e11, 1.4e12]}, budget=1e24, flops=1e24
    )
    assert [each["candidate"] for each in found["picks"]] == list(own["pick"].values)
    assert found["sd_after"] == pytest.approx(own.attrs["sd_after"])
    np.testing.assert_allclose([each["share"] for each in found["candidates"]], own["share"])


def test_next_may_ask_about_planned_runs(tree: xr.DataTree) -> None:
    found = facts("next", "fit.nc", "--budget", "1e21", "--planned", "models.csv")
    own = decide.next_runs(
        tree, budget=1e21, target={"params": [175e9, 70e9], "tokens": [3e11, 1.4e12]}
    )
    assert found["target"] == "losses of 2 runs"
    assert found["sd_after"] == pytest.approx(own.attrs["sd_after"])
    text = invoke("next", "fit.nc", "--budget", "1e21", "--planned", "models.csv").stdout
    assert "losses of 2 runs; standard deviation" in text


def test_a_budget_tells_money_and_the_worth_of_knowing_everything() -> None:
    found = facts("budget", "fit.nc", "budget.toml", code=code_of("budget.toml"))
    text = invoke("budget", "fit.nc", "budget.toml", code=code_of("budget.toml")).stdout
    rows = {line.partition("  ")[0]: line.split("  ")[1:] for line in text.splitlines()}
    assert {"accelerator-hours", "worth of knowing everything (EVPI) [USD]"} <= set(rows)
    assert "hours" not in rows
    assert found["outcomes"]["money"]["median"] > 1e6
    (told, *_) = [each.strip() for each in rows["money"] if each.strip()]
    assert told == f"{found['outcomes']['money']['median'] / 1e6:.3g}M"
    assert "e+" not in text.splitlines()[1]


def code_of(scenario: str) -> int:
    found = decide.budget(bs.load("fit.nc"), scenario, random_seed=0).attrs["decision"]
    return {"go": 0, "no-go": EXIT_NO_GO, "undecided": EXIT_UNDECIDED}[found]


def test_where_no_size_is_so_safe_it_says_what_to_do() -> None:
    call = ["allocate", "fit.nc", "--flops", "1e24", "--near"]
    text = invoke(*call, "1e-9", "--probability", "1").stdout
    assert "none so safe: the runs do not tell the optimum so well; try --near" in text
    # What is promised is so.
    text = invoke(*call, "0.0002", "--probability", "1").stdout
    (given,) = re.findall(r"--probability ([\d.]+) gives a set, or try --near 0.002", text)
    assert "none so safe" not in invoke(*call, "0.0002", "--probability", given).stdout
    assert "loss [nat/token]" in text
    assert "none so safe" not in invoke(*call, "0.5").stdout


def test_the_table_of_scores_has_units_and_no_minus_zero() -> None:
    text = invoke("capability", "tasks.nc", "--flops", "1e24").stdout
    assert "takes off [nat/token]" in text
    assert "<0.1" in text
    assert "-0.0 " not in text


def test_next_may_ask_about_the_onset() -> None:
    call = [*CALLS["next"], "--budget", "1e21", "--target", "onset", "--gain-below", "0.01"]
    found = facts(*call)
    assert (found["target"], found["unit"]) == ("onset", "ln(FLOP)")
    assert {key for key in found if not key.endswith("_mcse")} == json_keys()["next"]
    told = " ".join(invoke(*call).stdout.split())
    assert "the onset, from which a doubling buys less than 0.01, sought up to 1e28 FLOP;" in told
    assert "onset at" not in told
    assert f"{found['sd_after']:.3g} ln(FLOP) after" in told
    assert f"(a factor of {np.exp(found['sd_before']):.3g} now" in told


def test_next_says_what_the_optimal_size_is_told_in() -> None:
    call = [*CALLS["next"], "--target", "optimal_params"]
    found, told = facts(*call), " ".join(invoke(*call).stdout.split())
    assert "the compute-optimal parameters at 1e24 FLOP; standard deviation" in told
    assert f"{found['sd_after']:.3g} ln(parameters) after" in told
    assert "ln(parameters)" in told


def test_next_advises_no_run_that_tells_nothing(folder: Path) -> None:
    bs.save(fake_fit("chinchilla", 2, 200, jitter=0.01, sigma=1.0), folder / "vague.nc")
    call = ["next", "vague.nc", "--budget", "1e21", "--flops", "1e24"]
    told = invoke(*call).stdout
    assert "no_run_tells" in told
    assert "next: ask again with a larger --budget, or with a table of other runs as" in told
    assert "make these runs" not in told
    assert "other runs as" in invoke(*call, "--candidates", "small.csv").stdout
    # The last line says what the doubt says.
    assert "make the first run, fit again" in " ".join(invoke(*CALLS["next"]).stdout.split())
    assert "next: make the first run, add" in invoke(*CALLS["next"]).stdout


def test_next_may_ask_about_a_decision() -> None:
    found = facts("next", "fit.nc", "--budget", "1e21", "--scenario", "budget.toml")
    assert found["target"] == "decision"
    assert all({"evsi", "p_changes"} <= set(each) for each in found["picks"])
    text = invoke("next", "fit.nc", "--budget", "1e21", "--scenario", "budget.toml").stdout
    assert "P(one more run changes the decision)" in text
    assert "FLOP in all\n" in text


def test_where_no_run_is_worth_its_price_that_is_said_first(tmp_path: Path) -> None:
    sure = tmp_path / "sure.toml"
    sure.write_text(EXAMPLE.replace("5e7", "1e3"))
    lines = invoke("next", "fit.nc", "--budget", "1e21", "--scenario", sure).stdout.splitlines()
    told = lines.index("none of these runs is worth its price before the decision")
    assert told < next(place for place, each in enumerate(lines) if each.startswith("params"))
    # Back to the budget would go round in a circle.
    report = "next: bayescale report fit.nc --beyond 1e24 --path compute-optimal"
    assert lines[-1] == report


def test_the_next_command_asks_the_same_question(folder: Path) -> None:
    tree = three_inputs("repetition", "unique_tokens", 2e10, R_D=15.4, R_N=5.3)
    bs.save(tree, folder / "held.nc")
    held = ["--at", "unique_tokens=1e12"]
    for call, wanted in (
        (["allocate", "fit.nc", "--flops", "1e24", "--family", "gpt"], "fit.nc --family gpt"),
        (["allocate", "held.nc", "--flops", "1e24", *held], f"held.nc {' '.join(held)}"),
        (
            ["target", "fit.nc", "--loss", "2.1", "--path", "fixed-ratio=20"],
            "fit.nc --loss 2.1 --confidence 0.9 --path fixed-ratio=20",
        ),
    ):
        assert invoke(*call).stdout.splitlines()[-1] == f"or:   bayescale report {wanted}"
    # Nor is a stack sent to a report, which is of one fit.
    assert "bayescale report" not in invoke("allocate", "stack.nc", "--flops", "1e24").stdout
    released = invoke("allocate", "held.nc", "--released", "models.csv", *held).stdout
    assert released.splitlines()[-1] == (
        f"next: bayescale allocate held.nc --flops {further(tree)} {' '.join(held)}"
    )
    (given,) = held_at(read_bare(tree), None)
    median = float(tree["constant_data"]["unique_tokens"].median())
    assert float(given.removeprefix("unique_tokens=")) == pytest.approx(median, rel=0.01)


def test_a_family_that_no_run_has_is_no_column() -> None:
    text = invoke(*CALLS["next"], "--candidates", "small.csv").stdout
    assert "  family" not in text


def test_recipes_are_told_with_a_minus_and_what_the_error_is() -> None:
    text = invoke(*CALLS["compare-recipes"]).stdout
    assert "A − B" in text
    assert "±: Monte Carlo error" in text


def test_recipes_may_be_families_of_one_fit(tree: xr.DataTree) -> None:
    call = ["compare-recipes", "fit.nc", "--family", "gpt", "--family", "pythia", "--flops", "1e24"]
    found = facts(*call)
    assert (found["a"], found["b"]) == ("gpt", "pythia")
    own = decide.compare_recipes({"a": (tree, "gpt"), "b": (tree, "pythia")}, flops=1e24)
    assert found["rows"][0]["p_better"] == float(own["p_better"].item())
    assert found["p_never"] == float(own["p_never"])


def test_recipes_that_do_not_cross_say_so() -> None:
    call = ["compare-recipes", "fit.nc", "--family", "gpt", "--family", "pythia", "--flops", "1e24"]
    found, told = facts(*call), invoke(*call).stdout
    assert found["p_never"] == 1
    between = f"between {number(found['start'], 3)} and {number(found['horizon'], 3)} FLOP"
    assert f"the curves do not cross {between}\n" in told
    assert "∞" not in told


@pytest.mark.parametrize("verb", ["allocate", "target", "next", "compare-recipes"])
def test_another_input_of_a_law_is_held(verb: str, folder: Path) -> None:
    tree = three_inputs("repetition", "unique_tokens", 2e10, R_D=15.4, R_N=5.3)
    for name in ("three.nc", "four.nc"):
        bs.save(tree, folder / name)
    table = {"params": [1e9], "tokens": [2e10], "unique_tokens": [1e10]}
    pd.DataFrame(table).to_csv(folder / "runs.csv", index=False)
    call = [{"fit.nc": "three.nc", "other.nc": "four.nc"}.get(each, each) for each in CALLS[verb]]
    call += ["--candidates", "runs.csv"] if verb == "next" else []
    assert "depends on unique_tokens" in fails(*call)
    assert "--at 'unique_tokens': expected INPUT=VALUE" in fails(*call, "--at", "unique_tokens")
    facts(*call, "--at", "unique_tokens=1T")


@pytest.mark.parametrize("verb", [verb for verb in CALLS if verb != "allocate"])
def test_a_seed_that_no_generator_takes_is_bad_input(verb: str) -> None:
    assert "Invalid value for '--seed'" in invoke(*CALLS[verb], "--seed", "-1", code=2).stderr


@pytest.mark.parametrize("verb", CALLS)
def test_what_did_not_converge_is_no_decision(verb: str) -> None:
    call = [each if each != "fit.nc" else "bad.nc" for each in CALLS[verb]]
    assert "NOT CONVERGED" in invoke(*call, code=EXIT_NOT_CONVERGED).stdout
    invoke(*call, "--force", code=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("allocate fit.nc", "give either --flops 1e24,1e25 or --released"),
        ("allocate fit.nc --flops much", "--flops: 'much' is not a size"),
        ("allocate fit.nc --flops 1e24 --grid abc", "--grid: 'abc' is not a size"),
        (
            "allocate fit.nc --flops 1e24 --params-max 1B --tokens-max 1B",
            "--flops 1e24 cannot be spent: 1e9 parameters on 1e9 tokens take 6e18 FLOP at most; "
            "raise --params-max or --tokens-max",
        ),
        ("allocate fit.nc --flops 1e3", "less than a thousandth of the smallest run"),
        ("allocate fit.nc --released models.csv --grid 7B", "--grid goes with --flops"),
        ("allocate none.nc --flops 1e24", "no such file"),
        ("target fit.nc --loss low", "--loss 'low': expected numbers"),
        ("target fit.nc --loss -2", "--loss: the target must be positive"),
        ("target fit.nc", "give either --loss 2.0,1.9 or --accuracy"),
        (
            "target fit.nc --loss 2 --task acc_x",
            "--task acc_x goes with --accuracy, not with --loss",
        ),
        ("target tasks.nc --accuracy 0.7", "--task is missing: The tasks of this fit are"),
        ("capability tasks.nc --flops 1e24 --length 0", "--length '0': expected whole numbers"),
        ("capability tasks.nc --flops 1e24 --length 1.5", "--length '1.5': expected whole numbers"),
        ("target fit.nc --loss 2 --path input", "path 'input' is for a law of one input"),
        ("budget fit.nc none.toml", "no such scenario"),
        ("budget fit.nc models.csv", "not valid TOML"),
        ("next fit.nc --budget 1e21", "give one of --flops 1e24 (with --target), --planned"),
        ("next fit.nc --budget 1e3 --flops 1e24", "--budget 1000 pays for no candidate"),
        ("next fit.nc --budget 1e21 --flops 1e24 --target onset", "Give --gain-below 0.01"),
        ("compare-recipes fit.nc --flops 1e24", "give two fits, or one fit with --family A"),
        ("compare-recipes fit.nc other.nc --flops 1e24 --path fixed", "unknown path 'fixed'"),
    ],
)
def test_bad_input_is_one_line(call: str, message: str) -> None:
    assert message in fails(*call.split())
