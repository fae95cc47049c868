"""Power law of one input without a floor: ``L = A * x^-gamma``.

Form M1 of Alabdulmohsin et al. 2022 (arXiv 2209.06640); L(N), L(D) and L(C) of Kaplan et al. 2020
(arXiv 2001.08361), who write ``(Nc / N)^alpha_N``: ``Nc = A^(1 / gamma)``, with the textbook A.
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power
from bayescale.laws.power import textbook


def loss(scale: Any, *, A: Any, gamma: Any) -> Any:
    """Loss at a scale given as a ratio to the reference."""
    return A * power(scale, -gamma)


LAW = Law(
    name="pure_power",
    title="Power law of one input, without floor",
    group="One input",
    question="How does loss fall with one scale, if it has no floor?",
    equation="L = A * x^-gamma",
    latex=r"L(x) = A\,x^{-\gamma}",
    source="M1 of Alabdulmohsin et al. 2022, arXiv 2209.06640; Kaplan et al. 2020, arXiv 2001.08361",
    inputs=(
        Input(
            "scale", "the one input: training FLOP, parameters, tokens or examples seen", "its own"
        ),
    ),
    params=(
        Param("A", "loss at the reference scale", "nat/token"),
        Param(
            "gamma",
            "exponent: the elasticity of the loss",
            "1",
            # Without a floor exponents come out small: language models .05 (compute) to .095
            # (tokens) in Kaplan et al. 2020, .07; translation .13, image and speech .3 in Hestness
            # et al. 2017 (arXiv 1712.00409). 90 % of this prior is at .06 to .43.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.16, "sigma": 0.6}},
        ),
    ),
    loss=loss,
    terms=("A",),
    textbook=textbook,
    floor=None,
)
