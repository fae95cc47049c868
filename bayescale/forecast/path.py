"""Paths: along what a law's inputs grow when compute does.

``C = 6 * N * D`` on every path of parameters and tokens but a plan that states its own FLOP.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.cost import training_flops
from bayescale.forecast.curve import Saved
from bayescale.forecast.scales import as_dataset, positive
from bayescale.runs import parse_size

#: Every path by name, with its meaning; those that end in "=" take a value.
PATHS: dict[str, str] = {
    "compute-optimal": "the allocation of least loss, for each draw its own",
    "compute-optimal-expected": "the one allocation of least expected loss",
    "fixed-ratio=": "so many training tokens for each parameter",
    "fixed-params=": "one model size, ever more tokens",
    "fixed-tokens=": "one number of tokens, ever larger models",
    "table": "a plan of one's own: a table with params, tokens and, if known, flops",
    "input": "the one input of a law of one input",
}

#: What can be asked of a law that grows along no path.
PLANNED = "forecast planned rows of them: bs.predict, or `bayescale forecast FIT --planned TABLE`"


@dataclass(frozen=True)
class Path:
    """A way to grow.

    Parameters
    ----------
    kind : str
        A key of :data:`PATHS`, without "=".
    value : float, optional
        Tokens for each parameter, parameters or tokens.
    table : xr.Dataset, optional
        The plan: ``flops``, ``params``, ``tokens`` along ``run``, by increasing compute.

    Examples
    --------
    >>> str(Path("fixed-ratio", 20.0))
    'fixed-ratio=20'
    """

    kind: str
    value: float | None = None
    table: xr.Dataset | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.kind if self.value is None else f"{self.kind}={self.value:.12g}"


type PathLike = str | Path | pd.DataFrame | xr.Dataset | Mapping[str, ArrayLike]


def parse_path(spec: PathLike) -> Path:
    """Read a path as people write it.

    Parameters
    ----------
    spec : str, Path, DataFrame, Dataset or mapping
        A name such as ``compute-optimal``, a name with a value such as ``fixed-ratio=20`` or ``fixed-params=7B``, or
        a plan: a table with columns ``params`` and ``tokens`` and, if known, ``flops``.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the name is not known, the value is missing or makes no sense, or the plan is not one.

    Examples
    --------
    >>> parse_path("fixed-params=7B")
    Path(kind='fixed-params', value=7000000000.0)
    >>> parse_path({"params": [1e9, 1e10], "tokens": [2e10, 2e11]}).kind
    'table'
    """
    if isinstance(spec, Path):
        return spec
    if not isinstance(spec, str):
        return Path("table", table=_plan(as_dataset(spec, "path")))
    name, equals, value = (part.strip() for part in spec.partition("="))
    known = {key.rstrip("="): key.endswith("=") for key in PATHS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? The" if near else "the"
        listed = ", ".join(f"{key}VALUE" if key.endswith("=") else key for key in PATHS)
        raise ValueError(f"unknown path {spec!r}: {hint} paths are {listed}")
    if name == "table":
        raise ValueError(
            "path 'table' is a plan of your own: pass the table itself, with columns params and tokens"
        )
    if known[name] != bool(equals):
        example = {"fixed-ratio": "20", "fixed-params": "7B", "fixed-tokens": "300B"}.get(name)
        wanted = f"takes a value, such as {name}={example}" if example else "takes no value"
        raise ValueError(f"path {spec!r}: {name} {wanted}")
    if not equals:
        return Path(name)
    try:
        return Path(name, parse_size(value))
    except ValueError as error:
        raise ValueError(f"path {spec!r}: {error}") from error


def _plan(table: xr.Dataset) -> xr.Dataset:
    for name in ("params", "tokens"):
        if name not in table:
            raise ValueError(
                f"path: a plan has columns params and tokens and, if known, flops; got {', '.join(map(str, table))}"
            )
    columns = {
        name: positive(table[name], f"path: column {name!r}").values
        for name in ("params", "tokens")
    }
    if "flops" in table:
        columns["flops"] = positive(table["flops"], "path: column 'flops'").values
    else:
        columns["flops"] = training_flops(columns["params"], columns["tokens"])
    if any(values.ndim != 1 for values in columns.values()) or columns["flops"].size < 2:
        raise ValueError("path: a plan needs at least two rows")
    order = np.argsort(columns["flops"])
    if not (np.diff(columns["flops"][order]) > 0).all():
        raise ValueError("path: a plan may not have two rows of the same compute; drop one")
    return xr.Dataset({name: ("run", values[order]) for name, values in columns.items()})


def resolve_path(saved: Saved, path: PathLike | None) -> Path:
    """The path as given, or the law's own; checked against the law.

    Raises
    ------
    ValueError
        If the law cannot grow along it.
    """
    law, columns = saved.law, ", ".join(saved.model.inputs.values())
    found = None if path is None else parse_path(path)
    if len(law.inputs) == 1:
        if found is not None and found.kind != "input":
            raise ValueError(
                f"path {str(found)!r}: law {law.name!r} has one input ({columns}) and grows along it; leave path out "
                "or give 'input'. To divide compute between params and tokens fit a law of both"
            )
        return Path("input")
    if set(law.input_names) != {"params", "tokens"}:
        advice = (
            "hold the others with at= or --at, or use predict" if saved.has_compute else PLANNED
        )
        raise ValueError(
            f"no path is known for law {law.name!r}, whose inputs are {columns}; {advice}"
        )
    if found is not None and found.kind == "input":
        raise ValueError(
            f"path 'input' is for a law of one input; law {law.name!r} has {columns}: say how they grow, such as "
            "compute-optimal or fixed-ratio=20"
        )
    return found or Path("compute-optimal")
