"""Additive law of parameters and tokens: ``L = E + A * N^-alpha + B * D^-beta``.

Hoffmann et al. 2022 (arXiv 2203.15556), approach 3; re-fitted by Besiroglu et al. 2024
(arXiv 2404.10102).
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(params: Any, tokens: Any, *, E: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    """Loss at parameters and tokens given as ratios to the reference."""
    return E + A * power(params, -alpha) + B * power(tokens, -beta)


def textbook(
    reference: dict[str, float], *, A: Any, alpha: Any, B: Any, beta: Any, **_: Any
) -> dict[str, Any]:
    """Amplitudes at one parameter and one token, as papers print them."""
    return {"A": A * reference["params"] ** alpha, "B": B * reference["tokens"] ** beta}


def optimal_params(product: Any, *, A: Any, alpha: Any, B: Any, beta: Any, **_: Any) -> Any:
    """Compute-optimal parameters, G * product^(beta / (alpha + beta)): Hoffmann 2022, eq. 4."""
    return (alpha * A / (beta * B) * power(product, beta)) ** (1 / (alpha + beta))


# Exponents of published single-epoch sweeps with E free cluster in .25 to .37, tails .13 to .71.
EXPONENT_PRIOR = {"dist": "LogNormal", "kwargs": {"median": 0.33, "sigma": 0.4}}

LAW = Law(
    name="chinchilla",
    title="Additive law of parameters and tokens",
    group="Parameters and tokens",
    question="How should parameters and tokens divide a budget?",
    equation="L = E + A * N^-alpha + B * D^-beta",
    latex=r"L(N, D) = E + A\,N^{-\alpha} + B\,D^{-\beta}",
    source="Hoffmann et al. 2022, arXiv 2203.15556; Besiroglu et al. 2024, arXiv 2404.10102",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens", "tokens"),
    ),
    params=(
        Param("E", "irreducible loss", "nat/token"),
        Param("A", "loss owed to finite parameters, at the reference scale", "nat/token"),
        Param("alpha", "exponent of parameters", "1", prior=EXPONENT_PRIOR),
        Param("B", "loss owed to finite tokens, at the reference scale", "nat/token"),
        Param("beta", "exponent of tokens", "1", prior=EXPONENT_PRIOR),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    textbook=textbook,
    optimal_params=optimal_params,
)
