"""Allocations against closed forms, brute force and published examples."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fake_fit import fake_fit

import bayescale as bs
from bayescale import laws
from bayescale.cost import inference_flops, training_flops
from bayescale.decide import allocate, under_trained
from bayescale.decide.bowls import near_params
from bayescale.decide.draws import loss_of, marginal_losses, read_draws
from bayescale.model import Model

SAMPLE = ("chain", "draw")
REFERENCE = {"params": 1e9, "tokens": 2e10}
#: Hoffmann et al. 2022, arXiv 2203.15556, approach 3.
HOFFMANN = {"E": 1.69, "A": 406.4, "B": 410.7}
ALPHA, BETA = 0.336, 0.283


def known_fit(
    E: float = 1.69,
    A: float = 406.4,
    B: float = 410.7,
    alpha: float = ALPHA,
    beta: float = BETA,
    model: str = "chinchilla",
    **options: object,
) -> xr.DataTree:
    """A fit whose draws all are a law with these textbook constants."""
    terms = {
        "E": E,
        "A": A * REFERENCE["params"] ** -alpha,
        "B": B * REFERENCE["tokens"] ** -beta,
    }
    return fake_fit(model, 2, 5, terms=terms, alpha=alpha, beta=beta, **options)


@pytest.fixture(scope="module")
def uncertain() -> xr.DataTree:
    return fake_fit("chinchilla", 2, 300, jitter=0.06, seed=3)


def stacked(**weights: float) -> xr.DataTree:
    fits = {
        name: fake_fit(name, 2, 200, jitter=0.05, seed=seed) for seed, name in enumerate(weights)
    }
    # Stacked fits are of the same runs.
    first = next(iter(fits.values()))
    for each in fits.values():
        each["observed_data"] = first["observed_data"]
    return bs.stack(fits, weights=weights)


# --- Closed forms ----------------------------------------------------------------------------------------------------


def test_the_optimum_is_the_closed_form() -> None:
    found = allocate(known_fit(), flops=np.geomspace(1e20, 1e27, 15))
    scale = (ALPHA * HOFFMANN["A"] / (BETA * HOFFMANN["B"])) ** (1 / (ALPHA + BETA))
    expected = scale * (found["flops"] / 6) ** (BETA / (ALPHA + BETA))
    np.testing.assert_allclose(found["params_optimal"].isel(chain=0, draw=0), expected, rtol=1e-8)
    np.testing.assert_allclose(found["params"], expected, rtol=1e-8)
    np.testing.assert_allclose(6 * found["params"] * found["tokens"], found["flops"], rtol=1e-12)
    assert float(found["regret"].max()) < 1e-12
    assert float((found["wasted_flops"] / found["flops"]).max()) < 1e-6


@pytest.mark.parametrize("factor", [0.2, 0.9, 3.0, 30.0])
def test_the_waste_of_a_proposal_is_the_closed_form(factor: float) -> None:
    # Along the optimum the reducible loss is a power of compute, with exponent ab / (a + b).
    fit = known_fit()
    flops = 1e24
    best = float(allocate(fit, flops=flops)["params"].item())
    params = factor * best
    tokens = flops / 6 / params
    reducible = HOFFMANN["A"] * params**-ALPHA + HOFFMANN["B"] * tokens**-BETA
    least = HOFFMANN["A"] * best**-ALPHA + HOFFMANN["B"] * (flops / 6 / best) ** -BETA
    wasted = flops * (1 - (reducible / least) ** (-(ALPHA + BETA) / (ALPHA * BETA)))
    found = under_trained(fit, {"params": [params], "tokens": [tokens]})
    np.testing.assert_allclose(found["regret"], reducible - least, rtol=1e-8)
    np.testing.assert_allclose(found["wasted_flops"], wasted, rtol=1e-7)
    assert float(found["p_under_trained"].item()) == float(factor > 1)


@pytest.mark.parametrize("name", ["chinchilla", "skaling", "kaplan"])
def test_an_optimum_without_a_closed_form_is_found_by_search(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = fake_fit(name, 2, 20, jitter=0.1)
    closed = allocate(fit, flops=[1e22, 1e24])
    law = replace(laws.get(name), optimal_params=None)
    monkeypatch.setattr(Model, "law_object", law)
    numeric = allocate(fit, flops=[1e22, 1e24])
    for each in ("params_optimal", "params", "near_params"):
        np.testing.assert_allclose(numeric[each], closed[each], rtol=1e-7)
    np.testing.assert_allclose(numeric["regret"], closed["regret"], atol=1e-12)


# --- Inference -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["chinchilla", "skaling"])
@pytest.mark.parametrize("demand", [1e9, 1e12, 1e15])
def test_demand_meets_the_first_order_condition(model: str, demand: float) -> None:
    fit = fake_fit(model, 1, 20, jitter=0.1)
    flops = 1e23
    found = allocate(fit, flops=flops, inference_tokens=demand)
    params, tokens = (
        found[name].values.reshape(-1, 1) for name in ("params_optimal", "tokens_optimal")
    )
    np.testing.assert_allclose(
        training_flops(params, tokens) + inference_flops(params, demand), flops
    )
    of_params, of_tokens = _exact_marginal_losses(fit, params, tokens)
    np.testing.assert_allclose(of_params / of_tokens, 1 + demand / (3 * tokens), rtol=1e-6)


def _exact_marginal_losses(
    fit: xr.DataTree, params: np.ndarray, tokens: np.ndarray
) -> list[np.ndarray]:
    """Derivatives of the law by complex inputs, without the room's own code."""
    route = read_draws(fit, "compute-optimal").parts[0].route
    ratios = [params / REFERENCE["params"], tokens / REFERENCE["tokens"]]
    found = []
    for slot in range(2):
        turned = [each * (1 + 1e-30j * (place == slot)) for place, each in enumerate(ratios)]
        found.append(-route.saved.law.loss(*turned, **route.params).imag / 1e-30)
    return found


