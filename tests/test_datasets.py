"""Published sets: the registry, the table in the package, offline tables, and downloads."""

import hashlib
import io
import json
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayescale.datasets import list_datasets, load_dataset
from bayescale.datasets import load as datasets
from bayescale.datasets.published import DATASETS
from bayescale.notes import get_notes

ELSEWHERE = sorted(name for name, entry in DATASETS.items() if entry.url)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder in the place of the user's tables."""
    monkeypatch.setenv("BAYESCALE_DATA", str(tmp_path))
    return tmp_path


# The table in the package -------------------------------------------------------------------


def test_pile_is_the_published_table(folder):
    runs = load_dataset("pile")
    assert runs.sizes["run"] == 30
    assert len(np.unique(runs["family"])) == 6
    largest = runs.isel(run=np.argmax(runs["flops"].values))
    assert largest["run_id"].item() == "gpt-neox-20B"
    assert (largest["params"].item(), largest["loss"].item()) == (2e10, 1.519)
    assert runs["flops"].attrs["derived"] == "none"
    assert runs.attrs["source"] == "pile_runs.csv"
    assert get_notes(runs) == []
    for paper in ("2304.03208", "2304.01373", "2204.06745"):
        assert paper in runs.attrs["citation"]
    for key in ("title", "licence", "remark", "sha256", "columns", "dataset"):
        assert runs.attrs[key]


def test_pile_families_have_the_designs_they_are_known_for():
    runs = load_dataset("pile").to_pandas()
    ratio = runs["tokens"] / runs["params"]
    assert ratio[runs["family"].str.startswith("cerebras")].between(19, 21).all()
    assert runs["tokens"][runs["family"].str.startswith("pythia")].nunique() == 1


def test_runs_are_known_by_what_a_fit_records_of_them(folder):
    runs = load_dataset("pile")
    assert datasets.dataset_of(runs.attrs["source"], runs.attrs["sha256"]) == "pile"
    assert datasets.dataset_of("pile_runs.csv", "0" * 64) is None
    assert datasets.dataset_of(f"data/{runs.attrs['source']}", runs.attrs["sha256"]) is None
    assert datasets.dataset_of("benchmark.vision.csv", "0" * 64) == "revisiting-vision"
    assert datasets.dataset_of("", "") is None


# The registry -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATASETS)
def test_entries_say_all_that_they_should(name):
    entry = DATASETS[name]
    assert entry.title
    assert entry.licence
    assert entry.runs > 0
    assert len(entry.sha256) == 64
    assert "arXiv" in entry.citation or name == "nlp-progress"
    if entry.url:
        commit = [part for part in entry.url.split("/") if len(part) == 40]
        assert commit, "an author's file is named at a fixed commit"
    if entry.prepare:
        assert entry.url.startswith("https://raw.githubusercontent.com/")


def test_list_of_datasets(folder):
    listed = list_datasets()
    assert listed.columns.tolist() == ["name", "runs", "title", "citation", "licence", "offline"]
    assert listed["name"].tolist() == list(DATASETS)
    assert listed["offline"].tolist() == [name == "pile" for name in DATASETS]
    (folder / "svg_extracted_data.csv").touch()
    listed = list_datasets().set_index("name")
    assert listed.loc["epoch-chinchilla", "offline"]


def test_unknown_name():
    with pytest.raises(ValueError, match=r"no dataset 'epoch-chinchila' \(did you mean 'epoch-"):
        load_dataset("epoch-chinchila")


# Prepared tables ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ELSEWHERE)
def test_prepared_tables(data_dir, monkeypatch, name):
    monkeypatch.setenv("BAYESCALE_DATA", str(data_dir))
    entry = DATASETS[name]
    if not (data_dir / entry.file).is_file():
        pytest.skip(f"needs {entry.file} in {data_dir}")
    runs = load_dataset(name)
    assert runs.sizes == {"run": entry.runs}
    assert runs.attrs["dataset"] == name
    assert runs.attrs["sha256"] == entry.sha256
    if "loss" in runs:
        assert runs["loss"].attrs["units"] == entry.loss_unit
    json.loads(runs.attrs["notes"])
    by_path = load_dataset(name, path=data_dir / entry.file)
    xr.testing.assert_identical(by_path, runs)


def test_epoch_keeps_the_five_runs_that_epoch_left_out(data_dir, monkeypatch):
    monkeypatch.setenv("BAYESCALE_DATA", str(data_dir))
    runs = load_dataset("epoch-chinchilla")
    assert int(runs["epoch_excluded"].sum()) == 5
    assert runs["loss"].where(runs["epoch_excluded"] == 1).min() >= 3.4469


