"""Results of finished jobs in a folder, so that an interrupted experiment goes on where it ended.

One small file a job, written whole or not at all, beside a manifest that says which experiment the folder is of.
"""

import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayescale.laws import Law
from bayescale.model import Model

if TYPE_CHECKING:
    from bayescale.inference.many import Job

MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """A folder of results.

    Parameters
    ----------
    folder : Path
    names : tuple of str
        Of the experiment's jobs.
    places : mapping of int
        Number of each in the folder, by name: those that came later are behind the others.
    """

    folder: Path
    names: tuple[str, ...]
    places: Mapping[str, int]

    def path(self, index: int) -> Path:
        """File of a job's result."""
        name = self.names[index]
        plain = re.sub(r"[^\w.+-]+", "-", name).strip("-")[:60]
        return self.folder / f"{self.places[name]:04d}-{plain}.npz"


def open_kept(folder: str | Path, jobs: Sequence["Job"], then: Callable[..., Any]) -> Kept:
    """Open a folder for the results of an experiment, and make it if it is not there.

    Jobs that the folder lacks join those that it is of, as long as these are all there and the same.

    Parameters
    ----------
    folder : str or Path
    jobs : sequence of Job
    then : callable
        What is made of each fit.

    Raises
    ------
    ValueError
        If the folder is a file or holds something else: the results of other jobs, or of the same with other data,
        settings, laws or ``then``.
    """
    folder = Path(folder)
    named = {job.name: job for job in jobs}
    manifest = folder / MANIFEST
    if manifest.is_file():
        found = _manifest(manifest)
        _compare(folder, found, named, then)
        named = {name: named[name] for name in found["jobs"]} | named
        if len(named) > len(found["jobs"]):
            _write_manifest(manifest, named, then)
    # What a process that was killed was about to write begins with a dot.
    elif folder.is_dir() and any(not each.name.startswith(".") for each in folder.iterdir()):
        raise ValueError(
            f"{folder}: holds other files and no {MANIFEST}; give a new or an empty folder"
        )
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ValueError(
                f"{folder}: {error.filename} is a file, and results are kept in a folder; give a new or an empty one"
            ) from error
        _write_manifest(manifest, named, then)
    places = {name: place for place, name in enumerate(named)}
    return Kept(folder, tuple(job.name for job in jobs), places)


def read_kept(kept: Kept) -> dict[int, tuple[dict[str, np.ndarray], float]]:
    """Results that are there, by index of the job, each with the seconds that its fit took.

    Raises
    ------
    ValueError
        If a file cannot be read.
    """
    found = {}
    for index in range(len(kept.names)):
        path = kept.path(index)
        if path.is_file():
            try:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                    values = {name: file[name] for name in file.files}
                seconds = float(values.pop("seconds."))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"{path}: cannot be read ({error}); delete it, and its fit is done again"
                ) from error
            found[index] = values, seconds
    return found


def write_kept(kept: Kept, index: int, value: object, seconds: float) -> dict[str, np.ndarray]:
    """Write the result of one job; what will be read back is returned.

    Raises
    ------
    TypeError
        If the result is not a mapping of names to arrays of numbers or text.
    """
    name = kept.names[index]
    if not isinstance(value, Mapping):
        raise TypeError(
            f"job {name!r}: results keeps mappings of names to arrays; then returned {type(value).__name__}"
        )
    arrays = {str(key): np.asarray(each) for key, each in value.items()}
    wrong = [key for key, each in arrays.items() if each.dtype == object]
    if wrong:
        raise TypeError(f"job {name!r}: {wrong[0]!r} is neither numbers nor text")
    # No variable of a result ends in a dot.
    content = arrays | {"seconds.": np.asarray(seconds)}
    _write(kept.path(index), lambda file: np.savez_compressed(file, **content))
    return arrays


def experiment_hash(jobs: Iterable["Job"], then: Callable[..., Any]) -> str:
    """Hash of everything that the results of an experiment depend on, the same in every process.

    Where and by how many workers it is run is not among it.
    """
    digest = hashlib.sha256(f"{version('bayescale')} {_describe(then)}".encode())
    for job in jobs:
        # Titles and comments may change; the statistical choices may not.
        model = replace(Model.load(job.model), text="", title="", cite="")
        facts = job.name, repr(model), job.random_seed, job.draws, job.chains
        digest.update(f"{facts!r} {_describe_law(model.law_object)}".encode())
        for table in (job.runs, job.aside):
            _feed(digest, table if table is not None else xr.Dataset())
    return digest.hexdigest()


def _describe_law(law: Law) -> str:
    """What a law computes: one of the user's own may change under its name."""
    parts = [
        *(replace(each, meaning="") for each in law.inputs),
        *(replace(each, meaning="") for each in law.params),
    ]
    functions = law.loss, law.split, law.textbook, law.optimal_params
    claims = law.floor, law.can_bend, law.falls_in, law.has_limit
    return _describe((law.terms, law.trials_give, claims, parts, functions))


