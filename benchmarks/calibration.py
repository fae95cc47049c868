"""Are the intervals honest where nobody has trained yet? Measured on held-out runs, beside what others would have said.

    python benchmarks/calibration.py [--part rates|curves|chinchilla|sparse|simulated|breaks|designs|recovery|ranks] [--quick]

Each part writes its rows into ``results/calibration.json``; the page ``calibration.md`` is made from that file. The
real tables come from the folder that BAYESCALE_DATA names; a part whose tables are missing is skipped and says so.

No part tunes anything. The prior of the drift's rate was set for one input on public learning curves, for several on the
sweeps of part ``rates``, and on nothing else. Part ``curves`` therefore reports twice: with the prior as it is shipped,
and with one that was learned on the other set of curves (language for vision, vision for language), which the reported
curves had no part in.
"""

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from _tables import folder
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import norm

import bayescale as bs
from bayescale.forecast import returns
from bayescale.inference.many import Job, Then, fit_many
from bayescale.model import Model
from bayescale.plots import plot_ranks
from bayescale.validate.baselines import least_squares, persistence
from bayescale.validate.calibrate import calibrate
from bayescale.validate.score import Predictive, predictive, score_runs, scores

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "calibration.json"
RANKS = HERE / "results" / "ranks.json"
PICTURE = HERE / "results" / "ranks.png"
PAGE = HERE / "calibration.md"
CUTS = (1e19, 3e19, 1e20, 3e20, 1e21)

Row = dict[str, float | int | str]


PEER = "simple-scaling-laws"
#: Scores of the held-out runs of one fit, by name.
type Scored = dict[str, np.ndarray]


def score(fit: xr.DataTree, job: Job) -> Scored:
    """Score a fit on the held-out runs that travel beside it."""
    assert job.aside is not None
    found = scored(predictive(fit, job.aside), job.aside)
    posterior = fit["posterior"].to_dataset()
    if "drift_rate" in posterior:
        found["drift_rate"] = posterior["drift_rate"].values.ravel()[::8]
    return found | {"converged": np.array(fit.attrs["converged"])}


def scored(forecast: Predictive, ahead: xr.Dataset) -> Scored:
    """Score any forecast."""
    table = score_runs(forecast, ahead["loss"].values, random_seed=1)
    return {str(name): values.values for name, values in table.data_vars.items()}


def simple(train: xr.Dataset, ahead: xr.Dataset, model: str | Model, by: str) -> dict[str, Scored]:
    """What a fit has to beat: the last loss stays, and the law by least squares with a residual bootstrap."""
    found = {}
    for name, forecast in (
        ("persistence", lambda: persistence(train, ahead, by=by)),
        ("least squares", lambda: least_squares(train, ahead, model, draws=50)),
    ):
        began = time.perf_counter()
        values = scored(forecast(), ahead)
        found[name] = values | {"seconds": np.array(time.perf_counter() - began)}
    return found


