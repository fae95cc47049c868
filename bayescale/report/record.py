"""The sections by which a report can be made again: the model word for word, hashes, versions, seed and commands."""

import hashlib
import json
import re
import shlex
from contextlib import suppress

from bayescale.datasets.load import dataset_of
from bayescale.datasets.published import DATASETS
from bayescale.report.content import Blocks, Code, Table
from bayescale.report.question import Case

_UNKNOWN = "not recorded in the fit"
#: What stands for the table of runs that were no file.
_TABLE = "RUNS.csv"
#: Two files that were joined, as the runs name their source.
_JOINED = re.compile(r"(.+\.\w+) with (.+\.\w+)")


def model_file(case: Case) -> Blocks:
    """The model file as it was fitted."""
    yield Code(str(case.fit.attrs["model"]).strip())


def reproduce(case: Case) -> Blocks:
    """Where the numbers come from, and the commands that give them again."""
    attrs = case.fit.attrs
    versions = json.loads(attrs.get("versions", "{}"))
    model = str(attrs["model"])
    yield Table(
        "Where the numbers come from",
        ("what", "value"),
        (
            ("runs", _source(case) or _UNKNOWN),
            ("SHA-256 of the runs", str(attrs.get("sha256") or _UNKNOWN)),
            ("model", case.saved.model.name),
            ("SHA-256 of the model file", hashlib.sha256(model.encode()).hexdigest()),
            ("seed", str(attrs["seed"])),
            ("sampler", str(attrs.get("sampler", _UNKNOWN))),
            ("fitted", str(attrs.get("created", _UNKNOWN))),
            (
                "versions",
                ", ".join(f"{name} {each}" for name, each in versions.items()) or _UNKNOWN,
            ),
        ),
    )
    yield from _runs_left_out(case)
    yield "To make it again: save the model file above as model.toml, take the same runs and versions, and say"
    yield Code(f"{_fit_command(case)}\n{case.asked.command or 'bayescale report fit.nc'}")


def _source(case: Case) -> str:
    """What the runs were read from: a data set by its name."""
    source = str(case.fit.attrs.get("source") or "")
    known = _dataset(case)
    return source if known is None else f"data set {known} ({source})"


def _dataset(case: Case) -> str | None:
    attrs = case.fit.attrs
    return dataset_of(str(attrs.get("source", "")), str(attrs.get("sha256", "")))


def _runs_left_out(case: Case) -> Blocks:
    """What the command alone would not give again."""
    known, rows = _dataset(case), case.runs.sizes["run"]
    if known is not None and rows != DATASETS[known].runs:
        yield f"The data set {known} has {DATASETS[known].runs} runs, the fit {rows}: give it the same ones."
    elif _table(case) == [_TABLE]:
        yield f"The runs were no file that is known: save them as {_TABLE}."


def _table(case: Case) -> list[str]:
    """The runs as `bayescale fit` takes them."""
    known = _dataset(case)
    if known is not None:
        return [known]
    source = " ".join(str(case.fit.attrs.get("source") or "").split())
    if not source or source in ("pandas DataFrame", "polars DataFrame", "xarray Dataset"):
        return [_TABLE]
    joined = _JOINED.fullmatch(source)
    table, *other = joined.groups() if joined else (source,)
    # A name may begin with a dash.
    table = f"./{table}" if table.startswith("-") else table
    return [table, *(["--join", *other] if other else [])]


def fit_file(case: Case) -> str:
    """Where the command of the report reads the fit."""
    with suppress(ValueError):
        for word in shlex.split(case.asked.command)[2:]:
            if word.endswith((".nc", ".zarr")):
                return word
    return "fit.nc"


def _fit_command(case: Case) -> str:
    attrs, sizes = case.fit.attrs, case.fit["posterior"].sizes
    return shlex.join(
        [
            "bayescale",
            "fit",
            *_table(case),
            "--model",
            "model.toml",
            "--seed",
            str(attrs["seed"]),
            "--draws",
            str(sizes["draw"]),
            "--chains",
            str(sizes["chain"]),
            *(["--sampler", str(attrs["sampler"])] if "sampler" in attrs else []),
            "-o",
            fit_file(case),
        ]
    )
