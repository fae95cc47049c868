"""What a backtest says: scores by model and cut, coverage by level, and a verdict in words."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binom, t

from bayescale.validate.score import CALIBRATION_LEVELS, held, scores

#: Share of the losses on one side of their median forecasts beyond which the verdict says so.
ASIDE = 0.85
#: What tells that another forecasts the runs better: distinct runs, cuts that all say so, and nats a run. Runs that one
#: fit forecasts miss together, so that one cut says so of a correct model about one time in five.
RUNS_LEAST, CUTS_LEAST, GAP_LEAST = 8, 2, 0.1
#: Levels at which coverage over all cuts is given.
NOMINAL = tuple(sorted({0.1, 0.2, 0.3, 0.4, *CALIBRATION_LEVELS}))

Width = Literal["too narrow", "fine", "too wide", "uneven", "untold"]


def summarise_backtest(result: xr.Dataset, *, largest: int | None = None) -> xr.Dataset:
    """Scores of each model at each cut, over all held-out runs or the largest of them.

    Parameters
    ----------
    result : xr.Dataset
        From :func:`bayescale.backtest`.
    largest : int, optional
        Count only so many of the largest held-out runs of each cut.

    Returns
    -------
    xr.Dataset
        Dims model, cut and level; NaN where a fit failed. See :func:`bayescale.validate.score.scores`, whose ``lpd``
        and ``crps`` are ``mean_lpd`` and ``mean_crps`` here.

    Raises
    ------
    ValueError
        If ``largest`` is less than one.
    """
    if largest is not None and largest < 1:
        raise ValueError(
            f"largest = {largest}: expected a number of runs, one or more; leave it out for all"
        )
    names, cuts = result["model"].values, result["cut"].values
    found = {}
    for name in names:
        for cut in cuts:
            table = _table(result, str(name), float(cut))
            if largest is not None:
                order = np.argsort(table["scale"].values, kind="stable")
                table = table.isel(forecast=np.sort(order[-largest:]))
            if table.sizes["forecast"]:
                found[name, cut] = scores(table)
    missing = xr.full_like(next(iter(found.values())), np.nan, dtype=float)
    rows = [xr.concat([found.get((name, cut), missing) for cut in cuts], "cut") for name in names]
    table = xr.concat(rows, "model").assign_coords(model=names, cut=cuts)
    # The forecasts themselves have a log density and a CRPS each.
    parts = [f"{name}{part}" for name in ("lpd", "crps") for part in ("", "_se", "_mcse")]
    return table.rename({name: f"mean_{name}" for name in parts})


def calibration(result: xr.Dataset) -> xr.Dataset:
    """Coverage over all cuts, by level.

    Parameters
    ----------
    result : xr.Dataset
        From :func:`bayescale.backtest`.

    Returns
    -------
    xr.Dataset
        Dims model and nominal; NaN for a model that forecast nothing. ``calibration``, over the fits that converged or,
        if none did, over all, where each run counts once however many of its checkpoints are forecast from however many
        cuts; ``calibration_low`` and ``calibration_high``, between which an honest forecast of as many distinct runs
        as the model forecast lies in nine of ten cases or more, were these independent.
    """
    names = "calibration", "calibration_low", "calibration_high"
    found = np.full((len(names), result.sizes["model"], len(NOMINAL)), np.nan)
    for index, name in enumerate(result["model"].values):
        table = _sound(result, str(name))
        runs = np.unique(table["of_run_id"].values).size
        if runs:
            share = [_by_run(table, held(table["pit"].values, level)) for level in NOMINAL]
            found[:, index] = (
                share,
                *zip(*(honest_range(level, runs) for level in NOMINAL), strict=True),
            )
    return xr.Dataset(
        {name: (("model", "nominal"), each) for name, each in zip(names, found, strict=True)},
        coords={"nominal": list(NOMINAL)},
    )


def honest_range(level: float, runs: int, cases: float = 0.9) -> tuple[float, float]:
    """Range of the coverage of an honest forecast of independent runs, in nine of ten cases or another share of them.

    Examples
    --------
    >>> honest_range(0.9, 20)
    (0.8, 1.0)
    """
    low, high = binom.ppf([(1 - cases) / 2, (1 + cases) / 2], runs, level) / runs
    return float(low), float(high)


@dataclass(frozen=True)
class Recalibration:
    """Whether the intervals of a model are as wide as they should be.

    Parameters
    ----------
    model : str
    level : float
        Nominal.
    share : float
        Of the forecasts, over all cuts, whose interval held the loss, where each run counts once: its own share. Those
        of fits that converged, if any did.
    runs : int
        Distinct held-out runs: most are forecast from several cuts.
    low, high : float
        Range of :func:`honest_range`.
    width : {"too narrow", "fine", "too wide", "uneven", "untold"}
        "uneven" where the share over all cuts is usual and that of a cut by itself is not; "untold" where every share
        is usual for honest intervals: the runs are too few to tell.
    apart : tuple of tuple of float
        Cuts whose own share is unusual, each with it. In nine of ten cases an honest model has none.
    """

    model: str
    level: float
    share: float
    runs: int
    low: float
    high: float
    width: Width
    apart: tuple[tuple[float, float], ...] = ()


def recalibration(result: xr.Dataset, model: str, level: float = 0.9) -> Recalibration:
    """Judge the width of a model's intervals by how many held-out losses they held.

    Parameters
    ----------
    result : xr.Dataset
        From :func:`bayescale.backtest`.
    model : str
    level : float

    Returns
    -------
    Recalibration
        *How to read it*: "fine" means that these runs do not tell otherwise.
    """
    table = _sound(result, model)
    runs = np.unique(table["of_run_id"].values).size
    if runs == 0:
        raise ValueError(f"model {model!r} forecast nothing: all of its fits failed")
    share = _by_run(table, held(table["pit"].values, level))
    low, high = honest_range(level, runs)
    width = _width(share, low, high)
    apart = _apart(table, level)
    if (low, high) == (0, 1):
        width = "untold"
    elif apart and width == "fine":
        width = "uneven"
    return Recalibration(model, level, share, runs, low, high, width, apart)


def _apart(table: xr.Dataset, level: float) -> tuple[tuple[float, float], ...]:
    """Cuts whose share by itself is one that honest forecasts seldom have, each with it."""
    cuts = np.unique(table["of_cut"].values)
    found = []
    for cut in cuts:
        one = table.isel(forecast=table["of_cut"].values == cut)
        share = _by_run(one, held(one["pit"].values, level))
        # Each of several cuts has its own chance to be apart.
        runs = np.unique(one["of_run_id"].values).size
        low, high = honest_range(level, runs, 1 - 0.1 / cuts.size)
        if _width(share, low, high) != "fine":
            found.append((float(cut), share))
    return tuple(found)


def _width(share: float, low: float, high: float) -> Width:
    # The ends are whole numbers of runs, which a mean of shares may miss by rounding.
    return "too narrow" if share < low - 1e-9 else "too wide" if share > high + 1e-9 else "fine"


def _by_run(table: xr.Dataset, true: np.ndarray) -> float:
    """Share of the forecasts of which something is true, each run counted once: the largest are seen from every cut."""
    return float(pd.Series(true).groupby(table["of_run_id"].values).mean().mean())


def verdict(result: xr.Dataset) -> list[str]:
    """Say in words what a backtest found, of its first model beside the others.

    Parameters
    ----------
    result : xr.Dataset
        From :func:`bayescale.backtest`.

    Returns
    -------
    list of str
        How many held-out losses the 90 % intervals held, near and far; whether they are too narrow, fine or too
        wide, or that so few runs cannot tell; whether another forecasts them better, which takes
        :data:`RUNS_LEAST` runs and :data:`CUTS_LEAST` cuts that agree; what failed.

    Examples
    --------
    >>> import bayescale as bs
    >>> found = bs.backtest(bs.load_dataset("pile"), ["power"], cuts=[1e21], draws=500, baselines=False)
    >>> verdict(found)[0]
    'up to 0.89 decades beyond the training runs, 90 % intervals of power held ... of 8 losses ...'
    """
    told = []
    done = [
        name for name in map(str, result["model"].values) if _table(result, name).sizes["forecast"]
    ]
    main = next(name for name in done if bool(result["is_fit"].sel(model=name)))
    beyond = _sound(result, main)["decades_beyond"].values
    for near, which in ((True, beyond <= 1), (False, beyond > 1)):
        if which.any():
            farthest = beyond[which].max()
            far = "1 decade" if f"{farthest:.2g}" == "1" else f"1 to {farthest:.2g} decades"
            if near:
                far = "up to a decade" if farthest > 0.95 else f"up to {farthest:.2g} decades"
            told.append(_counts(result, main, done, near, far))
    for level in (0.9, 0.5):
        told.append(_judged(recalibration(result, main, level)))
    told += _aside(result, main)
    told.append(_comparison(result, main, done))
    told.append(
        "forecasts from one fit share its errors: read these shares and densities as less certain than so many runs"
    )
    status, converged = result["status"].values, result["converged"].values
    for what, bad in (
        ("failed", status == "failed"),
        ("were interrupted", status == "interrupted"),
        (
            "did not converge: do not use their scores; above they count only for a model of which no fit converged",
            (status == "done") & ~converged,
        ),
    ):
        if bad.any():
            told.append(f"{bad.sum()} of {int(result['is_fit'].sum()) * bad.shape[1]} fits {what}")
    few = result["model"].values[(status == "left out").any(axis=1)]
    if few.size:
        told.append(f"{', '.join(few)}: left out where too few runs are fitted to tell its scatter")
    return told


def _aside(result: xr.Dataset, model: str) -> list[str]:
    """That nearly all losses fell on one side of their median forecasts, which a coverage does not show."""
    table = _sound(result, model)
    below = table["pit"].values < 0.5
    part = _by_run(table, below)
    share, which, side, bias = max(
        (part, below, "below", "high"), (1 - part, ~below, "above", "low"), key=lambda each: each[0]
    )
    # Half of the losses lie below the median, as half lie within the 50 % interval: what is usual is so for both.
    usual = recalibration(result, model, 0.5)
    if share <= max(ASIDE, usual.high + 1e-9):
        return []
    return [
        f"{model}: {which.sum()} of {which.size} losses fell {side} their median forecast: its forecasts are too "
        f"{bias}; {_percent(usual.low)} to {_percent(usual.high)} is usual for honest ones of {usual.runs} independent "
        "runs"
    ]


def _judged(found: Recalibration) -> str:
    """Whether the intervals of a level are as wide as they should be, if so many runs can tell."""
    which = f"{_percent(found.level)} intervals"
    if found.width == "untold":
        runs = "one run" if found.runs == 1 else f"{found.runs} runs"
        return f"{found.model}: {runs} cannot tell whether {which} are too narrow or too wide"
    if found.width == "uneven":
        shares = ", ".join(f"{_percent(share)} above {cut:.3g}" for cut, share in found.apart)
        return (
            f"{found.model}: {which} are uneven: they held {_percent(found.share)} of all losses, as honest ones do, "
            f"but {shares}"
        )
    return (
        f"{found.model}: {which} are {found.width}: they held {_percent(found.share)} of the losses, each run "
        f"counted once; {_percent(found.low)} to {_percent(found.high)} is usual for honest ones of {found.runs} "
        "independent runs"
    )


def _counts(result: xr.Dataset, main: str, done: list[str], near: bool, far: str) -> str:
    """How many losses the 90 % intervals held, near or far."""
    found = {}
    for name in done:
        table = _sound(result, name)
        which = (table["decades_beyond"].values <= 1) == near
        inside = held(table["pit"].values[which], 0.9)
        found[name] = int(inside.sum()), inside.size
    count, size = found.pop(main)
    others = [f"{name} {k}" + ("" if n == size else f" of {n}") for name, (k, n) in found.items()]
    beside = f"; {', '.join(others)}" if others else ""
    return (
        f"{far} beyond the training runs, 90 % intervals of {main} held {count} of {size} losses "
        f"({_percent(count / size)}){beside}"
    )


def _comparison(result: xr.Dataset, main: str, done: list[str]) -> str:
    """Log predictive density beside the other models', paired by run."""
    gaps = {name: _gaps(result, main, name) for name in done if name != main}
    told, lost, doubts = [], [], []
    for name, gap in gaps.items():
        mean, error = _difference(gap)
        told.append(f"{'above' if mean > 0 else 'below'} {name} by {abs(mean):.2f} {_error(error)}")
        runs = gap["of_run_id"].nunique()
        if runs < 2 or mean + t.ppf(0.975, runs - 1) * error > 0 or mean > -GAP_LEAST:
            continue
        doubt = _doubt(gap, runs)
        lost += [] if doubt else [name]
        doubts += [f"{doubt} whether {name} forecasts better"] if doubt else []
    own = float(_sound(result, main)["lpd"].mean())
    text = f"{main}: mean log predictive density {own:.2f}"
    text += f"; {', '.join(told)}" if told else ""
    simple = [name for name in lost if not bool(result["is_fit"].sel(model=name))]
    if simple:
        return f"{text}. It loses to {' and to '.join(simple)}: not recommended for these runs"
    if lost:
        return f"{text}. {lost[0]} forecasts these runs better"
    return ". ".join([text, *doubts])


