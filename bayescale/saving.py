"""A fit in one file: written whole or not at all, refused if it is not ours, and never unpickled."""

import io
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

FORMAT = 1
#: Groups without which nothing can be forecast.
REQUIRED = ("posterior", "constant_data", "observed_data")
#: Attributes without which draws have no meaning; a stack has them in its parts.
TOLD = ("model", "reference", "seed")
#: All that a forecast reads: the log densities tell how much of it is prior.
FORECAST = (*REQUIRED, "log_prior", "log_likelihood")
#: What names of fits end in.
FITS = (".nc", ".zarr")
#: What tables of runs end in, which are taken for fits at times.
TABLES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".xlsx")


def save(fit: xr.DataTree, path: str | Path) -> Path:
    """Write a fit to one file.

    The file appears under its name only when it is whole: an interrupted or failed save leaves what was there.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`.
    path : str or Path
        NetCDF, ending in ``.nc``, or a Zarr folder, ending in ``.zarr``.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    ValueError
        If the name ends otherwise: it may be that of the table.
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If there is a folder at ``path``, and the name is not that of a Zarr one.
    FileExistsError
        If there is something under the name of a Zarr folder that is none.
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
    check_output(path)
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", dir=path.parent, ignore_cleanup_errors=True
        ) as scratch:
            written, old = Path(scratch) / path.name, Path(scratch) / "old"
            if path.suffix == ".zarr":
                with warnings.catch_warnings():
                    # Zarr 3 has no specification of string dtypes yet; xarray reads them back.
                    warnings.simplefilter("ignore")
                    fit.to_zarr(written, consolidated=False)
            else:
                # Made in memory: HDF5 takes the process down with it when a disk runs full.
                fit.to_netcdf(content := io.BytesIO(), engine="h5netcdf")
                written.write_bytes(content.getvalue())
            if path.is_dir():
                path.rename(old)
            try:
                os.replace(written, path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            error.errno, f"{path}: could not be saved ({reason}); what was there stays"
        ) from error
    return path


def check_output(path: str | Path) -> None:
    """Raise ValueError if ``path`` is no name of a fit, or what :func:`check_folder` raises."""
    path = Path(path)
    if path.is_dir() or path.suffix in FITS:
        check_folder(path)
        if path.suffix == ".zarr" and path.exists() and not (path / "zarr.json").exists():
            raise FileExistsError(f"{path}: there already, and no Zarr folder; name another")
        return
    kind = "the name of a table" if path.suffix in TABLES else "no name of a fit"
    raise ValueError(
        f"{path}: {kind}; a fit ends in .nc (one file) or .zarr (a folder): name it "
        f"{path.with_suffix('.nc')}"
    )


def check_folder(path: str | Path) -> None:
    """Raise FileNotFoundError, IsADirectoryError, PermissionError or OSError if nothing can be written at ``path``."""
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: folder {str(folder)!r} does not exist; make it first")
    if path.is_dir() and path.suffix != ".zarr":
        raise IsADirectoryError(f"{path}: a folder; name a file in it, such as {path / 'fit.nc'}")
    try:
        # Tried, for what os.access says is not so of root, of mounted disks, or of names that are too long.
        tempfile.NamedTemporaryFile(prefix=f".{path.name}.", dir=folder).close()
    except PermissionError as error:
        raise PermissionError(
            f"{path}: folder {str(folder)!r} does not allow writing; choose another"
        ) from error
    except OSError as error:
        raise OSError(
            f"{path}: nothing can be written in folder {str(folder)!r} ({error.strerror}); choose another"
        ) from error


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

    Examples
    --------
    >>> import tempfile
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> path = save(prior, Path(tempfile.mkdtemp()) / "prior.nc")
    >>> load(path).attrs["model_name"]
    'chinchilla'
    """
    path = Path(path)
    if not path.exists():
        meant = path if path.suffix in FITS else path.with_suffix(".nc")
        raise FileNotFoundError(f"{path}: no such file; `bayescale fit RUNS -o {meant}` makes one")
    if path.suffix in TABLES:
        raise ValueError(
            f"{path}: a table, and a fit is expected, in .nc or .zarr; `bayescale fit {path}` makes one of it"
        )
    engine = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    problem, tree = "", xr.DataTree()
    try:
        if groups is None:
            with xr.open_datatree(path, engine=engine, **options) as opened:
                problem = _problem(opened.attrs, opened.children)
                tree = tree if problem else opened.load().copy()
        else:
            found = {}
            for name in ("/", *groups):
                try:
                    with xr.open_dataset(path, engine=engine, group=name, **options) as group:
                        found[name] = group.load()
                except OSError:
                    if name == "/":
                        raise
            if "stack" in found["/"].attrs:
                return load(path)
            unasked = set(REQUIRED).difference(groups)
            problem = _problem(found["/"].attrs, {*found, *unasked})
            tree = xr.DataTree.from_dict(found)
    except Exception as error:  # Where a file is damaged decides what its reader stumbles over.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path}: not a whole NetCDF or Zarr file ({reason}); it may be truncated. "
            "Fit again, or take a copy that is whole"
        ) from error
    problem = problem or _holes(tree)
    if problem:
        raise ValueError(f"{path}: {problem}")
    return tree


def _problem(attrs: Mapping[Any, Any], groups: Iterable[str]) -> str:
    """Why a tree cannot be read as a fit; empty if it can."""
    version = attrs.get("bayescale_format")
    if version is None:
        return "a data file, but not a fit of bayescale; `bayescale fit` makes one"
    if int(version) > FORMAT:
        return f"of format {version}, newer than this bayescale reads ({FORMAT}); upgrade bayescale"
    missing = [name for name in REQUIRED if name not in groups]
    if missing:
        return f"a fit without its groups {', '.join(missing)}; it was cut or changed. Fit again"
    untold = [] if "stack" in attrs else [name for name in TOLD if name not in attrs]
    if untold:
        return f"a fit without its attributes {', '.join(untold)}; it was cut or changed. Fit again"
    return ""


def _holes(tree: xr.DataTree) -> str:
    """Name draws that are NaN, as a piece of a Zarr folder reads that is gone."""
    if "posterior" not in tree.children:
        return ""
    draws = tree["posterior"].data_vars.items()
    holes = [str(name) for name, values in draws if bool(values.isnull().any())]
    return (
        f"a fit with holes in {', '.join(holes)}; take a copy that is whole, or fit again"
        if holes
        else ""
    )
