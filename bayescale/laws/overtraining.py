"""Law of over-trained models, one exponent for both inputs: ``L = E + A N^(-2 eta) + B D^(-2 eta)``.

Gadre et al. 2024 (arXiv 2403.08540) state it in compute C and tokens per parameter M,
``L = E + (a * M^eta + b * M^-eta) * C^-eta``. With ``C = 6 N D`` and ``M = D / N`` that is the
additive law with equal exponents: ``a = A * 6^eta``, ``b = B * 6^eta``. All ratios M have the same
slope in compute, and the best ratio is the same at every budget.
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(params: Any, tokens: Any, *, E: Any, A: Any, B: Any, eta: Any) -> Any:
    """Loss at parameters and tokens given as ratios to the reference."""
    return E + A * power(params, -2 * eta) + B * power(tokens, -2 * eta)


def textbook(reference: dict[str, float], *, A: Any, B: Any, eta: Any, **_: Any) -> dict[str, Any]:
    """Amplitudes at one parameter and one token."""
    return {
        "A": A * reference["params"] ** (2 * eta),
        "B": B * reference["tokens"] ** (2 * eta),
    }


def optimal_params(product: Any, *, A: Any, B: Any, eta: Any, **_: Any) -> Any:
    """Compute-optimal parameters: the root of the product, at a ratio that never changes."""
    return power(A / B, 1 / (4 * eta)) * power(product, 0.5)


LAW = Law(
    name="overtraining",
    title="Law of parameters and tokens with one exponent (over-training)",
    group="Parameters and tokens",
    question="What does over-training a smaller model cost in loss?",
    equation="L = E + A * N^(-2 * eta) + B * D^(-2 * eta)",
    latex=r"L(N, D) = E + A\,N^{-2\eta} + B\,D^{-2\eta} = E + (a M^{\eta} + b M^{-\eta})\,C^{-\eta}",
    source="Gadre et al. 2024, arXiv 2403.08540",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens", "tokens"),
    ),
    params=(
        Param("E", "irreducible loss", "nat/token"),
        Param("A", "loss owed to finite parameters, at the reference scale", "nat/token"),
        Param("B", "loss owed to finite tokens, at the reference scale", "nat/token"),
        Param(
            "eta",
            "exponent of compute at a fixed ratio of tokens to parameters",
            "1",
            # Half the exponent of either input, which clusters in .25 to .37.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.165, "sigma": 0.4}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    textbook=textbook,
    optimal_params=optimal_params,
)