def _error(error: float) -> str:
    return f"± {error:.2f}" if np.isfinite(error) else "(on one run, which cannot tell)"


def _doubt(gap: pd.DataFrame, runs: int) -> str:
    """Why a density that is lower by more than its error tells nothing, if so."""
    if runs < RUNS_LEAST:
        return f"{runs} runs, fewer than {RUNS_LEAST}, cannot tell"
    cuts = [
        each["gap"].mean() < 0
        for _, each in gap.groupby("of_cut")
        if each["of_run_id"].nunique() > 1
    ]
    if len(cuts) < CUTS_LEAST:
        return "one cut, whose runs share the errors of its fits, cannot tell"
    return "" if all(cuts) else "the cuts disagree"


def _gaps(result: xr.Dataset, main: str, other: str) -> pd.DataFrame:
    """Difference in log density of each forecast that two models share."""
    tables = [_sound(result, name).to_dataframe() for name in (main, other)]
    both = tables[0].merge(tables[1], on=["of_cut", "of_run", "of_run_id"])
    return both.assign(gap=both["lpd_x"] - both["lpd_y"])


def _difference(gaps: pd.DataFrame) -> tuple[float, float]:
    """Mean over shared forecasts of the difference in log density, and its standard error over distinct runs."""
    gap = gaps["gap"].groupby(gaps["of_run_id"]).agg(["sum", "size"])
    mean = float(gap["sum"].sum() / gap["size"].sum())
    # Forecasts of one run from several cuts, or of its checkpoints, share its luck: the run is the unit.
    left = gap["sum"] - mean * gap["size"]
    runs = len(gap)
    if runs < 2:
        return mean, float("nan")
    return mean, float(np.sqrt((left**2).sum() * runs / (runs - 1)) / gap["size"].sum())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _sound(result: xr.Dataset, model: str) -> xr.Dataset:
    """Forecasts of one model by the fits that converged, or by all if none did."""
    table = _table(result, model)
    sound = result["converged"].sel(model=model, cut=table["of_cut"].values).values
    return table.isel(forecast=sound) if sound.any() else table


def _table(result: xr.Dataset, model: str, cut: float | None = None) -> xr.Dataset:
    """Forecasts of one model, at one cut or at all."""
    columns = [name for name in result.data_vars if result[name].dims == ("forecast",)]
    which = result["of_model"].values == model
    if cut is not None:
        which &= result["of_cut"].values == cut
    return result[columns].drop_vars(["model", "cut"], errors="ignore").isel(forecast=which)
