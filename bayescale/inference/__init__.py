"""Building and sampling models: the only room that imports PyMC."""

from bayescale.inference.build import build
from bayescale.inference.fit import fit
from bayescale.inference.prior import sample_prior

__all__ = ["build", "fit", "sample_prior"]
