"""Fit many data sets: in turn, over processes, or over any executor of ``concurrent.futures``, Dask's included.

A model is compiled once for its structure in every process that fits it, and serves all data sets. What travels back
from a worker is what ``then`` made of the fit there, not the fit.
"""

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from rich.console import Console
from rich.progress import Progress

from bayescale import laws
from bayescale.inference.fit import check_settings, fit
from bayescale.inference.kept import open_kept, read_kept, write_kept
from bayescale.laws import Law
from bayescale.model import Model

#: How long a Dask scheduler has to answer [s].
DASK_TIMEOUT = 8.0
#: One fit at a time in a process: compiled functions keep their arguments in storage that threads would share.
_ONE_FIT = threading.Lock()
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Status = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True)
class Job:
    """One fit that is asked for.

    Parameters
    ----------
    name : str
        Unlike that of any other job in the list.
    runs : xr.Dataset
        Run table; dim ``run``.
    model : str or Model
    random_seed : int
    draws, chains : int
        As for :func:`bayescale.fit`.
    aside : xr.Dataset, optional
        What ``then`` needs beside the fit: the runs that were held out, the parameters that were simulated.
    """

    name: str
    runs: xr.Dataset
    model: str | Model
    random_seed: int
    draws: int = 1000
    chains: int = 4
    aside: xr.Dataset | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Parameters
    ----------
    name : str
        Of the job.
    status : {"done", "failed", "interrupted"}
    value
        What ``then`` returned, the fit itself without ``then``; None if it was not done.
    error : str
        Why it failed.
    seconds : float
        Time it took, compiling included.
    """

    name: str
    status: Status = "done"
    value: Any = None
    error: str = ""
    seconds: float = 0.0


#: Makes something small of a fit, where the fit was made.
type Then = Callable[[xr.DataTree, Job], Any]


def fit_many(
    jobs: Sequence[Job],
    *,
    then: Then | None = None,
    workers: int = 1,
    executor: Executor | str | None = None,
    cores: int | None = None,
    progress: bool = False,
    results: str | Path | None = None,
) -> list[Outcome]:
    """Fit many data sets.

    Parameters
    ----------
    jobs : sequence of Job
    then : callable, optional
        ``then(fit, job)`` runs where the fit was made, and its result is kept instead of the fit. Over processes it
        must be a function of a module (or a ``functools.partial`` of one).
    workers : int
        Processes. One fits in this process, chains side by side; several divide the machine's cores among them, and
        need ``if __name__ == "__main__":`` around a script's calls.
    executor : Executor or str, optional
        Who runs the jobs instead: an executor of ``concurrent.futures``, such as
        ``dask.distributed.Client.get_executor(pure=False)``, or the address of a Dask scheduler. With Dask the fits
        of a worker that dies are done again by another. A process fits one job at a time, so give each worker one
        thread.
    cores : int, optional
        Chains that a fit samples at once. By default the machine's cores divided by ``workers``; one, with an
        executor.
    progress : bool
        Show a progress bar on standard error.
    results : str or Path, optional
        Folder for the results of finished jobs, one small file each: the same call goes on where an interrupted
        one ended. ``then`` must return a mapping of names to arrays.

    Returns
    -------
    list of Outcome
        One a job, in their order. *How to read it*: a fit that failed, or had not ended when it was interrupted from
        the keyboard, is there with its ``status``; the others are not lost.

    Raises
    ------
    ValueError
        If the jobs, a setting or the model's name make no sense, if no Dask scheduler answers at the address, or if
        ``results`` is a file or holds another experiment.

    Examples
    --------
    >>> import bayescale as bs
    >>> runs = bs.load_dataset("pile")
    >>> jobs = [Job(f"seed {seed}", runs, "power", seed, draws=200) for seed in (1, 2)]
    >>> found = fit_many(jobs, then=lambda fit, job: float(fit["posterior"]["E"].mean()))
    >>> [(each.name, each.status, 0 < each.value < 3) for each in found]
    [('seed 1', 'done', True), ('seed 2', 'done', True)]
    """
    jobs = _checked(jobs)
    if workers < 1:
        raise ValueError(f"workers = {workers}: expected at least one")
    if executor is not None and workers > 1:
        raise ValueError("give either workers or an executor: an executor has workers of its own")
    if results is not None and then is None:
        raise ValueError("results keeps what then returns, not whole fits: give then as well")
    kept = None if results is None or then is None else open_kept(results, jobs, then)
    earlier = read_kept(kept) if kept is not None else {}
    outcomes = {
        index: Outcome(jobs[index].name, value=value, seconds=seconds)
        for index, (value, seconds) in earlier.items()
    }
    left = [index for index in range(len(jobs)) if index not in outcomes]
    if not left:
        return [outcomes[index] for index in range(len(jobs))]
    with _bar(progress, len(jobs), len(outcomes)) as advance:
        try:
            with _place(executor, min(workers, len(left))) as place:
                for index, outcome in _run([(i, jobs[i]) for i in left], then, place, cores):
                    if kept is not None and outcome.status == "done":
                        value = write_kept(kept, index, outcome.value, outcome.seconds)
                        outcome = replace(outcome, value=value)
                    outcomes[index] = outcome
                    advance(outcome)
        except KeyboardInterrupt:
            pass  # What is finished is kept; the rest is reported as interrupted.
    stopped = "interrupted before it ended"
    return [
        outcomes.get(index, Outcome(job.name, "interrupted", error=stopped))
        for index, job in enumerate(jobs)
    ]


@contextmanager
def dask_executor(address: str, timeout: float = DASK_TIMEOUT) -> Iterator[Executor]:
    """Executor on a running Dask cluster, for as long as the block lasts.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://10.0.0.1:8786``.
    timeout : float
        How long it has to answer [s].

    Raises
    ------
    ValueError
        If Dask is not installed, the address is none, or no scheduler answers there.
    """
    expected = (
        "expected one such as tcp://127.0.0.1:8786, which `dask scheduler` prints when it starts"
    )
    try:
        from distributed import Client
        from distributed.comm import resolve_address
    except ImportError as error:
        raise ValueError(
            f"Dask address {address!r}: Dask is not installed; pip install 'bayescale[dask]'"
        ) from error
    try:
        # A client that cannot read its address complains once more when it is thrown away.
        resolve_address(address)
        client = Client(address, timeout=timeout, set_as_default=False)
    except ValueError as error:
        raise ValueError(f"Dask address {address!r} is none ({error}); {expected}") from error
    except OSError as error:  # TimeoutError is an OSError.
        raise ValueError(
            f"Dask address {address!r}: no scheduler answered within {timeout:g} s; {expected}"
        ) from error
    with client:
        yield client.get_executor(pure=False, retries=2)


def _checked(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with their models loaded: a misspelt name or bad settings are told before anything is fitted."""
    names = [job.name for job in jobs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"jobs: the name {repeated[0]!r} is there more than once")
    for job in jobs:
        check_settings(job.draws, job.chains, "nutpie", job.random_seed)
    return [replace(job, model=Model.load(job.model)) for job in jobs]


