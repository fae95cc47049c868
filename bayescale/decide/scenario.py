"""A scenario: what a proposed run costs, what its loss is worth, and how much risk may be taken.

A TOML file, read key by key: :data:`EXAMPLE` is one. Every uncertain input is a number or a distribution in the words
of the model files.
"""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bayescale.decide.hardware import check_dense, find_accelerator
from bayescale.forecast.curve import stream
from bayescale.forecast.path import parse_path
from bayescale.model import DISTRIBUTIONS, Prior, Reader, hint
from bayescale.runs import parse_size

FORMAT = 1

#: A scenario to start from.
EXAMPLE = """\
format = 1
currency = "USD"

[run]
flops = "1e24"                # training compute of the proposed run
path = "compute-optimal"      # family, and at = { weight_bits = 8 } or distributions, where the model has such

[hardware]
accelerator = "H100-SXM"      # or peak_flops (dense, FLOP/s) and power (W)
precision = "bf16"
utilisation = { dist = "Beta", kwargs = { alpha = 40, beta = 60 } }
price = { dist = "LogNormal", kwargs = { median = 2.5, sigma = 0.2 } }    # an accelerator-hour
fixed_cost = 200_000

[site]
pue = 1.2
grid_intensity = 0.35         # kg CO2e for each kWh

[value]
baseline_flops = "1e23"       # improvement is measured from the loss there; or baseline_loss
per_nat = 5e7                 # or step = { loss = 1.95, worth = 1e7 }

[decision]
risk = "expected"             # or "cvar"
level = 0.1                   # share of worst outcomes that cvar averages
confidence = 0.8
"""

type Uncertain = float | Prior


@dataclass(frozen=True)
class Step:
    """A value that is won at once where a loss is reached.

    Parameters
    ----------
    loss : float
        [nat/token]
    worth : float or Prior
        [currency]
    """

    loss: float
    worth: Uncertain


@dataclass(frozen=True)
class Scenario:
    """What a proposed run costs, what its loss is worth, and how much risk may be taken.

    Parameters
    ----------
    flops : float
        Training compute of the proposed run [FLOP].
    price : float or Prior
        Of an accelerator-hour [currency].
    peak : float
        Peak dense compute of an accelerator [FLOP/s].
    watts : float
        Power of an accelerator [W].
    utilisation : float or Prior
        Share of the peak that training reaches; in (0, 1].
    per_nat : float or Prior, optional
        Value of an improvement [currency / (nat/token)].
    step : Step, optional
        Value of reaching a loss, in its place.
    baseline_loss, baseline_flops : float, optional
        Loss from which an improvement is measured, or compute whose loss it is; for ``per_nat`` one of them.
    fixed_cost : float or Prior
        [currency]
    pue : float or Prior
        Power usage effectiveness; at least 1: draws below count as 1.
    grid_intensity : float or Prior
        [kg CO2e/kWh]
    risk : {"expected", "cvar"}
        What must be above zero: the mean utility, or the mean of its worst outcomes.
    level : float
        Share of worst outcomes that ``cvar`` averages; in (0, 1).
    confidence : float
        How probable it must be that the run pays, or that it does not, for a decision; in (0, 1).
    path, family : str, optional
    at : mapping, optional
        Values of the law's inputs besides params and tokens, or distributions of them.
    currency, name : str

    Raises
    ------
    ValueError
        If a field is not of its type or out of its range, the risk measure is not known, or it does not say what an
        improvement is worth.

    Examples
    --------
    >>> Scenario(flops=1e24, price=2.5, peak=989.4e12, watts=700, utilisation=0.4, per_nat=1e8, baseline_loss=2.0).risk
    'expected'
    """

    flops: float
    price: Uncertain
    peak: float
    watts: float
    utilisation: Uncertain
    per_nat: Uncertain | None = None
    step: Step | None = None
    baseline_loss: float | None = None
    baseline_flops: float | None = None
    fixed_cost: Uncertain = 0.0
    pue: Uncertain = 1.0
    grid_intensity: Uncertain = 0.0
    risk: Literal["expected", "cvar"] = "expected"
    level: float = 0.1
    confidence: float = 0.8
    path: str | None = None
    at: Mapping[str, Uncertain] | None = None
    family: str | None = None
    currency: str = "USD"
    name: str = "scenario"

    def __post_init__(self) -> None:
        _check(vars(self), lambda name, message: ValueError(f"scenario: {name}: {message}"))

    @classmethod
    def load(cls, source: "str | Path | Scenario") -> "Scenario":
        """Read a scenario from a file, or hand back one already read.

        Parameters
        ----------
        source : str, Path or Scenario
            Path of a TOML file.

        Raises
        ------
        ValueError
            With the key at fault, what was expected and the nearest spelling.
        FileNotFoundError
            If there is no such file.
        """
        if isinstance(source, Scenario):
            return source
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such scenario; `bayescale budget --example` prints one to start from"
            )
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not valid TOML: {error}") from error
        return cls.from_toml(text, where=str(path))

    @classmethod
    def from_toml(cls, text: str, *, where: str = "scenario") -> "Scenario":
        """Read a scenario from the text of its file.

        Raises
        ------
        ValueError
            With the key at fault, what was expected and the nearest spelling.

        Examples
        --------
        >>> Scenario.from_toml(EXAMPLE).peak
        989400000000000.0
        """
        # Editors on Windows may start a file with a byte-order mark, which TOML does not know.
        text = text.removeprefix("\ufeff")
        try:
            table = tomllib.loads(text)
        except ValueError as error:
            raise ValueError(f"{where}: not valid TOML: {error}") from error
        return _ScenarioReader(where).scenario(table)


