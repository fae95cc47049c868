"""Colours, markers and bands that the figures share.

Families take the palette of Okabe and Ito 2008, without yellow, which fades on white, and without its two blues, which
fade on the bands; Tol's olive stands for them. Each colour has a marker of its own, so that families stay apart in
greyscale.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

#: Bounds of the central 90 % and 50 % intervals, and the median.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Width and height of a figure [inch]: the width of a page.
SIZE = (6.5, 6.4)
WIDE_SIZE, LOW_SIZE, TALL_SIZE = (6.5, 4.2), (6.5, 2.7), (6.5, 6.0)
SMALL, NORMAL, LARGE = 8, 9, 10

FAMILIES = (
    ("#D55E00", "o"),
    ("#009E73", "s"),
    ("#E69F00", "^"),
    ("#CC79A7", "D"),
    ("#000000", "X"),
    ("#6B6B6B", "v"),
    ("#999933", "P"),
)
#: Of lines that a colour alone would tell apart.
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1, 1.5)))
_LONGEST = 28  # letters of a family's name
MEDIAN, HALF, WIDE = "#0B4F80", "#7FAFD4", "#C3D9EC"
BEYOND, HELD_OUT, STAR, THRESHOLD = "#F6F4EF", "#000000", "#FFE14D", "#A31621"


def quantile(draws: xr.DataArray, level: float) -> np.ndarray:
    """Values of one quantile of a summary."""
    return draws.sel(quantile=level, method="nearest").values


def draw_bands(axis: Axes, scales: np.ndarray, draws: xr.DataArray) -> None:
    """Draw the median of a curve with its central 50 % and 90 % intervals."""
    for low, high, color, label in ((0.05, 0.95, WIDE, "90 %"), (0.25, 0.75, HALF, "50 %")):
        band = quantile(draws, low), quantile(draws, high)
        axis.fill_between(scales, *band, color=color, lw=0, zorder=2, label=f"curve, {label}")
    axis.plot(scales, quantile(draws, 0.5), color=MEDIAN, lw=1.4, zorder=3, label="curve, median")


def families(runs: xr.Dataset) -> Iterator[tuple[str, np.ndarray, str, str]]:
    """Name, rows, colour and marker of each family; those beyond the palette share its last entry.

    Examples
    --------
    >>> runs = xr.Dataset({"family": ("run", ["a", "b", "a"])})
    >>> [(name, rows.tolist()) for name, rows, _, _ in families(runs)]
    [('a', [True, False, True]), ('b', [False, True, False])]
    """
    if "family" not in runs:
        yield "runs", np.ones(runs.sizes["run"], bool), *FAMILIES[0]
        return
    family = runs["family"].values.astype(str)
    names = list(dict.fromkeys(family.tolist()))
    own = names if len(names) <= len(FAMILIES) else names[: len(FAMILIES) - 1]
    for name, shown, (color, marker) in zip(own, short(own), FAMILIES, strict=False):
        yield shown, family == name, color, marker
    if len(own) < len(names):
        yield f"{len(names) - len(own)} other families", ~np.isin(family, own), *FAMILIES[-1]


def short(names: Sequence[str]) -> list[str]:
    """Names cut to what leaves room for a figure, such that no two become one.

    Examples
    --------
    >>> short(["a", "a-name-as-long-as-a-whole-sentence"])
    ['a', 'a-name-as-long-as-a-whole-s…']
    >>> short([f"a-name-as-long-as-a-whole-sentence-{each}" for each in "ab"])
    ['a-name-as-lon…ole-sentence-a', 'a-name-as-lon…ole-sentence-b']
    """
    for head in (_LONGEST - 1, _LONGEST // 2 - 1, 0):
        tail = _LONGEST - 1 - head
        cut = [
            name if len(name) <= _LONGEST else f"{name[:head]}…{name[len(name) - tail :]}"
            for name in names
        ]
        if len(set(cut)) == len(set(names)):
            return cut
    return [
        name if len(name) <= _LONGEST else f"{name[: _LONGEST - 5]}… {place}"
        for place, name in enumerate(names, 1)
    ]


def in_order(count: int) -> list[tuple[str, float]]:
    """Colours and their opacities of what has an order, such as budgets: from light to dark, and none of a family.

    Examples
    --------
    >>> [round(shade, 2) for _, shade in in_order(3)], in_order(1)
    ([0.45, 0.72, 1.0], [('#0B4F80', 1.0)])
    """
    # Shades of one colour stay in order where a page turns it for a dark screen.
    return [(MEDIAN, float(shade)) for shade in np.linspace(1.0, 0.45, count)[::-1]]


def limit(axis: Axes, values: np.ndarray) -> None:
    """Set the vertical limits a little beyond the values."""
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low or abs(high) or 1.0)
    axis.set_ylim(low - room, high + room)


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure whose parts keep apart."""
    return Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.03, hspace=0.02))


