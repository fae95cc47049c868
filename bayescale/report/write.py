"""Write a report: HTML with everything in it, Markdown, or JSON."""

import io
import json
import os
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from jinja2 import Environment
from markupsafe import Markup
from matplotlib import rc_context

from bayescale.forecast.path import PathLike
from bayescale.notes import Note
from bayescale.report.content import Code, Content, Picture, Table, compose
from bayescale.saving import check_folder

Format = Literal["html", "md", "json"]
FORMATS: tuple[str, ...] = get_args(Format)


def write_report(
    fit: xr.DataTree,
    path: str | Path = "report.html",
    *,
    format: Format | None = None,
    beyond: float | None = None,
    gain_below: float | None = None,
    step: float = 2.0,
    along: PathLike | None = None,
    family: str | None = None,
    command: str = "",
) -> Path:
    """Write what a fit says, for a decision-maker and for a reviewer, into one file.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`, or opened from its file.
    path : str or Path
        Where to; replaced if it is there, and only when the new one is whole.
    format : {"html", "md", "json"}, optional
        By default what the file's name ends in. HTML holds its figures and needs no network.
    beyond : float, optional
        Compute asked about [FLOP]; by default ten times the largest run.
    gain_below : float, optional
        What a step of compute has to be worth; by default 0.01 in the unit of the loss.
    step : float
        Factor of compute of one step.
    along : str, Path or table, optional
        How scale grows: the ``path`` of :func:`bayescale.returns`.
    family : str, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    command : str
        How the report was asked for, to be printed in it.

    Returns
    -------
    Path
        Where it was written.

    Raises
    ------
    ValueError
        If the format is not known, the tree is no fit, or a number makes no sense.
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> import bayescale as bs
    >>> fit = bs.fit(bs.load_dataset("pile"), "chinchilla-families", random_seed=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_report(fit, Path(folder) / "report.md", beyond=1e24)
    ...     "the probability that it buys less" in written.read_text(encoding="utf-8")
    True
    """
    path = Path(path)
    chosen = format or path.suffix.removeprefix(".").lower()
    if chosen not in FORMATS:
        raise ValueError(
            f"{path.name}: format {chosen!r} is not known: expected one of {', '.join(FORMATS)}; name the file so, "
            "or say --format"
        )
    check_folder(path)
    if "stack" in fit.attrs:
        raise ValueError("a report is of one fit: write one for each member of the stack")
    content = compose(
        fit,
        beyond=beyond,
        gain_below=gain_below,
        step=step,
        path=along,
        family=family,
        command=command,
    )
    text = {"html": to_html, "md": to_markdown, "json": to_json}[chosen](content)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        written = Path(scratch) / path.name
        written.write_text(text, encoding="utf-8")
        os.replace(written, path)
    return path


def to_html(content: Content) -> str:
    """The report as one page without links to anything outside it."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["picture"] = lambda block: isinstance(block, Picture)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["code"] = lambda block: isinstance(block, Code)
    environment.tests["notes"] = lambda block: isinstance(block, tuple)
    environment.filters["svg"] = _svg
    source = files("bayescale.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(report=content)


def _svg(picture: Picture, key: str) -> Markup:
    """A figure as SVG for a page that holds several: its ids are its own, and it has a description."""
    out = io.BytesIO()
    # Letters as outlines, so that it looks alike everywhere and holds no text of the user's.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": key}):
        picture.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'href="#', f'href="#{key}-', text)
    text = re.sub(r"url\(#", f"url(#{key}-", text)
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    label = f'role="img" aria-labelledby="{key}-title"'
    title = Markup('<title id="{}-title">{}</title>').format(key, picture.alt)
    return Markup(f"{head} {label}>") + title + Markup(rest)


def to_markdown(content: Content) -> str:
    """The report in Markdown; figures are told in words."""
    lines = [f"# {_md(content.title)}", "", *(f"{_md(each)}\n" for each in content.answer)]
    for section in content.sections:
        lines += [f"## {_md(section.title)}", ""]
        for block in section.blocks:
            match block:
                case Table():
                    lines += [
                        f"{_md(block.caption)}:",
                        "",
                        _row(block.header),
                        "|---" * len(block.header) + "|",
                    ]
                    lines += [*(_row(row) for row in block.rows), ""]
                case Picture():
                    lines += [f"*{_md(block.caption)}* {_md(block.alt)}", ""]
                case Code():
                    fence = "`" * max(
                        3, *(len(run) + 1 for run in re.findall(r"`+", block.text) or [""])
                    )
                    lines += [fence, block.text, fence, ""]
                case tuple():
                    lines += [f"- **{each.severity}** {_md(_said(each))}" for each in block]
                    lines.append("")
                case _:
                    lines += [_md(block), ""]
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_md(cell).replace("|", "\\|") for cell in cells) + " |"


def _md(text: str) -> str:
    """Text in which Markdown and HTML find nothing of theirs."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(text.split()))


def _said(note: Note) -> str:
    return f"{note.code}: {note.message}" + (f" — {note.advice}" if note.advice else "")


def to_json(content: Content) -> str:
    """The report for a script: the numbers under stable keys, and every section as data."""

    def plain(block: Any) -> Any:
        match block:
            case Table():
                return {
                    "table": block.caption,
                    "header": list(block.header),
                    "rows": [list(row) for row in block.rows],
                }
            case Picture():
                return {"figure": block.caption, "alt": block.alt}
            case Code():
                return {"code": block.text}
            case tuple():
                return {"notes": [each.__dict__ for each in block]}
            case _:
                return {"text": block}

    facts = {
        "title": content.title,
        "answer": list(content.answer),
        "numbers": _finite(content.numbers),
        "sections": [
            {
                "key": each.key,
                "title": each.title,
                "blocks": [plain(block) for block in each.blocks],
            }
            for each in content.sections
        ],
    }
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    """Numbers that JSON can hold: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
