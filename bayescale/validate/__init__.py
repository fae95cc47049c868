"""Whole experiments: does what the package says hold on runs that it has not seen."""

from bayescale.validate.backtest import backtest, verdict

__all__ = ["backtest", "verdict"]
