"""Are decisions under the posterior better than those that plug a fit in, and are their probabilities honest?

    python benchmarks/decisions.py [--part worlds|design|times|scaling] [--quick] [--workers N]

``worlds``: 1,000 sweeps whose truth is drawn from the prior; the allocation of least expected loss against that of least
squares, and how often targets are met that the posterior gives a probability. ``design``: which runs to buy, against
random, largest-affordable, D- and V-optimal choices, on the public Chinchilla runs and on simulated worlds. ``times``:
seconds and memory of every answer. ``scaling``: the same of many scales. Each part writes its rows into
``results/decisions.json``, of which the page ``decisions.md`` is made. The Chinchilla runs come from the folder that BAYESCALE_DATA names.
"""

import argparse
import inspect
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from _answer import ANSWERS
from _tables import folder
from calibration import write

import bayescale as bs
from bayescale.inference import sample_prior
from bayescale.inference.many import Job, fit_many
from bayescale.model import Model
from bayescale.validate.baselines import fit_law

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "decisions.json"
PAGE = HERE / "decisions.md"
MODEL = "chinchilla"
#: What the package takes for params and tokens unless told otherwise: all rules are judged by its fits.
DEFAULT = "skaling-drift"
Row = dict[str, float | int | str]


def with_level(name: str, level: float) -> Model:
    """A model with a level that does not look at the losses, which could not have drawn them."""
    model = Model.load(name)
    prior = model.priors["level"].as_dict()
    kwargs = {**prior["kwargs"], "median": level}
    return model.changed(priors={"level": prior | {"kwargs": kwargs}})


def sweep(params: np.ndarray, tokens: np.ndarray, loss: np.ndarray | float = 2.5) -> xr.Dataset:
    """A run table; until it is simulated every run has the same loss."""
    columns = {"params": params, "tokens": tokens, "flops": 6 * params * tokens}
    table = {name: ("run", values) for name, values in columns.items()}
    return xr.Dataset(table | {"loss": ("run", np.broadcast_to(loss, params.shape).copy())})


def constants(truth: xr.DataTree, world: int) -> dict[str, float]:
    """Textbook constants of one world."""
    draw = truth["posterior"].to_dataset().isel(chain=0, draw=world)
    return {name: float(draw[name]) for name in ("E", "A", "alpha", "B", "beta")}


