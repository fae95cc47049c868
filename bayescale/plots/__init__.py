"""Figures of answers. Each takes what a function of the package returned, computes nothing, returns the figure."""

from bayescale.plots.allocation import plot_allocation
from bayescale.plots.backtest import plot_backtest
from bayescale.plots.capability import plot_capability
from bayescale.plots.forecast import plot_forecast
from bayescale.plots.forest import plot_forest, plot_weights
from bayescale.plots.frontier import plot_frontier
from bayescale.plots.isoflop import plot_isoflops
from bayescale.plots.law import plot_law
from bayescale.plots.next_runs import plot_candidates
from bayescale.plots.onset import plot_onset
from bayescale.plots.prior import plot_prior
from bayescale.plots.ranks import plot_ranks
from bayescale.plots.residuals import plot_residuals
from bayescale.plots.returns import plot_returns
from bayescale.plots.wording import alt_text

__all__ = [
    "alt_text",
    "plot_allocation",
    "plot_backtest",
    "plot_candidates",
    "plot_capability",
    "plot_forecast",
    "plot_forest",
    "plot_frontier",
    "plot_isoflops",
    "plot_law",
    "plot_onset",
    "plot_prior",
    "plot_ranks",
    "plot_residuals",
    "plot_returns",
    "plot_weights",
]
