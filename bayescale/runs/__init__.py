"""Run tables: read, map, validate and unit one row per training run into a Dataset."""

from bayescale.runs.cells import parse_size, parse_sizes
from bayescale.runs.read import read_runs, summarise_runs
from bayescale.runs.screen import design_notes

__all__ = ["design_notes", "parse_size", "parse_sizes", "read_runs", "summarise_runs"]
