"""Forecasts against closed forms: predict, paths, marginal returns."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fake_fit import REFERENCE, fake_fit
from hypothesis import given, settings
from hypothesis import strategies as st

import bayescale as bs
from bayescale import forecast, laws
from bayescale.cost import params_at_ratio, params_for, tokens_for, training_flops
from bayescale.forecast import inputs_along, predict, returns, summarise
from bayescale.forecast.curve import STEP, Saved, law_params, log_location, read_fit
from bayescale.forecast.doubts import distance_note
from bayescale.forecast.growth import check_range, growth
from bayescale.forecast.optimum import falling_root
from bayescale.forecast.path import PATHS, Path, parse_path
from bayescale.forecast.predict import _evaluate
from bayescale.model import Model
from bayescale.notes import Note, get_notes

E, A, B, ALPHA, BETA = 1.8, 0.4, 0.3, 0.35, 0.37
N0, D0 = REFERENCE["params"], REFERENCE["tokens"]
FAMILIES = {"pythia": 1.0, "cerebras": 1.1}
SKALING = """
format = 1
name = "skaling"
law = "skaling"
[noise]
dist = "Normal"
"""
NOISE_SLOPE = """
format = 1
name = "slope"
law = "chinchilla"
[noise]
dist = "Normal"
slope = { dist = "Normal", kwargs = { mu = 0.0, sigma = 0.1 } }
"""


@pytest.fixture(scope="module")
def fit() -> xr.DataTree:
    return fake_fit(terms={"E": E, "A": A, "B": B}, alpha=ALPHA, beta=BETA, draws=5)


@pytest.fixture(scope="module")
def spread() -> xr.DataTree:
    return fake_fit(jitter=0.1, draws=100)


@pytest.fixture(scope="module")
def families() -> xr.DataTree:
    return fake_fit("chinchilla-families", families=FAMILIES, jitter=0.05, draws=200)


@pytest.fixture(scope="module")
def power() -> xr.DataTree:
    return fake_fit("power", terms={"E": E, "A": A}, gamma=0.2, draws=5)


@pytest.fixture(scope="module")
def skaling() -> xr.DataTree:
    return fake_fit(Model.from_toml(SKALING), jitter=0.1, draws=50)


def codes(data: xr.DataArray | xr.Dataset) -> list[str]:
    return [note.code for note in get_notes(data)]


def value(data: xr.DataArray) -> np.ndarray:
    """The one value that all draws share."""
    assert np.ptp(data.values, axis=(0, 1)).max() < 1e-13 * np.abs(data.values).max()
    return data.values[0, 0]


def textbook(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return E + A * (params / N0) ** -ALPHA + B * (tokens / D0) ** -BETA


def closed_form(flops: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Optimal params, tokens and loss: Hoffmann 2022, equation 4."""
    total = ALPHA + BETA
    ratio = (ALPHA * A / (BETA * B)) ** (1 / total) * (flops / (6 * N0 * D0)) ** (BETA / total)
    params = ratio * N0
    tokens = flops / 6 / params
    return params, tokens, textbook(params, tokens)


# Cost ------------------------------------------------------------------------------------------


def test_cost_and_its_inverses() -> None:
    params, tokens = np.array([1e8, 7e9]), np.array([2e9, 3e11])
    flops = training_flops(params, tokens)
    np.testing.assert_allclose(flops, [1.2e18, 1.26e22])
    np.testing.assert_allclose(tokens_for(flops, params), tokens)
    np.testing.assert_allclose(params_for(flops, tokens), params)
    np.testing.assert_allclose(params_at_ratio(flops, tokens / params), params)


# Predict ---------------------------------------------------------------------------------------


def test_predict_is_the_law(fit: xr.DataTree) -> None:
    params, tokens = np.array([1e9, 7e9, 7e10]), np.array([1e10, 1.4e11, 1.4e12])
    loss = predict(fit, {"params": params, "tokens": tokens})
    assert loss.dims == ("chain", "draw", "run")
    assert loss.attrs["units"] == "nat/token"
    assert (loss.name, loss.attrs["kind"], loss.attrs["model"]) == ("loss", "curve", "chinchilla")
    np.testing.assert_allclose(value(loss), textbook(params, tokens), rtol=1e-13)
    np.testing.assert_array_equal(loss["params"], params)


def test_predict_of_a_model_stated_by_terms() -> None:
    prior = 'dist = "LogNormal"\nkwargs = { median = 1.0, sigma = 1.0 }\n'
    terms = "".join(f"[priors.{term}]\n{prior}" for term in "EAB")
    model = Model.from_toml(f'format = 1\nlaw = "chinchilla"\n{terms}', where="terms")
    assert not model.shared_level
    tree = fake_fit(model, terms={"E": E, "A": A, "B": B}, alpha=ALPHA, beta=BETA)
    np.testing.assert_allclose(
        value(predict(tree, {"params": 1e10, "tokens": 1e11})), textbook(1e10, 1e11), rtol=1e-13
    )


@pytest.mark.parametrize("kind", ["dict", "frame", "dataset", "read_runs"])
def test_predict_takes_any_table(fit: xr.DataTree, kind: str) -> None:
    frame = pd.DataFrame({"params": [1e9, 1e10], "tokens": [1e10, 1e11], "run_id": ["a", "b"]})
    if kind == "dict":
        at = frame.to_dict("list")
    elif kind == "frame":
        at = frame
    elif kind == "dataset":
        at = xr.Dataset({name: ("run", frame[name]) for name in frame})
    else:
        from bayescale.runs import read_runs

        at = read_runs(frame, need=())
    loss = predict(fit, at)
    np.testing.assert_allclose(value(loss), textbook(frame["params"], frame["tokens"]), rtol=1e-13)
    np.testing.assert_array_equal(loss["run"], [0, 1])


