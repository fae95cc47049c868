"""Run tables: read, map, validate and unit one row per training run into a Dataset.

Files are read by :mod:`bayescale.runs.tables`, columns found by their spelling in
:mod:`bayescale.runs.columns`, cells turned into numbers by :mod:`bayescale.runs.cells`; what the table says
against itself comes from :mod:`bayescale.runs.screen`. Rows in messages are data rows, counted from 1
without the header.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.notes import Note, dump_notes, get_notes
from bayescale.runs.cells import cell_values, check_values, keep, refuse
from bayescale.runs.columns import ALONE, COLUMNS, INPUTS, canonical, describe, nearest, recognise
from bayescale.runs.run_names import joined, unmatched
from bayescale.runs.screen import design_notes, levels, tokens_per_param, unit_notes
from bayescale.runs.tables import parse_table, read_bytes, storable, with_index
from bayescale.runs.trackers import (
    Form,
    at_losses,
    check_form,
    detect,
    is_history,
    left_out,
    read_tracker,
    tidy,
)
from bayescale.runs.units import UNITS, Unit, to_nats

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_runs", "summarise_runs"]

#: Codes of notes that a run table keeps when it is read again.
_OF_THE_FILE = ("runs_without_loss", "several_losses", "unmatched_runs", "unit_not_read")


def read_runs(
    source: "str | Path | pd.DataFrame | pl.DataFrame | xr.Dataset",
    columns: Mapping[str, str] | None = None,
    *,
    need: Sequence[str] = ("loss",),
    allow_missing: Sequence[str] = (),
    form: Form | None = None,
    join: "str | Path | pd.DataFrame | None" = None,
    unit: Unit | None = None,
    tokens_per_byte: float | None = None,
) -> xr.Dataset:
    """Read a table of training runs, or what training left behind.

    Parameters
    ----------
    source : str, Path, DataFrame or Dataset
        A CSV, TSV, JSON (lines) or Parquet file, an export or a folder of a tracker (see ``form``), a pandas or polars
        DataFrame, or a run table from an earlier call, which is checked again and returned anew.
    columns : mapping, optional
        Canonical name to column of the table, where spelling does not tell:
        ``{"loss": "val_loss"}``.
    need : sequence of str
        Columns that must be there and complete, beyond one of params, tokens, flops and examples
        (or the context, the share of a domain, samples or compute at inference, where runs differ in nothing
        else).
        A table of scales to forecast needs no losses: ``need=()``.
    allow_missing : sequence of str
        Columns among the sizes in which empty cells are kept as NaN rather than refused.
    form : {"table", "wandb", "mlflow", "trainer", "tensorboard", "lm-eval"}, optional
        What the source is, where that cannot be told from it: a table; an export of Weights & Biases (runs, or the
        history of a chart); what ``mlflow.search_runs`` returns, and MLflow's folder ``mlruns``; a folder of Hugging
        Face's Trainer; TensorBoard's event files; results of the lm-evaluation-harness.
    join : str, Path or DataFrame, optional
        Another source with further columns of the same runs, by ``run_id``: sizes, or scores of tasks.
    unit : {"nat/token", "bit/token", "bit/byte", "perplexity"}, optional
        Unit of the losses, which are converted into nats per token.
    tokens_per_byte : float, optional
        Tokens that the tokenizer makes of a byte of the test text; for bits per byte.

    Returns
    -------
    Dataset
        Dim ``run``. ``params`` [parameters], ``tokens`` [tokens], ``flops`` [FLOP] and ``loss``
        [nat/token] as float64, those that the table has; ``density`` is one less ``sparsity`` where
        the table has only that; other columns under their own or, where
        recognised, canonical names. ``flops.attrs["derived"]`` says whether "all", "some" (then
        ``flops_derived`` says which) or "none" were derived as 6 * params * tokens. A table of isoFLOP bowls, with
        params and flops alone, gets tokens = flops / (6 * params). In attrs:
        ``source``; ``sha256`` of the file, or of the frame written as CSV; ``columns``, JSON of
        canonical name to column; ``notes``, see :func:`bayescale.notes.get_notes`.

    Raises
    ------
    ValueError
        If the file is no table, a column is missing, ambiguous, or holds what it cannot: text,
        empty cells, infinite values, losses and sizes that are zero or negative (other columns that a law may take
        are checked when a model takes them), losses above 20. Where losses may be rates, for none
        is above one or the table has a column ``samples``, a loss of zero (no error) or, with samples, an infinite one
        (no success) is left for the model to judge: those that count trials take it.
    FileNotFoundError, IsADirectoryError
        If there is no file at the path.

    Examples
    --------
    >>> frame = pd.DataFrame({"N": ["70M", "1B", "7B"], "D": [3e11] * 3, "L": [2.5, 1.85, 1.63]})
    >>> runs = read_runs(frame)
    >>> runs["params"].values.tolist(), runs["params"].attrs["units"]
    ([70000000.0, 1000000000.0, 7000000000.0], 'parameters')
    >>> [note.code for note in get_notes(runs)]
    ['too_few_levels', 'derived_flops', 'columns_recognised']
    """
    need = (need,) if isinstance(need, str) else tuple(need)
    check_form(form)
    frame, place, attrs = _open(source, form, columns)
    if join is not None:
        other, other_place, facts = _open(join, None)
        frame, other = _named(frame, columns, place), _named(other, None, other_place)
        notes = [*_notes(attrs), *_notes(facts), *unmatched(frame, other, place, other_place)]
        attrs["notes"] = dump_notes(notes)
        frame = joined(frame, other, place, other_place)
        columns = {name: column for name, column in (columns or {}).items() if name != "run_id"}
        attrs["sha256"] = hashlib.sha256((attrs["sha256"] + facts["sha256"]).encode()).hexdigest()
        attrs["source"] = f"{attrs['source']} with {other_place}"
    earlier = source if isinstance(source, xr.Dataset) else xr.Dataset()
    chosen = recognise(frame.columns, columns, source=place)
    # A needed column that bayescale has no name for is one under its own name.
    taken = {*chosen, *chosen.values()}
    chosen |= {name: name for name in need if name in frame.columns and name not in taken}

    if not isinstance(source, xr.Dataset) and "loss" not in (columns or {}):
        attrs["notes"] = dump_notes([*_notes(attrs), *_other_losses(frame, chosen)])

    known = {}
    for name, column in chosen.items():
        values = cell_values(frame[column], name, f"{place}: {_label(name, chosen)}")
        if values is not None:
            known[name] = values
    if unit is not None or tokens_per_byte is not None:
        label = f"{place}: {_label('loss', chosen)}"
        _convert(known, unit or UNITS[0], tokens_per_byte, place, label)  # type: ignore[arg-type]
    elif "loss" in known and not isinstance(source, xr.Dataset):
        attrs["notes"] = dump_notes([*_notes(attrs), *unit_notes(frame)])
    bowls = _derive_tokens(known)
    derived = _derive_flops(known, earlier)
    # Dense models have sparsity zero, which has no logarithm: laws take the share that is left.
    if "density" not in known and known.get("sparsity", np.array("")).dtype.kind == "f":
        known["density"] = 1 - known["sparsity"]
    _check_present(known, chosen, list(frame.columns), need, place)
    # Empty losses and labels are fine unless asked for; sizes and families are not.
    required = {*INPUTS, "family", *need} - set(allow_missing)
    # Epochs may be counted from zero: what not every table needs is for the model to judge. Nobody judges errors later.
    sizes = {*INPUTS, "loss_sd", *need, *(() if set(INPUTS) & set(known) else ALONE)}
    rates = _may_be_rates(known)
    for name, values in known.items():
        place_of = f"{place}: {_label(name, chosen)}"
        check_values(
            values,
            name,
            place_of,
            complete=name in required,
            positive=name in sizes,
            rates=rates,
        )
    if "loss" in need and len(frame) < 3:
        raise ValueError(
            f"{place}: the table has {len(frame)} run{'s' if len(frame) > 1 else ''}; expected at "
            "least 3, since two points fit any law: add runs (small ones are cheap)"
        )
    return _assemble(frame, known, chosen, derived, bowls, attrs, earlier)


def summarise_runs(runs: xr.Dataset) -> dict[str, Any]:
    """Describe a run table in plain numbers and text, ready for JSON.

    Parameters
    ----------
    runs : Dataset
        From :func:`read_runs`.

    Returns
    -------
    dict
        ``runs`` the number of rows, ``distinct_runs`` how many runs these are of; ``inputs`` by name with unit, count,
        min, max, decades and levels (distinct values, to 1 %); ``tokens_per_parameter`` and ``loss`` with min and
        max, or None; ``families`` with counts; ``columns`` recognised and ``kept``; ``source``, ``sha256`` and
        ``notes``.

    Examples
    --------
    >>> frame = pd.DataFrame({"params": [1e8, 1e9, 1e10], "tokens": [1e11, 1e11, 1e11]})
    >>> description = summarise_runs(read_runs(frame, need=()))
    >>> description["inputs"]["params"]["decades"], description["tokens_per_parameter"]["median"]
    (2.0, 100.0)
    """
    inputs = {
        name: _range(runs[name])
        | {
            "decades": round(float(np.log10(runs[name].max() / runs[name].min())), 3),
            "levels": levels(runs[name].values),
        }
        for name in INPUTS
        if name in runs
    }
    ratio = tokens_per_param(runs)
    chosen = json.loads(runs.attrs.get("columns", "{}"))
    families = pd.Series(runs["family"].values if "family" in runs else [], dtype=str)
    return {
        "source": runs.attrs.get("source"),
        "sha256": runs.attrs.get("sha256"),
        "runs": runs.sizes["run"],
        "distinct_runs": np.unique(runs["run_id"].values).size
        if "run_id" in runs
        else runs.sizes["run"],
        "inputs": inputs,
        "tokens_per_parameter": {
            "min": float(ratio.min()),
            "median": float(np.median(ratio)),
            "max": float(ratio.max()),
        }
        if ratio.size
        else None,
        "loss": _range(runs["loss"]) if "loss" in runs else None,
        "families": {str(name): int(count) for name, count in families.value_counts().items()},
        "columns": chosen,
        "kept": [str(name) for name in runs.data_vars if name not in COLUMNS],
        "derived_flops": runs["flops"].attrs.get("derived", "none") if "flops" in runs else None,
        "notes": [asdict(note) for note in get_notes(runs)],
    }


def _range(values: xr.DataArray) -> dict[str, object]:
    return {
        "unit": values.attrs.get("units", ""),
        "count": int(values.count()),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _named(frame: pd.DataFrame, columns: Mapping[str, str] | None, place: str) -> pd.DataFrame:
    """The table with its column of run names under their canonical name."""
    # The rest may be columns of the other table.
    given = {
        name: column
        for name, column in (columns or {}).items()
        if name == "run_id" or column in frame
    }
    chosen = recognise(frame.columns, given, source=place)
    return frame.rename(columns={chosen[name]: name for name in ("run_id",) if name in chosen})


def _convert(
    known: dict[str, np.ndarray],
    unit: Unit,
    tokens_per_byte: float | None,
    place: str,
    label: str,
) -> None:
    """Convert losses, and what is known of their errors, into nats per token (in place)."""
    if "loss_sd" in known and unit == "perplexity":
        raise ValueError(
            f"{place}: column 'loss_sd' cannot be converted from perplexity; give the standard deviation of the log of "
            "the perplexity, with losses in nat/token"
        )
    if "loss" in known and unit == "perplexity":
        expected = "expected perplexities, the exponential of a loss above zero"
        refuse(known["loss"] <= 1, known["loss"], label, "value{s} <= 1", expected)
    for name in ("loss", "loss_sd"):
        if name in known:
            known[name] = to_nats(known[name], unit, tokens_per_byte)


def _open(
    source: "str | Path | pd.DataFrame | pl.DataFrame | xr.Dataset",
    form: Form | None,
    columns: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, str, dict[str, str]]:
    """Table, name of the place for messages, and attrs that say where it came from."""
    if isinstance(source, str | Path):
        found = form or detect(source)
        if found in ("trainer", "tensorboard", "lm-eval") or (
            found == "mlflow" and Path(source).is_dir()
        ):
            frame = read_tracker(source, found, columns)
            digest = hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()
            frame, notes = _measured(frame, found, columns, str(source))
        else:
            content = read_bytes(source)
            frame, notes = _tidy(parse_table(content, source, columns), form, columns, str(source))
            digest = hashlib.sha256(content).hexdigest()
        attrs = {"source": str(source), "sha256": digest, "notes": dump_notes(notes)}
        return frame, str(source), attrs
    # polars is worth 60 MB: whoever passes its frame has imported it.
    polars = sys.modules.get("polars")
    given: dict[str, str] = {}
    if isinstance(source, xr.Dataset):
        place = str(source.attrs.get("source", "xarray Dataset"))
        frame, given = _unpack(source, place)
    elif isinstance(source, pd.DataFrame):
        place = "pandas DataFrame"
        frame, notes = _tidy(with_index(source, place), form, columns, place)
        given["notes"] = dump_notes(notes)
    elif polars is not None and isinstance(source, polars.DataFrame):
        place, frame = "polars DataFrame", pd.DataFrame(source.to_dict(as_series=False))
    else:
        raise TypeError(
            f"read_runs takes the path of a file, a pandas or polars DataFrame, or a Dataset; "
            f"got {type(source).__name__}"
        )
    frame.columns = [str(name) for name in frame.columns]
    repeated = frame.columns[frame.columns.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"{place}: column {', '.join(map(repr, repeated))} is there more than once; "
            "rename or drop the repeats"
        )
    if frame.empty:
        raise ValueError(f"{place}: the table has no rows; expected one row for each run")
    written = frame.to_csv(index=False, lineterminator="\n").encode()
    return frame, place, {"source": place, "sha256": hashlib.sha256(written).hexdigest()} | given


def _tidy(
    table: pd.DataFrame, form: Form | None, columns: Mapping[str, str] | None, place: str
) -> tuple[pd.DataFrame, list[Note]]:
    frame = tidy(table, form, columns)
    return _measured(frame, form, columns, place) if is_history(table, form) else (frame, [])


def _measured(
    frame: pd.DataFrame, form: Form | None, columns: Mapping[str, str] | None, place: str
) -> tuple[pd.DataFrame, list[Note]]:
    """Rows of a history at which a loss was measured, and what was left out with the others."""
    kept = at_losses(frame, columns, place)
    return kept, left_out(frame, kept, form)


def _other_losses(frame: pd.DataFrame, chosen: Mapping[str, str]) -> list[Note]:
    """Doubt about columns that are spelled as a loss as well, and hold other values."""
    if "loss" not in chosen:
        return []
    read = pd.to_numeric(frame[chosen["loss"]], errors="coerce")
    others = []
    for name in (each for each in frame if canonical(each) == "loss" and each != chosen["loss"]):
        values = pd.to_numeric(frame[name], errors="coerce")
        both = read.notna() & values.notna()
        # What is one number throughout was not measured.
        if values.nunique() > 1 and not np.allclose(values[both], read[both], rtol=1e-6):
            others.append(name)
    if not others:
        return []
    message = f"read loss from {chosen['loss']!r}; {', '.join(map(repr, others))} could be it too"
    advice = f"say which one is meant: columns={{'loss': {others[0]!r}}}"
    return [Note("several_losses", "warning", message, advice)]


def _notes(attrs: Mapping[str, str]) -> list[Note]:
    """What only the reader of a file could tell; all else is found again in the table."""
    notes = [Note(**entry) for entry in json.loads(attrs.get("notes", "[]"))]
    return [note for note in notes if note.code in _OF_THE_FILE]


def _unpack(runs: xr.Dataset, place: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Columns and attrs of a run table; ``flops_derived`` is worked out again."""
    if "run" not in runs.dims:
        raise ValueError(f"{place}: a run table has dim 'run'; this Dataset has {list(runs.dims)}")
    odd = [str(name) for name, values in runs.variables.items() if values.dims != ("run",)]
    if odd:
        raise ValueError(
            f"{place}: {', '.join(map(repr, odd))} should have dim 'run' alone; "
            "a run table has one value for each run"
        )
    names = [name for name in runs.variables if name not in ("run", "flops_derived")]
    return pd.DataFrame({name: runs[name].values for name in names}), dict(runs.attrs)


