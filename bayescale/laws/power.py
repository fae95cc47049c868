"""Power law of one input with an irreducible floor: ``L = E + A * x^-gamma``.

Hestness et al. 2017 (arXiv 1712.00409); form M2 of Alabdulmohsin et al. 2022 (arXiv 2209.06640).
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(scale: Any, *, E: Any, A: Any, gamma: Any) -> Any:
    """Loss at a scale given as a ratio to the reference."""
    return E + A * power(scale, -gamma)


def textbook(reference: dict[str, float], *, A: Any, gamma: Any, **_: Any) -> dict[str, Any]:
    """Amplitude at scale 1, as papers print it."""
    return {"A": A * reference["scale"] ** gamma}


LAW = Law(
    name="power",
    title="Power law of one input, with floor",
    group="One input",
    question="How does loss fall to its floor with one scale?",
    equation="L = E + A * x^-gamma",
    latex=r"L(x) = E + A\,x^{-\gamma}",
    source=(
        "Hestness et al. 2017, arXiv 1712.00409; M2 of Alabdulmohsin et al. 2022, arXiv 2209.06640"
    ),
    inputs=(
        Input(
            "scale", "the one input: training FLOP, parameters, tokens or examples seen", "its own"
        ),
    ),
    params=(
        Param("E", "irreducible loss", "nat/token"),
        Param("A", "reducible loss at the reference scale", "nat/token"),
        Param(
            "gamma",
            "exponent: the elasticity of the reducible loss",
            "1",
            # Wide enough for published exponents of compute (.05 to .2) as well as those of
            # parameters and of tokens (.2 to .5).
            prior={"dist": "LogNormal", "kwargs": {"median": 0.25, "sigma": 0.6}},
        ),
    ),
    loss=loss,
    terms=("E", "A"),
    textbook=textbook,
)
