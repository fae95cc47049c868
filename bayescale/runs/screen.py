"""What a run table says against itself, before any model sees it.

A scaling law with exponents for both inputs needs runs that vary both, apart from each other;
losses in nats per token; compute in FLOP. Each doubt is a :class:`~bayescale.notes.Note`.
"""

import json
import re
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.notes import Note
from bayescale.runs.columns import ALONE, INPUTS, plain
from bayescale.runs.tables import row_list

#: Tokens per parameter within this factor are one ray: the two exponents cannot be told apart.
RAY = 1.5
#: Values closer than this, relatively, are one level of a design.
LEVEL = 0.01
#: What is smaller than this and a thousand times smaller than all that is not was written in another unit.
SMALLEST = {"params": 1e5, "flops": 1e12, "tokens": 1e6}
#: Tokens per parameter of any training lie between these; sizes in millions on one side are a factor of a million off.
RATIOS = (1e-2, 1e6)
#: Attention, embeddings and forward-only counts keep compute within this factor of the runs' own ratio to the rule.
APART = 30.0
#: A model that knows nothing has loss ln(vocabulary), about 11 nats; a trained one is below this.
HIGH_LOSS = 6.0
#: Words for the state of a run that did not end as it should; of W&B, MLflow and people.
UNFINISHED = (
    *("running", "scheduled", "pending", "queued", "preempting", "preempted", "interrupted"),
    *("failed", "killed", "crashed", "diverged", "stopped", "aborted", "cancelled", "canceled"),
)
#: Columns that say in what a loss was measured.
UNIT = ("unit", "lossunit", "lossunits")
MIXED = (*UNIT, "tokenizer", "tokeniser")
_NATS = re.compile(r"nats?((per)?tok(en)?s?)?|ln|naturallog")
#: Curves with fewer checkpoints than this may fall throughout by chance; with repeats, which a measured loss has none
#: of, half as many tell.
DENSE = 20
#: A curve of which so many steps should have been upwards, and none was, looks like running minima: one of twenty raw
#: ones does by chance.
RISES_DUE = 3.0


def design_notes(runs: xr.Dataset) -> list[Note]:
    """Doubts about a run table that its own numbers raise.

    Parameters
    ----------
    runs : xr.Dataset
        Run table, dim ``run``. Without losses only the origin of ``flops`` is reported.

    Returns
    -------
    list of Note
        Empty if nothing was found. None of these stops a fit: each says which answers to distrust.

    Examples
    --------
    >>> N = [1e8, 1e9, 1e10]
    >>> runs = xr.Dataset({"params": ("run", N), "tokens": ("run", [20 * n for n in N])})
    >>> [note.code for note in design_notes(runs.assign(loss=("run", [3.0, 2.5, 2.2])))]
    ['collinear_design']
    """
    notes = list(_derived(runs))
    if "loss" in runs and np.isfinite(runs["loss"].values).sum() >= 3:
        for doubt in (
            _ray,
            _levels,
            _repeats,
            _restarted,
            _shared_names,
            _rising,
            _unfinished,
            _mixed_units,
            _loss_units,
            _size_units,
            _minima,
        ):
            notes.extend(doubt(runs))
    return notes


def unit_notes(frame: pd.DataFrame) -> list[Note]:
    """Doubt about losses that were taken as nat/token although a column says that all are in another unit.

    Examples
    --------
    >>> unit_notes(pd.DataFrame({"loss": [0.9, 0.8], "Unit": "bits per byte"}))[0].message
    "column 'Unit' says 'bits per byte' in every row; the losses are taken as nat/token"
    """
    notes = []
    for column in (name for name in frame if plain(name) in UNIT):
        cells = [str(cell).strip() for cell in frame[column].dropna()]
        words = {plain(cell): cell for cell in cells if cell}
        if len(words) == 1 and not _NATS.fullmatch(next(iter(words))):
            said = next(iter(words.values()))
            message = (
                f"column {column!r} says {said!r} in every row; the losses are taken as nat/token"
            )
            advice = (
                "name the unit when reading (bit/token, bit/byte or perplexity) and they are converted; else forecasts "
                "stay in the table's own unit"
            )
            notes.append(Note("unit_not_read", "warning", message, advice))
    return notes


def levels(values: np.ndarray) -> int:
    """Distinct levels of an input, to 1 % relative.

    Examples
    --------
    >>> levels(np.array([1e9, 1.001e9, 2e9]))
    2
    """
    logs = np.sort(np.log(values[np.isfinite(values)]))
    return int(np.sum(np.diff(logs) > LEVEL)) + 1 if logs.size else 0


