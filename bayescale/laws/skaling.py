"""Coupled law of parameters and tokens: ``L = E + [(A * N^-alpha)^(1/k) + (B * D^-beta)^(1/k)]^k``.

The q-nesting form (q = k): Chinchilla at k = 1, Kaplan at E = 0 and k = beta, a bottleneck as k
goes to 0. Each exponent keeps its meaning: it is the elasticity of the reducible loss where its
input alone is short. arXiv 2608.07222 writes the surface as ``E + A (N^-alpha + R D^-beta)^k``.
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power
from bayescale.laws.chinchilla import EXPONENT_PRIOR, textbook


def loss(params: Any, tokens: Any, *, E: Any, A: Any, alpha: Any, B: Any, beta: Any, k: Any) -> Any:
    """Loss at parameters and tokens given as ratios to the reference."""
    of_params = power(A * power(params, -alpha), 1 / k)
    of_tokens = power(B * power(tokens, -beta), 1 / k)
    return E + power(of_params + of_tokens, k)


def split(level: Any, shares: list[Any], *, k: Any, **_: Any) -> dict[str, Any]:
    """Terms whose coupled sum is the level; shares divide the reducible loss to the power 1/k."""
    floor, of_params, of_tokens = shares
    reducible = of_params + of_tokens
    return {
        "E": level * floor,
        "A": level * reducible * (of_params / reducible) ** k,
        "B": level * reducible * (of_tokens / reducible) ** k,
    }


def optimal_params(product: Any, *, A: Any, alpha: Any, B: Any, beta: Any, k: Any, **_: Any) -> Any:
    """Compute-optimal parameters: Chinchilla's closed form in the exponents divided by k."""
    ratio = alpha / beta * power(A / B, 1 / k) * power(product, beta / k)
    return power(ratio, k / (alpha + beta))


LAW = Law(
    name="skaling",
    title="Coupled law of parameters and tokens (contains Chinchilla and Kaplan)",
    group="Parameters and tokens",
    question="What if parameters and tokens do not act independently?",
    equation="L = E + ((A * N^-alpha)^(1/k) + (B * D^-beta)^(1/k))^k",
    latex=r"L(N, D) = E + \left[(A\,N^{-\alpha})^{1/k} + (B\,D^{-\beta})^{1/k}\right]^{k}",
    source=(
        "Skaling, arXiv 2608.07222; "
        "contains Hoffmann et al. 2022 (2203.15556), Kaplan et al. 2020 (2001.08361)"
    ),
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
        Param(
            "k",
            "coupling: 1 adds the two terms, smaller makes them a bottleneck",
            "1",
            # Published fits range over .3 to .9 (arXiv 2608.07222); 1 is Chinchilla.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.6, "sigma": 0.4}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    split=split,
    textbook=textbook,
    optimal_params=optimal_params,
)
