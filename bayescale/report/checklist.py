"""The checklist of (Mis)Fitting, filled in from what a fit records (Li et al. 2025, arXiv 2502.18969)."""

import json
from collections.abc import Iterator

import numpy as np
import xarray as xr

from bayescale.forecast.curve import Saved

MISSING = "not recorded in the fit"


def checklist(fit: xr.DataTree, saved: Saved) -> Iterator[tuple[str, str]]:
    """Questions with their answers.

    Parameters
    ----------
    fit : xr.DataTree
    saved : Saved
        What was read of it.
    """
    model, law = saved.model, saved.law
    runs = fit["constant_data"].to_dataset()
    yield "Form of the law", f"{law.equation}; {law.source}"
    inputs = ", ".join(f"{slot} from column {column}" for slot, column in model.inputs.items())
    yield "Variables", f"{inputs}; the loss in {saved.units}"
    yield (
        "May the law be wrong away from the runs?",
        (
            "yes: its slope drifts, and how much is learned"
            if model.discrepancy
            else "no: it is trusted exactly"
        ),
    )
    yield "How many runs", str(runs.sizes["run"])
    for slot, column in model.inputs.items():
        values = runs[column].values.astype(float)
        decades = np.log10(values.max() / values.min())
        yield (
            f"Range of {slot}",
            f"{values.min():.3g} to {values.max():.3g} ({decades:.1f} decades)",
        )
    if {"params", "tokens"} <= set(runs):
        ratio = (runs["tokens"] / runs["params"]).values
        yield "Tokens per parameter", f"{ratio.min():.3g} to {ratio.max():.3g}"
    groups = [
        f"{column}: {', '.join(map(str, np.unique(runs[column].values)))}"
        for column in saved.pooled
    ]
    yield "Families", "; ".join(groups) or "one, or not told apart"
    averaged = float(fit.attrs.get("checkpoint_sd", 0.0)) > 0
    yield (
        "Intermediate checkpoints",
        "averaged in steps of log compute" if averaged else "none: a row is a run",
    )
    yield "Architecture, tokenizer, data, schedule", MISSING
    yield "Hyper-parameters tuned at every scale?", MISSING
    yield "Embedding parameters counted?", MISSING
    yield "Objective", _objective(saved)
    yield (
        "Weights, outliers",
        (
            "heavy tails count outliers less; none was dropped by the fit"
            if model.noise.nu
            else "all runs count alike"
        ),
    )
    tried = json.loads(fit.attrs.get("sampling", "[]"))
    how = ", ".join(f"{each['adaptation']} at {each['target_accept']:g}" for each in tried)
    yield "Optimiser or sampler", f"{fit.attrs.get('sampler', MISSING)} (NUTS); {how or MISSING}"
    chains = fit["posterior"].sizes["chain"]
    yield "Starting points", f"{chains} chains from scattered points"
    yield "Initial guesses, priors", "the priors of the model file above"
    yield "Uncertainty of parameters", "posterior draws; intervals are central 90 % unless said"
    yield "Checked on held-out larger runs?", "run `bayescale backtest` on the table; " + MISSING
    yield "Code and data", "the command and hashes below"


def _objective(saved: Saved) -> str:
    tails = "Normal" if saved.model.noise.nu is None else "Student's t"
    return f"likelihood of log loss, {tails}; priors as in the model file"
