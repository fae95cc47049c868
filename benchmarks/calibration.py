"""Are the intervals honest where nobody has trained yet? Measured on held-out runs, beside what others would have said.

    python benchmarks/calibration.py [--part curves|chinchilla|sparse|simulated] [--quick]

Each part writes its rows into ``results/calibration.json``; the page ``calibration.md`` is made from that file. The
real tables come from the folder that BAYESCALE_DATA names; a part whose tables are missing is skipped and says so.

No part tunes anything. The drift's prior was set on the public learning curves (part ``curves``) and on nothing else;
what the other parts report was not looked at to set it.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import bayescale as bs
from bayescale.datasets import data_folder
from bayescale.inference.many import Job, fit_many
from bayescale.model import Model
from bayescale.validate.score import predictive, score_runs, scores

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "calibration.json"
PAGE = HERE / "calibration.md"
CUTS = (1e19, 3e19, 1e20, 3e20, 1e21)

Row = dict[str, float | int | str]


def score(fit: xr.DataTree, job: Job) -> dict[str, np.ndarray]:
    """Score a fit on the held-out runs that travel beside it."""
    assert job.aside is not None
    table = score_runs(predictive(fit, job.aside), job.aside["loss"].values, random_seed=1)
    found = {name: np.asarray(values.values) for name, values in table.data_vars.items()}
    return found | {"converged": np.array(fit.attrs["converged"])}


def summary(name: str, fits: list[dict[str, np.ndarray]], which: slice = slice(None)) -> Row:
    """One row: scores of each fit's held-out runs, averaged over fits."""
    each = []
    for found in fits:
        columns = {
            key: ("run", values[which]) for key, values in found.items() if np.ndim(values) == 1
        }
        each.append(scores(xr.Dataset(columns)))
    row: Row = {"model": name, "fits": len(fits), "n": int(sum(f["pit"][which].size for f in fits))}
    for key, level in (("coverage", 0.5), ("coverage", 0.9), ("width", 0.9)):
        row[f"{key}_{level * 100:.0f}"] = float(
            np.mean([float(t[key].sel(level=level)) for t in each])
        )
    for key in ("lpd", "rmsle", "msce"):
        row[key] = float(np.mean([float(table[key]) for table in each]))
    row["converged"] = float(np.mean([found["converged"] for found in fits]))
    return row


def run(jobs: list[Job], workers: int) -> dict[str, dict[str, np.ndarray]]:
    """Fit and score; a fit that fails is reported and left out."""
    outcomes = fit_many(jobs, then=score, workers=workers, progress=True)
    for each in outcomes:
        if each.status != "done":
            print(f"{each.name}: {each.status}: {each.error}")
    return {
        each.name: {**each.value, "seconds": np.array(each.seconds)}
        for each in outcomes
        if each.status == "done"
    }


def curves(workers: int, every: int) -> list[Row]:
    """Public learning curves: fit what their authors marked for fitting, predict the rest."""
    jobs: list[Job] = []
    domains: dict[str, str] = {}
    models = {"power-drift": "drift", "power": "bare"}
    for file in ("revisiting_vision.csv", "revisiting_lang.csv"):
        table = pd.read_csv(folder() / file)
        table = table[table["duplicate"] == 0]
        for index, (name, curve) in enumerate(table.groupby("run_id")):
            if index % every:
                continue
            runs = xr.Dataset(
                {
                    "examples": ("run", curve["seen_examples"].to_numpy(float)),
                    "loss": ("run", curve["loss"].to_numpy(float)),
                    "run_id": ("run", curve["run_id"].to_numpy(str)),
                }
            )
            train = curve["is_train"].to_numpy() == 1
            for model in models:
                chosen = Model.load(model).changed(inputs={"scale": "examples"})
                job = f"{name}|{model}"
                domains[job] = f"{curve['domain'].iloc[0]}|{model}"
                aside = runs.isel(run=~train)
                jobs.append(Job(job, runs.isel(run=train), chosen, 1, aside=aside))
    found = run(jobs, workers)
    rows: list[Row] = []
    for group in dict.fromkeys(domains.values()):
        domain, model = group.split("|")
        fits = [found[job] for job, of in domains.items() if of == group and job in found]
        # The public score is the density of the loss, not of its log.
        row = summary(model, fits) | {"set": domain}
        row["ll"] = float(np.mean([np.mean(fit["lpd"] - np.log(fit["observed"])) for fit in fits]))
        row["seconds"] = float(np.median([fit["seconds"] for fit in fits]))
        rows.append(row)
    return rows


