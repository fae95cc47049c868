"""Loss at any scale, from the draws of a saved fit."""

from collections.abc import Hashable, Sequence
from typing import Literal, get_args

import numpy as np
import xarray as xr

from bayescale.forecast.curve import (
    Group,
    Saved,
    blocks,
    compute_of,
    decades_beyond,
    law_params,
    log_location,
    read_fit,
    stream,
)
from bayescale.forecast.doubts import (
    design_note,
    distance_note,
    drift_note,
    fit_notes,
    group_notes,
    noise_note,
)
from bayescale.forecast.montecarlo import QUANTILES, SAMPLE_DIMS, quantiles
from bayescale.forecast.noise import run_loss, usual_trials
from bayescale.forecast.scales import Scales, read_scales
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import is_stack, of_stack
from bayescale.notes import Note, dump_notes

Kind = Literal["curve", "run"]


def predict(
    fit: xr.DataTree, at: Scales, *, kind: Kind = "curve", random_seed: int = 0
) -> xr.DataArray:
    """Predict the loss at given scales.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`, or opened from its file.
    at : Dataset, DataFrame or mapping
        Columns of the law's inputs, such as ``params`` and ``tokens``; for a model that pools, the group of each
        row (``family``). A group without runs, or none, is drawn anew from the spread between groups. May vary by
        chain and draw.
    kind : {"curve", "run"}
        Where the law runs, or what one more run would give: the curve with run-to-run noise, independent at each
        point. Evaluation noise is in neither, but for a loss that is a rate of trials: it is counted from as many as
        ``at`` says, in the column that the model names, or else as the median run has.
    random_seed : int
        Of new groups and of the noise.

    Returns
    -------
    xr.DataArray
        Dims chain, draw and those of ``at``; loss in the unit of the runs, nat/token unless said. The coordinate
        ``decades_beyond`` says how far beyond the largest run each point lies, in decades of compute (of the one
        input, for a law of one). In attrs: ``kind``, ``model``, ``notes``. *How to read it*: each draw is one law
        that the runs allow; see :func:`summarise`.

    Raises
    ------
    ValueError
        If an input is missing or not positive, or ``kind`` is not known.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=200)
    >>> loss = predict(prior, {"params": [7e9, 70e9], "tokens": [1e12, 10e12]})
    >>> dict(loss.sizes), loss.attrs["units"], loss["decades_beyond"].values.round(1)
    ({'chain': 1, 'draw': 200, 'run': 2}, 'nat/token', array([0. , 1.8]))
    """
    check_kind(kind)
    if is_stack(fit):
        return of_stack(
            fit,
            lambda share, draws: predict(
                share, these_draws(at, draws), kind=kind, random_seed=random_seed
            ),
        )
    saved = read_fit(fit)
    table = read_scales(at, saved)
    dims = tuple(dim for dim in table.sizes if dim not in SAMPLE_DIMS)
    sizes = tuple(table.sizes[dim] for dim in dims)
    inputs = {
        slot: _flat(saved, table[column], dims, sizes)
        for slot, column in saved.model.inputs.items()
    }
    groups = _groups(saved, table, dims, sizes)
    points = int(np.prod(sizes))
    trials = None
    if saved.model.noise.trials is not None and saved.model.noise.trials in table:
        given = table[saved.model.noise.trials]
        trials = np.broadcast_to(_flat(saved, given, dims, sizes)[0], points)
    loss = _evaluate(saved, saved.ratios(inputs), groups, points, kind, random_seed, trials)
    result = xr.DataArray(
        loss.reshape(*saved.shape, *sizes),
        dims=(*SAMPLE_DIMS, *dims),
        coords=_coords(saved, table),
        name="loss",
        attrs={
            "units": saved.units,
            "long_name": "test loss",
            "kind": kind,
            "model": saved.model.name,
        },
    )
    notes = [*fit_notes(fit, saved), *group_notes(saved, groups)]
    notes += design_note(saved, inputs, "a scale") if result.size else []
    notes += _point_notes(fit, saved, result, table, groups)
    result.attrs["notes"] = dump_notes(notes)
    return result


def check_kind(kind: str) -> None:
    """Raise ValueError unless a kind of loss is known."""
    if kind not in get_args(Kind):
        raise ValueError(
            f"unknown kind {kind!r}: expected 'curve' (the law) or 'run' (one more run)"
        )


