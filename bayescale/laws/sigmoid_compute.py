"""Error that falls from a start to a floor, logistic in the log of compute.

Khatri et al. 2025 (ScaleRL, arXiv 2510.13786) fit the pass rate R of reinforcement learning, which
*rises*: ``R = R0 + (A - R0) / (1 + (C_mid / C)^B)``. Laws here fall: give the error ``1 - R`` as
the loss, and read ``E = 1 - A``, the error that no compute removes, and ``H = A - R0``. The error
then is ``L = E + H / (1 + (C / C_mid)^B)``. It is M4 with alpha = 1.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power, softplus


def loss(scale: Any, *, E: Any, C_mid: Any, H: Any, B: Any) -> Any:
    """Error at a scale given as a ratio to the reference."""
    return E + H * np.exp(-softplus(B * (np.log(scale) - np.log(C_mid))))


def split(level: Any, shares: list[Any], *, B: Any, **_: Any) -> dict[str, Any]:
    """Floor as its share of the level; the rest is to what training has removed as the others are.

    The three shares are those of the floor, of what is left to remove at the reference and of what
    has been removed there.
    """
    floor, left, removed = shares
    return {
        "E": level * floor,
        "C_mid": power(left / removed, 1 / B),
        "H": level * (1 - floor) * (1 + removed / left),
    }


def textbook(reference: dict[str, float], *, C_mid: Any, H: Any, **_: Any) -> dict[str, Any]:
    """Midpoint in the unit of compute; the height does not depend on it."""
    return {"C_mid": C_mid * reference["scale"], "H": H}


LAW = Law(
    name="sigmoid_compute",
    title="Error of one input, logistic between a start and a floor (ScaleRL)",
    group="One input",
    question="Where does a pass rate saturate, and when is it half-way?",
    equation="1 - R = E + H / (1 + (C/C_mid)^B)",
    latex=r"1 - R(C) = E + \frac{H}{1 + (C/C_{\mathrm{mid}})^{B}}",
    source="Khatri et al. 2025, arXiv 2510.13786",
    inputs=(Input("scale", "compute of the training that is scaled, such as RL", "its own"),),
    params=(
        Param("E", "error that no compute removes: 1 - A", "error rate"),
        Param("C_mid", "compute at which half is removed, as a ratio to the reference", "1"),
        Param("H", "all that training can remove: A - R0", "error rate"),
        Param(
            "B",
            "steepness: the elasticity of what is left to remove, far above the midpoint",
            "1",
            # From a tenth to nine tenths of the way takes 1.9 / B decades: .5 to 4 decades.
            prior={"dist": "LogNormal", "kwargs": {"median": 1.3, "sigma": 0.6}},
        ),
    ),
    loss=loss,
    terms=("E", "C_mid", "H"),
    split=split,
    textbook=textbook,
)
