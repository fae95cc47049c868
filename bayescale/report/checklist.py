"""The checklist of (Mis)Fitting, filled in from what a fit records (Li et al. 2025, arXiv 2502.18969).

Its questions are put here in our own words, under its headings: the form of the law, the training runs, the data
points, the fit, and how far it was checked. What no fit can know says so.
"""

import json
from collections.abc import Iterator

import numpy as np
import xarray as xr

from bayescale.model import Prior
from bayescale.report.content import Blocks, Table
from bayescale.report.question import Case
from bayescale.report.words import listed, number, size

MISSING = "not recorded in the fit"
#: Columns of a run table that say how a run was trained.
_TRAINING = (
    "architecture",
    "tokenizer",
    "dataset",
    "schedule",
    "optimizer",
    "batch_size",
    "learning_rate",
    "lr",
)

type Answers = Iterator[tuple[str, str]]


def checklist(case: Case) -> Blocks:
    """The questions with their answers, a table for each heading."""
    yield (
        "The questions of (Mis)Fitting (Li et al. 2025, arXiv 2502.18969) in our words, answered from what the fit "
        f"records. Where it says {MISSING!r}, whoever passes this report on should say it."
    )
    for title, answers in (
        ("Checklist: the form of the law", _form(case)),
        ("Checklist: the training runs", _training(case)),
        ("Checklist: the data points", _points(case)),
        ("Checklist: the fit", _fitting(case)),
        ("Checklist: how far it was checked", _checked(case)),
    ):
        yield Table(title, ("question", "answer"), tuple(answers))


def _form(case: Case) -> Answers:
    model, law = case.saved.model, case.saved.law
    yield "What is the form?", law.equation
    yield "Where does it come from?", law.source
    read = (f"{slot} (column {column})" for slot, column in model.inputs.items())
    yield "What does it relate?", f"{', '.join(read)} to the loss [{case.saved.units}]"
    yield "What is estimated?", ", ".join(each.name for each in law.params)
    yield (
        "What does it assume about how they act together?",
        "the slope may drift away from the form, along compute and along each input"
        if model.discrepancy is not None
        else "exactly what the form says, at every scale",
    )


def _training(case: Case) -> Answers:
    runs, inputs = case.runs, case.saved.model.inputs
    yield "How many runs?", _count(case)
    for slot, column in inputs.items():
        yield f"What range of {slot}?", _range(runs[column])
    if case.column == "flops" and "flops" in runs and "flops" not in inputs.values():
        yield "What range of compute?", f"{_range(runs['flops'])} FLOP"
    if {"params", "tokens"} <= set(runs):
        ratio = (runs["tokens"] / runs["params"]).values.astype(float)
        span = f"{number(np.nanmin(ratio))} to {number(np.nanmax(ratio))}"
        yield "How many tokens per parameter?", span
    groups = (
        f"{column}: {', '.join(dict.fromkeys(map(str, runs[column].values)))}"
        for column in dict.fromkeys(("family", *case.saved.pooled))
        if column in runs
    )
    yield "Which families?", "; ".join(groups) or "one, or not told apart"
    yield "Is data repeated?", _repeated(case)
    yield "How are parameters counted (embeddings)?", MISSING
    yield "How is compute counted?", _counted(runs)
    told = [
        f"{name}: {', '.join(sorted(set(map(str, runs[name].values))))}"
        for name in _TRAINING
        if name in runs
    ]
    yield (
        "Which architecture, tokenizer, data, optimiser, schedule, batch?",
        "; ".join(told) or MISSING,
    )
    yield "Were hyper-parameters tuned at each scale?", MISSING


def _points(case: Case) -> Answers:
    averaged = float(case.fit.attrs.get("checkpoint_sd", 0.0)) > 0
    yield "How many data points?", str(case.runs.sizes["run"])
    yield (
        "Ends of training, or checkpoints on the way?",
        "checkpoints, averaged over equal steps of log compute, with an effect of their run"
        if averaged
        else "each row is taken as a run of its own",
    )
    loss = case.runs["loss"].values.astype(float)
    yield (
        "What is measured?",
        f"loss in {case.saved.units}, {number(loss.min(), 4)} to {number(loss.max(), 4)}",
    )
    yield "On which data is it measured?", MISSING
    known = case.saved.model.noise.known
    yield (
        "Is the error of each measurement known?",
        f"yes: column {known}" if known else "no: it is part of the scatter",
    )
    yield "Were runs left out?", "none by the fit; before it: " + MISSING


