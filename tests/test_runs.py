"""Run tables: what is recognised, what is refused and how, and what a table is doubted for."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from bayescale.inference.columns import check_columns
from bayescale.model import Model
from bayescale.notes import CODES, get_notes
from bayescale.runs import design_notes, parse_size, read_runs, summarise_runs
from bayescale.runs.columns import COLUMNS, canonical

GOOD = "params,tokens,loss\n1e8,2e9,3.1\n1e9,1e11,2.4\n7e9,3e11,1.9\n2e9,2e12,2.0\n"


def write(folder: Path, content: str | bytes, name: str = "runs.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def table(**columns) -> pd.DataFrame:
    """A well designed table of eight runs, with columns replaced or added."""
    params = np.array([1e8, 1e8, 4e8, 4e8, 1.6e9, 1.6e9, 6.4e9, 6.4e9])
    tokens = params * np.array([20, 200, 10, 100, 20, 200, 10, 40])
    loss = 1.8 + 400 / params**0.34 + 2000 / tokens**0.37
    return pd.DataFrame({"params": params, "tokens": tokens, "loss": loss} | columns)


def codes(runs: xr.Dataset) -> set[str]:
    return {note.code for note in get_notes(runs)}


# What comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs.csv", GOOD),
        ("semicolons.csv", GOOD.replace(",", ";")),
        ("tabs.csv", GOOD.replace(",", "\t")),
        ("bom.csv", "\ufeff" + GOOD),
        ("windows.csv", GOOD.replace("\n", "\r\n")),
        ("blank_lines.csv", "\n" + GOOD.replace("\n", "\n\n")),
        ("spaces.csv", GOOD.replace(",", ", ")),
        ("trailing_commas.csv", GOOD.replace("\n", ",\n")),
        ("saved_index.csv", "".join(f"{i or ''},{x}\n" for i, x in enumerate(GOOD.split()))),
        ("RUNS.CSV", GOOD),
        ("runs.csv.gz", gzip.compress(GOOD.encode(), mtime=0)),
        ("runs.tsv", GOOD.replace(",", "\t")),
        ("sizes.csv", GOOD.replace("1e9,1e11", '"1,000,000,000",100B').replace("1e8", "100M")),
    ],
)
def test_text_tables(tmp_path, name, content):
    runs = read_runs(write(tmp_path, content, name))
    assert list(runs) == ["params", "tokens", "flops", "loss"]
    assert runs["params"].values.tolist() == [1e8, 1e9, 7e9, 2e9]
    assert runs["tokens"].values.tolist() == [2e9, 1e11, 3e11, 2e12]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "ndjson", "parquet", "columns.json"])
def test_other_formats(tmp_path, suffix):
    frame = table(family=["a"] * 4 + ["b"] * 4)
    file = tmp_path / f"runs.{suffix}"
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(file)
    elif suffix == "columns.json":
        file.write_text(json.dumps(frame.to_dict("list")))
    else:
        lines = suffix in ("jsonl", "ndjson")
        frame.to_json(file, orient="records", lines=lines, double_precision=15)
    runs = read_runs(str(file))
    np.testing.assert_allclose(runs["loss"], frame["loss"], rtol=1e-12)
    assert runs["family"].values.tolist() == ["a"] * 4 + ["b"] * 4
    assert runs.attrs["source"] == str(file)
    assert runs.attrs["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_polars_frame():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(table().to_dict("list"))
    runs = read_runs(frame.with_columns(optimizer=pl.lit("adam")))
    xr.testing.assert_equal(runs, read_runs(table(optimizer=["adam"] * 8)))
    assert runs.attrs["source"] == "polars DataFrame"
    with pytest.raises(ValueError, match=r"polars DataFrame: column 'loss' has 1 missing .*row 2"):
        read_runs(frame.with_columns(loss=pl.Series([2.0, None, *[2.0] * 6])))


def test_frame_is_not_changed_and_not_shared():
    frame = table().rename(columns={"params": "N"})
    before = frame.copy()
    runs = read_runs(frame)
    runs["params"].values[0] = 1.0
    runs["loss"].values[0] = 1.0
    pd.testing.assert_frame_equal(frame, before)


def test_named_index_is_a_column():
    runs = read_runs(table(run_name=list("abcdefgh")).set_index("run_name"))
    assert runs["run_id"].values.tolist() == list("abcdefgh")
    with pytest.raises(ValueError, match="'loss' is the name of the index and of a column"):
        read_runs(table().rename_axis("loss"))


def test_named_index_of_a_parquet_file_is_a_column(tmp_path):
    pytest.importorskip("pyarrow")
    file = tmp_path / "runs.parquet"
    table(run_id=list("aabbccdd")).set_index("run_id").to_parquet(file)
    assert summarise_runs(read_runs(file))["distinct_runs"] == 4


def test_dataset_schema(tmp_path):
    frame = table(
        family=["a"] * 4 + ["b"] * 4,
        step=[1000] * 8,
        seed=range(8),
        epochs=[1, 1, 1, 1, 1, 2, 2, 2],
        optimizer=["adam", None] * 4,
        tied=[True, False] * 4,
        layers=[12, 12, 24, 24, 36, 36, 48, 48],
        score=[0.1, None] * 4,
        **{"bits/byte": [1.0] * 8},
    )
    runs = read_runs(frame)
    assert runs.sizes == {"run": 8}
    assert runs["run"].values.tolist() == list(range(8))
    kinds = {name: values.dtype.kind for name, values in runs.data_vars.items()}
    assert kinds == {
        **dict.fromkeys(("params", "tokens", "flops", "loss", "epochs", "score"), "f"),
        **dict.fromkeys(("step", "seed", "layers"), "i"),
        **dict.fromkeys(("family", "optimizer"), "U"),
        "tied": "b",
        "bits_per_byte": "f",
    }
    assert runs["optimizer"].values[1] == ""
    assert set(json.loads(runs.attrs["columns"])) >= {"params", "tokens", "loss", "family"}
    for name, values in runs.data_vars.items():
        if name in COLUMNS:
            assert values.attrs["long_name"] == COLUMNS[name].meaning
            assert values.attrs.get("units", "") == COLUMNS[name].unit

    runs.to_netcdf(tmp_path / "runs.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "runs.nc", engine="h5netcdf") as saved:
        again = read_runs(saved.load())
    xr.testing.assert_identical(again, runs)
    assert again is not runs


def test_a_run_table_is_checked_again():
    runs = read_runs(table())
    part = read_runs(runs.isel(run=[5, 2, 0]))
    assert part["run"].values.tolist() == [5, 2, 0]
    assert part.attrs["sha256"] == runs.attrs["sha256"]
    assert "flops_derived" not in part
    assert part["flops"].attrs["derived"] == "all"
    bad = runs.copy(deep=True)
    bad["loss"].values[3] = -1
    with pytest.raises(ValueError, match=r"column 'loss' has 1 value <= 0 \(row 4: -1\)"):
        read_runs(bad)
    with pytest.raises(ValueError, match="should have dim 'run' alone"):
        read_runs(runs.assign(posterior=("draw", [1.0])))
    with pytest.raises(ValueError, match="has dim 'run'"):
        read_runs(runs.rename(run="row"))


@pytest.mark.parametrize("name", ["context", "share"])
def test_runs_may_differ_in_one_thing_that_is_no_size(name):
    runs = read_runs(pd.DataFrame({name: [0.1, 0.2, 0.4], "loss": [3.0, 2.8, 2.6]}))
    assert runs[name].values.tolist() == [0.1, 0.2, 0.4]
    assert {note.code for note in get_notes(runs)} == set()


def test_density_is_what_sparsity_leaves():
    runs = read_runs(table(sparsity=[0.0, 0.5] * 4))
    assert runs["density"].values.tolist() == [1.0, 0.5] * 4
    assert "sparsity" in runs
    both = read_runs(table(sparsity=[0.0] * 8, density=[0.25] * 8))
    assert both["density"].values.tolist() == [0.25] * 8
    assert "density" not in read_runs(table(sparsity=["2:4"] * 8))


def test_units_that_the_caller_set_stand():
    runs = read_runs(table())
    runs["loss"].attrs["units"] = "nat/word"
    assert read_runs(runs)["loss"].attrs["units"] == "nat/word"


# Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        *((word, "params") for word in ("N", "n_params", "Num Params", "Model Size", "size")),
        *((word, "params") for word in ("non_embedding_params", "parameters", "N-params")),
        *((word, "tokens") for word in ("D", "train_tokens", "Training Tokens", "dataset_tokens")),
        *((word, "flops") for word in ("C", "FLOPs", "compute", "Training FLOP", "total_flops")),
        *((word, "loss") for word in ("L", "val_loss", "Eval.Loss", "cross_entropy", "pile_loss")),
        *((word, "family") for word in ("model_family", "Arch")),
        *((word, "run_id") for word in ("name", "run", "run_name", "Model Name")),
        *((word, "precision") for word in ("bits", "Training Precision")),
        *((word, "year") for word in ("year_frac", "Publication-Year")),
        *((word, "vocab") for word in ("vocab_size", "Vocabulary Size")),
        *((word, None) for word in ("flops_6nd", "Model Size (B)", "loss_c5", "lr", "flops/s", "")),
    ],
)
def test_spellings(spelling, name):
    assert canonical(spelling) == name


def test_no_spelling_means_two_columns():
    words = [word for each in COLUMNS.values() for word in {each.name, *each.spellings.split()}]
    assert len(words) == len(set(words))


def test_canonical_spelling_wins_and_the_rest_is_kept():
    runs = read_runs(table(val_loss=[9.0] * 8, flops_6nd=[1.0] * 8, Loss=[8.0] * 8, run=range(8)))
    assert runs["loss"].values[0] < 5
    assert {"val_loss", "Loss", "flops_6nd"} <= set(runs)
    assert runs["run_id"].values.tolist() == list("01234567")
    assert runs["flops"].attrs["derived"] == "all"
    note = next(note for note in get_notes(runs) if note.code == "columns_recognised")
    assert "run_id from 'run'" in note.message


def test_another_column_that_may_be_the_loss():
    frame = table(val_loss=table()["loss"] + 0.1)

    def told(runs):
        return [(n.message, n.advice) for n in get_notes(runs) if n.code == "several_losses"]

    runs = read_runs(frame)
    message = "read loss from 'loss'; 'val_loss' could be it too"
    assert told(runs) == [(message, "say which one is meant: columns={'loss': 'val_loss'}")]
    assert told(read_runs(runs)) == told(runs)
    for column in ("loss", "val_loss"):
        chosen = read_runs(frame, {"loss": column})
        assert told(chosen) == told(read_runs(chosen)) == []
    # Neither a copy, nor one number, nor nothing, is another loss.
    for same in (frame["loss"], 9.0, None):
        assert told(read_runs(frame.assign(val_loss=same))) == []


def test_columns_argument():
    frame = table(val_loss=[2.5] * 8).assign(run=1, run_id="a")
    runs = read_runs(frame, {"loss": "val_loss", "precision": "run"})
    assert runs["loss"].values.tolist() == [2.5] * 8
    assert "loss_given" in runs
    assert runs["precision"].values.tolist() == [1] * 8
    assert json.loads(runs.attrs["columns"])["loss"] == "val_loss"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"loss": "val_los"}, "no column 'val_los' (did you mean 'val_loss'?)"),
        ({"tokenz": "D"}, "did you mean 'tokens'?"),
        (
            {"loss": "loss", "params": "loss"},
            "'loss', 'params' would all be read from the column 'loss'",
        ),
    ],
)
def test_columns_argument_is_checked(columns, words):
    with pytest.raises(ValueError, match="columns=") as caught:
        read_runs(table(val_loss=[2.5] * 8), columns)
    assert words in str(caught.value)


# Derived compute ----------------------------------------------------------------------------


def test_a_table_of_isoflop_bowls_knows_its_tokens():
    sizes = np.array([1e7, 3e7, 1e8])
    bowls = pd.DataFrame(
        {
            "C": np.repeat([1e18, 1e19], 3),
            "N": np.tile(sizes, 2),
            "loss": [4.2, 4.0, 4.1, 3.7, 3.4, 3.5],
        }
    )
    runs = read_runs(bowls)
    np.testing.assert_allclose(runs["tokens"], bowls["C"] / (6 * bowls["N"]))
    assert runs["tokens"].attrs["derived"] == "all"
    assert {"derived_tokens"} < codes(runs)
    assert "derived_flops" not in codes(runs)
    # Read again, it still says so.
    assert "derived_tokens" in codes(read_runs(runs))
    for more in ({"tokens": 2e10}, {"active_params": 1e7}):
        assert "derived_tokens" not in codes(read_runs(bowls.assign(**more)))
    assert "tokens" not in read_runs(bowls.assign(C=[1e18, None] * 3), allow_missing=("flops",))


def test_flops_derived_for_all_some_or_none():
    frame = table()
    product = 6 * frame["params"] * frame["tokens"]
    none = read_runs(frame.assign(flops=2 * product))
    assert none["flops"].attrs["derived"] == "none"
    assert "derived_flops" not in codes(none)
    np.testing.assert_array_equal(none["flops"], 2 * product)

    for columns in ({}, {"flops": [None] * 8}):
        every = read_runs(frame.assign(**columns))
        assert every["flops"].attrs["derived"] == "all"
        assert "flops" not in json.loads(every.attrs["columns"])
        assert "derived_flops" in codes(every)
        np.testing.assert_array_equal(every["flops"], product)

    some = read_runs(frame.assign(flops=(2 * product).where(frame.index != 2)))
    assert some["flops"].attrs["derived"] == "some"
    assert some["flops_derived"].dtype == np.int8
    assert some["flops_derived"].values.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert some["flops"].values[2] == product[2]
    xr.testing.assert_identical(read_runs(some), some)
    assert read_runs(some.isel(run=[0, 1, 3]))["flops"].attrs["derived"] == "none"


def test_tables_without_losses():
    runs = read_runs(pd.DataFrame({"flops": ["1e24", "1e25"]}), need=())
    assert runs["flops"].values.tolist() == [1e24, 1e25]
    assert codes(runs) == set()
    runs = read_runs(table(loss=[None, *[2.0] * 7]), need=())
    assert np.isnan(runs["loss"].values[0])
    runs = read_runs(table(tokens=[None, *[1e10] * 7]), allow_missing=("tokens", "flops"))
    assert np.isnan(runs["flops"].values[0])


# What is refused ----------------------------------------------------------------------------

HTML = "<!DOCTYPE html><html><body>404</body></html>"
BAD_FILES = {
    # name: (content, options, expected words)
    "no_loss.csv": ("N,D,Los\n1,2,3\n", {}, ["'loss' (test loss, nat/token)", "'D'", "'Los'"]),
    "no_tokens.csv": (
        GOOD.replace("tokens", "tokns"),
        {"need": ("params", "tokens", "loss")},
        ["'tokens' (training tokens", "Did you mean 'tokns'", "columns={'tokens': 'tokns'}"],
    ),
    "no_size.csv": (
        "lr,loss\n1,2\n1,2\n1,2\n",
        {},
        ["how large the runs were", "'params'", "'flops'", "'lr', 'loss'"],
    ),
    "empty_column.csv": (
        "params,tokens,loss\n1e9,,2\n1e9,,2\n1e9,,2\n",
        {"need": ("tokens",)},
        ["column 'tokens' is empty"],
    ),
    "text_loss.csv": (
        GOOD.replace("3.1", "high").replace("2.4", "2;4"),
        {},
        ["column 'loss'", "rows 1, 2", "'high', '2;4'"],
    ),
    "text_size.csv": (
        GOOD.replace("params", "N").replace("7e9", "seven"),
        {},
        ["column 'N' (read as params)", "row 3", "'seven'", "7B", "columns={'other': 'N'}"],
    ),
    "many_texts.csv": (
        "params,loss\n" + "".join(f"x{row},2\n" for row in range(1, 21)),
        {},
        ["rows 1, 2, 3, 4, 5, 6, 7, 8 … and 12 more", "'x1', 'x2', 'x3';"],
    ),
    "missing_loss.csv": (GOOD.replace("2.4", ""), {}, ["'loss' has 1 missing value", "row 2"]),
    "missing_size.csv": (
        GOOD.replace("7e9", "").replace("1e8", "NA"),
        {},
        ["'params' has 2 missing values", "rows 1, 3", "these rows"],
    ),
    "missing_family.csv": (
        "params,family,loss\n1e8,a,3\n1e9,,2\n1e9,a,2\n",
        {},
        ["column 'family' has 1 missing value (row 2)"],
    ),
    "missing_needed.csv": (
        "params,lr,loss\n1e8,,3\n1e9,1,2\n1e9,2,2\n",
        {"need": ("lr", "loss")},
        ["column 'lr' has 1 missing value (row 1)"],
    ),
    "infinite.csv": (GOOD.replace("2.4", "inf"), {}, ["'loss' has 1 infinite value (row 2: inf)"]),
    "infinite_size.csv": (
        GOOD.replace("7e9", "inf").replace("1e8", "100M"),
        {},
        ["'params' has 1 infinite value (row 3: inf)"],
    ),
    "zero_size.csv": (GOOD.replace("2e9,3", "0,3"), {}, ["'tokens' has 1 value <= 0 (row 1: 0)"]),
    "negative_loss.csv": (
        GOOD.replace("2.4", "-2.4").replace("1.9", "0"),
        {},
        ["'loss' has 2 values <= 0 (rows 2, 3: -2.4, 0)", "above zero"],
    ),
    "zero_loss.csv": (GOOD.replace("2.4", "0"), {}, ["'loss' has 1 value <= 0 (row 2: 0)"]),
    "negative_rate.csv": (
        "flops,loss\n1e18,0.4\n1e19,0\n1e20,-0.1\n",
        {},
        ["'loss' has 2 values <= 0 (rows 2, 3: 0, -0.1)"],
    ),
    "less_than_no_success.csv": (
        "samples,loss\n1,-inf\n2,1.5\n4,0\n",
        {},
        ["'loss' has 1 infinite value (row 1: -inf)"],
    ),
    "no_success.csv": (
        "flops,loss\n1e18,inf\n1e19,0.4\n1e20,0\n",
        {},
        ["'loss' has 1 infinite value (row 1: inf)"],
    ),
    "negative_size.csv": (GOOD.replace("7e9", "-7B"), {}, ["value <= 0 (row 3: -7e+09)"]),
    "perplexity.csv": (
        GOOD.replace("3.1", "22.2"),
        {},
        ["'loss' has 1 value > 20 (row 1: 22.2)", "perplexity or percent", "ln(perplexity)"],
    ),
    "commas.csv": (
        "params;loss\n7,125;3\n8,250;2\n900;1\n",
        {},
        ["rows 1, 2 have a comma", "'7,125'", "write decimals with a point"],
    ),
    "commas.tsv": (
        "params\tloss\n1,300B\t3\n7,125B\t2\n900\t1\n",
        {},
        ["rows 1, 2 have a comma", "'1,300B'", "write decimals with a point"],
    ),
    "two_runs.csv": ("params,loss\n1e8,3\n1e9,2\n", {}, ["2 runs", "at least 3"]),
    "empty.csv": ("", {}, ["the file is empty"]),
    "blank.jsonl": ("\n \n", {}, ["the file is empty"]),
    "header_only.csv": ("params,tokens,loss\n", {}, ["no rows"]),
    "no_records.json": ("[]", {}, ["no rows"]),
    "nul.csv": (b"params,loss\n1\0,2\n", {}, ["binary file"]),
    "junk.csv": (bytes(range(256)), {}, ["not UTF-8 text"]),
    "page.csv": (HTML, {}, ["a web page", "<!doctype html>"]),
    "page.json": (HTML, {}, ["a web page"]),
    "pointer.csv": ("version https://git-lfs.github.com/spec/v1\n", {}, ["git lfs pull"]),
    "records.csv": ('[{"params": 1e9}]', {}, ["this is JSON", ".json"]),
    "ragged.csv": (GOOD.replace("1.9", "1.9,7"), {}, ["row 3 has", "4 in row 3, expected 3"]),
    "stray_marks.csv": (
        'params,tokens,loss,name\n1e8,2e9,3.4,"big\n2e8,4e9,3.1,b"\n4e8,8e9,3,c\n8e8,9e9,2.9,d\n',
        {},
        ["row 1 has a cell with both a line break and ','", "stray quotation mark"],
    ),
    "open_mark.csv": (
        'params,tokens,loss,name\n1e8,2e9,3.4,a\n2e8,4e9,3.1,"b\n',
        {},
        ["not a table of delimited text", "quotation mark that is not closed"],
    ),
    "short_rows.csv": (
        GOOD.replace(",2.4", "").replace(",1.9", ""),
        {},
        ["rows 2, 3 have", "2 in row 2, expected 3"],
    ),
    "prose.csv": ("Training runs\nsee the appendix\n", {}, ["'Training runs'"]),
    "twice.csv": ("params,loss, loss\n1,2,3\n", {}, ["column 'loss' is there more than once"]),
    "twice.json": ('[{"N": 1, "loss": 2, "loss": 3}]', {}, ["'loss' is there more than once"]),
    "values.json": ("[1, 2]", {}, ["not a list of records"]),
    "scalar.json": ("3", {}, ["not a list of records"]),
    "broken.json": ('[{"params": 1},', {}, ["this is not JSON"]),
    "broken.jsonl": ('{"params": 1}\n{"params"\n', {}, ["this is not JSON (line 2"]),
    "not.parquet": (GOOD, {}, ["not a Parquet file"]),
    "cut.parquet": (b"PAR1 and then nothing", {}, ["cannot be read"]),
    "not.csv.gz": (GOOD, {}, ["not a whole gzip file"]),
    "cut.csv.gz": (gzip.compress(GOOD.encode(), mtime=0)[:30], {}, ["not a whole gzip file"]),
    "corrupt.csv.gz": (
        gzip.compress(GOOD.encode(), mtime=0)[:10] + b"\xff" * 40,
        {},
        ["not a whole gzip file"],
    ),
    "runs.xlsx": (b"PK", {}, ["suffix '.xlsx'", ".csv", ".parquet", "save as CSV"]),
    "runs": (GOOD, {}, ["cannot tell the format"]),
    "ambiguous.csv": (
        "params,val_loss,test_loss\n1e8,3,3\n",
        {},
        ["'val_loss', 'test_loss'", "columns={'loss': 'val_loss'}"],
    ),
    "bool.csv": ("params,loss\n" + "True,2\n" * 3, {}, ["'params'", "rows 1, 2, 3", "'True'"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_with_place_and_advice(tmp_path, name):
    content, options, words = BAD_FILES[name]
    file = write(tmp_path, content, name)
    with pytest.raises(ValueError, match=name) as caught:
        read_runs(file, **options)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    for word in words:
        assert word in message, message


def test_what_no_law_may_take_does_not_refuse_the_table():
    runs = read_runs(table(epoch=[0, 0, 0, 1, 1, 1, 2, 2], context=[0] + [1024] * 7))
    assert runs["epochs"].values.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    xr.testing.assert_identical(read_runs(runs), runs)
    model = Model.load("chinchilla")
    check_columns(runs, model)
    with pytest.raises(ValueError, match=r"'epoch' \(read as epochs\) has 3 values <= 0"):
        read_runs(table(epoch=[0, 0, 0, 1, 1, 1, 2, 2]), need=("loss", "epochs"))
    with pytest.raises(ValueError, match=r"'loss_sd' has 1 value <= 0"):
        read_runs(table(loss_sd=[-0.1] + [0.1] * 7))
    # A model that takes a column refuses it, with the rows.
    unread = read_runs(table(unique_tokens=[0, 0, *[1e9] * 6]))
    with pytest.raises(
        ValueError, match=r"'unique_tokens' .* must be positive .* rows 1 \(0\), 2 \(0\)"
    ):
        check_columns(unread, Model.load("repetition"))


@pytest.mark.parametrize(
    ("content", "params", "losses"),
    [
        # Two or four decimals tell that the comma is decimal.
        ("params;loss\n7,125B;3,12\n70,5B;2,9\n1000000000000;2,8511\n", [7.125e9, 70.5e9, 1e12], [3.12, 2.9, 2.8511]),
        ("params;loss\n7,125e9;0,912\n2e10;0,875\n3e10;0,850\n", [7.125e9, 2e10, 3e10], [0.912, 0.875, 0.85]),
        # A point tells that it is not.
        ("params;loss\n7,125;3.12\n70,500;2.9\n80,500;2.8\n", [7125, 70500, 80500], [3.12, 2.9, 2.8]),
        ("params;loss\n7,125;3\n1,070,500;2\n80,500;1\n", [7125, 1070500, 80500], [3, 2, 1]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_commas_beside_semicolons_and_tabs(tmp_path, content, params, losses, delimiter):
    runs = read_runs(write(tmp_path, content.replace(";", delimiter)))
    assert runs["params"].values.tolist() == params
    assert runs["loss"].values.tolist() == losses


def test_thousands_beside_tabs(tmp_path):
    runs = read_runs(write(tmp_path, "params\tloss\n1,300\t3\n7,125\t2\n900\t1\n", "runs.tsv"))
    assert runs["params"].values.tolist() == [1300, 7125, 900]


@pytest.mark.parametrize(
    ("column", "losses"),
    [("flops", [1.0, 0.4, 0.0, 0.0]), ("samples", [np.inf, 2.5, 0.7, 0.0])],
)
def test_rates_of_all_and_of_none_are_read(tmp_path, column, losses):
    frame = pd.DataFrame({column: [1.0, 10.0, 100.0, 1000.0], "loss": losses})
    runs = read_runs(write(tmp_path, frame.to_csv(index=False)))
    assert runs["loss"].values.tolist() == losses
    # Two scales at which no trial failed are no repeats.
    assert "duplicated_runs" not in codes(runs)
    assert ("loss_units_suspect" in codes(runs)) == (column == "flops")
    xr.testing.assert_identical(read_runs(runs), runs)


def test_bad_paths(tmp_path):
    write(tmp_path, GOOD)
    with pytest.raises(FileNotFoundError, match=r"no such file; did you mean 'runs\.csv'"):
        read_runs(tmp_path / "run.csv")
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_runs(tmp_path / "none" / "runs.csv")
    with pytest.raises(IsADirectoryError, match=r"this is a folder.*it holds runs\.csv"):
        read_runs(tmp_path)
    with pytest.raises(TypeError, match="got list"):
        read_runs([1, 2])


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame(), "no rows"),
        (pd.DataFrame({"params": [], "loss": []}), "no rows"),
        (pd.DataFrame([[1e9, 2, 3]], columns=["params", "loss", "loss"]), "'loss' is there more"),
        (table(loss=[2.0] * 7 + [np.nan]), "column 'loss' has 1 missing value (row 8)"),
        (table(loss=[2.0] * 7 + ["?"]), "row 8: '?'"),
        (table(params=pd.Series([1e9] * 7 + [None], dtype="Float64")), "(row 8)"),
        (table(params=pd.Categorical(["1B"] * 7 + ["one"])), "row 8: 'one'"),
        (table(params=pd.date_range("2024", periods=8)), "text where a number belongs"),
    ],
)
def test_bad_frames(frame, words):
    with pytest.raises(ValueError, match="pandas DataFrame: ") as caught:
        read_runs(frame)
    assert words in str(caught.value)


def test_whole_numbers_beyond_a_float():
    with pytest.raises(ValueError, match=r"'params' has 1 infinite value \(row 2: inf\)"):
        read_runs(table(params=[1e9, 10**400] + [1e9] * 6))
    assert read_runs(table(other=[1, -(10**400)] * 4))["other"].values[1] == -np.inf


def test_a_cell_may_hold_a_line_break_or_a_comma(tmp_path):
    note = ["two\nlines", "one, two", "three", "four"]
    file = write(tmp_path, table()[:4].assign(note=note).to_csv(index=False))
    assert read_runs(file)["note"].values.tolist() == note


def test_names_and_texts_that_a_file_cannot_hold(tmp_path):
    odd = {"": 1, ".": 2, "..": 3, " ": 4, "a\0b": 5, "column_5": 6}
    runs = read_runs(table(**odd, family=["x\0y", "z"] * 4, note=[{"a": 1}, "\0b"] * 4))
    runs.to_netcdf(tmp_path / "runs.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "runs.nc", engine="h5netcdf") as saved:
        xr.testing.assert_identical(read_runs(saved.load()), runs)
    kept = {name: int(runs[name][0]) for name in summarise_runs(runs)["kept"] if name != "note"}
    assert kept == {
        "column_4": 1, "column_5": 2, "column_6": 3, "column_7": 4, "a\ufffdb": 5, "column_5_given": 6,
    }  # fmt: skip
    assert runs["family"].values[:2].tolist() == ["x\ufffdy", "z"]
    assert runs["note"].values[1] == "\ufffdb"


def test_halves_of_characters_in_json(tmp_path):
    frame = table().to_dict("records")
    rows = [row | {"family": "x\ud800", "c\udfff": "\U0001f600"} for row in frame]
    runs = read_runs(write(tmp_path, json.dumps(rows), "runs.json"))
    assert runs["family"].values[0] == "x\ufffd"
    assert runs["c\ufffd"].values[0] == "\U0001f600"
    runs.to_netcdf(tmp_path / "runs.nc", engine="h5netcdf")


def test_odd_but_sound_cells():
    frame = table(
        params=pd.Categorical(["1B"] * 4 + ["2B"] * 4),
        tokens=pd.Series([10**9, 10**10] * 4, dtype="Int64"),
        flops=[10**24, "1e24", 1e24, np.float32(1e24), "", None, "n/a", "1 YFLOP"],
        experts=[8] * 8,
        extra=[{"a": 1}, None] * 4,
        when=pd.date_range("2024", periods=8),
        big=[2**70, 1] * 4,
        maybe=pd.Series([True, None] * 4, dtype="boolean"),
    )
    runs = read_runs(frame)
    assert runs["params"].values.tolist() == [1e9] * 4 + [2e9] * 4
    np.testing.assert_allclose(runs["flops"][:4], 1e24, rtol=1e-7)
    assert runs["flops_derived"].values.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert runs["extra"].values.tolist() == ['{"a": 1}', ""] * 4
    assert runs["when"].values[0].startswith("2024-01-01")
    assert runs["big"].values[0] == 2.0**70
    assert runs["maybe"].dtype == np.float64


# Sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("7B", 7e9),
        ("1.3b", 1.3e9),
        ("125M", 125e6),
        ("70k", 70e3),
        ("2T", 2e12),
        ("20 B", 20e9),
        (" 20 B tokens ", 20e9),
        ("6.7Bparams", 6.7e9),
        ("1.4e21", 1.4e21),
        ("1.4E+21 FLOPs", 1.4e21),
        ("1,000,000", 1e6),
        ("1_000_000.5", 1000000.5),
        ("3.2 ZFLOP", 3.2e21),
        ("5 GFLOP", 5e9),
        ("1E", 1e18),
        ("100 tokens", 100),
        ("3 billion", 3e9),
        ("1.5 Million parameters", 1.5e6),
        (".5B", 5e8),
        ("300e9", 3e11),
    ],
)
def test_parse_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        "seven",
        "7 X",
        "1,00",
        "1,5B",
        "-7B",
        "0",
        "nan",
        "inf",
        "1e400",
        "1e24 FLOP/s",
        "7BB",
    ],
)
def test_parse_size_refuses(text):
    with pytest.raises(ValueError, match="is not a size; expected a positive number such as 7B"):
        parse_size(text)


@given(
    number=st.decimals(min_value="0.001", max_value="999999", places=3),
    suffix=st.sampled_from(["", "k", "M", "B", "T", "P", "E", "Z", "Y"]),
    unit=st.sampled_from(["", " params", " tokens", "FLOP", " FLOPs"]),
    space=st.sampled_from(["", " "]),
    grouped=st.booleans(),
)
def test_parse_size_reads_what_was_written(number, suffix, unit, space, grouped):
    decades = 3 * " kMBTPEZY".index(suffix) if suffix else 0
    text = f"{number:,f}" if grouped else f"{number:f}"
    assert parse_size(text + space + suffix + unit) == float(number.scaleb(decades))


@given(st.floats(min_value=1e-300, max_value=1e300, allow_nan=False))
def test_parse_size_reads_python_floats(size):
    assert parse_size(repr(size)) == size


@given(
    st.lists(
        st.tuples(st.floats(1e6, 1e12), st.floats(1e7, 1e14), st.floats(0.5, 15)),
        min_size=3,
        max_size=30,
    )
)
def test_tables_survive_a_csv(rows):
    frame = pd.DataFrame(rows, columns=["params", "tokens", "loss"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.csv"
        frame.to_csv(file, index=False)
        xr.testing.assert_equal(read_runs(file), read_runs(frame))


# Doubts -------------------------------------------------------------------------------------

LONG = np.arange(1, 26)
NOISY = 2 + 1 / LONG + 0.1 * np.cos(LONG)
DOUBTS = {
    # code: (table, severity, words of the message)
    "collinear_design": (table(tokens=20 * table()["params"]), "warning", "20 to 20 tokens"),
    "too_few_levels": (table(tokens=[1e11, 1.001e11] * 4), "warning", "tokens has 1 distinct"),
    "derived_flops": (table(), "info", "in all 8 runs"),
    "derived_tokens": (
        table().assign(flops=lambda t: 6 * t.params * t.tokens).drop(columns="tokens"),
        "info",
        "tokens = flops / (6 * params), derived in all 8 runs",
    ),
    "duplicated_runs": (
        pd.concat([table(), table()[2:4]], ignore_index=True),
        "warning",
        "2 of 10 runs repeat an earlier one",
    ),
    "loss_rises_with_scale": (table(loss=np.linspace(2, 3, 8)), "warning", "'all runs' (+0."),
    "mixed_units": (
        table(family=["a", "b"] * 4, unit=["nat/token", "bit/byte"] * 4),
        "warning",
        "as column 'unit' says: bit/byte in family b; nat/token in family a",
    ),
    "loss_units_suspect": (table(loss=table()["loss"] + 5), "warning", "exceed 6 (largest"),
    "size_units_suspect": (
        table(params=table()["params"] / 1e9),
        "warning",
        "largest params is 6.4",
    ),
    "running_minimum_table": (
        pd.DataFrame(
            {
                "run": ["a"] * 25 + ["b"] * 25,
                "step": [*LONG, *LONG],
                "params": 1e8,
                "tokens": [*1e7 * LONG, *1e7 * LONG],
                "loss": [*np.minimum.accumulate(NOISY), *NOISY],
            }
        ),
        "warning",
        "1 of 2 curves",
    ),
    "columns_recognised": (table().rename(columns={"params": "N"}), "info", "params from 'N'"),
}


def checkpoints(loss: np.ndarray) -> pd.DataFrame:
    at = 1e7 * np.geomspace(1, 100, loss.size)
    return pd.DataFrame({"run": "a", "params": 1e8, "tokens": at, "step": at / 1e5, "loss": loss})


def test_a_clean_curve_that_falls_throughout_is_no_running_minimum() -> None:
    rng = np.random.default_rng(3)
    law = 2 + np.geomspace(1, 100, 40) ** -0.3
    clean = law * np.exp(1e-4 * rng.standard_normal(40))
    assert (np.diff(clean) < 0).all()
    # Of noisy losses only those kept that improved on all before: no repeats give them away.
    noisy = (2 + np.geomspace(1, 100, 400) ** -0.3) * np.exp(0.01 * rng.standard_normal(400))
    least = np.minimum.accumulate(noisy)
    improved = noisy[np.append(True, np.diff(least) < 0)]
    assert improved.size > 20
    found = {
        name: "running_minimum_table"
        in {note.code for note in get_notes(read_runs(checkpoints(loss)))}
        for name, loss in {"clean": clean, "improved": improved, "least": least}.items()
    }
    assert found == {"clean": False, "improved": True, "least": True}


def test_a_restarted_run_is_told() -> None:
    frame = checkpoints(2 + 1 / LONG)
    again = frame.iloc[10:15].assign(loss=lambda rows: rows["loss"] + 0.01)
    both = read_runs(pd.concat([frame, frame.assign(run="b"), again], ignore_index=True))
    (note,) = (note for note in get_notes(both) if "restarted" in note.message)
    assert note.message.startswith("5 steps have several losses, in a: was a run restarted?")
    found = summarise_runs(both)
    assert (found["runs"], found["distinct_runs"]) == (55, 2)
    assert not any("restarted" in note.message for note in get_notes(read_runs(frame)))


@pytest.mark.parametrize("code", DOUBTS)
def test_doubts(code):
    assert code in CODES
    frame, severity, words = DOUBTS[code]
    note = next(note for note in get_notes(read_runs(frame)) if note.code == code)
    assert note.severity == severity
    assert words in note.message
    assert note.advice


def test_run_ids_that_runs_of_several_sizes_share():
    frame = table(run=[0, 1] * 4)
    note = next(note for note in get_notes(read_runs(frame)) if note.code == "checkpoints")
    assert "2 of 2 run_ids" in note.message
    assert "('0': 1e+08 to 6.4e+09)" in note.message
    assert "columns={'seed': 'run'}" in note.advice
    assert "checkpoints" not in codes(read_runs(frame, {"seed": "run"}))
    seeded = get_notes(read_runs(frame.assign(seed=1)))
    assert any("columns={'other': 'run'}" in note.advice for note in seeded)
    # Checkpoints have one size; runs without a name share none.
    assert "checkpoints" not in codes(read_runs(table(run=list("aabbccdd"))))
    assert "checkpoints" not in codes(read_runs(table(run=[None] * 7 + ["a"])))


def test_a_good_design_raises_no_doubt():
    assert codes(read_runs(table())) == {"derived_flops"}
    assert codes(read_runs(table(unit="nat/token"))) == {"derived_flops"}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (table(loss=np.linspace(0.9, 0.2, 8)), "loss_units_suspect"),
        (table(flops=1e-18 * table()["params"] * table()["tokens"]), "size_units_suspect"),
        (table(loss=[2, 3] * 4, family=["a", "b"] * 4), None),
        (table(family=["a"] * 4 + ["b"] * 4, loss=[3, 2.9, 2.8, 2.7, 2, 2.1, 2.2, 2.3]), "rises"),
    ],
)
def test_more_doubts(frame, code):
    notes = {note.code: note for note in get_notes(read_runs(frame))}
    if code == "rises":
        assert "'b' (+0." in notes["loss_rises_with_scale"].message
        assert "'a'" not in notes["loss_rises_with_scale"].message
    elif code is None:
        assert "loss_rises_with_scale" not in notes
    else:
        assert code in notes


def one_in(column: str, factor: float, row: int = 4) -> pd.DataFrame:
    """Runs of which one has a cell that is so many times what it should be."""
    frame = table(flops=6 * table()["params"] * table()["tokens"])
    frame[column] = frame[column].astype(float)
    frame.loc[row - 1, column] *= factor
    return frame


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        (one_in("params", 1e-9), "size_units_suspect", "in row 4, and 1e+08 or more in all others"),
        (one_in("tokens", 1e-9), "size_units_suspect", "or less in row 4, and"),
        (one_in("flops", 100), "size_units_suspect", "1e+02 times 6 * params * tokens in row 4"),
        (table(loss=2.5), "loss_units_suspect", "all 8 losses are 2.5"),
    ],
)
def test_doubts_about_single_rows(frame: pd.DataFrame, code: str, words: str) -> None:
    (note,) = (note for note in get_notes(read_runs(frame)) if note.code == code)
    assert (note.severity, words in note.message) == ("warning", True)


@pytest.mark.parametrize("column", ["params", "tokens", "flops"])
def test_runs_that_differ_much_are_no_slip(column: str) -> None:
    assert codes(read_runs(one_in(column, 5))) == set()
    toys = table(params=np.geomspace(1e4, 1e9, 8))
    assert "size_units_suspect" not in codes(read_runs(toys))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (table(params=[125, 350, 760, 1300, 2700, 6700, 13000, 175000], tokens=3e11), "per parameter is 1.7e+08"),
        (table(tokens=table()["tokens"] / 1e6, params=table()["params"] * 10), "largest tokens is"),
        (table(tokens=1e7 * np.arange(1, 9), params=1e10), "tokens per parameter is 0.0045"),
        (pd.DataFrame({"compute": [0.001, 0.1, 10, 100], "loss": [4, 3.5, 3, 2.6]}), "largest flops is 100: PF-days?"),
        (table(tokens=None, flops=[0.001, 0.1, 10, 100] * 2), "largest flops is 100: PF-days?"),
    ],
)  # fmt: skip
def test_whole_columns_in_another_unit(frame: pd.DataFrame, words: str) -> None:
    (note,) = (note for note in get_notes(read_runs(frame)) if note.code == "size_units_suspect")
    assert (note.severity, words in note.message) == ("warning", True), note.message


def test_a_loss_in_per_cent_and_one_that_is_read_as_something_else() -> None:
    frame = table(loss=[f"{each}%" for each in range(50, 42, -1)])
    with pytest.raises(ValueError, match=r"'50%'.*a share such as 0\.431: divide per cent by 100"):
        read_runs(frame)
    with pytest.raises(ValueError, match="no column for 'loss'"):
        read_runs(frame, {"other": "loss"})


def test_names_are_read_without_the_blanks_around_them() -> None:
    assert set(read_runs(table(family=["a", " a", "a ", "b"] * 2))["family"].values) == {"a", "b"}


@pytest.mark.parametrize(
    "names",
    [
        ["1.1", "1.10", "1.2", "1.20"],
        ["1e5", "100000", "010", "10"],
        ["20240131123456781", "20240131123456782", "", "7"],
    ],
)
@pytest.mark.parametrize("column", ["run_id", "config.run_name", "id"])
def test_names_that_look_like_numbers_stay_as_they_are(tmp_path, names, column):
    frame = table()[:4].assign(**{column: names})
    file = write(tmp_path, frame.to_csv(index=False))
    runs = read_runs(file, {"run_id": "id"} if column == "id" else None)
    assert runs["run_id"].values.tolist() == names


def test_whole_numbers_that_pandas_wrote_beside_an_empty_name(tmp_path):
    file = write(tmp_path, table()[:3].assign(run_id=[1, None, 2]).to_csv(index=False))
    assert read_runs(file)["run_id"].values.tolist() == ["1", "", "2"]
    seeds = write(tmp_path, table()[:3].assign(run=[1, 2, 3]).to_csv(index=False))
    assert read_runs(seeds, {"other": "run"})["other"].values.tolist() == [1, 2, 3]


@pytest.mark.parametrize("column", ["unit", "Unit", "loss_unit", "Loss Units"])
def test_a_column_that_says_in_what_the_losses_are(column):
    def told(said, **options):
        found = codes(read_runs(table(**{column: said}), **options))
        return found & {"unit_not_read", "mixed_units"}

    assert told("bits per byte") == {"unit_not_read"}
    assert told("bits per byte", unit="bit/byte", tokens_per_byte=0.25) == set()
    assert told("Nats / token") == told("nats") == told(None) == set()
    assert told(["nats", "Nats"] * 4) == set()
    assert told(["nat/token", "bit/byte"] * 4) == {"mixed_units"}
    runs = read_runs(table(**{column: "bits per byte"}))
    assert "unit_not_read" in codes(read_runs(runs))


def test_tokenizers_under_any_spelling():
    assert "mixed_units" in codes(read_runs(table(Tokenizer=["gpt2", "llama"] * 4)))


def test_design_notes_of_a_bare_dataset():
    assert design_notes(xr.Dataset({"params": ("run", [1e9])})) == []


# Description --------------------------------------------------------------------------------


def test_summary_is_json_and_right(tmp_path):
    frame = table(family=["a"] * 3 + ["b"] * 5, val_loss=[2.0] * 8)
    file = tmp_path / "runs.csv"
    frame.rename(columns={"params": "N"}).to_csv(file, index=False)
    told = json.loads(json.dumps(summarise_runs(read_runs(file))))
    assert told["runs"] == 8
    assert told["source"] == str(file)
    assert told["inputs"]["params"] == {
        "unit": "parameters",
        "count": 8,
        "min": 1e8,
        "max": 6.4e9,
        "decades": 1.806,
        "levels": 4,
    }
    assert told["tokens_per_parameter"] == {"min": 10, "median": 30, "max": 200}
    assert told["families"] == {"b": 5, "a": 3}
    assert told["columns"]["params"] == "N"
    assert told["kept"] == ["val_loss"]
    assert told["derived_flops"] == "all"
    assert {note["code"] for note in told["notes"]} == {"columns_recognised", "derived_flops"}


def test_summary_without_losses_or_ratio():
    told = summarise_runs(read_runs(pd.DataFrame({"flops": [1e20, 1e21]}), need=()))
    assert told["tokens_per_parameter"] is None
    assert told["loss"] is None
    assert told["families"] == {}
    json.dumps(told)


def test_import_is_light():
    heavy = "pymc", "nutpie", "arviz", "matplotlib", "scipy", "polars", "pooch", "h5netcdf"
    code = (
        "import sys, bayescale.runs, bayescale.datasets;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("column", ["samples", "test_time_compute"])
def test_a_table_of_inference_needs_no_size(column: str, tmp_path: Path) -> None:
    path = tmp_path / "inference.csv"
    path.write_text(f"{column},loss\n1,0.9\n10,0.5\n100,0.2\n")
    runs = read_runs(path)
    assert runs[column].values.tolist() == [1.0, 10.0, 100.0]
    path.write_text(f"{column},loss\n1,0.9\n0,0.5\n100,0.2\n")
    with pytest.raises(ValueError, match=f"row 2: 0.*{column}"):
        read_runs(path)
