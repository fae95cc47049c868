"""The page of reproductions: its stored rows, and its parts run anew."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPO / "benchmarks"))
    return importlib.import_module("reproductions")


def test_the_page_is_made_of_the_stored_rows(script: ModuleType) -> None:
    results = json.loads(script.RESULTS.read_text(encoding="utf-8"))
    assert script.PAGE.read_text(encoding="utf-8") == script.page(results)


def test_the_verdict_follows_its_rule(script: ModuleType) -> None:
    found = [script.verdict(value, 1.0, 2.0, 4.0) for value in (0.9, 1.1, 3.9, 4.1, 6.1, -0.1)]
    assert found == ["near", "agrees", "agrees", "near", "differs", "differs"]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["progress", "test-time", "chinchilla"])
def test_a_part_gives_what_the_page_says(
    script: ModuleType, part: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same seed, same verdicts; the numbers may differ by a tenth of their interval from machine to machine."""
    monkeypatch.setenv("BAYESCALE_DATA", str(data_dir))
    stored = json.loads(script.RESULTS.read_text(encoding="utf-8"))[part]
    for row, kept in zip(script.PARTS[part](), stored, strict=True):
        assert row["what"] == kept["what"]
        assert row["converged"] == 1
        assert row["verdict"] == kept["verdict"]
        assert abs(row["ours"] - kept["ours"]) < 0.1 * (kept["high"] - kept["low"])
