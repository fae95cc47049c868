"""How long does an answer take? Every figure is a ratio to a peer, or to a floor, measured beside it in the same run.

    python benchmarks/speed.py [--part answers|drifting|checkpoints|refits] [--quick] [--output FILE]

Results go to ``results/speed.json``; the page ``speed.md`` is made from that file. The 245 Chinchilla runs come from
the folder that BAYESCALE_DATA names; without them what needs them is left out, and the page says so.

Two of the figures compare samplers: the same posterior, once as bayescale samples it and once as a textbook would
write it, in plain PyMC. The comparison counts only if both agree within their Monte Carlo error; that is checked first.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import ess, mcse, rhat
from calibration import IN_MODEL, TRUTHS, learning_curves

import bayescale as bs
from bayescale.model import Model, default_model
from bayescale.validate import backtest

if TYPE_CHECKING:
    import pymc as pm

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "speed.json"
PAGE = HERE / "speed.md"
CORES = 2
#: Refits of part ``refits``, and the runs of the least of them.
REFITS, REFIT_LEAST = 100, 30
#: Part ``drifting`` samples one in so many of each set of public curves.
ONE_IN = 4
CHAINS, DRAWS = 4, 1000
#: What both samplers are judged by: the parameters of the law as papers print them, and of its noise.
QUANTITIES = ("E", "A", "B", "alpha", "beta", "sigma", "nu")
#: Largest difference of the two posteriors, in standard errors, over 7 quantities times 4 statistics.
AGREE = 5.0
VERSIONED = (
    *("bayescale", "pymc", "pytensor", "nutpie", "numba", "numpy"),
    *("pandas", "xarray", "arviz-stats", "h5netcdf", "typer"),
)
#: Not needed, but loaded by xarray where they are installed.
EXTRAS = ("dask", "distributed")
SAMPLER = ("numba", "nutpie", "pymc", "pytensor")


@dataclass(frozen=True)
class Figure:
    """One row of the table; ``ours`` and ``peer`` are repeats in ``unit``."""

    what: str
    unit: str
    ours: tuple[float, ...]
    peer_name: str
    peer: tuple[float, ...]
    bar: float
    better: Literal["more", "less"]
    cpu_ratio: float | None = None

    @property
    def ratio(self) -> float:
        """Ours to theirs, of medians; with no peer, ours as it stands."""
        ours = statistics.median(self.ours)
        return ours / statistics.median(self.peer) if self.peer else ours

    @property
    def met(self) -> bool:
        """Whether the bar is met."""
        return self.ratio >= self.bar if self.better == "more" else self.ratio <= self.bar

    def facts(self) -> dict[str, Any]:
        """The row as it is stored."""
        spread = [
            min(self.ours) / (max(self.peer) if self.peer else 1.0),
            max(self.ours) / (min(self.peer) if self.peer else 1.0),
        ]
        return {**asdict(self), "ratio": self.ratio, "ratio_range": spread, "met": self.met}


# What is timed, one function a part.


def commands(runs: xr.Dataset, repeats: int) -> list[Figure]:
    """Whole commands in processes of their own, warm caches, beside the imports that nobody can do without."""
    bayescale = [sys.executable, "-m", "bayescale"]
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as folder:
        columns = ["params", "tokens", "flops", "loss"]
        runs[columns].to_dataframe().to_csv(Path(folder) / "runs.csv", index=False)
        fit = ["fit", "runs.csv", "--seed", "1", "-o"]
        forecast = ["--flops", "1e24,1e25"]
        returns = ["--beyond", "1e25", "--gain-below", "0.01"]
        timed = {
            "import pymc, nutpie": [*python, "import pymc, nutpie"],
            "fit": [*bayescale, *fit, "fit.nc", "--model", "chinchilla"],
            "fit, drift": [*bayescale, *fit, "drift.nc"],
            "import xarray, pandas": [*python, "import xarray, pandas"],
            "forecast": [*bayescale, "forecast", "fit.nc", *forecast],
            "forecast, drift": [*bayescale, "forecast", "drift.nc", *forecast],
            "returns": [*bayescale, "returns", "fit.nc", *returns],
            "returns, drift": [*bayescale, "returns", "drift.nc", *returns],
            "import typer": [*python, "import typer"],
            "--help": [*bayescale, "--help"],
        }
        environment = plain(folder)
        wall: dict[str, list[float]] = {name: [] for name in timed}
        cpu: dict[str, list[float]] = {name: [] for name in timed}
        for repeat in range(-1, repeats):
            tell(f"commands: {'warming up' if repeat < 0 else f'repeat {repeat + 1} of {repeats}'}")
            for name, command in timed.items():
                seconds, used, _ = clock(command, folder, environment)
                if repeat >= 0:
                    wall[name].append(seconds)
                    cpu[name].append(used)

    def row(what: str, name: str, peer: str, bar: float) -> Figure:
        used = statistics.median(cpu[name]) / statistics.median(cpu[peer])
        times = tuple(wall[name]), f"`{peer}`", tuple(wall[peer])
        return Figure(what, "s", *times, bar, "less", cpu_ratio=used)

    size = runs.sizes["run"]
    return [
        *(
            row(f"`bayescale {verb}` {what}, {model}", f"{verb}{key}", peer, bar)
            for model, key in {"chinchilla": "", "the default with drift": ", drift"}.items()
            for verb, what, peer, bar in (
                ("fit", f"of {size} runs, 4 × 1000 draws", "import pymc, nutpie", 1.7),
                ("forecast", "on the saved fit", "import xarray, pandas", 2.0),
                ("returns", "on the saved fit", "import xarray, pandas", 2.0),
            )
        ),
        row("`bayescale --help`", "--help", "import typer", 3.0),
    ]


def plain(folder: str) -> dict[str, str]:
    """Environment of a plain installation: modules are compiled once, and what only extras bring is not found."""
    hidden = f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS}))\n"
    (Path(folder) / "sitecustomize.py").write_text(hidden, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = [folder, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}


def clock(
    command: Sequence[str], folder: str, environment: Mapping[str, str]
) -> tuple[float, float, float]:
    """Seconds on the wall and of processor time that a command takes, and the most memory that it held [GB]."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        running = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, used = os.wait4(running.pid, 0)
        seconds = time.perf_counter() - began
        running.returncode = os.waitstatus_to_exitcode(status)
        if running.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{said.read()}")
    # Linux counts kilobytes.
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9