def tokens_per_param(runs: xr.Dataset) -> np.ndarray:
    """Tokens per parameter of the runs that have both; empty if the table lacks one of them.

    Examples
    --------
    >>> tokens_per_param(xr.Dataset({"params": ("run", [1e9]), "tokens": ("run", [2e10])}))
    array([20.])
    """
    if "params" not in runs or "tokens" not in runs:
        return np.array([])
    ratio = runs["tokens"].values / runs["params"].values
    return ratio[np.isfinite(ratio)]


def _derived(runs: xr.Dataset) -> Iterator[Note]:
    if "tokens" in runs and runs["tokens"].attrs.get("derived") == "all":
        yield Note(
            "derived_tokens",
            "info",
            f"tokens = flops / (6 * params), derived in all {runs.sizes['run']} runs",
            "give a tokens column if attention, embeddings or other compute matter",
        )
    derived = runs["flops"].attrs.get("derived", "none") if "flops" in runs else "none"
    if derived == "none":
        return
    count = int(np.isfinite(runs["flops"].values).sum())
    which = f"all {count}" if derived == "all" else int(runs["flops_derived"].sum())
    advice = "give a flops column if attention, embeddings or other compute matter"
    if "active_params" in runs and "params" in runs and (runs.active_params < runs.params).any():
        advice += "; with experts, 6 * active_params * tokens is nearer the truth"
    yield Note(
        "derived_flops", "info", f"flops = 6 * params * tokens, derived in {which} runs", advice
    )


def _ray(runs: xr.Dataset) -> Iterator[Note]:
    ratio = tokens_per_param(runs)
    if ratio.size >= 3 and ratio.max() / ratio.min() < RAY:
        yield Note(
            "collinear_design",
            "warning",
            f"all {ratio.size} runs have {ratio.min():.3g} to {ratio.max():.3g} tokens per "
            "parameter: the exponents of params and tokens cannot be told apart",
            "add runs at other ratios (a few at 5 and at 100 tokens per parameter tell most), "
            "or trust forecasts along this ray only",
        )


def _levels(runs: xr.Dataset) -> Iterator[Note]:
    for name in ("params", "tokens"):
        count = levels(runs[name].values) if name in runs else 0
        if count in (1, 2):
            yield Note(
                "too_few_levels",
                "warning",
                f"{name} has {count} distinct level{'s' if count > 1 else ''} in "
                f"{runs.sizes['run']} runs: its exponent and the loss floor rest on the prior",
                f"add runs at other {name}: three levels give a slope, four or more its curvature",
            )


def _repeats(runs: xr.Dataset) -> Iterator[Note]:
    sizes = (*INPUTS, "experts", *ALONE)
    keys = [name for name in (*sizes, "loss", "family", "step", "seed") if name in runs]
    if "run_id" in runs and len(np.unique(runs["run_id"].values)) < runs.sizes["run"]:
        # Repeated names are names of curves, and points of two curves may well agree.
        keys.append("run_id")
    frame = pd.DataFrame({name: runs[name].values for name in keys})
    rows = np.flatnonzero(frame.duplicated() & frame["loss"].notna()) + 1
    if rows.size:
        yield Note(
            "duplicated_runs",
            "warning",
            f"{rows.size} of {len(frame)} runs repeat an earlier one in {', '.join(keys)} "
            f"({row_list(rows.tolist())}): they count twice",
            "drop the repeats, unless they are separate runs whose losses were rounded",
        )


def _shared_names(runs: xr.Dataset) -> Iterator[Note]:
    if "run_id" not in runs or "params" not in runs:
        return
    frame = pd.DataFrame({name: runs[name].values for name in ("run_id", "params")}).dropna()
    sizes = frame[frame["run_id"] != ""].groupby("run_id")["params"].agg(["min", "max"])
    wide = sizes[sizes["max"] > (1 + LEVEL) * sizes["min"]]
    if wide.empty:
        return
    name, first = str(wide.index[0]), wide.iloc[0]
    column = json.loads(runs.attrs.get("columns", "{}")).get("run_id", "run_id")
    target = "other" if "seed" in runs else "seed"
    yield Note(
        "checkpoints",
        "warning",
        f"{len(wide)} of {len(sizes)} run_ids are shared by rows of different params ({name!r}: {first['min']:.3g} to "
        f"{first['max']:.3g}): rows of one run_id are checkpoints of one run, which has one size",
        f"if column {column!r} names something else, such as seeds, read it as that: "
        f"columns={{{target!r}: {column!r}}}; else give every run a name of its own",
    )


