"""What the deciding verbs print: the facts of each answer as plain data, and the tables that show them."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from rich.markup import escape
from rich.table import Table

from bayescale.cli.render import (
    QUANTILES,
    Facts,
    console,
    interval,
    notes_of,
    number,
    print_notes,
    print_verdict,
    short,
    show_table,
    spread,
    together,
    verdict_facts,
)
from bayescale.cost import as_money
from bayescale.forecast.montecarlo import SAMPLE_DIMS

_NONE = "none so safe"
_DECISIONS = {
    "go": "[bold green]GO[/]",
    "no-go": "[bold red]NO-GO[/]",
    "undecided": "[bold yellow]UNDECIDED[/]",
}


def _quantiles(draws: xr.DataArray) -> dict[str, float]:
    """Central quantiles; infinite ones stay infinite."""
    values = np.sort(draws.values.reshape(-1))
    # Between a finite and an infinite neighbour a quantile is infinite, not undefined.
    places = {key: int(np.ceil(level * (values.size - 1))) for key, level in QUANTILES.items()}
    if np.isfinite(values).all():
        return {key: float(np.quantile(values, level)) for key, level in QUANTILES.items()}
    return {key: float(values[place]) for key, place in places.items()}


def _scalars(data: xr.Dataset) -> dict[str, float]:
    return {str(name): float(v) for name, v in data.data_vars.items() if v.ndim == 0}


def _drawn(data: xr.Dataset) -> dict[str, Facts]:
    """Quantiles of everything that has draws and no other dims."""
    return {
        str(name): _quantiles(v)
        for name, v in data.data_vars.items()
        if set(v.dims) == set(SAMPLE_DIMS)
    }


def allocate_facts(tree: xr.DataTree, found: xr.Dataset) -> dict[str, Facts]:
    """Facts of an allocation: one row a budget."""
    rows = []
    for index, flops in enumerate(found["flops"].values):
        here = found.isel(flops=index)
        row: dict[str, Facts] = {"flops": float(flops), **_scalars(here), **_drawn(here)}
        row["expected_regret"] = float(here["regret"].mean())
        if "is_near" in here:
            row["near_sizes"] = here["size"].values[here["is_near"].values].tolist()
        else:
            row["near_params"] = here["near_params"].values.tolist()
        rows.append(row)
    kept = ("near", "probability", "inference_tokens", "family", "units")
    return {
        **verdict_facts(tree),
        **{key: found.attrs[key] for key in kept},
        "rows": rows,
        "notes": notes_of(tree, found),
    }


def allocate_table(facts: Mapping[str, Facts]) -> None:
    """Show an allocation."""
    print_verdict(facts)
    shown = console()
    if facts["inference_tokens"]:
        shown.print(
            f"budgets pay training and {number(facts['inference_tokens'], 3)} tokens served"
        )
    table = Table(
        "FLOP",
        "params",
        "tokens",
        "near-optimal params",
        "optimum's tokens/param",
        escape(f"loss [{facts['units']}]"),
        "wasted",
        box=None,
        pad_edge=False,
    )
    lacking: list[float] = []
    for row in facts["rows"]:
        if "near_sizes" in row:
            near = ", ".join(number(each, 3) for each in row["near_sizes"]) or _NONE
        else:
            low, high = row["near_params"]
            near = _NONE if np.isnan(low) else f"{number(low, 3)} to {number(high, 3)}"
        lacking += [row["p_near"]] if near == _NONE else []
        table.add_row(
            number(row["flops"], 3),
            number(row["params"], 3),
            number(row["tokens"], 3),
            near,
            interval(row["tokens_per_param"]),
            interval(row["loss"], 4),
            f"{row['wasted_flops']['median'] / row['flops']:.1%}",
        )
    show_table(table)
    if lacking:
        # The one allocation is in the set of every probability up to its own.
        least = np.floor(100 * min(lacking)) / 100
        gives = f"--probability {least:g} gives a set, " if least > 0 else ""
        shown.print(
            f"{_NONE}: the runs do not tell the optimum so well; {gives}"
            f"{'or ' if gives else ''}try --near {10 * facts['near']:g}"
        )
    shown.print(
        f"[dim]params, tokens: the one allocation of least expected loss; near-optimal: within {facts['near']:g} "
        f"{facts['units']} of each draw's optimum with probability {facts['probability']:g} or more; wasted: median "
        "share of the budget; intervals are central 90 %[/]"
    )
    print_notes(facts["notes"])


def released_facts(tree: xr.DataTree, found: xr.Dataset) -> dict[str, Facts]:
    """Facts of released models: one row each."""
    rows = []
    for index in range(found.sizes["run"]):
        here = found.isel(run=index)
        labels = {str(n): str(v.item()) for n, v in here.coords.items() if v.dtype.kind in "US"}
        rows.append({**labels, **_scalars(here), **_drawn(here)})
    return {
        **verdict_facts(tree),
        **{key: found.attrs[key] for key in ("inference_tokens", "family", "units")},
        "rows": rows,
        "notes": notes_of(tree, found),
    }


def released_table(facts: Mapping[str, Facts]) -> None:
    """Show released models against the optimum."""
    print_verdict(facts)
    labels = [name for name, value in facts["rows"][0].items() if isinstance(value, str)]
    table = Table(
        *labels,
        "params",
        "tokens",
        "P(under-trained)",
        "optimal params",
        escape(f"regret [{facts['units']}]"),
        "wasted",
        box=None,
        pad_edge=False,
    )
    for row in facts["rows"]:
        share = {key: 100 * value for key, value in row["wasted_share"].items()}
        table.add_row(
            *(escape(row[name]) for name in labels),
            number(row["params"], 3),
            number(row["tokens"], 3),
            f"{row['p_under_trained']:.1%}",
            interval(row["params_optimal"]),
            interval(row["regret"], 2),
            f"{interval(share, 2)} %",
        )
    show_table(table)
    print_notes(facts["notes"])


def target_facts(tree: xr.DataTree, found: xr.Dataset) -> dict[str, Facts]:
    """Facts of a target: one row a loss or a score."""
    rows = []
    target = "loss" if "loss" in found.dims else "accuracy"
    for index, value in enumerate(found[target].values):
        here = found.isel({target: index})
        row: dict[str, Facts] = {target: float(value), **_scalars(here)}
        row["compute"] = spread(here["compute_quantile"])
        rows.append(row)
    kept = ("confidence", "budget", "task", "path", "kind", "start", "horizon", "family")
    return {
        **verdict_facts(tree),
        **{key: found.attrs[key] for key in kept if key in found.attrs},
        "target": target,
        "units": found[target].attrs["units"],
        "compute_units": found["compute"].attrs["units"],
        "rows": rows,
        "notes": notes_of(tree, found),
    }


def target_table(facts: Mapping[str, Facts]) -> None:
    """Show what targets take."""
    print_verdict(facts)
    shown = console()
    what = {"curve": "the law's curve meets it", "run": "one run meets it"}[facts["kind"]]
    shown.print(escape(f"compute [{facts['compute_units']}] at which {what}; path {facts['path']}"))
    budget = facts.get("budget")
    target = facts["target"]
    table = Table(
        escape(f"loss [{facts['units']}]" if target == "loss" else facts["task"]),
        "median",
        "5 %",
        "95 %",
        f"with {facts['confidence']:.0%} confidence",
        "P(unreachable)",
        *([] if budget is None else [f"P(more than {number(budget, 3)})"]),
        "decades beyond",
        box=None,
        pad_edge=False,
    )

    def takes(compute: float) -> str:
        # Where the search starts the target is met already.
        return f"{'at most ' if compute <= facts['start'] else ''}{number(compute, 3)}"

    for row in facts["rows"]:
        compute = row["compute"]
        table.add_row(
            number(row[target]),
            *(takes(compute[key]) for key in ("median", "q05", "q95")),
            takes(row["compute_at_confidence"]),
            f"{row['p_unreachable']:.1%}",
            *([] if budget is None else [f"{row['p_over_budget']:.1%}"]),
            number(row["decades_beyond"], 3),
        )
    show_table(table)
    print_notes(facts["notes"])


def budget_facts(tree: xr.DataTree, found: xr.Dataset) -> dict[str, Facts]:
    """Facts of a budget: the decision with its reason, and what it rests on."""
    kept = ("decision", "reason", "criterion", "level", "confidence", "flops", "path", "family")
    facts: dict[str, Facts] = {
        **verdict_facts(tree),
        **{key: found.attrs[key] for key in (*kept, "currency", "scenario")},
        **_scalars(found),
        "outcomes": _drawn(found),
        "units": {name: found[name].attrs["units"] for name in _drawn(found)},
        "evppi": {
            str(name): float(found["evppi"].sel(input=name)) for name in found["input"].values
        },
        "models": [],
        "notes": notes_of(tree, found),
    }
    if "weight" in found:
        names = ("weight", "expected_utility_by_model", "regret_by_model")
        facts["models"] = [
            {"model": str(model), **{name: float(found[name].sel(model=model)) for name in names}}
            for model in found["model"].values
        ]
    return facts


def budget_table(facts: Mapping[str, Facts]) -> None:
    """Show whether a run pays."""
    print_verdict(facts)
    shown = console()
    currency = facts["currency"]
    shown.print(f"{_DECISIONS[facts['decision']]}: {escape(short(facts['reason']))}")
    table = Table(
        f"a run of {number(facts['flops'], 3)} FLOP",
        "median",
        "90 % interval",
        "unit",
        box=None,
        pad_edge=False,
    )
    for name, row in facts["outcomes"].items():
        unit = facts["units"][name]
        values = [row[key] for key in ("median", "q05", "q95")]
        # Losses are told to their decimals, money and what it pays for in thousands and millions.
        is_loss = name in ("loss", "improvement")
        told = together(values, 4) if is_loss else [as_money(each) for each in values]
        label = "accelerator-hours" if name == "hours" else name
        table.add_row(label, told[0], f"{told[1]} to {told[2]}", escape(unit))
    show_table(table)
    answers = Table("of all outcomes", "answer", "Monte Carlo error", box=None, pad_edge=False)
    for name, label in (
        ("expected_utility", f"expected utility [{currency}]"),
        ("cvar", f"mean of the worst {facts['level']:.0%} [{currency}]"),
        ("p_pays", "P(it pays)"),
        ("p_loses", "P(it loses money)"),
    ):
        found, error = facts[name], facts[f"{name}_mcse"]
        is_chance = name.startswith("p_")
        shares = (f"{found:.1%}", f"{error:.1%}")
        answers.add_row(
            escape(label), *(shares if is_chance else (as_money(found), as_money(error, 2)))
        )
    worths = sorted(facts["evppi"].items(), key=lambda each: -each[1])
    for name, worth in (("everything (EVPI)", facts["evpi"]), *worths):
        answers.add_row(escape(f"worth of knowing {name} [{currency}]"), as_money(worth), "")
    show_table(answers)
    for each in facts["models"]:
        shown.print(
            f"{escape(each['model'])} (weight {each['weight']:.2f}): expected utility "
            f"{as_money(each['expected_utility_by_model'])}, regret {as_money(each['regret_by_model'])}"
        )
    print_notes(facts["notes"])


def next_facts(tree: xr.DataTree, found: xr.Dataset) -> dict[str, Facts]:
    """Facts of the next runs: the batch in its order, and every candidate."""
    columns = [str(name) for name, v in found.data_vars.items() if v.dims == ("candidate",)]

    def candidate(index: int) -> dict[str, Facts]:
        return {name: found[name].values[index].item() for name in columns}

    picks = []
    for place, index in enumerate(found["pick"].values):
        here = found.isel(pick=place)
        told = ("spent", "sd_after", "sd_after_reweighted", "effective_size")
        row = {key: each for key, each in candidate(int(index)).items() if key != "chosen"}
        picks.append({"candidate": int(index), **row, **{name: float(here[name]) for name in told}})
    asked = ("target", "unit", "flops", "gain_below", "horizon", "path", "family")
    kept = (*asked, "budget", "spent", "rule")
    return {
        **verdict_facts(tree),
        **{key: found.attrs[key] for key in kept if key in found.attrs},
        **{key: found.attrs[key] for key in ("sd_before", "sd_after")},
        "picks": picks,
        "candidates": [candidate(index) for index in range(found.sizes["candidate"])],
        "notes": notes_of(tree, found),
    }


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _asked(facts: Mapping[str, Facts]) -> str:
    """What the next runs are to tell, in words."""
    target = str(facts["target"])
    if target == "onset":
        return (
            f"the onset, from which a doubling buys less than {number(facts['gain_below'])}, sought up to "
            f"{number(facts['horizon'], 3)} {facts['unit'].removeprefix('ln(').removesuffix(')')}"
        )
    named = {"gain": "what a doubling buys", "optimal_params": "the compute-optimal parameters"}
    at = f" at {number(facts['flops'], 3)} FLOP" if "flops" in facts else ""
    return f"{named.get(target, target)}{at}"


def _as_factors(facts: Mapping[str, Facts]) -> str:
    """Standard deviations of a logarithm as the factors that they are."""
    if not str(facts["unit"]).startswith("ln("):
        return ""
    before, after = (number(float(np.exp(facts[f"sd_{when}"])), 3) for when in ("before", "after"))
    return f" (a factor of {before} now, {after} after)"


def next_table(facts: Mapping[str, Facts], most: int = 20) -> None:
    """Show the next runs."""
    print_verdict(facts)
    shown = console()
    unit = escape(facts["unit"])
    deciding = "evsi" in facts["picks"][0]
    spread_as = as_money if deciding else number
    shown.print(
        f"what they are to tell: {escape(_asked(facts))}; standard deviation {spread_as(facts['sd_before'], 3)} now, "
        f"{spread_as(facts['sd_after'], 3)} {unit} after {_runs(len(facts['picks']))}, "
        f"{number(facts['spent'], 3)} FLOP in all{_as_factors(facts)}"
    )
    if "not_worth_a_run" in {note["code"] for note in facts["notes"]}:
        shown.print("[bold]none of these runs is worth its price before the decision[/]")
    told = "candidate cost share value_per_flop evsi money p_changes spent sd_after sd_after_reweighted effective_size"
    hidden = told.split()
    # A family that no run has is no column.
    inputs = [
        name
        for name in facts["picks"][0]
        if name not in hidden and any(row[name] != "" for row in facts["picks"])
    ]
    table = Table(
        *inputs,
        "FLOP",
        *([escape(f"price [{facts['unit']}]"), "worth alone"] if deciding else []),
        "alone takes",
        f"sd after {escape(f'[{facts["unit"]}]')}",
        "draws that count",
        box=None,
        pad_edge=False,
    )
    for row in facts["picks"][:most]:
        cells = [escape(r) if isinstance(r := row[name], str) else number(r, 3) for name in inputs]
        table.add_row(
            *cells,
            number(row["cost"], 3),
            *([as_money(row["money"]), as_money(row["evsi"])] if deciding else []),
            f"{row['share']:.1%}",
            spread_as(row["sd_after"], 3),
            number(row["effective_size"], 3),
        )
    show_table(table)
    if len(facts["picks"]) > most:
        shown.print(f"[dim]and {len(facts['picks']) - most} more; --json has them all[/]")
    changes = [row["p_changes"] for row in facts["candidates"] if "p_changes" in row]
    if changes:
        shown.print(f"P(one more run changes the decision): {max(changes):.1%} at most")
    worth = "; worth alone: of seeing the run before the decision" if deciding else ""
    shown.print(
        f"[dim]alone takes: share of the target's variance{worth}; runs in the order of choice[/]"
    )
    print_notes(facts["notes"])


def recipes_facts(trees: Sequence[xr.DataTree], found: xr.Dataset) -> dict[str, Facts]:
    """Facts of two recipes: one row a scale, and the crossing."""
    rows = []
    for index, flops in enumerate(found["flops"].values):
        here = found.isel(flops=index)
        named = ("loss_a", "loss_b", "difference")
        row: dict[str, Facts] = {name: _quantiles(here[name]) for name in named}
        scalars = {name: float(here[name]) for name in ("p_better", "p_better_mcse")}
        rows.append(
            {
                "flops": float(flops),
                "decades_beyond": float(here["decades_beyond"]),
                **scalars,
                **row,
            }
        )
    kept = ("a", "b", "path", "kind", "start", "horizon", "units")
    return {
        "fits": [verdict_facts(tree) for tree in trees],
        **{key: found.attrs[key] for key in kept},
        **_scalars(found),
        "crossing": spread(found["crossing_quantile"]),
        "rows": rows,
        "notes": notes_of(*trees, found),
    }


def recipes_table(facts: Mapping[str, Facts]) -> None:
    """Show two recipes."""
    for each in facts["fits"]:
        print_verdict(each)
    shown = console()
    a, b = escape(facts["a"]), escape(facts["b"])
    shown.print(f"A: {a}; B: {b}; path {escape(facts['path'])}; loss in {facts['units']}")
    table = Table(
        "FLOP", "P(A is better)", "A", "B", "A − B", "decades beyond", box=None, pad_edge=False
    )
    for row in facts["rows"]:
        table.add_row(
            number(row["flops"], 3),
            f"{row['p_better']:.1%} ± {row['p_better_mcse']:.1%}",
            interval(row["loss_a"], 4),
            interval(row["loss_b"], 4),
            interval(row["difference"]),
            f"{row['decades_beyond']:.2f}",
        )
    show_table(table)
    shown.print(_crossing(facts))
    shown.print("[dim]±: Monte Carlo error; in parentheses central 90 % intervals[/]")
    print_notes(facts["notes"])


def _crossing(facts: Mapping[str, Facts]) -> str:
    """Where two curves cross, or that they do not."""
    crossing = facts["crossing"]
    between = f"between {number(facts['start'], 3)} and {number(facts['horizon'], 3)}"
    if facts["p_never"] == 1:
        return f"the curves do not cross {between} FLOP"
    if np.isfinite(crossing["median"]):
        return f"the curves cross at {interval(crossing)} FLOP; P(not {between}) = {facts['p_never']:.1%}"
    met = 1 - facts["p_never"]
    chance = "less than 0.1%" if met < 0.001 else f"{met:.1%}"
    # The quantiles are among all draws, so that a finite one says by when that many have crossed.
    by = [
        f"by {number(crossing[key], 3)} with {QUANTILES[key]:.0%}"
        for key in ("q05", "q25")
        if np.isfinite(crossing[key])
    ]
    return f"the curves cross {between} FLOP with probability {chance}{''.join(f', {each}' for each in by)}"
