"""Law of training precision: bits that are missing count as missing parameters.

Kumar et al. 2024 (arXiv 2411.04330): ``L = E + A * N_eff^-alpha + B * D^-beta`` with ``N_eff = N *
(1 - exp(-P / gamma))^3`` for weights, activations and KV cache all trained at P bits; the paper
also fits one gamma for each of the three (2.67, 2.21 and .96 bits).
"""

from typing import Any

import numpy as np

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power

#: Bits to which precision is a ratio.
FULL = 16.0


def worth(precision: Any, gamma: Any) -> Any:
    """Share of the parameters that counts, at a precision given as a ratio to sixteen bits."""
    return power(-np.expm1(-FULL * precision / gamma), 3)


def loss(
    params: Any,
    tokens: Any,
    precision: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    gamma: Any,
) -> Any:
    """Loss at parameters and tokens given as ratios to the reference, precision to 16 bits."""
    effective = params * worth(precision, gamma)
    return chinchilla.loss(effective, tokens, E=E, A=A, alpha=alpha, B=B, beta=beta)


def split(level: Any, shares: list[Any], *, alpha: Any, gamma: Any, **_: Any) -> dict[str, Any]:
    """Shares of the loss at sixteen bits; A is that of parameters of full worth."""
    floor, of_params, of_tokens = shares
    full = level * of_params * power(worth(1.0, gamma), alpha)
    return {"E": level * floor, "A": full, "B": level * of_tokens}


LAW = Law(
    name="precision",
    title="Law of parameters, tokens and training precision",
    group="What changes the model",
    question="In how many bits to train, and what do fewer cost?",
    equation="L = E + A * (N * (1 - exp(-P/gamma))^3)^-alpha + B * D^-beta",
    latex=(
        r"L(N, D, P) = E + A\,N_{\mathrm{eff}}^{-\alpha} + B\,D^{-\beta},\quad "
        r"N_{\mathrm{eff}} = N\left(1 - e^{-P/\gamma}\right)^3"
    ),
    source="Kumar et al. 2024, arXiv 2411.04330",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens", "tokens"),
        Input(
            "precision",
            "bits in which weights, activations and KV cache are trained",
            "bits",
            reference=FULL,
            lower=1.0,
        ),
    ),
    params=(
        *chinchilla.LAW.params,
        Param(
            "gamma",
            "bits over which the worth of a parameter comes to be full",
            "bits",
            # .96 to 2.67 for the three parts of a model in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 2.0, "sigma": 0.4}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    split=split,
    textbook=chinchilla.textbook,
)
