"""MLflow's file store: the folder ``mlruns``, read as it lies there, without MLflow.

A run is a folder ``EXPERIMENT/RUN`` with ``meta.yaml`` and, one file a name, ``metrics`` and ``params``. A line of a
metric is time, value and step.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from bayescale.runs.columns import holds_text
from bayescale.runs.run_names import unless_repeated

#: Numbers of MLflow's states; older stores may have written words.
_STATES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
_STATE = re.compile(r"^status:\s*['\"]?(\w+)", re.MULTILINE)
_DELETED = re.compile(r"^lifecycle_stage:\s*deleted", re.MULTILINE)


def is_store(path: Path) -> bool:
    """Whether a folder holds runs of MLflow.

    Examples
    --------
    >>> is_store(Path("no/such/mlruns"))
    False
    """
    return next(_runs(path), None) is not None


def read_store(path: Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Runs of a file store, one row a step at which something was measured.

    Parameters
    ----------
    path : Path
        ``mlruns``, an experiment in it, or a run.
    columns : mapping, optional
        As for :func:`bayescale.read_runs`; it says which parameters are names.

    Returns
    -------
    pd.DataFrame
        ``run_id``, ``step``, ``status`` where told, one column a metric and one a parameter. ``run_id`` is the
        run's name where no other run has it, else MLflow's own id. A run that measured nothing has one row.

    Raises
    ------
    FileNotFoundError
        If there is no run that measured something.
    ValueError
        If a metric is not what MLflow writes.
    """
    tables, measured = {}, False
    for run in _runs(path):
        metrics = {name: _measured(file) for name, file in _files(run / "metrics")}
        meta = (run / "meta.yaml").read_text(encoding="utf-8")
        if _DELETED.search(meta):
            continue
        measured |= bool(metrics)
        table = pd.DataFrame(metrics, index=None if metrics else [0])
        table = table.rename_axis("step").reset_index()
        params: dict[str, float | str] = {
            name: _value(file, holds_text(name, columns)) for name, file in _files(run / "params")
        }
        state = _STATE.search(meta)
        if state:
            params.setdefault("status", _STATES.get(state[1], state[1]))
        fresh = {name: value for name, value in params.items() if name not in table}
        tables[run] = table.assign(**fresh)
    if not measured:
        raise FileNotFoundError(
            f"{path}: no run of MLflow that measured something; expected EXPERIMENT/RUN/metrics beside meta.yaml"
        )
    names = unless_repeated([_name(run) for run in tables], [run.name for run in tables])
    found = [table.assign(run_id=name) for name, table in zip(names, tables.values(), strict=True)]
    return pd.concat(found, ignore_index=True)


def _runs(path: Path) -> Iterator[Path]:
    """Folders of runs; what was deleted may lie in a folder with a dot before its name."""
    for meta in sorted(path.rglob("meta.yaml")) if path.is_dir() else ():
        inside = meta.relative_to(path).parts
        if (meta.parent / "metrics").is_dir() and not any(each.startswith(".") for each in inside):
            yield meta.parent


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files; a slash in a name is a folder."""
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file


def _measured(file: Path) -> pd.Series:
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        # What was logged at no step stands at step 0, or has none in old stores. The last of a step counts.
        return pd.Series({int(row[2]) if len(row) > 2 else 0: float(row[1]) for row in rows})
    except (IndexError, ValueError) as error:
        raise ValueError(f"{file}: expected lines of time, value and step ({error})") from error


def _value(file: Path, named: bool) -> float | str:
    """A parameter; MLflow keeps each as text, as names stay."""
    text = file.read_text(encoding="utf-8").strip()
    try:
        return text if named else float(text)
    except ValueError:
        return text


def _name(run: Path) -> str:
    tag = run / "tags" / "mlflow.runName"
    return tag.read_text(encoding="utf-8").strip() if tag.is_file() else run.name
