"""What every law promises, stated once over the registry; published values as rows of tables."""

import inspect
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from scipy import integrate, optimize, stats

from bayescale import laws
from bayescale.forecast.tangent import marginal_loss
from bayescale.inference.build import build
from bayescale.laws import Input, Law, Param, _claims
from bayescale.laws._math import log_gamma_ratio
from bayescale.model import DISTRIBUTIONS, Model, Prior, shipped

MEDIAN_LOSS = 2.5
DRAWS = 100
#: Each input over ten orders of magnitude about the reference.
RATIOS = np.geomspace(1e-5, 1e5, 11)


# Draws from priors, in NumPy --------------------------------------------------------------------


def draw(prior: Prior, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws from a prior of a model file; the level's ``median = "runs"`` is ``MEDIAN_LOSS``."""
    match prior.dist, dict(prior.kwargs):
        case "Normal", {"mu": mu, "sigma": sigma}:
            frozen = stats.norm(mu, sigma)
        case "StudentT", {"nu": nu, "mu": mu, "sigma": sigma}:
            frozen = stats.t(nu, mu, sigma)
        case "Uniform", {"lower": lower, "upper": upper}:
            frozen = stats.uniform(lower, upper - lower)
        case "TruncatedNormal", {"mu": mu, "sigma": sigma, **ends}:
            lower, upper = ends.get("lower", -np.inf), ends.get("upper", np.inf)
            frozen = stats.truncnorm((lower - mu) / sigma, (upper - mu) / sigma, mu, sigma)
        case "LogNormal", {"sigma": sigma, **location}:
            median = location["median"] if "median" in location else np.exp(location["mu"])
            frozen = stats.lognorm(sigma, scale=MEDIAN_LOSS if median == "runs" else median)
        case "HalfNormal", {"sigma": sigma}:
            frozen = stats.halfnorm(scale=sigma)
        case "HalfStudentT", {"nu": nu, "sigma": sigma}:
            return np.abs(stats.t(nu, 0.0, sigma).rvs(size, random_state=rng))
        case "Exponential", {"lam": lam}:
            frozen = stats.expon(scale=1 / lam)
        case "Gamma", {"alpha": alpha, "beta": beta}:
            frozen = stats.gamma(alpha, scale=1 / beta)
        case "InverseGamma", {"alpha": alpha, "beta": beta}:
            frozen = stats.invgamma(alpha, scale=beta)
        case "Beta", {"alpha": alpha, "beta": beta}:
            frozen = stats.beta(alpha, beta)
        case "Dirichlet", {"a": a}:
            return rng.dirichlet(a, size)
        case unknown:
            raise NotImplementedError(f"no draws from {unknown}")
    return frozen.rvs(size, random_state=rng)


def draw_params(
    model: Model, size: int, seed: int
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Level (if the model states one) and every parameter of the law, drawn from the priors."""
    rng = np.random.default_rng(seed)
    drawn = {name: draw(prior, size, rng) for name, prior in model.priors.items()}
    if not model.shared_level:
        return None, drawn
    level = drawn.pop("level")
    shares = list(drawn.pop("shares", np.ones((size, 1))).T)
    return level, drawn | model.law_object.terms_from_shares(level, shares, drawn)


def default_model(law: Law) -> Model:
    return Model.from_toml(f'format = 1\nlaw = "{law.name}"\n')


def default_params(law: Law, seed: int = 1) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    level, params = draw_params(default_model(law), DRAWS, seed)
    assert level is not None
    return level, params


def allowed(law: Law, ratios: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The nearest ratios that the law allows, in the order of its inputs."""
    found = {}
    for each in law.inputs:
        at = ratios[each.name]
        if isinstance(each.reference, float):
            lower, upper = each.lower or 0.0, each.upper or np.inf
            at = np.clip(at, lower / each.reference, upper / each.reference)
        found[each.name] = at if each.at_most is None else np.minimum(at, ratios[each.at_most])
    return found


def scattered(law: Law, seed: int = 2) -> dict[str, np.ndarray]:
    """Ratios of each input, every order of magnitude once, in an order of its own."""
    rng = np.random.default_rng(seed)
    ratios = {name: rng.permutation(np.repeat(RATIOS, 3)) for name in law.input_names}
    return allowed(law, ratios)


@pytest.mark.parametrize(
    "prior",
    [
        Prior("Normal", {"mu": 1.0, "sigma": 2.0}),
        Prior("StudentT", {"nu": 4.0, "mu": 1.0, "sigma": 2.0}),
        Prior("Uniform", {"lower": 0.2, "upper": 3.0}),
        Prior("TruncatedNormal", {"mu": 0.5, "sigma": 2.0, "lower": 0.0, "upper": 1.0}),
        Prior("LogNormal", {"median": 0.3, "sigma": 0.4}),
        Prior("HalfNormal", {"sigma": 2.0}),
        Prior("HalfStudentT", {"nu": 4.0, "sigma": 2.0}),
        Prior("Exponential", {"lam": 2.0}),
        Prior("Gamma", {"alpha": 2.0, "beta": 0.1}),
        Prior("InverseGamma", {"alpha": 3.0, "beta": 0.1}),
        Prior("Beta", {"alpha": 2.0, "beta": 3.0}),
        Prior("Dirichlet", {"a": [4.0, 1.5, 1.5]}),
    ],
    ids=lambda prior: prior.dist,
)
def test_draws_lie_in_the_support_that_a_prior_claims(prior: Prior) -> None:
    values = draw(prior, 1000, np.random.default_rng(3))
    inside = {
        "real": np.isfinite(values),
        "positive": values > 0,
        "unit": (values > 0) & (values < 1),
        "simplex": np.isclose(values.sum(axis=-1), 1),
    }
    assert np.all(inside[prior.support])
    assert set(inside) == {support for _, support in DISTRIBUTIONS.values()}


# Contracts of every law -------------------------------------------------------------------------

each_law = pytest.mark.parametrize(
    "law", [laws.get(name) for name in laws.names()], ids=laws.names()
)


@cache
def compiled(name: str) -> pytensor.compile.Function:
    """Loss at every run and draw, and the gradient of the summed log loss, from log inputs."""
    law = laws.get(name)
    logs = [pt.dvector(name) for name in law.input_names]
    params = {name: pt.dvector(name) for name in law.param_names}
    loss = law.loss(*[pt.exp(log)[:, None] for log in logs], **params)
    grads = pytensor.grad(pt.log(loss).sum(), list(params.values()))
    return pytensor.function([*logs, *params.values()], [loss, *grads], mode="FAST_COMPILE")


def evaluate(
    law: Law, ratios: Mapping[str, np.ndarray], params: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    logs = [np.log(ratios[name]) for name in law.input_names]
    loss, *grads = compiled(law.name)(*logs, *[params[name] for name in law.param_names])
    return loss, grads


@each_law
def test_numpy_xarray_and_pytensor_agree(law: Law) -> None:
    _, params = default_params(law)
    ratios = scattered(law)
    with_numpy = law.loss(*[values[:, None] for values in ratios.values()], **params)
    with_xarray = law.loss(
        *[xr.DataArray(values, dims="run") for values in ratios.values()],
        **{name: xr.DataArray(values, dims="draw") for name, values in params.items()},
    )
    with_pytensor, _ = evaluate(law, ratios, params)
    with_xarray = with_xarray.transpose("run", "draw")
    np.testing.assert_allclose(with_xarray.values, with_numpy, rtol=1e-13)
    np.testing.assert_allclose(with_pytensor, with_numpy, rtol=1e-10)


@each_law
def test_gradient_is_finite_over_ten_orders_of_magnitude(law: Law) -> None:
    _, params = default_params(law)
    # A sum over all scales is finite only if every summand is.
    mesh = np.meshgrid(*[RATIOS] * len(law.inputs), indexing="ij")
    ratios = {name: grid.ravel() for name, grid in zip(law.input_names, mesh, strict=True)}
    ratios = allowed(law, ratios)
    loss, grads = evaluate(law, ratios, params)
    assert np.all(np.isfinite(loss))
    for name, grad in zip(law.param_names, grads, strict=True):
        assert np.all(np.isfinite(grad)), name
        assert np.any(grad != 0), f"{name} does not matter"


@each_law
def test_loss_tends_to_the_floor(law: Law) -> None:
    if not law.has_limit:
        pytest.skip("the law says that it has no such limit")
    level, params = default_params(law)
    floor = params[law.floor] if law.floor else 0.0
    endless = allowed(law, dict.fromkeys(law.input_names, np.float64(1e100)))
    excess = (law.loss(*endless.values(), **params) - floor) / level
    # The smallest exponents in the draws are near .05, and leave 1e-5 of the excess.
    assert np.median(np.abs(excess)) < 1e-6
    assert np.all(excess > -1e-12)
    assert np.all(excess < 0.02)


@each_law
def test_more_of_an_input_lowers_the_loss(law: Law) -> None:
    _, params = default_params(law)
    for name in law.input_names if law.falls_in is None else law.falls_in:
        ratios = dict.fromkeys(law.input_names, 1.0) | {name: RATIOS[:, None]}
        helps = np.zeros(DRAWS, dtype=bool)
        for others in (1e-2, 1.0, 1e2):
            at = {key: value if key == name else others for key, value in ratios.items()}
            loss = law.loss(*allowed(law, at).values(), **params)
            assert np.all(np.diff(loss, axis=0) <= 0), name
            helps |= loss[-1] < loss[0]
        assert np.all(helps), f"more of {name} does not help anywhere"


@each_law
def test_loss_at_the_reference_is_the_level(law: Law) -> None:
    level, params = default_params(law)
    np.testing.assert_allclose(law.loss(*[1.0] * len(law.inputs), **params), level, rtol=1e-12)
    assert all(np.all(params[term] > 0) for term in law.terms)


@each_law
def test_textbook_constants_give_the_same_loss_at_raw_inputs(law: Law) -> None:
    if law.textbook is None:
        pytest.skip("the law has no constants of another form")
    _, params = default_params(law)
    ratios = scattered(law)
    rng = np.random.default_rng(4)
    reference = law.references({name: float(10 ** rng.uniform(7, 11)) for name in law.scales})
    textbook = params | law.textbook(reference, **params)
    # What is a ratio to a number stays one; all else is in its own unit.
    unit = law.references(dict.fromkeys(law.scales, 1.0))
    raw = [ratios[name][:, None] * reference[name] / unit[name] for name in law.input_names]
    np.testing.assert_allclose(
        law.loss(*raw, **textbook),
        law.loss(*[values[:, None] for values in ratios.values()], **params),
        rtol=1e-9,
    )


@each_law
def test_optimal_params_minimise_the_loss_of_a_budget(law: Law) -> None:
    if law.optimal_params is None:
        pytest.skip("the law's optimum is found numerically")
    _, params = default_params(law)
    for product in (1e-4, 1.0, 1e4):
        best = law.optimal_params(product, **params)
        for i in range(0, DRAWS, 5):
            one = {name: float(values[i]) for name, values in params.items()}

            def loss(log_params: float, one: dict = one, product: float = product) -> float:
                ratio = np.exp(log_params)
                inputs = {"params": ratio, "tokens": product / ratio}
                return law.loss(*[inputs.get(name, 1.0) for name in law.input_names], **one)

            grid = np.log(best[i]) + np.linspace(-8, 8, 161)
            lowest = grid[np.argmin([loss(at) for at in grid])]
            found = optimize.minimize_scalar(
                loss, bracket=(lowest - 0.2, lowest, lowest + 0.2), method="golden"
            )
            assert loss(np.log(best[i])) <= found.fun * (1 + 1e-12)
            # A minimum can be located to the root of the precision of its value.
            assert abs(found.x - np.log(best[i])) < 1e-3


@each_law
def test_every_fact_is_stated(law: Law) -> None:
    assert re.search(r"\b\d{4}\.\d{4,5}\b", law.source), "a source is cited by its arXiv id"
    assert all((law.title, law.equation, law.latex, law.terms))
    assert law.question.endswith("?")
    assert len(law.question) <= 60, "it has a line of the catalogue to itself"
    assert law.group in laws.GROUPS
    assert law.group != "Others", "a shipped law says what it is about"
    assert all(each.meaning and each.unit for each in (*law.inputs, *law.params))
    assert len({*law.input_names, *law.param_names}) == len(law.inputs) + len(law.params)
    assert set(law.terms) <= set(law.param_names)
    assert law.floor is None or law.floor == law.terms[0]
    assert set(law.falls_in or ()) <= set(law.input_names)
    assert law.scales, "something of the runs is their scale"
    related = {each.reference for each in law.inputs} | {each.at_most for each in law.inputs}
    assert {name for name in related if isinstance(name, str)} <= set(law.input_names)
    arguments = inspect.signature(law.loss).parameters.values()
    keywords = [each.name for each in arguments if each.kind is each.KEYWORD_ONLY]
    assert [each.name for each in arguments if each.name not in keywords] == list(law.input_names)
    assert set(keywords) == set(law.param_names)


@each_law
def test_default_priors_are_stated_for_all_but_the_terms(law: Law) -> None:
    priors = default_model(law).priors
    for param in law.params:
        assert (param.prior is None) == (param.name in law.terms), param.name
        assert (param.name in priors) == (param.name not in law.terms), param.name


@each_law
def test_a_shipped_law_is_named_after_its_file_and_travels_between_processes(law: Law) -> None:
    assert law.loss.__module__ == f"bayescale.laws.{law.name}"
    assert pickle.loads(pickle.dumps(law)) == law


# Published values and nested forms --------------------------------------------------------------

#: Compute-optimal tokens a parameter and loss of a Huber refit of the Chinchilla runs (n = 241).
REFIT = {"E": 1.8209, "A": 478.3, "alpha": 0.3473, "B": 2311.0, "beta": 0.3708}


@pytest.mark.parametrize(
    ("flops", "tokens_per_param", "loss"),
    [(1e21, 21.0, 2.3045), (1e23, 18.1, 2.0326), (1e25, 15.5, 1.9136), (1e27, 13.4, 1.8615)],
)
def test_compute_optimum_of_the_chinchilla_runs(
    flops: float, tokens_per_param: float, loss: float
) -> None:
    law = laws.get("chinchilla")
    params = law.optimal_params(flops / 6, **REFIT)
    tokens = flops / 6 / params
    # The constants are printed with four digits, the exponents with three to four.
    assert tokens / params == pytest.approx(tokens_per_param, rel=0.02)
    assert law.loss(params, tokens, **REFIT) == pytest.approx(loss, abs=0.002)


# Kaplan et al. 2020, arXiv 2001.08361, table 2, in nats: L(N, D) with N without embeddings.
N_C, ALPHA_N, D_C, ALPHA_D = 6.4e13, 0.076, 1.8e13, 0.103


#: Muennighoff et al. 2023, arXiv 2305.16264, rounded.
C4 = {"E": 1.87, "A": 521.0, "alpha": 0.353, "B": 1488.0, "beta": 0.353}


def as_printed(params: float, tokens: float) -> float:
    """Farseer's law, arXiv 2506.10972, in the paper's own constants (rounded)."""
    endless = np.exp(-0.021 * params**0.169 - 0.091)
    exponent = np.exp(-0.124 * params**0.123 + 0.424)
    return float(endless + np.exp(88.01 * params**-0.1 - 6.287) * tokens**-exponent)


#: The same constants at 1e9 parameters and 1e10 tokens.
FARSEER = {
    "E": np.exp(-0.021 * 1e9**0.169 - 0.091),
    "s3": 0.021 * 1e9**0.169,
    "gamma": 0.169,
    "B": np.exp(88.01 * 1e9**-0.1 - 6.287) * 1e10 ** -np.exp(-0.124 * 1e9**0.123 + 0.424),
    "beta": 0.1,
    "eta": np.exp(-0.124 * 1e9**0.123 + 0.424),
    "s1": 0.124 * 1e9**0.123,
    "alpha": 0.123,
}
FARSEER["tilt"] = (
    FARSEER["eta"] * FARSEER["s1"] * FARSEER["alpha"] * np.log(1e10) - 8.801 * 1e9**-0.1
)


@pytest.mark.parametrize(
    ("name", "inputs", "params", "expected"),
    [
        pytest.param(
            "skaling",
            (3e8, 2e10),
            {"E": 0.0, "A": N_C**ALPHA_N, "alpha": ALPHA_N, "B": D_C**ALPHA_D, "beta": ALPHA_D}
            | {"k": ALPHA_D},
            ((N_C / 3e8) ** (ALPHA_N / ALPHA_D) + D_C / 2e10) ** ALPHA_D,
            id="skaling-is-kaplan-at-E-0-and-k-beta",
        ),
        pytest.param(
            "skaling",
            (3e9, 6e10),
            REFIT | {"k": 1.0},
            1.8209 + 478.3 / 3e9**0.3473 + 2311.0 / 6e10**0.3708,
            id="skaling-is-chinchilla-at-k-1",
        ),
        pytest.param(
            "skaling",
            (1e8, 1e12),
            REFIT | {"k": 1e-2},
            1.8209 + 478.3 / 1e8**0.3473,
            id="skaling-is-a-bottleneck-as-k-goes-to-0",
        ),
        pytest.param(
            "power", (100.0,), {"E": 1.0, "A": 2.0, "gamma": 0.5}, 1.2, id="power-by-hand"
        ),
        pytest.param(
            "repetition",
            (1e8, 4e10, 1e10),
            C4 | {"R_D": 15.387756, "R_N": 5.309743},
            # Fewer parameters than are compute-optimal for 1e10 tokens: only tokens are discounted.
            1.87
            + 521 / 1e8**0.353
            + 1488 / (1e10 * (1 + 15.387756 * (1 - np.exp(-3 / 15.387756)))) ** 0.353,
            id="repetition-of-few-parameters",
        ),
        pytest.param(
            "repetition",
            (1e10, 1e10, 1e10),
            C4 | {"R_D": 15.387756, "R_N": 1e9},
            1.87 + 521 / 1e10**0.353 + 1488 / 1e10**0.353,
            id="repetition-is-chinchilla-in-one-epoch-if-no-parameters-are-in-excess",
        ),
        pytest.param(
            "precision",
            (1e9, 1e11, 8.0 / 16.0),
            REFIT | {"gamma": 2.0},
            1.8209 + 478.3 / (1e9 * (1 - np.exp(-4.0)) ** 3) ** 0.3473 + 2311.0 / 1e11**0.3708,
            id="precision-of-eight-bits",
        ),
        pytest.param(
            "moe",
            (1.3e9, 64.0),
            # Clark et al. 2022, arXiv 2202.01169, S-Base: -.082, -.108, .009, 1.104 in log10.
            {"a": 0.082, "b": 0.108, "c": 0.009 / np.log(10), "A": 10**1.104}
            | {"E_start": 1.847, "E_max": 314.478},
            10
            ** (
                1.104
                - 0.082 * np.log10(1.3e9)
                + (0.009 * np.log10(1.3e9) - 0.108)
                * -np.log10(1 / (63 + 1 / (1 / 1.847 - 1 / 314.478)) + 1 / 314.478)
            ),
            id="moe-as-printed",
        ),
        pytest.param(
            "fine_grained_moe",
            (1e9, 1e10, 8.0),
            # Krajewski et al. 2024, arXiv 2402.07871.
            {"E": 0.47, "A": 18.1, "alpha": 0.115, "B": 30.8, "beta": 0.147}
            | {"g": 2.1, "delta": 0.58},
            0.47 + (2.1 / 8**0.58 + 18.1) * 1e9**-0.115 + 30.8 * 1e10**-0.147,
            id="fine-grained-moe-as-printed",
        ),
        pytest.param(
            "sparsity",
            (1e8, 1e11, 0.125),
            # Frantar et al. 2023, arXiv 2309.08520, T5: a_S, b_S, c_S = 16.8, .722, 45.0.
            {"E": 0.651, "A": 61.8, "alpha": 0.245, "B": 6.9e8**0.203, "beta": 0.203}
            | {"w": 16.8 / 61.8, "delta": 0.722},
            (16.8 * 0.125**0.722 + 45.0) * 1e8**-0.245 + (6.9e8 / 1e11) ** 0.203 + 0.651,
            id="sparsity-as-printed",
        ),
        pytest.param(
            "quantisation",
            (1e8, 1e10, 3.0 / 4.0),
            # Kumar et al. 2024, arXiv 2411.04330: C_T = .0598, exponents .5068 and .3439.
            REFIT | {"Q": 0.0598 * np.exp(-4 / 0.5907), "d": 0.5068, "n": 0.3439, "gamma": 0.5907},
            1.8209
            + 478.3 / 1e8**0.3473
            + 2311.0 / 1e10**0.3708
            + 0.0598 * 1e10**0.5068 / 1e8**0.3439 * np.exp(-3 / 0.5907),
            id="quantisation-to-three-bits-as-printed",
        ),
        pytest.param(
            "moe_sparsity",
            (1e9, 1e10, 0.05),
            # Abnar et al. 2025, arXiv 2501.12370.
            {"E": 0.94, "A": 16612.5, "alpha": 0.5962, "B": 5455.67, "beta": 0.3954}
            | {"C": 0.4598, "rise": 0.1666, "F": 17.26, "delta": 0.1603, "gamma": 0.1595},
            16612.5 * 1e9**-0.5962
            + 5455.67 * 1e10**-0.3954
            + 0.4598 * 0.05**0.1666
            + 17.26 * 0.05**-0.1603 * 1e9**-0.1595
            + 0.94,
            id="moe-sparsity-as-printed",
        ),
        pytest.param(
            "transfer",
            (1e8, 1e9),
            # Hernandez et al. 2021, arXiv 2102.01293, text to code: 1.9e4 D^.18 N^.38.
            REFIT | {"k": 1.9e4, "a": 0.18, "b": 0.38},
            1.8209 + 478.3 / 1e8**0.3473 + 2311 / (1e9 + 1.9e4 * 1e9**0.18 * 1e8**0.38) ** 0.3708,
            id="transfer-as-printed",
        ),
        pytest.param(
            "mixture", (0.25,), {"E": 1.0, "k": 2.0, "t": 4.0}, 1 + 2 / np.e, id="mixture-by-hand"
        ),
        pytest.param(
            "vocabulary",
            (1e9, 1e8, 1e11),
            # Tao et al. 2024, arXiv 2407.13623; less the loss of a unigram model, E is negative.
            {"E": -5.533, "A": 1.831, "alpha": 0.447, "V": 0.196, "delta": 0.671}
            | {"B": 2.124, "beta": 0.447},
            -5.533 + 1.831 * 1e9**-0.447 + 0.196 * 1e8**-0.671 + 2.124 * 1e11**-0.447,
            id="vocabulary-as-printed",
        ),
        pytest.param(
            "progress",
            (1e9, 1e11, 2021.0 / 2020.0),
            # Effective compute that doubles in 8.4 months, half of it of parameters.
            REFIT | {"growth": np.log(2) * 12 / 8.4, "of_params": 0.5},
            1.8209
            + 478.3 / (1e9 * 2 ** (6 / 8.4)) ** 0.3473
            + 2311.0 / (1e11 * 2 ** (6 / 8.4)) ** 0.3708,
            id="progress-of-a-year",
        ),
        pytest.param(
            "modalities",
            (1e9, 1e10, 4e10),
            # The equation of Aghajanyan et al. 2023, arXiv 2301.03728, term by term; constants made up.
            {"E": 2.0, "A": 500.0, "alpha": 0.2, "B": 300.0, "beta": 0.25, "G": 200.0, "gamma": 0.3}
            | {"H": 100.0 * 2**-0.2, "delta": 0.2},
            2.0 + 500 / 1e9**0.2 + 300 / 1e10**0.25 + 200 / 4e10**0.3 + 100 / 5e10**0.2,
            id="modalities-as-printed",
        ),
        pytest.param(
            "pass_at_k",
            (100.0,),
            {"a": 0.4, "b": 3.0},
            # No success in 100 samples of a beta-binomial.
            -np.log1p(-stats.betabinom(100, 0.4, 3.0).pmf(0)),
            id="pass-at-k-is-beta-binomial",
        ),
        pytest.param(
            "voting",
            (9.0,),
            {"E": 0.2, "H": 0.3, "s": 0.5},
            # Twice the chance that a standard normal exceeds a margin that is half-normal with scale s sqrt(k).
            0.2
            + 0.3
            * 2
            * integrate.quad(
                lambda margin: stats.halfnorm(scale=1.5).pdf(margin) * stats.norm.sf(margin), 0, 40
            )[0],
            id="voting-is-a-mean-over-margins",
        ),
        pytest.param(
            "farseer", (4.0, 20.0), FARSEER, as_printed(4e9, 2e11), id="farseer-as-printed"
        ),
    ],
)
def test_nested_and_closed_forms(
    name: str, inputs: tuple[float, ...], params: dict[str, float], expected: float
) -> None:
    assert laws.get(name).loss(*inputs, **params) == pytest.approx(expected, rel=1e-9)


# The registry -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "hint"), [("chinchila", "chinchilla"), ("Power", "power"), ("skalling", "skaling")]
)
def test_unknown_law_gives_a_hint(given: str, hint: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown law '{given}': did you mean '{hint}'\?"):
        laws.get(given)


def test_unknown_law_lists_all_laws() -> None:
    with pytest.raises(ValueError, match=f"The laws are {', '.join(laws.names())}"):
        laws.get("zzz")


@pytest.mark.parametrize("name", laws.names())
def test_shipped_names_are_taken(name: str) -> None:
    with pytest.raises(ValueError, match=f"law '{name}' is shipped with bayescale"):
        laws.register(replace(laws.get(name), title="Mine"))


def test_a_registered_law_serves_model_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "_REGISTERED", {})
    mine = laws.register(replace(laws.get("power"), name="mine"))
    assert "mine" in laws.names()
    assert Model.from_toml('format = 1\nlaw = "mine"\n').law_object is mine
    bare = tuple(replace(param, prior=None) for param in mine.params)
    laws.register(replace(mine, params=bare))
    with pytest.raises(ValueError, match=r"priors\.gamma: law 'mine' has no default for it"):
        Model.from_toml('format = 1\nlaw = "mine"\n')


# What a law claims ------------------------------------------------------------------------------

EXPONENT = {"dist": "LogNormal", "kwargs": {"median": 0.33, "sigma": 0.4}}
OWN = Law(
    name="own",
    title="A law of a user",
    question="What of both?",
    equation="L = E + A * N^-alpha + C * (N * D)^-alpha",
    latex="L",
    source="this test",
    inputs=(Input("params", "size", "parameters"), Input("tokens", "data", "tokens")),
    params=(
        Param("E", "floor", "nat/token"),
        Param("A", "of params", "nat/token"),
        Param("C", "of both", "nat/token"),
        Param("alpha", "exponent", "1", EXPONENT),
    ),
    loss=lambda n, d, *, E, A, C, alpha: E + A * n**-alpha + C * (n * d) ** -alpha,
    terms=("E", "A", "C"),
)


def changed(place: int, **changes: object) -> tuple[Param, ...]:
    """Parameters of the law with one of them changed."""
    params = list(OWN.params)
    params[place] = replace(params[place], **changes)
    return tuple(params)


def renamed(name: str) -> dict[str, object]:
    """The law with another name for its exponent."""

    def loss(n: float, d: float, *, E: float, A: float, C: float, **exponent: float) -> float:
        return OWN.loss(n, d, E=E, A=A, C=C, alpha=exponent[name])

    return {"params": changed(3, name=name), "loss": loss}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laws that a test registers are gone after it."""
    monkeypatch.setattr(laws, "_REGISTERED", {})


@each_law
def test_shipped_laws_keep_what_they_claim(law: Law) -> None:
    _claims.check(law)


def test_a_sound_law_is_registered() -> None:
    for law in (OWN, replace(OWN, params=changed(3, prior=None)), replace(OWN, falls_in=())):
        assert laws.register(law) is law
    no_floor = replace(
        OWN,
        params=OWN.params[1:],
        terms=("A", "C"),
        floor=None,
        loss=lambda n, d, *, A, C, alpha: A * n**-alpha + C * (n * d) ** -alpha,
    )
    assert laws.register(no_floor) is no_floor


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "name: expected text"),
        ({"inputs": list(OWN.inputs)}, "inputs: expected a tuple of Input"),
        ({"terms": "E"}, "terms: expected a tuple of str"),
        ({"terms": ()}, "terms: expected at least one"),
        ({"terms": ("E", "A", "G")}, "terms: got 'G'. Expected one of E, A, C, alpha"),
        ({"terms": ("E", "A", "A")}, "terms: 'A' stands there twice"),
        ({"terms": ("A", "C", "E")}, "terms: the irreducible loss, 'E', comes first"),
        ({"terms": ("E", "A")}, "Name in terms all that add up to the loss there"),
        ({"floor": "e"}, "floor: 'e' is no parameter; .* floor=None"),
        ({"group": "mine"}, "group: got 'mine'. Expected one of One input"),
        ({"outcome": "succes"}, "outcome: got 'succes'; did you mean 'success'?"),
        ({"falls_in": ("param",)}, "falls_in: got 'param'; did you mean 'params'?"),
        ({"params": changed(3, support="postive")}, "support of 'alpha': got 'postive'"),
        ({"params": (*OWN.params, OWN.params[3])}, "'alpha' names several"),
        ({"params": changed(0, prior=EXPONENT)}, "prior of 'E': it is one of terms"),
        ({"params": changed(3, prior={"dist": "lognormal"})}, "did you mean 'LogNormal'"),
        ({"params": changed(3, prior={"dist": "Normal", "kwargs": {"mean": 1}})}, "alpha' fails"),
        ({"params": changed(3, prior=0.3)}, "prior of 'alpha' fails with TypeError"),
        (renamed("sigma"), "'sigma' is a name that fits give to something else"),
        (renamed("a b"), "'a b' cannot name an argument"),
        ({"inputs": (OWN.inputs[0], Input("loss", "", ""))}, "'loss' is a name that fits give"),
        (
            {"inputs": (OWN.inputs[0], Input("tokens", "", "", reference="param"))},
            "reference 'param' is no input with a scale of the runs; did you mean 'params'?",
        ),
        ({"inputs": (OWN.inputs[0], Input("tokens", "", "", reference=0.0))}, "above zero"),
        ({"inputs": (OWN.inputs[0], Input("tokens", "", "", at_most="all"))}, "at_most got 'all'"),
        ({"inputs": (OWN.inputs[0], Input("tokens", "", "", lower=2, upper=1))}, "'lower' must"),
        ({"loss": 3.0}, "loss: expected a function"),
        ({"loss": lambda n, d, *, E, A, alpha: E}, "called as loss.*argument 'C'"),
        ({"loss": lambda n, d, *, E, A, C, alpha, z: E}, "missing a required.* 'z'"),
        ({"loss": lambda n, *, E, A, C, alpha: E}, "too many positional arguments"),
        (
            {"loss": lambda tokens, params, **p: OWN.loss(params, tokens, **p)},
            "another order than inputs: params, tokens",
        ),
        ({"split": lambda level, shares: {}}, "split: .*'alpha'; end its arguments in [*][*]_"),
        ({"split": lambda level, shares, **_: {"E": level}}, "split: expected a dict of every"),
        ({"textbook": lambda reference, *, A: {}}, "textbook: .*; end its arguments in"),
        ({"textbook": lambda reference, **all_of: all_of}, "textbook: 'E' is no parameter that"),
        (
            {"textbook": lambda reference, **_: {"A": _["A"]}},
            "textbook: its constants give another",
        ),
        ({"optimal_params": lambda product, *, A: A}, "optimal_params: .*; end its arguments in"),
    ],
)
def test_a_law_that_breaks_a_claim_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"law '.*': .*{message}"):
        laws.register(replace(OWN, **changes))
    assert "own" not in laws.names()


@pytest.mark.parametrize(
    ("of_params", "message"),
    [
        (lambda n: np.maximum(n, 1.0), r"uses np.maximum, .*; write b \+ ramp\(a - b\) instead"),
        (lambda n: np.minimum(n, 1.0), "uses np.minimum"),
        (lambda n: np.clip(n, 0.1, 10.0), "uses np.clip"),
        (lambda n: n.clip(0.1, 10.0), "the method or attribute .clip"),
        (np.abs, "uses abs or np.abs"),
        (np.sign, "uses np.sign"),
        (np.floor, "uses np.floor"),
        (np.cbrt, "uses np.cbrt"),
        (lambda n: np.logaddexp(n, 1.0), r"write b \+ softplus\(a - b\) instead"),
        (lambda n: np.where(n, n, 1.0), "uses np.where"),
        (lambda n: (n > 1) * n, r"uses a comparison \(>\)"),
        (lambda n: n if n else 1.0, "uses if, and, or or not of a value"),
        (lambda n: n / n.mean(), "the method or attribute .mean"),
        (lambda n: n / np.add.reduce(n), "uses np.add.reduce"),
        (lambda n: n[:, None], "uses an index"),
        (np.asarray, "makes it a NumPy array"),
        (float, "uses a function of single numbers"),
        (lambda n: np.interp(n, [0, 1], [1, 2]), "uses np.interp"),
        (pt.as_tensor_variable, "loss fails with NotImplementedError"),
        (lambda n: 1 / n, "loss rises with params, from .* falls_in only the inputs"),
    ],
)
def test_functions_that_do_not_run_everywhere_are_refused(
    of_params: Callable[[float], float], message: str
) -> None:
    def loss(n: float, d: float, *, E: float, A: float, C: float, alpha: float) -> float:
        return E + A * of_params(n) ** -alpha + C * (n * d) ** -alpha

    with pytest.raises(ValueError, match=f"law 'own': .*{message}"):
        laws.register(replace(OWN, loss=loss))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda n, d, *, E, A, C, alpha: E + A + C, "returns one number for all runs"),
        (lambda n, d, *, E, A, C, alpha: 2.5, "returns 2.5; expected the loss of each run"),
        (lambda n, d, *, E, A, C, alpha: [E, A], "returns .*a stand-in for an array"),
        (
            lambda n, d, *, E, A, C, alpha: E + A + C + 9 * np.log(n),
            "loss is -.* at params=.*alpha=.*above zero",
        ),
    ],
)
def test_a_loss_that_is_none_is_refused(loss: Callable[..., float], message: str) -> None:
    with pytest.raises(ValueError, match=f"law 'own': .*{message}"):
        laws.register(replace(OWN, loss=loss))


def test_only_a_law_is_registered() -> None:
    with pytest.raises(TypeError, match=r"expected a bayescale\.laws\.Law, got dict"):
        laws.register({"name": "own"})


@pytest.mark.parametrize(
    "text",
    [
        '[noise]\nknown = "loss_sd"\nslope = { dist = "Normal", kwargs = { mu = 0.0, sigma = 0.2 } }',
        '[noise]\ndist = "BetaBinomial"\ntrials = 100',
        '[noise]\ndist = "ExGaussian"',
        'discrepancy = "drift"\n[noise]\ndist = "ExGaussian"',
        "[discrepancy]\nbreaks = {}",
        '[tasks]\ncolumns = ["acc_a", "acc_b"]',
        '[tasks]\ncolumns = ["acc_a", "acc_b"]\nlink = "exponential"',
    ],
)
def test_names_that_fits_give_to_something_else_are_reserved(text: str) -> None:
    columns = {"flops": np.geomspace(1e18, 1e21, 8), "loss": np.geomspace(0.9, 0.4, 8)}
    columns |= {"loss_sd": np.full(8, 0.01)}
    columns |= {f"acc_{each}": np.linspace(0.3, 0.6, 8) for each in "ab"}
    runs = xr.Dataset({name: ("run", values) for name, values in columns.items()})
    graph = build(runs, Model.from_toml(f'format = 1\nlaw = "power"\n{text}\n'))
    own = {"E", "A", "A_ref", "gamma", "log_scale", "reference_scale"}
    told = {*graph.named_vars, *graph.coords} - own
    # Of pools and tasks: names made of two.
    made = {name for name in told if name.endswith(("_task", "_sd", "_offset"))}
    assert told - made <= _claims.RESERVED


def test_every_distribution_of_model_files_can_be_drawn() -> None:
    assert {*_claims.DRAW, "Dirichlet"} == set(DISTRIBUTIONS)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_functions_that_run_everywhere_do_and_no_others() -> None:
    """Of all of NumPy's functions of one or two numbers: on xarray, PyTensor and with a complex step."""
    found, step = set(), 1e-6
    for name, function in vars(np).items():
        if not isinstance(function, np.ufunc) or function.nout > 1 or function.__name__ != name:
            continue
        x = np.array([1.3, 1.6] if name == "arccosh" else [0.3, 0.6])
        rest = [np.array([0.7, 0.4])] * (function.nin - 1)
        symbols = [pt.dvector() for _ in (x, *rest)]
        try:
            value = function(x, *rest)
            turned = function(x * (1 + 1e-30j), *rest)
            with_xarray = function(*[xr.DataArray(each, dims="run") for each in (x, *rest)])
            graph = function(*symbols)
            pytensor.grad(graph.sum(), symbols)
            run = pytensor.function(symbols, graph, mode="FAST_COMPILE")
        except (ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError):
            continue
        above, below = (function(x * (1 + each), *rest) for each in (step, -step))
        if (
            np.allclose(turned.imag / 1e-30, (above - below) / (2 * step), rtol=1e-5)
            and np.allclose(with_xarray.values, value)
            and np.allclose(run(x, *rest), value)
        ):
            found.add(name)
    assert found == {*_claims.FUNCTIONS, *_claims.OPERATORS}


def test_derivatives_of_a_law_in_methods_of_arrays_come_of_complex_inputs() -> None:
    """An older fit may be of a law that is registered no more."""
    power, at = laws.get("power"), {"scale": np.array([[0.5, 2.0]])}
    params = {
        name: np.array([[value]]) for name, value in {"E": 1.8, "A": 0.9, "gamma": 0.3}.items()
    }
    clipped = replace(power, loss=lambda x, **given: power.loss(x.clip(0.1, 10.0), **given))
    (_, wanted), (_, found) = (
        marginal_loss(SimpleNamespace(law=law, drift=None, ratios=dict), at, params)
        for law in (power, clipped)
    )
    np.testing.assert_allclose(found["scale"], wanted["scale"], rtol=1e-12)


def test_the_page_on_laws_of_ones_own_works_and_names_every_function() -> None:
    page = Path(__file__).parents[1].joinpath("docs", "howto", "add-a-law.md").read_text("utf-8")
    told: dict[str, object] = {}
    exec(page.split("```python\n")[1].split("```")[0], told)
    assert laws.get("crossed") is told["law"]
    assert default_model(laws.get("crossed")).law == "crossed"
    for name in _claims.FUNCTIONS:
        assert re.search(rf"`(np\.)?{name.removeprefix('arc')}`", page), name


# The law of pass@k ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1e-6, 0.05, 0.8, 8.0, 30.0, 36.0, 79.0])
@pytest.mark.parametrize("a", [0.05, 0.4, 2.0, 3.0])
def test_pass_at_k_keeps_its_digits(a: float, level: float) -> None:
    """By the product over samples of the chance that each fails where all before it have, summed in logs."""
    law = laws.get("pass_at_k")
    b = float(law.split(level, [1.0], a=a)["b"])
    assert law.loss(1.0, a=a, b=b) == pytest.approx(level, rel=1e-11)
    log_failure = np.cumsum(-np.log1p(a / (b + np.arange(1000.0))))
    exact = -np.log(-np.expm1(log_failure)) if level > 1 else np.nan
    for k in (2, 10, 100, 1000):
        found = law.loss(float(k), a=a, b=b)
        assert log_gamma_ratio(b, a, float(k)) == pytest.approx(log_failure[k - 1], rel=1e-11)
        failure = np.exp(log_failure[k - 1])
        wanted = -np.log1p(-failure) if failure < 0.5 else exact[k - 1] if level > 1 else found
        assert found == pytest.approx(wanted, rel=1e-11)


#: From sixty digits: -ln(1 - B(a, b + k) / B(a, b)) with b = a * expm1(.5).
TAILS = [(2.0, 1e6, 2.980788974037152e-12), (3.0, 1e6, 2.26259881152748e-17)]


@pytest.mark.parametrize(("a", "k", "exact"), TAILS)
def test_pass_at_k_keeps_its_tail_and_its_slope(a: float, k: float, exact: float) -> None:
    law = laws.get("pass_at_k")
    b = a * np.expm1(0.5)
    assert law.loss(k, a=a, b=b) == pytest.approx(exact, rel=1e-10)
    turned = law.loss(k * (1 + 1e-30j), a=a, b=b)
    assert turned.real == pytest.approx(exact, rel=1e-10)
    assert -turned.imag / 1e-30 / turned.real == pytest.approx(a, rel=1e-5)


def test_the_shortest_file_of_pass_at_k_has_the_prior_of_one_sample() -> None:
    """The loss of the runs' frontier, that of most samples, says nothing about one."""
    short, whole = default_model(laws.get("pass_at_k")), Model.load("pass-at-k")
    assert short.priors["level"] == whole.priors["level"]
    for name in laws.names():
        law = laws.get(name)
        counted = all(isinstance(each.reference, float) for each in law.inputs)
        assert counted == (law.level_prior is not None), name
        assert (default_model(law).priors["level"].kwargs["median"] == "runs") != counted


# Shipped models ---------------------------------------------------------------------------------


#: Losses are of order one nat; but ``-ln(pass@k)`` of a share from 5e-4 to .999 that grows with k to one.
SANE = {"pass-at-k": (1e-3, 7.5)}


@pytest.mark.parametrize("name", shipped())
def test_prior_predictive_of_a_shipped_model_is_sane(name: str) -> None:
    model = Model.load(name)
    law = model.law_object
    _, params = draw_params(model, 500, seed=5)
    decades = np.linspace(-2, 2, 9)
    others = tuple(name for name in law.input_names if name not in law.scales)
    low, high = SANE.get(name, (0.3, 30.0))
    for varied in (law.scales, others) if others else (law.scales,):
        axes = [10**decades if name in varied else np.ones(1) for name in law.input_names]
        mesh = np.meshgrid(*axes, indexing="ij")
        ratios = allowed(law, dict(zip(law.input_names, mesh, strict=True)))
        loss = law.loss(*[grid[..., None] for grid in ratios.values()], **params)
        assert np.all(np.isfinite(loss))
        assert np.mean((loss > low) & (loss < high)) >= 0.95
        for i, name in enumerate(law.input_names):
            if law.falls_in is None or name in law.falls_in:
                falls = np.all(np.diff(loss, axis=i) <= 0, axis=tuple(range(len(mesh))))
                assert np.mean(falls) >= 0.99, name
