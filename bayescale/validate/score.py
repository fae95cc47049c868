"""Scores of a predictive distribution against losses that were held out.

A forecast is a mixture over posterior draws of Normal or Student's t distributions of log loss, or of distributions of
the rate that the loss is: its density and distribution function are exact given the draws, nothing is smoothed. Scores
are of *log* loss, so that an error of .01 is one percent of the loss whatever its unit. Gneiting and Raftery 2007, doi
10.1198/016214506000001437.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy import special, stats

from bayescale import rates
from bayescale.forecast.curve import Saved, law_params, log_location, read_fit, stream
from bayescale.forecast.montecarlo import mcse, quantiles
from bayescale.forecast.noise import noise_scale, rates_at
from bayescale.laws import Law
from bayescale.rates import Rates

#: Levels of the central intervals whose coverage and width are reported.
LEVELS = (0.5, 0.8, 0.9)
#: Levels over which the squared error of coverage is averaged.
CALIBRATION_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
#: Quantiles of the forecast that are kept: the ends of the intervals, and the median.
QUANTILES = {
    "q05": 0.05,
    "q10": 0.1,
    "q25": 0.25,
    "median": 0.5,
    "q75": 0.75,
    "q90": 0.9,
    "q95": 0.95,
}
_ENDS = {0.5: ("q25", "q75"), 0.8: ("q10", "q90"), 0.9: ("q05", "q95")}
#: Least number of values that quantiles and the CRPS are taken from.
_VALUES = 4000
#: Values scored at once: 32 MB.
_BLOCK = 2**22


@dataclass(frozen=True)
class Predictive:
    """Forecast of log losses: one component of the mixture a draw.

    Parameters
    ----------
    location : numpy.ndarray
        Axes (chain, draw, run).
    scale : numpy.ndarray
        Of the noise; broadcasts against ``location``.
    nu : numpy.ndarray or None
        Degrees of freedom of Student's t, broadcasts against ``location``; None for Normal noise.
    excess : numpy.ndarray or None
        Mean of an exponential excess above the Normal, broadcasts against ``location``; None for no excess.
    """

    location: np.ndarray
    scale: np.ndarray
    nu: np.ndarray | None = None
    excess: np.ndarray | None = None


@dataclass(frozen=True)
class RatePredictive:
    """Forecast of losses that are rates: one component of the mixture a draw.

    Parameters
    ----------
    law : Law
        Says how a rate and a loss go together.
    rates : Rates
        Axes (chain, draw, run).
    """

    law: Law
    rates: Rates

    def log_loss(self, loss: np.ndarray) -> np.ndarray:
        """Log of losses, which those of no error and of none right have too."""
        return np.asarray(np.log(self.law.inside(loss, self.rates.trials)))

    def rate(self, log_loss: np.ndarray) -> np.ndarray:
        """The rate of log losses."""
        return self.law.observed_rate(np.exp(log_loss))


def predictive(
    fit: xr.DataTree, runs: xr.Dataset, *, random_seed: int = 0
) -> Predictive | RatePredictive:
    """Forecast the log loss of one more run at the scales of a run table.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`.
    runs : xr.Dataset
        With the columns of the model's inputs and groups; a group without runs in the fit is drawn anew.
    random_seed : int
        Of new groups.

    Returns
    -------
    Predictive or RatePredictive
    """
    saved = read_fit(fit)
    inputs = {
        slot: runs[column].values.astype(float)[None, :] / saved.reference[slot]
        for slot, column in saved.model.inputs.items()
    }
    groups = [
        {over: str(runs[over].values[row]) if over in runs else "" for over in saved.pooled}
        for row in range(runs.sizes["run"] if saved.pooled else 1)
    ]
    location = log_location(saved, inputs, law_params(saved, groups, random_seed))
    noise = saved.model.noise
    if noise.of_rate:
        counted = isinstance(noise.trials, str) and noise.trials in runs
        trials = runs[noise.trials].values.astype(float) if counted else None
        found = rates_at(saved, location, inputs, trials)
        scatter = None if found.scatter is None else _shaped(found.scatter, saved)
        center = _shaped(found.center, saved)
        return RatePredictive(saved.law, replace(found, center=center, scatter=scatter))
    single = float(fit.attrs.get("checkpoint_sd", 0.0))
    scale = _noise_scale(saved, inputs, location, runs, single)
    nu = None
    if noise.nu is not None:
        nu = _shaped(
            np.full((1, 1), noise.nu)
            if isinstance(noise.nu, float)
            else saved.draws_of("nu")[:, None],
            saved,
        )
    excess = None
    if noise.excess is not None:
        excess = _shaped(saved.draws_of("excess")[:, None], saved)
    return Predictive(_shaped(location, saved), _shaped(scale, saved), nu, excess)


def _shaped(values: np.ndarray, saved: Saved) -> np.ndarray:
    """Axes (chain, draw, run) from (sample, run)."""
    shape = saved.shape if values.shape[0] > 1 else (1, 1)
    return values.reshape(*shape, -1)


def _noise_scale(
    saved: Saved,
    inputs: Mapping[str, np.ndarray],
    location: np.ndarray,
    runs: xr.Dataset,
    single: float,
) -> np.ndarray:
    """Scale of the noise of log loss, axes (sample, run), where single checkpoints scatter by ``single``."""
    noise, sigma = saved.model.noise, noise_scale(saved, inputs)
    assert sigma is not None
    known: float | np.ndarray = 0.0
    if noise.known is not None and noise.known in runs:
        known = np.nan_to_num(runs[noise.known].values.astype(float)) / np.exp(location)
    # The fit saw means of checkpoints; a single one scatters about them, by its known error among others.
    return np.hypot(sigma, np.maximum(known, single))


def log_density(
    forecast: Predictive | RatePredictive, log_loss: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log predictive density of each log loss, and its Monte Carlo error.

    The probability of a count is spread over the rates that round to it, so that it is a density too.

    Examples
    --------
    >>> forecast = Predictive(np.zeros((2, 50, 1)), np.ones((1, 1, 1)))
    >>> log_density(forecast, np.array([0.0]))[0]
    array([-0.91893853])
    """
    logs = _log_densities(forecast, log_loss)
    highest = logs.max(axis=(0, 1))
    ratios = np.exp(logs - highest)
    mean = ratios.mean(axis=(0, 1))
    return np.log(mean) + highest, _error(ratios) / mean


def _log_densities(forecast: Predictive | RatePredictive, log_loss: np.ndarray) -> np.ndarray:
    """Log density of log losses by each component, axes (chain, draw, run)."""
    if isinstance(forecast, RatePredictive):
        rate = forecast.rate(log_loss)
        # The rate moves with the log of the loss by the loss itself, times the rate if its log is the loss.
        turn = log_loss if forecast.law.trials_give == "error" else log_loss + np.log(rate)
        return rates.log_density(forecast.rates, rate) + turn
    standard = (log_loss - forecast.location) / forecast.scale
    if forecast.excess is not None:
        return stats.exponnorm.logpdf(standard, forecast.excess / forecast.scale) - np.log(
            forecast.scale
        )
    if forecast.nu is None:
        return -0.5 * standard**2 - 0.5 * np.log(2 * np.pi) - np.log(forecast.scale)
    nu = forecast.nu
    return np.asarray(
        special.gammaln((nu + 1) / 2)
        - special.gammaln(nu / 2)
        - 0.5 * np.log(nu * np.pi)
        - np.log(forecast.scale)
        - (nu + 1) / 2 * np.log1p(standard**2 / nu)
    )


def pit(
    forecast: Predictive | RatePredictive, log_loss: np.ndarray, *, random_seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Probability that the forecast gave to a loss no larger than the one observed, and its Monte Carlo error.

    Uniform on (0, 1) if the forecast is calibrated. Of a loss that is counted, a random part of what the forecast gave
    to the very count is left out: without that the few values that a count has would lie in lumps, and as many
    intervals hold them as by chance begin or end at one.

    Parameters
    ----------
    forecast : Predictive or RatePredictive
    log_loss : numpy.ndarray
        Axis (run,).
    random_seed : int
        Of that part, one for each run.

    Examples
    --------
    >>> forecast = Predictive(np.zeros((2, 50, 1)), np.ones((1, 1, 1)), np.full((1, 1, 1), 4.0))
    >>> pit(forecast, np.array([0.0]))[0]
    array([0.5])
    """
    return _pit(forecast, log_loss, _pit_luck(log_loss, random_seed))


def _pit_luck(log_loss: np.ndarray, random_seed: int) -> np.ndarray:
    return stream(random_seed, "pit").random(np.shape(log_loss))


def _pit(
    forecast: Predictive | RatePredictive, log_loss: np.ndarray, luck: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(forecast, RatePredictive):
        below = rates.below(forecast.rates, forecast.rate(log_loss), luck)
        below = below if forecast.law.trials_give == "error" else 1 - below
        return below.mean(axis=(0, 1)), _error(below)
    standard = (log_loss - forecast.location) / forecast.scale
    if forecast.excess is not None:
        below = stats.exponnorm.cdf(standard, forecast.excess / forecast.scale)
    elif forecast.nu is None:
        below = special.ndtr(standard)
    else:
        below = special.stdtr(forecast.nu, standard)
    return below.mean(axis=(0, 1)), _error(below)


def draw_log_loss(forecast: Predictive | RatePredictive, rng: np.random.Generator) -> np.ndarray:
    """Draws of log loss, axes (chain, draw, run): several in a row of each component, if these are few."""
    if isinstance(forecast, RatePredictive):
        return _draw_rates(forecast, rng)
    chains, draws, _ = forecast.location.shape
    repeats = -(-_VALUES // (chains * draws))
    location, scale = forecast.location, _repeated(forecast.scale, repeats)
    if repeats > 1:
        location = np.repeat(location, repeats, axis=1)
    if forecast.excess is not None:
        above = rng.standard_exponential(location.shape)
        above *= _repeated(forecast.excess, repeats)
        above += location
        location = above
    if forecast.nu is None:
        drawn = rng.standard_normal(location.shape)
    else:
        drawn = rng.standard_t(np.broadcast_to(_repeated(forecast.nu, repeats), location.shape))
    # In place: of many held-out rows each array takes gigabytes.
    drawn *= scale
    drawn += location
    return drawn


def _repeated(values: np.ndarray, repeats: int) -> np.ndarray:
    """Several in a row of each draw, of what may be the same in all draws."""
    return values if repeats == 1 or values.shape[1] == 1 else np.repeat(values, repeats, axis=1)


def _draw_rates(forecast: RatePredictive, rng: np.random.Generator) -> np.ndarray:
    chains, draws, _ = forecast.rates.center.shape
    repeats = -(-_VALUES // (chains * draws))
    center, scatter = np.repeat(forecast.rates.center, repeats, axis=1), forecast.rates.scatter
    if scatter is not None and scatter.shape[1] > 1:
        scatter = np.repeat(scatter, repeats, axis=1)
    several = replace(forecast.rates, center=center, scatter=scatter)
    drawn = rates.draw(several, rng.random((2, *center.shape)))
    return forecast.log_loss(forecast.law.loss_of(drawn))


def crps(values: np.ndarray, log_loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continuous ranked probability score of draws, E|X - y| - E|X - X'|/2, and its Monte Carlo error.

    Parameters
    ----------
    values : numpy.ndarray
        Draws of log loss, axes (chain, draw, run).
    log_loss : numpy.ndarray
        Axis (run,).

    Returns
    -------
    tuple of numpy.ndarray
        Axis (run,). *How to read it*: for a forecast without spread it is the absolute error of log loss; less is
        better.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(4, 5000, 1))
    >>> abs(float(crps(values, np.array([0.0]))[0][0]) - 0.2337) < 0.01
    True
    """
    chains, draws, runs = values.shape
    flat = values.reshape(-1, runs).T
    count = flat.shape[1]
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    rank = np.arange(1, count + 1)
    # E|X - x| at every draw x, from the running sums of the sorted draws.
    sums = np.cumsum(ordered, axis=1)
    spread = (ordered * (2 * rank - count) - 2 * sums + sums[:, -1:]) / (count - 1)
    score = np.abs(flat - log_loss[:, None]).mean(axis=1) - 0.5 * spread.mean(axis=1)
    # First-order influence of each draw on the score: its mean is the score up to a constant.
    influence = np.empty_like(flat)
    np.put_along_axis(influence, order, np.abs(ordered - log_loss[:, None]) - spread, axis=1)
    return score, _error(influence.T.reshape(chains, draws, runs))


def score_runs(
    forecast: Predictive | RatePredictive, loss: np.ndarray, *, random_seed: int = 0
) -> xr.Dataset:
    """Score a forecast run by run.

    Parameters
    ----------
    forecast : Predictive or RatePredictive
    loss : numpy.ndarray
        Observed losses, axis (run,).
    random_seed : int
        Of the draws that quantiles and the CRPS are taken from, and of the part of a count's own probability that
        ``pit`` holds.

    Returns
    -------
    xr.Dataset
        Dim run. ``observed``, ``median`` and the other :data:`QUANTILES` in the unit of the loss; ``pit``, ``lpd``
        (log predictive density of log loss) and ``crps`` (of log loss); ``<name>_mcse``, the Monte Carlo errors.
        *How to read it*: the central 90 % interval held the loss if ``pit`` is between .05 and .95.

    Examples
    --------
    >>> forecast = Predictive(np.zeros((2, 500, 1)), np.full((1, 1, 1), 0.1))
    >>> table = score_runs(forecast, np.array([1.1]))
    >>> round(float(table["pit"][0]), 2)
    0.83
    """
    loss = np.asarray(loss, dtype=float)
    if isinstance(forecast, RatePredictive):
        loss = np.exp(forecast.log_loss(loss))
    log_loss = np.log(loss)
    # Drawn at once, so that the luck of a run does not depend on how many are scored at a time.
    values = draw_log_loss(forecast, stream(random_seed, "score"))
    luck = _pit_luck(log_loss, random_seed)
    step = max(1, _BLOCK // (values.shape[0] * values.shape[1]))
    blocks = [slice(start, start + step) for start in range(0, loss.size, step)]
    parts = [
        _scored(_some(forecast, which), values[..., which], log_loss[which], luck[which])
        for which in blocks
    ]
    found = {"observed": loss}
    found |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return xr.Dataset({name: ("run", each) for name, each in found.items()})


def _scored(
    forecast: Predictive | RatePredictive,
    values: np.ndarray,
    log_loss: np.ndarray,
    luck: np.ndarray,
) -> dict[str, np.ndarray]:
    """Scores of some runs, from draws of their log losses."""
    found = {}
    levels, errors = quantiles(_named(values), list(QUANTILES.values()))
    for index, name in enumerate(QUANTILES):
        found[name] = np.exp(levels.values[:, index])
    found["median_mcse"] = found["median"] * errors.sel(quantile=0.5).values
    for name, (value, error) in {
        "pit": _pit(forecast, log_loss, luck),
        "lpd": log_density(forecast, log_loss),
        "crps": crps(values, log_loss),
    }.items():
        found |= {name: value, f"{name}_mcse": error}
    return found


def _some(forecast: Predictive | RatePredictive, which: slice) -> Predictive | RatePredictive:
    """A forecast of some of its runs."""
    if isinstance(forecast, RatePredictive):
        return replace(forecast, rates=_cut(forecast.rates, which))
    return _cut(forecast, which)


def _cut[Arrays: (Predictive, Rates)](arrays: Arrays, which: slice) -> Arrays:
    """Those whose last axis is that of the runs; the others are the same for all."""
    found: dict[str, Any] = {
        name: each[..., which]
        for name, each in vars(arrays).items()
        if isinstance(each, np.ndarray) and each.ndim and each.shape[-1] > 1
    }
    return replace(arrays, **found)


def scores(table: xr.Dataset) -> xr.Dataset:
    """Average the scores of runs.

    Parameters
    ----------
    table : xr.Dataset
        From :func:`score_runs`; one dim.

    Returns
    -------
    xr.Dataset
        ``coverage`` and ``width`` (mean width of the interval as a share of the median) by ``level``; ``lpd``,
        ``crps``, ``rmsle`` (of the median) and ``msce``, the mean over :data:`CALIBRATION_LEVELS` of the squared
        error of coverage. ``<name>_se`` is the standard error over runs and ``<name>_mcse`` an upper bound of the
        Monte Carlo error. *How to read it*: the errors over runs take these as independent. Runs that one fit
        forecasts share its errors, so the truth is less certain than ``_se`` says. Coverage of a few runs moves in
        steps of one run.

    Examples
    --------
    >>> forecast = Predictive(np.zeros((2, 500, 2)), np.full((1, 1, 1), 0.1))
    >>> float(scores(score_runs(forecast, np.array([1.0, 2.0])))["coverage"].sel(level=0.9))
    0.5
    """
    count = next(iter(table.sizes.values()))
    pits, pit_mcse = table["pit"].values, table["pit_mcse"].values
    found: dict[str, object] = {"runs": count}
    rows = [_coverage(pits, pit_mcse, level) for level in LEVELS]
    ends = [_ENDS[level] for level in LEVELS]
    widths = [(table[high] - table[low]) / table["median"] for low, high in ends]
    for index, suffix in enumerate(("", "_se", "_mcse")):
        found[f"coverage{suffix}"] = "level", [row[index] for row in rows]
    found["width"] = "level", [float(width.mean()) for width in widths]
    found["width_se"] = "level", [_standard_error(width.values) for width in widths]
    for name in ("lpd", "crps"):
        found |= {
            name: float(table[name].mean()),
            f"{name}_se": _standard_error(table[name].values),
            f"{name}_mcse": float(table[f"{name}_mcse"].mean()),
        }
    errors = np.log(table["median"].values / table["observed"].values)
    rmsle = float(np.sqrt(np.mean(errors**2)))
    half = 2 * max(rmsle, 1e-300)
    relative = np.abs(errors) * (table["median_mcse"] / table["median"]).values
    found |= {
        "rmsle": rmsle,
        "rmsle_se": _standard_error(errors**2) / half,
        "rmsle_mcse": float(2 * relative.mean() / half),
    }
    found |= _msce(pits, pit_mcse)
    result = xr.Dataset(found, coords={"level": list(LEVELS)})
    return result.assign_attrs(target="log loss")


def held(pits: np.ndarray, level: float) -> np.ndarray:
    """Whether the central interval of a level held the loss.

    Examples
    --------
    >>> held(np.array([0.04, 0.5, 0.95]), 0.9)
    array([False,  True,  True])
    """
    return np.abs(pits - 0.5) <= level / 2 + 1e-12


def _coverage(pits: np.ndarray, errors: np.ndarray, level: float) -> tuple[float, float, float]:
    count = pits.size
    inside = held(pits, level)
    # Laplace's rule: 10 of 10 is not a certainty.
    smooth = (inside.sum() + 1) / (count + 2)
    edge = np.abs(np.abs(pits - 0.5) - level / 2)
    turned = special.ndtr(-edge / np.maximum(errors, 1e-300))
    monte_carlo = float(np.sqrt(turned * (1 - turned)).mean())
    return float(inside.mean()), float(np.sqrt(smooth * (1 - smooth) / count)), monte_carlo


def _msce(pits: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    inside = np.stack([held(pits, level) for level in CALIBRATION_LEVELS], axis=1).astype(float)
    nominal = np.array(CALIBRATION_LEVELS)
    count = pits.size
    found = {"msce": float(np.mean((inside.mean(axis=0) - nominal) ** 2)), "msce_se": np.nan}
    if count > 1:
        # Jackknife over runs.
        without = (inside.sum(axis=0) - inside) / (count - 1)
        each = np.mean((without - nominal) ** 2, axis=1)
        found["msce_se"] = float(np.sqrt((count - 1) * each.var()))
    rows = [_coverage(pits, errors, level) for level in CALIBRATION_LEVELS]
    slopes = [2 * abs(row[0] - level) * row[2] for row, level in zip(rows, nominal, strict=True)]
    return found | {"msce_mcse": float(np.mean(slopes))}


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def _named(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("chain", "draw", "run"))


def _error(values: np.ndarray) -> np.ndarray:
    """Monte Carlo error of the mean over chains and draws; none, if there is one component."""
    if values.shape[0] * values.shape[1] == 1:
        return np.zeros(values.shape[2])
    return mcse(_named(values)).values
