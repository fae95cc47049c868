"""A report answers first, escapes what is the user's, needs no network, and says the same in three forms."""

import hashlib
import html
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit, with_tasks
from test_held import of_experts
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli, plots
from bayescale.forecast.montecarlo import probability_mcse
from bayescale.notes import Note
from bayescale.report.answer import PLAIN
from bayescale.report.words import number, percent, spread, times
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


def unanswered(facts: dict) -> list[str]:
    texts = [block.get("text", "") for each in facts["sections"] for block in each["blocks"]]
    return [text for text in texts if text.startswith("Not answered")]


def section(facts: dict, key: str) -> list[dict]:
    """Blocks of a section."""
    (found,) = [each["blocks"] for each in facts["sections"] if each["key"] == key]
    return found


def table(facts: dict, key: str, place: int = 0) -> dict[str, list[str]]:
    """Cells of a section's table by the name of their row."""
    found = [block for block in section(facts, key) if "table" in block][place]
    return {row[0]: row[1:] for row in found["rows"]}


def test_the_answer_comes_first_and_is_the_fits_own(plain: xr.DataTree, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "report.json", beyond=1e24, gain_below=0.02))
    answer = bs.diminishing(plain, beyond=1e24, gain_below=0.02)
    gain = bs.summarise(bs.returns(plain, flops=1e24))["gain"].isel(flops=0)
    share = percent(float(answer["probability"]), float(answer["probability_mcse"]))
    assert facts["answer"][0] == (
        f"At 1e24 FLOP a doubling buys {spread(gain, 'nat/token')}; the probability that it buys less "
        f"than 0.02 is {share}."
    )
    assert not any("nothing else was said" in each for each in facts["basis"])
    assert facts["numbers"]["probability"] == pytest.approx(float(answer["probability"]))
    assert facts["numbers"]["gain"]["median"] == pytest.approx(float(gain.sel(quantile=0.5)))
    assert facts["numbers"]["horizon"] == answer.attrs["horizon"]
    keys = [section["key"] for section in facts["sections"]]
    assert keys == [
        "loss", "allocation", "doubts", "assumptions", "trust", "prior", "checklist", "model", "reproduce",
    ]  # fmt: skip
    assert not unanswered(facts)


def test_the_first_screen_needs_no_statistician(plain: xr.DataTree, tmp_path: Path) -> None:
    failing = bs.check(plain).assign(verdict="warn")
    assert set(failing.index) <= set(PLAIN)
    far = plain.copy()
    far.attrs["converged"] = 0
    for each in (plain, far):
        facts = told(bs.write_report(each, tmp_path / "report.json", beyond=1e25))
        shown = " ".join([*facts["answer"], *facts["basis"], *PLAIN.values()])
        assert not re.search(r"R-hat|ESS|BFMI|k-hat|PSIS|elasticity", shown)
    beyond = float(bs.diminishing(plain, beyond=1e25, gain_below=0.01)["decades_beyond"])
    assert f"1e25 FLOP is {times(10**beyond)} the compute of the largest run" in facts["answer"][1]
    # A loss there is that of the curve; no one run has promised it.
    assert facts["answer"][1].startswith("The law's curve, about which single runs scatter, is at")


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
    assert len(pictures) == len(tags.of("figure")) >= 6
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
    told_page = html.unescape(page).replace("\N{NO-BREAK SPACE}", " ")
    for sentence in (*facts["answer"], *facts["basis"]):
        assert sentence in told_page
        assert sentence in bare
    cells = [
        cell
        for each in facts["sections"]
        for block in each["blocks"]
        for row in block.get("rows", [])
        for cell in row
    ]
    assert len(cells) > 150
    for cell in cells:
        assert f">{cell}</t" in told_page
        assert cell in bare
    for section in facts["sections"]:
        assert f"## {section['title']}" in bare
        assert f">{section['title']}</h2>" in page


def test_what_nobody_said_is_taken_and_told(plain: xr.DataTree, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "report.json"))
    largest = float(plain["constant_data"]["flops"].max())
    assert facts["numbers"]["beyond"] == pytest.approx(10 * largest)
    assert facts["numbers"]["gain_below"] == 0.01
    taken = facts["basis"][0]
    assert taken.startswith("Taken, since nothing else was said: ")
    assert "10 times the largest run" in taken
    assert "a worth of 0.01 nat/token" in taken


