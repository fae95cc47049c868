"""Decisions on a saved fit or a stack of fits: how to divide a budget, what a target takes, whether it pays, what next.

Nothing here samples, and every number is carried by the draws to the end.
"""

from bayescale.decide.allocate import allocate, under_trained
from bayescale.decide.budget import budget
from bayescale.decide.next_runs import next_runs, stop
from bayescale.decide.recipes import compare_recipes
from bayescale.decide.scenario import Scenario
from bayescale.decide.smallest import smallest_model
from bayescale.decide.target import compute_for

__all__ = [
    "Scenario",
    "allocate",
    "budget",
    "compare_recipes",
    "compute_for",
    "next_runs",
    "smallest_model",
    "stop",
    "under_trained",
]