def _fitting(case: Case) -> Answers:
    fit, noise = case.fit, case.saved.model.noise
    tails, of = str(noise.dist), "rates" if noise.of_rate else "log loss"
    if noise.nu is not None:
        freedom = (
            "estimated degrees of freedom"
            if isinstance(noise.nu, Prior)
            else f"{noise.nu:g} degrees of freedom"
        )
        tails = f"Student's t, {freedom}"
    yield (
        "Which objective?",
        f"the posterior: likelihood of {of} ({tails}) times the priors of the model file",
    )
    less = [
        *(["points far off"] if noise.nu is not None else []),
        *(["runs far above the law"] if noise.excess is not None else []),
        *(["scales at which runs scatter more"] if noise.slope is not None else []),
        *(["losses of larger known error"] if noise.known is not None else []),
        *(["rates of fewer trials"] if isinstance(noise.trials, str) else []),
    ]
    yield "Do all points weigh alike?", f"no: {listed(less)} weigh less" if less else "yes"
    tried = json.loads(fit.attrs.get("sampling", "[]"))
    settings = (
        f"{each['adaptation']} mass matrix, target acceptance {each['target_accept']:g}"
        if "adaptation" in each
        else f"{each['thin']} particles for each draw kept"
        for each in tried
    )
    sampler = fit.attrs.get("sampler", MISSING)
    yield (
        "Which algorithm?",
        "sequential Monte Carlo" if sampler == "smc" else f"No-U-Turn sampler of {sampler}",
    )
    yield "With which settings?", ", then ".join(settings) or MISSING
    for name, groups in json.loads(fit.attrs.get("centered", "{}")).items():
        yield _sampled(name, case), ", ".join(groups) or "none: all are offsets"
    sizes = fit["posterior"].sizes
    yield (
        "How was it started?",
        f"{sizes['chain']} chains, {sizes['draw']} draws kept of each, seed {fit.attrs['seed']}",
    )
    yield "Did it converge?", "yes" if fit.attrs["converged"] else "NO"


def _sampled(name: str, case: Case) -> str:
    over = next((each for each in case.saved.pooled if name.endswith(f"_{each}")), "")
    what, groups = (name.removesuffix(f"_{over}"), over) if over else (name, "its groups")
    return (
        f"Which values of {groups} have their own {what} sampled itself (centred), not as an offset from the common "
        "one?"
    )


def _checked(case: Case) -> Answers:
    yield (
        "How uncertain are parameters and forecasts?",
        "posterior draws; intervals are central 90 % unless said",
    )
    try:
        table = case.checks
    except ValueError:
        yield "How well does it fit?", MISSING
    else:
        row = table.loc["coverage of the runs"]
        inside = f"{row['value']:.0%}".replace("%", " %")
        yield "How well does it fit?", f"{inside} of the runs lie in their own 90 % interval"
    yield "How far does it extrapolate?", _reach(case)
    yield "Was it held against larger runs, left out?", f"{MISSING}; bayescale backtest does it"
    yield "Can it be done again?", "command, seed, versions and hashes stand below"
    yield "Are code and data open?", "bayescale is; the runs: " + MISSING


def _count(case: Case) -> str:
    rows = case.runs.sizes["run"]
    if "run_id" not in case.runs:
        return str(rows)
    distinct = len(set(map(str, case.runs["run_id"].values)))
    return str(rows) if distinct == rows else f"{distinct}, in {rows} rows"


def _range(values: xr.DataArray) -> str:
    found = values.values.astype(float)
    low, high = np.nanmin(found), np.nanmax(found)
    levels = np.unique(found.round(-int(np.floor(np.log10(low))) + 2)).size
    told = f"{size(low)} to {size(high)}"
    return f"{told} ({np.log10(high / low):.1f} decades, {levels} values)"


def _repeated(case: Case) -> str:
    runs = case.runs
    if not {"unique_tokens", "tokens"} <= set(runs):
        return MISSING
    epochs = (runs["tokens"] / runs["unique_tokens"]).values.astype(float)
    return f"{number(np.nanmin(epochs))} to {number(np.nanmax(epochs))} epochs"


def _counted(runs: xr.Dataset) -> str:
    if "flops" not in runs:
        return MISSING
    return {
        "all": "6 x parameters x tokens",
        "some": "as the table gives it, else 6 x parameters x tokens",
        "none": "as the table gives it; how: " + MISSING,
    }.get(str(runs["flops"].attrs.get("derived", "none")), MISSING)


def _reach(case: Case) -> str:
    if not case.grows:
        return "nothing beyond the runs is forecast here"
    beyond = np.log10(case.beyond / case.saved.largest)
    return f"{max(beyond, 0.0):.1f} decades beyond the largest run"