def peer(train: xr.Dataset, ahead: xr.Dataset) -> Scored | None:
    """Forecast of simple-scaling-laws, its default law with its own quantiles; None where it is not installed."""
    try:
        import polars as pl
        from simple_scaling_laws import fit as fit_peer
    except ImportError:
        return None
    sizes = {"model_size__n_params": "params", "dataset_size__n_tokens": "tokens"}
    began = time.perf_counter()
    table = pl.DataFrame(
        {
            "training_run_id": [f"run-{i}" for i in range(train.sizes["run"])],
            "test_loss__cross_entropy": train["loss"].values,
        }
        | {name: train[column].values for name, column in sizes.items()}
    )
    points = pl.DataFrame({name: ahead[column].values for name, column in sizes.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = fit_peer(table, law="separable-power", seed=0)
        found = model.predict(points, quantiles=[0.05, 0.5, 0.95])
    low, middle, high = (
        found[f"test_loss__cross_entropy__{name}"].to_numpy() for name in ("q050", "median", "q950")
    )
    return {
        "observed": ahead["loss"].values,
        "q05": low,
        "median": middle,
        "q95": high,
        "seconds": np.array(time.perf_counter() - began),
    }


def peer_summary(fits: list[Scored]) -> Row:
    """Its row: of quantiles alone, there is no density to score."""

    def mean(measure: Callable[[Scored], np.ndarray]) -> float:
        return float(np.mean([np.mean(measure(each)) for each in fits]))

    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "model": PEER,
            "fits": len(fits),
            "n": int(sum(each["observed"].size for each in fits)),
            "coverage_90": mean(
                lambda f: (f["q05"] <= f["observed"]) & (f["observed"] <= f["q95"])
            ),
            "width_90": mean(lambda f: (f["q95"] - f["q05"]) / f["median"]),
            "rmsle": mean(lambda f: np.sqrt(np.mean(np.log(f["median"] / f["observed"]) ** 2))),
            "seconds": float(np.median([each["seconds"] for each in fits])),
        }


def summary(name: str, fits: list[Scored], which: slice = slice(None)) -> Row:
    """One row: scores of each fit's held-out runs, averaged over fits."""
    each = []
    for found in fits:
        columns = {
            key: ("run", values[which])
            for key, values in found.items()
            if np.ndim(values) == 1 and key != "drift_rate"
        }
        each.append(scores(xr.Dataset(columns)))
    row: Row = {"model": name, "fits": len(fits), "n": int(sum(f["pit"][which].size for f in fits))}
    for key, level in (("coverage", 0.5), ("coverage", 0.9), ("width", 0.9)):
        row[f"{key}_{level * 100:.0f}"] = float(
            np.mean([float(t[key].sel(level=level)) for t in each])
        )
    for key in ("lpd", "rmsle", "msce"):
        row[key] = float(np.mean([float(table[key]) for table in each]))
    row["seconds"] = float(np.median([found["seconds"] for found in fits]))
    if all("converged" in found for found in fits):
        row["converged"] = float(np.mean([found["converged"] for found in fits]))
    return row


def run(jobs: list[Job], workers: int, then: Then = score) -> dict[str, Scored]:
    """Fit and score; a fit that fails is reported and left out."""
    outcomes = fit_many(jobs, then=then, workers=workers, progress=True)
    for each in outcomes:
        if each.status != "done":
            print(f"{each.name}: {each.status}: {each.error}")
    return {
        each.name: {**each.value, "seconds": np.array(each.seconds)}
        for each in outcomes
        if each.status == "done"
    }


#: Sets of public learning curves, by the file that holds them.
CURVES = {"vision": "revisiting_vision.csv", "language": "revisiting_lang.csv"}
#: Prior of the drift's rate that says next to nothing, to learn one from.
VAGUE = (0.5, 1.5)


#: Sets of curves that are of language.
LANGUAGE = ("BB", "LM", "NMT")


def learning_curves(every: int) -> dict[str, tuple[str, str, xr.Dataset, xr.Dataset]]:
    """Of each public curve, or of one in so many of each set: its set, domain, points for fitting, and those beyond."""
    split: dict[str, tuple[str, str, xr.Dataset, xr.Dataset]] = {}
    for source, file in CURVES.items():
        table = pd.read_csv(folder() / file)
        table = table[table["duplicate"] == 0]
        for index, (name, curve) in enumerate(table.groupby("run_id")):
            if index % every:
                continue
            runs = xr.Dataset(
                {
                    "examples": ("run", curve["seen_examples"].to_numpy(float)),
                    "loss": ("run", curve["loss"].to_numpy(float)),
                    "run_id": ("run", curve["run_id"].to_numpy(str)),
                }
            )
            train = curve["is_train"].to_numpy() == 1
            kept = source, str(curve["domain"].iloc[0]), runs.isel(run=train), runs.isel(run=~train)
            split[str(name)] = kept
    return split


def curves(workers: int, every: int) -> list[Row]:
    """Public learning curves (data of arXiv 2209.06640): fit what their authors marked for fitting, predict the rest.
    IC is image classification, BB BIG-Bench, LM language modelling, NMT translation; ``ll`` is the log density of the
    loss itself, not of its log; ``lead`` what it gains on the better of persistence and least squares, and ``lead_se``
    the standard error of that over curves. The drift's prior as it is shipped was set on these curves, and so was the shift's: the
    first row of each set is no test. The row *its prior from the other set* takes the drift's prior from language for
    vision, and the reverse; the marks are of that row."""
    split = learning_curves(every)

    def fits(model: Model, of: str | None = None, step: int = 1) -> dict[str, Scored]:
        chosen = model.changed(inputs={"scale": "examples"})
        jobs = [
            Job(name, train, chosen, 1, aside=ahead)
            for name, (source, _, train, ahead) in split.items()
            if of in (None, source)
        ]
        return run(jobs[::step], workers)

    default = Model.load("shifted-drift")
    found = {default.name: fits(default), "power": fits(Model.load("power"))}
    # Some two dozen curves of each set: all of language, every third of vision.
    wide = with_rate(default, *VAGUE)
    vague = fits(wide, "vision", step=3) | fits(wide, "language")
    learned: dict[str, Scored] = {}
    for source in CURVES:
        draws = [each["drift_rate"] for name, each in vague.items() if split[name][0] == source]
        rate = learned_prior(draws)
        print(f"{source}: rate of drift LogNormal(median {rate[0]:.2f}, sigma {rate[1]:.2f})")
        for other in set(CURVES).difference([source]):
            learned |= fits(with_rate(default, *rate), other)
    found[f"{default.name}, its prior from the other set"] = learned
    for name, (_, _, train, ahead) in split.items():
        for model, values in simple(
            train, ahead, Model.load("power").changed(inputs={"scale": "examples"}), "examples"
        ).items():
            found.setdefault(model, {})[name] = values
    rows: list[Row] = []
    for domain in dict.fromkeys(kept[1] for kept in split.values()):
        here = {
            model: {name: fit for name, fit in of.items() if split[name][1] == domain}
            for model, of in found.items()
        }
        # The public score is the density of the loss, not of its log.
        ll = pd.DataFrame(
            {
                model: {
                    name: np.mean(fit["lpd"] - np.log(fit["observed"])) for name, fit in of.items()
                }
                for model, of in here.items()
            }
        )
        simplest = ll[["persistence", "least squares"]].mean().idxmax()
        for model, of in here.items():
            row = summary(model, list(of.values())) | {"set": domain, "ll": float(ll[model].mean())}
            if model != simplest:
                lead = ll[model] - ll[simplest]
                row |= {"lead": float(lead.mean()), "lead_se": float(lead.sem())}
            rows.append(row)
    return rows


def with_rate(model: Model, median: float, sigma: float) -> Model:
    """A model with another prior of its drift's rate."""
    prior = {"dist": "LogNormal", "kwargs": {"median": median, "sigma": sigma}}
    return model.changed(discrepancy={"rate": prior})


def learned_prior(draws: list[np.ndarray]) -> tuple[float, float]:
    """Log-normal prior of the rate under which fits with the vague one were most likely: median and sigma.

    The evidence of a curve under another prior is the mean over its draws of the ratio of the two priors.
    """
    logs = [np.log(each) for each in draws]
    vague = [norm.logpdf(each, np.log(VAGUE[0]), VAGUE[1]) for each in logs]

    def cost(point: np.ndarray) -> float:
        return -sum(
            float(logsumexp(norm.logpdf(each, point[0], np.exp(point[1])) - old))
            - np.log(each.size)
            for each, old in zip(logs, vague, strict=True)
        )

    found = minimize(cost, [np.log(VAGUE[0]), -0.5], method="Nelder-Mead")
    # As much as a handful of curves can tell: a narrower prior than this is a claim about all others.
    return float(np.exp(found.x[0])), float(max(np.exp(found.x[1]), 0.3))


def rates(workers: int, every: int) -> list[Row]:
    """Where the drift's prior for laws of several inputs comes from: sweeps of which no other part reports a held-out run. ``rate`` is the
    posterior under a prior that says next to nothing, LogNormal(.5, 1.5); the other columns score runs above a fraction
    of the largest compute, forecast from those below it."""
    sweeps = learning_sweeps()
    names = list(sweeps)[::every]
    default = Model.load("skaling-drift")
    pooled = {"the Pile": Model.load("skaling-drift-families")}
    jobs = [
        Job(each, sweeps[each], with_rate(pooled.get(each, default), *VAGUE), 1) for each in names
    ]
    vague = run(jobs, workers, of_rate)
    rows: list[Row] = []
    for name in names:
        quantiles = np.quantile(vague[name]["drift_rate"], [0.05, 0.5, 0.95])
        row: Row = {"set": name, "runs": sweeps[name].sizes["run"]}
        rows.append(
            row | dict(zip(("rate_05", "rate", "rate_95"), map(float, quantiles), strict=True))
        )
    priors = {
        "Exponential, median .2 (shipped)": default,
        "LogNormal(.3, .5)": with_rate(default, 0.3, 0.5),
        "LogNormal(.2, .5)": with_rate(default, 0.2, 0.5),
        "no drift": Model.load("skaling"),
    }
    for group, parts in {"ladder": (4, 12), "C4": (3, 10, 30)}.items():
        mine = [each for each in names if each.startswith(group)]
        jobs = []
        for each in mine:
            for part in parts:
                cut = float(sweeps[each]["flops"].max()) / part
                train, ahead = below(sweeps[each], cut), above(sweeps[each], cut)
                jobs += [
                    Job(f"{prior}|{each}|{part}", train, model, 1, aside=ahead)
                    for prior, model in priors.items()
                ]
        found = run(jobs, workers)
        for prior in priors:
            fits = [found[job.name] for job in jobs if job.name.startswith(f"{prior}|")]
            rows.append(
                summary(prior, fits) | {"set": f"{group}, above 1/{', 1/'.join(map(str, parts))}"}
            )
    return rows


def of_rate(fit: xr.DataTree, job: Job) -> Scored:
    """Draws of the drift's rate."""
    return {"drift_rate": fit["posterior"]["drift_rate"].values.ravel()}


def learning_sweeps() -> dict[str, xr.Dataset]:
    """C4 runs that read no token twice, the runs on the Pile, and those of OLMo's ladder on each of its corpora."""
    found = {"the Pile": bs.load_dataset("pile")}
    runs = pd.read_csv(folder() / "datablations.csv")
    once = (runs["epochs"] <= 1.01) & (runs["variant"] == "main") & (runs["tokens"] >= 1e9)
    ladder = pd.read_csv(folder() / "olmo_ladder_small.csv")
    tables = {"C4": (runs[once], "loss"), "ladder": (ladder, "loss")}
    corpora = [each for each in ladder.columns if each.startswith("loss_")]
    tables |= {f"ladder, {each.removeprefix('loss_')}": (ladder, each) for each in corpora}
    for name, (runs, loss) in tables.items():
        columns = {"params": runs["params"], "tokens": runs["tokens"], "loss": runs[loss]}
        columns["flops"] = 6 * columns["params"] * columns["tokens"]
        found[name] = xr.Dataset({key: ("run", of.to_numpy(float)) for key, of in columns.items()})
    return found


def chinchilla(workers: int, every: int) -> list[Row]:
    """The Chinchilla runs: fit those below a cut of compute, predict the larger ones. ``chinchilla-drift`` is no shipped
    model but ``chinchilla`` with the default drift."""
    runs = sweep()
    models = ("skaling-drift", "chinchilla-drift", "skaling", "chinchilla")
    jobs = [
        Job(f"{cut:.0e}|{name}", below(runs, cut), named(name), 1, aside=above(runs, cut))
        for cut in CUTS[::every]
        for name in models
    ]
    found = run(jobs, workers)
    rows = []
    for job in jobs:
        cut, name = job.name.split("|")
        if job.name in found:
            row = summary(name, [found[job.name]]) | {"cut": cut, "trained": job.runs.sizes["run"]}
            assert job.aside is not None
            largest = np.argsort(job.aside["flops"].values)[-10:]
            top = {k: v[largest] if np.ndim(v) == 1 else v for k, v in found[job.name].items()}
            row["coverage_90_top10"] = summary(name, [top])["coverage_90"]
            rows.append(row)
    for at in CUTS[::every]:
        train, ahead = below(runs, at), above(runs, at)
        largest = np.argsort(ahead["flops"].values)[-10:]
        others = simple(train, ahead, "chinchilla", "flops")
        told = peer(train, ahead)
        for name, value in (others | ({PEER: told} if told else {})).items():
            top = {k: v[largest] if np.ndim(v) == 1 else v for k, v in value.items()}
            both = [
                peer_summary([each]) if name == PEER else summary(name, [each])
                for each in (value, top)
            ]
            row = both[0] | {"cut": f"{at:.0e}", "trained": train.sizes["run"]}
            rows.append(row | {"coverage_90_top10": both[1]["coverage_90"]})
    return sorted(rows, key=lambda row: float(row["cut"]))


def sparse(workers: int, every: int) -> list[Row]:
    """Ten of the Chinchilla runs below each cut, spread over compute, drawn 20 times; beside them all runs below it."""
    runs = sweep()
    rng = np.random.default_rng(0)
    draws = 20 if every == 1 else 3
    jobs = []
    for cut in CUTS[::every]:
        train, ahead = below(runs, cut), above(runs, cut)
        order = np.argsort(train["flops"].values)
        jobs.append(Job(f"{cut:.0e}|all", train, "skaling-drift", 1, aside=ahead))
        for draw in range(draws):
            chosen = np.sort([rng.choice(part) for part in np.array_split(order, 10)])
            few = train.isel(run=chosen)
            jobs.append(Job(f"{cut:.0e}|{draw}", few, "skaling-drift", 1, aside=ahead))
    found = run(jobs, workers)

    def error(fit: Scored) -> float:
        return float(np.median(np.abs(np.log(fit["median"] / fit["observed"]))))

    rows = []
    for cut in CUTS[::every]:
        whole = found[f"{cut:.0e}|all"]
        fits = [
            value
            for name, value in found.items()
            if name.startswith(f"{cut:.0e}|") and value is not whole
        ]
        row = summary("skaling-drift", fits) | {"cut": f"{cut:.0e}"}
        median = float(np.median([error(fit) for fit in fits]))
        row |= {"median_log_error": median, "times_that_of_all_runs": median / error(whole)}
        rows.append(row)
    pooled = [value for name, value in found.items() if not name.endswith("|all")]
    return [*rows, summary("skaling-drift", pooled) | {"cut": "all"}]


#: Sizes and ratios of tokens to parameters of three designs, over two decades of parameters.
DESIGNS = {9: (3, 3), 16: (4, 4), 30: (6, 5)}


def recovery(workers: int, every: int) -> list[Row]:
    """The bare Chinchilla model on sweeps of laws like Chinchilla's: 90 % intervals of its parameters and answers."""
    rng = np.random.default_rng(20)
    jobs = []
    for count, (sizes, ratios) in DESIGNS.items():
        for repeat in range(40 if every == 1 else 4):
            alpha, beta = np.array([0.3478, 0.3658]) * np.exp(0.15 * rng.standard_normal(2))
            E, of_params, of_tokens = np.array([1.8172, 0.357, 0.354]) * np.exp(
                np.array([0.1, 0.2, 0.2]) * rng.standard_normal(3)
            )
            truth = {"E": E, "A": of_params * 1e9**alpha, "alpha": alpha}
            truth |= {"B": of_tokens * 2e10**beta, "beta": beta}
            params = np.repeat(np.geomspace(1e8, 1e10, sizes), ratios)
            ratio = np.tile(np.geomspace(5, 100, ratios), sizes)
            runs = table(partial(additive, **truth), 6 * ratio * params**2, ratio, rng, noise=0.005)
            far = np.sqrt(100 * float(runs["flops"].max()) / 120) * np.sqrt([1, 2])
            near, doubled = additive(far, 20 * far, **truth)
            exact = {"alpha": alpha, "E": E, "loss at 100x": near, "gain at 100x": near - doubled}
            aside = xr.Dataset(exact)
            jobs.append(
                Job(f"{count}|{repeat}", runs, "chinchilla", repeat, draws=500, aside=aside)
            )
    outcomes = fit_many(jobs, then=recovered, workers=workers, progress=True)
    rows: list[Row] = []
    for size in (*map(str, DESIGNS), "all"):
        done = [each.value for each in outcomes if size in ("all", each.name.split("|")[0])]
        row: Row = {"runs": size, "fits": len(done)}
        rows.append(row | {name: float(np.mean([each[name] for each in done])) for name in done[0]})
    return rows


def additive(params: Any, tokens: Any, *, E: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    """Chinchilla's law."""
    return E + A * params**-alpha + B * tokens**-beta


def recovered(fit: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
    """Whether 90 % intervals hold what was simulated."""
    far = 100 * float(job.runs["flops"].max())
    answer = returns(fit, flops=[far], path="fixed-ratio=20")
    draws = {name: fit["posterior"][name] for name in ("alpha", "E")}
    draws |= {"loss at 100x": answer["loss"], "gain at 100x": answer["gain"]}
    found = {}
    for name, values in draws.items():
        assert job.aside is not None
        lower, upper = np.quantile(values, [0.05, 0.95])
        found[name] = np.array(lower <= float(job.aside[name]) <= upper)
    return found | {"converged": np.array(bool(fit.attrs["converged"]))}


#: Truths of each model.
SIMULATIONS = 200
#: Scores of tasks are not simulated; their loss is that of skaling-drift-families.
NOT_RANKED = ("tasks",)
#: Levels of inputs that are no scale of training, and of those that are but not in params, tokens or FLOP.
LEVELS = {
    "granularity": (1, 2, 4, 8, 16),
    "density": (0.05, 0.1, 0.25, 0.5, 1.0),
    "precision": (3, 4, 6, 8, 16),
    "weight_bits": (2, 3, 4, 6, 8),
    "year": (2014, 2016, 2018, 2020, 2022),
    "experts": (1, 8, 32, 128, 512),
}
ALONE = {
    "context": (2**9, 2**15),
    "samples": (1, 1000),
    "share": (0.02, 0.5),
    "test_time_compute": (300, 30_000),
    "flops": (1e18, 1e20),
}


def design(model: Model) -> xr.Dataset:
    """Thirty runs at a law's natural size: every input varied, none in step with another."""
    rng = np.random.default_rng(3)
    flops, ratio = thirty()
    runs = table(TRUTHS[IN_MODEL], flops, ratio, rng, noise=0.004)
    wanted = [each for each in model.columns if each not in runs or len(model.inputs) == 1]
    found: dict[str, Any] = {}
    for name in wanted:
        shift = np.arange(flops.size) // 5 * 2 + np.arange(flops.size)
        if name in ALONE:
            # Along one input no two runs of one size: they would be repeats.
            found[name] = np.geomspace(*ALONE[name], flops.size)
        elif name in LEVELS:
            found[name] = np.array(LEVELS[name], dtype=float)[shift % 5]
        elif name == model.noise.trials:
            found[name] = np.full(flops.size, 100.0)
        elif name == "unique_tokens":
            found[name] = runs["tokens"].values / np.array([1, 2, 4, 10, 40])[shift % 5]
        elif name == "other_tokens":
            found[name] = runs["tokens"].values * np.array([0.25, 0.5, 1, 2, 4])[shift % 5]
        elif name == "characters":
            found[name] = 4 * runs["tokens"].values
        elif name == "vocab_params":
            found[name] = (
                0.2 * runs["params"].values ** 0.83 * np.array([2, 5, 10, 20, 50])[shift % 5]
            )
        else:
            found[name] = np.array(["a", "b", "c", "d", "e"])[shift % 5]
    runs = runs.assign({name: ("run", values) for name, values in found.items()})
    if model.noise.of_rate:
        runs["loss"] = xr.full_like(runs["loss"], 0.5)
    return runs[[*model.columns, "loss"]]


def ranks(workers: int, every: int, only: list[str] | None = None) -> list[Row]:
    """Simulation-based calibration of the shipped models (those without a row have not been run): truths from each
    model's own prior, on 30 runs at its law's natural size, whose answers at 10 and 100 times the largest run, and
    whose onset where the law has a path of compute, are ranked among the fits'. ``coverage_90`` is the mean over
    answers, ``worst`` the one that the 90 % intervals hold least often, ``uneven`` the one whose ranks are least even,
    ``p_value`` the probability of ranks less even than those, by a chi-square test over 20 bins. The picture shows
    that answer of each model; its p is of ArviZ's test of the whole shape and may differ. Of 200
    truths a coverage of 90 % is told to within 4 points (two standard errors). Fits keep 500 draws
    a chain; one that does not converge so is made again with 1,000, as ``fit`` takes by default."""
    kept = json.loads(RANKS.read_text()) if every == 1 and RANKS.exists() else {}
    rows = {str(each["model"]): each for each in stored("ranks") if every == 1}
    wanted = [each for each in bs.model.shipped() if each not in NOT_RANKED]
    left = [each for each in wanted if rows.get(each, {"fits": 0})["fits"] < SIMULATIONS]
    for name in only or left:
        model = Model.load(name)
        simulations = SIMULATIONS if every == 1 else 10
        found = calibrate(
            design(model), model, simulations=simulations, random_seed=11, workers=workers
        )
        inside, even = found["inside"].mean("simulation"), found["p_value"]
        worst, uneven = inside.idxmin().item(), even.idxmin().item()
        rows[name] = {
            "model": name,
            "law": model.law,
            "fits": found.sizes["simulation"],
            "converged": float(found["converged"].mean()),
            "coverage_90": float(inside.mean()),
            "worst": worst,
            "coverage_90_worst": float(inside.min()),
        }
        if simulations == SIMULATIONS:
            # Fewer cannot tell even ranks from others.
            rows[name] |= {"uneven": uneven, "p_value": float(even.min())}
            kept[name] = {
                str(answer): found["rank"].sel(answer=answer).values.tolist()
                for answer in found["answer"].values
            }
        print(rows[name], flush=True)
        if every == 1:
            # One by one, so that what is broken off has lost no more than the model that it was at.
            write(RANKS, json.dumps(dict(sorted(kept.items()))))
            keep("ranks", [rows[each] for each in sorted(rows)])
            draw_least_even(rows, kept)
    return [rows[each] for each in sorted(rows)]


def draw_least_even(rows: dict[str, Row], kept: dict[str, dict[str, list[int]]]) -> None:
    """The picture of the answer of each model whose ranks are least even."""
    shown = [(name, str(rows[name]["uneven"])) for name in sorted(kept)]
    least = {f"{name}: {answer}": kept[name][answer] for name, answer in shown}
    each = xr.Dataset(
        {"rank": (("simulation", "answer"), np.array(list(least.values())).T)},
        {"answer": list(least)},
        {"model": "each shipped model"},
    )
    plot_ranks(each, size=(20, 15)).savefig(PICTURE, dpi=75)


IN_MODEL = "in the model (Chinchilla's own law)"
TRUTHS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    IN_MODEL: lambda n, d: 1.8172 + 482.01 / n**0.3478 + 2085.43 / d**0.3658,
    "hidden second power": lambda n, d: (
        1.7 + 482.01 / n**0.3478 + 2085.43 / d**0.3658 + 3.0 / (n * d) ** 0.04
    ),
    "three components": lambda n, d: (
        1.2 + 300 / n**0.34 + 1200 / d**0.36 + 12.0 / (6 * n * d) ** 0.06
    ),
    "break at 3 times the largest run": lambda n, d: (
        (1.8172 + 482.01 / n**0.3478 + 2085.43 / d**0.3658) * (1 + (6 * n * d / 3e20) ** 2) ** 0.01
    ),
    "under-tuned small runs": lambda n, d: (
        (1.8172 + 482.01 / n**0.3478 + 2085.43 / d**0.3658)
        * (1 + 0.03 * (6 * n * d / 1e18) ** -0.3)
    ),
}


def simulated(workers: int, every: int) -> list[Row]:
    """Truths that are known, within the model and outside of it: 30 runs up to 1e20 FLOP, asked at 1e21 and 1e22."""
    return known(workers, every, {name: (law, *thirty()) for name, law in TRUTHS.items()})


def thirty() -> tuple[np.ndarray, np.ndarray]:
    """Compute [FLOP] and tokens per parameter of 30 runs on two decades."""
    return np.repeat(np.geomspace(1e18, 1e20, 6), 5), np.tile(np.geomspace(3, 150, 5), 6)


def designs(workers: int, every: int) -> list[Row]:
    """Grids of few configurations of a law that is additive, as the peer's authors simulate it; largest run 1e20 FLOP."""
    law = TRUTHS[IN_MODEL]
    cases = {}
    for levels in (2, 3, 4):
        params, tokens = np.meshgrid(
            np.geomspace(3e7, 1e9, levels), np.geomspace(5e8, 1.6667e10, levels)
        )
        flops, ratio = 6 * params * tokens, tokens / params
        cases[f"{levels} x {levels}"] = law, flops.ravel(), ratio.ravel()
    return known(workers, every, cases)


type Case = tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], np.ndarray, np.ndarray]


