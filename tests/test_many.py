"""Fitting many data sets: order, failures, interruptions, results on disk, processes and Dask."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit

from bayescale import laws
from bayescale.inference import fit, many
from bayescale.inference.kept import experiment_hash
from bayescale.inference.many import Job, Outcome, dask_executor, fit_many
from bayescale.model import Model

FITTING = sys.modules["bayescale.inference.fit"]


def table(size: int = 12, seed: int = 0) -> xr.Dataset:
    """Runs of one input that follow a power law."""
    flops = np.geomspace(1e18, 1e21, size)
    noise = 0.004 * np.random.default_rng(seed).standard_normal(size)
    loss = (1.8 + 0.9 * (flops / 1e20) ** -0.2) * np.exp(noise)
    return xr.Dataset({"flops": ("run", flops), "loss": ("run", loss)})


def jobs(count: int = 4, **changes: object) -> list[Job]:
    return [Job(f"job {i}", table(seed=i), "power", i, draws=200, **changes) for i in range(count)]


def seed_and_level(tree: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
    """Something small that shows which fit it was made of."""
    return {
        "seed": np.array(tree.attrs["seed"]),
        "level": tree["posterior"]["level"].values.mean(axis=1),
    }


def die_once(tree: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
    """Kill the worker, the first time that the job is done."""
    flag = Path(job.aside.attrs["flag"]) if job.aside is not None else None
    if flag is not None and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return seed_and_level(tree, job)


class Panic(BaseException):
    """What nutpie raises when its Rust code panics is no Exception either."""


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces sampling by a fit with known parameters; holds the seeds that were fitted."""
    seeds: list[int] = []

    def quick(runs: xr.Dataset, model: object, *, random_seed: int, **_: object) -> xr.DataTree:
        seeds.append(random_seed)
        return fake_fit(model, runs=runs.drop_vars("loss"), seed=random_seed, jitter=0.1)

    monkeypatch.setattr(many, "fit", quick)
    return seeds


