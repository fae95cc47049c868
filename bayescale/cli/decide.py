"""The verbs that decide: how to divide a budget, what a target takes, whether a run pays, which run next, which recipe.

Each reads a saved fit. Heavy imports live inside each verb, as in :mod:`bayescale.cli`, which registers them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bayescale.cli.options import (
    EXIT_NO_GO,
    EXIT_UNDECIDED,
    At,
    Family,
    FitFile,
    FixedSeed,
    Force,
    Json,
    Kind,
    PathOption,
    Quiet,
    asked,
    finish,
    held,
    numbers,
    quoted,
    size,
    sizes,
)

if TYPE_CHECKING:
    import xarray as xr

    from bayescale.decide import Scenario


def allocate(
    fit: FitFile,
    flops: Annotated[
        str | None, typer.Option(help="Budgets [FLOP], separated by commas: 1e24,1e25.")
    ] = None,
    released: Annotated[
        str | None,
        typer.Option(help="Judge these models instead: a table with params and tokens."),
    ] = None,
    params_max: Annotated[str | None, typer.Option(help="No more parameters: 70B.")] = None,
    tokens_max: Annotated[str | None, typer.Option(help="No more tokens: 15T.")] = None,
    grid: Annotated[
        str | None, typer.Option(help="The sizes that can be trained: 1B,3B,7B,13B.")
    ] = None,
    inference_tokens: Annotated[
        str | None, typer.Option(help="Tokens served over the lifetime; the budget pays these too.")
    ] = None,
    near: Annotated[
        float, typer.Option(help="Loss within which an allocation is near-optimal \\[nat/token].")
    ] = 0.005,
    probability: Annotated[
        float, typer.Option(help="How probable that must be for the near-optimal set.")
    ] = 0.9,
    at: At = None,
    family: Family = None,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Divide a budget of compute into parameters and tokens; or judge how released models did."""
    if (flops is None) == (released is None):
        raise ValueError("give either --flops 1e24,1e25 or --released TABLE")
    from bayescale import decide
    from bayescale.cli import following, render, render_decide
    from bayescale.runs import read_runs
    from bayescale.saving import FORECAST, load

    demand = 0.0 if inference_tokens is None else size("--inference-tokens", inference_tokens)
    if released is not None:
        bounds = {"--params-max": params_max, "--tokens-max": tokens_max, "--grid": grid}
        unused = [name for name, value in bounds.items() if value is not None]
        if unused:
            raise ValueError(f"{unused[0]} goes with --flops: released models are what they are")
        table = read_runs(released, need=("params", "tokens"))
        tree = load(fit, groups=FORECAST)
        judged = decide.under_trained(
            tree, table, inference_tokens=demand, at=held(at), family=family
        )
        render.out(render_decide.released_facts(tree, judged), json, render_decide.released_table)
        scale = following.further(tree)
        more = asked(inference_tokens=inference_tokens, at=at, family=family)
        render.next_step(json or quiet, f"bayescale allocate {quoted(fit)} --flops {scale}{more}")
        return finish(tree, force)
    tree = load(fit, groups=FORECAST)
    found = decide.allocate(
        tree,
        flops=sizes("--flops", flops or ""),
        params_max=None if params_max is None else size("--params-max", params_max),
        tokens_max=None if tokens_max is None else size("--tokens-max", tokens_max),
        grid=None if grid is None else sizes("--grid", grid),
        inference_tokens=demand,
        near=near,
        probability=probability,
        at=held(at),
        family=family,
    )
    render.out(render_decide.allocate_facts(tree, found), json, render_decide.allocate_table)
    steps = following.report_steps(tree, fit, at=at, family=family)
    render.next_step(json or quiet, "bayescale budget --example > budget.toml", *steps)
    return finish(tree, force)


