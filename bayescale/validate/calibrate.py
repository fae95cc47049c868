"""Simulation-based calibration of a model's *answers*: loss far out, the gain of a doubling there, and the onset.

Truths are drawn from the prior, runs are simulated from them, the model is fitted, and the rank of each true answer
among the posterior's is kept: uniform ranks are what an honest posterior gives (Talts et al. 2018, arXiv 1804.06788).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import chi2

from bayescale.cost import training_flops
from bayescale.forecast import diminishing, predict, returns
from bayescale.inference import sample_prior
from bayescale.inference.arrays import log_losses
from bayescale.inference.columns import check_columns
from bayescale.inference.many import Job, Outcome, fit_many
from bayescale.model import Model
from bayescale.validate.backtest import check_asked, refuse_nothing
from bayescale.validate.score import Predictive, draw_log_loss, predictive

#: How far beyond the largest run the answers lie, as factors of compute.
FACTORS = (10.0, 100.0)
#: Elasticity of the loss below which returns count as diminishing, for the onset: 1.4 % of loss a doubling.
ELASTICITY = 0.02
#: Draws of the posterior among which the truth is ranked.
RANKS = 99
#: Draws of each chain of a fit that did not converge with fewer: what :func:`bayescale.fit` takes by default.
FULL = 1000


def calibrate(
    design: xr.Dataset,
    model: str | Model,
    *,
    simulations: int = 200,
    random_seed: int = 0,
    workers: int = 1,
    draws: int = 500,
    results: str | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Rank true answers among posterior answers, over data sets simulated from the model itself.

    Parameters
    ----------
    design : xr.Dataset
        Run table; dim ``run``. Its inputs are the design of every simulated sweep. Its losses set the level about
        which losses are simulated, the share of the loss that a known error is, and the scale of a drift. Each fit
        takes that scale anew, from the simulated losses: the ranks of a model that drifts are even but for that.
    model : str or Model
    simulations : int
        Data sets.
    random_seed : int
    workers : int
        Processes.
    draws : int
        Draws of each of four chains. A fit that does not converge with them is made again with 1,000.
    results : str, optional
        Folder of finished fits: an interrupted calibration goes on there.
    progress : bool

    Returns
    -------
    xr.Dataset
        ``rank``, dims simulation and answer: how many of :data:`RANKS` posterior draws lie below the truth;
        ``inside``: whether the central 90 % interval holds it; ``converged``, dim simulation; ``p_value``, dim
        answer. In attrs: ``model``, ``ranks``, ``failed`` (fits that ended in an error), ``again`` (fits made twice).
        *How to read it*: ranks are uniform on 0 to :data:`RANKS` if the posterior is honest; see
        :func:`uniformity`.

    Raises
    ------
    ValueError
        If no fit succeeds, the design cannot feed the model, a setting makes no sense, or ``results`` is a file or
        holds something else.
    KeyboardInterrupt
        If a fit is interrupted; the finished ones stay in ``results``.
    """
    model = Model.load(model)
    check_asked(design, draws, 4, random_seed)
    check_columns(design, model)
    if np.asarray(simulations).dtype.kind not in "iu" or simulations < 1:
        raise ValueError(
            f"simulations = {simulations!r}: expected a whole number of data sets, one or more"
        )
    level = float(np.exp(log_losses(design, model).mean()))
    if model.shared_level and model.priors["level"].kwargs.get("median") == "runs":
        # A prior that looks at the losses cannot have drawn them.
        prior = model.priors["level"].as_dict()
        model = model.changed(
            priors={"level": prior | {"kwargs": {**prior["kwargs"], "median": level}}}
        )
    truth = sample_prior(design, model, draws=simulations, random_seed=random_seed)
    replicated = _replicated(truth, design, model, random_seed)
    true_answers = answers(truth)
    jobs = []
    for index in range(simulations):
        losses = replicated[index]
        aside = xr.Dataset({"truth": true_answers.isel(chain=0, draw=index, drop=True)})
        runs = design.assign(loss=("run", losses))
        if model.noise.known is not None:
            runs[model.noise.known] = "run", _known_share(design, model.noise.known) * losses
        seed = random_seed + index + 1
        jobs.append(Job(f"simulation-{index:04d}", runs, model, seed, draws=draws, aside=aside))
    run = partial(_run, workers=workers, progress=progress)
    outcomes = run(jobs, results=results)
    again = [
        replace(job, draws=FULL)
        for job in jobs
        if draws < FULL and _unconverged(outcomes[job.name])
    ]
    if again:
        folder = None if results is None else f"{results}-again"
        outcomes |= run(again, results=folder)
    refuse_nothing(list(outcomes.values()))
    done = [each.value for each in outcomes.values() if each.status == "done"]
    result = xr.Dataset(
        {
            "rank": (("simulation", "answer"), np.array([each["rank"] for each in done])),
            "inside": (
                ("simulation", "answer"),
                np.array([each["inside"] for each in done], dtype=bool),
            ),
            "converged": ("simulation", np.array([bool(each["converged"]) for each in done])),
        },
        coords={"answer": true_answers["answer"].values},
        attrs={
            "model": model.name,
            "ranks": RANKS,
            "failed": simulations - len(done),
            "again": len(again),
        },
    )
    result["p_value"] = (
        "answer",
        [uniformity(result["rank"].sel(answer=a).values) for a in result["answer"].values],
    )
    return result


