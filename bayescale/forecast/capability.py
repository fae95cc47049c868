"""From loss to what a model can do: scores of tasks at any scale, and returns to compute in capability beside loss.

A score follows the loss of its own run, so that one posterior holds both and the doubt about the loss travels into the
task. Returns in loss may diminish where returns in capability rise: a sigmoid is steepest at its midpoint, and a task
that chains many steps asks for each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.forecast.curve import Saved, blocks, decades_beyond, read_fit, samples, stream
from bayescale.forecast.doubts import design_note, distance_note, fit_notes, group_notes
from bayescale.forecast.growth import HORIZON, check_range
from bayescale.forecast.held import Held, hold_given
from bayescale.forecast.montecarlo import (
    QUANTILES,
    SAMPLE_DIMS,
    effective_size,
    probability_mcse,
    quantiles,
)
from bayescale.forecast.path import PathLike
from bayescale.forecast.predict import Kind, predict, these_draws
from bayescale.forecast.returns import Route, check_step, loss_at, route_attrs, route_for
from bayescale.forecast.scales import Scales, group_of, read_flops
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import is_stack, of_stack
from bayescale.links import Link
from bayescale.model import Prior, hint
from bayescale.notes import dump_notes, get_notes
from bayescale.rates import Rates, draw

#: Steps that tasks chain, unless said.
LENGTHS = (1, 10, 100, 1000)
#: Scales in that search.
GRID = 120
#: What an answer holds of each draw.
_DRAWN = ["loss", "loss_gain", "score", "gain", "peak"]


@dataclass(frozen=True)
class Linked:
    """Draws of one task's link to the loss.

    Parameters
    ----------
    task : str
    link : Link
    reference : float
        Loss that the link's gap is counted from.
    location, rate, floor, ceiling : numpy.ndarray
        Axes (sample, 1).
    """

    task: str
    link: Link
    reference: float
    location: np.ndarray
    rate: np.ndarray
    floor: np.ndarray
    ceiling: np.ndarray

    def score(self, loss: np.ndarray) -> np.ndarray:
        """Score at a loss, both with axes (sample, point)."""
        gap = 1 - loss / self.reference
        return np.asarray(
            self.link.score(gap, self.location, self.rate, self.floor, self.ceiling), dtype=float
        )

    def loss(self, score: np.ndarray | float) -> np.ndarray:
        """Loss at which a score is met, axes (sample, point): 0 above the ceiling, infinite at or below the floor."""
        share = (score - self.floor) / (self.ceiling - self.floor)
        inside = (share > 0) & (share < 1)
        gap = self.link.gap(np.where(inside, share, 0.5), self.location, self.rate)
        # A loss below zero is as unreachable as a score above the ceiling.
        found = np.maximum(self.reference * (1 - gap), 0.0)
        return np.where(inside, found, np.where(share >= 1, 0.0, np.inf))


def task_names(saved: Saved) -> list[str]:
    """Tasks whose scores a fit knows.

    Raises
    ------
    ValueError
        If its model has no tasks.
    """
    if saved.model.tasks is None:
        raise ValueError(
            f"model {saved.model.name!r} says nothing of scores: fit a model with [tasks], such as 'tasks', to runs "
            "with columns acc_..."
        )
    return [str(name) for name in saved.posterior["task"].values]


def linked(saved: Saved, task: str | None) -> Linked:
    """Draws of a task's link.

    Parameters
    ----------
    saved : Saved
    task : str or None
        May be left out where there is one.

    Raises
    ------
    ValueError
        If the fit does not know the task.
    """
    names = task_names(saved)
    if task is None and len(names) == 1:
        task = names[0]
    if task not in names:
        meant = "" if task is None else hint(task, names)
        raise ValueError(f"task = {task!r}: {meant}The tasks of this fit are {', '.join(names)}")
    tasks = saved.model.tasks
    assert tasks is not None
    place = names.index(task)

    def draws(name: str) -> np.ndarray:
        values = saved.posterior[name].transpose("chain", "draw", "task").values[..., place]
        return values.reshape(-1, 1).astype(float)

    def bound(name: str, value: float | Mapping[str, float] | Prior) -> np.ndarray:
        if isinstance(value, Prior):
            return draws(name)
        return np.full((1, 1), value[task] if isinstance(value, Mapping) else value)

    link = tasks.link_object
    return Linked(
        task=task,
        link=link,
        reference=float(saved.reference["loss"]),
        location=draws(f"{link.location}_task"),
        rate=draws(f"{link.rate}_task"),
        floor=bound("floor_task", tasks.floor),
        ceiling=bound("ceiling_task", tasks.ceiling),
    )


def over_steps(score: np.ndarray, length: float, dependence: float = 0.0) -> np.ndarray:
    """Chance that every one of several steps succeeds.

    Parameters
    ----------
    score : array
        Chance of one step.
    length : float
        Number of steps; at least 1.
    dependence : float
        In [0, 1): how alike steps are, as the correlation between two of them. The chance of a step then varies from
        attempt to attempt by a beta distribution with mean ``score``, and steps of one attempt share it.

    Returns
    -------
    array
        ``score ** length`` where steps are independent.

    Examples
    --------
    >>> float(over_steps(np.array(0.9), 10)), round(float(over_steps(np.array(0.9), 10, 0.5)), 6)
    (0.3486784401000001, 0.740023)
    """
    if length == 1 or dependence == 0:
        return np.asarray(score**length)
    return np.exp(_log_over_steps(score, length, dependence))


def _log_over_steps(score: np.ndarray, length: float, dependence: float) -> np.ndarray:
    """Log of :func:`over_steps`: of many steps the chance itself underflows."""
    of = scipy.special.gammaln
    with np.errstate(divide="ignore", invalid="ignore"):
        if length == 1 or dependence == 0:
            return np.asarray(length * np.log(score))
        alpha, total = score * (1 - dependence) / dependence, (1 - dependence) / dependence
        log = of(alpha + length) - of(alpha) + of(total) - of(total + length)
    return np.where(score > 0, log, -np.inf)


def predict_scores(
    fit: xr.DataTree,
    at: Scales,
    *,
    tasks: str | Sequence[str] | None = None,
    kind: Kind = "curve",
    random_seed: int = 0,
) -> xr.DataArray:
    """Predict the scores of tasks at given scales.

    Parameters
    ----------
    fit : xr.DataTree
        Of a model with ``[tasks]``.
    at : Dataset, DataFrame or mapping
        As for :func:`bayescale.predict`.
    tasks : str or sequence of str, optional
        By default all of the fit.
    kind : {"curve", "run"}
        The law and the link, or one more run with the scatter of its loss and of its scores.
    random_seed : int

    Returns
    -------
    xr.DataArray
        Dims chain, draw, those of ``at``, task; scores between 0 and 1.

    Raises
    ------
    ValueError
        If the fit knows no tasks, or not these.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "tasks", draws=50)
    >>> predict_scores(prior, {"params": 7e9, "tokens": 1e12}, tasks=["acc_piqa"]).dims
    ('chain', 'draw', 'task')
    """
    if is_stack(fit):
        return of_stack(
            fit,
            lambda share, draws: predict_scores(
                share, these_draws(at, draws), tasks=tasks, kind=kind, random_seed=random_seed
            ),
        )
    saved = read_fit(fit)
    asked = [tasks] if isinstance(tasks, str) else tasks
    links = [linked(saved, name) for name in (asked or task_names(saved))]
    loss = predict(fit, at, kind=kind, random_seed=random_seed)
    ordered = loss.transpose(*SAMPLE_DIMS, ...)
    flat = ordered.values.reshape(saved.samples, -1)
    found = []
    for each in links:
        score = each.score(flat)
        if kind == "run":
            score = _scattered(saved, each.task, score, random_seed)
        found.append(ordered.copy(data=score.reshape(ordered.shape)))
    result = xr.concat(found, xr.DataArray([each.task for each in links], dims="task", name="task"))
    result = result.transpose(*ordered.dims, "task").rename("score")
    notes = [*get_notes(loss)]
    best = result.isel({dim: -1 for dim in result.dims if dim not in (*SAMPLE_DIMS, "task")})
    for each in links:
        draws = best.sel(task=each.task).reset_coords(drop=True)
        notes += prior_note(fit, saved, draws, f"{each.task} at the last scale")
    return result.assign_attrs(
        units="1", long_name="score", kind=kind, model=saved.model.name, notes=dump_notes(notes)
    )


def _scattered(saved: Saved, task: str, score: np.ndarray, random_seed: int) -> np.ndarray:
    """Scores of runs, which scatter about the link: of a sample of a task, or of all that the runs' trials count."""
    tasks = saved.model.tasks
    assert tasks is not None
    rng = stream(random_seed, "score", task)
    if tasks.scatter is None:
        # So many trials that counting adds nothing.
        return score
    place = task_names(saved).index(task)
    values = saved.posterior["scatter_task"].transpose("chain", "draw", "task").values[..., place]
    scatter = values.reshape(-1, 1)
    return draw(Rates(tasks.dist, score, scatter), rng.random((2, *score.shape)))