def test_predict_keeps_the_dims_of_at(fit: xr.DataTree) -> None:
    at = xr.Dataset(coords={"size": [1e9, 1e10, 1e11], "data": [1e10, 1e12]})
    at = at.assign(params=at["size"], tokens=at["data"] * 2)
    loss = predict(fit, at)
    assert loss.dims[2:] == ("size", "data")
    expected = textbook(at["params"].values[:, None], at["tokens"].values[None, :])
    np.testing.assert_allclose(value(loss), expected, rtol=1e-13)
    scalar = predict(fit, {"params": 1e9, "tokens": 1e10})
    assert scalar.dims == ("chain", "draw")
    assert float(scalar["decades_beyond"]) == 0.0


def test_predict_takes_scales_that_differ_by_draw(spread: xr.DataTree) -> None:
    rng = np.random.default_rng(0)
    params = xr.DataArray(10 ** rng.uniform(8, 10, (2, 100, 3)), dims=("chain", "draw", "flops"))
    loss = predict(spread, xr.Dataset({"params": params, "tokens": 1e11}))
    assert loss.dims == ("chain", "draw", "flops")
    one = predict(spread, {"params": params.values[1, 7], "tokens": 1e11})
    np.testing.assert_allclose(loss[1, 7], one[1, 7], rtol=1e-13)
    with pytest.raises(ValueError, match="has sizes"):
        predict(spread, xr.Dataset({"params": params.isel(draw=slice(9)), "tokens": 1e11}))


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({"params": [1e9]}, r"missing column 'tokens' \(training tokens \[tokens\]\).*has params"),
        ({"params": [1e9, -1.0], "tokens": 1e10}, r"'params' must be positive.*row 2 \(-1.0\)"),
        ({"params": [np.nan, 1e9, 0.0], "tokens": 1e10}, r"rows 1, 3"),
        ({"params": [1e9], "tokens": ["much"]}, r"'tokens' must hold numbers"),
        ({"params": [[1e9]], "tokens": 1e10}, r"has 2 dims"),
        ({"params": [1e9], "tokens": [1e10], "flops": [0.0]}, r"'flops' must be positive"),
        ({"params": [], "tokens": []}, r"no rows"),
        ([1e9, 1e10], r"expected a Dataset, DataFrame or mapping"),
    ],
)
def test_predict_says_what_is_wrong_with_at(fit: xr.DataTree, at: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(fit, at)


def test_predict_says_which_rows_lie_outside_a_law() -> None:
    at = {"params": 1e9, "tokens": [1e10, 2e10], "unique_tokens": [1e10, 3e10]}
    with pytest.raises(ValueError, match=r"'unique_tokens' must be at most 'tokens' .*rows 2$"):
        predict(fake_fit("repetition"), at)
    with pytest.raises(ValueError, match=r"flops: column 'share' must be at most 1; see rows 2$"):
        returns(fake_fit("mixture", t=1.0, reference={"share": 0.2}), flops=[0.5, 2.0])
    four_epochs = predict(fake_fit("repetition"), at | {"unique_tokens": [1e10, 5e9]})
    assert np.all(np.isfinite(four_epochs))


def test_predict_refuses_other_trees_and_kinds(fit: xr.DataTree) -> None:
    at = {"params": 1e9, "tokens": 1e10}
    with pytest.raises(ValueError, match="not a fit of bayescale"):
        predict(xr.DataTree(), at)
    with pytest.raises(ValueError, match=r"'curve' .* or 'run'"):
        predict(fit, at, kind="mean")
    later = fit.copy()
    later.attrs = fit.attrs | {"bayescale_format": 2}
    with pytest.raises(ValueError, match="newer than this bayescale reads"):
        predict(later, at)


def test_predict_survives_a_file(families: xr.DataTree, tmp_path) -> None:
    families.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    at = {"params": [1e9, 1e10], "tokens": 1e11, "family": ["pythia", "new"]}
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as opened:
        xr.testing.assert_identical(predict(opened, at), predict(families, at))


def test_families_known_and_new(families: xr.DataTree) -> None:
    at = {"params": [1e10] * 4, "tokens": 1e11, "family": ["pythia", "cerebras", "new", "other"]}
    loss = predict(families, at, random_seed=3)
    typical = predict(fake_fit(jitter=0.05, draws=200), at)
    np.testing.assert_allclose(loss[..., 1] / loss[..., 0], 1.1, rtol=1e-12)
    # Same seed of the jitter, hence the same typical draws: a new family scatters about them.
    ratio = np.log(loss[..., 2] / typical[..., 2])
    assert 0.04 < float(ratio.std()) < 0.06
    assert (
        abs(np.corrcoef(np.log(loss[..., 2:] / typical[..., 2:]).values.reshape(-1, 2).T)[0, 1])
        < 0.2
    )
    assert codes(loss).count("new_family") == 1
    assert "new_family" not in codes(predict(families, {**at, "family": "pythia"}))
    again = predict(families, {"params": 1e10, "tokens": 1e11, "family": "other"}, random_seed=3)
    np.testing.assert_array_equal(again, loss[..., 3])
    assert not np.array_equal(predict(families, at, random_seed=4)[..., 2], loss[..., 2])
    hint = next(
        n
        for n in get_notes(predict(families, {**at, "family": "pythai"}))
        if n.code == "new_family"
    )
    assert "did you mean 'pythia'?" in hint.advice
    assert hint.severity == "warning"


def test_without_a_family_all_points_share_a_new_one(families: xr.DataTree) -> None:
    at = {"params": [1e10, 1e10], "tokens": 1e11}
    loss = predict(families, at)
    np.testing.assert_array_equal(loss[..., 0], loss[..., 1])
    note = next(note for note in get_notes(loss) if note.code == "new_family")
    assert "no family was given" in note.message
    assert note.severity == "info"
    along = returns(families, flops=6e21, path="fixed-params=1e10")
    np.testing.assert_allclose(along["loss"][..., 0], loss[..., 0], rtol=1e-13)


def test_a_pooled_real_parameter_adds() -> None:
    text = """
format = 1
law = "chinchilla"
[priors.alpha]
dist = "TruncatedNormal"
kwargs = { mu = 0.3, sigma = 0.1, lower = 0.0 }
[pool.alpha]
over = "corpus"
"""
    model = Model.from_toml(text, where="pooled")
    tree = fake_fit(model, families={"c4": 1.0, "pile": 1.2}, alpha=0.3)
    at = {"params": N0 * 10, "tokens": D0, "corpus": ["c4", "pile"]}
    reducible = value(predict(tree, at)) - 2.5 * 0.82
    np.testing.assert_allclose(
        reducible, 2.5 * 0.18 * 10 ** (-0.3 * np.array([1.0, 1.2])), rtol=1e-12
    )


def test_run_noise_has_the_stated_quantiles() -> None:
    tree = fake_fit(chains=4, draws=5000, nu=4.0, sigma=0.02)
    at = {"params": [1e9, 1e10], "tokens": 1e11}
    noise = np.log(predict(tree, at, kind="run") / predict(tree, at)).values.reshape(-1, 2) / 0.02
    # Student's t with 4 degrees of freedom: 0.9 and 0.99 quantiles.
    standard_error = np.sqrt([0.9 * 0.1, 0.99 * 0.01]) / np.sqrt(20000) / [0.0816, 0.00686]
    for column in noise.T:
        found = np.quantile(column, [0.9, 0.99])
        assert np.all(np.abs(found - [1.5332, 3.7469]) < 4 * standard_error)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.04
    np.testing.assert_array_equal(predict(tree, at, kind="run"), predict(tree, at, kind="run"))
    assert not np.array_equal(
        predict(tree, at, kind="run", random_seed=1), predict(tree, at, kind="run")
    )


def test_run_noise_grows_with_its_slope() -> None:
    tree = fake_fit(
        Model.from_toml(NOISE_SLOPE, where="slope"), draws=5000, noise_slope=0.2, sigma=0.01
    )
    at = {"params": [N0, 10 * N0], "tokens": [D0, 100 * D0]}
    noise = np.log(predict(tree, at, kind="run") / predict(tree, at))
    np.testing.assert_allclose(
        noise.std(("chain", "draw")), 0.01 * 10 ** np.array([0, 0.6]), rtol=0.05
    )


def test_scatter_that_is_carried_beyond_the_runs_is_told() -> None:
    tree = fake_fit(Model.from_toml(NOISE_SLOPE, where="slope"), noise_slope=0.2, sigma=0.01)
    near, far = {"params": N0, "tokens": D0}, {"params": 10 * N0, "tokens": 100 * D0}

    def told(at: dict[str, float], kind: str) -> list[str]:
        notes = get_notes(predict(tree, at, kind=kind))
        return [note.message for note in notes if "scatter of runs" in note.message]

    assert told(near, "run") == told(far, "curve") == []
    (message,) = told(far, "run")
    assert "its sigma is 0.01 about the largest runs and 0.04 at the farthest point" in message


def test_run_noise_does_not_grow_with_experts() -> None:
    text = 'format = 1\nlaw = "moe"\n[noise]\ndist = "Normal"\nslope = { dist = "Normal", kwargs = { mu = 0, sigma = 1 } }\n'
    runs = xr.Dataset({"params": ("run", [N0, 2 * N0]), "experts": ("run", [8.0, 16.0])})
    tree = fake_fit(
        Model.from_toml(text, where="slope"),
        draws=5000,
        noise_slope=0.2,
        sigma=0.01,
        reference={"params": N0, "experts": 1.0},
        runs=runs,
        **{"a": 0.08, "b": 0.03, "c": 0.0045, "E_start": 2.0, "E_max": 350.0},
    )
    at = {"params": [N0, N0], "experts": [8.0, 128.0]}
    noise = np.log(predict(tree, at, kind="run") / predict(tree, at)).std(("chain", "draw"))
    assert float(noise[1] / noise[0]) == pytest.approx(1, rel=0.05)


def test_noise_with_fixed_degrees_of_freedom() -> None:
    text = 'format = 1\nlaw = "chinchilla"\n[noise]\ndist = "StudentT"\nnu = 3\n'
    tree = fake_fit(Model.from_toml(text, where="fixed"), draws=5000)
    tree["posterior"] = tree["posterior"].to_dataset().drop_vars("nu", errors="ignore")
    at = {"params": 1e9, "tokens": 1e10}
    noise = np.log(predict(tree, at, kind="run") / predict(tree, at)) / 0.01
    assert abs(float((noise < 1.6377).mean()) - 0.9) < 0.012


def test_blocks_change_nothing(families: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    at = {
        "params": 10 ** rng.uniform(8, 11, 50),
        "tokens": 10 ** rng.uniform(10, 12, 50),
        "family": rng.choice(["pythia", "cerebras", "a", "b"], 50),
    }
    whole = predict(families, at, kind="run")
    curve = returns(families, flops=np.geomspace(1e20, 1e24, 30))
    monkeypatch.setattr("bayescale.forecast.curve.BLOCK", 7 * 400)
    np.testing.assert_array_equal(predict(families, at, kind="run"), whole)
    xr.testing.assert_allclose(
        returns(families, flops=np.geomspace(1e20, 1e24, 30)), curve, rtol=1e-12
    )


def test_memory_stays_bounded() -> None:
    tree = fake_fit(chains=4, draws=5000, jitter=0.01)
    at = {"params": np.geomspace(1e9, 1e12, 200), "tokens": 1e12}
    saved = read_fit(tree)
    inputs = {
        name: np.broadcast_to(np.atleast_1d(v), 200)[None] / saved.reference[name]
        for name, v in at.items()
    }
    tracemalloc.start()
    loss = _evaluate(saved, inputs, [{}], 200, "run", 0, None)
    peak = tracemalloc.get_traced_memory()[1] - loss.nbytes
    tracemalloc.stop()
    assert peak < 50e6, f"{peak / 1e6:.0f} MB beside the result"


def test_decades_beyond_the_largest_run(fit: xr.DataTree, power: xr.DataTree) -> None:
    largest = 6 * (100 * N0) * (10 * D0)
    at = {"params": [1e9, 100 * N0, 100 * N0], "tokens": [1e10, 10 * D0, 1000 * D0]}
    np.testing.assert_allclose(predict(fit, at)["decades_beyond"], [0, 0, 2], atol=1e-12)
    stated = predict(fit, {**at, "flops": largest * np.array([1.0, 10.0, 0.1])})
    np.testing.assert_allclose(stated["decades_beyond"], [0, 1, 0], atol=1e-12)
    one_input = predict(power, {"flops": [1e20, 1.2e24]})
    np.testing.assert_allclose(one_input["decades_beyond"], [0, 1], atol=1e-12)


# Notes -----------------------------------------------------------------------------------------


def test_a_family_whose_runs_end_early_is_told() -> None:
    families = np.array(["small"] * 4 + ["large"] * 4)
    params = np.array([1e7, 2e7, 4e7, 8e7, 1e8, 4e8, 2e9, 8e9])
    runs = xr.Dataset(
        {"params": ("run", params), "tokens": ("run", 20 * params), "family": ("run", families)}
    )
    tree = fake_fit("chinchilla-families", families={"small": 1.1, "large": 0.9}, runs=runs)

    def told(family: str | None, scale: float) -> list[str]:
        notes = get_notes(returns(tree, flops=[scale], family=family))
        return [note.message for note in notes if "keeps its distance" in note.message]

    (message,) = told("small", 7e21)
    assert "the runs of 'small' end at 7.68e+17 FLOP, 4.0 decades below" in message
    assert told("large", 7e21) == told(None, 7e21) == told("small", 5e18) == []
    at = {"params": [1e7, 8e9], "tokens": [2e8, 1.6e11], "family": ["small", "small"]}
    assert any("keeps its distance" in note.message for note in get_notes(predict(tree, at)))


def test_notes_of_a_forecast(fit: xr.DataTree) -> None:
    near, far = {"params": 1e9, "tokens": 1e10}, {"params": [1e9, 1e14], "tokens": 1e12}
    assert "bare_law" in codes(predict(fit, near))
    assert "far_extrapolation" not in codes(predict(fit, near))
    note = next(n for n in get_notes(predict(fit, far)) if n.code == "far_extrapolation")
    assert "1 of 2 scales" in note.message
    assert note.message.endswith(f" decades at most, at {6 * 1e14 * 1e12:.3g} FLOP")
    (note,) = (n for n in get_notes(returns(fit, flops=1e26)) if n.code == "far_extrapolation")
    assert note.message.startswith("the scale 1e+26 FLOP lies more than a decade beyond")
    assert note.severity == "warning"
    assert "far_extrapolation" in codes(returns(fit, flops=[1e26]))
    below = next(n for n in get_notes(returns(fit, flops=[1e21, 25])) if n.code == "below_the_runs")
    assert below.message.startswith("1 of 2 scales lies more than a decade below the smallest run")
    assert below.severity == "warning"
    assert "below_the_runs" not in codes(predict(fit, near))


def test_errors_of_the_fit_travel() -> None:
    error = Note("not_converged", "error", "R-hat of alpha is 1.4", "")
    warning = Note("collinear_design", "warning", "one ray", "")
    for tree in (fake_fit(notes=(error, warning), converged=False), fake_fit(converged=False)):
        for answer in (predict(tree, {"params": 1e9, "tokens": 1e10}), returns(tree, flops=1e23)):
            assert codes(answer)[0] == "not_converged"
            assert "collinear_design" not in codes(answer)


# Summaries -------------------------------------------------------------------------------------


def test_summarise_gives_quantiles_one_row_a_scale(spread: xr.DataTree) -> None:
    loss = predict(spread, {"params": [1e9, 1e10], "tokens": 1e11})
    found = summarise(loss, prob=(0.1, 0.9))
    assert found["loss"].dims == ("run", "quantile")
    np.testing.assert_allclose(found["quantile"], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found["loss"].sel(quantile=0.5), loss.median(("chain", "draw")))
    expected = loss.quantile([0.1, 0.9], ("chain", "draw")).transpose("run", "quantile")
    np.testing.assert_allclose(found["loss"].sel(quantile=[0.1, 0.9]), expected.values)
    assert found.attrs["notes"] == loss.attrs["notes"]
    assert {"params", "tokens", "decades_beyond"} <= set(found.coords)
    assert np.all(found["loss_mcse"] > 0)
    marginal = summarise(returns(spread, flops=[1e22, 1e24], path="fixed-params=1e9"))
    assert marginal["halving_compute"].dims == ("flops", "quantile")
    assert np.all(np.isinf(marginal["halving_compute"]))
    assert np.all(np.isnan(marginal["halving_compute_mcse"]))
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        summarise(loss, prob=(5, 95))


# Paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("compute-optimum", "did you mean 'compute-optimal'"),
        ("isoflop", "the paths are .*fixed-ratio=VALUE"),
        ("fixed-ratio", "takes a value, such as fixed-ratio=20"),
        ("compute-optimal=3", "takes no value"),
        ("fixed-params=many", "'many' is not a size"),
        ("fixed-tokens=-1", "not a size"),
        ("table", "pass the table itself"),
        ({"params": [1e9, 1e10]}, "a plan has columns params and tokens"),
        ({"params": [1e9], "tokens": [1e10]}, "at least two rows"),
        ({"params": [1e9, 1e10], "tokens": [1e11, 1e10]}, "two rows of the same compute"),
        ({"params": [1e9, -1e10], "tokens": [1e11, 1e10]}, "must be positive"),
    ],
)
def test_path_errors(spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_path(spec)


def test_paths_are_read_as_written() -> None:
    assert str(parse_path(" fixed-ratio = 20 ")) == "fixed-ratio=20"
    assert parse_path("fixed-tokens=300B") == Path("fixed-tokens", 3e11)
    assert parse_path("fixed-params=7e9") == parse_path("fixed-params=7B")
    assert all(name.rstrip("=") for name in PATHS)


def test_a_law_grows_along_its_own_paths(fit: xr.DataTree, power: xr.DataTree) -> None:
    with pytest.raises(ValueError, match=r"has one input \(flops\) and grows along it"):
        returns(power, flops=1e24, path="compute-optimal")
    with pytest.raises(ValueError, match="say how they grow"):
        returns(fit, flops=1e24, path="input")
    assert returns(power, flops=1e24).attrs["path"] == "input"
    assert returns(power, flops=1e24, path="input").attrs["path"] == "input"
    assert returns(fit, flops=1e24).attrs["path"] == "compute-optimal"
    other = replace(
        laws.get("power"),
        name="examples-and-size",
        inputs=(*laws.get("power").inputs, laws.Input("width", "", "")),
    )
    saved = replace(read_fit(power), law=other)
    from bayescale.forecast.path import resolve_path

    with pytest.raises(ValueError, match=r"forecast planned rows of them: bs\.predict, or"):
        resolve_path(saved, None)


def test_fixed_paths_by_hand(fit: xr.DataTree) -> None:
    flops = np.array([6e20, 2.4e21])
    ratio = inputs_along(fit, flops, "fixed-ratio=20")
    np.testing.assert_allclose(ratio["tokens"] / ratio["params"], 20)
    np.testing.assert_allclose(6 * ratio["tokens"] * ratio["params"], flops)
    params = inputs_along(fit, flops, "fixed-params=1e9")
    np.testing.assert_allclose(params["params"], 1e9)
    np.testing.assert_allclose(params["tokens"], [1e11, 4e11])
    tokens = inputs_along(fit, flops, "fixed-tokens=1e11")
    np.testing.assert_allclose(tokens["params"], [1e9, 4e9])
    for given_path, at in (
        ("fixed-ratio=20", ratio),
        ("fixed-params=1e9", params),
        ("fixed-tokens=1e11", tokens),
    ):
        assert at["params"].dims == ("flops",)
        np.testing.assert_allclose(
            predict(fit, at), returns(fit, flops=flops, path=given_path)["loss"], rtol=1e-13
        )


def test_compute_optimal_inputs_are_the_closed_form(fit: xr.DataTree) -> None:
    flops = np.geomspace(1e19, 1e27, 9)
    at = inputs_along(fit, flops)
    params, tokens, loss = closed_form(flops)
    assert at["params"].dims == ("chain", "draw", "flops")
    np.testing.assert_allclose(value(at["params"]), params, rtol=1e-12)
    np.testing.assert_allclose(value(at["tokens"]), tokens, rtol=1e-12)
    found = predict(fit, at)
    np.testing.assert_allclose(value(found), loss, rtol=1e-13)
    np.testing.assert_allclose(
        found["decades_beyond"], np.log10(np.maximum(flops / 1.2e23, 1)), atol=1e-12
    )


@pytest.mark.parametrize("name", ["spread", "skaling"])
def test_numeric_optimum_is_the_closed_form(name: str, request: pytest.FixtureRequest) -> None:
    saved = read_fit(request.getfixturevalue(name))
    numeric = replace(saved, law=replace(saved.law, optimal_params=None))
    params, path = law_params(saved, [{}], 0), Path("compute-optimal")
    flops = np.geomspace(1e18, 1e28, 37)[None, :]
    losses = []
    for each in (saved, numeric):
        inputs = growth(each, params, path).inputs(flops)
        np.testing.assert_allclose(
            6 * inputs["params"] * inputs["tokens"], flops + 0 * inputs["params"]
        )
        ratios = {slot: values / saved.reference[slot] for slot, values in inputs.items()}
        losses.append(np.exp(log_location(saved, ratios, params)))
    np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-8)
    # The loss is flat about its optimum; the allocation itself is a sharper test.
    of = [
        growth(each, params, path).inputs(flops * (1 + STEP * 1j))["params"]
        for each in (saved, numeric)
    ]
    np.testing.assert_allclose(of[1].real, of[0].real, rtol=1e-9)
    np.testing.assert_allclose(of[1].imag / of[1].real, of[0].imag / of[0].real, rtol=1e-8)


