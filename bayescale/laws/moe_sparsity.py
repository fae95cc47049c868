"""Law of the sparsity of mixtures of experts, in all their parameters and the share that is active.

Abnar et al. 2025 (arXiv 2501.12370), printed ``a N^-alpha + b D^-beta + c (1 - S)^-lambda + d (1 -
S)^-delta N^-gamma + e`` with N all parameters and S the share that is inactive. Its lambda is
negative (-.167): with the density ``x = 1 - S`` one of the two terms falls as experts are added and
the other rises, so that some sparsity is best, and more of it the larger the model.
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
    C: Any,
    rise: Any,
    F: Any,
    delta: Any,
    gamma: Any,
) -> Any:
    """Loss at parameters and tokens given as ratios to the reference, and a density."""
    of_density = C * power(density, rise) + F * power(density, -delta) * power(params, -gamma)
    return chinchilla.loss(params, tokens, E=E, A=A, alpha=alpha, B=B, beta=beta) + of_density


def textbook(reference: dict[str, float], *, F: Any, gamma: Any, **params: Any) -> dict[str, Any]:
    """Amplitudes at one parameter and one token, as papers print them."""
    return chinchilla.textbook(reference, **params) | {"F": F * reference["params"] ** gamma}


LAW = Law(
    name="moe_sparsity",
    title="Law of parameters, tokens and the active share of a mixture of experts",
    group="What changes the model",
    question="Which share of a mixture of experts should be active?",
    equation=(
        "L = E + A * N^-alpha + B * D^-beta + C * x^rise + F * x^-delta * N^-gamma, x = 1 - S"
    ),
    latex=(
        r"L(N, D, S) = E + A\,N^{-\alpha} + B\,D^{-\beta} + C\,(1 - S)^{-\lambda} + "
        r"F\,(1 - S)^{-\delta}N^{-\gamma},\quad \lambda = -\mathrm{rise}"
    ),
    source="Abnar et al. 2025, arXiv 2501.12370",
    inputs=(
        Input("params", "model parameters, all experts counted", "parameters"),
        Input("tokens", "training tokens", "tokens"),
        Input(
            "density",
            "share of the parameters that one token passes through: 1 - sparsity",
            "1",
            reference=1.0,
            upper=1.0,
        ),
    ),
    params=(
        Param("E", "loss that neither scale nor sparsity removes", "nat/token"),
        Param("A", "loss owed to finite parameters, at the reference scale", "nat/token"),
        # .60 and .40 in the paper: steeper than other sweeps, as other terms share in the slope.
        Param(
            "alpha",
            "exponent of parameters",
            "1",
            prior={"dist": "LogNormal", "kwargs": {"median": 0.45, "sigma": 0.4}},
        ),
        Param("B", "loss owed to finite tokens, at the reference scale", "nat/token"),
        Param("beta", "exponent of tokens", "1", prior=chinchilla.EXPONENT_PRIOR),
        Param("C", "loss that sparsity can remove, at density 1", "nat/token"),
        Param(
            "rise",
            "exponent of density in what sparsity can remove",
            "1",
            # .167 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.17, "sigma": 0.4}},
        ),
        Param("F", "loss that sparsity adds to, at the reference scale and density 1", "nat/token"),
        Param(
            "delta",
            "exponent of density in what sparsity adds to",
            "1",
            # .160 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.16, "sigma": 0.4}},
        ),
        Param(
            "gamma",
            "exponent of parameters in what sparsity adds to",
            "1",
            # .160 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.16, "sigma": 0.4}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B", "C", "F"),
    textbook=textbook,
    falls_in=("params", "tokens"),
    has_limit=False,
)