def breaks(workers: int, every: int) -> list[Row]:
    """The same truths under a prior of breaks not yet seen: beside the rows above, what they cost and what they buy."""
    wanted = (IN_MODEL, "three components", "break at 3 times the largest run")
    cases = {name: (TRUTHS[name], *thirty()) for name in wanted}
    return known(workers, every, cases, models=("skaling-breaks",))


def known(
    workers: int,
    every: int,
    cases: dict[str, Case],
    models: tuple[str, ...] = ("skaling-drift", "chinchilla"),
) -> list[Row]:
    """Fit runs of known laws, and score one and two decades of compute beyond the largest."""
    rng = np.random.default_rng(1)
    repeats = 20 if every == 1 else 3
    jobs = []
    far_flops, far_ratio = np.array([1e21] * 5 + [1e22] * 5), np.tile(np.geomspace(3, 150, 5), 2)
    for truth, (law, flops, ratio) in cases.items():
        for repeat in range(repeats):
            runs = table(law, flops, ratio, rng, noise=0.004)
            far = table(law, far_flops, far_ratio, rng, noise=0.004)
            for name in models:
                jobs.append(Job(f"{truth}|{name}|{repeat}", runs, name, repeat, aside=far))
    found = run(jobs, workers)
    rows = []
    for truth in cases:
        mine = [job for job in jobs if job.name.startswith(f"{truth}|")]
        once = [job for job in mine if "|chinchilla|" in job.name]
        told = [each for job in once if job.aside and (each := peer(job.runs, job.aside))]
        for decades, which in ((1, slice(0, 5)), (2, slice(5, 10))):
            for name in models:
                fits = [found[job.name] for job in mine if f"|{name}|" in job.name]
                rows.append(summary(name, fits, which) | {"truth": truth, "decades": decades})
            if told:
                part = [
                    {k: v[which] if np.ndim(v) else v for k, v in each.items()} for each in told
                ]
                rows.append(peer_summary(part) | {"truth": truth, "decades": decades})
    return rows