def _replicated(
    truth: xr.DataTree, design: xr.Dataset, model: Model, random_seed: int
) -> np.ndarray:
    """Losses that a fit would take for those of every truth, axes (simulation, run)."""
    if model.noise.known is None:
        losses = predict(truth, design.drop_vars("loss"), kind="run", random_seed=random_seed)
        return losses.isel(chain=0).transpose("draw", "run").values
    # A fit adds the known error to the scale of the noise, whatever its shape; a prediction of runs has none.
    noise = predictive(truth, design.drop_vars(model.noise.known), random_seed=random_seed)
    assert isinstance(noise, Predictive)
    measured = replace(noise, scale=np.hypot(noise.scale, _known_share(design, model.noise.known)))
    drawn = draw_log_loss(measured, np.random.default_rng([random_seed, 3]))[0]
    # Of each truth there may be several in a row.
    return np.exp(drawn[:: drawn.shape[0] // noise.location.shape[1]])


def _known_share(design: xr.Dataset, known: str) -> np.ndarray:
    """Known error of each loss as a share of it, which every simulated loss has too; 0 where none is given."""
    return np.nan_to_num((design[known] / design["loss"]).values.astype(float))


def _run(jobs: Sequence[Job], **how: Any) -> dict[str, Outcome]:
    """Outcomes by name. Ranks of a part of the simulations would be taken for those of all."""
    outcomes = fit_many(jobs, then=_rank, **how)
    if any(each.status == "interrupted" for each in outcomes):
        raise KeyboardInterrupt
    return {each.name: each for each in outcomes}


def _unconverged(outcome: Outcome) -> bool:
    return outcome.status == "done" and not bool(outcome.value["converged"])


def uniformity(rank: np.ndarray, bins: int = 20) -> float:
    """Probability of ranks less even than these, were they uniform: a chi-square test.

    Examples
    --------
    >>> uniformity(np.arange(200) % 100)
    1.0
    """
    counts, _ = np.histogram(rank, bins=bins, range=(-0.5, RANKS + 0.5))
    expected = rank.size / bins
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), bins - 1))


