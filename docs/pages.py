"""Pages that are written from the package: laws, API, note codes, notebooks, and what was measured."""

import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import bayescale as bs
from bayescale import laws, links
from bayescale.laws import Law, Param
from bayescale.model import Model, shipped
from bayescale.notes import CODES

REPO = Path(__file__).resolve().parents[1]
#: Documents of the repository that are pages of the site, by where they stand there.
COPIES = {
    "benchmarks/README.md": "measured/benchmarks.md",
    "benchmarks/calibration.md": "measured/calibration.md",
    "benchmarks/decisions.md": "measured/decisions.md",
    "benchmarks/speed.md": "measured/speed.md",
    "docs/reproductions.md": "measured/reproductions.md",
}
#: Documents that a page of the site includes.
INCLUDED = {
    "README.md": "index.md",
    "models/README.md": "model-files.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
#: Rooms of the API in the order of the work, with what is to be said of each.
ROOMS = {
    "runs": "Run tables",
    "datasets": "Published run tables",
    "inference": "Fit",
    "checks": "Trust",
    "forecast": "Forecast",
    "decide": "Decide",
    "validate": "Validate",
    "report": "Report",
    "plots": "Plots",
    "model": "Models",
    "laws": "Laws",
    "cost": "Cost",
    "notes": "Notes",
    "saving": "Files",
}
#: Functions of rooms that ``bayescale`` itself does not carry.
BESIDE = {
    "laws": ("get", "names", "register"),
    "forecast": ("prior_sensitivity",),
    "validate": ("summarise_backtest",),
    "runs": ("design_notes", "parse_size"),
    "datasets": ("data_folder",),
}
IMAGE = re.compile(r"!\[([^\]]*)\]\((?![a-z]+:)([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def write(docs: Path) -> None:
    """Write every page; one that has not changed keeps its time, so that a second build is quick."""
    found = dict(_pages())
    for folder in ("api", "laws", "measured", "notebooks"):
        for path in (docs / folder).glob("*.*"):
            if str(path.relative_to(docs)) not in found:
                path.unlink()
    for name, text in found.items():
        path = docs / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _pages() -> Iterator[tuple[str, str]]:
    shown = [laws.get(name) for name in laws.names()]
    models = [Model.load(name) for name in shipped()]
    yield "laws/index.md", laws_index(shown)
    for law in shown:
        yield (
            f"laws/{law.name}.md",
            law_page(law, [each for each in models if each.law == law.name]),
        )
    yield "api/index.rst", api()
    yield "note-codes.md", note_codes()
    books = sorted((REPO / "notebooks").glob("*.ipynb"))
    for path in books:
        yield f"notebooks/{path.name}", path.read_text(encoding="utf-8")
    yield "notebooks/index.md", notebooks_index(books)
    there = {source: page for source, page in COPIES.items() if (REPO / source).exists()}
    for source, page in there.items():
        yield page, moved((REPO / source).read_text(encoding="utf-8"), source, page)
    yield "measured/index.md", measured(there)


def laws_index(shown: list[Law]) -> str:
    """All laws by what they are about, with the question that each answers."""
    parts = [
        "# Laws",
        "A law is an equation, with its inputs, its parameters, their default priors and its source. A "
        "[model file](../model-files.md) names one and says the rest. [Adding a law](../howto/add-a-law.md) takes one "
        "file. On the command line: `bayescale laws`, `bayescale laws NAME`, and with `--plot` its curves under the "
        "prior.",
    ]
    for group in laws.GROUPS:
        rows = [
            (f"[{law.name}]({law.name}.md)", law.question, f"`{law.equation}`")
            for law in shown
            if law.group == group
        ]
        if rows:
            parts += [f"## {group}", _table(("law", "question", "equation"), rows)]
    rows = [
        (f"`{link.name}`", link.question, f"`{link.equation}`")
        for link in map(links.get, links.names())
    ]
    parts += [
        "## From loss to capability",
        _table(("link", "question", "equation"), rows),
        "Links stand in the table `[tasks]` of a [model file](../model-files.md).",
    ]
    names = "\n".join(law.name for law in shown)
    return "\n\n".join(parts) + f"\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def law_page(law: Law, models: list[Model]) -> str:
    """One law: equation, inputs, parameters, priors, source, and the model files that name it."""
    inputs = [
        (f"`{each.name}`", each.meaning, each.unit, _reference(each.reference), _bounds(each))
        for each in law.inputs
    ]
    params = [
        (f"`{law.posterior_name(each.name)}`", each.meaning, each.unit, each.support, _prior(each))
        for each in law.params
    ]
    told = inspect.getdoc(inspect.getmodule(law.loss)) or ""
    _, _, more = told.partition("\n")
    falls = law.input_names if law.falls_in is None else law.falls_in
    facts = [
        f"Irreducible loss: `{law.floor}`."
        if law.floor
        else "No irreducible loss: the floor is zero.",
        f"The noise of a model file: {', '.join(f'`{name}`' for name in law.noises)}.",
        "Returns can flatten within the law."
        if law.can_bend
        else "The elasticity of the reducible loss cannot fall along one input: `flattening` is a question for "
        "another law, or for a drift.",
        f"More is never worse for {', '.join(f'`{name}`' for name in falls)}."
        if falls
        else "More of an input may be worse.",
    ]
    if law.terms and len(law.terms) > 1:
        facts.append(
            f"The loss at the reference scale divides into {', '.join(f'`{term}`' for term in law.terms)}, in this "
            "order of `shares`."
        )
    files = [
        f"`bayescale models {each.name}`: {each.title}\n\n```toml\n{each.text.strip()}\n```"
        for each in models
    ]
    parts = [
        f"# {law.name}",
        f"**{law.title}.** {law.question}",
        *(f"$$\n{part}\n$$" for part in re.split(r",?\s*\\q?quad\s*", law.latex)),
        f"In plain text: `{law.equation}`",
        "## Inputs",
        _table(("input", "meaning", "unit", "taken as a ratio to", "values"), inputs),
        "## Parameters",
        "Names are those of the posterior; what is stated at the reference scale of the runs ends in `_ref`.",
        _table(("parameter", "meaning", "unit", "support", "default prior"), params),
        *(["## How it is meant", more.strip()] if more.strip() else []),
        "## What follows from the equation",
        "\n".join(f"- {each}" for each in facts),
        *(["## Shipped models with this law", *files] if files else []),
        "## Source",
        _papers(law.source),
    ]
    return "\n\n".join(parts) + "\n"


def api() -> str:
    """Everything that is public, by room."""
    lines = [
        "API",
        "===",
        "",
        "``import bayescale as bs`` gives what is written without a room.",
        "",
    ]
    homes: Mapping[str, str] = bs._HOMES
    rooms = {home.split(".")[0] for home in homes.values()}
    assert rooms <= set(ROOMS), f"docs/pages.py: ROOMS lacks {rooms - set(ROOMS)}"
    for room, title in ROOMS.items():
        module = importlib.import_module(f"bayescale.{room}")
        names = [
            f"bayescale.{name}" for name in bs.__all__ if homes.get(name, "").split(".")[0] == room
        ]
        beside = BESIDE.get(room, ())
        if room in ("plots", "cost"):
            beside = tuple(name for name, each in vars(module).items() if _public(each, module))
        names += [f"bayescale.{room}.{name}" for name in sorted(beside)]
        summary = inspect.getdoc(module) or ""
        listed = [f"   {name}" for name in names]
        lines += [title, "-" * len(title), "", summary.splitlines()[0], ""]
        lines += [".. autosummary::", "   :toctree: generated", "", *listed, ""]
    return "\n".join(lines)


def _public(value: Any, module: Any) -> bool:
    if not inspect.isfunction(value) or value.__name__.startswith("_"):
        return False
    return str(value.__module__).startswith(module.__name__)


def note_codes() -> str:
    """Every code with its meaning."""
    rows = [(f"`{code}`", meaning) for code, meaning in CODES.items()]
    return (
        "# Note codes\n\nDoubts travel as data: runs, fits, forecasts and decisions carry notes, in Python through "
        "[`get_notes`](api/index.rst), with `--json` under `notes`. A note has a stable code, a severity (`info`, "
        "`warning`, `error`), a message with the numbers in it, and what to do. `error` means that a decision should "
        "not rest on the number beside it.\n\n" + _table(("code", "meaning"), rows) + "\n"
    )


def notebooks_index(books: list[Path]) -> str:
    """Notebooks with the first paragraph of each."""
    listed = []
    for path in books:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title, _, text = "".join(cells[0]["source"]).partition("\n")
        first = " ".join(text.strip().split("\n\n")[0].split())
        listed.append(f"[{title.lstrip('# ')}]({path.name})\n: {first}")
    names = "\n".join(path.stem for path in books)
    return (
        "# Notebooks\n\nShown with the outputs that they were committed with; they are executed as they stand in the "
        "checks of every change.\n\n"
        + "\n\n".join(listed)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )


def measured(there: Mapping[str, str]) -> str:
    """What was measured."""
    names = "\n".join(Path(page).stem for page in there.values())
    return (
        "# Measured\n\nEvery claim has a script that measures it beside what one would otherwise use, and a page that "
        "the script writes. What fell short of its mark stands there too.\n\n"
        f"```{{toctree}}\n\n{names}\n```\n"
    )


def moved(text: str, source: str, page: str) -> str:
    """A document whose relative links lead from its new place, or are words where the site lacks their aim."""

    def follow(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            return found[0]
        place, _, anchor = target.partition("#")
        aim = os.path.normpath(os.path.join(os.path.dirname(source), place))
        inside = COPIES.get(aim) or INCLUDED.get(aim)
        if aim.startswith("notebooks/"):
            inside = aim
        if inside is None:
            return words
        path = os.path.relpath(inside, os.path.dirname(page))
        return f"[{words}]({path}{'#' + anchor if anchor and aim in COPIES else ''})"

    def show(found: re.Match[str]) -> str:
        aim = os.path.normpath(os.path.join(os.path.dirname(source), found[2]))
        return f"![{found[1]}]({os.path.relpath(aim, os.path.dirname(f'docs/{page}'))})"

    return LINK.sub(follow, IMAGE.sub(show, text))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in lines
    )


def _reference(reference: float | str | None) -> str:
    if reference is None:
        return "the runs' reference scale"
    return f"the scale of `{reference}`" if isinstance(reference, str) else f"{reference:g}"


def _bounds(each: laws.Input) -> str:
    known: list[tuple[Any, Callable[[Any], str]]] = [
        (each.lower, lambda value: f"at least {value:g}"),
        (each.upper, lambda value: f"at most {value:g}"),
        (each.at_most, lambda value: f"at most `{value}`"),
    ]
    said = [tell(value) for value, tell in known if value is not None]
    return ", ".join(said) or "positive"


def _prior(param: Param) -> str:
    if param.prior is None:
        return "through the loss at the reference scale"
    inside = ", ".join(f"{key}={value:g}" for key, value in param.prior["kwargs"].items())
    return f"`{param.prior['dist']}({inside})`"


def _papers(source: str) -> str:
    """Sources with their arXiv ids as links."""
    link = r"[arXiv \1](https://arxiv.org/abs/\1)"
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", link, source) + "."
