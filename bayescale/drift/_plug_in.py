"""What is read off the runs before a fit: how much each counts, and the elasticity that the drift's rate multiplies."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy  # Its rooms, which take longer to load than a forecast to make, are loaded when first entered.

from bayescale.drift._axes import LN10, frontier

#: Least elasticity that the drift's rate multiplies, for one input and for several.
ELASTICITY_FLOOR = (0.03, 0.01)
#: Least variance of log losses about a surface of their own, and their scatter about their law in published sweeps.
LEAST_VARIANCE, SCATTER = 1e-12, 0.01


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
        compute / LN10, 1.0 if len(inputs) > 1 else 0.6, least=4 if len(inputs) > 1 else 3
    )
    centred = logs[near] - logs[near].mean(axis=0)
    target = log_loss[near] - log_loss[near].mean()
    if known is not None:
        root = 1 / np.hypot(1, known[near] / SCATTER)
        at, there = (np.average(each, axis=0, weights=root**2) for each in (centred, target))
        centred, target = root[:, None] * (centred - at), root * (target - there)
    slopes, *_ = np.linalg.lstsq(centred, target, rcond=1e-6)
    return float(np.hypot(np.abs(slopes).mean(), ELASTICITY_FLOOR[len(inputs) > 1]))
