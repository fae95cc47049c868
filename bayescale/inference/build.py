"""From a model file and a run table to a plain ``pm.Model``."""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr

from bayescale import drift
from bayescale.inference.rates import as_observed, observe
from bayescale.inference.scores import add_scores, anchors, constants
from bayescale.inference.variables import groups, variable
from bayescale.laws import RATES, Law
from bayescale.model import Model, Tasks, crossed
from bayescale.runs.columns import nearest
from bayescale.runs.screen import levels

#: The observed variable: log loss, on whose scale the noise is stated.
OBSERVED = "log_loss"
#: The observed variable in its place where the loss is a rate: its logit, the rate, or the count of trials.
OBSERVED_RATE = "rate"


def build(runs: xr.Dataset, model: str | Model = "chinchilla") -> pm.Model:
    """Build the PyMC model of a law for a run table.

    Parameters
    ----------
    runs : xr.Dataset
        From :func:`bayescale.read_runs`; dim ``run``.
    model : str or Model
        Name of a shipped model, path of a model file, or a :class:`~bayescale.model.Model`.

    Returns
    -------
    pm.Model
        Ready for ``pm.sample`` and for changes of your own. Amplitudes are losses [nat/token] at the reference
        scale (names end in ``_ref``); the textbook constants are deterministics.

    Raises
    ------
    ValueError
        If a column that the model needs is missing or holds one group where it pools over several.

    Examples
    --------
    >>> import bayescale as bs
    >>> sorted(rv.name for rv in bs.build(bs.load_dataset("pile"), "chinchilla").free_RVs)
    ['alpha', 'beta', 'level', 'nu', 'shares', 'sigma']
    """
    model = Model.load(model)
    check_columns(runs, model)
    law = model.law_object
    pooled = {over: np.unique(runs[over].values.astype(str)) for over in model.pooled}
    tasks = (
        {"task": task_names(runs, model), "constant": constants(model.tasks)} if model.tasks else {}
    )
    with pm.Model(coords={"term": list(law.terms), **pooled, **tasks}) as graph:
        graph.add_coord("run", length=runs.sizes["run"])
        data = {name: pm.Data(name, values) for name, values in graph_data(runs, model).items()}
        typical, grouped = _parameters(law, model, data)
        _name_terms(law, model, typical | _terms(law, model, typical), data)
        per_run = typical | grouped
        per_run |= _terms(law, model, per_run)
        ratios = [pt.exp(data[f"log_{name}"]) for name in law.input_names]
        loss = law.loss(*ratios, **{name: per_run[name] for name in law.param_names})
        location = np.log(loss)
        sigma = _noise_scale(model, data)
        if model.noise.of_rate:
            observe(
                OBSERVED_RATE,
                model.noise.dist,
                law.rate(loss),
                sigma if model.noise.dist == "LogitNormal" or sigma is None else sigma**-2,
                observed=data["observed"],
                trials=data.get("trials"),
            )
        elif model.discrepancy is not None:
            rate = variable("drift_rate", model.discrepancy.rate)
            if model.discrepancy.breaks is not None:
                # Within the runs breaks have the second moments of a drift; beyond them they come one by one.
                often = variable("break_rate", model.discrepancy.breaks.rate)
                change = variable("break_change", model.discrepancy.breaks.change)
                rate = pt.sqrt(rate**2 + often * change**2)
            kappa = pm.Deterministic("kappa", rate * data["elasticity"])
            (_drifting_unevenly if _uneven(model) else _drifting)(location, sigma, kappa, data)
        elif model.noise.excess is not None:
            excess = variable("excess", model.noise.excess)
            _above(location, sigma, excess, data)
        elif model.noise.nu is None:
            pm.Normal(OBSERVED, location, sigma, observed=data["observed"])
        else:
            nu = (
                model.noise.nu
                if isinstance(model.noise.nu, float)
                else variable("nu", model.noise.nu)
            )
            pm.StudentT(OBSERVED, nu=nu, mu=location, sigma=sigma, observed=data["observed"])
        if model.tasks is not None:
            add_scores(model.tasks, tasks["task"], data)
    return graph


