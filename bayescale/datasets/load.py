"""Published training runs by name: one table inside the package, others from their authors.

A set other than ``pile`` is looked for in the folder that the environment variable
``BAYESCALE_DATA`` names, either as a table already in bayescale's columns, whose SHA-256 is
checked, or as the authors' own file. Downloads come from the authors at a fixed commit and need a
checksum: where none is recorded, the caller gives it. The sets are listed in
:mod:`bayescale.datasets.published`.
"""

import hashlib
import os
from importlib import resources
from pathlib import Path

import pandas as pd
import xarray as xr

from bayescale.datasets.published import DATASETS, DatasetEntry
from bayescale.runs.columns import hint
from bayescale.runs.read import read_runs
from bayescale.runs.tables import parse_table, read_bytes

ENVIRONMENT = "BAYESCALE_DATA"


def load_dataset(
    name: str, *, path: str | Path | None = None, sha256: str | None = None
) -> xr.Dataset:
    """Load a published set of training runs.

    Parameters
    ----------
    name : str
        One of :func:`list_datasets`.
    path : str or Path, optional
        File to read instead of looking for one: the prepared table or the authors' file.
    sha256 : str, optional
        Checksum of the authors' file that you trust, where none is recorded. It allows a download.

    Returns
    -------
    Dataset
        As from :func:`bayescale.runs.read_runs`, with ``dataset``, ``title``, ``citation``,
        ``licence``, ``url`` and ``remark`` in attrs. Read the remark before fitting.

    Raises
    ------
    ValueError
        If there is no such set, or a file is not what its checksum or columns promise.
    FileNotFoundError
        If the table is not at hand and may not be downloaded; the message says how to get it.
    ConnectionError
        If the download fails.

    Examples
    --------
    >>> runs = load_dataset("pile")
    >>> runs.sizes["run"], runs["loss"].attrs["units"]
    (30, 'nat/token')
    """
    if name not in DATASETS:
        raise ValueError(
            f"there is no dataset {name!r}{hint(name, DATASETS)}; expected one of "
            f"{', '.join(DATASETS)}"
        )
    entry = DATASETS[name]
    file, content = _content(name, entry, path, sha256)
    digest = hashlib.sha256(content).hexdigest()
    frame = parse_table(content, file)
    if digest != entry.sha256:
        frame = _prepared(entry, frame, file, digest, sha256)
    runs = read_runs(frame, need=entry.need, allow_missing=entry.allow_missing)
    if "loss" in runs:
        runs["loss"].attrs["units"] = entry.loss_unit
    return runs.assign_attrs(
        source=Path(file).name,
        sha256=digest,
        dataset=name,
        title=entry.title,
        citation=entry.citation,
        licence=entry.licence,
        url=entry.url,
        remark=entry.remark,
    )


def list_datasets() -> pd.DataFrame:
    """Published sets that :func:`load_dataset` knows.

    Returns
    -------
    DataFrame
        One row a set: ``name``, ``runs``, ``title``, ``citation``, ``licence``, and ``offline``,
        whether it can be loaded now without a network.

    Examples
    --------
    >>> list_datasets().query("name == 'pile'")[["runs", "offline"]].values.tolist()
    [[30, True]]
    """
    return pd.DataFrame(
        {
            "name": name,
            "runs": entry.runs,
            "title": entry.title,
            "citation": entry.citation,
            "licence": entry.licence,
            "offline": not entry.url or _at_hand(entry) is not None,
        }
        for name, entry in DATASETS.items()
    )


def dataset_of(source: str, sha256: str) -> str | None:
    """Name of the set that runs were loaded from, by what they carry of it; None if they are of no set.

    Parameters
    ----------
    source, sha256 : str
        As in the attrs of the runs.

    Examples
    --------
    >>> runs = load_dataset("pile")
    >>> dataset_of(runs.attrs["source"], runs.attrs["sha256"])
    'pile'
    """
    for name, entry in DATASETS.items():
        # Of the authors' files no checksum is established.
        if (source, sha256) == (entry.file, entry.sha256) or (
            entry.prepare is not None and source == _authors_file(entry)
        ):
            return name
    return None