@dataclass(frozen=True)
class _Place:
    """Where jobs run: the executor, None for this process, and the cores that each fit has."""

    executor: Executor | None
    cores: int
    own: bool = False


@contextmanager
def _place(executor: Executor | str | None, workers: int) -> Iterator[_Place]:
    machine = os.cpu_count() or 1
    if isinstance(executor, str):
        with dask_executor(executor) as found:
            yield _Place(found, 1)
    elif executor is not None:
        yield _Place(executor, 1)
    elif workers == 1:
        yield _Place(None, machine)
    else:
        with _pool(workers, max(1, machine // workers)) as pool:
            yield _Place(pool, max(1, machine // workers), own=True)


@contextmanager
def _pool(workers: int, cores: int) -> Iterator[Executor]:
    """Processes that start afresh: a fork would inherit the sampler's threads in whatever state they are."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    others = set(active_children())
    # Read once, when a worker loads its linear algebra: workers must not each take the whole machine.
    os.environ.update({name: str(cores) for name in _THREAD_VARIABLES if before[name] is None})
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        # Nobody waits for what runs now, and a fit may run for minutes.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _start_worker() -> None:
    # Ctrl-C goes to all processes of a terminal; the parent says what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(
    jobs: Sequence[tuple[int, Job]], then: Then | None, place: _Place, cores: int | None
) -> Iterator[tuple[int, Outcome]]:
    """Outcomes as they come, with the index of their job."""
    cores = place.cores if cores is None else cores
    if place.executor is None:
        for index, job in jobs:
            yield index, _work(job, Model.load(job.model).law_object, then, cores)
        return
    futures = {}
    for index, job in jobs:
        task = job, Model.load(job.model).law_object, then, cores
        # The pool's own pickling would break the whole pool where one job cannot be read by a worker.
        call = (_work_packed, _packed(task)) if place.own else (_work, *task)
        futures[place.executor.submit(*call)] = index, job.name
    try:
        for future in as_completed(futures):
            index, name = futures[future]
            try:
                yield index, replace(future.result(), name=name)
            except BrokenExecutor as error:
                yield index, Outcome(name, "failed", error=_broken(error))
            except Exception as error:
                yield index, Outcome(name, "failed", error=f"{type(error).__name__}: {error}")
    finally:
        for future in futures:
            future.cancel()


def _broken(error: BrokenExecutor) -> str:
    return (
        f"a worker process died ({error}); was it killed for want of memory, or does the script lack "
        '`if __name__ == "__main__":`?'
    )


def _packed(task: tuple[object, ...]) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"with several workers, then and the law must be functions of a module: {error}"
        ) from error


def _work_packed(task: bytes) -> Outcome:
    try:
        job, law, then, cores = pickle.loads(task)
    except Exception as error:
        return Outcome("", "failed", error=f"the worker could not read the job: {error}")
    return _work(job, law, then, cores)


def _work(job: Job, law: Law, then: Then | None, cores: int) -> Outcome:
    began = time.perf_counter()
    try:
        with _ONE_FIT:
            _learn(law)
            tree = fit(
                job.runs,
                job.model,
                draws=job.draws,
                chains=job.chains,
                cores=cores,
                random_seed=job.random_seed,
            )
            value = tree if then is None else then(tree, job)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # A panic of nutpie is no Exception.
        return Outcome(
            job.name,
            "failed",
            error=f"{type(error).__name__}: {error}",
            seconds=time.perf_counter() - began,
        )
    return Outcome(job.name, value=value, seconds=time.perf_counter() - began)


def _learn(law: Law) -> None:
    """Register a law of the user's own, which the process of a worker has not seen or knows in an older form."""
    code = getattr(law.loss, "__code__", None)
    known = laws.get(law.name).loss if law.name in laws.names() else None
    if known is None or getattr(known, "__code__", None) != code:
        laws.register(law)


@contextmanager
def _bar(shown: bool, total: int, done: int) -> Iterator[Callable[[Outcome], None]]:
    bar = Progress(console=Console(stderr=True), transient=True) if shown else None
    with bar or nullcontext():
        task = bar.add_task("fitting", total=total, completed=done) if bar else None

        def advance(outcome: Outcome) -> None:
            if bar is not None and task is not None:
                bar.update(task, advance=1, description=f"{outcome.name} {outcome.status}")

        yield advance
