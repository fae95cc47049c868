"""Compute to a target against closed forms and brute force."""

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit, with_tasks
from test_decide import ALPHA, BETA, HOFFMANN, known_fit, stacked

import bayescale as bs
from bayescale.cli.render_decide import target_facts, target_table
from bayescale.decide import compute_for
from bayescale.decide.draws import loss_along, read_draws
from bayescale.forecast.returns import returns
from bayescale.inference import sample_prior
from bayescale.model import Model


@pytest.fixture(scope="module")
def uncertain() -> xr.DataTree:
    return fake_fit("chinchilla", 2, 500, jitter=0.05, seed=2)


def codes(found: xr.Dataset) -> dict[str, str]:
    return {note.code: note.severity for note in bs.get_notes(found)}


def test_compute_to_a_loss_is_the_closed_form_on_every_path() -> None:
    targets = np.array([1.8, 2.0, 2.5, 3.0])
    left = targets - HOFFMANN["E"]
    fit = known_fit()
    # At fixed tokens only params bring the loss down.
    tokens = 1e15
    share = left - HOFFMANN["B"] * tokens**-BETA
    expected = 6 * tokens * (HOFFMANN["A"] / share) ** (1 / ALPHA)
    found = compute_for(fit, loss=targets, path=f"fixed-tokens={tokens}")
    np.testing.assert_allclose(found["compute"].isel(chain=0, draw=0), expected, rtol=1e-8)
    # At the optimum R = K * (C / 6) ^ (-ab / (a + b)).
    found = compute_for(fit, loss=targets)
    ratio = (ALPHA * HOFFMANN["A"] / (BETA * HOFFMANN["B"])) ** (1 / (ALPHA + BETA))
    scale = HOFFMANN["A"] * ratio**-ALPHA + HOFFMANN["B"] * ratio**BETA
    expected = 6 * (left / scale) ** (-(ALPHA + BETA) / (ALPHA * BETA))
    np.testing.assert_allclose(found["compute"].isel(chain=0, draw=0), expected, rtol=1e-8)
    np.testing.assert_allclose(found["compute_at_confidence"], expected, rtol=1e-8)


def test_the_crossing_is_where_the_curve_is(uncertain: xr.DataTree) -> None:
    found = compute_for(uncertain, loss=[2.1], path="fixed-ratio=20").isel(loss=0)
    reached = np.isfinite(found["compute"].values)
    for place in np.argwhere(reached)[::97]:
        flops = float(found["compute"].values[tuple(place)])
        loss = returns(uncertain, flops=flops, path="fixed-ratio=20")["loss"].values[tuple(place)]
        assert loss.item() == pytest.approx(2.1, rel=1e-10)


@pytest.mark.parametrize("kind", ["curve", "run"])
def test_the_compute_at_confidence_meets_the_target_that_often(
    kind: str, uncertain: xr.DataTree
) -> None:
    found = compute_for(uncertain, loss=2.1, confidence=0.8, kind=kind).isel(loss=0)
    flops = float(found["compute_at_confidence"])
    plan = bs.inputs_along(uncertain, [flops * (1 + 1e-9), flops * 0.97])
    meets = (bs.predict(uncertain, plan, kind=kind) <= 2.1).mean(("chain", "draw")).values
    assert meets[0] == pytest.approx(0.8, abs=1e-9 if kind == "curve" else 0.04)
    assert meets[1] < 0.8 if kind == "curve" else meets[1] < meets[0] + 0.04


def test_the_scatter_of_a_run_costs_compute() -> None:
    fit = fake_fit("chinchilla", 4, 500, sigma=0.02)
    curve, run = (compute_for(fit, loss=2.2, kind=kind) for kind in ("curve", "run"))
    assert float(curve["compute"].std()) == 0
    assert float(run["compute_at_confidence"].item()) > 1.5 * float(
        curve["compute_at_confidence"].item()
    )
    # Half of all runs do better than the curve.
    middle = float(run["compute_quantile"].sel(quantile=0.5).item())
    assert middle == pytest.approx(float(curve["compute_at_confidence"].item()), rel=0.15)


