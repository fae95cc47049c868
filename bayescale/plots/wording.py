"""What a figure says in words: its labels, and the description for those who cannot see it."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescale.plots.style import quantile

#: What the lower panel shows for each sense of "diminishing"; the gain of a step for the others.
MEASURES = {"elasticity_below": "elasticity", "floor": "share_left"}


def alt_text(
    summary: xr.Dataset,
    *,
    runs: xr.Dataset,
    held_out: xr.Dataset | None = None,
    answers: Sequence[xr.Dataset] = (),
) -> str:
    """Describe the figure of :func:`~bayescale.plots.plot_forecast` in words.

    Parameters
    ----------
    summary, runs, held_out, answers
        As for :func:`~bayescale.plots.plot_forecast`.

    Returns
    -------
    str
        A few sentences with the numbers at both ends of the curve and at each marked scale.
    """
    scale, unit = scale_name(summary)
    flops = summary["flops"].values
    loss = [interval(summary["loss"].isel(flops=index)) for index in (0, -1)]
    groups = np.unique(runs["family"].values).size if "family" in runs else 1
    of = f" of {groups} families" if groups > 1 else ""
    told = [
        f"Above: test loss against {scale}. {runs.sizes['run']} runs{of} reach "
        f"{number(largest(summary, runs))}{unit}.",
        f"The curve runs from {loss[0]} at {number(flops[0])} to {loss[1]} at {number(flops[-1])}{unit}.",
    ]
    if held_out is not None:
        points = zip(names(held_out), held_out["loss"].values, strict=True)
        told.append(f"Held out: {', '.join(f'{name} with loss {at:.4g}' for name, at in points)}.")
    name = measure(answers)
    ends = [interval(summary[name].isel(flops=index)) for index in (0, -1)]
    told.append(f"Below: {meaning(summary, name)}, from {ends[0]} to {ends[1]}.")
    for answer in answers:
        where = f"{number(answer.attrs['beyond'])}{unit}"
        told.append(f"{question(answer, summary)} at {where}: {chance(answer)}.")
    return " ".join(told)


def measure(answers: Sequence[xr.Dataset]) -> str:
    """The variable of :func:`bayescale.returns` that the answers' threshold is about."""
    return MEASURES.get(answers[0].attrs["predicate"], "gain") if answers else "gain"


def meaning(summary: xr.Dataset, name: str) -> str:
    """What a variable of :func:`bayescale.returns` is, in a few words."""
    if name == "elasticity":
        return "elasticity of the loss"
    if name == "share_left":
        return "reducible share of the loss"
    step = summary.attrs.get("step", 2.0)
    return "gain of a doubling" if step == 2 else f"gain of {step:g} times the compute"


def question(answer: xr.Dataset, summary: xr.Dataset) -> str:
    """The question that an answer's probability is of."""
    return f"P({sense(answer, unit_of(summary['gain']))})"


def sense(answer: xr.Dataset, unit: str = "in the unit of the loss") -> str:
    """What "diminishing" means in an answer.

    Examples
    --------
    >>> sense(xr.Dataset(attrs={"predicate": "gain_below", "threshold": 0.01, "step": 2.0}), "nat/token")
    'a doubling buys less than 0.01 nat/token'
    """
    step, threshold = answer.attrs["step"], _plain(f"{answer.attrs['threshold']:g}")
    more = "a doubling" if step == 2 else f"{step:g} times the compute"
    senses = {
        "gain_below": f"{more} buys less than {threshold} {unit}",
        "elasticity_below": f"the elasticity of the loss is below {threshold}",
        "relative_below": f"{more} is worth less than {threshold} of what it was",
        "floor": f"less than {threshold} of the loss is reducible",
        "flattening": f"the elasticity fell by {threshold} over a decade, or below that of a law which drifts",
        "price_above": f"a unit of loss costs more than {threshold}",
        "capability_below": f"{more} adds less than {threshold} to {answer.attrs.get('task')}",
        "data_limited": f"a token read again is worth less than {threshold} of a fresh one",
        "alternative": f"the money of {more} buys more elsewhere",
    }
    return senses[str(answer.attrs["predicate"])]


def chance(answer: xr.Dataset) -> str:
    """A probability, no finer than its Monte Carlo error.

    Examples
    --------
    >>> answer = xr.Dataset({"probability": 0.0, "probability_mcse": 0.0004})
    >>> chance(answer), chance(answer.assign(probability=0.352)), chance(answer.assign(probability=1.0))
    ('< 0.1 %', '35 %', '> 99.9 %')
    """
    share, error = float(answer["probability"]), float(answer["probability_mcse"])
    least = np.ceil(1000 * error) / 10
    if share < error:
        return f"< {least:.1f} %"
    if share > 1 - error:
        return f"> {100 - least:.1f} %"
    return f"{100 * share:.{0 if 0.1 <= share <= 0.9 else 1}f} %"


def interval(draws: xr.DataArray) -> str:
    """Median and central 90 % interval, three digits each."""
    low, middle, high = (_digits(float(quantile(draws, level))) for level in (0.05, 0.5, 0.95))
    return f"{middle} (90 %: {low} to {high})"


def number(value: float) -> str:
    """A number of three digits, as the axes write it.

    Examples
    --------
    >>> [number(value) for value in (3684.0, 1.25e24, -1e-07, 0.3478)]
    ['3680', '1.25e24', '-1e-7', '0.348']
    """
    return _plain(f"{value:.3g}")


def _digits(value: float) -> str:
    return _plain(f"{value:#.3g}").rstrip(".")


def _plain(text: str) -> str:
    """A number without the sign and the zeros of its power, and without a power where it is short."""
    digits, _, power = text.partition("e")
    if not power:
        return text
    return f"{float(text):.0f}" if 0 < int(power) < 5 else f"{digits}e{int(power)}"


def column_of(summary: xr.Dataset) -> str:
    """The column of the run table that the scales are of."""
    return str(summary["flops"].attrs.get("column", "flops"))


def scale_name(summary: xr.Dataset) -> tuple[str, str]:
    """Name of the scales, and their unit with a space before it."""
    attrs = summary["flops"].attrs
    name, unit = str(attrs.get("long_name", "training compute")), str(attrs.get("units", "FLOP"))
    return name, "" if unit == name else f" {unit}"


def unit_of(values: xr.DataArray) -> str:
    """Unit of a variable, "–" where it has none."""
    unit = str(values.attrs.get("units", "nat/token"))
    return "–" if unit == "1" else unit


def largest(summary: xr.Dataset, runs: xr.Dataset) -> float:
    """Where the runs end: what the forecast counts its decades from."""
    if "decades_beyond" in summary.coords and float(summary["decades_beyond"][-1]) > 0:
        return float(summary["flops"][-1] / 10 ** summary["decades_beyond"][-1])
    return float(runs[column_of(summary)].max())


def names(runs: xr.Dataset) -> list[str]:
    """Name of each run."""
    if "run_id" in runs:
        return [str(name) for name in runs["run_id"].values]
    return [f"run {index + 1}" for index in range(runs.sizes["run"])]
