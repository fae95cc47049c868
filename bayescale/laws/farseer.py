"""Farseer's law: the loss owed to tokens falls with an exponent that depends on parameters.

Li et al. 2025 (arXiv 2506.10972): ``L = exp(b3 + a3 * N^gamma) + exp(b2 + a2 * N^-beta) * D^-x``
with ``x = exp(b1 + a1 * N^alpha)``, a1 and a3 negative. The parameters here say the same at the
reference scale of parameters and at 1e10 tokens: ``E`` is the first term, what endless tokens would
leave; ``B`` the second, ``eta`` its exponent x and ``tilt`` its log-slope in parameters; ``s1 = -a1
* N^alpha`` and ``s3 = -a3 * N^gamma``. Larger models gain less from more tokens, so the second term
may rise with parameters: only in tokens does the loss always fall.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power

#: Tokens to which tokens are a ratio. Of this law the constants alone cannot take up another unit,
#: since the exponent of tokens depends on parameters.
UNIT = 1e10


def exponent(params: Any, eta: Any, s1: Any, alpha: Any) -> Any:
    """Exponent of tokens at parameters given as a ratio to the reference."""
    return eta * np.exp(-s1 * (power(params, alpha) - 1))


def loss(
    params: Any,
    tokens: Any,
    *,
    E: Any,
    s3: Any,
    gamma: Any,
    B: Any,
    tilt: Any,
    beta: Any,
    eta: Any,
    s1: Any,
    alpha: Any,
) -> Any:
    """Loss at parameters given as a ratio to the reference, tokens to 1e10."""
    x = exponent(params, eta, s1, alpha)
    # The paper's a2 * N^-beta at the reference, from the slope of the second term there.
    s2 = (eta * s1 * alpha * np.log(UNIT) - tilt) / beta
    log_amplitude = s2 * (power(params, -beta) - 1) - (x - eta) * np.log(UNIT)
    endless = E * np.exp(-s3 * (power(params, gamma) - 1))
    return endless + B * np.exp(log_amplitude - x * np.log(tokens))


LAW = Law(
    name="farseer",
    title="Law whose exponent of tokens depends on parameters (Farseer)",
    group="Parameters and tokens",
    question="What if larger models gain less from more tokens?",
    equation="L = exp(b3 + a3 * N^gamma) + exp(b2 + a2 * N^-beta) * D^-exp(b1 + a1 * N^alpha)",
    latex=(
        r"L(N, D) = e^{a_3 N^{\gamma} + b_3} + e^{a_2 N^{-\beta} + b_2}\,"
        r"D^{-\exp(a_1 N^{\alpha} + b_1)}"
    ),
    source="Li et al. 2025, arXiv 2506.10972",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens", "tokens", reference=UNIT),
    ),
    params=(
        Param("E", "loss that endless tokens leave, at the reference scale", "nat/token"),
        Param(
            "s3",
            "-a3 * N^gamma at the reference scale",
            "1",
            # .7 at 1e9 parameters in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.7, "sigma": 0.5}},
            relative=True,
        ),
        Param(
            "gamma",
            "exponent of parameters in what endless tokens leave",
            "1",
            # .169 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.17, "sigma": 0.3}},
        ),
        Param("B", "loss owed to finite tokens, at the reference scale", "nat/token"),
        Param(
            "tilt",
            "log-slope in parameters of the loss owed to finite tokens, at the reference scale",
            "1",
            # .3 at 1e9 parameters in the paper.
            prior={"dist": "Normal", "kwargs": {"mu": 0.0, "sigma": 0.3}},
            support="real",
            relative=True,
        ),
        Param(
            "beta",
            "exponent of parameters in the amplitude of what is owed to tokens",
            "1",
            # .1 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.1, "sigma": 0.3}},
        ),
        Param(
            "eta",
            "exponent of tokens at the reference scale",
            "1",
            # .31 at 1e9 parameters in the paper, within what other laws give.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.33, "sigma": 0.4}},
            relative=True,
        ),
        Param(
            "s1",
            "-a1 * N^alpha at the reference scale",
            "1",
            # 1.6 at 1e9 parameters in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 1.3, "sigma": 0.3}},
            relative=True,
        ),
        Param(
            "alpha",
            "exponent of parameters in the exponent of tokens",
            "1",
            # .123 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.12, "sigma": 0.3}},
        ),
    ),
    loss=loss,
    terms=("E", "B"),
    floor=None,
    falls_in=("tokens",),
    has_limit=False,
)
