"""A report as one HTML page that holds its figures and its style and needs no network.

Figures are inline SVG. Their colours become the page's, so that they turn dark with it; their letters are outlines, so
that they look alike everywhere; and their description stands in their title.
"""

import io
import re
from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.colors import to_hex

from bayescale.plots import style
from bayescale.report.content import Code, Content, Picture, Table

#: Colours of the figures that the page's style has names for, with the names.
_COLOURS = {
    to_hex(colour): f"var(--fig-{name}, {to_hex(colour)})"
    for name, colour in {
        "paper": "white",
        "ink": "black",
        "soft": "0.35",
        "softer": "0.45",
        "faint": "0.6",
        "fill": "0.75",
        "median": style.MEDIAN,
        "half": style.HALF,
        "wide": style.WIDE,
        "beyond": style.BEYOND,
        "mark": style.THRESHOLD,
        "last": style.FAMILIES[-2][0],
    }.items()
}


def to_html(content: Content) -> str:
    """The report as one page without links to anything outside it.

    Parameters
    ----------
    content : Content
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.tests["picture"] = lambda block: isinstance(block, Picture)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["code"] = lambda block: isinstance(block, Code)
    environment.tests["notes"] = lambda block: isinstance(block, tuple)
    environment.filters |= {"svg": svg, "tidy": tidy}
    source = files("bayescale.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(report=content)


def tidy(text: str) -> Markup:
    r"""Text whose numbers keep to their unit at the end of a line, and whose options stay whole.

    Examples
    --------
    >>> tidy("17 %") == "17\N{NO-BREAK SPACE}%"
    True
    >>> print(tidy("say `report --at x=1`, not <b>"))
    say <code>report <span>--at</span> x=1</code>, not &lt;b&gt;
    """
    kept = str(escape(re.sub(r"(?<=\d) (?=%|FLOP|nat/)", "\N{NO-BREAK SPACE}", text)))
    kept = re.sub(r"(?<![\w-])--\w[\w-]*", r"<span>\g<0></span>", kept)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", kept))


def svg(picture: Picture, key: str) -> Markup:
    """A figure as SVG for a page that holds several.

    Parameters
    ----------
    picture : Picture
    key : str
        What its ids begin with: no other figure of the page may have it.
    """
    out = io.BytesIO()
    # Letters as outlines hold no text of the user's; the same numbers give the same bytes.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": key}):
        picture.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # A style here would be the whole page's, where it stands already.
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'href="#', f'href="#{key}-', text)
    text = re.sub(r"url\(#", f"url(#{key}-", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _COLOURS.get(found[0], found[0]), text)
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    label = f'role="img" aria-labelledby="{key}-title"'
    title = Markup('<title id="{}-title">{}</title>').format(key, picture.alt)
    return Markup(f"{head} {label}>") + title + Markup(rest)
