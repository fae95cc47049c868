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
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import xarray as xr

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
    """

    folder: Path
    names: tuple[str, ...]

    def path(self, index: int) -> Path:
        """File of a job's result."""
        plain = re.sub(r"[^\w.+-]+", "-", self.names[index]).strip("-")[:60]
        return self.folder / f"{index:04d}-{plain}.npz"


def open_kept(folder: str | Path, jobs: Sequence["Job"], then: Callable[..., Any]) -> Kept:
    """Open a folder for the results of an experiment, and make it if it is not there.

    Parameters
    ----------
    folder : str or Path
    jobs : sequence of Job
    then : callable
        What is made of each fit.

    Raises
    ------
    ValueError
        If the folder holds something else: the results of other jobs, or of the same with other data or settings.
    """
    folder = Path(folder)
    names = tuple(job.name for job in jobs)
    ours = {"format": _FORMAT, "experiment": experiment_hash(jobs, then), "jobs": list(names)}
    manifest = folder / MANIFEST
    if manifest.is_file():
        _compare(folder, _manifest(manifest), ours)
    elif folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"{folder}: holds other files and no {MANIFEST}; give a new or an empty folder"
        )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        _write(manifest, lambda file: file.write(json.dumps(ours, indent=1).encode()))
    return Kept(folder, names)


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
    """Hash of everything that the results of an experiment depend on.

    Where and by how many workers it is run is not among it.
    """
    digest = hashlib.sha256(f"{version('bayescale')} {_describe(then)}".encode())
    for job in jobs:
        # Titles and comments may change; the statistical choices may not.
        model = replace(Model.load(job.model), text="", title="", cite="")
        facts = job.name, repr(model), job.random_seed, job.draws, job.chains
        digest.update(repr(facts).encode())
        for table in (job.runs, job.aside):
            _feed(digest, table if table is not None else xr.Dataset())
    return digest.hexdigest()


def _describe(then: Callable[..., Any]) -> str:
    if isinstance(then, partial):
        keywords = sorted(then.keywords.items())
        return f"{_describe(then.func)} {then.args!r} {keywords!r}"
    return f"{then.__module__}.{getattr(then, '__qualname__', type(then).__qualname__)}"


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


def _compare(folder: Path, found: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    if found["format"] > _FORMAT:
        raise ValueError(f"{folder}: written by a newer bayescale; upgrade, or give another folder")
    if found["experiment"] == ours["experiment"]:
        return
    if found["jobs"] == ours["jobs"]:
        differs = "its jobs have the same names, but other runs, models, seeds or settings"
    else:
        missing = [name for name in found["jobs"] if name not in ours["jobs"]]
        added = [name for name in ours["jobs"] if name not in found["jobs"]]
        differs = f"it has {len(found['jobs'])} jobs, this one {len(ours['jobs'])}"
        differs += f"; {missing[0]!r} is not among these" if missing else ""
        differs += f"; {added[0]!r} is not among those" if added else ""
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
