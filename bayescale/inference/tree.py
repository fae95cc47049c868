"""From the sampler's points to the tree that is a fit: ArviZ's groups, the runs, and the facts in the attributes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from bayescale.drift import Marginal
from bayescale.inference.arrays import log_jacobian, marginal, reference
from bayescale.inference.build import OBSERVED, OBSERVED_RATE
from bayescale.inference.compile import Compiled
from bayescale.inference.rates import of_draws
from bayescale.inference.scores import SCORE
from bayescale.model import Model
from bayescale.rates import draw
from bayescale.saving import FORMAT

#: Packages whose versions are kept with a fit.
VERSIONED = ("bayescale", "pymc", "pytensor", "nutpie", "numpy", "xarray")


def groups(
    runs: xr.Dataset,
    model: Model,
    graph: pm.Model,
    compiled: Compiled,
    points: np.ndarray,
    stats: xr.Dataset,
    seed: int,
) -> xr.DataTree:
    """ArviZ's groups from the flat points (chain, draw, point)."""
    chains, draws, _ = points.shape
    values = compiled.expand(points.reshape(chains * draws, -1), *compiled.packed())
    found: dict[str, dict[str, xr.DataArray]] = {}
    noise: dict[str, np.ndarray] = {}
    for (group, name), value in zip(compiled.outputs, values, strict=True):
        if group == "noise":
            # Degrees of freedom that the model file fixes are the same in every draw.
            each = np.broadcast_to(value, (chains * draws, *value.shape[1:]))
            noise[name] = each.reshape(chains, draws, -1)
            continue
        shaped = value.reshape(chains, draws, *value.shape[1:])
        density = {OBSERVED: ("run",), OBSERVED_RATE: ("run",), SCORE: ("scored",)}
        dims = (
            density[name] if group == "log_likelihood" else graph.named_vars_to_dims.get(name, ())
        )
        dims = dims[: shaped.ndim - 2]
        coords = {dim: list(graph.coords[dim]) for dim in dims if dim not in ("run", "scored")}
        found.setdefault(group, {})[name] = xr.DataArray(
            shaped, dims=("chain", "draw", *dims), coords=coords
        )
    rng = np.random.default_rng([seed, 1])
    if "kappa" in noise:
        location, densities = _drifted(
            found["posterior"], noise, marginal(runs, model), compiled.data["observed"], rng
        )
        noise["mu"] = location
        if isinstance(model.noise.nu, float):
            noise["nu"] = np.array(model.noise.nu)
    else:
        observed = OBSERVED_RATE if model.noise.of_rate else OBSERVED
        densities = found["log_likelihood"][observed].values
    # The noise is stated for log loss, or for a rate; the tree speaks of loss, so densities carry the Jacobian.
    densities = densities + log_jacobian(runs, model)
    log_likelihood = {"loss": xr.DataArray(densities, dims=("chain", "draw", "run"))}
    if SCORE in found["log_likelihood"]:
        log_likelihood[SCORE] = found["log_likelihood"][SCORE]
    replicated = {
        "loss": _replicate_rates(model, noise, compiled.data.get("trials"), rng)
        if model.noise.of_rate
        else _replicate(noise, rng)
    }
    named: dict[str, Mapping[Any, xr.DataArray]] = {
        "posterior": found["posterior"],
        "sample_stats": stats.data_vars,
        "log_likelihood": log_likelihood,
        "log_prior": found["log_prior"],
        "posterior_predictive": replicated,
    }
    index = {"chain": np.arange(chains), "draw": np.arange(draws), "run": runs["run"].values}
    return xr.DataTree.from_dict(
        {
            name: group.assign_coords({dim: index[dim] for dim in index if dim in group.dims})
            for name, group in ((name, xr.Dataset(each)) for name, each in named.items())
        }
    )


def _drifted(
    posterior: dict[str, xr.DataArray],
    noise: Mapping[str, np.ndarray],
    integrated: Marginal,
    observed: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the drift that was integrated out; log losses with it, and each run's density given the others."""
    chains, draws, runs = noise["mu"].shape
    residual = (observed - noise["mu"]).reshape(-1, runs)
    sigma, kappa = noise["sigma"].reshape(chains * draws, -1), noise["kappa"].ravel()
    if sigma.shape[1] == 1:
        sigma = sigma[:, 0]
    weights = integrated.draw_weights(residual, sigma, kappa, rng)
    posterior["drift"] = xr.DataArray(
        weights.reshape(chains, draws, -1),
        dims=("chain", "draw", "mode"),
        coords={"mode": np.arange(weights.shape[1])},
    )
    delta = kappa[:, None] * (weights @ integrated.design.T)
    densities = integrated.log_leave_one_out(residual, sigma, kappa)
    return noise["mu"] + delta.reshape(noise["mu"].shape), densities.reshape(noise["mu"].shape)


def _replicate(noise: Mapping[str, np.ndarray], rng: np.random.Generator) -> xr.DataArray:
    """Losses of the same runs, had they been trained again [nat/token]."""
    location = noise["mu"]
    if "nu" in noise:
        standard = rng.standard_t(np.broadcast_to(noise["nu"], location.shape))
    else:
        standard = rng.standard_normal(location.shape)
    if "excess" in noise:
        location = location + noise["excess"] * rng.standard_exponential(location.shape)
    with np.errstate(over="ignore"):  # Student's t with few degrees of freedom has no largest loss.
        losses = np.exp(location + noise["sigma"] * standard)
    return xr.DataArray(losses, dims=("chain", "draw", "run"))


def _replicate_rates(
    model: Model,
    noise: dict[str, np.ndarray],
    trials: np.ndarray | None,
    rng: np.random.Generator,
) -> xr.DataArray:
    """As :func:`_replicate`, of losses that are rates."""
    rates = of_draws(model.noise.dist, noise, trials)
    luck = rng.random((2, *rates.center.shape))
    return xr.DataArray(model.law_object.loss_of(draw(rates, luck)), dims=("chain", "draw", "run"))


def with_facts(
    tree: xr.DataTree, runs: xr.Dataset, model: Model, seed: int, facts: Mapping[str, object]
) -> xr.DataTree:
    """Add the runs, and in the attributes everything that a forecast or a reader needs to know."""
    tree["observed_data"] = xr.DataTree(runs[["loss"]].drop_attrs(deep=False))
    tree["constant_data"] = xr.DataTree(runs.drop_vars("loss").drop_attrs(deep=False))
    tree.attrs = {
        "bayescale_format": FORMAT,
        "model_name": model.name,
        "model": model.text,
        "reference": json.dumps(reference(runs, model)),
        "checkpoint_sd": float(runs.attrs.get("checkpoint_sd", 0.0)),
        "seed": seed,
        "source": runs.attrs.get("source", ""),
        "sha256": runs.attrs.get("sha256", ""),
        "versions": json.dumps({name: _version(name) for name in VERSIONED}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    return tree


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # A checkout on the path that was never installed.
        return "not installed"
