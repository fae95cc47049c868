"""What a law is: an equation, its inputs, its parameters and their default priors, its source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Support = Literal["real", "positive", "unit"]


@dataclass(frozen=True)
class Input:
    """An input of a law: a column of the run table.

    Parameters
    ----------
    name : str
        The argument of the law's function, and by default the column that fills it.
    meaning, unit : str
        What the column holds, for messages and pages.
    """

    name: str
    meaning: str
    unit: str


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
        The question that the law answers, as a user would put it.
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
        The parameter that the loss tends to as every input grows.
    can_bend : bool
        Whether the elasticity of the reducible loss can fall with scale.

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

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of the function's arguments."""
        return tuple(each.name for each in self.inputs)

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
