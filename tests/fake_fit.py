"""A saved fit with known parameters: what the forecasting tests read in place of a posterior that was sampled."""

import json
import math
from collections.abc import Mapping

import numpy as np
import xarray as xr

from bayescale import drift
from bayescale.model import Model, Prior
from bayescale.notes import Note, dump_notes

#: Parameters of a two-input law in nats at the reference scale; the exponents are those of arXiv 2404.10102.
DEFAULTS = {
    "alpha": 0.35,
    "beta": 0.37,
    "gamma": 0.2,
    "k": 0.6,
    "sigma": 0.01,
    "nu": 4.0,
    "noise_slope": 0.1,
    "R_D": 15.0,
    "R_N": 5.0,
}
SHARES = {1: (1.0,), 2: (0.7, 0.3), 3: (0.7, 0.18, 0.12)}
REFERENCE = {"params": 1e9, "tokens": 2e10, "scale": 1.2e20}


def fake_fit(
    model: str | Model = "chinchilla",
    chains: int = 2,
    draws: int = 50,
    *,
    jitter: float = 0.0,
    seed: int = 0,
    level: float = 2.5,
    shares: tuple[float, ...] | None = None,
    terms: Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
    families: Mapping[str, float] | None = None,
    spread: float = 0.05,
    kappa: float = 0.0,
    runs: xr.Dataset | None = None,
    notes: tuple[Note, ...] = (),
    converged: bool = True,
    **fixed: float | np.ndarray,
) -> xr.DataTree:
    """Build a fit from parameter values.

    Parameters
    ----------
    model : str or Model
        Anything that ``Model.load`` takes.
    chains, draws : int
    jitter : float
        Standard deviation, over draws, of the log of every parameter; of ``shares`` before they are made to sum to
        one. Zero makes all draws equal.
    seed : int
        Of the jitter and of the observed losses.
    level, shares : float, tuple of float
        Loss at the reference scale and how it divides into the law's terms.
    terms : mapping, optional
        The terms themselves, in place of level and shares, for a law whose terms add up.
    reference : mapping, optional
        Reference scale by input; by default :data:`REFERENCE`.
    families : mapping, optional
        For a model that pools: each group's factor on (or for a real parameter, addition to) the pooled parameters.
    spread : float
        Standard deviation between groups.
    kappa : float
        Scale of the drift, for a model with a discrepancy; its weights are drawn from their prior.
    runs : xr.Dataset, optional
        Training runs without their losses, dim ``run``.
    notes : tuple of Note
    converged : bool
    **fixed
        Other parameters by name: numbers, or arrays (chain, draw).
    """
    model = Model.load(model)
    law = model.law_object
    rng = np.random.default_rng(seed)
    size = (chains, draws)
    scale = {**REFERENCE, **(reference or {})}
    scale = law.references({slot: float(scale[slot]) for slot in law.scales})
    runs = _runs(model, scale, families) if runs is None else runs

    def draw(value: float | np.ndarray) -> np.ndarray:
        return np.broadcast_to(value, size) * np.exp(jitter * rng.standard_normal(size))

    if terms is not None:
        level, shares = (
            sum(terms.values()),
            tuple(terms[t] / sum(terms.values()) for t in law.terms),
        )
    shares = SHARES[len(law.terms)] if shares is None else shares
    given = DEFAULTS | fixed
    values = {name: draw(given[name]) for name in law.param_names if name not in law.terms}
    levels, weights = draw(level), np.stack([draw(share) for share in shares], axis=-1)
    weights = weights / weights.sum(axis=-1, keepdims=True)
    typical = law.terms_from_shares(levels, list(np.moveaxis(weights, -1, 0)), values)
    sampled = values if not model.shared_level else values | {"level": levels, "shares": weights}
    named = {law.posterior_name(name): value for name, value in (typical | sampled).items()}
    group_dims = {}
    for name, pool in model.pool.items():
        factors = np.array(list((families or {}).values()))
        center = named[law.posterior_name(name)][..., None]
        positive = model.priors[name].support == "positive"
        key = f"{law.posterior_name(name)}_{pool.over}"
        named[key] = center * factors if positive else center + factors
        named[f"{law.posterior_name(name)}_sd"] = draw(spread)
        named[f"{law.posterior_name(name)}_offset"] = rng.standard_normal((*size, factors.size))
        group_dims |= {key: pool.over, f"{law.posterior_name(name)}_offset": pool.over}
    for name in (
        "sigma",
        *(["nu"] if isinstance(model.noise.nu, Prior) else []),
        *(["noise_slope"] if model.noise.slope else []),
    ):
        named[name] = draw(given[name])
    dims = {"shares": "term", **group_dims}
    if model.discrepancy is not None:
        named |= {
            "kappa": np.full(size, kappa),
            "drift": rng.standard_normal((*size, drift.MODES)),
        }
        dims["drift"] = "mode"
    if law.textbook is not None:
        named |= law.textbook(scale, **(values | typical))

    coords = {"chain": np.arange(chains), "draw": np.arange(draws), "term": list(law.terms)}
    coords |= {pool.over: list(families or {}) for pool in model.pool.values()}
    posterior = xr.Dataset(
        {
            name: (("chain", "draw", *([dims[name]] if name in dims else [])), v)
            for name, v in named.items()
        },
        coords=coords,
    )
    ratios = [runs[model.inputs[slot]].values / scale[slot] for slot in law.input_names]
    curve = {name: (values | typical)[name][..., None] for name in law.param_names}
    location = np.log(law.loss(*ratios, **curve)) + np.zeros((*size, runs.sizes["run"]))
    observed = np.exp(location.mean(axis=(0, 1)) + 0.01 * rng.standard_normal(runs.sizes["run"]))
    likelihood = _log_likelihood(location, observed, posterior)
    log_prior = {
        name: -0.5 * (np.log(posterior[name]) / 0.5) ** 2
        for name in posterior.data_vars
        if name in (*sampled, "sigma", "nu") and name not in ("shares", "noise_slope")
    }
    tree = xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "prior": posterior,
            "log_prior": xr.Dataset(log_prior),
            "log_likelihood": xr.Dataset({"loss": (("chain", "draw", "run"), likelihood)}),
            "sample_stats": xr.Dataset({"diverging": (("chain", "draw"), np.zeros(size, bool))}),
            "observed_data": xr.Dataset({"loss": ("run", observed, {"units": "nat/token"})}),
            "constant_data": runs,
        }
    )
    tree.attrs = {
        "bayescale_format": 1,
        "model": model.text,
        "model_name": model.name,
        "reference": json.dumps(scale | {"loss": float(np.exp(np.log(observed).mean()))}),
        "notes": dump_notes(notes),
        "converged": int(converged),
        "seed": seed,
        "source": "fake",
        "sha256": "",
    }
    return tree


