"""Are returns diminishing: probabilities and onsets against closed forms and brute force, and their errors."""

import time
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from fake_fit import REFERENCE, fake_fit

from bayescale.forecast import diminishing, prior_sensitivity, returns
from bayescale.forecast.diminishing import _onset
from bayescale.forecast.montecarlo import effective_size, mcse, probability_mcse, quantiles
from bayescale.forecast.sensitivity import DOMINATED
from bayescale.notes import Note, get_notes

E, A, B, ALPHA, BETA = 1.8, 0.4, 0.3, 0.35, 0.37
GAMMA = ALPHA * BETA / (ALPHA + BETA)
LARGEST = 1.2e23


@pytest.fixture(scope="module")
def fit() -> xr.DataTree:
    return fake_fit(terms={"E": E, "A": A, "B": B}, alpha=ALPHA, beta=BETA, draws=5)


@pytest.fixture(scope="module")
def spread() -> xr.DataTree:
    return fake_fit(jitter=0.15, chains=4, draws=250)


def codes(data: xr.Dataset) -> list[str]:
    return [note.code for note in get_notes(data)]


def reducible_at_one_flop() -> float:
    """K of L = E + K C^-gamma along the compute-optimal path."""
    unit = 6 * REFERENCE["params"] * REFERENCE["tokens"]
    ratio = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    return (A * ratio**-ALPHA + B * ratio**BETA) * unit**GAMMA


def onset_of(tree: xr.DataTree, **asked: object) -> float:
    found = diminishing(tree, horizon=1e40, **asked)
    draws = found["onset_draws"].values
    np.testing.assert_allclose(draws, draws[0, 0], rtol=1e-9)
    np.testing.assert_allclose(found["onset"], draws[0, 0], rtol=1e-9)
    return float(draws[0, 0])


# Onsets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2.0, 10.0])
def test_onset_of_a_gain_is_the_closed_form(fit: xr.DataTree, step: float) -> None:
    scale, delta = reducible_at_one_flop(), 0.004
    closed = ((1 - step**-GAMMA) * scale / delta) ** (1 / GAMMA)
    assert closed > LARGEST
    found = onset_of(fit, beyond=1e24, gain_below=delta, step=step)
    # The gain is a power of compute, so that interpolation within a cell is exact.
    np.testing.assert_allclose(found, closed, rtol=1e-9)


def test_onsets_of_the_other_predicates(fit: xr.DataTree) -> None:
    scale, within = reducible_at_one_flop(), 10**1e-3
    # Elasticity gamma R / (E + R) = eta.
    eta = 0.002
    reducible = eta * E / (GAMMA - eta)
    closed = (scale / reducible) ** (1 / GAMMA)
    found = onset_of(fit, beyond=1e24, elasticity_below=eta)
    assert 1 / within < found / closed < within
    # Share R / (E + R) = rho.
    rho = 0.02
    closed = (scale / (rho * E / (1 - rho))) ** (1 / GAMMA)
    found = onset_of(fit, beyond=1e24, floor=rho)
    assert 1 / within < found / closed < within
    # (C / C0)^-gamma = r.
    closed = 1e22 * 0.1 ** (-1 / GAMMA)
    np.testing.assert_allclose(
        onset_of(fit, beyond=1e24, relative_below=(0.1, 1e22)), closed, rtol=1e-9
    )


def test_onset_within_a_coarse_cell(fit: xr.DataTree) -> None:
    fine = onset_of(fit, beyond=1e24, elasticity_below=0.002, path="fixed-ratio=20", grid=4000)
    coarse = onset_of(fit, beyond=1e24, elasticity_below=0.002, path="fixed-ratio=20")
    assert abs(np.log10(coarse / fine)) < 1e-3


def test_already_and_never_keep_their_mass() -> None:
    spread = fake_fit(jitter=0.4, chains=4, draws=250)
    found = diminishing(spread, beyond=1e24, gain_below=0.008, horizon=3e25)
    draws = found["onset_draws"].values
    already, never = found["p_already"].item(), found["p_never"].item()
    assert 0 < already < 1
    assert 0 < never < 1
    assert already + never < 1
    assert np.mean(np.isinf(draws)) == never
    assert np.mean(draws == LARGEST) == already
    assert np.all((draws >= LARGEST) & ((draws <= 3e25) | np.isinf(draws)))
    assert (found.attrs["start"], found.attrs["horizon"]) == (pytest.approx(LARGEST), 3e25)
    expected = np.quantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95], method="lower")
    np.testing.assert_allclose(found["onset"], expected, rtol=0.05)
    infinite = np.isinf(found["onset"].values)
    assert np.array_equal(np.isnan(found["onset_mcse"].values), infinite)
    # The gain only falls, so that P at a scale is P(onset at or before it).
    at = diminishing(spread, beyond=1e25, gain_below=0.008)["probability"].item()
    assert at == np.mean(draws <= 1e25)


