"""Law of quantisation after training: ``L = E + A * N^-alpha + B * D^-beta + Q * (...)``.

Kumar et al. 2024 (arXiv 2411.04330): rounding the weights of a trained model to P bits adds ``C_T *
D^d / N^n * exp(-P / gamma)`` to its loss. The more tokens a model has seen, the more it has to lose:
past some number of them more training makes the quantised model worse. At fixed bits the loss has no
limit where d exceeds n, as in the paper: grown together, parameters and tokens then raise it without end.
Only bits that grow too remove what rounding adds.
"""

from typing import Any

import numpy as np

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power

#: Bits to which those of the weights are a ratio.
FEW = 4.0


def loss(
    params: Any,
    tokens: Any,
    weight_bits: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    Q: Any,
    d: Any,
    n: Any,
    gamma: Any,
) -> Any:
    """Loss at parameters and tokens given as ratios to the reference, bits to four."""
    trained = chinchilla.loss(params, tokens, E=E, A=A, alpha=alpha, B=B, beta=beta)
    rounding = power(tokens, d) * power(params, -n) * np.exp(-FEW * (weight_bits - 1) / gamma)
    return trained + Q * rounding


def textbook(
    reference: dict[str, float], *, Q: Any, d: Any, n: Any, **params: Any
) -> dict[str, Any]:
    """Amplitudes at one parameter and one token; that of rounding stays at four bits."""
    of_rounding = Q * reference["tokens"] ** -d * reference["params"] ** n
    return chinchilla.textbook(reference, **params) | {"Q": of_rounding}


LAW = Law(
    name="quantisation",
    title="Law of parameters, tokens and the bits of weights rounded after training",
    group="What changes the model",
    question="To how many bits can a trained model be rounded?",
    equation="L = E + A * N^-alpha + B * D^-beta + Q * D^d * N^-n * exp(-(P - 4) / gamma)",
    latex=(
        r"L(N, D, P) = E + A\,N^{-\alpha} + B\,D^{-\beta} + "
        r"Q\,\frac{D^{d}}{N^{n}}\,e^{-(P - 4)/\gamma}"
    ),
    source="Kumar et al. 2024, arXiv 2411.04330",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens", "tokens"),
        Input(
            "weight_bits",
            "bits of the weights after training; 16 where nothing was rounded",
            "bits",
            reference=FEW,
            lower=2.0,
        ),
    ),
    params=(
        *chinchilla.LAW.params,
        Param("Q", "loss that rounding to four bits adds, at the reference scale", "nat/token"),
        Param(
            "d",
            "exponent of tokens in what rounding adds",
            "1",
            # .51 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.5, "sigma": 0.3}},
        ),
        Param(
            "n",
            "exponent of parameters in what rounding adds",
            "1",
            # .34 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.34, "sigma": 0.3}},
        ),
        Param(
            "gamma",
            "bits that divide what rounding adds by e",
            "bits",
            # .59 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.6, "sigma": 0.3}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B", "Q"),
    textbook=textbook,
    falls_in=("params", "weight_bits"),
)
