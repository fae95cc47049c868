"""From a prior of a model file to a variable of a ``pm.Model``."""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.transforms import Transform

from bayescale.model import Effect, Prior


def variable(
    name: str, prior: Prior, dims: str | None = None, center: pt.TensorVariable | None = None
) -> pt.TensorVariable:
    """A variable of that prior; ``center`` is the log of what a median of ``"runs"`` stands for."""
    kwargs = _arguments(prior, center)
    if prior.dist == "Exponential":
        kwargs["default_transform"] = FromExponential(kwargs["lam"])
    return getattr(pm, prior.dist)(name, dims=dims, **kwargs)


def distribution(prior: Prior, shape: tuple[int, ...]) -> pt.TensorVariable:
    """Draws of a prior that belong to no model."""
    return getattr(pm, prior.dist).dist(shape=shape, **_arguments(prior, None))


def _arguments(prior: Prior, center: pt.TensorVariable | None) -> dict[str, Any]:
    kwargs = dict(prior.kwargs)
    if "median" in kwargs:
        median = kwargs.pop("median")
        kwargs["mu"] = center if median == "runs" else float(np.log(median))
    return kwargs


def groups(effect: Effect, typical: pt.TensorVariable, positive: bool) -> pt.TensorVariable:
    """One value a group about the typical one: spread in the log if positive, in the value itself if real."""
    pool, sd = effect.pool, variable(effect.sd_name, effect.pool.sd)
    if pool.centered:
        dist, location = (pm.LogNormal, pt.log(typical)) if positive else (pm.Normal, typical)
        return dist(effect.name, location, sd, dims=pool.over)
    offset = pm.Normal(effect.offset_name, 0.0, 1.0, dims=pool.over)
    value = typical * pt.exp(sd * offset) if positive else typical + sd * offset
    return pm.Deterministic(effect.name, value, dims=pool.over)


class FromExponential(Transform):
    """A positive value as one that its exponential prior makes all but standard Normal.

    In its log an exponential value has a long tail towards zero, and samplers creep along it. The distribution
    function of the Normal is taken as a logistic one of a cubic, right to 1.4e-4 and inverted in closed form (Bowling
    et al. 2009, doi 10.3926/jiem.2009.v2n1.p114-127).

    Parameters
    ----------
    lam : float
        Rate of the prior.
    """

    name = "from_exponential"
    #: Normal(z) = Logistic(CUBIC * (z**3 + LINEAR * z)).
    CUBIC, LINEAR = 0.07056, 1.5976 / 0.07056

    def __init__(self, lam: float) -> None:
        self.lam = lam

    def forward(self, value: Any, *inputs: Any) -> Any:
        """Of the value, where it is sampled."""
        logit = pt.log(pt.expm1(self.lam * value)) / self.CUBIC
        root = np.sqrt(self.LINEAR / 3)
        return 2 * root * pt.sinh(pt.arcsinh(logit / (2 * root**3)) / 3)

    def backward(self, value: Any, *inputs: Any) -> Any:
        """The value, of where it is sampled."""
        return pt.softplus(self._logit(value)) / self.lam

    def log_jac_det(self, value: Any, *inputs: Any) -> Any:
        """Log of the slope of ``backward``."""
        slope = self.CUBIC * (3 * value**2 + self.LINEAR)
        return pt.log(slope / self.lam) - pt.softplus(-self._logit(value))

    def _logit(self, value: Any) -> Any:
        return self.CUBIC * (value**3 + self.LINEAR * value)