def test_numeric_optimum_of_a_law_that_bends() -> None:
    """A law whose optimum is no power of compute, against brute force."""

    def loss(params, tokens, *, E, A, alpha, B, beta):
        return E + A * (params**-alpha + 0.3 * params ** (-2 * alpha)) + B * tokens**-beta

    law = replace(laws.get("chinchilla"), name="bent", loss=loss, optimal_params=None)
    saved = replace(read_fit(fake_fit(jitter=0.1, draws=3)), law=law)
    params = law_params(saved, [{}], 0)
    flops = np.array([[1e19, 3e21, 1e25]])
    inputs = growth(saved, params, Path("compute-optimal")).inputs(flops)
    found = np.exp(
        log_location(saved, {s: v / saved.reference[s] for s, v in inputs.items()}, params)
    )
    grid = inputs["params"][..., None] * np.exp(np.linspace(-0.01, 0.01, 2001))
    ratios = {"params": grid / N0, "tokens": flops[..., None] / 6 / grid / D0}
    brute = loss(*ratios.values(), **{name: values[..., None] for name, values in params.items()})
    np.testing.assert_allclose(found, brute.min(axis=-1), rtol=0, atol=1e-8)
    assert np.all(np.abs(brute.argmin(axis=-1) - 1000) <= 3)