def table(
    law: Callable[[np.ndarray, np.ndarray], np.ndarray],
    flops: np.ndarray,
    ratio: np.ndarray,
    rng: np.random.Generator,
    noise: float,
) -> xr.Dataset:
    """Runs of a known law at compute and tokens per parameter."""
    params = np.sqrt(flops / (6 * ratio))
    tokens = ratio * params
    loss = law(params, tokens) * np.exp(noise * rng.standard_normal(flops.size))
    columns = {"params": params, "tokens": tokens, "flops": flops, "loss": loss}
    return xr.Dataset({name: ("run", values) for name, values in columns.items()})


def sweep() -> xr.Dataset:
    """The Chinchilla runs without the five that their curators exclude."""
    folder()
    runs = bs.load_dataset("epoch-chinchilla")
    return runs.isel(run=runs["epoch_excluded"].values == 0)


def below(runs: xr.Dataset, cut: float) -> xr.Dataset:
    return runs.isel(run=runs["flops"].values <= cut)


def above(runs: xr.Dataset, cut: float) -> xr.Dataset:
    return runs.isel(run=runs["flops"].values > cut)


def named(name: str) -> Model:
    """A shipped model, or one with ``-drift`` added to its name and to its law."""
    return (
        Model.load(name)
        if name in bs.model.shipped()
        else Model.load(name[: -len("-drift")]).with_discrepancy("drift")
    )


