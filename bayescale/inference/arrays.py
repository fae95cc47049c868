"""What a run table gives a model: its inputs, its reference scale, and the arrays that the graph reads."""

import numpy as np
import xarray as xr

from bayescale import drift
from bayescale.inference.rates import as_observed
from bayescale.inference.scores import anchors
from bayescale.model import Model, Tasks


def task_names(runs: xr.Dataset, model: Model) -> list[str]:
    """Columns of the run table that hold the scores of the model's tasks."""
    assert model.tasks is not None
    return model.tasks.names(map(str, runs.data_vars))


def law_inputs(runs: xr.Dataset, model: Model) -> dict[str, np.ndarray]:
    """The law's inputs over the runs, by slot, in their own units."""
    return {slot: runs[column].values.astype(float) for slot, column in model.inputs.items()}


def reference(runs: xr.Dataset, model: Model) -> dict[str, float]:
    """Reference scale: the geometric mean of each input over the frontier, the runs of the top decade of compute.

    Inputs that are no scale of training, such as a number of experts, have the reference that the law states.

    Parameters
    ----------
    runs : xr.Dataset
    model : Model

    Returns
    -------
    dict
        One value for each input of the law, in its own unit, and ``loss``: the geometric mean loss.
    """
    law, inputs = model.law_object, law_inputs(runs, model)
    scales = {slot: inputs[slot] for slot in law.scales}
    near = drift.frontier(drift.positions(scales)["compute"])
    loss = float(np.exp(log_losses(runs, model)[near].mean()))
    return law.references(drift.middle(scales)) | {"loss": loss}


def decades(inputs: dict[str, np.ndarray], reference: dict[str, float]) -> np.ndarray:
    """Decades of compute above the reference: the log10 of the product of all inputs, as ratios.

    Examples
    --------
    >>> decades({"params": np.array([1e9]), "tokens": np.array([1e11])}, {"params": 1e8, "tokens": 1e10})
    array([2.])
    """
    return np.add.reduce([np.log10(values / reference[name]) for name, values in inputs.items()])


def graph_data(runs: xr.Dataset, model: Model) -> dict[str, np.ndarray]:
    """Arrays that the graph reads, by the name of their ``pm.Data``.

    Two run tables with the same model give arrays of the same names and ranks, so that one compiled model serves both.
    """
    scale = reference(runs, model)
    inputs = law_inputs(runs, model)
    data = {f"log_{slot}": np.log(values / scale[slot]) for slot, values in inputs.items()}
    data |= {f"reference_{slot}": np.asarray(scale[slot]) for slot in inputs}
    # The level's prior may sit at the runs' own mean, so log losses are counted from there.
    data["log_center"] = np.asarray(np.log(scale["loss"]))
    if model.noise.of_rate:
        rate = model.law_object.observed_rate(runs["loss"].values.astype(float))
        data["observed"], trials = as_observed(model.noise.dist, rate, loss_trials(runs, model))
        data |= {} if trials is None else {"trials": trials}
    else:
        data["observed"] = log_losses(runs, model)
    for over in model.pooled:
        _, index = np.unique(runs[over].values.astype(str), return_inverse=True)
        data[f"{over}_index"] = index.astype(np.int64)
    for effect in model.effects:
        size = data[f"{effect.pool.over}_index"].max() + 1
        data[effect.weight_name] = np.full(size, float(effect.pool.centered or False))
    if model.discrepancy is not None:
        integrated = marginal(runs, model)
        data |= {f"drift_{name}": getattr(integrated, name) for name in _of_drift(model)}
        data["elasticity"] = np.asarray(
            drift.typical_elasticity(inputs, data["observed"], _known_or_none(runs, model))
        )
    if model.noise.slope is not None:
        scales = {slot: inputs[slot] for slot in model.law_object.scales}
        data["decades"] = decades(scales, scale)
    if model.noise.known is not None:
        data["known_sd"] = _known_sd(runs, model)
    if model.tasks is not None:
        data |= _score_data(runs, model, model.tasks, scale["loss"])
    return data


def _score_data(
    runs: xr.Dataset, model: Model, tasks: Tasks, reference_loss: float
) -> dict[str, np.ndarray]:
    """Every pair of a task and a run that has a score, as flat arrays."""
    names = task_names(runs, model)
    scores = np.stack([runs[name].values.astype(float) for name in names])
    task, run = np.nonzero(np.isfinite(scores))
    score = scores[task, run]
    # Scores follow the run's own loss, lucky or not, so that loss and scores share the run's luck.
    gap = 1 - runs["loss"].values.astype(float) / reference_loss
    data = {
        "score_gap": gap,
        "score_anchor": anchors(gap, scores),
        "score_task": task.astype(np.int64),
        "score_at": (task * gap.size + run).astype(np.int64),
    }
    data["score_observed"], trials = as_observed(
        tasks.dist, score, score_trials(runs, tasks, names)
    )
    return data if trials is None else data | {"score_trials": trials}


