"""The drift of the law's slope: its covariance, its integral out of the likelihood, its paths drawn again."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from bayescale import drift
from bayescale.drift import MODES, Axis, Marginal, Paths
from bayescale.forecast import predict
from bayescale.inference import build, sample_prior
from bayescale.inference.arrays import graph_data, marginal, reference
from bayescale.inference.compile import compile_model
from bayescale.model import Model

LN10 = np.log(10.0)


def grid_of_runs(sizes: int = 8, decades: float = 3.0) -> dict[str, np.ndarray]:
    params = np.repeat(1e8 * np.logspace(0, decades, sizes), 3)
    return {"params": params, "tokens": params * np.tile([5.0, 20.0, 80.0], sizes)}


#: Run tables by their inputs: one input, several, and what a table may be at worst.
TABLES = {
    "one input": {"scale": np.logspace(18, 22, 25)},
    "two inputs": grid_of_runs(),
    "five decades": grid_of_runs(12, 5.0),
    "half a decade": {"scale": np.logspace(18, 18.5, 6)},
    "one ray": {"params": np.logspace(8, 10, 5), "tokens": 20 * np.logspace(8, 10, 5)},
    "one size": {"params": np.full(5, 1e9), "tokens": np.logspace(9, 11, 5)},
    "two runs": {"params": np.array([1e8, 1e9]), "tokens": np.array([2e9, 2e10])},
    "all alike": {"params": np.full(4, 1e9), "tokens": np.full(4, 2e10)},
    "one run": {"scale": np.array([1e20])},
}


def reference_of(inputs: dict[str, np.ndarray]) -> dict[str, float]:
    """Geometric means of the largest four runs."""
    largest = np.argsort(-sum(np.log(values) for values in inputs.values()), kind="stable")[:4]
    return {name: float(np.exp(np.log(values[largest]).mean())) for name, values in inputs.items()}


def covariance(inputs: dict[str, np.ndarray], found: list[Axis]) -> np.ndarray:
    """Covariance of delta between runs for kappa = 1, from its definition: side by side, axis by axis."""
    at = drift.positions(inputs)
    total = 0.0
    for axis in found:
        s = at[axis.name] - axis.anchor
        low = np.minimum(np.abs(s)[:, None], np.abs(s)[None])
        high = np.maximum(np.abs(s)[:, None], np.abs(s)[None])
        total = total + np.where(s[:, None] * s > 0, LN10**2 * low**2 * (3 * high - low) / 6, 0.0)
    return total


@settings(max_examples=40)
@given(st.floats(0.05, 6.0), st.floats(0.05, 6.0))
def test_the_kernel_is_the_double_integral_of_a_wiener_process(s: float, t: float) -> None:
    """delta(s) = ln 10 * integral of w from 0 to s, Cov[w(u), w(v)] = min(u, v)."""
    inner = lambda u: (u**2 / 2 if u < t else t**2 / 2) + u * max(t - u, 0.0)  # noqa: E731
    expected, _ = integrate.quad(inner, 0, s, points=[min(s, t)])
    found = drift.kernel(np.array([s]), np.array([t]))[0, 0]
    assert found == pytest.approx(LN10**2 * expected, rel=1e-9)


@pytest.mark.parametrize("name", TABLES)
def test_the_kept_modes_hold_the_variance_at_the_runs(name: str) -> None:
    inputs = TABLES[name]
    found = drift.axes(inputs, reference_of(inputs))
    matrix = drift.design(inputs, found)
    exact = covariance(inputs, found)
    assert matrix.shape == (next(iter(inputs.values())).size, MODES)
    scale = max(np.trace(exact), 1e-300)
    missing = exact - matrix @ matrix.T
    # The module says: all but 1e-4 of the variance for one axis; three axes of two sides share the modes.
    assert np.trace(missing) / scale < (2e-4 if len(inputs) == 1 else 5e-3)
    assert np.linalg.eigvalsh(missing).min() > -1e-3 * scale  # No variance is made up.


def test_axes_are_anchored_at_the_frontier() -> None:
    inputs = grid_of_runs()
    compute, params, tokens = drift.axes(inputs, {"params": 1e10, "tokens": 2e11})
    assert (compute.name, params.name, tokens.name) == ("compute", "params", "tokens")
    assert compute.anchor == pytest.approx(np.log10(1e11 * 80e11))
    assert compute.ahead == 0.0
    assert compute.behind == pytest.approx(2 * 3.0 + np.log10(80 / 5))
    assert (params.anchor, params.behind, params.ahead) == pytest.approx((10.0, 2.0, 1.0))
    assert (tokens.anchor, tokens.ahead) == pytest.approx((np.log10(2e11), np.log10(40.0)))
    (only,) = drift.axes({"scale": np.array([1e18, 1e20])}, {"scale": 1e20})
    assert (only.name, only.anchor, only.behind, only.ahead) == ("compute", 20.0, 2.0, 0.0)


@pytest.mark.parametrize("name", ["all alike", "one run"])
def test_runs_of_one_scale_do_not_drift(name: str) -> None:
    inputs = TABLES[name]
    found = drift.axes(inputs, reference_of(inputs))
    assert drift.basis(found) == []
    integrated = Marginal.of(drift.design(inputs, found), np.ones(next(iter(inputs.values())).size))
    assert not integrated.spectrum.any()
    residual = np.full((2, integrated.root.size), 0.3)
    sigma, kappa = np.array([0.1, 0.2]), np.array([1.0, 1.0])
    np.testing.assert_allclose(
        integrated.log_leave_one_out(residual, sigma, kappa),
        stats.norm.logpdf(residual, 0, sigma[:, None]),
    )
    weights = integrated.draw_weights(residual, sigma, kappa, np.random.default_rng(0))
    paths = Paths(found, weights, kappa, np.random.default_rng(0))
    delta, _ = paths.evaluate({key: values[None] for key, values in inputs.items()})
    np.testing.assert_allclose(delta, 0.0, atol=1e-12)


def test_the_frontier_is_what_lies_within_a_width_of_the_largest() -> None:
    at = np.array([20.0, 18.0, 19.5, 19.0, 17.0])
    assert drift.frontier(at, width=1.0, least=1).tolist() == [0, 2, 3]
    assert drift.frontier(at, width=0.1, least=2).tolist() == [0, 2]
    assert drift.frontier(at, width=0.1, least=9).tolist() == [0, 2, 3, 1, 4]
    assert drift.frontier(np.full(3, 20.0)).tolist() == [0, 1, 2]
    assert drift.frontier(np.array([20.0])).tolist() == [0]


# --- Paths ----------------------------------------------------------------------------------------------------------


def paths_of(
    inputs: dict[str, np.ndarray], samples: int, kappa: float, seed: int = 0
) -> tuple[Paths, np.ndarray]:
    """Paths from the prior, and their weights."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((samples, MODES))
    found = drift.axes(inputs, reference_of(inputs))
    return Paths(found, weights, np.full(samples, kappa), rng), weights


