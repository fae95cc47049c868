"""Scores of checkpoints, and the verdict on models that did not forecast all runs."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit

from bayescale import laws
from bayescale.model import Model
from bayescale.plots import plot_backtest
from bayescale.rates import Rates
from bayescale.validate import score
from bayescale.validate.score import Predictive, RatePredictive
from bayescale.validate.verdict import (
    NOMINAL,
    calibration,
    honest_range,
    recalibration,
    summarise_backtest,
    verdict,
)


def test_the_known_error_of_a_checkpoint_counts_once() -> None:
    model = Model.load("power").changed(noise={"known": "loss_sd"})
    fit = fake_fit(model)
    runs = xr.Dataset({"flops": ("run", np.array([1e21, 1e22, 1e23]))})
    curve = np.exp(score.predictive(fit, runs).location)
    sigma = score.predictive(fit, runs).scale
    sd = np.array([0.02, 0.05, np.nan])
    runs["loss_sd"] = "run", sd * curve[0, 0]
    fit.attrs["checkpoint_sd"] = 0.03
    # The scatter of checkpoints holds what is known of it; the rest is their own.
    wanted = np.broadcast_to(np.hypot(sigma, [0.03, 0.05, 0.03]), curve.shape)
    found = np.broadcast_to(score.predictive(fit, runs).scale, curve.shape)
    np.testing.assert_allclose(found, wanted)


def many_rows(kind: str, rows: int) -> Predictive | RatePredictive:
    rng = np.random.default_rng(1)
    location = rng.normal(-0.9, 0.05, (2, 500, 1)) + np.linspace(0, 0.2, rows)
    sigma = rng.uniform(0.01, 0.03, (2, 500, 1))
    if kind == "rate":
        trials = rng.integers(10, 50, rows).astype(float)
        rates = Rates("BetaBinomial", np.exp(location), np.full((1, 1, 1), 400.0), trials)
        return RatePredictive(laws.get("power"), rates)
    wide = np.broadcast_to(sigma, location.shape)
    return {
        "normal": Predictive(location, sigma),
        "one": Predictive(location[:1, :1], sigma[:1, :1]),
        "student": Predictive(location, wide, np.full((1, 1, 1), 4.0)),
        "excess": Predictive(location, sigma, excess=2 * sigma),
    }[kind]


@pytest.mark.parametrize("kind", ["normal", "one", "student", "excess", "rate"])
def test_how_many_rows_are_scored_at_once_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    forecast, loss = many_rows(kind, 23), np.random.default_rng(2).uniform(0.3, 0.6, 23)
    if kind == "rate":
        loss[:2] = 0, 1
    whole = score.score_runs(forecast, loss, random_seed=3)
    for block in (5 * 4000, 1):
        monkeypatch.setattr(score, "_BLOCK", block)
        xr.testing.assert_allclose(score.score_runs(forecast, loss, random_seed=3), whole)


def test_scoring_many_rows_takes_little_more_than_their_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(score, "_BLOCK", 2**16)
    forecast = Predictive(np.zeros((4, 1000, 500)), np.full((1, 1, 1), 0.01))
    tracemalloc.start()
    score.score_runs(forecast, np.ones(500))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * forecast.location.nbytes


def forecasts(counts: dict[str, int]) -> xr.Dataset:
    """A backtest at one cut, of as many runs as each model forecast."""
    rng = np.random.default_rng(0)
    total = sum(counts.values())
    runs = np.concatenate([np.arange(count) for count in counts.values()])
    columns = {
        "of_model": np.repeat(list(counts), list(counts.values())),
        "of_cut": np.full(total, 1e20),
        "of_run": runs,
        "of_run_id": runs.astype(str),
        "scale": 1e21 * (1.0 + runs),
        "decades_beyond": np.log10(10 * (1.0 + runs)),
        "pit": rng.random(total),
        "pit_mcse": np.full(total, 0.01),
        "observed": np.full(total, 2.0),
        "median_mcse": np.full(total, 0.01),
        **{name: np.full(total, 2.0 + i / 100) for i, name in enumerate(score.QUANTILES)},
        **{
            f"{name}{part}": rng.random(total) for name in ("lpd", "crps") for part in ("", "_mcse")
        },
    }
    table = {name: ("forecast", each) for name, each in columns.items()}
    facts = {
        "is_fit": ("model", np.full(len(counts), True)),
        "status": (("model", "cut"), np.full((len(counts), 1), "done")),
        "converged": (("model", "cut"), np.full((len(counts), 1), True)),
    }
    return xr.Dataset(table | facts, {"model": list(counts), "cut": [1e20]})


def test_the_band_of_a_model_is_that_of_the_runs_that_it_forecast() -> None:
    counts = {"all": 20, "few": 3, "none": 0}
    found = calibration(forecasts(counts)).assign_coords(model=list(counts))
    for model, runs in (("all", 20), ("few", 3)):
        own = found.sel(model=model)
        both = np.stack([own["calibration_low"], own["calibration_high"]], axis=1)
        np.testing.assert_allclose(both, [honest_range(level, runs) for level in NOMINAL])
    assert all(np.isnan(each.sel(model="none")).all() for each in found.values())


def cuts_of(pits: list[np.ndarray], converged: list[bool]) -> xr.Dataset:
    """A backtest of one model, of the same runs at every cut."""
    at = 1e20 * 2.0 ** np.arange(len(pits))
    parts = []
    for cut, values in zip(at, pits, strict=True):
        found = forecasts({"law": values.size}).drop_dims("cut").drop_vars(["model", "is_fit"])
        parts.append(found.assign(pit=("forecast", values), of_cut=found["of_cut"] * 0 + cut))
    facts = {
        "is_fit": ("model", [True]),
        "status": (("model", "cut"), np.full((1, at.size), "done")),
        "converged": (("model", "cut"), [converged]),
    }
    return xr.concat(parts, "forecast").assign(facts).assign_coords(model=["law"], cut=at)


def test_fits_that_did_not_converge_have_no_say_in_the_verdict() -> None:
    even, missed = np.linspace(0.04, 0.96, 20), np.full(20, 0.999)
    alone, both = cuts_of([even], [True]), cuts_of([even, missed], [True, False])
    assert verdict(both)[:-1] == verdict(alone)
    assert "1 of 2 fits did not converge: do not use their scores" in verdict(both)[-1]
    assert recalibration(both, "law") == recalibration(alone, "law")
    xr.testing.assert_identical(calibration(both), calibration(alone))
    # With none that converged something is said all the same.
    none = cuts_of([missed, missed], [False, False])
    assert recalibration(none, "law").width == "too narrow"


def test_cuts_that_miss_in_opposite_ways_are_not_fine() -> None:
    even = np.linspace(0.02, 0.98, 12)
    narrow, wide = np.where(even < 0.5, 0.1, 0.9), np.linspace(0.3, 0.7, 12)
    narrow[0] = wide[0] = 0.6
    found = recalibration(cuts_of([narrow, wide], [True, True]), "law", 0.5)
    assert found.low <= found.share <= found.high
    assert (found.width, found.apart) == ("uneven", ((1e20, pytest.approx(1 / 12)), (2e20, 1.0)))
    told = verdict(cuts_of([narrow, wide], [True, True]))
    assert any("but 8 % above 1e+20, 100 % above 2e+20" in line for line in told)
    assert recalibration(cuts_of([even, even], [True, True]), "law", 0.5).width == "fine"


def test_a_run_counts_once_however_many_cuts_it_is_held_out_at() -> None:
    """Of 12 runs one is forecast from three cuts, the others from one; the band is that of 12."""
    found = cuts_of([np.linspace(0.2, 0.8, 12), np.full(12, 0.99), np.full(12, 0.5)], [True] * 3)
    found = found.isel(forecast=np.r_[0:12, 12, 24])
    share = (11 + 2 / 3) / 12
    judged = recalibration(found, "law")
    assert (judged.share, judged.runs) == (pytest.approx(share), 12)
    told = calibration(found).sel(nominal=0.9).isel(model=0)
    assert float(told["calibration"]) == pytest.approx(share)
    assert (told["calibration_low"], told["calibration_high"]) == honest_range(0.9, 12)


def test_the_largest_runs_are_one_at_least() -> None:
    backtested = forecasts({"all": 20})
    largest = summarise_backtest(backtested, largest=1)
    assert float(largest["mean_lpd"].squeeze()) == float(backtested["lpd"][-1])
    for none in (0, -2):
        with pytest.raises(ValueError, match=f"largest = {none}: expected a number of runs, one"):
            summarise_backtest(backtested, largest=none)


def test_losses_far_off_do_not_flatten_the_others() -> None:
    backtested = forecasts({"all": 40})
    loss = np.full(40, 2.03)
    loss[[3, 7]] = 20.0, 0.2
    backtested["observed"] = "forecast", loss
    shares = calibration(backtested)
    axis = plot_backtest(xr.merge([backtested, shares], join="exact")).axes[2]
    low, high = axis.get_ylim()
    assert -0.3 < low < 0 < high < 0.3
    marks = {line.get_marker(): line for line in axis.lines}
    for triangle, place in (("^", 3), ("v", 7)):
        assert marks[triangle].get_xdata() == backtested["decades_beyond"].values[[place]]
        assert low < marks[triangle].get_ydata() < high
    held = int((np.abs(backtested["pit"] - 0.5) <= 0.45).sum())
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["90 % interval", f"inside, {held}", f"outside, {40 - held}"]
