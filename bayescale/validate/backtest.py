"""Backtest: hold the largest runs out, fit the others, and score what the fit says of them.

Beside each model stand the forecasts that it has to beat: the last loss stays, and the same law by least squares.
"""

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from bayescale.cost import training_flops
from bayescale.inference.arrays import log_losses
from bayescale.inference.columns import check_columns, check_table, name_rows
from bayescale.inference.fit import check_settings
from bayescale.inference.many import Job, Outcome, fit_many
from bayescale.inference.minima import fill_minima
from bayescale.model import ONE_INPUT, Model, default_model, shipped, with_input
from bayescale.notes import Note, dump_notes, get_notes
from bayescale.validate import baselines as simple
from bayescale.validate.score import Predictive, RatePredictive, predictive, score_runs
from bayescale.validate.verdict import calibration, summarise_backtest

__all__ = ["backtest", "default_cuts"]

#: Cuts that are chosen when none is given; the least number and share of training runs, and of held-out runs, of each.
DEFAULT_CUTS = 4
TRAINING_LEAST, TRAINING_SHARE, HELD_OUT_LEAST = 10, 0.4, 3
PERSISTENCE = "persistence"
#: Relative: a run at a cut is one to fit, where its compute is 6 * params * tokens with what rounding leaves of it too.
ROUNDING = 1e-9


