"""Can a fit be trusted: the sampler's verdict, and the table of checks."""

import importlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import bayescale as bs
from bayescale.checks import sampler
from bayescale.checks.sampler import SamplerVerdict, judge
from bayescale.model import Model

# The function of the same name hides the module.
module_check = importlib.import_module("bayescale.checks.check")

CHECKS = [
    "R-hat",
    "bulk ESS",
    "tail ESS",
    "divergences",
    "E-BFMI",
    "PSIS-LOO k-hat",
    "coverage of the runs",
    "prior sensitivity",
]


def chains(
    draws: int = 1000, count: int = 4, seed: int = 0, correlation: float = 0.0
) -> np.ndarray:
    """Standard Normal chains, each an autoregression of first order."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, draws))
    for i in range(1, draws):
        values[:, i] = correlation * values[:, i - 1] + np.sqrt(1 - correlation**2) * values[:, i]
    return values


def posterior_of(**variables: np.ndarray) -> xr.Dataset:
    dims = ("chain", "draw", "term")
    return xr.Dataset({name: (dims[: values.ndim], values) for name, values in variables.items()})


def stats_of(
    values: np.ndarray, divergences: int = 0, energy: np.ndarray | None = None
) -> xr.Dataset:
    diverging = np.zeros(values.shape[:2], bool)
    diverging.ravel()[:divergences] = True
    found = {"diverging": (("chain", "draw"), diverging)}
    if energy is not None:
        found["energy"] = (("chain", "draw"), energy)
    return xr.Dataset(found)


# --- The sampler --------------------------------------------------------------------------------------------------------


def test_independent_chains_pass() -> None:
    values = chains()
    found = judge(
        posterior_of(alpha=values, shares=chains(seed=1)[..., None] + np.zeros(3)), stats_of(values)
    )
    assert found.converged
    assert found.problems == []
    assert found.rhat < 1.005
    assert 3000 < found.ess_bulk < 6000
    assert (found.divergences, found.draws) == (0, 4000)
    assert np.isnan(found.bfmi)


def test_a_chain_that_stays_elsewhere_is_found_and_named() -> None:
    stuck = chains()
    stuck[2] += 3.0
    shares = np.stack([chains(seed=1), stuck], axis=-1)
    found = judge(posterior_of(alpha=chains(seed=2), shares=shares), stats_of(stuck))
    assert not found.converged
    assert found.worst == "shares[1]"
    assert found.rhat > 1.3
    assert found.problems[0].startswith("R-hat of shares[1] is 1.")
    assert any(problem.startswith("bulk ESS is") for problem in found.problems)


def test_slow_mixing_is_told_by_the_effective_size() -> None:
    """An autoregression of correlation r has n (1 - r) / (1 + r) effective draws."""
    values = chains(correlation=0.9)
    found = judge(posterior_of(alpha=values), stats_of(values))
    assert found.ess_bulk == pytest.approx(4000 * 0.1 / 1.9, rel=0.35)
    assert not found.converged
    assert f"bulk ESS is {found.ess_bulk:.0f} (at least 400)" in found.problems


def test_a_poor_tail_is_told_apart_from_the_bulk() -> None:
    values = chains()
    # Extremes come in two visits, the middle is well mixed.
    values[np.abs(values) > 1.5] /= 2
    values[0, :100] = 3 + 0.01 * values[0, :100]
    values[1, :100] = -3 + 0.01 * values[1, :100]
    found = judge(posterior_of(alpha=values), stats_of(values))
    assert found.ess_tail < sampler.ESS_MIN
    assert any(problem.startswith("tail ESS is") for problem in found.problems)


@pytest.mark.parametrize(("draws", "allowed"), [(250, 1), (1000, 4), (100, 0)])
def test_one_divergence_in_a_thousand_is_allowed(draws: int, allowed: int) -> None:
    values = chains(draws)
    for count in (allowed, allowed + 1):
        found = judge(posterior_of(alpha=values), stats_of(values, divergences=count))
        diverged = [problem for problem in found.problems if "diverged" in problem]
        assert bool(diverged) == (count > allowed)
    assert diverged == [f"{allowed + 1} of {4 * draws} transitions diverged"]


def test_energy_that_moves_too_slowly_fails() -> None:
    values = chains()
    fine = judge(posterior_of(alpha=values), stats_of(values, energy=chains(seed=5)))
    assert fine.bfmi == pytest.approx(2.0, rel=0.15)  # Independent draws: E[(a - b)^2] / Var = 2.
    assert fine.converged
    slow = judge(
        posterior_of(alpha=values), stats_of(values, energy=chains(seed=5, correlation=0.95))
    )
    assert slow.bfmi < sampler.BFMI_MIN
    assert slow.problems == [f"E-BFMI is {slow.bfmi:.2f} (at least 0.3)"]


@pytest.mark.parametrize("how", ["nan", "constant", "infinite"])
def test_what_cannot_be_judged_has_not_converged(how: str) -> None:
    values = chains(seed=3)
    if how == "constant":
        values = np.ones_like(values)
    else:
        values[1, 500:] = np.nan if how == "nan" else np.inf
    with np.errstate(all="ignore"):
        found = judge(posterior_of(alpha=chains(), beta=values), stats_of(values))
    assert found.worst == "beta"
    assert not found.converged


def test_the_better_attempt_ranks_first() -> None:
    def verdict(rhat: float = 1.0, ess: float = 1000.0, divergences: int = 0) -> SamplerVerdict:
        return SamplerVerdict(rhat, "alpha", ess, ess, divergences, 4000, 1.0)

    order = [
        verdict(),
        verdict(rhat=1.02),
        verdict(rhat=1.02, ess=100.0),
        verdict(rhat=1.8, ess=20.0),
    ]
    assert sorted(order, key=lambda each: each.rank) == order
    assert verdict(rhat=1.009).rank < verdict(divergences=5).rank  # Converged before anything else.


# --- The table ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(fit: xr.DataTree) -> pd.DataFrame:
    return bs.check(fit)


def test_the_table_has_a_row_a_check_and_says_what_to_do(table: pd.DataFrame) -> None:
    assert list(table.index) == CHECKS
    assert table.index.name == "check"
    assert list(table.columns) == ["value", "threshold", "verdict", "code", "advice"]
    assert set(table["verdict"]) <= set(module_check.VERDICTS)
    assert np.isfinite(table["value"]).all()
    for _, row in table.iterrows():
        assert (row["advice"] == "") == (row["verdict"] == "ok") == (row["code"] == "")
        assert row["threshold"].startswith(("<= ", ">= "))
    assert table.attrs["verdict"] == max(table["verdict"], key=module_check.VERDICTS.index)


def test_the_shared_fit_passes_the_samplers_checks(table: pd.DataFrame, fit: xr.DataTree) -> None:
    assert (table.loc[CHECKS[:5], "verdict"] == "ok").all()
    found = judge(fit["posterior"].to_dataset(), fit["sample_stats"].to_dataset())
    assert table.loc["R-hat", "value"] == pytest.approx(found.rhat, rel=1e-9)
    assert table.loc["bulk ESS", "value"] == pytest.approx(found.ess_bulk, rel=1e-9)
    assert table.loc["divergences", "threshold"] == "<= 4"


def test_coverage_is_the_share_of_runs_inside_their_interval(
    table: pd.DataFrame, fit: xr.DataTree
) -> None:
    replicated = fit["posterior_predictive"]["loss"]
    lower, upper = replicated.quantile([0.05, 0.95], ("chain", "draw"))
    inside = (fit["observed_data"]["loss"].values >= lower.values) & (
        fit["observed_data"]["loss"].values <= upper.values
    )
    assert table.loc["coverage of the runs", "value"] == pytest.approx(inside.mean())
    assert (
        table.loc["coverage of the runs", "threshold"] == f">= {0.9 - 2 * np.sqrt(0.09 / 29):.3g}"
    )
    assert table.loc["coverage of the runs", "verdict"] == "ok"


def changed(fit: xr.DataTree, group: str, **variables: np.ndarray) -> xr.DataTree:
    """The fit with other values of some variables."""
    tree = fit.copy()
    dataset = tree[group].to_dataset()
    tree[group] = xr.DataTree(
        dataset.assign({name: (dataset[name].dims, values) for name, values in variables.items()})
    )
    return tree


def test_a_fit_that_diverged_fails_and_strict_raises(fit: xr.DataTree) -> None:
    diverging = np.zeros_like(fit["sample_stats"]["diverging"].values)
    diverging[0, :40] = True
    bad = changed(fit, "sample_stats", diverging=diverging)
    table = bs.check(bad)
    assert table.loc["divergences", ["value", "verdict"]].tolist() == [40.0, "fail"]
    assert "simplify the model" in table.loc["divergences", "advice"]
    assert table.attrs["verdict"] == "fail"
    with pytest.raises(
        RuntimeError, match=r"the fit fails: divergences; see check\(fit\) for what to do"
    ):
        bs.check(bad, strict=True)
    pd.testing.assert_frame_equal(bs.check(fit, strict=True), bs.check(fit), rtol=1e-9)


def test_an_unmixed_fit_fails_and_names_its_worst_variable(fit: xr.DataTree) -> None:
    alpha = fit["posterior"]["alpha"].values.copy()
    alpha[0] += 5 * alpha.std()
    table = bs.check(changed(fit, "posterior", alpha=alpha))
    assert table.loc["R-hat", "verdict"] == "fail"
    assert "worst is alpha" in table.loc["R-hat", "advice"]
    with pytest.raises(RuntimeError, match="R-hat, bulk ESS"):
        bs.check(changed(fit, "posterior", alpha=alpha), strict=True)


def test_runs_outside_their_intervals_are_counted(fit: xr.DataTree) -> None:
    loss = fit["observed_data"]["loss"].values.copy()
    loss[:8] *= 1.3
    table = bs.check(changed(fit, "observed_data", loss=loss))
    row = table.loc["coverage of the runs"]
    assert row["verdict"] == "warn"
    assert row["value"] <= 21 / 29
    assert "lie outside their own 90 % interval: the law or its noise does not fit" in row["advice"]


def test_infinite_replicates_of_a_rate_lie_in_its_interval(fit: xr.DataTree) -> None:
    loss = fit["posterior_predictive"]["loss"].values.copy()
    # Minus the log of no success: in most draws of the first run, in the upper tail of the second.
    loss[:, 50:, 0] = np.inf
    loss[:, : loss.shape[1] // 10, 1] = np.inf
    before = bs.check(fit).loc["coverage of the runs", "value"]
    observed = fit["observed_data"]["loss"].values.copy()
    observed[0] = np.inf
    told = changed(fit, "posterior_predictive", loss=loss)
    told = changed(told, "observed_data", loss=observed)
    assert bs.check(told).loc["coverage of the runs", "value"] == before


def test_a_run_that_decides_the_fit_is_named(fit: xr.DataTree) -> None:
    """Importance ratios of a run with a Pareto tail of shape 1: no finite mean without it."""
    # Beside it no run weighs much.
    rng = np.random.default_rng(1)
    draws = 0.1 * rng.standard_normal(fit["log_likelihood"]["loss"].shape)
    ratios = stats.pareto(1.0).rvs(draws.shape[:2], random_state=np.random.default_rng(0))
    draws[..., 17] = -np.log(ratios)
    table = bs.check(changed(fit, "log_likelihood", loss=draws))
    row = table.loc["PSIS-LOO k-hat"]
    assert row["verdict"] == "warn"
    assert row["value"] == pytest.approx(1.0, abs=0.25)
    name = str(fit["constant_data"]["run_id"].values[17])
    assert row["advice"].startswith(f"{name} alone decides part of the fit: look at it")
    several = draws.copy()
    for place, shape in ((3, 0.9), (8, 1.4)):
        tail = stats.pareto(shape).rvs(draws.shape[:2], random_state=np.random.default_rng(place))
        several[..., place] = -np.log(tail)
    worse = bs.check(changed(fit, "log_likelihood", loss=several)).loc["PSIS-LOO k-hat", "advice"]
    heaviest = str(fit["constant_data"]["run_id"].values[3])
    assert worse.startswith(
        f"3 runs each decide part of the fit, most of all {heaviest}: look at them, or fit without them"
    )
    assert row["code"] == "influential_runs"
    nameless = changed(fit, "log_likelihood", loss=draws)
    nameless["constant_data"] = xr.DataTree(
        nameless["constant_data"].to_dataset().drop_vars("run_id")
    )
    assert bs.check(nameless).loc["PSIS-LOO k-hat", "advice"].startswith("row 18 alone decides")


NORMAL = """
    format = 1
    name = "normal-noise"
    law = "power"
    [inputs]
    scale = "flops"
    [noise]
    dist = "Normal"
