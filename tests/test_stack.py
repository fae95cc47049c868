"""A stack is a fit like any other: its draws come from its members by their weights."""

import json

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit

from bayescale import diminishing, load, predict, returns, save, stack
from bayescale.forecast import inputs_along
from bayescale.notes import get_notes
from bayescale.validate.stack import stacking_weights

AT = {"params": [7e9, 70e9], "tokens": 1.4e12}


@pytest.fixture(scope="module")
def fits() -> dict[str, xr.DataTree]:
    found = {"low": fake_fit("chinchilla", level=2.2), "high": fake_fit("chinchilla", level=2.8)}
    # Two models of the same runs.
    found["high"]["observed_data"] = found["low"]["observed_data"].copy()
    return found


@pytest.fixture(scope="module")
def both(fits: dict[str, xr.DataTree]) -> xr.DataTree:
    return stack(fits, weights={"low": 1.0, "high": 3.0})


def test_draws_come_from_members_by_weight(both: xr.DataTree, fits: dict[str, xr.DataTree]) -> None:
    loss = predict(both, AT).isel(run=0)
    total = fits["low"]["posterior"].sizes["draw"]
    assert loss.sizes["draw"] == total
    apart = (
        predict(fits["low"], AT).isel(run=0).max() + predict(fits["high"], AT).isel(run=0).min()
    ) / 2
    assert float((loss > apart).mean()) == pytest.approx(0.75, abs=1 / total)
    assert json.loads(loss.attrs["weights"]) == {"low": 0.25, "high": 0.75}
    assert "models_disagree" in {note.code for note in get_notes(loss)}


def test_scales_that_vary_by_draw_stay_with_their_member(both: xr.DataTree) -> None:
    along = inputs_along(both, [1e23, 1e24])
    assert np.allclose(
        predict(both, along).values, returns(both, flops=[1e23, 1e24])["loss"].values, rtol=1e-10
    )


def test_probabilities_mix_by_weight(both: xr.DataTree, fits: dict[str, xr.DataTree]) -> None:
    ask = {"beyond": 1e24, "gain_below": 0.02}
    mixed = diminishing(both, **ask)
    each = {name: float(diminishing(fit, **ask)["probability"]) for name, fit in fits.items()}
    assert float(mixed["probability"]) == pytest.approx(0.25 * each["low"] + 0.75 * each["high"])
    assert (
        dict(zip(mixed["model"].values, mixed["probability_by_model"].values, strict=True)) == each
    )
    assert mixed["onset"].sizes == {"quantile": 5}


def test_a_stack_is_saved_whole(both: xr.DataTree, tmp_path) -> None:
    again = load(save(both, tmp_path / "stack.nc"))
    xr.testing.assert_allclose(predict(again, AT), predict(both, AT))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fits: stack({"low": fits["low"]}), "at least two fits; got low"),
        (
            lambda fits: stack(fits, weights={"low": 1.0}),
            "one number of zero or more for each of low, high",
        ),
        (lambda fits: stack(fits, weights={"low": -1.0, "high": 1.0}), "zero or more"),
        (
            lambda fits: stack({"a": stack(fits, weights={"low": 1, "high": 1}), "b": fits["low"]}),
            "'a' is a stack itself",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change, message: str, fits: dict[str, xr.DataTree]) -> None:
    with pytest.raises(ValueError, match=message):
        change(fits)


def test_weights_favour_the_better_forecast_and_keep_the_other() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(2.0, 0.1, 20)
    weights = stacking_weights(np.stack([good, good - 1.0]))
    assert weights[0] > 0.9
    assert weights.sum() == pytest.approx(1.0)
    # One run is no reason to silence a model.
    assert stacking_weights(np.array([[0.0], [-5.0]]))[1] > 0.2
