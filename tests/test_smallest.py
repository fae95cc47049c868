"""Large or small, build or buy, against published worked examples and brute force."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit
from test_decide import ALPHA, BETA, HOFFMANN, known_fit

import bayescale as bs
from bayescale.cost import inference_flops, served_tokens, training_flops
from bayescale.decide import smallest_model
from bayescale.decide.draws import loss_of, read_draws


def quality(params: float) -> tuple[float, float]:
    """Loss of a compute-optimal model of so many parameters, and its tokens, by the constants of Hoffmann et al."""
    scale = (ALPHA * HOFFMANN["A"] / (BETA * HOFFMANN["B"])) ** (-1 / (ALPHA + BETA))
    tokens = (params * scale) ** ((ALPHA + BETA) / BETA) / params
    loss = HOFFMANN["E"] + HOFFMANN["A"] * params**-ALPHA + HOFFMANN["B"] * tokens**-BETA
    return loss, tokens


@pytest.mark.parametrize(
    ("params", "served", "smaller", "longer", "saved"),
    [(30e9, 5e12, 16.4e9, 3.27e12, 0.16), (70e9, 10e12, 41.6e9, 7.92e12, 0.12)],
)
def test_worked_examples_of_serving(
    params: float, served: float, smaller: float, longer: float, saved: float
) -> None:
    # Sardana et al. 2024, arXiv 2401.00448: models of the quality of a 30B and a 70B Chinchilla model.
    loss, tokens = quality(params)
    found = smallest_model(known_fit(), loss=loss, confidence=0.5, inference_tokens=served)
    plain = training_flops(params, tokens) + inference_flops(params, served)
    # As printed: three digits.
    assert float(found["params"]) == pytest.approx(smaller, rel=0.003)
    assert float(found["tokens"]) == pytest.approx(longer, rel=0.003)
    assert 1 - float(found["cost"]) / plain == pytest.approx(saved, abs=0.005)


def test_the_first_order_condition_holds_for_money() -> None:
    # Without demand the model is compute-optimal; dear decoding counts as a larger demand.
    loss, tokens = quality(30e9)
    plain = smallest_model(known_fit(), loss=loss, confidence=0.5)
    assert float(plain["params"]) == pytest.approx(30e9, rel=0.02)
    assert float(plain["tokens"]) == pytest.approx(tokens, rel=0.02)
    demand = served_tokens(1e12, 1e11, training=0.5, prefill=0.5, decode=0.01)
    dear = smallest_model(known_fit(), loss=loss, confidence=0.5, inference_tokens=demand)
    size, seen = float(dear["params"]), float(dear["tokens"])
    of_params = ALPHA * HOFFMANN["A"] * size**-ALPHA
    of_tokens = BETA * HOFFMANN["B"] * seen**-BETA
    assert of_params / of_tokens == pytest.approx(1 + demand / (3 * seen), rel=0.02)
    with pytest.raises(ValueError, match="decode = 0"):
        served_tokens(1e12, 1e11, training=0.5, prefill=0.5, decode=0.0)


def test_so_many_draws_meet_the_target_and_no_other_size_is_cheaper() -> None:
    fit = fake_fit("chinchilla", 2, 200, jitter=0.03, seed=4)
    found = smallest_model(fit, loss=2.2, confidence=0.8, inference_tokens=1e13)
    draws = read_draws(fit, "compute-optimal")

    def met(params: float, tokens: float) -> float:
        at = (np.full((1, 1), each) for each in (params, tokens))
        return float((loss_of(draws, *at) <= 2.2 * (1 + 1e-9)).mean())

    size, seen = float(found["params"]), float(found["tokens"])
    assert met(size, seen * 1.0001) >= 0.8 > met(size, seen * 0.99)
    for other in size * np.array([0.7, 0.9, 1.1, 1.5]):
        left = (float(found["cost"]) - inference_flops(other, 1e13)) / training_flops(other, 1.0)
        assert left <= 0 or met(other, left) < 0.8
    assert float(found["params_least"]) < size


def test_sizes_bounds_and_what_buying_costs() -> None:
    fit = fake_fit("chinchilla", 2, 100, jitter=0.02, seed=4)
    asked = {"loss": 2.3, "confidence": 0.8, "inference_tokens": 1e12}
    free = smallest_model(fit, **asked)
    listed = smallest_model(fit, grid=[1e8, 1e9, 3e9, 1e10, 1e11, 1e12], **asked)
    assert float(listed["cost"]) >= float(free["cost"]) * (1 - 1e-3)
    assert float(listed["params"]) in listed["size"].values
    scarce = smallest_model(fit, tokens_max=float(free["tokens"]) / 2, **asked)
    assert float(scarce["params"]) > float(free["params"])
    assert float(scarce["tokens"]) <= float(free["tokens"]) / 2
    serving = 2 * float(free["params"])
    bought = smallest_model(fit, buy=2 * serving, **asked)
    even = float(bought["break_even"])
    assert even * serving == pytest.approx(training_flops(float(bought["params"]), float(bought["tokens"])), rel=0.01)  # fmt: skip
    assert np.isinf(float(smallest_model(fit, buy=serving / 2, **asked)["break_even"]))


def test_where_drifts_bend_the_first_tokens_that_are_enough_count() -> None:
    fit = fake_fit("skaling-drift", 2, 200, jitter=0.02, kappa=0.05)
    sizes = np.array([3e8, 3e9, 3e10])
    found = smallest_model(fit, loss=2.2, confidence=0.5, inference_tokens=1e12, grid=sizes)
    draws, runs = read_draws(fit, "compute-optimal"), fit["constant_data"]
    least = {name: float(runs[name].min()) for name in ("tokens", "flops")}
    for size, needed in zip(sizes, found["tokens_needed"].values, strict=True):
        first = min(least["tokens"], least["flops"] / (6 * size))
        # Ten nodes in each cell of the search, and the answer.
        scan = np.sort(np.append(np.geomspace(first, 1e18, 800), needed))
        loss = loss_of(draws, np.full((1, 1), size), scan[None])
        met = (loss <= 2.2 * (1 + 1e-6)).mean(axis=0)
        # So many draws and not one more, but for dips between two nodes of the search.
        assert 0.5 <= met[scan == needed] < 0.51
        assert met[scan < needed / 1.03].max() < 0.5


def test_more_tokens_to_choose_from_are_never_worse() -> None:
    fit = fake_fit("skaling-drift", 2, 200, jitter=0.02, kappa=0.05)
    asked = {"loss": 2.2, "confidence": 0.7, "inference_tokens": 1e12}
    capped = [smallest_model(fit, tokens_max=cap, **asked) for cap in (1e12, 1e13, 1e15, None)]
    for scarce, plenty in pairwise(capped):
        for name in ("cost", "params_least"):
            assert float(plenty[name]) <= float(scarce[name])
    first, last = capped[0], capped[-1]
    assert float(first["tokens"]) < 1e12
    assert float(last["cost"]) == pytest.approx(float(first["cost"]), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "far"),
    [
        ({"tokens_max": 0.5}, 2.0),
        ({"tokens_max": 0.15}, 100.0),
        ({"shares": (0.7, 0.295, 0.005)}, 1.0),
        ({"shares": (0.7, 0.002, 0.298), "inference_tokens": 1e20}, 1.0),
    ],
)
def test_the_best_size_is_found_wherever_it_lies(options: dict[str, Any], far: float) -> None:
    asked = dict(options)
    fit = fake_fit("chinchilla", 2, 50, jitter=0.01, shares=asked.pop("shares", (0.7, 0.2, 0.1)))
    free = smallest_model(fit, loss=1.9, confidence=0.5)
    asked |= {"loss": 1.9, "confidence": 0.5}
    if "tokens_max" in asked:
        asked["tokens_max"] *= float(free["tokens"])
    found = smallest_model(fit, **asked)
    assert float(found["params"]) >= far * float(free["params"]) or far == 1
    listed = smallest_model(fit, grid=np.geomspace(1e6, 1e17, 400), **asked)
    assert float(found["cost"]) <= float(listed["cost"]) * (1 + 1e-6)
    assert "unreachable_target" not in [note.code for note in bs.get_notes(found)]
    # The smallest that meets the target at all, to a part in a thousand.
    least = float(found["params_least"])
    several = smallest_model(fit, grid=least * np.array([0.999, 1.0]), **asked)
    np.testing.assert_array_equal(np.isfinite(several["tokens_needed"]), [False, True])


def test_sizes_may_be_given_as_people_write_them() -> None:
    fit = fake_fit("chinchilla", 1, 50, jitter=0.02)
    plain = {"inference_tokens": 2e12, "tokens_max": 5e12, "grid": [7e9, 7e10]}
    told = {"inference_tokens": "2T", "tokens_max": "5T", "grid": ["7B", 7e10]}
    xr.testing.assert_identical(*(smallest_model(fit, loss=2.2, **each) for each in (plain, told)))


def test_a_target_below_the_floor_is_said_to_be_out_of_reach() -> None:
    found = smallest_model(fake_fit("chinchilla", 1, 50, jitter=0.02), loss=0.5)
    assert np.isinf(float(found["cost"]))
    assert [note.severity for note in bs.get_notes(found)][0:1] == ["error"]
    for option, given, message in (
        ("tokens_max", -1.0, "tokens_max = -1.0: expected a number above zero"),
        (
            "tokens_max",
            "lots",
            "tokens_max: expected numbers, or sizes as text such as '70B', got 'lots'",
        ),
        ("buy", 0.0, "buy = 0.0: expected a number above zero"),
        ("grid", [], "grid is empty"),
        ("inference_tokens", "2 tons", "inference_tokens: expected numbers, or sizes as text"),
    ):
        with pytest.raises(ValueError, match=message):
            smallest_model(fake_fit("chinchilla"), loss=2.2, **{option: given})
    with pytest.raises(ValueError, match="either a loss or an accuracy"):
        smallest_model(fake_fit("chinchilla"))
    with pytest.raises(ValueError, match=r"loss = \[2.0, 2.1\]: expected one target"):
        smallest_model(fake_fit("chinchilla"), loss=[2.0, 2.1])
