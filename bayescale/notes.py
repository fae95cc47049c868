"""Doubts that travel as data: what a script reads before it spends money.

Every run table, fit, forecast and decision carries a list of notes in ``attrs["notes"]`` (JSON, so that NetCDF
and Zarr keep it). A note has a stable ``code``, a ``severity``, a message with the numbers in it, and what to do.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import xarray as xr

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")

#: Every code that bayescale can print, with its meaning. The codes are stable: scripts test for them.
CODES: dict[str, str] = {
    "columns_recognised": "columns were mapped to canonical names by their spelling",
    "several_losses": "another column than the one that was read may hold the loss",
    "unmatched_runs": "of two tables that were joined, one has runs that the other lacks",
    "derived_flops": "training FLOP was not given and was derived as 6 * params * tokens",
    "derived_tokens": "training tokens were not given and were derived as flops / (6 * params)",
    "collinear_design": "all runs lie near one tokens-per-parameter ray",
    "too_few_levels": "an input has fewer than three distinct levels",
    "duplicated_runs": "two or more rows are the same run",
    "loss_rises_with_scale": "loss rises where compute grows",
    "loss_units_suspect": "losses look like perplexity or percent, not nats per token",
    "mixed_units": "one column of losses holds several units or tokenizers",
    "runs_without_loss": "runs, or single evaluations, were left out: their loss is not finite",
    "unfinished_runs": "runs are in the table whose state is failed, running or another than finished",
    "unit_not_read": "a column says that the losses are not in nats, and none were converted",
    "size_units_suspect": "sizes look like millions, billions or another unit of compute",
    "not_converged": "the sampler's result failed a convergence check",
    "escalated": "the sampler was re-run with more careful settings",
    "partial": "work was interrupted; what was finished is kept",
    "prior_dominated": "the answer moves much with its prior",
    "lack_of_fit": "the runs scatter about the law in a way that the model does not expect",
    "influential_runs": "a few runs decide the fit (high Pareto k-hat)",
    "below_the_floor": "the drift of the slope takes the forecast past the law's own irreducible loss",
    "below_the_runs": "the forecast lies more than a decade of compute below the smallest run",
    "far_extrapolation": "the forecast lies more than a decade of compute beyond the largest run",
    "outside_domain": "an input lies outside the range that the law is meant for",
    "new_family": "the forecast is for a family that has no runs",
    "law_cannot_bend": "a pure power law cannot flatten: the answer is no by construction",
    "by_construction": "part of the answer follows from the prior's symmetry, not from data",
    "loss_may_rise": "the model gives some probability to loss rising with scale",
    "bare_law": "the forecast trusts the law exactly, with no discrepancy",
    "default_model": "no model was named; the default for these columns was taken",
    "models_disagree": "the averaged models give answers further apart than their intervals",
    "checkpoints": "rows share the name of a run: checkpoints, which count for less than runs, or none at all",
    "running_minimum_table": "the table looks like running minima, not raw losses",
    "multimodal": "chains settled in different modes",
    "evidence_uncertain": "populations of sequential Monte Carlo disagree about the marginal likelihood",
    "unreachable_target": "some or all draws cannot reach the target",
    "bound_decides": "an allocation lies at a bound or at the end of the grid of sizes",
    "same_runs": "two fits that are compared were given some of the same runs",
    "not_worth_a_run": "seeing no run before the decision is worth its price",
    "no_run_tells": "the chosen runs leave the target as uncertain as it is",
    "refit_needed": "what the next runs would tell is more than the posterior draws can say; fit again between them",
}


@dataclass(frozen=True)
class Note:
    """One doubt.

    Parameters
    ----------
    code : str
        A key of :data:`CODES`.
    severity : {"info", "warning", "error"}
        ``error`` means that a decision should not rest on the number beside it.
    message : str
        What was found, with its numbers.
    advice : str
        What to do about it.

    Examples
    --------
    >>> Note("derived_flops", "info", "flops = 6 * params * tokens in 12 runs", "give a flops column")
    Note(code='derived_flops', severity='info', message='flops = 6 * params * tokens in 12 runs', \
advice='give a flops column')
    """

    code: str
    severity: Severity
    message: str
    advice: str = ""

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown note code {self.code!r}; the codes are {', '.join(CODES)}")
        if self.severity not in SEVERITIES:
            raise ValueError(f"unknown severity {self.severity!r}; expected one of {SEVERITIES}")


def get_notes(data: xr.Dataset | xr.DataArray | xr.DataTree) -> list[Note]:
    """Notes that a Dataset, DataArray or DataTree carries, most severe first.

    Each has a ``severity``, a stable ``code``, a ``message`` with the numbers, and an ``advice``: what to do.

    Examples
    --------
    >>> get_notes(xr.Dataset())
    []
    """
    notes = [Note(**entry) for entry in json.loads(data.attrs.get("notes", "[]"))]
    return sorted(notes, key=lambda note: -SEVERITIES.index(note.severity))


def dump_notes(notes: Iterable[Note]) -> str:
    """Notes as the JSON text that goes into ``attrs["notes"]``, without repeats.

    Examples
    --------
    >>> dump_notes([])
    '[]'
    """
    return json.dumps([asdict(note) for note in dict.fromkeys(notes)])
