"""What runs are to tell: draws of one or several named quantities, and the log losses that they depend on."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import xarray as xr

from bayescale.decide.budget import budget, read_planned
from bayescale.decide.candidates import read_runs_to_come
from bayescale.decide.draws import Draws, Family, Part, as_draws, loss_along, read_draws
from bayescale.decide.lifetime import Feasible, optimal_params
from bayescale.decide.scenario import Scenario
from bayescale.forecast.diminishing import diminishing
from bayescale.forecast.held import Held
from bayescale.forecast.path import PathLike
from bayescale.forecast.predict import predict
from bayescale.forecast.scales import Scales, as_dataset, pooled_columns, read_flops

Target = Literal["loss", "gain", "onset", "optimal_params"]
#: What each named target is.
TARGETS: dict[str, str] = {
    "loss": "the loss at the given compute",
    "gain": "what a doubling of the given compute would buy",
    "onset": "log of the compute from which a doubling buys less than gain_below, sought up to 1e4 times the given one",
    "optimal_params": "log of the compute-optimal parameters at the given compute",
}


@dataclass(frozen=True)
class Aim:
    """Draws of what is to be known.

    Parameters
    ----------
    name, unit : str
    draws : Draws
        The fit's, along the path of the question.
    values : numpy.ndarray
        Of each quantity, axes (sample, target) with the samples in the order (chain, draw).
    asked : numpy.ndarray
        Draws of the log loss at the points that the targets depend on, axes (sample, point) in the same order.
    owns : numpy.ndarray
        Which points each target depends on, axes (target, point).
    points : numpy.ndarray
        Compute of these points along the path, axes (1, point); unused where they are ``runs``.
    runs : xr.Dataset, optional
        These points, where they are runs with sizes of their own.
    flops : float, optional
        Compute at which a named quantity is asked [FLOP].
    gain_below, horizon : float, optional
        Of an onset: what a doubling is to buy [nat/token], and where the search for it ends [FLOP].
    scenario : Scenario, optional
    family : str or mapping, optional
        Group that is asked about; of runs, the one that all of them are of, if there is one.
    """

    name: str
    unit: str
    draws: Draws
    values: np.ndarray
    asked: np.ndarray
    owns: np.ndarray
    points: np.ndarray
    runs: xr.Dataset | None = None
    flops: float | None = None
    gain_below: float | None = None
    horizon: float | None = None
    scenario: Scenario | None = None
    family: Family = None

    def inputs(self, part: Part) -> dict[str, np.ndarray]:
        """Inputs of one model's law at the points, axes (sample, point) or (1, point)."""
        if self.runs is None:
            return dict(part.route.growth.inputs(self.points))
        columns = part.whole.model.inputs
        size = self.owns.shape[1]
        return {
            slot: np.broadcast_to(self.runs[column].values, size)[None].astype(float)
            for slot, column in columns.items()
        }