def task_names(runs: xr.Dataset, model: Model) -> list[str]:
    """Columns of the run table that hold the scores of the model's tasks."""
    assert model.tasks is not None
    return model.tasks.names(map(str, runs.data_vars))


def check_columns(runs: xr.Dataset, model: Model) -> None:
    """Raise ValueError, with what to do, if the run table cannot feed the model."""
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
        try:
            values = runs[column].values.astype(float)
        except ValueError as error:
            raise ValueError(f"{where}: column {column!r} must hold numbers; {error}") from error
        if column == "loss" and model.noise.of_rate:
            _check_rate(runs, model, where)
            continue
        wrong = ~(np.isfinite(values) & (values > 0))
        if wrong.any():
            raise ValueError(
                f"{where}: column {described[column]} must be positive and finite; {_rows_and_values(values, wrong)}"
            )
    for name, outside, bound in model.law_object.outside(law_inputs(runs, model)):
        column = model.inputs[name]
        told = _rows_and_values(runs[column].values.astype(float), outside)
        raise ValueError(f"{where}: column {described[column]} must be {bound}; {told}")
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
                f"table lacks; it has {', '.join(map(str, runs))}. Add the column, or use a model that does not pool"
            )
        found = np.unique(runs[over].values.astype(str))
        if found.size < 2:
            raise ValueError(
                f"{where}: model {model.name!r} pools over {over!r}, but all runs are of one: {str(found[0])!r}. "
                "Use the model without pooling"
            )
    if model.noise.known and model.noise.known not in runs:
        raise ValueError(
            f"{where}: model {model.name!r} takes known noise from column {model.noise.known!r}, which the table "
            f"lacks; it has {', '.join(map(str, runs))}. Add it, or drop 'known' from [noise]"
        )
    if model.tasks is not None:
        _check_scores(runs, model, model.tasks, where)


def _rows(wrong: np.ndarray) -> str:
    """The first of some rows, counted from one as a reader does."""
    return ", ".join(str(row + 1) for row in np.flatnonzero(wrong)[:8])


def _check_rate(runs: xr.Dataset, model: Model, where: str) -> None:
    """Raise ValueError unless the losses are rates that the noise can be of, with their trials."""
    law, noise = model.law_object, model.noise
    if isinstance(noise.trials, str):
        if noise.trials not in runs:
            raise ValueError(
                f"{where}: model {model.name!r} takes the trials behind each loss from column {noise.trials!r}, which "
                f"the table lacks. {_near(noise.trials, runs)}Add it, or give a number in [noise]"
            )
        try:
            trials = runs[noise.trials].values.astype(float)
        except ValueError as error:
            raise ValueError(
                f"{where}: column {noise.trials!r} must hold numbers; {error}"
            ) from error
        bad = ~(np.isfinite(trials) & (trials >= 1) & (trials == np.rint(trials)))
        if bad.any():
            raise ValueError(
                f"{where}: column {noise.trials!r} must hold whole numbers of trials above zero; see rows {_rows(bad)}"
            )
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
        f"{_rows(~within)}{advice}"
    )


def trials_of(runs: xr.Dataset, model: Model) -> np.ndarray | None:
    """Trials behind the loss of each run; None if the noise counts none."""
    trials = model.noise.trials
    if isinstance(trials, str):
        return np.asarray(runs[trials].values.astype(float))
    return None if trials is None else np.full(runs.sizes["run"], float(trials))


def log_losses(runs: xr.Dataset, model: Model) -> np.ndarray:
    """Log of each loss; see :meth:`bayescale.laws.Law.inside` for counts of none and of all."""
    loss = runs["loss"].values.astype(float)
    return np.asarray(np.log(model.law_object.inside(loss, trials_of(runs, model))))


