"""Seconds and memory of one answer on a saved fit, in a process of its own: `decisions.py` runs it.

    python benchmarks/_answer.py FIT ANSWER SCALES REPEATS [--chunk N]

A process a measurement, so that its peak of memory is that answer's: above what the imports and the fit take. With
``--chunk`` an answer is asked for so many scales at a time, and what is kept of each are quantiles: so any number of
scales is answered in bounded memory.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import bayescale as bs

#: Compute of the scales, lifetime tokens of the models, and what is asked of them.
FROM, TO = 1e22, 1e26
SERVED = (1e12, 0.5)

type Ask = Callable[[xr.DataTree, np.ndarray], xr.Dataset]


def _served(fit: xr.DataTree) -> np.ndarray:
    """Draws of an uncertain demand, one for each of the fit."""
    count = fit["posterior"].sizes["chain"] * fit["posterior"].sizes["draw"]
    return np.random.default_rng(0).lognormal(np.log(SERVED[0]), SERVED[1], count)


def _diminishing(fit: xr.DataTree, scales: np.ndarray) -> xr.Dataset:
    return bs.diminishing(fit, beyond=1e24, gain_below=0.01, grid=scales.size)


def _targets(scales: np.ndarray) -> np.ndarray:
    """As many losses as scales, of which most can be reached."""
    return np.interp(np.log(scales), np.log([FROM, TO]), [2.4, 1.8])


ANSWERS: dict[str, Ask] = {
    "returns": lambda fit, scales: bs.returns(fit, flops=scales),
    "diminishing": _diminishing,
    "allocate": lambda fit, scales: bs.allocate(fit, flops=scales),
    "allocate with demand": lambda fit, scales: bs.allocate(fit, flops=scales, inference_tokens=_served(fit)),
    "allocate with bounds": lambda fit, scales: bs.allocate(fit, flops=scales, tokens_max=1e13),
    "allocate among 30 sizes": lambda fit, scales: bs.allocate(fit, flops=scales, grid=np.geomspace(1e8, 1e13, 30)),
    "compute_for": lambda fit, scales: bs.compute_for(fit, loss=_targets(scales)),
    "next_runs": lambda fit, scales: bs.next_runs(fit, budget=1e22, flops=1e24),
}  # fmt: skip
#: What is kept of each chunk, with the dim of the scales; the search for an onset needs no chunks.
KEPT: dict[str, list[str]] = {
    "returns": ["loss", "gain", "elasticity"],
    "allocate": ["params_optimal", "params", "loss", "regret"],
    "compute_for": ["compute_quantile", "compute_at_confidence", "p_unreachable"],
}


def memory(field: str) -> float:
    """Memory of this process now ("VmRSS") or at its peak ("VmHWM") [MB]; as Linux tells it.

    The peak that `getrusage` tells begins with that of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def in_chunks(ask: Ask, keep: list[str], fit: xr.DataTree, scales: np.ndarray, size: int) -> xr.Dataset:  # fmt: skip
    """Quantiles at any number of scales, so many at a time."""
    chunks = np.split(scales, range(size, scales.size, size))
    return xr.concat(
        [bs.summarise(ask(fit, chunk)[keep], prob=(0.05, 0.95)) for chunk in chunks],
        dim="loss" if ask is ANSWERS["compute_for"] else "flops",
        data_vars="minimal",
        combine_attrs="drop",
    )


def main() -> None:
    """Print a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fit")
    parser.add_argument("answer", choices=ANSWERS)
    parser.add_argument("scales", type=int)
    parser.add_argument("repeats", type=int)
    parser.add_argument("--chunk", type=int)
    args = parser.parse_args()
    fit = bs.load(args.fit).load()
    ask, scales = ANSWERS[args.answer], np.geomspace(FROM, TO, args.scales)
    if args.chunk and args.answer in KEPT:
        whole = ask
        ask = lambda fit, scales: in_chunks(whole, KEPT[args.answer], fit, scales, args.chunk)  # noqa: E731
    # Modules are read, and the first drift is drawn, before the clock runs.
    ask(fit, scales[:2])
    # The peak is counted from here.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    laps = []
    for _ in range(args.repeats):
        began = time.perf_counter(), time.process_time()
        ask(fit, scales)
        laps.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    grown = memory("VmHWM") - before
    seconds, processor = (min(each) for each in zip(*laps, strict=True))
    print(json.dumps({"seconds": seconds, "cpu_seconds": processor, "peak_mb_grown": grown}))


if __name__ == "__main__":
    main()