PARTS = {
    "rates": rates,
    "curves": curves,
    "chinchilla": chinchilla,
    "sparse": sparse,
    "simulated": simulated,
    "breaks": breaks,
    "designs": designs,
    "recovery": recovery,
    "ranks": ranks,
}
INTRO = """# Calibration

Generated by `python benchmarks/calibration.py`; do not edit. Coverage is the share of held-out losses inside central
predictive intervals for a new run; `lpd` the mean log predictive density of the log loss; `rmsle` the root mean square
error of the median, in log loss; `width_90` the mean relative width of the 90 % interval. All are means over fits.

"""
PUBLISHED = """
Published for the same curves, for comparison (marked as published, not measured here): IC: NSL-PFN RMSLE .0280, LL
3.330; MCMC(M4) .0422, 3.024; M4 point fit .0415 (arXiv 2505.23032, 2209.06640).
"""


def page(results: dict[str, list[Row]]) -> str:
    """The page, from the stored rows."""
    text = INTRO + marks(results)
    for part, function in PARTS.items():
        if part not in results:
            continue
        # Rows of what was learned and rows of scores stand apart.
        tables = [
            [row for row in results[part] if ("rate" in row) == learned]
            for learned in (True, False)
        ]
        shown = "\n".join(markdown(pd.DataFrame(rows)) for rows in tables if rows)
        text += f"## {part}\n\n{function.__doc__}\n\n{shown}\n"
        text += PUBLISHED if part == "curves" else ""
        text += f"\n![Ranks](results/{PICTURE.name})\n" if part == "ranks" else ""
        text += "\n"
    return text


