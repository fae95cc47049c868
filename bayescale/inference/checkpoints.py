"""Checkpoints of a run are not runs: dense curves enter as a few means a run, with an effect that they share.

Neighbouring checkpoints repeat each other. Fitted as independent runs they made 90 % intervals cover 51 % of the public
learning curves' continuations. Here the rows of a run are averaged over equal steps of log compute, so that every row
counts and none counts twice, and the fit takes a time linear in the rows.
"""

import numpy as np
import xarray as xr

from bayescale import drift
from bayescale.inference.arrays import law_inputs, task_names
from bayescale.model import Model
from bayescale.notes import Note
from bayescale.runs.screen import LEVEL

#: Means kept of each run. Two dozen resolve any bend that a drift can follow.
MEANS = 24


def average_checkpoints(runs: xr.Dataset, model: Model) -> tuple[xr.Dataset, Note | None]:
    """Average the checkpoints of each run over equal steps of log compute.

    Parameters
    ----------
    runs : xr.Dataset
        Dim ``run``, one row a checkpoint; rows of one run share their ``run_id``.
    model : Model
        Its inputs say along what a run advances.

    Returns
    -------
    runs : xr.Dataset
        At most :data:`MEANS` rows a run: means of the numbers that a step has, geometric where all are positive and
        neither scores nor counts of trials, which stay whole; the first of anything else, as of whole numbers that
        may be names. A known error of the loss is that of the mean. The attribute ``checkpoint_sd`` is the scatter of
        single checkpoints about their step's mean, of log loss.
    note : Note or None
        What was done; None if every row is a run of its own.

    Raises
    ------
    ValueError
        If checkpoints meet noise of rates, or rows that share a name cannot be checkpoints of one run.
    """
    if "run_id" not in runs:
        return runs, None
    names, index, counts = np.unique(
        runs["run_id"].values.astype(str), return_inverse=True, return_counts=True
    )
    if counts.max() == 1:
        return runs, None
    if model.noise.of_rate:
        raise ValueError(
            f"{runs.attrs.get('source', 'runs')}: rows that share a 'run_id' are checkpoints, whose mean is no count "
            f"and no single rate; noise {model.noise.dist} needs one row a run: keep the last of each, drop 'run_id' "
            "if each row is a run, or take Normal or StudentT noise"
        )
    inputs = law_inputs(runs, model)
    _check_curves(runs, model, names, index, counts)
    at = drift.positions(inputs)["compute"]
    cell = _cells(at, index, names.size)
    order, place = np.unique(cell, return_inverse=True)
    size = np.bincount(place)
    first = np.full(order.size, cell.size)
    np.minimum.at(first, place, np.arange(cell.size))
    kept = runs.isel(run=first)
    scores = task_names(runs, model) if model.tasks is not None else []
    trials = model.tasks.trials if model.tasks is not None else None
    measured = {*model.inputs.values(), "loss", "flops", *scores, trials, model.noise.known}
    for name, values in runs.data_vars.items():
        # Other whole numbers may be names, such as seeds.
        kinds = "fiu" if name in measured else "f"
        if values.dims == ("run",) and values.dtype.kind in kinds:
            numbers = values.values.astype(float)
            if name == model.noise.known:
                mean = np.sqrt(_means(numbers**2, place, geometric=False) / size)
            elif name == trials:
                mean = np.rint(_means(numbers, place, geometric=False))
            else:
                mean = _means(numbers, place, geometric=name not in scores)
            kept[name] = values.isel(run=first).copy(data=mean)
    kept = kept.assign_coords(run=np.arange(order.size))
    kept.attrs["checkpoint_sd"] = _scatter(np.log(runs["loss"].values), at, place, size)
    message = f"{index.size} checkpoints of {names.size} runs entered as {order.size} means, at most {MEANS} a run"
    shared = model.pool.get("level")
    over = [] if shared is None else [each.over for each in (shared, *shared.crossed)]
    if "level" not in model.priors and names.size > 1:
        note = Note(
            "checkpoints",
            "warning",
            f"{message}; model {model.name!r} has no 'level' in which runs could differ, so that the luck of a run "
            "counts as often as it has means",
            "take the last checkpoint of each run, or a model that states 'level' and 'shares'",
        )
    elif over and all(np.unique(runs[each].values.astype(str)).size < names.size for each in over):
        note = Note(
            "checkpoints",
            "warning",
            f"{message}; levels are of each {' and '.join(map(repr, over))}, not of each run, so that the luck of a "
            "run counts as often as it has means",
            "take the last checkpoint of each run, or pool 'level' over 'run_id' in the model file",
        )
    else:
        note = Note("checkpoints", "info", message, "")
    return kept, note


