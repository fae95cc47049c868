"""What a link is: how a task's score rises from its floor to its ceiling as the loss falls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bayescale.laws import Param


@dataclass(frozen=True)
class Link:
    """Score of a task as a function of the loss: plain mathematics for NumPy, xarray and PyTensor alike.

    The loss enters as its gap to the reference loss ``L_ref``, the geometric mean of the largest runs:
    ``1 - L / L_ref``, positive where the model is better. Slopes then have no unit, and links of losses in nats and in
    bits are alike.

    Parameters
    ----------
    name, title : str
        Name in model files, and a line for people.
    question : str
        The question that the link answers, as a user would put it, in at most 60 letters.
    equation, latex : str
        The textbook equation, plain and in LaTeX.
    source : str
        Papers, with arXiv ids.
    params : tuple of Param
        Two: where the link rises (real), then how fast (positive).
    rise : callable
        ``rise(gap, location, rate)``: share of the way from floor to ceiling, in (0, 1].
    gap : callable
        ``gap(rise, location, rate)``: its inverse.
    slope : callable
        ``slope(share)``: rise per unit of rate and gap where that share of the way is gone.
    textbook : callable
        ``textbook(reference, location, rate)`` gives the constants of the equation in the unit of the loss.
    reaches : bool
        Whether the ceiling is reached at a finite loss.
    """

    name: str
    title: str
    question: str
    equation: str
    latex: str
    source: str
    params: tuple[Param, Param]
    rise: Callable[[Any, Any, Any], Any]
    gap: Callable[[Any, Any, Any], Any]
    slope: Callable[[Any], Any]
    textbook: Callable[[float, Any, Any], Mapping[str, Any]]
    reaches: bool = False

    @property
    def location(self) -> str:
        """Name of the parameter that says where the link rises."""
        return self.params[0].name

    @property
    def rate(self) -> str:
        """Name of the parameter that says how fast it rises."""
        return self.params[1].name

    def score(self, gap: Any, location: Any, rate: Any, floor: Any, ceiling: Any) -> Any:
        """Score at a gap of the loss.

        Examples
        --------
        >>> from bayescale import links
        >>> float(links.get("sigmoid").score(0.0, 0.0, 6.0, 0.25, 1.0))
        0.625
        """
        return floor + (ceiling - floor) * self.rise(gap, location, rate)
