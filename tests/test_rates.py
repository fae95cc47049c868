"""Losses that are rates: their distributions, fits, forecasts and scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import bayescale as bs
from bayescale import laws
from bayescale.decide.candidates import noise_variance
from bayescale.decide.draws import read_draws
from bayescale.forecast.curve import read_fit
from bayescale.forecast.noise import rates_at, run_loss
from bayescale.inference import sample_prior
from bayescale.inference.arrays import graph_data, log_jacobian, reference
from bayescale.inference.columns import check_columns
from bayescale.inference.rates import as_observed
from bayescale.model import Model
from bayescale.rates import Rates, below, draw, log_density
from bayescale.validate.score import RatePredictive, held, score_runs

TRIALS = 50
#: Noise of each kind in a model file, and what it is at a centre of .3 with sigma .2 and fifty trials.
NOISES = {
    "LogitNormal": "",
    "Beta": "",
    "BetaBinomial": f"trials = {TRIALS}",
    "Binomial": f"trials = {TRIALS}",
}
#: An error that falls from about .8 to .2: the truth of what is simulated.
TRUTH = {"E": 0.1, "A": 0.15, "gamma": 0.25}


def model_of(dist: str, law: str = "power", more: str = "") -> Model:
    return Model.from_toml(
        f'format = 1\nlaw = "{law}"\n[noise]\ndist = "{dist}"\n{NOISES[dist]}\n{more}'
    )


def rates_of(dist: str, center: float = 0.3, sigma: float = 0.2) -> Rates:
    scatter = {"LogitNormal": sigma, "Binomial": None}.get(dist, sigma**-2)
    trials = np.array(TRIALS) if dist in ("Binomial", "BetaBinomial") else None
    return Rates(dist, np.array(center), scatter if scatter is None else np.array(scatter), trials)


def sweep(dist: str, size: int = 40, seed: int = 0) -> xr.Dataset:
    """Errors about the true curve, whose reference is the geometric mean of the top decade."""
    scale = np.logspace(18, 21, size)
    top = np.exp(np.log(scale[scale >= scale.max() / 10]).mean())
    curve = TRUTH["E"] + TRUTH["A"] * (scale / top) ** -TRUTH["gamma"]
    luck = np.random.default_rng(seed).random((2, size))
    rates = rates_of(dist)
    loss = draw(Rates(dist, curve, rates.scatter, rates.trials), luck)
    return xr.Dataset({"flops": ("run", scale), "loss": ("run", loss), "curve": ("run", curve)})


@pytest.mark.parametrize("dist", NOISES)
def test_draws_follow_the_density_and_the_distribution_function(dist: str) -> None:
    """Places of draws in their own distribution are uniform; frequencies are what the density says."""
    rates = rates_of(dist)
    size = 40_000
    rng = np.random.default_rng(1)
    found = draw(rates, rng.random((2, size)))
    place = below(rates, found, rng.random(size))
    assert stats.kstest(place, "uniform").pvalue > 1e-3
    if rates.trials is None:
        mass = stats.gaussian_kde(found[:4000])(np.array([0.25, 0.3, 0.36]))
        np.testing.assert_allclose(
            np.log(mass), log_density(rates, np.array([0.25, 0.3, 0.36])), atol=0.12
        )
    else:
        counts = np.bincount(np.rint(found * TRIALS).astype(int), minlength=TRIALS + 1)
        expected = size * np.exp(log_density(rates, np.arange(TRIALS + 1) / TRIALS)) / TRIALS
        likely = expected > 50
        assert expected.sum() == pytest.approx(size)
        assert np.abs((counts - expected) / np.sqrt(expected))[likely].max() < 4.5
    assert found.var() == pytest.approx(float(rates.variance), rel=0.08)


def test_the_same_luck_gives_a_higher_rate_at_a_higher_centre() -> None:
    luck = np.random.default_rng(2).random((2, 500))
    for dist in NOISES:
        low, high = (draw(rates_of(dist, center), luck) for center in (0.3, 0.4))
        assert (low <= high).all(), dist


def test_an_error_is_held_below_one_and_is_itself_elsewhere() -> None:
    law = laws.get("power")
    curve = np.array([1e-6, 0.01, 0.3, 0.9, 0.999, 1.0, 1.5, 20.0])
    rate = law.rate(curve)
    assert ((rate > 0) & (rate < 1)).all()
    assert (np.diff(rate) > 0).all()
    np.testing.assert_allclose(rate[:4], curve[:4], rtol=3e-6)


@pytest.mark.parametrize("name", laws.names())
def test_a_law_admits_rates_where_its_loss_may_be_one(name: str) -> None:
    law = laws.get(name)
    of_rate = law.trials_give != "nats"
    assert ("Binomial" in law.noises) == of_rate
    text = f'format = 1\nlaw = "{name}"\n[noise]\ndist = "Binomial"\ntrials = 30'
    if of_rate:
        assert Model.from_toml(text).noise.trials == 30
        # A loss stands for one rate and back.
        np.testing.assert_allclose(law.loss_of(law.observed_rate(np.array([0.3]))), [0.3])
    else:
        with pytest.raises(ValueError, match=rf"law '{name}' admits Normal, StudentT, ExGaussian"):
            Model.from_toml(text)


@pytest.mark.parametrize(
    ("dist", "more", "message"),
    [
        (
            "Binomial",
            "slope = {dist = 'Normal', kwargs = {mu = 0, sigma = 1}}",
            "noise.slope: a Binomial scatters",
        ),
        (
            "Binomial",
            "sigma = {dist = 'HalfNormal', kwargs = {sigma = 1}}",
            "BetaBinomial scatters by more",
        ),
        ("Beta", "trials = 30", "noise.trials: trials go with Binomial and BetaBinomial"),
        ("Beta", "known = 'loss_sd'", "noise.known: a known error goes with Normal, StudentT"),
        ("LogitNormal", "nu = 4", "noise.nu: degrees of freedom go with StudentT"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(dist: str, more: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(dist, more=more)


def test_counts_need_trials_and_rates_cannot_drift() -> None:
    head = 'format = 1\nlaw = "power"\n'
    with pytest.raises(ValueError, match=r"noise\.trials: BetaBinomial needs the number of trials"):
        Model.from_toml(head + '[noise]\ndist = "BetaBinomial"')
    for bad in ("0", "2.5", "true", "''"):
        with pytest.raises(ValueError, match=r"noise\.trials: expected a whole number or the name"):
            Model.from_toml(head + f'[noise]\ndist = "Binomial"\ntrials = {bad}')
    with pytest.raises(
        ValueError, match="are of log loss as the drift is; set discrepancy = 'none' for Beta"
    ):
        Model.from_toml(head + 'discrepancy = "drift"\n[noise]\ndist = "Beta"')
    with pytest.raises(ValueError, match="are of log loss as the drift is"):
        model_of("Beta").with_discrepancy("drift")
    with pytest.raises(ValueError, match="did you mean 'Binomial'"):
        Model.from_toml(head + '[noise]\ndist = "Binomal"')


def test_run_tables_that_cannot_be_rates_are_refused_with_their_rows() -> None:
    def refused(model: Model, message: str, **columns: list[float]) -> None:
        runs = sweep("Beta", 4).assign({key: ("run", value) for key, value in columns.items()})
        with pytest.raises(ValueError, match=message):
            check_columns(runs, model)

    beta, binomial = model_of("Beta"), model_of("Binomial")
    refused(
        beta,
        r"above 0 and below 1: 1 - accuracy; see rows 2; rates of all or none need",
        loss=[0.5, 0.0, 0.4, 0.3],
    )
    refused(beta, r"see rows 1; rates of all or none", loss=[1.0, 0.5, 0.4, 0.3])
    refused(
        binomial,
        r"from 0 to 1.*see rows 1, 2; per cent must be divided",
        loss=[40.0, 30.0, 0.5, 0.4],
    )
    refused(binomial, r"see rows 3$", loss=[0.4, 0.3, np.nan, 0.4])
    check_columns(sweep("Beta", 4).assign(loss=("run", [1.0, 0.5, 0.0, 0.0])), binomial)
    column = Model.from_toml(
        'format = 1\nlaw = "power"\n[noise]\ndist = "Binomial"\ntrials = "problems"'
    )
    assert column.columns == ("flops", "problems")
    refused(
        column,
        r"from column 'problems', which the table lacks. Did you mean 'problem'\?",
        problem=[9.0] * 4,
    )
    refused(
        column,
        r"column 'problems' must hold whole numbers.*rows 2 \(9.5\), 4 \(0\)",
        problems=[9.0, 9.5, 9.0, 0.0],
    )
    success = model_of("Beta", "coverage")
    runs = sweep("Beta", 4).rename(flops="samples").assign(loss=("run", [2.0, 1.0, 0.0, -0.1]))
    with pytest.raises(ValueError, match=r"minus the log of rates above 0 and below 1.*rows 3, 4"):
        check_columns(runs, success)


@pytest.mark.parametrize(
    ("law", "losses"), [("power", [1.0, 0.5, 0.0]), ("coverage", [np.inf, 0.7, 0.0])]
)
def test_tables_with_rates_of_all_and_of_none_feed_models_that_count(
    law: str, losses: list[float]
) -> None:
    column = "flops" if law == "power" else "samples"
    runs = bs.read_runs(pd.DataFrame({column: [1.0, 10.0, 100.0], "loss": losses}))
    check_columns(runs, model_of("BetaBinomial", law))
    with pytest.raises(ValueError, match=r"see rows 1, 3; rates of all or none need their trials"):
        check_columns(runs, model_of("Beta", law))
    ends = r"1 \(inf\), 3 \(0\)" if law == "coverage" else r"3 \(0\)"
    with pytest.raises(
        ValueError, match=rf"rows {ends}\. Drop.*trials, with dist = 'BetaBinomial'"
    ):
        check_columns(runs, Model.from_toml(f'format = 1\nlaw = "{law}"'))


def test_a_law_of_nats_has_no_use_for_a_loss_of_zero() -> None:
    runs = sweep("Beta", 4).rename(flops="params").assign(loss=("run", [0.5, 0.4, 0.3, 0.0]))
    runs["tokens"] = runs["params"] * 20
    with pytest.raises(ValueError, match=r"see rows 4 \(0\)\. Drop or fix them$"):
        check_columns(runs, Model.load("chinchilla"))


def test_checkpoints_are_no_counts() -> None:
    runs = sweep("Beta", 6).assign(run_id=("run", ["a", "a", "a", "b", "b", "b"]))
    with pytest.raises(ValueError, match="noise Beta needs one row a run: keep the last"):
        bs.fit(runs, model_of("Beta"))


def test_counts_of_none_and_of_all_enter_the_graph() -> None:
    runs = sweep("Binomial", 6).assign(loss=("run", [1.0, 1.0, 0.5, 0.2, 0.0, 0.0]))
    model = model_of("Binomial")
    assert graph_data(runs, model)["observed"].tolist() == [50, 50, 25, 10, 0, 0]
    assert 0 < reference(runs, model)["loss"] < 0.5
    assert np.isfinite(log_jacobian(runs, model)).all()


@pytest.fixture(scope="module")
def prior() -> xr.DataTree:
    """A fit without losses whose trials stand in a column."""
    text = 'format = 1\nlaw = "power"\n[noise]\ndist = "BetaBinomial"\ntrials = "problems"'
    runs = (
        sweep("Beta", 8)
        .drop_vars("curve")
        .assign(problems=("run", [10, 20, 20, 20, 20, 20, 30, 30]))
    )
    return sample_prior(runs, Model.from_toml(text), draws=2000, random_seed=4)


def test_one_more_run_counts_the_trials_that_are_named(prior: xr.DataTree) -> None:
    at = {"flops": [1e20, 1e21], "problems": [40, 10]}
    curve, run = bs.predict(prior, at), bs.predict(prior, at, kind="run")
    assert run.attrs["units"] == "error rate"
    for index, trials in enumerate(at["problems"]):
        counts = run.isel(run=index).values * trials
        np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
        held = curve.isel(run=index).values.clip(max=1.0)
        error = np.sqrt(0.25 / trials / counts.size) * 4 + 1e-3
        assert abs((counts / trials - held).mean()) < error + 0.01
    usual = bs.predict(prior, {"flops": [1e20]}, kind="run").values * 20
    np.testing.assert_allclose(usual, np.rint(usual), atol=1e-9)
    with pytest.raises(ValueError, match="column 'problems' must be positive"):
        bs.predict(prior, {"flops": [1e20], "problems": [0]}, kind="run")


def test_luck_does_not_depend_on_the_block(prior: xr.DataTree) -> None:
    whole = bs.predict(prior, {"flops": np.geomspace(1e19, 1e21, 40)}, kind="run")
    first = bs.predict(prior, {"flops": np.geomspace(1e19, 1e21, 40)[:3]}, kind="run")
    np.testing.assert_array_equal(whole.values[..., :3], first.values)


def test_one_luck_for_a_whole_path_never_rises(prior: xr.DataTree) -> None:
    saved = read_fit(prior)
    location = np.log(np.linspace(0.9, 0.1, 9))[None, :] * np.ones((saved.samples, 1))
    found = run_loss(saved, location, {"scale": np.ones((1, 9))}, 1, np.random.default_rng(0))
    assert found.shape == location.shape
    assert (np.diff(found, axis=1) <= 0).all()


def test_a_candidate_is_worth_what_its_trials_tell(prior: xr.DataTree) -> None:
    draws = read_draws(prior, None)
    table = xr.Dataset({"flops": ("run", [1e20, 1e20]), "problems": ("run", [10.0, 1000.0])})
    log_loss = np.log(np.full((draws.samples, 2), 0.4))
    found = noise_variance(draws, table, log_loss)
    sigma = prior["posterior"]["sigma"].values
    alike = 1 / (1 + sigma**-2)
    expected = [0.6 / 0.4 * (alike + (1 - alike) / n).mean() for n in (10, 1000)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("law", ["voting", "coverage"])
def test_scores_of_counts_are_those_of_their_distribution(law: str) -> None:
    """Density of log loss, place of a loss, and its coverage, of a forecast that is right."""
    rng = np.random.default_rng(6)
    size, trials = 300, 40
    rates = Rates("Binomial", np.full((1, 1, size), 0.3), None, np.array(trials))
    forecast = RatePredictive(laws.get(law), rates)
    count = rng.binomial(trials, 0.3, size)
    loss = forecast.law.loss_of(count / trials)
    table = score_runs(forecast, loss)
    assert abs(float(table["pit"].mean()) - 0.5) < 4 * np.sqrt(1 / 12 / size)
    inside = np.abs(table["pit"].values - 0.5) <= 0.45
    assert inside.mean() == pytest.approx(0.9, abs=0.07)
    # Log loss moves by d log(rate) for an error, by d rate / (rate * loss) for minus the log of a success.
    turn = 0.0 if law == "voting" else np.log(loss)
    expected = stats.binom.logpmf(count, trials, 0.3) + np.log(trials) + np.log(count / trials)
    np.testing.assert_allclose(table["lpd"], expected + turn, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("law", ["voting", "coverage"])
def test_intervals_of_honest_forecasts_of_few_counts_hold_as_many_as_they_say(law: str) -> None:
    """Of 20 trials that rarely succeed nine in ten give the same count: still half lie in the 50 % interval."""
    size, trials = 4000, 20
    chance = 0.005 if law == "voting" else 0.995
    rates = Rates("Binomial", np.full((1, 1, size), chance), None, np.array(trials))
    forecast = RatePredictive(laws.get(law), rates)
    count = np.random.default_rng(2).binomial(trials, chance, size)
    loss = forecast.law.loss_of(count / trials)
    table = score_runs(forecast, loss, random_seed=1)
    pits = table["pit"].values
    assert stats.kstest(pits, "uniform").pvalue > 1e-3
    for level in (0.5, 0.9):
        error = np.sqrt(level * (1 - level) / size)
        assert abs(held(pits, level).mean() - level) < 4 * error
    assert abs((pits < 0.5).mean() - 0.5) < 4 * np.sqrt(0.25 / size)
    # The seed decides, and nothing else.
    np.testing.assert_array_equal(score_runs(forecast, loss, random_seed=1)["pit"], pits)
    assert (score_runs(forecast, loss, random_seed=2)["pit"] != pits).all()


@pytest.mark.parametrize("trials", [1000, 999])
def test_trials_are_whole_though_their_mean_falls_short_in_its_last_digit(trials: int) -> None:
    short = np.nextafter(np.array([float(trials)]), 0.0)
    count, whole = as_observed("Binomial", np.array([1.0]), short)
    assert whole is not None
    assert (count[0], whole[0]) == (trials, trials)


def test_scores_of_no_error_and_of_none_right_are_finite() -> None:
    for law in ("voting", "coverage"):
        rates = Rates("Binomial", np.full((2, 50, 2), 0.1), None, np.array(10))
        forecast = RatePredictive(laws.get(law), rates)
        table = score_runs(forecast, forecast.law.loss_of(np.array([0.0, 1.0])))
        assert all(np.isfinite(each).all() for each in table.data_vars.values())
        order = table["pit"].values if law == "voting" else table["pit"].values[::-1]
        assert order[0] < 0.5 < order[1]


@pytest.mark.parametrize(
    "dist",
    [
        "BetaBinomial",
        *(pytest.param(name, marks=pytest.mark.slow) for name in NOISES if name != "BetaBinomial"),
    ],
)
def test_the_curve_is_recovered(dist: str, tmp_path: Path) -> None:
    runs = sweep(dist)
    fit = bs.fit(runs.drop_vars("curve"), model_of(dist), random_seed=2)
    assert fit.attrs["converged"]
    found = bs.predict(fit, {"flops": runs["flops"].values})
    away = (found.mean(("chain", "draw")).values - runs["curve"].values) / found.std(
        ("chain", "draw")
    ).values
    assert np.abs(away).max() < 4
    if dist != "Binomial":
        sigma = fit["posterior"]["sigma"]
        assert abs(float(np.log(sigma).mean()) - np.log(0.2)) < 4 * float(np.log(sigma).std())
    # Densities of the tree are those of the forecast, but for the Jacobian between loss and log loss.
    saved = read_fit(fit)
    ratios = saved.ratios({"scale": runs["flops"].values[None]})
    location = np.log(found.values.reshape(saved.samples, -1))
    mine = log_density(rates_at(saved, location, ratios), runs["loss"].values)
    tree = fit["log_likelihood"]["loss"].values.reshape(mine.shape)
    np.testing.assert_allclose(tree, mine, rtol=1e-6, atol=1e-6)
    again = bs.load(bs.save(fit, tmp_path / "fit.nc"))
    at = {"flops": [1e22]}
    np.testing.assert_array_equal(
        bs.predict(again, at, kind="run"), bs.predict(fit, at, kind="run")
    )
    replicated = fit["posterior_predictive"]["loss"]
    assert float(((replicated >= 0) & (replicated <= 1)).mean()) == 1.0
    assert str(bs.check(fit).loc["coverage of the runs", "verdict"]) == "ok"
