"""Files to start from: a model file and a budget file that fit a table of runs, with comments on what to change."""

import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from bayescale.cost import training_flops
from bayescale.decide.hardware import ACCELERATORS
from bayescale.decide.scenario import EXAMPLE
from bayescale.model import Model, default_model
from bayescale.runs.cells import typed
from bayescale.saving import check_folder

#: Times the largest run, for the run that the budget file proposes.
_LARGER = 10

_MODEL = """\
# Model for {source}: {runs} runs with {columns}.
# Started from the shipped model {base!r}; with these comments alone it is still the same.
#
# A prior is what you believe before the runs; the fit says how far they moved it. What is often changed:
#   law            another equation (bayescale laws); another start is bayescale init --model NAME (bayescale models)
#   [priors.*]     beliefs about the law's parameters; median = "runs" is the typical loss of the runs
#   [pool.*]       what may differ between groups of runs
#   [noise]        how a run scatters about the law
#   [discrepancy]  how far the law may be wrong away from the runs; without it the law is trusted exactly
# Change the name below when you change the model: reports carry it.
#
# Then: bayescale fit {again} --model {file} -o fit.nc

"""

_BUDGET = """\
# Is a proposed run worth its price? The scales are those of {source}; all other numbers are examples: SET THEM.
#
#   [run]       flops: {times} times the largest run of the table, to begin with
#   [hardware]  accelerator: {accelerators}
#               utilisation: share of the dense peak that training reaches; price: of an accelerator-hour
#   [value]     per_nat: what a loss lower by one nat per token is worth to you; the answer hangs on it
#   [decision]  risk = "cvar" judges by the mean of the worst outcomes; confidence: asked for before money is spent
# Any number may be a distribution: {{ dist = "LogNormal", kwargs = {{ median = 2.5, sigma = 0.2 }} }}
#
# Then: bayescale budget fit.nc {file}     (exit code 0: go, 10: no-go, 20: undecided)

"""


@dataclass(frozen=True)
class Started:
    """What was written.

    Parameters
    ----------
    model : str
        Path of the model file.
    base : str
        Name of the model that it starts from.
    budget : str or None
        Path of the budget file.
    why : str or None
        Why there is none.
    """

    model: str
    base: str
    budget: str | None = None
    why: str | None = None


def write_files(
    runs: xr.Dataset,
    source: str,
    folder: Path,
    *,
    again: str = "",
    model: str | None = None,
    force: bool = False,
) -> Started:
    """Write a model file and a budget file for a table of runs: both or none.

    Parameters
    ----------
    runs : xr.Dataset
        From :func:`bayescale.read_runs`.
    source : str
        What the table is called.
    folder : Path
        Where to; made if its parent exists.
    again : str, optional
        The table with its options, as a shell reads them; by default ``source``.
    model : str, optional
        Model to start from; by default that which a fit of these columns would take.
    force : bool
        Replace files that are there.

    Returns
    -------
    Started

    Raises
    ------
    FileExistsError
        If a file is there and ``force`` is not given.
    ValueError
        If the model is not known, or the table lacks a column of it.
    """
    if model is None:
        base, _ = default_model(runs)
    else:
        base = Model.load(model)
    missing = [name for name in base.columns if name not in runs]
    if missing:
        raise ValueError(
            f"{source}: model {base.name!r} needs column {', '.join(map(repr, missing))}; add it, or name another "
            "with --model"
        )
    where, price = folder / "model.toml", folder / "budget.toml"
    texts = {where: _model_text(runs, base, source, again or shlex.quote(source), where)}
    why = _no_price(base)
    if why is None:
        texts[price] = _budget_text(runs, base, source, price)
    _write(folder, texts, force=force)
    return Started(str(where), base.name, None if why else str(price), why)


