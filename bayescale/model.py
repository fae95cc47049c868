"""A model: the statistical choices around a law, in a file that a reader can review in a diff.

The format is documented in ``models/README.md``. Nothing here samples; ``bayescale.inference``
builds the graph.
"""

import difflib
import math
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tomli_w

from bayescale import laws, links
from bayescale.laws import Law
from bayescale.links import Link

FORMAT = 1

#: Distributions of the model files: what each keyword argument must be, and the support.
_NUMBER, _POSITIVE, _POSITIVES = "a number", "a number above zero", "a list of numbers above zero"
DISTRIBUTIONS: dict[str, tuple[dict[str, str], str]] = {
    "Normal": ({"mu": _NUMBER, "sigma": _POSITIVE}, "real"),
    "StudentT": ({"nu": _POSITIVE, "mu": _NUMBER, "sigma": _POSITIVE}, "real"),
    "Uniform": ({"lower": _NUMBER, "upper": _NUMBER}, "real"),
    "TruncatedNormal": (
        {"mu": _NUMBER, "sigma": _POSITIVE, "lower": _NUMBER, "upper": _NUMBER},
        "real",
    ),
    "LogNormal": ({"mu": _NUMBER, "median": _POSITIVE, "sigma": _POSITIVE}, "positive"),
    "HalfNormal": ({"sigma": _POSITIVE}, "positive"),
    "HalfStudentT": ({"nu": _POSITIVE, "sigma": _POSITIVE}, "positive"),
    "Exponential": ({"lam": _POSITIVE}, "positive"),
    "Gamma": ({"alpha": _POSITIVE, "beta": _POSITIVE}, "positive"),
    "InverseGamma": ({"alpha": _POSITIVE, "beta": _POSITIVE}, "positive"),
    "Beta": ({"alpha": _POSITIVE, "beta": _POSITIVE}, "unit"),
    "Dirichlet": ({"a": _POSITIVES}, "simplex"),
}
#: Arguments that may be left out; of LogNormal's location exactly one form is given.
_OPTIONAL = {"TruncatedNormal": {"lower", "upper"}, "LogNormal": {"mu", "median"}}


@dataclass(frozen=True)
class Prior:
    """A distribution by name, with its arguments.

    Parameters
    ----------
    dist : str
        A key of :data:`DISTRIBUTIONS`.
    kwargs : mapping
        Its arguments. ``LogNormal`` takes ``median`` in place of ``mu``; for the level of the loss
        the median may be ``"runs"``: the geometric mean loss of the frontier, the runs of the top
        decade of compute.

    Examples
    --------
    >>> Prior("LogNormal", {"median": 0.33, "sigma": 0.4}).support
    'positive'
    """

    dist: str
    kwargs: Mapping[str, Any]

    @property
    def support(self) -> str:
        """Where the distribution puts its mass: real, positive, unit or simplex."""
        lower, upper = self.kwargs.get("lower", -math.inf), self.kwargs.get("upper", math.inf)
        if self.dist in ("Uniform", "TruncatedNormal") and lower >= 0:
            return "unit" if upper <= 1 else "positive"
        return DISTRIBUTIONS[self.dist][1]

    def as_dict(self) -> dict[str, Any]:
        """Return the prior as it stands in a model file."""
        return {"dist": self.dist, "kwargs": dict(self.kwargs)}


@dataclass(frozen=True)
class Pool:
    """Partial pooling of one parameter over the groups of a column.

    Parameters
    ----------
    over : str
        Column of the run table that names the group.
    sd : Prior
        Spread between groups: of the log for a positive parameter, of the value for a real one.
    centered : bool
        Sample the group's value itself rather than its standardised offset.
    """

    over: str
    sd: Prior
    centered: bool = False


@dataclass(frozen=True)
class Noise:
    """How a run's log loss scatters about the law.

    Parameters
    ----------
    dist : {"Normal", "StudentT", "ExGaussian"}
    sigma : Prior
        Scale of log loss, that is the relative error of a loss, at the reference scale.
    nu : Prior, float or None
        Degrees of freedom of Student's t; a number fixes them.
    slope : Prior or None
        Change of ``log10(sigma)`` per decade of compute (or of the one input).
    known : str or None
        Column with a known standard deviation of each loss [unit of loss], added in quadrature
        where given.
    excess : Prior or None
        Of ``excess``, with ExGaussian noise: by how much a run lies above the law on average, as a share of its loss,
        for want of tuning. The law is then what well-tuned runs reach.
    """

    dist: Literal["Normal", "StudentT", "ExGaussian"]
    sigma: Prior
    nu: Prior | float | None = None
    slope: Prior | None = None
    known: str | None = None
    excess: Prior | None = None


