"""Error that falls as the exponential of the loss (Gadre et al. 2024), up to a ceiling.

It is also the exact match of a long answer: where each of ``k`` tokens is right with probability ``exp(-(L - c))``, all
of them are with ``exp(-k (L - c))``, so that ``rate / L_ref`` counts tokens (Schaeffer et al. 2023, arXiv 2304.15004).
"""

from typing import Any

import numpy as np

from bayescale.laws import Param
from bayescale.laws._math import ramp
from bayescale.links._link import Link


def rise(gap: Any, saturation: Any, rate: Any) -> Any:
    """Share of the way from floor to ceiling; all of it from the saturation on."""
    return np.exp(-rate * ramp(saturation - gap))


def gap(share: Any, saturation: Any, rate: Any) -> Any:
    """Gap of the loss at which a share of the way is gone."""
    return saturation + np.log(share) / rate


def slope(share: Any) -> Any:
    """Rise per unit of rate and gap, at a share of the way."""
    return share


def textbook(reference: float, saturation: Any, rate: Any) -> dict[str, Any]:
    """``gamma`` in the unit of the loss, and the loss at which the ceiling is reached."""
    return {"gamma": rate / reference, "L_ceiling": reference * (1 - saturation)}


LINK = Link(
    name="exponential",
    title="Error exponential in the loss",
    question="Which error does a loss mean, if it is exponential in it?",
    equation="err = eps - k*exp(-gamma*L)",
    latex=r"\mathrm{err} = \epsilon - k\, e^{-\gamma L}",
    source="Gadre et al. 2024, arXiv 2403.08540; Schaeffer et al. 2023, arXiv 2304.15004",
    params=(
        Param(
            "saturation",
            "gap of the loss at which the ceiling is reached",
            "share of the reference loss",
            prior={"dist": "Normal", "kwargs": {"mu": 0.4, "sigma": 0.3}},
            support="real",
        ),
        Param(
            "rate",
            "rate: fall of the log of the score for a loss higher by the whole reference loss",
            "1",
            prior={"dist": "LogNormal", "kwargs": {"median": 4.0, "sigma": 0.7}},
        ),
    ),
    rise=rise,
    gap=gap,
    slope=slope,
    reaches=True,
    textbook=textbook,
)
