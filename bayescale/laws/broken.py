"""Power law of one input that breaks once, smoothly: BNSL with n = 1.

Caballero et al. 2022 (arXiv 2210.14891) print ``y = a + b * x^-c0 * (1 + (x/d)^(1/f))^(-c1 * f)``:
the reducible loss has elasticity ``c0`` far below the break and ``c0 + c1`` far above. Both are
positive here, so that more is never worse. The elasticity at ``x = 1``, gamma, stands for ``c0``:
at the reference it is what the largest runs show, wherever the break lies. At one unit of the
input, for the textbook constants, the break is far away and ``gamma = c0``, ``A = b``.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import softplus


def loss(scale: Any, *, E: Any, A: Any, gamma: Any, bend: Any, at: Any, f: Any) -> Any:
    """Loss at a scale given as a ratio to the reference."""
    log_scale, log_break = np.log(scale), np.log(10.0) * at
    # Part of the break that lies behind x = 1, and its integral from there to x.
    passed = np.exp(-softplus(log_break / f))
    before = gamma / (1 + (bend - 1) * passed)
    since = f * (softplus((log_scale - log_break) / f) - softplus(-log_break / f))
    return E + A * np.exp(-before * (log_scale + (bend - 1) * since))


def textbook(
    reference: dict[str, float], *, A: Any, gamma: Any, bend: Any, at: Any, f: Any, **_: Any
) -> dict[str, Any]:
    """Log10 of the break in the input's own unit; b and c0 as papers print them."""
    there = at + np.log10(reference["scale"])
    amplitude = loss(1 / reference["scale"], E=0.0, A=A, gamma=gamma, bend=bend, at=at, f=f)
    first, passed = (np.exp(-softplus(np.log(10.0) * each / f)) for each in (there, at))
    slope = gamma * (1 + (bend - 1) * first) / (1 + (bend - 1) * passed)
    return {"A": amplitude, "gamma": slope, "at": there}


#: As likely to bend up as down; 90 % at .37 to 2.7.
BEND_PRIOR = {"dist": "LogNormal", "kwargs": {"median": 1.0, "sigma": 0.6}}
#: The break takes 1.9 f decades from a tenth to nine tenths. Sharper than .15 the runs cannot say
#: where between two of them it lies, and the posterior falls into pieces.
WIDTH_PRIOR = {"dist": "LogNormal", "kwargs": {"median": 0.5, "sigma": 0.5}}

LAW = Law(
    name="broken",
    title="Power law of one input with one smooth break (BNSL)",
    group="One input",
    question="Has the slope changed, or will it beyond the runs?",
    equation="L = E + A * x^-c0 * (1 + (x/d)^(1/f))^(-c0 * (bend - 1) * f)",
    latex=(r"L(x) = E + A\,x^{-c_0}\left(1 + (x/d)^{1/f}\right)^{-c_0\,(\mathrm{bend} - 1)\,f}"),
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
        Param("bend", "elasticity above the break over that below it", "1", prior=BEND_PRIOR),
        Param(
            "at",
            "location of the break: its log10, counted from the reference",
            "decade",
            prior={"dist": "Normal", "kwargs": {"mu": -1.0, "sigma": 2.0}},
            support="real",
            relative=True,
        ),
        Param(
            "f",
            "width of the break: the log of the scale over which it turns",
            "1",
            prior=WIDTH_PRIOR,
        ),
    ),
    loss=loss,
    terms=("E", "A"),
    textbook=textbook,
    can_bend=True,
)
