"""What a law is: an equation, its inputs, its parameters and their default priors, its source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

Support = Literal["real", "positive", "unit"]
#: What a law is about, in the order in which the catalogue is read; "Others" are those of users.
Group = Literal[
    "One input",
    "Parameters and tokens",
    "What limits data",
    "What changes the model",
    "What changes the recipe",
    "At inference",
    "From loss to capability",
    "Others",
]
GROUPS: tuple[str, ...] = get_args(Group)
Outcome = Literal["nats", "error", "success"]

#: Observation models of the log of a loss.
LOG_LOSS = ("Normal", "StudentT", "ExGaussian")
#: Observation models of a rate in (0, 1), and whether they count trials.
RATES = {"LogitNormal": False, "Beta": False, "BetaBinomial": True, "Binomial": True}
#: How far from 1 an error rate begins to be held below it.
_HELD = 1e-3
#: A count of none or of all stands for this part of a trial where its log is taken, and rounds back to the count.
_PART = 0.25


@dataclass(frozen=True)
class Input:
    """An input of a law: a column of the run table.

    Parameters
    ----------
    name : str
        The argument of the law's function, and by default the column that fills it.
    meaning, unit : str
        What the column holds, for messages and pages.
    reference : float or str, optional
        What the law takes the input as a ratio to. By default the runs' own reference scale; a
        number for what is not a scale of training, such as experts counted from 1; or the name of
        the input whose scale it shares, as unique tokens share that of tokens.
    lower, upper : float, optional
        The values that make sense, both included. Every input is positive.
    at_most : str, optional
        Name of the input that it cannot exceed.
    """

    name: str
    meaning: str
    unit: str
    reference: float | str | None = None
    lower: float | None = None
    upper: float | None = None
    at_most: str | None = None


@dataclass(frozen=True)
class Param:
    """A parameter of a law.

    Parameters
    ----------
    name : str
        The argument of the law's function.
    meaning, unit : str
        What it says, for messages and pages.
    prior : mapping, optional
        Default prior in the vocabulary of the model files, ``{"dist": ..., "kwargs": {...}}``.
        Left out for the parameters named in ``Law.terms``, whose prior is stated through the loss
        at the reference scale.
    support : {"real", "positive", "unit"}
        The values that make sense; a model file may not put mass elsewhere.
    relative : bool
        Whether its value depends on the reference scale though it is not one of ``Law.terms``, as
        a location on the axis of an input does: ``Law.textbook`` gives it in the input's own unit.
    """

    name: str
    meaning: str
    unit: str
    prior: Mapping[str, Any] | None = None
    support: Support = "positive"
    relative: bool = False


@dataclass(frozen=True)
class Law:
    """A scaling law: plain mathematics that runs on NumPy, xarray and PyTensor alike.

    Inputs reach ``loss`` as ratios to the runs' reference scale, so that an amplitude *is* a loss
    in nats at that scale; ``textbook`` turns amplitudes back into the constants that papers print.

    Parameters
    ----------
    name, title : str
        Registry name, and a line for people.
    question : str
        The question that the law answers, as a user would put it, in at most 60 letters.
    equation, latex : str
        The textbook equation, plain and in LaTeX.
    source : str
        Papers, with arXiv ids.
    inputs : tuple of Input
    params : tuple of Param
    loss : callable
        ``loss(*inputs, **params)``, inputs in the order of ``inputs``.
    terms : tuple of str
        Parameters that make up the loss at the reference scale, irreducible loss first if the law
        has one.
    split : callable, optional
        ``split(level, shares, **params)`` gives the terms from the loss at the reference scale and
        its shares. By default each term is its share of the level.
    textbook : callable, optional
        ``textbook(reference, **params)`` gives the textbook value of every parameter that differs
        from its value at the reference scale.
    optimal_params : callable, optional
        ``optimal_params(product, **params)``: the ratio of ``params`` to its reference that
        minimises the loss subject to ``params * tokens = product`` (both as ratios). Without it
        the optimum is found numerically.
    floor : str or None
        The parameter that is the irreducible loss, first of ``terms``; None for a law without one. The loss tends to
        it as every input grows, unless ``has_limit`` is false.
    can_bend : bool
        Whether the elasticity of the reducible loss can fall with scale.
    falls_in : tuple of str, optional
        Inputs of which more is never worse, whatever the parameters and the other inputs; by
        default all.
    has_limit : bool
        Whether the loss tends to the floor, or to zero without one, as every input grows without end and in step,
        whatever the parameters.
    group : str
        What the law is about: one of :data:`GROUPS`, under which the catalogue lists it.
    outcome : {"nats", "error", "success"}, optional
        What the loss may be besides a number of nats, where it comes of trials: the share of them
        that fails (``error``), or minus the log of the share that succeeds (``success``). By
        default ``error`` for a law of one input ``scale``, which fits whatever falls with a scale,
        and ``nats``, of no trials, for all others.
    level_prior : mapping, optional
        Default prior of the loss at the reference scale, as that of a parameter; for a law whose inputs are all ratios
        to numbers. By default a log-normal about the loss of the runs' frontier, where that of all other laws lies.

    Examples
    --------
    >>> from bayescale import laws
    >>> law = laws.get("chinchilla")
    >>> float(law.loss(4.0, 4.0, E=1.8, A=0.4, alpha=0.5, B=0.4, beta=0.5))
    2.2
    """

    name: str
    title: str
    question: str
    equation: str
    latex: str
    source: str
    inputs: tuple[Input, ...]
    params: tuple[Param, ...]
    loss: Callable[..., Any]
    terms: tuple[str, ...]
    split: Callable[..., dict[str, Any]] | None = None
    textbook: Callable[..., dict[str, Any]] | None = None
    optimal_params: Callable[..., Any] | None = None
    floor: str | None = "E"
    can_bend: bool = False
    falls_in: tuple[str, ...] | None = None
    has_limit: bool = True
    group: Group = "Others"
    outcome: Outcome | None = None
    level_prior: Mapping[str, Any] | None = None

    @property
    def trials_give(self) -> Outcome:
        """The :attr:`outcome`, or what it is by default.

        Examples
        --------
        >>> from bayescale import laws
        >>> [laws.get(name).trials_give for name in ("chinchilla", "power", "coverage")]
        ['nats', 'error', 'success']
        """
        if self.outcome is not None:
            return self.outcome
        return "error" if self.input_names == ("scale",) else "nats"

    @property
    def noises(self) -> tuple[str, ...]:
        """Observation models that the law admits: of log loss, and of rates where its loss may be one.

        Examples
        --------
        >>> from bayescale import laws
        >>> laws.get("chinchilla").noises
        ('Normal', 'StudentT', 'ExGaussian')
        """
        return LOG_LOSS if self.trials_give == "nats" else (*LOG_LOSS, *RATES)

    def rate(self, loss: Any) -> Any:
        """The rate that trials count, from the loss that the law gives.

        An error is held below 1, smoothly, so that a curve that has left (0, 1) finds back: by a
        relative 2.5e-7 / (1 - loss).

        Examples
        --------
        >>> from bayescale import laws
        >>> round(float(laws.get("power").rate(0.4)), 6), float(laws.get("power").rate(2.0)) < 1
        (0.4, True)
        >>> round(float(laws.get("coverage").rate(0.5)), 6)
        0.606531
        """
        if self.trials_give == "success":
            return np.exp(-loss)
        left = 1 - loss
        return 1 - (left + np.sqrt(left * left + _HELD**2 * loss)) / 2

    def observed_rate(self, loss: np.ndarray) -> np.ndarray:
        """The rate that trials counted, from the loss of a run table."""
        return np.exp(-loss) if self.trials_give == "success" else loss

    def loss_of(self, rate: np.ndarray) -> np.ndarray:
        """The loss of a run table, from the rate that trials counted."""
        if self.trials_give == "error":
            return rate
        with np.errstate(divide="ignore"):
            return np.asarray(-np.log(rate))

    def inside(self, loss: np.ndarray, trials: np.ndarray | None) -> np.ndarray:
        """Losses that have a log: those of no error or of none right are moved by a part of a trial.

        Parameters
        ----------
        loss : numpy.ndarray
        trials : numpy.ndarray or None
            Behind each loss; None for losses that no trials count, which are left as they are.

        Examples
        --------
        >>> from bayescale import laws
        >>> laws.get("voting").inside(np.array([0.0, 0.5]), np.array(10)).tolist()
        [0.025, 0.5]
        """
        if trials is None:
            return loss
        rate = np.clip(self.observed_rate(loss), _PART / trials, 1 - _PART / trials)
        return self.loss_of(rate)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of the function's arguments."""
        return tuple(each.name for each in self.inputs)

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the inputs whose reference is that of the runs: their product is compute.

        A law that takes every input as a ratio to a number, as a count of samples from one, has those for its scales.

        Examples
        --------
        >>> from bayescale import laws
        >>> laws.get("repetition").input_names, laws.get("repetition").scales
        (('params', 'tokens', 'unique_tokens'), ('params', 'tokens'))
        """
        own = tuple(each.name for each in self.inputs if each.reference is None)
        counted = (each.name for each in self.inputs if not isinstance(each.reference, str))
        return own or tuple(counted)

    def references(self, scales: Mapping[str, float]) -> dict[str, float]:
        """Reference of every input, given those of :attr:`scales`.

        Examples
        --------
        >>> from bayescale import laws
        >>> laws.get("moe").references({"params": 1e8})
        {'params': 100000000.0, 'experts': 1.0}
        """
        found = {}
        for each in self.inputs:
            key = each.name if each.reference is None else each.reference
            found[each.name] = scales[key] if isinstance(key, str) else float(key)
        return found

    def outside(self, values: Mapping[str, Any]) -> list[tuple[str, np.ndarray, str]]:
        """Inputs with values that make no sense.

        Parameters
        ----------
        values : mapping of array
            Inputs in their own units, of one shape.

        Returns
        -------
        list of (input, mask, bound)
            One entry for each bound that is broken, with the bound in words.

        Examples
        --------
        >>> from bayescale import laws
        >>> laws.get("moe").outside({"params": np.ones(2), "experts": np.array([0.5, 8.0])})
        [('experts', array([ True, False]), 'at least 1')]
        """
        found = []
        for each in self.inputs:
            at = values[each.name]
            if each.lower is not None:
                found.append((each.name, at < each.lower, f"at least {each.lower:g}"))
            if each.upper is not None:
                found.append((each.name, at > each.upper, f"at most {each.upper:g}"))
            if each.at_most is not None:
                # Counts are often rounded: one that exceeds the other in the tenth digit does not.
                above = at > values[each.at_most] * (1 + 1e-9)
                found.append((each.name, above, f"at most {each.at_most!r} of the same row"))
        return [entry for entry in found if np.any(entry[1])]

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(each.name for each in self.params)

    def param(self, name: str) -> Param:
        """Return the parameter of that name."""
        return next(each for each in self.params if each.name == name)

    def posterior_name(self, name: str) -> str:
        """Name in the posterior: what is stated at the reference scale ends in ``_ref``.

        Examples
        --------
        >>> from bayescale import laws
        >>> [laws.get("chinchilla").posterior_name(name) for name in ("E", "A", "alpha")]
        ['E', 'A_ref', 'alpha']
        """
        amplitude = name in self.terms and name != self.floor
        stated = amplitude or any(each.relative for each in self.params if each.name == name)
        return f"{name}_ref" if stated else name

    def terms_from_shares(
        self, level: Any, shares: list[Any], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Terms of the loss at the reference scale, from its level and the share of each term.

        Parameters
        ----------
        level : array-like
            Loss at the reference scale [nat/token].
        shares : list of array-like
            One share a term, in the order of ``terms``; they sum to one.
        values : mapping
            The other parameters, by name.

        Returns
        -------
        dict
            One value a term [nat/token].
        """
        if self.split is not None:
            return self.split(level, shares, **values)
        return {term: level * share for term, share in zip(self.terms, shares, strict=True)}
