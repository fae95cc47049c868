"""Returns in loss beside returns in capability: the one may shrink where the other grows."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayescale.plots import style, wording

#: Gain of a task below which the description names no peak [points].
_LEAST = 0.1
_COLORS = tuple(color for color, _ in style.FAMILIES)


def plot_capability(
    summary: xr.Dataset,
    *,
    task: str | None = None,
    size: tuple[float, float] = style.TALL_SIZE,
) -> Figure:
    """Plot what a step of compute buys in loss, and what it adds to a task of one or of many steps.

    Parameters
    ----------
    summary : xr.Dataset
        ``summarise(capability(fit, flops=grid)[["loss_gain", "gain", "score"]])``; dims flops, task, length, quantile.
    task : str, optional
        By default the first.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: above, what a step takes off the loss; in the middle, the chance of a whole task; below,
        what a step adds to it, in points; for a task of one step, and of many that must all succeed. Lines are
        medians, bands hold 90 %. Its label is a description in words.

    Raises
    ------
    ValueError
        If the summary has no such task.

    Examples
    --------
    >>> levels = {"quantile": [0.05, 0.25, 0.5, 0.75, 0.95], "flops": [1e23, 1e25]}
    >>> loss = (("flops", "quantile"), [[0.02] * 5, [0.01] * 5])
    >>> score = (("flops", "task", "length", "quantile"), np.full((2, 1, 2, 5), 0.3))
    >>> coords = levels | {"task": ["acc_piqa"], "length": [1, 10]}
    >>> summary = xr.Dataset({"loss_gain": loss, "gain": score, "score": score}, coords)
    >>> len(plot_capability(summary).axes)
    3
    """
    names = [str(each) for each in summary["task"].values]
    task = names[0] if task is None else task
    if task not in names:
        raise ValueError(f"task = {task!r}: the summary has {', '.join(names)}")
    flops = summary["flops"].values
    figure = style.new_figure(size)
    axes = figure.subplots(3, 1, sharex=True)
    style.draw_bands(axes[0], flops, summary["loss_gain"])
    step = summary.attrs.get("step", 2.0)
    what = "a doubling" if step == 2 else f"{step:g} times the compute"
    axes[0].set_ylabel(
        f"{what}\ntakes off the loss\n[{wording.unit_of(summary['loss_gain'])}]",
        fontsize=style.NORMAL,
    )
    style.limit(
        axes[0], np.concatenate([style.quantile(summary["loss_gain"], q) for q in (0.05, 0.95)])
    )
    told = []
    for axis, name, label in (
        (axes[1], "score", f"chance of\n{style.short([task])[0]}\n[%]"),
        (axes[2], "gain", f"{what}\nadds [points]"),
    ):
        shown = []
        for place, length in enumerate(summary["length"].values):
            steps = f"{length} {'step' if length == 1 else 'steps'}"
            color, dashes = (each[place % len(each)] for each in (_COLORS, style.DASHES))
            values = 100 * summary[name].sel(task=task, length=length)
            low, middle, high = (style.quantile(values, level) for level in (0.05, 0.5, 0.95))
            axis.fill_between(flops, low, high, color=color, alpha=0.18, lw=0, label="_band")
            axis.plot(
                flops,
                middle,
                color=color,
                ls=dashes,
                lw=1.4,
                label=f"{steps}{_flat(high, name)}",
            )
            shown += [low, high]
            if name == "gain":
                # Where there is nearly nothing, there is no peak but by chance.
                told.append(
                    f"{steps}: most at {wording.number(flops[int(middle.argmax())])} FLOP"
                    if middle.max() > _LEAST
                    else f"{steps}: never more than {_LEAST:g} points in the median"
                )
        style.limit(axis, np.concatenate(shown))
        axis.set_ylabel(label, fontsize=style.NORMAL)
    curves, lengths = (axis.get_legend_handles_labels() for axis in axes[:2])
    style.legend(figure, curves[0] + lengths[0], curves[1] + lengths[1])
    axes[1].set_title("lines: medians; bands: 90 %", loc="left", fontsize=style.SMALL, color="0.35")
    for axis in axes:
        style.log_scale(axis)
    style.draw_edge(axes, summary)
    axes[2].set_xlabel("training compute [FLOP]", fontsize=style.NORMAL)
    ends = [wording.interval(summary["loss_gain"].isel(flops=place)) for place in (0, -1)]
    figure.set_label(
        f"Above: what {what} takes off the loss, from {ends[0]} to {ends[1]}. Below: the chance of {task} and what "
        f"{what} adds to it; {'; '.join(told)}."
    )
    return figure


def _flat(high: np.ndarray, name: str) -> str:
    """What to say of a chance so small that its line lies on the axis [%]."""
    most = float(high.max())
    if name != "score" or most >= 1:
        return ""
    return f", below {0.1 if most < 0.1 else 1:g} %"
