"""How runs scatter about the law, from the draws of a saved fit.

Arrays are plain NumPy with axes (sample, point), as in :mod:`bayescale.forecast.curve`.
"""

from collections.abc import Mapping

import numpy as np

from bayescale.forecast.curve import Saved
from bayescale.rates import EDGE, Rates, draw


def run_loss(
    saved: Saved,
    location: np.ndarray,
    ratios: dict[str, np.ndarray],
    points: int,
    rng: np.random.Generator,
    trials: np.ndarray | None = None,
) -> np.ndarray:
    """Losses of runs about the law, axes (sample, point).

    Luck is drawn point by point, so that the same seed gives the same however the points are blocked. One point of
    luck for several of ``location`` is the same luck at every scale.

    Parameters
    ----------
    saved : Saved
    location : numpy.ndarray
        Of log loss, axes (sample, point).
    ratios : mapping
        Inputs as ratios to the reference.
    points : int
        Points of luck.
    rng : numpy.random.Generator
    trials : numpy.ndarray, optional
        Behind each rate, where the noise counts them; by default the number in the model file or that of the median
        run.
    """
    noise = saved.model.noise
    shape = (points, saved.samples)
    if noise.of_rate:
        luck = rng.random((points, 2, saved.samples)).transpose(1, 2, 0)
        rates = rates_at(saved, location, ratios, trials)
        return np.asarray(saved.law.loss_of(draw(rates, luck)))
    sigma = noise_scale(saved, ratios)
    assert sigma is not None
    if noise.excess is not None:
        above = saved.draws_of("excess")[:, None] * rng.standard_exponential(shape).T
        return np.exp(location + above + sigma * rng.standard_normal(shape).T)
    if noise.nu is None:
        return np.exp(location + sigma * rng.standard_normal(shape).T)
    nu = noise.nu if isinstance(noise.nu, float) else saved.draws_of("nu")
    return np.exp(location + sigma * rng.standard_t(np.broadcast_to(nu, shape)).T)


def noise_scale(saved: Saved, ratios: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Draws of the noise's ``sigma``, axes (sample, point); None for noise that has none."""
    noise = saved.model.noise
    if noise.sigma is None:
        return None
    sigma = saved.draws_of("sigma")[:, None]
    if noise.slope is not None:
        decades = sum(np.log10(ratios[slot]) for slot in saved.law.scales)
        sigma = sigma * 10 ** (saved.draws_of("noise_slope")[:, None] * decades)
    return sigma


def rates_at(
    saved: Saved,
    location: np.ndarray,
    ratios: Mapping[str, np.ndarray],
    trials: np.ndarray | None = None,
) -> Rates:
    """How the rate of a run scatters about the law, for a fit whose noise is of rates; see :func:`run_loss`."""
    noise = saved.model.noise
    center = np.clip(saved.law.rate(np.exp(location)), EDGE, 1 - EDGE)
    sigma = noise_scale(saved, ratios)
    scatter = sigma if sigma is None or noise.dist == "LogitNormal" else sigma**-2
    return Rates(noise.dist, center, scatter, usual_trials(saved) if trials is None else trials)


def usual_trials(saved: Saved) -> np.ndarray | None:
    """Trials behind a rate of which nothing else is said: those of the model file, or of the median run."""
    given = saved.model.noise.trials
    if given is None:
        return None
    known = saved.runs[given].values if isinstance(given, str) else given
    return np.asarray(np.rint(np.median(np.asarray(known, dtype=float))))
