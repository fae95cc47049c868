"""Cells of a table to arrays: sizes as people write them, and values that a column cannot have."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayescale.runs.columns import COLUMNS, describe
from bayescale.runs.tables import row_list, storable

#: No test loss in nats per token is higher; perplexities and percentages are.
HIGHEST_LOSS = 20.0
_EMPTY = ("", "na", "n/a", "nan", "null", "none", "-")
_DECADES = {
    **dict.fromkeys(("k", "thousand"), 3),
    **dict.fromkeys(("m", "mn", "million"), 6),
    **dict.fromkeys(("b", "bn", "g", "billion"), 9),
    **dict.fromkeys(("t", "tn", "trillion"), 12),
    # Upper case only: "e" is the exponent of a number.
    **{"P": 15, "E": 18, "Z": 21, "Y": 24},
}
_SIZE = re.compile(
    r"(?P<number>[+-]?(?:\d{1,3}(?:[,_]\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+))"
    r"(?:[eE](?P<power>[+-]?\d{1,4}))?"
    r"\s*(?P<prefix>[PEZY]|(?i:thousand|million|billion|trillion|mn|bn|tn|[kmbgt]))?"
    r"\s*(?i:params?|parameters?|tokens?|toks?|flops?|examples?)?"
)


def parse_size(text: str) -> float:
    """Read a size as people write it.

    Parameters
    ----------
    text : str
        A number, with or without thousands separators; then, if wanted, one of k, M, B (or G), T,
        P, E, Z, Y and one of params, tokens, FLOP, examples.

    Returns
    -------
    float
        The size in plain parameters, tokens, FLOP or examples.

    Raises
    ------
    ValueError
        If the text is not a positive finite size.

    Examples
    --------
    >>> parse_size("7B"), parse_size("1.3 b params"), parse_size("70k")
    (7000000000.0, 1300000000.0, 70000.0)
    >>> parse_size("1,000,000"), parse_size("1.4e21"), parse_size("3.2 ZFLOP")
    (1000000.0, 1.4e+21, 3.2e+21)
    >>> parse_size("seven")
    Traceback (most recent call last):
    ValueError: 'seven' is not a size; expected a positive number such as 7B, 1.4e21 or 1,000,000
    """
    size = signed_size(str(text))
    if size is None or not 0 < size < float("inf"):
        raise ValueError(
            f"{text!r} is not a size; expected a positive number such as 7B, 1.4e21 or 1,000,000"
        )
    return size


def typed(value: float, digits: int = 3) -> str:
    """A number as one types it.

    Examples
    --------
    >>> typed(9.26e22), typed(1.5e9), typed(0.25)
    ('9.26e22', '1.5e9', '0.25')
    """
    return re.sub(r"e\+0*", "e", f"{value:.{digits}g}")


def parse_sizes(given: ArrayLike, name: str) -> np.ndarray:
    """Read numbers, of which any may be a size in text.

    Parameters
    ----------
    given : array-like
    name : str
        What they are, for messages.

    Returns
    -------
    numpy.ndarray
        Of the same shape.

    Raises
    ------
    ValueError
        If one is no number and no size.

    Examples
    --------
    >>> parse_sizes(["7B", 7e10], "grid")
    array([7.e+09, 7.e+10])
    """
    values = np.asarray(given)
    try:
        if values.dtype.kind in "iuf":
            return values.astype(float)
        each = [_number(entry) for entry in values.ravel().tolist()]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected numbers, or sizes as text such as '70B', got {given!r}"
        ) from error
    return np.array(each, dtype=float).reshape(values.shape)


def _number(given: Any) -> float:
    try:
        return float(given)
    except ValueError:
        return parse_size(given)


def signed_size(text: str) -> float | None:
    """A size of either sign, or None; a table's own checks have more to say about a wrong sign.

    Examples
    --------
    >>> signed_size("-1M"), signed_size("1,5")
    (-1000000.0, None)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    prefix = match["prefix"] or ""
    decades = _DECADES.get(prefix) or _DECADES.get(prefix.lower(), 0)
    # Through text rather than a product, so that "1.1B" is the same float as 1.1e9.
    return float(f"{re.sub('[,_]', '', match['number'])}e{int(match['power'] or 0) + decades}")