def loss_of(law: dict[str, float], params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Chinchilla's law."""
    return law["E"] + law["A"] * params ** -law["alpha"] + law["B"] * tokens ** -law["beta"]


#: Besiroglu et al. 2024, arXiv 2404.10102, table 2.
TYPICAL = {"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658}


def best_params(law: dict[str, float], flops: float) -> float:
    """Its optimum at a budget: Hoffmann et al. 2022, arXiv 2203.15556, equation 4."""
    ratio = law["alpha"] * law["A"] / (law["beta"] * law["B"])
    power = law["alpha"] + law["beta"]
    # Least squares may find next to nothing for any of them.
    with np.errstate(over="ignore", divide="ignore"):
        return float(np.exp((np.log(ratio) + law["beta"] * np.log(flops / 6)) / power))


def regret(law: dict[str, float], params: float, flops: float) -> float:
    """What an allocation truly loses [nat/token]."""
    best = best_params(law, flops)
    both = np.array([params, best])
    chosen, least = loss_of(law, both, flops / (6 * both))
    return float(chosen - least)


#: Budget of the allocation, as a factor of the largest run.
FARTHER = 100.0
#: Targets asked of each world, as shares of the least loss seen.
SHARES = np.linspace(0.8, 1.0, 20)


def _decide(fit: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
    assert job.aside is not None
    budget = float(job.aside["budget"])
    chosen = float(bs.allocate(fit, flops=budget)["params"][0])
    targets = SHARES * float(job.runs["loss"].min())
    loss = bs.returns(fit, flops=budget, path="fixed-ratio=20")["loss"].values.ravel()
    stated = (loss[:, None] <= targets).mean(axis=0)
    return {"params": np.array(chosen), "stated": stated, "targets": targets, "converged": np.array(fit.attrs["converged"])}  # fmt: skip


def worlds(workers: int, quick: bool) -> list[Row]:
    """1,000 worlds from the prior, 20 runs each on 1e18 to 1e20 FLOP; decisions at 1e22 FLOP. Of 200, as were asked for, a
    bin holds some 60 questions, whose standard error is .06: too few to tell a gap of .07."""
    count = 8 if quick else 1000
    flops, ratio = np.repeat(np.geomspace(1e18, 1e20, 5), 4), np.tile(np.geomspace(5, 80, 4), 5)
    params = np.sqrt(flops / (6 * ratio))
    design = sweep(params, params * ratio)
    budget = FARTHER * float(design["flops"].max())
    model = with_level(MODEL, 2.5)
    truth = sample_prior(design, model, draws=count, random_seed=101)
    losses = bs.predict(truth, design.drop_vars("loss"), kind="run", random_seed=101)
    aside = xr.Dataset({"budget": budget})
    jobs = [
        Job(f"world-{i:03d}", design.assign(loss=("run", losses.isel(chain=0, draw=i).values)), model, 500 + i, draws=500, aside=aside)
        for i in range(count)
    ]  # fmt: skip
    began = time.perf_counter()
    outcomes = fit_many(jobs, then=_decide, workers=workers)
    seconds = (time.perf_counter() - began) / count
    ours, plugged, stated, met = [], [], [], []
    for world, (outcome, job) in enumerate(zip(outcomes, jobs, strict=True)):
        if outcome.status != "done":
            continue
        law, found = constants(truth, world), outcome.value
        ours.append(regret(law, float(found["params"]), budget))
        plain = fit_law(job.runs, MODEL)
        guess = best_params({name: plain[name] for name in law}, budget)
        # Least squares may put the optimum anywhere: a lab would not leave what can be trained.
        plugged.append(regret(law, float(np.clip(guess, 1e6, budget / (6 * 1e8))), budget))
        size = np.sqrt(budget / 120)
        reached = loss_of(law, np.array(size), np.array(20 * size))
        stated.append(found["stated"])
        met.append(reached <= found["targets"])
    rows: list[Row] = []
    for name, values in (("least expected loss", ours), ("least squares, plugged in", plugged)):
        lost = np.array(values)
        rows.append(
            {
                "what": "true regret of the allocation",
                "rule": name,
                "worlds": lost.size,
                "mean": float(lost.mean()),
                "mean_error": float(lost.std() / np.sqrt(lost.size)),
                "q95": float(np.quantile(lost, 0.95)),
                "seconds": seconds,
            }
        )
    chance, happened = np.array(stated), np.array(met)
    edges = np.linspace(0, 1, 11)
    for low, high in itertools.pairwise(edges):
        inside = (chance >= low) & ((chance < high) | (high == 1.0))
        if not inside.any():
            continue
        # Questions of one world share its luck: the error is of means by world.
        by_world = [
            (happened[i][inside[i]] - chance[i][inside[i]]).mean()
            for i in np.flatnonzero(inside.any(axis=1))
        ]
        rows.append(
            {
                "what": "P(target met)",
                "rule": f"stated {low:.1f} to {high:.1f}",
                "questions": int(inside.sum()),
                "stated": float(chance[inside].mean()),
                "met": float(happened[inside].mean()),
                "met_error": float(np.std(by_world) / np.sqrt(len(by_world))),
            }
        )
    return rows


# Which runs to buy ------------------------------------------------------------------------------


def affordable(order: np.ndarray, cost: np.ndarray, budget: float) -> list[int]:
    """Candidates in an order, skipping those for which nothing is left."""
    picks, spent = [], 0.0
    for each in order:
        if spent + cost[each] <= budget:
            picks.append(int(each))
            spent += cost[each]
    return picks


def sensitivities(fit: xr.DataTree, at: xr.Dataset) -> np.ndarray:
    """Derivatives of log loss in the law's five parameters (logs) at their posterior means; dims (run, parameter)."""
    posterior = fit["posterior"].to_dataset()
    names = ("E", "A", "alpha", "B", "beta")
    middle = {name: float(np.exp(np.log(posterior[name]).mean())) for name in names}
    params, tokens = at["params"].values, at["tokens"].values
    columns = []
    for name in names:
        up, down = (middle | {name: middle[name] * np.exp(side)} for side in (1e-4, -1e-4))
        columns.append(
            (np.log(loss_of(up, params, tokens)) - np.log(loss_of(down, params, tokens))) / 2e-4
        )
    return np.column_stack(columns)


def optimal(fit: xr.DataTree, runs: xr.Dataset, pool: xr.Dataset, aims: xr.Dataset, budget: float, kind: str) -> list[int]:  # fmt: skip
    """Greedy D-optimal (most information on all parameters) or V-optimal (least variance at the aims), for each FLOP."""
    sigma = float(fit["posterior"]["sigma"].mean())
    have, could, wanted = (sensitivities(fit, each) / sigma for each in (runs, pool, aims))
    information = have.T @ have + 1e-6 * np.eye(have.shape[1])
    cost, left, picks = pool["flops"].values, budget, []
    open_ = np.ones(cost.size, bool)
    while True:
        inverse = np.linalg.inv(information)
        along = np.einsum("ij,jk,ik->i", could, inverse, could)
        worth = (
            np.log1p(along)
            if kind == "D"
            else ((could @ inverse @ wanted.T) ** 2).sum(axis=1) / (1 + along)
        )
        worth = np.where(open_ & (cost <= left), worth / cost, -1.0)
        best = int(worth.argmax())
        if worth[best] < 0:
            return picks
        picks.append(best)
        open_[best] = False
        left -= cost[best]
        information = information + np.outer(could[best], could[best])


def ours(
    fit: xr.DataTree, runs: xr.Dataset, pool: xr.Dataset, aims: xr.Dataset, budget: float
) -> list[int]:
    """The batch of next_runs for the losses of the aims."""
    table, wanted = (
        each[["params", "tokens", "flops"]].drop_vars("run", errors="ignore")
        for each in (pool, aims)
    )
    found = bs.next_runs(fit, table, budget=budget, target=wanted)
    return [int(each) for each in found["pick"].values]


type Rule = Callable[[xr.DataTree, xr.Dataset, xr.Dataset, xr.Dataset, float], list[int]]
#: Rules that look at a fit buy in two rounds, with a fit between.
RULES: dict[str, Rule] = {
    "next_runs": ours,
    "D-optimal": partial(optimal, kind="D"),
    "V-optimal": partial(optimal, kind="V"),
}


def bought(start: xr.Dataset, pool: xr.Dataset, aims: xr.Dataset, rng: np.random.Generator, model: Model | str, seed: int) -> Iterator[tuple[str, xr.Dataset, xr.DataTree]]:  # fmt: skip
    """Name of each rule, the runs that it ends with, and their fit by the same model."""
    cost = pool["flops"].values
    budget = 0.1 * float(cost.sum())

    def fitted(runs: xr.Dataset, by: Model | str) -> xr.DataTree:
        return bs.fit(runs, by, random_seed=seed, draws=500)

    for name, order in (
        ("random", rng.permutation(cost.size)),
        ("largest affordable", np.argsort(-cost)),
    ):
        picks = affordable(order, cost, budget)
        runs = xr.concat([start, pool.isel(run=picks)], "run", data_vars="all")
        yield name, runs, fitted(runs, model)
    for name, rule in RULES.items():
        # Classical designs know no drift: they look at the law that is trusted exactly.
        looked = model if rule is ours else MODEL
        runs, rest, spent = start, pool, 0.0
        for share in (0.5, 1.0):
            left = share * budget - spent
            if not (rest["flops"].values <= left).any():
                continue
            picks = rule(fitted(runs, looked), runs, rest, aims, left)
            spent += float(rest["flops"].values[picks].sum())
            runs = xr.concat([runs, rest.isel(run=picks)], "run", data_vars="all")
            rest = rest.isel(run=np.setdiff1d(np.arange(rest.sizes["run"]), picks))
        yield name, runs, fitted(runs, model)


CHINCHILLA, ANEW = "Chinchilla, the largest tenth", "worlds like Chinchilla, the same tenth"


def design(workers: int, quick: bool) -> list[Row]:
    """Twenty cheap runs to begin with, a tenth of the pool's compute to spend; error of the log loss at the target.

    Runs are bought in two rounds by the rules that look at a fit. Every rule ends with the same fit, by the default
    model; `above_next_runs` is the mean of the differences on the same starts, with its standard error. The starts on
    the Chinchilla runs all forecast the same 24 losses: they are one world, and its standard errors do not know of
    others. So the same is done in as many worlds like it: losses of all its runs are drawn anew for each start from
    their posterior predictive distribution.
    """
    rows: list[Row] = []
    try:
        starts = 2 if quick else 20
        rows += table_of(CHINCHILLA, chinchilla(starts))
        rows += table_of(ANEW, chinchilla(starts, anew=True))
    except FileNotFoundError as error:
        print(f"design: the Chinchilla runs are skipped: {error}")
    return rows + table_of("simulated worlds, 1e23 FLOP", simulated(2 if quick else 30))


def _at(fit: xr.DataTree, aims: xr.Dataset) -> tuple[np.ndarray, float]:
    """Median loss at the aims, and the posterior's standard deviation of log loss there."""
    loss = bs.predict(fit, aims[["params", "tokens"]])
    return loss.median(("chain", "draw")).values, float(np.log(loss).std(("chain", "draw")).mean())


def chinchilla(starts: int, *, anew: bool = False) -> Iterator[tuple[str, float, float, int]]:
    """Rule, error and runs bought, from several random starts; losses as they were, or drawn anew for each start."""
    runs = bs.read_runs(folder() / "epoch_chinchilla.csv")
    runs = runs.isel(run=runs["epoch_excluded"].values == 0)[["params", "tokens", "flops", "loss"]]
    runs = runs.drop_vars("run", errors="ignore").drop_attrs()
    order = np.argsort(runs["flops"].values)
    aims, below = order[-24:], order[:-24]
    worlds = []
    if anew:
        drawn = bs.predict(
            bs.fit(runs, DEFAULT, random_seed=1), runs.drop_vars("loss"), kind="run", random_seed=1
        )
        chosen = np.random.default_rng(9).choice(drawn.sizes["draw"], starts, replace=False)
        worlds = [("run", drawn.isel(chain=0, draw=int(each)).values) for each in chosen]
    for seed in range(starts):
        rng = np.random.default_rng([7, seed])
        runs = runs.assign(loss=worlds[seed]) if anew else runs
        begun = rng.choice(below[: below.size // 3], 20, replace=False)
        pool = runs.isel(run=np.setdiff1d(below, begun))
        wanted = runs.isel(run=aims)
        for name, held, fit in bought(runs.isel(run=begun), pool, wanted, rng, DEFAULT, seed + 1):
            middle, sd = _at(fit, wanted)
            error = np.sqrt(np.mean(np.log(middle / wanted["loss"].values) ** 2))
            yield name, float(error), sd, held.sizes["run"] - 20


def simulated(count: int) -> Iterator[tuple[str, float, float, int]]:
    """Rule, error and runs bought, in worlds drawn from the prior."""
    flops, ratio = (
        np.repeat(np.geomspace(1e18, 1e21, 12), 10),
        np.tile(np.geomspace(2, 200, 10), 12),
    )
    params = np.sqrt(flops / (6 * ratio))
    # Drawn worlds drift by a share of the elasticity of these losses: with none they would follow the law.
    grid = sweep(params, params * ratio, loss_of(TYPICAL, params, params * ratio))
    model = with_level(DEFAULT, 2.5)
    truth = sample_prior(grid, model, draws=count, random_seed=202)
    losses = bs.predict(truth, grid.drop_vars("loss"), kind="run", random_seed=202)
    size = np.array([np.sqrt(1e23 / 120)])
    aims = sweep(size, 20 * size)
    there = bs.predict(truth, aims[["params", "tokens"]])
    for world in range(count):
        rng = np.random.default_rng([8, world])
        runs = grid.assign(loss=("run", losses.isel(chain=0, draw=world).values))
        begun = rng.choice(40, 20, replace=False)
        pool = runs.isel(run=np.setdiff1d(np.arange(flops.size), begun))
        true = there.isel(chain=0, draw=world).values
        for name, held, fit in bought(runs.isel(run=begun), pool, aims, rng, model, world + 1):
            middle, sd = _at(fit, aims)
            yield name, float(abs(np.log(middle / true))[0]), sd, held.sizes["run"] - 20


def table_of(name: str, found: Iterator[tuple[str, float, float, int]]) -> list[Row]:
    """One row a rule, with what it does beside next_runs on the same starts."""
    errors: dict[str, list[float]] = {}
    spreads: dict[str, list[float]] = {}
    counts: dict[str, list[int]] = {}
    for rule, error, sd, runs in found:
        errors.setdefault(rule, []).append(error)
        spreads.setdefault(rule, []).append(sd)
        counts.setdefault(rule, []).append(runs)
    rows: list[Row] = []
    reference = np.array(errors["next_runs"])
    for rule, values in errors.items():
        lost = np.array(values)
        apart = lost - reference
        rows.append(
            {
                "set": name,
                "rule": rule,
                "starts": lost.size,
                "runs_bought": float(np.mean(counts[rule])),
                "error_mean": float(lost.mean()),
                "error_median": float(np.median(lost)),
                "error_sd": float(lost.std()),
                "posterior_sd": float(np.mean(spreads[rule])),
                "above_next_runs": float(apart.mean()),
                "above_error": float(apart.std() / np.sqrt(lost.size)),
            }
        )
        print(rows[-1], flush=True)
    return rows


# Times ------------------------------------------------------------------------------------------


def measure(fit: Path, answer: str, scales: int, repeats: int, chunk: int | None = None) -> Row:
    """Seconds and growth of memory of one answer, in a process of its own."""
    command = [
        sys.executable,
        str(HERE / "_answer.py"),
        str(fit),
        answer,
        str(scales),
        str(repeats),
    ]
    more = [] if chunk is None else ["--chunk", str(chunk)]
    done = subprocess.run([*command, *more], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    found: Row = json.loads(done.stdout)
    return found


def times(workers: int, quick: bool) -> list[Row]:
    """Seconds of every answer on 200 scales from 4,000 draws, best of three; memory above the imports and the fit.

    Each answer is measured in a process of its own: on the wall, and of processor time, which other work on the
    machine changes less.
    """
    runs = bs.load_dataset("pile")
    rows: list[Row] = []
    scales = 10 if quick else 200
    with tempfile.TemporaryDirectory() as folder:
        for model in ("chinchilla", DEFAULT):
            fit = bs.save(
                sample_prior(runs, model, draws=4000, random_seed=3), Path(folder) / f"{model}.nc"
            )
            for answer in ANSWERS:
                found = measure(fit, answer, scales, 3)
                rows.append({"model": model, "answer": answer, "scales": scales, **found})
                print(rows[-1], flush=True)
    return rows


#: Scales that are answered at once where there are many, and what is measured on a quarter, a half and all of them.
CHUNK = 200
LARGE = ("returns", "diminishing", "compute_for", "allocate")


def scaling(workers: int, quick: bool) -> list[Row]:
    """A grid of 10,000 scales from 20,000 draws, a quarter, a half and all of it: processor time and memory.

    All draws at all scales would be 1.6 GB a quantity: scales are asked 200 at a time, and quantiles are kept
    (`benchmarks/_answer.py`). `above_linear` is the time beside that of the quarter, over the scales beside the
    quarter's, less one.
    """
    runs = bs.load_dataset("pile")
    draws, whole = (500, 1600) if quick else (20_000, 10_000)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        fit = bs.save(
            sample_prior(runs, MODEL, draws=draws, random_seed=3), Path(folder) / "fit.nc"
        )
        for answer in LARGE:
            first = 0.0
            for scales in (whole // 4, whole // 2, whole):
                found = measure(fit, answer, scales, 1, CHUNK)
                # Minutes on the wall say more of what else the machine did.
                del found["seconds"]
                first = first or float(found["cpu_seconds"]) / scales
                above = float(found["cpu_seconds"]) / scales / first - 1
                rows.append({"answer": answer, "draws": draws, "scales": scales, **found, "above_linear": above})  # fmt: skip
                print(rows[-1], flush=True)
    return rows


PARTS: dict[str, Callable[[int, bool], list[Row]]] = {
    "worlds": worlds,
    "design": design,
    "times": times,
    "scaling": scaling,
}


def marks(results: dict[str, list[Row]]) -> str:
    """What was asked before anything was measured, and whether it was met."""
    lines = [
        "## Marks set beforehand",
        "",
        "| what | asked | measured | met |",
        "|---|---|---|---|",
    ]

    def add(what: str, asked: str, measured: str, met: bool) -> None:
        lines.append(f"| {what} | {asked} | {measured} | {'yes' if met else '**no**'} |")

    rows = results.get("worlds", [])
    lost = [row for row in rows if "mean" in row]
    if lost:
        for name in ("mean", "q95"):
            mine, plain = (float(row[name]) for row in lost)
            add(f"Regret of the allocation, {name}", "at most least squares'", f"{mine:.3g} beside {plain:.3g}", mine <= plain)  # fmt: skip
        apart = [abs(float(row["stated"]) - float(row["met"])) for row in rows if "stated" in row]
        add("P(target met), largest gap of ten bins", "at most .07", f"{max(apart):.3g}", max(apart) <= 0.07)  # fmt: skip
    designs = results.get("design", [])
    # Of one world like Chinchilla: how far the difference of two rules is from its mean over such worlds.
    scatter = {
        row["rule"]: float(row["above_error"]) * np.sqrt(float(row["starts"]))
        for row in designs
        if row["set"] == ANEW
    }
    for name in dict.fromkeys(row["set"] for row in designs):
        others = [row for row in designs if row["set"] == name and row["rule"] != "next_runs"]
        worst = min(others, key=lambda row: float(row["above_next_runs"]))
        gap, error = float(worst["above_next_runs"]), float(worst["above_error"])
        told = f"{worst['rule']} {gap:+.2g} ± {error:.2g}"
        if name == CHINCHILLA and worst["rule"] in scatter:
            told += f", in one world of those that scatter by {scatter[worst['rule']]:.2g}"
        add(f"next_runs: error, {name}", "lowest, within two standard errors", told, gap >= -2 * error)  # fmt: skip
    for row in results.get("times", []):
        if float(row["seconds"]) > 1.0:
            add(f"{row['answer']}, {row['model']}", "at most 1 s", f"{row['seconds']:.3g} s", False)
        if float(row["peak_mb_grown"]) > 300:
            add(
                f"{row['answer']}, {row['model']}",
                "at most 300 MB",
                f"{row['peak_mb_grown']:.3g} MB",
                False,
            )
    for row in results.get("scaling", []):
        if float(row["above_linear"]) > 0.1:
            add(f"{row['answer']}, {row['scales']} scales", "within 10 % of linear", f"{row['above_linear']:+.1%}", False)  # fmt: skip
    return "\n".join(lines) + "\n\n"


def page(results: dict[str, list[Row]]) -> str:
    """The page, from the stored rows."""
    text = "# Decisions\n\nGenerated by `python benchmarks/decisions.py`; do not edit.\n\n" + marks(
        results
    )
    for part, function in PARTS.items():
        if part not in results:
            continue
        text += f"## {part}\n\n{inspect.cleandoc(function.__doc__ or '')}\n\n"
        rows = pd.DataFrame(results[part])
        groups = rows.groupby("what", sort=False) if "what" in rows else [("", rows)]
        for _, group in groups:
            shown = group.dropna(axis=1, how="all")
            cells = [[shown_as(v) for v in row] for row in shown.itertuples(index=False)]
            lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * shown.shape[1]]
            text += "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)]) + "\n\n"
    return text


def shown_as(value: float | int | str) -> str:
    """A cell of a table; counts stay whole beside rows that have none, where pandas makes them floats."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 and value == round(value) else f"{value:.3g}"


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="only this part; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="a few of each part; writes nothing")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in args.part or PARTS:
        rows = PARTS[part](args.workers, args.quick)
        print(pd.DataFrame(rows).round(4).to_string())
        if not args.quick:
            results[part] = rows
            write(RESULTS, json.dumps(results, indent=1))
            write(PAGE, page(results))


if __name__ == "__main__":
    main()
