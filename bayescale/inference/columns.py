"""Can a run table feed a model? Refused before anything is built, with the column, the rows and what to do."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from bayescale.inference.arrays import law_inputs, task_names
from bayescale.laws import RATES
from bayescale.model import Model, Tasks
from bayescale.runs.columns import nearest
from bayescale.runs.screen import levels


def check_table(runs: xr.Dataset) -> None:
    """Raise ValueError unless this is a table of runs."""
    given: object = runs
    if not isinstance(given, xr.Dataset) or "run" not in given.dims:
        what = (
            f"a Dataset with the dims {', '.join(map(str, given.sizes)) or 'of none'}"
            if isinstance(given, xr.Dataset)
            else f"a {type(given).__name__}"
        )
        raise ValueError(
            f"runs: expected the Dataset that bayescale.read_runs returns, with dim run; got {what}: give it to "
            "read_runs first"
        )


def check_columns(runs: xr.Dataset, model: Model) -> None:
    """Raise ValueError, with what to do, if the run table cannot feed the model."""
    check_table(runs)
    where = runs.attrs.get("source", "runs")
    if "loss" not in runs:
        raise ValueError(
            f"{where}: model {model.name!r} needs losses; the table has {', '.join(map(str, runs))}"
        )
    for slot, column in model.inputs.items():
        if column not in runs:
            meaning = next(each for each in model.law_object.inputs if each.name == slot)
            raise ValueError(
                f"{where}: model {model.name!r} needs column {column!r} ({meaning.meaning} [{meaning.unit}]); the "
                f"table has {', '.join(map(str, runs))}. {_near(column, runs, taken=model.columns)}"
                "Add it, or choose another model"
            )
    described = {"loss": "'loss'"} | {
        model.inputs[each.name]: f"{model.inputs[each.name]!r} ({each.meaning})"
        for each in model.law_object.inputs
    }
    for column in described:
        values = _numbers(runs, column, where)
        if column == "loss" and model.noise.of_rate:
            _check_rate(runs, model, where)
            continue
        wrong = ~(np.isfinite(values) & (values > 0))
        if wrong.any():
            told = f"{name_rows(wrong, values)}. Drop or fix them"
            rates = np.isposinf(values[wrong]) | (values[wrong] == 0)
            if column == "loss" and rates.all() and "BetaBinomial" in model.law_object.noises:
                told += "; rates of all or none need their trials, with dist = 'BetaBinomial' in [noise]"
            raise ValueError(
                f"{where}: column {described[column]} must be positive and finite; see rows {told}"
            )
    for name, outside, bound in model.law_object.outside(law_inputs(runs, model)):
        column = model.inputs[name]
        told = name_rows(outside, runs[column].values.astype(float))
        raise ValueError(
            f"{where}: column {described[column]} must be {bound}; see rows {told}. Drop or fix them"
        )
    if "step" in runs and "run_id" not in runs and np.unique(runs["step"].values).size > 1:
        raise ValueError(
            f"{where}: column 'step' has several values, so the rows are checkpoints, but no column 'run_id' says of "
            "which run; add it, or drop 'step' if each row is a run"
        )
    if model.discrepancy is not None and all(
        levels(values) < 2 for values in law_inputs(runs, model).values()
    ):
        raise ValueError(
            f"{where}: model {model.name!r} lets the law's slope drift from smaller runs to larger ones, but all "
            f"{runs.sizes['run']} runs are of one scale "
            f"({', '.join(f'{name} = {runs[name].values[0]:.4g}' for name in model.inputs.values())}); add runs of "
            "another, or take a model without [discrepancy]"
        )
    for over in model.pooled:
        if over not in runs:
            whose = [
                name
                for name, pool in model.pool.items()
                if over in [each.over for each in (pool, *pool.crossed)]
            ]
            raise ValueError(
                f"{where}: model {model.name!r} pools {', '.join(map(repr, whose))} over column {over!r}, which the "
                f"table lacks; it has {', '.join(map(str, runs))}. Add the column, or {_unpooled(model)}"
            )
        names = runs[over].values.astype(str)
        found = np.unique(names)
        if "" in found:
            raise ValueError(
                f"{where}: model {model.name!r} pools over column {over!r}, which is empty in some runs; see rows "
                f"{name_rows(names == '')}. Name what every run is of, or drop these rows"
            )
        if found.size < 2:
            raise ValueError(
                f"{where}: model {model.name!r} pools over {over!r}, but all runs are of one: {str(found[0])!r}. "
                f"Name another column in [pool], or {_unpooled(model)}"
            )
    if model.noise.known:
        _check_known(runs, model, model.noise.known, where)
    if model.tasks is not None:
        _check_scores(runs, model, model.tasks, where)


def _numbers(runs: xr.Dataset, column: str, where: str) -> np.ndarray:
    """Values of a column that must hold numbers."""
    try:
        return runs[column].values.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: column {column!r} must hold numbers; {error}") from error


def _check_known(runs: xr.Dataset, model: Model, column: str, where: str) -> None:
    """Raise ValueError unless a column holds the known standard deviation of the losses."""
    if column not in runs:
        raise ValueError(
            f"{where}: model {model.name!r} takes known noise from column {column!r}, which the table "
            f"lacks; it has {', '.join(map(str, runs))}. Add it, or drop 'known' from [noise]"
        )
    values = _numbers(runs, column, where)
    wrong = (values < 0) | np.isinf(values)
    if wrong.any():
        raise ValueError(
            f"{where}: column {column!r}, the known standard deviation of each loss, must be finite and not negative; "
            f"see rows {name_rows(wrong, values)}. Fix them, or leave them empty where it is not known"
        )


def _check_rate(runs: xr.Dataset, model: Model, where: str) -> None:
    """Raise ValueError unless the losses are rates that the noise can be of, with their trials."""
    law, noise = model.law_object, model.noise
    if isinstance(noise.trials, str):
        if noise.trials not in runs:
            raise ValueError(
                f"{where}: model {model.name!r} takes the trials behind each loss from column {noise.trials!r}, which "
                f"the table lacks. {_near(noise.trials, runs)}Add it, or give a number in [noise]"
            )
        _check_trials(runs, noise.trials, where, np.ones(runs.sizes["run"], dtype=bool))
    loss = runs["loss"].values.astype(float)
    counts = RATES[noise.dist]
    rate = law.observed_rate(loss)
    within = (rate >= 0) & (rate <= 1) if counts else (rate > 0) & (rate < 1)
    if within.all():
        return
    what = {
        "error": f"error rates {'from 0 to 1' if counts else 'above 0 and below 1'}: 1 - accuracy",
        "success": f"minus the log of rates {'from 0 to 1' if counts else 'above 0 and below 1'}: -ln(accuracy)",
    }[law.trials_give]
    advice = ""
    if law.trials_give == "error" and (loss > 1).any():
        advice = "; per cent must be divided by 100"
    elif not counts and ((rate == 0) | (rate == 1)).any():
        advice = "; rates of all or none need their trials, with dist = 'BetaBinomial'"
    raise ValueError(
        f"{where}: noise {noise.dist} of model {model.name!r} takes a column 'loss' of {what}; see rows "
        f"{name_rows(~within)}{advice}"
    )


def _check_trials(runs: xr.Dataset, column: str, where: str, counted: np.ndarray) -> None:
    """Raise ValueError unless a column holds whole numbers of trials in the rows that count them."""
    trials = _numbers(runs, column, where)
    wrong = counted & ~(np.isfinite(trials) & (trials >= 1) & (trials == np.rint(trials)))
    if wrong.any():
        raise ValueError(
            f"{where}: column {column!r} must hold whole numbers of trials above zero; see rows "
            f"{name_rows(wrong, trials)}. Fix them, or name the column that holds the trials"
        )


def _unpooled(model: Model) -> str:
    """What to do where there is nothing to pool over."""
    tables = " and ".join(f"[pool.{name}]" for name in model.pool)
    return (
        f"fit a model that does not pool, such as a copy of this one without {tables}: "
        f"`bayescale models {model.name} > mine.toml`"
    )


def _check_scores(runs: xr.Dataset, model: Model, tasks: Tasks, where: str) -> None:
    names = task_names(runs, model)
    missing = [name for name in names if name not in runs]
    if missing or not names:
        wanted = ", ".join(map(repr, missing or tasks.columns))
        raise ValueError(
            f"{where}: model {model.name!r} needs scores in column {wanted}; the table has "
            f"{', '.join(map(str, runs))}. Add it, or drop it from 'columns' of [tasks]"
        )
    for key in ("floor", "ceiling", "trials"):
        value = getattr(tasks, key)
        if isinstance(value, Mapping) and set(value) != set(names):
            odd = ", ".join(map(repr, sorted(set(value) ^ set(names))))
            raise ValueError(
                f"{where}: [tasks] {key} of model {model.name!r} must give one number for each of "
                f"{', '.join(names)}; see {odd}"
            )
    if isinstance(tasks.trials, str) and tasks.trials not in runs:
        raise ValueError(
            f"{where}: model {model.name!r} takes the trials of each score from column {tasks.trials!r}, which the "
            f"table lacks. {_near(tasks.trials, runs)}Add it, or give a number"
        )
    # The logit of a score of exactly 0 or 1 is infinite; counts may be all or none.
    open_ends = not RATES[tasks.dist]
    for name in names:
        try:
            values = runs[name].values.astype(float)
        except ValueError as error:
            raise ValueError(
                f"{where}: column {name!r} must hold scores, plain numbers from 0 to 1; {error}; write 60 % as 0.6"
            ) from error
        wrong = (values < 0) | (values > 1) | (open_ends & ((values == 0) | (values == 1)))
        if wrong.any():
            between = "above 0 and below 1" if open_ends else "from 0 to 1"
            advice = "; per cent must be divided by 100" if (values > 1).any() else ""
            advice += (
                "; scores of all or none need their trials, with dist = 'BetaBinomial'" * open_ends
            )
            raise ValueError(
                f"{where}: column {name!r} must hold scores {between}; see rows {name_rows(wrong)}{advice}"
            )
        if np.isfinite(values).sum() < 3:
            raise ValueError(
                f"{where}: column {name!r} has fewer than three scores; drop it from 'columns' of [tasks]"
            )
    if isinstance(tasks.trials, str):
        scored = [np.isfinite(runs[name].values.astype(float)) for name in names]
        _check_trials(runs, tasks.trials, where, np.any(scored, axis=0))


def _near(column: str, runs: xr.Dataset, *, taken: tuple[str, ...] = ()) -> str:
    """What may be meant by a column that is not there, among those that nothing else takes."""
    found = nearest(column, [str(name) for name in runs if name not in taken])
    return f"Did you mean {' or '.join(map(repr, found))}? " if found else ""


def name_rows(wrong: np.ndarray, values: np.ndarray | None = None) -> str:
    """The first of some rows, counted from one as a reader does, with what they hold."""
    rows = np.flatnonzero(wrong)
    told = [f"{row + 1}" + ("" if values is None else f" ({values[row]:g})") for row in rows[:8]]
    return ", ".join(told) + (f" and {rows.size - 8} more" if rows.size > 8 else "")