def test_search_starts_at_the_largest_run_or_before(fit: xr.DataTree) -> None:
    for beyond, start in ((1e24, LARGEST), (1e22, 1e22)):
        found = diminishing(fit, beyond=beyond, gain_below=0.5)
        assert found.attrs["start"] == pytest.approx(start)
        assert found["p_already"] == 1
        np.testing.assert_allclose(found["onset"], start)
    never = diminishing(fit, beyond=1e24, gain_below=1e-9)
    assert never.attrs["horizon"] == 1e28
    assert never["p_never"] == 1
    assert np.all(np.isinf(never["onset"]))
    assert diminishing(fit, beyond=1e24, to=1e25, gain_below=0.01).attrs["horizon"] == 1e25


def test_onset_is_where_it_starts_to_hold_for_good() -> None:
    scales = np.array([1.0, 10.0, 100.0, 1000.0])
    values = np.array([[1.0, 3.0, 3.0, 1.0], [1, 1, 1, 1], [3, 1, 1, 3], [4.0, 1.0, 0.5, -1.0]])
    found = _onset(scales, values, 2.0)
    expected = [10 ** (2 + np.log(3 / 2) / np.log(3)), 1.0, np.inf, 10**0.5]
    np.testing.assert_allclose(found, expected)
    # Where the measure changes sign it is taken as linear in the log of scale.
    np.testing.assert_allclose(_onset(scales[:2], np.array([[3.0, -1.0]]), 1.0), [10**0.5])


# Probabilities ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [None, "fixed-ratio=20", "fixed-tokens=1e13", "compute-optimal-expected"]
)
def test_probabilities_are_those_of_brute_force(spread: xr.DataTree, path: str | None) -> None:
    brute = returns(spread, flops=np.geomspace(1e23, 1e25, 60), path=path)
    at, base = brute.isel(flops=0), returns(spread, flops=[1e21], path=path)["gain"].isel(flops=0)
    for asked, holds, throughout in (
        ({"gain_below": 0.012}, at["gain"] < 0.012, brute["gain"] < 0.012),
        ({"elasticity_below": 0.01}, at["elasticity"] < 0.01, brute["elasticity"] < 0.01),
        ({"floor": 0.08}, at["share_left"] < 0.08, brute["share_left"] < 0.08),
        ({"relative_below": (0.4, 1e21)}, at["gain"] / base < 0.4, brute["gain"] / base < 0.4),
    ):
        found = diminishing(spread, beyond=1e23, to=1e25, path=path, **asked)
        assert found["probability"].item() == holds.mean().item(), asked
        expected = throughout.all("flops").mean().item()
        assert found["probability_throughout"].item() == expected, asked
        assert found["probability_throughout"] <= found["probability"]


