"""How rates in (0, 1), such as errors and accuracies, scatter about their mean: draws, densities, variances.

The same four kinds serve the scores of tasks and a loss that is itself a rate. ``scatter`` is the standard deviation of
the logit for ``LogitNormal``, whose centre is then the median; for ``Beta`` and ``BetaBinomial`` it is the number of
trials that a rate is worth. ``Binomial`` and ``BetaBinomial`` count trials: their rates are multiples of one trial.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # Its rooms, which take longer to load than a forecast to make, are loaded when first entered.

#: Centres are kept so far from 0 and 1.
EDGE = 1e-9


@dataclass(frozen=True)
class Rates:
    """Distributions of rates; arrays broadcast against each other.

    Parameters
    ----------
    dist : {"LogitNormal", "Beta", "BetaBinomial", "Binomial"}
    center : numpy.ndarray
        Mean of the rate; its median for ``LogitNormal``.
    scatter : numpy.ndarray or None
        None for ``Binomial``, which scatters by its trials alone.
    trials : numpy.ndarray or None
        Whole numbers, for the kinds that count; None for as many that counting adds nothing.
    """

    dist: str
    center: np.ndarray
    scatter: np.ndarray | None = None
    trials: np.ndarray | None = None

    @property
    def variance(self) -> np.ndarray:
        """Variance of the rate; for ``LogitNormal`` that of small scatter."""
        spread = self.center * (1 - self.center)
        if self.dist == "LogitNormal":
            assert self.scatter is not None
            return np.asarray((spread * self.scatter) ** 2)
        alike = 0.0 if self.scatter is None else 1 / (1 + self.scatter)
        single = 0.0 if self.trials is None else (1 - alike) / self.trials
        return np.asarray(spread * (alike + single))

    def _beta(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.scatter is not None
        tiny = np.finfo(float).tiny
        weights = self.center * self.scatter, (1 - self.center) * self.scatter
        return np.maximum(weights[0], tiny), np.maximum(weights[1], tiny)


def draw(rates: Rates, luck: np.ndarray) -> np.ndarray:
    """Rates at given luck, which rise with their centre: the same luck at two centres is one run at two scales.

    Parameters
    ----------
    rates : Rates
    luck : numpy.ndarray
        Independent and uniform on (0, 1), axes (2, ...): of the rate itself, and of the count.

    Examples
    --------
    >>> luck = np.random.default_rng(0).random((2, 100_000))
    >>> rate = draw(Rates("BetaBinomial", np.array(0.3), np.array(50.0), np.array(20)), luck)
    >>> float(rate.mean().round(2)), float((rate.var() / (0.21 * (1 / 51 + 50 / 51 / 20))).round(1))
    (0.3, 1.0)
    """
    own, counted = luck
    if rates.dist == "LogitNormal":
        return np.asarray(
            scipy.special.expit(
                scipy.special.logit(rates.center) + rates.scatter * scipy.special.ndtri(own)
            )
        )
    if rates.scatter is None:
        chance = np.broadcast_to(rates.center, np.broadcast(rates.center, own).shape)
    else:
        chance = scipy.special.betaincinv(*rates._beta(), own)
    return (
        chance
        if rates.trials is None
        else scipy.stats.binom.ppf(counted, rates.trials, chance) / (rates.trials)
    )


def log_density(rates: Rates, rate: np.ndarray) -> np.ndarray:
    """Log density of rates; that of a count is its probability, spread over the rates that round to it.

    So densities of counts and of rates can be told against each other, to the width of one trial.

    Examples
    --------
    >>> log_density(Rates("Binomial", np.array([0.5]), None, np.array(2)), np.array([0.5])).tolist()
    [0.0]
    """
    if rates.dist == "LogitNormal":
        assert rates.scatter is not None
        standard = (scipy.special.logit(rate) - scipy.special.logit(rates.center)) / rates.scatter
        return np.asarray(
            -0.5 * standard**2
            - 0.5 * np.log(2 * np.pi)
            - np.log(rates.scatter)
            - np.log(rate * (1 - rate))
        )
    if rates.dist == "Beta":
        above, below = rates._beta()
        return np.asarray(
            scipy.special.xlogy(above - 1, rate)
            + scipy.special.xlog1py(below - 1, -rate)
            - scipy.special.betaln(above, below)
        )
    assert rates.trials is not None
    count = np.rint(rate * rates.trials)
    if rates.scatter is None:
        mass = scipy.stats.binom.logpmf(count, rates.trials, rates.center)
    else:
        mass = scipy.stats.betabinom.logpmf(count, rates.trials, *rates._beta())
    return np.asarray(mass + np.log(rates.trials))


def below(rates: Rates, rate: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """Probability of a smaller rate, and for a count a random part of that of the same one.

    So the place of a count in its own distribution is exactly uniform, as that of any other rate: Czado, Gneiting and
    Held 2009, doi 10.1111/j.1541-0420.2009.01191.x.

    Parameters
    ----------
    rates : Rates
    rate : numpy.ndarray
    luck : numpy.ndarray
        That part: independent and uniform on (0, 1), of the shape of ``rate``. Only counts need it.

    Examples
    --------
    >>> fair = Rates("Binomial", np.array([0.5]), None, np.array(2))
    >>> below(fair, np.array([0.5]), np.array([0.2])).round(9).tolist()
    [0.35]
    """
    if rates.dist == "LogitNormal":
        standard = (scipy.special.logit(rate) - scipy.special.logit(rates.center)) / rates.scatter
        return np.asarray(scipy.special.ndtr(standard))
    if rates.dist == "Beta":
        return np.asarray(scipy.special.betainc(*rates._beta(), rate))
    assert rates.trials is not None
    count = np.rint(rate * rates.trials)
    each = (
        scipy.stats.binom(rates.trials, rates.center)
        if rates.scatter is None
        else scipy.stats.betabinom(rates.trials, *rates._beta())
    )
    # Not the distribution function less a part, which would lose the digits of a small probability.
    return np.asarray(each.cdf(count - 1) + luck * each.pmf(count))
