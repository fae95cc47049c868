"""The figure shows what it was given: data in the artists, not pixels."""

import io

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from bayescale import diminishing, predict, returns, summarise
from bayescale.forecast import inputs_along
from bayescale.plots import alt_text, plot_forecast
from bayescale.plots.style import BEYOND, FAMILIES, HALF, WIDE
from bayescale.plots.wording import chance

GRID = np.geomspace(1e18, 1e25, 15)
ASKED = (1e23, 1e24)


@pytest.fixture(scope="module")
def parts() -> dict[str, object]:
    """Everything that the figure can show, of a fit with two families."""
    fit = fake_fit("chinchilla-families", families={"a": 1.0, "b": 1.03}, jitter=0.05)
    runs = fit["constant_data"].to_dataset().assign(loss=fit["observed_data"]["loss"])
    held_out = xr.Dataset(
        {
            "run_id": ("run", ["large"]),
            "family": ("run", ["a"]),
            "params": ("run", [2e11]),
            "tokens": ("run", [4e11]),
            "flops": ("run", [4.8e23]),
            "loss": ("run", [1.95]),
        }
    )
    return {
        "summary": summarise(returns(fit, flops=GRID)),
        "runs": runs,
        "fitted": summarise(predict(fit, runs)),
        "new_run": summarise(predict(fit, inputs_along(fit, GRID), kind="run")),
        "held_out": held_out,
        "held_out_forecast": summarise(predict(fit, held_out, kind="run")),
        "answers": [diminishing(fit, beyond=flops, gain_below=0.01) for flops in ASKED],
    }


@pytest.fixture(scope="module")
def figure(parts: dict[str, object]) -> Figure:
    return plot(parts)


def plot(parts: dict[str, object], **changes: object) -> Figure:
    chosen = {**parts, **changes}
    return plot_forecast(chosen.pop("summary"), **chosen)


def line(axis: Axes, label: str) -> np.ndarray:
    (found,) = [each for each in axis.lines if each.get_label() == label]
    return found.get_xydata()


def band(axis: Axes, label: str) -> np.ndarray:
    """Vertices of a band: the lower bound forward, the upper one back."""
    (found,) = [each for each in axis.collections if each.get_label() == label]
    return found.get_paths()[0].vertices


def said(axis: Axes) -> str:
    return "\n".join(text.get_text() for text in axis.findobj(Text))


def test_the_median_and_the_bands_are_the_summary(parts: dict, figure: Figure) -> None:
    for axis, name in zip(figure.axes[:2], ("loss", "gain"), strict=True):
        values = parts["summary"][name]
        median = np.column_stack([GRID, values.sel(quantile=0.5)])
        np.testing.assert_allclose(line(axis, "curve, median"), median)
        for label, low, high in (("curve, 90 %", 0.05, 0.95), ("curve, 50 %", 0.25, 0.75)):
            heights = band(axis, label)[:, 1]
            assert heights.min() == pytest.approx(float(values.sel(quantile=low).min()))
            assert heights.max() == pytest.approx(float(values.sel(quantile=high).max()))


def test_one_more_run_is_an_outline(parts: dict, figure: Figure) -> None:
    for label, level in (("one more run, 90 %", 0.05), ("_upper", 0.95)):
        wanted = parts["new_run"]["loss"].sel(quantile=level)
        np.testing.assert_allclose(line(figure.axes[0], label)[:, 1], wanted)


def test_every_run_is_there_with_a_marker_of_its_family(parts: dict, figure: Figure) -> None:
    runs = parts["runs"]
    found = {each.get_label(): each for each in figure.axes[0].lines}
    for name in ("a", "b"):
        rows = (runs["family"] == name).values
        wanted = np.column_stack([runs["flops"].values[rows], runs["loss"].values[rows]])
        np.testing.assert_allclose(found[name].get_xydata(), wanted)
    assert found["a"].get_marker() != found["b"].get_marker()
    assert found["a"].get_color() != found["b"].get_color()


