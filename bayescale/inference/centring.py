"""Centred or not: how each group of a pooled parameter is sampled, where the model file leaves that to the runs.

A group of which its own runs say little is best sampled by its standardised offset from the typical one, a group of
which they say much by its own value; in the other way it costs ten times the draws or more, or diverges
(Papaspiliopoulos, Roberts and Skold 2007, Statistical Science 22, 59; Betancourt and Girolami, arXiv 1312.0906). It is
not the number of runs that counts but how closely they place the group beside the spread between groups: three runs
whose noise is .1 % place a level that varies by 10 %, and no number places one apart that may not vary at all. Both are
read off a short first run, for every group by itself: a dense model tells nothing of what experts are worth, and is
sampled by its offset among routers that are not.
"""

from collections.abc import Mapping

import numpy as np
import pymc as pm

from bayescale.model import Model


def undecided(model: Model) -> bool:
    """Whether the model file leaves the choice to the runs for some parameter."""
    return any(effect.pool.centered is None for effect in model.effects)


def decide(model: Model, draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of groups, by the name of their data in the graph, where the model file leaves the choice.

    Parameters
    ----------
    model : Model
    draws : mapping of numpy.ndarray
        Posterior of a first run: the first dim is the draw, that of groups the second.

    Returns
    -------
    dict of numpy.ndarray
        Dims group: 1 where the runs explain more of the spread than they leave open, else 0.
    """
    found = {}
    for name, pool in model.pool.items():
        positive = model.priors[name].support == "positive"
        for effect in pool.effects(model.law_object.posterior_name(name)):
            if effect.pool.centered is None:
                values = np.log(draws[effect.name]) if positive else draws[effect.name]
                share = explained(values, draws[effect.sd_name])
                found[effect.weight_name] = np.where(share > 0.5, 1.0, 0.0)
    return found


def explained(values: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Share of the spread between groups that the runs explain, by group: 1 less the pooling factor.

    Parameters
    ----------
    values : numpy.ndarray
        Draws of the groups' values, on the scale on which they spread; dims draw, group.
    spread : numpy.ndarray
        Draws of the standard deviation between groups; dims draw.

    Examples
    --------
    Two groups that their runs place within .01, and one about which they say nothing:

    >>> rng = np.random.default_rng(0)
    >>> values = np.array([0.1, -0.1, 0.0]) + rng.normal(size=(2000, 3)) * [0.01, 0.01, 0.15]
    >>> explained(values, np.full(2000, 0.1)).round(1).tolist()
    [1.0, 1.0, 0.0]

    References
    ----------
    Gelman and Pardoe 2006, Technometrics 48, 241, whose variances between groups are here the least that the runs
    allow, by the harmonic mean: where no spread at all is possible a group's own value leads into a funnel.
    """
    # Against a mean of all groups: what they share, typical value and other parameters, is not the question. Groups
    # count by their precision, so that one of which nothing is known does not blur the others. Chains that never moved,
    # or a spread of zero, explain nothing.
    with np.errstate(all="ignore"):
        share = 1 / values.var(axis=0)
        share /= share.sum()
        left_open = (values - values @ share[:, None]).var(axis=0) / (1 - share)
        found = 1 - left_open * np.mean(spread**-2.0)
    return np.clip(np.nan_to_num(found), 0.0, 1.0)


def centered(graph: pm.Model, model: Model) -> dict[str, list[str]]:
    """Groups that are sampled by their own value, by the name of the pooled parameter."""
    found = {}
    for effect in model.effects:
        by_value = graph[effect.weight_name].get_value() > 0
        groups = graph.coords[effect.pool.over]
        found[effect.name] = [str(group) for group in np.array(groups)[by_value]]
    return found
