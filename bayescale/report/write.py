"""Write a report: HTML with everything in it, Markdown, or JSON."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.forecast.path import PathLike
from bayescale.report.compose import compose
from bayescale.report.data import to_json
from bayescale.report.html import to_html
from bayescale.report.markdown import to_markdown
from bayescale.report.question import Asked
from bayescale.saving import FITS, TABLES, check_folder

Format = Literal["html", "md", "json"]
FORMATS: tuple[str, ...] = get_args(Format)


def write_report(
    fit: xr.DataTree,
    path: str | Path = "report.html",
    *,
    format: Format | None = None,
    beyond: float | None = None,
    gain_below: float | None = None,
    loss: ArrayLike | None = None,
    confidence: float = 0.9,
    step: float = 2.0,
    along: PathLike | None = None,
    at: Mapping[str, float] | None = None,
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
    loss : array-like, optional
        Target losses: what they take is asked too.
    confidence : float
        How probable reaching a target must be; in (0, 1).
    step : float
        Factor of compute of one step; above 1.
    along : str, Path or table, optional
        How scale grows: the ``path`` of :func:`bayescale.returns`.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``.
    family : str, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    command : str
        How the report was asked for, to be printed in it.

    Returns
    -------
    Path
        Where it was written. *How to read it*: the first sentence is the answer; the sections below it go from what
        decides to what a reviewer asks. What the fit cannot answer says why in its section.

    Raises
    ------
    ValueError
        If the format is not known, the name is that of a fit or of a table, the tree is no fit, or a number makes no
        sense.
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
    if path.suffix.lower() in {*FITS, *TABLES} - {f".{chosen}"}:
        raise ValueError(
            f"{path.name}: the name of a fit or of a table, which a report would replace; name it "
            f"{path.with_suffix(f'.{chosen}').name}"
        )
    check_folder(path)
    if "stack" in fit.attrs:
        raise ValueError("a report is of one fit: write one for each member of the stack")
    asked = Asked(
        beyond=beyond,
        gain_below=gain_below,
        loss=() if loss is None else tuple(np.atleast_1d(np.asarray(loss, float)).tolist()),
        confidence=confidence,
        step=step,
        path=along,
        family=family,
        at=at,
        command=command,
    )
    content = compose(fit, asked)
    text = {"html": to_html, "md": to_markdown, "json": to_json}[chosen](content)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        written = Path(scratch) / path.name
        written.write_text(text, encoding="utf-8")
        os.replace(written, path)
    return path
