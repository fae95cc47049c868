"""The verb ``laws``: the catalogue by question, one law, and what it looks like before any runs.

Heavy imports live inside the verb, as in :mod:`bayescale.cli`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bayescale.cli.options import Json, Quiet, check_figure, complete_law


def laws(
    name: Annotated[
        str | None,
        typer.Argument(help="Describe this law or link.", autocompletion=complete_law),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Argument(help="With --plot: where to draw it, .png, .svg or .pdf; else NAME.png."),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw it under its default priors.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """List the laws by the question that each answers, or describe one."""
    from bayescale import laws as catalogue
    from bayescale import links
    from bayescale.cli import render, render_laws
    from bayescale.model import Model, hint, shipped

    if plot and name is None:
        raise ValueError("--plot: say which law: bayescale laws NAME --plot")
    if file is not None and not plot:
        raise ValueError(f"{file}: a file goes with --plot: bayescale laws {name} --plot {file}")
    if name is None:
        found = [catalogue.get(each) for each in catalogue.names()]
        listed = render_laws.catalogue_facts(found, [links.get(each) for each in links.names()])
        render.out(listed, json, render_laws.catalogue)
        render.next_step(json or quiet, "bayescale laws NAME", "bayescale laws NAME --plot")
        return
    known = [*catalogue.names(), *links.names()]
    if name not in known:
        raise ValueError(
            f"unknown law {name!r}: {hint(name, known)}The laws are {', '.join(catalogue.names())}; "
            f"the links {', '.join(links.names())}"
        )
    figure = None
    if plot:
        figure = file or Path(f"{name}.png")
        check_figure(figure)
    models = [Model.load(each) for each in shipped()]
    if name in links.names():
        using = [each for each in models if each.tasks is not None and each.tasks.link == name]
        facts = render_laws.law_facts(links.get(name), using)
    else:
        using = [each for each in models if each.law == name]
        facts = render_laws.law_facts(catalogue.get(name), using)
    if figure is not None:
        from bayescale.cli.prior_curves import prior_curves
        from bayescale.plots import plot_law

        plot_law(prior_curves(name)).savefig(figure, dpi=200)
        facts["figure"] = str(figure)
    render.out(facts, json, render_laws.law_page)
    steps = [f"bayescale fit RUNS --model {each.name}" for each in using[:1]]
    render.next_step(json or quiet, *steps, *([] if plot else [f"bayescale laws {name} --plot"]))


#: Verbs by the name that people type.
VERBS: dict[str, Callable[..., Any]] = {"laws": laws}
