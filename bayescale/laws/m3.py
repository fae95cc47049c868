"""Power law that turns to its floor quickly: ``L = (E^(1/gamma) + A^(1/gamma) / x)^gamma``.

Form M3 of Alabdulmohsin et al. 2022 (arXiv 2209.06640), printed ``beta * (1/x + g)^c``: there
``beta = A``, ``c = gamma`` and ``g = (E / A)^(1/gamma)``. Small scales follow ``A * x^-gamma``;
large ones come to the floor as ``1 / x``.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power, softplus
from bayescale.laws.power import textbook


def loss(scale: Any, *, E: Any, A: Any, gamma: Any) -> Any:
    """Loss at a scale given as a ratio to the reference."""
    return E * np.exp(gamma * softplus((np.log(A) - np.log(E)) / gamma - np.log(scale)))


def split(level: Any, shares: list[Any], *, gamma: Any, **_: Any) -> dict[str, Any]:
    """Floor as its share of the level, and the amplitude that makes up the rest."""
    floor = shares[0]
    return {"E": level * floor, "A": level * power(-np.expm1(np.log(floor) / gamma), gamma)}


LAW = Law(
    name="m3",
    title="Power law of one input that turns to its floor quickly (M3)",
    group="One input",
    question="Is loss a pure power law until close to a floor?",
    equation="L = (E^(1/gamma) + A^(1/gamma) / x)^gamma",
    latex=r"L(x) = \left(E^{1/\gamma} + A^{1/\gamma}\,x^{-1}\right)^{\gamma}",
    source="M3 of Alabdulmohsin et al. 2022, arXiv 2209.06640",
    inputs=(
        Input(
            "scale", "the one input: training FLOP, parameters, tokens or examples seen", "its own"
        ),
    ),
    params=(
        Param("E", "irreducible loss", "nat/token"),
        Param("A", "loss at the reference scale, were there no floor", "nat/token"),
        Param(
            "gamma",
            "exponent: the elasticity of the loss far from the floor",
            "1",
            # That of the plain power law.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.25, "sigma": 0.6}},
        ),
    ),
    loss=loss,
    terms=("E", "A"),
    split=split,
    textbook=textbook,
)
