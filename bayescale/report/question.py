"""What a report is asked, and the answers that several of its sections share."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.checks import check
from bayescale.decide import allocate, compute_for
from bayescale.decide.target import PAST_FLOOR
from bayescale.forecast import diminishing, returns, summarise
from bayescale.forecast.curve import Saved, compute_of, read_fit
from bayescale.forecast.held import hold_given
from bayescale.forecast.path import PathLike, parse_path, resolve_path
from bayescale.forecast.scales import group_of
from bayescale.notes import SEVERITIES, Note, get_notes
from bayescale.report.words import in_words, listed, number, percent

#: What a step has to be worth unless the reader says otherwise [unit of the loss].
WORTH = 0.01
#: Times the largest run, where it is asked unless the reader says otherwise.
FARTHER = 10.0
#: Scales of the curves.
GRID = 40
#: Decades beyond the runs up to which the compute of a target is told in digits.
TOLD = 3.0


@dataclass(frozen=True)
class Asked:
    """What the reader said; None where nothing was.

    Parameters
    ----------
    beyond : float or None
        Compute asked about [FLOP].
    gain_below : float or None
        What a step has to be worth [unit of the loss].
    loss : tuple of float
        Target losses.
    confidence : float
        How probable reaching them must be.
    step, path, family
        As for :func:`bayescale.returns`.
    at : mapping
        Values of the inputs that a law of params and tokens has besides.
    command : str
        How the report was asked for, if that is known.
    """

    beyond: float | None = None
    gain_below: float | None = None
    loss: tuple[float, ...] = ()
    confidence: float = 0.9
    step: float = 2.0
    path: PathLike | None = None
    family: str | None = None
    at: Mapping[str, float] | None = None
    command: str = ""


class Case:
    """A fit with what is asked of it. Each answer is worked out when it is first read, and kept."""

    def __init__(self, fit: xr.DataTree, asked: Asked) -> None:
        self.fit, self.asked = fit, asked
        self.saved: Saved = read_fit(fit)
        farther = min(FARTHER * self.saved.largest, self.span[1])
        self.beyond = float(farther if asked.beyond is None else asked.beyond)
        self.worth = float(WORTH if asked.gain_below is None else asked.gain_below)
        self._check()

    def _check(self) -> None:
        """Refuse what makes no sense, before a section says that the fit cannot answer it."""
        asked, (low, high) = self.asked, self.span
        for name, value in (
            ("beyond", asked.beyond),
            ("gain_below", asked.gain_below),
            *(("loss", each) for each in asked.loss),
        ):
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{name} = {value!r}: expected a number above zero")
        if not asked.step > 1:
            raise ValueError(f"step = {asked.step!r}: expected a factor of compute above 1")
        if not 0 < asked.confidence < 1:
            raise ValueError(
                f"confidence = {asked.confidence!r}: expected a probability, such as 0.9"
            )
        held = hold_given(self.saved, asked.at)
        if asked.path is not None:
            resolve_path(held, asked.path)
        group_of(self.saved, asked.family)
        if not low <= self.beyond <= high:
            raise ValueError(
                f"beyond = {self.beyond:.4g}: the plan covers steps from {low:.4g} to {high:.4g} FLOP; add rows to "
                "it, or ask within it"
            )

    @property
    def route(self) -> dict[str, Any]:
        """Path, held inputs and family, as forecasts take them."""
        return {"path": self.asked.path, "at": self.asked.at, "family": self.asked.family}

    @cached_property
    def grows(self) -> bool:
        """Whether a path is known along which the law grows: without one nothing is said of more compute."""
        with suppress(ValueError):
            resolve_path(hold_given(self.saved, self.asked.at), self.asked.path)
            return True
        return False

    @property
    def held(self) -> str:
        """What is held, and at what; empty where nothing is."""
        told = [
            f"{name} held at {'draws about ' if np.size(value) > 1 else ''}{number(float(np.median(value)))}"
            for name, value in (self.asked.at or {}).items()
        ]
        return listed(told) if told else ""

    @property
    def holding(self) -> str:
        """The same within a sentence, after the scale."""
        return f", with {self.held}," if self.held else ""

    @property
    def unit(self) -> str:
        """Unit of scales, with a space before it; empty where the law has one input of another kind."""
        has_flops = self.saved.has_compute or "flops" in self.saved.model.inputs.values()
        return " FLOP" if has_flops else ""

    @property
    def column(self) -> str:
        """The column that scales are of."""
        return "flops" if self.saved.has_compute else next(iter(self.saved.model.inputs.values()))

    @cached_property
    def runs(self) -> xr.Dataset:
        """The training runs with their losses and their scale."""
        runs = self.fit["constant_data"].to_dataset()
        runs = runs.assign(loss=self.fit["observed_data"]["loss"])
        return runs if self.column in runs else runs.assign(flops=compute_of(self.saved, runs))

    @property
    def plan(self) -> xr.Dataset | None:
        """The plan that the path is, if it is one."""
        return None if self.asked.path is None else parse_path(self.asked.path).table

    @cached_property
    def span(self) -> tuple[float, float]:
        """Scale between which curves can be drawn: those of a plan, where the path is one."""
        if self.plan is None:
            return 0.0, np.inf
        flops = self.plan["flops"].values
        return float(flops[0]), float(flops[-1]) / self.asked.step

    def within(self, scales: list[float]) -> list[float]:
        """Those of some scales that the path covers, in order and without repeats."""
        low, high = self.span
        return sorted({scale for scale in scales if low <= scale <= high})

    def grid(self, lowest: float, highest: float) -> np.ndarray:
        """Scales of a curve, as far as the path covers them."""
        low, high = self.span
        return np.geomspace(max(lowest, low), min(highest, high), GRID)

    @cached_property
    def answer(self) -> xr.Dataset:
        """Whether returns are diminishing at the scale asked about."""
        return self.ask(self.beyond)

    def ask(self, beyond: float) -> xr.Dataset:
        """Whether returns are diminishing at a scale."""
        return diminishing(
            self.fit, beyond=beyond, gain_below=self.worth, step=self.asked.step, **self.route
        )

    @cached_property
    def one(self) -> xr.Dataset:
        """Draws of the marginal returns at the scale asked about."""
        return returns(self.fit, flops=[self.beyond], step=self.asked.step, **self.route)

    @cached_property
    def here(self) -> xr.Dataset:
        """Summary of those."""
        return summarise(self.one).isel(flops=0)

    @cached_property
    def several(self) -> xr.Dataset:
        """Draws of the marginal returns at the largest run, about the scale asked about, and there."""
        scales = [self.saved.largest, self.beyond / 10, self.beyond, self.beyond * 10]
        scales = self.within(scales)
        return returns(self.fit, flops=scales, step=self.asked.step, **self.route)

    @cached_property
    def division(self) -> xr.Dataset | None:
        """How budgets up to the one asked about are divided; None of a law of one input."""
        if not self.saved.has_compute:
            return None
        scales = [self.beyond / 100, self.beyond / 10, self.beyond]
        return allocate(self.fit, flops=scales, family=self.asked.family, at=self.asked.at)

    @cached_property
    def target(self) -> xr.Dataset | None:
        """What the target losses take; None if none was asked about."""
        if not self.asked.loss:
            return None
        return compute_for(
            self.fit,
            loss=list(self.asked.loss),
            confidence=self.asked.confidence,
            **self.route,
        )

    def edge(self, place: int) -> str:
        """Why the compute for the asked confidence of a target is not to be told in digits; empty if it is.

        Where as many draws never reach the target as the confidence leaves out, its quantile lies anywhere up to
        infinity.
        """
        assert self.target is not None
        here = self.target.isel(loss=place)
        if np.isinf(here["compute_at_confidence"]):
            return ""
        if here["decades_beyond"] > TOLD:
            return "far"
        off = abs(float(here["p_unreachable"]) - (1 - self.asked.confidence))
        return "edge" if off <= 2 * here["p_unreachable_mcse"] else ""

    @cached_property
    def checks(self) -> pd.DataFrame:
        """Verdicts on the fit."""
        return check(self.fit)

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """Doubts of the fit and of every answer that could be given, most severe first."""
        carriers: list[xr.DataTree | xr.Dataset] = [self.fit]
        for name in ("answer", "one", "division", "target"):
            try:
                found = getattr(self, name)
            except ValueError:  # The section that asks for it says why.
                continue
            carriers += [] if found is None else [found]
        here = f"at {number(self.beyond)}{self.unit}"
        told: dict[tuple[str, str], Note] = {}
        for note in (*(note for each in carriers for note in _told(each)), *self._past_floor()):
            # The returns are asked of one scale, of which the other answers say the same by its number.
            message = note.message.replace("at the largest scale", here)
            message = message.replace("the largest scale has", f"the path {here} has")
            message = in_words(message, self.unit)
            # Every answer tells the distance of its own scales; that of the scale asked about says it.
            about = "" if note.code == "far_extrapolation" else message
            advice = in_words(note.advice, "")
            told.setdefault((note.code, about), replace(note, message=message, advice=advice))
        return tuple(sorted(told.values(), key=lambda note: -SEVERITIES.index(note.severity)))

    def _past_floor(self) -> list[Note]:
        """The note that the drift takes the loss asked about under the law's own floor, if it does."""
        with suppress(ValueError):  # The section that asks for it says why.
            share = float((self.one["share_left"] < 0).mean())
            if share >= PAST_FLOOR:
                return [
                    Note(
                        "below_the_floor",
                        "warning",
                        f"in {percent(share)} of draws the drift of the slope carries the loss at "
                        f"{number(self.beyond)}{self.unit} under the law's own floor",
                        "larger runs tell floor and drift apart; a fit with discrepancy none takes the floor for "
                        "certain",
                    )
                ]
        return []


def _told(carrier: xr.DataTree | xr.Dataset) -> Iterator[Note]:
    """Notes of a fit or of an answer; the distance of what targets take says whose it is."""
    for note in get_notes(carrier):
        of_targets = note.code == "far_extrapolation" and "compute_at_confidence" in carrier
        what = "what the targets take: " if of_targets else ""
        yield replace(note, message=f"{what}{note.message}")