def test_marginal_losses_are_derivatives() -> None:
    fit = fake_fit("skaling", 1, 50, jitter=0.1)
    params, tokens = np.full((1, 1), 3e10), np.full((1, 1), 2e12)
    found = marginal_losses(read_draws(fit, "compute-optimal"), params, tokens)
    for own, exact in zip(found, _exact_marginal_losses(fit, params, tokens), strict=True):
        np.testing.assert_allclose(own, exact, rtol=1e-8)


def test_the_worked_example_of_serving_is_reproduced() -> None:
    # Sardana et al. 2024, arXiv 2401.00448, figure 1: who serves 2T tokens with a 13B Chinchilla model would save
    # 1.7e22 FLOP, 17 % of the lifetime compute, with a smaller one of the same loss.
    params = 13e9
    scale = (ALPHA * HOFFMANN["A"] / (BETA * HOFFMANN["B"])) ** (-1 / (ALPHA + BETA))
    tokens = (params * scale) ** ((ALPHA + BETA) / BETA) / params
    found = under_trained(
        known_fit(), {"params": [params], "tokens": [tokens]}, inference_tokens=2e12
    )
    assert float(found["wasted_flops"].isel(run=0)[0, 0]) == pytest.approx(1.7e22, rel=0.01)
    assert float(found["wasted_share"].isel(run=0)[0, 0]) == pytest.approx(0.17, abs=0.005)


def test_no_demand_is_the_limit_of_small_demand(uncertain: xr.DataTree) -> None:
    none, little = (allocate(uncertain, flops=1e23, inference_tokens=each) for each in (0.0, 1.0))
    np.testing.assert_allclose(none["params_optimal"], little["params_optimal"], rtol=1e-7)
    np.testing.assert_allclose(none["params"], little["params"], rtol=1e-7)


def test_uncertain_demand_counts_by_its_mean(uncertain: xr.DataTree) -> None:
    demand = np.random.default_rng(1).lognormal(28.0, 1.0, 600)
    unsure = allocate(uncertain, flops=1e23, inference_tokens=demand)
    mean = allocate(uncertain, flops=1e23, inference_tokens=demand.mean())
    np.testing.assert_allclose(unsure["params"], mean["params"], rtol=1e-9)
    spread = [each["params_optimal"].std(SAMPLE).item() for each in (unsure, mean)]
    assert spread[0] > 1.5 * spread[1]
    assert float(unsure["regret"].min()) >= 0
    assert unsure.attrs["inference_tokens"] == pytest.approx(demand.mean())


