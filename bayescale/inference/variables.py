"""From a prior of a model file to a variable of a ``pm.Model``."""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import Transform

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


def groups(
    effect: Effect, typical: pt.TensorVariable, weight: pt.TensorVariable, positive: bool
) -> pt.TensorVariable:
    """One value a group about the typical one: spread in the log if positive, in the value itself if real.

    The model is stated for standardised offsets. By ``weight``, dims group, the sampler moves along them (0), along the
    group's value itself (1), or in between: see :class:`Centred`.
    """
    pool, sd = effect.pool, variable(effect.sd_name, effect.pool.sd)
    location = pt.log(typical) if positive else typical
    offset = pm.CustomDist(
        effect.offset_name,
        location,
        sd,
        weight,
        dist=lambda location, sd, weight, size: pm.Normal.dist(0.0, 1.0, size=size),
        logp=lambda value, *_: -0.5 * value**2 - 0.5 * np.log(2 * np.pi),
        signature="(),(),()->()",
        transform=Centred(),
        dims=pool.over,
    )
    value = location + sd * offset
    return pm.Deterministic(effect.name, pt.exp(value) if positive else value, dims=pool.over)


class Centred(Transform):
    """Standardised offsets to and from what is sampled: ``weight * location + sd**weight * offset``.

    At weight 0 that is the offset; at 1 the group's own value (its log, if positive), which a group that its runs tell
    much of is best sampled by. The best weight in between is the share of what is known of a group that comes from its
    runs rather than from the other groups: Papaspiliopoulos, Roberts and Skold 2007, Statistical Science 22, 59;
    Gorinova, Moore and Hoffman 2020, arXiv 1906.03028. Whatever the weight, the posterior is the same.
    """

    name = "centred"
    ndim_supp = 0

    def forward(self, value: pt.TensorVariable, *inputs: pt.TensorVariable) -> pt.TensorVariable:
        """From standardised offsets to what is sampled."""
        location, sd, weight = inputs[1:4]
        return weight * location + sd**weight * value

    def backward(self, value: pt.TensorVariable, *inputs: pt.TensorVariable) -> pt.TensorVariable:
        """From what is sampled to standardised offsets."""
        location, sd, weight = inputs[1:4]
        return (value - weight * location) / sd**weight

    def log_jac_det(
        self, value: pt.TensorVariable, *inputs: pt.TensorVariable
    ) -> pt.TensorVariable:
        """Log of the derivative of :meth:`backward`."""
        _, sd, weight = inputs[1:4]
        return -weight * pt.log(sd) + pt.zeros_like(value)


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
    ndim_supp = 0
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