def _label(name: str, chosen: Mapping[str, str]) -> str:
    column = chosen.get(name, name)
    return f"column {column!r}" + (f" (read as {name})" if column != name else "")


def _may_be_rates(known: Mapping[str, np.ndarray]) -> bool:
    """Whether losses may be rates, of all or none too; the model that is fitted has the last word.

    An error rate is at most one. Minus the log of a share that succeeds may be more; it comes with samples.
    """
    return "samples" in known or not (known.get("loss", np.zeros(0)) > 1).any()


def _derive_tokens(known: dict[str, np.ndarray]) -> bool:
    """Fill in tokens = flops / (6 * params) (in place), where a table of isoFLOP bowls leaves them out; say if so."""
    if "tokens" in known or not {"params", "flops"} <= set(known):
        return False
    # Of experts only a share computes.
    if {"active_params", "density", "sparsity", "experts"} & set(known):
        return False
    tokens = known["flops"] / (6 * known["params"])
    if not np.isfinite(tokens).all():
        return False
    known["tokens"] = tokens
    return True


def _derive_flops(known: dict[str, np.ndarray], earlier: xr.Dataset) -> np.ndarray:
    """Fill in flops = 6 * params * tokens (in place) and say in which runs it is so."""
    runs = len(next(iter(known.values()), []))
    derived = np.zeros(runs, dtype=bool)
    if "flops" in earlier and earlier["flops"].attrs.get("derived") == "all":
        derived[:] = True
    elif "flops_derived" in earlier:
        derived |= earlier["flops_derived"].values > 0
    if "params" in known and "tokens" in known:
        product = 6 * known["params"] * known["tokens"]
        if "flops" not in known:
            known["flops"] = product
            derived[:] = True
        else:
            fill = np.isnan(known["flops"]) & np.isfinite(product)
            known["flops"] = np.where(fill, product, known["flops"])
            derived |= fill
    return derived