def text_width(text: str, **look: Any) -> float:
    """Width of a text [inch]."""
    return float(TextPath((0, 0), text, prop=FontProperties(**look)).get_extents().width) / 72


def places(
    at: Sequence[float], widths: Sequence[float], room: float
) -> list[tuple[int, Literal["left", "center", "right"]]]:
    """Row and alignment of texts: those that would meet stand in rows, those at an end keep within it.

    Parameters
    ----------
    at, widths : sequence of float
        Of each text, and the room they have [inch].
    room : float

    Examples
    --------
    >>> places([1.0, 1.2, 4.0], [0.5, 0.5, 0.5], 4.0)
    [(0, 'center'), (1, 'center'), (0, 'right')]
    """
    ends: list[float] = []  # of each row
    found: list[tuple[int, Literal["left", "center", "right"]]] = [(0, "center")] * len(at)
    for index in np.argsort(at, kind="stable"):
        middle, width = at[index], widths[index]
        side: Literal["left", "center", "right"] = "center"
        if middle + width / 2 > room:
            side = "right"
        elif middle < width / 2:
            side = "left"
        begin = middle - {"left": 0.0, "center": width / 2, "right": width}[side]
        row = next((row for row, end in enumerate(ends) if end <= begin), len(ends))
        ends[row : row + 1] = [begin + width]
        found[index] = row, side
    return found


def across(axis: Axes, at: float) -> float:
    """Where a value of the horizontal axis lies, as a share of its width."""
    place = axis.transData.transform((at, axis.get_ylim()[0]))
    return float(axis.transAxes.inverted().transform(place)[0])


def legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], **look: Any) -> None:
    """Draw a legend above the axes, where no data can lie, in as many columns as there is room for."""
    longest = max(text_width(name, size=SMALL) for name in names)
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        # The line and the space about it take half an inch.
        ncols=int(np.clip(figure.get_figwidth() / (longest + 0.5), 1, 4)),
        fontsize=SMALL,
        frameon=False,
        **{"handletextpad": 0.5, "columnspacing": 1.4, **look},
    )


def scale_text(value: float, _: int | None = None) -> str:
    """A power of ten on an axis; plain text, for formulas are slow to set.

    Examples
    --------
    >>> [scale_text(value) for value in (1e-22, 0.1, 20.0, 1e3, 1e9, 1.25e24)]
    ['1e-22', '0.1', '20', '1000', '1e9', '1.25e24']
    """
    if 1e-3 < value < 1e4:
        return f"{value:g}"
    digits, power = f"{value:.2e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def percent_text(value: float, _: int | None = None) -> str:
    """A share on an axis.

    Examples
    --------
    >>> percent_text(0.05), percent_text(0.005), percent_text(1.0)
    ('5 %', '0.5 %', '100 %')
    """
    return f"{100 * value:.3g} %"


def edge(values: np.ndarray, times: float) -> float:
    """Size beyond which a value is shown at the edge, or it would flatten the rest: times what four in five keep to."""
    return max(times * float(np.quantile(np.abs(values), 0.8)), 1e-6)


class Decades(LogLocator):
    """Labels at decades; within two of them at 2 and 5 as well, and at even steps where these are not two."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Where the labels are."""
        low, high = min(vmin, vmax), max(vmin, vmax)
        self.set_params(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,))
        ticks = np.asarray(super().tick_values(vmin, vmax))
        if ((ticks >= low) & (ticks <= high)).sum() > 1:
            return list(ticks)
        even = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        return [float(each) for each in even if each > 0]


def log_scale(axis: Axes, *, vertical: bool = False, labels: int = 8) -> None:
    """A logarithmic horizontal axis, or both, with as many labels as fit."""
    axis.set_xscale("log")
    if vertical:
        axis.set_yscale("log")
    for each in (axis.xaxis, axis.yaxis) if vertical else (axis.xaxis,):
        each.set_major_locator(Decades(numticks=labels))
        each.set_major_formatter(FuncFormatter(scale_text))
        each.set_minor_locator(NullLocator())
    axis.tick_params(labelsize=SMALL, length=3)
    axis.spines[["top", "right"]].set_visible(False)


def halo() -> list[AbstractPathEffect]:
    """White about letters that stand on a band."""
    return [withStroke(linewidth=2.4, foreground="white")]


def draw_edge(axes: Iterable[Axes], summary: xr.Dataset) -> None:
    """Shade where there are no runs, if the summary says how far beyond them it goes."""
    beyond = summary.coords.get("decades_beyond")
    if beyond is None or not float(beyond.max()) > 0:
        return
    last = int(np.argmax(beyond.values))
    edge = float(summary["flops"][last] / 10 ** beyond[last])
    for axis in axes:
        left, right = axis.get_xlim()
        if edge < right:
            axis.axvspan(max(edge, left), right, color=BEYOND, lw=0, zorder=0)
            axis.axvline(max(edge, left), color="0.35", lw=0.8, ls=(0, (2, 2)), zorder=1)
            axis.set_xlim(left, right)
