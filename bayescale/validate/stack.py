"""Averaging models by how they forecast runs that are larger than any that they saw.

Interpolation scores (LOO) reward the law that bends best within the runs, which is not what a forecast rests on; here
the weights come from held-out larger scale (leave-future-out: Buerkner, Gabry, Vehtari 2020, arXiv 1902.06281), by
the stacking of predictive distributions of Yao et al. 2018 (arXiv 1704.02030).

Every cut is a refit. ``arviz_stats.lfo_cv`` carries one posterior on by importance weights and refits where Pareto's k
exceeds .7. It would save nothing here: between neighbouring cuts lie dozens of runs (from 1e20 to 3e20 FLOP of the
Chinchilla sweep 41, where k is 1.6 for ``skaling`` and 1.8 with drift; .7 is passed at 20), and it scores the next few
runs where a forecast is of all larger ones. Nor would it be the same posterior: the reference scale, the anchor of the
drift and the scale of its rate follow the runs that are fitted, so that a fit of more runs has another prior as well.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import xarray as xr

from bayescale.forecast.stacked import is_stack
from bayescale.inference.arrays import task_names
from bayescale.model import Model
from bayescale.notes import Note, dump_notes, get_notes
from bayescale.validate.backtest import backtest

#: Half a held-out run is counted for each model before any: few held-out runs may not silence a model.
PRIOR_RUNS = 0.5


def stack(
    fits: Mapping[str, xr.DataTree],
    *,
    weights: Mapping[str, float] | None = None,
    cuts: Sequence[float] | None = None,
    draws: int = 500,
    random_seed: int = 0,
    workers: int = 1,
    results: str | None = None,
) -> xr.DataTree:
    """Average fits of several models to the same runs.

    Parameters
    ----------
    fits : mapping of DataTree
        By name, from :func:`bayescale.fit` of the same runs.
    weights : mapping of float, optional
        By name. Left out, each model is fitted again to the smaller runs, and weighed by the density that it gives to
        the larger ones, each of which counts once however many checkpoints and cuts it has; fits that fail or do not
        converge say nothing, and a note names them.
    cuts : sequence of float, optional
        As for :func:`bayescale.validate.backtest`.
    draws : int
        Of each refit.
    random_seed : int
    workers : int
        Processes of the refits.
    results : str, optional
        Folder of finished refits: an interrupted stacking goes on there.

    Returns
    -------
    xr.DataTree
        A fit for forecasts and decisions alike (:func:`bayescale.predict`, :func:`bayescale.diminishing`,
        :func:`bayescale.allocate`, :func:`bayescale.budget` and others), with the weights in its attribute ``stack``.
        *How to read it*: a weight is a share of the draws, not the probability that a model is true; look at the spread
        between models beside it.

    Raises
    ------
    TypeError
        If ``fits`` is not a mapping of fits.
    ValueError
        If there are fewer than two fits, a name cannot be that of a group, they are not of the same runs or differ in
        their number of chains, weights make no sense, no held-out run is forecast by every model, or a refit that
        converged gives one no density.
    KeyboardInterrupt
        If a refit is interrupted; the finished ones stay in ``results``.

    Examples
    --------
    >>> import bayescale as bs
    >>> runs = bs.load_dataset("pile")
    >>> fits = {name: bs.sample_prior(runs, name, draws=100) for name in ("chinchilla", "skaling")}
    >>> both = stack(fits, weights={"chinchilla": 0.3, "skaling": 0.7})
    >>> bs.predict(both, {"params": 7e9, "tokens": 1e12}).sizes["draw"]
    100
    """
    _check(fits)
    first = next(iter(fits.values()))
    # The members agree where they read the same columns; each needs those of its own model.
    tables = [fit["constant_data"].to_dataset() for fit in fits.values()]
    read = [{*_read_by(fit), *_measured_by(fit)} for fit in fits.values()]
    own = [
        table[[name for name in table if name in wanted]]
        for table, wanted in zip(tables, read, strict=True)
    ]
    columns = xr.merge(
        [*own, *tables], compat="override", join="override", combine_attrs="override"
    )
    notes: list[Note] = []
    if weights is None:
        runs = columns.assign(loss=first["observed_data"]["loss"])
        # Two fits may be of one model, with other priors: each goes by the name that it has here.
        chosen = [
            Model.from_toml(fit.attrs["model"], where=name).changed(name=name)
            for name, fit in fits.items()
        ]
        found = backtest(
            runs.assign_attrs(source=first.attrs.get("source", "runs")),
            chosen,
            cuts=cuts,
            baselines=False,
            draws=draws,
            random_seed=random_seed,
            workers=workers,
            results=results,
        )
        if (found["status"] == "interrupted").any():
            raise KeyboardInterrupt  # Weights from the refits that had ended would be others.
        densities, run = _densities(found, chosen)
        weights = dict(zip(fits, stacking_weights(densities, run=run), strict=True))
        notes += [*get_notes(found), *_failed_note(found)]
    weights = _normal(fits, weights)
    # One without weight is listed, and has no say.
    giving = [fit for name, fit in fits.items() if weights[name] > 0]
    notes = [note for fit in giving for note in get_notes(fit)] + notes
    draw = np.arange(min(fit["posterior"].sizes["draw"] for fit in giving))
    chain = first["posterior"]["chain"].values
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(coords={"chain": chain, "draw": draw}),
            "constant_data": columns,
            "observed_data": first["observed_data"].to_dataset(),
            **{f"members/{name}": fit for name, fit in fits.items()},
        }
    )
    tree.attrs = {
        **first.attrs,
        "model_name": f"stack of {', '.join(fits)}",
        "stack": json.dumps(weights),
        "converged": int(all(fit.attrs["converged"] for fit in giving)),
        "notes": dump_notes(notes),
    }
    return tree


def stacking_weights(
    log_densities: np.ndarray, steps: int = 500, *, run: np.ndarray | None = None
) -> np.ndarray:
    """Weights of a mixture that make held-out runs most probable.

    Parameters
    ----------
    log_densities : numpy.ndarray
        Log predictive density of each held-out run under each model, dims (model, run).
    steps : int
        Of the EM algorithm, which raises the score at each.
    run : numpy.ndarray, optional
        Name of the run that each column is of: those of one run, its checkpoints or its forecasts from several cuts,
        count as one together. By default each is a run of its own.

    Returns
    -------
    numpy.ndarray
        Dims (model,); they sum to one.

    Examples
    --------
    >>> stacking_weights(np.log([[0.9, 0.8, 0.9], [0.1, 0.2, 0.1]])).round(1)
    array([0.8, 0.2])
    """
    densities = np.exp(log_densities - log_densities.max(axis=0))
    part: float | np.ndarray = 1.0
    if run is not None:
        _, of, rows = np.unique(run, return_inverse=True, return_counts=True)
        part = 1 / rows[of]
    weights = np.full(densities.shape[0], 1 / densities.shape[0])
    for _ in range(steps):
        share = weights[:, None] * densities
        share /= share.sum(axis=0)
        counts = (part * share).sum(axis=1) + PRIOR_RUNS
        weights = counts / counts.sum()
    return weights


def _densities(found: xr.Dataset, models: Sequence[Model]) -> tuple[np.ndarray, np.ndarray]:
    """Log density of every held-out row of every cut, dims (model, row), where all models have one; the row's run."""
    names = [model.name for model in models]
    sound = found["converged"].sel(model=found["of_model"], cut=found["of_cut"]).values
    kept = found[["of_model", "of_cut", "of_run", "of_run_id", "lpd"]].isel(forecast=sound)
    table = kept.to_dataframe()
    wrong = table[~np.isfinite(table["lpd"])]
    if len(wrong):
        # To leave these runs out would favour the model that cannot forecast them.
        name, cut = wrong[["of_model", "of_cut"]].iloc[0]
        rows = wrong["of_run"][(wrong["of_model"] == name) & (wrong["of_cut"] == cut)]
        raise ValueError(
            f"weights: the refit of model {name!r} to runs up to {cut:.3g} converged, but its log density of held-out "
            f"run {', '.join(map(str, rows[:8]))} is {wrong['lpd'].iloc[0]}: leave this model out, cut elsewhere, or "
            "give weights=..."
        )
    wide = table.pivot(index=["of_cut", "of_run", "of_run_id"], columns="of_model", values="lpd")
    wide = wide.reindex(columns=names)
    none = [name for name in names if wide[name].isna().all()]
    shared = wide.dropna()
    if none or shared.empty:
        what = (
            f"no refit of model {none[0]!r} to smaller runs converged"
            if none
            else "no held-out run is forecast by a converged refit of every model"
        )
        rows = found.sel(model=none or names)
        became = "; ".join(
            f"{name} at {cut:.3g} {_became(rows.sel(model=name, cut=cut))}"
            for name in rows["model"].values
            for cut in rows["cut"].values
        )
        raise ValueError(
            f"weights: {what} ({became}): draw more, cut elsewhere, leave a model out, or give weights=..."
        )
    return shared.to_numpy().T, shared.index.get_level_values("of_run_id").to_numpy()


