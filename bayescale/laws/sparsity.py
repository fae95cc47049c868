"""Law of sparse weights: ``L = E + A * (1 - w + w * x^delta) * N^-alpha + B * D^-beta``.

Frantar et al. 2023 (arXiv 2309.08520), printed ``(a_S (1 - S)^b_S + c_S) N^-b_N + (a_D / D)^b_D +
c`` with N the non-zero parameters and S the sparsity: ``x = 1 - S``, ``A = a_S + c_S``, ``w = a_S /
A`` and ``delta = b_S``. A sparse model is worth a dense one of ``N * (1 - w + w * x^delta)^(-1 /
alpha)`` parameters. At a fixed number of non-zero parameters the loss *falls* with sparsity, since
the sparse model is the larger one.
"""

from typing import Any

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(
    params: Any,
    tokens: Any,
    density: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    w: Any,
    delta: Any,
) -> Any:
    """Loss at non-zero parameters and tokens given as ratios to the reference, and a density."""
    effective = params * power(1 - w + w * power(density, delta), -1 / alpha)
    return chinchilla.loss(effective, tokens, E=E, A=A, alpha=alpha, B=B, beta=beta)


LAW = Law(
    name="sparsity",
    title="Law of non-zero parameters, tokens and density",
    group="What changes the model",
    question="How large a dense model is a sparse one worth?",
    equation="L = E + A * (1 - w + w * x^delta) * N^-alpha + B * D^-beta, x = 1 - S",
    latex=(
        r"L(N, D, S) = E + A\left(1 - w + w\,(1 - S)^{\delta}\right)N^{-\alpha} + B\,D^{-\beta}"
    ),
    source="Frantar et al. 2023, arXiv 2309.08520",
    inputs=(
        Input("params", "model parameters that are not zero", "parameters"),
        Input("tokens", "training tokens", "tokens"),
        Input(
            "density",
            "share of the parameters that are not zero: 1 - sparsity",
            "1",
            reference=1.0,
            upper=1.0,
        ),
    ),
    params=(
        *chinchilla.LAW.params,
        Param(
            "w",
            "share of what is owed to parameters that utmost sparsity removes",
            "1",
            # .27 for language (T5) and .39 for vision (ViT) in the paper.
            prior={"dist": "Beta", "kwargs": {"alpha": 2.0, "beta": 4.0}},
            support="unit",
        ),
        Param(
            "delta",
            "exponent of density",
            "1",
            # .72 and .82 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.77, "sigma": 0.4}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    textbook=chinchilla.textbook,
    falls_in=("params", "tokens"),
)
