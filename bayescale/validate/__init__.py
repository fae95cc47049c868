"""Whole experiments: does what the package says hold on runs that it has not seen."""

from bayescale.validate.backtest import backtest
from bayescale.validate.verdict import summarise_backtest, verdict

__all__ = ["backtest", "summarise_backtest", "verdict"]
