"""The command line: the verbs of the package, one function each.

Heavy imports live inside each verb, so that ``bayescale --help`` and the forecasts on a saved fit start at once.
Exit codes: 0 done, 2 bad input (nothing written), 3 the fit did not converge (``--force`` overrides), 130 interrupted;
of ``budget`` also 10 no-go, 20 undecided. What decides is in :mod:`bayescale.cli.decide`.
"""

import gc
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import typer.core
from typer.models import CommandInfo

from bayescale import __version__
from bayescale.cli import decide, laws, report
from bayescale.cli.options import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_NOT_CONVERGED,
    At,
    Columns,
    Family,
    FitFile,
    FixedSeed,
    Force,
    From,
    Join,
    Json,
    Kind,
    ModelName,
    PathOption,
    Quiet,
    RunsFile,
    Seed,
    TokensPerByte,
    Unit,
    as_read,
    check_apart,
    check_figure,
    complete_model,
    counts,
    finish,
    held,
    on_command_line,
    quoted,
    read_table,
    size,
    sizes,
)

if TYPE_CHECKING:
    import xarray as xr


#: Fewer runs than these are named a model with priors that others have measured.
FEW = 8


class _Verbs(typer.core.TyperGroup):
    """Turns an error of bad input into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            typer.echo(f"interrupted: {str(error) or 'nothing was written'}", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of a pipe has seen enough; what is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None
        except (ValueError, OSError, ImportError) as error:
            from bayescale.cli.render import short

            told = on_command_line(str(error), self._options(ctx))
            typer.echo(f"error: {short(told)}", err=True)
            raise typer.Exit(EXIT_BAD_INPUT) from error

    def _options(self, ctx: Any) -> dict[str, str]:
        """Options of the verb that was called, by their names in Python."""
        verb = self.get_command(ctx, ctx.invoked_subcommand or "")
        found: dict[str, str] = {}
        for each in verb.params if verb else []:
            for option in each.opts:
                if option.startswith("--"):
                    names = (each.name, option.removeprefix("--").replace("-", "_"))
                    found |= dict.fromkeys(filter(None, names), option)
        return found


app = typer.Typer(
    name="bayescale",
    cls=_Verbs,
    help="From a table of training runs to a credible answer about returns to scale.",
    epilog="Exit codes: 0 done, 2 bad input, 3 not converged (--force overrides), 10 and 20 no-go and undecided of "
    "budget, 130 interrupted. "
    "Start with: bayescale demo, or bayescale runs RUNS.csv",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bayescale {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """From a table of training runs to a credible answer about returns to scale."""
    if context.invoked_subcommand is None:
        report.guide()


@app.command()
def runs(
    table: RunsFile,
    column: Columns = None,
    form: From = None,
    join: Join = None,
    unit: Unit = None,
    tokens_per_byte: TokensPerByte = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Show what was understood of a table of runs."""
    from bayescale.cli import render
    from bayescale.runs import summarise_runs

    summary = summarise_runs(read_table(table, column, form, join, unit, tokens_per_byte))
    render.out(summary, json, render.runs_summary)
    again = as_read(table, column, form, join, unit, tokens_per_byte)
    # A handful of runs leaves more to the priors than weak ones should be given.
    few = summary["distinct_runs"] < FEW and len(summary["families"]) < 2
    few &= {"params", "tokens"} <= summary["inputs"].keys()
    model = " --model chinchilla-published --discrepancy drift" if few else ""
    render.next_step(json or quiet, f"bayescale fit {again}{model}")