def test_the_answer_says_what_was_asked(spread: xr.DataTree) -> None:
    found = diminishing(
        spread, beyond=1e25, relative_below=(0.5, 1e22), path="fixed-ratio=20", step=4
    )
    assert set(found.data_vars) == {
        *(
            "probability",
            "probability_mcse",
            "p_already",
            "p_already_mcse",
            "p_never",
            "p_never_mcse",
        ),
        *("p_loss_rises", "p_loss_rises_mcse", "onset", "onset_mcse", "onset_decades_beyond"),
        *("onset_draws", "decades_beyond"),
    }
    expected = {
        "predicate": "relative_below",
        "threshold": 0.5,
        "relative_to": 1e22,
        "beyond": 1e25,
        "path": "fixed-ratio=20",
        "step": 4.0,
        "model": "chinchilla",
        "kind": "curve",
    }
    assert expected.items() <= found.attrs.items()
    assert found.attrs["largest_run"] == pytest.approx(LARGEST)
    assert found.attrs["horizon"] == pytest.approx(1e29)
    np.testing.assert_allclose(found["decades_beyond"], np.log10(1e25 / LARGEST))
    np.testing.assert_allclose(
        found["onset_decades_beyond"], np.log10(found["onset"] / LARGEST).clip(min=0)
    )
    assert {"bare_law", "far_extrapolation"} <= set(codes(found))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "Give exactly one of gain_below, .*got none"),
        ({"gain_below": 0.1, "floor": 0.1}, "got gain_below and floor"),
        ({"gain_below": -0.1}, "expected a number above zero"),
        ({"relative_below": 0.5}, r"expected a pair \(r, C0\)"),
        ({"gain_below": 0.1, "step": 0.5}, "a factor of compute above 1"),
        ({"gain_below": 0.1, "to": 1e23}, "to = 1e[+]23 must lie above beyond = 1e[+]24"),
        ({"gain_below": 0.1, "horizon": 1e23}, "horizon = 1e[+]23 must not lie below"),
        ({"gain_below": 0.1, "grid": 1}, "at least 2 scales"),
        ({"gain_below": 0.1, "beyond": -1}, "beyond must be positive"),
        ({"gain_below": 0.1, "family": "pythia"}, "does not tell families apart"),
        ({"gain_below": 0.1, "path": "fixed-ratio"}, "takes a value"),
    ],
)
def test_errors(fit: xr.DataTree, asked: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        diminishing(fit, **({"beyond": 1e24} | asked))


def test_a_plan_bounds_the_search(fit: xr.DataTree) -> None:
    plan = {"params": [1e9, 1e11], "tokens": [2e11, 2e12]}
    found = diminishing(fit, beyond=1e22, gain_below=0.01, path=plan)
    assert found.attrs["horizon"] == pytest.approx(6e23)
    assert found.attrs["path"] == "table"
    for asked in ({"beyond": 1e24}, {"beyond": 1e22, "horizon": 1e24}):
        with pytest.raises(ValueError, match="lies outside the plan"):
            diminishing(fit, gain_below=0.01, path=plan, **asked)
    with pytest.raises(ValueError, match="relative_below: C0"):
        diminishing(fit, beyond=1e22, relative_below=(0.5, 1e20), path=plan)


def test_a_law_that_cannot_bend_does_not_flatten(fit: xr.DataTree) -> None:
    found = diminishing(fit, beyond=1e24, flattening=0.01)
    assert found["probability"] == 0
    assert found["p_never"] == 1
    assert found["p_already"] == 0
    assert found["probability_mcse"] == 0
    assert found["p_loss_rises_mcse"] > 0
    note = next(note for note in get_notes(found) if note.code == "law_cannot_bend")
    assert "no by construction" in note.message


def test_a_law_that_bends_may_flatten(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from bayescale import laws

    tree = fake_fit("power", gamma=0.2)
    bent = replace(
        laws.get("power"),
        can_bend=True,
        loss=lambda scale, *, E, A, gamma: E + A / (1 + np.log1p(scale) * gamma),
    )
    monkeypatch.setattr("bayescale.laws.get", lambda name: bent)

    def elasticity(scale: float) -> float:
        ratio = scale / REFERENCE["scale"]
        return 0.2 * ratio / (1 + ratio) / (1 + 0.2 * np.log1p(ratio))

    drop = elasticity(1e23) - elasticity(1e24)
    assert drop > 0
    assert diminishing(tree, beyond=1e24, flattening=drop * 0.99)["probability"] == 1
    assert diminishing(tree, beyond=1e24, flattening=drop * 1.01)["probability"] == 0


def test_a_rise_of_the_loss_is_shown() -> None:
    # A plan that starves ever larger models of tokens.
    worse = {"params": [1e9, 1e13], "tokens": [2e11, 1e9]}
    found = diminishing(fake_fit(), beyond=1e22, gain_below=0.01, path=worse)
    assert found["p_loss_rises"] == 1
    assert "loss_may_rise" in codes(found)
    found = diminishing(fake_fit(), beyond=1e22, gain_below=0.01)
    assert found["p_loss_rises"] == 0
    assert "loss_may_rise" not in codes(found)


def test_families_differ() -> None:
    tree = fake_fit("chinchilla-families", families={"a": 1.0, "b": 2.0}, jitter=0.05)
    one = diminishing(tree, beyond=1e24, gain_below=0.01, family="a")
    two = diminishing(tree, beyond=1e24, gain_below=0.02, family="b")
    np.testing.assert_allclose(one["onset"], two["onset"], rtol=1e-9)
    assert "new_family" in codes(diminishing(tree, beyond=1e24, gain_below=0.01))


def test_errors_of_the_fit_travel() -> None:
    error = Note("not_converged", "error", "R-hat of alpha is 1.4", "")
    found = diminishing(fake_fit(notes=(error,), converged=False), beyond=1e24, gain_below=0.01)
    assert codes(found)[0] == "not_converged"


def test_all_answers_of_a_fit_take_a_second() -> None:
    tree = fake_fit(chains=4, draws=1000, jitter=0.1)
    flops = np.geomspace(1e23, 1e27, 200)
    start = time.process_time()
    returns(tree, flops=flops)
    for asked in ({"gain_below": 0.01}, {"elasticity_below": 0.01}, {"floor": 0.05}):
        diminishing(tree, beyond=1e24, to=1e26, **asked)
    assert time.process_time() - start < 3, "about .6 s on a quiet core"


# Monte Carlo error -----------------------------------------------------------------------------


def normal(seed: int, *shape: int) -> xr.DataArray:
    draws = np.random.default_rng(seed).normal(size=(4, 1000, *shape))
    return xr.DataArray(draws, dims=("chain", "draw", "point")[: draws.ndim])


def autoregressive(rho: float, points: int) -> xr.DataArray:
    noise = normal(1, points)
    draws = noise.values.copy()
    for step in range(1, draws.shape[1]):
        draws[:, step] = rho * draws[:, step - 1] + np.sqrt(1 - rho**2) * noise.values[:, step]
    return noise.copy(data=draws)


def test_mcse_of_independent_draws() -> None:
    draws = normal(0, 200)
    error = mcse(draws)
    assert error.dims == ("point",)
    np.testing.assert_allclose(error.mean(), 1 / np.sqrt(4000), rtol=0.03)
    np.testing.assert_allclose(draws.mean(("chain", "draw")).std(), error.mean(), rtol=0.15)


def test_mcse_of_correlated_draws() -> None:
    draws, rho = autoregressive(0.8, 200), 0.8
    exact = np.sqrt((1 + rho) / (1 - rho) / 4000)
    # Batches of 31 draws with an autocorrelation time of 9 see most of it.
    np.testing.assert_allclose(mcse(draws).mean(), exact, rtol=0.15)
    size = effective_size(draws)
    assert np.all(size <= 4000)
    # Above or below the median: the autocorrelations are 2/pi asin(rho^k), their time is 6.4.
    np.testing.assert_allclose(size.mean(), 4000 / 6.4, rtol=0.2)


def test_mcse_sees_chains_that_disagree() -> None:
    draws = normal(0) + xr.DataArray([0.0, 0.0, 0.0, 3.0], dims="chain")
    assert mcse(draws) > 2 * mcse(normal(0))


def test_mcse_of_probabilities() -> None:
    holds = normal(0, 200) < -1.2815516
    error = probability_mcse(holds)
    np.testing.assert_allclose(error.mean(), np.sqrt(0.09 / 4000), rtol=0.06)
    np.testing.assert_allclose(holds.mean(("chain", "draw")).std(), error.mean(), rtol=0.2)
    never = probability_mcse(normal(0) > 9)
    np.testing.assert_allclose(never, 1 / 4000, rtol=0.01)
    np.testing.assert_allclose(probability_mcse(normal(0) < 9, 100.0), 1 / 100, rtol=0.03)


def test_mcse_of_quantiles() -> None:
    draws = normal(3, 300)
    found, error = quantiles(draws, [0.05, 0.5])
    assert found.dims == ("point", "quantile")
    np.testing.assert_allclose(found.mean("point"), [-1.645, 0.0], atol=0.01)
    np.testing.assert_allclose(error.mean("point"), found.std("point"), rtol=0.15)


def test_quantiles_count_the_infinite() -> None:
    draws = xr.DataArray([[1.0, 2.0, np.inf, np.inf, np.inf]], dims=("chain", "draw"))
    found, error = quantiles(draws, [0.0, 0.25, 0.5, 1.0])
    np.testing.assert_array_equal(found, [1, 2, np.inf, np.inf])
    assert np.isinf(error[1])
    assert np.isnan(error[2])
    broken = quantiles(draws.where(draws != 2.0), [0.5])[0]
    assert np.isnan(broken).all()


# Sensitivity -----------------------------------------------------------------------------------


def conjugate(prior_sd: float) -> tuple[xr.DataTree, xr.DataArray]:
    """Exact draws of a normal mean: prior N(0, prior_sd), nine observations of sd 1 about 2."""
    rng = np.random.default_rng(0)
    precision = 1 / prior_sd**2 + 9
    draws = rng.normal(18 / precision, precision**-0.5, (4, 20000))
    mu = xr.DataArray(draws, dims=("chain", "draw"))
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"mu": mu}),
            "log_prior": xr.Dataset({"mu": -0.5 * mu**2 / prior_sd**2}),
            "log_likelihood": xr.Dataset({"loss": -0.5 * 9 * (mu - 2) ** 2}),
        }
    )
    return tree, mu