def data_folder() -> Path | None:
    """Folder with tables at hand, which ``BAYESCALE_DATA`` names; None where it is not set.

    Raises
    ------
    FileNotFoundError
        If the variable names no folder.
    """
    given = os.environ.get(ENVIRONMENT)
    if not given:
        return None
    folder = Path(given)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{ENVIRONMENT}={given}: there is no such folder; expected one with tables such as "
            "epoch_chinchilla.csv: correct the variable or unset it"
        )
    return folder


def _at_hand(entry: DatasetEntry) -> Path | None:
    folder = data_folder()
    if folder is None:
        return None
    names = [entry.file, *([_authors_file(entry)] if entry.prepare else [])]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _authors_file(entry: DatasetEntry) -> str:
    return entry.url.rpartition("/")[2]


def _content(
    name: str, entry: DatasetEntry, path: str | Path | None, sha256: str | None
) -> tuple[str, bytes]:
    """Name and bytes of the file that holds the set."""
    if path is not None:
        return str(path), read_bytes(path)
    if not entry.url:
        packaged = resources.files("bayescale.datasets").joinpath(entry.file)
        return entry.file, packaged.read_bytes()
    found = _at_hand(entry)
    if found is not None:
        return str(found), found.read_bytes()
    if entry.prepare is None:
        raise FileNotFoundError(
            f"dataset {name!r}: the authors do not publish these runs as one table ({entry.url}); "
            f"bayescale reads {entry.file} (SHA-256 {entry.sha256}), prepared from it: put it into "
            f"a folder and set {ENVIRONMENT} to that folder, or pass path="
        )
    if sha256 is None:
        raise FileNotFoundError(
            f"dataset {name!r} is not at hand, and no checksum of the authors' file is recorded, "
            f"so it is not downloaded unasked. Get {entry.url} by hand, put it into a folder as "
            f"{_authors_file(entry)} and set {ENVIRONMENT} to that folder, or pass path=; or pass "
            "sha256= with the checksum you trust, and it is downloaded"
        )
    return _authors_file(entry), _download(name, entry.url, sha256)


def _download(name: str, url: str, sha256: str) -> bytes:
    import pooch

    try:
        file = pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=f"{sha256[:12]}-{url.rpartition('/')[2]}",
            path=pooch.os_cache("bayescale"),
        )
    except OSError as error:
        raise ConnectionError(
            f"dataset {name!r}: download from {url} failed ({error}); get the file by hand, put it "
            f"into a folder and set {ENVIRONMENT} to that folder, or pass path="
        ) from error
    return Path(file).read_bytes()


def _prepared(
    entry: DatasetEntry, frame: pd.DataFrame, file: str, digest: str, trusted: str | None
) -> pd.DataFrame:
    """Authors' file in bayescale's columns, after a check that it is that file."""
    if trusted is not None and digest != trusted:
        raise ValueError(
            f"{file}: SHA-256 {digest}, expected {trusted} (authors' file) or {entry.sha256} "
            f"(prepared table): get it again from {entry.url}"
        )
    if entry.prepare is None or Path(file).name == entry.file:
        raise ValueError(
            f"{file}: SHA-256 {digest}, expected {entry.sha256}: this is another version of the "
            "table; use read_runs to read it as your own"
        )
    try:
        prepared = entry.prepare(frame)
    except KeyError as error:
        raise ValueError(
            f"{file}: no column {error}; expected the authors' file {entry.url} or {entry.file} "
            f"with SHA-256 {entry.sha256}; this file has SHA-256 {digest}"
        ) from error
    if len(prepared) != entry.runs:
        raise ValueError(
            f"{file}: {len(prepared)} runs, expected {entry.runs}: this is another version of "
            f"{entry.url}; use read_runs to read it as your own"
        )
    return prepared
