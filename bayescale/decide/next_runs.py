"""Which runs to pay for next: what each would tell about a named quantity, for its FLOP.

Preposterior analysis on the posterior draws, without a refit. The target T and the log losses f of the candidates are
taken as jointly normal with the covariance of the draws; a run j measures f_j with the noise of a run, s_j, and so
takes ``Cov(T, f_j)^2 / (Var f_j + s_j^2)`` from the variance of T (Raiffa and Schlaifer 1961; Lindley 1956,
doi 10.1214/aoms/1177728069). Replicated seeds share f_j and differ in noise. Where the law may drift, a larger run also
moves the frontier from which it drifts: :mod:`bayescale.decide.frontier` has the covariance that there is then.
Importance reweighting of the draws to simulated outcomes says how many of them would still count, and so when only a
refit can tell.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.cost import accelerator_hours, as_money
from bayescale.decide.aim import Aim, Target, read_aim
from bayescale.decide.candidates import generated, noise_variance, read_candidates
from bayescale.decide.draws import Family, told
from bayescale.decide.frontier import Outlook, read_outlook
from bayescale.decide.preposterior import (
    LEAST_EFFECTIVE,
    best_batch,
    chance_of_change,
    expected_gain,
    mean_variance,
    reductions,
    reweighted,
    variance_after,
)
from bayescale.decide.scenario import Scenario, draw
from bayescale.forecast.curve import stream
from bayescale.forecast.held import Held
from bayescale.forecast.path import PathLike
from bayescale.forecast.predict import predict
from bayescale.forecast.scales import Scales, group_of, read_flops
from bayescale.notes import Note, dump_notes

#: Share of the standard deviation from which what a batch leaves counts as all of it: 2 % is the error of the
#: deviation of a thousand draws.
_IDLE = 0.98


def next_runs(
    fit: xr.DataTree,
    candidates: Scales | None = None,
    *,
    budget: float,
    target: Target | Scenario | Scales = "loss",
    flops: float | None = None,
    gain_below: float | None = None,
    path: PathLike | None = None,
    at: Held | None = None,
    family: Family = None,
    replicates: int = 1,
    random_seed: int = 0,
) -> xr.Dataset:
    """Choose the runs that tell most about a target within a budget.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.stack`.
    candidates : Dataset, DataFrame or mapping, optional
        Runs that can be made: columns of the law's inputs; ``family`` where the model pools; ``cost`` [FLOP], else
        ``flops``, else 6 * params * tokens. Left out, a grid from the smallest run to one that takes the whole budget,
        over the runs' tokens per parameter; where these span less than a factor of 16, to a factor of 4 either side of
        their middle. They are of the family that is asked about: ``family``, the scenario's, or the one that all rows
        of a table name; else of a new one.
    budget : float
        FLOP that there are for all of them.
    target : {"loss", "gain", "onset", "optimal_params"}, Scenario, Dataset, DataFrame or mapping
        What is to be known: see :data:`~bayescale.decide.aim.TARGETS`. A scenario asks about its go / no-go itself; a
        table, with columns like those of the candidates, about the losses of runs to come, of which the mean variance
        counts.
    flops : float
        Compute at which the target is asked [FLOP], or up to 1e4 times which an onset is sought; not with a scenario or
        a table, which have their own.
    gain_below : float
        Of the target "onset" [nat/token].
    path : str, Path or table, optional
        Along which that compute grows, as for :func:`bayescale.returns`. Like ``at`` and ``family`` not with a scenario
        or a table, which have their own.
    at : mapping, optional
        Values at which the target is asked, of the inputs that a law of params and tokens has besides, such as
        ``{"weight_bits": 8}``.
    family : str or mapping, optional
        Group that the target is about, for a model that pools; without it a new one.
    replicates : int
        How often one candidate may be made, with other seeds.
    random_seed : int
        Of new groups and simulated outcomes.

    Returns
    -------
    xr.Dataset
        *How to read it*, dim candidate:

        - ``cost`` [FLOP]; ``share``: of the target's variance that this run alone would remove, 0 to 1;
        - ``value_per_flop``: that share for each FLOP; of a scenario, currency for each FLOP;
        - ``evsi``, ``money``, ``p_changes``, only of a scenario: value of seeing this run before the decision and its
          mean price [currency], and the probability that it changes the decision; see :func:`stop`. The note
          ``not_worth_a_run`` says that no run is worth its price;
        - ``chosen``: how often it is in the batch.

        Dim pick, the batch in the order of choice: ``pick`` (which candidate), ``spent`` [FLOP] and ``sd_after``, the
        target's standard deviation after the runs so far and a new fit; of several losses, the root of their mean
        variance. ``effective_size``: how many draws would still count once these runs were seen (median over simulated
        outcomes), and ``sd_after_reweighted``, the same deviation by the draws so reweighted. Where fewer than 100
        count both end in NaN, and the note ``refit_needed`` says after which run to fit again. Draws drift from the
        frontier of the runs that there are: where the law may drift and a batch goes beyond, ``sd_after_reweighted`` is
        no check of ``sd_after``, which follows the frontier.

        In attrs: ``target``, ``unit``, ``sd_before``, ``sd_after``; ``budget``, ``spent``, ``rule`` (which greedy order
        won), ``path``, ``family`` (of generated candidates), ``model``, ``notes``; of an onset also ``gain_below`` and
        ``horizon``, where the search for it ends [FLOP]. The unit of a target that is a logarithm reads ``ln(FLOP)`` or
        ``ln(parameters)``: a deviation of 0.7 there is a factor of 2. The note ``no_run_tells`` says that the whole
        batch leaves the target as uncertain as it is.

    Raises
    ------
    ValueError
        If a column is missing, the budget pays for no candidate, or the target makes no sense.

    Notes
    -----
    Where the law may drift, a batch is chosen for each frontier that it may reach, and the one that leaves least is
    taken. A target that is no log loss follows those that it depends on by linear regression over the draws; what does
    not follow, such as a price, stays. The compute-optimal size is the law's, without the drift. A model that holds
    inputs at a value is taken by its draws as they stand, as one that does not drift.

    References
    ----------
    Strong, Oakley, Brennan and Breeze 2015, doi 10.1177/0272989X15575286 (EVSI by regression on draws).

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=200)
    >>> found = next_runs(prior, budget=1e21, flops=1e24)
    >>> found.attrs["sd_after"] < found.attrs["sd_before"], found.attrs["spent"] <= 1e21
    (True, True)
    """
    if replicates < 1:
        raise ValueError(f"replicates = {replicates!r}: expected 1 or more")
    about = read_aim(fit, target, flops, path, family, random_seed, at, gain_below)
    draws = about.draws
    limit = float(read_flops(budget, draws.saved, "budget").item())
    if candidates is None:
        # Runs of the family that is asked about.
        candidates = {**generated(draws, limit), **group_of(draws.saved, about.family)}
    asked = _read(fit, about, candidates, limit, random_seed)
    table, cost, seen, noise = asked.table, asked.cost, asked.seen, asked.noise
    before, alone = asked.before, asked.alone
    if asked.outlook is None:
        picks, rule = best_batch(about.values, seen, noise, cost, limit, replicates)
        after = variance_after(asked.covariance, noise, picks)
    else:
        picks, rule = asked.outlook.best(cost, limit, replicates)
        after = before**2 * asked.outlook.after(picks)
    found: dict[str, tuple[Any, ...]] = {
        "cost": ("candidate", cost, {"units": "FLOP"}),
        "share": ("candidate", alone / before**2, {"units": "1"}),
        "value_per_flop": ("candidate", alone / before**2 / cost, {"units": "1/FLOP"}),
        "chosen": ("candidate", np.bincount(picks, minlength=cost.size), {"units": "1"}),
        "pick": ("pick", np.array(picks)),
        "spent": ("pick", np.cumsum(cost[picks]), {"units": "FLOP"}),
        "sd_after": ("pick", np.sqrt(after), {"units": about.unit}),
    }
    notes = list(draws.notes)
    if about.scenario is not None:
        mean = float(about.values.mean())
        worth = expected_gain(mean, np.sqrt(alone))
        money = cost * _flop_price(about.scenario, random_seed)
        notes += _worth_note(worth, money, about.unit)
        found["p_changes"] = (
            "candidate",
            chance_of_change(mean, np.sqrt(alone)),
            {"units": "1"},
        )
        found["evsi"] = ("candidate", worth, {"units": about.unit})
        found["money"] = ("candidate", money, {"units": about.unit})
        found["value_per_flop"] = (
            "candidate",
            worth / cost,
            {"units": f"{about.unit}/FLOP"},
        )
    rng = stream(random_seed, "outcomes")
    spread, size = reweighted(about.values, seen[:, picks], noise[picks], rng)
    found["sd_after_reweighted"] = ("pick", spread, {"units": about.unit})
    found["effective_size"] = ("pick", size, {"units": "1"})
    result = xr.Dataset(found).assign(
        {
            str(name): ("candidate", np.broadcast_to(values, cost.size), table[name].attrs)
            for name, values in table.data_vars.items()
            if name != "cost"
        }
    )
    if about.scenario is None:
        notes += _idle_note(about, before, float(np.sqrt(after[-1])), len(picks))
    worthless = any(note.code in ("not_worth_a_run", "no_run_tells") for note in notes)
    notes += _refit_note(size, draws.samples, worthless)
    named = {"flops": about.flops, "gain_below": about.gain_below, "horizon": about.horizon}
    return result.assign_attrs(
        target=about.name,
        unit=about.unit,
        **{name: value for name, value in named.items() if value is not None},
        sd_before=before,
        sd_after=float(np.sqrt(after[-1])),
        budget=limit,
        spent=float(cost[picks].sum()),
        rule=rule,
        **({} if about.runs is not None else {"path": str(draws.parts[0].route.growth.path)}),
        **told(draws, about.family),
        notes=dump_notes(notes),
    )


def stop(
    fit: xr.DataTree,
    candidates: Scales,
    scenario: Scenario,
    *,
    random_seed: int = 0,
) -> xr.Dataset:
    """Ask whether any further run could still change a decision, and would be worth its price.

    Parameters
    ----------
    fit : xr.DataTree
    candidates : Dataset, DataFrame or mapping
        Planned runs, as for :func:`next_runs`.
    scenario : Scenario
        The decision; its price and utilisation hold for these runs too.
    random_seed : int

    Returns
    -------
    xr.Dataset
        Dim candidate. *How to read it*:

        - ``p_changes``: that after this run expected utility has the other sign than now;
        - ``evsi``: what seeing it before the decision is worth [currency];
        - ``money``: its mean price [currency]; ``net_value``: the value less that.

        In attrs: ``stop`` (1 if no run is worth its price), ``expected_utility`` now, ``currency``, ``notes``.

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> import bayescale as bs
    >>> from bayescale.decide.scenario import EXAMPLE
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=200)
    >>> stop(prior, {"params": [1e9], "tokens": [2e10]}, Scenario.from_toml(EXAMPLE))["p_changes"].size
    1
    """
    about = read_aim(fit, scenario, None, None, None, random_seed)
    asked = _read(fit, about, candidates, np.inf, random_seed)
    cost, spread = asked.cost, np.sqrt(asked.alone)
    mean = float(about.values.mean())
    worth, money = expected_gain(mean, spread), cost * _flop_price(scenario, random_seed)
    units = {"units": scenario.currency}
    return xr.Dataset(
        {
            "p_changes": ("candidate", chance_of_change(mean, spread), {"units": "1"}),
            "evsi": ("candidate", worth, units),
            "money": ("candidate", money, units),
            "net_value": ("candidate", worth - money, units),
            "cost": ("candidate", cost, {"units": "FLOP"}),
        },
        attrs={
            "stop": int(bool((worth <= money).all())),
            "expected_utility": mean,
            "currency": scenario.currency,
            **told(about.draws, scenario.family),
            "notes": dump_notes(about.draws.notes),
        },
    )


def _flop_price(scenario: Scenario, random_seed: int) -> float:
    """Mean price of a training FLOP."""
    hour, share = (
        draw(each, 4000, stream(random_seed, "scenario", name))
        for name, each in (("price", scenario.price), ("utilisation", scenario.utilisation))
    )
    return float((accelerator_hours(1.0, scenario.peak, share) * hour).mean())


def _worth_note(worth: np.ndarray, money: np.ndarray, unit: str) -> list[Note]:
    """The note that no candidate is worth its price, if so: the batch tells most, which may be nothing."""
    if (worth > money).any():
        return []
    best = int((worth - money).argmax())
    return [
        Note(
            "not_worth_a_run",
            "warning",
            f"no run by itself is worth its price before the decision: at best {as_money(worth[best])} {unit} "
            f"for {as_money(money[best])}",
            "decide as things stand; the runs named would tell most, not enough",
        )
    ]


@dataclass(frozen=True)
class _Asked:
    """Candidates, and what each tells about a target by itself."""

    table: xr.Dataset
    cost: np.ndarray
    seen: np.ndarray
    noise: np.ndarray
    covariance: np.ndarray
    outlook: Outlook | None

    @property
    def before(self) -> float:
        """Standard deviation of the target; of several, the root of their mean variance."""
        return float(np.sqrt(mean_variance(self.covariance, self.noise.size)))

    @property
    def alone(self) -> np.ndarray:
        """Variance that each candidate takes from the target."""
        if self.outlook is None:
            return reductions(self.covariance, self.noise)
        return self.before**2 * self.outlook.alone


def _read(
    fit: xr.DataTree, about: Aim, candidates: Scales, limit: float, random_seed: int
) -> _Asked:
    table, cost = read_candidates(about.draws, candidates, limit)
    seen = np.log(predict(fit, table, random_seed=random_seed).values).reshape(-1, cost.size)
    noise = noise_variance(about.draws, table, seen)
    covariance = np.cov(np.column_stack([about.values, seen]), rowvar=False)
    # Equal draws differ by rounding.
    if not np.sqrt(mean_variance(covariance, cost.size)) > 1e-12 * float(
        np.abs(about.values).max()
    ):
        raise ValueError(
            f"target {about.name!r} is the same in every draw: no run can tell more about it"
        )
    outlook = read_outlook(fit, about, table, seen, noise, random_seed)
    return _Asked(table, cost, seen, noise, covariance, outlook)


def _idle_note(about: Aim, before: float, after: float, count: int) -> list[Note]:
    """The note that a batch tells nothing, if so: it spends the budget, whatever that is good for."""
    if after < _IDLE * before:
        return []
    runs = "run" if count == 1 else f"{count} runs"
    return [
        Note(
            "no_run_tells",
            "warning",
            f"the standard deviation of the target is {before:.3g} {about.unit} now and {after:.3g} after the chosen "
            f"{runs}: no run that the budget pays for tells much",
            "a larger budget or other candidates may tell more; else decide as things stand",
        )
    ]


def _refit_note(size: np.ndarray, samples: int, worthless: bool) -> list[Note]:
    """The note that the draws cannot check all of a batch, if so; no advice to make runs that are worth nothing."""
    few = np.flatnonzero(size < LEAST_EFFECTIVE)
    if not few.size:
        return []
    checked = int(few[0])
    return [
        Note(
            "refit_needed",
            "info" if worthless else "warning",
            f"the draws can check the first {checked} of {size.size} runs: after one more, {size[checked]:.0f} of "
            f"{samples} draws would count, and what the later runs tell is a normal approximation",
            "keep more draws to check more of them"
            if worthless
            else f"make the first {'run' if checked < 2 else checked}, fit again, and ask again; or keep more draws",
        )
    ]