def test_another_version_of_a_prepared_table(folder):
    (folder / "routed_moe.csv").write_text("params,tokens,experts,loss\n1e9,1e10,1,2\n")
    with pytest.raises(ValueError, match=r"routed_moe\.csv: SHA-256 .* another version"):
        load_dataset("routed-moe")


def test_data_folder_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("BAYESCALE_DATA", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"BAYESCALE_DATA=.*no such folder"):
        load_dataset("epoch-chinchilla")


# Authors' files -----------------------------------------------------------------------------

# A few rows in the layout of each authors' file, and what they must become.
AUTHORS = {
    "epoch-chinchilla": (
        "Model Size,Training FLOP,loss\n"
        "6795600348,9.993853e18,5.005582\n"
        "6795615000,1.295602e22,2.077394\n",
        {"params": 6795615000, "tokens": 3.177545e11, "flops": 1.295602e22, "loss": 2.077394},
    ),
    "revisiting-lang": (
        "Domain,Task,Model,Seen Examples,Loss,Training\n"
        "NMT,log_perplexity,6 Enc+6 Dec,500000.0,0.93,1\n"
        "LM,val_loss,1.68e+07,174299545600.0,0.933,0\n"
        "LM,val_loss,1.68e+07,174299545600.0,0.933,0\n"
        "BB,\"('unit', '2-shot')\",262M,256393136619.0,0.5201953125,0\n",
        {
            "params": 262e6,
            "tokens": 256393136619.0,
            "examples": 256393136619.0,
            "run_id": "BB|unit_2-shot|262M",
            "task": "unit_2-shot",
            "is_train": 0,
            "duplicate": 0,
            "loss": 0.5201953125,
        },
    ),
    "revisiting-vision": (
        "Domain,Task,Model,Seen Examples,Loss,Training\n"
        "IC,bird_5,MiX/B/16,7700779,0.98,1\n"
        "IC,bird_5,MiX/B/16,11980004,0.97,1\n"
        "IC,bird_25,BiT/50/1,2666496000,0.2928177,0\n",
        {"examples": 2666496000, "run_id": "IC|bird_25|BiT/50/1", "loss": 0.2928177},
    ),
    "routed-moe": (
        "hyper_id,step,router_type,num_experts,k,routing_frequency,flop_increase,d_model,"
        "num_blocks,num_heads,kqv_size,seed,total_parameter_count,dense_parameter_count,"
        "flops_per_step,model_size_label,loss_validation,loss_c4\n"
        + "".join(
            f"{run},{step},S-Base,64,1,0.5,1,512,12,8,64,42,555892736,27279360,7.25e13,25M,{loss},3\n"
            for run in (1, 2, 3)
            for step, loss in ((249000, 2.64), (10000, 3.5))
        ),
        {
            "params": 27279360,
            "tokens": 1.30547712e11,
            "experts": 64,
            "step": 249000,
            "loss": 2.64,
            "family": "S-Base",
            "loss_c4": 3,
        },
    ),
    "obs-benchmarks": (
        "Model,Model Family,Model Size (B),Pretraining Data Size (T),FLOPs (1E21),MMLU,ARC-C,"
        "HellaSwag,Winograd,TruthfulQA,GSM8K,XWinograd,HumanEval\n"
        "Qwen/Qwen2-7B,Qwen2,7.0,,,0.72,0.61,0.81,0.76,0.54,0.77,0.78,0.48\n"
        "meta-llama/Llama-2-13b-hf,Llama-2,13.0,2.0,156.0,0.543,0.56,0.80,0.76,0.34,0.23,0.79,\n",
        {
            "params": 1.3e10,
            "tokens": 2e12,
            "flops": 1.56e23,
            "acc_mmlu": 0.543,
            "acc_arc_c": 0.56,
            "family": "Llama-2",
            "suspect": 0,
        },
    ),
    "ai-efficiency": (
        "Metric,Publication Date,Publication,Publication link,Compute (teraflops-s/days),"
        "Reduction Factor,Analysis,Analysis link\n"
        "AlexNet,6/1/2012,AlexNet,,3.1,1,AI and Efficiency,\n",
        {"flops": 2.6784e17, "family": "AlexNet", "date": "2012-06-01", "reduction_factor": 1},
    ),
}


def test_every_authors_file_has_a_test():
    assert set(AUTHORS) == {name for name, entry in DATASETS.items() if entry.prepare}