def chinchilla(workers: int, every: int) -> list[Row]:
    """The Chinchilla runs: fit those below a cut of compute, predict the larger ones."""
    runs = sweep()
    models = ("skaling-drift", "chinchilla-drift", "skaling", "chinchilla")
    jobs = [
        Job(f"{cut:.0e}|{name}", below(runs, cut), named(name), 1, aside=above(runs, cut))
        for cut in CUTS[::every]
        for name in models
    ]
    found = run(jobs, workers)
    rows = []
    for job in jobs:
        cut, name = job.name.split("|")
        if job.name in found:
            row = summary(name, [found[job.name]]) | {"cut": cut, "trained": job.runs.sizes["run"]}
            largest = np.argsort(job.aside["flops"].values)[-10:]
            top = {k: v[largest] if np.ndim(v) == 1 else v for k, v in found[job.name].items()}
            row["coverage_90_top10"] = summary(name, [top])["coverage_90"]
            rows.append(row)
    return rows


def sparse(workers: int, every: int) -> list[Row]:
    """Ten of the Chinchilla runs below each cut, spread over compute, drawn 20 times."""
    runs = sweep()
    rng = np.random.default_rng(0)
    draws = 20 if every == 1 else 3
    jobs = []
    for cut in CUTS[::every]:
        train = below(runs, cut)
        order = np.argsort(train["flops"].values)
        for draw in range(draws):
            chosen = np.sort([rng.choice(part) for part in np.array_split(order, 10)])
            name = f"{cut:.0e}|{draw}"
            jobs.append(
                Job(name, train.isel(run=chosen), "skaling-drift", 1, aside=above(runs, cut))
            )
    found = run(jobs, workers)
    rows = []
    for cut in CUTS[::every]:
        fits = [value for name, value in found.items() if name.startswith(f"{cut:.0e}|")]
        row = summary("skaling-drift", fits) | {"cut": f"{cut:.0e}"}
        errors = [np.median(np.abs(np.log(fit["median"] / fit["observed"]))) for fit in fits]
        row["median_log_error"] = float(np.median(errors))
        rows.append(row)
    return rows


TRUTHS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "in the model (Chinchilla's own law)": lambda n, d: (
        1.8172 + 482.01 / n**0.3478 + 2085.43 / d**0.3658
    ),
    "hidden second power": lambda n, d: (
        1.7 + 482.01 / n**0.3478 + 2085.43 / d**0.3658 + 3.0 / (n * d) ** 0.04
    ),
    "three components": lambda n, d: (
        1.2 + 300 / n**0.34 + 1200 / d**0.36 + 12.0 / (6 * n * d) ** 0.06
    ),
    "break at 3 times the largest run": lambda n, d: (
        (1.8172 + 482.01 / n**0.3478 + 2085.43 / d**0.3658) * (1 + (6 * n * d / 3e20) ** 2) ** 0.01
    ),
    "under-tuned small runs": lambda n, d: (
        (1.8172 + 482.01 / n**0.3478 + 2085.43 / d**0.3658)
        * (1 + 0.03 * (6 * n * d / 1e18) ** -0.3)
    ),
}


def simulated(workers: int, every: int) -> list[Row]:
    """Truths that are known, within the model and outside of it: 30 runs up to 1e20 FLOP, asked at 1e21 and 1e22."""
    rng = np.random.default_rng(1)
    repeats = 20 if every == 1 else 3
    flops = np.repeat(np.geomspace(1e18, 1e20, 6), 5)
    ratio = np.tile(np.geomspace(3, 150, 5), 6)
    jobs = []
    for truth, law in TRUTHS.items():
        for repeat in range(repeats):
            runs = table(law, flops, ratio, rng, noise=0.004)
            far = table(
                law,
                np.array([1e21] * 5 + [1e22] * 5),
                np.tile(np.geomspace(3, 150, 5), 2),
                rng,
                noise=0.004,
            )
            for name in ("skaling-drift", "chinchilla"):
                jobs.append(Job(f"{truth}|{name}|{repeat}", runs, name, repeat, aside=far))
    found = run(jobs, workers)
    rows = []
    for truth in TRUTHS:
        for name in ("skaling-drift", "chinchilla"):
            fits = [value for job, value in found.items() if job.startswith(f"{truth}|{name}|")]
            for decades, which in ((1, slice(0, 5)), (2, slice(5, 10))):
                rows.append(summary(name, fits, which) | {"truth": truth, "decades": decades})
    return rows


