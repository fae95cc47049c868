"""What runs would tell where the law may drift: once they are made, the drift begins at a new frontier.

A model with a discrepancy trusts its law, in value and in slope, at the largest run; away from there the slope drifts
(:mod:`bayescale.drift`). When larger runs have been made and the model is fitted again, that place has moved: a far
target has come nearer, and old small runs lie behind and bend the law less. The draws of a fit drift from the frontier
of its own runs and know nothing of this. So the law and its drift are taken apart. Log losses under the law are
jointly normal with the covariance S of the draws; what the runs told about them is taken out,

    S0 = S + S H' (C - H S H')^-1 H S,    C = kappa^2 K + noise,

the inverse of a normal update, with H picking the runs and K the drift's covariance at them; and what old and new runs
tell together is put in, with the drift's covariance about the frontier that they have together and at the scale that
the loss's expected elasticity sets there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from bayescale import drift
from bayescale.decide.aim import Aim
from bayescale.decide.candidates import variance_of
from bayescale.decide.draws import Part
from bayescale.decide.preposterior import greedy, mean_variance, variance_after
from bayescale.forecast.predict import predict

#: New frontiers that are tried with a whole batch each.
_FRONTIERS = 32
#: Least share that the prior has in what is known of the law, in any direction: draws of a law that is not linear may
#: seem to know less than the runs told.
_PRIOR = 1e-4


@dataclass(frozen=True)
class Member:
    """One model's draws of the targets and of the candidates, with the law and its drift apart.

    Points are, in this order, those at which the targets depend on the drift, the candidates, and the runs.

    Parameters
    ----------
    part : Part
    law : numpy.ndarray
        Covariance before any run, under the law alone: of the targets, first, of the candidates and of the runs.
    noise : numpy.ndarray
        Variance of the noise of each run.
    kappa : float
        Scale of the drift as a share of the elasticity of the loss at the frontier.
    pull : numpy.ndarray
        Change of each target with the log loss at each point, axes (target, point).
    inputs : dict of numpy.ndarray
        Of the law, at all points.
    expected : numpy.ndarray
        Mean log loss of the candidates and the runs.
    """

    part: Part
    law: np.ndarray
    noise: np.ndarray
    kappa: float
    pull: np.ndarray
    inputs: dict[str, np.ndarray]
    expected: np.ndarray

    @cached_property
    def _count(self) -> int:
        """Points that are no runs."""
        return next(iter(self.inputs.values())).size - self.noise.size

    @cached_property
    def compute(self) -> np.ndarray:
        """Place of the candidates, and last of the largest run, on the drift's axis of compute [decades]."""
        at = drift.positions(self.inputs)["compute"]
        return np.append(at[self.pull.shape[1] : self._count], at[self._count :].max())

    def wander(self, batch: Sequence[int], points: np.ndarray) -> np.ndarray:
        """Covariance of the drift at some points once a batch has been made: about another frontier, at another scale.

        The scale follows the elasticity of the loss at the frontier, which falls as the loss nears its floor.
        """
        made = self.pull.shape[1] + np.asarray(batch, dtype=int)
        held = np.append(made, np.arange(self._count, self._count + self.noise.size))
        inputs = {slot: values[held] for slot, values in self.inputs.items()}
        law = self.part.whole.law
        middle = drift.middle({slot: inputs[slot] for slot in law.scales})
        axes = drift.axes(inputs, law.references(middle))
        steeper = drift.typical_elasticity(inputs, self.expected[held - self.pull.shape[1]])
        at = {slot: values[points] for slot, values in self.inputs.items()}
        return (self.kappa * steeper) ** 2 * drift.covariance(at, axes)

    def covariance(self, batch: Sequence[int], of: np.ndarray) -> np.ndarray:
        """Covariance of the targets and some candidates, given the runs, with the drift about a batch's frontier."""
        (targets, asked), runs = self.pull.shape, self.noise.size
        held = np.arange(self._count, self._count + runs)
        points = np.concatenate([np.arange(asked), asked + of, held])
        wander = self.wander(batch, points)
        wander = np.vstack([self.pull @ wander[:asked], wander[asked:]])
        wander = np.column_stack([wander[:, :asked] @ self.pull.T, wander[:, asked:]])
        rows = np.concatenate([np.arange(targets), targets + of, targets + held - asked])
        both = self.law[np.ix_(rows, rows)] + wander
        seen, known = both[:-runs, -runs:], both[-runs:, -runs:] + np.diag(self.noise)
        return both[:-runs, :-runs] - seen @ np.linalg.solve(known, seen.T)


