"""The figure shows what it was given: data in the artists, not pixels."""

import io
import itertools

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
from bayescale.plots import alt_text, plot_forecast, style
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


def entries(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


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


def test_the_law_passes_through_a_family_on_one_path_in_order(parts: dict) -> None:
    runs = parts["runs"]
    order = np.argsort(runs["flops"].values)
    fitted = parts["fitted"].copy(deep=True)
    loss = fitted["loss"].values  # a path for all but family b
    loss[order] = np.sort(loss, axis=0)[::-1]
    b = order[(runs["family"].values == "b")[order]]
    loss[b] = loss[b[::-1]]
    axis = plot(parts, fitted=fitted).axes[0]
    (points,) = [each.get_xydata() for each in axis.lines if each.get_label() == "_fitted"]
    a = order[(runs["family"].values == "a")[order]]
    median = fitted["loss"].sel(quantile=0.5).values
    np.testing.assert_allclose(points, np.column_stack([runs["flops"].values[a], median[a]]))


def test_a_law_off_every_path_has_no_line_and_no_entry(parts: dict) -> None:
    fitted = parts["fitted"].copy(deep=True)
    order = np.argsort(parts["runs"]["flops"].values)
    fitted["loss"].values[order] = np.sort(fitted["loss"].values, axis=0)
    figure = plot(parts, fitted=fitted)
    assert not [each for each in figure.axes[0].lines if each.get_label() == "_fitted"]
    assert "law at the runs' sizes" not in entries(figure)


def test_many_runs_have_small_markers(parts: dict) -> None:
    def size(runs: xr.Dataset) -> float:
        drawn = plot(parts, runs=runs, fitted=None).axes[0].lines
        return next(each.get_markersize() for each in drawn if each.get_label() == "a")

    runs = parts["runs"]
    assert size(xr.concat([runs] * 6, "run")) < size(runs)


def test_the_held_out_run_stands_out_with_its_forecast(parts: dict, figure: Figure) -> None:
    np.testing.assert_allclose(line(figure.axes[0], "held out"), [[4.8e23, 1.95]])
    ends = parts["held_out_forecast"]["loss"].sel(quantile=[0.05, 0.95]).values.ravel()
    np.testing.assert_allclose(line(figure.axes[0], "_ends")[:, 1], ends)
    assert "large, held out\npublished 1.95\nforecast" in said(figure.axes[0])


@pytest.mark.parametrize("loss", [1.2, 3.9])
def test_a_held_out_run_off_the_curve_is_within_the_axis(parts: dict, loss: float) -> None:
    held_out = parts["held_out"].assign(loss=("run", [loss]))
    axis = plot(parts, held_out=held_out).axes[0]
    low, high = axis.get_ylim()
    assert low < loss < high
    np.testing.assert_allclose(line(axis, "held out")[:, 1], loss)


@pytest.mark.parametrize(("loss", "marker"), [(50.0, "^"), (-50.0, "v")])
def test_a_held_out_run_far_off_is_told_at_the_edge(parts: dict, loss: float, marker: str) -> None:
    held_out = parts["held_out"].assign(loss=("run", [loss]))
    figure = plot(parts, held_out=held_out)
    axis = figure.axes[0]
    low, high = axis.get_ylim()
    assert high - low < 10
    (mark,) = [each for each in axis.lines if each.get_label() == "_beyond"]
    assert mark.get_marker() == marker
    np.testing.assert_allclose(mark.get_xydata(), [[4.8e23, high if loss > 0 else low]])
    assert f"held out {loss:.4g}" in said(axis)
    test_letters_are_large_enough_and_inside_the_page(figure)


def test_where_one_more_run_may_fall_is_within_the_axis(parts: dict) -> None:
    new_run = parts["new_run"].assign(loss=parts["new_run"]["loss"] * 1.0)
    new_run["loss"].values[-1] = np.linspace(0.9, 3.2, 5)
    low, high = plot(parts, new_run=new_run).axes[0].get_ylim()
    assert low < 0.9
    assert high > 3.2


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


def test_probabilities_near_each_other_or_at_the_edge_can_be_read(parts: dict) -> None:
    near = [parts["answers"][0].assign_attrs(beyond=at) for at in (1e23, 1.3e23, 1.6e23, 1e25)]
    figure = plot(parts, answers=near)
    figure.draw_without_rendering()
    strip = figure.axes[2]
    boxes = [text.get_window_extent() for text in strip.texts]
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])
        assert strip.bbox.x0 - 1 <= box.x0
        assert box.x1 <= strip.bbox.x1 + 1
        assert strip.bbox.y0 <= box.y0
        assert box.y1 <= strip.bbox.y1


def test_families_of_one_long_beginning_are_told_apart() -> None:
    names = [f"our-pretraining-recipe-of-the-year-{place}" for place in range(3)]
    runs = xr.Dataset({"family": ("run", names)})
    assert len({name for name, *_ in style.families(runs)}) == 3
    long = [f"{'x' * 30}{place}{'y' * 30}" for place in range(3)]
    assert len(set(style.short(long))) == 3
    assert max(map(len, style.short(long))) <= 28


@pytest.mark.parametrize("high", [1.05e21, 1.6e21, 3e21, 3e22, 1e24])
def test_an_axis_has_two_labels_at_least_and_they_are_true(high: float) -> None:
    axis = Figure().subplots()
    style.log_scale(axis)
    axis.set_xlim(1e21, high)
    ticks = [each for each in axis.get_xticks() if 0.999e21 <= each <= high]
    assert 2 <= len(ticks) <= 8
    np.testing.assert_allclose([float(style.scale_text(each)) for each in ticks], ticks, rtol=6e-3)


def test_a_legend_of_wide_names_stays_within_the_figure() -> None:
    figure = style.new_figure(style.SIZE)
    axis = figure.subplots()
    handles = [axis.plot([], [])[0] for _ in range(8)]
    style.legend(figure, handles, [f"{'W' * 20} {place}" for place in range(8)])
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1


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


def test_a_gain_that_may_be_next_to_nothing_does_not_take_the_whole_axis(parts: dict) -> None:
    summary = parts["summary"].copy(deep=True)
    summary["gain"].values[-1, 0] = 1e-6
    axis = plot(parts, summary=summary).axes[1]
    assert axis.get_yscale() == "linear"


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


def test_names_of_held_out_runs_cover_neither_each_other_nor_data(parts: dict) -> None:
    held_out = xr.concat(
        [parts["held_out"].assign(flops=("run", [at])) for at in (4.8e23, 1e24, 9e24)], "run"
    )
    forecast = xr.concat([parts["held_out_forecast"]] * 3, "run")
    figure = plot(parts, held_out=held_out, held_out_forecast=forecast)
    figure.draw_without_rendering()
    axis = figure.axes[0]
    notes = [text.get_window_extent() for text in axis.texts if "held out" in text.get_text()]
    assert len(notes) == 3
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(notes))
    assert not any(text.arrow_patch for text in axis.texts)
    assert {"1", "2", "3"} <= {text.get_text() for text in axis.texts}
    upper = parts["summary"]["loss"].sel(quantile=0.95).values
    for note in notes:
        left, bottom = axis.transData.inverted().transform((note.x0, note.y0))
        assert bottom > upper[left <= GRID].max()


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
        assert f"{style.scale_text(answer.attrs['beyond'])} FLOP: {chance(answer)}." in text
    assert "e+" not in text


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