def light_import() -> Figure:
    """Modules of the sampler that the bare import loads."""
    code = f"import sys, bayescale; print(*({set(SAMPLER)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = float(len(done.stdout.split()))
    what = f"of {', '.join(SAMPLER)}: loaded by `import bayescale`"
    return Figure(what, "modules", (loaded,), "", (), 0, "less")


def second_fit(runs: xr.Dataset, repeats: int) -> Figure:
    """Fits after the first in one process: other losses, other lengths, the same structure."""
    rng = np.random.default_rng(1)
    size = runs.sizes["run"]
    bs.fit(runs, "chinchilla", random_seed=1)
    seconds = []
    for repeat in range(repeats):
        tell(f"second fit: repeat {repeat + 1} of {repeats}")
        chosen = np.sort(rng.choice(size, size - 15 - 5 * repeat, replace=False))
        other = runs.isel(run=chosen)
        other["loss"] = other["loss"] * np.exp(0.002 * rng.standard_normal(chosen.size))
        began = time.perf_counter()
        tree = bs.fit(other, "chinchilla", random_seed=repeat)
        seconds.append(time.perf_counter() - began)
        if not tree.attrs["converged"]:
            raise RuntimeError("a second fit did not converge: its time says nothing")
    what = "`fit` of other data in a process that has fitted one: all of it"
    return Figure(what, "s", tuple(seconds), "", (), 2.0, "less")


