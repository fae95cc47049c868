"""What a backtest found: coverage by level, probability integral transforms, and errors by distance."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bayescale.plots import style

_HELD, _MISSED, _BASELINE = style.MEDIAN, style.THRESHOLD, "0.55"
_DASHES = ((0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), "-")
#: Bins of the histogram: what each interval of .1 in probability holds.
_BINS = 10
#: Times what four in five errors and intervals keep to: beyond it they are cut off at the edge, or would flatten all
#: others.
_FAR = 5.0


def plot_backtest(
    result: xr.Dataset, *, model: str | None = None, size: tuple[float, float] = style.SIZE
) -> Figure:
    """Plot how honest forecasts of the held-out runs were.

    Parameters
    ----------
    result : xr.Dataset
        From :func:`bayescale.backtest`.
    model : str, optional
        Whose histogram and errors are shown; the first, if left out.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: above left, the share of held-out losses that central intervals of each level held: below
        the diagonal they are too narrow, above it too wide, and in the grey band honest forecasts lie in nine of ten
        cases, were as many runs as ``model`` forecast independent. Above right, where the losses fell in their
        forecasts: flat is calibrated, a valley is too narrow, a hill too wide, a slope biased. Below, each forecast:
        the loss less the median, with the 90 % interval, against the distance beyond the training runs; a triangle at
        the edge is a loss that lies beyond it. The label of the figure says it in words.

    Raises
    ------
    ValueError
        If ``model`` forecast nothing in this backtest.

    Examples
    --------
    >>> both = {name: ("forecast", [each]) for name, each in dict(pit=0.5, observed=2.0, median=2.0).items()}
    >>> ends = {name: ("forecast", [each]) for name, each in dict(q05=1.9, q95=2.1).items()}
    >>> which = {"of_model": ("forecast", ["power"]), "decades_beyond": ("forecast", [0.5])}
    >>> usual = {"calibration": 1.0, "calibration_low": 0.8, "calibration_high": 1.0}
    >>> shares = {name: (("model", "nominal"), [[each]]) for name, each in usual.items()}
    >>> index = {"model": ["power"], "nominal": [0.9], "is_fit": ("model", [True])}
    >>> len(plot_backtest(xr.Dataset({**both, **ends, **which, **shares}, index)).axes)
    3
    """
    names = [str(name) for name in result["model"].values]
    model = names[0] if model is None else model
    shown = result.isel(forecast=result["of_model"].values == model)
    if not shown.sizes["forecast"]:
        known = sorted(set(result["of_model"].values.tolist()))
        raise ValueError(f"model {model!r} forecast nothing; those that did: {', '.join(known)}")
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.05), width_ratios=(1.12, 1))
    coverage, histogram = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    errors = figure.add_subplot(grid[1, :])
    _draw_coverage(coverage, result, model)
    _draw_pit(histogram, shown["pit"].values)
    _draw_errors(errors, shown)
    histogram.set_title(f"{model}: {shown.sizes['forecast']} forecasts", **_title())
    errors.set_title(f"{model}: forecasts of held-out runs", **_title() | {"pad": 18})
    coverage.set_title("coverage, all cuts", **_title())
    for axis in (coverage, histogram, errors):
        axis.tick_params(labelsize=style.SMALL)
        axis.spines[["top", "right"]].set_visible(False)
    style.legend(figure, *coverage.get_legend_handles_labels(), handlelength=2.4)
    figure.set_label(_alt(result, shown, model))
    return figure


def _title() -> dict[str, Any]:
    return {"loc": "left", "fontsize": style.NORMAL, "pad": 4}


def _draw_coverage(axis: Axes, result: xr.Dataset, model: str) -> None:
    nominal = result["nominal"].values
    low, high = (result[f"calibration_{end}"].sel(model=model) for end in ("low", "high"))
    axis.fill_between(nominal, low, high, color="0.9", lw=0, label="honest, 9 of 10")
    axis.plot([0, 1], [0, 1], color="0.6", lw=0.8, label="_diagonal")
    dashes = iter(_DASHES * len(nominal))
    colors = iter(style.FAMILIES * len(nominal))
    for name in map(str, result["model"].values):
        share = result["calibration"].sel(model=name).values
        if name == model:
            look: dict[str, Any] = {"color": _HELD, "marker": "o", "lw": 1.8, "zorder": 4}
        elif bool(result["is_fit"].sel(model=name)):
            color, marker = next(colors)
            look = {"color": color, "marker": marker, "lw": 1.1, "zorder": 3}
        else:
            look = {"color": _BASELINE, "ls": next(dashes), "lw": 1.1}
        axis.plot(nominal, share, ms=3, label=name, **look)
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(FuncFormatter(style.percent_text))
    axis.set_xlabel("level of the interval", fontsize=style.NORMAL)
    axis.set_ylabel("held-out losses inside", fontsize=style.NORMAL)


def _draw_pit(axis: Axes, pits: np.ndarray) -> None:
    axis.hist(pits, bins=list(np.linspace(0, 1, _BINS + 1)), color=style.HALF, ec="white", lw=0.6)
    axis.axhline(pits.size / _BINS, color="0.35", lw=0.9, ls=(0, (4, 2)))
    axis.annotate(
        "calibrated",
        (1, pits.size / _BINS),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=style.SMALL,
        color="0.35",
        path_effects=style.halo(),
    )
    axis.set_xlim(0, 1)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("probability of a lower loss (PIT)", fontsize=style.NORMAL)
    axis.set_ylabel("held-out losses", fontsize=style.NORMAL)


def _draw_errors(axis: Axes, shown: xr.Dataset) -> None:
    far, middle = shown["decades_beyond"].values, shown["median"].values
    ends = [(shown[name].values - middle) / middle for name in ("q05", "q95")]
    error = (shown["observed"].values - middle) / middle
    # As the shares above count: an interval that ends at a count holds that count by chance.
    inside = np.abs(shown["pit"].values - 0.5) <= 0.45
    edge = style.edge(np.concatenate([error, *ends]), _FAR)
    beyond = np.abs(error) > edge
    axis.axhline(0, color="0.35", lw=0.8, zorder=1)
    axis.vlines(far, *ends, color=style.WIDE, lw=1.4, zorder=2, label="90 % interval")
    for which, color, marker, label in (
        (inside, _HELD, "o", "inside"),
        (~inside, _MISSED, "X", "outside"),
    ):
        axis.plot(
            far[which & ~beyond],
            error[which & ~beyond],
            color=color,
            marker=marker,
            ms=4 if marker == "X" else 3,
            mec="white",
            mew=0.3,
            ls="none",
            zorder=3,
            label=f"{label}, {which.sum()}",
        )
        for up, triangle in ((True, "^"), (False, "v")):
            cut = which & beyond & ((error > 0) == up)
            if cut.any():
                at = np.full(cut.sum(), edge if up else -edge)
                axis.plot(far[cut], at, color=color, marker=triangle, ms=5, ls="none", zorder=3)
    if beyond.any():
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, -1.05 * edge), min(high, 1.05 * edge))
    axis.set_xlim(left=0)
    axis.yaxis.set_major_formatter(FuncFormatter(style.percent_text))
    axis.set_xlabel("decades beyond the largest training run", fontsize=style.NORMAL)
    axis.set_ylabel("loss less its median forecast", fontsize=style.NORMAL)
    # Above the axis and beneath its title: there is no corner in which no forecast may lie.
    axis.legend(
        fontsize=style.SMALL,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.0,
        ncols=3,
    )


def _alt(result: xr.Dataset, shown: xr.Dataset, model: str) -> str:
    """The figure in words."""
    told = [
        f"{name} {share:.0%}"
        for name, share in zip(
            map(str, result["model"].values),
            result["calibration"].sel(nominal=0.9, method="nearest").values,
            strict=True,
        )
        if np.isfinite(share)
    ]
    return (
        f"Backtest: above left, share of held-out losses inside central intervals against their level; at 90 %: "
        f"{', '.join(told)}. Above right, histogram of the probability integral transforms of {model}; below, its "
        f"errors with 90 % intervals up to {float(shown['decades_beyond'].max()):.1f} decades beyond the training runs."
    )
