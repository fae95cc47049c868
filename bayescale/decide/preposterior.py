"""What runs would tell, before they are made: normal updates of a target, and a check by reweighted draws.

The targets, first, and what each candidate measures are jointly normal with a known covariance; a run measures with the
noise of a run. Replicated seeds measure the same with other noise. Of several targets it is their mean variance that
counts (Chaloner and Verdinelli 1995, doi 10.1214/ss/1177009939, section 2.2).
"""

from collections.abc import Sequence

import numpy as np

#: Effective draws under which reweighting tells nothing, and a refit is needed.
LEAST_EFFECTIVE = 100
#: Simulated outcomes of a batch.
OUTCOMES = 200


def expected_gain(mean: float, spread: np.ndarray) -> np.ndarray:
    """Value of learning before a choice between something and nothing: ``E[max(X, 0)] - max(mean, 0)``.

    ``X``, what the expectation will be once the run is seen, is normal about today's.

    Parameters
    ----------
    mean : float
        Expected utility now.
    spread : numpy.ndarray
        Standard deviation of what it will be.

    Examples
    --------
    >>> expected_gain(0.0, np.array([1.0, 2.0])).round(3)
    array([0.399, 0.798])
    """
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(spread > 0, -np.abs(mean) / spread, -np.inf)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.maximum(spread * density - np.abs(mean) * ndtr(z), 0.0)


def chance_of_change(mean: float, spread: np.ndarray) -> np.ndarray:
    """Probability that what is expected after a run has the other sign."""
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, ndtr(-np.abs(mean) / spread), 0.0)


def variance_after(covariance: np.ndarray, noise: np.ndarray, picks: list[int]) -> np.ndarray:
    """Mean variance of normal targets after each of some measurements.

    Parameters
    ----------
    covariance : numpy.ndarray
        Of the targets, first, and of what each candidate measures.
    noise : numpy.ndarray
        Variance of the noise of each candidate.
    picks : list of int
        Candidates in order; one may come again.

    Returns
    -------
    numpy.ndarray
        One variance a pick.

    Examples
    --------
    >>> variance_after(np.ones((2, 2)), np.array([1.0]), [0, 0]).round(3)
    array([0.5  , 0.333])
    """
    left = covariance.copy()
    found = []
    for pick in picks:
        left = _measured(left, noise, pick)
        found.append(max(mean_variance(left, noise.size), 0.0))
    return np.array(found)


def mean_variance(covariance: np.ndarray, candidates: int = 0) -> float:
    """Mean variance of the targets, which are what is no candidate."""
    return float(np.diag(covariance)[: covariance.shape[0] - candidates].mean())