def _restarted(runs: xr.Dataset) -> Iterator[Note]:
    if "run_id" not in runs or "step" not in runs:
        return
    frame = pd.DataFrame({name: runs[name].values for name in ("run_id", "step", "loss")}).dropna()
    losses = frame.groupby(["run_id", "step"])["loss"].nunique()
    twice = losses[losses > 1].index.get_level_values("run_id")
    if twice.size:
        yield Note(
            "checkpoints",
            "warning",
            f"{twice.size} steps have several losses, in {_few(twice.unique().to_numpy())}: was a run restarted? "
            "They are averaged",
            "keep the rows of the attempt that went on",
        )


def _rising(runs: xr.Dataset) -> Iterator[Note]:
    if "flops" not in runs:
        return
    frame = pd.DataFrame({name: runs[name].values for name in ("flops", "loss")}).dropna()
    family = runs["family"].values if "family" in runs else "all runs"
    groups = [
        (name, group)
        for name, group in frame.groupby(pd.Series(family, index=range(runs.sizes["run"])))
        # Runs of one compute budget say nothing of its slope.
        if len(group) >= 4 and group["flops"].max() > 2 * group["flops"].min()
    ]
    rising = {}
    for name, group in groups:
        if group["loss"].nunique() > 1:
            rank = group.rank()
            correlation = float(np.corrcoef(rank["flops"], rank["loss"])[0, 1])
            if correlation > 0:
                rising[str(name)] = f"{name!r} ({correlation:+.2f} over {len(group)} runs)"
    if rising:
        yield Note(
            "loss_rises_with_scale",
            "warning",
            f"loss rises with compute in {', '.join(list(rising.values())[:5])}"
            f"{' …' if len(rising) > 5 else ''} (rank correlation; {len(groups)} "
            f"group{'s' if len(groups) > 1 else ''} looked at)",
            "look for swapped columns, an accuracy (give 1 - accuracy), mixed data sets or tokenizers, and "
            "over-trained repeats",
        )


def _unfinished(runs: xr.Dataset) -> Iterator[Note]:
    for column in (each for each in runs if plain(str(each)) in ("state", "status")):
        states = runs[column].values.astype(str)
        rows = np.flatnonzero([plain(state) in UNFINISHED for state in states])
        if rows.size:
            names = runs["run_id"].values[rows] if "run_id" in runs else np.array([])
            where = _few(np.unique(names)) if names.size else row_list((rows + 1).tolist())
            yield Note(
                "unfinished_runs",
                "warning",
                f"column {column!r} says {_few(np.unique(states[rows]))} of {where}",
                "their loss may be of another time than the end of training: drop them, or see that tokens and flops "
                "are those at which it was measured",
            )


def _mixed_units(runs: xr.Dataset) -> Iterator[Note]:
    for column in (name for name in runs if plain(str(name)) in MIXED):
        found = runs[column].values.astype(str)
        names = [str(name) for name in np.unique(found) if name not in ("", "nan")]
        words = np.array([plain(name) for name in found])
        per = {name: np.flatnonzero(words == plain(name)) for name in names}
        if len({plain(name) for name in names}) < 2:
            continue
        where = "; ".join(f"{name} in {_holders(runs, rows)}" for name, rows in per.items())
        yield Note(
            "mixed_units",
            "warning",
            f"the column loss holds losses of several kinds, as column {column!r} says: {where}",
            "convert them to one unit, or fit them apart; pooling over families does not make them comparable",
        )


def _holders(runs: xr.Dataset, rows: np.ndarray) -> str:
    """Families of some runs, or their rows."""
    if "family" not in runs:
        return row_list((rows + 1).tolist())
    families = np.unique(runs["family"].values[rows].astype(str))
    return f"famil{'ies' if families.size > 1 else 'y'} {_few(families)}"


def _few(names: np.ndarray, most: int = 5) -> str:
    """The first few of some names."""
    return ", ".join(map(str, names[:most])) + (" …" if names.size > most else "")


def _loss_units(runs: xr.Dataset) -> Iterator[Note]:
    loss = runs["loss"].values[np.isfinite(runs["loss"].values)]
    if loss.min() == loss.max():
        yield Note(
            "loss_units_suspect",
            "warning",
            f"all {loss.size} losses are {loss[0]:.4g}: they say nothing of scale",
            "name the column that holds the measured losses: columns={'loss': 'val_loss'}",
        )
    high = int((loss > HIGH_LOSS).sum())
    if high:
        yield Note(
            "loss_units_suspect",
            "warning",
            f"{high} of {loss.size} losses exceed {HIGH_LOSS:g} (largest {loss.max():.3g}): "
            "unusual for nats per token after training",
            "if they are perplexities take the logarithm; drop runs that diverged or overfitted",
        )
    elif loss.max() <= 1:
        yield Note(
            "loss_units_suspect",
            "info",
            f"all losses lie between {loss.min():.3g} and {loss.max():.3g}: they may be error "
            "rates or bits per byte",
            "forecasts stay in the table's own unit; do not read them as nats per token",
        )