def test_tables_hold_what_the_functions_say(plain: xr.DataTree, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "a.json", beyond=1e24, gain_below=0.02, step=4))
    draws = bs.returns(plain, flops=[1e23, 1e24, 1e25], step=4)
    summary = bs.summarise(draws)
    largest = float(plain["constant_data"]["flops"].max())
    marginal = table(facts, "loss")
    assert list(marginal) == [f"{largest:.3g}".replace("+", ""), "1e23", "1e24", "1e25"]
    for place, scale in enumerate(("1e23", "1e24", "1e25")):
        row = marginal[scale]
        assert row[0] == f"{np.log10(float(scale) / largest):.1f}"
        assert row[1] == spread(summary["loss"].isel(flops=place))
        assert row[2] == spread(summary["gain"].isel(flops=place))
    below = draws["gain"].sel(flops=1e24) < 0.01
    chance = percent(float(below.mean()), float(probability_mcse(below.astype(float))))
    assert table(facts, "loss", 1)["1e24"][0] == chance
    divided = bs.allocate(plain, flops=[1e24])
    optimum = bs.summarise(divided[["params_optimal"]])["params_optimal"].isel(flops=0)
    assert table(facts, "allocation")["1e24"][1] == spread(optimum, sizes=True)
    before = xr.DataTree.from_dict(
        {
            "posterior": plain["prior"].to_dataset(),
            "constant_data": plain["constant_data"].to_dataset(),
            "observed_data": plain["observed_data"].to_dataset(),
        }
    )
    before.attrs = plain.attrs
    blind = bs.summarise(bs.returns(before, flops=1e24, step=4))["gain"].isel(flops=0)
    row = table(facts, "prior")["gain of 4x at 1e24 FLOP [nat/token]"]
    assert row[:2] == [spread(blind), spread(summary["gain"].sel(flops=1e24))]
    checks = bs.check(plain)
    assert {name: row[2] for name, row in table(facts, "trust").items()} == dict(checks["verdict"])


def test_the_checklist_is_filled_in_and_says_what_it_cannot_know(
    plain: xr.DataTree, tmp_path: Path
) -> None:
    facts = told(bs.write_report(plain, tmp_path / "report.json"))
    answers = {
        row[0]: row[1]
        for block in section(facts, "checklist")
        if "table" in block
        for row in block["rows"]
    }
    assert answers["How many runs?"] == "29"
    assert answers["What range of params?"].startswith("70M to 13B (2.3 decades")
    assert answers["What is estimated?"] == "E, A, alpha, B, beta"
    assert answers["How was it started?"] == "4 chains, 1000 draws kept of each, seed 1"
    assert answers["Which algorithm?"] == "No-U-Turn sampler of nutpie"
    assert "degrees of freedom" in answers["Which objective?"]
    unknown = {
        question for question, answer in answers.items() if answer == "not recorded in the fit"
    }
    assert {
        "How are parameters counted (embeddings)?",
        "Were hyper-parameters tuned at each scale?",
    } <= unknown
    (sampled,) = [question for question in answers if "sampled itself (centred)" in question]
    assert sampled.startswith("Which values of family have their own level sampled itself")
    known = answers.keys() - unknown
    assert len(known) > 20


def test_it_can_be_made_again(plain: xr.DataTree, tmp_path: Path) -> None:
    command = "bayescale report 'a fit.nc' --beyond 1e24"
    facts = told(bs.write_report(plain, tmp_path / "report.json", command=command))
    (model,) = section(facts, "model")
    rows = table(facts, "reproduce")
    assert model["code"] == plain.attrs["model"].strip()
    assert rows["SHA-256 of the model file"] == [
        hashlib.sha256(plain.attrs["model"].encode()).hexdigest()
    ]
    assert rows["SHA-256 of the runs"] == [plain.attrs["sha256"]]
    assert f"numpy {json.loads(plain.attrs['versions'])['numpy']}" in rows["versions"][0]
    fit, again = section(facts, "reproduce")[-1]["code"].splitlines()
    assert again == command
    assert shlex.split(fit)[:5] == [
        "bayescale",
        "fit",
        "pile",
        "--model",
        "model.toml",
    ]
    # The report is of the fit that the command before it writes.
    assert fit.endswith("--seed 1 --draws 1000 --chains 4 --sampler nutpie -o 'a fit.nc'")
    assert rows["runs"] == ["data set pile (pile_runs.csv)"]
    texts = [block.get("text") for block in section(facts, "reproduce")]
    assert "The data set pile has 30 runs, the fit 29: give it the same ones." in texts


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("data/my runs.csv", ["data/my runs.csv"]),
        ("-runs.csv", ["./-runs.csv"]),
        ("runs.csv with sizes.csv", ["runs.csv", "--join", "sizes.csv"]),
        ("pile_runs.csv", ["pile_runs.csv"]),  # Another file of that name.
        ("pandas DataFrame", ["RUNS.csv"]),
        ("", ["RUNS.csv"]),
    ],
)
def test_the_command_takes_the_runs_that_were_fitted(
    source: str, words: list[str], tmp_path: Path
) -> None:
    tree = fake_fit("chinchilla", draws=50, jitter=0.05)
    tree.attrs |= {"source": source, "sha256": "0" * 64}
    blocks = section(told(bs.write_report(tree, tmp_path / "a.json")), "reproduce")
    command = shlex.split(blocks[-1]["code"].splitlines()[0])
    assert command[: command.index("--model")] == ["bayescale", "fit", *words]
    said = "The runs were no file that is known: save them as RUNS.csv."
    assert (said in [block.get("text") for block in blocks]) == (words == ["RUNS.csv"])


