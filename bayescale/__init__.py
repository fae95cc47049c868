"""bayescale: Bayesian scaling-law inference, from a table of training runs to a decision under risk.

The straight way::

    runs = bs.read_runs("runs.csv")
    fit = bs.fit(runs, "chinchilla", random_seed=1)
    bs.check(fit)
    bs.predict(fit, at)
    bs.returns(fit, flops=[1e24, 1e25])
    bs.diminishing(fit, beyond=1e25, gain_below=0.01)
    bs.allocate(fit, flops=1e24)
    bs.compute_for(fit, loss=1.9, confidence=0.9)
    bs.budget(fit, "budget.toml")
    bs.next_runs(fit, budget=1e21, flops=1e24)
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bayescale.checks import check
    from bayescale.datasets import list_datasets, load_dataset
    from bayescale.decide import (  # type: ignore[no-redef]
        Scenario,
        allocate,
        budget,
        compare_recipes,
        compute_for,
        next_runs,
        smallest_model,
        stop,
        under_trained,
    )
    from bayescale.forecast import (  # type: ignore[no-redef]
        capability,
        data_value,
        diminishing,
        inputs_along,
        predict,
        predict_scores,
        returns,
        summarise,
    )
    from bayescale.inference import build, fit, sample_prior  # type: ignore[no-redef]
    from bayescale.inference.many import Job, Outcome, fit_many
    from bayescale.laws import Input, Law, Param
    from bayescale.model import Model
    from bayescale.notes import Note, get_notes
    from bayescale.report import write_report
    from bayescale.runs import read_runs, summarise_runs
    from bayescale.saving import load, save
    from bayescale.validate import backtest, verdict  # type: ignore[no-redef]
    from bayescale.validate.stack import stack

# Where each public name lives. Rooms are opened on first use, so that a verb pays only for what it needs: sampling
# imports seconds of compiler, a forecast on a saved fit none of it.
_HOMES = {
    "Input": "laws",
    "Job": "inference.many",
    "Law": "laws",
    "Model": "model",
    "Note": "notes",
    "Outcome": "inference.many",
    "Param": "laws",
    "Scenario": "decide",
    "allocate": "decide",
    "budget": "decide",
    "build": "inference",
    "capability": "forecast",
    "check": "checks",
    "compare_recipes": "decide",
    "compute_for": "decide",
    "data_value": "forecast",
    "diminishing": "forecast",
    "fit": "inference",
    "fit_many": "inference.many",
    "inputs_along": "forecast",
    "get_notes": "notes",
    "list_datasets": "datasets",
    "load": "saving",
    "load_dataset": "datasets",
    "next_runs": "decide",
    "predict": "forecast",
    "predict_scores": "forecast",
    "read_runs": "runs",
    "returns": "forecast",
    "sample_prior": "inference",
    "save": "saving",
    "smallest_model": "decide",
    "stack": "validate.stack",
    "backtest": "validate.backtest",
    "stop": "decide",
    "summarise": "forecast",
    "summarise_runs": "runs",
    "under_trained": "decide",
    "verdict": "validate",
    "write_report": "report",
}
_ROOMS = ("cost", "decide", "forecast", "inference", "laws", "plots", "report", "validate")

__all__ = [
    "Input",
    "Job",
    "Law",
    "Model",
    "Note",
    "Outcome",
    "Param",
    "Scenario",
    "__version__",
    "allocate",
    "backtest",
    "budget",
    "build",
    "capability",
    "check",
    "compare_recipes",
    "compute_for",
    "data_value",
    "diminishing",
    "fit",
    "fit_many",
    "get_notes",
    "inputs_along",
    "list_datasets",
    "load",
    "load_dataset",
    "next_runs",
    "predict",
    "predict_scores",
    "read_runs",
    "returns",
    "sample_prior",
    "save",
    "smallest_model",
    "stack",
    "stop",
    "summarise",
    "summarise_runs",
    "under_trained",
    "verdict",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
