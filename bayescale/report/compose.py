"""Ask a fit everything that a report tells, and put the answers in order."""

from collections.abc import Callable
from pathlib import PurePath

import xarray as xr

from bayescale.report import decisions, evidence, record
from bayescale.report.answer import basis, numbers, sentences
from bayescale.report.checklist import checklist
from bayescale.report.content import Block, Blocks, Content, Section
from bayescale.report.question import Asked, Case

ALARM = "The sampler did not converge: do not rest a decision on any number of this report."

#: Key, heading and maker of each section: what decides first, then what it rests on, then how to do it again.
SECTIONS: tuple[tuple[str, str, Callable[[Case], Blocks]], ...] = (
    ("loss", "What more compute buys", decisions.loss_and_returns),
    ("allocation", "How to divide a budget", decisions.division),
    ("target", "What a loss takes", decisions.targets),
    ("capability", "Scores of tasks", decisions.scores),
    ("doubts", "Doubts", evidence.doubts),
    ("assumptions", "What the answer assumes", evidence.assumptions),
    ("trust", "Can the fit be trusted?", evidence.trust),
    ("prior", "What is prior, what is data", evidence.prior),
    ("checklist", "Checklist of a scaling-law study", checklist),
    ("model", "The model, word for word", record.model_file),
    ("reproduce", "Reproduce", record.reproduce),
)


def compose(fit: xr.DataTree, asked: Asked) -> Content:
    """Ask a fit everything that a report tells.

    Parameters
    ----------
    fit : xr.DataTree
    asked : Asked
    """
    case = Case(fit, asked)
    sections = []
    for key, title, make in SECTIONS:
        blocks: list[Block] = []
        try:
            for block in make(case):
                blocks.append(block)
        except ValueError as error:
            # A law that cannot say this says so; the rest of the report stands.
            blocks.append(f"Not answered: {error}.")
        if blocks:
            sections.append(Section(key, title, tuple(blocks)))
    source = PurePath(str(fit.attrs.get("source") or "runs")).name
    return Content(
        title=f"Returns to scale: {source}, model {case.saved.model.name}",
        answer=tuple(sentences(case)),
        basis=tuple(basis(case)),
        sections=tuple(sections),
        numbers=numbers(case),
        alarm="" if fit.attrs["converged"] else ALARM,
    )
