"""Law of two modalities in one model: ``L = E + A N^-alpha + B Di^-beta + G Dj^-gamma + H M^-delta``.

Aghajanyan et al. 2023 (arXiv 2301.03728): the mean of the two modalities' own laws, less the most that they can help
each other, ``C``, and more by what they compete for, ``A_ij N^-alpha_ij + B_ij (Di + Dj)^-beta_ij``. The three terms of
the parameters are one here, since a table of mixed runs cannot tell them apart; ``M = (Di + Dj) / 2``, so that the
paper's ``B_ij`` is ``H * 2^delta``. ``E`` is the mean of the modalities' floors less ``C``: subtract it from that mean,
had from runs of one modality each, to see whether the two help each other.
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(
    params: Any,
    tokens: Any,
    other_tokens: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    G: Any,
    gamma: Any,
    H: Any,
    delta: Any,
) -> Any:
    """Mean loss of the two modalities at inputs given as ratios to the reference."""
    return (
        E
        + A * power(params, -alpha)
        + B * power(tokens, -beta)
        + G * power(other_tokens, -gamma)
        + H * power((tokens + other_tokens) / 2, -delta)
    )


def textbook(
    reference: dict[str, float],
    *,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    G: Any,
    gamma: Any,
    H: Any,
    delta: Any,
    **_: Any,
) -> dict[str, Any]:
    """Amplitudes at one parameter and at one token."""
    return {
        "A": A * reference["params"] ** alpha,
        "B": B * reference["tokens"] ** beta,
        "G": G * reference["other_tokens"] ** gamma,
        "H": H * reference["tokens"] ** delta,
    }


# .11 to .37 for parameters and .11 to .32 for tokens in the paper's six modalities.
EXPONENT_PRIOR = {"dist": "LogNormal", "kwargs": {"median": 0.22, "sigma": 0.5}}

LAW = Law(
    name="modalities",
    title="Law of parameters and the tokens of two modalities",
    group="What limits data",
    question="Do two modalities in one model help each other?",
    equation="L = E + A*N^-alpha + B*Di^-beta + G*Dj^-gamma + H*((Di + Dj)/2)^-delta",
    latex=(
        r"L(N, D_i, D_j) = E + A\,N^{-\alpha} + B\,D_i^{-\beta} + G\,D_j^{-\gamma}"
        r" + H\left(\tfrac{D_i + D_j}{2}\right)^{-\delta}"
    ),
    source="Aghajanyan et al. 2023, arXiv 2301.03728",
    inputs=(
        Input("params", "model parameters", "parameters"),
        Input("tokens", "training tokens of the first modality", "tokens"),
        Input(
            "other_tokens", "training tokens of the second modality", "tokens", reference="tokens"
        ),
    ),
    params=(
        Param(
            "E", "mean of the floors, less the most that modalities help each other", "nat/token"
        ),
        Param("A", "loss owed to finite parameters, at the reference scale", "nat/token"),
        Param("alpha", "exponent of parameters", "1", prior=EXPONENT_PRIOR),
        Param("B", "loss owed to tokens of the first modality, at the reference", "nat/token"),
        Param("beta", "exponent of tokens of the first modality", "1", prior=EXPONENT_PRIOR),
        Param("G", "loss owed to tokens of the second modality, at the reference", "nat/token"),
        Param("gamma", "exponent of tokens of the second modality", "1", prior=EXPONENT_PRIOR),
        Param("H", "loss owed to competition for all tokens, at the reference", "nat/token"),
        Param("delta", "exponent of all tokens", "1", prior=EXPONENT_PRIOR),
    ),
    loss=loss,
    terms=("E", "A", "B", "G", "H"),
    textbook=textbook,
)
