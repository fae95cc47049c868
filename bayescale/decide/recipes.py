"""Two recipes against each other: which is better at a scale, by how much, and where their curves cross."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.decide.draws import Draws, Family, as_draws, loss_along, read_draws
from bayescale.forecast.curve import Saved, compute_of, decades_beyond
from bayescale.forecast.doubts import distance_note
from bayescale.forecast.growth import HORIZON, check_range
from bayescale.forecast.held import Held
from bayescale.forecast.montecarlo import (
    QUANTILES,
    SAMPLE_DIMS,
    effective_size,
    probability_mcse,
    quantiles,
)
from bayescale.forecast.optimum import SPACING, falling_root
from bayescale.forecast.path import PathLike
from bayescale.forecast.predict import Kind, check_kind
from bayescale.forecast.scales import read_flops
from bayescale.notes import Note, dump_notes

#: Secants within a quarter of a decade, where the slope drifts.
_DRIFT_STEPS = 5

type _Asked = tuple[xr.DataTree, Family]
type Recipe = xr.DataTree | _Asked


def compare_recipes(
    recipes: Mapping[str, Recipe],
    *,
    flops: ArrayLike,
    path: PathLike | None = None,
    kind: Kind = "curve",
    horizon: float | None = None,
    at: Held | None = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Compare two recipes along a path of compute.

    Parameters
    ----------
    recipes : mapping
        Two, by name: each a fit, or a fit with the family that is meant. Two families of one fit share its draws, so
        that what is uncertain about both drops out; draws of different fits are independent.
    flops : array-like
        Training compute [FLOP]; for laws of one input, that input.
    path : str, Path or table, optional
        As for :func:`bayescale.returns`; each recipe has its own compute-optimal path.
    kind : {"curve", "run"}
        Whether the curves are compared, or one run of each with its scatter.
    horizon : float, optional
        Where the search for a crossing of the curves ends: 1e4 times the largest ``flops``, or the end of a plan.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.
    random_seed : int
        Of new groups and of the scatter of runs.

    Returns
    -------
    xr.Dataset
        For recipes A and B, in the order given. *How to read it*: every ``*_mcse`` is a Monte Carlo standard error.

        - ``loss_a``, ``loss_b``, ``difference``, dims chain, draw, flops: A's loss, B's, and A's less B's: below zero,
          A is better;
        - ``p_better``, ``p_better_mcse``, dim flops: that A is better; a tie counts half;
        - ``crossing``, dims chain, draw: the least compute at which the curves cross [FLOP]; infinite where they do not
          before the horizon. ``crossing_quantile``, ``crossing_quantile_mcse``, dim quantile: among all draws;
        - ``p_never``: that they do not cross; ``p_ahead``: that A is better at the start of the search, and
          ``p_ahead_at_horizon`` at its end.

        In attrs: ``a``, ``b`` (the names), ``path``, ``kind``, ``start``, ``horizon``, ``units``, ``notes``.

    Raises
    ------
    ValueError
        If there are not two recipes, their losses have different units, a law cannot grow along the path, or a scale or
        the horizon lies outside a plan.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla-families", draws=100)
    >>> both = {"GPT": (prior, "cerebras-gpt"), "Pythia": (prior, "pythia")}
    >>> found = compare_recipes(both, flops=[1e22, 1e24])
    >>> found["p_better"].sizes, found.attrs["a"]
    (Frozen({'flops': 2}), 'GPT')
    """
    check_kind(kind)
    asked = {
        name: recipe if isinstance(recipe, tuple) else (recipe, None)
        for name, recipe in recipes.items()
    }
    names, both = _read(asked, path, random_seed, at)
    apart = len({id(fit) for fit, _ in asked.values()}) > 1
    pair = _paired(both, apart=apart)
    units, scale = both[0].saved.units, read_flops(flops, both[0].saved)
    start, end = _range(both, float(scale.max()), horizon)
    a, b = pair.losses(scale.values[None, :], kind, random_seed)
    crossing, lead_start, lead_end = _crossing(pair, start, end)
    unit = {"units": scale.attrs["units"]}
    found = {
        "loss_a": pair.as_draws(a, "flops").assign_attrs(units=units),
        "loss_b": pair.as_draws(b, "flops").assign_attrs(units=units),
        "difference": pair.as_draws(a - b, "flops").assign_attrs(units=units),
        "crossing": pair.as_draws(crossing).assign_attrs(unit),
    }
    chances = {
        "p_better": pair.as_draws(_ahead(b - a), "flops"),
        "p_never": pair.as_draws(np.isinf(crossing).astype(float)),
        "p_ahead": pair.as_draws(_ahead(lead_start)),
        "p_ahead_at_horizon": pair.as_draws(_ahead(lead_end)),
    }
    for name, holds in chances.items():
        behind = found["difference" if name == "p_better" else "crossing"]
        found[name] = holds.mean(SAMPLE_DIMS).assign_attrs(units="1")
        error = probability_mcse(holds, effective_size(behind))
        found[f"{name}_mcse"] = error.assign_attrs(units="1")
    level, error = quantiles(found["crossing"], QUANTILES)
    found["crossing_quantile"] = level.assign_attrs(unit)
    found["crossing_quantile_mcse"] = error.assign_attrs(unit)
    result = xr.Dataset(found).assign_coords(flops=scale["flops"])
    nearer = min(both, key=lambda draws: draws.saved.largest)
    result["decades_beyond"] = decades_beyond(nearer.saved, scale).variable
    notes = [note for draws in both for note in draws.notes]
    notes += [
        *_parallel_note(asked, both),
        *_same_runs_note(asked, both),
        *distance_note(nearer.saved, scale.values),
    ]
    return result.assign_attrs(
        a=names[0],
        b=names[1],
        path=str(both[0].parts[0].route.growth.path),
        kind=kind,
        start=start,
        horizon=end,
        units=units,
        notes=dump_notes(notes),
    )