def _check(given: Mapping[str, Any], fail: Callable[[str, str], ValueError]) -> None:
    """Check the fields of a scenario.

    Parameters
    ----------
    given : mapping
        Fields by name; those that are left out have their default.
    fail : callable
        ``fail(name, message)``: the error to raise about a field.
    """
    share, pue = given["utilisation"], given.get("pue", 1.0)
    if not (
        _support(share) == "unit"
        if isinstance(share, Prior)
        else is_number(share) and 0 < share <= 1
    ):
        raise fail("utilisation", f"expected a share in (0, 1], got {_words(share)}")
    if not (_support(pue) == "positive" if isinstance(pue, Prior) else is_number(pue) and pue >= 1):
        raise fail("pue", f"expected 1 or more, got {_words(pue)}: all energy comes in")
    _check_amounts(given, fail)
    for name in ("currency", "name"):
        text = given.get(name, name)
        if not isinstance(text, str) or not text.strip():
            raise fail(name, f"expected text, got {text!r}")
    if not isinstance(given.get("family"), str | Mapping | None):
        raise fail("family", f"expected the name of a family, got {given['family']!r}")
    per_nat, step, *baseline = (
        given.get(name) for name in ("per_nat", "step", "baseline_flops", "baseline_loss")
    )
    if (per_nat is None) == (step is None):
        raise fail(
            "per_nat",
            "say what an improvement is worth: give either per_nat or step (loss, worth)",
        )
    stated = [each is not None for each in baseline]
    if step is not None and any(stated):
        which = "baseline_flops" if stated[0] else "baseline_loss"
        raise fail(which, f"{which} goes with per_nat; a step needs none")
    if per_nat is not None and sum(stated) != 1:
        raise fail(
            "baseline_loss",
            "improvement over what? Give either baseline_flops or baseline_loss: that of the model that you have",
        )
    risk = given.get("risk", "expected")
    if risk not in ("expected", "cvar"):
        meant = hint(str(risk).lower(), ("expected", "cvar"))
        raise fail("risk", f"got {risk!r}; {meant}Expected 'expected' or 'cvar'")
    for name in ("level", "confidence"):
        value = given.get(name, 0.5)
        if not (is_number(value) and 0 < value < 1):
            raise fail(name, f"expected a number in (0, 1), got {value!r}")


#: Fields that are an amount: whether it may be uncertain, and whether it may be zero.
_AMOUNTS = {
    "flops": (False, False),
    "peak": (False, False),
    "watts": (False, False),
    "baseline_flops": (False, False),
    "baseline_loss": (False, False),
    "price": (True, False),
    "per_nat": (True, False),
    "fixed_cost": (True, True),
    "grid_intensity": (True, True),
}


def _check_amounts(given: Mapping[str, Any], fail: Callable[[str, str], ValueError]) -> None:
    """Check that every amount of a scenario is one; arguments as for :func:`_check`."""
    amounts = [(name, given[name], *how) for name, how in _AMOUNTS.items() if name in given]
    step, held = given.get("step"), given.get("at")
    if step is not None:
        if not isinstance(step, Step):
            raise fail("step", f"expected Step(loss, worth), got {step!r}")
        amounts += [("step.loss", step.loss, False, False), ("step.worth", step.worth, True, False)]
    if held is not None:
        if not isinstance(held, Mapping):
            raise fail("at", f"expected a mapping such as {{'weight_bits': 8}}, got {held!r}")
        amounts += [(f"at.{name}", value, True, False) for name, value in held.items()]
    for name, value, uncertain, zero in amounts:
        if value is None and name in ("per_nat", "baseline_flops", "baseline_loss"):
            continue
        if isinstance(value, Prior):
            right = uncertain and _support(value) in ("positive", "unit")
        else:
            right = is_number(value) and (value > 0 or (zero and value == 0))
        if not right:
            what = f"a number {'of zero or more' if zero else 'above zero'}"
            also = ", or a distribution on positive values" if uncertain else ""
            raise fail(name, f"expected {what}{also}; got {_words(value)}")


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _support(prior: Prior) -> str:
    return prior.support if prior.dist in DISTRIBUTIONS else "unknown"


