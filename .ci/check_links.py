"""Every relative link and every anchor leads somewhere: in the Markdown files, or in a built site.

    python .ci/check_links.py           documents at the top and in folders beneath, notebooks included
    python .ci/check_links.py FOLDER    every HTML page in a folder

Links to other hosts are left alone. A page of a site may not load anything from one.
"""

import json
import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "",
    "benchmarks",
    "docs",
    "docs/concepts",
    "docs/howto",
    "docs/reference",
    "models",
    "notebooks",
    "tests",
)
#: What documentation pages link to and `make docs` writes: looked at in the built site.
WRITTEN = ("docs/api", "docs/laws", "docs/measured", "docs/notebooks", "docs/note-codes.md")
LINK = re.compile(r"""!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+["'][^)]*)?\)""")
IMAGE = re.compile(r"""<(?:img|a|source)\b[^>]*?\b(?:src|href|srcset)=["']([^"']+)["']""")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def markdown(path: Path) -> str:
    """Text of a Markdown file, or of a notebook's Markdown cells, without code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"`[^`\n]+`", "", FENCE.sub("", text))


def anchors(path: Path) -> set[str]:
    """Anchors that the headings of a document get on a code host."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    found: set[str] = set(re.findall(r"""<a\s+(?:id|name)=["']([^"']+)""", text))
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", text, re.MULTILINE):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        same = sum(1 for name in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", name))
        found.add(f"{slug}-{same}" if same else slug)
    return found


def broken(path: Path) -> list[str]:
    """Complaints about the links of one document."""
    complaints = []
    text = markdown(path)
    for target in LINK.findall(text) + IMAGE.findall(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("//"):
            continue
        place, _, anchor = target.partition("#")
        aim = (path.parent / unquote(place)).resolve() if place else path
        if any(aim.is_relative_to(ROOT / each) for each in WRITTEN):
            continue
        if not aim.exists():
            complaints.append(f"{path.relative_to(ROOT)}: no such file: {target}")
        elif anchor and aim.suffix == ".md" and anchor not in anchors(aim):
            complaints.append(f"{path.relative_to(ROOT)}: no such heading: {target}")
    return complaints


class Page(HTMLParser):
    """Links of an HTML page, what it loads, and the names that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.names |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and {"stylesheet", "preload", "icon"} & set(
            found.get("rel", "").split()
        ):
            self.loads.append(found.get("href", ""))
        elif "src" in found:
            self.loads.append(found["src"])


read = cache(Page)


def broken_page(path: Path, site: Path) -> list[str]:
    """Complaints about one page of a built site."""
    complaints = []
    page, name = read(path), path.relative_to(site)
    for target in page.loads:
        if re.match(r"(https?:)?//", target):
            complaints.append(f"{name}: loads {target} from elsewhere")
    for target in page.links + page.loads:
        if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("//"):
            continue
        place, _, anchor = target.partition("#")
        aim = (path.parent / unquote(place.partition("?")[0])).resolve() if place else path
        if aim.is_dir():
            aim /= "index.html"
        if not aim.exists():
            complaints.append(f"{name}: no such file: {target}")
        elif aim.suffix == ".html" and unquote(anchor) not in read(aim).names:
            complaints.append(f"{name}: no such place: {target}")
    return complaints


def main() -> int:
    """Print what is broken; the exit status says whether anything is."""
    if len(sys.argv) > 1:
        site = Path(sys.argv[1]).resolve()
        pages = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
        told = [line for path in pages for line in broken_page(path, site)]
        print(*told, sep="\n", end="\n" if told else "", file=sys.stderr)
        print(f"{len(pages)} pages read, {len(told)} broken links")
        return 1 if told or not pages else 0
    documents = [
        path
        for folder in FOLDERS
        for pattern in ("*.md", "*.ipynb")
        for path in sorted((ROOT / folder).glob(pattern))
    ]
    complaints = [line for path in documents for line in broken(path)]
    print(*complaints, sep="\n", end="\n" if complaints else "", file=sys.stderr)
    print(f"{len(documents)} documents read, {len(complaints)} broken links")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
