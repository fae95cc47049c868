"""Loss and marginal returns against compute: the runs, the forecast beyond them, and what more compute buys."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bayescale.plots import style, wording
from bayescale.plots.style import quantile
from bayescale.plots.wording import alt_text

#: Entries of the legend about the curve, in this order after the families.
_CURVE = (
    "law at the runs' sizes",
    "curve, median",
    "curve, 50 %",
    "curve, 90 %",
    "one more run, 90 %",
)
_FEW = 3  # held-out runs that are named in the figure

_Style = dict[str, Any]
_RUN: _Style = {"ms": 6, "mec": "white", "mew": 0.4, "ls": "none", "zorder": 4}
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
        ``summarise(predict(fit, runs))``: the law at the runs' own sizes, a thin line for each family; dims run,
        quantile.
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
        curve where they were allocated otherwise than its path; ``fitted`` passes through them. The label of the
        figure is :func:`alt_text`. A notebook shows it after ``%matplotlib inline``.

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
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.03, hspace=0.02))
    rows = {"height_ratios": [3.1, 2, 0.42] if answers else [3.1, 2]}
    axes = figure.subplots(3 if answers else 2, 1, sharex=True, gridspec_kw=rows)
    _draw_scale(axes, summary, runs, held_out, answers)
    _draw_loss(axes[0], summary, runs, fitted, new_run)
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
        axis.set_xscale("log")
        axis.tick_params(labelsize=style.SMALL, length=3)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.spines[["top", "right"]].set_visible(False)
    last = axes[-1]
    last.set_xlim(every.min() / 1.6, every.max())
    last.xaxis.set_major_locator(LogLocator(numticks=12))
    last.xaxis.set_major_formatter(FuncFormatter(style.scale_text))
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
    for name, rows, color, marker in style.families(runs):
        scales = runs[wording.column_of(summary)].values[rows]
        losses = runs["loss"].values[rows]
        axis.plot(scales, losses, label=name, color=color, marker=marker, **_RUN)
        if fitted is not None:
            order = np.argsort(scales)
            law = quantile(fitted["loss"], 0.5)[rows][order]
            axis.plot(scales[order], law, color=color, lw=0.8, zorder=3.5, label="_fitted")
    if fitted is not None:
        axis.plot([], [], color="0.35", lw=0.8, label=_CURVE[0])
    axis.set_title(_said(summary), loc="left", fontsize=style.SMALL, color="0.35", pad=4)
    axis.set_ylabel(f"test loss [{wording.unit_of(summary['loss'])}]", fontsize=style.NORMAL)
    bounds = [quantile(summary["loss"], level) for level in (0.05, 0.95)]
    style.limit(axis, np.concatenate([runs["loss"].values, *bounds]))


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
    axis.plot(scales, losses, label="held out", mec=color, color=color, **_STAR)
    if losses.size > _FEW:
        return
    for index, name in enumerate(wording.names(held_out)):
        text = f"{name}, held out\npublished {losses[index]:.4g}"
        if forecast is not None:
            text += f"\nforecast {wording.interval(forecast['loss'].isel(run=index))}"
        # Losses fall with scale, so the corner above on the right is free.
        axis.annotate(
            text,
            (scales[index], losses[index]),
            xytext=(0.99, 0.83 - 0.19 * index),
            textcoords="axes fraction",
            ha="right",
            va="top",
            fontsize=style.SMALL,
            linespacing=1.25,
            arrowprops={"arrowstyle": "-", "lw": 0.7, "shrinkA": 1, "shrinkB": 6, "relpos": (0, 0)},
            zorder=6,
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
    if min(shown) <= 0:
        axis.axhline(0.0, color="0.6", lw=0.6, zorder=2.5)
        style.limit(axis, np.array(shown))
        return
    # A power law is straight, and a threshold small beside the first gains stays in sight.
    axis.set_yscale("log")
    axis.set_ylim(min(shown) / 1.25, max(shown) * 1.15)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())


def _draw_probabilities(axis: Axes, summary: xr.Dataset, answers: Sequence[xr.Dataset]) -> None:
    question = wording.question(answers[0], summary)
    axis.set_title(question, loc="left", fontsize=style.NORMAL, pad=3)
    axis.yaxis.set_major_locator(NullLocator())
    axis.set_ylim(0, 1)
    for answer in answers:
        axis.text(
            answer.attrs["beyond"],
            0.45,
            wording.chance(answer),
            ha="center",
            va="center",
            fontsize=style.LARGE,
            fontweight="bold",
            bbox={"boxstyle": "square,pad=0.15", "fc": style.BEYOND, "ec": "none"},
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
    found: dict[str, Artist] = {}
    for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
        found.setdefault(name, handle)
    order = [*(name for name in found if name not in _CURVE), *(n for n in _CURVE if n in found)]
    longest = max(map(len, order))
    figure.legend(
        handles=[found[name] for name in order],
        loc="outside upper center",
        # A letter of 8 points is .055 inch wide, the marker and the space about it .4.
        ncols=int(np.clip(figure.get_figwidth() / (0.055 * longest + 0.4), 1, 4)),
        fontsize=style.SMALL,
        frameon=False,
        handletextpad=0.5,
        columnspacing=1.4,
    )
