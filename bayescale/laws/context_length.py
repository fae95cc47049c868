"""Power law of the context length: ``L = E + (alpha / c)^beta``.

Xiong et al. 2023 (arXiv 2309.16039), printed ``(alpha / c)^beta + gamma``: the loss of one model on
text seen through a context of c tokens. ``alpha`` is the context at which the reducible loss is one
nat.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(context: Any, *, E: Any, alpha: Any, beta: Any) -> Any:
    """Loss at a context length given as a ratio to the reference."""
    return E + np.exp(beta * (np.log(alpha) - np.log(context)))


def split(level: Any, shares: list[Any], *, beta: Any, **_: Any) -> dict[str, Any]:
    """Floor as its share of the level, and the context at which the rest would be one nat."""
    floor, reducible = shares
    return {"E": level * floor, "alpha": power(level * reducible, 1 / beta)}


def textbook(reference: dict[str, float], *, alpha: Any, **_: Any) -> dict[str, Any]:
    """Context at which the reducible loss is one nat, in tokens."""
    return {"alpha": alpha * reference["context"]}


LAW = Law(
    name="context_length",
    title="Power law of the context length, with floor",
    group="One input",
    question="How much does a longer context help, and up to where?",
    equation="L = E + (alpha / c)^beta",
    latex=r"L(c) = E + \left(\frac{\alpha}{c}\right)^{\beta}",
    source="Xiong et al. 2023, arXiv 2309.16039",
    inputs=(Input("context", "context length", "tokens"),),
    params=(
        Param("E", "irreducible loss: that of an endless context", "nat/token"),
        Param(
            "alpha",
            "context at which the reducible loss is one nat, as a ratio to the reference",
            "1",
        ),
        Param(
            "beta",
            "exponent of context",
            "1",
            # .45 for 7B to .51 for 70B parameters in the paper; other text may differ by half.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.45, "sigma": 0.4}},
        ),
    ),
    loss=loss,
    terms=("E", "alpha"),
    split=split,
    textbook=textbook,
)
