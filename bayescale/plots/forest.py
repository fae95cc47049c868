"""Posterior against published values, or models against each other: intervals in rows."""

from collections.abc import Mapping
from pathlib import PurePath

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayescale.plots import style, wording


def plot_forest(
    summary: xr.Dataset,
    *,
    published: Mapping[str, float | tuple[float, float]] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Plot intervals of scalar quantities in rows, each relative to its own median.

    Parameters
    ----------
    summary : xr.Dataset
        ``summarise(fit["posterior"].to_dataset()[names])``: scalars with dim quantile.
    published : mapping, optional
        By name a value, or a value with its standard error.
    size : tuple of float, optional
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: every row is divided by its median, so that 1 is the posterior's middle; on the right stand
        the median and the 90 % interval themselves. Bars hold 50 and 90 %, stars are published values with two
        standard errors. Its label is a description in words.

    Examples
    --------
    >>> levels = {"quantile": [0.05, 0.25, 0.5, 0.75, 0.95]}
    >>> summary = xr.Dataset({"alpha": ("quantile", [0.3, 0.32, 0.34, 0.36, 0.38])}, levels)
    >>> len(plot_forest(summary, published={"alpha": (0.348, 0.015)}).axes)
    1
    """
    names = [str(name) for name, each in summary.data_vars.items() if each.dims == ("quantile",)]
    names = [name for name in names if not name.endswith("_mcse")]
    figure = style.new_figure(size or (style.SIZE[0], 1.2 + 0.32 * len(names)))
    axis = figure.subplots()
    axis.axvline(1.0, color="0.6", lw=0.8)
    starred = [name for name in names if name in (published or {})]
    told, values, shown = [], [], [1.0]
    for row, name in enumerate(names):
        low, quarter, middle, upper, high = (
            float(style.quantile(summary[name], q)) for q in style.QUANTILES
        )
        ends = np.array([low, quarter, upper, high]) / middle
        axis.hlines(row, ends[0], ends[3], color=style.MEDIAN, lw=1.2, label="_wide")
        axis.hlines(row, ends[1], ends[2], color=style.MEDIAN, lw=4, label="_half")
        axis.plot(
            [1.0],
            [row],
            "o",
            color=style.MEDIAN,
            ms=4,
            label="posterior, 50 and 90 %" if row == 0 else "_median",
        )
        values.append(f"{wording.number(middle)} ({wording.number(low)} to {wording.number(high)})")
        shown += [ends[0], ends[3]]
        said = f"{name} {wording.number(middle)} (90 %: {wording.number(low)} to {wording.number(high)})"
        if published and name in published:
            given = published[name]
            value, error = given if isinstance(given, tuple) else (given, 0.0)
            at = np.array([value - 2 * error, value, value + 2 * error]) / middle
            axis.hlines(row + 0.25, at[0], at[2], color=style.THRESHOLD, lw=1.0, label="_error")
            label = "published" if name == starred[0] else "_published"
            axis.plot([at[1]], [row + 0.25], "*", color=style.THRESHOLD, ms=8, label=label)
            shown += [at[0], at[2]]
            said += f", published {wording.number(value)}"
        told.append(said)
    axis.set_yticks(range(len(names)), names, fontsize=style.NORMAL)
    axis.set_ylim(len(names) - 0.4, -0.6)
    low, high = min(shown), max(shown)
    axis.tick_params(axis="x", labelsize=style.SMALL)
    axis.spines[["top", "right"]].set_visible(False)
    if low > 0:
        # A half and a double are as far from the median.
        style.log_scale(axis)
        room = max((high / low) ** 0.05, 1.01)
        axis.set_xlim(low / room, high * room)
    else:
        room = 0.05 * (high - low)
        axis.set_xlim(low - room, high + room)
    axis.set_xlabel("relative to the posterior's median", fontsize=style.NORMAL)
    # Rows are relative: beside each stand its own numbers.
    beside = axis.secondary_yaxis("right")
    beside.set_yticks(range(len(names)), values, fontsize=style.SMALL)
    beside.tick_params(length=0)
    beside.spines["right"].set_visible(False)
    style.legend(figure, *axis.get_legend_handles_labels())
    figure.set_label(f"{'; '.join(told)}.")
    return figure


def plot_weights(
    weights: Mapping[str, float], *, size: tuple[float, float] | None = None
) -> Figure:
    """Plot the weights of a stack.

    Parameters
    ----------
    weights : mapping
        Weight by model, as the attribute ``stack`` of a stack holds them in JSON. A file is shown by its name.
    size : tuple of float, optional
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        Its label is a description in words.

    Examples
    --------
    >>> len(plot_weights({"chinchilla": 0.3, "skaling-drift": 0.7}).axes[0].patches)
    2
    """
    order = sorted(weights, key=lambda name: -weights[name])
    figure = style.new_figure(size or (style.SIZE[0] * 0.75, 0.7 + 0.3 * len(order)))
    axis = figure.subplots()
    axis.barh(range(len(order)), [weights[name] for name in order], color=style.HALF, height=0.65)
    for row, name in enumerate(order):
        axis.annotate(
            f"{weights[name]:.2f}",
            (weights[name], row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=style.SMALL,
        )
    files = [PurePath(name).stem if name.endswith(".toml") else name for name in order]
    shown = style.short(files if len(set(files)) == len(files) else order)
    axis.set_yticks(range(len(order)), shown, fontsize=style.NORMAL)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.08)
    axis.set_xlabel("weight", fontsize=style.NORMAL)
    axis.tick_params(axis="x", labelsize=style.SMALL)
    axis.spines[["top", "right"]].set_visible(False)
    figure.set_label("Weights: " + ", ".join(f"{name} {weights[name]:.2f}" for name in order) + ".")
    return figure
