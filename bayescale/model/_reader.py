"""From the text of a model file to its parts: every key and value is checked, and each error names its place."""

import difflib
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bayescale import laws, links
from bayescale.laws import LOG_LOSS, RATES, TAKEN, TAKEN_BY_DRIFT, TAKEN_BY_TASKS, Law
from bayescale.model._parts import (
    DISTRIBUTIONS,
    NUMBER,
    OPTIONAL,
    POSITIVE,
    POSITIVES,
    Breaks,
    Discrepancy,
    Noise,
    Pool,
    Prior,
    Tasks,
)

#: Version of the format that is written and read here.
FORMAT = 1
#: Most trials behind a rate: a float still tells one more or less.
TRIALS = 2**53


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
        optional = OPTIONAL.get(dist, set())
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


class ModelReader(Reader):
    """Reads one model file."""

    def parts(self, table: dict[str, Any]) -> dict[str, Any]:
        """What the file states, by the names of :class:`~bayescale.model.Model`."""
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
        parts = {
            "name": self.string("name", table.get("name", Path(self.where).stem), "a name"),
            "title": title,
            "law": law.name,
            "inputs": inputs,
            "priors": priors,
            "noise": self.noise(law, table.get("noise", {}), drifts=discrepancy is not None),
            "pool": self.pools(priors, table.get("pool", {})),
            "discrepancy": discrepancy,
            "tasks": None if "tasks" not in table else self.tasks(table["tasks"]),
            "cite": cite,
        }
        self.check_uses(table.get("inputs", {}), parts)
        self.check_names(law, parts)
        return parts

    def check_uses(self, stated: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
        """Raise ValueError if a column serves as two things, or the loss as anything else."""
        taken: dict[str, tuple[str, str]] = {}
        for use, key, column in _uses(stated, parts):
            if column == "loss":
                raise self.fail(key, "'loss' is the column that the model explains; name another")
            other, where = taken.setdefault(column, (use, key))
            # Several parameters may be pooled over one column, and loss and scores count the same trials.
            if where != key and (other != use or use not in ("over", "trials")):
                raise self.fail(
                    key, f"column {column!r} is taken already, by {where}; name another column"
                )

    def check_names(self, law: Law, parts: Mapping[str, Any]) -> None:
        """Raise ValueError if a column to pool over would give two things in the model one name."""
        effects = [
            (key, each)
            for key, pool in parts["pool"].items()
            for each in pool.effects(law.posterior_name(key))
        ]
        columns = {
            each.pool.over: (each.pool.over, f"{each.pool.over}_index") for _, each in effects
        }
        made = Counter(_taken(law, parts))
        for names in [*columns.values(), *(each.names for _, each in effects)]:
            made.update(names)
        for key, each in effects:
            over = each.pool.over
            for name in (*columns[over], *each.names):
                if made[name] > 1:
                    raise self.fail(
                        f"pool.{key}.over",
                        f"with a column named {over!r} two things in the model would have the name {name!r}; "
                        f"rename the column in the run table and here, say to '{over}_group'",
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
        if dist not in tuple(RATES):
            raise self.fail("tasks.dist", f"expected one of {', '.join(RATES)}; got {dist!r}")
        if RATES[dist] != ("trials" in table):
            need = "needs" if RATES[dist] else "takes no"
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
        # Chance on four choices is .25, on generated answers 0; scores may lie below the chance of a guess.
        floor = self.bound("tasks.floor", table, {"alpha": 1.5, "beta": 6.0})
        # What no model gets right: faulty questions are a few per cent of most tasks.
        ceiling = self.bound("tasks.ceiling", table, {"alpha": 9.0, "beta": 1.5})
        self.check_bounds(floor, ceiling)
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
            floor=floor,
            ceiling=ceiling,
            scatter=None
            if dist == "Binomial"
            else self.prior("tasks.scatter", table.get("scatter", around), "positive"),
            trials=self.trials("tasks.trials", table.get("trials"), by_task=True),
        )

    def bound(
        self, key: str, table: Mapping[str, Any], default: dict[str, float]
    ) -> float | Mapping[str, float] | Prior:
        value = table.get(key.removeprefix("tasks."), {"dist": "Beta", "kwargs": default})
        if isinstance(value, Mapping) and "dist" in value:
            return self.prior(key, value, "unit")
        for each in value.values() if isinstance(value, Mapping) else [value]:
            if not _fits(each, NUMBER) or not 0 <= each <= 1:
                raise self.fail(
                    key,
                    f"expected a score between 0 and 1, one for each task, or a prior; got {value!r}",
                )
        if isinstance(value, Mapping):
            return {name: float(each) for name, each in value.items()}
        return float(value)

    def check_bounds(
        self,
        floor: float | Mapping[str, float] | Prior,
        ceiling: float | Mapping[str, float] | Prior,
    ) -> None:
        """Raise ValueError unless scores have room between the floor and the ceiling of every task."""
        low = floor.kwargs.get("lower", 0.0) if isinstance(floor, Prior) else floor
        # A prior of the ceiling is of its share of the way from the floor to 1.
        high = 1.0 if isinstance(ceiling, Prior) else ceiling
        named = [each for each in (low, high) if isinstance(each, Mapping)]
        for task in dict.fromkeys(name for each in named for name in each) if named else [""]:
            least, most = (
                each.get(task) if isinstance(each, Mapping) else each for each in (low, high)
            )
            if least is not None and most is not None and least >= most:
                of = f" of {task!r}" if task else ""
                raise self.fail(
                    f"tasks.{'ceiling' if isinstance(floor, Prior) else 'floor'}",
                    f"the floor{of} must lie below its ceiling; got a floor of {least:g} and a ceiling of {most:g}. "
                    "The floor is the score of a guess, the ceiling that of a model that lacks nothing",
                )

    def trials(
        self, key: str, value: Any, *, by_task: bool
    ) -> int | str | Mapping[str, int] | None:
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        for each in value.values() if by_task and isinstance(value, Mapping) else [value]:
            if not isinstance(each, int) or isinstance(each, bool) or not 1 <= each <= TRIALS:
                which = ", one for each task," if by_task else ""
                raise self.fail(
                    key,
                    f"expected a whole number{which} or the name of a column; got {value!r}",
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
            "level": law.level_prior
            or {"dist": "LogNormal", "kwargs": {"median": "runs", "sigma": 0.3}},
            # Most of a loss at trainable scales is irreducible: by published fits .5 to .6 of it
            # at 1e8 parameters and twenty tokens for each, .8 to .9 at 1e10.
            "shares": {
                "dist": "Dirichlet",
                "kwargs": {"a": [4.0 if term == law.floor else 1.5 for term in law.terms]},
            },
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
            given = entry["over"]
            columns = given if isinstance(given, list) and given else [given]
            for over in columns:
                self.string(f"{key}.over", over, "the name of a column, or a list of names")
            if len(set(columns)) < len(columns):
                raise self.fail(f"{key}.over", f"a column is there twice: {given!r}")
            centered = entry.get("centered")
            if not isinstance(centered, bool | None):
                raise self.fail(f"{key}.centered", f"expected true or false, got {centered!r}")
            sds = self.spreads(key, entry.get("sd", default_sd), columns)
            each = [Pool(over, sd, centered) for over, sd in zip(columns, sds, strict=True)]
            found[name] = replace(each[0], crossed=tuple(each[1:]))
        return found

    def spreads(self, key: str, entry: Any, columns: list[str]) -> list[Prior]:
        """One prior of the spread for each column: a list, or one that all take."""
        if not isinstance(entry, list):
            return [self.prior(f"{key}.sd", entry, "positive")] * len(columns)
        if len(entry) != len(columns):
            raise self.fail(
                f"{key}.sd",
                f"expected one prior, or one for each of {', '.join(columns)}; got {len(entry)}",
            )
        return [self.prior(f"{key}.sd", each, "positive") for each in entry]

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

    def noise(self, law: Law, table: Mapping[str, Any], *, drifts: bool) -> Noise:
        keys = ("dist", "sigma", "nu", "slope", "known", "excess", "trials")
        self.check_keys("noise", table, keys)
        dist = table.get("dist", "StudentT")
        self.noise_dist(law, dist, table, drifts=drifts)
        if dist in RATES:
            return self.noise_of_rate(dist, table)
        # Published sweeps scatter by .3 to 3 % about their law.
        sigma = table.get("sigma", {"dist": "LogNormal", "kwargs": {"median": 0.01, "sigma": 1.0}})
        # Gamma(2, .1), Juarez and Steel 2010: rules neither heavy tails nor near normality out.
        gamma = {"dist": "Gamma", "kwargs": {"alpha": 2.0, "beta": 0.1}}
        nu = table.get("nu", 4.0 if drifts else gamma)
        fixed = _fits(nu, POSITIVE)
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

    def noise_dist(self, law: Law, dist: Any, table: Mapping[str, Any], *, drifts: bool) -> None:
        """Raise ValueError unless law and discrepancy admit the distribution, and the other keys go with it."""
        known = (*LOG_LOSS, *RATES)
        if dist not in known:
            meant = hint(dist, known) if isinstance(dist, str) else ""
            raise self.fail(
                "noise.dist", f"expected one of {', '.join(known)}; {meant}got {dist!r}"
            )
        if dist not in law.noises:
            raise self.fail(
                "noise.dist",
                f"law {law.name!r} admits {', '.join(law.noises)}: its loss is in nats, no rate between 0 and 1 that "
                f"{dist} could be of. Choose one of these, or a law whose loss may be an error rate, such as "
                "'sigmoid_compute' or 'power'",
            )
        if drifts and dist not in LOG_LOSS:
            raise self.fail(
                "noise.dist",
                f"a model with discrepancy takes {', '.join(LOG_LOSS)}, which are of log loss as the drift is; set "
                f"discrepancy = 'none' for {dist}",
            )
        goes = {
            "nu": (("StudentT",), "degrees of freedom go with StudentT"),
            "excess": (("ExGaussian",), "an excess goes with ExGaussian"),
            "known": (LOG_LOSS, "a known error goes with Normal, StudentT and ExGaussian"),
            "trials": (
                tuple(name for name, counts in RATES.items() if counts),
                "trials go with Binomial and BetaBinomial, which count them",
            ),
        }
        binomial = "a Binomial scatters by its trials alone; BetaBinomial scatters by more"
        goes |= dict.fromkeys(("sigma", "slope"), (tuple({*known} - {"Binomial"}), binomial))
        for key, (dists, why) in goes.items():
            if key in table and dist not in dists:
                fitting = "" if len(dists) > 1 else f" or set dist = {dists[0]!r}"
                raise self.fail(f"noise.{key}", f"{why}; drop {key!r}{fitting}")
        if RATES.get(dist) and "trials" not in table:
            raise self.fail(
                "noise.trials",
                f"{dist} needs the number of trials behind each rate: a whole number, or the name of a column",
            )

    def noise_of_rate(self, dist: Any, table: Mapping[str, Any]) -> Noise:
        # A tenth of a logit is 2.5 points at a half; .06 is what 280 trials scatter by.
        median, sigma = (0.1, 0.8) if dist == "LogitNormal" else (0.06, 0.75)
        default = {"dist": "LogNormal", "kwargs": {"median": median, "sigma": sigma}}
        slope = self.prior("noise.slope", table["slope"], "real") if "slope" in table else None
        trials = self.trials("noise.trials", table.get("trials"), by_task=False)
        assert not isinstance(trials, Mapping)
        return Noise(
            dist=dist,
            sigma=None
            if dist == "Binomial"
            else self.prior("noise.sigma", table.get("sigma", default), "positive"),
            slope=slope,
            trials=trials,
        )


def _uses(stated: Mapping[str, Any], parts: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What each column serves as, the key that says so, and the column."""
    inputs, noise, tasks = parts["inputs"], parts["noise"], parts["tasks"]
    # Those that the file states come last, so that they are named rather than a default.
    for slot in sorted(inputs, key=lambda slot: slot in stated):
        yield "input", f"inputs.{slot}", inputs[slot]
    if noise.known is not None:
        yield "known", "noise.known", noise.known
    if isinstance(noise.trials, str):
        yield "trials", "noise.trials", noise.trials
    if tasks is not None:
        for column in tasks.columns:
            yield "columns", "tasks.columns", column
        if isinstance(tasks.trials, str):
            yield "trials", "tasks.trials", tasks.trials
    for name, pool in parts["pool"].items():
        for each in (pool, *pool.crossed):
            yield "over", f"pool.{name}.over", each.over


def _taken(law: Law, parts: Mapping[str, Any]) -> set[str]:
    """Names of dims and variables that a graph or a fit of the model may hold, besides those of pooling."""
    params = [*law.param_names, *parts["priors"]]
    found = {*TAKEN, *params, *map(law.posterior_name, params)}
    found |= {f"{what}_{slot}" for what in ("log", "reference") for slot in law.input_names}
    if parts["discrepancy"] is not None:
        found |= TAKEN_BY_DRIFT
    if parts["tasks"] is not None:
        link = [each.name for each in parts["tasks"].link_object.params]
        found |= {*TAKEN_BY_TASKS, *link}
        found |= {f"{name}_{what}" for name in link for what in ("sd", "task")}
    return found


def _fits(value: Any, wanted: str) -> bool:
    def number(each: Any) -> bool:
        # Not math.isfinite: TOML's whole numbers may be too large for a float.
        is_number = isinstance(each, int | float) and not isinstance(each, bool)
        return is_number and abs(each) <= sys.float_info.max

    if wanted == POSITIVES:
        return (
            isinstance(value, list) and len(value) > 1 and all(number(v) and v > 0 for v in value)
        )
    return number(value) and (wanted == NUMBER or value > 0)