def at_point(inputs: dict[str, float]) -> dict[str, np.ndarray]:
    return {name: np.atleast_2d(value) for name, value in inputs.items()}


def test_drift_and_its_slope_vanish_at_the_anchor() -> None:
    inputs = TABLES["one input"]
    paths, _ = paths_of(inputs, 50, 0.1)
    delta, slopes = paths.evaluate(at_point({"scale": inputs["scale"].max()}))
    np.testing.assert_allclose(delta, 0.0, atol=1e-9)
    np.testing.assert_allclose(slopes["scale"], 0.0, atol=1e-9)
    # With two inputs: where the largest compute is met on the reference's ray only compute's axis is anchored.
    inputs = TABLES["two inputs"]
    paths, _ = paths_of(inputs, 50, 0.1)
    reference = reference_of(inputs)
    moved = Paths(
        [
            Axis(axis.name, anchor, axis.behind, axis.ahead)
            for axis, anchor in zip(paths.axes, drift.positions(reference).values(), strict=True)
        ],
        np.random.default_rng(0).standard_normal((50, MODES)),
        np.full(50, 0.1),
        np.random.default_rng(1),
    )
    delta, slopes = moved.evaluate(at_point(reference))
    np.testing.assert_allclose(delta, 0.0, atol=1e-9)
    for slope in slopes.values():
        np.testing.assert_allclose(slope, 0.0, atol=1e-9)