def log_jacobian(runs: xr.Dataset, model: Model) -> np.ndarray:
    """What to add to the log densities of the graph's observed variable, so that they are those of the loss.

    Counts are taken for the rates that round to them: see :func:`bayescale.rates.log_density`.
    """
    if not model.noise.of_rate:
        return -log_losses(runs, model)
    law, trials = model.law_object, trials_of(runs, model)
    rate = law.observed_rate(law.inside(runs["loss"].values.astype(float), trials))
    found = np.log(rate) if law.trials_give == "success" else np.zeros(rate.size)
    if model.noise.dist == "LogitNormal":
        return np.asarray(found - np.log(rate * (1 - rate)))
    return found if trials is None else np.asarray(found + np.log(trials))


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
            raise ValueError(f"{where}: column {name!r} must hold scores; {error}") from error
        wrong = (values < 0) | (values > 1) | (open_ends & ((values == 0) | (values == 1)))
        if wrong.any():
            between = "above 0 and below 1" if open_ends else "from 0 to 1"
            advice = "; per cent must be divided by 100" if (values > 1).any() else ""
            advice += (
                "; scores of all or none need their trials, with dist = 'BetaBinomial'" * open_ends
            )
            raise ValueError(
                f"{where}: column {name!r} must hold scores {between}; see rows {_rows(wrong)}{advice}"
            )
        if np.isfinite(values).sum() < 3:
            raise ValueError(
                f"{where}: column {name!r} has fewer than three scores; drop it from 'columns' of [tasks]"
            )
    known = _trials(runs, tasks, names)
    if known is not None and not (np.isfinite(known) & (known >= 1)).all():
        raise ValueError(
            f"{where}: trials of [tasks] must be whole numbers above zero in every row that has a score"
        )


def _near(column: str, runs: xr.Dataset, *, taken: tuple[str, ...] = ()) -> str:
    """What may be meant by a column that is not there, among those that nothing else takes."""
    found = nearest(column, [str(name) for name in runs if name not in taken])
    return f"Did you mean {' or '.join(map(repr, found))}? " if found else ""


def _rows_and_values(values: np.ndarray, wrong: np.ndarray) -> str:
    """Rows with what they hold, and what to do about them."""
    rows = np.flatnonzero(wrong)
    told = ", ".join(f"{row + 1} ({values[row]:g})" for row in rows[:8])
    more = f" and {rows.size - 8} more" if rows.size > 8 else ""
    return f"see rows {told}{more}. Drop or fix them"


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


def law_inputs(runs: xr.Dataset, model: Model) -> dict[str, np.ndarray]:
    """The law's inputs over the runs, by slot, in their own units."""
    return {slot: runs[column].values.astype(float) for slot, column in model.inputs.items()}


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
        data["observed"], trials = as_observed(model.noise.dist, rate, trials_of(runs, model))
        data |= {} if trials is None else {"trials": trials}
    else:
        data["observed"] = log_losses(runs, model)
    for over in model.pooled:
        _, index = np.unique(runs[over].values.astype(str), return_inverse=True)
        data[f"{over}_index"] = index.astype(np.int64)
    if model.discrepancy is not None:
        integrated = marginal(runs, model)
        needed = ("root", "design") if _uneven(model) else ("root", "left", "spectrum")
        data |= {f"drift_{name}": getattr(integrated, name) for name in needed}
        data["elasticity"] = np.asarray(drift.typical_elasticity(inputs, data["observed"]))
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
    data["score_observed"], trials = as_observed(tasks.dist, score, _trials(runs, tasks, names))
    return data if trials is None else data | {"score_trials": trials}


def _trials(runs: xr.Dataset, tasks: Tasks, names: list[str]) -> np.ndarray | None:
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