def capability(
    fit: xr.DataTree,
    *,
    flops: ArrayLike,
    step: float = 2.0,
    path: PathLike | None = None,
    at: Held | None = None,
    family: str | Mapping[str, str] | None = None,
    tasks: str | Sequence[str] | None = None,
    length: Sequence[int] = LENGTHS,
    dependence: float = 0.0,
    horizon: float | None = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Returns to compute in loss and in capability, side by side.

    Parameters
    ----------
    fit : xr.DataTree
        Of a model with ``[tasks]``.
    flops : array-like
        Training compute [FLOP].
    step : float
        Factor of compute of one step; above 1.
    path : str, Path or table, optional
        As for :func:`bayescale.returns`.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, or draws of them.
    family : str or mapping, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    tasks : str or sequence of str, optional
        By default all of the fit.
    length : sequence of int
        Steps that a task chains, each of which succeeds as often as the task's score says.
    dependence : float
        In [0, 1): correlation of the steps of one attempt. See :func:`over_steps`.
    horizon : float, optional
        Where the search for the peak ends; by default 1e4 times the largest scale asked about.
    random_seed : int

    Returns
    -------
    xr.Dataset
        Coordinate ``decades_beyond`` along flops. *How to read it*:

        - ``loss``, ``loss_gain``, dims chain, draw, flops: loss, and what the next step takes off it;
        - ``score``, ``gain``, dims chain, draw, flops, task, length: chance of a whole task, and what the next step
          adds to it (0.01 is one point);
        - ``peak``, dims chain, draw, task, length: compute [FLOP] at which the gain of a step is greatest, from the
          largest run to the horizon. A draw whose gain falls all the way has its peak behind it, and counts as the
          largest run ("at most"); one whose gain rises all the way, or that gains nothing up to the horizon and is not
          at its ceiling, counts as infinite;
        - ``peak_quantile``, ``peak_quantile_mcse``, dims task, length, quantile: among all draws;
        - ``p_peak_passed``, ``p_peak_beyond``, with ``_mcse``: of these two.

        In attrs: ``path``, ``step``, ``dependence``, ``start``, ``horizon``, ``family``, ``model``, ``notes``.

    Raises
    ------
    ValueError
        If the fit knows no tasks or not these, or a number makes no sense.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "tasks", draws=50)
    >>> found = capability(prior, flops=[1e22, 1e23], tasks=["acc_piqa"], length=[1, 10])
    >>> dict(found["gain"].sizes)
    {'chain': 1, 'draw': 50, 'flops': 2, 'task': 1, 'length': 2}
    """
    if is_stack(fit):
        options: dict[str, Any] = {
            "flops": flops,
            "step": step,
            "path": path,
            "at": at,
            "family": family,
            "tasks": tasks,
            "length": length,
            "dependence": dependence,
            "horizon": horizon,
            "random_seed": random_seed,
        }
        merged = of_stack(fit, lambda share, _: capability(share, **options)[_DRAWN])
        return _peaks(merged)
    saved = read_fit(fit)
    saved = hold_given(saved, at)
    scale = read_flops(flops, saved)
    check_step(step)
    lengths = _lengths(length)
    if not 0 <= dependence < 1:
        raise ValueError(f"dependence = {dependence!r}: expected a correlation, in [0, 1)")
    asked = [tasks] if isinstance(tasks, str) else tasks
    links = [linked(saved, name) for name in (asked or task_names(saved))]
    route = route_for(saved, path, family, random_seed)
    for factor in (1.0, step):
        check_range(route.growth, scale.values * factor, f"flops * {factor:g}")
    start, horizon = _search(route, float(scale.max()), horizon, step)
    grid = np.geomspace(start, horizon, GRID)
    scores, gains, losses, loss_gains = _along(
        route, links, lengths, dependence, scale.values, step
    )
    dims = ("flops", "task", "length")
    coords = {
        "flops": scale["flops"],
        "task": [each.task for each in links],
        "length": np.array(lengths),
    }
    peak = _peak(route, links, lengths, dependence, grid, step)
    found = xr.Dataset(
        {
            "loss": samples(saved, losses, "flops").assign_attrs(units=saved.units),
            "loss_gain": samples(saved, loss_gains, "flops").assign_attrs(units=saved.units),
            "score": samples(saved, scores, *dims).assign_attrs(units="1"),
            "gain": samples(saved, gains, *dims).assign_attrs(units="1"),
            "peak": samples(saved, peak, *dims[1:]).assign_attrs(units=scale.attrs["units"]),
        },
        coords=coords,
        attrs={
            **route_attrs(route, step, family),
            "dependence": float(dependence),
            "start": start,
            "horizon": horizon,
        },
    )
    found = found.assign_coords(decades_beyond=decades_beyond(saved, scale).variable)
    groups = [group_of(saved, family)]
    notes = [
        *fit_notes(fit, saved),
        *group_notes(saved, groups),
        *distance_note(saved, scale.values, groups),
        *design_note(
            saved, route.growth.inputs(scale.values.max(keepdims=True)[None]), "the largest scale"
        ),
    ]
    last = found["score"].isel(flops=int(np.argmax(scale.values)), length=0).reset_coords(drop=True)
    for each in links:
        draws = last.sel(task=each.task).drop_vars("task")
        notes += prior_note(fit, saved, draws, f"{each.task} at the largest scale")
    return _peaks(found).assign_attrs(notes=dump_notes(notes))


def _lengths(length: Sequence[int]) -> list[int]:
    values = np.atleast_1d(np.asarray(length, dtype=float))
    if not values.size or not ((values >= 1) & (values == np.rint(values))).all():
        raise ValueError(
            f"length = {length!r}: expected whole numbers of steps, such as 1, 10, 100"
        )
    return [int(each) for each in values]


def _search(
    route: Route, largest: float, horizon: float | None, step: float
) -> tuple[float, float]:
    """Compute between which the peak of the gain is sought."""
    high = route.growth.highest / step
    start = max(route.saved.largest, route.growth.lowest)
    end = min(max(largest, start) * HORIZON, high) if horizon is None else float(horizon)
    if not end > start:
        raise ValueError(f"horizon = {end:.4g}: must lie above the largest run, {start:.4g}")
    check_range(route.growth, np.array([end * step]), "horizon * step")
    return float(start), end


def _along(
    route: Route,
    links: list[Linked],
    lengths: list[int],
    dependence: float,
    flops: np.ndarray,
    step: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores and what a step adds, axes (sample, flops, task, length); losses and what it takes off."""
    shape = (route.saved.samples, flops.size)
    losses, after = np.empty(shape), np.empty(shape)
    for block in blocks(flops.size, route.saved.samples):
        losses[:, block] = loss_at(route, flops[None, block])
        after[:, block] = loss_at(route, flops[None, block] * step)
    scores, gains = np.empty((2, *shape, len(links), len(lengths)))
    for place, link in enumerate(links):
        now, then = link.score(losses), link.score(after)
        for column, length in enumerate(lengths):
            scores[..., place, column] = over_steps(now, length, dependence)
            gains[..., place, column] = over_steps(then, length, dependence)
    return scores, gains - scores, losses, losses - after