def cell_values(column: pd.Series, name: str, place: str) -> np.ndarray | None:
    """Values of a recognised column; None if it is empty from top to bottom.

    Parameters
    ----------
    column : Series
        Cells as the table has them.
    name : str
        Canonical name: it says whether they are sizes, losses, counts or text.
    place : str
        File and column as messages name them.

    Raises
    ------
    ValueError
        If there is text where a number belongs.

    Examples
    --------
    >>> cell_values(pd.Series(["70M", "1.3B", None]), "params", "runs.csv: column 'N'")
    array([7.0e+07, 1.3e+09,     nan])
    """
    known = COLUMNS.get(name)
    if known is None or known.kind == "text":
        values = keep(column.astype(object).map(label_text) if known else column)
        return None if known and not any(values) else values
    values, wrong = _numbers(column, signed_size if known.kind != "loss" else _plain_number)
    if wrong and known.kind == "count":
        return keep(column)
    if wrong:
        cells = [str(column.iloc[row - 1]) for row in wrong]
        quoted = ", ".join(map(repr, cells[:3]))
        expected = "a size such as 7B, 1.4e21 or 1,000,000"
        if known.kind == "loss":
            percent = all(cell.strip().endswith("%") for cell in cells)
            expected = (
                "a share such as 0.431: divide per cent by 100"
                if percent
                else "a loss such as 2.31"
            )
        raise ValueError(
            f"{place} has text where a number belongs in {row_list(wrong)}: {quoted}; expected {expected}"
            f". Correct it, or if this is not {describe(name)} give the column another name: "
            f"columns={{'other': {column.name!r}}}"
        )
    if np.isnan(values).all():
        return None
    if known.kind == "count" and np.isfinite(values).all() and (values == values.round()).all():
        return values.astype(np.int64)
    return values


def label_text(cell: object) -> str:
    """A name as text: nothing for an empty cell, no blanks around it, and a whole number without its point.

    A column of numbers with one empty cell is one of floats: 1.0 is the run that another table calls 1.

    Examples
    --------
    >>> label_text("a"), label_text(1), label_text(1.0), label_text(np.nan)
    ('a', '1', '1', '')
    """
    if is_empty(cell):
        return ""
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return str(cell).strip()


def is_empty(cell: object) -> bool:
    """Whether a cell is None, NaN, NA or NaT."""
    return pd.api.types.is_scalar(cell) and bool(pd.isna(cell))


def _plain_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def numbers(column: pd.Series) -> np.ndarray:
    """Numbers and sizes of a column, and NaN for all else.

    Examples
    --------
    >>> numbers(pd.Series(["7B", 1e9, "adam"]))
    array([7.e+09, 1.e+09,    nan])
    """
    return _numbers(column, signed_size)[0]


def _numbers(
    column: pd.Series, read: Callable[[str], float | None]
) -> tuple[np.ndarray, list[int]]:
    """Values as floats, and the rows (from 1) whose cells are not numbers."""
    if pd.api.types.is_bool_dtype(column):
        return np.full(len(column), np.nan), list(range(1, len(column) + 1))
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True), []
    values = np.full(len(column), np.nan)
    wrong = []
    for row, cell in enumerate(column):
        if isinstance(cell, str):
            number = np.nan if cell.strip().lower() in _EMPTY else read(cell)
            if number is None and cell.strip().lower().lstrip("+-") in ("inf", "infinity"):
                number = float(cell)
        elif isinstance(cell, int | float | Decimal | np.number) and not isinstance(cell, bool):
            number = _float(cell)
        else:
            number = np.nan if is_empty(cell) else None
        if number is None:
            wrong.append(row + 1)
        else:
            values[row] = number
    return values, wrong


