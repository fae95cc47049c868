"""How the inputs of a law grow with compute along a path, for the draws of a fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.cost import params_at_ratio, params_for, tokens_for, training_flops
from bayescale.drift import REACH
from bayescale.forecast.curve import Saved, law_params, read_fit
from bayescale.forecast.held import Held, hold_given, pair_draws
from bayescale.forecast.optimum import numeric_optimum
from bayescale.forecast.path import Path, PathLike, resolve_path
from bayescale.forecast.scales import group_of, read_flops
from bayescale.forecast.stacked import is_stack, members

#: Times the largest scale asked about, where the search for an onset, a peak or a crossing ends unless a horizon is
#: given.
HORIZON = 1e4
#: Share of the draws in which a law may lack an optimum, for its path to be followed.
MISSING = 0.05


@dataclass(frozen=True)
class Growth:
    """How the inputs of a law grow along a path, for given draws.

    Parameters
    ----------
    path : Path
    inputs : callable
        Of compute with axes (sample, point): each input by slot, the same axes. Complex compute gives complex inputs,
        so that derivatives along the path come out exactly.
    lowest, highest : float
        Compute between which the path is known, and the drift of the law's slope where it has one.
    missing : callable, optional
        Share of the draws in which the law has no optimum at compute, where the path is one of optima.
    """

    path: Path
    inputs: Callable[[np.ndarray], dict[str, np.ndarray]]
    lowest: float = 0.0
    highest: float = np.inf
    missing: Callable[[np.ndarray], np.ndarray] | None = None


def growth(saved: Saved, params: Mapping[str, np.ndarray], path: Path) -> Growth:
    """How the inputs grow along a path that suits the law.

    Parameters
    ----------
    saved : Saved
    params : mapping
        Parameters of the law for one group; axes (sample, 1).
    path : Path
        From :func:`~bayescale.forecast.path.resolve_path`.

    Returns
    -------
    Growth
    """
    along = _along(saved, params, path)
    if saved.drift is None:
        return along
    return replace(along, highest=min(along.highest, saved.largest * 10**REACH))


def _along(saved: Saved, params: Mapping[str, np.ndarray], path: Path) -> Growth:
    value = np.nan if path.value is None else path.value
    if path.kind == "input":
        (slot,) = saved.law.input_names
        return Growth(path, lambda flops: {slot: flops})
    if path.table is not None:
        return _plan_growth(path, path.table)
    if path.kind == "fixed-params":
        return _from_params(path, lambda flops: np.full_like(flops, value))
    if path.kind == "fixed-tokens":
        return _from_params(path, lambda flops: params_for(flops, value))
    if path.kind == "fixed-ratio":
        return _from_params(path, lambda flops: params_at_ratio(flops, value))
    closed = saved.law.optimal_params
    if path.kind == "compute-optimal" and closed is not None:
        scale = saved.reference["params"]
        unit = training_flops(scale, saved.reference["tokens"])
        return _from_params(path, lambda flops: closed(flops / unit, **params) * scale)
    optimum, missing = numeric_optimum(
        saved, params, expected=path.kind == "compute-optimal-expected"
    )
    grown = _from_params(path, lambda flops: _analytic(optimum, flops))
    return replace(grown, missing=missing)


def _from_params(path: Path, of_params: Callable[[np.ndarray], np.ndarray]) -> Growth:
    def inputs(flops: np.ndarray) -> dict[str, np.ndarray]:
        params = of_params(flops)
        return {"params": params, "tokens": tokens_for(flops, params)}

    return Growth(path, inputs)


def _plan_growth(path: Path, table: xr.Dataset) -> Growth:
    knots = {name: np.log(table[name].values) for name in ("flops", "params", "tokens")}

    def between(name: str, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at, rates = np.log(flops), np.diff(knots[name]) / np.diff(knots["flops"])
        cell = np.searchsorted(knots["flops"], at, side="right") - 1
        return np.interp(at, knots["flops"], knots[name]), rates[np.clip(cell, 0, rates.size - 1)]

    def inputs(flops: np.ndarray) -> dict[str, np.ndarray]:
        return {name: _analytic(partial(between, name), flops) for name in ("params", "tokens")}

    lowest, highest = table["flops"].values[[0, -1]]
    return Growth(path, inputs, float(lowest), float(highest))


def _analytic(
    log_curve: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], flops: np.ndarray
) -> np.ndarray:
    """An input at real or complex compute, from the log of its curve and the curve's slope at real compute."""
    value, slope = log_curve(flops.real)
    if not np.iscomplexobj(flops):
        return np.exp(value)
    return np.exp(value + 1j * slope * flops.imag / flops.real)


