"""What the law leaves over, against what might explain it."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayescale.plots import style

#: Times what four in five residuals keep to: beyond it a run is told at the edge, or it would flatten all others.
_FAR = 8.0
#: Rows of residuals that are written at an edge; more would cover the runs.
_ROWS = 3


def plot_residuals(
    runs: xr.Dataset, fitted: xr.Dataset, *, size: tuple[float, float] = style.LOW_SIZE
) -> Figure:
    """Plot the runs' residuals against compute, tokens per parameter and family.

    Parameters
    ----------
    runs : xr.Dataset
        Training runs with ``loss`` and, where known, ``flops``, ``params`` and ``tokens``, ``family``; dim ``run``.
    fitted : xr.Dataset
        ``summarise(predict(fit, runs))``; dims run, quantile.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: a residual is by how many per cent a run's loss lies above the law's median. A trend is a
        law that bends otherwise than the runs do. A run far outside of what the others keep to is a triangle
        at the edge, with its residual where there is room. Its label is a description in words.

    Examples
    --------
    >>> runs = xr.Dataset({"flops": ("run", [1e20, 1e21]), "loss": ("run", [2.3, 2.0])})
    >>> levels = {"quantile": [0.05, 0.25, 0.5, 0.75, 0.95]}
    >>> fitted = xr.Dataset({"loss": (("run", "quantile"), [[2.3] * 5, [1.98] * 5])}, levels)
    >>> plot_residuals(runs, fitted).axes[0].lines[1].get_ydata().round(1).tolist()
    [0.0, 1.0]
    """
    residual = 100 * (runs["loss"].values / style.quantile(fitted["loss"], 0.5) - 1)
    against: list[tuple[str, np.ndarray]] = []
    if "flops" in runs:
        against.append(("training compute [FLOP]", runs["flops"].values))
    if {"params", "tokens"} <= set(runs):
        against.append(("tokens per parameter", (runs["tokens"] / runs["params"]).values))
    several = "family" in runs and np.unique(runs["family"].values).size > 1
    figure = style.new_figure(size)
    if several:
        place = np.zeros(residual.size)
        for order, (_, rows, _, _) in enumerate(style.families(runs)):
            place[rows] = order
        against.append(("family", place))
    axes = figure.subplots(1, len(against), sharey=True, squeeze=False)[0]
    far = np.abs(residual) > style.edge(residual, _FAR)
    style.limit(axes[0], np.append(residual[~far], 0.0))
    for axis, (label, values) in zip(axes, against, strict=True):
        axis.axhline(0.0, color="0.6", lw=0.8)
        for family, rows, color, marker in style.families(runs):
            axis.plot(
                values[rows],
                residual[rows],
                marker=marker,
                color=color,
                ls="none",
                ms=4,
                mec="white",
                mew=0.4,
                label=family,
            )
        if label == "family":
            axis.set_xlim(-0.6, values.max() + 0.6)
            axis.set_xticks([])
            axis.spines[["top", "right"]].set_visible(False)
        else:
            style.log_scale(axis, labels=max(4, 12 // len(against)))
        axis.set_xlabel(label, fontsize=style.NORMAL)
        room = (size[0] - 0.8) / len(against) - 0.1
        for up in (True, False):
            which = far & ((residual > 0) == up)
            if which.any():
                _tell_far(axis, values[which], residual[which], room, up=up)
    axes[0].set_ylabel("loss above the law [%]", fontsize=style.NORMAL)
    axes[0].tick_params(axis="y", labelsize=style.SMALL)
    if several:
        style.legend(figure, *axes[0].get_legend_handles_labels(), handletextpad=0.3)
    worst = int(np.abs(residual).argmax())
    name = str(runs["run_id"].values[worst]) if "run_id" in runs else f"run {worst + 1}"
    figure.set_label(
        f"Residuals of {residual.size} runs, standard deviation {residual.std():.2g} %; the largest is {name} with "
        f"{residual[worst]:+.2g} %."
    )
    return figure


def _tell_far(axis: Axes, at: np.ndarray, values: np.ndarray, room: float, *, up: bool) -> None:
    """Mark residuals at the edge that they lie beyond, and write them where there is room."""
    axis.set_xlim(axis.get_xlim())
    height = 1.0 if up else 0.0
    axis.plot(
        at,
        np.full(at.size, height),
        "^" if up else "v",
        color="black",
        ms=5,
        transform=axis.get_xaxis_transform(),
        clip_on=False,
        label="_far",
        zorder=4,
    )
    texts = [f"{value:+.3g} %" for value in values]
    places = style.places(
        [room * style.across(axis, each) for each in at],
        [style.text_width(text, size=style.SMALL) + 0.05 for text in texts],
        room,
    )
    for text, place, (row, side) in zip(texts, at, places, strict=True):
        if row >= _ROWS:
            continue
        axis.annotate(
            text,
            (place, height),
            xycoords=("data", "axes fraction"),
            xytext=(0, (-1 if up else 1) * (5 + 11 * row)),
            textcoords="offset points",
            ha=side,
            va="top" if up else "bottom",
            fontsize=style.SMALL,
            path_effects=style.halo(),
            zorder=5,
        )
