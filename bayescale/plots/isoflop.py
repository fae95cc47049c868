"""IsoFLOP bowls: the loss of every division of a budget, flat about its optimum."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from bayescale.plots import style, wording


def plot_isoflops(
    summary: xr.Dataset,
    found: xr.Dataset,
    *,
    size: tuple[float, float] = style.WIDE_SIZE,
) -> Figure:
    """Plot the loss against parameters, one bowl a budget, with the near-optimal set marked.

    Parameters
    ----------
    summary : xr.Dataset
        ``summarise(predict(fit, table))`` of a table with dims flops, size: for each budget a grid of ``params``, and
        the ``tokens`` that the rest of it buys. Dims flops, size, quantile; coordinate ``params``.
    found : xr.Dataset
        From :func:`bayescale.allocate` at the same budgets.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: lines are medians, bands hold 90 %. The point is the allocation of least expected loss, the
        bar under it the sizes that are near-optimal with the probability that was asked. Its label is a description
        in words.

    Examples
    --------
    >>> levels = {"quantile": [0.05, 0.25, 0.5, 0.75, 0.95]}
    >>> bowl = np.array([[2.2, 2.1, 2.2]])[..., None] + np.linspace(-0.1, 0.1, 5)
    >>> sizes = {"params": (("flops", "size"), [[1e9, 2e9, 4e9]]), "flops": [1e22]}
    >>> summary = xr.Dataset({"loss": (("flops", "size", "quantile"), bowl)}, sizes | levels)
    >>> near = {"near_params": (("flops", "bound"), [[1.5e9, 3e9]]), "params": ("flops", [2e9])}
    >>> found = xr.Dataset(near, {"flops": [1e22], "bound": ["lower", "upper"]}, {"near": 0.01, "probability": 0.9})
    >>> len(plot_isoflops(summary, found).axes[0].lines)
    3
    """
    figure = style.new_figure(size)
    axis = figure.subplots()
    told, shown, unsafe = [], [], []
    colors = style.in_order(found.sizes["flops"])
    for place, (flops, look) in enumerate(zip(found["flops"].values, colors, strict=True)):
        color, shade = look
        budget = f"{wording.number(flops)} FLOP"
        loss, sizes = summary["loss"].isel(flops=place), summary["params"].isel(flops=place).values
        low, middle, high = (style.quantile(loss, level) for level in (0.05, 0.5, 0.95))
        axis.fill_between(sizes, low, high, color=color, alpha=0.18 * shade, lw=0, label="_band")
        dashes = style.DASHES[place % len(style.DASHES)]
        axis.plot(sizes, middle, color=color, alpha=shade, ls=dashes, lw=1.4, label=budget)
        best = float(found["params"][place])
        at = float(np.interp(np.log(best), np.log(sizes), middle))
        # The line must not show through the point.
        axis.plot([best], [at], "o", ms=7, mfc="white", mec=(color, shade), mew=2, label="_best")
        shown += [low, high]
        if "near_params" not in found:
            continue
        ends = found["near_params"].isel(flops=place).values
        if np.isfinite(ends).all():
            axis.plot(
                ends,
                [at, at],
                color=color,
                lw=4,
                alpha=0.55 * shade,
                solid_capstyle="butt",
                label="_near",
            )
            told.append(
                f"{budget}: {wording.number(best)} parameters, near-optimal "
                f"{wording.number(ends[0])} to {wording.number(ends[1])}"
            )
        else:
            unsafe.append(budget)
            told.append(
                f"{budget}: {wording.number(best)} parameters, no size is near-optimal so surely"
            )
    style.log_scale(axis)
    # The flanks of a bowl say nothing about its bottom.
    every = np.concatenate(shown)
    style.limit(axis, np.quantile(every[np.isfinite(every)], [0.0, 0.9]))
    axis.set_xlabel("parameters", fontsize=style.NORMAL)
    axis.set_ylabel(f"test loss [{wording.unit_of(summary['loss'])}]", fontsize=style.NORMAL)
    axis.set_title(
        "\n".join(
            ["lines: medians; bands: 90 %; points: least expected loss", *_marked(found, unsafe)]
        ),
        loc="left",
        fontsize=style.SMALL,
        color="0.35",
    )
    # Bowls are wide: none of the corners is free of bands.
    style.legend(figure, *axis.get_legend_handles_labels())
    figure.set_label(f"Loss against parameters at fixed budgets. {'; '.join(told)}.")
    return figure


def _marked(found: xr.Dataset, unsafe: list[str]) -> list[str]:
    """What the bars are, and where there is none."""
    if "near_params" not in found:
        return []
    unit = found.attrs.get("units", "nat/token")
    sure = style.percent_text(found.attrs["probability"])
    within = f"within {found.attrs['near']:g} {unit} of the optimum with probability {sure}"
    if len(unsafe) == found.sizes["flops"]:
        return [f"no size is {within}"]
    none = f"; none at {', '.join(unsafe)}" if unsafe else ""
    return [f"bars: sizes {within}{none}"]
