"""The observed variable of rates in (0, 1): scores of tasks, and a loss that is a rate itself."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayescale.rates import EDGE, Rates

#: What varies by draw of each kind's parameters in the graph: the last of them, by the name of its operation.
PARAMETERS = {
    "normal": ("mu", "sigma"),
    "beta": ("alpha", "beta"),
    "binomial": ("p",),
    "beta_binomial": ("alpha", "beta"),
}


def observe(
    name: str,
    dist: str,
    center: pt.TensorVariable,
    scatter: pt.TensorVariable | None,
    *,
    observed: pt.TensorVariable,
    trials: pt.TensorVariable | None,
) -> None:
    """Add observed rates to the model at hand: see :mod:`bayescale.rates` for what ``center`` and ``scatter`` are.

    ``observed`` holds logits for ``LogitNormal``, rates for ``Beta`` and counts for the kinds with ``trials``.
    """
    center = pt.clip(center, EDGE, 1 - EDGE)
    if dist == "LogitNormal":
        pm.Normal(name, pt.log(center) - pt.log1p(-center), scatter, observed=observed)
        return
    if scatter is None:
        pm.Binomial(name, n=trials, p=center, observed=observed)
        return
    weights = {"alpha": center * scatter, "beta": (1 - center) * scatter}
    if trials is None:
        pm.Beta(name, **weights, observed=observed)
    else:
        pm.BetaBinomial(name, **weights, n=trials, observed=observed)


def as_observed(
    dist: str, rate: np.ndarray, trials: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rates as :func:`observe` takes them, and whole numbers of trials."""
    if trials is not None:
        # A mean of whole numbers may fall short of one in its last digit.
        whole = np.rint(trials).astype(np.int64)
        return np.rint(rate * whole).astype(np.int64), whole
    return (np.log(rate / (1 - rate)) if dist == "LogitNormal" else rate), None


def of_draws(dist: str, found: dict[str, np.ndarray], trials: np.ndarray | None) -> Rates:
    """The distributions that a graph's parameters, by their names in :data:`PARAMETERS`, stand for."""
    if dist == "LogitNormal":
        return Rates(dist, 1 / (1 + np.exp(-found["mu"])), found["sigma"])
    if dist == "Binomial":
        return Rates(dist, found["p"], None, trials)
    weight = found["alpha"] + found["beta"]
    return Rates(dist, found["alpha"] / weight, weight, trials)
