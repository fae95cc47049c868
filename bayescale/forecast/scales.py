"""Scales to forecast at: read and checked from a table, a frame or a mapping."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.forecast.curve import Group, Saved

type Scales = xr.Dataset | pd.DataFrame | Mapping[str, ArrayLike]

#: Attribute of the posterior of a stack's member: the columns that any member pools over.
POOLED_BESIDE = "pooled_beside"
#: Scales beyond this are mistakes of typing, and overflow.
_FARTHEST = 1e100


def read_scales(at: Scales, saved: Saved, *, where: str = "at") -> xr.Dataset:
    """Read the columns that a law needs from a table of scales.

    Parameters
    ----------
    at : Dataset, DataFrame or mapping
        Columns of the law's inputs; of the groups, where the model pools; ``flops`` if known. One-dimensional
        columns lie along ``run``, single numbers hold for every row.
    saved : Saved
    where : str
        Name of the table in messages.

    Returns
    -------
    xr.Dataset
        The inputs as float64 and, where given, the pooling columns as text, ``flops`` and the trials behind a rate.

    Raises
    ------
    ValueError
        If an input is missing, is not a number, is not positive and finite in some row, or lies
        outside what the law allows.
    """
    table = as_dataset(at, where)
    if 0 in table.sizes.values():
        raise ValueError(f"{where}: the table has no rows; give at least one scale")
    model, law = saved.model, saved.law
    found: dict[str, xr.DataArray] = {}
    for slot in law.inputs:
        column = model.inputs[slot.name]
        if column not in table:
            raise ValueError(
                f"{where}: missing column {column!r} ({slot.meaning} [{slot.unit}]), which model {model.name!r} "
                f"needs; it has {', '.join(map(str, table.variables)) or 'no columns'}. Add the column"
            )
        found[column] = positive(table[column], f"{where}: column {column!r}")
    _check_domain(saved, {slot: found[name] for slot, name in model.inputs.items()}, where)
    if saved.has_compute and "flops" in table:
        found["flops"] = positive(table["flops"], f"{where}: column 'flops'")
    if isinstance(model.noise.trials, str) and model.noise.trials in table:
        label = f"{where}: column {model.noise.trials!r}"
        found[model.noise.trials] = positive(table[model.noise.trials], label)
    for column in saved.pooled:
        if column in table:
            found[column] = table[column].astype(str)
    return xr.Dataset(
        {name: values.drop_vars(found, errors="ignore") for name, values in found.items()}
    )


def _check_domain(
    saved: Saved, values: Mapping[str, np.ndarray | xr.DataArray], where: str
) -> None:
    for slot, outside, bound in saved.law.outside(values):
        rows = ", ".join(str(row + 1) for row in np.flatnonzero(outside)[:8])
        column = saved.model.inputs[slot]
        raise ValueError(f"{where}: column {column!r} must be {bound}; see rows {rows}")


def as_dataset(table: Scales, where: str) -> xr.Dataset:
    """A Dataset of plain columns: dim ``run`` where a column has no dim of its own."""
    if isinstance(table, xr.Dataset):
        return table
    if isinstance(table, pd.DataFrame):
        columns = {str(name): ("run", table[name].to_numpy()) for name in table.columns}
        return xr.Dataset(columns, coords={"run": table.index.to_numpy()})
    if not isinstance(table, Mapping):
        raise ValueError(
            f"{where}: expected a Dataset, DataFrame or mapping of columns, got {type(table).__name__}"
        )
    series = [values for values in table.values() if isinstance(values, pd.Series)]
    if any(not each.index.equals(series[0].index) for each in series):
        raise ValueError(
            f"{where}: columns are Series with different indexes, which leaves open what goes with what; make one "
            "DataFrame of them, or pass arrays"
        )
    found = {}
    for name, values in table.items():
        if not isinstance(values, xr.DataArray):
            array = np.asarray(values)
            if array.ndim > 1:
                raise ValueError(
                    f"{where}: column {name!r} has {array.ndim} dims; give a DataArray with named dims"
                )
            values = xr.DataArray(array, dims=("run",) if array.ndim else ())
        found[name] = values
    return xr.Dataset(found)


def positive(values: xr.DataArray, label: str) -> xr.DataArray:
    """The values as float64, all positive and finite.

    Examples
    --------
    >>> positive(xr.DataArray([1.0, -2.0]), "at: column 'params'")
    Traceback (most recent call last):
    ValueError: at: column 'params' must be positive and finite; see row 2 (-2.0)
    """
    try:
        numbers = values.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{label} must hold numbers; {error}") from error
    flat = numbers.values.reshape(-1)
    bad = np.flatnonzero(~(np.isfinite(flat) & (flat > 0)))
    if bad.size:
        rows = f"row{'s' if bad.size > 1 else ''} {', '.join(str(row + 1) for row in bad[:8])}"
        more = f" and {bad.size - 8} more" if bad.size > 8 else ""
        raise ValueError(f"{label} must be positive and finite; see {rows}{more} ({flat[bad[0]]})")
    return numbers


def read_flops(flops: ArrayLike, saved: Saved, label: str = "flops") -> xr.DataArray:
    """Scales along dim ``flops``, positive and finite.

    A law of one input has its own scale there: the attrs say which.
    """
    given = np.atleast_1d(np.asarray(flops)).reshape(-1)
    if not given.size:
        raise ValueError(f"{label} is empty: expected one scale or more, such as 1e24")
    values = positive(xr.DataArray(given), label).values
    if values.max() > _FARTHEST:
        raise ValueError(
            f"{label} = {values.max():.3g}: no scale is so large; expected {_FARTHEST:g} at most"
        )
    if saved.has_compute:
        attrs = {"long_name": "training compute", "units": "FLOP", "column": "flops"}
    else:
        slot, column = next(iter(saved.model.inputs.items()))
        if len(saved.law.inputs) == 1:
            _check_domain(saved, {slot: values}, label)
        attrs = {
            "long_name": column,
            "units": "FLOP" if column == "flops" else column,
            "column": column,
        }
    return xr.DataArray(
        values, dims="flops", coords={"flops": ("flops", values, attrs)}, attrs=attrs
    )


def read_one(flops: ArrayLike, saved: Saved, label: str) -> float:
    """One scale, positive and finite, as :func:`read_flops` reads it."""
    values = read_flops(flops, saved, label).values
    if values.size > 1:
        raise ValueError(f"{label} = {flops!r}: expected one scale; ask for several one by one")
    return float(values[0])


def group_label(saved: Saved, family: str | Mapping[str, str] | None) -> str:
    """The group asked about, as answers name it: "new" where the model pools and none was given."""
    named = (
        family
        if isinstance(family, str)
        else ", ".join(f"{column}={name}" for column, name in (family or {}).items())
    )
    return named or ("new" if pooled_columns(saved) else "")


def pooled_columns(saved: Saved) -> tuple[str, ...]:
    """Columns that tell groups apart: of a stack's member those of all members, so that one question suits each."""
    return tuple(saved.posterior.attrs.get(POOLED_BESIDE, saved.pooled))


def group_of(saved: Saved, family: str | Mapping[str, str] | None) -> Group:
    """The group in every pooling column, of a stack's member in those of all; an empty name where none is given.

    Raises
    ------
    ValueError
        If neither the model nor another of its stack pools, or there are several columns and ``family`` does not say
        which is meant.
    """
    columns = pooled_columns(saved)
    if family is None:
        return dict.fromkeys(columns, "")
    if not columns:
        raise ValueError(
            f"family = {family!r}: model {saved.model.name!r} does not tell families apart; leave it out"
        )
    if not isinstance(family, str | Mapping):
        raise ValueError(
            f"family = {family!r}: expected one name, or a mapping such as {{{columns[0]!r}: 'name'}}; ask for "
            "several one by one"
        )
    if isinstance(family, Mapping):
        wrong = [name for name in family if name not in columns]
        if wrong:
            raise ValueError(
                f"family: {wrong[0]!r} is not pooled over; the columns are {', '.join(columns)}"
            )
        return {column: str(family.get(column, "")) for column in columns}
    if len(columns) > 1:
        raise ValueError(
            f"family = {family!r}: say of which column, such as {{{columns[0]!r}: {family!r}}}"
        )
    return {columns[0]: str(family)}