def target(
    fit: FitFile,
    loss: Annotated[
        str | None, typer.Option(help="Target losses, separated by commas: 2.0,1.9.")
    ] = None,
    accuracy: Annotated[
        str | None, typer.Option(help="Target scores of --task, separated by commas: 0.6,0.7.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of --accuracy, for a fit of a model with tasks.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="How probable meeting the target must be.")
    ] = 0.9,
    budget: Annotated[str | None, typer.Option(help="Compute that there is [FLOP].")] = None,
    path: PathOption = None,
    kind: Annotated[
        Kind, typer.Option(help="curve: the law is to meet it; run: one run, with its luck.")
    ] = "curve",
    at: At = None,
    family: Family = None,
    seed: FixedSeed = 0,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Ask how much compute reaches a loss or a score, and how likely it is that none does."""
    if (loss is None) == (accuracy is None):
        raise ValueError("give either --loss 2.0,1.9 or --accuracy 0.6,0.7 (with --task)")
    targets = {
        name: None if text is None else numbers(f"--{name}", text)
        for name, text in (("loss", loss), ("accuracy", accuracy))
    }
    from bayescale import decide
    from bayescale.cli import following, render, render_decide
    from bayescale.saving import FORECAST, load

    tree = load(fit, groups=FORECAST)
    found = decide.compute_for(
        tree,
        loss=targets["loss"],
        accuracy=targets["accuracy"],
        task=task,
        confidence=confidence,
        budget=None if budget is None else size("--budget", budget),
        path=path,
        kind=kind,
        at=held(at),
        family=family,
        random_seed=seed,
    )
    render.out(render_decide.target_facts(tree, found), json, render_decide.target_table)
    steps = following.report_steps(
        tree, fit, loss=loss, confidence=confidence, path=path, at=at, family=family
    )
    render.next_step(json or quiet, "bayescale budget --example > budget.toml", *steps)
    finish(tree, force)


def _print_example(asked: bool) -> None:
    if asked:
        from bayescale.decide.scenario import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        raise typer.Exit


def budget(
    fit: FitFile,
    scenario: Annotated[
        Path | None,
        typer.Argument(metavar="SCENARIO", help="TOML file; --example prints one, without a fit."),
    ] = None,
    seed: FixedSeed = 0,
    example: Annotated[
        bool,
        typer.Option(
            "--example",
            help="Print a scenario to start from.",
            is_eager=True,
            callback=_print_example,
        ),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Judge whether a run is worth its price. Exit code 0: go, 10: no-go, 20: undecided."""
    from bayescale import decide
    from bayescale.cli import render, render_decide
    from bayescale.saving import FORECAST, load

    if scenario is None:
        raise ValueError(
            "no scenario was given: expected a TOML file of prices and value; `bayescale budget --example > "
            "budget.toml` writes one to start from"
        )
    plan = decide.Scenario.load(scenario)
    tree = load(fit, groups=FORECAST)
    found = decide.budget(tree, plan, random_seed=seed)
    render.out(render_decide.budget_facts(tree, found), json, render_decide.budget_table)
    render.next_step(
        json or quiet,
        f"bayescale next {quoted(fit)} --budget 1e21 --scenario {quoted(scenario)}",
        *_report_of(tree, fit, plan),
    )
    # What rests on a fit that did not converge is no decision.
    finish(tree, force)
    code = {"go": 0, "no-go": EXIT_NO_GO, "undecided": EXIT_UNDECIDED}[found.attrs["decision"]]
    if code:
        raise typer.Exit(code)


def next_runs(
    fit: FitFile,
    budget: Annotated[str, typer.Option(help="FLOP that there are for the next runs: 1e21.")],
    flops: Annotated[
        str | None,
        typer.Option(
            help="Compute that the question is about; an onset is sought up to 1e4 times as far \\[FLOP]."
        ),
    ] = None,
    target: Annotated[
        Literal["loss", "gain", "onset", "optimal_params"],
        typer.Option(
            help="What the runs are to tell: the loss there, the gain, where it falls below --gain-below, N*."
        ),
    ] = "loss",
    gain_below: Annotated[
        float | None, typer.Option(help="Of --target onset: what a doubling buys \\[nat/token].")
    ] = None,
    planned: Annotated[
        str | None,
        typer.Option(help="Ask about the losses of these runs instead: a table of their sizes."),
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="Ask about this go / no-go instead: a budget's TOML file.")
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(help="Table of runs that can be made; else a grid.")
    ] = None,
    replicates: Annotated[int, typer.Option(help="How often one may be made.")] = 1,
    path: PathOption = None,
    at: At = None,
    family: Family = None,
    seed: FixedSeed = 0,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Choose the runs that tell most for their FLOP, without a refit for each."""
    from bayescale import decide
    from bayescale.cli import following, render, render_decide
    from bayescale.decide.preposterior import LEAST_EFFECTIVE
    from bayescale.model import Model
    from bayescale.runs import read_runs
    from bayescale.saving import FORECAST, load

    limit = size("--budget", budget)
    if sum(each is not None for each in (flops, planned, scenario)) != 1:
        raise ValueError(
            "give one of --flops 1e24 (with --target), --planned FILE and --scenario FILE"
        )
    if scenario is not None and at:
        raise ValueError("--at goes with --flops: a scenario states it as at under [run]")
    tree = load(fit, groups=FORECAST)
    columns = tuple(Model.from_toml(tree.attrs["model"]).inputs.values())
    table = None if candidates is None else read_runs(candidates, need=columns)
    about: Any = target
    if planned is not None:
        about = read_runs(planned, need=columns)
    elif scenario is not None:
        about = decide.Scenario.load(scenario)
    found = decide.next_runs(
        tree,
        table,
        budget=limit,
        target=about,
        flops=None if flops is None else size("--flops", flops),
        gain_below=gain_below,
        path=path,
        at=held(at) or None,
        family=family,
        replicates=replicates,
        random_seed=seed,
    )
    facts = render_decide.next_facts(tree, found)
    render.out(facts, json, render_decide.next_table)
    codes = {note["code"] for note in facts["notes"]}
    then = "add what they give to the table, and bayescale fit again"
    steps = [f"make these runs, {then}"]
    if "not_worth_a_run" in codes:
        steps = _report_of(tree, fit, about)
    elif "no_run_tells" in codes:
        given = "other runs" if table is not None else "a table of other runs"
        steps = [
            f"ask again with a larger --budget, or with {given} as --candidates",
            *following.report_steps(tree, fit, path=path, at=at, family=family),
        ]
    elif "refit_needed" in codes:
        first = sum(each["effective_size"] >= LEAST_EFFECTIVE for each in facts["picks"])
        steps = [f"make the first {'run' if first < 2 else f'{first} runs'}, {then}"]
    render.next_step(json or quiet, *steps)
    finish(tree, force)


def _report_of(tree: "xr.DataTree", fit: Path, plan: "Scenario") -> list[str]:
    """The report about the run of a scenario."""
    from bayescale.cli.following import report_steps
    from bayescale.runs.cells import typed

    values = [
        f"{name}={typed(value, 6)}"
        for name, value in (plan.at or {}).items()
        if isinstance(value, float | int)
    ]
    scale = typed(plan.flops, 6)
    return report_steps(tree, fit, beyond=scale, path=plan.path, at=values, family=plan.family)


def compare_recipes(
    fits: Annotated[
        list[Path],
        typer.Argument(metavar="FIT [FIT]", help="Two fits; or one, with --family twice."),
    ],
    flops: Annotated[str, typer.Option(help="Compute [FLOP], separated by commas: 1e24,1e25.")],
    family: Annotated[
        list[str] | None, typer.Option("--family", help="Family of each, in the same order.")
    ] = None,
    at: At = None,
    path: PathOption = None,
    kind: Annotated[
        Kind, typer.Option(help="curve: the laws; run: one run of each, with its luck.")
    ] = "curve",
    seed: FixedSeed = 0,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Ask which of two recipes is better at a scale, and where their curves cross."""
    families = family or []
    if len(fits) > 2 or max(len(fits), len(families)) != 2 or len(families) == 1:
        raise ValueError("give two fits, or one fit with --family A --family B")
    from bayescale import decide
    from bayescale.cli import following, render, render_decide
    from bayescale.saving import FORECAST, load

    # A fit named twice is one fit, whose draws both recipes share.
    read = {each: load(each, groups=FORECAST) for each in dict.fromkeys(fits)}
    trees = [read[each] for each in fits]
    named: list[str | None] = list(families) if families else [None, None]
    labels = families if len(fits) == 1 else [each.stem for each in fits]
    if labels[0] == labels[1]:
        labels = [f"{label} ({place})" for label, place in zip(labels, "AB", strict=True)]
    recipes = {
        label: (trees[min(place, len(trees) - 1)], named[place])
        for place, label in enumerate(labels)
    }
    found = decide.compare_recipes(
        recipes,
        flops=sizes("--flops", flops),
        path=path,
        kind=kind,
        at=held(at),
        random_seed=seed,
    )
    render.out(render_decide.recipes_facts(trees, found), json, render_decide.recipes_table)
    steps = [
        step
        for tree, each, name in zip(trees * 2, fits * 2, named, strict=False)
        for step in following.report_steps(tree, each, path=path, at=at, family=name)
    ]
    render.next_step(json or quiet, *dict.fromkeys(steps))
    for tree in trees:
        finish(tree, force)


#: Verbs by the name that people type.
VERBS: dict[str, Callable[..., None]] = {
    "allocate": allocate,
    "target": target,
    "budget": budget,
    "next": next_runs,
    "compare-recipes": compare_recipes,
}