"""


@pytest.fixture(scope="module")
def spoilt(simulate: Callable) -> xr.Dataset:
    """Ten runs on a ray; the third one's loss is 30 % off."""
    runs = simulate(10, (20.0,))
    loss = runs["loss"].values.copy()
    loss[2] *= 1.3
    names = [f"run-{i}" for i in range(runs.sizes["run"])]
    return runs.assign(loss=("run", loss, runs["loss"].attrs), run_id=("run", names))


def test_an_outlier_under_normal_noise_is_named(spoilt: xr.Dataset) -> None:
    tree = bs.fit(spoilt, Model.from_toml(NORMAL), random_seed=1)
    table = bs.check(tree)
    row = table.loc["PSIS-LOO k-hat"]
    assert row["verdict"] == "warn"
    assert row["advice"].startswith("run-2 alone decides part of the fit:")


def test_a_fit_that_rests_on_its_prior_says_on_which(fit: xr.DataTree) -> None:
    """A parameter of which the runs say nothing follows its prior raised to a power; the others have flat priors."""
    flat = {name: np.zeros_like(values) for name, values in fit["log_prior"].data_vars.items()}
    unmoved = bs.check(changed(fit, "log_prior", **flat)).loc["prior sensitivity"]
    assert (unmoved["verdict"], unmoved["threshold"]) == ("ok", "<= 0.05")
    idle = np.random.default_rng(0).standard_normal((4, 1000))
    tree = changed(fit, "posterior", alpha=np.exp(idle))
    row = bs.check(changed(tree, "log_prior", **flat | {"alpha": stats.norm.logpdf(idle)})).loc[
        "prior sensitivity"
    ]
    assert row["verdict"] == "warn"
    assert row["value"] > 3 * module_check.PRIOR_SENSITIVITY_MAX
    assert row["advice"].startswith("alpha moves with its prior: state that prior with care")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"k": 0.2, "E": 0.01, "alpha": 0.3}, "alpha and k move with their priors: state those"),
        (
            dict(zip("abcdefg", np.linspace(0.7, 0.1, 7), strict=True)),
            "a, b, c, d, e and 2 more move with their priors: state those priors with care",
        ),
        # Nobody states the prior of an offset.
        ({"level_offset": 0.4, "k": 0.2, "E": 0.1}, "k and E move with their priors"),
        ({"level_offset": 0.4, "k": 0.02}, "level_offset moves with its prior"),
    ],
)
def test_every_parameter_that_moves_with_its_prior_is_named(
    values: dict[str, float], said: str, fit: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to five of them, the most sensitive first."""
    found = xr.Dataset({name: xr.DataArray(value) for name, value in values.items()})
    monkeypatch.setattr(module_check, "psense", lambda *_, **__: found)
    row = bs.check(fit).loc["prior sensitivity"]
    assert row["advice"].startswith(said)
    assert row["value"] == max(values.values())


def test_a_sampler_without_energy_has_no_row_of_it(fit: xr.DataTree) -> None:
    tree = fit.copy()
    tree["sample_stats"] = xr.DataTree(tree["sample_stats"].to_dataset().drop_vars("energy"))
    assert list(bs.check(tree).index) == [name for name in CHECKS if name != "E-BFMI"]


def test_chains_in_two_places_are_told_from_a_slow_chain() -> None:
    rng = np.random.default_rng(0)
    calm = rng.normal(size=(4, 500))
    slow = calm + np.array([0.0, 0.0, 0.0, 1.5])[:, None]
    apart = calm + np.array([0.0, 20.0, 0.0, 0.0])[:, None]
    drift = rng.normal(size=(4, 500, 3))
    found = {
        name: sampler.modes(
            xr.Dataset(
                {"alpha": (("chain", "draw"), draws), "drift": (("chain", "draw", "mode"), drift)}
            )
        )
        for name, draws in {"calm": calm, "slow": slow, "apart": apart}.items()
    }
    assert found == {"calm": [[0, 1, 2, 3]], "slow": [[0, 1, 2, 3]], "apart": [[0, 2, 3], [1]]}


def test_a_fit_whose_chains_settled_apart_says_where() -> None:
    from bayescale.inference.fit import LADDER, _sampling_notes

    rng = np.random.default_rng(0)
    draws = 0.01 * rng.normal(size=(4, 500)) + np.array([0.3, 0.3, 0.9, 0.3])[:, None]
    posterior = xr.Dataset({"alpha": (("chain", "draw"), draws)})
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((4, 500), bool))})
    verdict = sampler.judge(posterior, stats)
    tree = xr.DataTree.from_dict({"posterior": posterior})
    notes = {note.code: note for note in _sampling_notes([(LADDER[0], verdict)], verdict, tree)}
    assert set(notes) == {"not_converged", "multimodal"}
    assert notes["multimodal"].message == (
        "chains settled in 2 modes: chain 0 and 1 and 3 about alpha = 0.3; chain 2 about alpha = 0.9"
    )


def test_next_to_no_draws_are_not_judged(fit: xr.DataTree) -> None:
    with pytest.raises(ValueError, match=r"3 draws a chain: .* fewer than 10"):
        bs.check(fit.isel(draw=slice(3), missing_dims="ignore"))
