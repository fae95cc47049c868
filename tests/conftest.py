"""What all tests share: a headless backend, settled randomness, the real run tables, and one real fit."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples on every machine, and no deadline: the first call of many functions compiles.
settings.register_profile("bayescale", deadline=None, derandomize=True)
settings.load_profile("bayescale")

REPO = Path(__file__).resolve().parents[1]
#: Where the real run tables lie unless BAYESCALE_DATA names their folder.
BESIDE = REPO.parent / "shared" / "data"
#: Besiroglu et al. 2024, arXiv 2404.10102, table 2: the Chinchilla runs fitted anew.
BESIROGLU = {"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658}


if not os.environ.get("BAYESCALE_DATA") and BESIDE.is_dir():
    os.environ["BAYESCALE_DATA"] = str(BESIDE)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real run tables, which are not part of the package; without it the test is skipped."""
    given = os.environ.get("BAYESCALE_DATA")
    if not given:
        pytest.skip(f"needs the real run tables: set BAYESCALE_DATA to their folder (no {BESIDE})")
    if not Path(given).is_dir():
        pytest.fail(f"BAYESCALE_DATA={given} is not a folder: correct it, or unset it to skip")
    return Path(given)


@pytest.fixture(scope="session")
def pile() -> xr.Dataset:
    """29 published runs of five families, without the largest."""
    from bayescale import load_dataset

    runs = load_dataset("pile")
    return runs.isel(run=runs["family"].values != "gpt-neox")


@pytest.fixture(scope="session")
def fit(pile: xr.Dataset) -> xr.DataTree:
    """The one real fit that is shared: read it, do not change it."""
    from bayescale import fit

    return fit(pile, "chinchilla-families", random_seed=1)


@pytest.fixture(scope="session")
def simulate() -> Callable[..., xr.Dataset]:
    """Sweeps of which the truth is known: ``simulate(sizes, ratios)`` is a run table."""
    return _simulate


def _simulate(
    sizes: int = 6,
    ratios: tuple[float, ...] = (5.0, 20.0, 80.0),
    *,
    truth: dict[str, float] = BESIROGLU,
    smallest: float = 5e7,
    decades: float = 1.5,
    sigma: float = 0.005,
    seed: int = 0,
) -> xr.Dataset:
    """Losses of every size at every ratio of tokens to parameters, with Normal noise of log loss."""
    from bayescale import read_runs

    params = np.repeat(smallest * np.logspace(0, decades, sizes), len(ratios))
    tokens = params * np.tile(ratios, sizes)
    loss = (
        truth["E"] + truth["A"] * params ** -truth["alpha"] + truth["B"] * tokens ** -truth["beta"]
    )
    noise = np.exp(sigma * np.random.default_rng(seed).standard_normal(params.size))
    return read_runs(pd.DataFrame({"params": params, "tokens": tokens, "loss": loss * noise}))