def marginal(runs: xr.Dataset, model: Model) -> drift.Marginal:
    """The drift at the runs, ready to be integrated out of the likelihood."""
    inputs = law_inputs(runs, model)
    matrix = drift.design(inputs, drift.axes(inputs, reference(runs, model)))
    return drift.Marginal.of(matrix, run_weights(runs, model))


def run_weights(runs: xr.Dataset, model: Model) -> np.ndarray:
    """Weight of each run in a model with drift: below one for outliers, if the noise has heavy tails."""
    if not isinstance(model.noise.nu, float):
        return np.ones(runs.sizes["run"])
    pooled = model.pooled
    group = (
        np.unique(runs[pooled[0]].values.astype(str), return_inverse=True)[1] if pooled else None
    )
    return drift.robust_weights(
        law_inputs(runs, model),
        np.log(runs["loss"].values),
        model.noise.nu,
        group,
        known=_known_sd(runs, model) if model.noise.known else None,
        sloping=model.noise.slope is not None,
    )


def _uneven(model: Model) -> bool:
    """Whether the scale of the noise differs from run to run."""
    return model.noise.slope is not None or model.noise.known is not None


def _known_sd(runs: xr.Dataset, model: Model) -> np.ndarray:
    """Known standard deviation of each log loss; 0 where none is given."""
    assert model.noise.known is not None
    sd = runs[model.noise.known].values.astype(float) / runs["loss"].values
    return np.where(np.isfinite(sd), sd, 0.0)


def _parameters(
    law: Law, model: Model, data: dict[str, pt.TensorVariable]
) -> tuple[dict[str, pt.TensorVariable], dict[str, pt.TensorVariable]]:
    """Sampled parameters: of the typical group, and where pooled, one value a run."""
    typical, grouped = {}, {}
    for name, prior in model.priors.items():
        sampled = law.posterior_name(name)
        typical[name] = variable(
            sampled, prior, dims="term" if name == "shares" else None, center=data["log_center"]
        )
        if name in model.pool:
            positive = prior.support == "positive"
            each = [
                groups(effect, typical[name], positive)[data[f"{effect.pool.over}_index"]]
                for effect in model.pool[name].effects(sampled)
            ]
            grouped[name] = crossed(each, typical[name], positive)
    return typical, grouped


def _terms(
    law: Law, model: Model, per_run: dict[str, pt.TensorVariable]
) -> dict[str, pt.TensorVariable]:
    if not model.shared_level:
        return {}
    others = {name: value for name, value in per_run.items() if name not in ("level", "shares")}
    shares = [per_run["shares"][i] for i in range(len(law.terms))] if "shares" in per_run else [1.0]
    return law.terms_from_shares(per_run["level"], shares, others)


def _name_terms(
    law: Law, model: Model, values: dict[str, pt.TensorVariable], data: dict[str, pt.TensorVariable]
) -> None:
    """Give the typical group's terms and textbook constants a name in the posterior."""
    if model.shared_level:
        for term in law.terms:
            pm.Deterministic(law.posterior_name(term), values[term])
    if law.textbook is not None:
        scale = {slot: data[f"reference_{slot}"] for slot in law.input_names}
        params = {name: values[name] for name in law.param_names}
        for name, value in law.textbook(scale, **params).items():
            pm.Deterministic(name, value)


def _above(
    location: pt.TensorVariable,
    sigma: pt.TensorVariable,
    excess: pt.TensorVariable,
    data: dict[str, pt.TensorVariable],
) -> None:
    """Log losses that lie above the law: Normal with an exponential excess.

    PyMC's own ExGaussian has no gradient some forty standard deviations off, where chains may start.
    """

    def logp(
        value: pt.TensorVariable,
        location: pt.TensorVariable,
        sigma: pt.TensorVariable,
        excess: pt.TensorVariable,
    ) -> pt.TensorVariable:
        standard = (value - location) / sigma
        below = sigma / excess - standard
        # log Phi(-below) as it stands where it is about zero, by the scaled complement where it is not.
        near, far = pt.maximum(below, -5.0), pt.minimum(below, -5.0)
        tail = pt.log(pt.erfcx(near / np.sqrt(2)) / 2)
        body = far**2 / 2 + pt.log1p(-pt.erfc(-far / np.sqrt(2)) / 2)
        return pt.switch(below > -5.0, tail, body) - standard**2 / 2 - pt.log(excess)

    pm.CustomDist(OBSERVED, location, sigma, excess, logp=logp, observed=data["observed"])


