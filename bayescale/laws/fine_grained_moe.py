"""Law of fine-grained experts: ``L = E + (A + g * G^-delta) * N^-alpha + B * D^-beta``.

Krajewski et al. 2024 (arXiv 2402.07871). The granularity G is how many times smaller an expert is
than the feed-forward layer that it replaces, at a fixed number of parameters: the paper routes
among 64 G experts of which G serve one token.
"""

from typing import Any

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(
    params: Any,
    tokens: Any,
    granularity: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    g: Any,
    delta: Any,
) -> Any:
    """Loss at parameters and tokens given as ratios to the reference, and a granularity."""
    amplitude = A + g * power(granularity, -delta)
    return chinchilla.loss(params, tokens, E=E, A=amplitude, alpha=alpha, B=B, beta=beta)


def textbook(reference: dict[str, float], *, g: Any, alpha: Any, **params: Any) -> dict[str, Any]:
    """Amplitudes at one parameter and one token, as papers print them."""
    amplitudes = chinchilla.textbook(reference, alpha=alpha, **params)
    return amplitudes | {"g": g * reference["params"] ** alpha}


LAW = Law(
    name="fine_grained_moe",
    title="Law of parameters, tokens and the granularity of experts",
    group="What changes the model",
    question="How finely should the experts of a model be divided?",
    equation="L = E + (A + g * G^-delta) * N^-alpha + B * D^-beta",
    latex=r"L(N, D, G) = E + \left(A + \frac{g}{G^{\delta}}\right)N^{-\alpha} + B\,D^{-\beta}",
    source="Krajewski et al. 2024, arXiv 2402.07871",
    inputs=(
        Input("params", "model parameters, all experts counted", "parameters"),
        Input("tokens", "training tokens", "tokens"),
        Input(
            "granularity",
            "times that an expert is smaller than the layer it replaces",
            "1",
            reference=1.0,
        ),
    ),
    params=(
        *chinchilla.LAW.params,
        Param("g", "loss owed to coarse experts, at the reference scale and G = 1", "nat/token"),
        Param(
            "delta",
            "exponent of granularity",
            "1",
            # .58 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.58, "sigma": 0.4}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B", "g"),
    textbook=textbook,
)
