"""Problems that no sample of several solves: repeated sampling at inference (Brown et al. 2024, arXiv 2407.21787).

The share of problems that at least one of ``k`` samples solves, the coverage, is about ``exp(-A k^-b)``. Give
``-ln(coverage)`` as the loss. A floor ``E`` holds the problems that no number of samples solves.
"""

from typing import Any

from bayescale.laws._law import Input, Law, Param
from bayescale.laws._math import power


def loss(samples: Any, *, E: Any, A: Any, b: Any) -> Any:
    """Minus the log of coverage, at samples given as a ratio to the reference."""
    return E + A * power(samples, -b)


def textbook(reference: dict[str, float], *, A: Any, b: Any, **_: Any) -> dict[str, Any]:
    """The constant of one sample."""
    return {"A": A * power(reference["samples"], b)}


LAW = Law(
    name="coverage",
    title="Coverage of problems by repeated samples (Brown et al.)",
    group="At inference",
    question="How many more problems do more samples solve?",
    equation="-ln c(k) = E + A*k^-b",
    latex=r"-\ln c(k) = E + A\,k^{-b}",
    source="Brown et al. 2024, arXiv 2407.21787",
    inputs=(Input("samples", "samples drawn for each problem", "1"),),
    params=(
        Param("E", "part that no number of samples removes", "1"),
        Param("A", "part that more samples remove, at the reference", "1"),
        Param(
            "b",
            "exponent of samples",
            "1",
            # .2 to 1 in the paper's five tasks.
            prior={"dist": "LogNormal", "kwargs": {"median": 0.4, "sigma": 0.5}},
        ),
    ),
    loss=loss,
    terms=("E", "A"),
    textbook=textbook,
    outcome="success",
)