def bending_back(share: float) -> tuple[Saved, dict[str, np.ndarray]]:
    """A law that falls once more where models are ever larger and tokens ever fewer, and its parameters.

    In that share of the draws it does so before it has turned.
    """

    def loss(params, tokens, *, E, A, alpha, B, beta):
        return E + A * params**-alpha + B * tokens**-beta * np.exp(-A * params ** (2 * alpha))

    law = replace(laws.get("chinchilla"), name="back", loss=loss, optimal_params=None)
    saved = replace(read_fit(fake_fit(jitter=0.0, draws=25)), law=law)
    params = law_params(saved, [{}], 0)
    samples = params["A"].shape[0]
    early = np.arange(samples)[:, None] < round(share * samples)
    return saved, params | {"A": np.where(early, 1.0, 0.05)}


def test_the_optimum_is_the_nearest_to_the_runs() -> None:
    saved, params = bending_back(0.04)
    flops = np.array([[6 * N0 * D0]])
    found = growth(saved, params, Path("compute-optimal")).inputs(flops)["params"]
    away = np.log(found / N0)
    assert np.all(np.abs(away) < 5)
    # Where there is none, the runs' own tokens per parameter are kept.
    np.testing.assert_array_equal(np.abs(away) < 1e-9, params["A"] == 1)