@pytest.mark.parametrize(
    ("dist", "scatter"), [("LogitNormal", 0.2), ("Beta", 60.0), ("Binomial", 1.0)]
)
def test_the_scatter_of_a_score_costs_compute(dist: str, scatter: float) -> None:
    fit = fake_fit("chinchilla", 4, 1000, jitter=0.01)
    fit = with_tasks(fit, {"acc_x": (0.2, 8.0, 0.25, 1.0)}, scatter=scatter, jitter=0.02)
    counted = {"trials": 100} if dist == "Binomial" else {}
    table = {"columns": ["acc_x"], "link": "sigmoid", "dist": dist, **counted}
    fit.attrs["model"] = Model.from_toml(fit.attrs["model"]).changed(tasks=table).text
    for kind in ("curve", "run"):
        found = compute_for(fit, accuracy=[0.5, 0.6], kind=kind)
        plan = bs.inputs_along(fit, found["compute_at_confidence"].values * (1 + 1e-9))
        scores = bs.predict_scores(fit, plan, kind=kind, random_seed=1).isel(task=0)
        meets = (scores.values >= found["accuracy"].values).mean(axis=(0, 1))
        np.testing.assert_allclose(meets, 0.9, atol=0.02 if kind == "run" else 1e-9)


def test_probabilities_are_shares_of_draws(uncertain: xr.DataTree) -> None:
    targets = [2.3, 1.75, 1.6]
    found = compute_for(uncertain, loss=targets, budget=1e22)
    floor = uncertain["posterior"]["E"].values
    compute = found["compute"]
    for index, target in enumerate(targets):
        here = found.isel(loss=index)
        assert float(here["p_below_floor"]) == (floor >= target).mean()
        assert float(here["p_unreachable"]) == np.isinf(compute.isel(loss=index)).mean()
        assert float(here["p_over_budget"]) == (compute.isel(loss=index) > 1e22).mean()
        assert float(here["p_below_floor"]) <= float(here["p_unreachable"])
        assert float(here["p_unreachable"]) <= float(here["p_over_budget"])
    assert codes(found)["unreachable_target"] in ("warning", "error")
    assert np.isinf(found["compute_at_confidence"][-1])
    assert "p_over_budget" not in compute_for(uncertain, loss=2.3)


def test_a_target_below_every_floor_is_unreachable_in_words() -> None:
    found = compute_for(known_fit(), loss=1.5, budget=1e30)
    assert float(found["p_unreachable"].item()) == 1
    assert float(found["p_over_budget"].item()) == 1
    assert np.isinf(found["compute_quantile"]).all()
    (note,) = [each for each in bs.get_notes(found) if each.code == "unreachable_target"]
    assert note.severity == "error"
    assert "a loss of 1.5 is unreachable in every draw" in note.message


def test_fixed_params_stop_short_of_a_target() -> None:
    found = compute_for(known_fit(), loss=2.0, path="fixed-params=1e8")
    assert float(found["p_unreachable"].item()) == 1
    assert float(found["p_below_floor"].item()) == 0


def test_a_target_that_is_met_from_the_start_reads_at_most(
    uncertain: xr.DataTree, capsys: pytest.CaptureFixture
) -> None:
    found = compute_for(uncertain, loss=[1e4, 2.2])
    np.testing.assert_array_equal(found["compute"][..., 0], found.attrs["start"])
    target_table(target_facts(uncertain, found))
    lines = capsys.readouterr().out.splitlines()
    met, other = (line for line in lines if line.startswith(("10,000 ", "2.2 ")))
    assert met.count("at most 1.2e14") == 4
    assert "at most" not in other


def test_a_plan_ends_the_search() -> None:
    plan = {"params": [1e9, 1e10], "tokens": [2e10, 2e11]}
    found = compute_for(known_fit(), loss=[2.6, 1.9], path=plan)
    assert found.attrs["horizon"] == pytest.approx(6 * 1e10 * 2e11)
    np.testing.assert_array_equal(found["p_unreachable"], [0, 1])
    assert found.attrs["path"] == "table"
    (note,) = [each for each in bs.get_notes(found) if each.code == "unreachable_target"]
    assert note.severity == "warning"
    assert "within the plan, which ends at 1.2e+22 FLOP" in note.message
    assert "add rows to the plan" in note.advice
    # What lies below the floor no rows reach.
    (note,) = [
        each
        for each in bs.get_notes(compute_for(known_fit(), loss=1.5, path=plan))
        if each.code == "unreachable_target"
    ]
    assert note.severity == "error"
    assert "no budget buys this target" in note.advice