@dataclass(frozen=True)
class Outlook:
    """What candidates would tell about targets, with the drift anchored anew.

    Parameters
    ----------
    members : tuple of (float, Member or numpy.ndarray)
        Of a stack, each with its share; a model that does not drift is its covariance.
    between : numpy.ndarray
        Covariance of the members' means.
    noise : numpy.ndarray
        Variance of the noise of each candidate.
    compute : numpy.ndarray
        See :attr:`Member.compute`.
    """

    members: tuple[tuple[float, "Member | np.ndarray"], ...]
    between: np.ndarray
    noise: np.ndarray
    compute: np.ndarray

    def covariance(self, batch: Sequence[int], of: Sequence[int] | np.ndarray) -> np.ndarray:
        """Covariance of the targets, first, and of some candidates, about the frontier of the runs and a batch."""
        of = np.asarray(of, dtype=int)
        targets = self.between.shape[0] - self.noise.size
        rows = np.append(np.arange(targets), targets + of)
        kept = np.ix_(rows, rows)
        total = self.between[kept]
        for share, member in self.members:
            known = member.covariance(batch, of) if isinstance(member, Member) else member[kept]
            total = total + share * known
        return total

    @cached_property
    def before(self) -> float:
        """Mean variance of the targets as things stand."""
        return mean_variance(self.covariance([], []))

    def after(self, picks: list[int]) -> np.ndarray:
        """Share of the mean variance that is left after each run of a batch."""
        return np.array([self._left(picks[: end + 1]) for end in range(len(picks))]) / self.before

    def _left(self, picks: list[int]) -> float:
        if not picks:
            return self.before
        distinct, place = np.unique(picks, return_inverse=True)
        covariance = self.covariance(picks, distinct)
        return float(variance_after(covariance, self.noise[distinct], place.tolist())[-1])

    @cached_property
    def alone(self) -> np.ndarray:
        """Share of the mean variance that each candidate would remove by itself."""
        left = np.array([self._left([each]) for each in range(self.noise.size)])
        return np.maximum(1 - left / self.before, 0.0)

    def best(self, cost: np.ndarray, limit: float, replicates: int) -> tuple[list[int], str]:
        """The batch that leaves least, over the frontiers that it may reach and two greedy orders.

        Parameters
        ----------
        cost : numpy.ndarray
            Of each candidate.
        limit : float
        replicates : int
        """
        at, largest = self.compute[:-1], self.compute[-1]
        paid = cost <= limit * (1 + 1e-12)
        beyond = np.flatnonzero(paid & (at > largest))
        beyond = beyond[np.argsort(at[beyond], kind="stable")]
        groups = np.array_split(beyond, min(_FRONTIERS, beyond.size)) if beyond.size else []
        starts = [[int(group[self.alone[group].argmax()])] for group in groups]
        if (paid & (at <= largest)).any():
            starts.insert(0, [])
        found: list[tuple[float, list[int], str]] = []
        for start in starts:
            top = at[start[0]] if start else largest
            inside = np.flatnonzero(paid & (at <= top))
            covariance = self.covariance(start, inside)
            first = [int(np.flatnonzero(inside == each)[0]) for each in start]
            for rule, price in (("most for each FLOP", cost), ("most", np.ones_like(cost))):
                chosen = greedy(
                    covariance, self.noise[inside], cost[inside], price[inside], limit, replicates, first
                )  # fmt: skip
                picks = inside[chosen].tolist()
                found.append((self._left(picks), picks, rule))
        _, picks, rule = min(found, key=lambda each: each[0])
        return picks, rule


