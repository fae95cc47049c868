"""What a law claims, tried before it is registered: its names, its functions, its loss at a few draws of its priors."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from keyword import iskeyword
from typing import Any, get_args

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from bayescale.laws._law import GROUPS, Input, Law, Outcome, Param, Support

#: NumPy's functions that run on NumPy, xarray and PyTensor alike, and keep derivatives where an input is complex.
FUNCTIONS = (
    *(
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "sqrt",
        "square",
        "power",
        "reciprocal",
    ),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan"),
    *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
)
#: What the operators of Python are called in NumPy.
OPERATORS = ("add", "subtract", "multiply", "divide", "negative")
_RUNS = {getattr(np, name) for name in (*FUNCTIONS, *OPERATORS)}
#: What to write in place of functions that do not run everywhere, from bayescale.laws.
_INSTEAD = {
    "maximum": "b + ramp(a - b)",
    "minimum": "b - ramp(b - a)",
    "clip": "ramp, twice: low + ramp(x - low) - ramp(x - high)",
    "absolute": "2 * ramp(x) - x",
    "logaddexp": "b + softplus(a - b)",
    "positive": "the value itself",
    "float_power": "**",
} | dict.fromkeys(
    ("where", "greater", "greater_equal", "less", "less_equal", "sign", "heaviside"),
    "a smooth step, such as (1 + np.tanh(z)) / 2, or ramp for a corner",
)

#: What a user writes for them.
_WRITTEN = {
    "absolute": "abs or np.abs",
    "greater": "a comparison (>)",
    "greater_equal": "a comparison (>=)",
    "less": "a comparison (<)",
    "less_equal": "a comparison (<=)",
    "equal": "a comparison (==)",
    "not_equal": "a comparison (!=)",
}

#: Dims and variables of every graph and fit, besides what the law and the pooling name.
TAKEN = frozenset(
    {
        *("run", "chain", "draw", "term", "sigma", "nu", "excess", "noise_slope"),
        *("log_loss", "rate", "observed", "trials", "log_center", "decades", "known_sd"),
    }
)
#: Those of a model with a discrepancy.
TAKEN_BY_DRIFT = frozenset(
    {
        *("mode", "drift", "drift_rate", "drift_root", "drift_left", "drift_spectrum"),
        *("drift_design", "break_rate", "break_change", "kappa", "elasticity"),
    }
)
#: Those of a model with tasks, besides what the link names.
TAKEN_BY_TASKS = frozenset(
    {
        *("task", "constant", "scored", "score", "score_gap", "score_anchor", "score_task"),
        *("score_at", "score_observed", "score_trials", "link_task", "scatter_task"),
        *("floor_task", "reach_task", "ceiling_task"),
    }
)
#: Names that no law may give to something else: any model may be made of it, and linked to tasks.
RESERVED = frozenset(
    {
        *(*TAKEN, *TAKEN_BY_DRIFT, *TAKEN_BY_TASKS, "level", "shares", "loss", "sample"),
        *("midpoint", "steepness", "saturation"),
    }
)

_DRAWS = 12
#: Draws of each distribution of the model files: (rng, size, arguments).
DRAW: dict[str, Callable[..., np.ndarray]] = {
    "Normal": lambda rng, n, mu, sigma: rng.normal(mu, sigma, n),
    "StudentT": lambda rng, n, nu, mu, sigma: mu + sigma * rng.standard_t(nu, n),
    "Uniform": lambda rng, n, lower, upper: rng.uniform(lower, upper, n),
    "TruncatedNormal": lambda rng, n, mu, sigma, lower=-np.inf, upper=np.inf: np.clip(
        rng.normal(mu, sigma, n), np.nextafter(lower, np.inf), np.nextafter(upper, -np.inf)
    ),
    "LogNormal": lambda rng, n, sigma, median=None, mu=0.0: rng.lognormal(
        mu if median is None else np.log(median), sigma, n
    ),
    "HalfNormal": lambda rng, n, sigma: np.abs(rng.normal(0.0, sigma, n)),
    "HalfStudentT": lambda rng, n, nu, sigma: np.abs(sigma * rng.standard_t(nu, n)),
    "Exponential": lambda rng, n, lam: rng.exponential(1 / lam, n),
    "Gamma": lambda rng, n, alpha, beta: rng.gamma(alpha, 1 / beta, n),
    "InverseGamma": lambda rng, n, alpha, beta: 1 / rng.gamma(alpha, 1 / beta, n),
    "Beta": lambda rng, n, alpha, beta: rng.beta(alpha, beta, n),
}
#: Losses at the reference that are tried, by what trials give.
_LEVELS = {"nats": 2.5, "error": 0.3, "success": 0.7}
#: Stand for parameters without a default prior, of which only shapes and the level are tried.
_GUESS = {"real": 0.1, "positive": 0.5, "unit": 0.5}


def check(law: Law) -> None:
    """Raise ValueError, with the law's name and what to change, unless it keeps what it claims.

    Examples
    --------
    >>> from bayescale import laws
    >>> check(laws.get("chinchilla"))
    """
    if not isinstance(law, Law):
        raise TypeError(f"expected a bayescale.laws.Law, got {type(law).__name__}: {law!r}")
    try:
        _check_facts(law)
        _check_functions(law)
        with np.errstate(all="ignore"):
            _check_values(law)
    except _WrongError as error:
        raise ValueError(f"law {law.name!r}: {error}") from error


class _WrongError(Exception):
    pass


# Facts ------------------------------------------------------------------------------------------


def _near(given: object, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(str(given), known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    return f"{meant} Expected one of {', '.join(known)}"


def _check_facts(law: Law) -> None:
    if not str(law.name).strip():
        raise _WrongError("name: expected text, by which model files name the law")
    kinds = {"inputs": Input, "params": Param, "terms": str, "falls_in": str}
    for field, kind in kinds.items():
        value = getattr(law, field)
        if value is None and field == "falls_in":
            continue
        if not isinstance(value, tuple) or not all(isinstance(each, kind) for each in value):
            raise _WrongError(
                f"{field}: expected a tuple of {kind.__name__}, such as ({kind.__name__}, ); got {value!r}"
            )
        if not value and field != "falls_in":
            raise _WrongError(f"{field}: expected at least one; got none")
    for field, value, known in (
        ("group", law.group, GROUPS),
        ("outcome", law.outcome, get_args(Outcome)),
        *((f"support of {each.name!r}", each.support, get_args(Support)) for each in law.params),
    ):
        if value not in known and not (field == "outcome" and value is None):
            raise _WrongError(f"{field}: got {value!r}{_near(value, known)}")
    _check_names(law)
    _check_inputs(law)
    if law.floor is not None and law.floor not in law.param_names:
        raise _WrongError(
            f"floor: {law.floor!r} is no parameter; name the one that is the irreducible loss, or say floor=None for a "
            "law without one"
        )
    if law.floor in law.terms[1:]:
        raise _WrongError(
            f"terms: the irreducible loss, {law.floor!r}, comes first; got {law.terms!r}"
        )
    for each in law.params:
        if each.name in law.terms and each.prior is not None:
            raise _WrongError(
                f"prior of {each.name!r}: it is one of terms, whose prior is stated through the loss at the reference "
                "scale; leave it out here, and give it in a model file where you know better"
            )


def _check_names(law: Law) -> None:
    names = [*law.input_names, *law.param_names]
    for name in names:
        if not str(name).isidentifier() or iskeyword(name):
            raise _WrongError(
                f"{name!r} cannot name an argument of a function; take letters, digits and _"
            )
        if names.count(name) > 1:
            raise _WrongError(
                f"{name!r} names several inputs or parameters; give each a name of its own"
            )
    for name in names:
        if name in RESERVED or (name in law.input_names and f"log_{name}" in RESERVED):
            raise _WrongError(
                f"{name!r} is a name that fits give to something else; take another, such as {name + '_0'!r}. "
                f"Reserved are {', '.join(sorted(RESERVED))}"
            )
    for field, given, known in (
        ("terms", law.terms, law.param_names),
        ("falls_in", law.falls_in or (), law.input_names),
    ):
        for name in given:
            if name not in known:
                raise _WrongError(f"{field}: got {name!r}{_near(name, known)}")
            if given.count(name) > 1:
                raise _WrongError(f"{field}: {name!r} stands there twice")


def _check_inputs(law: Law) -> None:
    scales = [each.name for each in law.inputs if each.reference is None]
    for each in law.inputs:
        what = f"input {each.name!r}"
        if isinstance(each.reference, str):
            if each.reference not in scales:
                raise _WrongError(
                    f"{what}: reference {each.reference!r} is no input with a scale of the runs"
                    f"{_near(each.reference, scales)}, or a number"
                )
        elif each.reference is not None and not 0 < each.reference < np.inf:
            raise _WrongError(
                f"{what}: expected a reference above zero, the name of an input or None; got {each.reference!r}"
            )
        if each.at_most is not None and each.at_most not in law.input_names:
            raise _WrongError(
                f"{what}: at_most got {each.at_most!r}{_near(each.at_most, law.input_names)}"
            )
        if None not in (each.lower, each.upper) and each.lower >= each.upper:  # type: ignore[operator]
            raise _WrongError(
                f"{what}: 'lower' must be below 'upper'; got {each.lower!r} and {each.upper!r}"
            )


# Functions --------------------------------------------------------------------------------------


class _DoesNotRunError(Exception):
    pass


def _refuse(used: str, name: str = "") -> _DoesNotRunError:
    instead = f"; write {_INSTEAD[name]} instead" if name in _INSTEAD else ""
    return _DoesNotRunError(
        f"uses {used}, which does not run on all of NumPy, xarray, PyTensor and complex numbers{instead}. Operators "
        f"(+ - * / **), ramp and softplus of bayescale.laws, and np. {', '.join(FUNCTIONS)} do"
    )


class _Traced(NDArrayOperatorsMixin):
    """Stands for an input or a parameter, and refuses whatever does not run on every kind of array."""

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: Any, **options: Any) -> Any:
        name = ufunc.__name__
        if ufunc not in _RUNS or method != "__call__" or options:
            written = _WRITTEN.get(name, f"np.{name}")
            raise _refuse(written if method == "__call__" else f"np.{name}.{method}", name)
        return self

    def __repr__(self) -> str:
        return "<a stand-in for an array>"

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise _refuse(f"np.{function.__name__}", function.__name__)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise _refuse("a function that makes it a NumPy array")

    def __float__(self) -> float:
        raise _refuse("a function of single numbers, such as those of math")

    def __bool__(self) -> bool:
        raise _refuse("if, and, or or not of a value", "where")

    def __getitem__(self, _: Any) -> Any:
        raise _refuse("an index")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _refuse(f"the method or attribute .{name} of arrays", name)

    __hash__ = None  # type: ignore[assignment]


def _call(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except _DoesNotRunError as error:
        raise _WrongError(f"{what} {error}") from error
    except Exception as error:
        raise _WrongError(
            f"{what} fails with {type(error).__name__}: {error}. Functions of a law take NumPy arrays, xarray's and "
            "PyTensor's alike; a prior is {'dist': ..., 'kwargs': {...}} with the arguments of model files"
        ) from error


def _check_signature(
    what: str, function: Any, args: Mapping[str, object], keywords: Iterable[str], advice: str
) -> None:
    if not callable(function):
        raise _WrongError(f"{what}: expected a function, got {function!r}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # Of one that is written in C.
        return
    try:
        bound = signature.bind(*args.values(), **dict.fromkeys(keywords))
    except TypeError as error:
        raise _WrongError(
            f"{what}: it is called as {what}({', '.join([*args, *(f'{each}=...' for each in keywords)])}), and "
            f"{error}; {advice}"
        ) from error
    for position, name in enumerate(bound.arguments):
        if name in args and position < len(args) and list(args)[position] != name:
            raise _WrongError(
                f"{what}: its arguments stand in another order than inputs: {', '.join(args)}"
            )


def _check_functions(law: Law) -> None:
    inputs = {name: _Traced() for name in law.input_names}
    params = {name: _Traced() for name in law.param_names}
    others = {name: value for name, value in params.items() if name not in law.terms}
    ignore = "end its arguments in **_ for those that it does not need"
    every = "give it one argument for each of inputs, in their order, and one for each of params"
    _check_signature("loss", law.loss, inputs, params, every)
    found = _call("loss", law.loss, *inputs.values(), **params)
    if not isinstance(found, _Traced):
        raise _WrongError(
            f"loss returns {found!r}; expected the loss of each run, computed from the inputs and the parameters"
        )
    shares = [_Traced() for _ in law.terms]
    if law.split is not None:
        _check_signature("split", law.split, {"level": 0, "shares": 0}, others, ignore)
        terms = _call("split", law.split, _Traced(), shares, **others)
        if not isinstance(terms, dict) or set(terms) != set(law.terms):
            got = sorted(terms) if isinstance(terms, dict) else terms
            raise _WrongError(
                f"split: expected a dict of every one of terms, {', '.join(law.terms)}; got {got!r}"
            )
    if law.textbook is not None:
        _check_signature("textbook", law.textbook, {"reference": 0}, params, ignore)
        given = _call("textbook", law.textbook, inputs, **params)
        kept = [name for name in law.param_names if law.posterior_name(name) == name]
        stray = [name for name in given if name not in law.param_names or name in kept]
        if stray:
            differ = ", ".join(name for name in law.param_names if name not in kept)
            raise _WrongError(
                f"textbook: {stray[0]!r} is no parameter that differs from its value at the reference scale; return "
                f"those that do, of {differ}, or say relative=True of it"
            )
    if law.optimal_params is not None:
        _check_signature("optimal_params", law.optimal_params, {"product": 0}, params, ignore)


# Values -----------------------------------------------------------------------------------------


def _draw(prior: Mapping[str, Any], rng: np.random.Generator, what: str) -> np.ndarray:
    dist, kwargs = _call(what, lambda: (prior["dist"], dict(prior.get("kwargs", {}))))
    if dist not in DRAW:
        raise _WrongError(f"{what}: got dist {dist!r}{_near(dist, DRAW)}")
    drawn = _call(what, DRAW[dist], rng, _DRAWS, **kwargs)
    return np.asarray(drawn)[:, None]


def _allowed(law: Law, ratios: Mapping[str, Any]) -> list[Any]:
    """The nearest ratios that the law allows, in the order of its inputs."""
    found = []
    for each in law.inputs:
        at = ratios[each.name]
        if each.reference is not None and not isinstance(each.reference, str):
            lower, upper = each.lower or 0.0, each.upper or np.inf
            at = np.clip(at, lower / each.reference, upper / each.reference)
        found.append(at if each.at_most is None else np.minimum(at, ratios[each.at_most]))
    return found


def _check_values(law: Law) -> None:
    rng = np.random.default_rng(1)
    others = {
        each.name: np.full((_DRAWS, 1), _GUESS[each.support])
        if each.prior is None
        else _draw(each.prior, rng, f"prior of {each.name!r}")
        for each in law.params
        if each.name not in law.terms
    }
    level = (
        rng.lognormal(np.log(_LEVELS[law.trials_give]), 0.3, (_DRAWS, 1))
        if law.level_prior is None
        else _draw(law.level_prior, rng, "level_prior")
    )
    shares = list(rng.dirichlet(np.full(len(law.terms), 4.0), _DRAWS).T[:, :, None])
    terms = _call("split", law.terms_from_shares, level, shares, others)
    params = others | terms

    def loss(*inputs: Any, **values: Any) -> np.ndarray:
        return np.asarray(_call("loss", law.loss, *inputs, **values))

    scattered = {
        name: np.roll(np.geomspace(0.1, 1.0, 5), 2 * place)
        for place, name in enumerate(law.input_names)
    }
    inputs = _allowed(law, scattered)
    if loss(*inputs, **{name: np.ravel(value)[0] for name, value in params.items()}).ndim != 1:
        raise _WrongError(
            "loss returns one number for all runs; expected the loss of each, so it must depend on the inputs"
        )
    at_reference = np.broadcast_to(loss(*[np.float64(1.0)] * len(inputs), **params), level.shape)
    # A guess may lie where a law of its own scale is not defined.
    off = np.isfinite(at_reference) & ~np.isclose(at_reference, level, rtol=1e-6)
    if off.any():
        draw = int(np.argmax(off))
        raise _WrongError(
            f"terms: {', '.join(law.terms)} make up a loss of {np.ravel(level)[draw]:.6g} at the reference scale, "
            f"where loss gives {np.ravel(at_reference)[draw]:.6g} with every input a ratio of 1 ({_said(params, draw)})"
            ". Name in terms all that add up to the loss there and nothing else, or give split"
        )
    _check_textbook(law, inputs, params, loss)
    if any(each.prior is None for each in law.params if each.name not in law.terms):
        return
    found = np.broadcast_to(loss(*inputs, **params), (_DRAWS, inputs[0].size))
    _check_where(law, np.isfinite(found) & (found > 0), found, inputs, params)
    _check_falls(law, params, loss)


def _said(params: Mapping[str, np.ndarray], draw: int) -> str:
    return ", ".join(f"{name}={np.ravel(value)[draw]:.3g}" for name, value in params.items())


def _check_textbook(
    law: Law,
    inputs: list[Any],
    params: Mapping[str, np.ndarray],
    loss: Callable[..., np.ndarray],
) -> None:
    if law.textbook is None:
        return
    reference = law.references({name: 1e8 * (1 + i) for i, name in enumerate(law.scales)})
    unit = law.references(dict.fromkeys(law.scales, 1.0))
    raw = [
        each * reference[name] / unit[name]
        for name, each in zip(law.input_names, inputs, strict=True)
    ]
    constants = params | _call("textbook", law.textbook, reference, **params)
    given, wanted = loss(*raw, **constants), loss(*inputs, **params)
    known = np.isfinite(given) & np.isfinite(wanted)
    if not np.allclose(given[known], wanted[known], rtol=1e-6):
        raise _WrongError(
            "textbook: its constants give another loss at inputs in their own units than the parameters do at ratios "
            "to the reference; an amplitude A of x^-a is A * reference**a there"
        )


def _check_where(
    law: Law, good: np.ndarray, found: np.ndarray, inputs: list[Any], params: dict[str, np.ndarray]
) -> None:
    if good.all():
        return
    draw, run = np.argwhere(~good)[0]
    at = ", ".join(f"{name}={x[run]:.3g}" for name, x in zip(law.input_names, inputs, strict=True))
    raise _WrongError(
        f"loss is {found[draw, run]:.6g} at {at} (ratios to the reference) with {_said(params, draw)}, drawn from the "
        "default priors; expected a number above zero, for its log is fitted. Mend loss or narrow the priors"
    )


def _check_falls(law: Law, params: dict[str, np.ndarray], loss: Callable[..., np.ndarray]) -> None:
    ratios = np.geomspace(1e-2, 1e2, 9)
    names = law.input_names
    for name in names if law.falls_in is None else law.falls_in:
        for others in (1e-2, 1.0, 1e2):
            at = dict.fromkeys(names, np.full(ratios.size, others)) | {name: ratios}
            inputs = _allowed(law, at)
            found = np.broadcast_to(loss(*inputs, **params), (_DRAWS, ratios.size))
            rises = np.argwhere(np.diff(found, axis=1) > 1e-9 * np.abs(found[:, 1:]))
            if rises.size:
                draw, step = rises[0]
                x = inputs[names.index(name)]
                raise _WrongError(
                    f"loss rises with {name}, from {found[draw, step]:.6g} to {found[draw, step + 1]:.6g} as it goes "
                    f"from {x[step]:.3g} to {x[step + 1]:.3g} of its reference (other inputs at {others:g} where they "
                    f"may be; {_said(params, draw)}), and the law claims that more of {name} is never worse. Mend "
                    "loss, keep the priors from such values, or name in falls_in only the inputs of which that is true"
                )
