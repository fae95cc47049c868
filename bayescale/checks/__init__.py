"""Judging fits: can they be trusted, and which of several predicts best."""

from bayescale.checks.check import check

__all__ = ["check"]
