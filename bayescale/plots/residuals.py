"""What the law leaves over, against what might explain it."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayescale.plots import style

#: Times what four in five residuals keep to: beyond it a run is told at the edge, or it would flatten all others.
_FAR = 8.0


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
        law that bends otherwise than the runs do. A run far outside of what the others keep to is written at the
        edge. Its label is a description in words.

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
            style.log_scale(axis)
        axis.set_xlabel(label, fontsize=style.NORMAL)
        for at, value in zip(values[far], residual[far], strict=True):
            _tell_far(axis, float(at), float(value))
    axes[0].set_ylabel("loss above the law [%]", fontsize=style.NORMAL)
    axes[0].tick_params(axis="y", labelsize=style.SMALL)
    if several:
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=4,
            fontsize=style.SMALL,
            frameon=False,
            handletextpad=0.3,
            columnspacing=1.4,
        )
    worst = int(np.abs(residual).argmax())
    name = str(runs["run_id"].values[worst]) if "run_id" in runs else f"run {worst + 1}"
    figure.set_label(
        f"Residuals of {residual.size} runs, standard deviation {residual.std():.2g} %; the largest is {name} with "
        f"{residual[worst]:+.2g} %."
    )
    return figure


def _tell_far(axis: Axes, at: float, value: float) -> None:
    """Write a residual at the edge that it lies beyond."""
    up = value > 0
    axis.annotate(
        f"{value:+.3g} %",
        (at, 1.0 if up else 0.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, -14 if up else 14),
        textcoords="offset points",
        ha="center",
        va="top" if up else "bottom",
        fontsize=style.SMALL,
        arrowprops={"arrowstyle": "->", "lw": 0.8, "shrinkA": 0, "shrinkB": 0},
        annotation_clip=False,
    )