def test_the_command_is_one_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = fake_fit("chinchilla", draws=50, jitter=0.05)
    pile = bs.load_dataset("pile")
    tree.attrs |= {name: pile.attrs[name] for name in ("source", "sha256")}
    facts = told(bs.write_report(tree, tmp_path / "report.json"))
    command = shlex.split(section(facts, "reproduce")[-1]["code"].splitlines()[0])
    monkeypatch.chdir(tmp_path)
    (model,) = section(facts, "model")
    Path("model.toml").write_text(model["code"])
    fitted: dict = {}

    def sample(runs: xr.Dataset, model: str, **options: object) -> xr.DataTree:
        fitted.update(options, runs=runs, model=Path(model).read_text())
        raise ValueError("far enough")

    monkeypatch.setattr("bayescale.inference.fit", sample)
    result = CliRunner().invoke(cli.app, command[1:])
    assert "far enough" in result.stderr
    xr.testing.assert_identical(fitted["runs"], pile)
    assert fitted["model"].strip() == tree.attrs["model"].strip()


def test_targets_are_answered_where_they_are_asked(plain: xr.DataTree, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "a.json", loss=[1.55, 0.2], confidence=0.8))
    found = bs.compute_for(plain, loss=[1.55, 0.2], confidence=0.8)
    needed = f"{float(found['compute_at_confidence'][0]):.3g}".replace("+", "")
    assert any(
        each.startswith(f"A loss of 1.55 nat/token takes {needed} FLOP for 80 % confidence")
        for each in facts["answer"]
    )
    assert any(
        "0.2 nat/token is not reached with 80 % confidence" in each for each in facts["answer"]
    )
    assert list(table(facts, "target")) == ["1.55", "0.2"]
    assert facts["numbers"]["targets"][1]["compute_at_confidence"] is None


def test_the_onset_is_told_with_its_unit_and_the_sign_of_infinity(tmp_path: Path) -> None:
    tree = fake_fit("chinchilla", draws=100, jitter=0.05)
    facts = told(bs.write_report(tree, tmp_path / "a.json", gain_below=1e-6))
    alts = [each.get("alt", "") for each in section(facts, "loss")]
    (alt,) = [each for each in alts if each.startswith("From where")]
    assert "buys less than 1e-6 nat/token, between" in alt
    assert "median ∞, 90 %: ∞ to ∞;" in alt
    (onset,) = [each for each in facts["answer"] if each.startswith("By ")]
    assert re.search(r"for good with probability less than [\d.]+ %\.$", onset)


@pytest.mark.parametrize(
    ("worth", "form"),
    [
        (0.003, ": with 5 % from {0} FLOP on."),
        (0.006, ": with 5 % from {0} FLOP on, with 25 % from {1} FLOP on."),
        (0.0137, ": from {2} FLOP on in the median (90 %: at most 1e23 FLOP to {4} FLOP)."),
        (0.06, ""),
    ],
)
def test_the_onset_is_a_probability_first(worth: float, form: str, tmp_path: Path) -> None:
    """Near one half its median moves with where the search ends."""
    tree = fake_fit("chinchilla", draws=200, jitter=0.3)
    facts = told(bs.write_report(tree, tmp_path / "a.json", beyond=1e23, gain_below=worth))
    found = bs.diminishing(tree, beyond=1e23, gain_below=worth)
    (onset,) = [each for each in facts["answer"] if "1e27 FLOP, where the search ends" in each]
    if not form:
        chance = percent(float(found["p_already"]), float(found["p_already_mcse"]))
        assert onset.startswith(f"Most probably ({chance}) a doubling buys less than {worth:g} all")
        return
    chance = percent(1 - float(found["p_never"]), float(found["p_never_mcse"]))
    places = [number(float(each), 2) for each in found["onset"]]
    assert onset == (
        f"By 1e27 FLOP, where the search ends, a doubling buys less than {worth:g} for good with probability {chance}"
        + form.format(*places)
    )
    assert float(found["p_never"]) <= 0.25 or "median" not in onset


def test_a_doubt_is_told_once(plain: xr.DataTree, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "a.json", beyond=1e25))
    (doubts,) = (each["notes"] for each in section(facts, "doubts"))
    far = [each["message"] for each in doubts if each["code"] == "far_extrapolation"]
    assert len(far) == 1
    assert far[0].startswith("the scale 1e25 FLOP lies more than a decade beyond")
    # Of a target it says so.
    asked = {"beyond": 2.5e22, "loss": [1.4], "confidence": 0.5}
    facts = told(bs.write_report(plain, tmp_path / "a.json", **asked))
    (doubts,) = (each["notes"] for each in section(facts, "doubts"))
    (far,) = [each["message"] for each in doubts if each["code"] == "far_extrapolation"]
    needed = number(facts["numbers"]["targets"][0]["compute_at_confidence"])
    assert far.startswith(f"what the targets take: the scale {needed} FLOP lies more than a decade")


DOMINATED_MESSAGE = (
    "rests on the prior of model 'x': its sensitivity to the prior's power is -0.34 sd"
)


