"""Sequential Monte Carlo: from the prior to the posterior by degrees, for posteriors of several modes.

Particles start from the prior, so that they lie in every mode that the prior knows of; the likelihood is then raised
from power 0 to 1, and with each step particles are kept, copied or dropped by their weight and moved by Metropolis's
rule. So modes end up with the mass that they have, which chains of a gradient sampler, each caught in one, cannot say.
The mean weights multiply to the marginal likelihood of the runs: Del Moral et al. 2006, doi 10.1111/j.1467-9868.2006.
00553.x. What is called a chain here is one such population; several are run, so that they can be judged against
each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pymc as pm
import pytensor
import xarray as xr
from pymc.smc.kernels import MH, Pearson
from pytensor.graph.replace import clone_replace

from bayescale.inference.compile import PLAIN, UNCHECKED, open_graph, pack

#: Log prior and log likelihood of points (particle, dim).
type Densities = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Population:
    """Settings of one attempt.

    A population has ``thin`` particles for each draw kept. At every stage they are moved until a move lessens their
    correlation with where they were by less than ``correlation``.
    """

    correlation: float
    thin: int = 1


#: Tried in order until one converges.
POPULATIONS = (Population(0.002, thin=2), Population(0.001, thin=8))


class Kernel(MH):
    """PyMC's random walks, each scaled by its own acceptance, for all particles at once.

    Parameters
    ----------
    densities : callable
        Log prior and log likelihood of points (particle, dim).
    settings
        Of PyMC's kernel.
    """

    def __init__(self, *, densities: Densities, **settings: Any) -> None:
        super().__init__(**settings)
        self.densities = densities

    def set_rng(self, rng: np.random.Generator) -> None:
        """Take a chain's random numbers; the densities draw none."""
        self.rng = rng

    def _initialize_kernel(self) -> None:
        start = self.initialize_population()
        points = [np.reshape(start[each.name], (self.draws, -1)) for each in self.variables]
        self.tempered_posterior = np.concatenate(points, axis=1).astype(float)
        self.prior_logp, self.likelihood_logp = self.densities(self.tempered_posterior)

    def mutate(self) -> None:
        """Move every particle until that no longer takes the particles further from where the stage began."""
        before, correlation = 2.0, Pearson(self.tempered_posterior)
        accepted = []
        self.n_steps = 0
        while True:
            step = self.proposal_dist(num_draws=self.draws, rng=self.rng)
            proposal = self.tempered_posterior + step * self.proposal_scales[:, None]
            prior, likelihood = self.densities(proposal)
            density = prior + self.beta * likelihood
            moved = np.log(self.rng.random(self.draws)) < density - self.tempered_posterior_logp
            self.tempered_posterior[moved] = proposal[moved]
            self.prior_logp[moved], self.likelihood_logp[moved] = prior[moved], likelihood[moved]
            self.tempered_posterior_logp[moved] = density[moved]
            accepted.append(moved)
            self.n_steps += 1
            after = correlation.get(self.tempered_posterior)
            if np.mean(before - after > self.correlation_threshold) <= 0.9:
                break
            before = after
        self.chain_acc_rate = np.mean(accepted, axis=0)


def compile_densities(graph: pm.Model) -> Densities:
    """Log prior, with the Jacobian of its transformations, and log likelihood of many points by one call."""
    x, flat, layout, given = open_graph(graph, graph.initial_point(random_seed=0))
    parts = clone_replace([graph.varlogp, graph.datalogp], given)
    inner = pytensor.function(
        [x, flat, layout], parts, mode=UNCHECKED, on_unused_input="ignore", trust_input=True
    ).vm.jit_fn
    data = pack([np.asarray(each.get_value(), dtype=float) for each in graph.data_vars])

    @numba.njit
    def each(points, flat, layout):  # type: ignore[no-untyped-def]
        found = np.empty((2, len(points)))
        for i in range(len(points)):
            prior, likelihood = inner(points[i], flat, layout)
            found[0, i] = prior[()]
            found[1, i] = likelihood[()]
        return found

    def densities(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = each(np.ascontiguousarray(points), *data)
        # Far out in a prior a law may overflow: such a point has no density.
        prior, likelihood = np.where(np.isfinite(found), found, -np.inf)
        return prior, likelihood

    return densities


def sample(
    graph: pm.Model,
    densities: Densities,
    attempt: Population,
    *,
    draws: int,
    chains: int,
    seed: int,
    jacobian: float,
) -> tuple[np.ndarray, xr.Dataset]:
    """Sample a model by sequential Monte Carlo.

    Parameters
    ----------
    graph : pm.Model
        From :func:`bayescale.build`.
    densities : callable
        Its own, from :func:`compile_densities`.
    attempt : Population
    draws, chains : int
        Draws kept of each population, and populations.
    seed : int
    jacobian : float
        Log of what turns the density of what the graph observes into that of the losses.

    Returns
    -------
    tuple of numpy.ndarray and xr.Dataset
        Flat points, dims (chain, draw, point), and of each population ``log_marginal_likelihood``: the log of the mean
        density of the losses over the prior; with ``stages`` and ``acceptance_rate``, that of the last stage.
    """
    # PyMC's own densities, of one point a call, are not called: nothing is spent on compiling them well.
    kernel = Kernel(
        densities=densities,
        draws=draws * attempt.thin,
        model=graph,
        random_seed=seed,
        correlation_threshold=attempt.correlation,
        compile_kwargs={"mode": PLAIN},
    )
    points, stats = [], []
    for rng in np.random.default_rng([seed, 3]).spawn(chains):
        kernel.initialize(None, rng)
        while kernel.beta < 1:
            kernel.update_beta_and_weights()
            kernel.step()
        points.append(kernel.tempered_posterior[:: attempt.thin].copy())
        rate = float(kernel.chain_acc_rate.mean())
        stats.append((kernel.log_marginal_likelihood, kernel.iteration, rate))
    evidence, stages, acceptance = np.array(stats).T
    evidence = evidence + jacobian
    names = "log_marginal_likelihood", "stages", "acceptance_rate"
    found = zip(names, (evidence, stages, acceptance), strict=True)
    return np.stack(points), xr.Dataset({name: ("chain", values) for name, values in found})
