"""Simulation-based calibration of a model's *answers*: loss far out, the gain of a doubling there, and the onset.

Truths are drawn from the prior, runs are simulated from them, the model is fitted, and the rank of each true answer
among the posterior's is kept: uniform ranks are what an honest posterior gives (Talts et al. 2018, arXiv 1804.06788).
"""

import numpy as np
import xarray as xr
from scipy.stats import chi2

from bayescale.forecast import diminishing, predict, returns
from bayescale.inference.fit import prior_tree
from bayescale.inference.many import Job, fit_many
from bayescale.model import Model

#: How far beyond the largest run the answers lie, as factors of compute.
FACTORS = (10.0, 100.0)
#: Elasticity of the loss below which returns count as diminishing, for the onset: 1.4 % of loss a doubling.
ELASTICITY = 0.02
#: Draws of the posterior among which the truth is ranked.
RANKS = 99


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
        Run table; dim ``run``. Its inputs are the design of every simulated sweep; its losses only set the level
        about which losses are simulated.
    model : str or Model
    simulations : int
        Data sets.
    random_seed : int
    workers : int
        Processes.
    draws : int
        Draws of each of four chains.
    results : str, optional
        Folder of finished fits: an interrupted calibration goes on there.
    progress : bool

    Returns
    -------
    xr.Dataset
        ``rank``, dims simulation and answer: how many of :data:`RANKS` posterior draws lie below the truth;
        ``inside``: whether the central 90 % interval holds it; ``converged``, dim simulation; ``p_value``, dim
        answer. *How to read it*: ranks are uniform on 0 to :data:`RANKS` if the posterior is honest; see
        :func:`uniformity`.
    """
    model = Model.load(model)
    level = float(np.exp(np.log(design["loss"]).mean()))
    if model.shared_level and model.priors["level"].kwargs.get("median") == "runs":
        # A prior that looks at the losses cannot have drawn them.
        prior = model.priors["level"].as_dict()
        model = model.changed(
            priors={"level": prior | {"kwargs": {**prior["kwargs"], "median": level}}}
        )
    truth = prior_tree(design, model, draws=simulations, random_seed=random_seed)
    replicated = predict(truth, design.drop_vars("loss"), kind="run", random_seed=random_seed)
    true_answers = answers(truth)
    jobs = []
    for index in range(simulations):
        losses = replicated.isel(chain=0, draw=index).values
        aside = xr.Dataset({"truth": true_answers.isel(chain=0, draw=index, drop=True)})
        runs = design.assign(loss=("run", losses))
        seed = random_seed + index + 1
        jobs.append(Job(f"simulation-{index:04d}", runs, model, seed, draws=draws, aside=aside))
    outcomes = fit_many(jobs, then=_rank, workers=workers, results=results, progress=progress)
    done = [each.value for each in outcomes if each.status == "done"]
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
        attrs={"model": model.name, "failed": simulations - len(done)},
    )
    result["p_value"] = (
        "answer",
        [uniformity(result["rank"].sel(answer=a).values) for a in result["answer"].values],
    )
    return result


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

    Log loss at :data:`FACTORS` times the largest run, the gain of a doubling there as a share of the loss, and the
    compute from which the elasticity stays below :data:`ELASTICITY` (as it is, infinite where it never does), along
    the runs' own ratio of tokens to parameters.
    """
    runs = fit["constant_data"].to_dataset()
    if {"params", "tokens"} <= set(runs):
        largest = float((6 * runs["params"] * runs["tokens"]).max())
        path: str | None = (
            f"fixed-ratio={float(np.exp(np.log(runs['tokens'] / runs['params']).mean())):.6g}"
        )
    else:
        model = Model.from_toml(fit.attrs["model"])
        largest, path = float(runs[next(iter(model.inputs.values()))].max()), None
    table = returns(fit, flops=[factor * largest for factor in FACTORS], path=path)
    relative = xr.Dataset(
        {"loss": xr.ufuncs.log(table["loss"]), "gain": table["gain"] / table["loss"]}
    )
    names = [f"{name}_{factor:g}x" for name in relative for factor in FACTORS]
    stacked = relative.drop_attrs().to_dataarray("name").stack(answer=("name", "flops"))
    stacked = stacked.drop_vars(["answer", "name", "flops", "decades_beyond"])
    onset = diminishing(fit, beyond=largest, elasticity_below=ELASTICITY, path=path, grid=50)
    draws = onset["onset_draws"].drop_attrs().expand_dims("answer")
    both = xr.concat([stacked, draws], "answer")
    return both.assign_coords(answer=[*names, "onset"])


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