def test_the_law_passes_through_each_family_in_order(parts: dict, figure: Figure) -> None:
    lines = [each.get_xydata() for each in figure.axes[0].lines if each.get_label() == "_fitted"]
    assert len(lines) == 2
    assert all((np.diff(points[:, 0]) >= 0).all() for points in lines)
    heights = np.sort(np.concatenate([points[:, 1] for points in lines]))
    np.testing.assert_allclose(heights, np.sort(parts["fitted"]["loss"].sel(quantile=0.5)))


def test_the_held_out_run_stands_out_with_its_forecast(parts: dict, figure: Figure) -> None:
    np.testing.assert_allclose(line(figure.axes[0], "held out"), [[4.8e23, 1.95]])
    ends = parts["held_out_forecast"]["loss"].sel(quantile=[0.05, 0.95]).values.ravel()
    np.testing.assert_allclose(line(figure.axes[0], "_ends")[:, 1], ends)
    assert "large, held out\npublished 1.95\nforecast" in said(figure.axes[0])


def test_what_lies_beyond_the_runs_is_shaded_and_said(parts: dict, figure: Figure) -> None:
    largest = float(parts["runs"]["flops"].max())
    for axis in figure.axes:
        (shade,) = axis.patches
        assert shade.get_x() == pytest.approx(largest)
        assert shade.get_x() + shade.get_width() == pytest.approx(axis.get_xlim()[1])
    assert f"{np.log10(GRID[-1] / largest):.1f} decades\nbeyond the runs" in said(figure.axes[0])


def test_nothing_is_shaded_within_the_runs(parts: dict) -> None:
    summary = parts["summary"].isel(flops=slice(0, 5))
    figure = plot(parts, summary=summary, new_run=None, answers=())
    assert len(figure.axes) == 2
    assert not any(axis.patches for axis in figure.axes)
    assert "beyond" not in said(figure.axes[0])


def test_the_threshold_and_the_probabilities_are_at_their_scales(
    parts: dict, figure: Figure
) -> None:
    _, marginal, strip = figure.axes
    heights = [each.get_ydata()[0] for each in marginal.lines if len(set(each.get_ydata())) == 1]
    assert 0.01 in heights
    assert "threshold 0.01" in said(marginal)
    places = {text.get_position()[0]: text.get_text() for text in strip.texts}
    assert places == {answer.attrs["beyond"]: chance(answer) for answer in parts["answers"]}
    assert strip.get_title(loc="left") == "P(a doubling buys less than 0.01 nat/token)"


def test_axes_share_compute_and_say_their_units(figure: Figure) -> None:
    loss, marginal, strip = figure.axes
    assert loss.get_xlim() == marginal.get_xlim() == strip.get_xlim()
    assert loss.get_xscale() == "log"
    assert loss.get_ylabel() == "test loss [nat/token]"
    assert marginal.get_ylabel() == "gain of a doubling\n[nat/token]"
    assert strip.get_xlabel() == "training compute [FLOP]"


def test_gains_that_may_be_negative_are_shown_as_they_are(parts: dict, figure: Figure) -> None:
    assert figure.axes[1].get_yscale() == "log"
    summary = parts["summary"].assign(gain=parts["summary"]["gain"] - 0.05)
    axis = plot(parts, summary=summary).axes[1]
    assert axis.get_yscale() == "linear"
    assert axis.get_ylim()[0] < float(summary["gain"].min())


def test_another_sense_shows_what_its_threshold_is_about(parts: dict) -> None:
    fit = fake_fit("chinchilla-families", families={"a": 1.0, "b": 1.03}, jitter=0.05)
    figure = plot(parts, answers=[diminishing(fit, beyond=1e24, floor=0.1)])
    np.testing.assert_allclose(
        line(figure.axes[1], "curve, median")[:, 1],
        parts["summary"]["share_left"].sel(quantile=0.5),
    )
    assert figure.axes[1].get_ylabel() == "reducible share of the loss\n[–]"


def test_a_law_of_one_input_has_its_input_along_the_axis() -> None:
    fit = fake_fit("power", jitter=0.05)
    runs = fit["constant_data"].to_dataset().assign(loss=fit["observed_data"]["loss"])
    figure = plot_forecast(summarise(returns(fit, flops=GRID)), runs=runs)
    assert line(figure.axes[0], "runs").shape == (12, 2)
    assert figure.axes[-1].get_xlabel() == "flops [FLOP]"


