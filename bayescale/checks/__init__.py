"""Judging fits: whether they can be trusted."""

from bayescale.checks.check import check

__all__ = ["check"]
