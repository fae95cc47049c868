"""What a model believes before the runs: draws of its prior, alone or as a fit that has seen no losses."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pymc.distributions.distribution import SymbolicRandomVariable
from pymc.distributions.shape_utils import change_dist_size
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import ancestors

from bayescale import drift
from bayescale.inference.build import build
from bayescale.inference.columns import check_columns
from bayescale.inference.compile import PLAIN
from bayescale.inference.tree import with_facts
from bayescale.inference.variables import Centred, Drop
from bayescale.model import Model

#: Draws of the prior that a fit keeps beside its posterior.
PRIOR_DRAWS = 500


def sample_prior(
    runs: xr.Dataset, model: str | Model, *, draws: int = PRIOR_DRAWS, random_seed: int = 0
) -> xr.DataTree:
    """A fit that has seen no losses: its posterior is the prior.

    Every forecast works on it, so that it shows what a model believes before the runs, and simulates runs.

    Parameters
    ----------
    runs : xr.Dataset
        From :func:`bayescale.read_runs`; dim ``run``. Losses set no more than the reference scale.
    model : str or Model
    draws : int
    random_seed : int

    Returns
    -------
    xr.DataTree
        As :func:`bayescale.fit` returns it, with one chain.

    Raises
    ------
    ValueError
        If the table cannot feed the model, or no draw is asked for.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> bs.predict(prior, {"params": 7e9, "tokens": 1e12}).sizes["draw"]
    100
    """
    if draws < 1:
        raise ValueError(f"draws = {draws}: expected at least one draw of the prior")
    model = Model.load(model)
    check_columns(runs, model)
    drawn = draw_prior(build(runs, model), random_seed, draws).to_dataset()
    if model.discrepancy is not None and "drift" not in drawn:
        rng = np.random.default_rng([random_seed, 2])
        drawn["drift"] = ("chain", "draw", "mode"), rng.standard_normal((1, draws, drift.MODES))
    tree = xr.DataTree.from_dict({"posterior": drawn})
    return with_facts(tree, runs, model, random_seed, {"converged": 1, "sampler": "prior"})


def draw_prior(graph: pm.Model, seed: int, draws: int = PRIOR_DRAWS) -> xr.DataTree:
    """Draws of every named quantity before the runs were seen."""
    variables = [var for var in graph.unobserved_RVs if var.name in graph.named_vars]
    many = _at_once(graph, draws)
    values = (
        pm.draw(variables, draws=draws, random_seed=seed, mode=PLAIN)
        if many is None
        else pm.draw([many[var] for var in variables], random_seed=seed, mode=PLAIN)
    )
    found = {}
    for var, value in zip(variables, values, strict=True):
        dims = graph.named_vars_to_dims.get(var.name, ())
        coords = {dim: list(graph.coords[dim]) for dim in dims}
        if many is None and draws == 1:  # PyMC gives a single draw without an axis of draws.
            value = value[None]
        found[var.name] = xr.DataArray(value[None], dims=("chain", "draw", *dims), coords=coords)
    return xr.DataTree(xr.Dataset(found).assign_coords(chain=[0], draw=np.arange(draws)))


def _at_once(graph: pm.Model, draws: int) -> dict[pt.TensorVariable, pt.TensorVariable] | None:
    """Every unobserved quantity with a first axis of draws; None where a distribution of our own takes no axes.

    One call for all draws, where ``pm.draw`` makes one each: the same numbers where nothing has axes of its own.
    """
    found: dict[pt.TensorVariable, pt.TensorVariable] = {}
    for rv in graph.free_RVs:
        # How these are sampled depends on others; what they are drawn from does not.
        alone = isinstance(graph.rvs_to_transforms[rv], Centred | Drop)
        if isinstance(rv.owner.op, SymbolicRandomVariable) and not alone:
            return None
        if alone or not any(each in found for each in ancestors([rv])):
            found[rv] = change_dist_size(rv, (draws,), expand=True)
        else:
            found[rv] = vectorize_graph(rv, found)
    deterministics = vectorize_graph(graph.deterministics, found)
    return found | dict(zip(graph.deterministics, deterministics, strict=True))