@dataclass(frozen=True)
class Breaks:
    """Sudden changes of the law's slope, seen or not yet seen.

    Parameters
    ----------
    rate : Prior
        Of ``break_rate``: how many there are in a decade of compute.
    change : Prior
        Of ``break_change``: by which share of itself the elasticity changes at one (one standard deviation).
    """

    rate: Prior
    change: Prior


@dataclass(frozen=True)
class Discrepancy:
    """How far the law may be wrong away from the frontier of the runs: see :mod:`bayescale.drift`.

    Parameters
    ----------
    rate : Prior
        Of ``drift_rate``: by which share of itself the elasticity may change per decade (one
        standard deviation).
    breaks : Breaks or None
        Changes that come all at once, beside the gradual ones.
    """

    rate: Prior
    breaks: Breaks | None = None


#: How scores scatter about the link, and whether that needs the number of trials of each.
SCORES = {"LogitNormal": False, "Beta": False, "BetaBinomial": True, "Binomial": True}


@dataclass(frozen=True)
class Tasks:
    """Scores of tasks, each linked to the loss of its run.

    Parameters
    ----------
    columns : tuple of str
        Columns with scores between 0 and 1; a name that ends in ``*`` stands for all that begin so.
    link : str
        Name of a link, the same for all tasks.
    dist : {"LogitNormal", "Beta", "BetaBinomial", "Binomial"}
        How a score scatters about the link.
    priors : mapping of Prior
        Of the typical task, by name of the link's parameter.
    sds : mapping of Prior
        Spread between tasks: of the log for a positive parameter, of the value for a real one.
    floor, ceiling : float, mapping of float, or Prior
        Score of a model that knows nothing, and of one that lacks nothing: known for all tasks or for each, or
        estimated. The ceiling's prior is on its share of the way from the floor to 1.
    scatter : Prior or None
        Scale of the scatter: the standard deviation of the logit of a score, or the trials that a score is worth.
    trials : int, str, mapping of int, or None
        Trials behind each score: a number, by task, or the column that holds it.
    """

    columns: tuple[str, ...]
    link: str
    dist: Literal["LogitNormal", "Beta", "BetaBinomial", "Binomial"]
    priors: Mapping[str, Prior]
    sds: Mapping[str, Prior]
    floor: float | Mapping[str, float] | Prior
    ceiling: float | Mapping[str, float] | Prior
    scatter: Prior | None = None
    trials: int | str | Mapping[str, int] | None = None

    @property
    def link_object(self) -> Link:
        """The link itself."""
        return links.get(self.link)

    def names(self, columns: Iterable[str]) -> list[str]:
        """Columns of a table that hold scores.

        Examples
        --------
        >>> Model.load("tasks").tasks.names(["loss", "acc_piqa", "acc_lambada"])
        ['acc_piqa', 'acc_lambada']
        """
        present = list(columns)
        found = [
            name
            for wanted in self.columns
            for name in (
                [each for each in present if each.startswith(wanted[:-1])]
                if wanted.endswith("*")
                else [wanted]
            )
        ]
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Model:
    """A law with its priors, pooling and noise.

    Parameters
    ----------
    name, title : str
    law : str
        Registry name of the law.
    inputs : mapping
        For each input of the law the column that fills it.
    priors : mapping of Prior
        Either ``level`` and ``shares`` (the loss at the reference scale and how it divides into the
        law's terms) or one prior a term; and one for every other parameter.
    pool : mapping of Pool
        Pooled parameters.
    noise : Noise
    discrepancy : Discrepancy or None
        Drift of the law's slope; None trusts the law exactly.
    tasks : Tasks or None
        Scores that follow from the loss.
    cite : str
        Where the priors come from.
    text : str
        The model file, word for word.

    Examples
    --------
    >>> model = Model.load("chinchilla")
    >>> model.law, model.noise.dist
    ('chinchilla', 'StudentT')
    """

    name: str
    title: str
    law: str
    inputs: Mapping[str, str]
    priors: Mapping[str, Prior]
    noise: Noise
    pool: Mapping[str, Pool] = field(default_factory=dict)
    discrepancy: Discrepancy | None = None
    tasks: Tasks | None = None
    cite: str = ""
    text: str = ""

    @property
    def shared_level(self) -> bool:
        """Whether the terms are stated as a level and its shares."""
        return "level" in self.priors

    @property
    def law_object(self) -> Law:
        """The law itself."""
        return laws.get(self.law)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that a run table must have besides ``loss``, inputs first."""
        wanted = [*self.inputs.values(), *(pool.over for pool in self.pool.values())]
        return tuple(dict.fromkeys(wanted + ([self.noise.known] if self.noise.known else [])))

    @classmethod
    def load(cls, source: "str | Path | Model") -> "Model":
        """Load a model by its name, from a file, or hand back one already loaded.

        Parameters
        ----------
        source : str, Path or Model
            Name of a shipped model, or a path that ends in ``.toml``.

        Raises
        ------
        ValueError
            If the name is unknown or the file breaks the format; the message says where and what
            to do.
        FileNotFoundError
            If there is no such file.
        """
        if isinstance(source, Model):
            return source
        path = Path(source)
        if path.suffix == ".toml":
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path}: no such model file; shipped models: {', '.join(shipped())}"
                )
            return cls.from_toml(_text_of(path), where=str(path))
        if str(source) not in shipped():
            raise ValueError(
                f"unknown model {str(source)!r}: {hint(str(source), shipped())}"
                f"shipped models are {', '.join(shipped())}; a file of your own ends in .toml"
            )
        path = models_dir() / f"{source}.toml"
        return cls.from_toml(_text_of(path), where=str(source))

    @classmethod
    def from_toml(cls, text: str, *, where: str = "model") -> "Model":
        """Read a model from the text of its file.

        Parameters
        ----------
        text : str
            TOML, as ``models/README.md`` describes it.
        where : str
            Name of the file, for messages.

        Raises
        ------
        ValueError
            With the key at fault, what was expected and the nearest spelling.
        """
        try:
            table = tomllib.loads(text)
        except ValueError as error:
            raise ValueError(f"{where}: not valid TOML: {error}") from error
        return _ModelReader(where).model(table, text)

    def changed(self, where: str = "", **tables: Any) -> "Model":
        """Return the model with some tables of its file replaced.

        Parameters
        ----------
        where : str
            What asks for the change, for messages.
        **tables
            Top-level keys of the file; a mapping is merged into the table that is there, anything else replaces it.

        Returns
        -------
        Model
            Its ``text`` is the changed file, without comments.

        Examples
        --------
        >>> Model.load("chinchilla").changed(noise={"nu": 4.0}, discrepancy="drift").discrepancy is None
        False
        """
        table = tomllib.loads(self.text)
        for key, value in tables.items():
            both = isinstance(value, Mapping) and isinstance(table.get(key), Mapping)
            table[key] = {**table[key], **value} if both else value
        return type(self).from_toml(tomli_w.dumps(table), where=where or self.name)

    def with_discrepancy(self, kind: Literal["drift", "none"]) -> "Model":
        """Return the model with its law drifting, or trusted exactly.

        Examples
        --------
        >>> Model.load("skaling-drift").with_discrepancy("none").discrepancy is None
        True
        """
        if kind not in ("drift", "none"):
            raise ValueError(f"discrepancy = {kind!r}: expected 'drift' or 'none'")
        if (kind == "drift") == (self.discrepancy is not None):
            return self
        # With the drift integrated out, the noise's tails are fixed.
        if kind == "drift" and self.noise.dist == "StudentT":
            return self.changed(discrepancy=kind, noise={"nu": 4.0})
        return self.changed(discrepancy=kind)


@cache
def models_dir() -> Path:
    """Folder of the shipped model files: in the wheel, or at the top of a checkout."""
    inside = Path(__file__).parent / "models"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "models"


def shipped() -> list[str]:
    """Names of the shipped models.

    Examples
    --------
    >>> "chinchilla-families" in shipped()
    True
    """
    return sorted(path.stem for path in models_dir().glob("*.toml"))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from error


def hint(given: str, known: Iterable[str]) -> str:
    """What was probably meant by a name, as the start of a sentence; empty if nothing comes near."""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


class Reader:
    """Checks a TOML file that states distributions, key by key; each error starts with the file and the key.

    Parameters
    ----------
    where : str
        Name of the file, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, key: str, message: str) -> ValueError:
        """The error to raise about a key."""
        return ValueError(f"{self.where}: {key}: {message}" if key else f"{self.where}: {message}")

    def check_keys(
        self, key: str, table: Any, allowed: Iterable[str], required: Iterable[str] = ()
    ) -> None:
        """Raise ValueError unless it is a table with known keys and all that must be there."""
        allowed = list(allowed)
        if not isinstance(table, Mapping):
            raise self.fail(key, f"expected a table with keys {', '.join(allowed)}; got {table!r}")
        for name in table:
            if name not in allowed:
                meant = hint(name, allowed)
                raise self.fail(
                    key, f"unknown key {name!r}; {meant}The keys here are {', '.join(allowed)}"
                )
        for name in required:
            if name not in table:
                raise self.fail(key, f"missing key {name!r}; it must be given")

    def string(self, key: str, value: Any, what: str) -> str:
        """The value, if it is text."""
        if not isinstance(value, str) or not value.strip():
            raise self.fail(key, f"expected {what}, got {value!r}")
        return value

    def prior(self, key: str, table: Any, support: str) -> Prior:
        """A distribution by name with its arguments, on values that make sense."""
        self.check_keys(key, table, ("dist", "kwargs"), required=("dist",))
        dist, kwargs = table["dist"], table.get("kwargs", {})
        known = ", ".join(DISTRIBUTIONS)
        self.string(f"{key}.dist", dist, f"one of {known}")
        if dist not in DISTRIBUTIONS:
            meant = hint(dist, DISTRIBUTIONS)
            raise self.fail(f"{key}.dist", f"unknown distribution {dist!r}; {meant}Known: {known}")
        wanted, _ = DISTRIBUTIONS[dist]
        optional = _OPTIONAL.get(dist, set())
        self.check_keys(
            f"{key}.kwargs", kwargs, wanted, required=[w for w in wanted if w not in optional]
        )
        if dist == "LogNormal" and ("mu" in kwargs) == ("median" in kwargs):
            raise self.fail(
                f"{key}.kwargs", "LogNormal takes either 'median' or 'mu' (the log of the median)"
            )
        for name, value in kwargs.items():
            if key == "priors.level" and name == "median" and value == "runs":
                continue
            if not _fits(value, wanted[name]):
                raise self.fail(f"{key}.kwargs.{name}", f"expected {wanted[name]}, got {value!r}")
        if kwargs.get("lower", -math.inf) >= kwargs.get("upper", math.inf):
            raise self.fail(f"{key}.kwargs", "'lower' must be below 'upper'")
        prior = Prior(dist, dict(kwargs))
        allows = {"real": ("real", "positive", "unit"), "positive": ("positive", "unit")}
        if prior.support not in allows.get(support, (support,)):
            raise self.fail(
                f"{key}.dist",
                f"{dist} puts mass on {prior.support} values; this parameter is {support}",
            )
        return prior


