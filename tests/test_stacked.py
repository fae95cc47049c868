"""Averages of several fits: members too small to give a draw, and the Monte Carlo error of draws by member."""

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit

from bayescale import diminishing, stack
from bayescale.forecast.montecarlo import mcse, quantiles


def test_what_is_certain_is_certain_whatever_a_member_too_small_to_draw() -> None:
    fits = {name: fake_fit("chinchilla", draws=20, jitter=0.01, seed=0) for name in ("a", "b", "c")}
    small = stack(fits, weights={"a": 0.49, "b": 0.49, "c": 0.02})
    found = diminishing(small, beyond=1e24, gain_below=10.0)
    assert float(found["probability"]) == pytest.approx(1.0)
    assert float(found["weight"].sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(("chains", "draws"), [(4, 1000), (2, 2000), (4, 250)])
@pytest.mark.parametrize(("apart", "share"), [(4.0, 0.5), (1.0, 0.5), (4.0, 0.8)])
def test_the_error_of_a_stack_is_the_scatter_over_replications(
    chains: int, draws: int, apart: float, share: float
) -> None:
    rng = np.random.default_rng(0)
    own = round(share * draws)
    found, told = [], []
    for _ in range(100):
        values = rng.standard_normal((chains, draws))
        values[:, own:] += apart
        stacked = xr.DataArray(values, dims=("chain", "draw"))
        values_of, errors = quantiles(stacked, [0.05, 0.5, 0.9])
        found.append([*values_of.values, float(stacked.mean())])
        told.append([*errors.values, float(mcse(stacked))])
    ratio = np.mean(told, axis=0) / np.std(found, axis=0, ddof=1)
    assert (ratio < 1.5).all()
    assert (ratio > 1 / 1.5).all()
