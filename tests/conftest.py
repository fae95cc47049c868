"""What all tests share: a headless backend, settled randomness, and the real run tables."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples on every machine, and no deadline: the first call of many functions compiles.
settings.register_profile("bayescale", deadline=None, derandomize=True)
settings.load_profile("bayescale")

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real run tables, which are not part of the package; without it the test is skipped."""
    given = os.environ.get("BAYESCALE_DATA")
    folder = Path(given) if given else REPO.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    if given:
        pytest.fail(f"BAYESCALE_DATA={given} is not a folder: correct it, or unset it to skip")
    pytest.skip(f"needs the real run tables: set BAYESCALE_DATA to their folder (no {folder})")