@pytest.mark.parametrize("prior_sd", [0.3, 1.0])
def test_sensitivity_of_a_conjugate_normal(prior_sd: float) -> None:
    tree, mu = conjugate(prior_sd)
    found = prior_sensitivity(tree, mu)
    share = prior_sd**-2 / (prior_sd**-2 + 9)
    mean = 18 / (prior_sd**-2 + 9)
    # d mean / d a = -share * mean; d log sd / d a = -share / 2. The likelihood's power does the rest.
    shift = share * mean * np.sqrt(prior_sd**-2 + 9)
    np.testing.assert_allclose(found["mean"].sel(component="prior"), -shift, rtol=0.03)
    np.testing.assert_allclose(found["mean"].sel(component="likelihood"), shift, rtol=0.05)
    np.testing.assert_allclose(found["log_sd"].sel(component="prior"), -share / 2, atol=0.03)
    np.testing.assert_allclose(
        found["log_sd"].sel(component="likelihood"), (share - 1) / 2, atol=0.03
    )


def test_sensitivity_keeps_other_dims_and_needs_densities(spread: xr.DataTree) -> None:
    gain = returns(spread, flops=[1e23, 1e25])["gain"]
    found = prior_sensitivity(spread, gain)
    assert set(found["mean"].dims) == {"component", "flops"}
    each = prior_sensitivity(spread, gain.isel(flops=1))
    np.testing.assert_allclose(found["mean"].isel(flops=1), each["mean"])
    constant = prior_sensitivity(spread, xr.ones_like(gain))
    assert np.all(np.isnan(constant["mean"]))
    bare = spread.copy()
    del bare["log_prior"]
    with pytest.raises(ValueError, match="no group log_prior"):
        prior_sensitivity(bare, gain)
    assert "prior_dominated" not in codes(diminishing(bare, beyond=1e24, gain_below=0.01))