def _check_curves(
    runs: xr.Dataset, model: Model, names: np.ndarray, index: np.ndarray, counts: np.ndarray
) -> None:
    """Raise ValueError if rows that share a name cannot be checkpoints of one run."""
    where = runs.attrs.get("source", "runs")
    if names[0] == "":
        raise ValueError(
            f"{where}: column 'run_id' names the runs whose rows are checkpoints, and is empty in {counts[0]} "
            f"row{'s' if counts[0] > 1 else ''}; name every run"
        )
    for size in [each for each in ("params", "active_params") if each in runs]:
        several = _differs(runs[size].values, index, LEVEL)
        if several.any():
            first = int(several.argmax())
            held = runs[size].values[index == first]
            raise ValueError(
                f"{where}: run_id {str(names[first])!r} has {size} from {held.min():.4g} to {held.max():.4g}, as "
                f"{several.sum()} of {names.size} run_ids have several: rows that share one are taken as checkpoints "
                "of one run, whose size does not change. If the column numbers seeds or settings, read it as what it "
                "is, columns={'seed': ...}, or drop it"
            )
    if "step" not in runs:
        return
    still = _differs(runs["step"].values, index)
    for column in model.inputs.values():
        still &= ~_differs(runs[column].values, index)
    if still.any():
        first = int(still.argmax())
        inputs = [
            f"{column} = {runs[column].values[index == first][0]:.4g}"
            for column in model.inputs.values()
        ]
        raise ValueError(
            f"{where}: the {counts[first]} checkpoints of run_id {str(names[first])!r} all have {', '.join(inputs)}, "
            "the same at every step, so that the whole curve would count as its end; give what the run had trained on "
            "at each step, or keep the last row of each run"
        )


def _differs(values: np.ndarray, index: np.ndarray, share: float = 1e-6) -> np.ndarray:
    """Whether rows of a run differ by more than a share of the largest, by run; missing numbers do not."""
    low, high = np.full(index.max() + 1, np.inf), np.full(index.max() + 1, -np.inf)
    known = np.isfinite(values.astype(float))
    np.minimum.at(low, index[known], values[known])
    np.maximum.at(high, index[known], values[known])
    return high - low > share * np.abs(high)


def _means(values: np.ndarray, place: np.ndarray, *, geometric: bool) -> np.ndarray:
    """Mean of the numbers in each step; NaN where a step has none."""
    known = np.isfinite(values)
    geometric = geometric and bool((values[known] > 0).all())
    steps, weights = place[known], np.log(values[known]) if geometric else values[known]
    count = np.bincount(steps, minlength=place.max() + 1)
    with np.errstate(invalid="ignore"):  # None over none is NaN, as it should be.
        mean = np.bincount(steps, weights=weights, minlength=count.size) / count
    return np.exp(mean) if geometric else mean


def _cells(at: np.ndarray, index: np.ndarray, runs: int) -> np.ndarray:
    """Number of the step, over all runs, in which each checkpoint lies."""
    low, high = np.full(runs, np.inf), np.full(runs, -np.inf)
    np.minimum.at(low, index, at)
    np.maximum.at(high, index, at)
    width = np.where(high > low, high - low, 1.0)
    step = np.minimum(((at - low[index]) / width[index] * MEANS).astype(int), MEANS - 1)
    return index * MEANS + step


def _scatter(log_loss: np.ndarray, at: np.ndarray, place: np.ndarray, size: np.ndarray) -> float:
    """Scatter of single checkpoints about a line through their step, pooled; zero where steps hold one or two."""
    mean_at, mean_loss = (np.bincount(place, weights=each) / size for each in (at, log_loss))
    dx, dy = at - mean_at[place], log_loss - mean_loss[place]
    xx, xy, yy = (np.bincount(place, weights=each) for each in (dx * dx, dx * dy, dy * dy))
    left = yy - np.where(xx > 0, xy**2 / np.where(xx > 0, xx, 1.0), 0.0)
    freedom = np.maximum(size - 2, 0).sum()
    return float(np.sqrt(np.maximum(left[size > 2], 0.0).sum() / freedom)) if freedom else 0.0
