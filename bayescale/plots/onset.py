"""From which compute on returns are diminishing: a distribution with two masses of its own."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bayescale.plots import style, wording


def plot_onset(
    answer: xr.Dataset, *, bins: int = 30, size: tuple[float, float] = style.LOW_SIZE
) -> Figure:
    """Plot the onset of diminishing returns.

    Parameters
    ----------
    answer : xr.Dataset
        From :func:`bayescale.diminishing`.
    bins : int
    size : tuple of float
        Width and height [inch].

    Returns
    -------
    matplotlib.figure.Figure
        *How to read it*: the histogram is of the draws whose onset lies within the search, as shares of all; the bar
        on the left is the probability that it holds all along, that on the right that it does not hold at the
        horizon; a bar taller than the axis is cut and bears its number. Its label is a description in words.

    Examples
    --------
    >>> draws = xr.DataArray([[1e23, 1e24, 1e25, np.inf]], dims=("chain", "draw"), attrs={"units": "FLOP"})
    >>> answer = xr.Dataset({"onset_draws": draws, "p_already": 0.25, "p_never": 0.25})
    >>> asked = {"predicate": "gain_below", "threshold": 0.01, "step": 2.0}
    >>> len(plot_onset(answer.assign_attrs(start=1e23, horizon=1e27, **asked)).axes)
    3
    """
    draws = answer["onset_draws"].values.ravel()
    start, horizon = answer.attrs["start"], answer.attrs["horizon"]
    already, never = float(answer["p_already"]), float(answer["p_never"])
    inside = draws[np.isfinite(draws) & (draws > start)]
    figure = style.new_figure(size)
    left, middle, right = figure.subplots(
        1, 3, sharey=True, gridspec_kw={"width_ratios": [1, 8, 1], "wspace": 0.02}
    )
    edges = np.geomspace(start, horizon, bins + 1)
    counts, _ = np.histogram(inside, edges)
    shares = counts / draws.size
    middle.stairs(shares, edges, fill=True, color=style.HALF, label="onset")
    style.log_scale(middle)
    middle.set_xlim(start, horizon)
    top = max(float(shares.max()), 0.02)
    tallest = min(1.25 * top, 1.0)
    for axis, share, text in (
        (left, already, "already"),
        (right, never, "not before\nthe horizon"),
    ):
        axis.bar([0], [min(share, tallest)], width=0.6, color=style.THRESHOLD, label=text)
        if share > tallest:
            # These masses may dwarf the histogram: the bar is cut, and its number written.
            cut, slant = 1.02 * top, 0.05 * top
            axis.fill_between(
                [-0.4, 0.4],
                [cut - slant, cut + slant],
                [cut, cut + 2 * slant],
                color="white",
                lw=0,
                zorder=3,
                label="_cut",
            )
        axis.set_xticks([0], [text], fontsize=style.SMALL)
        axis.set_xlim(-0.6, 0.6)
        axis.tick_params(length=0)
        axis.annotate(
            _mass(share),
            (0, min(share, tallest)),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=style.NORMAL,
            fontweight="bold",
        )
        axis.spines[["top", "right", "left"]].set_visible(False)
    # No share is above 100 %: there is but room for a number.
    left.set_ylim(0, min(1.4 * top, 1.15))
    left.set_ylabel("share of draws", fontsize=style.NORMAL)
    left.yaxis.set_major_formatter(FuncFormatter(style.percent_text))
    left.tick_params(axis="y", labelsize=style.SMALL)
    middle.spines[["left"]].set_visible(False)
    middle.tick_params(axis="y", length=0)
    sense = wording.sense(answer, answer.attrs.get("loss_units", "in the unit of the loss"))
    middle.set_title(f"from where on {sense}", loc="left", fontsize=style.SMALL, color="0.35")
    unit = answer["onset_draws"].attrs.get("units", "FLOP")
    middle.set_xlabel(f"onset [{unit}]", fontsize=style.NORMAL)
    levels = np.quantile(draws, (0.05, 0.5, 0.95), method="nearest")
    low, middle_at, high = ("∞" if np.isinf(each) else wording.number(each) for each in levels)
    figure.set_label(
        f"From where on {sense}, between {wording.number(start)} and {wording.number(horizon)} {unit}: median "
        f"{middle_at}, 90 %: {low} to {high}; already with {_mass(already)}, "
        f"not before the horizon with {_mass(never)}."
    )
    return figure


def _mass(share: float) -> str:
    """A probability, of which what is small or nearly all is not rounded away.

    Examples
    --------
    >>> [_mass(share) for share in (0.0, 0.0002, 0.005, 0.35, 0.9976, 1.0)]
    ['0 %', '<0.1 %', '0.5 %', '35 %', '99.8 %', '100 %']
    """
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.{1 if 0 < share < 0.01 or 0.99 < share < 1 else 0}f} %"