def test_doubts_are_told_in_the_words_of_their_notes(tmp_path: Path) -> None:
    notes = (
        Note("prior_dominated", "warning", f"the optimal tokens per parameter {DOMINATED_MESSAGE}"),
        Note("loss_may_rise", "warning", "in 10.6% of draws more compute raises the loss at 1e+25"),
        Note(
            "new_family", "warning", "family: 'pythai' has no runs: the forecast is for a new one"
        ),
        Note("not_converged", "error", "R-hat of alpha is 1.3: do not use it"),
    )
    tree = fake_fit(draws=50, jitter=0.05, notes=notes)
    tree["log_prior"] = xr.DataTree(xr.zeros_like(tree["log_prior"].to_dataset()))
    facts = told(bs.write_report(tree, tmp_path / "a.json"))
    assert facts["basis"][-1] == (
        "Before acting read the doubts: the sampler's result failed a convergence check; in 10.6 % of draws more "
        "compute raises the loss at 1e25 FLOP; family: 'pythai' has no runs; the optimal tokens per parameter rests "
        "in part on the prior (moved by it by more than 0.3)."
    )
    messages = [each["message"] for each in section(facts, "doubts")[0]["notes"]]
    assert "in 10.6 % of draws more compute raises the loss at 1e25 FLOP" in messages
    # The gain is asked of one scale twice, and moves with this prior.
    tree = fake_fit(draws=50, jitter=0.05, notes=notes[:1])
    gain = bs.returns(tree, flops=[facts["numbers"]["beyond"]])["gain"].isel(flops=0, drop=True)
    steep = (gain / gain.std()).reset_coords(drop=True)
    tree["log_prior"] = xr.DataTree(xr.Dataset({"alpha": steep}))
    facts = told(bs.write_report(tree, tmp_path / "a.json"))
    (doubts,) = (each["notes"] for each in section(facts, "doubts"))
    assert len([each for each in doubts if each["message"].startswith("the gain at ")]) == 1
    where = number(facts["numbers"]["beyond"])
    assert re.search(rf"the gain at {where} FLOP.* rest in part on the prior", facts["basis"][-1])
    assert "more than on the runs" not in (tmp_path / "a.json").read_text()


def test_a_share_below_zero_is_explained(tmp_path: Path) -> None:
    wild = fake_fit("skaling-drift", draws=200, jitter=0.02, kappa=0.03)
    facts = told(bs.write_report(wild, tmp_path / "a.json", beyond=1e26))
    below = (bs.returns(wild, flops=[1e26])["share_left"] < 0).mean().item()
    assert below > 0.01
    texts = [block.get("text", "") for block in section(facts, "loss")]
    (footnote,) = [text for text in texts if text.startswith("Reducible share below 0: the drift")]
    assert f"{percent(below)} of draws at 1e26 FLOP" in footnote
    (doubts,) = (each["notes"] for each in section(facts, "doubts"))
    (note,) = [each for each in doubts if each["code"] == "below_the_floor"]
    assert note["message"].startswith(
        f"in {percent(below)} of draws the drift of the slope carries"
    )
    calm = told(bs.write_report(fake_fit(draws=50, jitter=0.05), tmp_path / "b.json"))
    assert "below_the_floor" not in json.dumps(calm)
    assert "below 0" not in json.dumps(calm["sections"][0])


def test_the_figure_of_priors_shows_what_decides_far_bands(tmp_path: Path) -> None:
    tree = fake_fit("skaling-drift", draws=50, jitter=0.05, kappa=0.01)
    rate = np.random.default_rng(0).exponential(0.2, (2, 50))
    for group in ("posterior", "prior"):
        known = tree[group].to_dataset()
        tree[group] = xr.DataTree(known.assign(drift_rate=(("chain", "draw"), rate)))
    facts = told(bs.write_report(tree, tmp_path / "a.json"))
    (picture,) = [block for block in section(facts, "prior") if "figure" in block]
    assert "; drift_rate " in picture["alt"]
    assert picture["figure"].endswith("far beyond the runs hangs on drift_rate.")


def test_two_measures_of_the_prior_are_told_apart(plain: xr.DataTree, tmp_path: Path) -> None:
    facts = told(bs.write_report(plain, tmp_path / "a.json"))
    for key in ("trust", "prior"):
        texts = " ".join(block.get("text", "") for block in section(facts, key))
        assert "'prior sensitivity'" in texts
        assert "distance" in texts