def _float(number: int | float | Decimal | np.number) -> float:
    """A number as float; one of more than 308 digits is infinite, which is refused where it matters."""
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def keep(column: pd.Series) -> np.ndarray:
    """A column that nobody interprets, in a type that NetCDF can hold.

    Examples
    --------
    >>> keep(pd.Series(["adam", None, "muon"])).tolist()
    ['adam', '', 'muon']
    """
    column = column.infer_objects()
    whole = not column.isna().any()
    types = set(map(type, column.dropna())) if column.dtype == object else set()
    if whole and pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=bool, copy=True)
    if whole and pd.api.types.is_integer_dtype(column) and column.max() <= np.iinfo(np.int64).max:
        return column.to_numpy(dtype=np.int64, copy=True)
    if types and types <= {int, float}:
        column = column.map(_float, na_action="ignore").astype(float)
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    return np.array([_text(cell) for cell in column], dtype=str)


def _text(cell: object) -> str:
    if is_empty(cell):
        return ""
    return storable(json.dumps(cell, default=str) if isinstance(cell, dict | list) else str(cell))


def check_values(
    values: np.ndarray,
    name: str,
    place: str,
    *,
    complete: bool,
    positive: bool = True,
    rates: bool = False,
) -> None:
    """Refuse values that a column cannot have.

    Parameters
    ----------
    values : ndarray
        The column, from :func:`cell_values`.
    name : str
        Canonical name: it says whether the values must be positive.
    place : str
        File and column as messages name them.
    complete : bool
        Whether missing values are refused.
    positive : bool
        Whether sizes that are zero or negative are refused. Where no law may take the column, as epochs that are
        counted from zero, the model that is fitted has the last word.
    rates : bool
        Whether losses may be rates, or minus their logs: then they may be zero or infinite, as the model says that
        is fitted.

    Raises
    ------
    ValueError
        With the rows and the first values.

    Examples
    --------
    >>> check_values(np.array([2.5, -1.0]), "loss", "runs.csv: column 'loss'", complete=True)
    Traceback (most recent call last):
    ValueError: runs.csv: column 'loss' has 1 value <= 0 (row 2: -1); expected 'loss' (test loss, \
nat/token) above zero: correct or drop this row
    """
    known = COLUMNS.get(name)
    kind = known.kind if known and values.dtype.kind == "f" else "text"
    open_ended = rates and kind == "loss"
    if kind != "text":
        wrong = np.isinf(values) & ~(open_ended & (values > 0))
        refuse(wrong, values, place, "infinite value{s}", f"expected {describe(name)}")
    if (kind == "loss" or (kind == "size" and positive)) and (not open_ended or (values < 0).any()):
        wrong = values <= 0
        refuse(wrong, values, place, "value{s} <= 0", f"expected {describe(name)} above zero")
    if kind == "loss":
        refuse(
            (values > HIGHEST_LOSS) & np.isfinite(values),
            values,
            place,
            f"value{{s}} > {HIGHEST_LOSS:g}",
            "expected nat/token; this looks like perplexity or percent; "
            "say unit='perplexity', or convert: loss = ln(perplexity)",
        )
    if complete:
        missing = np.array([is_empty(value) or str(value) == "" for value in values])
        refuse(missing, None, place, "missing value{s}", f"expected {describe(name)} in every row")


def refuse(
    wrong: np.ndarray, values: np.ndarray | None, place: str, what: str, expected: str
) -> None:
    """Raise ValueError with the rows in which something is wrong, if there are any.

    Examples
    --------
    >>> losses = np.array([9.0, -1.0])
    >>> refuse(losses <= 0, losses, "runs.csv: column 'loss'", "value{s} <= 0", "expected more")
    Traceback (most recent call last):
    ValueError: runs.csv: column 'loss' has 1 value <= 0 (row 2: -1); expected more: correct or drop this row
    """
    rows = np.flatnonzero(wrong)
    if rows.size:
        quoted = "" if values is None else f": {', '.join(f'{v:g}' for v in values[rows[:3]])}"
        raise ValueError(
            f"{place} has {rows.size} {what.format(s='s' if rows.size > 1 else '')} "
            f"({row_list((rows + 1).tolist())}{quoted}); {expected}: correct or drop "
            f"{'these rows' if rows.size > 1 else 'this row'}"
        )
