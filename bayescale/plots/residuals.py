"""What the law leaves over, against what might explain it."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayescale.plots import style


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
        law that bends otherwise than the runs do. Its label is a description in words.

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
    axes = figure.subplots(1, len(against) + several, sharey=True, squeeze=False)[0]
    for axis, (label, values) in zip(axes, against, strict=False):
        axis.axhline(0.0, color="0.6", lw=0.8)
        for family, rows, color, marker in style.families(runs):
            axis.plot(
                values[rows],
                residual[rows],
                marker=marker,
                color=color,
                ls="none",
                ms=4,
                label=family,
            )
        style.log_scale(axis)
        axis.set_xlabel(label, fontsize=style.NORMAL)
    if several:
        names = []
        for place, (family, rows, color, marker) in enumerate(style.families(runs)):
            at = np.full(rows.sum(), place)
            axes[-1].plot(
                at, residual[rows], marker=marker, color=color, ls="none", ms=4, label=family
            )
            names.append(family)
        axes[-1].axhline(0.0, color="0.6", lw=0.8)
        axes[-1].set_xticks(range(len(names)), names, rotation=50, ha="right", fontsize=style.SMALL)
        axes[-1].spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("loss above the law [%]", fontsize=style.NORMAL)
    axes[0].tick_params(axis="y", labelsize=style.SMALL)
    worst = int(np.abs(residual).argmax())
    name = str(runs["run_id"].values[worst]) if "run_id" in runs else f"run {worst + 1}"
    figure.set_label(
        f"Residuals of {residual.size} runs, standard deviation {residual.std():.2g} %; the largest is {name} with "
        f"{residual[worst]:+.2g} %."
    )
    return figure
