"""A report in Markdown; figures are told in words."""

import re

from bayescale.notes import Note
from bayescale.report.content import Block, Code, Content, Picture, Table


def to_markdown(content: Content) -> str:
    """The report in Markdown (CommonMark with tables).

    Parameters
    ----------
    content : Content
    """
    lines = [f"# {escape(content.title)}", ""]
    lines += [f"**{escape(content.alarm)}**", ""] if content.alarm else []
    lines += [f"{escape(each)}\n" for each in (*content.answer, *content.basis)]
    for section in content.sections:
        lines += [f"## {escape(section.title)}", ""]
        for block in section.blocks:
            lines += [*_lines(block), ""]
    return "\n".join(lines)


def _lines(block: Block) -> list[str]:
    match block:
        case Table():
            rule = "|---" * len(block.header) + "|"
            rows = (_row(row) for row in block.rows)
            return [f"{escape(block.caption)}:", "", _row(block.header), rule, *rows]
        case Picture():
            return [f"*{escape(block.caption)}* {escape(block.alt)}"]
        case Code():
            longest = max((len(run) for run in re.findall(r"`+", block.text)), default=0)
            fence = "`" * max(3, longest + 1)
            return [fence, block.text, fence]
        case tuple():
            return [f"- **{note.severity}** {escape(_said(note))}" for note in block]
        case _:
            return [escape(block)]


def escape(text: str) -> str:
    r"""Text in which Markdown and HTML find nothing of theirs.

    Examples
    --------
    >>> print(escape("a_b <i>|</i>"))
    a\_b \<i\>\|\</i\>
    """
    return re.sub(r"([\\`*_\[\]<>#|&])", r"\\\1", " ".join(text.split()))


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(escape(cell) for cell in cells)} |"


def _said(note: Note) -> str:
    return f"{note.code}: {note.message}" + (f" — {note.advice}" if note.advice else "")