def test_offsets_of_groups_are_no_prior() -> None:
    tree = fake_fit("chinchilla-families", families={"a": 1.0, "b": 1.1}, jitter=0.1)
    gain = returns(tree, flops=[1e24], family="a")["gain"]
    before = prior_sensitivity(tree, gain)
    changed = tree.copy(deep=True)
    changed["log_prior"]["level_offset"] = -50 * tree["posterior"]["level_offset"] ** 2
    xr.testing.assert_identical(prior_sensitivity(changed, gain), before)
    changed["log_prior"]["level"] = -50 * tree["posterior"]["level"] ** 2
    assert not prior_sensitivity(changed, gain).equals(before)


def test_a_forecast_that_rests_on_the_prior_says_so(spread: xr.DataTree) -> None:
    free = spread.copy(deep=True)
    flat = xr.zeros_like(spread["posterior"]["alpha"])
    free["log_prior"] = xr.DataTree(xr.Dataset({"alpha": flat}))
    assert "prior_dominated" not in codes(diminishing(free, beyond=1e24, gain_below=0.01))
    # A prior that the quantity itself depends on: the covariance is far above the threshold.
    gain = returns(spread, flops=[1e24])["gain"].isel(flops=0, drop=True)
    steep = (2 * DOMINATED / gain.std() * gain).drop_vars("decades_beyond", errors="ignore")
    bound = spread.copy(deep=True)
    bound["log_prior"] = xr.DataTree(xr.Dataset({"alpha": steep}))
    for answer in (
        diminishing(bound, beyond=1e24, gain_below=0.01),
        returns(bound, flops=[1e24]),
    ):
        note = next(note for note in get_notes(answer) if note.code == "prior_dominated")
        assert note.severity == "warning"
        assert "+0.60 sd" in note.message


def test_the_search_for_an_onset_keeps_no_table_of_all_scales() -> None:
    fit = fake_fit("chinchilla", 2, 500, jitter=0.05)
    tracemalloc.start()
    diminishing(fit, beyond=1e24, gain_below=0.01, grid=4000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All draws at all scales would be 32 MB.
    assert peak < 16e6
