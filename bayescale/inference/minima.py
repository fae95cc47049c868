"""Curves of running minima: a row that repeats the least loss so far says only that the loss measured there was higher.

Taken at their word, such rows hide the noise, so that intervals are too narrow, and hang below the law, so that
forecasts are too low. With independent noise the likelihood of a running minimum is exact: a row that sets the minimum
is a loss as it was measured, a row that repeats it is censored from below. Noise enters elsewhere as a Normal, with
the drift integrated out; so censored rows are filled in once, from a Tobit regression (Tobin 1958, doi 10.2307/1907382)
of the curve on a cubic of log compute. On simulated curves this did as well as drawing them anew at every step of a
sampler. Evaluations that are not in the table cannot be made up for: where a row is the least of many, noise and law
stay underestimated.
"""

import numpy as np
import xarray as xr
from scipy.special import log_ndtr, ndtri_exp

from bayescale import drift
from bayescale.inference.arrays import law_inputs
from bayescale.model import Model
from bayescale.notes import Note
from bayescale.runs.screen import falls_throughout

#: A cubic follows a plateau and a power over a few decades; it needs more rows as measured than it has coefficients.
DEGREE = 3
MEASURED_LEAST = DEGREE + 3
#: Each step of the EM algorithm raises the likelihood; at half the rows censored 100 leave less than 1 % of the noise.
STEPS = 100
#: Squared steps between residuals over their squares, below which they follow each other.
ORDERLY = 0.5
_GOLDEN = (np.sqrt(5) - 1) / 2


def fill_minima(runs: xr.Dataset, model: Model) -> tuple[xr.Dataset, Note | None]:
    """Replace the repeats in curves of running minima by losses such as may have been measured there.

    Parameters
    ----------
    runs : xr.Dataset
        Dim ``run``, one row a checkpoint; rows of one run share their ``run_id``.
    model : Model
        Its inputs say along what a run advances.

    Returns
    -------
    runs : xr.Dataset
        The same rows. Only the loss differs, in rows that repeat the row before in a curve that never rises. The same
        table gives the same numbers. *How to read it*: a forecast is of a loss as it is measured, not of the next
        minimum, which is lower.
    note : Note or None
        What was done; None if there is no such curve.
    """
    # Of rates a loss may be zero, and counts say by themselves how uncertain they are.
    if "run_id" not in runs or model.noise.of_rate:
        return runs, None
    at = drift.positions(law_inputs(runs, model))["compute"]
    log_loss = np.log(runs["loss"].values.astype(float))
    filled, curves, count = log_loss.copy(), 0, 0
    for rows in _curves(runs["run_id"].values.astype(str), at, log_loss):
        # Two rows at one scale are one checkpoint twice, or two runs of a name: neither repeats the other.
        repeats = np.append(False, (np.diff(log_loss[rows]) == 0) & (np.diff(at[rows]) > 0))
        if not (
            falls_throughout(log_loss[rows]) and 0 < repeats.sum() <= rows.size - MEASURED_LEAST
        ):
            continue
        likely = fill(at[rows], log_loss[rows], repeats)
        if _follows(at[rows], likely, ~repeats):
            filled[rows] = likely
            curves, count = curves + 1, count + int(repeats.sum())
    if not curves:
        return runs, None
    note = Note(
        "running_minimum_table",
        "info",
        f"{count} of {log_loss.size} checkpoints repeat a running minimum, in {curves} "
        f"curve{'s' if curves > 1 else ''}: they entered as losses somewhere above it",
        "a forecast is of a loss as measured, not of the next minimum",
    )
    return runs.assign(loss=runs["loss"].copy(data=np.exp(filled))), note


def _curves(names: np.ndarray, at: np.ndarray, log_loss: np.ndarray) -> list[np.ndarray]:
    """Rows of each run in the order of training."""
    order = np.lexsort((-log_loss, at, names))
    return np.split(order, np.flatnonzero(names[order][1:] != names[order][:-1]) + 1)


def _follows(at: np.ndarray, log_loss: np.ndarray, measured: np.ndarray) -> bool:
    """Whether a cubic follows a curve: what it leaves of the rows as measured has no order (von Neumann's ratio).

    Over four decades and more, a plateau and a fall are no cubic. What is left is then no noise, and would be added to
    the rows that are filled in. Where one follows, the ratio is about 1 to 2 on simulated curves, else below .1.
    """
    table = _powers(at)
    left = (log_loss - table @ np.linalg.lstsq(table, log_loss, rcond=None)[0])[measured]
    return bool(np.sum(np.diff(left) ** 2) > ORDERLY * np.sum((left - left.mean()) ** 2))


def _powers(at: np.ndarray) -> np.ndarray:
    return np.vander((at - at.mean()) / at.std(), DEGREE + 1)


def fill(at: np.ndarray, log_loss: np.ndarray, censored: np.ndarray) -> np.ndarray:
    """Fill in log losses of which only a lower bound is known.

    Parameters
    ----------
    at : numpy.ndarray
        log10 of the scale.
    log_loss : numpy.ndarray
        As measured, or the bound.
    censored : numpy.ndarray
        Of bool: where it is the bound.

    Returns
    -------
    numpy.ndarray
        Log losses; the censored ones at quantiles of their distribution above the bound that are spread evenly,
        so that their scatter is that of the noise without any chance in it.

    Examples
    --------
    >>> at = np.linspace(0, 2, 50)
    >>> measured = -0.1 * at + 0.01 * np.random.default_rng(0).standard_normal(50)
    >>> least = np.minimum.accumulate(measured)
    >>> filled = fill(at, least, np.append(False, np.diff(least) == 0))
    >>> bool(np.std(filled + 0.1 * at) > 1.2 * np.std(least + 0.1 * at))
    True
    """
    table = _powers(at)
    found, spread = log_loss.copy(), np.zeros_like(log_loss)
    for _ in range(STEPS):
        curve = table @ np.linalg.lstsq(table, found, rcond=None)[0]
        squares = np.sum((found - curve) ** 2) + spread.sum()
        sigma = max(float(np.sqrt(squares / (at.size - table.shape[1]))), 1e-9)
        bound = (log_loss - curve) / sigma
        # Mean and variance of a standard Normal above its bound.
        mean = np.exp(-0.5 * bound**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(-bound))
        found = np.where(censored, curve + sigma * mean, log_loss)
        spread = np.where(censored, sigma**2 * np.maximum(1 + bound * mean - mean**2, 0.0), 0.0)
    # Multiples of the golden ratio: the most even spread whatever their number.
    share = (np.cumsum(censored) * _GOLDEN) % 1
    above = curve - sigma * ndtri_exp(np.log1p(-share) + log_ndtr(-bound))
    return np.where(censored, np.maximum(above, log_loss), log_loss)
