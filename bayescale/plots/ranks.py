"""Ranks of true answers among posterior answers: whether a model's intervals are honest on truths of its own prior."""

import re

import arviz_base
import arviz_plots
import xarray as xr
from matplotlib.figure import Figure

from bayescale.plots import style


def plot_ranks(result: xr.Dataset, *, size: tuple[float, float] = style.WIDE_SIZE) -> Figure:
    """Plot how even the ranks of a simulation-based calibration are, one panel an answer.

    Parameters
    ----------
    result : xr.Dataset
        From :func:`bayescale.validate.calibrate.calibrate`.
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        ArviZ's difference of the empirical distribution of the ranks from a uniform one. *How to read it*: an honest
        posterior stays about zero; an arch means forecasts too high, a trough too low, an S that they are too narrow
        (falling through the middle) or too wide (rising). Marked are the points at which an uneven distribution
        departs; p is the probability of ranks less even than these, were the posterior honest.

    Examples
    --------
    >>> import numpy as np
    >>> ranks = np.arange(100).reshape(100, 1)
    >>> found = xr.Dataset({"rank": (("simulation", "answer"), ranks)}, {"answer": ["loss_10x"]})
    >>> plot_ranks(found.assign_attrs(model="power", ranks=99)).get_label()
    'Ranks of true answers of model power: loss_10x, 100 simulations'
    """
    names = [str(name) for name in result["answer"].values]
    titles = [re.sub(r"_(\d+)x$", r" at \1 ×", name) for name in names]
    # From whole ranks to the middle of their share of (0, 1).
    share = (result["rank"] + 0.5) / (int(result.attrs.get("ranks", 99)) + 1)
    tree = arviz_base.convert_to_datatree(
        xr.Dataset(
            {
                title: share.sel(answer=name, drop=True)
                for title, name in zip(titles, names, strict=True)
            }
        ),
        group="prior_sbc",
    )
    collection = arviz_plots.plot_ecdf_pit(
        tree,
        sample_dims=["simulation"],
        backend="matplotlib",
        col_wrap=min(len(names), max(3, round(len(names) ** 0.5))),
        figure_kwargs={"figsize": size, "layout": "constrained"},
    )
    figure: Figure = collection.viz["figure"].item()
    for axis in figure.axes:
        axis.set_xlabel("rank as a share of all (PIT)", fontsize=style.SMALL)
        axis.tick_params(labelsize=style.SMALL)
        for text in axis.texts:
            text.set_text(re.sub(r"^p=([\d.]+)\(.*", _chance, text.get_text()))
    figure.supylabel("share of ranks below, less that of even ranks", fontsize=style.NORMAL)
    figure.supxlabel(
        "p: probability of ranks less even than these, were the posterior honest; marked: where they depart",
        fontsize=style.SMALL,
        color="0.35",
    )
    figure.set_label(
        f"Ranks of true answers of model {result.attrs['model']}: {', '.join(names)}, "
        f"{result.sizes['simulation']} simulations"
    )
    return figure


def _chance(found: re.Match[str]) -> str:
    """A probability of two digits, which is never 0."""
    return "p < 0.01" if float(found[1]) < 0.01 else f"p = {found[1]}"
