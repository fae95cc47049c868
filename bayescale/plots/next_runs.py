"""Which run next: the value of candidates over the plane of parameters and tokens."""

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from bayescale.plots import style, wording

#: Bought candidates that the description names.
_NAMED = 6
#: How a batch was chosen, in words.
_RULES = {
    "most for each FLOP": "bought one by one: what removes most doubt for each FLOP, after those before it",
    "most": "bought one by one: what removes most doubt, at any price within the budget, after those before it",
}


def plot_candidates(
    found: xr.Dataset,
    *,
    runs: xr.Dataset | None = None,
    size: tuple[float, float] = style.WIDE_SIZE,
) -> Figure:
    """Plot what candidates are worth for each FLOP that they cost.

    Parameters
    ----------
    found : xr.Dataset
        From :func:`bayescale.next_runs`: ``params``, ``tokens``, ``value_per_flop``, ``chosen``; dim candidate.
    runs : xr.Dataset, optional
        Training runs with ``params`` and ``tokens``.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: darker is worth more for each FLOP; a ring is a candidate that is bought; crosses are the
        runs that there are. Its label is a description in words.

    Examples
    --------
    >>> columns = {"params": [1e8, 1e9], "tokens": [2e9, 2e10], "value_per_flop": [1e-20, 3e-20], "chosen": [0, 1]}
    >>> found = xr.Dataset({name: ("candidate", values) for name, values in columns.items()})
    >>> plot_candidates(found).axes[0].get_xscale()
    'log'
    """
    worth = np.maximum(found["value_per_flop"].values.astype(float), 0.0)
    params, tokens = found["params"].values, found["tokens"].values
    figure = style.new_figure(size)
    axis = figure.subplots()
    if runs is not None:
        # Above the candidates, which may lie where a run is.
        axis.plot(
            runs["params"],
            runs["tokens"],
            "x",
            color="0.25",
            ms=4,
            mew=0.9,
            label="runs",
            zorder=5,
        )
    top = worth.max() if worth.max() > 0 else 1.0
    # Three decades tell good from bad; what is worth less is all alike.
    points = axis.scatter(
        params,
        tokens,
        c=np.clip(worth, top / 1e3, top),
        norm=LogNorm(top / 1e3, top),
        cmap="Blues",
        s=46,
        edgecolors="0.5",
        linewidths=0.4,
        zorder=3,
        label="candidates",
    )
    bought = found["chosen"].values > 0
    axis.scatter(
        params[bought],
        tokens[bought],
        s=120,
        facecolors="none",
        edgecolors=style.THRESHOLD,
        linewidths=1.6,
        zorder=4,
        label="to be bought",
    )
    style.log_scale(axis, vertical=True)
    axis.set_xlabel("parameters", fontsize=style.NORMAL)
    axis.set_ylabel("tokens", fontsize=style.NORMAL)
    bar = figure.colorbar(points, ax=axis, pad=0.01)
    unit = str(found["value_per_flop"].attrs.get("units", "1/FLOP"))
    what = "share of the doubt removed" if unit.startswith("1/") else "value of seeing it"
    bar.set_label(f"{what} [{unit}]", fontsize=style.NORMAL)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(style.scale_text))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=style.SMALL)
    style.legend(figure, *axis.get_legend_handles_labels())
    if "rule" in found.attrs and bought.any():
        axis.set_title(
            _RULES.get(found.attrs["rule"], found.attrs["rule"]),
            loc="left",
            fontsize=style.SMALL,
            color="0.35",
        )
    best = int(worth.argmax())
    told = [
        f"{wording.number(p)} x {wording.number(t)}"
        for p, t in zip(params[bought], tokens[bought], strict=True)
    ]
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    names = ", ".join(told[:_NAMED]) + more
    figure.set_label(
        f"{worth.size} candidates over parameters and tokens; worth most for each FLOP is "
        f"{wording.number(params[best])} parameters on {wording.number(tokens[best])} tokens. "
        f"To be bought: {names or 'none'}."
    )
    return figure
