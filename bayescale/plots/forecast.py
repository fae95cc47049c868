"""Loss and marginal returns against compute: the runs, the forecast beyond them, and what more compute buys."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from bayescale.plots import style, wording
from bayescale.plots.style import quantile
from bayescale.plots.wording import alt_text

_Style = dict[str, Any]
#: Entries of the legend about the curve, in this order after the families.
_CURVE = (
    "law at the runs' sizes",
    "curve, median",
    "curve, 50 %",
    "curve, 90 %",
    "one more run, 90 %",
)
_FEW = 3  # held-out runs that are named in the figure
_WIDEST = 50  # times that gains may span on a logarithmic axis: what is near 0 would take it all
_MANY = 60  # runs, from which on their markers are smaller
_STRIP = 0.42  # height of a row of probabilities, of the panels' 5.1

_RUN: _Style = {"mec": "white", "mew": 0.4, "ls": "none", "zorder": 4}
_STAR: _Style = {"marker": "*", "ms": 10, "mfc": style.STAR, "mew": 0.8, "ls": "none", "zorder": 6}
_END: _Style = {"marker": "_", "ms": 7, "ls": "none", "zorder": 5}


def plot_forecast(
    summary: xr.Dataset,
    *,
    runs: xr.Dataset,
    fitted: xr.Dataset | None = None,
    new_run: xr.Dataset | None = None,
    held_out: xr.Dataset | None = None,
    held_out_forecast: xr.Dataset | None = None,
    answers: Sequence[xr.Dataset] = (),
    size: tuple[float, float] = style.SIZE,
) -> Figure:
    """Plot the loss and what more compute buys, both against compute.

    Parameters
    ----------
    summary : xr.Dataset
        ``summarise(returns(fit, flops=grid))``; dims flops, quantile.
    runs : xr.Dataset
        Training runs with ``flops`` (or what takes its place), ``loss`` and, if known, ``family``; dim ``run``.
    fitted : xr.Dataset, optional
        ``summarise(predict(fit, runs))``: the law at the runs' own sizes, a thin line for each family whose runs lie
        on one path; dims run, quantile.
    new_run : xr.Dataset, optional
        ``summarise(predict(fit, inputs_along(fit, grid), kind="run"))``: where one more run may fall.
    held_out : xr.Dataset, optional
        Runs that the fit has not seen, with their losses and, if known, ``run_id``; dim ``run``.
    held_out_forecast : xr.Dataset, optional
        ``summarise(predict(fit, held_out, kind="run"))``; dims run, quantile.
    answers : sequence of xr.Dataset
        From :func:`bayescale.diminishing`, all in one sense and with one threshold: the scales to mark.
    size : tuple of float
        Width and height [inch]. Letters are 8 points and more at the default size.

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: the dark band holds the curve with probability 50 %, the light one with 90 %, the dashed
        lines hold one more run with 90 %. Right of the dashed vertical line there are no runs. Runs lie off the
        curve where they were allocated otherwise than its path; ``fitted`` passes through them. A triangle at the
        edge is a held-out run that lies beyond it. The label of the figure is :func:`alt_text`. A notebook shows it
        after ``%matplotlib inline``.

    Raises
    ------
    ValueError
        If quantiles or columns are missing, or the answers differ in more than their scale.

    Examples
    --------
    >>> scales = {"flops": ("flops", [1e21, 1e25]), "quantile": [0.05, 0.25, 0.5, 0.75, 0.95]}
    >>> bands = [[1.8, 1.9, 2.0, 2.1, 2.2], [1.3, 1.4, 1.5, 1.6, 1.7]]
    >>> summary = xr.Dataset({name: (("flops", "quantile"), bands) for name in ("loss", "gain")}, scales)
    >>> runs = xr.Dataset({"flops": ("run", [1e20, 1e21]), "loss": ("run", [2.3, 2.0])})
    >>> len(plot_forecast(summary, runs=runs).axes)
    2
    """
    _check(
        answers,
        {"runs": runs, "held_out": held_out},
        {
            "summary": summary,
            "fitted": fitted,
            "new_run": new_run,
            "held_out_forecast": held_out_forecast,
        },
    )
    figure = style.new_figure(size)
    rows = {"height_ratios": [3.1, 2, _STRIP] if answers else [3.1, 2]}
    axes = figure.subplots(3 if answers else 2, 1, sharex=True, gridspec_kw=rows)
    _draw_scale(axes, summary, runs, held_out, answers)
    _draw_loss(axes[0], summary, runs, fitted, new_run)
    _limit_loss(axes[0], summary, runs, new_run, held_out, held_out_forecast)
    _draw_held_out(axes[0], summary, held_out, held_out_forecast)
    _draw_marginal(axes[1], summary, answers)
    if answers:
        _draw_probabilities(axes[2], summary, answers)
    _draw_beyond(axes, summary, runs, answers)
    _draw_legend(figure, axes[0])
    figure.set_label(alt_text(summary, runs=runs, held_out=held_out, answers=answers))
    return figure


def _check(
    answers: Sequence[xr.Dataset],
    tables: Mapping[str, xr.Dataset | None],
    summaries: Mapping[str, xr.Dataset | None],
) -> None:
    for name, table in summaries.items():
        if table is None:
            continue
        found = table["quantile"].values if "quantile" in table.coords else np.array([])
        if not all(np.isclose(found, wanted).any() for wanted in style.QUANTILES):
            raise ValueError(
                f"{name}: expected quantiles {', '.join(map(str, style.QUANTILES))}, got "
                f"{', '.join(map(str, found)) or 'none'}; pass what summarise returned"
            )
    summary = summaries["summary"]
    column = "flops" if summary is None else wording.column_of(summary)
    for name, table in tables.items():
        missing = [each for each in (column, "loss") if table is not None and each not in table]
        if missing:
            raise ValueError(f"{name}: no column {' and '.join(map(repr, missing))} to plot")
    for name, beside in (("fitted", "runs"), ("held_out_forecast", "held_out")):
        forecast, table = summaries[name], tables[beside]
        if forecast is None:
            continue
        given = 0 if table is None else table.sizes["run"]
        if forecast["loss"].sizes["run"] != given:
            raise ValueError(
                f"{name}: {forecast['loss'].sizes['run']} forecasts for {given} runs in {beside}; "
                f"pass {beside} and its own forecast"
            )
    senses = {(answer.attrs["predicate"], answer.attrs["threshold"]) for answer in answers}
    if len(senses) > 1:
        raise ValueError(
            f"answers: one figure shows one sense of diminishing, got {sorted(senses)}; plot each apart"
        )


def _draw_scale(
    axes: Sequence[Axes],
    summary: xr.Dataset,
    runs: xr.Dataset,
    held_out: xr.Dataset | None,
    answers: Sequence[xr.Dataset],
) -> None:
    column = wording.column_of(summary)
    shown = [runs[column].values, summary["flops"].values]
    shown += [] if held_out is None else [held_out[column].values]
    every = np.concatenate([*shown, [answer.attrs["beyond"] for answer in answers]])
    for axis in axes:
        style.log_scale(axis, labels=12)
    last = axes[-1]
    last.set_xlim(every.min() / 1.6, every.max())
    name, unit = wording.scale_name(summary)
    last.set_xlabel(f"{name} [{unit.strip()}]" if unit else name, fontsize=style.NORMAL)


def _draw_loss(
    axis: Axes,
    summary: xr.Dataset,
    runs: xr.Dataset,
    fitted: xr.Dataset | None,
    new_run: xr.Dataset | None,
) -> None:
    style.draw_bands(axis, summary["flops"].values, summary["loss"])
    if new_run is not None:
        line: _Style = {"color": style.MEDIAN, "lw": 0.7, "ls": (0, (4, 2)), "zorder": 2}
        for level, label in ((0.05, _CURVE[-1]), (0.95, "_upper")):
            values = quantile(new_run["loss"], level)
            axis.plot(new_run["flops"].values, values, label=label, **line)
    on_path = False
    size = 6 if runs.sizes["run"] <= _MANY else 4
    for name, rows, color, marker in style.families(runs):
        scales = runs[wording.column_of(summary)].values[rows]
        losses = runs["loss"].values[rows]
        axis.plot(scales, losses, label=name, color=color, marker=marker, ms=size, **_RUN)
        if fitted is not None:
            order = np.argsort(scales)
            law = quantile(fitted["loss"], 0.5)[rows][order]
            # Where more compute has more loss, the sizes lie on no path that a line could follow.
            if (np.diff(law) <= 0).all():
                axis.plot(scales[order], law, color=color, lw=0.8, zorder=3.5, label="_fitted")
                on_path = True
    if on_path:
        axis.plot([], [], color="0.35", lw=0.8, label=_CURVE[0])
    axis.set_title(_said(summary), loc="left", fontsize=style.SMALL, color="0.35", pad=4)
    axis.set_ylabel(f"test loss [{wording.unit_of(summary['loss'])}]", fontsize=style.NORMAL)


def _limit_loss(
    axis: Axes,
    summary: xr.Dataset,
    runs: xr.Dataset,
    new_run: xr.Dataset | None,
    held_out: xr.Dataset | None,
    forecast: xr.Dataset | None,
) -> None:
    """Leave room for the runs and the curve; for the rest, as much again on either side."""
    inner = np.concatenate(
        [runs["loss"].values, *(quantile(summary["loss"], level) for level in (0.05, 0.95))]
    )
    rest = [] if held_out is None else [held_out["loss"].values]
    rest += [
        quantile(each["loss"], level)
        for each in (new_run, forecast)
        if each is not None
        for level in (0.05, 0.95)
    ]
    inner = inner[np.isfinite(inner)]
    low, high = inner.min(), inner.max()
    room = high - low or abs(high)
    style.limit(
        axis, np.concatenate([inner, *(np.clip(each, low - room, high + room) for each in rest)])
    )


def _said(summary: xr.Dataset) -> str:
    """What the curve is of: model, path and family."""
    said = [f"{key} {summary.attrs[key]}" for key in ("model", "path") if key in summary.attrs]
    family = summary.attrs.get("family", "")
    if family:
        said.append("a family without runs" if family == "new" else f"family {family}")
    return ", ".join(said)


def _draw_held_out(
    axis: Axes, summary: xr.Dataset, held_out: xr.Dataset | None, forecast: xr.Dataset | None
) -> None:
    if held_out is None:
        return
    color = style.HELD_OUT
    scales, losses = held_out[wording.column_of(summary)].values, held_out["loss"].values
    if forecast is not None:
        for low, high, width in ((0.05, 0.95, 1.0), (0.25, 0.75, 3.0)):
            ends = quantile(forecast["loss"], low), quantile(forecast["loss"], high)
            axis.vlines(scales, *ends, color=color, lw=width, zorder=5, label="_forecast")
            if width == 1.0:
                axis.plot(np.tile(scales, 2), np.concatenate(ends), c=color, label="_ends", **_END)
    low, high = axis.get_ylim()
    inside = (losses >= low) & (losses <= high)
    axis.plot(scales[inside], losses[inside], label="held out", mec=color, color=color, **_STAR)
    for above in (True, False):
        beyond = losses > high if above else losses < low
        for scale, loss in zip(scales[beyond], losses[beyond], strict=True):
            _tell_beyond(axis, scale, loss, above=above)
    if losses.size > _FEW:
        return
    numbered = losses.size > 1
    named = zip(style.short(wording.names(held_out)), losses, strict=True)
    for row, (name, loss) in enumerate(named):
        text = f"{row + 1}: " if numbered else ""
        text += f"{name}, held out\npublished {loss:.4g}"
        if forecast is not None:
            told = wording.interval(forecast["loss"].isel(run=row))
            text += f"{', ' if numbered else '\n'}forecast {told}"
        # Losses fall with scale, so the corner above on the right is free.
        axis.annotate(
            text,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-5, -36 - 25 * row),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=style.SMALL,
            linespacing=1.25,
            zorder=6,
        )
        if numbered and inside[row]:
            right = style.across(axis, scales[row]) < 0.1
            axis.annotate(
                f"{row + 1}",
                (scales[row], loss),
                xytext=(6 if right else -6, -3),
                textcoords="offset points",
                ha="left" if right else "right",
                va="top",
                fontsize=style.NORMAL,
                fontweight="bold",
                path_effects=style.halo(),
                zorder=7,
            )


def _tell_beyond(axis: Axes, scale: float, loss: float, *, above: bool) -> None:
    """Mark a held-out run at the edge that it lies beyond, with its loss."""
    at = axis.get_ylim()[1 if above else 0]
    look = _STAR | {"marker": "^" if above else "v", "ms": 7, "clip_on": False}
    axis.plot([scale], [at], mec=style.HELD_OUT, label="_beyond", **look)
    place = style.across(axis, scale)
    # The corner above on the right bears the names: there it stands over the frame.
    over = above and place > 0.5
    axis.annotate(
        f"held out {loss:.4g}",
        (scale, at),
        xytext=(0, 6) if over else (-7 if place > 0.8 else 7, -2 if above else 2),
        textcoords="offset points",
        ha="right" if place > 0.8 else "center" if over else "left",
        va="top" if above and not over else "bottom",
        fontsize=style.SMALL,
        zorder=7,
    )


def _draw_marginal(axis: Axes, summary: xr.Dataset, answers: Sequence[xr.Dataset]) -> None:
    name = wording.measure(answers)
    values = summary[name]
    style.draw_bands(axis, summary["flops"].values, values)
    label = f"{wording.meaning(summary, name)}\n[{wording.unit_of(values)}]"
    axis.set_ylabel(label, fontsize=style.NORMAL)
    shown = [*quantile(values, 0.05), *quantile(values, 0.95)]
    if answers and answers[0].attrs["predicate"] in ("gain_below", *wording.MEASURES):
        threshold = answers[0].attrs["threshold"]
        axis.axhline(threshold, color=style.THRESHOLD, lw=1.0, ls=(0, (6, 2)), zorder=3.5)
        axis.annotate(
            f"threshold {threshold:g}",
            (0, threshold),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=style.SMALL,
            color=style.THRESHOLD,
            zorder=4,
        )
        shown.append(threshold)
    if min(shown) <= max(shown) / _WIDEST:
        axis.axhline(0.0, color="0.6", lw=0.6, zorder=2.5)
        style.limit(axis, np.array(shown))
        return
    # A power law is straight, and a threshold small beside the first gains stays in sight.
    axis.set_yscale("log")
    axis.set_ylim(min(shown) / 1.25, max(shown) * 1.15)
    axis.yaxis.set_major_locator(style.Decades(numticks=12))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def _draw_probabilities(axis: Axes, summary: xr.Dataset, answers: Sequence[xr.Dataset]) -> None:
    question = wording.question(answers[0], summary)
    axis.set_title(question, loc="left", fontsize=style.NORMAL, pad=3)
    axis.yaxis.set_major_locator(NullLocator())
    # The labels of the vertical axis take an inch.
    room = (
        figure.get_figwidth() if isinstance(figure := axis.figure, Figure) else style.SIZE[0]
    ) - 1.0
    places = style.places(
        [room * style.across(axis, answer.attrs["beyond"]) for answer in answers],
        [
            style.text_width(wording.chance(answer), size=style.LARGE, weight="bold") + 0.1
            for answer in answers
        ],
        room,
    )
    rows = 1 + max(row for row, _ in places)
    grid = axis.get_gridspec()
    if grid is not None:
        grid.set_height_ratios([3.1, 2, _STRIP * rows])
    axis.set_ylim(rows, 0)
    for answer, (row, side) in zip(answers, places, strict=True):
        axis.text(
            answer.attrs["beyond"],
            row + 0.52,
            wording.chance(answer),
            ha=side,
            va="center",
            bbox={"boxstyle": "square,pad=0.15", "fc": style.BEYOND, "ec": "none"},
            fontsize=style.LARGE,
            fontweight="bold",
            zorder=4,
        )


def _draw_beyond(
    axes: Sequence[Axes], summary: xr.Dataset, runs: xr.Dataset, answers: Sequence[xr.Dataset]
) -> None:
    """Shade where there are no runs, and mark the scales asked about."""
    for axis in axes[1:]:
        for answer in answers:
            axis.axvline(answer.attrs["beyond"], color="0.45", lw=0.7, ls=(0, (1, 2)), zorder=3.2)
    edge, last = wording.largest(summary, runs), float(summary["flops"].max())
    if last <= edge:
        return
    for axis in axes:
        axis.axvspan(edge, axis.get_xlim()[1], color=style.BEYOND, lw=0, zorder=0)
        axis.axvline(edge, color="0.35", lw=0.8, ls=(0, (2, 2)), zorder=1)
    axes[0].annotate(
        f"{np.log10(last / edge):.1f} decades\nbeyond the runs",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(-5, -5),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=style.NORMAL,
        color="0.35",
    )


def _draw_legend(figure: Figure, axis: Axes) -> None:
    """Families first, column by column; then the curve."""
    entries = list(zip(*axis.get_legend_handles_labels(), strict=True))
    entries.sort(key=lambda each: _CURVE.index(each[1]) + 1 if each[1] in _CURVE else 0)
    style.legend(figure, [each[0] for each in entries], [each[1] for each in entries])
