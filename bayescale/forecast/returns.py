"""Marginal returns: what more compute buys, at each scale along a path.

``L`` is the loss, ``E`` its floor, ``R = L - E`` the reducible loss, ``C`` compute. Derivatives are exact: the law is
evaluated at complex inputs (Squire and Trapp 1998, doi 10.1137/S003614459631241X), so that nothing is subtracted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.forecast.curve import (
    STEP,
    Saved,
    blocks,
    decades_beyond,
    law_params,
    log_location,
    read_fit,
    samples,
)
from bayescale.forecast.doubts import (
    design_note,
    distance_note,
    fit_notes,
    group_notes,
    scale_unit,
)
from bayescale.forecast.growth import Growth, check_range, growth
from bayescale.forecast.held import Held, hold_given
from bayescale.forecast.optimum import SPACING, falling_root
from bayescale.forecast.path import PathLike, resolve_path
from bayescale.forecast.scales import group_label, group_of, read_flops
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import is_stack, of_stack
from bayescale.forecast.tangent import loss_of_inputs
from bayescale.notes import dump_notes

#: A halving that takes more than this factor of compute is called out of reach.
FARTHEST = 1e30

_UNITS = {
    "loss": ("{loss}", "test loss"),
    "gain": ("{loss}", "fall of the loss with {step:g} times the compute"),
    "elasticity": ("1", "elasticity of the loss"),
    "reducible_elasticity": ("1", "elasticity of the reducible loss"),
    "share_left": ("1", "share of the loss that is reducible"),
    "halving_compute": ("1", "factor of compute that halves the reducible loss"),
    "improvement_flops": ("{scale}/({loss})", "compute of an improvement by one unit of loss"),
}


@dataclass(frozen=True)
class Route:
    """A law's draws along a path.

    Parameters
    ----------
    saved : Saved
    params : mapping
        Parameters of the law for one group; axes (sample, 1).
    growth : Growth
    """

    saved: Saved
    params: Mapping[str, np.ndarray]
    growth: Growth

    @property
    def floor(self) -> np.ndarray:
        """Irreducible loss; axes (sample, 1)."""
        name = self.saved.law.floor
        return np.zeros((1, 1)) if name is None else self.params[name]


def route_for(
    saved: Saved, path: PathLike | None, family: str | Mapping[str, str] | None, random_seed: int
) -> Route:
    """The draws of one group of a fit along a path."""
    params = law_params(saved, [group_of(saved, family)], random_seed)
    return Route(saved, params, growth(saved, params, resolve_path(saved, path)))


def loss_at(route: Route, flops: np.ndarray) -> np.ndarray:
    """Loss at compute, both with axes (sample, point)."""
    return loss_of_inputs(route.saved, route.growth.inputs(flops), route.params)


def elasticity_at(route: Route, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loss, and ``-d ln L / d ln C`` along the path; axes (sample, point)."""
    location = _log_loss(route, flops * (1 + STEP * 1j))
    return np.exp(location.real), -location.imag / STEP


def _log_loss(route: Route, flops: np.ndarray) -> np.ndarray:
    ratios = route.saved.ratios(route.growth.inputs(flops))
    return log_location(route.saved, ratios, route.params)