@pytest.mark.parametrize("model", ["chinchilla", "skaling"])
def test_many_scales_are_answered_as_each_by_itself(model: str) -> None:
    fit = fake_fit(model, 1, 60, jitter=0.3, seed=5)
    demand = np.random.default_rng(2).lognormal(27.5, 0.5, 60)
    flops = np.geomspace(1e22, 1e26, 120)
    for served in (0.0, demand):
        many = allocate(fit, flops=flops, inference_tokens=served)
        for place in (0, 41, 119):
            one = allocate(fit, flops=flops[[place]], inference_tokens=served).isel(flops=0)
            there = many.isel(flops=place)
            for name in ("params_optimal", "params", "tokens_optimal", "tokens"):
                np.testing.assert_allclose(there[name], one[name], rtol=1e-8)
            np.testing.assert_allclose(there["regret"], one["regret"], atol=1e-8)
            share = 1e-7 * flops[place]
            np.testing.assert_allclose(there["wasted_flops"], one["wasted_flops"], atol=share)
            np.testing.assert_allclose(there["near_params"], one["near_params"], rtol=1e-5)


def test_summaries_of_parts_of_the_scales_are_those_of_the_whole() -> None:
    fit, flops = fake_fit("chinchilla", jitter=0.1), np.geomspace(1e21, 1e26, 60)
    kept = ["params_optimal", "regret", "params"]
    parts = [
        bs.summarise(allocate(fit, flops=some)[kept], prob=(0.05, 0.95))
        for some in np.array_split(flops, 4)
    ]
    joined = xr.concat(parts, "flops", data_vars="minimal", combine_attrs="drop")
    whole = bs.summarise(allocate(fit, flops=flops)[kept], prob=(0.05, 0.95))
    for name in kept:
        np.testing.assert_allclose(joined[name], whole[name], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("served", ["none", "uncertain"])
def test_many_scales_within_bounds_are_answered_as_each_by_itself(served: str) -> None:
    fit = fake_fit("skaling", 1, 60, jitter=0.3, seed=5)
    demand = 0.0 if served == "none" else np.random.default_rng(2).lognormal(27.5, 0.5, 60)
    flops = np.geomspace(1e22, 1e26, 120)
    for bounds in ({"tokens_max": 3e12}, {"params_max": 2e11}):
        many = allocate(fit, flops=flops, inference_tokens=demand, **bounds)
        for place in (0, 41, 119):
            one = allocate(fit, flops=flops[[place]], inference_tokens=demand, **bounds)
            there = many.isel(flops=place)
            for name in ("params_optimal", "params", "tokens_optimal", "tokens"):
                np.testing.assert_allclose(there[name], one.isel(flops=0)[name], rtol=1e-8)
            np.testing.assert_allclose(there["regret"], one["regret"].isel(flops=0), atol=1e-8)
            share = 1e-7 * flops[place]
            wasted = one["wasted_flops"].isel(flops=0)
            np.testing.assert_allclose(there["wasted_flops"], wasted, atol=share)
            np.testing.assert_allclose(
                there["near_params"], one["near_params"].isel(flops=0), rtol=1e-5
            )


def test_tokens_that_serving_leaves_no_digits_for_are_not_negative() -> None:
    # Tokens buy next to nothing here, so that serving takes the budget to the last bit.
    fit = known_fit(B=1e-25, beta=0.3)
    found = allocate(fit, flops=np.geomspace(1e22, 1e26, 60), inference_tokens=1e14)
    for name in ("tokens_optimal", "tokens"):
        assert float(found[name].min()) >= 1
    assert np.isfinite(found["near_params"]).all()
    assert float(found["regret"].min()) >= 0


# --- Uncertainty, against brute force --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["chinchilla", "kaplan", "overtraining", "skaling"])
def test_the_one_allocation_has_the_least_expected_loss(model: str) -> None:
    fit = fake_fit(model, 2, 200, jitter=0.1, eta=0.17)
    found = allocate(fit, flops=[1e22, 1e25])
    draws = read_draws(fit, "compute-optimal")
    for index, flops in enumerate((1e22, 1e25)):
        chosen = float(found["params"][index])
        sizes = chosen * np.exp(np.linspace(-0.01, 0.01, 201))[None]
        loss = loss_of(draws, sizes, flops / 6 / sizes).mean(axis=0)
        assert abs(int(loss.argmin()) - 100) <= 1


def test_regret_and_waste_are_those_of_a_search(uncertain: xr.DataTree) -> None:
    found = allocate(uncertain, flops=1e24).isel(flops=0)
    draws = read_draws(uncertain, "compute-optimal")
    sizes = np.geomspace(1e9, 1e13, 4001)[None]
    least = loss_of(draws, sizes, 1e24 / 6 / sizes).min(axis=1)
    chosen = loss_of(
        draws, np.full((1, 1), found["params"].item()), np.full((1, 1), found["tokens"].item())
    )
    np.testing.assert_allclose(found["regret"].values.reshape(-1), chosen[:, 0] - least, atol=2e-6)
    saved = 1e24 - found["wasted_flops"].values.reshape(-1)
    for row in (0, 17, 450):
        loss = loss_of(draws, sizes, saved[row] / 6 / sizes)[row].min()
        assert loss == pytest.approx(chosen[row, 0], abs=2e-6)


def test_the_near_optimal_set_is_that_of_a_search(uncertain: xr.DataTree) -> None:
    found = allocate(uncertain, flops=1e24, near=0.01, probability=0.8).isel(flops=0)
    draws = read_draws(uncertain, "compute-optimal")
    sizes = np.geomspace(1e9, 1e13, 8001)[None]
    loss = loss_of(draws, sizes, 1e24 / 6 / sizes)
    inside = (loss - loss.min(axis=1, keepdims=True) <= 0.01).mean(axis=0) >= 0.8
    edges = sizes[0, inside][[0, -1]]
    np.testing.assert_allclose(found["near_params"], edges, rtol=3e-3)
    assert found["near_params"][0] < found["params"] < found["near_params"][1]
    assert 0.8 <= float(found["p_near"]) <= 1


@pytest.mark.parametrize("grid", [None, np.geomspace(1e9, 1e12, 60)])
def test_how_near_an_allocation_is_agrees_with_the_set(
    grid: np.ndarray | None, uncertain: xr.DataTree
) -> None:
    """Under an uncertain demand too, whose mean decides both."""
    demand = np.random.default_rng(1).lognormal(27.0, 1.0, 600)
    asked = {"flops": [1e23, 1e24], "inference_tokens": demand, "near": 3e-4, "grid": grid}
    share = allocate(uncertain, **asked)["p_near"].values
    mean = allocate(uncertain, **asked | {"inference_tokens": demand.mean()})
    np.testing.assert_allclose(share, mean["p_near"], atol=2e-3)
    for step, inside in ((-0.01, True), (0.01, False)):
        for place in range(2):
            found = allocate(uncertain, probability=share[place] + step, **asked).isel(flops=place)
            if grid is None:
                low, high = found["near_params"].values
                assert bool(low <= found["params"] <= high) == inside
            else:
                assert bool(found["is_near"].sel(size=found["params"])) == inside


def test_no_draw_too_many_is_asked_to_be_near() -> None:
    """In floating point .55 of 100 draws are a trifle more than 55."""
    lower = np.repeat([0.0, 2.0], [55, 45])[:, None]
    near = near_params(lower, lower + 1.0, 0.55)["near_params"]
    np.testing.assert_allclose(near, np.exp([[0.0, 1.0]]))
    fit = fake_fit("chinchilla", 2, 50, jitter=0.05, seed=2)
    asked = {"flops": 1e24, "grid": np.geomspace(1e10, 1e12, 200)}
    few, more = (allocate(fit, probability=p, **asked)["is_near"] for p in (0.55, 0.5499))
    np.testing.assert_array_equal(few, more)


def test_no_allocation_is_safe_where_the_draws_disagree() -> None:
    fit = fake_fit("chinchilla", 2, 200, jitter=0.5, seed=1)
    found = allocate(fit, flops=1e27, near=1e-5, probability=0.99)
    assert np.isnan(found["near_params"]).all()
    assert float(found["p_near"].item()) < 0.5


# --- Bounds ----------------------------------------------------------------------------------------------------------


def test_bounds_hold_for_every_draw(uncertain: xr.DataTree) -> None:
    free = allocate(uncertain, flops=1e24)
    median = float(free["params"].item())
    few = allocate(uncertain, flops=1e24, params_max=median / 2)
    assert float(few["params_optimal"].max()) <= median / 2 * (1 + 1e-12)
    assert float(few["params"].item()) == pytest.approx(median / 2)
    tokens = float(free["tokens"].item())
    scarce = allocate(uncertain, flops=1e24, tokens_max=tokens / 2)
    assert float(scarce["tokens_optimal"].max()) <= tokens / 2 * (1 + 1e-12)
    assert float(scarce["params"].item()) == pytest.approx(2 * median)
    assert float(scarce["near_params"].sel(bound="lower").item()) >= 2 * median * (1 - 1e-9)
    assert float(scarce["loss"].mean()) > float(free["loss"].mean())


def test_that_a_bound_decides_is_said(uncertain: xr.DataTree) -> None:
    def told(**bounds: object) -> list[str]:
        found = allocate(uncertain, flops=[1e22, 1e24], **bounds)
        return [note.message for note in bs.get_notes(found) if note.code == "bound_decides"]

    free = allocate(uncertain, flops=[1e22, 1e24])
    optima = free["params_optimal"].isel(flops=1)
    limit = float(free["params"][1]) * 0.9
    share = float((optima >= limit).mean())
    assert 0.5 < share < 1
    (message,) = told(params_max=limit)
    assert message.startswith(f"the allocation of 1e+24 FLOP lies at params_max = {limit:.3g}")
    assert f"the optimum of {share:.0%} of the draws" in message
    (message,) = told(tokens_max=float(free["tokens"][1]) / 3)
    assert "of 1e+24 FLOP lies at tokens_max" in message
    small, large = 0.5 * float(free["params"][0]), 2 * float(free["params"][1])
    (message,) = told(grid=np.geomspace(small, large / 8, 9))
    assert "of 1e+24 FLOP lies at the largest size of grid" in message
    (message,) = told(grid=np.geomspace(small * 8, large, 9))
    assert "of 1e+22 FLOP lies at the smallest size of grid" in message
    assert told() == told(grid=np.geomspace(small, large, 9)) == told(params_max=large * 10) == []


def test_a_grid_of_sizes_is_searched_whole(uncertain: xr.DataTree) -> None:
    sizes = np.array([3e9, 3e10, 8e10, 2e11, 7e11])
    found = allocate(uncertain, flops=[1e22, 1e24], grid=sizes)
    assert set(np.unique(found["params_optimal"])) <= set(sizes)
    draws = read_draws(uncertain, "compute-optimal")
    for index, flops in enumerate((1e22, 1e24)):
        loss = loss_of(draws, sizes[None], flops / 6 / sizes[None])
        assert float(found["params"][index]) == sizes[loss.mean(axis=0).argmin()]
        own = found["params_optimal"].isel(flops=index).values.reshape(-1)
        np.testing.assert_array_equal(own, sizes[loss.argmin(axis=1)])
        near = (loss - loss.min(axis=1, keepdims=True) <= 0.005).mean(axis=0) >= 0.9
        np.testing.assert_array_equal(found["is_near"][index], near)


@pytest.mark.parametrize("served", [0.0, 3e12])
def test_waste_within_bounds_is_that_of_a_search(served: float, uncertain: xr.DataTree) -> None:
    flops = np.geomspace(1e22, 1e25, 4)
    draws = read_draws(uncertain, "compute-optimal")
    for bounds in (
        {"tokens_max": 6e11},
        {"params_max": 3e10},
        {"grid": np.geomspace(1e9, 1e12, 7)},
    ):
        found = allocate(uncertain, flops=flops, inference_tokens=served, **bounds)
        sizes = bounds.get("grid", np.geomspace(1e8, 1e13, 3001))
        sizes = np.unique(np.minimum(sizes, bounds.get("params_max", np.inf)))
        for place, budget in enumerate(flops):
            there = found.isel(flops=place)
            loss = loss_of(
                draws,
                np.full((1, 1), there["params"].item()),
                np.full((1, 1), there["tokens"].item()),
            )
            saved = there["wasted_flops"].values.reshape(-1, 1)
            # Between two sizes of the search a bound may ask for up to 0.4 % more.
            for factor, reached in ((1 + 4e-3, True), (1 - 2e-4, False)):
                tokens = ((budget - saved) * factor - 2 * sizes * served) / (6 * sizes)
                tokens = np.minimum(tokens, bounds.get("tokens_max", np.inf))
                tried = loss_of(draws, sizes[None], np.maximum(tokens, 1.0))
                best = np.where(tokens > 0, tried, np.inf).min(axis=1, keepdims=True)
                # Where the proposal is the best, nothing is saved.
                asked = reached | (there["wasted_flops"].values.reshape(-1) > 1e-3 * budget)
                np.testing.assert_array_equal((best <= loss)[asked], reached)


def test_sizes_that_serve_much_may_take_all_of_a_budget(uncertain: xr.DataTree) -> None:
    # Serving 1e13 tokens with 2e10 parameters takes 4e23 FLOP: no smaller budget pays for that.
    found = allocate(uncertain, flops=[4.5e23, 5e23], grid=[2e10, 4e10], inference_tokens=1e13)
    np.testing.assert_array_equal(found["params_optimal"], 2e10)
    tokens = found["tokens"]
    np.testing.assert_allclose(6 * 2e10 * tokens + 4e23, found["flops"])
    assert float(found["regret"].max()) == 0
    np.testing.assert_allclose(found["wasted_flops"], 0, atol=1e16)
    with pytest.raises(ValueError, match=r"spends 1e\+23 FLOP"):
        allocate(uncertain, flops=[1e23, 5e23], grid=[2e10], inference_tokens=1e13)
    # Each budget has a size that it pays for, though no one size suits both.
    apart = allocate(uncertain, flops=[1e21, 1e25], grid=[1e9, 1e13], tokens_max=1e13)
    np.testing.assert_array_equal(apart["params"], [1e9, 1e13])


# --- Stacks, drift, models -------------------------------------------------------------------------------------------


def test_a_stack_is_its_members_by_weight() -> None:
    both = stacked(chinchilla=0.25, skaling=0.75)
    found = allocate(both, flops=1e24)
    assert found.sizes["draw"] == 200
    own = allocate(both["members"].children["skaling"], flops=1e24)["params_optimal"]
    tail = found["params_optimal"].isel(draw=slice(50, None))
    assert float(tail.median()) == pytest.approx(float(own.median()), rel=0.05)
    draws = read_draws(both, "compute-optimal")
    sizes = float(found["params"].item()) * np.exp(np.linspace(-0.01, 0.01, 201))[None]
    loss = loss_of(draws, sizes, 1e24 / 6 / sizes).mean(axis=0)
    assert abs(int(loss.argmin()) - 100) <= 1


def test_a_drift_is_in_the_loss_and_not_in_the_regret() -> None:
    drifting = fake_fit("skaling-drift", 2, 100, jitter=0.03, kappa=0.1)
    found = allocate(drifting, flops=1e25)
    bare = fake_fit("skaling-drift", 2, 100, jitter=0.03, kappa=0.0)
    alone = allocate(bare, flops=1e25)
    np.testing.assert_allclose(found["params_optimal"], alone["params_optimal"], rtol=1e-9)
    assert float(found["loss"].std()) > 1.5 * float(alone["loss"].std())
    codes = [note.code for note in bs.get_notes(found)]
    assert "bare_law" in codes


def test_released_models_keep_their_names(uncertain: xr.DataTree) -> None:
    table = {"name": ["GPT-3", "Chinchilla"], "params": [175e9, 70e9], "tokens": [300e9, 1.4e12]}
    found = under_trained(uncertain, table)
    assert list(found["name"].values) == ["GPT-3", "Chinchilla"]
    assert float(found["p_under_trained"][0]) >= float(found["p_under_trained"][1])
    assert (found["wasted_share"] < 1).all()
    best = 6 * found["params_optimal"] * found["tokens_optimal"]
    np.testing.assert_allclose(best.max(SAMPLE), 6 * found["params"] * found["tokens"])


def test_models_keep_the_dims_and_the_index_of_their_table(uncertain: xr.DataTree) -> None:
    params, tokens = [7e9, 8e9], [2e12, 3e12, 4e12]
    columns = {"params": ("a", params), "tokens": ("b", tokens)}
    found = under_trained(uncertain, xr.Dataset(columns, coords={"a": ["x", "y"]}))
    assert found["regret"].dims == (*SAMPLE, "a", "b")
    assert list(found["a"].values) == ["x", "y"]
    assert found.attrs["model"] == "chinchilla"
    for size in range(2):
        for seen in range(3):
            row = {"params": [params[size]], "tokens": [tokens[seen]]}
            own = under_trained(uncertain, row).isel(run=0)
            xr.testing.assert_allclose(found.isel(a=size, b=seen, drop=True), own, rtol=1e-9)
    frame = pd.DataFrame({"params": params, "tokens": tokens[:2]}, index=["m", "n"])
    found = under_trained(uncertain, frame)
    assert found["regret"].dims == (*SAMPLE, "run")
    assert list(found["run"].values) == ["m", "n"]


def test_the_columns_of_a_table_of_models_may_be_dims(uncertain: xr.DataTree) -> None:
    table = xr.Dataset(coords={"params": [7e9, 8e9], "tokens": [2e12, 3e12, 4e12]})
    found = under_trained(uncertain, table)
    assert found["regret"].dims == (*SAMPLE, "params", "tokens")
    np.testing.assert_array_equal(found["params"].isel(tokens=0), [7e9, 8e9])


def test_one_model_or_one_number_for_all_is_a_table(uncertain: xr.DataTree) -> None:
    one = under_trained(uncertain, {"params": 7e9, "tokens": 2e12, "name": "one"})
    assert one["params"].dims == one["name"].dims == ("run",)
    both = under_trained(uncertain, {"params": [7e9, 8e9], "tokens": 2e12})
    np.testing.assert_array_equal(both["tokens"], [2e12, 2e12])


# --- Bad input -------------------------------------------------------------------------------------------------------


def test_sizes_may_be_text(uncertain: xr.DataTree) -> None:
    for text, number in (
        ({"params_max": "7B"}, {"params_max": 7e9}),
        ({"tokens_max": "100B"}, {"tokens_max": 1e11}),
        ({"grid": ["1B", "7B"]}, {"grid": [1e9, 7e9]}),
        ({"inference_tokens": "2T"}, {"inference_tokens": 2e12}),
        ({"inference_tokens": ["1T", 3e12]}, {"inference_tokens": [1e12, 3e12]}),
    ):
        found, same = (allocate(uncertain, flops=1e23, **each) for each in (text, number))
        xr.testing.assert_identical(found, same)
    models = {"params": [7e9], "tokens": [2e12]}
    served = under_trained(uncertain, models, inference_tokens="2T")
    assert served.attrs["inference_tokens"] == 2e12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flops": 1e10}, "less than a thousandth of the smallest run"),
        ({"flops": -1.0}, "must be positive and finite"),
        ({"flops": 1e24, "params_max": 0.0}, "params_max = 0.0: expected a number above zero"),
        (
            {"flops": 1e24, "params_max": 1e9, "tokens_max": 1e12},
            "cannot be spent: 1e+09 parameters on 1e[+]12 tokens take 6e[+]21",
        ),
        ({"flops": 1e24, "grid": [1e9], "tokens_max": 1e12}, "grid: no size"),
        ({"flops": 1e24, "grid": [-1e9]}, "grid: parameters must be positive"),
        ({"flops": 1e24, "grid": []}, "grid is empty: expected the sizes that can be trained"),
        (
            {"flops": 1e24, "grid": [7e9, None]},
            "grid: expected numbers, or sizes as text such as '70B'",
        ),
        ({"flops": 1e24, "params_max": "large"}, "params_max: expected numbers, .* got 'large'"),
        ({"flops": 1e24, "tokens_max": [1e12, 2e12]}, "expected a number above zero, or leave"),
        (
            {"flops": 1e24, "inference_tokens": "lots"},
            "inference_tokens: expected numbers, or sizes",
        ),
        ({"flops": 1e24, "inference_tokens": -1.0}, "inference_tokens: expected numbers of zero"),
        ({"flops": 1e24, "near": 0.0}, "near = 0.0: expected a loss above zero"),
        ({"flops": 1e24, "probability": 1.5}, "probability = 1.5"),
    ],
)
def test_bad_input_to_allocate(
    options: dict[str, object], message: str, uncertain: xr.DataTree
) -> None:
    with pytest.raises(ValueError, match=message.replace("1e+09", r"1e\+09")):
        allocate(uncertain, **options)


