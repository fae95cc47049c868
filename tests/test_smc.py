"""Sequential Monte Carlo: its marginal likelihood beside numerical integration, and two modes with their true mass."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp
from typer.testing import CliRunner

import bayescale as bs
from bayescale import laws
from bayescale.cli import app
from bayescale.inference.arrays import graph_data
from bayescale.laws import Input, Law, Param
from bayescale.model import Model
from bayescale.notes import get_notes

LINE = """
format = 1
law = "pure_power"
[priors.level]
dist = "LogNormal"
kwargs = { median = 2.5, sigma = 0.2 }
[priors.gamma]
dist = "LogNormal"
kwargs = { median = 0.1, sigma = 0.5 }
[noise]
dist = "Normal"
sigma = { dist = "LogNormal", kwargs = { median = 0.01, sigma = 0.7 } }
"""
DRIFT = '[discrepancy]\nrate = { dist = "LogNormal", kwargs = { median = 0.6, sigma = 0.6 } }\n'


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    flops = np.logspace(18, 21, 10)
    noise = np.exp(0.01 * np.random.default_rng(3).standard_normal(flops.size))
    return bs.read_runs(
        pd.DataFrame({"flops": flops, "loss": 2.5 * (flops / 1e20) ** -0.08 * noise})
    )


def integrated(runs: xr.Dataset, model: Model, points: int = 40) -> float:
    """Log marginal likelihood: the level by its closed form, exponent, noise and drift on a grid."""
    data = graph_data(runs, model)
    observed, scale = data["observed"], data["log_scale"]
    size = observed.size
    grid = (np.arange(points) + 0.5) / points
    normal = stats.norm.ppf(grid)
    gamma, sigma = 0.1 * np.exp(0.5 * normal), 0.01 * np.exp(0.7 * normal)
    # The log of the level is Normal, and enters log losses as it is.
    level = 0.2**2 * np.ones((size, size))
    drift = np.zeros((size, size))
    rates = np.zeros(1)
    if "elasticity" in data:
        drift = (data["drift_left"] * data["drift_spectrum"]) @ data["drift_left"].T
        rates = 0.6 * np.exp(0.6 * normal) * float(data["elasticity"])
    each = np.log(2.5) - gamma[:, None] * scale - observed
    found = []
    for sd in sigma:
        for rate in rates:
            covariance = sd**2 * np.eye(size) + rate**2 * drift + level
            found.append(stats.multivariate_normal(np.zeros(size), covariance).logpdf(each))
    # Equal weights: the grid holds the middles of equally probable cells of each prior.
    return float(logsumexp(found) - np.log(np.size(found)) - observed.sum())


def agree(tree: xr.DataTree, truth: float) -> None:
    """Within four standard errors; a population of a thousand particles is known to scatter by a tenth."""
    found = tree["sample_stats"]["log_marginal_likelihood"].values
    print(found, truth)
    error = max(found.std(ddof=1), 0.1) / np.sqrt(found.size)
    assert error < 0.25
    assert abs(found.mean() - truth) < 4 * error


def test_the_grid_is_fine_enough(runs: xr.Dataset) -> None:
    model = Model.from_toml(LINE)
    assert integrated(runs, model, 60) == pytest.approx(integrated(runs, model, 120), abs=0.01)


def test_marginal_likelihood_is_that_of_numerical_integration(
    runs: xr.Dataset, tmp_path: Path
) -> None:
    model = Model.from_toml(LINE)
    tree = bs.fit(runs, model, sampler="smc", draws=500, random_seed=1)
    agree(tree, integrated(runs, model, 80))
    assert (tree.attrs["converged"], tree.attrs["sampler"]) == (1, "smc")
    assert tree["sample_stats"]["log_marginal_likelihood"].dtype == float
    # Same posterior as the other samplers, and a file like any other.
    other = bs.fit(runs, model, draws=500, random_seed=1)
    ours, theirs = (each["posterior"]["gamma"] for each in (tree, other))
    assert abs(float(ours.mean() - theirs.mean())) < 0.15 * float(theirs.std())
    assert float(ours.std() / theirs.std()) == pytest.approx(1, abs=0.12)
    bs.save(tree, tmp_path / "fit.nc")
    back = bs.load(tmp_path / "fit.nc")
    table = bs.check(back)
    row = table.loc["log marginal likelihood, sd of chains"]
    assert (row["verdict"], row["threshold"]) == ("ok", "<= 1")
    assert "divergences" not in table.index
    answer = CliRunner().invoke(app, ["check", str(tmp_path / "fit.nc"), "--json"])
    facts = json.loads(answer.stdout)["log_marginal_likelihood"]
    values = back["sample_stats"]["log_marginal_likelihood"].values
    assert facts["chains"] == values.tolist()
    assert facts["mean"] == pytest.approx(values.mean())
    shown = CliRunner().invoke(app, ["check", str(tmp_path / "fit.nc")])
    assert f"log marginal likelihood {values.mean():.2f}" in shown.output


@pytest.mark.slow
def test_marginal_likelihood_with_the_drift_integrated_out(runs: xr.Dataset) -> None:
    model = Model.from_toml(LINE + DRIFT)
    tree = bs.fit(runs, model, sampler="smc", random_seed=1)
    assert tree.attrs["converged"] == 1
    assert "drift" in tree["posterior"]
    agree(tree, integrated(runs, model))


@pytest.mark.slow
def test_the_marginal_likelihood_prefers_the_law_that_made_the_runs() -> None:
    """Runs that near a floor: a line in logs cannot follow them, and odds of twenty to one say so."""
    flops = np.logspace(18, 22, 14)
    noise = np.exp(0.005 * np.random.default_rng(3).standard_normal(flops.size))
    runs = pd.DataFrame({"flops": flops, "loss": (1.7 + (flops / 1e20) ** -0.3) * noise})
    found = {}
    for law in ("pure_power", "power"):
        text = f'format = 1\nlaw = "{law}"\n[noise]\ndist = "Normal"\n'
        tree = bs.fit(bs.read_runs(runs), Model.from_toml(text), sampler="smc", random_seed=1)
        assert tree.attrs["converged"] == 1
        found[law] = tree["sample_stats"]["log_marginal_likelihood"].values
    print(found)
    assert found["power"].min() > found["pure_power"].max() + np.log(20)


@pytest.fixture(scope="module")
def mirrored() -> str:
    """A law whose exponent is a square: of either sign of its root the runs say the same."""

    def loss(scale: object, *, A: object, root: object) -> object:
        return A * np.exp(-(root**2) * np.log(scale))  # type: ignore[operator, call-overload]

    law = Law(
        name="mirrored",
        title="A power law with two modes",
        question="Which root is it?",
        equation="L = A * x^-(root^2)",
        latex=r"L = A x^{-r^2}",
        source="made for this test",
        inputs=(Input("scale", "training compute", "FLOP"),),
        params=(
            Param("A", "loss at the reference scale", "nat/token"),
            Param(
                "root",
                "root of the exponent",
                "1",
                prior={"dist": "Normal", "kwargs": {"mu": 0.2, "sigma": 0.4}},
                support="real",
            ),
        ),
        loss=loss,
        terms=("A",),
        floor=None,
    )
    laws.register(law)
    return law.name


@pytest.mark.slow
def test_two_modes_get_the_mass_they_have_where_gradient_chains_are_caught(
    runs: xr.Dataset, mirrored: str
) -> None:
    """The likelihood is even in the root, so the modes' odds are those of the prior at plus and minus the root.

    Chains of NUTS start apart and stay where they fall: a high R-hat, and a note that names chains and modes.
    """
    text = LINE.replace('"pure_power"', f'"{mirrored}"')
    text = text.replace(
        '[priors.gamma]\ndist = "LogNormal"\nkwargs = { median = 0.1, sigma = 0.5 }\n', ""
    )
    model = Model.from_toml(text)
    tree = bs.fit(runs, model, sampler="smc", random_seed=1)
    root = tree["posterior"]["root"]
    middle = float(np.abs(root).mean())
    prior = stats.norm(0.2, 0.4)
    odds = prior.pdf(middle) / (prior.pdf(middle) + prior.pdf(-middle))
    share = (root > 0).mean("draw").values
    print(share, odds)
    assert 0.6 < odds < 0.9
    assert np.all((share > 0.4) & (share < 0.98))
    assert abs(share.mean() - odds) < 4 * max(share.std(ddof=1), 0.01) / np.sqrt(share.size)
    assert "multimodal" not in [note.code for note in get_notes(tree)]

    caught = bs.fit(runs, model, draws=200, random_seed=4)
    sides = (caught["posterior"]["root"] > 0).mean("draw").values
    assert set(sides) == {0.0, 1.0}
    assert caught.attrs["converged"] == 0
    (note,) = [note for note in get_notes(caught) if note.code == "multimodal"]
    print(note.message)
    for chain in range(4):
        assert str(chain) in note.message
    assert "root = 0.2" in note.message
    assert "root = -0.2" in note.message
