"""Law of repeated data: parameters and tokens count for what they are worth, not for what they are.

Muennighoff et al. 2023 (arXiv 2305.16264): ``L = E + A * N'^-alpha + B * D'^-beta``. The effective
tokens are ``D' = U + U * R_D * (1 - exp(-(D/U - 1) / R_D))`` for D tokens seen of which U are
unique: the first repeats are worth nearly what new tokens are, and all repeats together no more
than R_D times U. Likewise the effective parameters N' saturate in excess of U_N, the
compute-optimal parameters for U tokens. U_N follows from the law's own terms, by ``alpha * A *
U_N^-alpha = beta * B * U^-beta``; with the paper's constants (one exponent for both) it is .051 U.
"""

from typing import Any

import numpy as np

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import ramp


def effective(log_seen: Any, log_unique: Any, decay: Any) -> Any:
    """What is seen counts for, when what is unique is repeated and repeats lose their worth."""
    repeats = np.expm1(ramp(log_seen - log_unique))
    unique = np.exp(log_unique - ramp(log_unique - log_seen))
    return unique * (1 - decay * np.expm1(-repeats / decay))


def log_optimal(log_tokens: Any, A: Any, alpha: Any, B: Any, beta: Any) -> Any:
    """Log of the compute-optimal parameters for that many tokens."""
    return (np.log(alpha * A / (beta * B)) + beta * log_tokens) / alpha


def loss(
    params: Any,
    tokens: Any,
    unique_tokens: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    R_D: Any,
    R_N: Any,
) -> Any:
    """Loss at inputs given as ratios to the reference; unique tokens to that of tokens."""
    # No more tokens can be unique than were seen.
    log_unique = np.log(unique_tokens) - ramp(np.log(unique_tokens) - np.log(tokens))
    return chinchilla.loss(
        effective(np.log(params), log_optimal(log_unique, A, alpha, B, beta), R_N),
        effective(np.log(tokens), log_unique, R_D),
        E=E,
        A=A,
        alpha=alpha,
        B=B,
        beta=beta,
    )


def split(
    level: Any, shares: list[Any], *, alpha: Any, beta: Any, R_D: Any, R_N: Any
) -> dict[str, Any]:
    """Terms from shares, which divide the reducible loss as if no parameters were in excess.

    Both are then made larger or smaller alike, so that with the excess the loss is the level; that
    leaves their ratio as it is, on which the compute-optimal parameters depend.
    """
    floor, of_params, of_tokens = shares
    others = {"alpha": alpha, "beta": beta, "R_D": R_D, "R_N": R_N}
    reducible = loss(1.0, 1.0, 1.0, E=0.0, A=of_params, B=of_tokens, **others)
    scale = level * (of_params + of_tokens) / reducible
    return {"E": level * floor, "A": scale * of_params, "B": scale * of_tokens}


LAW = Law(
    name="repetition",
    title="Law of parameters, tokens and repeated data",
    group="What limits data",
    question="What are more epochs on the same data worth?",
    equation=(
        "L = E + A * N'^-alpha + B * D'^-beta, D' = U + U * R_D * (1 - exp(-(D/U - 1) / R_D)), "
        "N' = U_N + U_N * R_N * (1 - exp(-(N/U_N - 1) / R_N))"
    ),
    latex=(
        r"L = E + A\,N'^{-\alpha} + B\,D'^{-\beta},\quad "
        r"D' = U_D\left[1 + R_D^*\left(1 - e^{-(D/U_D - 1)/R_D^*}\right)\right],\quad "
        r"N' = U_N\left[1 + R_N^*\left(1 - e^{-(N/U_N - 1)/R_N^*}\right)\right]"
    ),
    source="Muennighoff et al. 2023, arXiv 2305.16264",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens seen, repeats counted", "tokens"),
        Input(
            "unique_tokens",
            "distinct training tokens, repeats not counted",
            "tokens",
            reference="tokens",
            at_most="tokens",
        ),
    ),
    params=(
        *chinchilla.LAW.params,
        Param(
            "R_D",
            "worth of endless repeats of the data, in times the data; the e-fold of their decay",
            "epochs",
            # 15.4 in the paper; with 47 its objective is a little lower still.
            prior={"dist": "LogNormal", "kwargs": {"median": 15.0, "sigma": 1.0}},
        ),
        Param(
            "R_N",
            "worth of endless excess parameters, in times the compute-optimal ones",
            "1",
            # 5.3 in the paper; with 2.3 its objective is a little lower still.
            prior={"dist": "LogNormal", "kwargs": {"median": 5.0, "sigma": 1.0}},
        ),
    ),
    loss=loss,
    terms=("E", "A", "B"),
    split=split,
    textbook=chinchilla.textbook,
)