def test_a_law_of_one_input_has_nothing_to_allocate() -> None:
    with pytest.raises(ValueError, match="has one input"):
        allocate(fake_fit("power"), flops=1e24)


def test_a_table_of_models_needs_params_and_tokens(uncertain: xr.DataTree) -> None:
    with pytest.raises(ValueError, match="table: missing column 'tokens'"):
        under_trained(uncertain, {"params": [1e9]})
    with pytest.raises(ValueError, match="table: column 'params' must be positive"):
        under_trained(uncertain, {"params": [-1e9], "tokens": [1e10]})
    with pytest.raises(ValueError, match="table has no rows; give params and tokens of one model"):
        under_trained(uncertain, {"params": [], "tokens": []})


# --- Laws of more than params and tokens ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repeated() -> xr.DataTree:
    return three_inputs("repetition", "unique_tokens", 2e10, R_D=15.4, R_N=5.3)


def three_inputs(model: str, column: str, value: float, **fixed: float) -> xr.DataTree:
    runs = fake_fit("chinchilla")["constant_data"].to_dataset()
    runs[column] = ("run", np.minimum(value, runs["tokens"].values))
    reference = {column: REFERENCE["tokens"] if column == "unique_tokens" else 4.0}
    return fake_fit(model, 1, 20, jitter=0.03, runs=runs, reference=reference, **fixed)


