"""States of Hugging Face's Trainer: ``trainer_state.json`` in the folder of a run, and in each of its checkpoints."""

import os
import re
from pathlib import Path

import pandas as pd

from bayescale.runs.run_names import folder_names
from bayescale.runs.tables import read_json

STATE = "trainer_state.json"


def read_trainer(path: Path) -> pd.DataFrame:
    """Losses of a folder of runs: of evaluations, or of training where no run was ever evaluated.

    Parameters
    ----------
    path : Path
        A folder, or the state of one run.

    Returns
    -------
    pd.DataFrame
        ``run_id``, ``step``, ``loss``, and ``tokens`` and ``flops`` where told; the losses under their own names too.
        Where several sets of texts were evaluated and none is that of all runs alone, there is no ``loss``. A run
        that logged none has one row.

    Raises
    ------
    FileNotFoundError
        If there is no state.
    ValueError
        If a file is not what the Trainer writes, or the runs logged losses of different kinds.
    """
    states = [path] if path.is_file() else sorted(path.rglob(STATE))
    # Every checkpoint folder repeats the history so far: the last holds all of it.
    last: dict[Path, Path] = {}
    for each in states:
        # One may stand in the folder, whose name is '.' then.
        folder = Path(os.path.abspath(each)).parent
        run = folder.parent if folder.name.startswith("checkpoint-") else folder
        if run not in last or _step_of(each) > _step_of(last[run]):
            last[run] = each
    if not last:
        raise FileNotFoundError(f"{path}: no {STATE} in it")
    found = {
        name: (file, *_state(file))
        for name, file in zip(folder_names(last, path), last.values(), strict=True)
    }
    kinds = _chosen({name: _kinds(history) for name, (_, _, history) in found.items()}, path)
    rows: list[dict[str, object]] = []
    for name, (file, state, history) in found.items():
        whole, steps = _number(file, state, "total_flos"), _number(file, state, "global_step")
        before = len(rows)
        for entry in history:
            losses = {kind: entry[kind] for kind in kinds if kind in entry}
            if not losses:
                continue
            if len(kinds) == 1:
                losses["loss"] = entry[kinds[0]]
            step = _number(file, entry, "step") if "step" in entry else steps
            row: dict[str, object] = {"run_id": name, "step": step, **losses}
            if "num_input_tokens_seen" in entry:
                row["tokens"] = entry["num_input_tokens_seen"]
            if whole and steps:
                # Batches are alike: compute grows with the steps.
                row["flops"] = whole * step / steps
            rows.append(row)
        if len(rows) == before:
            # It is told of as one without a loss.
            rows.append({"run_id": name, "step": steps})
    return pd.DataFrame(rows)


def _state(file: Path) -> tuple[dict, list[dict]]:
    """State of a Trainer and its log."""
    state = read_json(file)
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(state, dict) or not isinstance(history, list):
        raise ValueError(f"{file}: expected the state of a Trainer, with 'log_history'")
    odd = [number for number, entry in enumerate(history, 1) if not isinstance(entry, dict)]
    if odd:
        raise ValueError(
            f"{file}: entry {odd[0]} of 'log_history' is {history[odd[0] - 1]!r}; expected an object such as "
            '{"step": 100, "eval_loss": 2.5}'
        )
    return state, history


def _number(file: Path, found: dict, name: str) -> float:
    """A number of a state or of an entry of its log; nought where it is not there."""
    value = found.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{file}: {name!r} is {value!r}; expected a number")
    return float(value)


def _kinds(history: list[dict]) -> set[str]:
    """Losses that a log holds: those of evaluations if there are any, each set of texts its own, else of training."""
    names = {str(name) for entry in history for name in entry}
    return {name for name in names if re.fullmatch(r"eval_(.+_)?loss", name)} or names & {"loss"}


def _chosen(kinds: dict[str, set[str]], path: Path) -> list[str]:
    """The one kind of loss that all runs have; several to choose from, if none of them is that of all evaluations."""
    found = {name: each for name, each in kinds.items() if each}
    if not found:
        raise ValueError(
            f"{path}: no loss was logged; expected 'eval_loss' or 'loss' in 'log_history'"
        )
    common = set.intersection(*found.values())
    if not common:
        by_kind: dict[str, list[str]] = {", ".join(sorted(each)): [] for each in found.values()}
        for name, each in found.items():
            by_kind[", ".join(sorted(each))].append(name)
        told = "; ".join(
            f"{kind} in {len(names)} ({', '.join(map(repr, names[:5]))}{' …' if len(names) > 5 else ''})"
            for kind, names in by_kind.items()
        )
        raise ValueError(
            f"{path}: the runs logged losses of several kinds: {told}; expected one kind in all, for those of training "
            "and of evaluation do not compare: evaluate them alike, or move those of one kind away"
        )
    return ["eval_loss"] if "eval_loss" in common else sorted(common)


def _step_of(file: Path) -> float:
    name = Path(os.path.abspath(file)).parent.name
    step = name.removeprefix("checkpoint-")
    return float(step) if step != name and step.isdigit() else float("inf")
