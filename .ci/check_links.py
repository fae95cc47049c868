"""Every relative link and every anchor in the Markdown files leads somewhere.

Looked at are the documents at the top and in the folders beneath, notebooks' Markdown included.
Links to other hosts are left alone.
"""

import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("", "benchmarks", "docs", "models", "notebooks", "tests")
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
        if not aim.exists():
            complaints.append(f"{path.relative_to(ROOT)}: no such file: {target}")
        elif anchor and aim.suffix == ".md" and anchor not in anchors(aim):
            complaints.append(f"{path.relative_to(ROOT)}: no such heading: {target}")
    return complaints


def main() -> int:
    """Print what is broken; the exit status says whether anything is."""
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