def answers(fit: xr.DataTree) -> xr.DataArray:
    """The answers that are calibrated, dims chain, draw, answer.

    Log loss at :data:`FACTORS` times the largest run, the gain of a doubling there as a share of the loss, and, for
    laws that have a path of compute, the scale from which the elasticity stays below :data:`ELASTICITY` (infinite
    where it never does). Laws of params and tokens grow along the runs' own ratio, all others by the same factor in
    each of their scales, with other inputs held at the runs' geometric mean and all of them inside the law's domain.
    """
    runs = fit["constant_data"].to_dataset()
    model = Model.from_toml(fit.attrs["model"])
    law = model.law_object
    bounded = any(each.upper is not None or each.at_most for each in law.inputs)
    both = set(law.input_names) == {"params", "tokens"}
    if bounded or not (both or len(law.inputs) == 1):
        table = _grown(fit, model, runs)
        relative = xr.Dataset(
            {"loss": xr.ufuncs.log(table["loss"]), "gain": 1 - table["twice"] / table["loss"]}
        )
    else:
        largest, path = float(runs[next(iter(model.inputs.values()))].max()), None
        if both:
            params, tokens = (runs[model.inputs[name]] for name in ("params", "tokens"))
            largest = float(training_flops(params, tokens).max())
            path = f"fixed-ratio={float(np.exp(np.log(tokens / params).mean())):.6g}"
        table = returns(fit, flops=[factor * largest for factor in FACTORS], path=path)
        relative = xr.Dataset(
            {"loss": xr.ufuncs.log(table["loss"]), "gain": table["gain"] / table["loss"]}
        )
    names = [f"{name}_{factor:g}x" for name in relative for factor in FACTORS]
    stacked = relative.drop_attrs().to_dataarray("name").stack(answer=("name", "flops"))
    stacked = stacked.drop_vars(["answer", "name", "flops", "decades_beyond"], errors="ignore")
    if "twice" in table:
        return stacked.assign_coords(answer=names)
    onset = diminishing(fit, beyond=largest, elasticity_below=ELASTICITY, path=path, grid=50)
    draws = onset["onset_draws"].drop_attrs().expand_dims("answer")
    return xr.concat([stacked, draws], "answer").assign_coords(answer=[*names, "onset"])


def _grown(fit: xr.DataTree, model: Model, runs: xr.Dataset) -> xr.Dataset:
    """Loss at :data:`FACTORS` times the largest run and at twice that, for a law that has no path of compute."""
    law = model.law_object
    logs = {slot: np.log(runs[column].values) for slot, column in model.inputs.items()}
    mean = {slot: float(values.mean()) for slot, values in logs.items()}
    grow = law.scales
    # From the runs' mean along the ray of equal factors, to where the product is that of the largest run.
    size = np.add.reduce([logs[slot] for slot in grow])
    short = float(size.max() - size.mean())
    factor = np.log(np.outer([1.0, 2.0], FACTORS))
    at = {
        slot: mean[slot] + ((short + factor) / len(grow) if slot in grow else 0 * factor)
        for slot in logs
    }
    values = {slot: np.exp(value) for slot, value in at.items()}
    for each in law.inputs:
        upper = values[each.at_most] if each.at_most else each.upper
        values[each.name] = np.clip(values[each.name], each.lower, upper)
    named = {model.inputs[slot]: (("times", "flops"), value) for slot, value in values.items()}
    loss = predict(fit, xr.Dataset(named)).reset_coords(drop=True)
    return xr.Dataset({"loss": loss.isel(times=0), "twice": loss.isel(times=1)})


def _rank(fit: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
    assert job.aside is not None
    found = answers(fit).stack(sample=("chain", "draw")).transpose("answer", "sample").values
    truth = job.aside["truth"].values[:, None]
    thinned = found[:, np.linspace(0, found.shape[1] - 1, RANKS).astype(int)]
    # Not interpolated: an onset may be infinite.
    lower, upper = np.quantile(found, [0.05, 0.95], axis=1, method="nearest")
    # An onset that has come, or never comes, equals many draws: its place among them is left to chance.
    equal = (thinned == truth).sum(axis=1)
    rng = np.random.default_rng(job.random_seed)
    return {
        "rank": (thinned < truth).sum(axis=1) + rng.integers(0, equal + 1),
        "inside": (truth[:, 0] >= lower) & (truth[:, 0] <= upper),
        "converged": np.array(fit.attrs["converged"]),
    }
