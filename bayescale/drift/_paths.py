"""Drawn drifts, within the runs and beyond them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bayescale.drift._axes import LN10, Axis, positions
from bayescale.drift._covariance import basis, kernel, kernel_slope

#: Spacing of the knots on which a drawn path is kept, and how far it reaches from the anchor at least [decades]: as
#: far as the runs do, where these reach farther.
KNOT_SPACING = 0.1
REACH = 8.0
#: Share of the law's elasticity that a drift leaves it at least, where all scales grow together beyond the runs: as
#: good as none, and enough that rounding does not make a path rise.
PACE = 0.01


@dataclass(frozen=True)
class Sudden:
    """Breaks of the slope along compute, beyond the runs.

    Parameters
    ----------
    gradual : numpy.ndarray
        Scale of the drift that is left, dims (sample,).
    rate : numpy.ndarray
        Breaks a decade, dims (sample,).
    change : numpy.ndarray
        Standard deviation of the change of the log-slope at one, dims (sample,).
    """

    gradual: np.ndarray
    rate: np.ndarray
    change: np.ndarray


class Paths:
    """Drawn drifts, one a posterior draw, to be evaluated anywhere: the same path in every answer.

    Parameters
    ----------
    found : list of Axis
    weights : numpy.ndarray
        Posterior of the standard Normal weights, dims (sample, mode).
    kappa : numpy.ndarray
        Posterior of the drift's scale, dims (sample,).
    rng : numpy.random.Generator
        Draws what lies beyond the runs.
    sudden : Sudden, optional
        Breaks to come, where the model has them; ``kappa`` is then the scale of both together.
    """

    def __init__(
        self,
        found: list[Axis],
        weights: np.ndarray,
        kappa: np.ndarray,
        rng: np.random.Generator,
        sudden: Sudden | None = None,
    ) -> None:
        self.axes = found
        self._cells = [(_cells(axis.behind), _cells(axis.ahead)) for axis in found]
        self._tables = []
        within = {}
        start = 0
        for index, side, grid, columns in basis(found):
            within[index, side] = grid, columns, weights[:, start : start + columns.shape[1]]
            start += columns.shape[1]
        for index in range(len(found)):
            # Runs end at compute's anchor, so that what lies ahead of it is all unseen.
            unseen = sudden if found[index].name == "compute" else None
            before, after = self._cells[index]
            behind = _path(within.get((index, -1)), kappa, rng, before)
            ahead = _path(within.get((index, 1)), kappa, rng, after, unseen)
            value = np.concatenate([behind[0][:, :0:-1], ahead[0]], axis=1)
            slope = np.concatenate([-behind[1][:, :0:-1], ahead[1]], axis=1)
            self._tables.append((value, slope))

    def never_rising(
        self,
        law: Callable[[dict[str, np.ndarray]], tuple[np.ndarray, np.ndarray]],
        reference: Mapping[str, float],
        grown: Sequence[str],
    ) -> "Paths":
        """Return the paths, stopped from raising the loss where all scales grow together beyond the runs.

        More compute need not be worse: whoever has it may train the smaller run. So where the law's elasticity less the
        drift's slope falls below :data:`PACE` of the former, along the ray on which every scale grows by the same
        factor from the frontier, the slope along compute is turned to leave it there. A Wiener process in the slope
        would otherwise raise the loss in a third of the draws a few decades out. Between two knots of which one was
        turned, or between which the path would rise by itself, the loss falls as its slopes at the knots say.

        Parameters
        ----------
        law : callable
            By how much the log loss falls under the law from each knot to the next, axes (sample, knot - 1), and its
            elasticity with respect to compute along that ray, axes (sample, knot); given the inputs by name with axes
            (1, knot).
        reference : mapping of float
            Reference scale of each input.
        grown : sequence of str
            Inputs that grow along the ray. The others, such as a year or a number of experts, are no scales of
            training and stay at their reference.
        """
        (index,) = (i for i, axis in enumerate(self.axes) if axis.name == "compute")
        before, after = self._cells[index]
        ahead = KNOT_SPACING * np.arange(after + 1)
        start = sum(np.log10(each) for each in reference.values())
        growth = (self.axes[index].anchor + ahead - start) / len(grown)
        ray = {
            name: 10.0 ** (np.log10(each) + (growth if name in grown else 0 * growth))[None]
            for name, each in reference.items()
        }
        fall, elasticity = law(ray)
        delta, slopes = self.evaluate(ray)
        # How fast the log loss falls by the decade at the knots, and how far it falls from each to the next.
        speed = LN10 * (elasticity - sum(slopes[name] for name in grown) / len(grown))
        fall = fall - np.diff(delta, axis=1)
        change = np.minimum(speed - LN10 * PACE * np.maximum(elasticity, 0.0), 0.0)
        speed = speed - change
        smooth = KNOT_SPACING * (speed[:, 1:] + speed[:, :-1]) / 2
        # A cubic falls throughout if at neither end it is three times as steep as its chord: Fritsch and Carlson 1980,
        # doi 10.1137/0717021.
        steepest = KNOT_SPACING * np.maximum(speed[:, 1:], speed[:, :-1])
        turned = (change[:, 1:] < 0) | (change[:, :-1] < 0) | (3 * fall < steepest)
        value, slope = self._tables[index]
        slope[:, before:] += change
        value[:, before + 1 :] += np.cumsum(np.where(turned, fall - smooth, 0.0), axis=1)
        return self

    def evaluate(
        self, inputs: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Delta and its slopes.

        Parameters
        ----------
        inputs : mapping of array
            The law's inputs, dims (sample, point) or (1, point).

        Returns
        -------
        delta : numpy.ndarray
            Dims (sample, point).
        slopes : dict of numpy.ndarray
            For each input, the derivative of delta by its natural log.
        """
        at = positions(inputs)
        delta = np.zeros((1, 1))
        slopes = {name: np.zeros((1, 1)) for name in inputs}
        for index, axis in enumerate(self.axes):
            offset = at[axis.name] - axis.anchor
            cubic = self._cubic(index, offset)
            low, high = self._ends(index)
            # Beyond its reach a path stands still.
            delta, slope = (
                delta + _value(*cubic),
                np.where((offset < low) | (offset > high), 0, _slope(*cubic)),
            )
            for name in slopes:
                if axis.name in (name, "compute"):
                    slopes[name] = slopes[name] + slope / LN10
        return delta, slopes

    def delta(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The first answer of :meth:`evaluate`, without the price of the others."""
        at = positions(inputs)
        total = np.zeros((1, 1))
        for index, axis in enumerate(self.axes):
            total = total + _value(*self._cubic(index, at[axis.name] - axis.anchor))
        return total

    def _ends(self, index: int) -> tuple[float, float]:
        """Offsets from the anchor between which a path is kept."""
        before, after = self._cells[index]
        return -KNOT_SPACING * before, KNOT_SPACING * after

    def _cubic(self, index: int, offset: np.ndarray) -> tuple[np.ndarray, ...]:
        """Place within a cell, and coefficients of the cubic there, at an offset from the anchor [decades].

        The cubic goes through two knots with their slopes: the mean of an integrated Wiener process between them. Axes
        (sample, point).
        """
        low, high = self._ends(index)
        place = (np.clip(offset, low, high) - low) / KNOT_SPACING
        cell = np.minimum(place.astype(int), sum(self._cells[index]) - 1)
        part = place - cell
        value, slope = self._tables[index]
        if cell.shape[0] > 1:
            cell = cell + np.arange(len(value))[:, None] * value.shape[1]

        def at(table: np.ndarray, shift: int) -> np.ndarray:
            return table[:, cell[0] + shift] if cell.shape[0] == 1 else table.take(cell + shift)

        left, start = at(value, 0), at(slope, 0)
        rise = (at(value, 1) - left) / KNOT_SPACING
        fall = start + at(slope, 1) - 2 * rise
        return part, left, start, rise - start - fall, fall


def _value(
    part: np.ndarray, left: np.ndarray, start: np.ndarray, bend: np.ndarray, fall: np.ndarray
) -> np.ndarray:
    return left + KNOT_SPACING * part * (start + part * (bend + part * fall))


def _slope(
    part: np.ndarray, left: np.ndarray, start: np.ndarray, bend: np.ndarray, fall: np.ndarray
) -> np.ndarray:
    """Derivative of :func:`_value` by the decade."""
    return start + part * (2 * bend + 3 * part * fall)


def _cells(length: float) -> int:
    """Cells between knots on a side along which the runs reach so far."""
    return int(np.ceil(max(length, REACH) / KNOT_SPACING))


def _path(
    within: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    kappa: np.ndarray,
    rng: np.random.Generator,
    cells: int,
    sudden: Sudden | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Delta and its slope by the decade at the knots of one side, dims (sample, knot)."""
    knots = KNOT_SPACING * np.arange(cells + 1)
    value = np.zeros((kappa.size, knots.size))
    slope = np.zeros_like(value)
    first, unkept = 1, np.zeros((2, kappa.size))
    if within is not None:
        grid, columns, weights = within
        # One knot past the runs' end, so that the cell in which they end still follows them.
        inside = knots[: min(int(np.searchsorted(knots, grid[-1])) + 1, knots.size)]
        value[:, : inside.size] = kappa[:, None] * (weights @ (kernel(inside, grid) @ columns).T)
        slope[:, : inside.size] = kappa[:, None] * (
            weights @ (kernel_slope(inside, grid) @ columns).T
        )
        first = inside.size
        # From a stream of its own: what is drawn beyond the runs does not depend on how much was kept within.
        normal = rng.spawn(1)[0].standard_normal((2, kappa.size))
        unkept = kappa * (_root(inside[-1], grid, columns) @ normal)
    h = KNOT_SPACING
    # Exact steps of an integrated Wiener process: variance h of the slope, h^3/3 of the value, covariance h^2/2.
    one, two = rng.standard_normal((2, kappa.size, knots.size - first))
    scale = LN10 * np.sqrt(h) * (kappa if sudden is None else sudden.gradual)[:, None]
    change = scale * one
    if sudden is not None:
        # At most a handful a decade, so that a cell's share of them is placed in its middle.
        breaks = rng.poisson(h * sudden.rate[:, None], one.shape)
        jumps = LN10 * sudden.change[:, None] * np.sqrt(breaks) * rng.standard_normal(one.shape)
        change = change + jumps
    value_start, slope_start = np.stack([value[:, first - 1], slope[:, first - 1]]) + unkept
    slope[:, first:] = slope_start[:, None] + np.cumsum(change, axis=1)
    before = np.concatenate([slope_start[:, None], slope[:, first:]], axis=1)[:, :-1]
    steps = h * before + h * (change / 2 + scale * two / np.sqrt(12))
    value[:, first:] = value_start[:, None] + np.cumsum(steps, axis=1)
    return value, slope


def _root(end: float, grid: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Root of the covariance of delta and its slope at a distance, less that of the modes that are kept."""
    at = np.array([end])
    kept = np.stack([(kernel(at, grid) @ columns)[0], (kernel_slope(at, grid) @ columns)[0]])
    whole = LN10**2 * np.array([[end**3 / 3, end**2 / 2], [end**2 / 2, end]])
    values, vectors = np.linalg.eigh(whole - kept @ kept.T)
    return vectors * np.sqrt(np.maximum(values, 0.0))