def marks(results: dict[str, list[Row]]) -> str:
    """What was asked of the default models before anything was measured, and whether it was met."""

    def of(part: str, column: str, **where: Any) -> list[float]:
        rows = [row for row in results.get(part, []) if where.items() <= row.items()]
        return [float(row[column]) for row in rows if column in row]

    def ends(values: list[float]) -> list[float]:
        return [min(values), max(values)] if values else []

    ranked = json.loads(RANKS.read_text()) if RANKS.exists() else {}
    corrected = [each * sum(map(len, ranked.values())) for each in ends(of("ranks", "p_value"))[:1]]

    drift = {"model": "skaling-drift"}
    inside = {**drift, "truth": IN_MODEL, "decades": 1}
    bare = of("simulated", "width_90", model="chinchilla", truth=IN_MODEL, decades=1)
    # The prior as it is shipped was set on these curves; what tests it was learned on the other set.
    other = {"model": "shifted-drift, its prior from the other set"}
    fits, covered = (
        np.array(
            [
                of("curves", name, set=each, **other)
                for each in LANGUAGE
                if of("curves", name, set=each)
            ]
        )
        for name in ("fits", "coverage_90")
    )
    language = [float((fits * covered).sum() / fits.sum())] if fits.size else []
    above = [lead for each in ("IC", *LANGUAGE) for lead in of("curves", "lead", set=each, **other)]
    asked: list[tuple[str, list[float], float, float]] = [
        ("Chinchilla cuts: coverage", of("chinchilla", "coverage_90", **drift), 0.80, 0.98),
        ("of the ten largest runs", of("chinchilla", "coverage_90_top10", **drift), 0.70, 1.0),
        ("Sparse: pooled coverage", of("sparse", "coverage_90", cut="all"), 0.85, 0.98),
        ("error beside that of all runs", of("sparse", "times_that_of_all_runs"), 0.0, 1.6),
        ("In-model truth, a decade out: coverage", of("simulated", "coverage_90", **inside), 0.85, 0.95),
        (
            "width beside the bare law's",
            [a / b for a, b in zip(of("simulated", "width_90", **inside), bare, strict=False)],
            0.0,
            2.5,
        ),
        (
            "Three components, two decades out: coverage",
            of("simulated", "coverage_90", **drift, truth="three components", decades=2),
            0.80,
            1.0,
        ),
        ("Recovery of alpha, E, loss and gain: coverage",
         [v for name in ("alpha", "E", "loss at 100x", "gain at 100x") for v in of("recovery", name, runs="all")],
         0.80, 0.98),
        ("Vision curves, prior of the other set: log density", of("curves", "ll", set="IC", **other), 3.25, np.inf),
        ("error", of("curves", "rmsle", set="IC", **other), 0.0, 0.033),
        ("coverage", of("curves", "coverage_90", set="IC", **other), 0.85, 0.95),
        ("Language curves, prior of the other set: coverage", language, 0.82, 1.0),
        ("Log density above the better of persistence and least squares, by set", above, 0.0, np.inf),
        ("Shipped models: the least share that converged", ends(of("ranks", "converged"))[:1], 0.95, 1.0),
        ("least and greatest coverage of their answers", ends(of("ranks", "coverage_90")), 0.80, 0.98),
        ("least p-value of their ranks, corrected for their number", [min(each, 1.0) for each in corrected], 0.01, 1.0),
    ]  # fmt: skip
    lines = [
        "## Marks set beforehand",
        "",
        "| what | asked | measured | met |",
        "|---|---|---|---|",
    ]
    for what, found, low, high in asked:
        if not found:
            continue
        bounds = f"≥ {low:g}" if np.isinf(high) or high == 1.0 else f"{low:g} to {high:g}"
        bounds = f"≤ {high:g}" if low == 0.0 and np.isfinite(high) else bounds
        met = all(low <= value <= high for value in found)
        shown = ", ".join(f"{value:.4g}" for value in found)
        lines.append(f"| {what} | {bounds} | {shown} | {'yes' if met else '**no**'} |")
    return "\n".join(lines) + "\n\n"


