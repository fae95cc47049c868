"""Files that training leaves behind, as tables: Hugging Face, Weights & Biases, MLflow, TensorBoard, lm-eval.

Each becomes a frame with columns that :mod:`bayescale.runs.columns` knows. Checkpoints of a run stay one run: they
share their ``run_id``, and ``step`` tells them apart.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from bayescale.runs.mlflow_store import is_store, read_store

Form = Literal["table", "wandb", "mlflow", "trainer", "tensorboard", "lm-eval"]
FORMS: tuple[str, ...] = get_args(Form)

_STATE = "trainer_state.json"
#: How Weights & Biases names the columns of a history chart: "run - metric", and its bounds over seeds.
_HISTORY = re.compile(r"^(?P<run>.+) - (?P<metric>.+?)(?P<bound>__(?:MIN|MAX))?$")
_PREFIXES = {"mlflow": ("params.", "metrics."), "wandb": ("config.", "summary.")}


def check_form(form: str | None) -> None:
    """Raise ValueError unless a form is known."""
    if form is not None and form not in FORMS:
        raise ValueError(f"form = {form!r}: expected one of {', '.join(FORMS)}")


def detect(source: str | Path) -> Form:
    """What a path holds: by the names of a folder's files, or by the file itself.

    Examples
    --------
    >>> detect("runs.csv")
    'table'
    """
    path = Path(source)
    if path.name == _STATE:
        return "trainer"
    if "tfevents" in path.name:
        return "tensorboard"
    if path.is_dir():
        if next(path.rglob(_STATE), None):
            return "trainer"
        if next(path.rglob("*tfevents*"), None):
            return "tensorboard"
        if next(path.rglob("results*.json"), None):
            return "lm-eval"
        return "mlflow" if is_store(path) else "table"
    if path.suffix == ".json" and path.is_file() and _is_lm_eval(path):
        return "lm-eval"
    return "table"


def read_tracker(source: str | Path, form: Form) -> pd.DataFrame:
    """Read what training left behind.

    Parameters
    ----------
    source : str or Path
        File or folder.
    form : {"trainer", "tensorboard", "lm-eval", "mlflow"}
        MLflow's file store; the frame of its ``search_runs`` is :func:`tidy`'s.

    Raises
    ------
    FileNotFoundError
        If there is nothing of that form.
    ValueError
        If a file is not what its name says.
    ImportError
        If the library that reads the form is not installed.
    """
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        "trainer": _trainer,
        "tensorboard": _tensorboard,
        "lm-eval": _lm_eval,
        "mlflow": read_store,
    }
    return readers[form](Path(source))


def tidy(frame: pd.DataFrame, form: Form | None = None) -> pd.DataFrame:
    """Name the columns of a tracker's export as run tables do; any other table stays as it is.

    Examples
    --------
    >>> found = tidy(pd.DataFrame({"run_id": ["a"], "params.n_params": ["1e9"], "metrics.loss": [2.5]}))
    >>> list(found)
    ['run_id', 'n_params', 'loss']
    """
    if form in (None, "mlflow") and {"run_id"} <= set(frame) and _has(frame, "metrics."):
        return _mlflow(frame)
    if form in (None, "wandb") and _is_history(frame):
        return _history(frame)
    if form == "wandb" or (form is None and _has(frame, "config.")):
        return _unprefixed(frame, _PREFIXES["wandb"])
    return frame


def _has(frame: pd.DataFrame, prefix: str) -> bool:
    return any(str(name).startswith(prefix) for name in frame)


def _unprefixed(frame: pd.DataFrame, prefixes: tuple[str, ...]) -> pd.DataFrame:
    """Drop prefixes where that leaves every column a name of its own."""
    names: dict[str, str] = {}
    for name in map(str, frame):
        bare = next((name.removeprefix(each) for each in prefixes if name.startswith(each)), name)
        names[name] = name if bare in frame or bare in names.values() else bare
    return frame.rename(columns=names)


def _mlflow(frame: pd.DataFrame) -> pd.DataFrame:
    """What ``mlflow.search_runs`` returns, without what describes the run rather than the model."""
    kept = frame[[name for name in map(str, frame) if not name.startswith("tags.")]]
    odd = [
        name for name in ("artifact_uri", "start_time", "end_time", "experiment_id") if name in kept
    ]
    found = _unprefixed(kept.drop(columns=odd), _PREFIXES["mlflow"])
    # MLflow keeps parameters as text.
    for name in (
        each.removeprefix("params.") for each in map(str, kept) if each.startswith("params.")
    ):
        if name in found:
            numbers = pd.to_numeric(found[name], errors="coerce")
            found[name] = (
                numbers if numbers.notna().sum() == found[name].notna().sum() else found[name]
            )
    return found


def _is_history(frame: pd.DataFrame) -> bool:
    names = list(map(str, frame))
    return (
        len(names) > 1
        and names[0].lower() in ("step", "_step")
        and all(map(_HISTORY.match, names[1:]))
    )


def _history(frame: pd.DataFrame) -> pd.DataFrame:
    """A chart's export, one column a run and metric, as one row a checkpoint."""
    step = frame.columns[0]
    found: dict[str, dict[str, pd.Series]] = {}
    for name in map(str, frame.columns[1:]):
        match = _HISTORY.match(name)
        assert match is not None
        # Every metric comes with its bounds over a group; the step of each is the chart's own.
        if match["bound"] is None and match["metric"] not in ("_step", "Step"):
            found.setdefault(match["run"], {})[match["metric"]] = frame[name]
    rows = [
        pd.DataFrame({"run_id": run, "step": frame[step], **metrics}).dropna(subset=list(metrics))
        for run, metrics in found.items()
    ]
    return pd.concat(rows, ignore_index=True)