@app.command()
def fit(
    table: RunsFile,
    model: ModelName = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where to write: .nc or .zarr.")
    ] = Path("fit.nc"),
    seed: Seed = None,
    draws: Annotated[int, typer.Option(help="Draws kept of each chain.")] = 1000,
    chains: Annotated[int, typer.Option(help="Chains.")] = 4,
    sampler: Annotated[
        Literal["nutpie", "pymc", "numpyro", "smc"],
        typer.Option(
            help="Sampler of the same posterior. smc: for several modes, and the marginal likelihood; slower."
        ),
    ] = "nutpie",
    discrepancy: Annotated[
        Literal["drift", "none"] | None,
        typer.Option(
            help="Let the law's slope drift, or trust the law exactly, whatever the model says."
        ),
    ] = None,
    column: Columns = None,
    form: From = None,
    join: Join = None,
    unit: Unit = None,
    tokens_per_byte: TokensPerByte = None,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Fit a scaling law and save the posterior in one file."""
    from bayescale.saving import check_output, save

    check_output(output)
    check_apart(output, table, join)
    runs = read_table(table, column, form, join, unit, tokens_per_byte)
    from bayescale.cli import following, render
    from bayescale.inference import fit as sample

    tree = sample(
        runs,
        model,
        draws=draws,
        chains=chains,
        random_seed=seed,
        sampler=sampler,
        discrepancy=discrepancy,
        progress=not (quiet or json) and sys.stderr.isatty(),
    )
    save(tree, output)
    render.out(render.fit_facts(tree, output), json, render.fit_summary)
    render.next_step(
        json or quiet,
        f"bayescale check {quoted(output)}",
        following.forecast_step(tree, output),
    )
    finish(tree, force)


@app.command()
def check(fit: FitFile, quiet: Quiet = False, json: Json = False, force: Force = False) -> None:
    """Judge a fit: convergence, fit to the runs, dependence on the prior."""
    from bayescale.checks import check as judge
    from bayescale.cli import following, render
    from bayescale.saving import load

    tree = load(fit)
    render.out(render.check_facts(tree, judge(tree)), json, render.check_table)
    render.next_step(json or quiet, following.forecast_step(tree, fit))
    finish(tree, force)


@app.command()
def forecast(
    fit: FitFile,
    flops: Annotated[
        str | None, typer.Option(help="Compute [FLOP], separated by commas: 1e24,1e25.")
    ] = None,
    planned: Annotated[
        str | None, typer.Option(help="Table of planned runs; losses are not needed.")
    ] = None,
    path: PathOption = None,
    at: At = None,
    kind: Annotated[
        Kind, typer.Option(help="curve: where the law runs; run: what one more run would give.")
    ] = "curve",
    family: Family = None,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Forecast the loss at larger scales, one row a scale."""
    if (flops is None) == (planned is None):
        raise ValueError("give either --flops 1e24,1e25 (with --path and --at) or --planned TABLE")
    for option, value in (("--path", path), ("--at", at)):
        if planned is not None and value:
            raise ValueError(
                f"{option} goes with --flops: a table of planned runs says itself what each of them is"
            )
    from bayescale.cli import following, render
    from bayescale.forecast import inputs_along, predict
    from bayescale.saving import FORECAST, load

    tree = load(fit, groups=FORECAST)
    where = (
        _plan(tree, planned, family)
        if planned is not None
        else inputs_along(tree, sizes("--flops", flops or ""), path, at=held(at), family=family)
    )
    loss = predict(tree, where, kind=kind)
    render.out(render.forecast_facts(tree, loss, where), json, render.forecast_table)
    beyond = None if flops is None else flops.split(",")[-1].strip()
    steps = following.returns_steps(tree, fit, beyond, path, at, family)
    render.next_step(json or quiet, *steps)
    finish(tree, force)


