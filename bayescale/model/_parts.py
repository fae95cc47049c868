"""What a model file states, part by part: priors, pooling, noise, discrepancy, tasks."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bayescale import links
from bayescale.laws import RATES
from bayescale.links import Link

#: Distributions of the model files: what each keyword argument must be, and the support.
NUMBER, POSITIVE, POSITIVES = "a number", "a number above zero", "a list of numbers above zero"
DISTRIBUTIONS: dict[str, tuple[dict[str, str], str]] = {
    "Normal": ({"mu": NUMBER, "sigma": POSITIVE}, "real"),
    "StudentT": ({"nu": POSITIVE, "mu": NUMBER, "sigma": POSITIVE}, "real"),
    "Uniform": ({"lower": NUMBER, "upper": NUMBER}, "real"),
    "TruncatedNormal": (
        {"mu": NUMBER, "sigma": POSITIVE, "lower": NUMBER, "upper": NUMBER},
        "real",
    ),
    "LogNormal": ({"mu": NUMBER, "median": POSITIVE, "sigma": POSITIVE}, "positive"),
    "HalfNormal": ({"sigma": POSITIVE}, "positive"),
    "HalfStudentT": ({"nu": POSITIVE, "sigma": POSITIVE}, "positive"),
    "Exponential": ({"lam": POSITIVE}, "positive"),
    "Gamma": ({"alpha": POSITIVE, "beta": POSITIVE}, "positive"),
    "InverseGamma": ({"alpha": POSITIVE, "beta": POSITIVE}, "positive"),
    "Beta": ({"alpha": POSITIVE, "beta": POSITIVE}, "unit"),
    "Dirichlet": ({"a": POSITIVES}, "simplex"),
}
#: Arguments that may be left out; of LogNormal's location exactly one form is given.
OPTIONAL = {"TruncatedNormal": {"lower", "upper"}, "LogNormal": {"mu", "median"}}


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
    centered : bool or None
        Sample each group's value itself rather than its standardised offset; None to let the runs decide, group by
        group.
    crossed : tuple of Pool
        Further columns that the same parameter is pooled over. Effects of columns add: in the log for a positive
        parameter, in the value for a real one.

    Examples
    --------
    >>> sd = Prior("HalfNormal", {"sigma": 0.1})
    >>> [each.sd_name for each in Pool("family", sd, crossed=(Pool("corpus", sd),)).effects("level")]
    ['level_family_sd', 'level_corpus_sd']
    """

    over: str
    sd: Prior
    centered: bool | None = None
    crossed: tuple["Pool", ...] = ()

    def effects(self, name: str) -> tuple["Effect", ...]:
        """One effect a column, on the parameter of that name in the posterior."""
        every = (self, *self.crossed)
        stems = [f"{name}_{pool.over}" if self.crossed else name for pool in every]
        return tuple(
            Effect(pool, f"{name}_{pool.over}", f"{stem}_sd", f"{stem}_offset", f"{stem}_centered")
            for pool, stem in zip(every, stems, strict=True)
        )


@dataclass(frozen=True)
class Effect:
    """What a column does to a pooled parameter, by the names in the posterior.

    Parameters
    ----------
    pool : Pool
        Of that column alone.
    name : str
        The parameter of each group, with every other column at its typical group.
    sd_name, offset_name : str
        Spread between groups, and the standardised offset of each.
    weight_name : str
        Data of the graph: how far each group is sampled as itself rather than as its offset, 0 to 1.
    """

    pool: Pool
    name: str
    sd_name: str
    offset_name: str
    weight_name: str

    @property
    def names(self) -> tuple[str, ...]:
        """What it adds to the graph."""
        return self.name, self.sd_name, self.offset_name, self.weight_name


def crossed(values: list[Any], typical: Any, positive: bool) -> Any:
    """A parameter whose columns have these values, each with all others at the typical one.

    Plain operators: for NumPy and PyTensor alike.

    Examples
    --------
    >>> crossed([2.2, 1.8], 2.0, positive=True), crossed([2.5, 1.5], 2.0, positive=False)
    (1.98, 2.0)
    """
    found = values[0]
    for value in values[1:]:
        found = found * (value / typical) if positive else found + (value - typical)
    return found


@dataclass(frozen=True)
class Noise:
    """How a run's loss scatters about the law: its log, or the rate that it is.

    Parameters
    ----------
    dist : {"Normal", "StudentT", "ExGaussian", "LogitNormal", "Beta", "BetaBinomial", "Binomial"}
        The last four are of rates in (0, 1), for a law whose loss comes of trials: see :meth:`bayescale.laws.Law.rate`.
    sigma : Prior or None
        Scale at the reference scale: of log loss, that is the relative error of a loss; of the logit of a rate for
        ``LogitNormal``. For ``Beta`` and ``BetaBinomial`` the two parameters of the Beta sum to ``1 / sigma**2``: a
        rate has standard deviation ``sqrt(rate * (1 - rate)) * sigma / sqrt(1 + sigma**2)``, and is worth
        ``1 + 1 / sigma**2`` trials. None for ``Binomial``.
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
    trials : int, str or None
        Trials behind each rate, for ``Binomial`` and ``BetaBinomial``: a number, or the column that holds it.
    """

    dist: Literal[
        "Normal", "StudentT", "ExGaussian", "LogitNormal", "Beta", "BetaBinomial", "Binomial"
    ]
    sigma: Prior | None
    nu: Prior | float | None = None
    slope: Prior | None = None
    known: str | None = None
    excess: Prior | None = None
    trials: int | str | None = None

    @property
    def of_rate(self) -> bool:
        """Whether it is of a rate rather than of log loss."""
        return self.dist in RATES


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
        >>> from bayescale.model import Model
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