def test_drifting_draws_cross_where_they_cross() -> None:
    fit = fake_fit("skaling-drift", 2, 50, jitter=0.02, kappa=0.03)
    found = compute_for(fit, loss=2.2).isel(loss=0)
    reached = np.argwhere(
        np.isfinite(found["compute"].values) & (found["compute"].values > found.start)
    )
    assert len(reached) > 70
    for place in reached[::13]:
        flops = float(found["compute"].values[tuple(place)])
        loss = returns(fit, flops=flops)["loss"].values[tuple(place)]
        assert loss.item() == pytest.approx(2.2, rel=1e-6)


def test_where_drifts_bend_the_first_crossing_is_found() -> None:
    fit = fake_fit("skaling-drift", 2, 200, jitter=0.02, kappa=0.1)
    targets = np.linspace(2.6, 1.9, 15)
    found = compute_for(fit, loss=targets)
    compute = found["compute"].values.reshape(-1, targets.size)
    draws = read_draws(fit, "compute-optimal")
    crossed = np.isfinite(compute) & (compute > found.start)
    met = np.log(loss_along(draws, np.where(crossed, compute, 1e24)) / targets)[crossed]
    assert (np.abs(met) < 1e-6).mean() > 0.998
    # Of a scan ten times as fine as the lattice of the search, the first that is low enough.
    scan = np.geomspace(found.start, found.horizon, 2500)
    ahead = loss_along(draws, scan[None])
    for index, target in enumerate(targets):
        below = ahead <= target
        first = np.where(below.any(axis=1), scan[below.argmax(axis=1)], np.inf)
        # Where only one of them finds a crossing, they differ.
        with np.errstate(invalid="ignore", divide="ignore"):
            near = np.abs(np.log(compute[:, index] / first)) < 0.03
        assert (near | (compute[:, index] == first)).mean() > 0.98


def test_models_of_a_stack_that_disagree_are_named() -> None:
    both = stacked(chinchilla=0.5, kaplan=0.5)
    found = compute_for(both, loss=1.95)
    assert codes(found)["models_disagree"] == "warning"
    assert found.sizes["draw"] == 200


def test_one_input_has_its_own_unit() -> None:
    found = compute_for(fake_fit("power", gamma=0.2, level=2.5), loss=2.2)
    # L = E + A x^-gamma with E = .7 * 2.5, A = .3 * 2.5 at 1.2e20.
    expected = 1.2e20 * (0.75 / (2.2 - 1.75)) ** (1 / 0.2)
    np.testing.assert_allclose(found["compute"], expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": []}, r"loss = \[\]: expected one target or more"),
        ({"accuracy": []}, r"accuracy = \[\]: expected one target or more"),
        ({"loss": -1.0}, "loss: the target must be positive and finite"),
        ({"loss": 2.0, "confidence": 90}, "confidence = 90: expected a probability"),
        ({"loss": 2.0, "budget": -1e24}, "budget must be positive and finite"),
        ({"loss": 2.0, "kind": "runs"}, "unknown kind 'runs'"),
        ({"loss": 2.0, "path": "fixed-rate=20"}, "did you mean 'fixed-ratio'"),
    ],
)
def test_bad_input_to_compute_for(
    options: dict[str, object], message: str, uncertain: xr.DataTree
) -> None:
    with pytest.raises(ValueError, match=message):
        compute_for(uncertain, **options)


def test_a_summary_keeps_no_draws() -> None:
    found = compute_for(fake_fit("chinchilla", 2, 200, jitter=0.05), loss=[2.2, 2.1])
    for name, values in found.data_vars.items():
        base = values.values.base
        if "draw" not in values.dims and base is not None:
            assert base.size <= 2 * values.size, name


def test_draws_that_drift_past_the_floor_are_counted() -> None:
    """Six decades on a law without drift stops at its floor; one whose slope drifts need not, and says so."""
    found = {
        name: compute_for(sample_prior(bs.load_dataset("pile"), name, draws=400), loss=[1.2, 0.6])
        for name in ("skaling", "skaling-drift")
    }
    told = {
        name: [note for note in bs.get_notes(each) if note.code == "below_the_floor"]
        for name, each in found.items()
    }
    assert told["skaling"] == []
    (note,) = told["skaling-drift"]
    past = (found["skaling-drift"]["p_below_floor"] - found["skaling-drift"]["p_unreachable"]).max()
    assert f"is met in {float(past):.1%} of draws" in note.message
    assert note.severity == "warning"
