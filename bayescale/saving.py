"""A fit in one file: written whole or not at all, refused if it is not ours, and never unpickled."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

FORMAT = 1
#: Groups without which nothing can be forecast.
REQUIRED = ("posterior", "constant_data", "observed_data")
#: All that a forecast reads: the log densities tell how much of it is prior.
FORECAST = (*REQUIRED, "log_prior", "log_likelihood")


def save(fit: xr.DataTree, path: str | Path) -> Path:
    """Write a fit to one file.

    The file appears under its name only when it is whole: an interrupted or failed save leaves what was there.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`.
    path : str or Path
        NetCDF, or a Zarr folder if the name ends in ``.zarr``.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    OSError
        If the disk is full or writing is not allowed; the old file stays.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"E": ("draw", [1.8])})})
    >>> save(tree, Path(folder) / "fit.nc").name
    'fit.nc'
    """
    path = Path(path)
    check_folder(path)
    old_umask = os.umask(0)
    os.umask(old_umask)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        written = scratch / path.name
        if path.suffix == ".zarr":
            with warnings.catch_warnings():
                # Zarr 3 has no specification of string dtypes and consolidated metadata yet; xarray reads both back.
                warnings.simplefilter("ignore")
                fit.to_zarr(written, consolidated=False)
            if path.exists():
                path.rename(scratch / "old")
        else:
            fit.to_netcdf(written, engine="h5netcdf")
            written.chmod(0o666 & ~old_umask)
        os.replace(written, path)
    except OSError as error:
        raise type(error)(
            error.errno, f"{path}: could not be saved ({error.strerror}); what was there stays"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return path


def check_folder(path: str | Path) -> None:
    """Raise FileNotFoundError or PermissionError if nothing can be written at ``path``."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: folder {str(folder)!r} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f"{path}: folder {str(folder)!r} does not allow writing; choose another"
        )


def load(path: str | Path, *, groups: Sequence[str] | None = None) -> xr.DataTree:
    """Read a fit that :func:`save` wrote.

    Parameters
    ----------
    path : str or Path
        NetCDF file or Zarr folder.
    groups : sequence of str, optional
        Groups to read, those of them that are there; all, if left out. A file opens variable by variable, so that
        the few groups that a forecast needs (:data:`FORECAST`) take half the time.

    Returns
    -------
    xr.DataTree
        In memory; the file is closed.

    Raises
    ------
    FileNotFoundError
        If there is nothing at ``path``.
    ValueError
        If it is not a fit of bayescale, is truncated, or is of a newer format.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; `bayescale fit RUNS -o {path}` makes one")
    engine = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    try:
        if groups is None:
            with xr.open_datatree(path, engine=engine, **options) as opened:
                _check(path, opened.attrs, opened.children)
                return opened.load().copy()
        found = {}
        for name in ("/", *groups):
            try:
                with xr.open_dataset(path, engine=engine, group=name, **options) as group:
                    found[name] = group.load()
            except OSError:
                if name == "/":
                    raise
        unasked = set(REQUIRED).difference(groups)
        _check(path, found["/"].attrs, {*found, *unasked})
        return xr.DataTree.from_dict(found)
    except (OSError, KeyError, FileNotFoundError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a whole NetCDF or Zarr file ({str(error).splitlines()[0]}); it may be truncated. "
            "Fit again, or take a copy that is whole"
        ) from error


def _check(path: Path, attrs: Mapping[Any, Any], groups: Iterable[str]) -> None:
    version = attrs.get("bayescale_format")
    if version is None:
        raise ValueError(
            f"{path}: a data file, but not a fit of bayescale; `bayescale fit` makes one"
        )
    if int(version) > FORMAT:
        raise ValueError(
            f"{path}: of format {version}, newer than this bayescale reads ({FORMAT}); upgrade bayescale"
        )
    missing = [name for name in REQUIRED if name not in groups]
    if missing:
        raise ValueError(
            f"{path}: a fit without its groups {', '.join(missing)}; it was cut or changed. Fit again"
        )
