"""Did the sampler converge? The verdict that ``fit`` itself acts upon.

Thresholds: Vehtari et al. 2021 (arXiv 1903.08008) for rank-normalised R-hat and bulk and tail effective sample size;
Betancourt 2016 (arXiv 1604.00695) for the energy fraction.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from arviz_stats import ess, rhat
from scipy.sparse.csgraph import connected_components

RHAT_MAX = 1.01
ESS_MIN = 400.0
BFMI_MIN = 0.3
#: Share of divergent transitions that a fit may keep: none among 1,000 draws, four among 4,000.
DIVERGENT_MAX = 0.001
#: Statistic of samplers that know it, dim chain, and how far its chains may lie apart (one standard deviation).
EVIDENCE = "log_marginal_likelihood"
EVIDENCE_SD_MAX = 1.0
#: Half-widths by which the medians of two chains differ if they are said to lie in different modes.
APART = 4.0


@dataclass(frozen=True)
class SamplerVerdict:
    """Convergence of one sampling attempt.

    Parameters
    ----------
    rhat, ess_bulk, ess_tail : float
        The worst over all variables.
    worst : str
        Variable of the worst R-hat.
    divergences, draws : int
        Divergent transitions among all kept draws.
    bfmi : float
        Least energy fraction over chains; NaN if the sampler reports no energy.
    """

    rhat: float
    worst: str
    ess_bulk: float
    ess_tail: float
    divergences: int
    draws: int
    bfmi: float

    @property
    def converged(self) -> bool:
        """Whether every check passes."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """What fails, in words with the numbers."""
        found = []
        if not self.rhat <= RHAT_MAX:
            found.append(f"R-hat of {self.worst} is {self.rhat:.3f} (at most {RHAT_MAX})")
        if not self.ess_bulk >= ESS_MIN:
            found.append(f"bulk ESS is {self.ess_bulk:.0f} (at least {ESS_MIN:.0f})")
        if not self.ess_tail >= ESS_MIN:
            found.append(f"tail ESS is {self.ess_tail:.0f} (at least {ESS_MIN:.0f})")
        if self.divergences > DIVERGENT_MAX * self.draws:
            found.append(f"{self.divergences} of {self.draws} transitions diverged")
        if self.bfmi < BFMI_MIN:
            found.append(f"E-BFMI is {self.bfmi:.2f} (at least {BFMI_MIN})")
        return found

    @property
    def rank(self) -> tuple[bool, float]:
        """Sort key: the best attempt has the least; one that could not be measured, the most."""
        size = min(self.ess_bulk, self.ess_tail)
        score = self.rhat + ESS_MIN / max(size, 1.0)
        return (not self.converged, score if np.isfinite(score) and np.isfinite(size) else np.inf)


def judge(posterior: xr.Dataset, sample_stats: xr.Dataset) -> SamplerVerdict:
    """Judge a sampling attempt.

    Parameters
    ----------
    posterior : xr.Dataset
        Dims chain, draw and those of each variable.
    sample_stats : xr.Dataset
        With ``diverging`` and ``energy``, dims chain, draw, if the sampler has them.

    Returns
    -------
    SamplerVerdict

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> good = xr.Dataset({"alpha": (("chain", "draw"), rng.normal(size=(4, 500)))})
    >>> stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((4, 500), bool))})
    >>> judge(good, stats).converged
    True
    """
    flat = scalars(posterior)
    rhats = rhat(flat)
    worst = int(np.nanargmax(np.where(np.isfinite(rhats), rhats, np.inf)))
    # A sampler without trajectories has none that diverge.
    diverging = sample_stats["diverging"].values if "diverging" in sample_stats else np.zeros(0)
    return SamplerVerdict(
        rhat=float(rhats[worst]),
        worst=str(flat["quantity"].values[worst]),
        ess_bulk=float(np.min(ess(flat, method="bulk"))),
        ess_tail=float(np.min(ess(flat, method="tail"))),
        divergences=int(diverging.sum()),
        draws=flat.sizes["chain"] * flat.sizes["draw"],
        bfmi=float(_bfmi(sample_stats["energy"].values).min())
        if "energy" in sample_stats
        else float("nan"),
    )


def modes(posterior: xr.Dataset) -> list[list[int]]:
    """Group the chains that settled in one place.

    Two chains are in one mode if no quantity's medians lie further apart than :data:`APART` times the larger of the
    two chains' half-widths of a central 68 % interval, and so are chains that a third one links. A high R-hat alone may
    be a chain that is merely slow.

    Parameters
    ----------
    posterior : xr.Dataset
        Dims chain, draw and those of each variable.

    Returns
    -------
    list of list of int
        Indices of the chains of each mode, the largest mode first; one list if all agree.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> draws = rng.normal(size=(4, 500)) + np.array([[0.0], [9.0], [0.0], [9.1]])
    >>> modes(xr.Dataset({"beta": (("chain", "draw"), draws)}))
    [[0, 2], [1, 3]]
    """
    flat = scalars(posterior).values
    low, middle, high = np.quantile(flat, [0.16, 0.5, 0.84], axis=1)
    half = (high - low) / 2
    spread = np.maximum(np.maximum(half[:, None], half[None, :]), 1e-300)
    near = (np.abs(middle[:, None] - middle[None, :]) <= APART * spread).all(axis=2)
    _, label = connected_components(near, directed=False)
    groups = [np.flatnonzero(label == each).tolist() for each in np.unique(label)]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def scalars(posterior: xr.Dataset) -> xr.DataArray:
    """All scalars of a posterior along one dim: one call of a vectorised diagnostic instead of one a variable."""
    columns, names = [], []
    for name, values in posterior.data_vars.items():
        table = values.transpose("chain", "draw", ...).values.reshape(*values.shape[:2], -1)
        columns.append(table)
        size = table.shape[2]
        names += [str(name)] if size == 1 else [f"{name}[{i}]" for i in range(size)]
    return xr.DataArray(
        np.concatenate(columns, axis=2),
        dims=("chain", "draw", "quantity"),
        coords={"quantity": names},
    )


def _bfmi(energy: np.ndarray) -> np.ndarray:
    return np.square(np.diff(energy, axis=1)).mean(axis=1) / energy.var(axis=1)
