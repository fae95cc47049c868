"""Sequential Monte Carlo: from the prior to the posterior by degrees, for posteriors of several modes.

Particles start from the prior, so that they lie in every mode that the prior knows of; the likelihood is then raised
from power 0 to 1, and with each step particles are kept, copied or dropped by their weight and moved by Metropolis's
rule. So modes end up with the mass that they have, which chains of a gradient sampler, each caught in one, cannot say.
The mean weights multiply to the marginal likelihood of the runs: Del Moral et al. 2006, doi 10.1111/j.1467-9868.2006.
00553.x. What is called a chain here is one such population; several are run, so that they can be judged against
each other.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import numba
import numpy as np
import pymc as pm
import pytensor
import xarray as xr
from pymc.smc.kernels import SMC_KERNEL
from pytensor.graph.replace import clone_replace

from bayescale.inference.compile import PLAIN, UNCHECKED, open_graph, pack

#: Log prior and log likelihood of points (particle, dim).
type Densities = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Population:
    """Settings of one attempt.

    A population has ``thin`` particles for each draw kept, and :data:`PARTICLES` at least. At every stage they are
    moved until each has been, in the mean, ``moves`` times.
    """

    moves: int
    thin: int = 1

    def size(self, draws: int) -> int:
        """Particles of a population, for so many draws kept."""
        return draws * max(self.thin, -(-PARTICLES // draws))


#: Tried in order until one converges.
POPULATIONS = (Population(12), Population(30, thin=4))
PARTICLES = 1000
#: Steps by differences of two particles: the log-normal scatter of their length about half the best for a Normal, so
#: that short ones serve narrow modes and long ones wide ones, and the share of whole differences, which lead from one
#: mode into another.
SHORTER, SCATTER, WHOLE = 0.6, 0.7, 0.15
#: Steps after which a stage ends however few were taken, for each move that was wanted.
STEPS_MAX = 100


class Kernel(SMC_KERNEL):
    """Differential evolution: particles step by the difference of two others, all at once.

    Such steps have the shape of the population, be it a ridge or several modes, and whole differences lead from mode to
    mode (ter Braak 2006, doi 10.1007/s11222-006-8769-1). Each half of the particles steps by differences within the
    other half, which keeps the target exactly (Foreman-Mackey et al. 2013, arXiv 1202.3665).

    Parameters
    ----------
    densities : callable
        Log prior and log likelihood of points (particle, dim).
    moves : int
        Of each particle at each stage, in the mean.
    settings
        Of PyMC's kernel.
    """

    def __init__(self, *, densities: Densities, moves: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.densities = densities
        self.moves = moves
        self.acceptance = 0.0

    def set_rng(self, rng: np.random.Generator) -> None:
        """Take a population's random numbers; the densities draw none."""
        self.rng = rng

    def _initialize_kernel(self) -> None:
        start = self.initialize_population()
        points = [np.reshape(start[each.name], (self.draws, -1)) for each in self.variables]
        self.tempered_posterior = np.concatenate(points, axis=1).astype(float)
        self.prior_logp, self.likelihood_logp = self.densities(self.tempered_posterior)

    def mutate(self) -> None:
        """Move every particle until the mean number of moves is reached."""
        taken = steps = 0
        while taken < self.moves * self.draws and steps < STEPS_MAX * self.moves:
            order = self.rng.permutation(self.draws)
            half = self.draws // 2
            taken += self._step(order[:half], order[half:]) + self._step(order[half:], order[:half])
            steps += 1
        self.acceptance = taken / (steps * self.draws)

    def _step(self, movers: np.ndarray, others: np.ndarray) -> int:
        """Propose a step to one half by differences within the other; the number of those that took it."""
        size, dims = movers.size, self.tempered_posterior.shape[1]
        first = self.rng.integers(others.size, size=size)
        second = (first + self.rng.integers(1, others.size, size=size)) % others.size
        apart = self.tempered_posterior[others[first]] - self.tempered_posterior[others[second]]
        length = (
            2.38 / np.sqrt(2 * dims) * SHORTER * np.exp(SCATTER * self.rng.standard_normal(size))
        )
        length[self.rng.random(size) < WHOLE] = 1.0
        proposal = self.tempered_posterior[movers] + length[:, None] * apart
        prior, likelihood = self.densities(proposal)
        density = prior + self.beta * likelihood
        took = np.log(self.rng.random(size)) < density - self.tempered_posterior_logp[movers]
        moved = movers[took]
        self.tempered_posterior[moved] = proposal[took]
        self.prior_logp[moved], self.likelihood_logp[moved] = prior[took], likelihood[took]
        self.tempered_posterior_logp[moved] = density[took]
        return int(took.sum())

    def sample_stats(self) -> dict[str, float]:
        """What PyMC's own loop would show."""
        return {"beta": self.beta, "accept_rate": self.acceptance}

    def sample_settings(self) -> dict[str, float]:
        """What PyMC's own loop would keep."""
        return {"moves": self.moves, "threshold": self.threshold}


def compile_densities(graph: pm.Model) -> Densities:
    """Log prior, with the Jacobian of its transformations, and log likelihood of many points by one call."""
    x, flat, layout, given = open_graph(graph, graph.initial_point(random_seed=0))
    parts = clone_replace([graph.varlogp, graph.datalogp], given)
    inner = pytensor.function(
        [x, flat, layout], parts, mode=UNCHECKED, on_unused_input="ignore", trust_input=True
    ).vm.jit_fn
    data = pack([np.asarray(each.get_value(), dtype=float) for each in graph.data_vars])

    @numba.njit(nogil=True)
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
    cores: int,
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
    cores : int
        Populations at work at once.
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
        moves=attempt.moves,
        draws=attempt.size(draws),
        model=graph,
        random_seed=seed,
        compile_kwargs={"mode": PLAIN},
    )
    # Drawn from the prior one after the other, since PyTensor draws in one thread alone; then each goes its own way.
    populations = [copy(kernel) for _ in range(chains)]
    for each, rng in zip(populations, np.random.default_rng([seed, 3]).spawn(chains), strict=True):
        each.initialize(None, rng)
    stop = Event()
    with ThreadPoolExecutor(cores) as pool:
        try:
            list(pool.map(partial(_temper, stop=stop), populations))
        finally:
            stop.set()  # Ctrl-C waits for a stage of each, not for all of them.
    points = [each.tempered_posterior[:: attempt.size(draws) // draws] for each in populations]
    stats = [
        (each.log_marginal_likelihood, each.iteration, each.acceptance) for each in populations
    ]
    evidence, stages, acceptance = np.array(stats).T
    evidence = evidence + jacobian
    names = "log_marginal_likelihood", "stages", "acceptance_rate"
    found = zip(names, (evidence, stages, acceptance), strict=True)
    return np.stack(points), xr.Dataset({name: ("chain", values) for name, values in found})


def _temper(population: Kernel, stop: Event) -> None:
    """Take a population from the prior to the posterior, unless stopped before."""
    while population.beta < 1 and not stop.is_set():
        population.update_beta_and_weights()
        population.step()
