"""Whether a proposed run is worth its price: utility in money, its risk, and which uncertainty moves the decision.

Utility is the value of the improvement less the cost of the run; not running is worth zero. What a perfect answer about
one input would be worth (EVPPI) comes from a regression of utility on that input: Strong, Oakley and Brennan 2014,
doi 10.1177/0272989X13505910.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.cost import accelerator_hours, as_money, energy_kwh
from bayescale.decide.draws import Draws, as_draws, each_part, loss_along, read_draws, told
from bayescale.decide.scenario import Scenario, draw, held_inputs
from bayescale.forecast.curve import decades_beyond, stream
from bayescale.forecast.doubts import distance_note, scale_unit
from bayescale.forecast.montecarlo import SAMPLE_DIMS, effective_size, mcse, probability_mcse
from bayescale.forecast.scales import read_flops
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import COUNTS, is_stack
from bayescale.notes import Note, dump_notes

#: Degree of the polynomial that says what utility an input lets expect, and draws wanted for each of its terms.
DEGREE, DRAWS_A_TERM = 5, 40
#: Inputs of a scenario that may be uncertain and that utility depends on, with their label.
_INPUTS = ("price", "utilisation", "fixed_cost")


def budget(
    fit: xr.DataTree, scenario: str | Path | Scenario, *, random_seed: int = 0
) -> xr.Dataset:
    """Judge whether a proposed run is worth its price.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.stack`, in nats per token if value is stated by the nat.
    scenario : str, Path or Scenario
        What the run costs, what its loss is worth, how much risk may be taken; a file such as
        :data:`bayescale.decide.scenario.EXAMPLE`.
    random_seed : int
        Of the scenario's uncertain inputs, of the run's luck and of a new group.

    Returns
    -------
    xr.Dataset
        *How to read it*: with dims chain, draw, one outcome a draw:

        - ``loss``: of the run, with its luck [nat/token]; ``improvement`` over the baseline, where there is one;
        - ``hours`` [h], ``money`` [currency], ``energy`` [kWh], ``carbon`` [kg CO2e]: what it takes;
        - ``value``, ``utility`` [currency]: what it is worth, and that less the money.

        Of all draws, each with ``_mcse``: ``expected_utility``; ``cvar``, the mean of the worst ``level`` of outcomes;
        ``p_pays``, that the utility is above zero, and ``p_loses``, that it is below.

        ``evppi``, dim input [currency]: what knowing this input beforehand would be worth, at most; zero where it
        could not change the decision. ``law``: the curve's loss at the proposed scale, without the run's luck.
        ``evpi``: knowing the outcome itself. Both for a decision by expected utility.

        Of a stack also, dim model: ``weight``, ``expected_utility_by_model``, and ``regret_by_model``, what deciding
        by the average costs if that model is right.

        In attrs: ``decision``, one of "go", "no-go", "undecided"; ``reason``; ``criterion`` ("expected_utility" or
        "cvar"), ``level``, ``confidence``, ``flops``, ``path``, ``currency``, ``scenario``, ``model``, ``notes``. *Go*:
        the criterion is above zero by more than twice its Monte Carlo error, and the run pays with the asked
        confidence. *No-go*: both the other way round. *Undecided* otherwise, as where draws are too few for an error.

    Raises
    ------
    ValueError
        If the scenario is not one, or the law cannot grow along its path.

    References
    ----------
    Rockafellar and Uryasev 2000, doi 10.21314/JOR.2000.038 (CVaR).

    Examples
    --------
    >>> import bayescale as bs
    >>> from bayescale.decide.scenario import EXAMPLE, Scenario
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> budget(prior, Scenario.from_toml(EXAMPLE)).attrs["decision"]
    'go'
    """
    plan = Scenario.load(scenario)
    draws = read_planned(fit, plan, random_seed)
    saved = draws.saved
    flops = read_flops(plan.flops, saved).values[None, :]
    inputs: dict[str, np.ndarray] = {
        name: draw(getattr(plan, name), draws.samples, stream(random_seed, "scenario", name))
        for name in (*_INPUTS, "pue", "grid_intensity")
    }
    curve, loss = (loss_along(draws, flops, kind, random_seed)[:, 0] for kind in ("curve", "run"))
    hours = accelerator_hours(plan.flops, plan.peak, inputs["utilisation"])
    money = hours * inputs["price"] + inputs["fixed_cost"]
    energy = energy_kwh(hours, plan.watts, np.maximum(inputs["pue"], 1.0))
    found = {
        "loss": (loss, saved.units),
        "hours": (hours, "h"),
        "money": (money, plan.currency),
        "energy": (energy, "kWh"),
        "carbon": (energy * inputs["grid_intensity"], "kg CO2e"),
    }
    if plan.step is not None:
        worth = draw(plan.step.worth, draws.samples, stream(random_seed, "scenario", "worth"))
        inputs["worth"] = worth
        value = np.where(loss <= plan.step.loss, worth, 0.0)
    else:
        assert plan.per_nat is not None
        per_nat = draw(plan.per_nat, draws.samples, stream(random_seed, "scenario", "per_nat"))
        inputs["per_nat"] = per_nat
        baseline = _baseline(draws, plan)
        found["improvement"] = (baseline - loss, saved.units)
        curve = baseline - curve
        value = per_nat * (baseline - loss)
    utility = value - money
    found |= {"value": (value, plan.currency), "utility": (utility, plan.currency)}
    result = xr.Dataset(
        {
            name: as_draws(draws, each).assign_attrs(units=unit)
            for name, (each, unit) in found.items()
        }
    )
    result = result.assign(_summaries(result["utility"], plan.level))
    deciding = {name: inputs[name] for name in (*_INPUTS, "per_nat", "worth") if name in inputs}
    deciding |= _held(draws)
    result = result.assign(_information(draws, utility, {"law": curve} | deciding, plan.currency))
    if len(draws.parts) > 1:
        result = result.assign(_by_model(draws, utility, plan.currency))
    decision, reason = _decide(result, plan)
    scale = xr.DataArray(flops[0, 0])
    result["decades_beyond"] = decades_beyond(saved, scale)
    notes = [*draws.notes, *distance_note(saved, flops), *_model_notes(result, plan)]
    if not is_stack(fit):
        label = f"the loss at {plan.flops:.3g}{scale_unit(saved)}"
        notes += prior_note(fit, saved, as_draws(draws, curve), label)
    return result.assign_attrs(
        decision=decision,
        reason=reason,
        criterion={"expected": "expected_utility", "cvar": "cvar"}[plan.risk],
        level=plan.level,
        confidence=plan.confidence,
        flops=float(plan.flops),
        path=str(draws.parts[0].route.growth.path),
        currency=plan.currency,
        scenario=plan.name,
        **told(draws, plan.family),
        notes=dump_notes(notes),
    )


def expected_shortfall(outcomes: np.ndarray, level: float) -> float:
    """Mean of the worst share of outcomes (CVaR).

    Parameters
    ----------
    outcomes : numpy.ndarray
        Draws; more is better.
    level : float
        Share of the worst that is averaged; in (0, 1].

    Returns
    -------
    float
        In the unit of the outcomes.

    Examples
    --------
    >>> expected_shortfall(np.arange(1.0, 11.0), 0.25)
    1.8
    """
    ordered = np.sort(outcomes.reshape(-1))
    count = level * ordered.size
    # The draw at the border counts with the part of it that belongs to the share.
    part = np.clip(count - np.arange(ordered.size), 0.0, 1.0)
    return float(part @ ordered / count)


def evppi(utility: np.ndarray, known: np.ndarray) -> float:
    """Value of knowing an input before the choice between running and not running.

    Parameters
    ----------
    utility : numpy.ndarray
        Of running, axis (sample,); not running is worth zero.
    known : numpy.ndarray
        The input in each sample; text for a choice among a few.

    Returns
    -------
    float
        ``E[max(E[U | input], 0)] - max(E[U], 0)``, in the unit of utility; at least zero.

    References
    ----------
    Strong, Oakley and Brennan 2014, doi 10.1177/0272989X13505910.

    Examples
    --------
    >>> known = np.random.default_rng(0).normal(size=4000)
    >>> round(evppi(known, known), 1)
    0.4
    """
    if known.dtype.kind in "US":
        names, place = np.unique(known, return_inverse=True)
        means = np.bincount(place, utility) / np.bincount(place)
        expected = means[place] if names.size > 1 else np.full_like(utility, utility.mean())
    else:
        expected = _regression(utility, known)
    gain = float(np.maximum(expected, 0.0).mean()) - max(float(expected.mean()), 0.0)
    # The two means of an input that changes nothing differ by rounding.
    return gain if gain > 1e-12 * float(np.abs(expected).mean()) else 0.0


def _regression(utility: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Expected utility at each value of an input, by a polynomial in it."""
    if np.ptp(known) == 0:
        return np.full_like(utility, utility.mean())
    degree = int(np.clip(utility.size // DRAWS_A_TERM, 1, DEGREE))
    # Heavy tails would let a few draws decide the polynomial: beyond them, the input is cut.
    low, high = np.quantile(known, [0.002, 0.998])
    inside = np.clip(known, low, high) if high > low else known
    fitted = np.polynomial.Legendre.fit(inside, utility, degree)
    return fitted(inside)


def _baseline(draws: Draws, plan: Scenario) -> np.ndarray | float:
    if plan.baseline_loss is not None:
        return plan.baseline_loss
    assert plan.baseline_flops is not None
    at = read_flops(plan.baseline_flops, draws.saved, "baseline_flops").values[None, :]
    return loss_along(draws, at, what="baseline_flops")[:, 0]


def _summaries(utility: xr.DataArray, level: float) -> dict[str, xr.DataArray]:
    units = {"units": utility.attrs["units"]}
    size = effective_size(utility)
    border = float(np.quantile(utility, level))
    found = {
        "expected_utility": utility.mean(SAMPLE_DIMS).assign_attrs(units),
        "expected_utility_mcse": mcse(utility).assign_attrs(units),
        "cvar": xr.DataArray(expected_shortfall(utility.values, level), attrs=units),
        "cvar_mcse": mcse((utility - border).clip(max=0.0) / level).assign_attrs(units),
    }
    for name, holds in {"p_pays": utility > 0, "p_loses": utility < 0}.items():
        found[name] = holds.mean(SAMPLE_DIMS).assign_attrs(units="1")
        found[f"{name}_mcse"] = probability_mcse(holds, size).assign_attrs(units="1")
    return found


def read_planned(fit: xr.DataTree, plan: Scenario, random_seed: int) -> Draws:
    """Read the draws of a fit where a scenario asks."""
    sizes = fit["posterior"].sizes
    held = held_inputs(plan, sizes["chain"] * sizes["draw"], random_seed)
    draws = read_draws(fit, plan.path, plan.family, random_seed, held)
    for part in draws.parts:
        if not part.whole.grows_by_compute:
            columns = ", ".join(part.whole.model.inputs.values())
            raise ValueError(
                f"scenario: the fit grows with {columns}, not with training compute, so that {plan.flops:g} FLOP say "
                "nothing of its loss; fit the runs by flops, or by params and tokens"
            )
    return draws


def _held(draws: Draws) -> dict[str, np.ndarray]:
    """Draws of the inputs that are held at uncertain values, by column; axis (sample,)."""
    columns = draws.parts[0].whole.model.inputs
    return {
        columns[name.removeprefix("held ")]: np.concatenate(
            [part.saved.held[name][:, 0] for part in draws.parts]
        )
        for name in draws.saved.held
    }


def _information(
    draws: Draws, utility: np.ndarray, inputs: Mapping[str, np.ndarray], currency: str
) -> dict[str, xr.DataArray]:
    known = {name: values for name, values in inputs.items() if np.ptp(values) > 0}
    if len(draws.parts) > 1:
        known["model"] = np.concatenate(
            [np.full(part.saved.samples, part.name) for part, _ in each_part(draws)]
        )
    worth = [evppi(utility, values) for values in known.values()]
    perfect = np.maximum(utility, 0.0).mean() - max(utility.mean(), 0.0)
    units = {"units": currency}
    return {
        "evppi": xr.DataArray(worth, dims="input", coords={"input": list(known)}, attrs=units),
        "evpi": xr.DataArray(perfect, attrs=units),
    }


def _by_model(draws: Draws, utility: np.ndarray, currency: str) -> dict[str, xr.DataArray]:
    names, weights, means = [], [], []
    for part, rows in each_part(draws):
        names.append(part.name)
        weights.append(part.weight)
        means.append(utility[rows].mean())
    own = np.array(means)
    chosen = own if utility.mean() > 0 else np.zeros_like(own)
    table: dict[str, Any] = {
        "weight": (np.array(weights), "1"),
        "expected_utility_by_model": (own, currency),
        "regret_by_model": (np.maximum(own, 0.0) - chosen, currency),
    }
    return {
        name: xr.DataArray(values, dims="model", coords={"model": names}, attrs={"units": unit})
        for name, (values, unit) in table.items()
    }


def _decide(found: xr.Dataset, plan: Scenario) -> tuple[str, str]:
    """The decision and its reason in words."""
    name = "expected_utility" if plan.risk == "expected" else "cvar"
    level, error = float(found[name]), float(found[f"{name}_mcse"])
    what = "expected utility" if plan.risk == "expected" else f"mean of the worst {plan.level:.0%}"
    told_level = f"{what} {as_money(level)} {plan.currency}"
    pays, loses = float(found["p_pays"]), float(found["p_loses"])
    if level > 2 * error and pays >= plan.confidence:
        return "go", f"{told_level}; it pays with probability {pays:.0%}"
    if level < -2 * error and loses >= plan.confidence:
        return "no-go", f"{told_level}; it loses money with probability {loses:.0%}"
    if not np.isfinite(error):
        why = "too few draws to tell its Monte Carlo error: keep more of them"
    elif abs(level) <= 2 * error:
        why = f"the Monte Carlo error is {as_money(error, 2)}: more draws may tell"
    else:
        side = f"pays with probability {pays:.0%}" if level > 0 else f"loses with {loses:.0%}"
        why = f"it {side}, less than the asked {plan.confidence:.0%}"
        if level < 0 and pays >= plan.confidence:
            why = f"it pays with probability {pays:.0%}, and loses more than the risk measure allows where it does not"
    worth = found["evppi"]
    best = "" if not worth.size else str(worth["input"].values[int(np.argmax(worth.values))])
    if best and float(worth.max()) > 0:
        why += (
            f"; knowing {best} would be worth most, {as_money(float(worth.max()))} {plan.currency}"
        )
    return "undecided", f"{told_level}; {why}"


def _model_notes(found: xr.Dataset, plan: Scenario) -> list[Note]:
    if "weight" not in found:
        return []
    own = found["expected_utility_by_model"].where(found["weight"] > COUNTS, drop=True)
    if not (float(own.min()) < 0 < float(own.max())):
        return []
    each = ", ".join(
        f"{name} {as_money(value)}"
        for name, value in zip(own["model"].values, own.values, strict=True)
    )
    return [
        Note(
            "models_disagree",
            "warning",
            f"the models do not agree whether the run pays: expected utility {each} {plan.currency}",
            "runs that tell the models apart are worth more than any average",
        )
    ]