def _write(folder: Path, texts: Mapping[Path, str], *, force: bool) -> None:
    """Write all files or none."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: a file of this name exists; name a folder with -o")
    taken = [str(path) for path in texts if path.exists()]
    if taken and not force:
        raise FileExistsError(
            f"{' and '.join(taken)}: there already; --force replaces, -o names another folder"
        )
    if not folder.exists():
        check_folder(folder)
        folder.mkdir()
    for path in texts:
        check_folder(path)
    with tempfile.TemporaryDirectory(prefix=".init.", dir=folder) as scratch:
        for path, text in texts.items():
            (Path(scratch) / path.name).write_text(text, encoding="utf-8")
        for path in texts:
            os.replace(Path(scratch) / path.name, path)


def _model_text(runs: xr.Dataset, base: Model, source: str, again: str, file: Path) -> str:
    head = _MODEL.format(
        source=_plain(source),
        runs=runs.sizes["run"],
        columns=_plain(", ".join(("loss", *base.columns))),
        base=base.name,
        again=_plain(again),
        file=_plain(shlex.quote(str(file))),
    )
    meanings = {each.name: f"{each.meaning} [{each.unit}]" for each in base.law_object.params}

    def explain(found: re.Match[str]) -> str:
        name = found[1]
        return f"\n\n# {meanings[name]}\n[priors.{name}]" if name in meanings else found[0]

    # A prior that has a comment of its own keeps it.
    body = re.sub(r"\n\n\[priors\.(\w+)\](?=\n)", explain, base.text)
    return f"{head}{body.strip()}\n"


def _no_price(base: Model) -> str | None:
    """Why a run of a model's law has no price, if it has none."""
    columns = set(base.inputs.values())
    if {"params", "tokens"} <= set(base.inputs) or columns == {"flops"}:
        return None
    return (
        f"a price needs compute, and model {base.name!r} knows of {', '.join(sorted(columns))} alone; add params and "
        "tokens, or flops, to the table"
    )


def _budget_text(runs: xr.Dataset, base: Model, source: str, file: Path) -> str:
    inputs = base.inputs
    both = {"params", "tokens"} <= set(inputs)
    flops = (
        runs["flops"]
        if "flops" in runs
        else training_flops(runs[inputs["params"]], runs[inputs["tokens"]])
    )
    largest = float(flops.max())
    proposed = f'flops = "{typed(_LARGER * largest)}"'
    lines = [_line(proposed, "training compute of the proposed run")]
    if both:
        paths = "or fixed-ratio=20, fixed-params=7B, fixed-tokens=1T"
        lines.append(_line('path = "compute-optimal"', paths))
    held = [column for slot, column in inputs.items() if slot not in ("params", "tokens")]
    if both and held:
        means = (float(np.exp(np.log(runs[name]).mean())) for name in held)
        values = (f"{name} = {mean:.4g}" for name, mean in zip(held, means, strict=True))
        lines.append(_line(f"at = {{ {', '.join(values)} }}", "geometric means of the runs"))
    pooled = list(base.pooled)
    if len(pooled) == 1:
        names = ", ".join(dict.fromkeys(map(str, runs[pooled[0]].values)))
        lines.append(_line('# family = "..."', f"one of {_plain(names)}; without it a new one"))
    head = _BUDGET.format(
        source=_plain(source),
        times=_LARGER,
        accelerators=", ".join(ACCELERATORS),
        file=_plain(shlex.quote(str(file))),
    )
    run = "[run]\n" + "\n".join(lines) + "\n\n"
    body = re.sub(r"^\[run\]\n.*?(?=^\[)", lambda _: run, EXAMPLE, flags=re.M | re.S)
    baseline = f'baseline_flops = "{typed(largest)}"'
    meaning = "improvement is measured from the loss there; or baseline_loss"
    return head + re.sub(r"^baseline_flops = .*$", _line(baseline, meaning), body, flags=re.M)


def _line(code: str, comment: str) -> str:
    return f"{code:<29} # {comment}"


def _plain(text: str) -> str:
    """Text that a comment of one line can hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
