"""What a law can look like: its curves under the prior, along each of its inputs."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bayescale.plots import style, wording

#: Single draws shown beside the median.
SHOWN = 25
SIZE = (6.5, 3.0)


def plot_law(curves: xr.Dataset, *, size: tuple[float, float] = SIZE) -> Figure:
    """Plot draws of a law from its prior, one panel an input, the others at their references.

    Parameters
    ----------
    curves : xr.Dataset
        ``value`` (input, draw, point), with its ``long_name``; ``at`` (input, point); ``label`` (input). Points that
        a law does not allow are NaN. Attributes ``title`` and ``model``.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: the line in the middle is the median of the prior and the band holds 90 % of it; the thin
        lines are single draws, each of which is one way in which the law can run. Its label is a description in words.

    Examples
    --------
    >>> at = np.geomspace(0.1, 10, 5)
    >>> value = 1 + at ** -np.array([0.2, 0.3, 0.4])[:, None]
    >>> curves = xr.Dataset(
    ...     {"value": (("input", "draw", "point"), value[None], {"long_name": "loss"}),
    ...      "at": (("input", "point"), at[None]), "label": ("input", ["params"])},
    ...     {"input": ["params"]}, {"title": "A law", "model": "none"})
    >>> len(plot_law(curves).axes)
    1
    """
    figure = style.new_figure(size)
    axes = figure.subplots(1, curves.sizes["input"], sharey=True, squeeze=False).ravel()
    seen, told = [], []
    for axis, name in zip(axes, curves["input"].values, strict=True):
        value = curves["value"].sel(input=name).transpose("draw", "point").values
        known = np.isfinite(value).all(axis=0)
        at, value = curves["at"].sel(input=name).values[known], value[:, known]
        low, middle, high = np.quantile(value, [0.05, 0.5, 0.95], axis=0)
        axis.fill_between(at, low, high, color=style.WIDE, lw=0, zorder=1, label="prior, 90 %")
        for place, draw in enumerate(value[:SHOWN]):
            label = "single draws" if place == 0 else "_draw"
            axis.plot(at, draw, color=style.HALF, lw=0.5, zorder=2, label=label)
        axis.plot(at, middle, color=style.MEDIAN, lw=1.6, zorder=3, label="prior, median")
        if at[-1] / at[0] > 10:
            style.log_scale(axis)
            axis.xaxis.set_major_locator(LogLocator(numticks=9 // axes.size + 1))
        else:
            axis.tick_params(labelsize=style.SMALL, length=3)
            axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlabel(str(curves["label"].sel(input=name).values), fontsize=style.SMALL)
        seen += [low, high]
        told.append(
            f"along {name} from {wording.number(at[0])} to {wording.number(at[-1])} the median goes "
            f"from {wording.number(middle[0])} to {wording.number(middle[-1])}"
        )
    what = curves["value"].attrs["long_name"]
    if what == "score":
        axes[0].set_ylim(0, 1)
    else:
        axes[0].set_yscale("log")
        low, high = min(map(np.min, seen)), max(map(np.max, seen))
        axes[0].set_ylim(low / 1.1, high * 1.1)
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
        axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].set_ylabel(what.replace(", ", ",\n"), fontsize=style.NORMAL)
    axes[-1].legend(fontsize=style.SMALL, frameon=False)
    figure.suptitle(curves.attrs["title"], fontsize=style.LARGE, x=0.01, ha="left")
    figure.set_label(
        f"{curves.attrs['title']}, under the priors of model {curves.attrs['model']}: {what}; {'; '.join(told)}."
    )
    return figure
