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


def elasticity(
    name: str, prior: Prior, share: pt.TensorVariable, stretch: pt.TensorVariable
) -> pt.TensorVariable:
    """The elasticity of a law of one input, with a LogNormal prior; see :class:`Drop` for how it is sampled."""
    kwargs = _arguments(prior, None)
    return pm.CustomDist(
        name,
        share,
        stretch,
        dist=lambda share, stretch, size: pm.LogNormal.dist(size=size, **kwargs),
        logp=lambda value, *_: pm.logp(pm.LogNormal.dist(**kwargs), value),
        signature="(),()->()",
        transform=Drop(),
    )


class Drop(Transform):
    """An elasticity to and from the log of what the runs show of it: by how much the log loss drops across them.

    Of a law ``E + A * exp(-elasticity * s(scale))`` the loss at the smallest scale and at the reference are told well,
    and the elasticity well only given the floor and where the law bends. With the loss at the reference and the drop
    for coordinates neither moves when floor and bends do. Inputs are the share of A in the loss at the reference, and
    the stretch: how far ``s`` rises from the smallest scale to the reference.
    """

    name = "drop"
    ndim_supp = 0

    def forward(self, value: pt.TensorVariable, *inputs: pt.TensorVariable) -> pt.TensorVariable:
        """From the elasticity to the log of the drop."""
        share, stretch = inputs[1:3]
        return pt.log(pt.log1p(share * pt.expm1(value * stretch)))

    def backward(self, value: pt.TensorVariable, *inputs: pt.TensorVariable) -> pt.TensorVariable:
        """From the log of the drop to the elasticity."""
        share, stretch = inputs[1:3]
        drop = pt.exp(value)
        return (drop + self._log_above(drop, share) - pt.log(share)) / stretch

    def log_jac_det(
        self, value: pt.TensorVariable, *inputs: pt.TensorVariable
    ) -> pt.TensorVariable:
        """Log of the derivative of :meth:`backward`."""
        share, stretch = inputs[1:3]
        return value - self._log_above(pt.exp(value), share) - pt.log(stretch)

    @staticmethod
    def _log_above(drop: pt.TensorVariable, share: pt.TensorVariable) -> pt.TensorVariable:
        """Log of the share of the loss at the smallest scale that lies above the floor."""
        return pt.log1p(-(1 - share) * pt.exp(-drop))


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
