"""Budget frontier: how probably a target is met, against the compute or the money that may be spent."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bayescale.plots import style, wording


def plot_frontier(
    found: xr.Dataset,
    *,
    price: float | None = None,
    currency: str = "USD",
    size: tuple[float, float] = style.WIDE_SIZE,
) -> Figure:
    """Plot the probability that each target is met against what may be spent on it.

    Parameters
    ----------
    found : xr.Dataset
        From :func:`bayescale.compute_for`: ``compute``, dims chain, draw and loss or accuracy.
    price : float, optional
        Of one FLOP [currency]: the axis is then money. An accelerator-hour's price over its dense peak, its
        utilisation and 3600.
    currency : str
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: a line gives the share of draws that meet its target with so much; it ends below 100 % by the
        probability that nothing meets it. A dot is the least that meets it with the confidence asked for, the vertical
        line the budget. Its label is a description in words.

    Examples
    --------
    >>> draws = np.geomspace(1e23, 1e25, 100).reshape(2, 50, 1)
    >>> found = xr.Dataset({"compute": (("chain", "draw", "loss"), draws)}, {"loss": [1.9]})
    >>> found = found.assign(compute_at_confidence=("loss", [8e24])).assign_attrs(confidence=0.9)
    >>> plot_frontier(found, price=2e-18).axes[0].get_xlabel()
    'money [USD]'
    """
    target = "loss" if "loss" in found.dims else "accuracy"
    per, unit = (
        (1.0, str(found["compute"].attrs.get("units", "FLOP")))
        if price is None
        else (price, currency)
    )
    figure = style.new_figure(size)
    axis = figure.subplots()
    draws = (
        found["compute"].stack(sample=("chain", "draw")).transpose(target, "sample").values * per
    )
    finite = draws[np.isfinite(draws)]
    # A tail of decades would leave no room for where the lines rise: what lies beyond is told by their height there.
    right = 3 * max(
        (np.quantile(each[np.isfinite(each)], 0.75) for each in draws if np.isfinite(each).any()),
        default=per * 1e25,
    )
    left = np.quantile(finite, 0.005) / 1.5 if finite.size else per * 1e20
    confidence = float(found.attrs["confidence"])
    said = []
    for place, value in enumerate(found[target].values):
        color, marker = style.FAMILIES[place % len(style.FAMILIES)]
        ordered = np.sort(draws[place])
        reached = np.isfinite(ordered)
        share = np.arange(1, ordered.size + 1) / ordered.size
        axis.step(
            np.concatenate(
                [[left], ordered[reached], [max(right, ordered[reached].max(initial=right))]]
            ),
            np.concatenate([[0.0], share[reached], [reached.mean()]]),
            where="post",
            color=color,
            ls=style.DASHES[place % len(style.DASHES)],
            lw=1.5,
            label=f"{target} {value:.4g}",
            zorder=3,
        )
        enough = float(found["compute_at_confidence"].values[place]) * per
        if np.isfinite(enough):
            axis.plot(
                enough,
                confidence,
                marker,
                color=color,
                ms=7,
                mec="black",
                mew=0.7,
                zorder=4,
                label="_enough",
            )
            said.append(
                f"{target} {value:.4g} takes {wording.number(enough)} {unit} for {confidence:.0%}"
            )
        else:
            said.append(f"{target} {value:.4g} is met by {reached.mean():.0%} of draws at most")
    axis.axhline(confidence, color="0.45", lw=0.8, ls=(0, (2, 2)), zorder=1)
    axis.annotate(
        f"confidence\n{style.percent_text(confidence)}",
        # Beside the axes, where no dot can cover it.
        (1, confidence),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=style.SMALL,
        color="0.35",
    )
    if "budget" in found.attrs:
        budget = float(found.attrs["budget"]) * per
        left, right = min(left, budget / 1.5), max(right, budget * 3)
        axis.axvline(budget, color=style.THRESHOLD, lw=1.0, ls=(0, (6, 2)), zorder=2)
        axis.annotate(
            "budget",
            (budget, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=style.SMALL,
            color=style.THRESHOLD,
        )
        said.append(f"the budget is {wording.number(budget)} {unit}")
    style.log_scale(axis)
    axis.set_xlim(left, right)
    axis.set_ylim(0, 1.02)
    axis.yaxis.set_major_formatter(FuncFormatter(style.percent_text))
    axis.set_xlabel(f"{'compute' if price is None else 'money'} [{unit}]", fontsize=style.NORMAL)
    axis.set_ylabel("P(target met)", fontsize=style.NORMAL)
    style.legend(figure, *axis.get_legend_handles_labels())
    figure.set_label(
        f"Probability that each target is met, against {'compute' if price is None else 'money'}: {'; '.join(said)}."
    )
    return figure
