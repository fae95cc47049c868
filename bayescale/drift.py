"""Discrepancy: the law holds locally, and its slope may drift with scale.

Log loss is ``ln f(x) + delta(x)``. Along each axis (compute, and each input of a law that has several) the log-slope's
departure from the law is a Wiener process in decades, ``w``, started at zero at the frontier of the runs, so that

    delta(s) = ln(10) * integral of w from 0 to s,   Cov[w(s), w(t)] = kappa^2 min(s, t),

independently on both sides of the anchor. ``delta`` and its slope vanish at the frontier and grow with distance from
it, into the past (old runs stop bending the frontier's slope) as into the future (honest intervals). One number is
learned: ``drift_rate``, by which share of itself the elasticity may change per decade (one standard deviation).

The slope may also break: ``break_rate`` times a decade of compute it changes at once, by a Normal share of itself with
standard deviation ``break_change``. Within the runs such breaks are indistinguishable, to the second moment, from a
drift of variance ``break_rate * break_change^2`` a decade, and are taken for one; beyond the runs, where none has been
seen, they come one by one.

Within the runs delta is written in the eigenfunctions of its covariance, with independent standard Normal weights;
beyond them the pair (delta, slope) goes on as the Markov process it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy  # Its rooms, which take longer to load than a forecast to make, are loaded when first entered.

#: Eigenfunctions kept over all axes: the eigenvalues fall with the fourth power, and 20 hold all but 1e-4 of the
#: variance on sweeps of one to five decades.
MODES = 20
#: Spacing of the knots on which a drawn path is kept, and how far it reaches from the anchor at least [decades]: as
#: far as the runs do, where these reach farther.
KNOT_SPACING = 0.1
REACH = 8.0
#: Least elasticity that the drift's rate multiplies, for one input and for several.
ELASTICITY_FLOOR = (0.03, 0.01)
#: Share of the law's elasticity that a drift leaves it at least, where all scales grow together beyond the runs: as
#: good as none, and enough that rounding does not make a path rise.
PACE = 0.01
#: Least variance of log losses about a surface of their own, and their scatter about their law in published sweeps.
LEAST_VARIANCE, SCATTER = 1e-12, 0.01
_GRID = 96
_LN10 = np.log(10.0)


@dataclass(frozen=True)
class Axis:
    """One direction of drift: where it is anchored, and how far the runs reach on either side.

    Parameters
    ----------
    name : str
        ``compute``, or an input of the law.
    anchor : float
        log10 of the scale where the drift is zero.
    behind, ahead : float
        Reach of the runs below and above the anchor [decades].
    """

    name: str
    anchor: float
    behind: float
    ahead: float


def positions(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """log10 of the scale along every axis.

    Parameters
    ----------
    inputs : mapping of array
        The law's inputs in their own units, all of one shape.

    Returns
    -------
    dict of array
        ``compute`` (the product of all inputs), then each input if there are several.

    Examples
    --------
    >>> {name: float(at) for name, at in positions({"params": 1e9, "tokens": 1e11}).items()}
    {'compute': 20.0, 'params': 9.0, 'tokens': 11.0}
    """
    logs = {name: np.log10(values) for name, values in inputs.items()}
    compute = {"compute": np.add.reduce(np.broadcast_arrays(*logs.values()))}
    return compute | (logs if len(logs) > 1 else {})


def axes(inputs: Mapping[str, np.ndarray], reference: Mapping[str, float]) -> list[Axis]:
    """Axes of drift of a run table.

    Compute is anchored at the largest run, each of several inputs at the reference scale.

    Parameters
    ----------
    inputs : mapping of array
        The law's inputs over the runs.
    reference : mapping of float
        Reference scale of each input.
    """
    found = []
    for name, at in positions(inputs).items():
        anchor = float(at.max()) if name == "compute" else float(np.log10(reference[name]))
        found.append(
            Axis(
                name, anchor, max(anchor - float(at.min()), 0.0), max(float(at.max()) - anchor, 0.0)
            )
        )
    return found


def kernel(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Covariance of delta at distances ``s`` and ``t`` on one side of the anchor, for ``kappa = 1``.

    Examples
    --------
    >>> float(kernel(np.array([1.0]), np.array([1.0]))[0, 0].round(4))
    1.7673
    """
    low, high = np.minimum(s[:, None], t[None, :]), np.maximum(s[:, None], t[None, :])
    return _LN10**2 * low**2 * (3 * high - low) / 6


