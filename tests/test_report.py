"""A report answers first, escapes what is the user's, needs no network, and says the same in three forms."""

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit, with_tasks
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli
from bayescale.report.content import percent, spread
from bayescale.saving import save

EVIL = "<script>alert(1)</script>--><img src=x onerror=alert(2)>|\"'"


@pytest.fixture(scope="module")
def plain(fit: xr.DataTree) -> xr.DataTree:
    """The one real fit: a report asks it for everything that a sampler leaves."""
    return fit


@pytest.fixture(scope="module")
def page(plain: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    bs.write_report(plain, path, beyond=1e24, command="bayescale report fit.nc --beyond 1e24")
    return path.read_text(encoding="utf-8")


class _Tags(HTMLParser):
    """Every tag with its attributes, and the text of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


def told(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_answer_comes_first_and_is_the_fits_own(plain: xr.DataTree, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "report.json", beyond=1e24, gain_below=0.02))
    answer = bs.diminishing(plain, beyond=1e24, gain_below=0.02)
    gain = bs.summarise(bs.returns(plain, flops=1e24))["gain"].isel(flops=0)
    share = percent(float(answer["probability"]), float(answer["probability_mcse"]))
    assert facts["answer"][0] == (
        f"At 1e24 FLOP a doubling buys {spread(gain)} nat/token; the probability that it buys less "
        f"than 0.02 is {share}."
    )
    assert facts["numbers"]["probability"] == pytest.approx(float(answer["probability"]))
    assert facts["numbers"]["gain"]["median"] == pytest.approx(float(gain.sel(quantile=0.5)))
    keys = [section["key"] for section in facts["sections"]]
    assert keys == [
        "loss", "allocation", "assumptions", "trust", "prior", "doubts", "checklist", "reproduce",
    ]  # fmt: skip
    assert not any(
        block.get("text", "").startswith("Not answered")
        for section in facts["sections"]
        for block in section["blocks"]
    )


def test_the_page_stands_alone(page: str) -> None:
    assert len(page.encode()) < 3e6
    tags = _Tags(page)
    for _, attrs in tags.tags:
        for name in ("src", "href", "xlink:href"):
            value = attrs.get(name) or "#"
            assert value.startswith(("#", "data:")), value
    assert not tags.of("script")
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_links_lead_somewhere_and_no_id_is_given_twice(page: str) -> None:
    tags = _Tags(page)
    ids = [attrs["id"] for _, attrs in tags.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in (*tags.of("a"), *tags.of("use")):
        aim = attrs.get("href") or attrs.get("xlink:href") or ""
        assert aim.removeprefix("#") in ids, aim


def test_a_screen_reader_can_read_it(page: str) -> None:
    tags = _Tags(page)
    assert tags.of("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in tags.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1
    assert all(attrs.get("scope") in ("col", "row") for attrs in tags.of("th"))
    assert len(tags.of("caption")) == len(tags.of("table")) > 3
    pictures = [attrs for attrs in tags.of("svg") if attrs.get("role") == "img"]
    assert len(pictures) == len(tags.of("figure")) >= 5
    titles = re.findall(r"<title id=\"([\w-]+)\">([^<]+)</title>", page)
    assert {attrs["aria-labelledby"] for attrs in pictures} == {name for name, _ in titles}
    assert all(len(text) > 40 for _, text in titles)


def test_what_is_the_users_does_nothing(tmp_path: Path) -> None:
    families = {EVIL: 1.0, "b": 1.02}
    tree = fake_fit("chinchilla-families", families=families, jitter=0.05, draws=100)
    tree.attrs["source"] = EVIL
    tags = _Tags(bs.write_report(tree, tmp_path / "a.html", command=EVIL).read_text("utf-8"))
    assert not tags.of("script")
    assert not tags.of("img")
    text = bs.write_report(tree, tmp_path / "a.md", command=EVIL).read_text("utf-8")
    outside = re.sub(r"^(`{3,})\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<", outside)
    header = re.compile(r"(?<!\\)\|")
    for table in re.findall(r"(?:^\|.*\n)+", outside, flags=re.MULTILINE):
        assert len({len(header.findall(line)) for line in table.strip().split("\n")}) == 1


def test_three_forms_say_the_same(plain: xr.DataTree, page: str, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "report.json", beyond=1e24))
    text = bs.write_report(plain, tmp_path / "report.txt", beyond=1e24, format="md").read_text(
        "utf-8"
    )
    bare = text.replace("\\", "")
    for sentence in facts["answer"]:
        assert sentence in page
        assert sentence in bare
    for section in facts["sections"]:
        assert f"## {section['title']}" in bare
        assert f">{section['title']}</h2>" in page


def test_tasks_and_one_input_and_no_convergence(tmp_path: Path) -> None:
    known = with_tasks(
        fake_fit("chinchilla", draws=100, jitter=0.05), {"acc_easy": (-0.2, 8.0, 0.25, 0.95)}
    )
    facts = told(bs.write_report(known, tmp_path / "tasks.json"))
    (section,) = [each for each in facts["sections"] if each["key"] == "capability"]
    assert section["blocks"][1]["rows"][0][0] == "acc_easy"
    one = fake_fit("power", draws=100, jitter=0.05, converged=False)
    facts = told(bs.write_report(one, tmp_path / "one.json"))
    assert facts["answer"][0].startswith("The sampler did not converge")
    assert "allocation" not in [each["key"] for each in facts["sections"]]
    assert facts["numbers"]["converged"] is False


def test_bad_input_writes_nothing(plain: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"report\.pdf: format 'pdf' is not known: expected one of html, md, json"
    ):
        bs.write_report(plain, tmp_path / "report.pdf")
    with pytest.raises(FileNotFoundError):
        bs.write_report(plain, tmp_path / "nowhere" / "report.html")
    with pytest.raises(ValueError, match="not a fit of bayescale"):
        bs.write_report(xr.DataTree(), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_the_verb(plain: xr.DataTree, tmp_path: Path) -> None:
    path = save(plain, tmp_path / "fit.nc")
    out = tmp_path / "out.json"
    args = ["report", str(path), "-o", str(out), "--beyond", "1e24", "--json"]
    result = CliRunner().invoke(cli.app, args)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["report"] == str(out)
    assert told(out)["numbers"]["beyond"] == 1e24
    wrong = CliRunner().invoke(cli.app, ["report", str(path), "-o", str(tmp_path / "out.doc")])
    assert wrong.exit_code == 2
    assert "format 'doc' is not known" in wrong.stderr


# In a browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A headless Chromium."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install playwright"
    )
    with api.sync_playwright() as driver:
        binary = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            options = ["--no-sandbox", "--no-zygote", "--disable-gpu"]
            found = driver.chromium.launch(executable_path=binary, args=options)
        except api.Error as error:
            pytest.skip(f"no Chromium: playwright install chromium ({str(error).splitlines()[0]})")
        yield found
        found.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(browser, page: str, tmp_path: Path, width: int, scheme: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    shown = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on(
        "request",
        lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url),
    )
    shown.goto(path.as_uri())
    assert said == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    for box in (each.bounding_box() for each in shown.query_selector_all("figure svg")):
        assert box is not None
        assert box["width"] > 250
        assert box["height"] > 80
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    shown.click("nav a >> nth=2")
    assert shown.evaluate("window.scrollY") > 0
    shown.close()
