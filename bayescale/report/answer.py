"""The answer in words with numbers, and the same numbers for a script."""

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from bayescale.forecast.curve import largest_of
from bayescale.forecast.held import typical
from bayescale.forecast.scales import group_of
from bayescale.forecast.sensitivity import DOMINATED
from bayescale.notes import CODES, Note
from bayescale.report.question import Case
from bayescale.report.record import fit_file
from bayescale.report.words import (
    decades,
    levels,
    listed,
    more,
    number,
    percent,
    size,
    spread,
    times,
)

#: P(the onset lies beyond the search) up to which its median is told: near one half that moves with the search's end.
NEVER_MAX = 0.25
#: Words of those who sample, for which the meaning of the note's code stands.
_STATISTICIANS = re.compile(r"R-hat|ESS|BFMI|k-hat|PSIS|elasticity")
#: How a target's note goes on that the drift alone meets it.
_PAST_FLOOR = " of draws that have their "
#: Shortest part of a note's message that says something by itself [character].
_CLAUSE = 25

#: A check that does not pass, for those who need not know its name.
PLAIN = {
    "R-hat": "the sampler's chains disagree",
    "bulk ESS": "too few independent draws",
    "tail ESS": "too few independent draws for the intervals",
    "divergences": "the sampler could not reach all of the posterior",
    "E-BFMI": "the sampler moved too slowly",
    "PSIS-LOO k-hat": "single runs decide part of the fit",
    "coverage of the runs": "too many runs lie outside of their own intervals",
    "prior sensitivity": "parameters move with their priors",
}


def sentences(case: Case) -> Iterator[str]:
    """What a decision-maker has to know, the most important first."""
    if not case.grows:
        yield _unanswered(case)
        return
    try:
        yield from _returns(case)
    except ValueError as error:
        yield f"What more compute buys is not known: {error}."
    with suppress(ValueError):  # Its section says why.
        yield from _division(case)
    with suppress(ValueError):
        yield from _targets(case)


def _unanswered(case: Case) -> str:
    """What to ask instead, where no path is known along which the law grows."""
    saved, fit = case.saved, shlex.quote(fit_file(case))
    columns = list(saved.model.inputs.values())
    if saved.has_compute:
        others = [
            column
            for slot, column in saved.model.inputs.items()
            if slot not in ("params", "tokens")
        ]
        at = " ".join(f"--at {name}={typical(saved, name)}" for name in others)
        return (
            f"What more compute buys depends on {listed(others)} too, of which no value was given: ask again with "
            f"one, as in `bayescale report {fit} {at}`, where the runs have their median."
        )
    return (
        f"What more compute buys is not known, for the law does not say how {listed(columns)} grow with it. Put the "
        f"models that are planned into a table with these columns and forecast their loss: `bayescale forecast {fit} "
        "--planned TABLE`."
    )


def _returns(case: Case) -> Iterator[str]:
    answer, here = case.answer, case.here
    unit, loss_unit = case.unit, case.saved.units
    share, error = float(answer["probability"]), float(answer["probability_mcse"])
    yield (
        f"At {number(case.beyond)}{unit}{case.holding} {more(case.asked.step)} buys "
        f"{spread(here['gain'], loss_unit)}; the probability that it buys less than {case.worth:g} is "
        f"{percent(share, error)}."
    )
    beyond = float(answer["decades_beyond"])
    largest = f"the largest run, {number(case.saved.largest)}{unit}"
    where = (
        f"{times(10**beyond)} the compute of {largest}: {decades(beyond)} beyond it"
        if beyond > 0
        else f"within the runs: up to {largest}"
    )
    family = case.asked.family
    own = None if family is None else largest_of(case.saved, group_of(case.saved, family))
    if own is not None and own < case.saved.largest:
        where += f"; the runs of {family} end at {number(own)}{unit}"
    yield (
        f"The law's curve, about which single runs scatter, is at a loss of {spread(here['loss'], loss_unit)} there. "
        f"{number(case.beyond)}{unit} is {where}."
    )
    yield _onset(case)


def _onset(case: Case) -> str:
    """From where on a step is worth too little: a probability first, for quantiles hang on where the search ends."""
    answer, unit = case.answer, case.unit
    buys = f"{more(case.asked.step)} buys less than {case.worth:g}"
    start, horizon = (f"{number(answer.attrs[name])}{unit}" for name in ("start", "horizon"))
    already, never = float(answer["p_already"]), float(answer["p_never"])
    if already > 0.5:
        chance = percent(already, float(answer["p_already_mcse"]))
        return f"Most probably ({chance}) {buys} all the way from {start} to {horizon}, where the search ends."
    chance = percent(1 - never, float(answer["p_never_mcse"]))
    said = f"By {horizon}, where the search ends, {buys} for good with probability {chance}"
    onset = answer["onset"]

    def place(level: float) -> str:
        value = float(onset.sel(quantile=level))
        if np.isinf(value):
            return "never within the search"
        return f"at most {start}" if value <= answer.attrs["start"] else f"{number(value, 2)}{unit}"

    if never <= NEVER_MAX:
        return f"{said}: from {place(0.5)} on in the median (90 %: {place(0.05)} to {place(0.95)})."
    early = [
        f"with {level:.0%} from {place(level)} on".replace("%", " %")
        for level in (0.05, 0.25)
        if np.isfinite(float(onset.sel(quantile=level)))
    ]
    return f"{said}{': ' if early else ''}{', '.join(early)}."


