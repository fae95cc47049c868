"""A fit to a file and back: whole or not at all, refused if it is not ours."""

import errno
import json
import os
import pickle
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5netcdf
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fake_fit import fake_fit

import bayescale as bs
from bayescale import saving
from bayescale.notes import Note, get_notes

NAMES = ["fit.nc", "fit.zarr"]


@pytest.fixture(scope="module")
def small() -> xr.DataTree:
    """A fit of two families, not sampled."""
    return fake_fit("chinchilla-families", jitter=0.1, families={"a": 1.0, "b": 1.1}, seed=3)


def assert_same(found: xr.DataTree, expected: xr.DataTree) -> None:
    assert set(found.children) == set(expected.children)
    for group in expected.children:
        xr.testing.assert_identical(found[group].to_dataset(), expected[group].to_dataset())
    assert found.attrs == expected.attrs


@pytest.mark.parametrize("name", NAMES)
def test_a_sampled_fit_comes_back_identical(name: str, fit: xr.DataTree, tmp_path: Path) -> None:
    path = bs.save(fit, tmp_path / name)
    assert path == tmp_path / name
    assert os.listdir(tmp_path) == [name]
    found = bs.load(path)
    assert_same(found, fit)
    assert get_notes(found) == get_notes(fit)
    assert json.loads(found.attrs["reference"]) == json.loads(fit.attrs["reference"])
    pd.testing.assert_frame_equal(bs.check(found), bs.check(fit), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_needs_its_file_no_more(
    name: str, small: xr.DataTree, tmp_path: Path
) -> None:
    path = bs.save(small, tmp_path / name)
    found = bs.load(path)
    bs.save(fake_fit(seed=5), path)
    assert_same(found, small)
    found["posterior"]["alpha"][:] = 0.0  # It is no view of a file that does not allow writing.


@pytest.mark.parametrize("name", NAMES)
def test_saving_again_replaces_the_whole_fit(name: str, small: xr.DataTree, tmp_path: Path) -> None:
    other = fake_fit("power", chains=3, seed=9)
    bs.save(small, tmp_path / name)
    bs.save(other, tmp_path / name)
    assert_same(bs.load(tmp_path / name), other)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_string_is_a_path_too_and_notes_travel(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    note = Note("bare_law", "info", "ein Gesetz, wörtlich: α ≤ β", "siehe „Zweifel“")
    bs.save(fake_fit(notes=(note,)), name)
    assert get_notes(bs.load(name)) == [note]


def test_the_file_is_readable_as_the_umask_says(small: xr.DataTree, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        path = bs.save(small, tmp_path / "fit.nc")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("name", NAMES)
def test_the_groups_that_a_forecast_needs_can_be_read_alone(
    name: str, small: xr.DataTree, tmp_path: Path
) -> None:
    path = bs.save(small, tmp_path / name)
    found = bs.load(path, groups=saving.FORECAST)
    assert set(found.children) == set(saving.FORECAST)
    for group in saving.FORECAST:
        xr.testing.assert_identical(found[group].to_dataset(), small[group].to_dataset())
    assert found.attrs == small.attrs
    assert set(bs.load(path, groups=("posterior", "nowhere")).children) == {"posterior"}


# --- A save that fails --------------------------------------------------------------------------------------------------


#: Saves again where no file may grow beyond 3,000 bytes, as on a full disk. In a process of its own: the limit is
#: for all of its files, and HDF5 itself would take the process down.
FULL_DISK = """
import resource, signal, sys
import bayescale as bs
from fake_fit import fake_fit
tree = fake_fit(draws=500, jitter=0.3)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
for path in sys.argv[1:]:
    try:
        bs.save(tree, path)
    except OSError as error:
        print(error.errno, error)
"""


def test_a_disk_that_runs_full_leaves_the_old_fit(small: xr.DataTree, tmp_path: Path) -> None:
    paths = [bs.save(small, tmp_path / name) for name in NAMES]
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *map(str, paths)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    reason = "could not be saved (File too large); what was there stays"
    assert done.stdout.splitlines() == [
        f"{errno.EFBIG} [Errno {errno.EFBIG}] {path}: {reason}" for path in paths
    ]
    assert sorted(os.listdir(tmp_path)) == sorted(NAMES)
    for path in paths:
        assert_same(bs.load(path), small)


@pytest.mark.parametrize("name", NAMES)
def test_a_write_that_fails_half_way_leaves_nothing_behind(
    name: str, small: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        if name == "fit.zarr":
            (Path(str(args[1])) / "posterior").mkdir(parents=True)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(xr.DataTree, "to_zarr", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device\); what was there stays"):
        bs.save(small, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_replacement_that_fails_leaves_the_old_fit(
    name: str, small: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bs.save(small, tmp_path / name)

    def refused(*args: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refused)
        with pytest.raises(OSError, match="Device or resource busy"):
            bs.save(fake_fit(seed=8), path)
    assert os.listdir(tmp_path) == [name]
    assert_same(bs.load(path), small)


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_save_leaves_the_old_fit(
    name: str, small: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bs.save(small, tmp_path / name)

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(xr.DataTree, "to_zarr" if name == "fit.zarr" else "to_netcdf", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bs.save(fake_fit(seed=8), path)
    assert os.listdir(tmp_path) == [name]
    assert_same(bs.load(path), small)


def test_where_nothing_can_be_written_is_said_before_sampling(
    small: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for act in (saving.check_folder, lambda path: bs.save(small, path)):
        with pytest.raises(
            FileNotFoundError, match=r"folder '.*nowhere' does not exist; make it first"
        ):
            act(tmp_path / "nowhere" / "fit.nc")
        with pytest.raises(
            IsADirectoryError, match=r"a folder; name a file in it, such as .*fit\.nc"
        ):
            act(tmp_path)
        for number, message in (
            (errno.EACCES, "does not allow writing; choose another"),
            (errno.EROFS, r"nothing can be written in folder .* \(Read-only file system\)"),
        ):
            with monkeypatch.context() as patched:  # Root may write anywhere.
                patched.setattr(saving.tempfile, "NamedTemporaryFile", refusing(number))
                with pytest.raises(OSError, match=message):
                    act(tmp_path / "fit.nc")
        with pytest.raises(OSError, match="nothing can be written in folder"):
            act(tmp_path / f"{'l' * 248}.nc")
    assert os.listdir(tmp_path) == []


def refusing(number: int) -> Callable[..., None]:
    def refused(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "runs.csv",
            "the name of a table; a fit ends in .nc (one file) or .zarr (a folder): name it ",
        ),
        ("fit", "no name of a fit; "),
        ("fit.h5", "no name of a fit; "),
        ("mine.zarr", "there already, and no Zarr folder; name another"),
    ],
)
def test_what_is_no_fit_is_not_replaced(
    name: str, message: str, small: xr.DataTree, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises((ValueError, FileExistsError), match=re.escape(message)):
        bs.save(small, tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "precious"


# --- Files that are no fits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "fit"])
def test_there_must_be_a_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no such file; `bayescale fit RUNS -o .*` makes one"
    ):
        bs.load(tmp_path / name)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused(share: float, small: xr.DataTree, tmp_path: Path) -> None:
    path = bs.save(small, tmp_path / "fit.nc")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        ValueError, match=r"fit\.nc: not a whole NetCDF or Zarr file \(.*it may be truncated"
    ):
        bs.load(path)


def pieces(path: Path, variable: str) -> list[Path]:
    """Files of a Zarr folder that hold a variable's values."""
    return [
        each for each in (path / variable).rglob("*") if each.is_file() and each.name != "zarr.json"
    ]


def test_a_zarr_folder_with_a_piece_missing_or_cut_is_refused(
    small: xr.DataTree, tmp_path: Path
) -> None:
    path = bs.save(small, tmp_path / "fit.zarr")
    piece = pieces(path, "posterior/alpha")[0]
    content = piece.read_bytes()
    piece.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a whole NetCDF or Zarr file"):
        bs.load(path)
    piece.unlink()
    with pytest.raises(ValueError, match="a fit with holes in alpha"):
        bs.load(path)
    with pytest.raises(ValueError, match="a fit with holes in alpha"):
        bs.load(path, groups=saving.FORECAST)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs.nc", b"params,tokens,loss\n1e9,2e10,2.5\n"),
        ("model.toml", b"format = 1\n"),
        ("fit.zarr", b"not a folder"),
        ("empty.nc", b""),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="not a whole NetCDF or Zarr file"):
        bs.load(tmp_path / name)


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name in ("empty.zarr", "folder"):
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match="not a whole NetCDF or Zarr file"):
            bs.load(tmp_path / name)


@pytest.mark.parametrize("groups", [None, saving.FORECAST])
@pytest.mark.parametrize("name", NAMES)
def test_data_that_are_not_a_fit_are_refused(
    name: str, groups: tuple[str, ...] | None, tmp_path: Path
) -> None:
    posterior = xr.DataTree.from_dict(
        {"posterior": xr.Dataset({"E": (("chain", "draw"), np.ones((2, 5)))})}
    )
    bs.save(posterior, tmp_path / name)  # Anyone's ArviZ file.
    with pytest.raises(ValueError, match="a data file, but not a fit of bayescale"):
        bs.load(tmp_path / name, groups=groups)


@pytest.mark.parametrize("groups", [None, saving.FORECAST])
@pytest.mark.parametrize("name", NAMES)
def test_a_newer_format_is_refused(
    name: str, groups: tuple[str, ...] | None, small: xr.DataTree, tmp_path: Path
) -> None:
    newer = small.copy()
    newer.attrs["bayescale_format"] = saving.FORMAT + 1
    bs.save(newer, tmp_path / name)
    with pytest.raises(
        ValueError, match=r"of format 2, newer than this bayescale reads \(1\); upgrade bayescale"
    ):
        bs.load(tmp_path / name, groups=groups)


@pytest.mark.parametrize("missing", saving.TOLD)
def test_draws_without_their_model_are_refused(
    missing: str, small: xr.DataTree, tmp_path: Path
) -> None:
    cut = small.copy()
    cut.attrs = {name: value for name, value in small.attrs.items() if name != missing}
    with pytest.raises(ValueError, match=f"a fit without its attributes {missing}; it was cut"):
        bs.load(bs.save(cut, tmp_path / "fit.nc"))


@pytest.mark.parametrize("groups", [None, saving.FORECAST])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", saving.REQUIRED)
def test_a_fit_without_a_needed_group_is_refused(
    missing: str, name: str, groups: tuple[str, ...] | None, small: xr.DataTree, tmp_path: Path
) -> None:
    cut = xr.DataTree.from_dict(
        {group: small[group].to_dataset() for group in small.children if group != missing}
    )
    cut.attrs = small.attrs
    bs.save(cut, tmp_path / name)
    with pytest.raises(
        ValueError, match=f"a fit without its groups {missing}; it was cut or changed"
    ):
        bs.load(tmp_path / name, groups=groups)


class Burst:
    """What a hostile file would hold: unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_nothing_is_unpickled(small: xr.DataTree, tmp_path: Path) -> None:
    """Zarr's second format can hold pickled objects: such a folder is refused unread."""
    made = tmp_path / "made"
    pickle.loads(pickle.dumps(Burst(made)))
    assert made.is_dir()  # The charge is live.
    made.rmdir()
    path = tmp_path / "fit.zarr"
    root = {"zarr_format": 2}
    array = {
        "shape": [1],
        "chunks": [1],
        "dtype": "|O",
        "fill_value": 0,
        "order": "C",
        "filters": [{"id": "pickle", "protocol": 5}],
        "compressor": None,
        "zarr_format": 2,
    }
    (path / "posterior" / "E").mkdir(parents=True)
    for folder in (path, path / "posterior"):
        (folder / ".zgroup").write_text(json.dumps(root))
    (path / ".zattrs").write_text(json.dumps({"bayescale_format": 1}))
    (path / "posterior" / "E" / ".zarray").write_text(json.dumps(array))
    (path / "posterior" / "E" / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["draw"]}))
    (path / "posterior" / "E" / "0").write_bytes(pickle.dumps(Burst(made)))
    for groups in (None, saving.FORECAST):
        with pytest.raises(ValueError, match=r"fit\.zarr: "):
            bs.load(path, groups=groups)
    assert not made.exists()


def test_a_file_holds_what_any_reader_of_netcdf_can_read(
    small: xr.DataTree, tmp_path: Path
) -> None:
    path = bs.save(small, tmp_path / "fit.nc")
    with h5netcdf.File(path) as file:
        assert file.attrs["model_name"] == "chinchilla-families"
        assert file["posterior"].dimensions["draw"].size == small["posterior"].sizes["draw"]
        np.testing.assert_array_equal(
            file["posterior"]["alpha"][...], small["posterior"]["alpha"].values
        )
    reopened = xr.open_datatree(path, engine="h5netcdf")
    assert set(reopened.children) == set(small.children)
    reopened.close()