def backtest(
    runs: xr.Dataset,
    models: Sequence[str | Model] | None = None,
    *,
    cuts: Sequence[float] | None = None,
    input: str | None = None,
    baselines: bool = True,
    draws: int = 1000,
    chains: int = 4,
    random_seed: int = 0,
    workers: int = 1,
    executor: Executor | str | None = None,
    results: str | Path | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Forecast the largest runs of a table from its smaller ones, at several cuts.

    Parameters
    ----------
    runs : xr.Dataset
        From :func:`bayescale.read_runs`; dim ``run``. Rows are numbered where a coordinate ``run`` names some twice.
    models : sequence of str or Model, optional
        By default the model that :func:`bayescale.fit` takes for these columns, and the same without drift.
    cuts : sequence of float, optional
        Runs up to each cut are fitted, larger ones held out. By default up to four, evenly spaced in log scale, that
        leave at least ten runs and 40 % of all to fit, to which every model can be fitted, and three to forecast; runs
        within 1 % are of one scale, and stay together.
    input : str, optional
        Column that says how large a run is; by default ``flops`` [FLOP], taken as 6 * params * tokens if only these
        are there, or else the one input that there is.
    baselines : bool
        Also forecast by persistence, and by least squares for each law, unless a cut leaves fewer than three runs more
        than the law has parameters (``status`` is then "left out"); not once a fit was interrupted.
    draws, chains : int
        Of each fit.
    random_seed : int
        Same seed, same numbers of a model at a cut, however the fits are run and whatever others there are, once the
        machine has compiled the model.
    workers, executor, results, progress
        As for :func:`bayescale.inference.many.fit_many`.

    Returns
    -------
    xr.Dataset
        Scores with dims model and cut, as :func:`bayescale.validate.score.scores` describes them, with ``status``,
        ``converged``, ``seconds`` and ``error`` of each fit. One entry of dim ``forecast`` is one held-out run as one
        model saw it from one cut: ``of_model``, ``of_cut``, ``of_run`` (the row), ``of_run_id`` (its run, which
        checkpoints share), ``decades_beyond`` the training runs, ``observed``, ``median`` and quantiles in the unit of
        the loss, ``pit``, ``lpd``, ``crps``. ``calibration`` by model and ``nominal`` level is the coverage over all
        cuts; ``calibration_low`` and ``calibration_high`` hold that of an honest forecast in nine of ten cases. *How to
        read it*: see :func:`verdict`; a larger ``lpd``, a smaller ``crps`` and coverage near its level are better.

    Raises
    ------
    ValueError
        If a cut leaves fewer than three runs to fit or none to forecast, a model is unknown or has the name of a
        baseline, or the table, or the part of it that is fitted, cannot feed one, as :func:`bayescale.fit` would say;
        if cuts or a setting make no sense, ``results`` is a file or holds another backtest, or no Dask scheduler
        answers.
    KeyboardInterrupt
        If it is interrupted before any fit has ended.

    Examples
    --------
    >>> import bayescale as bs
    >>> runs = bs.load_dataset("pile")
    >>> found = backtest(runs, ["power"], cuts=[1e21], draws=500, baselines=False)
    >>> int(found["held_out"][0]), bool(found["converged"][0, 0])
    (18, True)
    """
    check_asked(runs, draws, chains, random_seed)
    typed = None if cuts is None else _typed(cuts)
    # Before a column of compute is added: a model takes the column that it takes in a fit.
    chosen = _models(runs, models)
    if baselines:
        _check_names(chosen)
    runs, by = _with_scale(runs, input)
    # Tables that were put together have their row numbers twice, which would count two runs as one.
    if "run" not in runs.coords or not runs.get_index("run").is_unique:
        runs = runs.assign_coords(run=np.arange(runs.sizes["run"]))
    # Held-out rows too: a loss that is no number would be scored as a miss.
    for model in chosen:
        check_columns(runs, model)
    values = runs[by].values.astype(float)
    if typed is None:
        splits = _feeding([_Split.at(runs, by, cut) for cut in default_cuts(values)], chosen)
    else:
        splits = [_Split.at(runs, by, cut) for cut in typed]
        for split in splits:
            _check(chosen, split)
    jobs = [
        Job(
            f"{model.name} up to {_exact(split.cut)} {by}",
            split.train,
            model,
            _seed(random_seed, model.name, _exact(split.cut)),
            draws=draws,
            chains=chains,
            aside=split.ahead,
        )
        for model in chosen
        for split in splits
    ]
    outcomes = fit_many(
        jobs,
        then=_score_fit,
        workers=workers,
        executor=executor,
        results=results,
        progress=progress,
    )
    refuse_nothing(outcomes)
    keys = [(model.name, split.cut) for model in chosen for split in splits]
    fits = dict(zip(keys, outcomes, strict=True))
    tables: dict[tuple[str, float], xr.Dataset] = {}
    for key, outcome in fits.items():
        if outcome.status == "done":
            columns = {name: each for name, each in outcome.value.items() if name != "converged"}
            tables[key] = xr.Dataset({name: ("run", each) for name, each in columns.items()})
    stopped = any(outcome.status == "interrupted" for outcome in outcomes)
    laws = list({model.law: model for model in reversed(chosen)}.values())
    laws = laws if baselines and not stopped else []
    names = [model.name for model in chosen]
    if laws:
        names += [*(_least_squares(law) for law in laws), PERSISTENCE]
    few = {
        (_least_squares(law), split.cut): simple.too_few(split.train.sizes["run"], law)
        for law in laws
        for split in splits
    }
    for split in splits if laws else []:
        ahead = _with_logs(split.ahead, laws[0])
        told = [law for law in laws if not few[_least_squares(law), split.cut]]
        for name, forecast in _simple(split, laws[0], told, _seed(random_seed, _exact(split.cut))):
            tables[name, split.cut] = _scored(forecast, ahead, random_seed)
    forecasts = _forecasts(names, splits, tables)
    result = (
        _facts(names, splits, fits, few)
        .merge(forecasts)
        .assign_attrs(
            input=by,
            units=str(runs["loss"].attrs.get("units", "nat/token")),
            scale_units=str(runs[by].attrs.get("units", "FLOP" if by == "flops" else by)),
            source=str(runs.attrs.get("source", "runs")),
            random_seed=random_seed,
            draws=draws,
            chains=chains,
            notes=dump_notes(
                [
                    *get_notes(runs),
                    *_notes(fits),
                    *_checkpoints_note(splits),
                    *_minima_note(runs, chosen, splits),
                    *_new_groups_note(chosen, splits),
                ]
            ),
        )
    )
    parts = summarise_backtest(result), calibration(result)
    return xr.merge([result, *parts], combine_attrs="override", join="exact", compat="no_conflicts")


def default_cuts(values: np.ndarray) -> list[float]:
    """Cuts that leave enough to fit and something to forecast, evenly spaced in log scale.

    Runs of one scale, as :func:`bayescale.validate.baselines.same_scale` tells, stay on one side of each.

    Parameters
    ----------
    values : numpy.ndarray
        Scale of every run.

    Raises
    ------
    ValueError
        If there are too few runs.

    Examples
    --------
    >>> [float(f"{cut:.3g}") for cut in default_cuts(np.geomspace(1e18, 1e22, 25))]
    [3.16e+19, 1e+20, 6.81e+20, 3.16e+21]
    """
    scale = simple.same_scale(values)
    found = np.array([values[scale == number].max() for number in np.unique(scale)])
    training = np.array([(values <= cut).sum() for cut in found])
    least = max(TRAINING_LEAST, int(np.ceil(TRAINING_SHARE * values.size)))
    allowed = found[(training >= least) & (values.size - training >= HELD_OUT_LEAST)]
    if allowed.size == 0:
        raise ValueError(
            f"{values.size} runs: no cut leaves at least {least} runs to fit and {HELD_OUT_LEAST} larger ones to "
            "forecast; add runs, or choose where to cut: cuts=[...]"
        )
    wanted = np.geomspace(allowed[0], allowed[-1], DEFAULT_CUTS)
    # The largest run below each: rounding must not lose one.
    place = np.searchsorted(allowed, wanted * (1 + 1e-9), side="right") - 1
    return [float(allowed[index]) for index in sorted(set(place.clip(0)))]


def check_asked(runs: xr.Dataset, draws: int, chains: int, random_seed: int | None) -> None:
    """Raise ValueError unless this is a table of runs, and fits can be made with these settings and made again."""
    check_table(runs)
    check_settings(draws, chains, "nutpie", random_seed)
    if random_seed is None:
        raise ValueError(
            "random_seed = None: expected a whole number from 0 to 2^32 - 1, with which the same call gives the same "
            "numbers"
        )


def _typed(cuts: Sequence[float]) -> list[float]:
    """Cuts that were given, in order."""
    given: object = cuts
    try:
        found = [] if isinstance(given, str) else sorted({float(cut) for cut in cuts})
    except (TypeError, ValueError):
        found = []
    if not found or not np.isfinite(found).all():
        raise ValueError(
            f"cuts = {cuts!r}: expected one finite number or more in a list, such as cuts=[1e20, 1e21]; leave it out "
            "for some that suit the table"
        )
    return found


def _check_names(models: Sequence[Model]) -> None:
    """Raise ValueError if a model has the name of a forecast that it has to beat."""
    taken = {PERSISTENCE, *(_least_squares(model) for model in models)}
    for model in models:
        if model.name in taken:
            raise ValueError(
                f"models: {model.name!r} is the name of a forecast to beat; give the model another, or leave those "
                "out: baselines=False"
            )


@dataclass(frozen=True)
class _Split:
    """Runs up to a cut, and the larger ones."""

    cut: float
    by: str
    train: xr.Dataset
    ahead: xr.Dataset

    @classmethod
    def at(cls, runs: xr.Dataset, by: str, cut: float) -> "_Split":
        values = runs[by].values
        below = values <= cut * (1 + ROUNDING)
        train, ahead = runs.isel(run=below), runs.isel(run=~below)
        where = f"cut {cut:.4g} ({by} from {values.min():.3g} to {values.max():.3g})"
        if train.sizes["run"] < 3:
            raise ValueError(
                f"{where} leaves {train.sizes['run']} of {values.size} runs to fit and needs three: cut higher"
            )
        if ahead.sizes["run"] == 0:
            raise ValueError(f"{where} holds no run out; cut below the largest run")
        return cls(cut, by, train, ahead)

    @property
    def decades(self) -> np.ndarray:
        """Decades of each held-out run beyond the largest training run."""
        return np.log10(self.ahead[self.by].values / self.train[self.by].values.max())


def _with_scale(runs: xr.Dataset, given: str | None) -> tuple[xr.Dataset, str]:
    """The runs, with compute if it can be told, and the column that says how large they are."""
    where = runs.attrs.get("source", "runs")
    sizes = [runs[name] for name in ("params", "tokens") if name in runs]
    plain = len(sizes) == 2 and all(each.dtype.kind in "fiu" for each in sizes)
    if plain and "flops" not in runs and given in (None, "flops"):
        # Tokens alone would call a small model that saw many of them a large run.
        params, tokens = (each.values.astype(float) for each in sizes)
        runs = runs.assign(flops=("run", training_flops(params, tokens), {"units": "FLOP"}))
    present = [name for name in ONE_INPUT if name in runs]
    if given is None and not present:
        raise ValueError(f"{where}: no column says how large a run is; name one: input=...")
    by = given or present[0]
    if by not in runs or runs[by].dtype.kind not in "fiu":
        raise ValueError(
            f"{where}: input = {by!r} is not a column of numbers; those that say how large a run is: "
            f"{', '.join(present) or 'none'}"
        )
    if "loss" not in runs:
        raise ValueError(f"{where}: a backtest needs losses; add a column 'loss'")
    values = runs[by].values.astype(float)
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        raise ValueError(
            f"{where}: column {by!r}, which says how large a run is, must be positive and finite; see rows "
            f"{name_rows(wrong, values)}. Drop or fix them, or name another column: input=..."
        )
    return runs, by


def _models(runs: xr.Dataset, given: Sequence[str | Model] | None) -> list[Model]:
    if given is None:
        model, _ = default_model(runs)
        bare = model.name.replace("-drift", "")
        plain = (
            Model.load(bare)
            if bare != model.name and bare in shipped()
            else model.with_discrepancy("none").changed(name=f"{bare}-bare")
        )
        given = [model, plain]
    if isinstance(given, str | Model):
        given = [given]
    found = [with_input(runs, Model.load(each)) for each in given]
    names = [model.name for model in found]
    repeated = {name for name in names if names.count(name) > 1}
    if not names or repeated:
        what = f"{sorted(repeated)[0]!r} is there twice" if repeated else "none is given"
        raise ValueError(f"models: {what}; expected one or more, each under a name of its own")
    return found


def _feeding(splits: Sequence[_Split], models: Sequence[Model]) -> list[_Split]:
    """Splits whose smaller runs can feed every model: those of the first may all be of one family."""
    found, refused = [], None
    for split in splits:
        try:
            _check(models, split)
            found.append(split)
        except ValueError as error:
            refused = error
    if refused is not None and not found:
        raise refused
    return found


def _check(models: Sequence[Model], split: _Split) -> None:
    """Tell before anything is fitted that a model cannot be fitted to a cut."""
    for model in models:
        try:
            check_columns(split.train, model)
        except ValueError as error:
            raise ValueError(
                f"up to cut {split.cut:.4g}: {error}; or cut higher: cuts=[...]"
            ) from error


def _exact(cut: float) -> str:
    """A cut as text that no other cut has."""
    short = f"{cut:.6g}"
    return short if float(short) == cut else repr(cut)


def _seed(random_seed: int, *of: str) -> int:
    """Seed by name, not by place: a folder of results goes on with another model or a lower cut."""
    words = [zlib.crc32(word.encode()) for word in of]
    return int(np.random.SeedSequence([random_seed, *words]).generate_state(1)[0])


def _least_squares(model: Model) -> str:
    return f"least squares ({model.law})"


def _simple(
    split: _Split, first: Model, laws: Sequence[Model], seed: int
) -> list[tuple[str, Predictive]]:
    """Forecasts to beat, by name; the first model tells how losses are read."""
    found = [
        (
            _least_squares(model),
            simple.least_squares(
                _with_logs(split.train, model), split.ahead, model, random_seed=seed
            ),
        )
        for model in laws
    ]
    train = _with_logs(split.train, first)
    return [*found, (PERSISTENCE, simple.persistence(train, split.ahead, by=split.by))]


def _with_logs(runs: xr.Dataset, model: Model) -> xr.Dataset:
    """Losses as a fit takes them: a counted rate of zero has a log too."""
    return runs.assign(loss=runs["loss"].copy(data=np.exp(log_losses(runs, model))))


def _scored(
    forecast: Predictive | RatePredictive, ahead: xr.Dataset, random_seed: int
) -> xr.Dataset:
    return score_runs(forecast, ahead["loss"].values, random_seed=random_seed)


def _score_fit(fit: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
    """What travels back from a fit: the scores of the held-out runs."""
    assert job.aside is not None
    forecast = predictive(fit, job.aside, random_seed=job.random_seed)
    table = _scored(forecast, job.aside, job.random_seed)
    found = {str(name): values.values for name, values in table.data_vars.items()}
    return found | {"converged": np.asarray(bool(fit.attrs["converged"]))}


def refuse_nothing(outcomes: Sequence[Outcome]) -> None:
    """Raise what ended the first of some fits, if none succeeded."""
    if any(outcome.status == "done" for outcome in outcomes):
        return
    if any(outcome.status == "interrupted" for outcome in outcomes):
        raise KeyboardInterrupt
    first = outcomes[0]
    raise ValueError(
        f"none of {len(outcomes)} fits succeeded; the first, {first.name}: {first.error}"
    )


def _forecasts(
    names: Sequence[str], splits: Sequence[_Split], tables: Mapping[tuple[str, float], xr.Dataset]
) -> xr.Dataset:
    """Every forecast of a held-out run, one below another."""
    parts = []
    for name in names:
        for split in splits:
            if (name, split.cut) in tables:
                size = split.ahead.sizes["run"]
                about = {
                    "of_model": np.full(size, name),
                    "of_cut": np.full(size, split.cut),
                    "of_run": split.ahead["run"].values,
                    "of_run_id": _names(split.ahead),
                    "scale": split.ahead[split.by].values.astype(float),
                    "decades_beyond": split.decades,
                }
                columns = {key: ("forecast", each) for key, each in about.items()}
                table = tables[name, split.cut].rename(run="forecast")
                parts.append(table.assign(columns))
    return xr.concat(parts, "forecast")


def _names(runs: xr.Dataset) -> np.ndarray:
    """Names of the runs, which checkpoints share; where there are none each row is a run."""
    rows = runs["run"].values.astype(str)
    if "run_id" not in runs:
        return rows
    names = runs["run_id"].values.astype(str)
    return np.where(names == "", rows, names)


def _checkpoints_note(splits: Sequence[_Split]) -> list[Note]:
    """The note that rows held out are checkpoints: several of one run, or the rest of runs that were fitted."""
    rows = {row for split in splits for row in split.ahead["run"].values}
    runs = {name for split in splits for name in _names(split.ahead)}
    seen = {name for split in splits for name in {*_names(split.ahead)} & {*_names(split.train)}}
    told = []
    if len(rows) > len(runs):
        told.append(
            f"the {len(rows)} rows held out are checkpoints of {len(runs)} run{'s' if len(runs) > 1 else ''}, which a "
            "forecast misses together: the errors of the scores, taken over rows, are too small"
        )
    if seen:
        told.append(
            f"{len(seen)} of {len(runs)} runs held out were fitted up to an earlier checkpoint: to go on with these "
            "is easier than to foresee runs of which nothing is known, and the scores hold both"
        )
    if not told:
        return []
    advice = "the verdict counts runs; to judge forecasts of new ones, give a table of the last row of each run"
    return [Note("checkpoints", "warning", "; ".join(told), advice)]


def _minima_note(runs: xr.Dataset, models: Sequence[Model], splits: Sequence[_Split]) -> list[Note]:
    """The note that held-out losses are running minima, which a fit does not forecast, if they are."""
    filled, found = next(
        (each for each in (fill_minima(runs, model) for model in models) if each[1] is not None),
        (runs, None),
    )
    if found is None:
        return []
    repeats = ~np.isclose(filled["loss"].values, runs["loss"].values, rtol=1e-9, atol=0)
    held_out = np.isin(runs["run"].values, np.concatenate([each.ahead["run"] for each in splits]))
    which = repeats & held_out
    if not which.any():
        return []
    curves = np.unique(runs["run_id"].values[which].astype(str)).size
    return [
        Note(
            "running_minimum_table",
            "warning",
            f"{which.sum()} of the {held_out.sum()} rows held out repeat a running minimum, in {curves} "
            f"curve{'s' if curves > 1 else ''}: they lie below the losses as measured, which are what is forecast, so "
            "that coverage and forecasts that seem too high do not judge the model",
            "give losses as they were measured",
        )
    ]


def _new_groups_note(models: Sequence[Model], splits: Sequence[_Split]) -> list[Note]:
    """The note that held-out runs are of groups without any run to fit, if a model tells groups apart."""
    found = []
    # Of checkpoints there is a note already.
    pooled = dict.fromkeys(over for model in models for over in model.pooled if over != "run_id")
    for over in pooled:
        for split in splits:
            known, ahead = (part[over].values.astype(str) for part in (split.train, split.ahead))
            for name, count in zip(*np.unique(ahead, return_counts=True), strict=True):
                if name not in known:
                    rows = "1 run" if count == 1 else f"{count} runs"
                    found.append(f"{over} {str(name)!r} above {split.cut:.3g} ({rows})")
    if not found:
        return []
    return [
        Note(
            "new_family",
            "warning",
            f"held out, with no run below the cut: {', '.join(found)}: the runs of each share one unknown offset, "
            "which a forecast misses together, so that they tell less than as many independent runs",
            "cut where each has runs to fit, or read coverage and the errors of the scores as less certain",
        )
    ]


def _facts(
    names: Sequence[str],
    splits: Sequence[_Split],
    fits: Mapping[tuple[str, float], Outcome],
    few: Mapping[tuple[str, float], str],
) -> xr.Dataset:
    """What was fitted to what, and what became of it; ``few`` says why least squares was left out, if it was."""
    both = ("model", "cut")
    rows = [[fits.get((name, split.cut), Outcome(name)) for split in splits] for name in names]
    reasons = np.array([[few.get((name, split.cut), "") for split in splits] for name in names])
    out = reasons != ""
    found = {
        "training": ("cut", [split.train.sizes["run"] for split in splits]),
        "held_out": ("cut", [split.ahead.sizes["run"] for split in splits]),
        "largest_training": ("cut", [float(split.train[split.by].max()) for split in splits]),
        "is_fit": ("model", [any(name == key[0] for key in fits) for name in names]),
        "converged": (both, [[_converged(each) for each in row] for row in rows]),
        "status": (both, np.where(out, "left out", [[e.status for e in row] for row in rows])),
        "error": (both, np.where(out, reasons, [[e.error for e in row] for row in rows])),
        "seconds": (both, [[each.seconds for each in row] for row in rows]),
    }
    return xr.Dataset(found, {"model": list(names), "cut": [split.cut for split in splits]})


def _converged(outcome: Outcome) -> bool:
    """Whether a fit converged; least squares and persistence have nothing to converge."""
    return outcome.status == "done" and (outcome.value is None or bool(outcome.value["converged"]))


def _notes(fits: Mapping[tuple[str, float], Outcome]) -> list[Note]:
    notes = []
    bad = [key for key, each in fits.items() if each.status == "done" and not _converged(each)]
    if bad:
        which = ", ".join(f"{name} at {cut:.3g}" for name, cut in bad)
        advice = "do not use the scores of these fits; draw more, or take a simpler model"
        notes.append(Note("not_converged", "error", f"did not converge: {which}", advice))
    stopped = sum(each.status == "interrupted" for each in fits.values())
    if stopped:
        message = f"{stopped} of {len(fits)} fits were interrupted before they ended"
        notes.append(Note("partial", "error", message, "run the same backtest again"))
    return notes