def test_a_law_without_an_optimum_asks_for_a_path() -> None:
    saved, params = bending_back(0.5)
    route = growth(saved, params, Path("compute-optimal"))
    with pytest.raises(
        ValueError, match=r"flops = 1.2e\+20: the law has no compute-optimal .* in 50% of"
    ):
        check_range(route, np.array([6 * N0 * D0]))


def test_expected_optimum_has_the_least_mean_loss(spread: xr.DataTree) -> None:
    flops = np.array([1e22, 1e24, 1e26])
    at = inputs_along(spread, flops, "compute-optimal-expected")
    assert at["params"].dims == ("flops",)
    best = predict(spread, at).mean(("chain", "draw"))
    for factor in np.exp([-0.05, -0.01, 0.01, 0.05]):
        moved = at.assign(params=at["params"] * factor, tokens=at["tokens"] / factor)
        assert np.all(predict(spread, moved).mean(("chain", "draw")) > best)
    own = predict(spread, inputs_along(spread, flops)).mean(("chain", "draw"))
    assert np.all(own <= best)


def test_a_plan_is_interpolated_in_logs(fit: xr.DataTree) -> None:
    plan = pd.DataFrame({"params": [1e10, 1e9], "tokens": [4e11, 1e10]})
    at = inputs_along(fit, [6e19, 1.2e21, 2.4e22], plan)
    np.testing.assert_allclose(at["params"], [1e9, np.sqrt(1e19), 1e10])
    np.testing.assert_allclose(at["tokens"], [1e10, np.sqrt(4e21), 4e11])
    assert at.attrs["path"] == "table"
    with pytest.raises(
        ValueError, match=r"flops = 1e\+23 lies outside the plan, which covers 6e\+19 to"
    ):
        inputs_along(fit, [1e23], plan)
    with pytest.raises(ValueError, match="flops \\* step"):
        returns(fit, flops=[2e22], path=plan)
    priced = plan.assign(flops=[3e22, 7e19])
    np.testing.assert_allclose(inputs_along(fit, [7e19], priced)["params"], 1e9)
    # Along straight logs the plan is a pair of power laws of compute.
    found = returns(fit, flops=[1e20], path=plan)
    slopes = np.array([np.log(10), np.log(40)]) / np.log(400)
    params, tokens = (
        inputs_along(fit, [1e20], plan)["params"].item(),
        inputs_along(fit, [1e20], plan)["tokens"].item(),
    )
    parts = np.array([A * (params / N0) ** -ALPHA * ALPHA, B * (tokens / D0) ** -BETA * BETA])
    expected = (parts * slopes).sum() / textbook(params, tokens)
    np.testing.assert_allclose(value(found["elasticity"]), expected, rtol=1e-12)