def check_range(growth: Growth, flops: np.ndarray, what: str = "flops") -> None:
    """Raise ValueError where compute lies outside what the path covers, or further out than a drift is drawn.

    And where a law has no optimum in more than a few draws.
    """
    if growth.missing is not None and flops.size:
        lacking = growth.missing(flops)
        if lacking.max() > MISSING:
            raise ValueError(
                f"{what} = {flops.flat[lacking.argmax()]:.4g}: the law has no compute-optimal division there in "
                f"{lacking.max():.0%} of the draws: its loss falls without end as parameters grow and tokens shrink, "
                "or the reverse; name a path, such as fixed-ratio=20"
            )
    # A plan's own ends, to the last bit of a logarithm.
    low, high = growth.lowest * (1 - 1e-12), growth.highest * (1 + 1e-12)
    outside = flops[(flops < low) | (flops > high)]
    if not outside.size:
        return
    given = f"{what} = {outside.flat[0]:.4g}"
    if growth.path.table is None:
        raise ValueError(
            f"{given} lies more than {REACH:g} decades beyond the largest run, further than the drift of the slope is "
            f"followed; ask up to {growth.highest:.4g}, or ask a fit with discrepancy none"
        )
    raise ValueError(
        f"{given} lies outside the plan, which covers {growth.lowest:.4g} to {growth.highest:.4g} FLOP; add rows to "
        "it, or ask within it"
    )


def inputs_along(
    fit: xr.DataTree,
    flops: ArrayLike,
    path: PathLike | None = None,
    *,
    at: Held | None = None,
    family: str | Mapping[str, str] | None = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Inputs of a fit's law along a path.

    Parameters
    ----------
    fit : xr.DataTree
    flops : array-like
        Training compute [FLOP]; for a law of one input, that input.
    path : str, Path or table, optional
        See :data:`PATHS`. By default compute-optimal, or the input of a law of one.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.
    family : str or mapping, optional
        Group to ask about; without it, a new one.
    random_seed : int
        Of a new group.

    Returns
    -------
    xr.Dataset
        The law's input columns, dims flops, or chain, draw and flops where they differ by draw; and the group's, where
        one is asked about. Of a stack the columns of all members: NaN in the draws of those whose law has no such
        input. It can be given to :func:`bayescale.predict` as it stands.

    Raises
    ------
    ValueError
        If the law cannot grow along the path, or a scale lies outside a plan.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=200)
    >>> plan = inputs_along(prior, [1e23, 1e25], "fixed-ratio=20")
    >>> plan["params"].values.round(-9), plan["tokens"].dims
    (array([2.90e+10, 2.89e+11]), ('flops',))
    """
    stacked = is_stack(fit)
    shares = [member.share for member in members(fit)] if stacked else [fit]
    parts = [read_fit(share) for share in shares]
    known = [_columns(saved, flops, path, at or {}, family, random_seed) for saved in parts]
    found = known[0].drop_vars(known[0].data_vars)
    for name in dict.fromkeys(name for columns in known for name in columns):
        found[name] = _together(fit, parts, [columns.get(name) for columns in known])
    if family is not None:
        found = found.assign(group_of(parts[0], family))
    if stacked:
        found.attrs |= {"model": str(fit.attrs["model_name"]), "weights": fit.attrs["stack"]}
    return found


def _columns(
    whole: Saved,
    flops: ArrayLike,
    path: PathLike | None,
    at: Held,
    family: str | Mapping[str, str] | None,
    random_seed: int,
) -> xr.Dataset:
    """Input columns of one fit, but for compute; dims flops, and sample where they differ by draw."""
    saved = hold_given(whole, at)
    scale = read_flops(flops, saved)
    params = law_params(saved, [group_of(saved, family)], random_seed)
    along = growth(saved, params, resolve_path(saved, path))
    check_range(along, scale.values)
    inputs = along.inputs(scale.values[None, :])
    found = xr.Dataset(coords={"flops": scale["flops"]})
    for slot in whole.law.inputs:
        column = whole.model.inputs[slot.name]
        if column == "flops":
            continue
        if column in at:
            value = pair_draws(at[column], whole.samples, f"at: {column}", zero=False)
            most = np.inf if slot.at_most is None else inputs[slot.at_most]
            inputs[slot.name] = np.minimum(value, most)
        values = inputs[slot.name] + np.zeros(scale.size)
        alike = values.shape[0] == 1
        each = xr.DataArray(values[0] if alike else values, dims=("sample", "flops")[alike:])
        found[column] = each.assign_attrs(long_name=slot.meaning, units=slot.unit)
    return found.assign_attrs(path=str(along.path), model=saved.model.name)


def _together(
    fit: xr.DataTree, parts: list[Saved], columns: list[xr.DataArray | None]
) -> xr.DataArray:
    """A column of all members of a stack, or of the one fit: by draw, unless all draws share it."""
    first = next(each for each in columns if each is not None)
    alike = all(each is not None and each.equals(first) for each in columns)
    if alike and "sample" not in first.dims:
        return first
    draws = []
    for saved, each in zip(parts, columns, strict=True):
        values = np.nan if each is None else each.values
        shape = (saved.samples, first.sizes["flops"])
        draws.append(np.broadcast_to(values, shape).reshape(*saved.shape, -1))
    coords = {dim: fit["posterior"][dim] for dim in ("chain", "draw")} | {"flops": first["flops"]}
    together = np.concatenate(draws, axis=1)
    return xr.DataArray(together, coords, ("chain", "draw", "flops"), attrs=first.attrs)