@pytest.mark.parametrize("name", ["fit.nc", "fit.zarr", "runs.csv", "other.json"])
def test_a_report_replaces_no_fit_and_no_table(
    name: str, plain: xr.DataTree, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(ValueError, match=r"which a report would replace; name it .*html"):
        bs.write_report(plain, tmp_path / name, format="html")
    assert (tmp_path / name).read_text() == "precious"


def test_a_plan_ends_where_it_ends(plain: xr.DataTree, tmp_path: Path) -> None:
    plan = {"params": [1e8, 1e9, 1e10, 5e10], "tokens": [1e10, 1e11, 1e12, 5e12]}
    facts = told(bs.write_report(plain, tmp_path / "a.json", along=plan))
    assert not unanswered(facts)
    # The last step has to start within the plan.
    assert facts["numbers"]["beyond"] <= 6 * 5e10 * 5e12 / 2
    assert facts["numbers"]["path"] == "table"


def test_a_target_beyond_a_plan_is_beyond_the_plan(tmp_path: Path) -> None:
    tree = fake_fit(draws=100, jitter=0.01)
    plan = {"params": [1e9, 1e10, 1e11], "tokens": [2e10, 2e11, 2e12]}
    asked = {"loss": [1.9, 2.2, 3.2], "beyond": 1e23}
    facts = told(bs.write_report(tree, tmp_path / "a.json", along=plan, **asked))
    said = [each for each in facts["answer"] if each.startswith("A loss of ")]
    assert (
        "is not reached with 90 % confidence within the plan, which ends at 1.2e24 FLOP" in said[0]
    )
    assert all("that nothing in the plan reaches it" in each for each in said)
    # Where the plan starts, the last has been met.
    assert "takes at most 1.2e20 FLOP" in said[2]
    assert "at most" not in said[1]
    assert table(facts, "target")["3.2"][1] == "at most 1.2e20"
    assert "whatever" not in " ".join(said)
    facts = told(bs.write_report(tree, tmp_path / "a.json", loss=[0.5]))
    assert "confidence whatever the compute" in facts["answer"][-1]
    drifting = fake_fit("skaling-drift", draws=50, jitter=0.02, kappa=0.001)
    facts = told(bs.write_report(drifting, tmp_path / "a.json", loss=[0.5]))
    assert re.search(r"not reached .* up to \S+ FLOP, where the search ends", facts["answer"][-1])


def test_a_target_on_the_edge_of_infinity_is_told_without_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = fake_fit(draws=100, jitter=0.02)
    real = bs.compute_for(tree, loss=[2.0, 2.1, 2.2, 1.0])
    largest = float(tree["constant_data"]["flops"].max())
    needed = largest * np.array([10**7.5, 10**1.5, 10**1.5, np.inf])
    found = real.assign(
        compute_at_confidence=("loss", needed),
        decades_beyond=("loss", np.log10(needed / largest)),
        p_unreachable=("loss", [0.08, 0.098, 0.05, 1.0]),
        p_unreachable_mcse=("loss", np.full(4, 0.002)),
    )
    monkeypatch.setattr("bayescale.report.question.compute_for", lambda *_, **__: found)
    facts = told(bs.write_report(tree, tmp_path / "a.json", loss=[2.0, 2.1, 2.2, 1.0]))
    far, edge, sure, never = [each for each in facts["answer"] if each.startswith("A loss of ")]
    assert "is not reached with 90 % confidence within three decades of the runs;" in far
    assert "is only just reached with 90 % confidence, or not at all;" in edge
    assert f"takes {number(needed[1])} FLOP for 90 % confidence" in sure
    assert "is not reached with 90 % confidence whatever the compute" in never
    cells = table(facts, "target")
    assert cells["2"][1:3] == [f"more than {number(1e3 * largest)}", "over 3"]
    assert cells["2.1"][1:3] == ["only just, or never", "–"]
    assert cells["2.2"][1:3] == [number(needed[1]), "1.5"]


@pytest.mark.parametrize("over", ["family", "corpus"])
def test_every_figure_is_of_the_group_asked_about(
    over: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bs.Model.load("chinchilla-families")
    model = bs.Model.from_toml(model.text.replace('over = "family"', f'over = "{over}"'))
    tree = fake_fit(model, families={"a": 1.0, "b": 1.3}, draws=200, jitter=0.01)
    drawn = {name: Mock(wraps=getattr(plots, name)) for name in ("plot_forecast", "plot_isoflops")}
    for name, each in drawn.items():
        monkeypatch.setattr(plots, name, each)
    facts = told(bs.write_report(tree, tmp_path / "a.json", family="b", beyond=1e24))
    assert not unanswered(facts)
    (curve,), options = drawn["plot_forecast"].call_args
    middle = [each["loss"].sel(quantile=0.5) for each in (curve, options["new_run"])]
    np.testing.assert_allclose(middle[1], middle[0], rtol=5e-3)
    bowls, division = drawn["plot_isoflops"].call_args.args
    along = bs.returns(tree, flops=division["flops"].values, family="b")
    np.testing.assert_allclose(
        bowls["loss"].sel(quantile=0.5).min("size"),
        bs.summarise(along)["loss"].sel(quantile=0.5),
        rtol=5e-3,
    )


@pytest.mark.parametrize(
    ("noise", "objective", "alike"),
    [
        ('dist = "Normal"', "log loss (Normal)", "yes"),
        ('dist = "ExGaussian"', "log loss (ExGaussian)", "no: runs far above the law weigh less"),
        (
            'dist = "StudentT"\nnu = 4.0\nknown = "loss_sd"',
            "log loss (Student's t, 4 degrees of freedom)",
            "no: points far off and losses of larger known error weigh less",
        ),
        (
            'dist = "Normal"\nslope = { dist = "Normal", kwargs = { mu = 0.0, sigma = 0.1 } }',
            "log loss (Normal)",
            "no: scales at which runs scatter more weigh less",
        ),
    ],
)
def test_the_checklist_tells_the_noise_as_it_is(
    noise: str, objective: str, alike: str, tmp_path: Path
) -> None:
    tree = fake_fit(draws=50, jitter=0.05)
    tree.attrs["model"] = f'format = 1\nname = "x"\nlaw = "chinchilla"\n[noise]\n{noise}\n'
    for group in ("posterior", "prior"):
        known = tree[group].to_dataset()
        tree[group] = xr.DataTree(
            known.assign(noise_slope=0 * known["sigma"], excess=known["sigma"])
        )
    facts = told(bs.write_report(tree, tmp_path / "a.json"))
    answers = table(facts, "checklist", 3)
    assert objective in answers["Which objective?"][0]
    assert answers["Do all points weigh alike?"] == [alike]


def test_tasks_and_one_input_and_no_convergence(tmp_path: Path) -> None:
    known = with_tasks(
        fake_fit("chinchilla", draws=100, jitter=0.05), {"acc_easy": (-0.2, 8.0, 0.25, 0.95)}
    )
    facts = told(bs.write_report(known, tmp_path / "tasks.json"))
    assert list(table(facts, "capability")) == ["acc_easy"]
    peaked = bs.capability(known, flops=[facts["numbers"]["beyond"]], length=(1,)).squeeze()
    *_, peak, passed = table(facts, "capability")["acc_easy"]
    assert float(peaked["p_peak_passed"]) > 0.95
    start = number(peaked.attrs["start"])
    assert peak == f"at or before {start} (90 %: at or before {start} to at or before {start})"
    assert passed.startswith("more than")
    one = fake_fit("power", draws=100, jitter=0.05, converged=False)
    facts = told(bs.write_report(one, tmp_path / "one.json"))
    assert facts["alarm"].startswith("The sampler did not converge")
    assert "allocation" not in [each["key"] for each in facts["sections"]]
    assert facts["numbers"]["converged"] is False
    page = bs.write_report(one, tmp_path / "one.html").read_text("utf-8")
    assert page.index("The sampler did not converge") < page.index("a doubling buys")


def test_a_law_whose_other_inputs_are_held_is_answered(tmp_path: Path) -> None:
    tree = with_tasks(
        fake_fit("repetition", draws=100, jitter=0.05), {"acc_easy": (-0.2, 8.0, 0.25, 0.95)}
    )
    asked = {"at": {"unique_tokens": 1e11}, "beyond": 1e24}
    for along in (None, "fixed-ratio=20"):
        facts = told(bs.write_report(tree, tmp_path / "a.json", loss=[2.0], along=along, **asked))
        assert not unanswered(facts)
        found = bs.diminishing(tree, gain_below=0.01, path=along, **asked)
        assert facts["numbers"]["probability"] == pytest.approx(float(found["probability"]))
        assert list(table(facts, "capability")) == ["acc_easy"]


def test_what_is_held_stands_in_the_answer(tmp_path: Path) -> None:
    tree = fake_fit("repetition", draws=50, jitter=0.05)
    asked = {"at": {"unique_tokens": 1e11}, "beyond": 1e24, "along": "fixed-ratio=20"}
    facts = told(bs.write_report(tree, tmp_path / "a.json", **asked))
    held = "with unique_tokens held at 1e11"
    assert facts["answer"][0].startswith(f"At 1e24 FLOP, {held}, a doubling buys")
    assert any(each.startswith(f"Of 1e24 FLOP, {held}, the least") for each in facts["answer"])
    (divided, *_) = [block for block in section(facts, "allocation") if "table" in block]
    assert held in divided["table"]
    assert table(facts, "assumptions")["other inputs"] == ["unique_tokens held at 1e11"]
    assert facts["numbers"]["at"] == {"unique_tokens": 1e11}
    assert "e+" not in json.dumps([facts["answer"], facts["sections"][:4]])


def test_a_law_that_cannot_grow_says_so_and_the_rest_stands(tmp_path: Path) -> None:
    tree = fake_fit("repetition", draws=100, jitter=0.05)
    command = "bayescale report 'a fit.nc'"
    facts = told(bs.write_report(tree, tmp_path / "a.json", loss=[2.0], command=command))
    (answer,) = facts["answer"]
    assert answer.startswith("What more compute buys depends on unique_tokens too")
    assert "`bayescale report 'a fit.nc' --at unique_tokens=5e9`" in answer
    assert "no path is known" in facts["numbers"]["not_answered"]
    assert any("no path is known" in each for each in unanswered(facts))
    assert {"trust", "prior", "checklist", "model", "reproduce"} <= {
        each["key"] for each in facts["sections"]
    }
    page = bs.write_report(tree, tmp_path / "a.html").read_text("utf-8")
    assert "<code>bayescale report fit.nc <span>--at</span> unique_tokens=" in page


def test_a_law_without_a_path_is_asked_for_planned_rows(tmp_path: Path) -> None:
    facts = told(bs.write_report(of_experts(), tmp_path / "a.json"))
    (answer,) = facts["answer"]
    assert "how params and experts grow with it" in answer
    assert "`bayescale forecast fit.nc --planned TABLE`" in answer
    # Nothing is said of an answer that is not there.
    shown = " ".join(facts["basis"])
    assert "Taken" not in shown
    assert "how scale grows" not in table(facts, "assumptions")
    (span, _) = (block["text"] for block in section(facts, "assumptions") if "text" in block)
    assert span == "The runs span 1.7 decades of params, 2e7 to 1e9."
    assert table(facts, "checklist", 4)["How far does it extrapolate?"] == [
        "nothing beyond the runs is forecast here"
    ]
    assert "a" in table(facts, "prior")
    for text in (*unanswered(facts), facts["numbers"]["not_answered"]):
        assert "--at" not in text
        assert "--planned TABLE" in text


def test_bad_input_writes_nothing(plain: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"report\.pdf: format 'pdf' is not known: expected one of html, md, json"
    ):
        bs.write_report(plain, tmp_path / "report.pdf")
    with pytest.raises(FileNotFoundError):
        bs.write_report(plain, tmp_path / "nowhere" / "report.html")
    with pytest.raises(ValueError, match="not a fit of bayescale"):
        bs.write_report(xr.DataTree(), tmp_path / "report.html")
    for wrong, said in (
        ({"beyond": -1.0}, "beyond = -1.0: expected a number above zero"),
        ({"gain_below": 0.0}, "gain_below = 0.0: expected a number above zero"),
        ({"step": 1.0}, "step = 1.0: expected a factor of compute above 1"),
        ({"confidence": 1.0}, "confidence = 1.0: expected a probability"),
        (
            {"beyond": 1e30, "along": {"params": [1e8, 1e9], "tokens": [1e10, 1e11]}},
            "the plan covers",
        ),
        ({"at": {"bits": 8.0}}, "has no input 'bits'"),
        ({"loss": [-1.0]}, "loss"),
        ({"along": "sideways"}, "unknown path 'sideways'"),
    ):
        with pytest.raises(ValueError, match=said):
            bs.write_report(plain, tmp_path / "report.html", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_what_was_there(
    plain: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.md"
    path.write_text("old", encoding="utf-8")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        bs.write_report(plain, path)
    monkeypatch.undo()
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


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


def test_a_form_and_a_name_that_do_not_agree_are_refused(
    plain: xr.DataTree, tmp_path: Path
) -> None:
    path = save(plain, tmp_path / "fit.nc")
    args = ["report", str(path), "-o", str(tmp_path / "out.md"), "--format", "html"]
    result = CliRunner().invoke(cli.app, args)
    assert result.exit_code == 2
    assert "--format html and the name 'out.md' do not agree" in result.output
    assert not (tmp_path / "out.md").exists()


def test_a_family_whose_runs_end_early_is_not_within_them(tmp_path: Path) -> None:
    params = np.array([1e7, 2e7, 4e7, 8e7, 1e8, 4e8, 2e9, 8e9])
    columns = {"params": params, "tokens": 20 * params, "family": np.repeat(["small", "large"], 4)}
    runs = xr.Dataset({name: ("run", values) for name, values in columns.items()})
    fit = fake_fit(
        "chinchilla-families", families={"small": 1.1, "large": 0.9}, runs=runs, jitter=0.02
    )
    text = bs.write_report(fit, tmp_path / "out.md", beyond=1e21, family="small").read_text()
    assert "the runs of small end at 7.68e17 FLOP" in text


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ([-0.0003, 0.027, 0.06], "0.027 (90 %: -0.0003 to 0.060)"),
        ([-1e-18, 0.027, 0.06], "0.027 (90 %: 0.000 to 0.060)"),
        ([0.0, 0.027, 0.06], "0.027 (90 %: 0.000 to 0.060)"),
        ([0.21, 1.9, 33.2], "1.9 (90 %: 0.21 to 33)"),
        ([5.5, 138.0, 1234.0], "140 (90 %: 5.5 to 1200)"),
        ([2.146, 2.163, 2.178], "2.163 (90 %: 2.146 to 2.178)"),
    ],
)
def test_a_spread_keeps_its_digits(levels: list[float], said: str) -> None:
    assert spread(xr.DataArray(levels, {"quantile": [0.05, 0.5, 0.95]}, "quantile")) == said


def test_no_safe_size_is_explained(tmp_path: Path) -> None:
    blurred = fake_fit("chinchilla", draws=200, jitter=0.3)
    facts = told(bs.write_report(blurred, tmp_path / "a.json", beyond=1e24))
    assert any("none so safe" in row for row in table(facts, "allocation").values())
    texts = [block.get("text", "") for block in section(facts, "allocation")]
    (said,) = [text for text in texts if text.startswith("None so safe: no size lies within")]
    assert "0.005 nat/token" in said
    sharp = fake_fit("chinchilla", draws=50, jitter=0.001)
    assert "so safe" not in bs.write_report(sharp, tmp_path / "b.md", beyond=1e22).read_text()


def test_numbers_are_written_alike_in_every_form(tmp_path: Path) -> None:
    tree = fake_fit(draws=50, jitter=0.05)
    text = bs.write_report(tree, tmp_path / "a.md", beyond=1e25).read_text("utf-8")
    assert not re.search(r"\de\+\d", text.partition("## The model, word")[0])


def test_a_doubt_about_the_floor_can_be_read_without_the_law(tmp_path: Path) -> None:
    message = (
        "a loss of 1.8 is met in 5.2% of draws that have their irreducible loss above it: the drift of the slope "
        "carries them past what the law alone allows"
    )
    tree = fake_fit(draws=50, jitter=0.05, notes=(Note("below_the_floor", "error", message),))
    tree["log_prior"] = xr.DataTree(xr.zeros_like(tree["log_prior"].to_dataset()))
    facts = told(bs.write_report(tree, tmp_path / "a.json"))
    assert facts["basis"][-1] == (
        "Before acting read the doubts: a loss of 1.8 is met in 5.2 % of draws only because the slope may drift: the "
        "law alone never gets there."
    )


# In a browser -----------------------------------------------------------------------------------


def test_every_grey_of_a_figure_turns_with_the_page(page: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawn) >= 6
    for each in drawn:
        assert not re.search(r"#([0-9a-f]{2})\1\1\b", re.sub(r"var\([^)]*\)", "", each))


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


@pytest.fixture
def opened(browser, page: str, tmp_path: Path) -> Callable[..., object]:
    """The page in a window of a width and scheme, with what it complained of or asked the network for."""
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")

    def open_page(width: int, scheme: str) -> tuple[object, list[str]]:
        size = {"width": width, "height": 900}
        shown = browser.new_page(viewport=size, color_scheme=scheme, offline=True)
        said: list[str] = []
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url),
        )
        shown.goto(path.as_uri())
        return shown, said

    return open_page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_in_a_browser(opened, width: int, scheme: str) -> None:
    shown, said = opened(width, scheme)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    figures = shown.query_selector_all("figure svg")
    assert len(figures) >= 6
    for figure in figures:
        box, frame = figure.bounding_box(), figure.query_selector("xpath=..").bounding_box()
        # Letters stay as large as they are drawn: on a phone a figure moves in its own box.
        assert box["width"] >= 510
        assert box["height"] > 80
        assert frame["x"] + frame["width"] <= width
    # What is too wide moves in its own box, and a caption never does.
    for caption in shown.query_selector_all("caption span"):
        box = caption.bounding_box()
        assert box["x"] + box["width"] <= width
    background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert said == []
    shown.close()