def _words(value: Any) -> str:
    if isinstance(value, Prior):
        return f"{value.dist} on {_support(value)} values"
    return f"{value:g}" if is_number(value) else repr(value)


def held_inputs(plan: Scenario, size: int, random_seed: int) -> dict[str, np.ndarray]:
    """Values at which a scenario holds inputs of the law, uncertain ones as draws.

    Parameters
    ----------
    plan : Scenario
    size : int
        Draws of each.
    random_seed : int
    """
    return {
        name: draw(
            value, size if isinstance(value, Prior) else 1, stream(random_seed, "held", name)
        )
        for name, value in (plan.at or {}).items()
    }


def draw(value: Uncertain, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of an uncertain input; equal ones of a number.

    Parameters
    ----------
    value : float or Prior
    size : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Axis (sample,).

    Examples
    --------
    >>> price = draw(Prior("LogNormal", {"median": 2.5, "sigma": 0.2}), 4001, np.random.default_rng(1))
    >>> round(float(np.median(price)), 1)
    2.5
    """
    if not isinstance(value, Prior):
        return np.full(size, float(value))
    k = dict(value.kwargs)
    match value.dist:
        case "Normal":
            return rng.normal(k["mu"], k["sigma"], size)
        case "LogNormal":
            return rng.lognormal(k["mu"] if "mu" in k else math.log(k["median"]), k["sigma"], size)
        case "HalfNormal":
            return np.abs(rng.normal(0.0, k["sigma"], size))
        case "Uniform":
            return rng.uniform(k["lower"], k["upper"], size)
        case "Exponential":
            return rng.exponential(1 / k["lam"], size)
        case "Gamma":
            return rng.gamma(k["alpha"], 1 / k["beta"], size)
        case "InverseGamma":
            return 1 / rng.gamma(k["alpha"], 1 / k["beta"], size)
        case "Beta":
            return rng.beta(k["alpha"], k["beta"], size)
        case "StudentT":
            return k["mu"] + k["sigma"] * rng.standard_t(k["nu"], size)
        case "HalfStudentT":
            return np.abs(k["sigma"] * rng.standard_t(k["nu"], size))
        case "TruncatedNormal":
            from scipy.special import ndtr, ndtri

            low, high = (
                ndtr((k.get(end, infinite) - k["mu"]) / k["sigma"])
                for end, infinite in (("lower", -math.inf), ("upper", math.inf))
            )
            return k["mu"] + k["sigma"] * ndtri(rng.uniform(low, high, size))
    raise ValueError(f"{value.dist} is no distribution of one number")


_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (("flops", "path", "family", "at"), ("flops",)),
    "hardware": (
        (
            "accelerator",
            "precision",
            "peak_flops",
            "power",
            "utilisation",
            "price",
            "fixed_cost",
        ),
        ("utilisation", "price"),
    ),
    "site": (("pue", "grid_intensity"), ()),
    "value": (("baseline_flops", "baseline_loss", "per_nat", "step"), ()),
    "decision": (("risk", "level", "confidence"), ()),
}


#: Where the fields that are checked stand in a file.
_PLACES = {
    "utilisation": "hardware.utilisation",
    "pue": "site.pue",
    "per_nat": "value",
    "baseline_flops": "value",
    "baseline_loss": "value",
    "risk": "decision.risk",
    "level": "decision.level",
    "confidence": "decision.confidence",
}


class _ScenarioReader(Reader):
    """Reads one scenario, checking every key; each error starts with the file and the key."""

    def scenario(self, table: Mapping[str, Any]) -> Scenario:
        self.check_keys(
            "",
            table,
            ("format", "name", "currency", *_KEYS),
            ("format", "run", "hardware", "value"),
        )
        if table["format"] != FORMAT or isinstance(table["format"], bool):
            raise self.fail(
                "format", f"expected the whole number {FORMAT}, got {table['format']!r}"
            )
        parts: dict[str, Any] = {name: table.get(name, {}) for name in _KEYS}
        for name, (allowed, required) in _KEYS.items():
            self.check_keys(name, parts[name], allowed, required)
        run, hardware, site = parts["run"], parts["hardware"], parts["site"]
        peak, watts = self.accelerator(hardware)
        given: dict[str, Any] = {
            "utilisation": self.uncertain("hardware.utilisation", hardware["utilisation"], "unit"),
            "price": self.uncertain("hardware.price", hardware["price"]),
        }
        for key, (where, entry) in {
            "fixed_cost": ("hardware.fixed_cost", hardware.get("fixed_cost")),
            "pue": ("site.pue", site.get("pue")),
            "grid_intensity": ("site.grid_intensity", site.get("grid_intensity")),
        }.items():
            if entry is not None:
                given[key] = self.uncertain(where, entry, zero=key != "pue")
        if "path" in run:
            path = self.string("run.path", run["path"], "a path such as 'fixed-ratio=20'")
            try:
                parse_path(path)
            except ValueError as error:
                raise self.fail("run.path", str(error)) from error
            given["path"] = path
        if "at" in run:
            if not isinstance(run["at"], Mapping):
                raise self.fail(
                    "run.at", f"expected a table such as {{ weight_bits = 8 }}, got {run['at']!r}"
                )
            given["at"] = {
                name: self.uncertain(f"run.at.{name}", value) for name, value in run["at"].items()
            }
        if "family" in run:
            given["family"] = self.string("run.family", run["family"], "the name of a family")
        for key in ("name", "currency"):
            if key in table:
                given[key] = self.string(key, table[key], "text")
        given |= {"flops": self.size("run.flops", run["flops"]), "peak": peak, "watts": watts}
        given |= self.value(parts["value"]) | self.decision(parts["decision"])
        _check(given, lambda name, message: self.fail(_PLACES.get(name, name), message))
        return Scenario(**given)

    def accelerator(self, table: Mapping[str, Any]) -> tuple[float, float]:
        """Peak dense FLOP/s and power."""
        peak = (
            self.size("hardware.peak_flops", table["peak_flops"]) if "peak_flops" in table else None
        )
        watts = self.number("hardware.power", table["power"]) if "power" in table else None
        if "accelerator" not in table:
            if peak is None or watts is None:
                raise self.fail(
                    "hardware", "give accelerator, or both peak_flops (dense, FLOP/s) and power (W)"
                )
            return peak, watts
        try:
            known = find_accelerator(
                self.string("hardware.accelerator", table["accelerator"], "the name of one")
            )
        except ValueError as error:
            raise self.fail("hardware.accelerator", str(error)) from error
        precision = self.string(
            "hardware.precision", table.get("precision", next(iter(known.peak))), "the name of one"
        )
        if precision not in known.peak:
            raise self.fail(
                "hardware.precision",
                f"expected one of {', '.join(known.peak)} for {known.name}, got {precision!r}",
            )
        if peak is not None:
            try:
                check_dense(known, precision, peak)
            except ValueError as error:
                raise self.fail("hardware", str(error)) from error
        return peak or known.peak[precision], watts or known.watts

    def value(self, table: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "step" in table:
            self.check_keys("value.step", table["step"], ("loss", "worth"), ("loss", "worth"))
            step = table["step"]
            worth = self.uncertain("value.step.worth", step["worth"])
            found["step"] = Step(self.number("value.step.loss", step["loss"]), worth)
        if "per_nat" in table:
            found["per_nat"] = self.uncertain("value.per_nat", table["per_nat"])
        for key, read in (("baseline_flops", self.size), ("baseline_loss", self.number)):
            if key in table:
                found[key] = read(f"value.{key}", table[key])
        return found

    def decision(self, table: Mapping[str, Any]) -> dict[str, Any]:
        found = {"risk": table["risk"]} if "risk" in table else {}
        for key in ("level", "confidence"):
            if key in table:
                found[key] = self.number(f"decision.{key}", table[key])
        return found

    def uncertain(
        self, key: str, entry: Any, support: str = "positive", *, zero: bool = False
    ) -> Uncertain:
        """A number or a distribution, on positive values or on shares."""
        if isinstance(entry, Mapping):
            prior = self.prior(key, entry, support)
            if prior.dist == "Dirichlet":
                raise self.fail(f"{key}.dist", "Dirichlet is no distribution of one number")
            return prior
        return self.number(key, entry, zero=zero)

    def number(self, key: str, entry: Any, *, zero: bool = False) -> float:
        if not is_number(entry) or not (entry > 0 or (zero and entry == 0)):
            what = "of zero or more" if zero else "above zero"
            raise self.fail(key, f"expected a number {what} (or a distribution), got {entry!r}")
        return float(entry)

    def size(self, key: str, entry: Any) -> float:
        try:
            return parse_size(str(entry))
        except ValueError as error:
            raise self.fail(key, str(error)) from error