@pytest.mark.parametrize(
    "name", ["one input", "half a decade", "one size", "one ray", "two inputs"]
)
def test_paths_pass_through_the_drift_at_the_runs(name: str) -> None:
    inputs = TABLES[name]
    kappa = 0.02  # A tenth of an elasticity of .2, and more than most sweeps show.
    paths, weights = paths_of(inputs, 200, kappa)
    delta, _ = paths.evaluate({key: values[None] for key, values in inputs.items()})
    matrix = drift.design(inputs, paths.axes)
    # A side so short that the likelihood keeps no mode of it is drawn from the prior.
    kept = {(index, side) for index, side, *_ in drift.basis(paths.axes)}
    at = drift.positions(inputs)
    unkept = [
        np.where(side * (at[axis.name] - axis.anchor) > 0, np.abs(at[axis.name] - axis.anchor), 0.0)
        for index, axis in enumerate(paths.axes)
        for side in (-1, 1)
        if (index, side) not in kept
    ]
    sd = kappa * LN10 * np.sqrt(sum((s**3 / 3 for s in unkept), np.zeros(matrix.shape[0])))
    assert (np.abs(delta - kappa * weights @ matrix.T) < 1e-4 + 5 * sd).all()
    assert sd.max() < 0.005  # Less than the noise of a sweep.


@pytest.mark.parametrize("name", ["one input", "one size", "two inputs"])
def test_variance_beyond_the_runs_is_that_of_the_process(name: str) -> None:
    """Along one axis kappa^2 ln(10)^2 s^3 / 3; axes add. From prior weights, within Monte Carlo error."""
    inputs = TABLES[name]
    samples, kappa = 40_000, 0.3
    paths, _ = paths_of(inputs, samples, kappa)
    largest = int(np.argmax(sum(np.log(values) for values in inputs.values())))
    steps = np.array([0.25, 0.5, 1.0, 2.0, 3.0])
    beyond = {key: (values[largest] * 10.0**steps)[None] for key, values in inputs.items()}
    delta, slopes = paths.evaluate(beyond)
    at = drift.positions({key: values[0] for key, values in beyond.items()})
    expected = sum(
        (kappa * LN10) ** 2 * np.abs(at[axis.name] - axis.anchor) ** 3 / 3 for axis in paths.axes
    )
    error = 4.5 * np.sqrt(2 / samples)  # Of a variance, relatively.
    ratio = delta.var(axis=0) / expected
    assert np.abs(ratio - 1).max() < error + 2e-3, ratio
    if name == "one input":
        np.testing.assert_allclose(expected, (kappa * LN10) ** 2 * steps**3 / 3, rtol=1e-9)
        # The slope by the natural log is w itself: variance kappa^2 s.
        ratio = slopes["scale"].var(axis=0) / (kappa**2 * steps)
        assert np.abs(ratio - 1).max() < error + 2e-3, ratio
    center = delta.mean(axis=0) / np.sqrt(expected / samples)
    assert np.abs(center).max() < 4.5


def test_what_lies_beyond_goes_on_from_the_drift_within() -> None:
    """At a table whose reference lies inside the runs, the covariance across the runs' end is the kernel's."""
    samples, kappa = 40_000, 0.3
    inside = Axis("compute", 19.0, 1.0, 1.0)
    rng = np.random.default_rng(5)
    paths = Paths([inside], rng.standard_normal((samples, MODES)), np.full(samples, kappa), rng)
    s = np.array([0.5, 1.0, 1.5, 2.5])
    delta, _ = paths.evaluate({"scale": (10 ** (19.0 + s))[None]})
    expected = kappa**2 * drift.kernel(s, s)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    correlation = expected / scale
    error = np.sqrt((1 + correlation**2) / samples)
    assert (np.abs(np.cov(delta.T) - expected) / scale < 4.5 * error + 2e-3).all()
    behind, _ = paths.evaluate({"scale": (10 ** (19.0 - s))[None]})
    across = np.corrcoef(np.concatenate([delta, behind], axis=1).T)[:4, 4:]
    assert np.abs(across).max() < 4.5 / np.sqrt(samples)  # The two sides are independent.


@pytest.mark.parametrize("name", ["one input", "two inputs"])
def test_slopes_are_the_derivatives_of_the_drift(name: str) -> None:
    inputs = TABLES[name]
    paths, _ = paths_of(inputs, 20, 0.1)
    rng = np.random.default_rng(2)
    points = {
        key: np.exp(rng.uniform(np.log(values.min()) - 1, np.log(values.max()) + 4, 30))[None]
        for key, values in inputs.items()
    }
    _, slopes = paths.evaluate(points)
    step = 1e-5
    for key in inputs:
        ahead, _ = paths.evaluate({**points, key: points[key] * np.exp(step)})
        behind, _ = paths.evaluate({**points, key: points[key] * np.exp(-step)})
        np.testing.assert_allclose(slopes[key], (ahead - behind) / (2 * step), atol=1e-5)


