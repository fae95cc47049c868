"""The sections by which a report can be made again: the model word for word, hashes, versions, seed and commands."""

import hashlib
import json
import shlex

from bayescale.report.content import Blocks, Code, Table
from bayescale.report.question import Case

_UNKNOWN = "not recorded in the fit"


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
            ("runs", str(attrs.get("source") or _UNKNOWN)),
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
    yield "To make it again: save the model file above as model.toml, take the same runs and versions, and say"
    yield Code(f"{_fit_command(case)}\n{case.asked.command or 'bayescale report fit.nc'}")


def _fit_command(case: Case) -> str:
    attrs, sizes = case.fit.attrs, case.fit["posterior"].sizes
    return shlex.join(
        [
            "bayescale",
            "fit",
            " ".join(str(attrs.get("source") or "RUNS.csv").split()),
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
            "fit.nc",
        ]
    )
