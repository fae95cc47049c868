"""How a budget of compute is best divided: parameters, tokens and their ratio, with what the runs leave open."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayescale.plots import style, wording

_PANELS = (
    ("params_optimal", "params", "parameters"),
    ("tokens_optimal", "tokens", "tokens"),
    ("tokens_per_param", None, "tokens per parameter"),
)


def plot_allocation(
    found: xr.Dataset,
    summary: xr.Dataset,
    *,
    runs: xr.Dataset | None = None,
    size: tuple[float, float] = style.TALL_SIZE,
) -> Figure:
    """Plot the optimal parameters, tokens and tokens per parameter against the budget.

    Parameters
    ----------
    found : xr.Dataset
        From :func:`bayescale.allocate`, over a grid of budgets; dim flops.
    summary : xr.Dataset
        ``summarise(found[["params_optimal", "tokens_optimal", "tokens_per_param"]])``.
    runs : xr.Dataset, optional
        Training runs with ``params``, ``tokens`` and ``flops``.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: bands hold each draw's optimum with 50 and 90 %; the dashed line is the one allocation of
        least expected loss; shaded are budgets beyond the runs. Its label is a description in words.

    Examples
    --------
    >>> scales = {"flops": ("flops", [1e21, 1e23]), "quantile": [0.05, 0.25, 0.5, 0.75, 0.95]}
    >>> bands = [[1e9, 2e9, 3e9, 4e9, 5e9], [1e10, 2e10, 3e10, 4e10, 5e10]]
    >>> names = ("params_optimal", "tokens_optimal", "tokens_per_param")
    >>> summary = xr.Dataset({name: (("flops", "quantile"), bands) for name in names}, scales)
    >>> one = {name: ("flops", [3e9, 3e10]) for name in ("params", "tokens")}
    >>> len(plot_allocation(xr.Dataset(one), summary).axes)
    3
    """
    flops = summary["flops"].values
    figure = style.new_figure(size)
    axes = figure.subplots(3, 1, sharex=True)
    told = []
    for axis, (name, chosen, label) in zip(axes, _PANELS, strict=True):
        style.draw_bands(axis, flops, summary[name])
        one = found["tokens"] / found["params"] if chosen is None else found[chosen]
        axis.plot(
            flops,
            one.values,
            color="black",
            lw=1.0,
            ls=(0, (4, 2)),
            label="least expected loss",
            zorder=4,
        )
        shown = [style.quantile(summary[name], level) for level in (0.05, 0.95)]
        if runs is not None:
            own = runs["tokens"] / runs["params"] if chosen is None else runs[chosen]
            for family, rows, color, marker in style.families(runs):
                axis.plot(
                    runs["flops"].values[rows],
                    own.values[rows],
                    marker=marker,
                    color=color,
                    ls="none",
                    ms=5,
                    mec="white",
                    mew=0.4,
                    label=family if axis is axes[0] else f"_{family}",
                )
            shown.append(own.values)
        every = np.concatenate(shown)
        every = every[np.isfinite(every) & (every > 0)]
        axis.set_ylim(every.min() / 1.4, every.max() * 1.4)
        axis.set_ylabel(label, fontsize=style.NORMAL)
        style.log_scale(axis, vertical=True)
        last = wording.interval(summary[name].isel(flops=-1))
        told.append(f"{label} {last}")
    if "decades_beyond" in found:
        style.draw_edge(axes, found.set_coords("decades_beyond"))
    axes[-1].set_xlabel("training compute [FLOP]", fontsize=style.NORMAL)
    style.legend(figure, *axes[0].get_legend_handles_labels())
    figure.set_label(
        f"Optimal division of a budget against the budget, {wording.number(flops[0])} to "
        f"{wording.number(flops[-1])} FLOP. At the largest: "
        f"{'; '.join(told)}."
    )
    return figure