def test_a_path_is_the_same_wherever_it_is_asked_for() -> None:
    inputs = TABLES["two inputs"]
    paths, _ = paths_of(inputs, 5, 0.1)
    together, _ = paths.evaluate({key: values[None] for key, values in inputs.items()})
    for i in (0, 7, 23):
        alone, _ = paths.evaluate(at_point({key: values[i] for key, values in inputs.items()}))
        np.testing.assert_allclose(alone[:, 0], together[:, i], rtol=1e-12)
    each = {key: np.broadcast_to(values, (5, values.size)) for key, values in inputs.items()}
    np.testing.assert_allclose(paths.evaluate(each)[0], together, rtol=1e-12)


@pytest.mark.parametrize("name", ["one input", "two inputs"])
def test_paths_can_be_stopped_from_raising_the_loss(name: str) -> None:
    """Where all inputs grow together from the frontier, the drift's slope never exceeds the law's elasticity."""
    inputs, reference = TABLES[name], reference_of(TABLES[name])
    free, _ = paths_of(inputs, 400, 0.05)
    stopped, _ = paths_of(inputs, 400, 0.05)
    pure = 0.06  # Elasticity by compute, of a law that is a pure power.
    (compute, *_) = free.axes
    start = sum(np.log10(each) for each in reference.values())

    def law(ray: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        gone = sum(np.log10(each) for each in ray.values()) - compute.anchor
        return pure * LN10 * np.diff(gone, axis=1), np.full_like(gone, pure)

    assert stopped.never_rising(law, reference, list(reference)) is stopped
    decades = np.linspace(0.0, 5.0, 251)
    ray = {
        key: (each * 10 ** ((compute.anchor - start + decades) / len(reference)))[None]
        for key, each in reference.items()
    }

    def along(paths: Paths) -> tuple[np.ndarray, np.ndarray]:
        delta, slopes = paths.evaluate(ray)
        return delta, sum(slopes.values()) / len(reference)

    (before, slope_before), (after, slope_after) = along(free), along(stopped)
    log_loss = {id(each): each - pure * LN10 * decades for each in (before, after)}
    rises = {
        key: (each - np.minimum.accumulate(each, axis=1)).max(axis=1)
        for key, each in log_loss.items()
    }
    assert rises[id(before)].max() > 1.0
    knots = np.isclose(decades * 10 % 1, 0) | np.isclose(decades * 10 % 1, 1)
    assert slope_after[:, knots].max() <= (1 - drift.PACE) * pure + 1e-9
    # From knot to knot it falls; with inputs that drift by themselves there is a wiggle in between.
    assert (np.diff(log_loss[id(after)][:, knots], axis=1) < 0).all()
    assert rises[id(after)].max() < (1e-12 if name == "one input" else 0.01)
    # Paths that fall by themselves are left as they were, and others up to where they first do not.
    speed, chord = LN10 * (pure - slope_before[:, knots]), -np.diff(log_loss[id(before)][:, knots])
    steepest = np.maximum(speed[:, 1:], speed[:, :-1]) / 10
    falls = (speed[:, 1:] > LN10 * drift.PACE * pure) & (3 * chord > steepest)
    calm = falls.all(axis=1)
    assert 0.05 < 1 - calm.mean() < 0.95
    np.testing.assert_array_equal(after[calm], before[calm])
    for i in np.flatnonzero(~calm):
        first = 5 * int(np.argmin(falls[i]))
        np.testing.assert_array_equal(after[i, : first + 1], before[i, : first + 1])


def test_beyond_its_reach_a_path_stands_still_in_value_and_slope() -> None:
    paths, _ = paths_of(TABLES["one input"], 50, 0.1)
    top = 10 ** (paths.axes[0].anchor + drift.REACH)
    (name,) = TABLES["one input"]
    value, slopes = paths.evaluate({name: np.array([[top, 3 * top, 100 * top]])})
    np.testing.assert_array_equal(value[:, 1:], value[:, [0]].repeat(2, axis=1))
    assert (slopes[name][:, 1:] == 0).all()
    assert (slopes[name][:, 0] != 0).all()


@pytest.mark.parametrize("behind", [11.0, 8.04])
def test_a_path_follows_the_runs_as_far_as_they_reach(behind: float) -> None:
    inputs = {"scale": np.logspace(22 - behind, 22, 30)}
    paths, weights = paths_of(inputs, 50, 0.02)
    delta, _ = paths.evaluate({"scale": inputs["scale"][None]})
    matrix = drift.design(inputs, paths.axes)
    np.testing.assert_allclose(delta, 0.02 * weights @ matrix.T, atol=2e-3)
    farther, slopes = paths.evaluate({"scale": np.array([[1e10, 1e9]])})
    np.testing.assert_array_equal(farther[:, 0], farther[:, 1])
    assert (slopes["scale"] == 0).all()


@pytest.mark.parametrize("name", ["progress", "moe", "repetition"])
def test_inputs_that_are_no_scale_do_not_grow_beyond_the_runs(name: str) -> None:
    rng = np.random.default_rng(0)
    size = 30
    params, tokens = 10 ** rng.uniform(7, 9, size), 10 ** rng.uniform(9, 11, size)
    columns = {
        "params": params,
        "tokens": tokens,
        "year": rng.uniform(2019, 2024, size),
        "experts": 2.0 ** rng.integers(0, 7, size),
        "unique_tokens": tokens / 2,
        "loss": 3.0 * rng.uniform(0.8, 1.2, size),
    }
    runs = xr.Dataset({key: ("run", values) for key, values in columns.items()})
    model = Model.load(name).with_discrepancy("drift")
    at = {column: [float(runs[column].max()) * 10.0] * 2 for column in model.inputs.values()}
    at |= {"year": [2025.0, 2026.0], "experts": [4.0, 8.0]}
    loss = predict(sample_prior(runs, model, draws=100), at)
    assert np.isfinite(loss.values).all()


@pytest.mark.parametrize("rate", [0.05, 3.0])
def test_breaks_ahead_have_the_variance_of_a_drift_and_its_tails_only_if_many(rate: float) -> None:
    samples, gradual, change = 40_000, 0.002, 0.05
    found = [Axis("compute", 20.0, 0.0, 0.0)]
    each = np.full(samples, gradual)
    sudden = drift.Sudden(each, np.full(samples, rate), np.full(samples, change))
    kappa = np.sqrt(gradual**2 + rate * change**2)
    weights = np.zeros((samples, 0))
    paths = Paths(found, weights, np.full(samples, kappa), np.random.default_rng(1), sudden=sudden)
    delta, slopes = paths.evaluate({"scale": np.array([[1e19, 1e20, 1e22]])})
    slope = slopes["scale"][:, 2]
    # Two decades ahead, the log-slope has the variance of as many breaks and as much drift.
    expected = 2 * kappa**2
    kurtosis = 3 + change**4 * 3 * rate * 2 / expected**2
    error = np.sqrt((kurtosis - 1) / samples)
    assert slope.var() / expected == pytest.approx(1.0, abs=4 * error)
    assert (stats.kurtosis(slope) > 5) == (rate < 1)
    assert (delta[:, 1] == 0).all()
    # Most paths do not break where breaks are rare: they drift a little, and no more.
    none = np.exp(-2 * rate)
    small = np.abs(slope) < 4 * gradual * np.sqrt(2)
    assert small.mean() > none - 4 * np.sqrt(none * (1 - none) / samples)
    # A slope is the derivative of its value.
    at = np.array([[1e21 * 1.0001, 1e21 / 1.0001]])
    near, between = paths.evaluate({"scale": at})
    mid = paths.evaluate({"scale": np.array([[1e21]])})[1]["scale"][:, 0]
    np.testing.assert_allclose((near[:, 0] - near[:, 1]) / np.log(1.0001**2), mid, atol=1e-4)
    assert between["scale"].shape == near.shape


# --- The likelihood without the drift's weights ------------------------------------------------------------------------


@pytest.fixture(params=["two inputs", "one input", "two runs"])
def integrated(request: pytest.FixtureRequest) -> Marginal:
    inputs = TABLES[request.param]
    matrix = drift.design(inputs, drift.axes(inputs, reference_of(inputs)))
    weights = np.random.default_rng(3).uniform(0.1, 1.2, matrix.shape[0])
    return Marginal.of(matrix, weights)


def dense(integrated: Marginal, sigma: float | np.ndarray, kappa: float) -> np.ndarray:
    """Covariance of the log losses about the law."""
    return (
        np.diag(sigma**2 / integrated.root**2) + kappa**2 * integrated.design @ integrated.design.T
    )


def test_the_decomposition_is_that_of_the_weighted_design(integrated: Marginal) -> None:
    weighted = integrated.root[:, None] * integrated.design
    rebuilt = (integrated.left * np.sqrt(integrated.spectrum)) @ integrated.right.T
    np.testing.assert_allclose(rebuilt, weighted, atol=1e-9)
    assert integrated.left.shape == weighted.shape
    assert integrated.right.shape == (MODES, MODES)


@pytest.mark.parametrize("nu", [None, 4.0])
@pytest.mark.parametrize("law", ["power", "chinchilla"])
def test_the_models_likelihood_is_the_multivariate_normal(
    law: str, nu: float | None, pile: xr.Dataset
) -> None:
    noise = '[noise]\ndist = "Normal"' if nu is None else f"[noise]\nnu = {nu}"
    model = Model.from_toml(f'format = 1\nlaw = "{law}"\ndiscrepancy = "drift"\n{noise}')
    compiled = compile_model(build(pile, model), density=False)
    points = compiled.start + 0.3 * np.random.default_rng(0).standard_normal((6, compiled.size))
    found = dict(zip(compiled.outputs, compiled.expand(points, *compiled.packed()), strict=True))
    integrated = marginal(pile, model)
    assert (integrated.root == 1).all() == (nu is None)
    for i in range(len(points)):
        mu, sigma, kappa = (np.ravel(found["noise", name][i]) for name in ("mu", "sigma", "kappa"))
        expected = stats.multivariate_normal(mu, dense(integrated, sigma[0], kappa[0])).logpdf(
            np.log(pile["loss"])
        )
        assert found["log_likelihood", "log_loss"][i].sum() == pytest.approx(expected, rel=1e-9)
    rate = found["posterior", "drift_rate"]
    np.testing.assert_allclose(
        found["posterior", "kappa"], rate * graph_data(pile, model)["elasticity"]
    )


@pytest.mark.parametrize("kind", ["slope", "known"])
def test_noise_that_differs_from_run_to_run_has_its_multivariate_normal(
    kind: str, pile: xr.Dataset
) -> None:
    known = np.linspace(0.001, 0.3, pile.sizes["run"])
    known[3] = np.nan
    runs = pile.assign(loss_sd=("run", known))
    stated = {"slope": {"dist": "Normal", "kwargs": {"mu": 0.0, "sigma": 0.2}}, "known": "loss_sd"}
    model = Model.load("skaling-drift").changed(noise={kind: stated[kind]})
    compiled = compile_model(build(runs, model), density=False)
    points = compiled.start + 0.3 * np.random.default_rng(0).standard_normal((4, compiled.size))
    found = dict(zip(compiled.outputs, compiled.expand(points, *compiled.packed()), strict=True))
    integrated = marginal(runs, model)
    scale = found["posterior", "sigma"][:, None]
    if kind == "slope":
        ref = reference(runs, model)
        decades = np.log10(runs["params"] * runs["tokens"] / (ref["params"] * ref["tokens"]))
        expected_sigma = scale * 10 ** (found["posterior", "noise_slope"][:, None] * decades.values)
    else:
        relative = np.nan_to_num(known) / runs["loss"].values
        expected_sigma = np.sqrt(scale**2 + relative**2)
    np.testing.assert_allclose(found["noise", "sigma"], expected_sigma, rtol=1e-12)
    for i in range(len(points)):
        mu, sigma, kappa = (found["noise", name][i] for name in ("mu", "sigma", "kappa"))
        expected = stats.multivariate_normal(mu, dense(integrated, sigma, float(kappa))).logpdf(
            np.log(runs["loss"])
        )
        assert found["log_likelihood", "log_loss"][i].sum() == pytest.approx(expected, rel=1e-9)


def test_a_run_that_is_known_to_be_uncertain_is_no_outlier(simulate: Callable) -> None:
    runs = simulate(8, sigma=0.003)
    inputs = {name: runs[name].values for name in ("params", "tokens")}
    log_loss = np.log(runs["loss"].values)
    log_loss[10] += 0.1
    known = np.where(np.arange(log_loss.size) == 10, 0.1, 0.0)
    alone, told = (
        drift.robust_weights(inputs, log_loss, 4.0, known=each) for each in (None, known)
    )
    assert alone[10] < 0.02
    assert told[10] > 0.5
    # Where small runs scatter more, they are measured against each other.
    rng = np.random.default_rng(1)
    size = np.log(inputs["params"] * inputs["tokens"])
    small = size < np.median(size)
    scatter = np.where(small, 0.03, 0.001) * rng.standard_normal(size.size)
    base = np.log(runs["loss"].values) + scatter
    even, sloping = (
        drift.robust_weights(inputs, base, 4.0, sloping=each) for each in (False, True)
    )
    apart = [abs(each[small].mean() - each[~small].mean()) for each in (even, sloping)]
    assert apart[1] < 0.5 * apart[0]


@pytest.mark.parametrize("uneven", [False, True])
def test_weights_are_drawn_from_their_conditional(integrated: Marginal, uneven: bool) -> None:
    samples, kappa = 40_000, 0.1
    size = integrated.root.size
    sigma = np.linspace(0.01, 0.1, size) if uneven else 0.05
    residual = np.random.default_rng(1).multivariate_normal(
        np.zeros(size), dense(integrated, sigma, kappa)
    )
    rng = np.random.default_rng(2)
    each = np.tile(sigma, (samples, 1)) if uneven else np.full(samples, sigma)
    drawn = integrated.draw_weights(
        np.tile(residual, (samples, 1)), each, np.full(samples, kappa), rng
    )
    weighted = (integrated.root / sigma)[:, None] * integrated.design
    precision = np.eye(MODES) + kappa**2 * weighted.T @ weighted
    cov = np.linalg.inv(precision)
    mean = cov @ weighted.T @ (integrated.root * residual / sigma) * kappa
    # Whitened, the draws are independent standard Normal: 20 means and 400 second moments.
    root = np.linalg.cholesky(precision)
    white = (drawn - mean) @ root
    assert np.abs(white.mean(axis=0)).max() < 4.5 / np.sqrt(samples)
    error = np.sqrt((1 + np.eye(MODES)) / samples)
    assert (np.abs(np.cov(white.T) - np.eye(MODES)) / error).max() < 4.8


@pytest.mark.parametrize("uneven", [False, True])
def test_leave_one_out_densities_are_the_conditionals(integrated: Marginal, uneven: bool) -> None:
    rng = np.random.default_rng(4)
    sigma, kappa = np.array([0.02, 0.1]), np.array([0.05, 0.01])
    size = integrated.root.size
    if uneven:
        sigma = sigma[:, None] * np.linspace(0.5, 2.0, size)
    residual = 0.1 * rng.standard_normal((2, size))
    found = integrated.log_leave_one_out(residual, sigma, kappa)
    for draw in range(2):
        total = dense(integrated, sigma[draw], kappa[draw])
        for i in range(size):
            rest = np.arange(size) != i
            gain = np.linalg.solve(total[np.ix_(rest, rest)], total[rest, i])
            mean = gain @ residual[draw, rest]
            sd = np.sqrt(total[i, i] - gain @ total[rest, i])
            assert found[draw, i] == pytest.approx(
                stats.norm.logpdf(residual[draw, i], mean, sd), rel=1e-7, abs=1e-7
            )


# --- What is plugged in -------------------------------------------------------------------------------------------------


def test_an_outlier_counts_less(simulate: Callable) -> None:
    runs = simulate(8, sigma=0.003)
    inputs = {name: runs[name].values for name in ("params", "tokens")}
    log_loss = np.log(runs["loss"].values)
    clean = drift.robust_weights(inputs, log_loss, 4.0)
    assert clean.min() > 0.2
    spoilt = log_loss.copy()
    spoilt[10] += 0.1
    weights = drift.robust_weights(inputs, spoilt, 4.0)
    assert weights[10] < 0.02
    assert np.argmin(weights) == 10
    assert np.median(np.delete(weights, 10)) > 0.8


def test_groups_with_levels_of_their_own_are_no_outliers(simulate: Callable) -> None:
    runs = simulate(10, sigma=0.003)
    inputs = {name: runs[name].values for name in ("params", "tokens")}
    group = np.arange(runs.sizes["run"]) % 5 == 0
    log_loss = np.log(runs["loss"].values) + 0.2 * group
    assert drift.robust_weights(inputs, log_loss, 4.0, [group.astype(int)]).min() > 0.1
    assert np.median(drift.robust_weights(inputs, log_loss, 4.0)[group]) < 0.7


def test_an_outlier_stands_out_of_crossed_groups(simulate: Callable) -> None:
    runs = simulate(10, sigma=0.002)
    inputs = {name: runs[name].values for name in ("params", "tokens")}
    place = np.arange(runs.sizes["run"])
    family, corpus = place % 3, place // 2 % 2
    log_loss = np.log(runs["loss"].values) + 0.1 * family + 0.2 * corpus
    log_loss[7] += 0.05
    both, one = (
        drift.robust_weights(inputs, log_loss, 4.0, each) for each in ([family, corpus], [family])
    )
    assert both[7] < 0.05 < one[7]
    assert np.median(np.delete(both, 7)) > 0.7


@pytest.mark.parametrize("nu", [3.0, 4.0, 30.0])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_few_runs_have_no_outliers_and_scatter_as_students_t_does(size: int, nu: float) -> None:
    values = np.logspace(18, 20, size)
    weights = drift.robust_weights({"scale": values}, np.linspace(4, 3, size), nu)
    # Normal noise of variance sigma^2 / weight, forecast as t of scale sigma.
    np.testing.assert_allclose(1 / weights, stats.t(nu).var())


def test_few_runs_under_noise_without_a_variance_still_have_weights() -> None:
    inputs = {"scale": np.logspace(18, 20, 4)}
    assert (drift.robust_weights(inputs, np.linspace(4, 3, 4), 1.0) > 0.3).all()


def test_the_covariance_is_that_of_the_design_within_the_runs() -> None:
    inputs = {"params": np.logspace(7, 10, 12), "tokens": np.logspace(10, 9, 12)}
    found = drift.axes(inputs, drift.middle(inputs))
    matrix = drift.design(inputs, found)
    exact = drift.covariance(inputs, found)
    # MODES hold all but 1e-4 of the variance.
    np.testing.assert_allclose(matrix @ matrix.T, exact, atol=1e-3 * exact.max())


def test_the_typical_elasticity_is_the_slope_at_the_frontier() -> None:
    params = np.repeat(np.logspace(9, 9.5, 4), 3)
    tokens = params * np.tile([10.0, 20.0, 40.0], 4)
    log_loss = 3 - 0.06 * np.log(params) - 0.02 * np.log(tokens)
    found = drift.typical_elasticity({"params": params, "tokens": tokens}, log_loss)
    assert found == pytest.approx(np.hypot(0.04, 0.01), rel=1e-9)
    scale = np.logspace(18, 20, 9)
    one = drift.typical_elasticity({"scale": scale}, 3 - 0.05 * np.log(scale))
    assert one == pytest.approx(np.hypot(0.05, 0.03), rel=1e-9)
    flat = drift.typical_elasticity({"scale": np.full(4, 1e20)}, np.array([1.0, 1.1, 0.9, 1.0]))
    assert flat == pytest.approx(0.03)


def uncertain(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """A grid of runs of which a few are known to be a hundred times less certain than the others, and their law."""
    rng = np.random.default_rng(seed)
    params, tokens = (
        each.ravel() for each in np.meshgrid(np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e11, 6))
    )
    law = np.log(1.7 + 0.4 * (params / 1e9) ** -0.35 + 0.4 * (tokens / 2e10) ** -0.37)
    known = np.where(rng.random(params.size) < 0.2, 0.1, 0.001)
    noise = known * rng.standard_normal(params.size) + 0.002 * rng.standard_t(4, params.size)
    return {"params": params, "tokens": tokens}, law + noise, known, law


@pytest.mark.parametrize("sloping", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_runs_that_are_known_to_be_uncertain_leave_the_others_their_weight(
    seed: int, sloping: bool
) -> None:
    inputs, log_loss, known, _ = uncertain(seed)
    precise = known < 0.01
    weights = drift.robust_weights(inputs, log_loss, 4.0, known=known, sloping=sloping)
    alone = drift.robust_weights(
        {name: values[precise] for name, values in inputs.items()}, log_loss[precise], 4.0
    )
    assert np.median(weights[precise]) == pytest.approx(np.median(alone), rel=0.1)
    assert weights[precise].min() > 0.2
    without = drift.robust_weights(inputs, log_loss, 4.0)
    zeros = drift.robust_weights(inputs, log_loss, 4.0, known=np.zeros_like(known))
    np.testing.assert_array_equal(without, zeros)


def test_the_scale_of_a_drift_is_that_of_runs_that_are_certain() -> None:
    off = {"as they are": [], "alike": []}
    for seed in range(20):
        inputs, log_loss, known, law = uncertain(seed)
        truth = drift.typical_elasticity(inputs, law)
        for name, errors in (("as they are", known), ("alike", None)):
            found = drift.typical_elasticity(inputs, log_loss, errors)
            off[name].append(np.log(found / truth))
    spread = {name: np.sqrt(np.mean(np.square(each))) for name, each in off.items()}
    assert spread["as they are"] < 0.12
    assert spread["as they are"] < spread["alike"] / 2
    alike = np.full_like(known, 0.05)
    plain = drift.typical_elasticity(inputs, log_loss)
    assert drift.typical_elasticity(inputs, log_loss, alike) == pytest.approx(plain, rel=1e-9)


def test_flat_losses_of_which_some_have_no_known_error_are_weighed() -> None:
    inputs, log_loss, known, _ = uncertain(0)
    errors = np.where(known > 0.01, known, 0.0)
    assert np.isfinite(
        drift.robust_weights(inputs, np.ones_like(log_loss), 4.0, known=errors)
    ).all()