def returns(
    fit: xr.DataTree,
    *,
    flops: ArrayLike,
    step: float = 2.0,
    path: PathLike | None = None,
    at: Held | None = None,
    family: str | Mapping[str, str] | None = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Marginal returns to compute along a path.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`, or opened from its file.
    flops : array-like
        Training compute [FLOP]; for a law of one input, that input in its own unit.
    step : float
        Factor of compute of one step; above 1.
    path : str, Path or table, optional
        How parameters and tokens grow: ``compute-optimal`` (the default for a law of both),
        ``compute-optimal-expected``, ``fixed-ratio=20``, ``fixed-params=7B``, ``fixed-tokens=300B``, or a table of
        one's own. A law of one input grows along it.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.
    family : str or mapping, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    random_seed : int
        Of a new group.

    Returns
    -------
    xr.Dataset
        Dims chain, draw, flops; coordinate ``decades_beyond`` along flops. *How to read it*:

        - ``loss`` L(C) [nat/token];
        - ``gain`` L(C) - L(step * C) [nat/token]: what the next step buys;
        - ``elasticity`` -d ln L / d ln C: per cent of loss for one per cent of compute;
        - ``reducible_elasticity`` -d ln R / d ln C; infinite where nothing reducible is left;
        - ``share_left`` R / L: what is still to win; negative where a drift has carried the loss below the floor;
        - ``halving_compute``: least factor of compute that halves R; infinite where the path never does, or only
          after 1e30 times the compute (1e12 if the slope drifts);
        - ``improvement_flops`` (step - 1) * C / gain [FLOP for a nat/token]: what an improvement costs at the pace of
          the next step: times the loss to be won and the price of a FLOP, its price; infinite where a step wins none.

        In attrs: ``path``, ``step``, ``family``, ``model``, ``kind`` ("curve"), ``notes``.

    Raises
    ------
    ValueError
        If the step is not above 1, a scale is not positive or lies outside a plan, or the law cannot grow along the
        path.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=200)
    >>> found = returns(prior, flops=[1e23, 1e25], path="fixed-ratio=20")
    >>> dict(found["gain"].sizes), bool((found["gain"] > 0).all())
    ({'chain': 1, 'draw': 200, 'flops': 2}, True)
    """
    if is_stack(fit):
        options: dict[str, Any] = {
            "step": step,
            "path": path,
            "at": at,
            "family": family,
            "random_seed": random_seed,
        }
        return of_stack(fit, lambda share, _: returns(share, flops=flops, **options))
    saved = read_fit(fit)
    saved = hold_given(saved, at)
    scale = read_flops(flops, saved)
    check_step(step)
    route = route_for(saved, path, family, random_seed)
    check_range(route.growth, scale.values)
    check_range(route.growth, scale.values * step, f"flops * step ({step:g})")
    found = {name: np.empty((saved.samples, scale.size)) for name in _UNITS}
    for block in blocks(scale.size, saved.samples):
        for name, values in _marginal(route, scale.values[None, block], step).items():
            found[name][:, block] = values
    found["halving_compute"] = _halving(
        route,
        scale.values[None, :],
        found["loss"] - route.floor,
        found["reducible_elasticity"],
    )
    result = xr.Dataset(
        {
            name: samples(saved, values, "flops").assign_attrs(_attrs(name, saved, step))
            for name, values in found.items()
        },
        coords={"flops": scale["flops"], "decades_beyond": decades_beyond(saved, scale).variable},
        attrs=route_attrs(route, step, family),
    )
    farthest = result["gain"].isel(flops=int(np.argmax(scale.values))).reset_coords(drop=True)
    groups = [group_of(saved, family)]
    notes = [
        *fit_notes(fit, saved),
        *group_notes(saved, groups),
        *distance_note(saved, scale.values, groups),
        *design_note(
            saved, route.growth.inputs(scale.values.max(keepdims=True)[None]), "the largest scale"
        ),
        *prior_note(fit, saved, farthest, "the gain at the largest scale"),
    ]
    return result.assign_attrs(notes=dump_notes(notes))


def check_step(step: float) -> None:
    """Raise ValueError unless a step is a factor above 1."""
    if np.ndim(step) or np.asarray(step).dtype.kind not in "iuf" or not 1 < step < np.inf:
        raise ValueError(
            f"step = {step!r}: a step is a factor of compute above 1, such as 2 for a doubling"
        )


def route_attrs(
    route: Route, step: float, family: str | Mapping[str, str] | None
) -> dict[str, str | float]:
    """What every answer along a path says of itself."""
    return {
        "path": str(route.growth.path),
        "step": float(step),
        "family": group_label(route.saved, family),
        "model": route.saved.model.name,
        "kind": "curve",
    }


def _attrs(name: str, saved: Saved, step: float) -> dict[str, str]:
    units, long_name = _UNITS[name]
    scale = scale_unit(saved).strip() or "1"
    told = units.format(loss=saved.units, scale=scale)
    return {"units": told, "long_name": long_name.format(step=step)}


def _marginal(route: Route, flops: np.ndarray, step: float) -> dict[str, np.ndarray]:
    loss, elasticity = elasticity_at(route, flops)
    share = 1 - route.floor / loss
    with np.errstate(divide="ignore"):
        reducible_elasticity = np.where(share > 0, elasticity / share, np.inf)
    gain = loss - loss_at(route, flops * step)
    with np.errstate(divide="ignore"):
        dear = np.where(gain > 0, (step - 1) * flops / gain, np.inf)
    return {
        "loss": loss,
        "gain": gain,
        "improvement_flops": dear,
        "elasticity": elasticity,
        "reducible_elasticity": reducible_elasticity,
        "share_left": share,
    }


def _halving(
    route: Route, flops: np.ndarray, reducible: np.ndarray, elasticity: np.ndarray
) -> np.ndarray:
    """Times the compute at which half of the reducible loss is left; axes (sample, point).

    The first crossing is bracketed on a lattice of compute, since a law that drifts need not fall all the way.
    """
    end = min(flops.max() * FARTHEST, route.growth.highest)
    result = np.empty_like(reducible)
    table: tuple[np.ndarray, np.ndarray] | None = None
    for block in blocks(flops.shape[1], route.saved.samples):
        here, left = flops[:, block], reducible[:, block]
        with np.errstate(divide="ignore"):
            guess = np.log(2) / elasticity[:, block]
            rounding = 32 * np.finfo(float).eps * (1 + route.floor / np.abs(left))
        # Where the reducible loss is a power of compute, the guess is the answer.
        if ((guess > 0) & (guess < np.log(end / here)) & (left > 0)).all() and (
            np.abs(_excess(route, here, left, guess)) <= rounding
        ).all():
            result[:, block] = np.exp(guess)
            continue
        table = table or _reducible_ahead(route, flops.min(), end)
        found = _first_halving(route, here, left, *table)
        result[:, block] = np.where(found <= FARTHEST, found, np.inf)
    return result


def _excess(
    route: Route, flops: np.ndarray, reducible: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """Log of twice the share of the reducible loss that is left after so many units of ln(compute)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        left = (loss_at(route, flops * np.exp(steps)) - route.floor) / reducible
        # Nothing left is less than half.
        return np.where(left > 0, np.log(2 * left), -np.inf)


def _reducible_ahead(route: Route, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute from the least scale to where the search ends, and the reducible loss there."""
    nodes = np.append(np.exp(np.arange(np.log(start), np.log(end), SPACING)), end)
    values = np.empty((route.saved.samples, nodes.size))
    for block in blocks(nodes.size, route.saved.samples):
        values[:, block] = loss_at(route, nodes[None, block]) - route.floor
    return nodes, values


def _first_halving(
    route: Route, flops: np.ndarray, reducible: np.ndarray, nodes: np.ndarray, ahead: np.ndarray
) -> np.ndarray:
    lower, upper, reached, between, starts, ends = np.empty((6, *reducible.shape))
    rows = np.arange(reducible.shape[0])
    for point, start in enumerate(flops[0]):
        first = int(np.searchsorted(nodes, start, side="right"))
        halved = ahead[:, first:] <= reducible[:, [point]] / 2
        place = first + np.argmax(halved, axis=1)
        reached[:, point] = halved.any(axis=1)
        upper[:, point] = np.log(nodes[place] / start)
        lower[:, point] = np.log(np.maximum(nodes[place - 1], start) / start)
        before = np.where(place == first, reducible[:, point], ahead[rows, place - 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            between[:, point] = (before - reducible[:, point] / 2) / (before - ahead[rows, place])
        starts[:, point], ends[:, point] = before, ahead[rows, place]
    sought = (reached > 0) & (reducible > 0)

    if route.saved.drift is not None:
        # A path drawn on a lattice needs no root to the last digit: one step of false position within the cell.
        part = np.clip(np.nan_to_num(between, nan=0.5), 0.0, 1.0)
        middle = lower + part * (upper - lower)
        here = loss_at(route, flops * np.exp(np.where(sought, middle, 0.0))) - route.floor
        above = here > reducible / 2
        left, right = np.where(above, middle, lower), np.where(above, upper, middle)
        high, low = np.where(above, here, starts), np.where(above, ends, here)
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.clip(np.nan_to_num((high - reducible / 2) / (high - low), nan=0.5), 0.0, 1.0)
        found = np.exp(left + part * (right - left))
        return np.where(reducible > 0, np.where(sought, found, np.inf), 1.0)

    def excess(steps: np.ndarray) -> np.ndarray:
        return np.where(sought, _excess(route, flops, reducible, steps), 0.0)

    found = np.exp(falling_root(excess, lower, upper, (lower + upper) / 2, tolerance=1e-12))
    return np.where(reducible > 0, np.where(sought, found, np.inf), 1.0)