def score_trials(runs: xr.Dataset, tasks: Tasks, names: list[str]) -> np.ndarray | None:
    """Trials of every pair of a task and a run that has a score; None if the model counts none."""
    if tasks.trials is None:
        return None
    scores = np.stack([runs[name].values.astype(float) for name in names])
    task, run = np.nonzero(np.isfinite(scores))
    if isinstance(tasks.trials, str):
        return np.asarray(runs[tasks.trials].values.astype(float)[run])
    if isinstance(tasks.trials, int):
        return np.full(task.size, float(tasks.trials))
    return np.array([float(tasks.trials[name]) for name in names])[task]


def loss_trials(runs: xr.Dataset, model: Model) -> np.ndarray | None:
    """Trials behind the loss of each run; None if the noise counts none."""
    trials = model.noise.trials
    if isinstance(trials, str):
        return np.asarray(runs[trials].values.astype(float))
    return None if trials is None else np.full(runs.sizes["run"], float(trials))


def log_losses(runs: xr.Dataset, model: Model) -> np.ndarray:
    """Log of each loss; see :meth:`bayescale.laws.Law.inside` for counts of none and of all."""
    loss = runs["loss"].values.astype(float)
    return np.asarray(np.log(model.law_object.inside(loss, loss_trials(runs, model))))


def log_jacobian(runs: xr.Dataset, model: Model) -> np.ndarray:
    """What to add to the log densities of the graph's observed variable, so that they are those of the loss.

    Counts are taken for the rates that round to them: see :func:`bayescale.rates.log_density`.
    """
    if not model.noise.of_rate:
        return -log_losses(runs, model)
    law, trials = model.law_object, loss_trials(runs, model)
    rate = law.observed_rate(law.inside(runs["loss"].values.astype(float), trials))
    found = np.log(rate) if law.trials_give == "success" else np.zeros(rate.size)
    if model.noise.dist == "LogitNormal":
        return np.asarray(found - np.log(rate * (1 - rate)))
    return found if trials is None else np.asarray(found + np.log(trials))


def marginal(runs: xr.Dataset, model: Model) -> drift.Marginal:
    """The drift at the runs, ready to be integrated out of the likelihood."""
    inputs = law_inputs(runs, model)
    matrix = drift.design(inputs, drift.axes(inputs, reference(runs, model)))
    return drift.Marginal.of(matrix, run_weights(runs, model))


def run_weights(runs: xr.Dataset, model: Model) -> np.ndarray:
    """Weight of each run in a model with drift: below one for outliers, if the noise has heavy tails."""
    if not isinstance(model.noise.nu, float):
        return np.ones(runs.sizes["run"])
    groups = [
        np.unique(runs[over].values.astype(str), return_inverse=True)[1] for over in model.pooled
    ]
    return drift.robust_weights(
        law_inputs(runs, model),
        np.log(runs["loss"].values),
        model.noise.nu,
        groups,
        known=_known_or_none(runs, model),
        sloping=model.noise.slope is not None,
    )


def _of_drift(model: Model) -> tuple[str, ...]:
    """What the graph reads of :class:`bayescale.drift.Marginal`."""
    if samples_drift(model):
        return ("design",)
    return ("root", "design") if uneven(model) else ("root", "left", "spectrum")


def samples_drift(model: Model) -> bool:
    """Whether the drift is sampled with the rest: with runs above the law, no closed form integrates it out."""
    return model.discrepancy is not None and model.noise.excess is not None


def uneven(model: Model) -> bool:
    """Whether the scale of the noise differs from run to run."""
    return model.noise.slope is not None or model.noise.known is not None


def _known_or_none(runs: xr.Dataset, model: Model) -> np.ndarray | None:
    return _known_sd(runs, model) if model.noise.known else None


def _known_sd(runs: xr.Dataset, model: Model) -> np.ndarray:
    """Known standard deviation of each log loss; 0 where none is given."""
    assert model.noise.known is not None
    sd = runs[model.noise.known].values.astype(float) / runs["loss"].values
    return np.where(np.isfinite(sd), sd, 0.0)