def refits(runs: xr.Dataset, count: int, repeats: int) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Backtests of many cuts on Dask clusters of one and of two processes in turn, and the load of the machine at each.

    A cluster is started afresh for every backtest, so that each of its processes imports and compiles for itself. The
    clock runs from the call of ``backtest`` to its result.
    """
    model, _ = default_model(runs)
    flops = np.sort(runs["flops"].values)
    # Runs of one compute are on one side of a cut, so a few of the cuts wanted are the same: more are spread than needed.
    places = np.linspace(REFIT_LEAST - 1, flops.size - 6, 3 * count).astype(int)
    cuts = np.unique(flops[places])
    cuts = cuts[np.linspace(0, cuts.size - 1, min(count, cuts.size)).astype(int)]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    measured = []
    for repeat in range(repeats):
        # The first in a pair may find the machine quieter: each is first in turn.
        for processes in (1, 2) if repeat % 2 == 0 else (2, 1):
            load = os.getloadavg()[0]
            took = refit(runs, model, cuts.tolist(), processes)
            seconds[processes].append(took)
            measured.append({"processes": processes, "load_before": load, "seconds": took})
            tell(
                f"{cuts.size} refits on {processes} Dask processes: {took:.0f} s; load before {load:.1f}"
            )
    rates = {each: tuple(60 * cuts.size / took for took in seconds[each]) for each in seconds}
    told = f"{cuts.size} backtest refits of {model.name!r}, {int((flops <= cuts[0]).sum())} to"
    told += f" {int((flops <= cuts[-1]).sum())} runs each"
    return [
        Figure(
            f"{told}: on two Dask processes", "fits/min", rates[2], "one", rates[1], 1.6, "more"
        ),
        Figure(
            "all of them on two, compiling included", "s", tuple(seconds[2]), "", (), 240.0, "less"
        ),
    ], measured


def drifting(every: int, repeats: int) -> tuple[list[Figure], dict[str, int]]:
    """Seconds that the default models sample for, every attempt counted: on learning curves, and on the Chinchilla runs."""
    seconds: dict[str, list[float]] = {"curves": [], "runs": []}
    first = 0
    for name, (_, _, curve, _) in learning_curves(every).items():
        tried = attempts(curve, 1)
        seconds["curves"].append(sum(tried))
        first += len(tried) == 1
        tell(f"{name}: {sum(tried):.2f} s in {len(tried)}")
    runs = bs.load_dataset("epoch-chinchilla")
    seconds["runs"] = [sum(attempts(runs, seed)) for seed in range(1, repeats + 1)]
    count = len(seconds["curves"])
    return [
        Figure(
            f"sampling a public learning curve, the default for one input: {count} curves, one fit each",
            "s", tuple(seconds["curves"]), "", (), 1.5, "less",
        ),
        Figure(
            f"sampling {runs.sizes['run']} runs, the default for params and tokens",
            "s", tuple(seconds["runs"]), "", (), 6.0, "less",
        ),
    ], {"curves": count, "first": first}  # fmt: skip


def checkpoints(rows: Sequence[int]) -> tuple[list[Figure], dict[str, list[float]]]:
    """`bayescale fit` of 50 simulated runs with ever more checkpoints; seconds, and the largest's memory [GB]."""
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        environment = plain(folder)
        command = [sys.executable, "-m", "bayescale", "fit", "runs.csv", "-o", "fit.nc"]
        # Once for nothing: what is compiled stays.
        for count in (rows[0], *rows):
            training(count).to_csv(Path(folder) / "runs.csv", index=False)
            took, _, held = clock([*command, "--seed", "1", "--force"], folder, environment)
            seconds.append(took)
            memory.append(held)
            tell(f"{count} checkpoints: {took:.1f} s, {held:.2f} GB")
    least, most = rows[0], rows[-1]
    return [
        Figure(f"`bayescale fit` of {most:,} checkpoints of 50 runs", "s", (seconds[-1],), "", (), 600.0, "less"),
        Figure("the most memory that it holds", "GB", (memory[-1],), "", (), 3.0, "less"),
        Figure(
            f"{most:,} checkpoints", "s", (seconds[-1],), f"{least:,}, {most // least} times fewer",
            (seconds[1],), most / least, "less",
        ),
    ], {"seconds": seconds[1:], "memory": memory[1:]}  # fmt: skip