def markdown(rows: pd.DataFrame) -> str:
    """A table in Markdown; numbers with three digits."""
    front = [
        name
        for name in ("set", "cut", "truth", "decades", "runs", "model", "answer")
        if name in rows
    ]
    rows = rows[[*front, *(name for name in rows if name not in front)]]
    cells = [
        ["" if v != v else f"{v:.3g}" if isinstance(v, float) else str(v) for v in row]
        for row in rows.itertuples(index=False)
    ]
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + "---|" * rows.shape[1]]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells]) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8"
    ) as scratch:
        scratch.write(text)
    os.chmod(scratch.name, 0o644)
    os.replace(scratch.name, path)


def stored(part: str) -> list[Row]:
    """Rows of a part from an earlier run."""
    return json.loads(RESULTS.read_text()).get(part, []) if RESULTS.exists() else []


def keep(part: str, rows: list[Row]) -> None:
    """Store the rows of a part beside those of the others, and make the page anew."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[part] = rows
    write(RESULTS, json.dumps(results, indent=1))
    write(PAGE, page(results))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="only this part; may be repeated"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few fits of each part; writes nothing"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--model",
        action="append",
        help="of part ranks: this one, though it has a row; may be repeated",
    )
    args = parser.parse_args()
    for part in args.part or PARTS:
        try:
            every = 12 if args.quick and part == "curves" else 4 if args.quick else 1
            only = {"only": args.model} if part == "ranks" else {}
            rows = PARTS[part](args.workers, every, **only)
        except FileNotFoundError as error:
            print(f"{part}: skipped: {error}")
            continue
        print(pd.DataFrame(rows).round(3).to_string())
        if not args.quick:
            keep(part, rows)


if __name__ == "__main__":
    main()
