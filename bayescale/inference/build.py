"""From a model file and a run table to a plain ``pm.Model``."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr

from bayescale import drift
from bayescale.inference.arrays import graph_data, samples_drift, task_names, uneven
from bayescale.inference.columns import check_columns
from bayescale.inference.rates import observe
from bayescale.inference.scores import add_scores, constants
from bayescale.inference.variables import elasticity, groups, variable
from bayescale.laws import Law
from bayescale.model import Model, crossed

#: The observed variable: log loss, on whose scale the noise is stated.
OBSERVED = "log_loss"
#: The observed variable in its place where the loss is a rate: its logit, the rate, or the count of trials.
OBSERVED_RATE = "rate"
#: What laws of one input call the elasticity of the reducible loss.
SLOPE = "gamma"


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
        if samples_drift(model):
            graph.add_coord("mode", np.arange(drift.MODES))
        data = {name: pm.Data(name, values) for name, values in graph_data(runs, model).items()}
        typical, grouped = _parameters(law, model, data)
        _name_terms(law, model, typical | _terms(law, model, typical), data)
        per_run = typical | grouped
        per_run |= _terms(law, model, per_run)
        ratios = [pt.exp(data[f"log_{name}"]) for name in law.input_names]
        with _written(law, "loss"):
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
            if model.noise.excess is not None:
                # Of the two that no closed form sums out together, the drift has fewer dims than runs have excesses.
                weights = pm.Normal("drift", 0.0, 1.0, dims="mode")
                location = location + kappa * pt.dot(data["drift_design"], weights)
                _above(location, sigma, variable("excess", model.noise.excess), data)
            else:
                (_drifting_unevenly if uneven(model) else _drifting)(location, sigma, kappa, data)
        elif model.noise.excess is not None:
            _above(location, sigma, variable("excess", model.noise.excess), data)
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


@contextmanager
def _written(law: Law, function: str) -> Iterator[None]:
    """Say of which law a function does not run on PyTensor, and what would."""
    called = {
        "loss": ", ".join((*law.input_names, "*", *law.param_names)),
        "split": "level, shares, **params",
        "textbook": "reference, **params",
    }
    try:
        yield
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise ValueError(
            f"law {law.name!r}: its {function} cannot be written as a graph ({error}); it must take "
            f"({called[function]}) and use operators and np.exp, np.log, np.sqrt and their like alone: "
            "docs/howto/add-a-law.md"
        ) from error


def _parameters(
    law: Law, model: Model, data: dict[str, pt.TensorVariable]
) -> tuple[dict[str, pt.TensorVariable], dict[str, pt.TensorVariable]]:
    """Sampled parameters: of the typical group, and where pooled, one value a run."""
    typical: dict[str, pt.TensorVariable] = {}
    grouped: dict[str, pt.TensorVariable] = {}
    drops = _drops(law, model)
    # The elasticity that is sampled as a drop comes last: it takes the others to say what the drop is.
    for name, prior in sorted(model.priors.items(), key=lambda each: drops and each[0] == SLOPE):
        sampled = law.posterior_name(name)
        typical[name] = (
            elasticity(sampled, prior, typical["shares"][1], _stretch(law, typical, data))
            if drops and name == SLOPE
            else variable(
                sampled, prior, dims="term" if name == "shares" else None, center=data["log_center"]
            )
        )
        if name in model.pool:
            positive = prior.support == "positive"
            each = [
                groups(effect, typical[name], data[effect.weight_name], positive)[
                    data[f"{effect.pool.over}_index"]
                ]
                for effect in model.pool[name].effects(sampled)
            ]
            grouped[name] = crossed(each, typical[name], positive)
    return typical, grouped


def _drops(law: Law, model: Model) -> bool:
    """Whether the law is one of a floor and a term that falls in one input, and its elasticity one for all runs."""
    return (
        model.shared_level
        and len(law.inputs) == 1
        and law.terms == ("E", "A")
        and law.split is None
        and SLOPE in law.param_names
        and model.priors[SLOPE].dist == "LogNormal"
        and SLOPE not in model.pool
    )


def _stretch(
    law: Law, typical: dict[str, pt.TensorVariable], data: dict[str, pt.TensorVariable]
) -> pt.TensorVariable:
    """Log of what the term that falls is at the smallest scale as a ratio to the reference, at an elasticity of 1."""
    shape = {name: typical[name] for name in law.param_names if name in typical and name != SLOPE}
    # Runs of one scale show no drop: any other scale then serves.
    low = pt.minimum(pt.min(data[f"log_{law.input_names[0]}"]), -np.log(2.0))
    with _written(law, "loss"):
        return pt.log(law.loss(pt.exp(low), **{"E": 0.0, "A": 1.0, SLOPE: 1.0}, **shape))


def _terms(
    law: Law, model: Model, per_run: dict[str, pt.TensorVariable]
) -> dict[str, pt.TensorVariable]:
    if not model.shared_level:
        return {}
    others = {name: value for name, value in per_run.items() if name not in ("level", "shares")}
    shares = [per_run["shares"][i] for i in range(len(law.terms))] if "shares" in per_run else [1.0]
    with _written(law, "split"):
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
        with _written(law, "textbook"):
            constants = law.textbook(scale, **params)
        for name, value in constants.items():
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

    def random(
        location: np.ndarray,
        sigma: np.ndarray,
        excess: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, ...] | None,
    ) -> np.ndarray:
        shape = (
            np.broadcast_shapes(location.shape, sigma.shape, excess.shape) if size is None else size
        )
        return (
            location + sigma * rng.standard_normal(shape) + excess * rng.standard_exponential(shape)
        )

    pm.CustomDist(
        OBSERVED, location, sigma, excess, logp=logp, random=random, observed=data["observed"]
    )


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

    def random(
        location: np.ndarray,
        sigma: np.ndarray,
        kappa: np.ndarray,
        root: np.ndarray,
        left: np.ndarray,
        spectrum: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, ...] | None,
    ) -> np.ndarray:
        noise = rng.standard_normal((*(size or ()), root.size))
        modes = rng.standard_normal((*(size or ()), spectrum.size)) * np.sqrt(spectrum)
        return np.asarray(location + (sigma * noise + kappa * modes @ left.T) / root)

    pm.CustomDist(
        OBSERVED,
        location,
        sigma,
        kappa,
        data["drift_root"],
        data["drift_left"],
        data["drift_spectrum"],
        logp=logp,
        random=random,
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

    def random(
        location: np.ndarray,
        sigma: np.ndarray,
        kappa: np.ndarray,
        root: np.ndarray,
        design: np.ndarray,
        rng: np.random.Generator,
        size: tuple[int, ...] | None,
    ) -> np.ndarray:
        noise = rng.standard_normal((*(size or ()), root.size))
        modes = rng.standard_normal((*(size or ()), design.shape[1]))
        return np.asarray(location + sigma * noise / root + kappa * modes @ design.T)

    pm.CustomDist(
        OBSERVED,
        location,
        sigma,
        kappa,
        data["drift_root"],
        data["drift_design"],
        logp=logp,
        random=random,
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
