"""The rate of a drift summed out of the density and drawn back: the same posterior, sampled with less."""

import importlib
import json

import numpy as np
import pytest
import xarray as xr
from arviz_stats import mcse
from scipy import integrate, stats

import bayescale as bs
from bayescale.inference.arrays import graph_data
from bayescale.inference.build import build
from bayescale.inference.collapse import GRID, NAME, Collapsed, grid
from bayescale.inference.compile import Compiled, compile_model, unconstrain
from bayescale.model import Model, shipped
from tests.test_inference import density

# The function of the same name hides the module.
fitting = importlib.import_module("bayescale.inference.fit")


@pytest.fixture(scope="module")
def pile() -> xr.Dataset:
    return bs.load_dataset("pile")


@pytest.fixture(scope="module")
def both(pile: xr.Dataset) -> tuple[Compiled, Compiled]:
    """The whole density, and the one without the rate."""
    graph = build(pile, "skaling-drift")
    return compile_model(graph), compile_model(graph, nodes=GRID)


@pytest.fixture(scope="module")
def place(both: tuple[Compiled, Compiled]) -> int:
    """Of the rate in a whole point."""
    assert both[1].collapsed is not None
    return both[1].collapsed.place


@pytest.fixture(scope="module")
def kept(pile: xr.Dataset) -> xr.DataTree:
    return bs.fit(pile, "skaling-drift", draws=200, chains=2, random_seed=1)


@pytest.fixture(scope="module")
def points(pile: xr.Dataset, kept: xr.DataTree, place: int) -> np.ndarray:
    """A few draws, without their rates."""
    whole = unconstrain(build(pile, "skaling-drift"), kept["posterior"].to_dataset())
    return np.delete(whole[0, ::60], place, axis=1)


def test_the_density_is_the_integral_over_the_rate(
    both: tuple[Compiled, Compiled], points: np.ndarray, place: int
) -> None:
    whole, reduced = both
    for point in points:
        code, found, gradient = density(reduced, point)
        assert code == 0

        def relative(rate: float, point: np.ndarray = point, found: float = found) -> float:
            return float(np.exp(density(whole, np.insert(point, place, rate))[1] - found))

        expected, _ = integrate.quad(relative, -6, 6, epsabs=1e-9, limit=200)
        assert expected == pytest.approx(1, abs=1e-3)
        step = 1e-5
        for i in range(point.size):
            up, down = point.copy(), point.copy()
            up[i] += step
            down[i] -= step
            slope = (density(reduced, up)[1] - density(reduced, down)[1]) / (2 * step)
            assert gradient[i] == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_the_rate_is_drawn_from_its_conditional(
    both: tuple[Compiled, Compiled], points: np.ndarray, place: int
) -> None:
    whole, reduced = both
    assert reduced.collapsed is not None
    for point in points[:2]:
        same = np.tile(point, (4000, 1))
        drawn = reduced.collapsed.restore(same, reduced.packed(), np.random.default_rng(1))
        np.testing.assert_array_equal(np.delete(drawn, place, axis=1), same)
        fine = np.linspace(-6, 6, 1201)
        logs = np.array([density(whole, np.insert(point, place, each))[1] for each in fine])
        mass = integrate.cumulative_simpson(np.exp(logs - logs.max()), x=fine, initial=0.0)
        ranks = np.interp(drawn[:, place], fine, mass / mass[-1])
        assert stats.kstest(ranks, "uniform").pvalue > 1e-3


def test_a_narrow_conditional_is_drawn_without_its_grid() -> None:
    """As narrow as the grid is fine: moments within four standard errors of 50,000 draws."""
    width = GRID[1] - GRID[0]
    collapsed = Collapsed(
        0, GRID, lambda points, *_: np.tile(stats.norm.logpdf(GRID, 1.3, width), (len(points), 1))
    )
    points, size = np.zeros((50_000, 2)), 50_000
    drawn = collapsed.restore(points, (points, points), np.random.default_rng(1))[:, 0]
    assert drawn.mean() == pytest.approx(1.3, abs=4 * width / np.sqrt(size))
    assert drawn.std() == pytest.approx(width, rel=4 / np.sqrt(2 * size) + 2e-3)


def test_data_are_exchanged_as_in_any_density(
    both: tuple[Compiled, Compiled], pile: xr.Dataset
) -> None:
    fewer, model = pile.isel(run=slice(3, 20)), Model.load("skaling-drift")
    fresh = compile_model(build(fewer, model), nodes=GRID)
    moved = both[1].with_data(graph_data(fewer, model))
    point = fresh.sampled_start + 0.1
    assert density(moved, point)[1] == pytest.approx(density(fresh, point)[1], rel=1e-12)


def test_only_rates_that_may_be_zero_are_summed_out() -> None:
    chosen = {name for name in shipped() if grid(Model.load(name)) is not None}
    assert chosen == {"skaling-drift", "skaling-drift-families", "tasks"}
    uneven = Model.from_toml(
        """
        format = 1
        law = "skaling"
        [noise]
        known = "loss_sd"
        [discrepancy]
        rate = { dist = "Exponential", kwargs = { lam = 3.5 } }
        """
    )
    assert grid(uneven) is None


def test_the_kept_draws_have_a_rate_each(kept: xr.DataTree) -> None:
    tried = json.loads(kept.attrs["sampling"])
    assert {key: tried[0][key] for key in ("target_accept", "tune", "thin")} == {
        "target_accept": 0.8,
        "tune": 500,
        "thin": 5,  # 1,000 draws, for the 200 that were asked for.
    }
    rate = kept["posterior"][NAME].values
    assert (rate > 0).all()
    assert np.unique(rate).size == rate.size
    np.testing.assert_allclose(
        kept["log_prior"][NAME].values, np.log(3.5) - 3.5 * rate, rtol=1e-6, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skaling-drift", "skaling-drift-families"])
def test_summed_out_or_sampled_is_one_posterior(
    pile: xr.Dataset, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means and spreads within five of their joint standard errors, over every scalar."""
    summed = bs.fit(pile, name, random_seed=1, draws=2000)
    monkeypatch.setattr(fitting, "grid", lambda model: None)
    monkeypatch.setattr(fitting, "_COMPILED", {})
    sampled = bs.fit(pile, name, random_seed=2, draws=2000)
    assert summed.attrs["converged"] == sampled.attrs["converged"] == 1
    for kind, of in (("mean", np.mean), ("sd", np.std)):
        a, b = (each["posterior"].to_dataset() for each in (summed, sampled))
        errors = [mcse(each, method=kind) for each in (a, b)]
        for var in ("level", "alpha", "beta", "k", "sigma", "drift_rate", "E"):
            apart = of(a[var].values) - of(b[var].values)
            error = np.hypot(float(errors[0][var]), float(errors[1][var]))
            assert abs(apart) < 5 * error, (kind, var)