def table(
    law: Callable[[np.ndarray, np.ndarray], np.ndarray],
    flops: np.ndarray,
    ratio: np.ndarray,
    rng: np.random.Generator,
    noise: float,
) -> xr.Dataset:
    """Runs of a known law at compute and tokens per parameter."""
    params = np.sqrt(flops / (6 * ratio))
    tokens = ratio * params
    loss = law(params, tokens) * np.exp(noise * rng.standard_normal(flops.size))
    columns = {"params": params, "tokens": tokens, "flops": flops, "loss": loss}
    return xr.Dataset({name: ("run", values) for name, values in columns.items()})


def folder() -> Path:
    """Folder of the real tables."""
    found = data_folder()
    if found is None:
        raise FileNotFoundError("BAYESCALE_DATA names no folder with the public tables")
    return found


def sweep() -> xr.Dataset:
    """The Chinchilla runs without the five that their curators exclude."""
    folder()
    runs = bs.load_dataset("epoch-chinchilla")
    return runs.isel(run=runs["epoch_excluded"].values == 0)


def below(runs: xr.Dataset, cut: float) -> xr.Dataset:
    return runs.isel(run=runs["flops"].values <= cut)


def above(runs: xr.Dataset, cut: float) -> xr.Dataset:
    return runs.isel(run=runs["flops"].values > cut)


def named(name: str) -> Model:
    """A shipped model, or one with ``-drift`` added to its name and to its law."""
    return (
        Model.load(name)
        if name in bs.model.shipped()
        else Model.load(name[: -len("-drift")]).with_discrepancy("drift")
    )


PARTS = {"curves": curves, "chinchilla": chinchilla, "sparse": sparse, "simulated": simulated}
INTRO = """# Calibration

Generated by `python benchmarks/calibration.py`; do not edit. Coverage is the share of held-out losses inside central
predictive intervals for a new run; `lpd` the mean log predictive density of the log loss; `rmsle` the root mean square
error of the median, in log loss; `width_90` the mean relative width of the 90 % interval. All are means over fits.

"""
PUBLISHED = """
Published for the same curves, for comparison (marked as published, not measured here): IC: NSL-PFN RMSLE .0280, LL
3.330; MCMC(M4) .0422, 3.024; M4 point fit .0415 (arXiv 2505.23032, 2209.06640).
"""


def page(results: dict[str, list[Row]]) -> str:
    """The page, from the stored rows."""
    text = INTRO
    for part, function in PARTS.items():
        if part not in results:
            continue
        rows = pd.DataFrame(results[part])
        text += f"## {part}\n\n{function.__doc__}\n\n{markdown(rows)}\n"
        text += PUBLISHED if part == "curves" else ""
        text += "\n"
    return text


def markdown(rows: pd.DataFrame) -> str:
    """A table in Markdown; numbers with three digits."""
    front = [name for name in ("set", "cut", "truth", "decades", "model") if name in rows]
    rows = rows[[*front, *(name for name in rows if name not in front)]]
    cells = [
        [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row]
        for row in rows.itertuples(index=False)
    ]
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + "---|" * rows.shape[1]]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in cells]) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8"
    ) as scratch:
        scratch.write(text)
    os.chmod(scratch.name, 0o644)
    os.replace(scratch.name, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="only this part; may be repeated"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few fits of each part; writes nothing"
    )
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in args.part or PARTS:
        try:
            rows = PARTS[part](
                args.workers, 12 if args.quick and part == "curves" else 4 if args.quick else 1
            )
        except FileNotFoundError as error:
            print(f"{part}: skipped: {error}")
            continue
        print(pd.DataFrame(rows).round(3).to_string())
        if not args.quick:
            results[part] = rows
            write(RESULTS, json.dumps(results, indent=1))
            write(PAGE, page(results))


if __name__ == "__main__":
    main()