def test_one_input_law_along_its_own_column() -> None:
    text = 'format = 1\nlaw = "power"\n[inputs]\nscale = "examples"\n'
    tree = fake_fit(Model.from_toml(text, where="examples"), reference={"scale": 1e6})
    found = returns(tree, flops=[1e7])
    assert (found["flops"].attrs["column"], found["flops"].attrs["units"]) == (
        "examples",
        "examples",
    )
    at = inputs_along(tree, [1e7])
    np.testing.assert_allclose(predict(tree, at), found["loss"])


def test_inputs_along_a_path_name_their_group(families: xr.DataTree) -> None:
    for family in ("cerebras", {"family": "cerebras"}):
        at = inputs_along(families, [1e24], "fixed-ratio=20", family=family)
        found = returns(families, flops=[1e24], path="fixed-ratio=20", family=family)
        np.testing.assert_allclose(predict(families, at), found["loss"], rtol=1e-12)
    assert "family" not in inputs_along(families, [1e24])


def test_a_distance_of_more_than_a_decade_is_told_as_such(fit: xr.DataTree) -> None:
    saved = read_fit(fit)
    for decades, said in ((1.0, ""), (1.004, ""), (1.03, "1.03 decades"), (8.9, "8.9 decades")):
        notes = distance_note(saved, np.array([saved.largest * 10**decades]))
        assert [note.message.rpartition(": ")[2] for note in notes] == ([said] if said else [])


@pytest.mark.parametrize("unique", [1e11, 1e13, [1e11, 3e11, 1e13]])
def test_inputs_along_a_path_hold_others(unique: float | list[float]) -> None:
    tree, asked = fake_fit("repetition", jitter=0.05), {"at": {"unique_tokens": unique}}
    flops = np.array([1e22, 1e25])
    for path in ("compute-optimal", "fixed-ratio=20"):
        at = inputs_along(tree, flops, path, **asked)
        assert (at["unique_tokens"] <= at["tokens"]).all()
        found = returns(tree, flops=flops, path=path, **asked)
        np.testing.assert_allclose(predict(tree, at), found["loss"], rtol=1e-12)
    with pytest.raises(ValueError, match="hold the others with at="):
        inputs_along(tree, flops)


