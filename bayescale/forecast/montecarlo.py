"""Monte Carlo error of means, probabilities and quantiles of correlated draws.

Batch means: Flegal and Jones 2010 (arXiv 0811.1729), with batches of about the square root of a chain's length, each
compared with those of the other chains at the same place: how many draws each member of a stack has is not left to
chance, and they lie one after another in the same places of every chain. Chains that have not mixed raise the error a
little; R-hat tells them.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

SAMPLE_DIMS = ("chain", "draw")
#: Probabilities of the quantiles that answers carry.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Values sorted at once: 32 MB.
_BLOCK = 2**22


def mcse(draws: xr.DataArray) -> xr.DataArray:
    """Monte Carlo standard error of the mean.

    Parameters
    ----------
    draws : xr.DataArray
        Dims chain, draw and any others.

    Returns
    -------
    xr.DataArray
        In the unit of the draws; zero where all draws are equal. *How to read it*: with other random numbers the
        mean would differ by about this much.

    References
    ----------
    Flegal and Jones 2010, arXiv 0811.1729.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> draws = xr.DataArray(rng.normal(size=(4, 2500)), dims=("chain", "draw"))
    >>> 0.005 < float(mcse(draws)) < 0.02
    True
    """
    return xr.apply_ufunc(
        lambda x: np.sqrt(_variance_of_mean(x)), draws, input_core_dims=[SAMPLE_DIMS]
    )


def effective_size(draws: xr.DataArray) -> xr.DataArray:
    """Number of independent draws that would tell the median as well as these do.

    Parameters
    ----------
    draws : xr.DataArray
        Dims chain, draw and any others; infinite values are allowed.

    Returns
    -------
    xr.DataArray
        At least one; more than the number of draws where these are surely worth more, as those of a stack's members
        that lie apart are: none of them is left to chance to be of one member or another.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> draws = xr.DataArray(rng.normal(size=(4, 100)), dims=("chain", "draw"))
    >>> sticky = xr.DataArray(np.repeat(draws.values, 25, axis=1), dims=("chain", "draw"))
    >>> 200 < float(effective_size(sticky)) < 600
    True
    """
    return xr.apply_ufunc(_size_at_median, draws, input_core_dims=[SAMPLE_DIMS])


def probability_mcse(holds: xr.DataArray, size: xr.DataArray | float | None = None) -> xr.DataArray:
    """Monte Carlo standard error of a probability.

    Parameters
    ----------
    holds : xr.DataArray
        Whether it holds in each draw; dims chain, draw and any others.
    size : xr.DataArray or float, optional
        Effective number of draws of the quantity behind the yes or no. By default the number of draws.

    Returns
    -------
    xr.DataArray
        The larger of the batch-means error and the binomial error at the smoothed frequency ``(k + 1) / (n + 2)``
        of ``n = size`` draws (Laplace's rule). So a probability estimated as 0 or 1 has an error of about
        ``1 / n``, not 0: that many draws could not have shown less.

    Examples
    --------
    >>> never = xr.DataArray(np.zeros((4, 1000), bool), dims=("chain", "draw"))
    >>> round(float(probability_mcse(never)), 6)
    0.00025
    """
    count = np.prod([holds.sizes[dim] for dim in SAMPLE_DIMS])
    size = xr.DataArray(float(count) if size is None else size)
    smooth = (holds.mean(SAMPLE_DIMS) * size + 1) / (size + 2)
    binomial = (smooth * (1 - smooth) / size) ** 0.5
    batches = mcse(holds.astype(float))
    return batches.where(batches > binomial, binomial)


def quantiles(draws: xr.DataArray, prob: Sequence[float]) -> tuple[xr.DataArray, xr.DataArray]:
    """Quantiles over all draws, with their Monte Carlo standard error.

    Parameters
    ----------
    draws : xr.DataArray
        Dims chain, draw and any others; infinite values are allowed and count as such.
    prob : sequence of float
        Probabilities between 0 and 1.

    Returns
    -------
    tuple of xr.DataArray
        Quantiles and their errors; a last dim ``quantile`` with the probabilities as coordinate. Where a quantile
        is infinite its error is NaN; where it is finite but draws nearby are infinite, its error is infinite.

    Notes
    -----
    The error is half the distance between the quantiles one binomial standard error below and above, at the number of
    independent draws that would tell as well how often a value lies below the quantile.

    Examples
    --------
    >>> draws = xr.DataArray(np.arange(101.0).reshape(1, -1), dims=("chain", "draw"))
    >>> quantiles(draws, (0.05, 0.5))[0].values
    array([ 5., 50.])
    """
    wanted = np.asarray(prob, dtype=float)
    if wanted.ndim != 1 or not ((wanted >= 0) & (wanted <= 1)).all():
        raise ValueError(f"prob must be a list of probabilities between 0 and 1, got {prob!r}")
    found, error = xr.apply_ufunc(
        lambda x: _quantiles(x, wanted),
        draws,
        input_core_dims=[SAMPLE_DIMS],
        output_core_dims=[["quantile"], ["quantile"]],
    )
    return found.assign_coords(quantile=wanted), error.assign_coords(quantile=wanted)


def _variance_of_mean(draws: np.ndarray) -> np.ndarray:
    """Variance of the mean over the last two axes, chain and draw."""
    chains, batches, length = _batches(*draws.shape[-2:])
    if chains * batches < 2:
        return np.full(draws.shape[:-2], np.nan)
    kept = draws[..., : batches * length].astype(float)
    means = kept.reshape(*draws.shape[:-1], batches, length).mean(axis=-1)
    if chains == 1:
        return means.var(axis=(-2, -1), ddof=1) / batches
    return means.var(axis=-2, ddof=1).mean(axis=-1) / (chains * batches)


def _batches(chains: int, count: int) -> tuple[int, int, int]:
    """Chains, batches in each, and their length."""
    length = max(1, int(np.sqrt(count)))
    return chains, count // length, length


def _size_at_median(draws: np.ndarray) -> np.ndarray:
    flat = draws.reshape(*draws.shape[:-2], -1)
    return _effective_size(draws < np.sort(flat, axis=-1)[..., [flat.shape[-1] // 2], None])


def _effective_size(below: np.ndarray) -> np.ndarray:
    """Independent draws that would tell as well how often something holds, given whether it does in each draw."""
    share = below.mean(axis=(-2, -1))
    variance = _variance_of_mean(below)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = share * (1 - share) / variance
    count = float(np.prod(below.shape[-2:]))
    chains, batches, _ = _batches(*below.shape[-2:])
    # Two standard errors of a variance: beyond the number of draws only what is no accident of these batches.
    sure = size * (1 - 2 * np.sqrt(2 / max((chains - 1) * batches, 1)))
    return np.where(np.isfinite(size), np.clip(size, 1.0, np.maximum(count, sure)), count)


def _quantiles(draws: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = draws.reshape(-1, *draws.shape[-2:])
    found, error = np.empty((2, len(rows), prob.size))
    step = max(1, _BLOCK // (draws.shape[-2] * draws.shape[-1]))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        found[block], error[block] = _of_block(rows[block], prob)
    shape = (*draws.shape[:-2], prob.size)
    return found.reshape(shape), error.reshape(shape)


def _of_block(draws: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ordered = np.sort(draws.reshape(*draws.shape[:-2], -1), axis=-1)
    found = _at(ordered, np.broadcast_to(prob, (len(ordered), prob.size)))
    sizes = [_effective_size(draws < each[:, None, None]) for each in found.T]
    spread = np.sqrt(prob * (1 - prob) / np.stack(sizes, axis=-1))
    with np.errstate(invalid="ignore"):
        error = (
            _at(ordered, np.minimum(prob + spread, 1.0))
            - _at(ordered, np.maximum(prob - spread, 0.0))
        ) / 2
    # A quantile among the infinite has no error to speak of.
    return found, np.where(np.isfinite(found), error, np.nan)


def _at(ordered: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """Quantiles of sorted values, linear between neighbours that are finite."""
    place = prob * (ordered.shape[-1] - 1)
    below = np.floor(place).astype(int)
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(below + 1, ordered.shape[-1] - 1), axis=-1)
    with np.errstate(invalid="ignore"):
        between = low + (high - low) * (place - below)
    value = np.where((low == high) | (place == below), low, between)
    # NaN sorts last; a quantile of draws with NaN among them is not known.
    return np.where(np.isnan(ordered[..., -1:]), np.nan, value)