def training(rows: int) -> pd.DataFrame:
    """Losses along 50 runs of Chinchilla's law: luck of each run, and noise that lasts from checkpoint to checkpoint."""
    rng = np.random.default_rng(5)
    each = rows // 50
    params, ratio = np.repeat(np.geomspace(2e7, 2e9, 10), 5), np.tile(np.geomspace(5, 80, 5), 10)
    done = np.linspace(0.05, 1, each)
    tokens = (params * ratio)[:, None] * done
    luck = 0.005 * rng.standard_normal((50, 1))
    noise = 0.003 * rng.standard_normal((50, each))
    for now in range(1, each):
        noise[:, now] = 0.9 * noise[:, now - 1] + np.sqrt(1 - 0.9**2) * noise[:, now]
    loss = TRUTHS[IN_MODEL](params[:, None], tokens) * np.exp(luck + noise)
    step = np.round(1e5 * np.broadcast_to(done, tokens.shape))
    columns = {"params": np.repeat(params, each), "tokens": tokens, "step": step, "loss": loss}
    flat = {name: np.ravel(values) for name, values in columns.items()}
    return pd.DataFrame({"run_id": np.repeat([f"run-{i}" for i in range(50)], each), **flat})


def attempts(runs: xr.Dataset, random_seed: int) -> list[float]:
    """Seconds of each attempt of a fit by the default model."""
    model, _ = default_model(runs)
    fit = bs.fit(runs, model, draws=DRAWS, chains=CHAINS, cores=CORES, random_seed=random_seed)
    return [each["seconds"] for each in json.loads(fit.attrs["sampling"])]


