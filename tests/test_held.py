"""Inputs of a law that are held: at a value, or at draws of what is not known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit
from test_decide import _ones, three_inputs

import bayescale as bs
from bayescale.decide.scenario import Scenario
from bayescale.forecast.held import pair_draws
from bayescale.model import Model

CHAINS, DRAWS = 2, 30
PATH = "fixed-ratio=20"


def of_repeated(model: str | Model, **options: Any) -> xr.DataTree:
    runs = fake_fit("chinchilla")["constant_data"].to_dataset()
    runs["unique_tokens"] = ("run", np.minimum(2e10, runs["tokens"].values))
    reference = {"unique_tokens": 2e10}
    return fake_fit(
        model,
        CHAINS,
        DRAWS,
        jitter=0.03,
        runs=runs,
        reference=reference,
        R_D=15.4,
        R_N=5.3,
        **options,
    )


def of_experts() -> xr.DataTree:
    """A law that grows along no path and holds none of its inputs."""
    sizes, experts = (each.ravel() for each in np.meshgrid(np.geomspace(2e7, 1e9, 5), [8, 64, 512]))
    columns = {"params": sizes, "experts": experts, "tokens": np.full(sizes.size, 1.3e11)}
    runs = xr.Dataset({name: ("run", values.astype(float)) for name, values in columns.items()})
    known = {"a": 0.08, "b": 0.03, "c": 0.0045, "E_start": 2.0, "E_max": 350.0}
    return fake_fit("moe", CHAINS, DRAWS, runs=runs, jitter=0.02, **known)


@pytest.fixture(scope="module", params=["law", "drift"])
def repeated(request: pytest.FixtureRequest) -> xr.DataTree:
    if request.param == "law":
        return of_repeated("repetition")
    return of_repeated(Model.load("repetition").with_discrepancy("drift"), kappa=0.01)


@pytest.fixture(scope="module")
def unique() -> np.ndarray:
    return np.random.default_rng(3).lognormal(np.log(1e11), 1.0, CHAINS * DRAWS)


def one_by_one(found: list[xr.DataArray]) -> np.ndarray:
    """Of many answers, each at one value, the draw that goes with that value."""
    flat = [each.values.reshape(CHAINS * DRAWS, -1) for each in found]
    return np.array([values[index] for index, values in enumerate(flat)])


@pytest.mark.parametrize("unique_tokens", [1e11, 1e15])
def test_slopes_of_the_drift_are_those_of_the_loss(
    repeated: xr.DataTree, unique_tokens: float
) -> None:
    """As long as tokens are fewer than the unique ones these grow with them, and so does their part of the drift."""
    step = 1 + 1e-4
    found = bs.returns(
        repeated, flops=[1e22, 1e24], path=PATH, at={"unique_tokens": unique_tokens}, step=step
    )
    numeric = -np.log1p(-found["gain"] / found["loss"]) / np.log(step)
    np.testing.assert_allclose(found["elasticity"], numeric, atol=3e-5)


def test_returns_pair_each_draw_with_its_value(repeated: xr.DataTree, unique: np.ndarray) -> None:
    asked: dict[str, Any] = {"flops": [1e21, 1e25], "path": PATH}
    found = bs.returns(repeated, at={"unique_tokens": unique}, **asked)
    each = [bs.returns(repeated, at={"unique_tokens": value}, **asked) for value in unique]
    for name in ("loss", "elasticity"):
        expected = one_by_one([one[name] for one in each])
        np.testing.assert_allclose(
            found[name].values.reshape(CHAINS * DRAWS, -1), expected, rtol=1e-9
        )
    # Where all is fresh, it does not matter how much more there is.
    assert float(found["loss"][..., 1].std()) > float(found["loss"][..., 0].std())


def test_optima_follow_the_value_of_their_draw(unique: np.ndarray) -> None:
    fit = of_repeated("repetition")
    found = bs.allocate(fit, flops=1e24, at={"unique_tokens": unique})
    each = [bs.allocate(fit, flops=1e24, at={"unique_tokens": value}) for value in unique[::7]]
    expected = [
        one["params_optimal"].values.reshape(-1)[7 * index] for index, one in enumerate(each)
    ]
    np.testing.assert_allclose(found["params_optimal"].values.reshape(-1)[::7], expected, rtol=1e-6)
    assert float(found["regret"].min()) >= 0
    known = bs.allocate(fit, flops=1e24, at={"unique_tokens": 1e11})
    same = bs.allocate(fit, flops=1e24, at={"unique_tokens": np.full(7, 1e11)})
    xr.testing.assert_allclose(same["params"], known["params"])


def test_a_token_is_worth_what_it_is_at_each_value(unique: np.ndarray) -> None:
    fit = of_repeated("repetition")
    found = bs.data_value(fit, flops=1e25, unique_tokens=unique, path=PATH)
    each = [bs.data_value(fit, flops=1e25, unique_tokens=value, path=PATH) for value in unique]
    for name in ("epochs", "worth", "ratio"):
        expected = one_by_one([one[name] for one in each])
        np.testing.assert_allclose(
            found[name].values.reshape(CHAINS * DRAWS, -1), expected, rtol=1e-9
        )
    assert found.attrs["unique_tokens"] == np.median(unique)


def test_diminishing_and_its_alternative_take_draws(unique: np.ndarray) -> None:
    fit = of_repeated("repetition")
    asked: dict[str, Any] = {"beyond": 1e25, "path": PATH}
    for question in ({"data_limited": 0.5}, {"alternative": ("unique_tokens", 1e12)}):
        found = bs.diminishing(fit, at={"unique_tokens": unique}, **question, **asked)
        each = [
            bs.diminishing(fit, at={"unique_tokens": value}, **question, **asked)
            for value in unique
        ]
        expected = one_by_one([one["onset_draws"] for one in each])[:, 0]
        np.testing.assert_allclose(found["onset_draws"].values.reshape(-1), expected, rtol=1e-9)


def test_a_stack_holds_each_member_at_draws(unique: np.ndarray) -> None:
    fits = {"a": of_repeated("repetition"), "b": of_repeated("repetition", level=2.6)}
    fits["b"]["observed_data"] = fits["a"]["observed_data"]
    stack = bs.stack(fits, weights={"a": 0.5, "b": 0.5})
    found = bs.compute_for(stack, loss=2.3, path=PATH, at={"unique_tokens": unique})
    assert float(found["compute_quantile"].sel(quantile=0.5).item()) > 0


def test_what_cannot_be_held_is_told_with_what_the_law_has() -> None:
    routed = of_experts()
    for at in (None, {"experts": 8.0}):
        with pytest.raises(
            ValueError, match="inputs are params, experts; forecast planned rows"
        ) as why:
            bs.returns(routed, flops=1e24, at=at)
        assert "--at " not in str(why.value)
        assert "--planned TABLE" in str(why.value)
    with pytest.raises(ValueError, match="has no input 'bits' to hold; its inputs are params, exp"):
        bs.returns(routed, flops=1e24, at={"bits": 8.0})
    fit = of_repeated("repetition")
    with pytest.raises(
        ValueError, match="tokens, unique_tokens, of which unique_tokens can be held"
    ):
        bs.returns(fit, flops=1e24, at={"bits": 8.0})
    with pytest.raises(ValueError, match="'params' of law 'repetition' grows with compute"):
        bs.returns(fit, flops=1e24, at={"params": 1e9})
    # As an example a value that the runs have.
    with pytest.raises(ValueError, match=r"at=\{'unique_tokens': 2e10\}, or --at unique_tokens="):
        bs.allocate(fit, flops=1e24)


SCENARIO = """
format = 1
[run]
flops = 1e25
path = "fixed-ratio=20"
at = { unique_tokens = { dist = "LogNormal", kwargs = { median = 1e11, sigma = 1.0 } } }
[hardware]
peak_flops = 1e15
power = 700
utilisation = 0.4
price = 2.0
[value]
per_nat = 1e8
baseline_loss = 3.0
"""


def test_a_scenario_may_not_know_its_data(unique: np.ndarray) -> None:
    plan = Scenario.from_toml(SCENARIO)
    fit = of_repeated("repetition")
    found = bs.budget(fit, plan)
    known = bs.budget(fit, replace(plan, at={"unique_tokens": 1e11}))
    assert float(found["loss"].std()) > 1.2 * float(known["loss"].std())
    assert "unique_tokens" in found["input"].values
    assert "unique_tokens" not in known["input"].values
    told = found["evppi"].sel(input="unique_tokens")
    assert 0 <= float(told) <= float(found["evpi"])
    runs = {"params": [1e10], "tokens": [2e11], "unique_tokens": [2e10]}
    assert bs.next_runs(fit, runs, budget=1e23, target=plan)["evsi"].size == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1e11, 0.0], "at: unique_tokens: expected numbers above zero"),
        ([1e11, np.nan], "at: unique_tokens: expected numbers above zero"),
        ([], "at: unique_tokens: expected numbers above zero"),
        (-1e11, "at: unique_tokens: expected numbers above zero"),
    ],
)
def test_bad_values(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bs.returns(of_repeated("repetition"), flops=1e24, at={"unique_tokens": value})


def test_one_bad_draw_is_named() -> None:
    sparse = three_inputs("sparsity", "density", 0.5, **_ones("sparsity"))
    with pytest.raises(ValueError, match=r"at: density = 2 must be at most 1"):
        bs.returns(sparse, flops=1e24, at={"density": [0.5, 2.0, 0.25]})


def test_draws_with_named_dims_are_read_by_name() -> None:
    values = xr.DataArray(np.arange(1.0, 7.0).reshape(2, 3), dims=("chain", "draw"))
    found = pair_draws(values, 6, "at: x")
    np.testing.assert_array_equal(pair_draws(values.T, 6, "at: x"), found)
    with pytest.raises(ValueError, match="dims chain, run: expected chain and draw"):
        pair_draws(values.rename(draw="run"), 6, "at: x")
