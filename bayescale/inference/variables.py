"""From a prior of a model file to a variable of a ``pm.Model``."""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayescale.model import Effect, Prior


def variable(
    name: str, prior: Prior, dims: str | None = None, center: pt.TensorVariable | None = None
) -> pt.TensorVariable:
    """A variable of that prior; ``center`` is the log of what a median of ``"runs"`` stands for."""
    return getattr(pm, prior.dist)(name, dims=dims, **_arguments(prior, center))


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
