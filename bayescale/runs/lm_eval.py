"""Results of lm-evaluation-harness: one row a model, one column ``acc_TASK`` a task.

A model that was evaluated at several revisions, as its checkpoints are published, has one row for each:
``pythia-160m@step1000``.
"""

from collections import Counter
from pathlib import Path

import pandas as pd

from bayescale.runs.run_names import unless_repeated
from bayescale.runs.tables import read_json

#: "acc,none" since 0.4, "acc" before; the normalised one where lengths of answers differ.
_METRICS = {
    "acc_norm": ("acc_norm,none", "acc_norm"),
    "acc": ("acc,none", "acc"),
    "exact_match": ("exact_match,none",),
}


def is_results(path: Path) -> bool:
    """Whether a file holds results of the harness.

    Examples
    --------
    >>> is_results(Path("no/such/results.json"))
    False
    """
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and isinstance(found.get("results"), dict) and "config" in found


def read_results(path: Path) -> pd.DataFrame:
    """Scores by model.

    Parameters
    ----------
    path : Path
        One file, or a folder with files ``results*.json``.

    Returns
    -------
    pd.DataFrame
        ``run_id``, and for each task ``acc_TASK`` and, where told, ``n_TASK``, its questions. ``run_id`` is the last
        part of the model's name where that tells the models apart, else all of it; ``NAME@REVISION`` where one model
        was evaluated at several revisions, of which ``main`` goes without.

    Raises
    ------
    FileNotFoundError
        If the folder has no results.
    ValueError
        If a file is not what the harness writes, or two files give one model different scores.
    """
    files = [path] if path.is_file() else sorted(path.rglob("results*.json"))
    if not files:
        raise FileNotFoundError(f"{path}: no results*.json in it")
    rows: dict[tuple[str, str], dict[str, object]] = {}
    told: dict[tuple[str, str, str], Path] = {}
    every = {file: _content(file) for file in files}
    metrics = _common_metrics(every, path)
    for file, found in every.items():
        model, revision = _evaluated(found, file)
        row = rows.setdefault((model, revision), {})
        for task, metric in metrics.items():
            scored = _scored(found, task, metric)
            if scored is None:
                continue
            if isinstance(scored, bool) or not isinstance(scored, int | float):
                raise ValueError(f"{file}: {metric} of {task!r} is {scored!r}; expected a number")
            column, score = f"acc_{task}", float(scored)
            first = told.setdefault((model, revision, column), file)
            if row.setdefault(column, score) != score:
                raise ValueError(
                    f"{file}: {column} of model {model!r} is {score:g} here and {row[column]:g} in {first}; expected "
                    "one result for each model and task: move one of the files away"
                )
            samples = (found.get("n-samples") or {}).get(task)
            if isinstance(samples, dict):
                row[f"n_{task}"] = samples.get("effective")
    return pd.DataFrame(
        [
            {"run_id": name} | row
            for name, row in zip(_names(list(rows)), rows.values(), strict=True)
        ]
    )


def _content(file: Path) -> dict:
    """What a file holds, if each part of it is what the harness writes."""
    found = read_json(file)
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise ValueError(f"{file}: expected what lm-evaluation-harness writes, with 'results'")
    parts = {f"results of {task!r}": scores for task, scores in found["results"].items()}
    for name in ("n-samples", "config"):
        parts |= {repr(name): found[name]} if found.get(name) is not None else {}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"{file}: {name} is {part!r}; expected an object")
    return found


def _scored(found: dict, task: str, metric: str) -> object:
    """The score that a file gives for a task, or None."""
    scores = found["results"].get(task, {})
    return next((scores[key] for key in _METRICS[metric] if key in scores), None)


def _common_metrics(every: dict[Path, dict], path: Path) -> dict[str, str]:
    """For each task the first metric that all its files have: scores of two metrics do not compare."""
    metrics = {}
    for task in dict.fromkeys(task for found in every.values() for task in found["results"]):
        having = {
            metric: [
                file for file, found in every.items() if _scored(found, task, metric) is not None
            ]
            for metric in _METRICS
        }
        told = {file for files in having.values() for file in files}
        common = [metric for metric, files in having.items() if len(files) == len(told)]
        if told and not common:
            where = "; ".join(
                f"{metric} in {', '.join(map(str, files[:3]))}{' …' if len(files) > 3 else ''}"
                for metric, files in having.items()
                if files
            )
            raise ValueError(
                f"{path}: no metric of task {task!r} is in all files: {where}; expected one that is: evaluate the "
                "models alike, or move some of the files away"
            )
        if told:
            metrics[task] = common[0]
    return metrics


def _evaluated(found: dict, file: Path) -> tuple[str, str]:
    """Model and revision that a file is about."""
    config = found.get("config") or {}
    given = config.get("model_args") or {}
    # Text such as "pretrained=org/a,revision=step1000"; newer versions may write a mapping.
    if not isinstance(given, dict):
        given = dict(each.strip().partition("=")[::2] for each in str(given).split(","))
    model = found.get("model_name") or given.get("pretrained") or given.get("model")
    name = str(model or next(iter(given), "") or file.stem)
    revision = str(given.get("revision") or config.get("model_revision") or "")
    return (
        name.removeprefix("pretrained=").split(",")[0].rstrip("/"),
        "" if revision == "main" else revision,
    )


def _names(evaluated: list[tuple[str, str]]) -> list[str]:
    models = list(dict.fromkeys(model for model, _ in evaluated))
    last = [each.rpartition("/")[2] for each in models]
    short = dict(zip(models, unless_repeated(last, models), strict=True))
    count = Counter(model for model, _ in evaluated)
    return [
        f"{short[model]}@{revision}" if revision and count[model] > 1 else short[model]
        for model, revision in evaluated
    ]
