"""The site: ``make docs`` builds it into docs/_build/html, with warnings as errors."""

import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402

import bayescale as bs  # noqa: E402

pages.write(HERE)

project = "bayescale"
author = "the bayescale authors"
copyright = author
version = release = bs.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
exclude_patterns = ["_build", "reproductions.md"]  # the latter is read by pages.py
templates_path = ["_templates"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Signatures show names and defaults; types, dims and units stand in the list of parameters.
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False

# Notebooks are committed with their outputs, and `make notebooks` executes them.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Nothing is fetched when a page is read: no fonts, no script for formulas, no analytics.
html_theme = "pydata_sphinx_theme"
html_title = f"bayescale {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "bayescale"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"start": [], "comparison": [], "limits": [], "changes": []}
highlight_language = "text"  # of blocks that name none: commands
pygments_style = "a11y-high-contrast-light"


def _mathml(tex: str, block: bool) -> str:
    """Formula as MathML, with the spaces about named functions that docutils leaves out."""
    space = '<mspace width="0.17em"/>'
    found = tex2mathml(tex, as_block=block)
    return re.sub(r"<mi>(exp|ln|log|max|min|tanh)</mi>", rf"{space}\g<0>{space}", found)


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math"><div>{_mathml(node.astext(), block=True)}</div></div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Formulas as MathML, which browsers and screen readers know by themselves."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
