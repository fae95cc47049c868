"""Error of a majority vote over samples, which saturates: ``L = E + H * (2 / pi) * arctan(1 / (s * sqrt(k)))``.

Wu et al. 2024 (arXiv 2408.00724): with ever more samples of each problem the vote settles on the most common answer, so
that the error tends to the share of problems whose most common answer is wrong, and on each problem it does so
exponentially. The mean over problems depends on how close their votes are. Here the margin between the two leading
answers, in standard errors of one sample, is half-normal with scale ``s``; by the normal approximation a vote of k
samples then goes against the more common answer with chance ``arctan(1 / (s sqrt(k))) / pi``. That closed form is ours:
the paper states the limit. Where many problems are close calls the error falls with the root of k.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def undecided(samples: Any, s: Any) -> Any:
    """Share of what voting can remove that is left: 1 without samples, 0 with samples without end."""
    return np.arctan(1 / (s * np.sqrt(samples))) * (2 / np.pi)


def loss(samples: Any, *, E: Any, H: Any, s: Any) -> Any:
    """Error of the vote at samples given as a ratio to the reference."""
    return E + H * undecided(samples, s)


def split(level: Any, shares: list[Any], *, s: Any, **_: Any) -> dict[str, Any]:
    """Floor as its share of the error at the reference, and the height that leaves the rest there."""
    floor, left = shares
    return {"E": level * floor, "H": level * left / undecided(1.0, s)}


def textbook(reference: dict[str, float], *, H: Any, s: Any, **_: Any) -> dict[str, Any]:
    """Margin of one sample; the height does not depend on the scale."""
    return {"H": H, "s": s * power(reference["samples"], -0.5)}


LAW = Law(
    name="voting",
    title="Error of a majority vote over samples, which saturates",
    group="At inference",
    question="How low does a majority vote bring the error?",
    equation="1 - acc = E + H * (2/pi) * arctan(1 / (s * sqrt(k)))",
    latex=r"1 - \mathrm{acc}(k) = E + \frac{2H}{\pi}\arctan\frac{1}{s\sqrt{k}}",
    source="Limit: Wu et al. 2024, arXiv 2408.00724; approach to it: normal approximation of a vote",
    inputs=(Input("samples", "samples that vote on each problem", "1"),),
    params=(
        Param("E", "error that no vote removes: problems whose most common answer is wrong", "1"),
        Param("H", "all that voting can remove", "1"),
        Param(
            "s",
            "typical margin of a vote of the reference number of samples, in standard errors",
            "1",
            # A vote of some tens of samples is decided on most problems, and not on all.
            prior={"dist": "LogNormal", "kwargs": {"median": 2.0, "sigma": 0.8}},
            relative=True,
        ),
    ),
    loss=loss,
    terms=("E", "H"),
    split=split,
    textbook=textbook,
    outcome="error",
)