# Returns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [2.0, 10.0])
def test_returns_along_the_compute_optimal_path(fit: xr.DataTree, step: float) -> None:
    flops = np.geomspace(1e18, 1e28, 11)
    gamma = ALPHA * BETA / (ALPHA + BETA)
    loss = closed_form(flops)[2]
    reducible = loss[0] - E
    reducible = reducible * (flops / flops[0]) ** -gamma
    found = returns(fit, flops=flops, step=step)
    assert found["loss"].dims == ("chain", "draw", "flops")
    expected = {
        "loss": E + reducible,
        "gain": reducible * (1 - step**-gamma),
        "elasticity": gamma * reducible / (E + reducible),
        "reducible_elasticity": np.full(11, gamma),
        "share_left": reducible / (E + reducible),
        "halving_compute": np.full(11, 2 ** (1 / gamma)),
        "improvement_flops": (step - 1) * flops / (reducible * (1 - step**-gamma)),
    }
    assert set(found.data_vars) == set(expected)
    for name, closed in expected.items():
        np.testing.assert_allclose(value(found[name]), closed, rtol=1e-10, err_msg=name)
    assert found.attrs["path"] == "compute-optimal"
    assert found["gain"].attrs["units"] == "nat/token"


def test_returns_of_a_power_law(power: xr.DataTree) -> None:
    flops = np.geomspace(1e20, 1e26, 7)
    reducible = A * (flops / REFERENCE["scale"]) ** -0.2
    found = returns(power, flops=flops)
    np.testing.assert_allclose(value(found["gain"]), reducible * (1 - 2**-0.2), rtol=1e-10)
    np.testing.assert_allclose(
        value(found["elasticity"]), 0.2 * reducible / (E + reducible), rtol=1e-10
    )
    np.testing.assert_allclose(value(found["halving_compute"]), 32.0, rtol=1e-10)


def test_returns_at_a_fixed_ratio_by_hand(fit: xr.DataTree) -> None:
    flops = np.array([1e21, 1e24])

    def parts(flops: np.ndarray) -> np.ndarray:
        params = np.sqrt(flops / 120)
        return np.array([A * (params / N0) ** -ALPHA, B * (20 * params / D0) ** -BETA])

    found = returns(fit, flops=flops, path="fixed-ratio=20")
    here, exponents = parts(flops), np.array([[ALPHA], [BETA]]) / 2
    np.testing.assert_allclose(value(found["loss"]), E + here.sum(0), rtol=1e-12)
    np.testing.assert_allclose(value(found["gain"]), (here - parts(2 * flops)).sum(0), rtol=1e-10)
    slope = (exponents * here).sum(0)
    np.testing.assert_allclose(value(found["elasticity"]), slope / (E + here.sum(0)), rtol=1e-10)
    np.testing.assert_allclose(
        value(found["reducible_elasticity"]), slope / here.sum(0), rtol=1e-10
    )
    halved = parts(flops * value(found["halving_compute"])).sum(0)
    np.testing.assert_allclose(halved, here.sum(0) / 2, rtol=1e-10)


def test_halving_is_infinite_where_the_path_never_does(fit: xr.DataTree) -> None:
    stuck = returns(fit, flops=[1e24], path="fixed-params=1e9")
    assert np.all(np.isinf(stuck["halving_compute"]))
    # At 6e18 FLOP tokens are what is short, so that more of them do halve the reducible loss.
    short = returns(fit, flops=[6e18], path="fixed-params=1e9")
    factor = value(short["halving_compute"])
    after = returns(fit, flops=6e18 * factor, path="fixed-params=1e9")
    np.testing.assert_allclose(value(after["loss"]) - E, (value(short["loss"]) - E) / 2, rtol=1e-10)
    plan = {"params": [1e9, 2e9], "tokens": [2e10, 4e10]}
    assert np.all(np.isinf(returns(fit, flops=[1.5e20], path=plan)["halving_compute"]))


