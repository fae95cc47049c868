"""Every figure of bayescale as a PNG, from fits of the published runs on the Pile, with a page that shows them all.

    python docs/gallery.py [FOLDER]

The folder (by default docs/_build/gallery) gets the PNGs and index.html.
"""

import html
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import bayescale as bs
from bayescale import plots
from bayescale.cli.prior_curves import prior_curves

GRID = np.geomspace(1e19, 1e25, 40)
ONE = "skaling-drift-families"


def figures() -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Name and maker of each figure."""
    runs = bs.load_dataset("pile")
    held_out = runs.isel(run=(runs["run_id"] == "gpt-neox-20B").values)
    train = runs.isel(run=(runs["run_id"] != "gpt-neox-20B").values)
    fit = bs.fit(train, ONE, random_seed=1)
    fitted = bs.summarise(bs.predict(fit, train))
    along = bs.returns(fit, flops=GRID)
    summary = bs.summarise(along)
    answer = bs.diminishing(fit, beyond=1e24, gain_below=0.01)

    yield (
        "forecast",
        lambda: plots.plot_forecast(
            summary,
            runs=train,
            fitted=fitted,
            new_run=bs.summarise(bs.predict(fit, bs.inputs_along(fit, GRID), kind="run")),
            held_out=held_out,
            held_out_forecast=bs.summarise(bs.predict(fit, held_out, kind="run")),
            answers=[answer],
        ),
    )
    below = (along["gain"] < 0.01).mean(("chain", "draw"))
    yield "returns", lambda: plots.plot_returns(summary, below, threshold=0.01)
    yield "onset", lambda: plots.plot_onset(answer)
    found = bs.allocate(fit, flops=GRID)
    names = ["params_optimal", "tokens_optimal", "tokens_per_param"]
    divided = bs.summarise(found[names])
    yield "allocation", lambda: plots.plot_allocation(found, divided, runs=train)
    budgets = np.array([1e20, 1e22, 1e24])
    at = bs.allocate(fit, flops=budgets, near=0.03)
    sizes = at["params"].values[:, None] * np.geomspace(0.05, 20, 25)
    bowls = xr.Dataset(
        {
            "params": (("flops", "size"), sizes),
            "tokens": (("flops", "size"), budgets[:, None] / (6 * sizes)),
        },
        {"flops": budgets},
    )
    losses = bs.predict(fit, bowls)
    bowl = bs.summarise(losses).assign_coords(params=bowls["params"])
    yield "isoflops", lambda: plots.plot_isoflops(bowl, at)
    yield "prior", lambda: plots.plot_prior(fit, ("E", "alpha", "beta"), published={"alpha": 0.348})
    scalars = bs.summarise(fit["posterior"].to_dataset()[["E", "alpha", "beta", "k", "sigma"]])
    known = {"alpha": (0.3478, 0.02), "beta": (0.3658, 0.02)}
    yield "forest", lambda: plots.plot_forest(scalars, published=known)
    yield "residuals", lambda: plots.plot_residuals(train, fitted)
    targets = bs.compute_for(fit, loss=[1.5, 1.4, 1.3], budget=1e24, path="fixed-ratio=20")
    # 2.5 dollars for an hour of 989e12 FLOP/s, 40 % of them used.
    yield "frontier", lambda: plots.plot_frontier(targets, price=2.5 / (989e12 * 0.4 * 3600))
    bought = bs.next_runs(fit, budget=1e22, flops=1e24)
    yield "candidates", lambda: plots.plot_candidates(bought, runs=train)
    other = bs.fit(train, "chinchilla-families", random_seed=1)
    stacked = bs.stack({ONE: fit, "chinchilla-families": other}, draws=250)
    weights = json.loads(stacked.attrs["stack"])
    yield "weights", lambda: plots.plot_weights(weights)
    tested = bs.backtest(runs, [ONE, "chinchilla-families"], cuts=[5e20], random_seed=1)
    yield "backtest", lambda: plots.plot_backtest(tested)
    tasks = bs.fit(runs, "tasks", random_seed=1)
    scales = np.geomspace(1e22, 1e27, 40)
    both = bs.capability(tasks, flops=scales, tasks=["acc_hellaswag"], length=[1, 3, 10])
    gains = bs.summarise(both[["loss_gain", "gain", "score"]])
    yield "capability", lambda: plots.plot_capability(gains)
    for name in ("skaling", "moe", "sigmoid"):
        curves = prior_curves(name)
        yield f"law-{name}", lambda curves=curves: plots.plot_law(curves)  # type: ignore[misc]


def main() -> None:
    """Write the figures and the page."""
    folder = Path(
        sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "_build" / "gallery"
    )
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for name, make in figures():
        figure = make()
        figure.savefig(folder / f"{name}.png", dpi=110)
        alt = html.escape(str(figure.get_label()), quote=True)
        shown.append(f'<h2>{name}</h2>\n<img src="{name}.png" alt="{alt}">\n<p>{alt}</p>')
        print(name, flush=True)
    page = "\n".join(
        ["<!doctype html><html lang=en><meta charset=utf-8><title>Figures</title>", *shown]
    )
    (folder / "index.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