def _check_present(
    known: Mapping[str, np.ndarray],
    chosen: Mapping[str, str],
    names: list[str],
    need: Sequence[str],
    place: str,
) -> None:
    present = f"the columns are {', '.join(map(repr, names))}"
    for name in need:
        if name in chosen and name not in known:
            raise ValueError(
                f"{place}: {_label(name, chosen)} is empty; expected {describe(name)} in every row"
            )
        if name not in known:
            near = nearest(name, [column for column in names if column not in chosen.values()])
            raise ValueError(
                f"{place}: no column for {describe(name)}; {present}. "
                + (f"Did you mean {' or '.join(map(repr, near))}? " if near else "")
                + f"Add the column, or say which it is: "
                f"columns={{{name!r}: {near[0] if near else '...'!r}}}"
            )
    if not any(name in known for name in (*INPUTS, *ALONE)):
        raise ValueError(
            f"{place}: no column says how large the runs were; expected at least one of "
            f"{', '.join(map(describe, INPUTS))}; {present}. Add one, or say which it is: "
            "columns={'params': '...'}"
        )


def _assemble(
    frame: pd.DataFrame,
    known: Mapping[str, np.ndarray],
    chosen: Mapping[str, str],
    derived: np.ndarray,
    bowls: bool,
    attrs: dict[str, str],
    earlier: xr.Dataset,
) -> xr.Dataset:
    variables = {name: known[name] for name in COLUMNS if name in known} | dict(known)
    if 0 < derived.sum() < len(frame):
        variables["flops_derived"] = derived.astype(np.int8)
    for number, column in enumerate(frame.columns, start=1):
        if column not in chosen.values():
            variables[_free_name(column, number, variables)] = keep(frame[column])
    labels = earlier["run"].values if "run" in earlier.coords else np.arange(len(frame))
    read = {
        name: column
        for name, column in chosen.items()
        if name in known and not (name == "flops" and derived.all())
    }
    renamed = {name: column for name, column in read.items() if name != column}
    if not renamed and "columns" in attrs:
        # A run table from an earlier call knows the names that its file had.
        read = json.loads(attrs["columns"])
        renamed = {name: column for name, column in read.items() if name != column}
    runs = xr.Dataset(
        {name: ("run", values, _attrs(name, earlier)) for name, values in variables.items()},
        coords={"run": labels},
        attrs=attrs | {"columns": json.dumps(read)},
    )
    if "flops" in runs:
        kind = "all" if derived.all() else "some" if derived.any() else "none"
        runs["flops"].attrs["derived"] = kind
    if bowls:
        runs["tokens"].attrs["derived"] = "all"
    notes = [*_notes(attrs), *design_notes(runs)]
    if renamed:
        pairs = ", ".join(f"{name} from {column!r}" for name, column in renamed.items())
        notes.append(
            Note(
                "columns_recognised",
                "info",
                f"read {pairs}",
                "if one is wrong say so: columns={'loss': 'val_loss'}",
            )
        )
    runs.attrs["notes"] = dump_notes(notes)
    return runs


def _attrs(name: str, earlier: xr.Dataset) -> dict[str, object]:
    known = COLUMNS.get(name)
    attrs: dict[str, object] = {}
    if name == "flops_derived":
        attrs["long_name"] = "1 where flops was derived as 6 * params * tokens"
    elif known is not None:
        attrs["long_name"] = known.meaning
        if known.unit:
            attrs["units"] = known.unit
    # A unit that the caller set stands: error rates and nats per word are losses too.
    return attrs | (dict(earlier[name].attrs) if name in earlier else {})


def _free_name(column: str, number: int, taken: Mapping[str, np.ndarray]) -> str:
    """A name for a kept column that clashes with no other and that NetCDF can hold."""
    name = storable(column.replace("/", "_per_"))
    if name.strip() in ("", ".", ".."):
        name = f"column_{number}"
    while name == "run" or name in taken:
        name += "_given"
    return name