def _read(
    recipes: Mapping[str, _Asked],
    path: PathLike | None,
    random_seed: int,
    at: Held | None,
) -> tuple[list[str], list[Draws]]:
    if len(recipes) != 2:
        raise ValueError(
            f"recipes: expected two by name, such as {{'A': fit_a, 'B': fit_b}}; got {len(recipes)}"
        )
    pair = []
    for place, (name, (fit, family)) in enumerate(recipes.items()):
        try:
            pair.append(read_draws(fit, path, family, random_seed + place, at))
        except ValueError as error:
            raise ValueError(f"recipe {name!r}: {error}") from error
    units = [(draws.saved.units, tuple(draws.saved.model.inputs.values())) for draws in pair]
    if units[0][0] != units[1][0]:
        raise ValueError(
            f"recipes: losses in {units[0][0]} and in {units[1][0]} cannot be compared; convert one of the run tables"
        )
    if units[0][1] != units[1][1] and not all(each.saved.grows_by_compute for each in pair):
        raise ValueError(
            f"recipes: one grows with {', '.join(units[0][1])}, the other with {', '.join(units[1][1])}; fit both "
            "in the same input"
        )
    return list(recipes), pair


def _parallel_note(recipes: Mapping[str, _Asked], pair: list[Draws]) -> list[Note]:
    """The note that curves cannot cross, if what sets two groups of one fit apart is their level alone, or nothing."""
    (tree, family), (other, another) = recipes.values()
    if tree is other and family == another:
        return [
            Note(
                "by_construction",
                "warning",
                f"{' and '.join(map(repr, recipes))} are one fit and one family: that they tie is no finding",
                "give two fits, or two families of one",
            )
        ]
    if tree is not other or any(set(part.whole.model.pool) - {"level"} for part in pair[0].parts):
        return []
    return [
        Note(
            "by_construction",
            "warning",
            f"{' and '.join(map(repr, recipes))} share every exponent in this model, which pools the level alone: that "
            "their curves never cross is the model's doing and no finding",
            "to ask, pool an exponent too (models/README.md, [pool]), or fit each recipe by itself",
        )
    ]


def _same_runs_note(recipes: Mapping[str, _Asked], pair: list[Draws]) -> list[Note]:
    """The note that two fits were given some of the same runs, if they were: their draws are not independent then."""
    trees = [tree for tree, _ in recipes.values()]
    if trees[0] is trees[1] or any("observed_data" not in tree.children for tree in trees):
        return []
    first, second = (
        _rows(draws.saved, tree["observed_data"].to_dataset()["loss"])
        for draws, tree in zip(pair, trees, strict=True)
    )
    shared, names = len(first & second), [repr(name) for name in recipes]
    if not shared:
        return []
    return [
        Note(
            "same_runs",
            "warning",
            f"{shared} of {len(first)} runs of {names[0]} are among the {len(second)} of {names[1]}, "
            "and draws of two fits are taken as independent: what is uncertain about both does not drop out",
            "the difference is known better than its interval says; pool the recipes as families of one fit",
        )
    ]


def _rows(saved: Saved, loss: xr.DataArray) -> set[tuple[float, ...]]:
    """The runs of a fit, each by its inputs and its loss."""
    columns = [saved.runs[name] for name in saved.model.inputs.values()]
    return set(zip(*(each.values.tolist() for each in (*columns, loss)), strict=True))