def these_draws(at: Scales, draws: slice) -> Scales:
    """Those of scales that vary by draw which belong to some draws of a stack."""
    return at.isel(draw=draws) if isinstance(at, xr.Dataset) and "draw" in at.dims else at


def summarise(draws: xr.DataArray | xr.Dataset, prob: Sequence[float] = QUANTILES) -> xr.Dataset:
    """Quantiles of forecasts over all draws.

    There is no mean: an inverse quantity, such as the compute to reach a loss, may have none.

    Parameters
    ----------
    draws : xr.DataArray or xr.Dataset
        With dims chain and draw, as the functions of this package return them.
    prob : sequence of float
        Probabilities; the median is added if it is not among them.

    Returns
    -------
    xr.Dataset
        For each variable its quantiles, with a last dim ``quantile``, and ``<variable>_mcse``, the Monte Carlo
        standard error of each, in the same unit. Coordinates that do not vary by draw and all attrs are kept.
        *How to read it*: ``.sel(quantile=0.5)`` is the median; .05 to .95 is the central 90 % interval.

    Notes
    -----
    20,000 draws at 10,000 scales are 1.6 GB a quantity. Where summaries will do, ask for some hundred scales at a time:
    ``xr.concat([summarise(returns(fit, flops=some)) for some in np.array_split(flops, 50)], "flops")``, and so of
    ``allocate`` and ``compute_for``. Time is linear in the scales, memory that of one part.

    Raises
    ------
    ValueError
        If there is nothing with dims chain and draw, or something with one of them alone.

    Examples
    --------
    >>> draws = xr.DataArray(np.arange(101.0).reshape(1, -1), dims=("chain", "draw"), name="loss")
    >>> summarise(draws)["loss"].values
    array([ 5., 25., 50., 75., 95.])
    """
    if not isinstance(draws, xr.DataArray | xr.Dataset):
        raise ValueError(
            f"draws: expected a DataArray or a Dataset, got a {type(draws).__name__}; a fit's own are "
            'fit["posterior"].dataset'
        )
    data = draws if isinstance(draws, xr.Dataset) else _named(draws)
    sampled = [set(SAMPLE_DIMS) & set(values.dims) for values in data.data_vars.values()]
    if set(SAMPLE_DIMS) not in sampled or any(len(dims) == 1 for dims in sampled):
        raise ValueError(
            f"draws have the dims {', '.join(map(str, data.sizes)) or 'of a number'}: expected chain and draw; one "
            "chain is kept as such by .isel(chain=[0]), stacked samples are told apart by .unstack()"
        )
    wanted = sorted({*np.atleast_1d(np.asarray(prob, dtype=float)).tolist(), 0.5})
    found = {}
    for name, values in data.data_vars.items():
        if set(SAMPLE_DIMS) <= set(values.dims):
            values = values.astype(float) if values.dtype == bool else values
            level, error = quantiles(values.reset_coords(drop=True), wanted)
            found[name] = level.assign_attrs(values.attrs)
            found[f"{name}_mcse"] = error.assign_attrs(units=values.attrs.get("units", ""))
        else:
            found[name] = values
    kept = {name: c for name, c in data.coords.items() if not set(SAMPLE_DIMS) & set(c.dims)}
    return xr.Dataset(found, coords=kept, attrs=data.attrs)


def _named(draws: xr.DataArray) -> xr.Dataset:
    name = "value" if draws.name is None else draws.name
    return draws.to_dataset(name=name).assign_attrs(draws.attrs)


def _flat(
    saved: Saved, values: xr.DataArray, dims: tuple[Hashable, ...], sizes: tuple[int, ...]
) -> np.ndarray:
    """Values with axes (sample, point); one sample if they do not vary by draw."""
    sampled = [dim for dim in SAMPLE_DIMS if dim in values.dims]
    shape = dict(zip(dims, sizes, strict=True))
    if sampled:
        shape = dict(zip(SAMPLE_DIMS, saved.shape, strict=True)) | shape
        wrong = {dim: values.sizes[dim] for dim in sampled if values.sizes[dim] != shape[dim]}
        if wrong:
            raise ValueError(
                f"at: column {values.name!r} has sizes {wrong}; the fit has {dict(shape)}"
            )
    plain = xr.Variable(values.dims, values.values)
    return (
        plain.set_dims(shape)
        .transpose(*shape)
        .values.reshape(-1 if sampled else 1, *[int(np.prod(sizes))])
    )


