"""One file that a decision-maker reads in two minutes and a reviewer in twenty: HTML, Markdown or JSON."""

from bayescale.report.write import FORMATS, write_report

__all__ = ["FORMATS", "write_report"]
