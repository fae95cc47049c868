"""The commands that usually follow an answer: they ask about the same runs, along the same path, and they run."""

import math
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from bayescale.cli.options import asked, held, quoted
from bayescale.forecast.curve import Saved, read_bare
from bayescale.forecast.doubts import FAR
from bayescale.forecast.held import typical
from bayescale.forecast.stacked import is_stack, members

#: What a step has to be worth where nothing was said [unit of the loss].
WORTH = "0.01"


def first_of(tree: xr.DataTree) -> xr.DataTree:
    """The fit, or the first of a stack."""
    return next(members(tree)).share if is_stack(tree) else tree


def further(tree: xr.DataTree) -> str:
    """Ten times the largest run, as one types it; rounded down, as what lies farther is doubted."""
    scale = 10**FAR * read_bare(first_of(tree)).largest
    exponent = math.floor(math.log10(scale))
    tenths = math.floor(scale / 10 ** (exponent - 1) * (1 + 1e-12))
    return f"{tenths / 10:g}e{exponent}"


def has_path(saved: Saved) -> bool:
    """Whether a law can be asked at a scale alone, its inputs besides params and tokens held."""
    return len(saved.law.inputs) == 1 or saved.has_compute


def held_at(saved: Saved, at: Sequence[str] | None) -> list[str]:
    """Values of the other inputs as they were given, and medians of the runs where none was."""
    given = list(at or [])
    if not saved.has_compute:
        return given
    for slot, column in saved.model.inputs.items():
        if slot not in ("params", "tokens") and column not in held(given):
            given.append(f"{column}={typical(saved, column)}")
    return given


def forecast_step(tree: xr.DataTree, fit: Path) -> str:
    """The forecast that follows a fit or a check."""
    saved = read_bare(first_of(tree))
    start = f"bayescale forecast {quoted(fit)}"
    if not has_path(saved):
        return f"{start} --planned TABLE"
    return f"{start} --flops {further(tree)}{asked(at=held_at(saved, None))}"


def returns_steps(
    tree: xr.DataTree,
    fit: Path,
    beyond: str | None,
    path: str | None,
    at: Sequence[str] | None,
    family: str | None,
) -> list[str]:
    """The question about returns that follows a forecast; a report, where a law has no path."""
    saved = read_bare(first_of(tree))
    if not has_path(saved):
        return report_steps(tree, fit)
    more = asked(path=path, at=held_at(saved, at), family=family)
    scale = beyond or further(tree)
    return [f"bayescale returns {quoted(fit)} --beyond {scale} --gain-below {WORTH}{more}"]


def report_steps(tree: xr.DataTree, fit: Path, **options: object) -> list[str]:
    """The report that follows an answer, if there can be one: it is of one fit."""
    return [] if is_stack(tree) else [f"bayescale report {quoted(fit)}{asked(**options)}"]