def refit(runs: xr.Dataset, model: Model, cuts: list[float], processes: int) -> float:
    """Seconds of a backtest on a Dask cluster of so many processes of one thread."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=processes, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        began = time.perf_counter()
        found = backtest(
            runs, [model], cuts=cuts, baselines=False, executor=cluster.scheduler_address
        )
        took = time.perf_counter() - began
    failed = int((found["status"].values != "done").sum())
    if failed or found["converged"].values.mean() < 0.95:
        raise RuntimeError(
            f"{failed} refits failed, {found['converged'].values.mean():.0%} converged"
        )
    return took


def sampling(runs: xr.Dataset, rounds: int, repeats: int) -> tuple[Figure, dict[str, Any]]:
    """Effective draws a second of sampling, tuning included and compiling not, on one posterior."""
    ours: list[tuple[xr.Dataset, float]] = []
    theirs: list[tuple[xr.Dataset, float]] = []
    for turn in range(rounds):
        for repeat in range(repeats):
            tell(f"sampling: bayescale, {turn * repeats + repeat + 1} of {rounds * repeats}")
            ours.append(sample_bayescale(runs, random_seed=10 * turn + repeat))
        tell(f"sampling: textbook form in PyMC, {turn + 1} of {rounds} (a minute or more)")
        theirs.append(sample_textbook(runs, random_seed=turn))
    apart = disagreement([draws for draws, _ in ours], [draws for draws, _ in theirs])
    if apart > AGREE:
        raise RuntimeError(
            f"the two posteriors differ by {apart:.1f} standard errors (at most {AGREE}): void"
        )
    checked = {
        "standard_errors_apart": apart,
        "rhat_ours": max(worst_rhat(draws) for draws, _ in ours),
        "rhat_peer": max(worst_rhat(draws) for draws, _ in theirs),
        "seconds_ours": [seconds for _, seconds in ours],
        "seconds_peer": [seconds for _, seconds in theirs],
    }
    figure = Figure(
        f"sampling the Chinchilla law, {runs.sizes['run']} runs: least bulk ESS a second",
        "1/s",
        tuple(least_ess(draws) / seconds for draws, seconds in ours),
        "PyMC's NUTS, textbook form",
        tuple(least_ess(draws) / seconds for draws, seconds in theirs),
        60.0,
        "more",
    )
    return figure, checked


def sample_bayescale(runs: xr.Dataset, random_seed: int) -> tuple[xr.Dataset, float]:
    """Draws by the first rung of ``fit``, and the seconds that sampling took."""
    import nutpie

    from bayescale.inference.compile import compile_model, nutpie_model
    from bayescale.inference.fit import LADDER

    compiled = compile_model(bs.build(runs, "chinchilla"))
    attempt = LADDER[0]
    began = time.perf_counter()
    trace = nutpie.sample(
        nutpie_model(compiled),
        draws=DRAWS * attempt.thin,
        tune=attempt.tune,
        chains=CHAINS,
        cores=CORES,
        seed=random_seed,
        adaptation=attempt.adaptation,
        target_accept=attempt.target_accept,
        save_warmup=False,
        progress_bar=False,
    )
    seconds = time.perf_counter() - began
    points = trace["posterior"]["point"].values[:, :: attempt.thin]
    values = compiled.expand(points.reshape(CHAINS * DRAWS, -1), *compiled.packed())
    # The same names come again among the log densities.
    named = {
        name: draws
        for (group, name), draws in zip(compiled.outputs, values, strict=True)
        if group == "posterior"
    }
    return posterior({name: named[name] for name in QUANTITIES}), seconds


def sample_textbook(runs: xr.Dataset, random_seed: int) -> tuple[xr.Dataset, float]:
    """Draws by PyMC's own sampler, and the seconds of its sampling, compiling left out."""
    import pymc as pm

    # Published estimates to start from (arXiv 2404.10102), scattered by PyMC itself: a help to the peer.
    start = {"E": 1.82, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
    with textbook(runs):
        trace = pm.sample(
            DRAWS,
            chains=CHAINS,
            cores=CORES,
            random_seed=random_seed,
            nuts_sampler="pymc",
            initvals=start,
            progressbar=False,
            compute_convergence_checks=False,
        )
    group = trace["posterior"]
    draws = {name: group[name].values for name in QUANTITIES}
    return posterior(draws), float(group.attrs["sampling_time"])


def textbook(runs: xr.Dataset) -> "pm.Model":
    """The model as a textbook writes it, ``E + A * N**-alpha + B * D**-beta``, with the priors of ``chinchilla``.

    Those priors are of the loss ``level`` at a reference scale and of the ``shares`` of its terms there. As densities
    of E, A and B they need two Jacobians: level**2 from (level, shares) to the terms at the reference, and
    N0**alpha * D0**beta from there to N = D = 1.
    """
    import pymc as pm
    import pytensor.tensor as pt

    from bayescale.inference.arrays import reference

    model = Model.load("chinchilla")
    scale = reference(runs, model)
    params, tokens = (runs[name].values.astype(float) for name in ("params", "tokens"))
    kwargs = {name: dict(prior.kwargs) for name, prior in model.priors.items()}

    def lognormal(median: float, sigma: float) -> dict[str, float]:
        return {"mu": float(np.log(median)), "sigma": sigma}

    with pm.Model() as graph:
        E, A, B = pm.HalfFlat("E"), pm.HalfFlat("A"), pm.HalfFlat("B")
        alpha = pm.LogNormal("alpha", **lognormal(**kwargs["alpha"]))
        beta = pm.LogNormal("beta", **lognormal(**kwargs["beta"]))
        sigma = pm.LogNormal("sigma", **lognormal(**model.noise.sigma.kwargs))
        nu = pm.Gamma("nu", **model.noise.nu.kwargs)
        terms = pt.stack([E, A * scale["params"] ** -alpha, B * scale["tokens"] ** -beta])
        level = terms.sum()
        stated = pm.LogNormal.dist(**lognormal(scale["loss"], kwargs["level"]["sigma"]))
        shared = pm.Dirichlet.dist(np.array(kwargs["shares"]["a"]))
        pm.Potential("prior", pm.logp(stated, level) + pm.logp(shared, terms / level))
        jacobian = 2 * pt.log(level)
        jacobian += alpha * np.log(scale["params"]) + beta * np.log(scale["tokens"])
        pm.Potential("jacobian", -jacobian)
        law = E + A * params**-alpha + B * tokens**-beta
        observed = np.log(runs["loss"].values)
        pm.StudentT("log_loss", nu=nu, mu=pt.log(law), sigma=sigma, observed=observed)
    return graph


def posterior(draws: dict[str, np.ndarray]) -> xr.Dataset:
    """Draws of each quantity as (chain, draw)."""
    return xr.Dataset(
        {name: (("chain", "draw"), each.reshape(CHAINS, DRAWS)) for name, each in draws.items()}
    )


def least_ess(draws: xr.Dataset) -> float:
    """Bulk effective sample size of the quantity that has least."""
    return min(float(ess(each, method="bulk")) for each in draws.data_vars.values())


def worst_rhat(draws: xr.Dataset) -> float:
    """R-hat of the quantity that has most."""
    return max(float(rhat(each)) for each in draws.data_vars.values())


def disagreement(ours: Sequence[xr.Dataset], theirs: Sequence[xr.Dataset]) -> float:
    """Largest distance of a mean or a quantile between two samplers, in Monte Carlo standard errors."""
    first, second = (
        xr.concat([each.drop_vars("chain", errors="ignore") for each in all_draws], dim="chain")
        for all_draws in (ours, theirs)
    )
    found = 0.0
    for name in QUANTITIES:
        a, b = first[name], second[name]
        apart = float(a.mean() - b.mean()) / np.hypot(float(mcse(a)), float(mcse(b)))
        found = max(found, abs(apart))
        for prob in (0.05, 0.5, 0.95):
            one, other = (float(mcse(each, method="quantile", prob=prob)) for each in (a, b))
            apart = float(a.quantile(prob) - b.quantile(prob)) / np.hypot(one, other)
            found = max(found, abs(apart))
    return found


# What is kept and shown.


def machine() -> dict[str, Any]:
    """Facts that the figures depend on."""
    versions = {name: installed(name) for name in VERSIONED}
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
        "extras": [name for name in EXTRAS if installed(name)],
    }


