"""Scores of tasks about their link to the loss: the other half of a model with ``[tasks]``.

Constants of a link shadow each other: a higher ceiling that no run has reached goes with a later midpoint and a slower
rise. What runs do say is how a task scores at one loss and how fast it rises there. So a task is *sampled* as its
score and slope at one loss, and its bounds as shares of the way that is left below and above that score. The priors
stay on the constants themselves, with the Jacobian of the change: it is the same model, some ten times faster.
"""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import Transform

from bayescale.inference.rates import observe
from bayescale.inference.variables import distribution, variable
from bayescale.links import Link
from bayescale.model import Prior, Tasks

#: The other observed variable of a model with tasks: their scores, one of each pair of task and run that has one.
SCORE = "score"
#: The constants of every task's link in one variable, as they are sampled together.
LINK = "link_task"
#: Bounds that may be known or sampled: the name of what is sampled, and the key in the model file.
BOUNDS = {"floor": "floor", "reach": "ceiling"}


def constants(tasks: Tasks) -> list[str]:
    """What is sampled of a task's link: its two constants, and the bounds that are not known."""
    free = [name for name, key in BOUNDS.items() if isinstance(getattr(tasks, key), Prior)]
    return [*(each.name for each in tasks.link_object.params), *free]


def anchors(gap: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Gap of the loss about which each task's scores are half-way between their least and their greatest.

    Parameters
    ----------
    gap : numpy.ndarray
        Dims run.
    scores : numpy.ndarray
        Dims task, run; NaN where a run has no score.

    Examples
    --------
    >>> anchors(np.array([-0.4, -0.2, 0.0]), np.array([[0.2, 0.5, 0.8], [0.3, 0.3, 0.3]]))
    array([-0.2, -0.2])
    """
    low = np.nanmin(scores, axis=1, keepdims=True)
    high = np.nanmax(scores, axis=1, keepdims=True)
    weight = np.nan_to_num((scores - low) * (high - scores)) + 1e-12 * np.isfinite(scores)
    return np.asarray((weight * gap).sum(axis=1) / weight.sum(axis=1))


def add_scores(tasks: Tasks, names: list[str], data: Mapping[str, pt.TensorVariable]) -> None:
    """Add the scores to the model at hand, with tasks partially pooled."""
    location, rate, floor, ceiling = _curves(tasks, names, data["score_anchor"])
    # Every task at every run, then those that were scored: one gather instead of four.
    grid = tasks.link_object.score(
        data["score_gap"][None, :],
        location[:, None],
        rate[:, None],
        floor[:, None],
        ceiling[:, None],
    )
    scatter = None
    if tasks.scatter is not None:
        scatter = variable("scatter_task", tasks.scatter, dims="task")[data["score_task"]]
    observe(
        SCORE,
        tasks.dist,
        grid.ravel()[data["score_at"]],
        scatter,
        observed=data["score_observed"],
        trials=data.get("score_trials"),
    )


def _curves(
    tasks: Tasks, names: list[str], anchor: pt.TensorVariable
) -> tuple[pt.TensorVariable, ...]:
    """Location, rate, floor and ceiling of every task."""
    link, sampled = tasks.link_object, constants(tasks)
    population = []
    if len(names) > 1:
        for each in link.params:
            typical = variable(each.name, tasks.priors[each.name])
            population += [typical, variable(f"{each.name}_sd", tasks.sds[each.name])]

    def parts(*population: pt.TensorVariable) -> list[pt.TensorVariable]:
        size = (len(names),)
        if population:
            location, location_sd, rate, rate_sd = population
            found = [
                pm.Normal.dist(location, location_sd, shape=size),
                pm.LogNormal.dist(pt.log(rate), rate_sd, shape=size),
            ]
        else:
            found = [distribution(tasks.priors[each.name], size) for each in link.params]
        bounds = [getattr(tasks, BOUNDS[name]) for name in sampled[2:]]
        return [*found, *(distribution(prior, size) for prior in bounds)]

    def logp(value: pt.TensorVariable, *population: pt.TensorVariable) -> pt.TensorVariable:
        each = enumerate(parts(*population))
        return pt.add(*(pm.logp(part, value[:, column]) for column, part in each))

    known = {
        key: np.array([value[task] if isinstance(value, Mapping) else value for task in names])
        for key, value in (("floor", tasks.floor), ("ceiling", tasks.ceiling))
        if not isinstance(value, Prior)
    }
    table = pm.CustomDist(
        LINK,
        anchor,
        *population,
        dist=lambda _, *given: pt.stack(parts(*given[:-1]), axis=-1),
        logp=lambda value, _, *given: logp(value, *given),
        signature=",".join(["()"] * (1 + len(population))) + "->(c)",
        transform=AtOneLoss(link, known),
        dims=("task", "constant"),
    )
    found = dict(zip(sampled, (table[:, column] for column in range(len(sampled))), strict=True))
    floor = found["floor"] if "floor" in found else pt.as_tensor(known["floor"])
    if "reach" in found:
        # Above the floor, whatever that is.
        found["ceiling"] = floor + (1 - floor) * found["reach"]
    for name, value in found.items():
        pm.Deterministic(f"{name}_task", value, dims="task")
    ceiling = found["ceiling"] if "ceiling" in found else pt.as_tensor(known["ceiling"])
    return found[link.location], found[link.rate], floor, ceiling


class AtOneLoss(Transform):
    """Constants of links to and from score and slope at one loss, on unbounded scales; axes (task, constant).

    Where a link reaches its ceiling at a finite loss, which may lie on either side, the score has no place between the
    bounds: then the log of its way above the floor is sampled, the log of the rate, and the log odds of each bound.

    Parameters
    ----------
    link : Link
    known : mapping of numpy.ndarray
        ``floor`` and ``ceiling``, by task, where they are known.
    """

    name = "at_one_loss"
    ndim_supp = 1

    def __init__(self, link: Link, known: Mapping[str, np.ndarray]) -> None:
        self.link, self.known = link, known

    def forward(self, value: pt.TensorVariable, *inputs: pt.TensorVariable) -> pt.TensorVariable:
        """From the constants to unbounded values."""
        anchor = inputs[1]
        location, rate, *bounds = (value[:, i] for i in range(2 + 2 - len(self.known)))
        floor = self.known["floor"] if "floor" in self.known else bounds[0]
        ceiling = (
            self.known["ceiling"] if "ceiling" in self.known else floor + (1 - floor) * bounds[-1]
        )
        if self.link.reaches:
            above = pt.log(ceiling - floor) + rate * (anchor - location)
            return pt.stack([above, pt.log(rate), *(_logit(each) for each in bounds)], axis=-1)
        share = self.link.rise(anchor, location, rate)
        score = floor + (ceiling - floor) * share
        slope = rate * (ceiling - floor) * self.link.slope(share)
        low, high = self.known.get("floor", 0.0), self.known.get("ceiling", 1.0)
        found = [_logit((score - low) / (high - low)), pt.log(slope)]
        if "floor" not in self.known:
            found.append(_logit(floor / score))
        if "ceiling" not in self.known:
            found.append(_logit((ceiling - score) / (1 - score)))
        return pt.stack(found, axis=-1)

    def backward(self, value: pt.TensorVariable, *inputs: pt.TensorVariable) -> pt.TensorVariable:
        """From unbounded values to the constants."""
        return self._constants(value, inputs[1])[0]

    def log_jac_det(
        self, value: pt.TensorVariable, *inputs: pt.TensorVariable
    ) -> pt.TensorVariable:
        """Log of the determinant of :meth:`backward`, by task."""
        return self._constants(value, inputs[1])[1]

    def _constants(
        self, value: pt.TensorVariable, anchor: pt.TensorVariable
    ) -> tuple[pt.TensorVariable, pt.TensorVariable]:
        at = [value[:, i] for i in range(2 + 2 - len(self.known))]
        floor, ceiling = self.known.get("floor"), self.known.get("ceiling")
        bounds = []
        if self.link.reaches:
            jacobian = 0.0
            if floor is None:
                floor = pt.sigmoid(at[2])
                bounds.append(floor)
                jacobian += _log_sigmoid_slope(at[2])
            if ceiling is None:
                reach = pt.sigmoid(at[-1])
                ceiling = floor + (1 - floor) * reach
                bounds.append(reach)
                jacobian += _log_sigmoid_slope(at[-1])
            rate = pt.exp(at[1])
            location = anchor + (pt.log(ceiling - floor) - at[0]) / rate
            # d rate = rate d log rate; d location = -d log height / rate: they cancel.
            return pt.stack([location, rate, *bounds], axis=-1), jacobian + pt.zeros_like(at[0])
        low = 0.0 if floor is None else floor
        high = 1.0 if ceiling is None else ceiling
        score = low + (high - low) * pt.sigmoid(at[0])
        jacobian = np.log(high - low) + _log_sigmoid_slope(at[0])
        if floor is None:
            floor = score * pt.sigmoid(at[2])
            bounds.append(floor)
            jacobian += pt.log(score) + _log_sigmoid_slope(at[2])
        if ceiling is None:
            left = pt.sigmoid(at[-1])
            ceiling = score + (1 - score) * left
            bounds.append((ceiling - floor) / (1 - floor))
            jacobian += pt.log1p(-score) + _log_sigmoid_slope(at[-1]) - pt.log1p(-floor)
        share = (score - floor) / (ceiling - floor)
        # Slope of the score = rate * per_rate. At fixed bounds d location / d score is -1 / slope.
        per_rate = (ceiling - floor) * self.link.slope(share)
        rate = pt.exp(at[1]) / per_rate
        jacobian -= pt.log(per_rate)
        location = anchor - self.link.gap(share, 0.0, 1.0) / rate
        return pt.stack([location, rate, *bounds], axis=-1), jacobian


def _logit(share: pt.TensorVariable) -> pt.TensorVariable:
    return pt.log(share) - pt.log1p(-share)


def _log_sigmoid_slope(value: pt.TensorVariable) -> pt.TensorVariable:
    return -pt.softplus(value) - pt.softplus(-value)