def breaking(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
    """Make the fit of one seed raise."""
    whole: Callable[..., xr.DataTree] = many.fit

    def quick(*args: object, random_seed: int, **kwargs: object) -> xr.DataTree:
        if random_seed == at:
            raise error
        return whole(*args, random_seed=random_seed, **kwargs)

    monkeypatch.setattr(many, "fit", quick)


def test_outcomes_come_in_the_order_of_the_jobs(fitted: list[int]) -> None:
    found = fit_many(jobs(), then=lambda tree, job: (job.name, tree.attrs["seed"]))
    assert [each.value for each in found] == [(f"job {i}", i) for i in range(4)]
    assert all(each.status == "done" and each.seconds > 0 and not each.error for each in found)


def test_without_then_the_fits_themselves_come_back(fitted: list[int]) -> None:
    (found,) = fit_many(jobs(1))
    assert isinstance(found.value, xr.DataTree)


@pytest.mark.parametrize("error", [RuntimeError("no start"), Panic("Poisoned mutex")])
def test_a_failure_is_told_and_the_others_are_kept(
    fitted: list[int], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    breaking(monkeypatch, 1, error)
    found = fit_many(jobs(), then=seed_and_level)
    assert [each.status for each in found] == ["done", "failed", "done", "done"]
    assert found[1].name == "job 1"
    assert found[1].error == f"{type(error).__name__}: {error}"


def test_an_interruption_keeps_what_is_finished(
    fitted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch, 2, KeyboardInterrupt())
    found = fit_many(jobs(), then=seed_and_level)
    assert [each.status for each in found] == ["done", "done", "interrupted", "interrupted"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jobs": [Job("same", table(), "power", 1)] * 2}, "'same' is there more than once"),
        ({"jobs": [Job("a", table(), "powr", 1)]}, "did you mean 'power'"),
        ({"workers": 0}, "workers = 0"),
        ({"workers": 2, "executor": ThreadPoolExecutor(1)}, "either workers or an executor"),
        ({"results": "somewhere"}, "give then as well"),
        ({"jobs": jobs(1, chains=1)}, "chains=1: convergence cannot be judged"),
        (
            {"results": __file__, "then": seed_and_level},
            "test_many.py is a file, and results are kept in a folder",
        ),
        (
            {"results": Path(__file__) / "kept", "then": seed_and_level},
            "test_many.py.* is a file, and results are kept in a folder",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_fitted(
    fitted: list[int], change: dict, message: str
) -> None:
    asked = {"jobs": jobs(), **change}
    with pytest.raises(ValueError, match=message):
        fit_many(asked.pop("jobs"), **asked)
    assert fitted == []


def test_any_executor_serves_and_a_process_fits_one_at_a_time(
    fitted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, busy = many.fit, threading.Lock()

    def alone(*args: object, cores: int, **kwargs: object) -> xr.DataTree:
        assert cores == 1
        assert busy.acquire(blocking=False), "two fits at once in one process"
        time.sleep(0.02)
        try:
            return whole(*args, **kwargs)
        finally:
            busy.release()

    monkeypatch.setattr(many, "fit", alone)
    with ThreadPoolExecutor(3) as pool:
        found = fit_many(jobs(6), then=lambda tree, job: tree.attrs["seed"], executor=pool)
    assert [(each.value, each.error) for each in found] == [(i, "") for i in range(6)]


def test_an_experiment_goes_on_where_it_was_interrupted(
    fitted: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = fit_many(jobs(), then=seed_and_level, results=tmp_path / "whole")
    fitted.clear()
    with monkeypatch.context() as patch:
        breaking(patch, 2, KeyboardInterrupt())
        fit_many(jobs(), then=seed_and_level, results=tmp_path / "cut")
    assert fitted == [0, 1]
    again = fit_many(jobs(), then=seed_and_level, results=tmp_path / "cut")
    assert fitted == [0, 1, 2, 3]
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one.value["level"], other.value["level"])
        assert int(one.value["seed"]) == int(other.value["seed"])
    fit_many(jobs(), then=seed_and_level, results=tmp_path / "cut")
    assert fitted == [0, 1, 2, 3], "a finished experiment is only read"


def test_a_failed_fit_is_tried_again(
    fitted: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        breaking(patch, 1, RuntimeError("no start"))
        fit_many(jobs(2), then=seed_and_level, results=tmp_path / "kept")
    found = fit_many(jobs(2), then=seed_and_level, results=tmp_path / "kept")
    assert [each.status for each in found] == ["done", "done"]
    assert fitted == [0, 1]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([replace(job, random_seed=9) for job in jobs()], "other runs, models, laws, seeds or"),
        (
            [replace(job, draws=300) for job in jobs()],
            "other runs, models, laws, seeds or settings",
        ),
        ([replace(job, runs=table(seed=7)) for job in jobs()], "other runs, models"),
        ([replace(job, aside=table()) for job in jobs()], "other runs, models"),
        ([replace(job, model="pure-power") for job in jobs()], "other runs, models"),
        ([replace(job, random_seed=9) for job in jobs(5)], "the same names, but other runs"),
        (jobs(3), "there 4 jobs, here 3; only there 'job 3'"),
        (
            [replace(job, name=f"{job.name}, seed {job.random_seed}") for job in jobs()],
            "there 4 jobs, here 4; only there 'job 0' and 3 more; only here 'job 0, seed 0' and 3 more",
        ),
        (jobs(5)[1:], r"\(there 4 jobs, here 4; only there 'job 0'; only here 'job 4'\)"),
    ],
)
def test_a_folder_of_another_experiment_is_refused(
    fitted: list[int], tmp_path: Path, other: list[Job], message: str
) -> None:
    fit_many(jobs(), then=seed_and_level, results=tmp_path)
    with pytest.raises(ValueError, match=f"another experiment .*{message}"):
        fit_many(other, then=seed_and_level, results=tmp_path)


def test_more_jobs_join_those_of_a_folder(fitted: list[int], tmp_path: Path) -> None:
    whole = jobs(4)
    for asked in ([whole[1], whole[2]], whole, whole[::-1]):
        found = fit_many(asked, then=seed_and_level, results=tmp_path)
        assert [int(each.value["seed"]) for each in found] == [job.random_seed for job in asked]
    assert fitted == [1, 2, 0, 3], "each was fitted once"
    # The first keep their places, so that a folder is read as it was written.
    files = sorted(each.name for each in tmp_path.iterdir())
    assert files[:4] == [f"{i:04d}-job-{job}.npz" for i, job in enumerate((1, 2, 0, 3))]
    with pytest.raises(ValueError, match="there 4 jobs, here 2; only there 'job 0' and 1 more"):
        fit_many([whole[1], whole[2]], then=seed_and_level, results=tmp_path)


def test_what_is_made_of_a_fit_is_part_of_the_experiment(fitted: list[int], tmp_path: Path) -> None:
    fit_many(jobs(1), then=seed_and_level, results=tmp_path)
    with pytest.raises(ValueError, match="another experiment"):
        fit_many(jobs(1), then=die_once, results=tmp_path)


def raised(x: float, *, E: float, A: float, gamma: float) -> float:
    """A law that calls a function of its own."""
    return E + A * power(x, -gamma)


def power(x: float, exponent: float) -> float:
    return x**exponent if exponent in {-2.0, -1.0, -0.5, 0.5} else x ** (1 * exponent)


def factory(factor: float) -> Callable[..., float]:
    return lambda x, *, E, A, gamma: E + A * x ** (-factor * gamma)


@pytest.fixture
def mine() -> Iterator[Callable[..., list[Job]]]:
    """Jobs of a law of the user's own, with these functions."""

    def register(**functions: object) -> list[Job]:
        # Not by register, which tries what these functions give: what is asked here is their hash.
        laws._REGISTERED["mine"] = replace(laws.get("power"), name="mine", **functions)
        model = Model.load("power").changed(law="mine", name="mine")
        return [replace(job, model=model) for job in jobs(1)]

    yield register
    laws._REGISTERED.pop("mine", None)


@pytest.mark.parametrize(
    "changed",
    [
        {"loss": lambda x, *, E, A, gamma: E + 2 * A * x**-gamma},
        {"loss": lambda x, *, E, A, gamma: E + A * x**-gamma / 2},
        {"loss": lambda x, *, E, gamma, A: E + gamma * x**-A},
        {"loss": factory(2.0)},
        {"textbook": lambda reference, **params: params},
        {"split": lambda level, shares, **params: {"E": level * shares[0], "A": level * shares[1]}},
        {"outcome": "success"},
        {"floor": None},
        {"can_bend": True},
        {"falls_in": ()},
        {"has_limit": False},
    ],
)
def test_a_law_that_changed_is_another_experiment(
    mine: Callable[..., list[Job]], changed: dict[str, object]
) -> None:
    before = {"loss": factory(1.0)}
    first = experiment_hash(mine(**before), seed_and_level)
    assert experiment_hash(mine(loss=factory(1.0)), seed_and_level) == first
    assert experiment_hash(mine(**before | changed), seed_and_level) != first


def test_what_a_law_calls_is_part_of_it(
    mine: Callable[..., list[Job]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = experiment_hash(mine(loss=raised), seed_and_level)
    monkeypatch.setitem(raised.__globals__, "power", factory)
    assert experiment_hash(mine(loss=raised), seed_and_level) != first


class Scored:
    """Made of a fit by an object."""

    def __init__(self, level: float) -> None:
        self.level = level

    def __call__(self, tree: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
        return {"level": np.array(self.level)}


def test_then_may_be_whatever_can_be_called(mine: Callable[..., list[Job]]) -> None:
    asked = mine(loss=np.power)
    several = [
        seed_and_level,
        die_once,
        partial(seed_and_level, job=None),
        partial(die_once, job=None),
        partial(seed_and_level, job=np.arange(3)),
        partial(seed_and_level, job=np.arange(1, 4)),
        Scored(1.0),
        Scored(2.0),
        Scored(1.0).__call__,
        np.log,
        np.exp,
        lru_cache(seed_and_level),
        lru_cache(die_once),
    ]
    found = [experiment_hash(asked, then) for then in several]
    assert len(set(found)) == len(found)
    assert found == [experiment_hash(asked, then) for then in several]
    assert experiment_hash(asked, Scored(1.0)) == found[6]


def test_the_hash_is_the_same_in_every_process() -> None:
    code = """
import test_many
law = test_many.replace(test_many.laws.get("power"), name="mine", loss=test_many.raised)
test_many.laws._REGISTERED[law.name] = law
model = test_many.Model.load("power").changed(law="mine", name="mine")
asked = [test_many.replace(job, model=model) for job in test_many.jobs(1)]
print(test_many.experiment_hash(asked, test_many.partial(test_many.die_once, job=None)))
"""
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONHASHSEED": each, "PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for each in ("1", "2")
    ]
    assert found[0] == found[1] != ""


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json"])
def test_a_folder_with_other_files_is_refused(fitted: list[int], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=r"give (a new or an empty|another) folder"):
        fit_many(jobs(1), then=seed_and_level, results=tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_process_killed_before_it_named_its_experiment_left_nothing(
    fitted: list[int], tmp_path: Path
) -> None:
    (tmp_path / ".manifest.json.a1b2").write_text("{")
    fit_many(jobs(1), then=seed_and_level, results=tmp_path)
    assert (tmp_path / "manifest.json").is_file()


def test_a_damaged_result_is_named(fitted: list[int], tmp_path: Path) -> None:
    fit_many(jobs(2), then=seed_and_level, results=tmp_path)
    files = sorted(each.name for each in tmp_path.iterdir())
    assert files == ["0000-job-0.npz", "0001-job-1.npz", "manifest.json"]
    assert json.loads((tmp_path / "manifest.json").read_text())["jobs"] == ["job 0", "job 1"]
    whole = (tmp_path / files[1]).read_bytes()
    (tmp_path / files[1]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"0001-job-1.npz: cannot be read .* delete it"):
        fit_many(jobs(2), then=seed_and_level, results=tmp_path)


def test_results_hold_arrays_only(fitted: list[int], tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="then returned list"):
        fit_many(jobs(1), then=lambda tree, job: [1], results=tmp_path / "a")
    with pytest.raises(TypeError, match="'job' is neither numbers nor text"):
        fit_many(jobs(1), then=lambda tree, job: {"job": job}, results=tmp_path / "b")


def test_a_law_of_the_users_own_reaches_a_worker() -> None:
    mine = replace(laws.get("power"), name="mine")
    try:
        many._learn(mine)
        assert laws.get("mine") is mine
        # A process that lives on, as a Dask worker does, must not keep an older form of the law.
        changed = replace(
            mine, loss=lambda x, *, E, A, gamma: E + A * x ** (-2 * gamma), textbook=None
        )
        many._learn(changed)
        assert laws.get("mine") is changed
        many._learn(laws.get("power"))
    finally:
        laws._REGISTERED.pop("mine", None)


def test_an_address_where_nobody_answers_is_named() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ValueError, match=r"'tcp://127.0.0.1:9': no scheduler answered"):  # noqa: SIM117
        with dask_executor("tcp://127.0.0.1:9", timeout=0.5):
            pass


@pytest.mark.parametrize(
    "address", ["nonsense", "foo://bar:1", "tcp://127.0.0.1", "tcp://127.0.0.1:port"]
)
def test_what_is_no_address_is_told(address: str) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ValueError, match=rf"^Dask address '{address}' is none \(.*such as tcp://"):  # noqa: SIM117
        with dask_executor(address, timeout=0.5):
            pass


def test_one_compilation_serves_all_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    whole = FITTING.compile_model
    monkeypatch.setattr(FITTING, "_COMPILED", {})
    monkeypatch.setattr(
        FITTING, "compile_model", lambda *a, **k: compiled.append(a) or whole(*a, **k)
    )
    asked = [replace(job, runs=table(12 + 3 * i, i)) for i, job in enumerate(jobs(2))]
    found = fit_many(asked, then=seed_and_level)
    assert [each.error for each in found] == ["", ""]
    assert len(compiled) == 1
    alone = fit(asked[1].runs, "power", draws=200, random_seed=1)
    np.testing.assert_array_equal(found[1].value["level"], seed_and_level(alone, asked[1])["level"])


@pytest.mark.slow
def test_processes_give_the_same_numbers(tmp_path: Path) -> None:
    here = fit_many(jobs(), then=seed_and_level)
    there = fit_many(jobs(), then=seed_and_level, workers=2, results=tmp_path)
    assert [each.error for each in there] == [""] * 4
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(one.value["level"], other.value["level"], rtol=1e-12)


@pytest.mark.slow
def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    asked = jobs(3)
    flag = xr.Dataset(attrs={"flag": str(tmp_path / "died")})
    asked[0] = replace(asked[0], aside=flag)
    found = fit_many(asked, then=die_once, workers=2, results=tmp_path / "kept")
    assert found[0].status == "failed"
    assert "a worker process died" in found[0].error
    again = fit_many(asked, then=die_once, workers=2, results=tmp_path / "kept")
    assert [each.status for each in again] == ["done"] * 3


@pytest.fixture
def cluster() -> Iterator[object]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Dask's own, while its processes come and go.
def test_dask_gives_the_same_numbers_though_a_worker_dies(cluster: object, tmp_path: Path) -> None:
    asked = jobs()
    here = fit_many(asked, then=seed_and_level)
    flag = xr.Dataset(attrs={"flag": str(tmp_path / "died")})
    asked[1] = replace(asked[1], aside=flag)
    there = fit_many(asked, then=die_once, executor=cluster.scheduler_address)
    assert (tmp_path / "died").exists()
    assert [each.error for each in there] == [""] * 4
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(one.value["level"], other.value["level"], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_through_the_executor_of_a_client(cluster: object) -> None:
    with cluster.get_client() as client:
        found = fit_many(jobs(2), then=seed_and_level, executor=client.get_executor(pure=False))
    assert [each.status for each in found] == ["done", "done"]


@pytest.mark.slow
def test_nobody_waits_long_for_a_scheduler() -> None:
    pytest.importorskip("distributed")
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"'tcp://127.0.0.1:9'"):
        fit_many(jobs(1), executor="tcp://127.0.0.1:9")
    assert time.monotonic() - began < 15


def test_an_outcome_of_nothing_is_done() -> None:
    assert Outcome("a").status == "done"


def test_the_numbers_of_a_fit_do_not_depend_on_earlier_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[np.ndarray] = []

    def stop(compiled: object, *_: object) -> None:
        starts.append(compiled.start)
        raise Panic

    monkeypatch.setattr(FITTING, "_with_nutpie", stop)
    twice = table().assign(loss=lambda runs: 2 * runs["loss"])
    fit_many([Job("one", table(), "power", 1), Job("twice", twice, "power", 1)])
    # Chains start at the level of their own data, whichever data the model was compiled with.
    assert (starts[1] - starts[0]).max() == pytest.approx(np.log(2))