class _ModelReader(Reader):
    """Reads one model file."""

    def model(self, table: dict[str, Any], text: str) -> Model:
        if "format" not in table:
            raise self.fail("", f"missing key 'format'; put 'format = {FORMAT}' on the first line")
        version = table["format"]
        # True is an int in Python.
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise self.fail("format", f"expected the whole number {FORMAT}, got {version!r}")
        if version > FORMAT:
            raise self.fail(
                "format",
                f"{version} is newer than this bayescale reads ({FORMAT}); upgrade bayescale",
            )
        allowed = (
            "format",
            "name",
            "title",
            "law",
            "inputs",
            "cite",
            "priors",
            "pool",
            "noise",
            "discrepancy",
            "tasks",
        )
        self.check_keys("", table, allowed, required=("law",))
        wanted = self.string("law", table["law"], "the name of a law")
        try:
            law = laws.get(wanted)
        except ValueError as error:
            raise self.fail("law", str(error)) from error
        title = self.string("title", table.get("title", law.title), "a line of text")
        cite = "" if "cite" not in table else self.string("cite", table["cite"], "text")
        inputs = self.inputs(law, table.get("inputs", {}))
        priors = self.priors(law, table.get("priors", {}))
        discrepancy = self.discrepancy(table.get("discrepancy", "none"), len(law.inputs))
        return Model(
            name=self.string("name", table.get("name", Path(self.where).stem), "a name"),
            title=title,
            law=law.name,
            inputs=inputs,
            priors=priors,
            noise=self.noise(table.get("noise", {}), drifts=discrepancy is not None),
            pool=self.pools(priors, table.get("pool", {})),
            discrepancy=discrepancy,
            tasks=None if "tasks" not in table else self.tasks(table["tasks"]),
            cite=cite,
            text=text,
        )

    def tasks(self, table: Any) -> Tasks:
        keys = ("columns", "link", "dist", "priors", "sd", "floor", "ceiling", "scatter", "trials")
        self.check_keys("tasks", table, keys, required=("columns",))
        columns = table["columns"]
        columns = [columns] if isinstance(columns, str) else columns
        if not isinstance(columns, list) or not columns:
            raise self.fail("tasks.columns", f"expected names of columns, got {columns!r}")
        for name in columns:
            self.string("tasks.columns", name, "the name of a column, such as 'acc_piqa'")
        dist = table.get("dist", "LogitNormal")
        if dist not in SCORES:
            raise self.fail("tasks.dist", f"expected one of {', '.join(SCORES)}; got {dist!r}")
        if SCORES[dist] != ("trials" in table):
            need = "needs" if SCORES[dist] else "takes no"
            raise self.fail(
                "tasks.trials",
                f"{dist} {need} number of trials; Binomial and BetaBinomial count them",
            )
        name = self.string("tasks.link", table.get("link", "sigmoid"), "the name of a link")
        if name not in links.names():
            meant = hint(name, links.names())
            raise self.fail(
                "tasks.link",
                f"unknown link {name!r}; {meant}The links are {', '.join(links.names())}",
            )
        params = links.get(name).params
        given, sds = table.get("priors", {}), table.get("sd", {})
        self.check_keys("tasks.priors", given, [each.name for each in params])
        self.check_keys("tasks.sd", sds, [each.name for each in params])
        between = {"dist": "HalfNormal", "kwargs": {"sigma": 0.3}}
        # A standard deviation of 3 to 30 points of logit; or as many trials as 5 to 0.5 points are worth.
        median, sigma = (0.1, 0.8) if dist == "LogitNormal" else (300.0, 1.5)
        around = {"dist": "LogNormal", "kwargs": {"median": median, "sigma": sigma}}
        if dist == "Binomial" and "scatter" in table:
            raise self.fail("tasks.scatter", "a Binomial scatters by its trials alone; drop it")
        return Tasks(
            columns=tuple(columns),
            link=name,
            dist=dist,
            priors={
                each.name: self.prior(
                    f"tasks.priors.{each.name}", given.get(each.name, each.prior), each.support
                )
                for each in params
            },
            sds={
                each.name: self.prior(
                    f"tasks.sd.{each.name}", sds.get(each.name, between), "positive"
                )
                for each in params
            },
            # Chance on four choices is .25, on generated answers 0; scores may lie below the chance of a guess.
            floor=self.bound("tasks.floor", table, {"alpha": 1.5, "beta": 6.0}),
            # What no model gets right: faulty questions are a few per cent of most tasks.
            ceiling=self.bound("tasks.ceiling", table, {"alpha": 9.0, "beta": 1.5}),
            scatter=None
            if dist == "Binomial"
            else self.prior("tasks.scatter", table.get("scatter", around), "positive"),
            trials=self.trials(table.get("trials")),
        )

    def bound(
        self, key: str, table: Mapping[str, Any], default: dict[str, float]
    ) -> float | Mapping[str, float] | Prior:
        value = table.get(key.removeprefix("tasks."), {"dist": "Beta", "kwargs": default})
        if isinstance(value, Mapping) and "dist" in value:
            return self.prior(key, value, "unit")
        for each in value.values() if isinstance(value, Mapping) else [value]:
            if not _fits(each, _NUMBER) or not 0 <= each <= 1:
                raise self.fail(
                    key,
                    f"expected a score between 0 and 1, one for each task, or a prior; got {value!r}",
                )
        if isinstance(value, Mapping):
            return {name: float(each) for name, each in value.items()}
        return float(value)

    def trials(self, value: Any) -> int | str | Mapping[str, int] | None:
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        for each in value.values() if isinstance(value, Mapping) else [value]:
            if not isinstance(each, int) or isinstance(each, bool) or each < 1:
                raise self.fail(
                    "tasks.trials",
                    f"expected a whole number, one for each task, or the name of a column; got {value!r}",
                )
        return value

    def inputs(self, law: Law, table: Mapping[str, Any]) -> dict[str, str]:
        self.check_keys("inputs", table, law.input_names)
        # "scale" is whatever the runs vary; most often that is compute.
        columns = {name: "flops" if name == "scale" else name for name in law.input_names}
        return {
            name: self.string(f"inputs.{name}", table.get(name, column), "the name of a column")
            for name, column in columns.items()
        }

    def priors(self, law: Law, table: Mapping[str, Any]) -> dict[str, Prior]:
        if not isinstance(table, Mapping):
            raise self.fail("priors", f"expected a table with one entry a parameter; got {table!r}")
        others = [each for each in law.params if each.name not in law.terms]
        by_term = [name for name in law.terms if name in table]
        by_level = [name for name in ("level", "shares") if name in table]
        if by_term and by_level:
            raise self.fail(
                "priors",
                f"{', '.join(by_level)} and {', '.join(by_term)} state the same thing twice; give "
                "either level and shares (the loss at the reference scale and how it divides) or "
                f"{', '.join(law.terms)}",
            )
        stated = list(law.terms) if by_term else ["level", "shares"][: len(law.terms)]
        names = [*stated, *(each.name for each in others)]
        self.check_keys("priors", table, [*names, *(() if by_term or by_level else law.terms)])
        if by_term:
            self.check_keys("priors", table, names, required=law.terms)
        defaults = {each.name: each.prior for each in others}
        defaults |= {
            "level": {"dist": "LogNormal", "kwargs": {"median": "runs", "sigma": 0.3}},
            # Most of a loss at trainable scales is irreducible: by published fits .5 to .6 of it
            # at 1e8 parameters and twenty tokens for each, .8 to .9 at 1e10.
            "shares": {"dist": "Dirichlet", "kwargs": {"a": [4.0, *[1.5] * (len(law.terms) - 1)]}},
        }
        supports = {each.name: each.support for each in law.params} | {
            "level": "positive",
            "shares": "simplex",
        }
        found = {}
        for name in names:
            entry = table.get(name, defaults.get(name))
            if entry is None:
                raise self.fail(
                    f"priors.{name}", f"law {law.name!r} has no default for it; give one"
                )
            prior = self.prior(f"priors.{name}", entry, supports[name])
            if name == "shares" and len(prior.kwargs["a"]) != len(law.terms):
                raise self.fail(
                    "priors.shares",
                    f"law {law.name!r} has {len(law.terms)} terms ({', '.join(law.terms)}); "
                    f"got {len(prior.kwargs['a'])} numbers in 'a'",
                )
            found[name] = prior
        return found

    def pools(self, priors: Mapping[str, Prior], table: Mapping[str, Any]) -> dict[str, Pool]:
        self.check_keys("pool", table, priors)
        default_sd = {"dist": "HalfNormal", "kwargs": {"sigma": 0.1}}
        found = {}
        for name, entry in table.items():
            entry = {"over": entry} if isinstance(entry, str) else entry
            key = f"pool.{name}"
            if priors[name].support not in ("real", "positive"):
                raise self.fail(
                    key,
                    f"its prior is on {priors[name].support} values; only parameters with a prior "
                    "on all real or all positive numbers can be pooled",
                )
            self.check_keys(key, entry, ("over", "sd", "centered"), required=("over",))
            over = self.string(f"{key}.over", entry["over"], "the name of a column")
            centered = entry.get("centered", False)
            if not isinstance(centered, bool):
                raise self.fail(f"{key}.centered", f"expected true or false, got {centered!r}")
            sd = self.prior(f"{key}.sd", entry.get("sd", default_sd), "positive")
            found[name] = Pool(over, sd, centered)
        return found

    def discrepancy(self, entry: Any, inputs: int) -> Discrepancy | None:
        if entry == "none":
            return None
        table = {} if entry == "drift" else entry
        if not isinstance(table, Mapping):
            raise self.fail(
                "discrepancy", f"expected 'drift', 'none' or a table with key rate; got {entry!r}"
            )
        self.check_keys("discrepancy", table, ("rate", "breaks"))
        # Learned on public learning curves (one input) and on sweeps (several): see benchmarks/calibration.py.
        default: dict[str, Any] = (
            {"dist": "LogNormal", "kwargs": {"median": 0.6, "sigma": 0.6}}
            if inputs == 1
            else {"dist": "Exponential", "kwargs": {"lam": 3.5}}
        )
        rate = self.prior("discrepancy.rate", table.get("rate", default), "positive")
        breaks = self.breaks(table["breaks"]) if "breaks" in table else None
        return Discrepancy(rate, breaks)

    def breaks(self, table: Any) -> Breaks:
        self.check_keys("discrepancy.breaks", table, ("rate", "change"))
        # An opinion, not learned: one in seven decades, at which the slope changes by half of itself.
        defaults = {"rate": (0.15, 0.7), "change": (0.5, 0.5)}
        priors = {
            name: self.prior(
                f"discrepancy.breaks.{name}",
                table.get(
                    name, {"dist": "LogNormal", "kwargs": {"median": median, "sigma": sigma}}
                ),
                "positive",
            )
            for name, (median, sigma) in defaults.items()
        }
        return Breaks(**priors)

    def noise(self, table: Mapping[str, Any], *, drifts: bool) -> Noise:
        self.check_keys("noise", table, ("dist", "sigma", "nu", "slope", "known", "excess"))
        dist = table.get("dist", "StudentT")
        if dist not in ("Normal", "StudentT", "ExGaussian"):
            raise self.fail("noise.dist", f"expected Normal, StudentT or ExGaussian, got {dist!r}")
        if dist != "StudentT" and "nu" in table:
            raise self.fail(
                "noise.nu",
                "degrees of freedom go with StudentT; drop 'nu' or set dist = 'StudentT'",
            )
        if dist != "ExGaussian" and "excess" in table:
            raise self.fail(
                "noise.excess", "an excess goes with ExGaussian; drop it or set dist = 'ExGaussian'"
            )
        if drifts and dist == "ExGaussian":
            raise self.fail(
                "noise.dist",
                "a model with discrepancy takes Normal or StudentT, whose drift can be integrated out; set "
                "discrepancy = 'none' for ExGaussian",
            )
        # Published sweeps scatter by .3 to 3 % about their law.
        sigma = table.get("sigma", {"dist": "LogNormal", "kwargs": {"median": 0.01, "sigma": 1.0}})
        # Gamma(2, .1), Juarez and Steel 2010: rules neither heavy tails nor near normality out.
        gamma = {"dist": "Gamma", "kwargs": {"alpha": 2.0, "beta": 0.1}}
        nu = table.get("nu", 4.0 if drifts else gamma)
        fixed = _fits(nu, _POSITIVE)
        if drifts and dist == "StudentT" and not fixed:
            raise self.fail(
                "noise.nu", f"a model with discrepancy takes a number, such as 4; got {nu!r}"
            )
        if not fixed and not isinstance(nu, Mapping):
            raise self.fail("noise.nu", f"expected a prior or a number above zero, got {nu!r}")
        known = None
        if "known" in table:
            what = "the name of a column, such as 'loss_sd'"
            known = self.string("noise.known", table["known"], what)
        degrees = float(nu) if fixed else self.prior("noise.nu", nu, "positive")
        return Noise(
            dist=dist,
            sigma=self.prior("noise.sigma", sigma, "positive"),
            nu=degrees if dist == "StudentT" else None,
            slope=self.prior("noise.slope", table["slope"], "real") if "slope" in table else None,
            known=known,
            excess=None
            if dist != "ExGaussian"
            # Runs of untuned sweeps lie about 1 % above those of tuned ones.
            else self.prior(
                "noise.excess",
                table.get(
                    "excess", {"dist": "LogNormal", "kwargs": {"median": 0.01, "sigma": 1.0}}
                ),
                "positive",
            ),
        )


def _fits(value: Any, wanted: str) -> bool:
    def number(each: Any) -> bool:
        # Not math.isfinite: TOML's whole numbers may be too large for a float.
        is_number = isinstance(each, int | float) and not isinstance(each, bool)
        return is_number and abs(each) <= sys.float_info.max

    if wanted == _POSITIVES:
        return (
            isinstance(value, list) and len(value) > 1 and all(number(v) and v > 0 for v in value)
        )
    return number(value) and (wanted == _NUMBER or value > 0)
