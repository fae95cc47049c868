"""Files that training leaves behind, as tables: Hugging Face, Weights & Biases, MLflow, TensorBoard, lm-eval.

Each becomes a frame with columns that :mod:`bayescale.runs.columns` knows. Checkpoints of a run stay one run: they
share their ``run_id``, and ``step`` tells them apart. Runs that are folders have the folder's name, or its path below
the source where two folders have one name.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from bayescale.notes import Note
from bayescale.runs.columns import INPUTS, holds_text, recognise
from bayescale.runs.lm_eval import is_results, read_results
from bayescale.runs.mlflow_store import is_store, read_store
from bayescale.runs.run_names import folder_names
from bayescale.runs.trainer import STATE, read_trainer

Form = Literal["table", "wandb", "mlflow", "trainer", "tensorboard", "lm-eval"]
FORMS: tuple[str, ...] = get_args(Form)

#: How Weights & Biases names the columns of a history chart: "run - metric", and its bounds over seeds.
_HISTORY = re.compile(r"^(?P<run>.+) - (?P<metric>.+?)(?P<bound>__(?:MIN|MAX))?$")
_STEPS = ("step", "_step")
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
    if path.name == STATE:
        return "trainer"
    if "tfevents" in path.name:
        return "tensorboard"
    if path.is_dir():
        if next(path.rglob(STATE), None):
            return "trainer"
        if next(path.rglob("*tfevents*"), None):
            return "tensorboard"
        if next(path.rglob("results*.json"), None):
            return "lm-eval"
        return "mlflow" if is_store(path) else "table"
    if path.suffix == ".json" and path.is_file() and is_results(path):
        return "lm-eval"
    return "table"


def read_tracker(
    source: str | Path, form: Form, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read what training left behind.

    Parameters
    ----------
    source : str or Path
        File or folder.
    form : {"trainer", "tensorboard", "lm-eval", "mlflow"}
        MLflow's file store; the frame of its ``search_runs`` is :func:`tidy`'s.
    columns : mapping, optional
        As for :func:`bayescale.read_runs`; it says which columns hold names.

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
        "trainer": read_trainer,
        "tensorboard": _tensorboard,
        "lm-eval": read_results,
        "mlflow": partial(read_store, columns=columns),
    }
    return readers[form](Path(source))


def tidy(
    frame: pd.DataFrame, form: Form | None = None, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Name the columns of a tracker's export as run tables do; any other table stays as it is.

    Examples
    --------
    >>> found = tidy(pd.DataFrame({"run_id": ["a"], "params.n_params": ["1e9"], "metrics.loss": [2.5]}))
    >>> list(found)
    ['run_id', 'n_params', 'loss']
    """
    if form in (None, "mlflow") and {"run_id"} <= set(frame) and _has(frame, "metrics."):
        return _mlflow(frame, columns)
    if is_history(frame, form):
        return _history(frame)
    if form == "wandb" or (form is None and _has(frame, "config.")):
        return _unprefixed(frame, _PREFIXES["wandb"])
    return frame


def is_history(frame: pd.DataFrame, form: Form | None = None) -> bool:
    """Whether a table is the history of a chart of Weights & Biases: steps, and a column for each run and metric.

    Examples
    --------
    >>> is_history(pd.DataFrame({"Step": [1], "small - val/loss": [2.5]}))
    True
    """
    names = list(map(str, frame))
    return (
        form in (None, "wandb")
        and len(names) > 1
        and names[0].lower() in _STEPS
        and all(map(_HISTORY.match, names[1:]))
        # Steps alone are no history: as a table they are told to lack a loss.
        and bool(_metrics(frame))
    )


def at_losses(
    frame: pd.DataFrame, columns: Mapping[str, str] | None = None, place: str = "table"
) -> pd.DataFrame:
    """Rows of a history at which a loss was measured, with what training had seen by then.

    Loggers write the loss of evaluations at other steps than the tokens. Params, tokens, flops and examples that are
    missing beside a loss are interpolated linearly in ``step``, between the values that the same run logged before and
    after, if these never fall. Nothing is extrapolated, and nothing else is filled in: what is still missing is told as
    in any table.

    Parameters
    ----------
    frame : pd.DataFrame
        With ``run_id`` and ``step``. Without losses it is returned as it is.
    columns : mapping, optional
        As for :func:`bayescale.read_runs`.
    place : str
        Place to name in errors.

    Examples
    --------
    >>> log = {"run_id": "a", "step": [1, 2, 3], "tokens": [1e6, None, 3e6], "loss": [None, 2.5, None]}
    >>> at_losses(pd.DataFrame(log))["tokens"].tolist()
    [2000000.0]
    """
    # The rest may be columns of a table that is joined later.
    given = {name: column for name, column in (columns or {}).items() if column in frame}
    chosen = recognise(frame.columns, given, source=place)
    loss = chosen.get("loss")
    if loss not in frame or not frame[loss].notna().any():
        return frame
    if {"run_id", "step"} <= set(frame):
        sizes = [chosen[name] for name in INPUTS if name in chosen]
        frame = frame.assign(**{name: _between(frame, name) for name in sizes})
    return frame[frame[loss].notna()].reset_index(drop=True)