def _division(case: Case) -> Iterator[str]:
    if case.division is None:
        return
    last = case.division.isel(flops=-1)
    quantiles = last["params_optimal"].quantile((0.05, 0.95), ("chain", "draw")).values
    yield (
        f"Of {number(case.beyond)} FLOP{case.holding} the least loss is to be expected from "
        f"{size(float(last['params']))} parameters on {size(float(last['tokens']))} tokens; the optimum lies "
        f"between {size(quantiles[0])} and {size(quantiles[1])} parameters (90 %)."
    )


def _targets(case: Case) -> Iterator[str]:
    if case.target is None:
        return
    found = case.target
    sure = f"{found.attrs['confidence']:.0%}".replace("%", " %")
    start, horizon = (f"{number(found.attrs[name])}{case.unit}" for name in ("start", "horizon"))
    within, nothing = "whatever the compute", "nothing"
    if case.plan is not None and found.attrs["horizon"] == case.plan["flops"][-1]:
        within, nothing = f"within the plan, which ends at {horizon}", "nothing in the plan"
    elif case.saved.drift is not None:
        within, nothing = f"up to {horizon}, where the search ends", f"nothing up to {horizon}"
    for place, loss in enumerate(found["loss"].values):
        here = found.isel(loss=place)
        needed = float(here["compute_at_confidence"])
        if np.isinf(needed):
            told = f"is not reached with {sure} confidence {within}"
        elif case.edge(place) == "far":
            told = f"is not reached with {sure} confidence within three decades of the runs"
        elif case.edge(place):
            told = f"is only just reached with {sure} confidence, or not at all"
        else:
            least = needed <= found.attrs["start"]
            takes = f"at most {start}" if least else f"{number(needed)}{case.unit}"
            told = f"takes {takes} for {sure} confidence"
        never = percent(float(here["p_unreachable"]), float(here["p_unreachable_mcse"]))
        yield f"A loss of {loss:g} {case.saved.units} {told}; the probability that {nothing} reaches it is {never}."


def basis(case: Case) -> Iterator[str]:
    """What the answer rests on: what was not asked but taken, the checks, the doubts."""
    taken = []
    if case.grows and case.asked.beyond is None:
        times = case.beyond / case.saved.largest
        taken.append(f"{number(case.beyond)}{case.unit} ({times:.3g} times the largest run)")
    if case.grows and case.asked.gain_below is None:
        taken.append(f"a worth of {case.worth:g} {case.saved.units}")
    if taken:
        yield f"Taken, since nothing else was said: {' and '.join(taken)}."
    verdict = (
        "The fit was computed reliably"
        if case.fit.attrs["converged"]
        else "The fit was not computed reliably"
    )
    try:
        table = case.checks
    except ValueError:
        yield f"{verdict}; the fit lacks what its other checks need."
    else:
        bad = table.index[table["verdict"] != "ok"]
        told = (
            f"{len(bad)} of {len(table)} checks {'does' if len(bad) == 1 else 'do'} not pass: "
            + ", ".join(PLAIN.get(str(name), str(name)) for name in bad)
            if len(bad)
            else "all checks pass"
        )
        yield f"{verdict}; {told}."
    doubts = list(_doubts(note for note in case.notes if note.severity != "info"))
    if doubts:
        yield f"Before acting read the doubts: {'; '.join(dict.fromkeys(doubts))}."


def _doubts(notes: Iterable[Note]) -> Iterator[str]:
    """Each doubt in the note's own words, as short as they can be."""
    resting = []
    for note in notes:
        if note.code == "prior_dominated":
            resting.append(note.message.partition(" rests on the prior of")[0])
        elif _PAST_FLOOR in note.message:
            yield (
                f"{note.message.partition(_PAST_FLOOR)[0]} of draws only because the slope may drift: the law alone "
                "never gets there"
            )
        elif _STATISTICIANS.search(note.message):
            yield CODES[note.code]
        else:
            yield _first_clause(note.message)
    if resting:
        verb = "rests" if len(resting) == 1 else "rest"
        yield f"{listed(resting)} {verb} in part on the prior (moved by it by more than {DOMINATED:g})"


def _first_clause(message: str) -> str:
    """The beginning of a note's message; a name before a colon says nothing by itself."""
    for end in re.finditer(r"[:;] ", message):
        if end.start() >= _CLAUSE:
            return message[: end.start()]
    return message


def numbers(case: Case) -> dict[str, Any]:
    """The numbers of the answer under stable keys; what cannot be answered is left out."""
    saved = case.saved
    found: dict[str, Any] = {
        "beyond": case.beyond,
        "gain_below": case.worth,
        "step": case.asked.step,
        "units": saved.units,
        "largest_run": saved.largest,
        "model": saved.model.name,
        "converged": bool(case.fit.attrs["converged"]),
    }
    try:
        answer, here = case.answer, case.here
    except ValueError as error:
        return found | {"not_answered": str(error)}
    found |= {name: levels(here[name]) for name in ("gain", "loss", "elasticity")}
    scalars = ("probability", "probability_mcse", "p_already", "p_never", "decades_beyond")
    found |= {name: float(answer[name]) for name in scalars}
    found |= {
        "onset": levels(answer["onset"]),
        "start": float(answer.attrs["start"]),
        "horizon": float(answer.attrs["horizon"]),
        "path": str(answer.attrs["path"]),
        "at": {name: float(np.median(value)) for name, value in (case.asked.at or {}).items()},
        "family": str(answer.attrs["family"]),
    }
    with suppress(ValueError):  # Its section says why.
        if case.target is not None:
            found["targets"] = [
                {
                    "loss": float(loss),
                    "confidence": case.asked.confidence,
                    "compute_at_confidence": float(case.target["compute_at_confidence"][place]),
                    "p_unreachable": float(case.target["p_unreachable"][place]),
                }
                for place, loss in enumerate(case.target["loss"].values)
            ]
    return found
