"""One sampled coordinate summed out of a density on a grid, and drawn back given the others.

The rate of a drift makes a posterior hard to walk in: where it is all but zero the law is told narrowly, where it is
large, widely. Given the law and the noise its density costs little, since the residuals meet the drift's modes before
the rate is known; so gradients are taken of the density summed over a grid of rates, and each draw gets its rate from
its own conditional density. The posterior is that of the model as it is written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import vectorize_graph
from scipy.interpolate import CubicSpline

from bayescale.inference.arrays import samples_drift, uneven
from bayescale.model import Model

#: What is summed out.
NAME = "drift_rate"
#: Standard deviations of the prior from its centre. The sum is that of a trapezoid rule, whose error for a Normal
#: conditional of a sixth of the prior's width is at most .5 %, and of a quarter of it 3e-6.
GRID = np.linspace(-5.0, 5.0, 34)
#: Points between two of the grid, where a spline tells the density from which a draw is made.
FINER = 8


def grid(model: Model) -> np.ndarray | None:
    """Values of the unconstrained rate over which the density is summed; None where it is sampled.

    Where the noise differs from run to run, each rate would need a factor of the modes of its own; where the drift is
    sampled, its weights and its rate are told together.

    Examples
    --------
    >>> from bayescale.model import Model
    >>> grid(Model.load("skaling-drift"))[[0, -1]], grid(Model.load("skaling"))
    (array([-5.,  5.]), None)
    """
    if model.discrepancy is None or uneven(model) or samples_drift(model):
        return None
    # Sampled where its prior is all but standard Normal. A prior that keeps away from zero needs none of this.
    return GRID if model.discrepancy.rate.dist == "Exponential" else None


def at_nodes(logp: pt.TensorVariable, value: Any, nodes: np.ndarray) -> pt.TensorVariable:
    """Log density at every node of one coordinate; what does not depend on it is computed once."""
    return vectorize_graph(logp, {value: pt.constant(nodes)})


def summed(logp: pt.TensorVariable, nodes: np.ndarray) -> pt.TensorVariable:
    """Log density of the other coordinates, from that at the nodes."""
    return pt.logsumexp(logp) + np.log(nodes[1] - nodes[0])


@dataclass(frozen=True)
class Collapsed:
    """The coordinate that was summed out.

    Parameters
    ----------
    place : int
        Its place in the flat point.
    nodes : numpy.ndarray
    log_density : callable
        ``log_density(points, flat, layout)``, dims (draw, node), up to a constant of each draw, of points without the
        coordinate.
    """

    place: int
    nodes: np.ndarray
    log_density: Callable[..., np.ndarray]

    def restore(
        self, points: np.ndarray, data: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """Points (draw, dim) with the coordinate drawn given the others."""
        drawn = [
            self._draw(self.log_density(part, *data), rng)
            for part in np.array_split(points, 1 + len(points) // 5_000)
        ]
        return np.insert(points, self.place, np.concatenate(drawn), axis=1)

    def _draw(self, log_density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        step = (self.nodes[1] - self.nodes[0]) / FINER
        fine = np.linspace(self.nodes[0], self.nodes[-1], FINER * (self.nodes.size - 1) + 1)
        # Far from the rest a density may be none at all; a spline needs a number.
        top = log_density.max(axis=1, keepdims=True)
        curve = CubicSpline(self.nodes, np.maximum(log_density - top, -700.0), axis=1)(fine)
        mass = np.cumsum(np.exp(curve), axis=1)
        chosen = (mass < rng.random((len(mass), 1)) * mass[:, -1:]).sum(axis=1)
        return fine[chosen] + step * (rng.random(len(mass)) - 0.5)
