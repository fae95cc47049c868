"""Law of fine-tuning: what a model learned before counts as further tokens of the new data.

Hernandez et al. 2021 (arXiv 2102.01293): the effective tokens are ``D + k * D^a * N^b``, those of
fine-tuning and those transferred. The paper compares with models trained from scratch; here
``L = E + A * N^-alpha + B * (D + k * D^a * N^b)^-beta`` is fitted to fine-tuned models alone, and k
is read off how the slope in D steepens where fine-tuning outgrows what was transferred. Runs that
do not reach there leave k to its prior.
"""

from typing import Any

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(
    params: Any,
    tokens: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    k: Any,
    a: Any,
    b: Any,
) -> Any:
    """Loss at parameters and tokens of fine-tuning given as ratios to the reference."""
    effective = tokens + k * power(tokens, a) * power(params, b)
    return chinchilla.loss(params, effective, E=E, A=A, alpha=alpha, B=B, beta=beta)


def split(level: Any, shares: list[Any], *, beta: Any, k: Any, **_: Any) -> dict[str, Any]:
    """Shares of the loss with transfer; B is what tokens would leave without it."""
    floor, of_params, of_tokens = shares
    return {
        "E": level * floor,
        "A": level * of_params,
        "B": level * of_tokens * power(1 + k, beta),
    }


def textbook(
    reference: dict[str, float], *, k: Any, a: Any, b: Any, **params: Any
) -> dict[str, Any]:
    """Amplitudes at one parameter and one token, as papers print them."""
    transferred = k * reference["tokens"] ** (1 - a) * reference["params"] ** -b
    return chinchilla.textbook(reference, **params) | {"k": transferred}


LAW = Law(
    name="transfer",
    title="Law of parameters and tokens of fine-tuning",
    group="What limits data",
    question="How many tokens of the new data is pre-training worth?",
    equation="L = E + A * N^-alpha + B * (D + k * D^a * N^b)^-beta",
    latex=(r"L(N, D) = E + A\,N^{-\alpha} + B\,(D + D_T)^{-\beta},\quad D_T = k\,D^{a}\,N^{b}"),
    source="Hernandez et al. 2021, arXiv 2102.01293",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens of fine-tuning", "tokens"),
    ),
    params=(
        *chinchilla.LAW.params,
        Param(
            "k",
            "tokens transferred for each token of fine-tuning, at the reference scale",
            "1",
            # From text to code, in the paper: 500 at 3e5 tokens and 4e7 parameters, .6 at 1e9.
            prior={"dist": "LogNormal", "kwargs": {"median": 3.0, "sigma": 1.5}},
            relative=True,
        ),
        Param(
            "a",
            "exponent of the tokens of fine-tuning in what is transferred",
            "1",
            # .18 from text and .096 from text and code in the paper.
            prior={"dist": "Beta", "kwargs": {"alpha": 2.0, "beta": 10.0}},
            support="unit",
        ),
        Param(
            "b",
            "exponent of parameters in what is transferred",
            "1",
            # .38 in both of the paper's settings.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.38, "sigma": 0.3}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    split=split,
    textbook=textbook,
)
