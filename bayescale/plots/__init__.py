"""Figures of answers. Each takes what a function of the package returned, computes nothing, returns the figure."""

from bayescale.plots.backtest import plot_backtest
from bayescale.plots.forecast import plot_forecast
from bayescale.plots.wording import alt_text

__all__ = ["alt_text", "plot_backtest", "plot_forecast"]