def read_outlook(
    fit: xr.DataTree,
    aim: Aim,
    table: xr.Dataset,
    seen: np.ndarray,
    noise: np.ndarray,
    random_seed: int,
) -> Outlook | None:
    """Take the law and its drift apart; None if no model drifts, or other inputs are held at a value.

    Parameters
    ----------
    fit : xr.DataTree
    aim : Aim
        What is to be known.
    table : xr.Dataset
        The candidates.
    seen : numpy.ndarray
        Draws of the candidates' log losses, dims (sample, candidate).
    noise : numpy.ndarray
        Variance of the noise of each candidate.
    random_seed : int
    """
    draws = aim.draws
    drifting = [part.saved.drift is not None for part in draws.parts]
    if not any(drifting) or any(part.saved.law is not part.whole.law for part in draws.parts):
        return None
    saved = draws.saved
    columns = {
        column
        for part in draws.parts
        for column in (*part.whole.model.inputs.values(), *part.whole.pooled)
    }
    runs = saved.runs[sorted(columns)].drop_attrs()
    made = np.log(predict(fit, runs.rename(run="candidate"), random_seed=random_seed).values)
    made = made.reshape(seen.shape[0], -1)
    parts = [aim.values, aim.asked, seen, made]
    ends = np.cumsum([each.shape[1] for each in parts])[:-1]
    every = np.column_stack(parts)
    every = every.reshape(saved.shape[0], -1, every.shape[1])
    members, means, start = [], [], 0
    for part, drifts in zip(draws.parts, drifting, strict=True):
        stop = start + part.saved.shape[1]
        own = every[:, start:stop].reshape(part.saved.samples, -1)
        start = stop
        values, asked, law, past = np.split(own, ends, axis=1)
        both = np.column_stack([values, law])
        means.append(both.mean(axis=0))
        known = (
            _member(part, aim, values, asked, np.column_stack([law, past]), table, runs)
            if drifts
            else np.cov(both, rowvar=False)
        )
        members.append((part.saved.samples / draws.samples, known))
    share = np.array([each for each, _ in members])
    apart = np.array(means) - share @ np.array(means)
    compute = next(each.compute for _, each in members if isinstance(each, Member))
    return Outlook(tuple(members), (share[:, None] * apart).T @ apart, noise, compute)


def _member(
    part: Part,
    aim: Aim,
    values: np.ndarray,
    asked: np.ndarray,
    seen: np.ndarray,
    table: xr.Dataset,
    runs: xr.Dataset,
) -> Member:
    """Draws of the targets, the points that they depend on, and the candidates and runs, with the drift taken off."""
    whole = part.whole
    assert whole.drift is not None
    grown = aim.inputs(part)
    inputs, at = {}, {}
    made = runs.sizes["run"]
    for slot, column in whole.model.inputs.items():
        planned = np.broadcast_to(table[column].values, seen.shape[1] - made)
        at[slot] = np.concatenate([planned, runs[column].values]).astype(float)
        # Along a path that differs from draw to draw, the drift's covariance is taken in its middle.
        middle = np.broadcast_to(np.median(grown[slot], axis=0), asked.shape[1:])
        inputs[slot] = np.concatenate([middle, at[slot]])
    delta = whole.drift.delta({slot: each[None] for slot, each in at.items()})
    targets = values - values.mean(axis=0)
    pull = np.zeros((targets.shape[1], asked.shape[1]))
    apart = np.zeros((targets.shape[1], targets.shape[1]))
    if asked.shape[1]:
        about = asked - asked.mean(axis=0)
        for row, points in enumerate(aim.owns):
            pull[row, points], *_ = np.linalg.lstsq(about[:, points], targets[:, row])
        # What does not follow the losses asked for, such as a price, no run can tell.
        apart = np.atleast_2d(np.cov(targets - about @ pull.T, rowvar=False))
        targets = (asked - whole.drift.delta(grown)) @ pull.T
    law = np.cov(np.column_stack([targets, seen - delta]), rowvar=False)
    expected = seen.mean(axis=0)
    noise = variance_of(part, runs, expected[-made:])
    if whole.model.noise.known is not None:
        known = np.nan_to_num(whole.runs[whole.model.noise.known].values.astype(float))
        noise = noise + (known / np.exp(expected[-made:])) ** 2
    held = {slot: each[-made:] for slot, each in at.items()}
    kappa = np.sqrt((whole.draws_of("kappa") ** 2).mean())
    kappa /= drift.typical_elasticity(held, expected[-made:])
    member = Member(part, law, noise, float(kappa), pull, inputs, expected)
    size = asked.shape[1] + seen.shape[1]
    scatter = member.wander([], np.arange(size - made, size)) + np.diag(noise)
    law = before_runs(law, scatter)
    law[: apart.shape[0], : apart.shape[0]] += apart
    return replace(member, law=law)


def before_runs(law: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Covariance of the law before the runs, last in order, were seen with this scatter about it."""
    half = np.linalg.solve(np.linalg.cholesky(scatter), law[-scatter.shape[0] :])
    told = np.linalg.solve(np.linalg.cholesky(scatter), half[:, -scatter.shape[0] :].T)
    share, directions = np.linalg.eigh((told + told.T) / 2)
    turned = directions.T @ half
    return law + (turned.T / np.maximum(1 - share, _PRIOR)) @ turned