def _describe(value: object, seen: set[int] | None = None) -> str:
    """Value in words that are the same in every process: of a function its code, not where it lies in memory.

    With a function go the functions of its own module that it calls, and the plain values that it reads there; what
    it imports does not.
    """
    seen = set() if seen is None else seen
    if isinstance(value, partial):
        return f"partial {_describe((value.func, value.args, value.keywords), seen)}"
    if isinstance(value, CodeType):
        parts = value.co_code.hex(), value.co_names, value.co_varnames, value.co_consts
        return f"code {_describe(parts, seen)}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(_describe(each, seen) for each in value.items()))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_describe(each, seen) for each in value))}}}"
    if isinstance(value, tuple | list):
        return f"({', '.join(_describe(each, seen) for each in value)})"
    if isinstance(value, np.ndarray) and value.dtype != object:
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array {value.shape} {value.dtype} {content}"
    named = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
    if not callable(value) or isinstance(value, type):
        return named
    named = f"{getattr(value, '__module__', '')} {named}"
    if id(value) in seen:
        return named
    seen.add(id(value))
    return f"{named} {_describe(_code_of(value), seen)}"


def _code_of(function: Callable[..., Any]) -> list[object]:
    """Code of a function and what it reads beside its arguments; of an object that is called, of its ``__call__``."""
    state: dict[str, object] = dict(getattr(function, "__dict__", {}))
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        own = getattr(type(function).__call__, "__code__", None)
        return [own, _plain(state)]
    state |= getattr(getattr(function, "__self__", None), "__dict__", {})
    closed = zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=False)
    for name, cell in closed:
        with suppress(ValueError):  # Not filled yet.
            state[name] = cell.cell_contents
    module = getattr(function, "__globals__", {})
    called = {name: module[name] for name in sorted(_names_in(code)) if name in module}
    ours = {
        name: each
        for name, each in _plain(called).items()
        if not callable(each) or getattr(each, "__module__", None) == module.get("__name__")
    }
    defaults = [getattr(function, name, None) for name in ("__defaults__", "__kwdefaults__")]
    # Titles and comments may change, a docstring too.
    text = getattr(function, "__doc__", None)
    consts = tuple(each for each in code.co_consts if text is None or each is not text)
    return [code.replace(co_consts=consts), defaults, _plain(state), ours]


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Those that do not change while an experiment runs, as a list of what was seen does."""
    kinds = bool | int | float | complex | str | bytes | tuple | frozenset | np.ndarray | np.generic
    return {
        name: each for name, each in values.items() if isinstance(each, kinds) or callable(each)
    }


def _names_in(code: CodeType) -> set[str]:
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names_in, inner))


def _feed(digest: "hashlib._Hash", table: xr.Dataset) -> None:
    for name in sorted(map(str, table.variables)):
        values = table[name].values
        digest.update(f"{name} {table[name].dims} {values.shape} {values.dtype}".encode())
        plain = values if values.dtype.kind in "biufU" else values.astype(str)
        digest.update(np.ascontiguousarray(plain).tobytes())


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a manifest of bayescale; give another folder") from error
    if not isinstance(found, dict) or not {"format", "experiment", "jobs"} <= set(found):
        raise ValueError(f"{path}: not a manifest of bayescale; give another folder")
    return found


def _write_manifest(path: Path, jobs: Mapping[str, "Job"], then: Callable[..., Any]) -> None:
    digest = experiment_hash(jobs.values(), then)
    ours = {"format": _FORMAT, "experiment": digest, "jobs": list(jobs)}
    _write(path, lambda file: file.write(json.dumps(ours, indent=1).encode()))


def _compare(
    folder: Path, found: Mapping[str, Any], jobs: Mapping[str, "Job"], then: Callable[..., Any]
) -> None:
    """Raise unless all jobs of a folder are among these, and the same."""
    if found["format"] > _FORMAT:
        raise ValueError(f"{folder}: written by a newer bayescale; upgrade, or give another folder")
    missing = [name for name in found["jobs"] if name not in jobs]
    if not missing:
        if found["experiment"] == experiment_hash([jobs[name] for name in found["jobs"]], then):
            return
        differs = (
            "its jobs have the same names, but other runs, models, laws, seeds or settings, are of another version of "
            "bayescale, or something else was made of each fit"
        )
    else:
        added = [name for name in jobs if name not in found["jobs"]]
        only = [
            f"only {where} {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            for where, names in (("there", missing), ("here", added))
            if names
        ]
        differs = "; ".join([f"there {len(found['jobs'])} jobs, here {len(jobs)}", *only])
    raise ValueError(
        f"{folder}: holds the results of another experiment ({differs}); give another folder"
    )


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file that appears under its name when it is whole."""
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            fill(file)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
