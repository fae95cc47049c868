"""Chance that one of k samples solves a problem, where problems differ: the beta-binomial law of pass@k.

Each problem is solved by one sample with a chance of its own, and over problems these chances follow Beta(a, b). Then

    pass@k = 1 - B(a, b + k) / B(a, b),

and for large k its complement falls as ``k^-a``: the many problems that are next to hopeless make a power law of
exponentials (Schaeffer et al. 2025, arXiv 2502.17578, who forecast with this law from far fewer samples than a power
law needs). Give ``-ln(pass@k)`` as the loss, as for ``coverage``. Few samples inform both a and b, where a power law of
many samples is only its tail.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import log1p, log_gamma_ratio


def log_failure(samples: Any, a: Any, b: Any) -> Any:
    """Log of the chance that none of some samples solves a problem."""
    return log_gamma_ratio(b, a, samples)


def loss(samples: Any, *, a: Any, b: Any) -> Any:
    """Minus the log of pass@k."""
    # -log(1 - exp(-u)) as log(1 + 1 / (exp(u) - 1)), which keeps its digits where either of the two is next to nothing.
    return log1p(1 / np.expm1(-log_failure(samples, a, b)))


def split(level: Any, shares: list[Any], *, a: Any, **_: Any) -> dict[str, Any]:
    """From minus the log of pass@1, that is ``log((a + b) / a)``."""
    return {"b": a * np.expm1(level)}


LAW = Law(
    name="pass_at_k",
    title="Pass@k of problems whose difficulty is beta distributed",
    group="At inference",
    question="What will many samples solve, given what few samples solve?",
    equation="-ln pass@k = -ln(1 - B(a, b + k) / B(a, b))",
    latex=r"-\ln \mathrm{pass@}k = -\ln\left(1 - \frac{B(a, b + k)}{B(a, b)}\right)",
    source="Schaeffer et al. 2025, arXiv 2502.17578",
    inputs=(Input("samples", "samples drawn for each problem", "1", reference=1.0, lower=1.0),),
    params=(
        Param("b", "weight of failure in the beta distribution of the chance of a sample", "1"),
        Param(
            "a",
            "left tail of the chance of a sample: failure falls as samples^-a",
            "1",
            # .2 to 1 are the exponents of coverage in arXiv 2407.21787.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.4, "sigma": 0.6}},
        ),
    ),
    loss=loss,
    terms=("b",),
    # Of one sample, where the runs' own losses are of the most: 90 % at pass@1 of .5 to 89 %.
    level_prior={"dist": "LogNormal", "kwargs": {"median": 0.8, "sigma": 1.15}},
    split=split,
    floor=None,
    outcome="success",
)
