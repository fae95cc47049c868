"""Law of the vocabulary: ``L = E + A * N^-alpha + V * N_v^-delta + B * H^-beta``.

Tao et al. 2024 (arXiv 2407.13623): N counts parameters outside the vocabulary, N_v those of the
vocabulary (its size times the width), H the characters of training text. Losses of different
vocabularies are compared per character, or less the loss of a unigram model: that difference may
be negative, and a constant that makes it positive moves E alone. The loss per token is not
comparable.
"""

from typing import Any

from bayescale.laws import chinchilla
from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(
    params: Any,
    vocab_params: Any,
    characters: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    V: Any,
    delta: Any,
    B: Any,
    beta: Any,
) -> Any:
    """Loss at inputs given as ratios to the reference."""
    return (
        E
        + A * power(params, -alpha)
        + V * power(vocab_params, -delta)
        + B * power(characters, -beta)
    )


def textbook(
    reference: dict[str, float],
    *,
    A: Any,
    alpha: Any,
    V: Any,
    delta: Any,
    B: Any,
    beta: Any,
    **_: Any,
) -> dict[str, Any]:
    """Amplitudes at one parameter and one character."""
    return {
        "A": A * reference["params"] ** alpha,
        "V": V * reference["vocab_params"] ** delta,
        "B": B * reference["characters"] ** beta,
    }


LAW = Law(
    name="vocabulary",
    title="Law of parameters, parameters of the vocabulary, and characters",
    group="What changes the model",
    question="How large should the vocabulary of a model be?",
    equation="L = E + A * N^-alpha + V * N_v^-delta + B * H^-beta",
    latex=r"L(N, N_v, H) = E + A\,N^{-\alpha} + V\,N_v^{-\delta} + B\,H^{-\beta}",
    source="Tao et al. 2024, arXiv 2407.13623",
    inputs=(
        Input("params", "model parameters outside the vocabulary", "parameters"),
        Input("vocab_params", "parameters of the vocabulary: its size times width", "parameters"),
        Input("characters", "characters of training text", "characters"),
    ),
    params=(
        Param("E", "irreducible loss", "nat/character"),
        Param("A", "loss owed to finite parameters, at the reference scale", "nat/character"),
        # .447 in the paper for both, within the spread of other sweeps.
        Param("alpha", "exponent of parameters", "1", prior=chinchilla.EXPONENT_PRIOR),
        Param("V", "loss owed to a finite vocabulary, at the reference scale", "nat/character"),
        Param(
            "delta",
            "exponent of parameters of the vocabulary",
            "1",
            # .671 in the paper.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.67, "sigma": 0.4}},
        ),
        Param("B", "loss owed to finite text, at the reference scale", "nat/character"),
        Param("beta", "exponent of characters", "1", prior=chinchilla.EXPONENT_PRIOR),
    ),
    loss=loss,
    terms=("E", "A", "V", "B"),
    textbook=textbook,
)
