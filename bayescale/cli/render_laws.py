"""What ``bayescale laws`` prints: the catalogue by question, and the page of one law or link."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from bayescale.cli.render import Facts, console, short, show_table
from bayescale.laws import GROUPS, Law
from bayescale.links import Link
from bayescale.model import Model

#: The heading of what leads from loss to scores.
CAPABILITY = "From loss to capability"


def catalogue_facts(laws: Sequence[Law], links: Sequence[Link]) -> list[dict[str, Facts]]:
    """Facts of each law and link, in the order of the groups."""
    grouped: list[tuple[str, Law | Link]] = [(law.group, law) for law in laws]
    grouped += [(CAPABILITY, link) for link in links]
    found = [
        {"group": group, "name": each.name, "question": each.question, "equation": each.equation}
        for group, each in grouped
    ]
    return sorted(found, key=lambda each: (GROUPS.index(each["group"]), each["name"]))


def catalogue(facts: Sequence[Mapping[str, Facts]]) -> None:
    """Show the laws under their groups, each with its question."""
    shown = console()
    wide = max(len(each["name"]) for each in facts) + 2
    for place, each in enumerate(facts):
        if place == 0 or each["group"] != facts[place - 1]["group"]:
            shown.print(f"{'' if place == 0 else chr(10)}[bold]{each['group']}[/]")
        shown.print(f"  {escape(each['name']):{wide}}{escape(each['question'])}")


def law_facts(law: Law | Link, models: Sequence[Model]) -> dict[str, Facts]:
    """Facts of a law or a link: equation, inputs, parameters, default priors, source, models that use it."""
    return {
        "name": law.name,
        "title": law.title,
        "group": law.group if isinstance(law, Law) else CAPABILITY,
        "question": law.question,
        "equation": law.equation,
        "latex": law.latex,
        "source": law.source,
        "noises": list(law.noises) if isinstance(law, Law) else [],
        "inputs": [asdict(each) for each in law.inputs] if isinstance(law, Law) else [],
        "params": [
            {"name": each.name, "meaning": each.meaning, "unit": each.unit, "prior": each.prior}
            for each in law.params
        ],
        "terms": list(law.terms) if isinstance(law, Law) else [],
        "models": [each.name for each in models],
    }


def law_page(facts: Mapping[str, Facts]) -> None:
    """Show a law or a link."""
    shown = console()
    shown.print(f"[bold]{escape(facts['title'])}[/]\n{escape(facts['question'])}\n")
    # Each part of an equation begins a line: "L = ..., D' = ...".
    for part in re.split(r"(?<=,) (?=[^,()]+ = )", facts["equation"]):
        for line in textwrap.wrap(part, shown.width - 4, break_long_words=False):
            shown.print(f"    {escape(line)}")
    # On one line, to be copied whole.
    shown.print(f"\n[dim]LaTeX: {escape(facts['latex'])}[/]\n", soft_wrap=True)
    table = Table("name", "meaning", "unit", "default prior", box=None, pad_edge=False)
    for each in facts["inputs"]:
        against = "" if each["reference"] is None else f", as a ratio to {each['reference']}"
        table.add_row(each["name"], escape(each["meaning"]), each["unit"], f"input{against}")
    for each in facts["params"]:
        prior = "through the loss at the reference scale"
        if each["prior"]:
            inside = ", ".join(
                short(f"{key}={value:g}") for key, value in each["prior"]["kwargs"].items()
            )
            prior = f"{each['prior']['dist']}({inside})"
        table.add_row(each["name"], escape(each["meaning"]), escape(each["unit"]), prior)
    show_table(table)
    if len(facts["terms"]) > 1:
        terms = ", ".join(facts["terms"])
        shown.print(f"shares of the loss at the reference scale, in this order: {terms}")
    if facts["noises"]:
        shown.print(f"noise of a model file: {', '.join(facts['noises'])}")
    shown.print(f"source: {escape(facts['source'])}")
    shown.print(f"models: {', '.join(facts['models']) or 'none; name it in a model file'}")
    if "figure" in facts:
        shown.print(f"figure: {escape(facts['figure'])}")