def installed(name: str) -> str:
    """Version of a package, empty if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def page(results: dict[str, Any]) -> str:
    """The page, from the stored rows."""
    lines = ["# Speed", ""]
    lines += answers_lines(results) if "machine" in results else []
    lines += drifting_lines(results["drifting"]) if "drifting" in results else []
    lines += checkpoints_lines(results["checkpoints"]) if "checkpoints" in results else []
    lines += refits_lines(results["refits"]) if "refits" in results else []
    return "\n".join(lines) + "\n"


HEAD = [
    "| what | ours | beside | theirs | ratio | of processor time | bar | met | repeats |",
    "|---|---|---|---|---|---|---|---|---|",
]


def answers_lines(results: dict[str, Any]) -> list[str]:
    """Of the page: how long an answer takes."""
    facts, load = results["machine"], results["load"]
    lines = [
        "Made by `python benchmarks/speed.py` from `results/speed.json`. Commands are timed whole, in processes of",
        "their own with warm caches, in turn with the floor that they are compared with; what is said of one process",
        "is timed within it. A ratio is one of medians; in brackets the least and the largest that any two repeats",
        "would have given. In processor time other work on the machine moves a ratio less, but a fit is charged for",
        f"both of its {CORES} cores. The bars were set before the first measurement.",
        "",
        *HEAD,
    ]
    lines += [table_row(row) for row in results["rows"]]
    agreed = results.get("agreement")
    if agreed:
        ours, theirs = (statistics.median(agreed[f"seconds_{name}"]) for name in ("ours", "peer"))
        lines += [
            "",
            f"The first row is one posterior sampled twice, 4 × 1000 draws after 1000 of tuning, on {CORES} cores and",
            f"compiling left out: in {ours:.2g} s by the first attempt of `fit`, in {theirs:.0f} s by PyMC's own NUTS on the form",
            "that textbooks print, `E + A * N**-alpha + B * D**-beta` with E, A and B free. The script writes that model",
            "in plain PyMC with the same priors, starts it at the published estimates, which helps it, and checks that",
            f"the means and quantiles of {', '.join(QUANTITIES)} agree: they differ by at most",
            f"{agreed['standard_errors_apart']:.1f} Monte Carlo standard errors (more than {AGREE:g} would void the comparison). The largest R-hat is",
            f"{agreed['rhat_ours']:.3f} for ours and {agreed['rhat_peer']:.3f} for the peer.",
        ]
    for name, reason in results["skipped"].items():
        lines += ["", f"Left out: {name}: {reason}"]
    if results["quick"]:
        lines += ["", "A quick run: too few repeats for a result."]
    versions = ", ".join(f"{name} {each}" for name, each in facts["versions"].items() if each)
    lines += [
        "",
        f"Measured {results['measured']} on {facts['cores']} cores ({facts['system']}) with Python {facts['python']},",
        f"{versions}.",
        f"Load of the machine in the minute before: {load[0]:.1f}, at the end: {load[1]:.1f}. Above 1 before means that other",
        "work ran beside it.",
    ]
    if facts["extras"]:
        lines += [
            f"Hidden from the commands: {', '.join(facts['extras'])}, which only extras bring. Where dask is installed, "
            "xarray imports it whenever it opens a file with text in it, and so do our commands."
        ]
    return lines


def drifting_lines(part: dict[str, Any]) -> list[str]:
    """Of the page: how long the default models sample for."""
    longest = max(part["rows"][0]["ours"])
    return [
        "",
        "## Models that drift",
        "",
        "Made by `python benchmarks/speed.py --part drifting`: seconds of sampling of the default models, 4 × 1000 draws on 2",
        "cores, every attempt of a fit counted and compiling left out. The figure is a median: of curves over curves, whose",
        f"slowest took {longest:.1f} s; {part['first']} of {part['curves']} passed the first attempt.",
        "",
        *HEAD,
        *map(table_row, part["rows"]),
        "",
        f"Measured {part['date']} on {part['machine']['cores']} cores, at a load of {part['load']:.1f} in the minute before.",
        *["", "A quick run: too few curves for a result."] * part["quick"],
    ]


def checkpoints_lines(part: dict[str, Any]) -> list[str]:
    """Of the page: how long a fit to checkpoints takes."""
    each = "; ".join(
        f"{count:,}: {seconds:.1f} s, {held:.2f} GB"
        for count, seconds, held in zip(
            part["counts"], part["seconds"], part["memory"], strict=True
        )
    )
    return [
        "",
        "## Checkpoints",
        "",
        "Made by `python benchmarks/speed.py --part checkpoints`: a CSV of ever more checkpoints of the same 50 simulated runs,",
        "from the file to the saved fit, in a process of its own; code is compiled before. Checkpoints enter as their means",
        "over steps of log compute, so that time grows more slowly than their number.",
        "",
        *HEAD,
        *map(table_row, part["rows"]),
        "",
        f"Checkpoints, seconds and memory: {each}.",
        f"Measured {part['date']} on {part['machine']['cores']} cores, at a load of {part['load']:.1f} in the minute before.",
        *["", "A quick run: too few checkpoints for a result."] * part["quick"],
    ]


def refits_lines(part: dict[str, Any]) -> list[str]:
    """Of the page: how long many fits take."""
    each = "; ".join(
        f"{one['processes']}: {one['seconds']:.0f} s ({one['load_before']:.1f})"
        for one in part["measured"]
    )
    lines = [
        "",
        "## Many fits",
        "",
        "Made by `python benchmarks/speed.py --part refits`: the Chinchilla runs up to each of many cuts are fitted, on Dask",
        "clusters of one and of two processes in turn, each started afresh, so that every process imports and compiles for",
        "itself. Each fit is 4 × 1000 draws on one core.",
        "",
        *HEAD,
        *map(table_row, part["rows"]),
        "",
        f"Processes, seconds and, in brackets, the load of the machine in the minute before, in order: {each}.",
        f"Measured {part['date']} on {part['machine']['cores']} cores.",
    ]
    return lines + ["", "A quick run: too few refits for a result."] * part["quick"]


def table_row(row: dict[str, Any]) -> str:
    """One figure as a row of the table."""
    bar = f"{'≥' if row['better'] == 'more' else '≤'} {row['bar']:g}"
    if row["peer"]:
        low, high = row["ratio_range"]
        ratio = f"{row['ratio']:.3g} ({low:.3g} to {high:.3g})"
        beside, repeats = value(row["peer"], row["unit"]), f"{len(row['ours'])}, {len(row['peer'])}"
    else:
        ratio, beside, repeats = "", "", str(len(row["ours"]))
        bar += f" {row['unit']}"
    cpu = f"{row['cpu_ratio']:.2f}" if row["cpu_ratio"] else ""
    ours, met = value(row["ours"], row["unit"]), "yes" if row["met"] else "**no**"
    cells = [row["what"], ours, row["peer_name"], beside, ratio, cpu, bar, met, repeats]
    return f"| {' | '.join(cells)} |"


def value(repeats: Sequence[float], unit: str) -> str:
    """Median of repeats, as people write it."""
    middle = statistics.median(repeats)
    whole = middle >= 100 or unit == "modules"
    return f"{middle:,.0f} {unit}" if whole else f"{middle:.3g} {unit}"


def write(path: Path, text: str) -> None:
    """Write a file that appears under its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(scratch, 0o644)
    Path(scratch).replace(path)


