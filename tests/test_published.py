"""Against what is published and what is known: the Chinchilla runs, other samplers, simulated sweeps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from arviz_stats import mcse
from scipy import stats

import bayescale as bs

pytestmark = pytest.mark.slow

#: Besiroglu et al. 2024, arXiv 2404.10102: estimate and standard error (4,000 bootstraps) on 240 runs.
PUBLISHED = {"E": (1.8172, 0.0257), "alpha": (0.3478, 0.0154), "beta": (0.3658, 0.0206)}


@pytest.fixture(scope="module")
def chinchilla(data_dir: Path) -> xr.DataTree:
    """The runs without the five that Besiroglu et al. left out."""
    runs = bs.read_runs(data_dir / "epoch_chinchilla.csv")
    return bs.fit(runs.isel(run=runs["epoch_excluded"].values == 0), "chinchilla", random_seed=1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_chinchilla_runs_give_the_published_parameters(
    name: str, chinchilla: xr.DataTree
) -> None:
    assert chinchilla.attrs["converged"] == 1
    assert chinchilla["observed_data"].sizes["run"] == 240
    draws = chinchilla["posterior"][name].values
    estimate, error = PUBLISHED[name]
    print(f"{name}: {draws.mean():.4f} sd {draws.std():.4f}, published {estimate} ({error})")
    assert abs(draws.mean() - estimate) < error
    # Much narrower than a bootstrap would be too good to be true.
    assert error / 3 < draws.std() < 2 * error


def test_the_chinchilla_runs_give_the_published_returns(chinchilla: xr.DataTree) -> None:
    """Bootstrap intervals of a Huber fit to the same runs: gain .0089 to .0121 at 1e25, loss 1.887 to 1.958."""
    assert 1.77 < chinchilla["posterior"]["E"].mean() < 1.87
    found = bs.returns(chinchilla, flops=[1e21, 1e25], path="compute-optimal")
    mean, sd = found.mean(("chain", "draw")), found.std(("chain", "draw"))
    print(f"gain at 1e25: {mean['gain'].values[1]:.5f} sd {sd['gain'].values[1]:.5f}")
    assert 0.0534 < mean["gain"].values[0] < 0.0583
    assert 0.0095 < mean["gain"].values[1] < 0.0120
    assert 1.887 < mean["loss"].values[1] < 1.958


@pytest.mark.timeout(900)
@pytest.mark.parametrize("sampler", ["pymc", "numpyro"])
def test_every_sampler_draws_from_the_same_posterior(sampler: str, simulate: Callable) -> None:
    sweep = simulate(6, seed=4)
    ours, theirs = (
        bs.fit(sweep, "chinchilla", random_seed=2, sampler=name) for name in ("nutpie", sampler)
    )
    assert (theirs.attrs["sampler"], theirs.attrs["converged"]) == (sampler, 1)
    assert set(ours.children) == set(theirs.children)
    for name in ("level", "alpha", "beta", "E", "A_ref", "sigma", "nu"):
        pair = [tree["posterior"][name] for tree in (ours, theirs)]
        for moment, method in (("mean", "mean"), ("std", "sd")):
            difference = float(getattr(pair[0], moment)() - getattr(pair[1], moment)())
            error = np.hypot(*(float(mcse(each, method=method)) for each in pair))
            print(f"{sampler}: {moment} of {name} differs by {difference / error:+.1f} errors")
            assert abs(difference) < 4 * error, f"{moment} of {name}"
    # What is expanded of a draw is the same, whoever drew it.
    for group in ("log_likelihood", "log_prior", "posterior_predictive"):
        assert dict(ours[group].sizes) == dict(theirs[group].sizes)
    pair = [tree["log_likelihood"]["loss"].sum("run") for tree in (ours, theirs)]
    error = np.hypot(*(float(mcse(each)) for each in pair))
    assert abs(float(pair[0].mean() - pair[1].mean())) < 4 * error


#: Sizes and ratios of tokens to parameters of three designs, over two decades of parameters.
DESIGNS = {9: (3, 3), 16: (4, 4), 30: (6, 5)}
SWEEPS = 40


def drawn_truth(rng: np.random.Generator) -> dict[str, float]:
    """A law near the published one: its exponents, and its terms at 1e9 parameters and 2e10 tokens."""
    alpha, beta = np.array([0.3478, 0.3658]) * np.exp(0.15 * rng.standard_normal(2))
    floor, of_params, of_tokens = np.array([1.8172, 0.357, 0.354]) * np.exp(
        np.array([0.1, 0.2, 0.2]) * rng.standard_normal(3)
    )
    return {
        "E": floor,
        "A": of_params * 1e9**alpha,
        "alpha": alpha,
        "B": of_tokens * 2e10**beta,
        "beta": beta,
    }


def loss_at(truth: dict[str, float], params: float, tokens: float) -> float:
    return (
        truth["E"] + truth["A"] * params ** -truth["alpha"] + truth["B"] * tokens ** -truth["beta"]
    )


@pytest.mark.timeout(3600)
def test_simulated_truth_is_covered_as_often_as_promised(simulate: Callable) -> None:
    """90 % intervals of exponent, floor, loss at 100 times the largest run and what a doubling buys there."""
    rng = np.random.default_rng(20)
    rows = []
    for runs, (sizes, ratios) in DESIGNS.items():
        for repeat in range(SWEEPS):
            truth = drawn_truth(rng)
            sweep = simulate(
                sizes,
                tuple(np.geomspace(5.0, 100.0, ratios)),
                truth=truth,
                smallest=1e8,
                decades=2.0,
                seed=1000 * runs + repeat,
            )
            assert sweep.sizes["run"] == runs
            tree = bs.fit(sweep, "chinchilla", random_seed=repeat, draws=500)
            far = 100 * float(sweep["flops"].max())
            answer = bs.returns(tree, flops=[far], path="fixed-ratio=20")
            params, doubled = np.sqrt(far / 120), np.sqrt(2 * far / 120)
            true_loss = loss_at(truth, params, 20 * params)
            exact = {
                "alpha": truth["alpha"],
                "E": truth["E"],
                "loss at 100x": true_loss,
                "gain at 100x": true_loss - loss_at(truth, doubled, 20 * doubled),
            }
            draws = {
                "alpha": tree["posterior"]["alpha"].values,
                "E": tree["posterior"]["E"].values,
                "loss at 100x": answer["loss"].values,
                "gain at 100x": answer["gain"].values,
            }
            for name, value in exact.items():
                lower, upper = np.quantile(draws[name], [0.05, 0.95])
                rank = (draws[name] < value).mean()
                inside = bool(lower <= value <= upper)
                converged = bool(tree.attrs["converged"])
                rows.append((runs, name, inside, rank, upper - lower, converged))
    table = pd.DataFrame(
        rows, columns=["runs", "quantity", "covered", "rank", "width", "converged"]
    )
    summary = table.groupby(["quantity", "runs"])[["covered", "width", "converged"]].mean()
    print(summary.to_string(float_format="%.4g"))
    print("pooled:", table.groupby("quantity")["covered"].mean().to_dict())
    assert table["converged"].mean() > 0.9
    for name, group in table.groupby("quantity"):
        assert 0.80 <= group["covered"].mean() <= 0.98, name
        # Ranks of the truth are not far from uniform: neither biased nor of a wrong width throughout.
        assert stats.kstest(group["rank"], "uniform").pvalue > 1e-4, name
    # More runs tell more.
    width = summary["width"].unstack("runs")
    assert (width[30] < width[9]).all()
