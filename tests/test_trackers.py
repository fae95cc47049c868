"""Files that training leaves behind become run tables; losses in other units become nats per token."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli
from bayescale.notes import get_notes
from bayescale.runs.trackers import detect, read_tracker


def written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def state(steps: int, loss: float, evaluated: bool = True) -> dict:
    """What transformers.Trainer writes: a log of the training loss, and of evaluations where there were any."""
    log: list[dict] = []
    for step in range(100, steps + 1, 100):
        seen = {"epoch": 0.1, "step": step, "num_input_tokens_seen": step * 65536}
        log.append({"loss": loss + 1 / step, "learning_rate": 3e-4, "grad_norm": 0.5, **seen})
        if evaluated:
            log.append({"eval_loss": loss + 2 / step, "eval_runtime": 1.0, **seen})
    return {"global_step": steps, "total_flos": 1e18, "log_history": log, "best_metric": None}


def test_a_folder_of_the_trainer(tmp_path: Path) -> None:
    for run, loss in (("small", 3.0), ("large", 2.5)):
        # Each checkpoint repeats the history so far.
        for steps in (200, 300):
            written(
                tmp_path / run / f"checkpoint-{steps}" / "trainer_state.json", state(steps, loss)
            )
    assert detect(tmp_path) == "trainer"
    runs = bs.read_runs(tmp_path)
    assert runs.sizes["run"] == 6
    assert sorted(set(runs["run_id"].values)) == ["large", "small"]
    small = runs.isel(run=runs["run_id"].values == "small")
    assert small["step"].values.tolist() == [100, 200, 300]
    np.testing.assert_allclose(small["loss"], [3.02, 3.01, 3 + 2 / 300])
    np.testing.assert_allclose(small["tokens"], small["step"] * 65536)
    np.testing.assert_allclose(small["flops"], 1e18 * small["step"].values / 300)
    never = written(tmp_path / "plain" / "trainer_state.json", state(300, 2.0, evaluated=False))
    np.testing.assert_allclose(bs.read_runs(never)["loss"], 2 + 1 / np.array([100, 200, 300]))
    never.unlink()
    sizes = pd.DataFrame({"run_id": ["small", "large"], "params": [1e8, 1e9]})
    both = bs.read_runs(tmp_path, join=sizes, allow_missing=("params",))
    assert both["params"].values[both["run_id"].values == "large"].tolist() == [1e9] * 3


def test_folders_of_one_name_are_runs_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("a", "b", "c"):
        written(
            tmp_path / "sweep" / run / "out" / "checkpoint-300" / "trainer_state.json",
            state(300, 2.0),
        )
    written(tmp_path / "sweep" / "d" / "trainer_state.json", state(300, 2.0))
    runs = bs.read_runs(tmp_path / "sweep")
    assert runs["run_id"].values.tolist() == [
        name for name in ("a/out", "b/out", "c/out", "d") for _ in range(3)
    ]
    # The folder in which one stands, a file or a checkpoint in it, and the source itself have names too.
    monkeypatch.chdir(tmp_path / "sweep" / "d")
    for source in (".", "trainer_state.json", "../d"):
        assert set(bs.read_runs(source)["run_id"].values) == {"d"}
    monkeypatch.chdir(tmp_path / "sweep" / "a" / "out" / "checkpoint-300")
    for source in (".", "trainer_state.json", ".."):
        assert set(bs.read_runs(source)["run_id"].values) == {"out"}
    written(tmp_path / "sweep" / "trainer_state.json", state(300, 2.0))
    written(tmp_path / "sweep" / "d" / "sweep" / "trainer_state.json", state(300, 2.0))
    assert {"sweep", "sweep/d/sweep"} < set(bs.read_runs(tmp_path / "sweep")["run_id"].values)


def doubts(runs: xr.Dataset, code: str) -> list[str]:
    return [note.message for note in get_notes(runs) if note.code == code]


def test_runs_that_diverged_are_told_of(tmp_path: Path) -> None:
    for run, loss in (("a", 3.0), ("b", 2.8), ("diverged", math.nan)):
        written(tmp_path / "hf" / run / "trainer_state.json", state(300, loss))
    written(tmp_path / "hf" / "crashed" / "trainer_state.json", {"log_history": []})
    late = state(300, 2.7)
    late["log_history"][-1]["eval_loss"] = math.nan
    written(tmp_path / "hf" / "late" / "trainer_state.json", late)
    runs = bs.read_runs(tmp_path / "hf")
    assert doubts(runs, "runs_without_loss") == [
        "2 of 5 runs have no finite loss: 'crashed', 'diverged'",
        "1 of 13 evaluations, of 'late', have no finite loss",
    ]
    # A table that is read again still says so; whole ones say nothing.
    assert len(doubts(bs.read_runs(runs), "runs_without_loss")) == 2
    assert not doubts(bs.read_runs(tmp_path / "hf" / "a"), "runs_without_loss")
    chart = _chart(
        **{
            "a - loss": [4.0, 3.8, 3.6, 3.4, 3.2, 3.0],
            "a - tokens": [1e6, 2e6, 3e6, 4e6, 5e6, 6e6],
            "b - loss": [NO] * 6,
        }
    )
    sizes = pd.DataFrame({"run_id": ["a"], "loss": [3.0], "params": [1e8]})
    for found in (bs.read_runs(chart), bs.read_runs(chart, join=sizes)):
        assert doubts(found, "runs_without_loss") == ["1 of 2 runs has no finite loss: 'b'"]


def test_losses_of_training_and_of_evaluation_are_not_mixed(tmp_path: Path) -> None:
    written(tmp_path / "a" / "trainer_state.json", state(300, 3.0))
    written(tmp_path / "b" / "trainer_state.json", state(300, 2.8, evaluated=False))
    told = r"several kinds: eval_loss in 1 \('a'\); loss in 1 \('b'\); expected one kind in all"
    with pytest.raises(ValueError, match=told):
        bs.read_runs(tmp_path)


def test_evaluations_on_several_texts(tmp_path: Path) -> None:
    def texts(*names: str) -> None:
        for run, loss in (("a", 3.0), ("b", 2.8)):
            found = state(300, loss)
            found["log_history"] = [
                {f"eval_{name}_loss": entry["eval_loss"] + place, "step": entry["step"]}
                if "eval_loss" in entry
                else entry
                for entry in found["log_history"]
                for place, name in enumerate(names)
            ]
            written(tmp_path / run / "trainer_state.json", found)

    texts("c4")
    losses = [*(3 + 2 / np.array([100, 200, 300])), *(2.8 + 2 / np.array([100, 200, 300]))]
    for columns in (None, {"loss": "eval_c4_loss"}):
        np.testing.assert_allclose(bs.read_runs(tmp_path, columns)["loss"], losses)
    texts("c4", "wiki")
    with pytest.raises(
        ValueError, match=r"no column for 'loss'.*'eval_c4_loss' or 'eval_wiki_loss'"
    ):
        bs.read_runs(tmp_path)
    runs = bs.read_runs(tmp_path, {"loss": "eval_wiki_loss"})
    np.testing.assert_allclose(runs["loss"], np.array(losses) + 1)
    assert runs["flops"].values.tolist() == [1e18 / 3, 2e18 / 3, 1e18] * 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"log_history": [{"eval_loss": 2.5, "step": None}]}, "'step' is None; expected a number"),
        ({"log_history": [{"eval_loss": 2.5, "step": 1}, 7]}, "entry 2 of 'log_history' is 7"),
        ({"total_flos": "much"}, "'total_flos' is 'much'; expected a number"),
    ],
)
def test_states_with_odd_entries(tmp_path: Path, change: dict, told: str) -> None:
    file = written(tmp_path / "a" / "trainer_state.json", state(300, 3.0) | change)
    with pytest.raises(ValueError, match=told) as caught:
        bs.read_runs(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


def test_runs_of_mlflow_that_diverged_or_failed(tmp_path: Path) -> None:
    store = _store(tmp_path)
    assert not get_notes_of(store) & {"runs_without_loss", "unfinished_runs"}
    runs = sorted(store.glob("*/0*"))
    for run, status in zip(runs, (3, 4, 3), strict=False):
        (run / "meta.yaml").write_text(f"lifecycle_stage: active\nstatus: {status}\n")
    (runs[2] / "metrics/eval_loss").write_text("1795668735609 nan 200\n")
    empty = written(runs[0].parent / "e" / "meta.yaml", "status: 5\n").parent
    (empty / "metrics").mkdir()
    found = bs.read_runs(store)
    assert doubts(found, "runs_without_loss") == ["2 of 4 runs have no finite loss: 'm2', 'e'"]
    assert doubts(found, "unfinished_runs") == ["column 'status' says FAILED of m1"]


def get_notes_of(source: object) -> set[str]:
    return {note.code for note in get_notes(bs.read_runs(source))}


def test_runs_of_weights_and_biases_that_did_not_finish() -> None:
    frame = pd.DataFrame(
        {
            "Name": ["a", "b", "c", "d"],
            "State": ["finished", "crashed", "running", "finished"],
            "config.n_params": [1e8, 2e8, 4e8, 8e8],
            "config.tokens": [2e9, 4e9, 8e9, 8e9],
            "summary.val/loss": [3.0, 2.8, 2.6, 2.5],
        }
    )
    told = doubts(bs.read_runs(frame), "unfinished_runs")
    assert told == ["column 'State' says crashed, running of b, c"]
    assert "unfinished_runs" not in get_notes_of(frame.assign(State="Finished"))


def test_a_state_that_is_none(tmp_path: Path) -> None:
    bad = written(tmp_path / "trainer_state.json", {"log_history": None})
    with pytest.raises(ValueError, match="expected the state of a Trainer, with 'log_history'"):
        bs.read_runs(bad)
    empty = written(tmp_path / "a" / "trainer_state.json", {"log_history": [{"step": 1}]})
    with pytest.raises(ValueError, match="no loss was logged"):
        bs.read_runs(empty)
    cut = written(tmp_path / "b" / "trainer_state.json", '{"log_history": [')
    with pytest.raises(ValueError, match="this is not JSON"):
        bs.read_runs(cut)


def test_exports_of_weights_and_biases(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "Name": ["a", "b", "c"],
            "State": ["finished"] * 3,
            "config.n_params": [1e8, 2e8, 4e8],
            "config.tokens": [2e9, 4e9, 8e9],
            "summary.val/loss": [3.0, 2.8, 2.6],
        }
    )
    path = tmp_path / "wandb_export.csv"
    frame.to_csv(path, index=False)
    runs = bs.read_runs(path)
    assert runs["params"].values.tolist() == [1e8, 2e8, 4e8]
    assert runs["loss"].values.tolist() == [3.0, 2.8, 2.6]
    assert runs["run_id"].values.tolist() == ["a", "b", "c"]
    # Two metrics that would share a name keep their own.
    twice = frame.assign(loss=[9.0, 9.0, 9.0]).rename(columns={"summary.val/loss": "summary.loss"})
    assert bs.read_runs(twice)["loss"].values.tolist() == [9.0] * 3
    history = tmp_path / "history.csv"
    pd.DataFrame(
        {
            "Step": [100, 200, 300],
            "a - val/loss": [4.0, 3.5, 3.0],
            "a - val/loss__MIN": [4.0, 3.5, 3.0],
            "a - val/loss__MAX": [4.0, 3.5, 3.0],
            "b - val/loss": [3.8, np.nan, 2.8],
            "b - _step": [100, 200, 300],
        }
    ).to_csv(history, index=False)
    with pytest.raises(ValueError, match="no column says how large the runs were"):
        bs.read_runs(history)
    curves = bs.read_runs(history, join=path)
    assert list(zip(curves["run_id"].values, curves["step"].values, strict=True)) == [
        ("a", 100), ("a", 200), ("a", 300), ("b", 100), ("b", 300),
    ]  # fmt: skip
    assert curves["loss"].values.tolist() == [4.0, 3.5, 3.0, 3.8, 2.8]
    assert curves["params"].values.tolist() == [1e8] * 3 + [2e8] * 2


def _chart(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"Step": 100 * np.arange(1, 7), **columns})


NO = float("nan")


def test_metrics_of_a_chart_that_were_logged_at_different_steps() -> None:
    sizes = pd.DataFrame({"run_id": ["a", "b"], "params": [1e8, 1e9]})
    chart = _chart(
        **{
            "a - eval/loss": [NO, 3.5, NO, 3.2, NO, 3.0],
            "a - train/tokens": [1e6, NO, 3e6, NO, 7e6, NO],
            "a - lr": [1e-3, NO, 1e-3, NO, 1e-3, NO],
            "b - eval/loss": [NO, 3.1, NO, 2.9, NO, NO],
            "b - train/tokens": [1e6, NO, 3e6, NO, 5e6, NO],
        }
    )
    # The last evaluation of a lies beyond its last count of tokens, which is not made up.
    with pytest.raises(ValueError, match=r"'train/tokens' .* has 1 missing value \(row 3\)"):
        bs.read_runs(chart, join=sizes)
    runs = bs.read_runs(chart, join=sizes, allow_missing=("tokens", "flops"))
    assert runs["run_id"].values.tolist() == ["a", "a", "a", "b", "b"]
    assert runs["loss"].values.tolist() == [3.5, 3.2, 3.0, 3.1, 2.9]
    assert runs["step"].values.tolist() == [200, 400, 600, 200, 400]
    np.testing.assert_allclose(runs["tokens"], [2e6, 5e6, NO, 2e6, 4e6])
    assert np.isnan(runs["lr"].values).all()
    # Counts that fall are of a run that began anew: nothing lies between them.
    fallen = chart.assign(**{"a - train/tokens": [1e6, NO, 3e6, NO, 2e6, NO]})
    with pytest.raises(ValueError, match=r"has 3 missing values \(rows 1, 2, 3\)"):
        bs.read_runs(fallen, join=sizes)
    named = chart.rename(columns=lambda name: name.replace("eval/loss", "nll of eval"))
    assert bs.read_runs(
        named,
        {"loss": "nll of eval", "params": "params"},
        join=sizes,
        allow_missing=("tokens", "flops"),
    ).sizes == {"run": 5}


def test_no_loss_of_a_chart_is_dropped_for_another_metric() -> None:
    chart = _chart(
        **{
            "a - loss": [4.0, 3.8, 3.6, 3.4, 3.2, 3.0],
            "a - tokens": [1e6, 2e6, 3e6, 4e6, 5e6, 6e6],
            "a - grad_norm": [NO, NO, 0.3, NO, NO, 0.2],
        }
    )
    assert bs.read_runs(chart)["loss"].values.tolist() == [4.0, 3.8, 3.6, 3.4, 3.2, 3.0]


def test_a_chart_of_steps_alone() -> None:
    with pytest.raises(ValueError, match=r"pandas DataFrame: no column for 'loss' .*'a - _step'"):
        bs.read_runs(_chart(**{"a - _step": [1, 2, 3, 4, 5, 6]}))


def test_a_frame_of_mlflow() -> None:
    frame = pd.DataFrame(
        {
            "run_id": ["x1", "x2", "x3"],
            "experiment_id": ["0"] * 3,
            "status": ["FINISHED"] * 3,
            "artifact_uri": ["file:///a"] * 3,
            "start_time": pd.to_datetime(["2026-01-01"] * 3),
            "end_time": pd.to_datetime(["2026-01-02"] * 3),
            "metrics.eval_loss": [3.0, 2.8, 2.6],
            "params.n_params": ["1e8", "2e8", "4e8"],
            "params.arch": ["dense", "dense", "moe"],
            "params.num_tokens": ["2000000000", "4000000000", "8000000000"],
            "tags.mlflow.source.name": ["train.py"] * 3,
        }
    )
    runs = bs.read_runs(frame)
    assert runs["params"].values.tolist() == [1e8, 2e8, 4e8]
    assert runs["tokens"].values.tolist() == [2e9, 4e9, 8e9]
    assert runs["family"].values.tolist() == ["dense", "dense", "moe"]
    assert not {"artifact_uri", "tags.mlflow.source.name"} & set(runs)


def _store(folder: Path) -> Path:
    """The files that MLflow 3.17 wrote for three runs and one that was deleted."""
    experiment = folder / "mlruns" / "453771838725692425"
    for place, (size, arch) in enumerate(
        ((1e8, "dense"), (2e8, "dense"), (4e8, "moe"), (1, "junk"))
    ):
        run = experiment / f"{place:032x}"
        stage = "deleted" if arch == "junk" else "active"
        written = {
            "meta.yaml": f"end_time: 1795668735611\nlifecycle_stage: {stage}\nrun_name: m{place}\n",
            "params/n_params": f"{size:.0f}",
            "params/arch": arch,
            "tags/mlflow.runName": f"m{place}",
            "metrics/eval_loss": f"1795668735609 {2.6 - place / 5} 200\n1795668735610 {2.4 - place / 5} 300\n",
            "metrics/train/loss": "".join(
                f"1795668735608 {4 - s / 200 - place / 5} {s}\n" for s in (100, 200, 300)
            ),
            "metrics/tokens_seen": "".join(
                f"1795668735608 {s * 1e7 * (place + 1)} {s}\n" for s in (100, 200, 300)
            ),
        }
        for name, text in written.items():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(text)
    (experiment / "meta.yaml").write_text("experiment_id: '453771838725692425'\n")
    return folder / "mlruns"


def test_a_file_store_of_mlflow(tmp_path: Path) -> None:
    store = _store(tmp_path)
    runs = bs.read_runs(store)
    # The loss is that of the evaluations, of which there is none at step 100; what was deleted stays away.
    assert runs["run_id"].values.tolist() == ["m0", "m0", "m1", "m1", "m2", "m2"]
    assert runs["step"].values.tolist() == [200, 300] * 3
    np.testing.assert_allclose(runs["loss"], [2.6, 2.4, 2.4, 2.2, 2.2, 2.0])
    np.testing.assert_allclose(runs["params"], np.repeat([1e8, 2e8, 4e8], 2))
    np.testing.assert_allclose(runs["tokens"], [2e9, 3e9, 4e9, 6e9, 6e9, 9e9])
    assert runs["family"].values.tolist() == ["dense"] * 4 + ["moe"] * 2
    trained = bs.read_runs(store, columns={"loss": "train/loss"})
    assert trained.sizes["run"] == 9
    twins = sorted(store.rglob("mlflow.runName"))[:2]
    for name in twins:
        name.write_text("same")
    ids = [name.parents[1].name for name in twins]
    assert set(bs.read_runs(store)["run_id"].values) == {*ids, "m2"}
    for name in store.rglob("mlflow.runName"):
        name.write_text("same")
    assert np.unique(bs.read_runs(store)["run_id"].values).size == 3


def test_parameters_of_mlflow_that_are_names(tmp_path: Path) -> None:
    store = _store(tmp_path)
    for place, file in enumerate(sorted(store.rglob("params/arch"))):
        file.write_text(f"1.{place}0")
    assert set(bs.read_runs(store)["family"].values) == {"1.00", "1.10", "1.20"}
    found = bs.read_runs(
        pd.DataFrame(
            {
                "run_id": ["x", "y", "z"],
                "metrics.loss": [3.0, 2.8, 2.6],
                "params.n_params": ["1e8", "2e8", "4e8"],
                "params.arch": ["1.1", "1.10", "1.2"],
                "params.sort": ["01", "1", "2"],
            }
        ),
        {"family": "sort"},
    )
    assert found["family"].values.tolist() == ["01", "1", "2"]
    assert found["arch"].values.tolist() == ["1.1", "1.10", "1.2"]


def test_a_file_store_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=r"or a folder of .* or of MLflow"):
        bs.read_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="no run of MLflow that measured something"):
        bs.read_runs(tmp_path, form="mlflow")
    broken = next(_store(tmp_path).rglob("eval_loss"))
    broken.write_text("2.5\n")
    with pytest.raises(ValueError, match="eval_loss: expected lines of time, value and step"):
        bs.read_runs(tmp_path / "mlruns")


def test_scores_of_the_harness_join_by_model(tmp_path: Path) -> None:
    for model, accuracy in (("org/a", 0.6), ("org/b", 0.7)):
        found = {
            "results": {
                "piqa": {"alias": "piqa", "acc,none": accuracy, "acc_stderr,none": 0.01},
                "hellaswag": {"acc,none": 0.4, "acc_norm,none": accuracy - 0.1},
            },
            "n-samples": {"piqa": {"original": 1838, "effective": 1838}},
            "config": {"model": "hf", "model_args": f"pretrained={model},dtype=bfloat16"},
        }
        written(tmp_path / model.replace("/", "__") / "results_2026.json", found)
    assert detect(tmp_path) == "lm-eval"
    table = pd.DataFrame(
        {
            "run_id": ["a", "b", "c"],
            "params": [1e8, 2e8, 4e8],
            "tokens": [2e9, 4e9, 8e9],
            "loss": [3, 2.8, 2.6],
        }
    )
    runs = bs.read_runs(table, join=tmp_path)
    np.testing.assert_allclose(runs["acc_piqa"], [0.6, 0.7, np.nan])
    np.testing.assert_allclose(runs["acc_hellaswag"], [0.5, 0.6, np.nan])
    np.testing.assert_allclose(runs["n_piqa"], [1838, 1838, np.nan])
    assert "results" not in runs
    with pytest.raises(
        ValueError, match=r"none of its runs \(a, b, \.\.\.\) is in pandas DataFrame \(x,"
    ):
        bs.read_runs(table.assign(run_id=["x", "y", "z"]), join=tmp_path)
    with pytest.raises(ValueError, match="both need a column 'run_id'"):
        bs.read_runs(table.drop(columns="run_id"), join=tmp_path)


def _results(model: str, revision: str = "", accuracy: float = 0.5, **more: object) -> dict:
    args = f"pretrained={model}" + (f",revision={revision}" if revision else "")
    return {
        "results": {"piqa": {"acc,none": accuracy}},
        "config": {"model": "hf", "model_args": args, **more},
    }


def test_revisions_of_a_model_are_kept_apart(tmp_path: Path) -> None:
    for place, found in enumerate(
        (
            _results("org/a", "step1000", 0.5),
            _results("org/a", "step2000", 0.6),
            _results("org/a", "main", 0.7),
            _results("org/b", "step1000", 0.8),
            {**_results("", "", 0.9), "model_name": "one/c"},
            _results("two/c", "", 0.4) | {"config": {"model_args": {"pretrained": "two/c"}}},
        )
    ):
        written(tmp_path / f"results_{place}.json", found)
    scores = read_tracker(tmp_path, "lm-eval").set_index("run_id")["acc_piqa"]
    assert scores.to_dict() == {
        "a@step1000": 0.5, "a@step2000": 0.6, "a": 0.7, "b": 0.8, "one/c": 0.9, "two/c": 0.4,
    }  # fmt: skip
    table = pd.DataFrame({"params": [1e8] * 3, "loss": [3, 2.8, 2.6]})
    curve = table.assign(run_id=["a@step1000", "a@step2000", "a"])
    assert bs.read_runs(curve, join=tmp_path)["acc_piqa"].values.tolist() == [0.5, 0.6, 0.7]
    with pytest.raises(
        ValueError, match=r"none of its runs \(a@step1000, a@step2000, a, b, \.\.\.\)"
    ):
        bs.read_runs(table.assign(run_id=["x", "y", "z"]), join=tmp_path)


def test_two_results_of_one_model_and_task(tmp_path: Path) -> None:
    written(tmp_path / "results_1.json", _results("org/a", "", 0.5))
    written(tmp_path / "results_2.json", _results("org/a", "", 0.5))
    other = _results("org/a") | {"results": {"arc": {"acc": 0.3}}}
    written(tmp_path / "results_3.json", other)
    assert read_tracker(tmp_path, "lm-eval").to_dict("records") == [
        {"run_id": "a", "acc_piqa": 0.5, "acc_arc": 0.3}
    ]
    written(tmp_path / "results_4.json", _results("org/a", "", 0.6))
    told = r"results_4\.json: acc_piqa of model 'org/a' is 0\.6 here and 0\.5 in .*results_1\.json;"
    with pytest.raises(ValueError, match=told):
        read_tracker(tmp_path, "lm-eval")


def test_one_metric_of_a_task_for_all_models(tmp_path: Path) -> None:
    both = {"acc,none": 0.4, "acc_norm,none": 0.6}
    for model, scores in (("a", both), ("b", {"acc": 0.5}), ("c", {"acc,none": None} | both)):
        found = _results(f"org/{model}") | {"results": {"arc": scores}}
        written(tmp_path / f"results_{model}.json", found)
    table = read_tracker(tmp_path, "lm-eval").set_index("run_id")["acc_arc"]
    assert table.to_dict() == {"a": 0.4, "b": 0.5, "c": 0.4}
    other = _results("org/d") | {"results": {"arc": {"exact_match,none": 0.1}}}
    written(tmp_path / "results_d.json", other)
    told = r"no metric of task 'arc' is in all files: .*acc in .*results_a\.json.*exact_match in .*results_d\.json;"
    with pytest.raises(ValueError, match=told):
        read_tracker(tmp_path, "lm-eval")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"results": {"piqa": None}}, "results of 'piqa' is None; expected an object"),
        ({"n-samples": 7}, "'n-samples' is 7; expected an object"),
        ({"config": "text"}, "'config' is 'text'; expected an object"),
        ({"results": {"piqa": {"acc": "N/A"}}}, "acc of 'piqa' is 'N/A'; expected a number"),
    ],
)
def test_results_with_odd_parts(tmp_path: Path, change: dict, told: str) -> None:
    file = written(tmp_path / "results_1.json", _results("org/a") | change)
    with pytest.raises(ValueError, match=told) as caught:
        bs.read_runs(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("empty", [None, NO, ""])
def test_names_that_are_numbers_join_beside_an_empty_one(tmp_path: Path, empty: object) -> None:
    table = pd.DataFrame({"params": [1e8, 2e8, 4e8], "loss": [3, 2.8, 2.6]})
    scores = pd.DataFrame({"run_id": [1, 2], "acc_piqa": [0.6, 0.7]})
    found = bs.read_runs(table.assign(run_id=[1, empty, 2]), join=scores)
    assert found["run_id"].values.tolist() == ["1", "", "2"]
    np.testing.assert_allclose(found["acc_piqa"], [0.6, NO, 0.7])
    # Nor does a run without a name join another without one, and several of them are no repeats.
    more = pd.DataFrame({"run_id": ["1", empty, empty], "acc_piqa": [0.6, 0.1, 0.2]})
    found = bs.read_runs(table.assign(run_id=[1, empty, 2]), join=more)
    np.testing.assert_allclose(found["acc_piqa"], [0.6, NO, NO])
    with pytest.raises(
        ValueError, match=r"runs \(x, \.\.\.\) is in pandas DataFrame \(1, 2, \.\.\.\)"
    ):
        bs.read_runs(
            table.assign(run_id=[1, empty, 2]),
            join=pd.DataFrame({"run_id": ["x", empty], "acc_piqa": [0.6, 0.1]}),
        )
    with pytest.raises(ValueError, match=r"runs \(which have no names\)"):
        bs.read_runs(table.assign(run_id=[1, empty, 2]), join=more[1:])


def test_runs_that_a_joined_table_lacks_are_told(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"run_id": ["a", "b", "c"], "params": [1e8, 2e8, 4e8], "loss": [3, 2.8, 2.6]}
    )
    scores = pd.DataFrame({"run_id": ["a", "B", "x", "c"], "acc_piqa": [0.6, 0.7, 0.8, 0.9]})
    notes = get_notes(bs.read_runs(table, join=scores))
    told = [(note.severity, note.message) for note in notes if note.code == "unmatched_runs"]
    assert told == [
        ("warning", "pandas DataFrame has 1 run that is not in pandas DataFrame: 'b'"),
        ("info", "pandas DataFrame has 2 runs that are not in pandas DataFrame: 'B', 'x'"),
    ]
    same = scores.assign(run_id=["a", "b", "", "c"])
    assert not doubts(bs.read_runs(table, join=same), "unmatched_runs")
    for name, other in (("left.csv", table), ("right.csv", scores)):
        other.assign(run_id=other["run_id"].replace({"a": "007", "b": "7", "B": "7"})).to_csv(
            tmp_path / name, index=False
        )
    found = bs.read_runs(tmp_path / "left.csv", join=tmp_path / "right.csv")
    assert found["acc_piqa"].values.tolist() == [0.6, 0.7, 0.9]


def test_joined_tables_that_contradict_each_other() -> None:
    table = pd.DataFrame({"run_id": ["a", "b", "c"], "N": [1e8, 2e8, 4e8], "loss": [3, 2.8, 2.6]})
    rounded = pd.DataFrame(
        {"run_id": ["a", "b", "c"], "params": ["97M", "0.2B", "4e8"], "loss": [3.001, None, 2.6]}
    )
    assert bs.read_runs(table, join=rounded).sizes["run"] == 3
    told = r"column 'params' of run 'b' is 2e\+09 here and 2e\+08 in pandas DataFrame, column 'N' \(1 such"
    with pytest.raises(ValueError, match=told):
        bs.read_runs(table, join=rounded.assign(params=["100M", "2B", "4e8"]))
    with pytest.raises(ValueError, match=r"column 'loss' of run 'a' is 3\.2 here and 3 in"):
        bs.read_runs(table, join=rounded.assign(loss=[3.2, None, None]))
    # The last losses of curves are theirs too.
    curves = table.assign(run_id="a", step=[1, 2, 3], N=1e8)
    bs.read_runs(curves, join=rounded.assign(loss=[2.6, 9.0, 9.0], step=300))


def test_the_column_of_names_can_be_said_when_joining() -> None:
    table = pd.DataFrame(
        {
            "run": [0, 0, 0],
            "name": ["a", "b", "c"],
            "params": [1e8, 2e8, 4e8],
            "loss": [3, 2.8, 2.6],
        }
    )
    scores = pd.DataFrame({"run_id": ["a", "c"], "acc_piqa": [0.6, 0.7]})
    for columns in ({"seed": "run"}, {"run_id": "name"}):
        runs = bs.read_runs(table, columns, join=scores)
        np.testing.assert_allclose(runs["acc_piqa"], [0.6, NO, 0.7])
    with pytest.raises(ValueError, match="there is no column 'nam'"):
        bs.read_runs(table, {"run_id": "nam"}, join=scores)


def test_event_files_of_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip(
        "tensorboard", reason="needs tensorboard: pip install 'bayescale[tensorboard]'"
    )
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run, start in (("a", 4.0), ("b", 3.5)):
        writer = EventFileWriter(str(tmp_path / run))
        for step in (100, 200, 300):
            for tag, value in (("eval/loss", start - step / 1000), ("tokens", step * 1e6)):
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
                writer.add_event(Event(step=step, wall_time=step, summary=summary))
        writer.close()
    runs = bs.read_runs(tmp_path)
    assert runs.sizes["run"] == 6
    np.testing.assert_allclose(runs["loss"], [3.9, 3.8, 3.7, 3.4, 3.3, 3.2], rtol=1e-6)
    np.testing.assert_allclose(runs["tokens"], [1e8, 2e8, 3e8] * 2)
    assert runs["run_id"].values.tolist() == ["a"] * 3 + ["b"] * 3


def test_folders_of_events_with_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "tensorboard", reason="needs tensorboard: pip install 'bayescale[tensorboard]'"
    )
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for run in ("a", "b"):
        writer = EventFileWriter(str(tmp_path / run / "logs"))
        # The tokens are logged between the evaluations.
        for step, tag, value in (
            (50, "tokens", 5e7),
            (100, "loss", 4.0),
            (150, "tokens", 1.5e8),
            (200, "loss", 3.0),
            (250, "tokens", 2.5e8),
            (250, "loss", 2.9),
        ):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=step, summary=summary))
        writer.close()
    runs = bs.read_runs(tmp_path)
    assert runs["run_id"].values.tolist() == ["a/logs"] * 3 + ["b/logs"] * 3
    np.testing.assert_allclose(runs["tokens"], [1e8, 2e8, 2.5e8] * 2)
    monkeypatch.chdir(tmp_path / "b" / "logs")
    assert bs.read_runs(".")["run_id"].values.tolist() == ["logs"] * 3


@pytest.mark.parametrize(
    ("unit", "tokens_per_byte", "given"),
    [
        ("nat/token", None, 2.0),
        ("bit/token", None, 2.0 / math.log(2)),
        ("bit/byte", 0.25, 0.25 * 2.0 / math.log(2)),
        ("perplexity", None, math.exp(2.0)),
    ],
)
def test_every_unit_becomes_nats_per_token(
    unit: str, tokens_per_byte: float | None, given: float
) -> None:
    frame = pd.DataFrame(
        {"params": [1e8, 1e9, 1e10], "tokens": [1e9, 1e10, 1e11], "loss": [given] * 3}
    )
    runs = bs.read_runs(frame, unit=unit, tokens_per_byte=tokens_per_byte)
    np.testing.assert_allclose(runs["loss"], 2.0)
    assert runs["loss"].attrs["units"] == "nat/token"


@pytest.mark.parametrize("wrong", [0.0, -3.0, 1.0])
def test_perplexities_are_above_one(wrong: float) -> None:
    frame = pd.DataFrame({"params": [1e8] * 3, "ppl": [20.0, wrong, 12.0]})
    told = rf"column 'ppl' \(read as loss\) has 1 value <= 1 \(row 2: {wrong:g}\); expected perplexities"
    with pytest.raises(ValueError, match=told):
        bs.read_runs(frame, {"loss": "ppl"}, unit="perplexity")
    with pytest.raises(ValueError, match=r"say unit='perplexity', or convert"):
        bs.read_runs(frame.assign(loss=[22.0, 3.0, 12.0]))


def test_units_that_make_no_sense() -> None:
    frame = pd.DataFrame({"params": [1e8] * 3, "loss": [1.0, 1.1, 1.2], "loss_sd": [0.1] * 3})
    with pytest.raises(ValueError, match="unit = 'bits': expected one of nat/token"):
        bs.read_runs(frame, unit="bits")
    with pytest.raises(ValueError, match=r"say how many tokens the tokenizer makes of a byte"):
        bs.read_runs(frame, unit="bit/byte")
    with pytest.raises(ValueError, match="tokens_per_byte goes with bit/byte alone"):
        bs.read_runs(frame, unit="bit/token", tokens_per_byte=0.25)
    with pytest.raises(ValueError, match=r"tokens_per_byte = 25: expected a number such as 0\.25"):
        bs.read_runs(frame, unit="bit/byte", tokens_per_byte=25)
    with pytest.raises(ValueError, match="'loss_sd' cannot be converted from perplexity"):
        bs.read_runs(frame, unit="perplexity")
    converted = bs.read_runs(frame, unit="bit/token")
    np.testing.assert_allclose(converted["loss_sd"], 0.1 * math.log(2))
    with pytest.raises(ValueError, match="form = 'comet': expected one of table, wandb"):
        bs.read_runs(frame, form="comet")


def test_the_command_line_reads_them(tmp_path: Path) -> None:
    for run, loss in (("small", 3.0), ("large", 2.5)):
        written(tmp_path / "hf" / run / "trainer_state.json", state(300, loss / math.log(2)))
    args = ["runs", str(tmp_path / "hf"), "--unit", "bit/token", "--json"]
    result = CliRunner().invoke(cli.app, args)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["runs"] == 6
    assert facts["loss"]["max"] == pytest.approx(3.0 + 0.02 * math.log(2))
    rough = tmp_path / "ppl.csv"
    rough.write_text("params,loss\n1e8,22\n1e9,18\n1e10,15\n")
    told = CliRunner().invoke(cli.app, ["runs", str(rough)]).stderr
    assert "say --unit perplexity, or convert" in told
    wrong = CliRunner().invoke(cli.app, ["runs", str(tmp_path / "hf"), "--from", "table"])
    assert wrong.exit_code == 2
    assert "this is a folder" in wrong.stderr