def reductions(covariance: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Mean variance that each candidate takes from the targets."""
    asked = covariance.shape[0] - noise.size
    return (covariance[:asked, asked:] ** 2).mean(axis=0) / (np.diag(covariance)[asked:] + noise)


def _measured(covariance: np.ndarray, noise: np.ndarray, pick: int) -> np.ndarray:
    """The covariance that is left after a candidate has been measured."""
    place = covariance.shape[0] - noise.size + pick
    column = covariance[:, place]
    return covariance - np.outer(column, column) / (column[place] + noise[pick])


def best_batch(
    targets: np.ndarray,
    seen: np.ndarray,
    noise: np.ndarray,
    cost: np.ndarray,
    limit: float,
    replicates: int,
) -> tuple[list[int], str]:
    """The better of two greedy batches: most for each FLOP first, and most first.

    Either alone can be far from the best batch, the better of the two cannot (Leskovec et al. 2007,
    doi 10.1145/1281192.1281239). Which is better is judged on draws that had no part in how it reads its runs: among
    many candidates some go with the target by chance, and a batch of many runs gathers these.

    Parameters
    ----------
    targets, seen : numpy.ndarray
        Draws of the targets, and of what each candidate measures; dims (sample, target) and (sample, candidate).
    noise, cost : numpy.ndarray
        Of each candidate.
    limit : float
    replicates : int

    Returns
    -------
    list of int, str
        Candidates in the order of choice, and the rule that won.
    """
    covariance = np.cov(np.column_stack([targets, seen]), rowvar=False)
    batches = {
        "most for each FLOP": greedy(covariance, noise, cost, cost, limit, replicates),
        "most": greedy(covariance, noise, cost, np.ones_like(cost), limit, replicates),
    }
    left = {rule: _variance_apart(targets, seen, noise, picks) for rule, picks in batches.items()}
    rule = min(left, key=lambda each: left[each])
    return batches[rule], rule


def _variance_apart(
    targets: np.ndarray, seen: np.ndarray, noise: np.ndarray, picks: list[int]
) -> float:
    """Mean variance that a batch leaves, with the batch read by every other draw and judged on the rest."""
    both, asked = np.column_stack([targets, seen[:, picks]]), targets.shape[1]
    halves = [np.cov(both[start::2], rowvar=False) for start in (0, 1)]
    added = np.diag(noise[picks])
    found = []
    for fitted, judged in (halves, halves[::-1]):
        weights = np.linalg.solve(fitted[asked:, asked:] + added, fitted[asked:, :asked])
        explained = 2 * weights.T @ judged[asked:, :asked]
        explained -= weights.T @ (judged[asked:, asked:] + added) @ weights
        found.append(mean_variance(judged[:asked, :asked] - explained))
    return float(np.mean(found))


def greedy(
    covariance: np.ndarray,
    noise: np.ndarray,
    cost: np.ndarray,
    price: np.ndarray,
    limit: float,
    replicates: int,
    first: Sequence[int] = (),
) -> list[int]:
    """Take what removes most variance for its price, one after the other, until the money is spent.

    Parameters
    ----------
    covariance, noise : numpy.ndarray
        As for :func:`variance_after`.
    cost, price : numpy.ndarray
        What each candidate takes from the money, and what its use is divided by.
    limit : float
    replicates : int
    first : sequence of int
        Candidates that are taken before any other.
    """
    made = np.zeros(cost.size, dtype=int)
    asked = covariance.shape[0] - cost.size
    # The covariance that is left is never formed: what has been learned is a handful of columns.
    learned = np.zeros((covariance.shape[0], 0))
    shared, spread = covariance[:asked, asked:].copy(), np.diag(covariance)[asked:].copy()
    picks: list[int] = []
    money = limit
    while True:
        allowed = (cost <= money * (1 + 1e-12)) & (made < replicates)
        if not allowed.any():
            return picks
        if len(picks) < len(first):
            pick = first[len(picks)]
        else:
            told = (shared**2).mean(axis=0) / (spread + noise)
            worth = np.where(allowed, told / price, -np.inf)
            pick = int(worth.argmax())
        column = covariance[:, asked + pick] - learned @ learned[asked + pick]
        column = column / np.sqrt(column[asked + pick] + noise[pick])
        learned = np.column_stack([learned, column])
        shared -= np.outer(column[:asked], column[asked:])
        spread -= column[asked:] ** 2
        picks.append(pick)
        made[pick] += 1
        money -= cost[pick]


def reweighted(
    targets: np.ndarray, seen: np.ndarray, noise: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Root mean variance of the targets, and the draws that count, after each run of a batch.

    The draws are reweighted to simulated outcomes; NaN from where too few of them count.
    """
    spread, size = np.full((2, seen.shape[1]), np.nan)
    truth = rng.integers(targets.shape[0], size=OUTCOMES)
    fit = np.zeros((OUTCOMES, targets.shape[0]))
    centered = targets - targets.mean(axis=0)
    for pick in range(seen.shape[1]):
        scale = np.sqrt(noise[pick])
        outcome = seen[truth, pick] + scale * rng.standard_normal(OUTCOMES)
        fit -= 0.5 * ((outcome[:, None] - seen[:, pick]) / scale) ** 2
        weights = np.exp(fit - fit.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        size[pick] = np.median(1 / (weights**2).sum(axis=1))
        if size[pick] < LEAST_EFFECTIVE:
            break
        variance = weights @ centered**2 - (weights @ centered) ** 2
        spread[pick] = np.sqrt(np.maximum(variance, 0.0).mean())
    return spread, size