def _became(refit: xr.Dataset) -> str:
    status, error = str(refit["status"].item()), str(refit["error"].item())
    if status == "done":
        return "converged" if bool(refit["converged"]) else "did not converge"
    return f"{status}: {error}" if error else status


def _failed_note(found: xr.Dataset) -> list[Note]:
    """The note that refits failed: of those that did not converge the backtest has its own."""
    failed = [
        f"{name} at {cut:.3g} ({found['error'].sel(model=name, cut=cut).item()})"
        for name in found["model"].values
        for cut in found["cut"].values
        if found["status"].sel(model=name, cut=cut) == "failed"
    ]
    if not failed:
        return []
    return [
        Note(
            "partial",
            "warning",
            f"refits that failed have no part in the weights: {', '.join(failed)}",
            "cut higher, take a simpler model, or give weights",
        )
    ]


def _normal(fits: Mapping[str, xr.DataTree], weights: Mapping[str, float]) -> dict[str, float]:
    given: object = weights
    named = dict(given) if isinstance(given, Mapping) else {}
    wrong = [
        name
        for name, value in named.items()
        if not (isinstance(value, int | float | np.number) and 0 <= value < np.inf)
    ]
    if set(named) != set(fits) or wrong or not any(named.values()):
        raise ValueError(
            "weights: give a mapping with one finite number of zero or more for each of "
            f"{', '.join(fits)}, not zero for all; got {named or given!r}"
        )
    # The sum of the largest numbers that there are is none.
    largest = float(max(weights.values()))
    shares = {name: float(weights[name]) / largest for name in fits}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _check(fits: Mapping[str, xr.DataTree]) -> None:
    _check_kinds(fits)
    if len(fits) < 2:
        raise ValueError(f"a stack averages at least two fits; got {', '.join(fits) or 'none'}")
    nested = [name for name, fit in fits.items() if is_stack(fit)]
    if nested:
        raise ValueError(f"{nested[0]!r} is a stack itself: give its members")
    chains = {name: fit["posterior"].sizes["chain"] for name, fit in fits.items()}
    if len(set(chains.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in chains.items())
        raise ValueError(
            f"the fits differ in their number of chains ({listed}): a stack joins draws chain by chain; fit again "
            f"with as many in each, such as chains={max(chains.values())}"
        )
    tables = {
        name: {
            str(column): values.variable
            for group in ("observed_data", "constant_data")
            for column, values in fit[group].data_vars.items()
        }
        for name, fit in fits.items()
    }
    for one, other in combinations(tables, 2):
        # What neither reads may differ, as may what only one takes as measured: how that is averaged over checkpoints
        # is its own affair.
        read = {"loss", *_read_by(fits[one]), *_read_by(fits[other])}
        read |= {*_measured_by(fits[one])} & {*_measured_by(fits[other])}
        differing = [
            column
            for column, values in tables[one].items()
            if column in read & set(tables[other]) and not values.equals(tables[other][column])
        ]
        if differing:
            raise ValueError(
                f"fit {other!r} is of other runs than {one!r} ({', '.join(map(repr, differing))} "
                f"differ{'s' if len(differing) == 1 else ''}): a stack needs the same runs"
            )


def _read_by(fit: xr.DataTree) -> tuple[str, ...]:
    """Columns that say what a run is, to the model of a fit."""
    model = Model.from_toml(fit.attrs["model"])
    return (*model.inputs.values(), *model.pooled)


def _measured_by(fit: xr.DataTree) -> tuple[str, ...]:
    """Columns beside the loss of what was measured, to the model of a fit: known errors, trials and scores."""
    model = Model.from_toml(fit.attrs["model"])
    found = [name for name in model.columns if name not in (*model.inputs.values(), *model.pooled)]
    if model.tasks is not None:
        found += task_names(fit["constant_data"].to_dataset(), model)
        found += [model.tasks.trials] if isinstance(model.tasks.trials, str) else []
    return tuple(found)


def _check_kinds(fits: object) -> None:
    """Raise unless these are fits by names that groups of a tree can have."""
    expected = "expected a mapping of names to fits, such as {'mine': fit, 'other': fit}"
    if not isinstance(fits, Mapping) or isinstance(fits, xr.DataTree):
        raise TypeError(f"fits: {expected}; got {type(fits).__name__}")
    for name, fit in fits.items():
        if not isinstance(fit, xr.DataTree):
            raise TypeError(
                f"fits: {name!r} is of type {type(fit).__name__}; {expected}, which bayescale.load reads from files"
            )
        # Each becomes a group of the tree.
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name:
            raise ValueError(
                f"fits: {name!r} cannot name a member of a stack: give text without '/'"
            )
