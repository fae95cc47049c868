"""Power law of a shifted input: ``L = E + A * ((x + d) / (1 + d))^-gamma``.

The loss starts on a plateau and bends into a power law about ``x = d``. Zhai et al. 2021 (arXiv
2106.04560) fit ``a * (C + d)^-b + c`` to vision transformers, Nezhurina et al. 2025 (arXiv
2506.04598) to image-text models. Here ``A`` is the reducible loss at ``x = 1``: at the reference
for ratios, at one unit for the textbook constants, whence the printed ``a = A * (1 + d)^gamma``.
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(scale: Any, *, E: Any, A: Any, gamma: Any, d: Any) -> Any:
    """Loss at a scale given as a ratio to the reference."""
    return E + A * power((scale + d) / (1 + d), -gamma)


def textbook(
    reference: dict[str, float], *, A: Any, gamma: Any, d: Any, **_: Any
) -> dict[str, Any]:
    """Shift in the input's own unit, and the reducible loss at one unit."""
    start = 1 / reference["scale"]
    return {"A": A * power((start + d) / (1 + d), -gamma), "d": d * reference["scale"]}


LAW = Law(
    name="shifted",
    title="Power law of one shifted input, with floor",
    group="One input",
    question="How does loss fall, once it has left a plateau?",
    equation="L = E + A * ((x + d) / (1 + d))^-gamma",
    latex=r"L(x) = E + A\left(\frac{x + d}{1 + d}\right)^{-\gamma}",
    source="Zhai et al. 2021, arXiv 2106.04560; Nezhurina et al. 2025, arXiv 2506.04598",
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
            "exponent: the elasticity of the reducible loss far above the shift",
            "1",
            # That of the plain power law, whose exponent this is where d = 0.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.25, "sigma": 0.6}},
        ),
        Param(
            "d",
            "shift: where the plateau ends, as a ratio to the reference",
            "1",
            # 90 % at .1 % to 80 % of the frontier: a plateau is seen at the small end of the runs,
            # if at all. Chosen on published learning curves (data of arXiv 2209.06640).
            prior={"dist": "LogNormal", "kwargs": {"median": 0.03, "sigma": 2.0}},
            relative=True,
        ),
    ),
    loss=loss,
    terms=("E", "A"),
    textbook=textbook,
)