def _drifting(
    location: pt.TensorVariable,
    sigma: pt.TensorVariable,
    kappa: pt.TensorVariable,
    data: dict[str, pt.TensorVariable],
) -> None:
    """Log losses about a law that drifts, with the drift integrated out: see :class:`bayescale.drift.Marginal`."""

    def logp(
        value: pt.TensorVariable,
        location: pt.TensorVariable,
        sigma: pt.TensorVariable,
        kappa: pt.TensorVariable,
        root: pt.TensorVariable,
        left: pt.TensorVariable,
        spectrum: pt.TensorVariable,
    ) -> pt.TensorVariable:
        scaled = root * (value - location)
        gain = kappa**2 * spectrum
        projected = pt.dot(left.T, scaled)
        explained = pt.sum(projected**2 * gain / (sigma**2 + gain))
        size = value.shape[0]
        return (
            -0.5 * (pt.sum(scaled**2) - explained) / sigma**2
            - 0.5 * pt.sum(pt.log1p(gain / sigma**2))
            - size * (pt.log(sigma) + 0.5 * np.log(2 * np.pi))
            + pt.sum(pt.log(root))
        )

    pm.CustomDist(
        OBSERVED,
        location,
        sigma,
        kappa,
        data["drift_root"],
        data["drift_left"],
        data["drift_spectrum"],
        logp=logp,
        signature="(n),(),(),(n),(n,m),(m)->(n)",
        observed=data["observed"],
    )


def _drifting_unevenly(
    location: pt.TensorVariable,
    sigma: pt.TensorVariable,
    kappa: pt.TensorVariable,
    data: dict[str, pt.TensorVariable],
) -> None:
    """As :func:`_drifting`, with a scale of noise that differs from run to run."""

    def logp(
        value: pt.TensorVariable,
        location: pt.TensorVariable,
        sigma: pt.TensorVariable,
        kappa: pt.TensorVariable,
        root: pt.TensorVariable,
        design: pt.TensorVariable,
    ) -> pt.TensorVariable:
        scale = root / sigma
        scaled = scale * (value - location)
        modes = kappa * design * scale[:, None]
        factor = pt.linalg.cholesky(pt.dot(modes.T, modes) + pt.eye(drift.MODES))
        explained = pt.linalg.solve_triangular(factor, pt.dot(modes.T, scaled), lower=True)
        return (
            -0.5 * (pt.sum(scaled**2) - pt.sum(explained**2))
            - pt.sum(pt.log(pt.diagonal(factor)))
            + pt.sum(pt.log(scale))
            - 0.5 * np.log(2 * np.pi) * value.shape[0]
        )

    pm.CustomDist(
        OBSERVED,
        location,
        sigma,
        kappa,
        data["drift_root"],
        data["drift_design"],
        logp=logp,
        signature="(n),(n),(),(n),(n,m)->(n)",
        observed=data["observed"],
    )


def _noise_scale(model: Model, data: dict[str, pt.TensorVariable]) -> pt.TensorVariable | None:
    if model.noise.sigma is None:
        return None
    sigma = variable("sigma", model.noise.sigma)
    if model.noise.slope is not None:
        slope = variable("noise_slope", model.noise.slope)
        sigma = sigma * pt.exp(np.log(10) * slope * data["decades"])
    if model.noise.known is not None:
        sigma = pt.sqrt(sigma**2 + data["known_sd"] ** 2)
    return sigma
