"""Building and sampling models: the only room that imports PyMC."""

from bayescale.inference.build import build
from bayescale.inference.fit import fit

__all__ = ["build", "fit"]