def left_out(frame: pd.DataFrame, kept: pd.DataFrame, form: Form | None = None) -> list[Note]:
    """Doubts about what :func:`at_losses` left out: runs without a finite loss, and evaluations of a Trainer.

    Examples
    --------
    >>> log = pd.DataFrame({"run_id": ["a", "b"], "step": 1, "loss": [2.5, None]})
    >>> left_out(log, at_losses(log))[0].message
    "1 of 2 runs has no finite loss: 'b'"
    """
    if "run_id" not in frame:
        return []
    names, told = frame["run_id"].unique(), []
    lost = [str(name) for name in names if name not in set(kept["run_id"])]
    if lost:
        few = ", ".join(map(repr, lost[:5])) + (" …" if len(lost) > 5 else "")
        told.append(
            f"{len(lost)} of {len(names)} runs {'has' if len(lost) == 1 else 'have'} no finite loss: {few}"
        )
    if form == "trainer":
        # Every row is of an evaluation; in other logs what is missing may not have been measured.
        seen = frame.drop(columns=["run_id", "step", *INPUTS], errors="ignore").notna().any(axis=1)
        rows = frame[~seen & frame["run_id"].isin(kept["run_id"])]
        if len(rows):
            few = ", ".join(map(repr, rows["run_id"].unique()[:5]))
            told.append(f"{len(rows)} of {len(frame)} evaluations, of {few}, have no finite loss")
    advice = "they are left out: if training diverged, forecasts are of runs that do not"
    return [Note("runs_without_loss", "warning", message, advice) for message in told]


def _between(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column with what is missing between its values, run by run, where they never fall."""
    values = frame[name].copy()
    if values.notna().all() or not pd.api.types.is_numeric_dtype(values):
        return values
    for _, rows in frame.groupby("run_id"):
        known = rows.dropna(subset=["step", name]).sort_values("step")
        if len(known) > 1 and known[name].is_monotonic_increasing:
            ends = {"left": np.nan, "right": np.nan}
            found = np.interp(rows["step"], known["step"], known[name], **ends)
            values.loc[rows.index] = rows[name].fillna(pd.Series(found, index=rows.index))
    return values


def _has(frame: pd.DataFrame, prefix: str) -> bool:
    return any(str(name).startswith(prefix) for name in frame)


def _unprefixed(frame: pd.DataFrame, prefixes: tuple[str, ...]) -> pd.DataFrame:
    """Drop prefixes where that leaves every column a name of its own."""
    names: dict[str, str] = {}
    for name in map(str, frame):
        bare = next((name.removeprefix(each) for each in prefixes if name.startswith(each)), name)
        names[name] = name if bare in frame or bare in names.values() else bare
    return frame.rename(columns=names)


def _mlflow(frame: pd.DataFrame, columns: Mapping[str, str] | None) -> pd.DataFrame:
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
        if name in found and not holds_text(name, columns):
            numbers = pd.to_numeric(found[name], errors="coerce")
            found[name] = (
                numbers if numbers.notna().sum() == found[name].notna().sum() else found[name]
            )
    return found


def _history(frame: pd.DataFrame) -> pd.DataFrame:
    """A chart's export, one column a run and metric, as one row a step at which a run logged something."""
    step, rows = frame.columns[0], []
    for run, metrics in _metrics(frame).items():
        every = pd.DataFrame({"run_id": run, "step": frame[step], **metrics})
        logged = every.dropna(subset=list(metrics), how="all")
        # A run that logged nothing is told of as one without a loss.
        rows.append(every[:1] if logged.empty else logged)
    return pd.concat(rows, ignore_index=True)


def _metrics(frame: pd.DataFrame) -> dict[str, dict[str, pd.Series]]:
    """Columns of a chart's export by run and metric."""
    found: dict[str, dict[str, pd.Series]] = {}
    for name in map(str, frame.columns[1:]):
        match = _HISTORY.match(name)
        assert match is not None
        # Every metric comes with its bounds over a group; the step of each is the chart's own.
        if match["bound"] is None and match["metric"].lower() not in _STEPS:
            found.setdefault(match["run"], {})[match["metric"]] = frame[name]
    return found


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
    for name, folder in zip(folder_names(folders, path), folders, strict=True):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        series = {
            tag: pd.Series({each.step: each.value for each in events.Scalars(tag)})
            for tag in events.Tags()["scalars"]
        }
        if series:
            table = pd.DataFrame(series).rename_axis("step").reset_index()
            tables.append(table.assign(run_id=name))
    if not tables:
        raise ValueError(f"{path}: the event files hold no scalars")
    return pd.concat(tables, ignore_index=True)
