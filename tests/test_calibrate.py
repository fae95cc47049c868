"""Simulation-based calibration: its own arithmetic, a small run of it, and the ranks that the benchmark stored."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from bayescale.inference.many import Job, Outcome
from bayescale.plots import plot_ranks
from bayescale.validate.calibrate import RANKS, calibrate, uniformity

STORED = Path(__file__).parents[1] / "benchmarks" / "results" / "ranks.json"


def test_even_ranks_pass_and_uneven_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    even = [uniformity(rng.integers(0, RANKS + 1, 200)) for _ in range(300)]
    # The test is of its stated size: 5 % of even ranks fall below .05, within three standard errors.
    assert np.mean(np.array(even) < 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 300))
    narrow = np.where(rng.random(200) < 0.5, rng.integers(0, 8, 200), rng.integers(92, 100, 200))
    assert uniformity(narrow) < 1e-6
    wide = rng.integers(30, 70, 200)
    assert uniformity(wide) < 1e-6
    biased = (RANKS * rng.beta(2, 1, 200)).astype(int)
    assert uniformity(biased) < 1e-3


def test_truths_from_the_prior_are_ranked_among_answers(simulate) -> None:
    design = simulate(4, seed=1)[["params", "tokens", "flops", "loss"]]
    found = calibrate(design, "chinchilla", simulations=3, draws=200, random_seed=2)
    assert dict(found.sizes) == {"simulation": 3, "answer": 5}
    asked = ["loss_10x", "loss_100x", "gain_10x", "gain_100x", "onset"]
    assert found["answer"].values.tolist() == asked
    ranks = found["rank"].values
    assert ((ranks >= 0) & (ranks <= RANKS)).all()
    # The truths differ, and so do their ranks: a truth that leaked into its own fit would sit in the middle.
    assert np.unique(ranks).size > 4
    assert found["inside"].mean() > 0.5


def test_a_fit_that_does_not_converge_is_made_again_with_more_draws(
    simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def instead(jobs: list[Job], then: object, **_: object) -> list[Outcome]:
        calls.append({job.name: job.draws for job in jobs})
        value = {"rank": np.full(5, len(calls)), "inside": np.ones(5, bool)}
        stuck = "simulation-0001" if len(calls) == 1 else ""
        return [
            Outcome(job.name, value=value | {"converged": np.array(job.name != stuck)})
            for job in jobs
        ]

    monkeypatch.setattr("bayescale.validate.calibrate.fit_many", instead)
    design = simulate(4, seed=1)[["params", "tokens", "flops", "loss"]]
    found = calibrate(design, "chinchilla", simulations=3, draws=200)
    assert calls[1:] == [{"simulation-0001": 1000}]
    assert found["rank"].isel(answer=0).values.tolist() == [1, 2, 1]
    assert bool(found["converged"].all())
    assert found.attrs["again"] == 1


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_calibration_gives_no_ranks(
    simulate, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    calls: list[int] = []

    def instead(jobs: list[Job], then: object, **_: object) -> list[Outcome]:
        calls.append(len(jobs))
        value = {"rank": np.zeros(5), "inside": np.ones(5, bool), "converged": np.array(False)}
        done = [Outcome(job.name, value=value) for job in jobs[1:]]
        last = Outcome(jobs[0].name, "interrupted" if len(calls) == at else "done", value=value)
        return [last, *done]

    monkeypatch.setattr("bayescale.validate.calibrate.fit_many", instead)
    design = simulate(4, seed=1)[["params", "tokens", "flops", "loss"]]
    with pytest.raises(KeyboardInterrupt):
        calibrate(design, "chinchilla", simulations=3, draws=200)
    assert calls == [3] * at


def test_the_figure_of_ranks_shows_every_answer_and_how_far_it_is_from_even(simulate) -> None:
    rng = np.random.default_rng(3)
    ranks = np.stack([rng.integers(0, RANKS + 1, 200), rng.integers(0, 40, 200)], axis=1)
    found = xr.Dataset(
        {"rank": (("simulation", "answer"), ranks)},
        {"answer": ["loss_10x", "onset"]},
        {"model": "power", "ranks": RANKS},
    )
    figure = plot_ranks(found)
    assert [axis.get_title() for axis in figure.axes] == ["loss at 10 ×", "onset"]
    even, low = (max(np.abs(line.get_ydata()).max() for line in axis.lines) for axis in figure.axes)
    # All ranks below 40: the distribution runs .6 ahead of a uniform one.
    assert low == pytest.approx(0.6, abs=0.02)
    assert even < 0.12
    assert "model power" in figure.get_label()


def test_stored_ranks_are_even() -> None:
    """Ranks of 200 simulations a model: none rejected at 1 %, corrected for the number of histograms."""
    if not STORED.exists():
        pytest.skip(
            "benchmarks/results/ranks.json is not there: python benchmarks/calibration.py --part ranks"
        )
    stored = json.loads(STORED.read_text())
    found = {
        (model, answer): uniformity(np.array(ranks))
        for model, answers in stored.items()
        for answer, ranks in answers.items()
    }
    assert (
        min(map(len, (ranks for answers in stored.values() for ranks in answers.values()))) >= 190
    )
    rejected = {name: value for name, value in found.items() if value < 0.01 / len(found)}
    assert rejected == {}
