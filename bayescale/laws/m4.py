"""Power law between an initial loss and a floor: ``(L - E) / (E + H - L)^alpha = A * x^-gamma``.

Form M4 of Alabdulmohsin et al. 2022 (arXiv 2209.06640), printed ``(e - e_inf) / (e_0 - e)^alpha =
beta * x^c``; ``H = e_0 - e_inf``. As x goes to zero the loss stays at ``E + H``. With alpha = 0 it
is the plain power law, with alpha = 1 logistic in the log of x.

The equation is implicit in L. With ``L = E + H * u`` and t the logit of u it reads

    t - (1 - alpha) * softplus(t) = log(A) - (1 - alpha) * log(H) - gamma * log(x),

a function of t that rises everywhere and bends one way only, between the lines t and alpha * t.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power, ramp, softplus

#: Newton steps. Six find L - E to 1e-12 of itself for alpha of .02 to 20 and any x.
STEPS = 6


def loss(scale: Any, *, E: Any, A: Any, H: Any, alpha: Any, gamma: Any) -> Any:
    """Loss at a scale given as a ratio to the reference."""
    height = np.log(A) - (1 - alpha) * np.log(H) - gamma * np.log(scale)
    # Of the same shape as the height, or PyTensor sums a gradient over the runs at every step.
    bent = 1 - alpha + 0 * height
    # Where the two lines reach that height: from there no step goes past the root.
    logit = height + (1 / alpha - 1) * ramp(height)
    for _ in range(STEPS):
        above = softplus(logit)
        fraction = np.exp(logit - above)
        logit = (height + bent * (above - logit * fraction)) / (1 - bent * fraction)
    return E + H * np.exp(logit - softplus(logit))


def split(level: Any, shares: list[Any], *, alpha: Any, **_: Any) -> dict[str, Any]:
    """Floor as its share of the level; the rest is to what training has removed as the others are.

    The three shares are those of the floor, of what is left to remove at the reference and of what
    has been removed there: E is the first share of the level, and ``level - E`` is to ``E + H -
    level`` as the second share is to the third.
    """
    floor, left, removed = shares
    reducible = level * (1 - floor)
    gone = reducible * removed / left
    return {"E": level * floor, "A": reducible * power(gone, -alpha), "H": reducible + gone}


def textbook(
    reference: dict[str, float], *, A: Any, H: Any, gamma: Any, **_: Any
) -> dict[str, Any]:
    """Amplitude at scale 1, as papers print it; the height does not depend on the scale."""
    return {"A": A * reference["scale"] ** gamma, "H": H}


LAW = Law(
    name="m4",
    title="Power law of one input between an initial loss and a floor (M4)",
    group="One input",
    question="How does loss fall from where training starts to a floor?",
    equation="(L - E) / (E + H - L)^alpha = A * x^-gamma",
    latex=r"\frac{L - E}{(E + H - L)^{\alpha}} = A\,x^{-\gamma}",
    source="M4 of Alabdulmohsin et al. 2022, arXiv 2209.06640",
    inputs=(
        Input(
            "scale", "the one input: training FLOP, parameters, tokens or examples seen", "its own"
        ),
    ),
    params=(
        Param("E", "irreducible loss", "nat/token"),
        Param(
            "A",
            "amplitude: the reducible loss at the reference scale, over a power of what training "
            "has removed there",
            "(nat/token)^(1 - alpha)",
        ),
        Param("H", "all that training can remove: initial less irreducible loss", "nat/token"),
        Param(
            "alpha",
            "how the loss leaves its start: small abruptly, 1 as a logistic curve",
            "1",
            # Runs seldom reach back to the start; the logistic is the middle of what is plausible.
            prior={"dist": "LogNormal", "kwargs": {"median": 1.0, "sigma": 0.5}},
        ),
        Param(
            "gamma",
            "exponent: the elasticity of the reducible loss far from the start",
            "1",
            # Fits of M4 give larger exponents than those of the plain power law: .33 for language
            # models, to .57 on the same data that give .09 without floor (arXiv 2209.06640).
            prior={"dist": "LogNormal", "kwargs": {"median": 0.33, "sigma": 0.5}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "H"),
    split=split,
    textbook=textbook,
)