def _groups(
    saved: Saved, table: xr.Dataset, dims: tuple[Hashable, ...], sizes: tuple[int, ...]
) -> list[Group]:
    """Group of each point in every pooling column; a single one if all points share it."""
    columns = {}
    for column in saved.pooled:
        values = table[column] if column in table else xr.DataArray("")
        if set(values.dims) & set(SAMPLE_DIMS):
            raise ValueError(f"at: column {column!r} may not vary by chain or draw")
        columns[column] = (
            _flat(saved, values, dims, sizes)[0] if values.ndim else values.values.reshape(1)
        )
    if all(values.size == 1 for values in columns.values()):
        return [{column: str(values[0]) for column, values in columns.items()}]
    points = int(np.prod(sizes))
    every = [np.broadcast_to(values, points) for values in columns.values()]
    return [dict(zip(columns, map(str, row), strict=True)) for row in zip(*every, strict=True)]


def _evaluate(
    saved: Saved,
    inputs: dict[str, np.ndarray],
    groups: list[Group],
    points: int,
    kind: Kind,
    random_seed: int,
    trials: np.ndarray | None,
) -> np.ndarray:
    """Losses with axes (sample, point), block by block so that memory stays bounded."""
    shared = law_params(saved, groups, random_seed) if len(groups) == 1 else None
    rng = stream(random_seed, "noise")
    result = np.empty((saved.samples, points))
    for block in blocks(points, saved.samples):
        ratios = {
            slot: values[:, block] if values.shape[1] > 1 else values
            for slot, values in inputs.items()
        }
        params = shared or _block_params(saved, groups[block], random_seed)
        location = log_location(saved, ratios, params)
        # Student's t with few degrees of freedom has no largest loss.
        with np.errstate(over="ignore"):
            if kind == "run":
                each = None if trials is None else trials[block]
                size = block.stop - block.start
                result[:, block] = run_loss(saved, location, ratios, size, rng, each)
            else:
                result[:, block] = np.exp(location)
    return result


def _block_params(saved: Saved, groups: list[Group], random_seed: int) -> dict[str, np.ndarray]:
    keys = [tuple(group.values()) for group in groups]
    distinct = dict(zip(keys, groups, strict=True))
    place = {key: index for index, key in enumerate(distinct)}
    index = np.array([place[key] for key in keys])
    params = law_params(saved, list(distinct.values()), random_seed)
    return {
        name: values[:, index] if values.shape[1] > 1 else values for name, values in params.items()
    }


def _coords(saved: Saved, table: xr.Dataset) -> dict[Hashable, xr.DataArray]:
    found: dict[Hashable, xr.DataArray] = {name: table[name] for name in table.variables}
    found["decades_beyond"] = decades_beyond(saved, compute_of(saved, table))
    return found | {dim: saved.posterior[dim] for dim in SAMPLE_DIMS}


def _point_notes(
    fit: xr.DataTree, saved: Saved, result: xr.DataArray, table: xr.Dataset, groups: list[Group]
) -> list[Note]:
    compute = compute_of(saved, table)
    # A column of compute may be the same for all of a row of scales.
    compute, *_ = xr.broadcast(compute, *(table[each] for each in saved.model.inputs.values()))
    if not compute.size:
        return []
    points = compute.median([dim for dim in SAMPLE_DIMS if dim in compute.dims])
    farthest = {dim: int(index) for dim, index in points.argmax(...).items()} if points.ndim else {}
    others = {dim: 0 for dim in result.dims if dim not in (*SAMPLE_DIMS, *farthest)}
    there = result.isel({**farthest, **others}).reset_coords(drop=True)
    finite = saved.law.inside(there.values, usual_trials(saved))
    log_loss = xr.ufuncs.log(there.copy(data=finite))
    place = {dim: index for dim, index in farthest.items() if dim in table.dims}
    inputs = {
        slot: np.asarray(
            table[column].isel(place, missing_dims="ignore").values, dtype=float
        ).reshape(-1, 1)
        for slot, column in saved.model.inputs.items()
    }
    return [
        *distance_note(saved, points.values, groups),
        *(noise_note(saved, saved.ratios(inputs)) if result.attrs["kind"] == "run" else []),
        *prior_note(fit, saved, log_loss, "the loss at the farthest point"),
        *drift_note(saved, inputs, log_loss.values.reshape(-1), "the loss at the farthest point"),
    ]