def covariance(inputs: Mapping[str, np.ndarray], found: Sequence[Axis]) -> np.ndarray:
    """Covariance of delta between points, over all axes and for ``kappa = 1``.

    Parameters
    ----------
    inputs : mapping of array
        The law's inputs in their own units, dims (point,).
    found : sequence of Axis

    Returns
    -------
    numpy.ndarray
        Dims (point, point). At the runs it is ``design @ design.T``, but for the modes that :func:`design` leaves out.

    Examples
    --------
    >>> found = [Axis("compute", anchor=20.0, behind=2.0, ahead=0.0)]
    >>> covariance({"scale": np.array([1e19, 1e20, 1e21])}, found).round(2)
    array([[1.77, 0.  , 0.  ],
           [0.  , 0.  , 0.  ],
           [0.  , 0.  , 1.77]])
    """
    at = positions(inputs)
    total = np.zeros((1, 1))
    for axis in found:
        offset = at[axis.name] - axis.anchor
        for side in (-1, 1):
            distance = np.clip(side * offset, 0.0, None)
            total = total + kernel(distance, distance)
    return total


def _kernel_slope(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Derivative of :func:`kernel` by ``s``."""
    low = np.minimum(s[:, None], t[None, :])
    return _LN10**2 * (low * t[None, :] - low**2 / 2)


def basis(found: Sequence[Axis]) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    """Leading eigenfunctions of the drift within the runs.

    Parameters
    ----------
    found : sequence of Axis

    Returns
    -------
    list of (axis index, side, grid, weights)
        ``side`` is -1 behind the anchor and 1 ahead; ``kernel(s, grid) @ weights`` are the eigenfunctions of that side,
        one column each, scaled so that independent standard Normal weights give delta. Columns over all sides number
        at most :data:`MODES`.
    """
    return _basis(tuple(found))


@cache
def _basis(found: tuple[Axis, ...]) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    sides = []
    for index, axis in enumerate(found):
        for side, length in ((-1, axis.behind), (1, axis.ahead)):
            if length > 1e-6:
                unit, values, vectors = _unit()
                # The kernel of a scaled distance is the kernel, scaled by the cube.
                values = values * length**3
                # Nystrom: eigenvalues of the operator are those of the matrix times the spacing.
                spectrum = values * length / _GRID
                sides.append((index, side, unit * length, values, vectors, spectrum))
    if not sides:
        return []
    # Sides of one length have equal eigenvalues: counted by place, so that never more than MODES are kept.
    owner = np.repeat(np.arange(len(sides)), _GRID)
    leading = owner[np.argsort(-np.concatenate([each[5] for each in sides]), kind="stable")[:MODES]]
    kept = []
    for place, (index, side, grid, values, vectors, _) in enumerate(sides):
        count = int((leading == place).sum())
        if count:
            kept.append((index, side, grid, vectors[:, :count] / np.sqrt(values[:count])))
    return kept


@cache
def _unit() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid on a side one decade long; eigenvalues of the kernel there, the largest first; its eigenvectors.

    A fit keeps weights of these, so that their signs must be the same on every machine: they are positive at the end.
    """
    grid = np.linspace(0, 1, _GRID + 1)[1:]
    values, vectors = np.linalg.eigh(kernel(grid, grid))
    return grid, values[::-1], (vectors * np.sign(vectors[-1]))[:, ::-1]


def design(inputs: Mapping[str, np.ndarray], found: list[Axis]) -> np.ndarray:
    """Matrix (run, mode) that turns standard Normal weights into delta at the runs, for ``kappa = 1``.

    Columns that the runs do not need are zero, so that every run table has :data:`MODES` of them.
    """
    at = positions(inputs)
    size = next(iter(at.values())).size
    columns = []
    for index, side, grid, weights in basis(found):
        axis = found[index]
        distance = side * (at[axis.name] - axis.anchor)
        block = kernel(np.clip(distance, 0.0, None), grid) @ weights
        columns.append(np.where(distance[:, None] > 0, block, 0.0))
    matrix = np.concatenate(columns, axis=1) if columns else np.zeros((size, 0))
    return np.pad(matrix, ((0, 0), (0, MODES - matrix.shape[1])))


@dataclass(frozen=True)
class Marginal:
    """What the likelihood needs once the drift's weights are integrated out.

    With Gaussian noise of variance ``sigma^2 / weights`` the covariance of the scaled log losses
    ``sqrt(weights) * y`` is ``sigma^2 I + kappa^2 U diag(spectrum) U'``: its determinant and inverse cost no more
    than the product with ``U``. Where ``sigma`` differs from run to run, in a way that is itself learned, no fixed
    ``U`` does that; a Cholesky factor of the few modes takes its place.

    Parameters
    ----------
    design : numpy.ndarray
        From :func:`design`, dims (run, mode).
    root : numpy.ndarray
        Square root of each run's weight, dims (run,).
    left : numpy.ndarray
        U, orthonormal columns or zero, dims (run, mode).
    spectrum : numpy.ndarray
        Dims (mode,).
    right : numpy.ndarray
        Turns weights of the eigenvectors into weights of :func:`design`'s columns, dims (mode, mode).
    """

    design: np.ndarray
    root: np.ndarray
    left: np.ndarray
    spectrum: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray, weights: np.ndarray) -> "Marginal":
        """Decompose a :func:`design` matrix, given the runs' weights."""
        root = np.sqrt(weights)
        # With fewer runs than modes, the modes that no run sees are kept too: they stay as the prior has them.
        few = matrix.shape[0] < matrix.shape[1]
        left, singular, right = np.linalg.svd(root[:, None] * matrix, full_matrices=few)
        missing = matrix.shape[1] - singular.size
        return cls(
            matrix,
            root,
            np.pad(left, ((0, 0), (0, missing))),
            np.pad(singular**2, (0, missing)),
            right.T,
        )

    def draw_weights(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the drift's weights given the law, dims (sample, mode).

        Parameters
        ----------
        residual : numpy.ndarray
            Log loss less the law's, dims (sample, run).
        sigma : numpy.ndarray
            Dims (sample,), or (sample, run) where it differs from run to run.
        kappa : numpy.ndarray
            Dims (sample,).
        rng : numpy.random.Generator
        """
        if sigma.ndim > 1:
            return np.concatenate(
                [
                    self._draw_uneven(residual[part], sigma[part], kappa[part], rng)
                    for part in _parts(len(kappa))
                ]
            )
        projected = (residual * self.root) @ self.left
        signal = kappa[:, None] * np.sqrt(self.spectrum)
        total = sigma[:, None] ** 2 + signal**2
        mean = signal * projected / total
        weights = mean + sigma[:, None] / np.sqrt(total) * rng.standard_normal(mean.shape)
        return weights @ self.right.T

    def log_leave_one_out(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray
    ) -> np.ndarray:
        """Log density of each log loss given all others and the law, dims (sample, run).

        Buerkner, Gabry, Vehtari 2021 (arXiv 1810.10559), equations 9 to 11. Parameters as for :meth:`draw_weights`.
        """
        if sigma.ndim > 1:
            return np.concatenate(
                [
                    self._leave_one_out_uneven(residual[part], sigma[part], kappa[part])
                    for part in _parts(len(kappa))
                ]
            )
        scaled = residual * self.root
        gain = kappa[:, None] ** 2 * self.spectrum
        shrink = gain / (sigma[:, None] ** 2 + gain)
        precision = (1 - shrink @ (self.left.T**2)) / sigma[:, None] ** 2
        solved = (scaled - (scaled @ self.left * shrink) @ self.left.T) / sigma[:, None] ** 2
        error = solved / precision
        return -0.5 * (np.log(2 * np.pi) - np.log(precision) + error**2 * precision) + np.log(
            self.root
        )

    def _factor(
        self, sigma: np.ndarray, kappa: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision of the noise (sample, run), design times kappa (sample, run, mode), and the factor of the modes."""
        precision = (self.root / sigma) ** 2
        scaled = kappa[:, None, None] * self.design
        inner = scaled.transpose(0, 2, 1) @ (precision[..., None] * scaled)
        return precision, scaled, np.linalg.cholesky(inner + np.eye(inner.shape[-1]))

    def _draw_uneven(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        precision, scaled, factor = self._factor(sigma, kappa)
        projected = scaled.transpose(0, 2, 1) @ (precision * residual)[..., None]
        noise = rng.standard_normal(projected.shape)
        half = np.linalg.solve(factor, projected) + noise
        return np.asarray(np.linalg.solve(factor.transpose(0, 2, 1), half)[..., 0])

    def _leave_one_out_uneven(
        self, residual: np.ndarray, sigma: np.ndarray, kappa: np.ndarray
    ) -> np.ndarray:
        precision, scaled, factor = self._factor(sigma, kappa)
        half = np.linalg.solve(factor, (precision[..., None] * scaled).transpose(0, 2, 1))
        explained = (half.transpose(0, 2, 1) @ (half @ residual[..., None]))[..., 0]
        solved = precision * residual - explained
        own = precision - (half**2).sum(axis=1)
        error = solved / own
        return np.asarray(-0.5 * (np.log(2 * np.pi) - np.log(own) + error**2 * own))


def _parts(samples: int, size: int = 250) -> list[slice]:
    """Slices of samples that keep arrays of (sample, run, mode) small."""
    return [slice(start, start + size) for start in range(0, samples, size)]


def robust_weights(
    inputs: Mapping[str, np.ndarray],
    log_loss: np.ndarray,
    nu: float,
    groups: Sequence[np.ndarray] = (),
    known: np.ndarray | None = None,
    sloping: bool = False,
) -> np.ndarray:
    """Weights of runs under Student's t noise about a smooth surface of their own: outliers count less.

    Integrating the drift out needs Gaussian noise, so that heavy tails enter as weights
    ``(nu + 1) / (nu + r^2 / s^2)`` of the residuals ``r`` of a quadratic in the logs of the inputs, by iteratively
    re-weighted least squares (Lange, Little, Taylor 1989).

    Parameters
    ----------
    inputs : mapping of array
        Dims (run,).
    log_loss : numpy.ndarray
    nu : float
        Degrees of freedom.
    groups : sequence of numpy.ndarray
        Index of each run's group, for every column whose groups have levels of their own; a further column only where
        there are runs enough.
    known : numpy.ndarray, optional
        Known standard deviation of each log loss: a run that is known to be uncertain is no outlier.
    sloping : bool
        Whether the scatter may change with scale; residuals are then measured against their neighbours'.

    Returns
    -------
    numpy.ndarray
        Dims (run,). Where the runs are too few to tell an outlier all have that of Student's t on average, by its
        variance: the scatter of the runs is then taken for all of the t's, not for its scale.
    """
    logs = [np.log(values) - np.log(values).mean() for values in inputs.values()]
    squares = [a * b for i, a in enumerate(logs) for b in logs[i:]]
    columns = [np.ones_like(log_loss), *logs, *squares]
    for place, group in enumerate(groups):
        levels = [1.0 * (group == each) for each in np.unique(group)[1:]]
        if place == 0 or log_loss.size >= 2 * len(columns + levels):
            columns += levels
    if log_loss.size < 2 * len(columns):
        # Fewer than three degrees of freedom count for three: with two there is no variance.
        return np.full_like(log_loss, 1 - 2 / max(nu, 3.0))
    table = np.stack(columns, axis=1)
    size = sum(logs)
    weights, relative = np.ones_like(log_loss), np.ones_like(log_loss)
    variance = np.zeros_like(log_loss) if known is None else known**2
    freedom, scale = log_loss.size - table.shape[1], max(float(log_loss.var()), LEAST_VARIANCE)
    for _ in range(50):
        # What is known to be uncertain pulls the less.
        root = np.sqrt(weights) / relative / np.sqrt(1 + variance / (scale * relative**2))
        found, *_rest = np.linalg.lstsq(root[:, None] * table, root * log_loss, rcond=1e-9)
        residual = log_loss - table @ found
        if sloping:
            # In logs, where an outlier ten times too large counts for no more than one ten times too small.
            trend = np.polyfit(size, np.log(np.abs(residual) + 1e-9), 1)[0]
            relative = np.exp(trend * size)
        scale = _unexplained(weights * residual**2, relative**2, variance, freedom)
        weights = (nu + 1) / (nu + residual**2 / (scale * relative**2 + variance))
    return weights


def _unexplained(
    squares: np.ndarray, relative: np.ndarray, variance: np.ndarray, freedom: int
) -> float:
    """Variance that, beside the known one of each run, makes squares of residuals what they are on average.

    The estimate of Paule and Mandel 1982 (doi 10.6028/jres.087.022): a run that is known to be uncertain says little.
    """
    most = max(float((squares / relative).sum() / freedom), LEAST_VARIANCE)
    if not variance.any():
        return most

    def excess(log_scale: float) -> float:
        return float((squares / (np.exp(log_scale) * relative + variance)).sum()) - freedom

    # A hair above what would be all of it, where rounding cannot leave an excess.
    low, high = np.log(LEAST_VARIANCE), np.log(most) + 1e-9
    if excess(low) <= 0:
        return LEAST_VARIANCE
    return float(np.exp(scipy.optimize.brentq(excess, low, high)))


def typical_elasticity(
    inputs: Mapping[str, np.ndarray], log_loss: np.ndarray, known: np.ndarray | None = None
) -> float:
    """Elasticity of the loss about the frontier, by least squares: the scale that ``drift_rate`` multiplies.

    A plug-in constant, not the law's own elasticity: with that, a fit that puts all of the loss into its floor would
    switch its own drift off.

    Parameters
    ----------
    inputs : mapping of array
    log_loss : numpy.ndarray
    known : numpy.ndarray, optional
        Known standard deviation of each log loss: runs then count by it and a typical scatter, :data:`SCATTER`.

    Returns
    -------
    float
        With :data:`ELASTICITY_FLOOR` added in quadrature.
    """
    logs = np.stack([np.log(values) for values in inputs.values()], axis=1)
    compute = logs.sum(axis=1)
    near = frontier(
        compute / _LN10, 1.0 if len(inputs) > 1 else 0.6, least=4 if len(inputs) > 1 else 3
    )
    centred = logs[near] - logs[near].mean(axis=0)
    target = log_loss[near] - log_loss[near].mean()
    if known is not None:
        root = 1 / np.hypot(1, known[near] / SCATTER)
        at, there = (np.average(each, axis=0, weights=root**2) for each in (centred, target))
        centred, target = root[:, None] * (centred - at), root * (target - there)
    slopes, *_ = np.linalg.lstsq(centred, target, rcond=1e-6)
    return float(np.hypot(np.abs(slopes).mean(), ELASTICITY_FLOOR[len(inputs) > 1]))


def frontier(at: np.ndarray, width: float = 1.0, least: int = 4) -> np.ndarray:
    """Indices of the runs within ``width`` decades of the largest, at least ``least`` of them.

    Examples
    --------
    >>> frontier(np.array([18.0, 19.0, 19.5, 20.0]), least=2)
    array([3, 2, 1])
    """
    order = np.argsort(-at, kind="stable")
    return order[: max(int((at >= at.max() - width).sum()), min(least, at.size))]


def middle(scales: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Geometric mean of each scale over the :func:`frontier` of the runs: where their reference scale lies.

    Examples
    --------
    >>> middle({"scale": np.array([1e17, 1e19, 1e20, 1e20, 1e21])})
    {'scale': 1e+20}
    """
    near = frontier(positions(scales)["compute"])
    return {slot: float(np.exp(np.log(values[near]).mean())) for slot, values in scales.items()}


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
        speed = _LN10 * (elasticity - sum(slopes[name] for name in grown) / len(grown))
        fall = fall - np.diff(delta, axis=1)
        change = np.minimum(speed - _LN10 * PACE * np.maximum(elasticity, 0.0), 0.0)
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
                    slopes[name] = slopes[name] + slope / _LN10
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
    first = 1
    if within is not None:
        grid, columns, weights = within
        # One knot past the runs' end, so that the cell in which they end still follows them.
        inside = knots[: min(int(np.searchsorted(knots, grid[-1])) + 1, knots.size)]
        value[:, : inside.size] = kappa[:, None] * (weights @ (kernel(inside, grid) @ columns).T)
        slope[:, : inside.size] = kappa[:, None] * (
            weights @ (_kernel_slope(inside, grid) @ columns).T
        )
        first = inside.size
    h = KNOT_SPACING
    # Exact steps of an integrated Wiener process: variance h of the slope, h^3/3 of the value, covariance h^2/2.
    one, two = rng.standard_normal((2, kappa.size, knots.size - first))
    scale = _LN10 * np.sqrt(h) * (kappa if sudden is None else sudden.gradual)[:, None]
    change = scale * one
    if sudden is not None:
        # At most a handful a decade, so that a cell's share of them is placed in its middle.
        breaks = rng.poisson(h * sudden.rate[:, None], one.shape)
        jumps = _LN10 * sudden.change[:, None] * np.sqrt(breaks) * rng.standard_normal(one.shape)
        change = change + jumps
    slope[:, first:] = slope[:, [first - 1]] + np.cumsum(change, axis=1)
    steps = h * slope[:, first - 1 : -1] + h * (change / 2 + scale * two / np.sqrt(12))
    value[:, first:] = value[:, [first - 1]] + np.cumsum(steps, axis=1)
    return value, slope
