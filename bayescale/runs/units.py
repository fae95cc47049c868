"""Units of loss, and their conversion into nats per token."""

import math
from typing import Literal, get_args

import numpy as np

Unit = Literal["nat/token", "bit/token", "bit/byte", "perplexity"]
UNITS: tuple[str, ...] = get_args(Unit)


def to_nats(loss: np.ndarray, unit: Unit, tokens_per_byte: float | None = None) -> np.ndarray:
    """Losses in nats per token.

    Parameters
    ----------
    loss : numpy.ndarray
    unit : {"nat/token", "bit/token", "bit/byte", "perplexity"}
    tokens_per_byte : float, optional
        Tokens that the tokenizer makes of a byte of the test text, on average; for bits per byte alone.

    Raises
    ------
    ValueError
        If the unit is not known, or bits per byte come without their tokens.

    Examples
    --------
    >>> to_nats(np.array([1.0]), "bit/byte", tokens_per_byte=0.25).round(4).tolist()
    [2.7726]
    >>> to_nats(np.array([20.0]), "perplexity").round(4).tolist()
    [2.9957]
    """
    if unit not in UNITS:
        raise ValueError(f"unit = {unit!r}: expected one of {', '.join(UNITS)}")
    if (unit == "bit/byte") != (tokens_per_byte is not None):
        advice = (
            "say how many tokens the tokenizer makes of a byte of the test text: tokens_per_byte=0.25 or so"
            if unit == "bit/byte"
            else "tokens_per_byte goes with bit/byte alone"
        )
        raise ValueError(f"unit = {unit!r}, tokens_per_byte = {tokens_per_byte!r}: {advice}")
    if tokens_per_byte is not None:
        if not 0 < tokens_per_byte <= 4:
            raise ValueError(
                f"tokens_per_byte = {tokens_per_byte!r}: expected a number such as 0.25, one token for four bytes"
            )
        return np.asarray(loss * math.log(2) / tokens_per_byte)
    if unit == "perplexity":
        return np.asarray(np.log(loss))
    return np.asarray(loss * (math.log(2) if unit == "bit/token" else 1.0))
