"""Scenarios read key by key; utility, risk and information against closed forms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit
from scipy.stats import norm
from test_decide import known_fit, stacked

import bayescale as bs
from bayescale.decide import Scenario, budget
from bayescale.decide.budget import evppi, expected_shortfall
from bayescale.decide.hardware import ACCELERATORS, find_accelerator
from bayescale.decide.scenario import EXAMPLE, Step, draw
from bayescale.inference import sample_prior
from bayescale.model import Model, Prior

PLAIN = Scenario(
    flops=1e24,
    price=2.0,
    peak=1e15,
    watts=700.0,
    utilisation=0.4,
    per_nat=2e7,
    baseline_loss=2.1,
    fixed_cost=1e5,
    pue=1.2,
    grid_intensity=0.3,
    path="fixed-ratio=20",
)


@pytest.fixture(scope="module")
def uncertain() -> xr.DataTree:
    return fake_fit("chinchilla", 4, 500, jitter=0.05, seed=2)


# --- Money, energy, carbon ---------------------------------------------------------------------------------------------


def test_what_a_run_takes_is_arithmetic() -> None:
    found = budget(known_fit(sigma=1e-12), PLAIN)
    hours = 1e24 / (1e15 * 0.4) / 3600
    loss = bs.predict(known_fit(), bs.inputs_along(known_fit(), 1e24, "fixed-ratio=20"))
    utility = 2e7 * (2.1 - float(loss[0, 0, 0])) - (hours * 2.0 + 1e5)
    for name, value in {
        "hours": hours,
        "money": hours * 2.0 + 1e5,
        "energy": hours * 0.7 * 1.2,
        "carbon": hours * 0.7 * 1.2 * 0.3,
        "utility": utility,
        "expected_utility": utility,
        "cvar": utility,
    }.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, err_msg=name)
    assert found["money"].attrs["units"] == "USD"
    assert found["evppi"].sizes["input"] == 0 or float(found["evppi"].max()) == 0


def test_a_law_of_another_input_has_no_price_of_flop() -> None:
    """Once compute was taken for tokens, and a decision printed."""
    runs = bs.load_dataset("pile")[["tokens", "loss"]]
    model = Model.load("power").changed(inputs={"scale": "tokens"})
    fit = sample_prior(runs, model, draws=100)
    told = "grows with tokens, not with training compute"
    with pytest.raises(ValueError, match=f"scenario: the fit {told}"):
        budget(fit, replace(PLAIN, path=None))
    with pytest.raises(ValueError, match=f"price_above: the fit {told}"):
        bs.diminishing(fit, beyond=1e12, price_above=(1e9, 2e-18))
    found = bs.returns(fit, flops=[1e12])
    assert found["improvement_flops"].attrs["units"] == "tokens/(nat/token)"


def test_a_baseline_may_be_a_scale_and_value_a_step() -> None:
    fit = known_fit(sigma=1e-12)
    plan = bs.inputs_along(fit, [1e22, 1e24], "fixed-ratio=20")
    before, after = bs.predict(fit, plan).values[0, 0]
    scaled = replace(PLAIN, baseline_loss=None, baseline_flops=1e22)
    np.testing.assert_allclose(budget(fit, scaled)["improvement"], before - after, rtol=1e-8)
    reached, missed = (
        budget(fit, replace(PLAIN, per_nat=None, baseline_loss=None, step=Step(loss, 5e6)))
        for loss in (after + 0.01, after - 0.01)
    )
    np.testing.assert_allclose(reached["value"], 5e6)
    np.testing.assert_allclose(missed["value"], 0.0)
    assert "improvement" not in reached


def test_a_plan_ends_what_is_judged() -> None:
    """Of a path given as a table nothing is said beyond its rows."""
    plan = {"params": [1e9, 1e10], "tokens": [2e10, 2e11]}
    within = replace(PLAIN, flops=1e22, path=plan)
    assert budget(known_fit(), within).attrs["path"] == "table"
    with pytest.raises(ValueError, match=r"flops = 1e\+24 lies outside the plan"):
        budget(known_fit(), replace(within, flops=1e24))
    before = replace(within, baseline_loss=None, baseline_flops=1e19)
    with pytest.raises(ValueError, match=r"baseline_flops = 1e\+19 lies outside the plan"):
        budget(known_fit(), before)


def test_the_peaks_are_dense_and_sourced() -> None:
    assert find_accelerator("h100 sxm").peak["bf16"] == pytest.approx(989e12, rel=1e-3)
    for each in ACCELERATORS.values():
        assert each.source
        assert 100 <= each.watts <= 2000
        if "fp8" in each.peak:
            assert each.peak["fp8"] == pytest.approx(2 * each.peak["bf16"], rel=0.01)


# --- Risk ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.01, 0.1, 0.5, 1.0])
def test_the_shortfall_of_a_normal_is_the_closed_form(level: float) -> None:
    outcomes = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    expected = 0.0 if level == 1 else -norm.pdf(norm.ppf(level)) / level
    assert expected_shortfall(outcomes, level) == pytest.approx(expected, abs=1e-3)


def test_utility_has_the_law_and_the_luck_of_a_run(uncertain: xr.DataTree) -> None:
    found = budget(uncertain, PLAIN)
    plan = bs.inputs_along(uncertain, 1e24, "fixed-ratio=20")
    run = bs.predict(uncertain, plan, kind="run", random_seed=7)
    expected = 2e7 * (2.1 - run.mean().item()) - float(found["money"].mean())
    assert float(found["expected_utility"]) == pytest.approx(
        expected, abs=6 * float(found["expected_utility_mcse"])
    )
    utility = found["utility"].values
    assert float(found["p_pays"]) == (utility > 0).mean()
    worst = np.sort(utility.reshape(-1))[: utility.size // 10]
    assert float(found["cvar"]) == pytest.approx(worst.mean(), rel=1e-9)
    assert float(found["cvar"]) < float(found["expected_utility"])


def test_errors_are_those_of_other_seeds() -> None:
    runs = [
        budget(fake_fit("chinchilla", 4, 250, jitter=0.05, seed=seed), PLAIN, random_seed=seed)
        for seed in range(30)
    ]
    for name in ("expected_utility", "cvar", "p_pays"):
        spread = np.std([float(each[name]) for each in runs])
        told = np.mean([float(each[f"{name}_mcse"]) for each in runs])
        assert 0.6 < told / spread < 1.6, name


# --- Decisions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_nat", "risk", "decision", "reason"),
    [
        (1e9, "expected", "go", "pays with probability"),
        (1e9, "cvar", "go", "mean of the worst 10%"),
        (1e3, "expected", "no-go", "loses money with probability"),
        (1e3, "cvar", "no-go", "loses money with probability"),
    ],
)
def test_clear_cases_are_decided(
    per_nat: float, risk: str, decision: str, reason: str, uncertain: xr.DataTree
) -> None:
    found = budget(uncertain, replace(PLAIN, per_nat=per_nat, baseline_loss=2.6, risk=risk))
    assert found.attrs["decision"] == decision
    assert reason in found.attrs["reason"]


def _even(fit: xr.DataTree, quantile: float) -> Scenario:
    """A scenario whose utility is zero at a quantile of its outcomes."""
    free = budget(fit, replace(PLAIN, price=1e-9, fixed_cost=0.0))
    return replace(PLAIN, price=1e-9, fixed_cost=float(np.quantile(free["value"], quantile)))


def test_between_the_confidences_nothing_is_decided(uncertain: xr.DataTree) -> None:
    plan = replace(_even(uncertain, 0.3), confidence=0.9)
    found = budget(uncertain, plan)
    assert float(found["p_pays"]) == pytest.approx(0.7, abs=0.01)
    assert found.attrs["decision"] == "undecided"
    assert "less than the asked 90%" in found.attrs["reason"]
    assert "knowing law would be worth most" in found.attrs["reason"]
    assert budget(uncertain, replace(plan, confidence=0.6)).attrs["decision"] == "go"
    # Who looks at the worst tenth does not go with it.
    averse = budget(uncertain, replace(plan, confidence=0.6, risk="cvar"))
    assert averse.attrs["decision"] == "undecided"
    assert "more than the risk measure allows" in averse.attrs["reason"]


# --- Information ---------------------------------------------------------------------------------------------------------


def test_one_draw_decides_nothing() -> None:
    found = budget(fake_fit("chinchilla", 1, 1), replace(PLAIN, per_nat=1e10))
    assert found.attrs["decision"] == "undecided"
    assert "too few draws to tell its Monte Carlo error" in found.attrs["reason"]
    assert "less than the asked" not in found.attrs["reason"]


@pytest.mark.parametrize("mean", [-1.0, 0.0, 0.5])
def test_the_value_of_knowing_an_input_is_the_closed_form(mean: float) -> None:
    rng = np.random.default_rng(4)
    known, other = rng.normal(size=(2, 20_000))
    utility = mean + 1.5 * known + 2.0 * other
    scale = 1.5
    loss = scale * norm.pdf(mean / scale) + mean * norm.cdf(mean / scale) - max(mean, 0.0)
    assert evppi(utility, known) == pytest.approx(loss, abs=0.03)


def test_the_value_of_knowing_a_choice_is_that_of_its_means() -> None:
    utility = np.array([1.0, 3.0, -4.0, -2.0])
    # The mean is -.5: nobody runs. Who knew that it is a would, and win 2 half of the time.
    assert evppi(utility, np.array(["a", "a", "b", "b"])) == pytest.approx(1.0)
    assert evppi(utility, np.zeros(4)) == 0.0


def test_information_is_worth_most_about_what_is_uncertain(uncertain: xr.DataTree) -> None:
    plan = _even(uncertain, 0.5)
    law = budget(uncertain, plan)
    assert list(law["evppi"]["input"].values) == ["law"]
    assert 0 < float(law["evppi"].sel(input="law")) <= float(law["evpi"]) * 1.02
    wild = replace(plan, fixed_cost=Prior("Uniform", {"lower": 0.0, "upper": 3 * plan.fixed_cost}))
    both = budget(uncertain, wild)["evppi"]
    assert float(both.sel(input="fixed_cost")) > float(both.sel(input="law"))


def test_a_stack_tells_its_models_apart() -> None:
    both = stacked(chinchilla=0.5, kaplan=0.5)
    plan = replace(PLAIN, per_nat=1e8, baseline_loss=2.0)
    found = budget(both, plan)
    own = found["expected_utility_by_model"]
    assert list(own["model"].values) == ["chinchilla", "kaplan"]
    np.testing.assert_allclose(own.mean(), found["expected_utility"], rtol=1e-9)
    level = float(own.mean()) + 2e6
    split = budget(both, replace(plan, fixed_cost=1e5 + level))
    own = split["expected_utility_by_model"]
    assert float(own.min()) < 0 < float(own.max())
    # The average is a loss: nobody runs, and the model that pays regrets it.
    np.testing.assert_allclose(split["regret_by_model"], np.maximum(own, 0))
    assert float(split["evppi"].sel(input="model")) == pytest.approx(
        float(np.maximum(own, 0).mean()), rel=1e-9
    )
    assert "models_disagree" in {note.code for note in bs.get_notes(split)}


# --- Scenarios -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prior",
    [
        Prior("LogNormal", {"median": 2.0, "sigma": 0.3}),
        Prior("LogNormal", {"mu": 0.7, "sigma": 0.3}),
        Prior("Uniform", {"lower": 1.0, "upper": 3.0}),
        Prior("Gamma", {"alpha": 4.0, "beta": 2.0}),
        Prior("InverseGamma", {"alpha": 9.0, "beta": 16.0}),
        Prior("TruncatedNormal", {"mu": 1.0, "sigma": 1.0, "lower": 1.0}),
        Prior("HalfNormal", {"sigma": 1.0}),
        Prior("HalfStudentT", {"nu": 5.0, "sigma": 1.0}),
        Prior("Exponential", {"lam": 0.5}),
        Prior("Beta", {"alpha": 4.0, "beta": 6.0}),
        Prior("Normal", {"mu": 2.0, "sigma": 0.1}),
        Prior("StudentT", {"nu": 5.0, "mu": 2.0, "sigma": 0.1}),
    ],
    ids=lambda prior: prior.dist,
)
def test_uncertain_inputs_are_drawn_from_their_distribution(prior: Prior) -> None:
    import scipy.stats as st

    k = prior.kwargs
    frozen = {
        "LogNormal": lambda: st.lognorm(k["sigma"], scale=k.get("median", np.exp(k.get("mu", 0)))),
        "Uniform": lambda: st.uniform(k["lower"], k["upper"] - k["lower"]),
        "Gamma": lambda: st.gamma(k["alpha"], scale=1 / k["beta"]),
        "InverseGamma": lambda: st.invgamma(k["alpha"], scale=k["beta"]),
        "TruncatedNormal": lambda: st.truncnorm(0.0, np.inf, k["mu"], k["sigma"]),
        "HalfNormal": lambda: st.halfnorm(scale=k["sigma"]),
        "Exponential": lambda: st.expon(scale=1 / k["lam"]),
        "Beta": lambda: st.beta(k["alpha"], k["beta"]),
        "Normal": lambda: st.norm(k["mu"], k["sigma"]),
        "StudentT": lambda: st.t(k["nu"], k["mu"], k["sigma"]),
        "HalfStudentT": lambda: st.t(k["nu"], scale=k["sigma"]),
    }[prior.dist]()
    values = draw(prior, 4000, np.random.default_rng(3))
    # The half of a distribution about zero has twice its density above.
    cdf = (lambda x: 2 * frozen.cdf(x) - 1) if prior.dist == "HalfStudentT" else frozen.cdf
    assert st.kstest(values, cdf).pvalue > 1e-3


def test_the_example_is_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "budget.toml").write_text(EXAMPLE)
    plan = Scenario.load(tmp_path / "budget.toml")
    assert plan.flops == 1e24
    assert plan.peak == 989.4e12
    assert isinstance(plan.price, Prior)
    assert Scenario.load(plan) is plan
    (tmp_path / "marked.toml").write_text(EXAMPLE, encoding="utf-8-sig")
    assert Scenario.load(tmp_path / "marked.toml") == plan


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("price =", "prise =", "hardware: unknown key 'prise'; did you mean 'price'"),
        ("[site]", "[sight]", "unknown key 'sight'; did you mean 'site'"),
        ("format = 1", "format = 2", "format: expected the whole number 1, got 2"),
        ("format = 1", "", "missing key 'format'"),
        ('flops = "1e24" ', 'flops = "much" ', "run.flops: 'much' is not a size"),
        ('flops = "1e24" ', "flops = -1e24 ", "run.flops: '-1e[+]24' is not a size"),
        ("compute-optimal", "compute-optimum", "did you mean 'compute-optimal'"),
        ("H100-SXM", "H100-SXN", "unknown accelerator 'H100-SXN'; did you mean 'H100-SXM'"),
        ('"bf16"', '"fp4"', "hardware.precision: expected one of bf16, fp8 for H100-SXM"),
        ('"bf16"', '["bf16"]', r"hardware.precision: expected the name of one, got \['bf16'\]"),
        (
            'precision = "bf16"',
            "peak_flops = 1979e12",
            "looks like the headline with structured sparsity",
        ),
        ('accelerator = "H100-SXM" ', "power = 700 ", "give accelerator, or both peak_flops"),
        (
            "fixed_cost = 200_000",
            "fixed_cost = -1",
            "hardware.fixed_cost: expected a number of zero",
        ),
        ("pue = 1.2", "pue = 0.9", "site.pue: expected 1 or more"),
        ("alpha = 40", "alfa = 40", "hardware.utilisation.kwargs: unknown key 'alfa'"),
        ("median = 2.5", "median = -2.5", "hardware.price.kwargs.median: expected a number above"),
        ('"LogNormal"', '"Normal"', "hardware.price"),
        ("per_nat = 5e7", "", "give either per_nat or step"),
        ("baseline_flops", "baseline_flop", "did you mean 'baseline_flops'"),
        ('baseline_flops = "1e23" ', "", "improvement over what"),
        ('"expected"', '"expectd"', "decision.risk: got 'expectd'; did you mean 'expected'"),
        ("confidence = 0.8", "confidence = 80", "decision.confidence: expected a number in"),
        ("confidence = 0.8", "confidence = true", "decision.confidence: expected a number"),
        ("[run]", "[run", "not valid TOML"),
    ],
)
def test_a_wrong_key_is_named_with_what_was_meant(old: str, new: str, message: str) -> None:
    assert EXAMPLE.count(old) == 1
    with pytest.raises(ValueError, match=message) as error:
        Scenario.from_toml(EXAMPLE.replace(old, new), where="my.toml")
    assert str(error.value).startswith("my.toml: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"utilisation": 40}, r"utilisation: expected a share in \(0, 1\], got 40"),
        ({"utilisation": 0.0}, r"utilisation: expected a share in \(0, 1\], got 0"),
        (
            {"utilisation": Prior("LogNormal", {"median": 0.4, "sigma": 0.1})},
            "utilisation: expected a share .* got LogNormal on positive values",
        ),
        ({"pue": 0.9}, "pue: expected 1 or more, got 0.9"),
        ({"pue": Prior("Beta", {"alpha": 4, "beta": 6})}, "pue: expected 1 or more, got Beta"),
        ({"per_nat": None}, "per_nat: say what an improvement is worth"),
        ({"step": Step(1.9, 1e7)}, "per_nat: say what an improvement is worth"),
        ({"baseline_loss": None}, "baseline_loss: improvement over what"),
        ({"baseline_flops": 1e23}, "baseline_loss: improvement over what"),
        (
            {"per_nat": None, "step": Step(1.9, 1e7)},
            "baseline_loss: baseline_loss goes with per_nat",
        ),
        ({"risk": "CVaR"}, "risk: got 'CVaR'; did you mean 'cvar'"),
        ({"level": 0}, r"level: expected a number in \(0, 1\), got 0"),
        ({"confidence": 80}, r"confidence: expected a number in \(0, 1\), got 80"),
        ({"confidence": "high"}, r"confidence: expected a number in \(0, 1\), got 'high'"),
        ({"flops": "1e24"}, "flops: expected a number above zero; got '1e24'"),
        ({"flops": 10**400}, "flops: expected a number above zero; got 1000"),
        ({"flops": Prior("LogNormal", {"median": 1e24, "sigma": 0.1})}, "flops: .* got LogNormal"),
        (
            {"price": -1},
            "price: expected a number above zero, or a distribution on positive .* got -1",
        ),
        ({"price": None}, "price: expected a number above zero"),
        ({"price": True}, "price: expected a number above zero"),
        ({"price": [2.5, 3.0]}, r"price: expected a number above zero, .* got \[2.5, 3.0\]"),
        (
            {"price": Prior("Normal", {"mu": 2.5, "sigma": 1.0})},
            "price: .* got Normal on real values",
        ),
        ({"price": Prior("Foo", {})}, "price: .* got Foo on unknown values"),
        ({"peak": np.nan}, "peak: expected a number above zero; got nan"),
        ({"watts": 0}, "watts: expected a number above zero; got 0"),
        ({"per_nat": -5}, "per_nat: expected a number above zero"),
        ({"baseline_loss": np.inf}, "baseline_loss: expected a number above zero; got inf"),
        ({"fixed_cost": -5}, "fixed_cost: expected a number of zero or more, .* got -5"),
        ({"grid_intensity": np.nan}, "grid_intensity: expected a number of zero or more"),
        ({"utilisation": "40%"}, r"utilisation: expected a share in \(0, 1\], got '40%'"),
        ({"pue": np.inf}, "pue: expected 1 or more, got inf"),
        ({"step": 1.9}, r"step: expected Step\(loss, worth\), got 1.9"),
        ({"step": Step(-1.0, 1e7)}, "step.loss: expected a number above zero"),
        ({"step": Step(1.9, -1.0)}, "step.worth: expected a number above zero"),
        ({"at": 8}, "at: expected a mapping such as"),
        ({"at": {"weight_bits": -8}}, "at.weight_bits: expected a number above zero"),
        ({"currency": 5}, "currency: expected text, got 5"),
        ({"name": " "}, "name: expected text, got ' '"),
        ({"family": 5}, "family: expected the name of a family, got 5"),
    ],
)
def test_a_scenario_made_in_python_is_checked(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^scenario: {message}"):
        replace(PLAIN, **change)


def test_numbers_of_numpy_and_zeros_are_numbers() -> None:
    plan = replace(
        PLAIN, flops=np.int64(10**18), price=np.float32(2), fixed_cost=0, grid_intensity=0
    )
    assert plan.price == 2


def test_no_less_energy_comes_in_than_is_used(uncertain: xr.DataTree) -> None:
    text = EXAMPLE.replace(
        "pue = 1.2", 'pue = { dist = "LogNormal", kwargs = { median = 1.1, sigma = 0.2 } }'
    )
    found = budget(uncertain, Scenario.from_toml(text))
    drawn = (found["energy"] / (found["hours"] * 0.7)).values
    assert drawn.min() == pytest.approx(1.0)
    assert 0.2 < np.isclose(drawn, 1.0).mean() < 0.4


def test_a_share_is_a_share() -> None:
    text = EXAMPLE.replace('{ dist = "Beta", kwargs = { alpha = 40, beta = 60 } }', "40")
    with pytest.raises(ValueError, match=r"hardware.utilisation: expected a share in"):
        Scenario.from_toml(text)


def test_a_step_needs_no_baseline() -> None:
    text = EXAMPLE.replace("per_nat = 5e7 ", "step = { loss = 1.9, worth = 1e7 } ")
    with pytest.raises(ValueError, match="baseline_flops goes with per_nat"):
        Scenario.from_toml(text)
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("baseline"))
    assert Scenario.from_toml(kept).step == Step(1.9, 1e7)


def test_no_such_scenario(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such scenario"):
        Scenario.load(tmp_path / "budget.toml")
    (tmp_path / "budget.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"budget.toml: not valid TOML"):
        Scenario.load(tmp_path / "budget.toml")