def test_returns_of_expected_optimum_agree_with_differences(spread: xr.DataTree) -> None:
    flops, h = np.array([1e24]), 1e-4
    grid = flops * np.exp([-h, 0, h])
    log_loss = np.log(predict(spread, inputs_along(spread, grid, "compute-optimal-expected")))
    slope = -(log_loss[..., 2] - log_loss[..., 0]) / (2 * h)
    found = returns(spread, flops=flops, path="compute-optimal-expected")
    np.testing.assert_allclose(found["elasticity"][..., 0], slope, rtol=1e-6)
    halved = returns(spread, flops=flops, path="compute-optimal-expected")["halving_compute"]
    assert np.all(np.isfinite(halved))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flops": [1e24], "step": 1.0}, "a factor of compute above 1"),
        ({"flops": [0.0]}, "flops must be positive and finite"),
        ({"flops": []}, "flops is empty: expected one scale or more"),
        ({"flops": [1e24], "family": "pythia"}, "does not tell families apart"),
    ],
)
def test_returns_errors(fit: xr.DataTree, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        returns(fit, **arguments)


def test_returns_of_a_family(families: xr.DataTree) -> None:
    one, other = (returns(families, flops=[1e24], family=name) for name in FAMILIES)
    np.testing.assert_allclose(other["gain"] / one["gain"], 1.1, rtol=1e-9)
    assert one.attrs["family"] == "pythia"
    assert returns(families, flops=[1e24]).attrs["family"] == "new"
    named = returns(families, flops=[1e24], family={"family": "pythia"})
    np.testing.assert_array_equal(named["loss"], one["loss"])
    with pytest.raises(ValueError, match="'corpus' is not pooled over"):
        returns(families, flops=[1e24], family={"corpus": "c4"})


@settings(max_examples=25)
@given(
    alpha=st.floats(0.1, 0.8),
    beta=st.floats(0.1, 0.8),
    shares=st.tuples(st.floats(0.1, 5), st.floats(0.01, 5), st.floats(0.01, 5)),
    start=st.floats(17, 27),
)
def test_gain_falls_and_stays_positive(
    alpha: float, beta: float, shares: tuple, start: float
) -> None:
    tree = fake_fit(
        terms=dict(zip("EAB", shares, strict=True)), alpha=alpha, beta=beta, chains=1, draws=2
    )
    for path in ("compute-optimal", "fixed-ratio=20", "fixed-params=1e9", "fixed-tokens=1e11"):
        gain = returns(tree, flops=10 ** (start + np.arange(0, 3, 0.5)), path=path)["gain"].values
        assert np.all(gain > 0)
        assert np.all(np.diff(gain, axis=-1) < 0)


@pytest.mark.parametrize("name", laws.names())
def test_every_law_can_be_differentiated(name: str) -> None:
    """A law of plain mathematics takes complex inputs; this is what exact derivatives rest on."""
    law = laws.get(name)
    rng = np.random.default_rng(0)
    middle = {each.name: (each.prior or {"kwargs": {}})["kwargs"] for each in law.params}
    params = {
        name: kwargs.get("median", 0.5) * rng.uniform(0.4, 1.6, 50)
        for name, kwargs in middle.items()
    }
    unit = law.references(dict.fromkeys(law.scales, 1.0))
    inputs = [
        np.clip(unit[each.name] * np.exp(rng.uniform(-3, 3, 50)), each.lower, each.upper)
        / unit[each.name]
        for each in law.inputs
    ]
    for index in range(len(inputs)):

        def moved(factor: complex, index: int = index) -> np.ndarray:
            return law.loss(
                *[x * factor if i == index else x for i, x in enumerate(inputs)], **params
            )

        exact = moved(1 + STEP * 1j).imag / STEP
        h = 2e-6
        np.testing.assert_allclose(
            exact, (moved(np.exp(h)) - moved(np.exp(-h))) / (2 * h), rtol=1e-6, atol=1e-8
        )


def test_falling_root_returns_the_bound_where_there_is_none() -> None:
    lower, upper, start = np.zeros(3), np.full(3, 4.0), np.full(3, 2.0)
    shift = np.array([1.0, 9.0, -9.0])
    np.testing.assert_allclose(
        falling_root(lambda x: shift - x, lower, upper, start), [1, 4, 0], atol=1e-9
    )


def test_public_names() -> None:
    assert {"diminishing", "predict", "returns", "summarise"} <= set(forecast.__all__)


# Shapes that no run had ---------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.1, 0.5, 2.0, 10.0])
def test_tokens_per_parameter_far_from_every_run_are_said(factor: float) -> None:
    fit = fake_fit(jitter=0.1, draws=100)
    runs = fit["constant_data"].to_dataset()
    ratios = runs["tokens"] / runs["params"]
    ratio = factor * float(ratios.max() if factor > 1 else ratios.min())
    path, far = f"fixed-ratio={ratio}", 10 * float(runs["flops"].max())
    answers = [
        returns(fit, flops=[far / 3, far], path=path),
        forecast.diminishing(fit, beyond=far, gain_below=0.01, path=path),
        predict(fit, inputs_along(fit, [far / 3, far], path)),
    ]
    for answer in answers:
        notes = [note for note in get_notes(answer) if note.code == "outside_domain"]
        assert len(notes) == (factor in (0.1, 10.0))
        if notes:
            assert f"{ratio:.3g} tokens per parameter; the runs span" in notes[0].message


HERE = {"params": 1e9, "tokens": 1e11}


def test_summarise_says_what_it_cannot_summarise(fit: xr.DataTree) -> None:
    loss = predict(fit, HERE)
    for odd in (loss.isel(chain=0), loss.stack(sample=("chain", "draw")), loss.mean()):
        with pytest.raises(ValueError, match="expected chain and draw"):
            summarise(odd)
    with pytest.raises(ValueError, match=r"got a DataTree.*posterior"):
        summarise(fit["posterior"])
    told = summarise(loss > 2, prob=0.9)
    np.testing.assert_array_equal(told["quantile"], [0.5, 0.9])


def crossed_series() -> dict[str, pd.Series]:
    sizes = {"params": ([1e9, 2e9], ["a", "b"]), "tokens": ([1e10, 2e10], ["b", "a"])}
    return {name: pd.Series(values, index) for name, (values, index) in sizes.items()}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda fit: predict(fit, crossed_series()), "Series with different indexes"),
        (
            lambda fit: predict(fit["posterior"].dataset, {}),
            "expected what bayescale.fit returned .* got DatasetView",
        ),
        (
            lambda fit: predict(fit.sel(chain=0), HERE),
            r"keep one chain by .sel\(chain=\[0\]\)",
        ),
        (
            lambda fit: predict(fit, HERE, kind="run", random_seed=None),
            "random_seed = None",
        ),
        (
            lambda fit: predict(fit, HERE, kind="run", random_seed=-1),
            "random_seed = -1",
        ),
        (lambda fit: bs.returns(fit, flops=1e300), "flops = 1e[+]300: no scale is so large"),
        (lambda fit: bs.returns(fit, flops=1e22, step="2"), "step = '2'"),
        (
            lambda fit: bs.diminishing(fit, beyond=[1e22, 1e23], gain_below=0.01),
            "beyond = .*expected one scale",
        ),
        (
            lambda fit: bs.diminishing(fit, beyond=1e22, floor=5),
            "floor = 5: expected a share of the loss between",
        ),
        (
            lambda fit: bs.diminishing(fit, beyond=1e22, relative_below="0.5@1e22"),
            "relative_below = .*expected a pair",
        ),
    ],
)
def test_odd_questions_are_refused_with_a_reason(
    fit: xr.DataTree, ask: Callable[[xr.DataTree], object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ask(fit)