def test_many_families_share_the_last_colour() -> None:
    names = [f"family {index}" for index in range(12)]
    runs = xr.Dataset(
        {
            "family": ("run", names),
            "flops": ("run", np.geomspace(1e18, 1e20, 12)),
            "loss": ("run", np.linspace(3, 2, 12)),
        }
    )
    levels = np.linspace(2.4, 2.6, 5)
    bands = levels[None, :] * np.array([1.0, 0.8])[:, None]
    summary = xr.Dataset(
        dict.fromkeys(("loss", "gain"), (("flops", "quantile"), bands)),
        {"flops": [1e19, 1e22], "quantile": [0.05, 0.25, 0.5, 0.75, 0.95]},
    )
    figure = plot_forecast(summary, runs=runs)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[len(FAMILIES) - 1] == "6 other families"
    drawn = [each for each in figure.axes[0].lines if str(each.get_label()).startswith(("f", "6"))]
    assert sum(len(each.get_xdata()) for each in drawn) == 12


def test_colours_stay_apart_in_greyscale_or_by_marker() -> None:
    assert len({marker for _, marker in FAMILIES}) == len(FAMILIES)
    light = [np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)) for color, _ in FAMILIES]
    assert max(light) < 0.75, "too pale for print"


def test_families_stand_out_from_the_bands_that_their_runs_lie_on() -> None:
    for band in (WIDE, HALF, BEYOND):
        for color, _ in FAMILIES:
            apart = np.linalg.norm(np.subtract(to_rgb(color), to_rgb(band)))
            assert apart > 0.4, f"{color} fades on {band}"


def test_letters_are_large_enough_and_inside_the_page(figure: Figure) -> None:
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for text in figure.findobj(Text):
        if not (text.get_text().strip() and text.get_visible()):
            continue
        assert text.get_fontsize() >= 8, text.get_text()
        box = text.get_window_extent()
        shown = 0 < (box.x0 + box.x1) / 2 < width and 0 < (box.y0 + box.y1) / 2 < height
        if shown:  # tick labels beyond the limits are not drawn
            assert box.x0 >= -1, text.get_text()
            assert box.x1 <= width + 1, text.get_text()


def test_names_of_held_out_runs_do_not_cover_each_other(parts: dict) -> None:
    held_out = xr.concat(
        [parts["held_out"], parts["held_out"].assign(flops=("run", [9e24]))], "run"
    )
    figure = plot(parts, held_out=held_out, held_out_forecast=None)
    figure.draw_without_rendering()
    notes = [text for text in figure.axes[0].texts if "held out" in text.get_text()]
    first, second = (Text.get_window_extent(text) for text in notes)  # without their arrows
    assert not first.overlaps(second)


def test_the_figure_can_be_written_in_colour_for_print_and_screen(figure: Figure) -> None:
    for kind in ("png", "svg", "pdf"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind)
        assert buffer.tell() > 10_000


def test_the_alt_text_tells_the_numbers(parts: dict, figure: Figure) -> None:
    text = alt_text(
        parts["summary"], runs=parts["runs"], held_out=parts["held_out"], answers=parts["answers"]
    )
    assert figure.get_label() == text
    assert "12 runs of 2 families" in text
    assert "large with loss 1.95" in text
    for answer in parts["answers"]:
        assert f"{answer.attrs['beyond']:.3g} FLOP: {chance(answer)}." in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"summary": p["summary"].sel(quantile=[0.5])}, "summary: expected quantiles"),
        (lambda p: {"new_run": p["new_run"].drop_vars("quantile")}, "got none"),
        (lambda p: {"runs": p["runs"].drop_vars("loss")}, "runs: no column 'loss'"),
        (lambda p: {"held_out": None}, "held_out_forecast: 1 forecasts for 0 runs in held_out"),
        (lambda p: {"fitted": p["held_out_forecast"]}, "fitted: 1 forecasts for 12 runs in runs"),
        (
            lambda p: {"answers": [p["answers"][0], p["answers"][0].assign_attrs(threshold=0.02)]},
            "one sense of diminishing",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(parts: dict, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot(parts, **change(parts))
