"""Forecasts of a model whose slope may drift from its law."""

import json

import numpy as np
import pytest
import xarray as xr
from fake_fit import REFERENCE, fake_fit

import bayescale as bs
from bayescale.forecast import diminishing, inputs_along, predict, returns, summarise
from bayescale.inference import sample_prior
from bayescale.notes import get_notes

KAPPA = 0.01
LARGEST = 1.2e23
AT = {"params": [1e9, 1e11, 1e13], "tokens": [1e10, 1e12, 1e13]}


@pytest.fixture(scope="module")
def law() -> xr.DataTree:
    return fake_fit("skaling-drift", chains=2, draws=200, jitter=0.02)


@pytest.fixture(scope="module")
def drifting() -> xr.DataTree:
    return fake_fit("skaling-drift", chains=2, draws=200, jitter=0.02, kappa=KAPPA)


def codes(data: xr.DataArray | xr.Dataset) -> list[str]:
    return [note.code for note in get_notes(data)]


def test_without_drift_the_law_is_left(law: xr.DataTree) -> None:
    bare = fake_fit("skaling", chains=2, draws=200, jitter=0.02)
    np.testing.assert_allclose(predict(law, AT), predict(bare, AT), rtol=1e-13)
    ours, theirs = (returns(tree, flops=[1e22, 1e25]) for tree in (law, bare))
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9, err_msg=name)
    assert "bare_law" in codes(predict(bare, AT))
    assert "bare_law" not in codes(predict(law, AT))


def test_a_path_of_drift_is_the_same_in_every_answer(drifting: xr.DataTree) -> None:
    loss = predict(drifting, AT)
    one = predict(drifting, {"params": 1e13, "tokens": 1e13})
    np.testing.assert_allclose(loss[..., 2], one, rtol=1e-13)
    np.testing.assert_array_equal(predict(drifting, AT, random_seed=7), loss)
    at = inputs_along(drifting, [1e25], "fixed-ratio=20")
    along = returns(drifting, flops=[1e25], path="fixed-ratio=20")
    np.testing.assert_allclose(predict(drifting, at), along["loss"], rtol=1e-13)


@pytest.mark.parametrize("path", ["compute-optimal", "fixed-ratio=20", "compute-optimal-expected"])
def test_elasticity_takes_the_drift_along(drifting: xr.DataTree, path: str) -> None:
    h = 1e-4
    flops = np.array([1.3e21, 1.3e25])
    before, after = (
        np.log(returns(drifting, flops=flops * np.exp(shift), path=path)["loss"].values)
        for shift in (-h, h)
    )
    found = returns(drifting, flops=flops, path=path)["elasticity"].values
    np.testing.assert_allclose(found, (before - after) / (2 * h), rtol=1e-5, atol=1e-7)


def test_the_optimum_of_a_draw_is_that_of_its_law(law: xr.DataTree, drifting: xr.DataTree) -> None:
    flops = [1e22, 1e25]
    np.testing.assert_array_equal(
        inputs_along(drifting, flops)["params"], inputs_along(law, flops)["params"]
    )


def test_the_expected_optimum_knows_the_drift(drifting: xr.DataTree) -> None:
    at = inputs_along(drifting, [1e24], "compute-optimal-expected")
    best = predict(drifting, at).mean(("chain", "draw"))
    for factor in np.exp([-0.1, -0.03, 0.03, 0.1]):
        moved = at.assign(params=at["params"] * factor, tokens=at["tokens"] / factor)
        assert predict(drifting, moved).mean(("chain", "draw")).item() > best.item()


def test_a_loss_below_the_floor_is_told(drifting: xr.DataTree) -> None:
    wild = fake_fit("skaling-drift", chains=2, draws=200, kappa=0.03)
    found = returns(wild, flops=[1e22, 1e27])
    below = found["share_left"] < 0
    assert 0 < float(below[..., 1].mean()) < 1
    assert np.all(np.isposinf(found["reducible_elasticity"].values[below]))
    np.testing.assert_array_equal(found["halving_compute"].values[below], 1.0)
    assert not np.isnan(summarise(found)["reducible_elasticity"]).any()
    # Elsewhere the factor is one that does halve what is left.
    halved = found["halving_compute"][..., 0].values
    sought = np.isfinite(halved) & ~below.values[..., 0]
    index = np.argwhere(sought)[:10]
    after = returns(wild, flops=[1e22 * halved[tuple(each)] for each in index])["loss"].values
    for place, (chain, draw) in enumerate(index):
        floor = float(wild["posterior"]["E"][chain, draw])
        left = found["loss"].values[chain, draw, 0] - floor
        # Between the nodes of the path the factor is interpolated.
        assert after[chain, draw, place] - floor == pytest.approx(left / 2, rel=2e-2)


def test_loss_may_rise(drifting: xr.DataTree) -> None:
    found = diminishing(drifting, beyond=1e26, gain_below=0.01)
    gain = returns(drifting, flops=[1e26])["gain"]
    assert found["p_loss_rises"].item() == pytest.approx(float((gain < 0).mean()))
    assert 0 < found["p_loss_rises"] < 1
    assert "loss_may_rise" in codes(found)