@app.command()
def returns(
    fit: FitFile,
    beyond: Annotated[str, typer.Option(help="Compute asked about [FLOP].")],
    to: Annotated[
        str | None, typer.Option(help="Ask also whether it holds from --beyond up to here.")
    ] = None,
    gain_below: Annotated[
        float | None, typer.Option(help="A step buys less than this \\[nat/token].")
    ] = None,
    elasticity_below: Annotated[
        float | None, typer.Option(help="Elasticity of the loss is below this.")
    ] = None,
    relative_below: Annotated[
        str | None, typer.Option(help="R@C0: a step is worth less than R times what it was at C0.")
    ] = None,
    floor: Annotated[
        float | None, typer.Option(help="Share of the loss above its floor is below this.")
    ] = None,
    flattening: Annotated[
        float | None,
        typer.Option(
            help="Elasticity fell by more than this: over a decade or, of a slope that drifts, below the law's own."
        ),
    ] = None,
    price_above: Annotated[
        str | None,
        typer.Option(help="W@P: a nat costs more money than W, where a FLOP costs P."),
    ] = None,
    capability_below: Annotated[
        float | None, typer.Option(help="A step adds less than this to the score of --task.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of --capability-below, or of inference.")
    ] = None,
    data_limited: Annotated[
        float | None,
        typer.Option(help="A token read again is worth less than this share of a fresh one."),
    ] = None,
    alternative: Annotated[
        str | None,
        typer.Option(
            help="The same money buys more elsewhere: FIT.nc of another recipe; unique_tokens@P, P FLOP each; or "
            "FIT.nc@N@P at inference, N spent now and P FLOP for one more over all that is served."
        ),
    ] = None,
    step: Annotated[float, typer.Option(help="Factor of compute of one step.")] = 2.0,
    path: PathOption = None,
    at: At = None,
    family: Family = None,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Are returns diminishing? Probability at a scale, over an interval, and from where on.

    Give the one sense of the word that is meant, such as --gain-below 0.01.
    """
    senses = {
        "--gain-below": gain_below,
        "--elasticity-below": elasticity_below,
        "--relative-below": relative_below,
        "--floor": floor,
        "--flattening": flattening,
        "--price-above": price_above,
        "--capability-below": capability_below,
        "--data-limited": data_limited,
        "--alternative": alternative,
    }
    given = [option for option, value in senses.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"diminishing in which sense? Give one of {', '.join(senses)}; got {' and '.join(given) or 'none'}. "
            "The plainest: --gain-below 0.01, a step buys less than 0.01"
        )
    from bayescale.cli import following, render
    from bayescale.forecast import diminishing
    from bayescale.forecast import returns as marginal
    from bayescale.saving import FORECAST, load

    tree = load(fit, groups=FORECAST)
    scale = size("--beyond", beyond)
    answer = diminishing(
        tree,
        beyond=scale,
        to=None if to is None else size("--to", to),
        gain_below=gain_below,
        elasticity_below=elasticity_below,
        relative_below=_pair(
            "--relative-below",
            relative_below,
            "R@C0, such as 0.5@1e22 for half of what a step bought at 1e22",
        ),
        floor=floor,
        flattening=flattening,
        price_above=_pair(
            "--price-above",
            price_above,
            "W@P, such as 1e9@2e-18 where a nat is worth 1e9 and a FLOP costs 2e-18",
        ),
        capability_below=capability_below,
        task=task,
        data_limited=data_limited,
        alternative=_alternative(alternative),
        step=step,
        path=path,
        at=held(at),
        family=family,
    )
    table = marginal(tree, flops=[scale], step=step, path=path, at=held(at), family=family)
    render.out(render.returns_facts(tree, answer, table), json, render.returns_table)
    steps = following.report_steps(
        tree,
        fit,
        beyond=beyond,
        gain_below=gain_below,
        step=None if step == 2 else step,
        path=path,
        at=at,
        family=family,
    )
    unlike = "" if gain_below is not None else f"a report asks --gain-below, not {given[0]}"
    render.next_step(json or quiet, *steps, remark=unlike)
    finish(tree, force)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="Print this model's file.", autocompletion=complete_model)
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """List the shipped models, or print one."""
    from bayescale.cli import render
    from bayescale.model import Model, shipped

    if name is not None:
        model = Model.load(name)
        render.out(
            {"name": model.name, "toml": model.text},
            json,
            lambda facts: print(facts["toml"], end=""),
        )
        return
    listed = [Model.load(each) for each in shipped()]
    facts = [
        {"name": each.name, "title": each.title, "law": each.law, "columns": list(each.columns)}
        for each in listed
    ]
    render.out(facts, json, render.listing)
    render.next_step(json or quiet, "bayescale models NAME", "bayescale fit RUNS --model NAME")


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the figure, the fit and the numbers.")
    ] = Path("bayescale-demo"),
    seed: FixedSeed = 1,
    json: Json = False,
) -> None:
    """Answer a real question on 30 published runs: fit, check, forecast, decide."""
    from bayescale.cli.demo import run_demo

    run_demo(output, seed=seed, json=json)


def _plan(tree: "xr.DataTree", planned: str, family: str | None) -> "xr.Dataset":
    from bayescale.cli.following import first_of
    from bayescale.forecast.curve import read_bare
    from bayescale.forecast.scales import group_of
    from bayescale.model import Model
    from bayescale.runs import read_runs

    columns = Model.from_toml(tree.attrs["model"]).inputs.values()
    table = read_runs(planned, need=tuple(columns))
    return table if family is None else table.assign(group_of(read_bare(first_of(tree)), family))


def _alternative(
    text: str | None,
) -> "xr.DataTree | tuple[str, float] | tuple[xr.DataTree, float, float] | None":
    if text is None:
        return None
    from bayescale.saving import FORECAST, load

    first, *numbers = text.rsplit("@", 2)
    if not numbers:
        return load(Path(text), groups=FORECAST)
    if len(numbers) == 1:
        return first, size("--alternative", numbers[0])
    now, price = (size("--alternative", each) for each in numbers)
    return load(Path(first), groups=FORECAST), now, price


def _pair(option: str, text: str | None, wanted: str) -> tuple[float, float] | None:
    if text is None:
        return None
    from bayescale.runs import parse_size

    first, _, second = text.partition("@")
    try:
        return parse_size(first), parse_size(second)
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: expected {wanted}") from error


@app.command()
def capability(
    fit: FitFile,
    flops: Annotated[str, typer.Option(help="Compute asked about [FLOP]: 1e23,1e24.")],
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    length: Annotated[
        str, typer.Option(help="Steps that a task chains, all of which must succeed.")
    ] = "1,10,100,1000",
    dependence: Annotated[
        float, typer.Option(help="Correlation of the steps of one attempt; 0 to below 1.")
    ] = 0.0,
    step: Annotated[float, typer.Option(help="Factor of compute of one step.")] = 2.0,
    path: PathOption = None,
    at: At = None,
    family: Family = None,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """What does compute buy in loss, and what in scores of tasks? For a fit of a model with tasks."""
    from bayescale.cli import following, render
    from bayescale.forecast import capability as both
    from bayescale.saving import FORECAST, load

    tree = load(fit, groups=FORECAST)
    found = both(
        tree,
        flops=sizes("--flops", flops),
        step=step,
        path=path,
        at=held(at),
        family=family,
        tasks=task,
        length=counts("--length", length),
        dependence=dependence,
    )
    render.out(render.capability_facts(tree, found), json, render.capability_table)
    steps = following.report_steps(tree, fit, path=path, at=at, family=family)
    render.next_step(json or quiet, *steps)
    finish(tree, force)


@app.command()
def backtest(
    table: RunsFile,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Model to try, the first against the others; may be repeated.",
            autocompletion=complete_model,
        ),
    ] = None,
    cut: Annotated[
        list[str] | None,
        typer.Option(help="Fit the runs up to here, hold out larger ones: 1e20; may be repeated."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--input", help="Column that says how large a run is.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of finished fits: the same call goes on there.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that fit.")] = 1,
    dask: Annotated[
        str | None, typer.Option(help="Fit on this Dask cluster: tcp://host:8786.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw it: .png, .pdf or .svg.")] = None,
    draws: Annotated[int, typer.Option(help="Draws kept of each chain.")] = 1000,
    seed: FixedSeed = 0,
    column: Columns = None,
    form: From = None,
    join: Join = None,
    unit: Unit = None,
    tokens_per_byte: TokensPerByte = None,
    quiet: Quiet = False,
    json: Json = False,
    force: Force = False,
) -> None:
    """Hold out the largest runs, forecast them from the others, and score what was said."""
    from bayescale.model import Model

    if figure is not None:
        check_figure(figure, "--figure ")
    if dask is not None and workers > 1:
        raise ValueError(
            f"--workers {workers} with --dask {dask}: give either; a Dask cluster has workers of its own"
        )
    chosen = [Model.load(each) for each in model] if model else None
    cuts = [size("--cut", each) for each in cut] if cut else None
    runs = read_table(table, column, form, join, unit, tokens_per_byte)
    from bayescale.cli import render, render_backtest
    from bayescale.validate import backtest as run_backtest

    try:
        found = run_backtest(
            runs,
            chosen,
            cuts=cuts,
            input=by,
            draws=draws,
            random_seed=seed,
            workers=workers,
            executor=dask,
            results=results,
            progress=not (quiet or json) and sys.stderr.isatty(),
        )
        if (found["status"] == "interrupted").any():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_kept(results)) from None
    render.out(render_backtest.backtest_facts(found), json, render_backtest.backtest_table)
    if figure is not None:
        from bayescale.plots.backtest import plot_backtest

        plot_backtest(found).savefig(figure, dpi=200)
        if not json:
            typer.echo(f"figure: {figure}")
    named = f" --model {quoted(model[0])}" if model else ""
    again = as_read(table, column, form, join, unit, tokens_per_byte)
    render.next_step(json or quiet, f"bayescale fit {again}{named}")
    if not (found["converged"].values | force).all():
        raise typer.Exit(EXIT_NOT_CONVERGED)


def _kept(results: Path | None) -> str:
    """What is left of a backtest that was interrupted."""
    if results is None:
        return ""
    count = len(list(results.glob("*.npz")))
    if count == 0:
        return "no fit had ended"
    fits = "1 finished fit is" if count == 1 else f"{count} finished fits are"
    return f"{fits} in {results}; run the same again to go on from there"


for _name, _verb in (
    *laws.VERBS.items(),
    *decide.VERBS.items(),
    *report.VERBS.items(),
):
    app.command(_name)(_verb)

#: Verbs in the order of the work, as ``--help`` lists them.
PANELS = {
    "From a table to a fit": ("runs", "init", "fit", "check"),
    "Ask": ("forecast", "returns", "capability", "report"),
    "Decide": ("allocate", "target", "budget", "next", "compare-recipes"),
    "Choose a model": ("models", "laws", "backtest"),
    "See it work": ("demo",),
}


def _verb_of(command: CommandInfo) -> str:
    assert command.callback is not None
    return command.name or command.callback.__name__


def _sort_verbs() -> None:
    known = {_verb_of(each): each for each in app.registered_commands}
    for panel, names in PANELS.items():
        for name in names:
            known[name].rich_help_panel = panel
    order = [name for names in PANELS.values() for name in names]
    app.registered_commands.sort(key=lambda each: order.index(_verb_of(each)))


_sort_verbs()


def main() -> None:
    """Run the command line."""
    # A verb ends in seconds. By default Python would look through the million objects that imports leave again and
    # again, and once more before it exits.
    gc.set_threshold(200_000)
    # A terminal that lacks a letter, as of a micro sign or a dash, shows a question mark in its place.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Xarray asks for Dask wherever it is installed and loads all of it; no verb but `backtest --dask` has a use for it.
    if "xarray" not in sys.modules and not any(each.startswith("--dask") for each in sys.argv):
        sys.modules.setdefault("dask", None)  # type: ignore[arg-type]
    try:
        app()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