@pytest.mark.parametrize("name", AUTHORS)
def test_authors_files(folder, monkeypatch, name):
    text, last = AUTHORS[name]
    prepared = DATASETS[name].prepare(pd.read_csv(io.StringIO(text)))
    entry = replace(DATASETS[name], runs=len(prepared))
    if "loss" in entry.need and len(prepared) < 3:
        entry = replace(entry, need=())
    monkeypatch.setitem(datasets.DATASETS, name, entry)
    file = folder / entry.url.rpartition("/")[2].removesuffix(".gz")
    file.write_text(text)
    runs = load_dataset(name, path=file).isel(run=-1)
    for column, value in last.items():
        if isinstance(value, str):
            assert runs[column].item() == value
        else:
            assert runs[column].item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", AUTHORS)
def test_authors_files_give_the_columns_of_the_prepared_table(data_dir, name):
    """Whichever of the two files is at hand, a user finds the same columns."""
    prepared = DATASETS[name].prepare(pd.read_csv(io.StringIO(AUTHORS[name][0])))
    table = pd.read_csv(data_dir / DATASETS[name].file, nrows=5)
    # Computed from other columns, or other validation sets that the rows above leave out.
    spare = {"flops_6nd", "flops", "year_frac"} | {c for c in table if c.startswith("loss_")}
    assert set(table) - set(prepared) <= spare
    assert set(prepared) <= set(table)


def test_an_authors_file_of_another_length(folder):
    (folder / "svg_extracted_data.csv").write_text(AUTHORS["epoch-chinchilla"][0])
    with pytest.raises(ValueError, match=r"svg_extracted_data\.csv: 2 runs, expected 245"):
        load_dataset("epoch-chinchilla")


def test_a_file_that_is_not_the_authors(folder):
    file = folder / "mine.csv"
    file.write_text("params,tokens,loss\n1e9,1e10,2\n")
    with pytest.raises(
        ValueError, match=r"mine\.csv: no column 'Model Size'; expected the authors'"
    ):
        load_dataset("epoch-chinchilla", path=file)
    with pytest.raises(ValueError, match=r"mine\.csv: SHA-256 .*expected 0000.*authors' file"):
        load_dataset("epoch-chinchilla", path=file, sha256="0" * 64)
    with pytest.raises(ValueError, match=r"mine\.csv: SHA-256 .*read_runs"):
        load_dataset("datablations", path=file)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_dataset("epoch-chinchilla", path=folder / "none.csv")


# Downloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ELSEWHERE)
def test_nothing_is_downloaded_without_a_checksum(folder, monkeypatch, name):
    monkeypatch.setattr(datasets, "_download", lambda *_: pytest.fail("went to the network"))
    with pytest.raises(FileNotFoundError, match="BAYESCALE_DATA") as caught:
        load_dataset(name)
    entry = DATASETS[name]
    assert entry.url in str(caught.value)
    assert (entry.sha256 if entry.prepare is None else "sha256=") in str(caught.value)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def author(tmp_path, monkeypatch):
    """A server on this machine in the place of the authors' host."""
    published = tmp_path / "published"
    published.mkdir()
    text = AUTHORS["revisiting-vision"][0].encode()
    (published / "benchmark.vision.csv").write_bytes(text)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(published)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "tables").mkdir()
    monkeypatch.setenv("BAYESCALE_DATA", str(tmp_path / "tables"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    url = f"http://127.0.0.1:{server.server_port}/benchmark.vision.csv"
    entry = replace(DATASETS["revisiting-vision"], url=url, runs=3)
    monkeypatch.setitem(datasets.DATASETS, "revisiting-vision", entry)
    yield hashlib.sha256(text).hexdigest(), published / "benchmark.vision.csv"
    server.shutdown()
    server.server_close()


def test_download_with_a_checksum(author):
    digest, file = author
    runs = load_dataset("revisiting-vision", sha256=digest)
    assert runs.sizes["run"] == 3
    assert runs.attrs["sha256"] == digest
    assert runs.attrs["source"] == "benchmark.vision.csv"
    file.unlink()
    xr.testing.assert_identical(load_dataset("revisiting-vision", sha256=digest), runs)


def test_download_that_is_not_the_file(author):
    with pytest.raises(ValueError, match="does not match the known hash"):
        load_dataset("revisiting-vision", sha256="0" * 64)


def test_download_that_fails(author):
    digest, file = author
    file.unlink()
    with pytest.raises(ConnectionError, match=r"download from http.* failed.*by hand"):
        load_dataset("revisiting-vision", sha256=digest)
