"""Curves of a law under its prior, and the figure that shows them."""

import numpy as np
import pytest
import xarray as xr

from bayescale import laws, links, plots
from bayescale.cli.prior_curves import POINTS, model_of_law, prior_curves

DRAWS = 400


@pytest.fixture(scope="module")
def pure() -> xr.Dataset:
    return prior_curves("pure_power", draws=DRAWS, random_seed=1)


def test_a_power_law_is_straight_with_the_exponents_of_its_prior(pure: xr.Dataset) -> None:
    log_at, log_value = np.log(pure["at"].values[0]), np.log(pure["value"].values[0])
    away = np.abs(log_at) > 0.1
    gamma = -log_value[:, away] / log_at[away]
    np.testing.assert_allclose(gamma, gamma[:, :1].repeat(away.sum(), axis=1), rtol=1e-9)
    prior = model_of_law(laws.get("pure_power")).priors["gamma"].kwargs
    error = prior["sigma"] / np.sqrt(DRAWS)
    assert abs(np.log(gamma[:, 0]).mean() - np.log(prior["median"])) < 4 * error
    assert abs(np.log(gamma[:, 0]).std() - prior["sigma"]) < 4 * error / np.sqrt(2)


def test_what_a_law_does_not_allow_is_left_out() -> None:
    found = prior_curves("repetition", draws=20)
    assert found["input"].values.tolist() == ["params", "tokens", "unique_tokens"]
    allowed = np.isfinite(found["value"]).all("draw")
    at = found["at"]
    assert allowed.sel(input="params").all()
    # One scale for both, so that at the reference every token is unique.
    for name, mask in (("tokens", at >= 1), ("unique_tokens", at <= 1)):
        mask = mask.sel(input=name) | (np.abs(np.log(at.sel(input=name))) < 1e-6)
        np.testing.assert_array_equal(allowed.sel(input=name), mask)


def test_the_score_of_a_link_falls_as_the_loss_rises() -> None:
    found = prior_curves("sigmoid", draws=50)
    score = found["value"].values[0]
    assert found["value"].attrs["long_name"] == "score"
    assert np.all((score >= 0) & (score <= 1))
    assert np.all(np.diff(score, axis=1) <= 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*laws.names(), *links.names()])
def test_every_law_has_curves_and_a_figure(name: str, tmp_path) -> None:
    found = prior_curves(name, draws=50)
    for each in found["input"].values:
        value = found["value"].sel(input=each).values
        known = np.isfinite(value).all(axis=0)
        assert np.array_equal(known, np.isfinite(value).any(axis=0))
        assert known.sum() > POINTS / 3
    figure = plots.plot_law(found)
    figure.savefig(tmp_path / "law.png")
    assert len(figure.axes) == found.sizes["input"]


def test_the_figure_shows_the_median_and_the_draws(pure: xr.Dataset) -> None:
    figure = plots.plot_law(pure)
    (axis,) = figure.axes
    value = pure["value"].values[0]
    lines = {each.get_label(): each.get_xydata() for each in axis.lines}
    middle = np.column_stack([pure["at"].values[0], np.median(value, axis=0)])
    np.testing.assert_allclose(lines["prior, median"], middle)
    np.testing.assert_allclose(lines["single draws"][:, 1], value[0])
    heights = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(np.quantile(value, 0.05, axis=0).min())
    assert axis.get_ylabel().replace("\n", " ") == pure["value"].attrs["long_name"]
    assert "pure-power" in str(figure.get_label())
    assert f"{middle[-1, 1]:.3g}" in str(figure.get_label())


def test_inputs_without_decades_are_linear() -> None:
    figure = plots.plot_law(prior_curves("progress", draws=20))
    assert [axis.get_xscale() for axis in figure.axes] == ["log", "log", "linear"]
    assert figure.axes[2].get_xlabel() == "year"