def test_every_link_moves_the_page(opened) -> None:
    shown, said = opened(390, "light")
    links = shown.query_selector_all("nav a")
    assert len(links) >= 8
    for link in links:
        link.click()
        aim = link.get_attribute("href").removeprefix("#")
        assert shown.evaluate("location.hash") == f"#{aim}"
        top = shown.evaluate(f"document.getElementById('{aim}').getBoundingClientRect().top")
        assert top < 900
        assert shown.evaluate("window.scrollY") > 0
        shown.evaluate("window.scrollTo(0, 0)")
    assert said == []
    shown.close()


def test_figures_follow_the_scheme_and_can_be_told_from_the_page(opened) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        shown, _ = opened(1280, scheme)
        # Every colour that an axis, a band or a letter of the first figure is painted with.
        script = """() => [...document.querySelector('figure svg').querySelectorAll('path, use')].map(
            each => getComputedStyle(each)).flatMap(each => [each.fill, each.stroke])"""
        seen[scheme] = set(shown.evaluate(script)) - {"none"}
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = shown.evaluate("getComputedStyle(document.body).color")
        assert paper in seen[scheme]
        letters = shown.evaluate("getComputedStyle(document.querySelector('figure svg')).fill")
        assert letters == ink
        assert contrast(paper, letters) > 7
        shown.close()
    assert "rgb(255, 255, 255)" not in seen["dark"]
    assert "rgb(0, 0, 0)" not in seen["dark"]
    assert len(seen["light"] & seen["dark"]) < len(seen["light"])


