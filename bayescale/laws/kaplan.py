"""Law of parameters and tokens without a floor: ``L = ((Nc/N)^(alpha/beta) + Dc/D)^beta``.

Kaplan et al. 2020 (arXiv 2001.08361), equation 1.5, with ``alpha = alpha_N`` and ``beta =
alpha_D``; N there counts parameters without embeddings. Nc and Dc are the scales at which either
input alone, the other unlimited, would give a loss of one nat.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(params: Any, tokens: Any, *, Nc: Any, alpha: Any, Dc: Any, beta: Any) -> Any:
    """Loss at parameters and tokens given as ratios to the reference."""
    return power(power(Nc / params, alpha / beta) + Dc / tokens, beta)


def split(level: Any, shares: list[Any], *, alpha: Any, beta: Any, **_: Any) -> dict[str, Any]:
    """Scales of one nat, from the loss at the reference; shares divide it to the power 1/beta."""
    of_params, of_tokens = shares
    return {
        "Nc": np.exp((np.log(level) + beta * np.log(of_params)) / alpha),
        "Dc": np.exp(np.log(level) / beta + np.log(of_tokens)),
    }


def textbook(reference: dict[str, float], *, Nc: Any, Dc: Any, **_: Any) -> dict[str, Any]:
    """Nc in parameters and Dc in tokens."""
    return {"Nc": Nc * reference["params"], "Dc": Dc * reference["tokens"]}


def optimal_params(product: Any, *, Nc: Any, alpha: Any, Dc: Any, beta: Any, **_: Any) -> Any:
    """Compute-optimal parameters: a power of the product, with exponent beta / (alpha + beta)."""
    ratio = alpha / beta
    return power(ratio * power(Nc, ratio) * product / Dc, 1 / (1 + ratio))


# Without a floor exponents come out small: .076 and .103 in the paper, table 2; near .16 where the
# additive law with a floor holds, at 1e8 parameters. 90 % of this prior is at .067 to .25. Wider
# ones make the two exponents differ tenfold, and one input then cannot be seen.
EXPONENT_PRIOR = {"dist": "LogNormal", "kwargs": {"median": 0.13, "sigma": 0.4}}

LAW = Law(
    name="kaplan",
    title="Law of parameters and tokens without floor (Kaplan)",
    group="Parameters and tokens",
    question="What do parameters and tokens buy, if loss has no floor?",
    equation="L = ((Nc/N)^(alpha/beta) + Dc/D)^beta",
    latex=r"L(N, D) = \left[\left(\frac{N_c}{N}\right)^{\alpha/\beta} + \frac{D_c}{D}\right]^{\beta}",
    source="Kaplan et al. 2020, arXiv 2001.08361",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens", "tokens"),
    ),
    params=(
        Param("Nc", "parameters at which the loss is one nat, as a ratio to the reference", "1"),
        Param("alpha", "exponent of parameters", "1", prior=EXPONENT_PRIOR),
        Param("Dc", "tokens at which the loss is one nat, as a ratio to the reference", "1"),
        Param("beta", "exponent of tokens", "1", prior=EXPONENT_PRIOR),
    ),
    loss=loss,
    terms=("Nc", "Dc"),
    split=split,
    textbook=textbook,
    optimal_params=optimal_params,
    floor=None,
)
