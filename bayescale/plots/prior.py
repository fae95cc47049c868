"""What the runs added to what was believed: a quantity's posterior over its prior."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from bayescale.plots import style, wording

#: Bins of the posterior to one of the prior.
_FINEST = 20


def plot_prior(
    fit: xr.DataTree,
    names: Sequence[str] = ("E",),
    *,
    published: Mapping[str, float] | None = None,
    size: tuple[float, float] | None = None,
) -> Figure:
    """Plot the posterior of parameters over their prior.

    Parameters
    ----------
    fit : xr.DataTree
        With the groups ``prior`` and ``posterior``.
    names : sequence of str
        Scalar quantities of both; by default the irreducible loss.
    published : mapping, optional
        Values of others, marked where the name is plotted.
    size : tuple of float, optional
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: where the two agree the runs have said nothing. The axis holds the central 98 % of the
        prior and all but a thousandth of the posterior. Its label is a description in words.

    Raises
    ------
    ValueError
        If a name is no scalar of the fit, or the fit holds no prior.

    Examples
    --------
    >>> groups = {each: xr.Dataset({"E": (("chain", "draw"), np.random.default_rng(0).gamma(9, 0.2, (2, 50)))})
    ...           for each in ("prior", "posterior")}
    >>> len(plot_prior(xr.DataTree.from_dict(groups)).axes)
    1
    """
    if "prior" not in fit.children:
        raise ValueError(
            "fit has no group 'prior' to lay the posterior over: pass what fit returned"
        )
    prior, posterior = fit["prior"].to_dataset(), fit["posterior"].to_dataset()
    for name in names:
        if any(name not in each or each[name].ndim != 2 for each in (prior, posterior)):
            scalars = [str(each) for each in posterior.data_vars if posterior[each].ndim == 2]
            raise ValueError(
                f"names: {name!r} is no scalar of the fit; it has {', '.join(scalars)}"
            )
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = style.new_figure(size or (style.SIZE[0] * max(columns, 2) / 3, 2.2 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    told = []
    for axis, name in zip(axes, names, strict=False):
        before, after = prior[name].values.ravel(), posterior[name].values.ravel()
        bounds = [*np.quantile(before, [0.01, 0.99]), *np.quantile(after, [0.0005, 0.9995])]
        # No finer than 500 draws of a prior can fill.
        edges = np.linspace(min(bounds), max(bounds), 30)
        # So many times finer that what the runs narrowed down is not one bar.
        finer = int(
            np.clip(
                10 * (edges[-1] - edges[0]) / (30 * np.ptp(np.quantile(after, [0.05, 0.95])) or 1),
                1,
                _FINEST,
            )
        )
        for values, color, label in ((before, "0.75", "prior"), (after, style.MEDIAN, "posterior")):
            if label == "posterior":
                edges = np.linspace(edges[0], edges[-1], 29 * finer + 1)
            density, _ = np.histogram(values, edges)
            axis.stairs(
                density / values.size / np.diff(edges),
                edges,
                fill=label == "prior",
                color=color,
                lw=1.4,
                label=label,
            )
        if published and name in published:
            axis.axvline(
                published[name], color=style.THRESHOLD, lw=1.0, ls=(0, (6, 2)), label="published"
            )
        axis.set_xlabel(name, fontsize=style.NORMAL)
        axis.set_yticks([])
        axis.tick_params(labelsize=style.SMALL)
        axis.spines[["top", "right", "left"]].set_visible(False)
        low, middle, high = np.quantile(after, [0.05, 0.5, 0.95])
        told.append(
            f"{name} {wording.number(middle)} (90 %: {wording.number(low)} to {wording.number(high)}), "
            f"prior {wording.number(np.median(before))}"
        )
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    named: dict[str, Artist] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    style.legend(figure, list(named.values()), list(named))
    figure.set_label(f"Posterior over prior: {'; '.join(told)}.")
    return figure
