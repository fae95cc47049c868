"""Score logistic in the loss: chance at a high loss, a ceiling at a low one (the second step of Bhagia et al. 2024)."""

from typing import Any

import numpy as np

from bayescale.laws import Param
from bayescale.links._link import Link


def rise(gap: Any, midpoint: Any, steepness: Any) -> Any:
    """Share of the way from floor to ceiling."""
    # As a hyperbolic tangent it overflows nowhere.
    return (1 + np.tanh(steepness * (gap - midpoint) / 2)) / 2


def gap(share: Any, midpoint: Any, steepness: Any) -> Any:
    """Gap of the loss at which a share of the way is gone."""
    return midpoint + (np.log(share) - np.log1p(-share)) / steepness


def slope(share: Any) -> Any:
    """Rise per unit of steepness and gap, at a share of the way."""
    return share * (1 - share)


def textbook(reference: float, midpoint: Any, steepness: Any) -> dict[str, Any]:
    """``L0`` and ``k`` in the unit of the loss."""
    return {"L0": reference * (1 - midpoint), "k": steepness / reference}


LINK = Link(
    name="sigmoid",
    title="Score logistic in the loss",
    question="Which score does a loss mean, between chance and a ceiling?",
    equation="acc = b + a / (1 + exp(k*(L - L0)))",
    latex=r"\mathrm{acc} = b + \frac{a}{1 + e^{k (L - L_0)}}",
    source="Bhagia et al. 2024, arXiv 2412.04403",
    params=(
        Param(
            "midpoint",
            "gap of the loss at which the score is half-way from floor to ceiling",
            "share of the reference loss",
            prior={"dist": "Normal", "kwargs": {"mu": 0.0, "sigma": 0.4}},
            support="real",
        ),
        Param(
            "steepness",
            "steepness: in logits for a loss lower by the whole reference loss",
            "1",
            # From a tenth to nine tenths of the way takes 4.4 / steepness of the loss: .2 to 2 of it.
            prior={"dist": "LogNormal", "kwargs": {"median": 7.0, "sigma": 0.7}},
        ),
    ),
    rise=rise,
    gap=gap,
    slope=slope,
    textbook=textbook,
)
