"""More data: what a fresh token is worth, and whether the money of a step buys more elsewhere."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit, with_tasks
from typer.testing import CliRunner

import bayescale as bs
from bayescale import laws
from bayescale.cli import app
from bayescale.forecast import tangent
from bayescale.forecast.curve import read_fit
from bayescale.forecast.returns import route_for
from bayescale.forecast.tangent import marginal_loss

UNIQUE = 1e11
REFERENCE = {"params": 1e9, "tokens": 2e10}


@pytest.fixture(scope="module")
def repeated() -> xr.DataTree:
    runs = fake_fit("chinchilla")["constant_data"].to_dataset()
    runs["unique_tokens"] = ("run", np.minimum(2e10, runs["tokens"].values))
    reference = {"unique_tokens": REFERENCE["tokens"]}
    return fake_fit(
        "repetition", 1, 40, jitter=0.03, runs=runs, reference=reference, R_D=15.4, R_N=5.3
    )


@pytest.mark.parametrize("name", laws.names())
def test_every_law_carries_its_slopes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law = laws.get(name)
    rng = np.random.default_rng(4)
    saved = SimpleNamespace(law=law, drift=None, ratios=lambda inputs: inputs)
    inputs = {each: rng.uniform(0.4, 0.9, (1, 3)) for each in law.input_names}
    params = {each: rng.uniform(0.3, 0.6, (2, 1)) for each in law.param_names}
    with monkeypatch.context() as patch:
        patch.setattr(tangent, "_by_complex_inputs", None)
        loss, slopes = tangent.marginal_loss(saved, inputs, params)
    exact_loss, exact = tangent._by_complex_inputs(saved, inputs, params, law.input_names)
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-12)
    for each in law.input_names:
        np.testing.assert_allclose(slopes[each], exact[each], rtol=1e-9, atol=1e-14)
        _, alone = tangent.marginal_loss(saved, inputs, params, [each])
        assert alone.keys() == {each}
        np.testing.assert_array_equal(alone[each], slopes[each])


def test_a_law_of_other_functions_is_asked_by_complex_inputs() -> None:
    law = SimpleNamespace(
        loss=lambda x, *, A: A * np.sinh(x), input_names=("x",), param_names=("A",)
    )
    saved = SimpleNamespace(law=law, drift=None, ratios=lambda inputs: inputs)
    x = np.full((1, 1), 0.7)
    _, slopes = tangent.marginal_loss(saved, {"x": x}, {"A": np.full((1, 1), 2.0)})
    np.testing.assert_allclose(slopes["x"], -2 * 0.7 * np.cosh(0.7), rtol=1e-12)


def test_slopes_are_those_of_complex_inputs(repeated: xr.DataTree) -> None:
    saved = read_fit(repeated)
    route = route_for(saved_two := read_fit(fake_fit("skaling", 1, 20, jitter=0.1)), None, None, 0)
    ratios = {"params": np.full((1, 1), 30.0), "tokens": np.full((1, 1), 70.0)}
    inputs = {name: value * saved_two.reference[name] for name, value in ratios.items()}
    loss, slopes = marginal_loss(saved_two, inputs, route.params)
    np.testing.assert_allclose(loss, saved_two.law.loss(*ratios.values(), **route.params))
    for name in ratios:
        turned = ratios | {name: ratios[name] * (1 + 1e-30j)}
        exact = -saved_two.law.loss(*turned.values(), **route.params).imag / 1e-30
        np.testing.assert_allclose(slopes[name], exact, rtol=1e-12)
    assert saved.law.name == "repetition"


def test_worths_of_tokens_are_differences_of_predictions(repeated: xr.DataTree) -> None:
    flops, more = 6e22, 1e8
    found = bs.data_value(repeated, flops=flops, unique_tokens=UNIQUE, path="fixed-params=5B")
    tokens = flops / 6 / 5e9
    assert found["epochs"].values == pytest.approx(tokens / UNIQUE)

    def loss(tokens: float, unique: float) -> np.ndarray:
        table = {"params": [5e9], "tokens": [tokens], "unique_tokens": [unique]}
        return bs.predict(repeated, table).values.reshape(-1)

    here = loss(tokens, UNIQUE)
    again = (here - loss(tokens + more, UNIQUE)) / more * 1e9
    fresh = (here - loss(tokens + more, UNIQUE + more)) / more * 1e9
    np.testing.assert_allclose(found["repeated"].values.reshape(-1), again, rtol=2e-3)
    np.testing.assert_allclose(found["fresh"].values.reshape(-1), fresh, rtol=2e-3)
    np.testing.assert_allclose(
        found["ratio"].values, (found["repeated"] / found["fresh"]).values, rtol=1e-12
    )
    # The worth of a token is the compute that does as much.
    gain = here - loss(tokens, UNIQUE + more)
    compute = float(found["worth"].mean()) * more
    longer = here - loss((flops + compute) / 6 / 5e9, UNIQUE)
    assert longer.mean() == pytest.approx(gain.mean(), rel=0.05)


def test_every_token_is_fresh_while_the_data_last(repeated: xr.DataTree) -> None:
    found = bs.data_value(repeated, flops=[1e20, 1e25], unique_tokens=UNIQUE, path="fixed-ratio=20")
    assert (found["ratio"].isel(flops=0) == 1).all()
    assert (found["worth"].isel(flops=0) == 0).all()
    assert (found["ratio"].isel(flops=1) < 1).all()
    with pytest.raises(ValueError, match="does not tell repeated tokens"):
        bs.data_value(fake_fit("chinchilla"), flops=1e24, unique_tokens=1e12)


def test_data_limited_begins_where_repeats_lose_their_worth(repeated: xr.DataTree) -> None:
    asked = {"path": "fixed-ratio=20", "at": {"unique_tokens": UNIQUE}}
    found = bs.diminishing(repeated, beyond=1e22, data_limited=0.5, horizon=1e28, **asked)
    onset = float(found["onset"].sel(quantile=0.5))
    ratio = bs.data_value(
        repeated, flops=[onset / 1.5, onset * 1.5], unique_tokens=UNIQUE, path="fixed-ratio=20"
    )["ratio"].median(("chain", "draw"))
    assert float(ratio[0]) > 0.5 > float(ratio[1])
    assert found.attrs["predicate"] == "data_limited"
    with pytest.raises(ValueError, match="how many unique tokens are there"):
        bs.diminishing(repeated, beyond=1e22, data_limited=0.5)


def test_fresh_tokens_are_the_better_buy_where_they_are_cheap_and_data_short(
    repeated: xr.DataTree,
) -> None:
    asked = {"path": "fixed-ratio=20", "at": {"unique_tokens": UNIQUE}, "grid": 8}
    chance = [
        float(
            bs.diminishing(repeated, beyond=beyond, alternative=("unique_tokens", price), **asked)[
                "probability"
            ]
        )
        for beyond, price in ((1e26, 1e8), (1e23, 1e20))
    ]
    assert chance == [1.0, 0.0]
    with pytest.raises(ValueError, match="expected a fit of another recipe"):
        bs.diminishing(repeated, beyond=1e23, alternative=3.0, **asked)
    with pytest.raises(ValueError, match="price of one"):
        bs.diminishing(repeated, beyond=1e23, alternative=("bits", 1e12), **asked)


def test_another_recipe_is_the_alternative_from_where_the_curves_cross() -> None:
    # The second falls faster from a worse start: shares of the loss at the reference differ, exponents too.
    slow = fake_fit("chinchilla", 2, 30, jitter=0.005, alpha=0.30, beta=0.30)
    fast = fake_fit(
        "chinchilla",
        2,
        45,
        jitter=0.005,
        alpha=0.36,
        beta=0.36,
        level=2.6,
        shares=(0.68, 0.19, 0.13),
    )
    found = bs.diminishing(slow, beyond=1e21, alternative=fast, path="fixed-ratio=20", horizon=1e27)
    flops = np.geomspace(1e21, 2e27, 400)
    both = [
        bs.returns(each, flops=flops, path="fixed-ratio=20")["loss"].median(("chain", "draw"))
        for each in (slow, fast)
    ]
    better = (both[1] < both[0]).values
    assert not better[0]
    assert better[-1]
    crossing = flops[better.argmax()] / 2
    assert float(found["onset"].sel(quantile=0.5)) == pytest.approx(crossing, rel=0.5)
    assert float(found["probability"]) < 0.5


VOTES = {"samples": 16.0}


@pytest.fixture(scope="module")
def scored() -> xr.DataTree:
    return with_tasks(
        fake_fit("chinchilla", 2, 30, jitter=0.03), {"acc_maths": (0.05, 9.0, 0.02, 0.9)}
    )


@pytest.mark.parametrize("model", ["voting", "coverage", "test-time"])
def test_inference_is_the_alternative_where_its_score_gains_more(
    model: str, scored: xr.DataTree
) -> None:
    column, given = {
        "voting": ("samples", {"s": 2.0}),
        "coverage": ("samples", {"b": 0.4}),
        "test-time": ("test_time_compute", {"B": 1.3, "C_mid": 1.0}),
    }[model]
    reference = {"samples": 16.0, "scale": 16.0}
    curve = fake_fit(model, 1, 45, jitter=0.05, level=0.5, reference=reference, **given)
    flops, spent, step = np.geomspace(1e21, 1e25, 5), 8.0, 3.0
    asked = {"step": step, "path": "fixed-ratio=20", "horizon": 1e27, "grid": 3}
    plan = bs.inputs_along(scored, np.concatenate([flops, step * flops]), "fixed-ratio=20")
    score = bs.predict_scores(scored, plan).isel(task=0).values.reshape(60, 2, -1)
    trained = score[:, 1] - score[:, 0]
    # Sixty draws here are paired with forty-five there, half of all further on.
    pairs = np.roll(np.linspace(0, 44, 60).round().astype(int), 30)
    chances = []
    for price in (1e22, 3e23, 1e26):
        more = spent + (step - 1) * flops / price
        loss = bs.predict(curve, {column: [spent, *more]}).values.reshape(45, -1)[pairs]
        reached = np.exp(-loss) if model == "coverage" else 1 - loss
        expected = (trained < reached[:, 1:] - reached[:, :1]).mean(axis=0)
        for place, each in enumerate(flops):
            found = bs.diminishing(scored, beyond=each, alternative=(curve, spent, price), **asked)
            assert float(found["probability"]) == expected[place]
            chances.append(expected[place])
    assert min(chances) == 0
    assert max(chances) == 1
    assert found.attrs["threshold"] == 1e26


def test_two_sides_without_one_unit_are_refused(scored: xr.DataTree) -> None:
    curve = fake_fit("voting", 1, 20, level=0.5, reference=VOTES, s=2.0)
    plain = fake_fit("chinchilla", 1, 20)
    for fit, other, message in (
        (plain, (curve, 8, 1e22), "model 'chinchilla' knows only the loss"),
        (scored, curve, "grows with samples, not with training compute"),
        (scored, (plain, 8, 1e22), "law 'chinchilla' gives no score"),
        (scored, (curve, 8, -1.0), "price = -1.0"),
        (scored, (curve, -8, 1e22), "spent at inference"),
        (scored, (curve, 8, "dear"), "expected a fit of another recipe"),
    ):
        with pytest.raises(ValueError, match=message):
            bs.diminishing(fit, beyond=1e23, alternative=other)
    with pytest.raises(ValueError, match="The tasks of this fit are acc_maths"):
        bs.diminishing(scored, beyond=1e23, alternative=(curve, 8, 1e22), task="acc_math")


def test_the_command_line_asks_of_inference(scored: xr.DataTree, tmp_path: Path) -> None:
    curve = fake_fit("voting", 1, 20, level=0.5, reference=VOTES, s=2.0)
    bs.save(scored, tmp_path / "fit.nc")
    bs.save(curve, tmp_path / "votes.nc")
    call = ["returns", str(tmp_path / "fit.nc"), "--beyond", "1e23", "--json"]
    ran = CliRunner().invoke(app, [*call, "--alternative", f"{tmp_path / 'votes.nc'}@8@1e22"])
    assert ran.exit_code == 0, ran.output
    own = bs.diminishing(scored, beyond=1e23, alternative=(curve, 8, 1e22))
    assert json.loads(ran.stdout)["probability"] == pytest.approx(float(own["probability"]))


def test_returns_take_the_value_of_a_third_input(repeated: xr.DataTree) -> None:
    scarce, plenty = (
        bs.returns(repeated, flops=1e24, at={"unique_tokens": unique}) for unique in (1e10, 1e15)
    )
    assert float(scarce["loss"].mean()) > float(plenty["loss"].mean())
    with pytest.raises(ValueError, match="hold the others with at="):
        bs.returns(repeated, flops=1e24)


def test_an_improvement_costs_what_the_next_step_does() -> None:
    fit = fake_fit("chinchilla", 1, 30, jitter=0.1)
    found = bs.returns(fit, flops=[1e22, 1e24], step=3.0)
    spent = 2 * found["flops"] / found["gain"]
    np.testing.assert_allclose(
        found["improvement_flops"], spent.transpose("chain", "draw", "flops")
    )
    answer = bs.diminishing(fit, beyond=1e24, price_above=(1e9, 2e-18), step=3.0)
    dear = (found["improvement_flops"].isel(flops=1) * 2e-18 > 1e9).mean()
    assert float(answer["probability"]) == float(dear)


def test_the_command_line_asks_the_same(repeated: xr.DataTree, tmp_path: Path) -> None:
    bs.save(repeated, tmp_path / "fit.nc")
    call = ["returns", str(tmp_path / "fit.nc"), "--beyond", "1e23", "--path", "fixed-ratio=20"]
    call += ["--at", "unique_tokens=100B", "--json"]
    asked = {"path": "fixed-ratio=20", "at": {"unique_tokens": UNIQUE}}
    for option, text, value in (
        ("data_limited", "0.5", 0.5),
        ("alternative", "unique_tokens@1e12", ("unique_tokens", 1e12)),
    ):
        ran = CliRunner().invoke(app, [*call, f"--{option.replace('_', '-')}", text])
        assert ran.exit_code == 0, ran.output
        own = bs.diminishing(repeated, beyond=1e23, **{option: value}, **asked)
        assert json.loads(ran.stdout)["probability"] == pytest.approx(float(own["probability"]))
    ran = CliRunner().invoke(app, [*call[:-1], "--data-limited", "0.5"])
    assert "a token that is read again is worth less than 0.5 of a fresh one" in " ".join(ran.stdout.split())  # fmt: skip
    recipe = CliRunner().invoke(app, [*call, "--alternative", str(tmp_path / "fit.nc")])
    # A recipe is no better than itself.
    assert json.loads(recipe.stdout)["probability"] == 0