def read_aim(
    fit: xr.DataTree,
    target: Target | Scenario | Scales,
    flops: float | None,
    path: PathLike | None,
    family: Family,
    random_seed: int,
    at: Held | None = None,
    gain_below: float | None = None,
) -> Aim:
    """Draws of a named quantity, of a decision's utility, or of the losses of runs to come.

    Parameters
    ----------
    fit : xr.DataTree
    target, flops, path, family, random_seed, at, gain_below
        As for :func:`bayescale.next_runs`.

    Raises
    ------
    ValueError
        If the target is unknown, or is given what it does not ask for.
    """
    if (gain_below is not None) != (isinstance(target, str) and target == "onset"):
        more = (
            ": below what does a doubling buy too little? Give gain_below=0.01"
            if gain_below is None
            else ", and with no other"
        )
        raise ValueError(f"gain_below: goes with target='onset'{more}")
    if isinstance(target, Scenario):
        other = family if family != target.family else None
        for name, value in (("flops", flops), ("path", path), ("at", at), ("family", other)):
            if value is not None:
                raise ValueError(
                    f"{name}: a scenario states its own; leave it out, or change it there"
                )
        draws = read_planned(fit, target, random_seed)
        utility = budget(fit, target, random_seed=random_seed)["utility"]
        scales = [each for each in (target.flops, target.baseline_flops) if each is not None]
        points = read_flops(scales, draws.saved).values[None]
        aim = _along("decision", target.currency, draws, utility.values.reshape(-1, 1), points)
        return replace(aim, scenario=target, family=target.family)
    if not isinstance(target, str):
        return _of_runs(fit, target, flops, path, family, random_seed, at)
    if target not in get_args(Target):
        raise ValueError(
            f"unknown target {target!r}: expected one of {', '.join(get_args(Target))}, a Scenario, or a table of runs"
        )
    if flops is None:
        raise ValueError(f"flops: at which compute is {TARGETS[target]} asked? Give flops=1e24")
    along = "compute-optimal" if target == "optimal_params" else path
    draws = read_draws(fit, along, family, random_seed, at)
    asked = read_flops(flops, draws.saved)
    scale, compute = asked.values[None, :1], asked.attrs["units"]
    if target == "optimal_params":
        values = np.log(optimal_params(draws, scale, Feasible(np.zeros((1, 1)))))
        # The optimum is the law's alone.
        points = scale[:, :0]
    elif target == "gain":
        points = np.column_stack([scale, 2 * scale])
        losses = [loss_along(draws, scale), loss_along(draws, 2 * scale, what="flops * 2")]
        values = losses[0] - losses[1]
    elif target == "onset":
        found = diminishing(
            fit, beyond=scale.item(), gain_below=gain_below, path=path, at=at, family=family, random_seed=random_seed
        )  # fmt: skip
        # A draw without an onset counts as the end of the search: what lies behind it no answer tells apart.
        onset = np.minimum(found["onset_draws"], found.attrs["horizon"])
        middle = np.full((1, 1), float(onset.median()))
        points = np.column_stack([middle, 2 * middle])
        logs = np.log(onset.values.reshape(-1, 1))
        aim = _along("onset", f"ln({compute})", draws, logs, points)
        return replace(
            aim,
            flops=scale.item(),
            gain_below=gain_below,
            horizon=float(found.attrs["horizon"]),
            family=family,
        )
    else:
        values, points = loss_along(draws, scale), scale
    unit = "ln(parameters)" if target == "optimal_params" else draws.saved.units
    flat = as_draws(draws, values[:, 0]).values.reshape(-1, 1)
    aim = _along(target, unit, draws, flat, points)
    return replace(aim, flops=scale.item(), family=family)


def _along(
    name: str,
    unit: str,
    draws: Draws,
    values: np.ndarray,
    points: np.ndarray,
) -> Aim:
    """One quantity that depends on the losses at some points of the path."""
    size = points.shape[1]
    asked = np.zeros((values.shape[0], 0))
    if size:
        logs = np.log(loss_along(draws, points))
        asked = as_draws(draws, logs, "point").values.reshape(-1, size)
    owns = np.ones((1, size), bool)
    return Aim(name, unit, draws, values, asked, owns, points)


def _of_runs(
    fit: xr.DataTree,
    target: Scales,
    flops: float | None,
    path: PathLike | None,
    family: Family,
    random_seed: int,
    at: Held | None,
) -> Aim:
    """The losses of runs with sizes of their own."""
    table = as_dataset(target, "target")
    for name, value in (("flops", flops), ("path", path), ("at", at), ("family", family)):
        if value is not None:
            raise ValueError(f"{name}: a table of runs states its own; leave it out")
    draws = read_draws(fit, None, None, random_seed)
    runs = read_runs_to_come(draws, table, "target")
    loss = predict(fit, runs, random_seed=random_seed).values
    loss = loss.reshape(draws.samples, -1)
    count = loss.shape[1]
    name = "loss of the run" if count == 1 else f"losses of {count} runs"
    own = np.eye(count, dtype=bool)
    aim = Aim(name, draws.saved.units, draws, loss, np.log(loss), own, np.zeros((1, 0)))
    return replace(aim, runs=runs, family=_shared_group(draws, table))


def _shared_group(draws: Draws, table: xr.Dataset) -> Family:
    """The group that all rows of a table are of, in every pooling column of which they name one."""
    columns = pooled_columns(draws.saved)
    found: dict[str, str] = {}
    for column in columns:
        # A run to come shares its luck with no other.
        if column in table and column != "run_id":
            names = np.unique(table[column].values.astype(str))
            found |= {column: str(names[0])} if names.size == 1 else {}
    return next(iter(found.values()), None) if len(columns) == 1 else found or None
