"""The site's pages keep their word: every block of code and every command on them runs."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from documents import run_page
from fake_fit import fake_fit, with_tasks
from test_held import of_repeated

import bayescale as bs
from bayescale.decide.scenario import EXAMPLE
from bayescale.inference import many

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(
    [DOCS / "start.md", *(DOCS / "howto").glob("*.md"), *(DOCS / "concepts").glob("*.md")]
)


@pytest.fixture
def folder(pile: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the table that pages name."""
    scores = [name for name in pile.data_vars if name.startswith("acc_")]
    columns = ["run_id", "family", "params", "tokens", "flops", "loss", *scores]
    table = pile.to_dataframe()[columns]
    table.to_csv(tmp_path / "runs.csv", index=False)
    unique = (table["tokens"] / np.resize([1.0, 1.5, 4.0], len(table))).rename("unique_tokens")
    table.join(unique).to_csv(tmp_path / "repeated.csv", index=False)
    table.tail(3)[["params", "tokens"]].to_csv(tmp_path / "large-runs.csv", index=False)
    (tmp_path / "budget.toml").write_text(EXAMPLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_runs(
    page: Path, folder: Path, fit: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the one real fit, or one of known parameters, in place of those that a page makes."""

    def instead(runs: object, model: object = None, **_: object) -> xr.DataTree:
        if model == "repetition":
            return of_repeated(model)
        if model != "tasks":
            return fit
        known = fake_fit(
            "skaling-drift-families", chains=4, jitter=0.05, families={"a": 1.0, "b": 1.1}
        )
        return with_tasks(known, {"acc_hellaswag": (-0.2, 8.0, 0.25, 0.95)}, jitter=0.02)

    def stand_in(options: dict[str, object]) -> None:
        bs.save(instead(None, options["model"]), options["output"])

    monkeypatch.setattr(bs, "fit", instead, raising=False)
    monkeypatch.setattr(many, "fit", instead)
    bs.save(fit, folder / "fit.nc")
    run_page(page.read_text(encoding="utf-8"), page.name, stand_in)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_runs_as_it_stands(page: Path, folder: Path, fit: xr.DataTree) -> None:
    bs.save(fit, folder / "fit.nc")
    run_page(page.read_text(encoding="utf-8"), page.name, None)