def _trainer(path: Path) -> pd.DataFrame:
    """Evaluations of Hugging Face's Trainer; the training loss where a run was never evaluated."""
    states = [path] if path.is_file() else sorted(path.rglob(_STATE))
    # Every checkpoint folder repeats the history so far: the last holds all of it.
    last: dict[Path, Path] = {}
    for each in states:
        run = each.parent.parent if each.parent.name.startswith("checkpoint-") else each.parent
        if run not in last or _step_of(each) > _step_of(last[run]):
            last[run] = each
    if not last:
        raise FileNotFoundError(f"{path}: no {_STATE} in it")
    rows = []
    for run, file in last.items():
        state = _json(file)
        history = state.get("log_history") if isinstance(state, dict) else None
        if not isinstance(state, dict) or not isinstance(history, list):
            raise ValueError(f"{file}: expected the state of a Trainer, with 'log_history'")
        key = "eval_loss" if any("eval_loss" in entry for entry in history) else "loss"
        whole, steps = float(state.get("total_flos") or 0), float(state.get("global_step") or 0)
        for entry in history:
            if key not in entry:
                continue
            row = {"run_id": run.name, "step": entry.get("step"), "loss": entry[key]}
            if "num_input_tokens_seen" in entry:
                row["tokens"] = entry["num_input_tokens_seen"]
            if whole and steps:
                # Batches are alike: compute grows with the steps.
                row["flops"] = whole * float(entry.get("step", steps)) / steps
            rows.append(row)
    if not rows:
        raise ValueError(
            f"{path}: no loss was logged; expected 'eval_loss' or 'loss' in 'log_history'"
        )
    return pd.DataFrame(rows)


def _step_of(file: Path) -> float:
    tail = file.parent.name.rpartition("-")[2]
    return (
        float(tail)
        if tail.isdigit() and file.parent.name.startswith("checkpoint-")
        else float("inf")
    )


def _tensorboard(path: Path) -> pd.DataFrame:
    """Scalars of event files, one row a step, one run a folder."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError as error:
        raise ImportError(
            f"{path}: reading TensorBoard events needs tensorboard: pip install 'bayescale[tensorboard]', "
            "or export the scalars as CSV"
        ) from error
    folders = (
        [path.parent]
        if path.is_file()
        else sorted({each.parent for each in path.rglob("*tfevents*")})
    )
    tables = []
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        series = {
            tag: pd.Series({each.step: each.value for each in events.Scalars(tag)})
            for tag in events.Tags()["scalars"]
        }
        if series:
            table = pd.DataFrame(series).rename_axis("step").reset_index()
            tables.append(table.assign(run_id=folder.name))
    if not tables:
        raise ValueError(f"{path}: the event files hold no scalars")
    return pd.concat(tables, ignore_index=True)


def _is_lm_eval(path: Path) -> bool:
    try:
        found = _json(path)
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(found.get("results"), dict) and "config" in found


def _lm_eval(path: Path) -> pd.DataFrame:
    """Scores of the evaluation harness: one row a model, one column acc_TASK a task."""
    files = [path] if path.is_file() else sorted(path.rglob("results*.json"))
    if not files:
        raise FileNotFoundError(f"{path}: no results*.json in it")
    rows: dict[str, dict[str, object]] = {}
    for file in files:
        found = _json(file)
        if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
            raise ValueError(f"{file}: expected what lm-evaluation-harness writes, with 'results'")
        name = found.get("model_name") or (found.get("config") or {}).get("model_args") or file.stem
        model = str(name).removeprefix("pretrained=").split(",")[0].rpartition("/")[2]
        row = rows.setdefault(model, {"run_id": model})
        for task, scores in found["results"].items():
            # "acc,none" since 0.4, "acc" before; the normalised one where lengths of answers differ.
            for metric in ("acc_norm,none", "acc_norm", "acc,none", "acc", "exact_match,none"):
                if metric in scores:
                    row[f"acc_{task}"] = float(scores[metric])
                    break
            samples = (found.get("n-samples") or {}).get(task)
            if isinstance(samples, dict):
                row[f"n_{task}"] = samples.get("effective")
    return pd.DataFrame(list(rows.values()))


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: this is not JSON ({error})") from error


def joined(frame: pd.DataFrame, other: pd.DataFrame, place: str, other_place: str) -> pd.DataFrame:
    """Columns of another table beside those of the same run, by name.

    Examples
    --------
    >>> runs = pd.DataFrame({"run_id": ["a", "b"], "loss": [2.5, 2.4]})
    >>> scores = pd.DataFrame({"run_id": ["b"], "acc_piqa": [0.7]})
    >>> joined(runs, scores, "runs.csv", "results.json")["acc_piqa"].tolist()
    [nan, 0.7]
    """
    for table, where in ((frame, place), (other, other_place)):
        if "run_id" not in table:
            raise ValueError(
                f"{where}: to join two tables both need a column 'run_id'; this one has "
                f"{', '.join(map(repr, table))}"
            )
    repeated = other["run_id"][other["run_id"].duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"{other_place}: run {repeated[0]!r} is there more than once; join one row a run"
        )
    left, right = frame["run_id"].astype(str), other["run_id"].astype(str)
    if not left.isin(right).any():
        raise ValueError(
            f"{other_place}: none of its runs ({', '.join(right[:4])}, ...) is in {place} "
            f"({', '.join(left[:4])}, ...); name them alike in 'run_id'"
        )
    fresh = [name for name in other if name not in frame]
    added = other.assign(run_id=right)[["run_id", *fresh]]
    return frame.assign(run_id=left).merge(added, on="run_id", how="left")
