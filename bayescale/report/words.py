"""Numbers as people write them."""

import re
from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescale.cost import LETTERS

#: Bounds of the central 90 % interval, and the median.
LEVELS = (0.05, 0.5, 0.95)


def number(value: float, digits: int = 3) -> str:
    """A number as people write it.

    Examples
    --------
    >>> number(9.62e9), number(1.5e-7), number(0.01234), number(float("inf")), number(float("nan"))
    ('9.62e9', '1.5e-7', '0.0123', 'never', '–')
    """
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "never"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.{digits}g}")


def size(value: float) -> str:
    """Parameters or tokens as people write them; :func:`bayescale.runs.parse_size` reads them back.

    Examples
    --------
    >>> size(4.338e10), size(2.46e12), size(999.9e9), size(512.0), size(3e17)
    ('43.4B', '2.46T', '1T', '512', '3e17')
    """
    if not np.isfinite(value):
        return number(value)
    rounded = float(f"{value:.3g}")
    for unit, letter in LETTERS:
        if unit <= rounded < 1e15:
            return f"{rounded / unit:g}{letter}"
    return number(value)


def percent(share: float, error: float = 0.0) -> str:
    """A probability in per cent, no finer than its Monte Carlo error.

    Examples
    --------
    >>> percent(0.273), percent(0.0, 0.0005), percent(1.0, 0.0005), percent(0.004)
    ('27 %', 'less than 0.1 %', 'more than 99.9 %', '0.4 %')
    """
    least = max(0.1, np.ceil(1000 * error) / 10)
    if share < error or 100 * share < least / 2:
        return f"less than {least:.1f} %"
    if share > 1 - error or 100 * (1 - share) < least / 2:
        return f"more than {100 - least:.1f} %"
    return f"{100 * share:.{0 if 0.02 <= share <= 0.98 else 1}f} %"


def spread(values: xr.DataArray, unit: str = "", *, sizes: bool = False) -> str:
    """Median and central 90 % interval of a summary, to two digits of the interval's width.

    What is positive over more than a decade is told to two digits each, and nothing but zero as zero.

    Examples
    --------
    >>> levels = {"quantile": [0.05, 0.5, 0.95]}
    >>> spread(xr.DataArray([-0.000969, 0.0276, 0.0602], levels, "quantile"), "nat/token")
    '0.028 nat/token (90 %: -0.001 to 0.060)'
    >>> spread(xr.DataArray([-0.0002, 0.0276, 0.0602], levels, "quantile"))
    '0.028 (90 %: -0.0002 to 0.060)'
    >>> spread(xr.DataArray([0.21, 1.9, 33.2], levels, "quantile"))
    '1.9 (90 %: 0.21 to 33)'
    >>> spread(xr.DataArray([9.62e9, 1.98e10, 4.33e10], levels, "quantile"), sizes=True)
    '19.8B (90 %: 9.62B to 43.3B)'
    """
    low, middle, high = (float(values.sel(quantile=level)) for level in LEVELS)
    width = high - low
    if sizes:
        told = [size(each) for each in (low, middle, high)]
    elif 1e-5 < width < np.inf and max(abs(low), abs(high)) < 1e4:
        places = max(0, 1 - int(np.floor(np.log10(width))))
        told = [
            _two_digits(each) if high > 10 * low > 0 else _to_places(each, places, width)
            for each in (low, middle, high)
        ]
    else:
        told = [number(each) for each in (low, middle, high)]
    return f"{told[1]}{f' {unit}' if unit else ''} (90 %: {told[0]} to {told[2]})"


def _two_digits(value: float) -> str:
    return number(float(f"{value:.2g}"), 4)


def _to_places(value: float, places: int, width: float) -> str:
    """So many decimals; what would be zero and is not keeps one digit, unless it is rounding."""
    rounded = round(value, places)
    if rounded == 0 and abs(value) > 1e-4 * width:
        return number(value, 1)
    # Adding zero makes minus zero plain zero.
    return f"{rounded + 0.0:.{places}f}"


def decades(value: float) -> str:
    """A distance in decades.

    Examples
    --------
    >>> decades(1.0), decades(0.26), decades(2.04), decades(1.03)
    ('one decade', '0.3 decades', '2 decades', '1.03 decades')
    """
    if round(value, 2) == 1:
        return "one decade"
    told = f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f} decades" if told == "1" else f"{told} decades"


def times(factor: float) -> str:
    """A multiple, to two digits.

    Examples
    --------
    >>> times(416.7), times(1.26), times(2.5e6)
    ('420 times', '1.3 times', '2.5e6 times')
    """
    rounded = float(f"{factor:.2g}")
    return f"{f'{rounded:g}' if rounded < 1e5 else number(rounded, 2)} times"


def more(step: float) -> str:
    """A step of compute.

    Examples
    --------
    >>> more(2.0), more(10.0)
    ('a doubling', '10 times the compute')
    """
    return "a doubling" if step == 2 else f"{step:g} times the compute"


def listed(items: Sequence[str]) -> str:
    """Several things in a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def in_words(message: str, unit: str) -> str:
    """A note's message with its numbers as a report writes them, and a scale with its unit.

    Examples
    --------
    >>> in_words("in 10.6% of draws the loss rises at 1e+25", " FLOP")
    'in 10.6 % of draws the loss rises at 1e25 FLOP'
    >>> in_words("the optimum at 6.4e+22 FLOP", " FLOP")
    'the optimum at 6.4e22 FLOP'
    >>> in_words("less than 1e-06", "")
    'less than 1e-6'
    """
    found = re.sub(r"(?<=\d)e\+?(-?)0*(?=\d)", r"e\1", message)
    found = re.sub(r"(?<=\d)%", " %", found)
    return re.sub(rf"(?<=\bat )(\d[\d.]*e\d+)\b(?!{unit})", rf"\1{unit}", found) if unit else found


def levels(values: xr.DataArray) -> dict[str, float]:
    """Median and bounds of the central 90 % interval, for a script."""
    return {
        key: float(values.sel(quantile=level))
        for key, level in zip(("q05", "median", "q95"), LEVELS, strict=True)
    }