def tell(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, store, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("answers", *MANY), help="only this; the rest stays")
    parser.add_argument("--quick", action="store_true", help="few repeats: a look, not a result")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    given = parser.parse_args()
    kept: dict[str, Any] = {}
    if given.part and given.output.exists():
        kept = json.loads(given.output.read_text(encoding="utf-8"))
    results = kept
    if given.part in (None, "answers"):
        results = answers(given.quick) | {part: kept[part] for part in MANY if part in kept}
    for part in MANY:
        if given.part in (None, part):
            try:
                results[part] = MANY[part](given.quick)
            except (FileNotFoundError, ImportError) as error:
                tell(f"{part}: skipped: {error}")
    write(given.output, json.dumps(results, indent=1) + "\n")
    text = page(json.loads(given.output.read_text(encoding="utf-8")))
    write(PAGE if given.output == RESULTS else given.output.with_suffix(".md"), text)
    print(text)


def many_drifting(quick: bool) -> dict[str, Any]:
    """Measure part ``drifting``."""
    load = os.getloadavg()[0]
    figures, counts = drifting(*((24, 1) if quick else (ONE_IN, 5)))
    return {"load": load, **counts, **facts(quick, figures)}


def many_checkpoints(quick: bool) -> dict[str, Any]:
    """Measure part ``checkpoints``."""
    load, counts = os.getloadavg()[0], (1_000, 2_000) if quick else (1_000, 10_000, 100_000)
    figures, measured = checkpoints(counts)
    return {"load": load, "counts": counts, **measured, **facts(quick, figures)}


