"""Figures of single answers show what they were given: data in the artists, not pixels."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit, with_tasks
from matplotlib.figure import Figure

import bayescale as bs
from bayescale import plots
from bayescale.cli import render
from bayescale.model import Model
from bayescale.plots import wording
from bayescale.plots.style import FAMILIES, MEDIAN
from bayescale.runs import summarise_runs

GRID = np.geomspace(1e19, 1e25, 12)
LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95


@pytest.fixture(scope="module")
def fit() -> xr.DataTree:
    """As many draws as a real fit has."""
    tree = fake_fit("chinchilla", chains=4, draws=1000, jitter=0.05)
    tasks = {"acc_easy": (-0.2, 8.0, 0.25, 0.95), "acc_hard": (0.2, 10.0, 0.0, 1.0)}
    return with_tasks(tree, tasks, jitter=0.02)


@pytest.fixture(scope="module")
def runs(fit: xr.DataTree) -> xr.Dataset:
    table = fit["constant_data"].to_dataset().assign(loss=fit["observed_data"]["loss"])
    return table.assign(family=("run", ["a", "b"] * 6))


def lines(axis, label: str) -> list[np.ndarray]:
    return [each.get_xydata() for each in axis.lines if each.get_label() == label]


def test_gain_and_the_probability_that_it_is_too_small(fit: xr.DataTree) -> None:
    table = bs.returns(fit, flops=GRID)
    below = (table["gain"] < 0.02).mean(("chain", "draw"))
    summary = bs.summarise(table)
    above, lower = plots.plot_returns(summary, below, threshold=0.02).axes
    (median,) = lines(above, "curve, median")
    np.testing.assert_allclose(median[:, 1], summary["gain"].sel(quantile=MIDDLE))
    (chance,) = lines(lower, "probability")
    np.testing.assert_allclose(chance, np.column_stack([GRID, below]))
    assert any(np.allclose(each.get_ydata(), 0.02) for each in above.lines)


def test_the_threshold_is_named_where_no_band_can_lie(fit: xr.DataTree) -> None:
    table = bs.returns(fit, flops=GRID)
    for threshold in (0.02, 0.05):
        figure = plots.plot_returns(bs.summarise(table), table["flops"] * 0, threshold=threshold)
        figure.draw_without_rendering()
        above = figure.axes[0]
        (label,) = above.texts
        assert label.get_text() == f"threshold\n{threshold:g}"
        assert label.get_window_extent().x0 >= above.get_window_extent().x1
        assert label.get_window_extent().x1 <= figure.bbox.x1


def beside(figure: Figure) -> None:
    """The legend lies outside the axes."""
    figure.draw_without_rendering()
    (legend,) = figure.legends
    (axis,) = figure.axes
    assert axis.get_legend() is None
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())


def test_the_legend_of_returns_covers_no_band(fit: xr.DataTree) -> None:
    table = bs.returns(fit, flops=GRID)
    figure = plots.plot_returns(bs.summarise(table), table["flops"] * 0, threshold=0.02)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert figure.axes[0].get_legend() is None
    assert legend.get_window_extent().y0 >= figure.axes[0].get_window_extent().y1


def test_no_share_above_all_is_on_the_axis_of_the_onset(fit: xr.DataTree) -> None:
    answer = bs.diminishing(fit, beyond=1e24, gain_below=0.02)
    never = answer.assign(
        onset_draws=xr.full_like(answer["onset_draws"], 1e24), p_already=0.0, p_never=1.0
    )
    figure = plots.plot_onset(never)
    figure.draw_without_rendering()
    left, _, right = figure.axes
    low, high = left.get_ylim()
    assert max(each for each in left.get_yticks() if low <= each <= high) == pytest.approx(1.0)
    assert right.texts[0].get_window_extent().y1 <= figure.bbox.y1
    assert not right.collections


def test_the_onset_keeps_its_two_masses_apart(fit: xr.DataTree) -> None:
    answer = bs.diminishing(fit, beyond=1e24, gain_below=0.02)
    _, middle, _ = plots.plot_onset(answer, bins=20).axes
    (stairs,) = middle.patches
    values, edges, _ = stairs.get_data()
    draws = answer["onset_draws"].values
    inside = (draws > answer.attrs["start"]) & np.isfinite(draws)
    assert values.sum() == pytest.approx(inside.mean())
    assert (edges[0], edges[-1]) == pytest.approx((answer.attrs["start"], answer.attrs["horizon"]))
    assert middle.get_title(loc="left").startswith("from where on a doubling buys less than 0.02")
    cut = answer.assign(p_never=0.6)
    for shown, cuts in ((answer, 0), (cut, 1)):
        last = plots.plot_onset(shown, bins=200).axes[2]
        assert [each.get_label() for each in last.collections] == ["_cut"] * cuts
    for masses, told in (((0.35, 0.2), ["35 %", "20 %"]), ((0.005, 1e-5), ["0.5 %", "<0.1 %"])):
        figure = plots.plot_onset(
            answer.assign(dict(zip(("p_already", "p_never"), masses, strict=True)))
        )
        assert [axis.texts[0].get_text() for axis in figure.axes[::2]] == told
        assert f"already with {told[0]}" in figure.get_label()


def test_a_budget_is_divided(fit: xr.DataTree, runs: xr.Dataset) -> None:
    found = bs.allocate(fit, flops=GRID)
    names = ["params_optimal", "tokens_optimal", "tokens_per_param"]
    summary = bs.summarise(found[names])
    figure = plots.plot_allocation(found, summary, runs=runs)
    chosen = (found["params"], found["tokens"], found["tokens"] / found["params"])
    for axis, name, one in zip(figure.axes, names, chosen, strict=True):
        (median,) = lines(axis, "curve, median")
        np.testing.assert_allclose(median[:, 1], summary[name].sel(quantile=MIDDLE))
        (least,) = lines(axis, "least expected loss")
        np.testing.assert_allclose(least[:, 1], one)
    np.testing.assert_allclose(lines(figure.axes[0], "a")[0][:, 1], runs["params"][::2])
    for axis in figure.axes:
        (beyond,) = axis.patches
        assert beyond.get_x() == pytest.approx(float(runs["flops"].max()))


def test_bowls_mark_the_near_optimal_set(fit: xr.DataTree) -> None:
    budgets = np.array([1e21, 1e23])
    found = bs.allocate(fit, flops=budgets, near=0.05)
    sizes = found["params"].values[:, None] * np.geomspace(0.1, 10, 9)
    tokens = budgets[:, None] / (6 * sizes)
    table = xr.Dataset(
        {"params": (("flops", "size"), sizes), "tokens": (("flops", "size"), tokens)},
        {"flops": budgets},
    )
    summary = bs.summarise(bs.predict(fit, table)).assign_coords(params=table["params"])
    figure = plots.plot_isoflops(summary, found)
    (axis,) = figure.axes
    for place, label in enumerate(("1e21 FLOP", "1e23 FLOP")):
        (bowl,) = lines(axis, label)
        np.testing.assert_allclose(bowl[:, 0], sizes[place])
        np.testing.assert_allclose(
            bowl[:, 1], summary["loss"].isel(flops=place).sel(quantile=MIDDLE)
        )
    assert not {each.get_color() for each in axis.lines} & {color for color, _ in FAMILIES}
    beside(figure)
    # One colour in two shades: a page that turns it for a dark screen keeps them in order.
    shades = {
        label: each.get_alpha()
        for each in axis.lines
        for label in [each.get_label()]
        if "FLOP" in label
    }
    assert shades["1e21 FLOP"] < shades["1e23 FLOP"]
    assert {each.get_color() for each in axis.lines if "FLOP" in each.get_label()} == {MEDIAN}
    near = [each[:, 0] for each in lines(axis, "_near")]
    np.testing.assert_allclose(near, found["near_params"].values)
    narrow = bs.allocate(fit, flops=budgets, near=1e-12)
    title = plots.plot_isoflops(summary, narrow).axes[0].get_title(loc="left")
    assert "\nno size is within" in title
    half = found.copy(deep=True)
    half["near_params"][0] = np.nan
    (axis,) = plots.plot_isoflops(summary, half).axes
    said = "within 0.05 nat/token of the optimum with probability 90 %; none at 1e21 FLOP"
    assert axis.get_title(loc="left").endswith(said)
    assert len(lines(axis, "_near")) == 1


def test_posterior_over_prior(fit: xr.DataTree) -> None:
    figure = plots.plot_prior(fit, ("E", "alpha"), published={"alpha": 0.36})
    for axis, name in zip(figure.axes, ("E", "alpha"), strict=False):
        heights, edges, _ = axis.patches[1].get_data()
        shares, _ = np.histogram(fit["posterior"][name].values, edges)
        assert (heights * np.diff(edges)).sum() == pytest.approx(shares.sum() / 4000)
    assert lines(figure.axes[1], "published")[0][0, 0] == 0.36
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == ["prior", "posterior", "published"]
    with pytest.raises(ValueError, match="no group 'prior'"):
        plots.plot_prior(xr.DataTree.from_dict({"posterior": fit["posterior"].to_dataset()}))
    with pytest.raises(ValueError, match="'shares' is no scalar of the fit; it has"):
        plots.plot_prior(fit, ("shares",))


def test_a_posterior_much_narrower_than_its_prior_is_more_than_a_bar() -> None:
    rng = np.random.default_rng(0)
    tree = xr.DataTree.from_dict(
        {
            name: xr.Dataset({"E": (("chain", "draw"), rng.normal(2.0, spread, (4, 1000)))})
            for name, spread in (("prior", 1.0), ("posterior", 0.02))
        }
    )
    prior, posterior = plots.plot_prior(tree).axes[0].patches
    assert (posterior.get_data().values > 0).sum() > 5
    assert prior.get_data().values.size == 29


def test_residuals_are_per_cent_above_the_law(fit: xr.DataTree, runs: xr.Dataset) -> None:
    fitted = bs.summarise(bs.predict(fit, runs))
    figure = plots.plot_residuals(runs, fitted)
    expected = 100 * (runs["loss"] / fitted["loss"].sel(quantile=MIDDLE) - 1).values
    for axis, along in zip(
        figure.axes, (runs["flops"], runs["tokens"] / runs["params"]), strict=False
    ):
        (shown,) = lines(axis, "b")
        np.testing.assert_allclose(shown, np.column_stack([along[1::2], expected[1::2]]))
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == ["a", "b"]
    (apart,) = lines(figure.axes[2], "b")
    np.testing.assert_allclose(apart, np.column_stack([np.ones(6), expected[1::2]]))


def test_a_run_far_off_the_law_is_written_at_the_edge(fit: xr.DataTree, runs: xr.Dataset) -> None:
    fitted = bs.summarise(bs.predict(fit, runs))
    others = plots.plot_residuals(runs, fitted).axes[0].get_ylim()
    wild = runs.assign(loss=runs["loss"].copy(deep=True))
    wild["loss"][3] *= 2
    for axis in plots.plot_residuals(wild, fitted).axes:
        assert axis.get_ylim()[1] < 2 * others[1]
        (told,) = axis.texts
        above = 100 * float(wild["loss"][3] / fitted["loss"].sel(quantile=MIDDLE)[3] - 1)
        assert told.get_text() == f"{above:+.3g} %"


def test_residuals_at_the_edge_do_not_cover_each_other(fit: xr.DataTree, runs: xr.Dataset) -> None:
    fitted = bs.summarise(bs.predict(fit, runs))
    many = xr.concat([runs] * 10, "run")
    beside_each = xr.concat([fitted] * 10, "run")
    wild = many.assign(loss=("run", many["loss"].values * np.where(np.arange(120) < 6, 3.0, 1.0)))
    figure = plots.plot_residuals(wild, beside_each)
    figure.draw_without_rendering()
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        assert boxes
        for place, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:place])
        (marks,) = [each for each in axis.lines if each.get_label() == "_far"]
        assert len(marks.get_xdata()) == 6


@pytest.mark.parametrize("figure", ["residuals", "allocation"])
def test_a_legend_of_long_names_is_not_cut_off(
    fit: xr.DataTree, runs: xr.Dataset, figure: str
) -> None:
    names = [f"our-pretraining-recipe-of-the-year-{place}" for place in range(6)]
    runs = runs.assign(family=("run", names * 2))
    if figure == "residuals":
        drawn = plots.plot_residuals(runs, bs.summarise(bs.predict(fit, runs)))
    else:
        found = bs.allocate(fit, flops=GRID)
        known = bs.summarise(found[["params_optimal", "tokens_optimal", "tokens_per_param"]])
        drawn = plots.plot_allocation(found, known, runs=runs)
    drawn.draw_without_rendering()
    box = drawn.legends[0].get_window_extent()
    assert drawn.bbox.x0 <= box.x0
    assert box.x1 <= drawn.bbox.x1


def test_loss_beside_capability(fit: xr.DataTree) -> None:
    found = bs.capability(fit, flops=GRID[4:], length=[1, 10])
    summary = bs.summarise(found[["loss_gain", "gain", "score"]])
    figure = plots.plot_capability(summary, task="acc_hard")
    (median,) = lines(figure.axes[0], "curve, median")
    np.testing.assert_allclose(median[:, 1], summary["loss_gain"].sel(quantile=MIDDLE))
    for axis, name in zip(figure.axes[1:], ("score", "gain"), strict=True):
        for length, label in ((1, "1 step"), (10, "10 steps")):
            wanted = 100 * summary[name].sel(task="acc_hard", length=length, quantile=MIDDLE)
            np.testing.assert_allclose(lines(axis, label)[0][:, 1], wanted)
    with pytest.raises(ValueError, match="the summary has acc_easy, acc_hard"):
        plots.plot_capability(summary, task="acc_other")


def test_no_peak_is_told_of_what_is_nearly_nothing(fit: xr.DataTree) -> None:
    found = bs.capability(fit, flops=GRID[4:], length=[1, 10])
    summary = bs.summarise(found[["loss_gain", "gain", "score"]])
    peak = float(summary["gain"].sel(task="acc_hard", length=1, quantile=MIDDLE).idxmax("flops"))
    summary["gain"].loc[{"length": 10}] = 0.0005
    told = str(plots.plot_capability(summary, task="acc_hard").get_label())
    assert f"1 step: most at {wording.number(peak)} FLOP" in told
    assert "10 steps: never more than 0.1 points in the median" in told


def test_labels_of_capability_keep_to_their_panels(fit: xr.DataTree) -> None:
    found = bs.capability(fit, flops=GRID[4:], length=[1, 10], step=10.0)
    summary = bs.summarise(found[["loss_gain", "gain", "score"]])
    figure = plots.plot_capability(summary, task="acc_hard")
    figure.draw_without_rendering()
    boxes = [axis.yaxis.label.get_window_extent() for axis in figure.axes]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    assert "bands: 90 %" in figure.axes[1].get_title(loc="left")


def test_a_chance_too_small_for_its_line_to_be_seen_is_told(fit: xr.DataTree) -> None:
    found = bs.capability(fit, flops=GRID[4:], length=[1, 10, 100])
    summary = bs.summarise(found[["loss_gain", "gain", "score"]])
    for most, told in ((0.0003, "0.1 %"), (0.004, "1 %")):
        low = summary.copy(deep=True)
        low["score"].loc[{"length": 100}] = most
        figure = plots.plot_capability(low, task="acc_hard")
        labels = [each.get_text() for each in figure.legends[0].get_texts()]
        assert labels[-3:] == ["1 step", "10 steps", f"100 steps, below {told}"]


def test_a_forest_is_relative_to_the_posterior(fit: xr.DataTree) -> None:
    summary = bs.summarise(fit["posterior"].to_dataset()[["alpha", "beta"]])
    (axis,) = plots.plot_forest(summary, published={"alpha": (0.3478, 0.02)}).axes
    middle = float(summary["alpha"].sel(quantile=MIDDLE))
    (star,) = lines(axis, "published")
    assert star[0, 0] == pytest.approx(0.3478 / middle)
    wide = next(each for each in axis.collections if each.get_label() == "_wide")
    ends = wide.get_segments()[0][:, 0]
    np.testing.assert_allclose(
        ends, [float(summary["alpha"].sel(quantile=q)) / middle for q in (LOW, HIGH)]
    )
    (beside,) = axis.child_axes
    low, high = (float(summary["alpha"].sel(quantile=q)) for q in (LOW, HIGH))
    told = [each.get_text() for each in beside.get_yticklabels()]
    assert told[0] == f"{middle:.3g} ({low:.3g} to {high:.3g})"


def test_a_forest_of_ratios_is_logarithmic() -> None:
    levels = {"quantile": [0.05, 0.25, 0.5, 0.75, 0.95]}
    draws = {"A": [40.0, 200, 400, 900, 3684], "alpha": [0.3, 0.32, 0.34, 0.36, 0.38]}
    summary = xr.Dataset({name: ("quantile", each) for name, each in draws.items()}, levels)
    (axis,) = plots.plot_forest(summary).axes
    assert axis.get_xscale() == "log"
    assert axis.get_xlim()[0] > 0
    (beside,) = axis.child_axes
    assert beside.get_yticklabels()[0].get_text() == "400 (40 to 3680)"
    around = summary.assign(alpha=summary["alpha"] - 0.33)
    assert plots.plot_forest(around).axes[0].get_xscale() == "linear"


def test_a_file_among_the_weights_leaves_room_for_the_bars() -> None:
    weights = {"chinchilla": 0.6, "/home/someone/projects/scaling/models/mine.toml": 0.4}
    (axis,) = plots.plot_weights(weights).axes
    assert [each.get_text() for each in axis.get_yticklabels()] == ["chinchilla", "mine"]
    two = {f"/home/someone/{each}/models/mine.toml": 0.5 for each in "ab"}
    names = [each.get_text() for each in plots.plot_weights(two).axes[0].get_yticklabels()]
    assert len(set(names)) == 2


def test_ranks_say_what_their_axes_and_their_p_are() -> None:
    ranks = np.arange(200).reshape(100, 2) % 40
    found = xr.Dataset({"rank": (("simulation", "answer"), ranks)}, {"answer": ["loss", "onset"]})
    figure = plots.plot_ranks(found.assign_attrs(model="power", ranks=99))
    for axis in figure.axes:
        assert axis.get_xlabel() == "rank as a share of all (PIT)"
        assert [text.get_text() for text in axis.texts] == ["p < 0.01"]
    assert figure.get_supylabel().startswith("share of ranks below")
    assert figure.get_supxlabel().startswith("p: probability")


def test_weights_are_bars() -> None:
    (axis,) = plots.plot_weights({"a": 0.2, "b": 0.8}).axes
    assert [bar.get_width() for bar in axis.patches] == [0.8, 0.2]
    assert [each.get_text() for each in axis.get_yticklabels()] == ["b", "a"]


def test_candidates_and_what_is_bought(fit: xr.DataTree, runs: xr.Dataset) -> None:
    found = bs.next_runs(fit, budget=1e22, flops=1e24)
    figure = plots.plot_candidates(found, runs=runs)
    axis = figure.axes[0]
    assert axis.get_legend() is None
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().y0 >= axis.get_window_extent().y1
    for rule, told in (("most", "at any price"), ("most for each FLOP", "for each FLOP")):
        again = plots.plot_candidates(found.assign_attrs(rule=rule)).axes[0]
        assert told in again.get_title(loc="left")
    points, rings = axis.collections
    np.testing.assert_allclose(
        points.get_offsets(), np.column_stack([found["params"], found["tokens"]])
    )
    assert len(rings.get_offsets()) == int((found["chosen"] > 0).sum()) > 0


def test_a_frontier_ends_where_nothing_meets_the_target(fit: xr.DataTree) -> None:
    found = bs.compute_for(fit, loss=[2.2, 1.9], budget=1e22)
    compute = found["compute"].copy()
    compute[:, :100, 1] = np.inf
    found = found.assign(compute=compute)
    figure = plots.plot_frontier(found, price=1e-18)
    (axis,) = figure.axes
    beside(figure)
    # No line, dot or label lies where the budget and the confidence are named.
    for label, place in zip(axis.texts, ("x1", "y1"), strict=True):
        box, frame = label.get_window_extent(), axis.get_window_extent()
        assert getattr(box, place.replace("1", "0")) >= getattr(frame, place), label.get_text()
    (easy,), (hard,) = lines(axis, "loss 2.2"), lines(axis, "loss 1.9")
    assert easy[-1, 1] == 1.0
    never = float(np.isinf(compute[..., 1]).mean())
    assert never >= 0.1
    assert hard[-1, 1] == pytest.approx(1 - never)
    # So many draws meet it with a given sum.
    spent = 1e-18 * float(np.median(compute[..., 0]))
    assert easy[easy[:, 0] <= spent][-1, 1] == pytest.approx(0.5, abs=0.001)
    (dot, _) = [each for each in axis.lines if each.get_label() == "_enough"]
    assert dot.get_xdata()[0] == pytest.approx(1e-18 * float(found["compute_at_confidence"][0]))
    assert any(np.allclose(each.get_xdata(), 1e4) for each in axis.lines)
    assert axis.get_xlabel() == "money [USD]"
    compute[:, :20, 1] = 1e60  # two draws in a hundred
    tail = plots.plot_frontier(found.assign(compute=compute)).axes[0]
    assert tail.get_xlim()[1] < 1e30


def _makers(fit: xr.DataTree, runs: xr.Dataset) -> dict[str, Callable[[], Figure]]:
    table = bs.returns(fit, flops=GRID)
    summary, below = bs.summarise(table), (table["gain"] < 0.02).mean(("chain", "draw"))
    answer = bs.diminishing(fit, beyond=1e24, gain_below=0.02)
    found = bs.allocate(fit, flops=GRID)
    divided = bs.summarise(found[["params_optimal", "tokens_optimal", "tokens_per_param"]])
    fitted = bs.summarise(bs.predict(fit, runs))
    gains = bs.summarise(bs.capability(fit, flops=GRID[6:])[["loss_gain", "gain", "score"]])
    bought = bs.next_runs(fit, budget=1e22, flops=1e24)
    targets = bs.compute_for(fit, loss=[2.2, 1.9])
    return {
        "returns": lambda: plots.plot_returns(summary, below, threshold=0.02),
        "onset": lambda: plots.plot_onset(answer),
        "allocation": lambda: plots.plot_allocation(found, divided, runs=runs),
        "prior": lambda: plots.plot_prior(fit, ("E", "alpha", "beta")),
        "residuals": lambda: plots.plot_residuals(runs, fitted),
        "capability": lambda: plots.plot_capability(gains),
        "frontier": lambda: plots.plot_frontier(targets),
        "candidates": lambda: plots.plot_candidates(bought, runs=runs),
    }


def test_every_figure_is_quick_and_says_what_it_shows(
    fit: xr.DataTree, runs: xr.Dataset, tmp_path
) -> None:
    for name, make in _makers(fit, runs).items():
        began = time.process_time()
        figure = make()
        figure.savefig(tmp_path / f"{name}.png")
        # A second is asked for; a machine that does other things gets five.
        assert time.process_time() - began < 5, name
        assert len(str(figure.get_label())) > 40, name


def test_heavy_tails_do_not_explode_the_axes(fit: xr.DataTree) -> None:
    table = bs.returns(fit, flops=GRID)
    table["gain"][0, :3] = 1e6
    figure = plots.plot_returns(bs.summarise(table), xr.zeros_like(table["flops"]), threshold=0.02)
    assert figure.axes[0].get_ylim()[1] < 1
    tree = xr.DataTree.from_dict(
        {name: fit[name].to_dataset().copy(deep=True) for name in ("prior", "posterior")}
    )
    tree["posterior"]["E"][0, 0] = 1e9
    assert plots.plot_prior(tree).axes[0].get_xlim()[1] < 100


# The same answers as tables ----------------------------------------------------------------------


def test_the_range_of_the_loss_is_shown_in_its_unit(
    runs: xr.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = runs[["params", "tokens", "loss"]].to_dataframe()
    rows = []
    for unit in ("nat/token", "bit/token"):
        found = bs.read_runs(frame, unit=unit)
        render.runs_summary(summarise_runs(found))
        (row,) = (line for line in capsys.readouterr().out.splitlines() if line[:5] == "loss ")
        low, high = float(found["loss"].min()), float(found["loss"].max())
        assert row.split() == ["loss", "loss", "nat/token", f"{low:.4g}", f"{high:.4g}"]
        rows.append(row)
    assert rows[0] != rows[1]
    render.runs_summary(summarise_runs(bs.read_runs(frame.drop(columns="loss"), need=())))
    assert "\nloss " not in capsys.readouterr().out


def test_holding_somewhere_and_for_good_are_told_apart(
    fit: xr.DataTree, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"beyond": 1e24, "gain_below": 0.02, "horizon": 1e29}
    answer, table = bs.diminishing(fit, **asked), bs.returns(fit, flops=[1e24])
    render.returns_table(render.returns_facts(fit, answer, table))
    text = capsys.readouterr().out
    for each in (
        "P(it holds at 1e24)",
        f"P(it holds all the way from {wording.number(answer.attrs['start'])} to 1e29)",
        "P(it never holds for good before 1e29)",
        "onset, from where it holds for good, to 1e29: 5 %, 50 %, 95 %",
    ):
        assert each in text


def test_a_doubling_of_compute_and_a_step_of_a_task_have_names_of_their_own(
    fit: xr.DataTree, capsys: pytest.CaptureFixture[str]
) -> None:
    for step, more in ((2.0, "a doubling"), (10.0, "10x compute")):
        found = bs.capability(fit, flops=[1e24], length=[1, 10], step=step)
        render.capability_table(render.capability_facts(fit, found))
        text = capsys.readouterr().out
        assert f"{more} takes off [nat/token]" in text
        assert f"{more} adds [points]" in text
        assert f"where {more} adds most" in text
        assert text.count("steps of the task") == 2
        assert "a step " not in text


def test_parameters_and_scales_have_their_units(
    fit: xr.DataTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = render.fit_facts(fit, tmp_path / "fit.nc")
    units = {name: row.get("unit") for name, row in facts["parameters"].items()}
    assert (units["E"], units["sigma"], units["alpha"]) == ("nat/token", "log loss", None)
    render.fit_summary(facts)
    text = capsys.readouterr().out
    assert "E [nat/token] " in text
    assert "sigma [log loss] " in text
    where = bs.inputs_along(fit, [1e24])
    render.forecast_table(render.forecast_facts(fit, bs.predict(fit, where), where))
    assert "flops [FLOP]  params   tokens  " in capsys.readouterr().out


def test_a_scale_that_is_no_compute_is_not_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    tree = fake_fit(Model.load("power").changed(inputs={"scale": "examples"}))
    where = bs.inputs_along(tree, [1e24])
    facts = render.forecast_facts(tree, bs.predict(tree, where), where)
    render.forecast_table(facts)
    assert "FLOP" not in capsys.readouterr().out
