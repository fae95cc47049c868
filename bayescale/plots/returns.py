"""What a step of compute buys, and the probability that it is less than a threshold."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bayescale.plots import style, wording


def plot_returns(
    summary: xr.Dataset,
    below: xr.DataArray,
    *,
    threshold: float,
    size: tuple[float, float] = style.WIDE_SIZE,
) -> Figure:
    """Plot the gain of a step against compute, and below it how probably the gain is too small.

    Parameters
    ----------
    summary : xr.Dataset
        ``summarise(returns(fit, flops=grid))``; dims flops, quantile.
    below : xr.DataArray
        ``(returns(fit, flops=grid)["gain"] < threshold).mean(("chain", "draw"))``; dim flops.
    threshold : float
        Gain that a step has to be worth [unit of the loss].
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: above, the bands hold the gain with 50 and 90 %; below, the line is the probability that a
        step buys less than the threshold. Its label is a description in words.

    Examples
    --------
    >>> scales = {"flops": ("flops", [1e21, 1e25]), "quantile": [0.05, 0.25, 0.5, 0.75, 0.95]}
    >>> gain = [[0.01, 0.02, 0.03, 0.04, 0.05], [0.004, 0.005, 0.006, 0.007, 0.008]]
    >>> summary = xr.Dataset({"gain": (("flops", "quantile"), gain)}, scales)
    >>> len(plot_returns(summary, xr.DataArray([0.0, 1.0], dims="flops"), threshold=0.01).axes)
    2
    """
    flops, gain = summary["flops"].values, summary["gain"]
    figure = style.new_figure(size)
    above, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1]})
    style.draw_bands(above, flops, gain)
    above.axhline(threshold, color=style.THRESHOLD, lw=1.0, ls=(0, (6, 2)), zorder=3.5)
    above.annotate(
        f"threshold\n{threshold:g}",
        # Beside the axes: the bands may lie anywhere within them.
        (1, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=style.SMALL,
        color=style.THRESHOLD,
    )
    style.limit(
        above, np.append(np.concatenate([style.quantile(gain, q) for q in (0.05, 0.95)]), threshold)
    )
    above.set_ylabel(
        f"{wording.meaning(summary, 'gain')}\n[{wording.unit_of(gain)}]", fontsize=style.NORMAL
    )
    style.legend(figure, *above.get_legend_handles_labels())
    lower.plot(flops, below.values, color=style.THRESHOLD, lw=1.4, label="probability")
    lower.set_ylim(-0.03, 1.03)
    lower.yaxis.set_major_formatter(FuncFormatter(style.percent_text))
    lower.set_ylabel(f"P(less than {threshold:g})", fontsize=style.NORMAL)
    for axis in (above, lower):
        style.log_scale(axis)
    style.draw_edge((above, lower), summary)
    name, unit = wording.scale_name(summary)
    lower.set_xlabel(f"{name} [{unit.strip()}]" if unit else name, fontsize=style.NORMAL)
    ends = [wording.interval(gain.isel(flops=place)) for place in (0, -1)]
    figure.set_label(
        f"Above: {wording.meaning(summary, 'gain')} against {name}, from {ends[0]} at {wording.number(flops[0])} "
        f"to {ends[1]} at {wording.number(flops[-1])}{unit}. "
        f"Below: the probability that it is less than {threshold:g}, from "
        f"{float(below[0]):.0%} to {float(below[-1]):.0%}."
    )
    return figure