def many_refits(quick: bool) -> dict[str, Any]:
    """Measure part ``refits``."""
    runs = bs.load_dataset("epoch-chinchilla")
    figures, measured = refits(runs, *((6, 1) if quick else (REFITS, 2)))
    return {"measured": measured, **facts(quick, figures)}


def facts(quick: bool, figures: Sequence[Figure]) -> dict[str, Any]:
    """What is stored of a part: when and where it was measured, and its rows."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "quick": quick,
        "machine": machine(),
        "rows": [figure.facts() for figure in figures],
    }


#: Parts beside the answers, each with a key of its own in the results.
MANY = {"drifting": many_drifting, "checkpoints": many_checkpoints, "refits": many_refits}


def answers(quick: bool) -> dict[str, Any]:
    """Measure all but the other parts."""
    load = [os.getloadavg()[0]]
    figures: list[Figure] = []
    results: dict[str, Any] = {
        "measured": datetime.now(UTC).date().isoformat(),
        "quick": quick,
        "machine": machine(),
        "skipped": {},
    }
    try:
        runs = bs.load_dataset("epoch-chinchilla")
    except FileNotFoundError as error:
        results["skipped"] = {"all that needs the Chinchilla runs": str(error)}
    else:
        rounds, samples, commanded, fitted = (1, 3, 3, 3) if quick else (2, 4, 9, 7)
        figure, results["agreement"] = sampling(runs, rounds, samples)
        figures += [figure, *commands(runs, commanded), second_fit(runs, fitted)]
    figures.append(light_import())
    load.append(os.getloadavg()[0])
    return results | {"load": load, "rows": [figure.facts() for figure in figures]}


if __name__ == "__main__":
    main()