def _peak(
    route: Route,
    links: list[Linked],
    lengths: list[int],
    dependence: float,
    grid: np.ndarray,
    step: float,
) -> np.ndarray:
    """Compute at which a step adds most, axes (sample, task, length)."""
    found = np.empty((route.saved.samples, len(links), len(lengths)))
    losses, after = np.empty((2, route.saved.samples, grid.size))
    for block in blocks(grid.size, route.saved.samples):
        losses[:, block] = loss_at(route, grid[None, block])
        after[:, block] = loss_at(route, grid[None, block] * step)
    for place, link in enumerate(links):
        now, then = link.score(losses), link.score(after)
        at_ceiling = np.isclose(now[:, 0], link.ceiling[:, 0], rtol=1e-12, atol=0.0)
        for column, length in enumerate(lengths):
            gain = _log_gain(now, then, length, dependence)
            best = gain.argmax(axis=1)
            # Without any gain, what is at its ceiling has its peak behind it; of the others none has been seen.
            none = np.isneginf(gain).all(axis=1) & ~at_ceiling
            found[:, place, column] = np.where(none | (best == grid.size - 1), np.inf, grid[best])
    return found


def _log_gain(now: np.ndarray, then: np.ndarray, length: float, dependence: float) -> np.ndarray:
    """Log of what a step adds to the chance of a whole task; minus infinity where it adds nothing."""
    before, after = (_log_over_steps(score, length, dependence) for score in (now, then))
    with np.errstate(divide="ignore", invalid="ignore"):
        log = after + np.log(-np.expm1(before - after))
    return np.where(after > before, log, -np.inf)


def _peaks(found: xr.Dataset) -> xr.Dataset:
    """Add quantiles of the peak, and the chances that it lies behind the runs or beyond the horizon."""
    level, error = quantiles(found["peak"], QUANTILES)
    unit = {"units": found["peak"].attrs["units"]}
    size = effective_size(found["gain"].isel(flops=-1)).reset_coords(drop=True)
    answers = {
        "peak_quantile": level.assign_attrs(unit),
        "peak_quantile_mcse": error.assign_attrs(unit),
    }
    for name, holds in (
        ("p_peak_passed", found["peak"] <= found.attrs["start"]),
        ("p_peak_beyond", xr.ufuncs.isinf(found["peak"])),
    ):
        answers[name] = holds.mean(SAMPLE_DIMS).assign_attrs(units="1")
        answers[f"{name}_mcse"] = probability_mcse(holds, size).assign_attrs(units="1")
    return found.assign(answers)


def score_gain(route: Route, link: Linked, flops: np.ndarray, step: float) -> np.ndarray:
    """What the next step of compute adds to a score; axes (sample, point)."""
    return link.score(loss_at(route, flops * step)) - link.score(loss_at(route, flops))