def contrast(one: str, other: str) -> float:
    """Ratio of luminances of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_words_can_be_read_against_the_page(opened) -> None:
    for scheme in ("light", "dark"):
        shown, _ = opened(1280, scheme)
        for what in (
            "p",
            ".basis",
            "caption",
            "thead th",
            "td.ok",
            "nav a",
            "figcaption",
            "footer",
        ):
            colour = shown.evaluate(f"getComputedStyle(document.querySelector('{what}')).color")
            behind = "--card" if what == ".basis" else "--paper"
            script = f"getComputedStyle(document.documentElement).getPropertyValue('{behind}')"
            found = shown.evaluate(script).strip().removeprefix("#")
            found = found if len(found) == 6 else "".join(2 * each for each in found)
            paper = f"rgb({', '.join(str(int(found[i : i + 2], 16)) for i in (0, 2, 4))})"
            assert contrast(colour, paper) > 4.5, (scheme, what, colour, paper)
        shown.close()


def test_it_prints(opened) -> None:
    shown, _ = opened(1280, "dark")
    printed = shown.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 4 <= pages <= 14
    shown.emulate_media(media="print", color_scheme="dark")
    # On paper the page is light, whatever the screen was, and has no menu.
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not shown.query_selector("nav").is_visible()
    # As wide as the page.
    widths = "[...document.querySelectorAll('figure svg, main')].map(each => each.clientWidth)"
    assert len(set(shown.evaluate(widths))) == 1
    shown.close()


def test_the_users_script_stays_text(browser, tmp_path: Path) -> None:
    tree = fake_fit("chinchilla-families", families={EVIL: 1.0, "b": 1.02}, jitter=0.05, draws=100)
    tree.attrs["source"] = EVIL
    path = bs.write_report(tree, tmp_path / "a.html", command=EVIL)
    shown = browser.new_page(offline=True)
    said: list[str] = []
    shown.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.goto(path.as_uri())
    assert said == []
    assert EVIL in shown.inner_text("main")
    shown.close()
