"""Power law of one input that breaks twice, smoothly: BNSL with n = 2.

Caballero et al. 2022 (arXiv 2210.14891) print ``y = a + b * x^-c0 * (1 + (x/d1)^(1/f1))^(-c1 * f1)
* (1 + (x/d2)^(1/f2))^(-c2 * f2)``. Here ``d2 = d * 10^gap``, so that the breaks are told apart, and
``f1 = f2``: with widths of their own the first break could end after the second, and the loss rise.
The elasticity at ``x = 1`` stands for ``c0`` as in :mod:`bayescale.laws.broken`.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import softplus
from bayescale.laws.broken import BEND_PRIOR, WIDTH_PRIOR


def loss(
    scale: Any, *, E: Any, A: Any, gamma: Any, bend: Any, d: Any, bend2: Any, gap: Any, f: Any
) -> Any:
    """Loss at a scale given as a ratio to the reference."""
    log_scale = np.log(scale)
    changes = _changes(bend, d, bend2, gap)
    turned = sum(change * np.exp(-softplus(at / f)) for change, at in changes)
    since = sum(
        change * f * (softplus((log_scale - at) / f) - softplus(-at / f)) for change, at in changes
    )
    return E + A * np.exp(-gamma / (1 + turned) * (log_scale + since))


def _changes(bend: Any, d: Any, bend2: Any, gap: Any) -> list[tuple[Any, Any]]:
    """Each break: change of the elasticity in units of that before both, and log location."""
    first = np.log(d)
    return [(bend - 1, first), (bend * (bend2 - 1), first + np.log(10.0) * gap)]


def textbook(
    reference: dict[str, float],
    *,
    A: Any,
    gamma: Any,
    bend: Any,
    d: Any,
    bend2: Any,
    gap: Any,
    f: Any,
    **_: Any,
) -> dict[str, Any]:
    """Location of the first break in the input's own unit; b and c0 as papers print them."""
    at = d * reference["scale"]
    same = {"bend": bend, "bend2": bend2, "gap": gap}
    amplitude = loss(1 / reference["scale"], E=0.0, A=A, gamma=gamma, d=d, f=f, **same)
    there, here = (
        1 + sum(change * np.exp(-softplus(place / f)) for change, place in _changes(d=each, **same))
        for each in (at, d)
    )
    return {"A": amplitude, "gamma": gamma * there / here, "d": at}


LAW = Law(
    name="broken_2",
    title="Power law of one input with two smooth breaks (BNSL)",
    group="One input",
    question="Has the slope changed twice, as from flat to flat?",
    equation=(
        "L = E + A * x^-c0 * (1 + (x/d)^(1/f))^(-c0 * (bend - 1) * f) "
        "* (1 + (x/(d * 10^gap))^(1/f))^(-c0 * bend * (bend2 - 1) * f)"
    ),
    latex=(r"L(x) = E + A\,x^{-c_0} \prod_{i=1}^{2} \left(1 + (x/d_i)^{1/f}\right)^{-c_i f}"),
    source="Caballero et al. 2022, arXiv 2210.14891",
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
            "elasticity of the reducible loss at the reference scale",
            "1",
            # That of the plain power law.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.25, "sigma": 0.6}},
            relative=True,
        ),
        Param("bend", "elasticity between the breaks over that before both", "1", prior=BEND_PRIOR),
        Param(
            "d",
            "location of the first break, as a ratio to the reference",
            "1",
            # The first of two breaks lies a decade further back than the only one of one.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.1, "sigma": 4.6}},
            relative=True,
        ),
        Param(
            "bend2", "elasticity after both breaks over that between them", "1", prior=BEND_PRIOR
        ),
        Param(
            "gap",
            "distance between the breaks",
            "decade",
            # Breaks nearer than half a decade are one break to a few dozen runs.
            prior={"dist": "LogNormal", "kwargs": {"median": 1.5, "sigma": 0.6}},
        ),
        Param(
            "f",
            "width of each break: the log of the scale over which it turns",
            "1",
            prior=WIDTH_PRIOR,
        ),
    ),
    loss=loss,
    terms=("E", "A"),
    textbook=textbook,
    can_bend=True,
)