def with_tasks(
    tree: xr.DataTree,
    tasks: Mapping[str, tuple[float, float, float, float]],
    *,
    link: str = "sigmoid",
    jitter: float = 0.0,
    scatter: float = 0.05,
    seed: int = 0,
) -> xr.DataTree:
    """Add to a fit of :func:`fake_fit` tasks with known links: location, rate, floor and ceiling of each."""
    table = {"columns": list(tasks), "link": link}
    model = Model.from_toml(tree.attrs["model"]).changed(tasks=table)
    assert model.tasks is not None
    rng = np.random.default_rng(seed)
    posterior = tree["posterior"].to_dataset()
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(tasks))
    values = np.array(list(tasks.values())).T
    location, rate = (each.name for each in model.tasks.link_object.params)
    names = (location, rate, "floor", "ceiling")
    for name, value in zip(names, values, strict=True):
        noise = jitter * rng.standard_normal(shape) if name in (location, rate) else 0.0
        drawn = value + noise if name == location else value * np.exp(noise)
        posterior[f"{name}_task"] = ("chain", "draw", "task"), np.broadcast_to(drawn, shape)
    posterior["scatter_task"] = ("chain", "draw", "task"), np.full(shape, scatter)
    tree["posterior"] = xr.DataTree(posterior.assign_coords(task=list(tasks)))
    tree.attrs["model"] = model.text
    return tree


def _runs(
    model: Model, scale: Mapping[str, float], families: Mapping[str, float] | None
) -> xr.Dataset:
    """Twelve runs about the reference scale, in no one ratio; the largest is (100 x params, 10 x tokens)."""
    steps = {"params": np.geomspace(0.01, 100, 4), "tokens": np.geomspace(0.1, 10, 3)}
    grid = np.meshgrid(*steps.values(), indexing="ij")
    ratios = {slot: each.ravel() for slot, each in zip(steps, grid, strict=True)}
    ratios |= {"scale": np.geomspace(1e-3, 1e3, 12), "unique_tokens": ratios["tokens"] / 4}
    ratios |= {"share": np.geomspace(0.25, 4, 12), "samples": np.geomspace(1 / 16, 16, 12)}
    columns = {column: ("run", scale[slot] * ratios[slot]) for slot, column in model.inputs.items()}
    if {"params", "tokens"} <= set(columns):
        columns["flops"] = ("run", 6 * columns["params"][1] * columns["tokens"][1])
    for pool in model.pool.values():
        names = list(families or {})
        columns[pool.over] = ("run", [names[i % len(names)] for i in range(12)])
    if isinstance(model.noise.trials, str):
        columns[model.noise.trials] = ("run", np.full(12, 30.0))
    return xr.Dataset(columns, coords={"run": np.arange(12)})


def _log_likelihood(
    location: np.ndarray, observed: np.ndarray, posterior: xr.Dataset
) -> np.ndarray:
    sigma = posterior["sigma"].values[..., None]
    z = (np.log(observed) - location) / sigma
    if "nu" not in posterior:
        return -0.5 * z**2 - np.log(sigma * observed) - 0.5 * math.log(2 * math.pi)
    nu = posterior["nu"].values[..., None]
    gamma = np.vectorize(math.lgamma)
    constant = gamma((nu + 1) / 2) - gamma(nu / 2) - 0.5 * np.log(nu * math.pi)
    return constant - np.log(sigma * observed) - (nu + 1) / 2 * np.log1p(z**2 / nu)
