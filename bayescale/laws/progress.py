"""Law of algorithmic progress: in later years the same model and data are worth more.

Ho et al. 2024 (arXiv 2403.05812): parameters and tokens count as ``N * exp(g_N * (year - 2020))``
and ``D * exp(g_D * (year - 2020))``. Their product is effective compute, which grows by ``g_N + g_D
= growth`` a year; how the growth divides between the two is hardly to be seen in data. The paper's
law has no irreducible loss. Here there is one: the default prior has it below a tenth of the loss at
the reference in one draw of a thousand, and the exponents are those of laws with a floor; to come near
the paper's form, give ``shares`` and exponents priors of your own.
"""

from typing import Any

import numpy as np

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param

#: Year to which the year is a ratio, and from which effective scales are counted.
BASE = 2020.0


def loss(
    params: Any,
    tokens: Any,
    year: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    growth: Any,
    of_params: Any,
) -> Any:
    """Loss at parameters and tokens given as ratios to the reference, the year to 2020."""
    gained = growth * BASE * (year - 1)
    return chinchilla.loss(
        params * np.exp(of_params * gained),
        tokens * np.exp((1 - of_params) * gained),
        E=E,
        A=A,
        alpha=alpha,
        B=B,
        beta=beta,
    )


LAW = Law(
    name="progress",
    title="Law of parameters, tokens and the year (algorithmic progress)",
    group="What changes the recipe",
    question="How much compute does a year of better algorithms save?",
    equation=(
        "L = E + A * N_eff^-alpha + B * D_eff^-beta, N_eff = N * exp(of_params * growth * "
        "(year - 2020)), D_eff = D * exp((1 - of_params) * growth * (year - 2020))"
    ),
    latex=(
        r"L = E + A\,N_{\mathrm{eff}}^{-\alpha} + B\,D_{\mathrm{eff}}^{-\beta},\quad "
        r"N_{\mathrm{eff}} = N e^{w g (Y - 2020)},\quad D_{\mathrm{eff}} = D e^{(1 - w) g (Y - 2020)}"
    ),
    source="Ho et al. 2024, arXiv 2403.05812",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens", "tokens"),
        Input(
            "year",
            "date of the model as a year, such as 2021.5",
            "year",
            reference=BASE,
            lower=2012.0,
            upper=2032.0,
        ),
    ),
    params=(
        *chinchilla.LAW.params,
        Param(
            "growth",
            "growth of effective compute: it doubles every log(2) / growth years",
            "1/year",
            # Doubling in 8.4 months in the paper, 4.5 to 14.3: a growth of .6 to 1.8.
            prior={"dist": "LogNormal", "kwargs": {"median": 1.0, "sigma": 0.3}},
        ),
        Param(
            "of_params",
            "share of the growth that makes parameters worth more, the rest tokens",
            "1",
            prior={"dist": "Beta", "kwargs": {"alpha": 2.0, "beta": 2.0}},
            support="unit",
        ),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    textbook=chinchilla.textbook,
)
