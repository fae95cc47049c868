"""What a report consists of, before it is written in any form: sentences, tables, figures and notes under headings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from bayescale.notes import Note
from bayescale.report.words import in_words

#: Width and height of figures [inch]: narrow, so that their letters can be read on a phone.
FULL, WIDE, LOW = (5.8, 6.1), (5.8, 3.8), (5.8, 2.7)


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first column names the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure; its label is its description in words."""

    figure: Figure
    caption: str

    @property
    def alt(self) -> str:
        """The description in words."""
        return in_words(str(self.figure.get_label()), "")


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file."""

    text: str


type Block = str | Table | Picture | Code | tuple[Note, ...]
type Blocks = Iterator[Block]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Content:
    """A report.

    Parameters
    ----------
    title : str
    answer : tuple of str
        Sentences with numbers, the most important first.
    basis : tuple of str
        What the answer rests on, in a sentence or two.
    sections : tuple of Section
    numbers : mapping
        The same numbers for a script, under stable keys.
    alarm : str
        Why no decision may rest on the report; empty if one may.
    """

    title: str
    answer: tuple[str, ...]
    basis: tuple[str, ...]
    sections: tuple[Section, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    alarm: str = ""
