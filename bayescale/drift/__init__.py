"""Discrepancy: the law holds locally, and its slope may drift with scale.

Log loss is ``ln f(x) + delta(x)``. Along each axis (compute, and each input of a law that has several) the log-slope's
departure from the law is a Wiener process in decades, ``w``, started at zero at the frontier of the runs, so that

    delta(s) = ln(10) * integral of w from 0 to s,   Cov[w(s), w(t)] = kappa^2 min(s, t),

independently on both sides of the anchor. ``delta`` and its slope vanish at the frontier and grow with distance from
it, into the past (old runs stop bending the frontier's slope) as into the future (honest intervals). One number is
learned: ``drift_rate``, by which share of itself the elasticity may change per decade (one standard deviation).

The slope may also break: ``break_rate`` times a decade of compute it changes at once, by a Normal share of itself with
standard deviation ``break_change``. Within the runs such breaks are indistinguishable, to the second moment, from a
drift of variance ``break_rate * break_change^2`` a decade, and are taken for one; beyond the runs, where none has been
seen, they come one by one.

Within the runs delta is written in the eigenfunctions of its covariance, with independent standard Normal weights;
beyond them the pair (delta, slope) goes on as the Markov process it is, from its value at the runs' end: what the kept
eigenfunctions hold of it there, and a Normal draw of what they leave out.
"""

from bayescale.drift._axes import Axis, axes, frontier, middle, positions
from bayescale.drift._covariance import MODES, basis, covariance, design, kernel
from bayescale.drift._marginal import Marginal
from bayescale.drift._paths import PACE, REACH, Paths, Sudden
from bayescale.drift._plug_in import robust_weights, typical_elasticity

__all__ = [
    "MODES",
    "PACE",
    "REACH",
    "Axis",
    "Marginal",
    "Paths",
    "Sudden",
    "axes",
    "basis",
    "covariance",
    "design",
    "frontier",
    "kernel",
    "middle",
    "positions",
    "robust_weights",
    "typical_elasticity",
]