def _range(pair: list[Draws], largest: float, horizon: float | None) -> tuple[float, float]:
    """Where the search for a crossing starts and ends: both curves are known there."""
    least = max(float(compute_of(draws.saved, draws.saved.runs).min()) for draws in pair)
    start = max(least, *(draws.lowest for draws in pair))
    if horizon is None:
        end = min(largest * HORIZON, *(draws.highest for draws in pair))
    else:
        end = float(read_flops(horizon, pair[0].saved, "horizon").item())
    for draws in pair:
        for part in draws.parts:
            check_range(part.route.growth, np.array([largest]))
            check_range(part.route.growth, np.array([end]), "horizon")
    if not end > start:
        raise ValueError(f"horizon = {end:.4g} must lie above {start:.4g}, where the search starts")
    return start, end


@dataclass(frozen=True)
class _Pair:
    """Two recipes whose draws are paired by place; of the longer, as many as the shorter has.

    Parameters
    ----------
    recipes : list of Draws
    rows : list of numpy.ndarray
        Samples of each recipe in the order of the pairs.
    template : xr.DataArray
        Dims chain, draw.
    """

    recipes: list[Draws]
    rows: list[np.ndarray]
    template: xr.DataArray

    def losses(self, flops: np.ndarray, kind: Kind = "curve", random_seed: int = 0) -> np.ndarray:
        """Losses of both, axes (recipe, pair, point), at compute with axes (pair, point) or (1, point)."""
        found = []
        for place, (draws, rows) in enumerate(zip(self.recipes, self.rows, strict=True)):
            asked = flops
            if flops.shape[0] > 1:
                # Samples without a partner are asked too, anywhere, and left out.
                asked = np.broadcast_to(flops[:1], (draws.samples, flops.shape[1])).copy()
                asked[rows] = flops
            found.append(loss_along(draws, asked, kind, random_seed + place)[rows])
        return np.stack(found)

    def lead(self, flops: np.ndarray) -> np.ndarray:
        """By how much the first recipe is better; axes (pair, point)."""
        first, second = self.losses(flops)
        return second - first

    def as_draws(self, values: np.ndarray, *dims: str) -> xr.DataArray:
        """Values with axes (pair, ...) as an array with dims chain, draw and ``dims``."""
        shape = (*self.template.shape, *values.shape[1:])
        return xr.DataArray(
            values.reshape(shape), dims=(*SAMPLE_DIMS, *dims), coords=self.template.coords
        )


def _paired(recipes: list[Draws], *, apart: bool) -> _Pair:
    places = [as_draws(draws, np.arange(draws.samples)) for draws in recipes]
    size = {name: min(each.sizes[name] for each in places) for name in SAMPLE_DIMS}
    kept = [
        each.isel(
            {
                name: np.linspace(0, each.sizes[name] - 1, count).round().astype(int)
                for name, count in size.items()
            }
        )
        for each in places
    ]
    if apart:
        # Two fits with one seed drew alike at the same place, their drift beyond the runs above all.
        kept[1] = kept[1].roll(draw=size["draw"] // 2)
    return _Pair(recipes, [each.values.reshape(-1) for each in kept], kept[0])


def _crossing(pair: _Pair, start: float, end: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least compute at which the curves of each pair cross, and the lead of the first at both ends; axis (pair,)."""
    nodes = np.exp(np.arange(np.log(start), np.log(end), SPACING))
    nodes[0], nodes = start, np.append(nodes, end)
    lead = pair.lead(nodes[None, :])
    changes = np.sign(lead[:, 1:]) != np.sign(lead[:, :-1])
    place, crosses = changes.argmax(axis=1), changes.any(axis=1)
    rows, logs = np.arange(place.size), np.log(nodes)
    # The sign with which the lead falls from the left of its cell to the right.
    sign = np.sign(lead[rows, place] - lead[rows, place + 1])[:, None]

    def falling(at: np.ndarray) -> np.ndarray:
        return np.where(crosses[:, None], sign * pair.lead(np.exp(at)), 0.0)

    lower, upper = logs[place][:, None], logs[place + 1][:, None]
    drifts = any(draws.drifts for draws in pair.recipes)
    steps = _DRIFT_STEPS if drifts else 200
    found = np.exp(falling_root(falling, lower, upper, (lower + upper) / 2, iterations=steps))
    return np.where(crosses, found[:, 0], np.inf), lead[:, 0], lead[:, -1]


def _ahead(lead: np.ndarray) -> np.ndarray:
    """Whether the first is better; a tie counts half."""
    return (lead > 0) + 0.5 * (lead == 0)