def test_scarce_data_calls_for_larger_models_than_plenty(repeated: xr.DataTree) -> None:
    scarce, plenty = (
        allocate(repeated, flops=1e24, at={"unique_tokens": unique}) for unique in (1e10, 1e15)
    )
    assert float(scarce["loss"].mean()) > float(plenty["loss"].mean())
    for unique, found in ((1e10, scarce), (1e15, plenty)):
        sizes = np.geomspace(1e8, 1e14, 20_001)
        plan = {
            "params": sizes,
            "tokens": 1e24 / 6 / sizes,
            "unique_tokens": np.minimum(unique, 1e24 / 6 / sizes),
        }
        loss = bs.predict(repeated, plan).values.reshape(20, -1)
        own = found["params_optimal"].values.reshape(-1)
        np.testing.assert_allclose(own, sizes[loss.argmin(axis=1)], rtol=2e-3)
        np.testing.assert_allclose(
            found["loss"].values.mean(), np.min(loss.mean(axis=0)), rtol=1e-6
        )


def test_an_input_to_hold_must_be_given_and_known(repeated: xr.DataTree) -> None:
    with pytest.raises(ValueError, match=r"depends on unique_tokens .* --at unique_tokens=VALUE"):
        allocate(repeated, flops=1e24)
    with pytest.raises(ValueError, match="did you mean 'unique_tokens'"):
        allocate(repeated, flops=1e24, at={"unique_token": 1e12})
    with pytest.raises(ValueError, match="expected numbers above zero"):
        allocate(repeated, flops=1e24, at={"unique_tokens": -1e12})
    with pytest.raises(ValueError, match="has no input 'bits' to hold"):
        allocate(fake_fit("chinchilla"), flops=1e24, at={"bits": 8})
    sparse = three_inputs("sparsity", "density", 0.5, **_ones("sparsity"))
    with pytest.raises(ValueError, match="at: density = 2 must be at most 1"):
        allocate(sparse, flops=1e24, at={"density": 2.0})


def _ones(name: str) -> dict[str, float]:
    """Some value for every parameter that the fake fits do not know."""
    law = laws.get(name)
    return {each: 0.3 for each in law.param_names if each not in {"alpha", "beta", *law.terms}}
