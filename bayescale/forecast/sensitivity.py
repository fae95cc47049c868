"""How much of an answer is prior: local power-scaling sensitivity.

Raise the prior (or the likelihood) to a power a. The posterior mean of a quantity h then changes at the rate
``Cov(h, log p)`` at a = 1, where ``log p`` is the log prior (or log likelihood) of each draw; its variance at the rate
``Cov((h - mean)^2, log p)``. Kallioinen et al. 2024 (arXiv 2107.14054). No refit, no weights.
"""

from collections.abc import Hashable

import numpy as np
import xarray as xr

from bayescale.forecast.curve import Saved
from bayescale.forecast.montecarlo import SAMPLE_DIMS
from bayescale.notes import Note

#: Prior sensitivity above which an answer is said to rest on the prior. For a normal mean with a normal prior the
#: log of the posterior sd has sensitivity -1/2 times the prior's share of the precision: .3 is a share of .6.
DOMINATED = 0.3


def prior_sensitivity(fit: xr.DataTree, draws: xr.DataArray) -> xr.Dataset:
    """Sensitivity of a quantity's posterior to the prior and to the runs.

    Parameters
    ----------
    fit : xr.DataTree
        With the groups ``log_prior`` and ``log_likelihood``.
    draws : xr.DataArray
        The quantity; dims chain, draw (those of the fit's posterior) and any others.

    Returns
    -------
    xr.Dataset
        Dim ``component`` ("prior", "likelihood") and the other dims of the draws. ``mean``: change of the posterior
        mean, in posterior standard deviations, for each unit of the power. ``log_sd``: change of the log of the
        posterior standard deviation. *How to read it*: zero for the prior says that the runs alone speak; a prior
        raised to the power 1.1 moves the mean by a tenth of ``mean``. NaN where all draws are equal.

    Raises
    ------
    ValueError
        If the fit has no log densities.

    References
    ----------
    Kallioinen et al. 2024, Statistics and Computing 34, 57; arXiv 2107.14054.
    """
    missing = [group for group in ("log_prior", "log_likelihood") if group not in fit.children]
    if missing:
        raise ValueError(
            f"fit has no group {' and '.join(missing)}; sensitivity needs the log densities of each draw"
        )
    densities = xr.concat(
        [_total(fit["log_prior"].to_dataset(), fit), _total(fit["log_likelihood"].to_dataset())],
        dim=xr.DataArray(["prior", "likelihood"], dims="component", name="component"),
    )
    # Chains and draws are matched by place: a thinned or relabelled tree keeps its order.
    centered = (draws - draws.mean(SAMPLE_DIMS)).drop_vars(SAMPLE_DIMS, errors="ignore")
    score = densities - densities.mean(SAMPLE_DIMS)
    variance = (centered**2).mean(SAMPLE_DIMS)
    variance = variance.where(variance > 0)
    return xr.Dataset(
        {
            "mean": (centered * score).mean(SAMPLE_DIMS) / np.sqrt(variance),
            "log_sd": (centered**2 * score).mean(SAMPLE_DIMS) / (2 * variance),
        }
    )


def _total(densities: xr.Dataset, fit: xr.DataTree | None = None) -> xr.DataArray:
    """Sum of the log densities of each draw.

    A standardised offset of a group is how the model spreads groups, not a choice that a user would weaken, so of a
    hierarchy only the population's parameters count as prior.
    """
    total = xr.DataArray(0.0)
    grouped = set() if fit is None else _group_dims(fit)
    for values in densities.data_vars.values():
        if not grouped & set(values.dims):
            others = [dim for dim in values.dims if dim not in SAMPLE_DIMS]
            total = total + values.drop_vars(SAMPLE_DIMS, errors="ignore").sum(others)
    return total.reset_coords(drop=True)


def _group_dims(fit: xr.DataTree) -> set[Hashable]:
    names = fit["posterior"].data_vars
    return {
        dim
        for name, values in names.items()
        for dim in values.dims
        if str(name).endswith(f"_{dim}")
    }


def prior_note(fit: xr.DataTree, saved: Saved, draws: xr.DataArray, label: str) -> list[Note]:
    """The note that an answer rests on the prior, if it does and the fit can tell.

    Parameters
    ----------
    fit : xr.DataTree
    saved : Saved
    draws : xr.DataArray
        The answer; dims chain and draw.
    label : str
        What it is, for the message.

    Returns
    -------
    list of Note
        Empty, or one ``prior_dominated``.
    """
    if "log_prior" not in fit.children or "log_likelihood" not in fit.children:
        return []
    found = prior_sensitivity(fit, draws).sel(component="prior")
    mean, log_sd = float(found["mean"]), float(found["log_sd"])
    if not max(abs(mean), abs(log_sd)) > DOMINATED:
        return []
    return [
        Note(
            "prior_dominated",
            "warning",
            f"{label} rests on the prior of model {saved.model.name!r}: its sensitivity to the prior's power is "
            f"{mean:+.2f} sd for the mean and {log_sd:+.2f} for the log of the sd (at most {DOMINATED})",
            "add runs that vary the inputs further, or state the prior as one that you would defend",
        )
    ]