def test_flattening_is_mostly_the_prior(drifting: xr.DataTree) -> None:
    found = diminishing(drifting, beyond=1e26, flattening=1e-4)
    assert 0.4 < found["probability"] < 0.6
    assert 0.4 < found["probability_within_runs"] < 0.6
    note = next(note for note in get_notes(found) if note.code == "by_construction")
    assert f"P = {found['probability'].item():.2f}" in note.message
    assert "over the last decade of the runs themselves" in note.message
    plan = {"params": [1e11, 1e13], "tokens": [1e13, 1e14]}
    elsewhere = diminishing(drifting, beyond=1e25, flattening=1e-4, path=plan)
    assert "probability_within_runs" not in elsewhere


def test_flattening_of_a_drift_is_not_asked_within_the_runs(drifting: xr.DataTree) -> None:
    largest = float(drifting["constant_data"]["flops"].max())
    assert diminishing(drifting, beyond=1.01 * largest, flattening=1e-4)["probability"] < 1
    with pytest.raises(ValueError, match="flattening is told beyond the largest run"):
        diminishing(drifting, beyond=largest, flattening=1e-4)


def test_flattening_within_the_runs_is_evidence() -> None:
    """A drift that is known to have fallen within the runs."""
    tree = fake_fit("power-drift", chains=1, draws=200, kappa=KAPPA)
    posterior = tree["posterior"].to_dataset()
    signs = np.sign(
        returns(tree, flops=[REFERENCE["scale"] * 100])["elasticity"]
        - returns(fake_fit("power-drift", chains=1, draws=200), flops=[REFERENCE["scale"] * 100])[
            "elasticity"
        ]
    ).isel(flops=0, drop=True)
    # One decade before the frontier every draw's elasticity lies above the law's.
    tree["posterior"] = xr.DataTree(
        posterior.assign(
            drift=posterior["drift"] * signs.drop_vars("decades_beyond", errors="ignore")
        )
    )
    found = diminishing(tree, beyond=REFERENCE["scale"] * 1e4, flattening=1e-6)
    assert found["probability_within_runs"] == 1
    assert 0.3 < found["probability"] < 0.7


def test_no_answer_lies_further_out_than_a_drift_is_followed(drifting: xr.DataTree) -> None:
    largest = float(drifting["constant_data"]["flops"].max())
    found = diminishing(drifting, beyond=1e5 * largest, gain_below=0.01)
    assert found.attrs["horizon"] * 2 == pytest.approx(1e8 * largest)
    # Up to there more compute is not worse along the ray of the largest runs.
    ray = f"fixed-ratio={REFERENCE['tokens'] / REFERENCE['params']:g}"
    assert (returns(drifting, flops=largest * np.geomspace(1, 4e7, 20), path=ray)["gain"] > 0).all()
    for ask in (
        lambda: returns(drifting, flops=[1e8 * largest]),
        lambda: diminishing(drifting, beyond=1e24, gain_below=0.01, horizon=1e9 * largest),
        lambda: inputs_along(drifting, [2e8 * largest]),
    ):
        with pytest.raises(ValueError, match="more than 8 decades beyond the largest run"):
            ask()
    bare = fake_fit("skaling", chains=1, draws=20)
    assert np.isfinite(returns(bare, flops=[1e8 * largest])["loss"]).all()


def test_less_than_a_share_of_nothing_is_a_loss_that_rises() -> None:
    tree = fake_fit("skaling-drift", chains=2, draws=400, jitter=0.02, kappa=0.05)
    largest = float(tree["constant_data"]["flops"].max())
    path = f"fixed-params={REFERENCE['params']:g}"
    before, after = 10 * largest, 30 * largest
    asked = {"relative_below": (0.5, before), "path": path}
    gains = returns(tree, flops=[before, after], path=path)["gain"]
    first, last = gains[..., 0], gains[..., 1]
    assert float((first <= 0).mean()) > 0.05
    expected = (last < 0.5 * first.clip(0)).mean()
    found = diminishing(tree, beyond=after, **asked)
    np.testing.assert_allclose(found["probability"], expected, rtol=1e-12)


def test_no_group_rises_where_slopes_differ_between_groups() -> None:
    runs = bs.load_dataset("pile")
    slope = {"over": "family", "sd": {"dist": "HalfNormal", "kwargs": {"sigma": 0.4}}}
    model = bs.Model.load("skaling-drift").changed(pool={"alpha": slope, "beta": slope})
    tree = sample_prior(runs, model, draws=300, random_seed=1)
    reference = json.loads(tree.attrs["reference"])
    largest = float((6 * runs["params"] * runs["tokens"]).max())
    ray = f"fixed-ratio={reference['tokens'] / reference['params']:g}"
    for family in ("pythia", "cerebras-gpt", None):
        flops = largest * np.geomspace(1, 1e4, 40)
        gain = returns(tree, flops=flops, path=ray, family=family)["gain"]
        # Between two knots a wiggle may be left.
        assert float((gain < 0).any("flops").mean()) < 0.01, family