def _size_units(runs: xr.Dataset) -> Iterator[Note]:
    def told(message: str, more: str = "") -> Note:
        advice = "write sizes in plain parameters, tokens and FLOP, or with a suffix such as 7B"
        return Note("size_units_suspect", "warning", message, advice + more)

    for name, smallest in SMALLEST.items():
        if name not in runs or runs[name].attrs.get("derived", "none") == "all":
            continue
        sizes = runs[name].values
        if np.nanmax(sizes) < smallest:
            other = "PF-days" if name == "flops" else "millions or billions"
            yield told(f"the largest {name} is {np.nanmax(sizes):g}: {other}?")
            return
        small = sizes < smallest
        if small.any() and 1e3 * sizes[small].max() < np.nanmin(sizes[~small]):
            yield told(
                f"{name} is {sizes[small].max():g} or less in {row_list((np.flatnonzero(small) + 1).tolist())}, and "
                f"{np.nanmin(sizes[~small]):.3g} or more in all others: millions or billions here, not there?"
            )
            return
    ratio = tokens_per_param(runs)
    if ratio.size and not RATIOS[0] <= np.median(ratio) <= RATIOS[1]:
        yield told(
            f"the median of tokens per parameter is {np.median(ratio):.2g}: is one of both in millions or billions?"
        )
        return
    width = "active_params" if "active_params" in runs else "params"
    if "flops" in runs and "tokens" in runs and width in runs:
        ratio = (runs["flops"] / (6 * runs[width] * runs["tokens"])).values
        middle = float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.0
        odd = np.isfinite(ratio) & (np.abs(np.log(ratio / middle)) > np.log(APART))
        # Of sparse models the total parameters stay within a factor of a hundred.
        if not 0.01 < middle < 100:
            yield told(
                f"flops is {middle:.2g} times 6 * {width} * tokens (median of the runs)",
                "; flops is for the whole training, not for a step, token or day",
            )
        elif odd.any():
            yield told(
                f"flops is {ratio[odd][0]:.2g} times 6 * {width} * tokens in "
                f"{row_list((np.flatnonzero(odd) + 1).tolist())}, and {middle:.2g} times in the median of the runs",
                ", and look for a slip of a digit",
            )


def _minima(runs: xr.Dataset) -> Iterator[Note]:
    order = next((name for name in ("step", "examples", "tokens", "flops") if name in runs), None)
    if order is None or "run_id" not in runs:
        return
    frame = pd.DataFrame({name: runs[name].values for name in ("run_id", order, "loss")})
    frame = frame.dropna().drop_duplicates(["run_id", order]).sort_values(order, kind="stable")
    curves = [each.to_numpy() for _, each in frame.groupby("run_id")["loss"]]
    falling = sum(map(falls_throughout, curves))
    if falling:
        count = sum(curve.size >= DENSE // 2 for curve in curves)
        yield Note(
            "running_minimum_table",
            "warning",
            f"in {falling} of {count} curves of {DENSE // 2} or more checkpoints the loss never "
            "rises: they look like running minima",
            "use the losses as measured: minima hide the noise and bend the curve",
        )


def falls_throughout(losses: np.ndarray) -> bool:
    """Whether the losses of a curve, in the order of training, look like running minima.

    They do if none rises and some repeat, or if by their own scatter some should have risen: a clean curve falls
    throughout as well.

    Examples
    --------
    >>> curve = np.linspace(3, 2, 12)
    >>> falls_throughout(curve), falls_throughout(curve.round(1)), falls_throughout(curve[::-1])
    (False, True, False)
    """
    steps = np.diff(losses)
    if not (steps <= 0).all():
        return False
    if (steps == 0).any():
        return losses.size >= DENSE // 2
    return losses.size >= DENSE and _rises_due(steps) > RISES_DUE


def _rises_due(steps: np.ndarray) -> float:
    """How many of the steps of a curve should have been upwards, by its trend and its scatter about it.

    Half the second difference of steps is free of the trend and holds five times the variance of a loss; its median
    says so whatever the first, steep steps do.
    """
    apart = steps[1:-1] - (steps[:-2] + steps[2:]) / 2
    # Of the square of a standard Normal the median is .455; a step holds twice the variance of a loss.
    sd = np.sqrt(np.median(apart**2) / 0.455 / 5 * 2)
    trend = np.convolve(steps, np.full(3, 1 / 3), "valid")
    return sum(map(NormalDist().cdf, trend / sd)) if sd > 0 else 0.0
