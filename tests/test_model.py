"""Model files: what is read, what is refused and how it is said."""

import copy
import datetime
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from bayescale import laws
from bayescale.model import DISTRIBUTIONS, Model, Pool, Prior, models_dir, shipped
from bayescale.model import _model as module

HEAD = 'format = 1\nlaw = "chinchilla"\n'
POWER = 'format = 1\nlaw = "power"\n'
BY_TERM = """
[priors]
E = { dist = "Normal", kwargs = { mu = 1.8, sigma = 0.3 } }
"""
A_AND_B = """
A = { dist = "HalfNormal", kwargs = { sigma = 1.0 } }
B = { dist = "HalfNormal", kwargs = { sigma = 1.0 } }
"""


def alpha(dist: str, kwargs: str = "") -> str:
    """A model file with this prior for alpha."""
    return HEAD + f'[priors.alpha]\ndist = "{dist}"\nkwargs = {{ {kwargs} }}\n'


def row(name: str, text: str, *pieces: str) -> object:
    return pytest.param(text, pieces, id=name)


WRONG = [
    # The file as a whole.
    row("not-toml", "format = = 1", "not valid TOML", "line 1"),
    row("not-toml-open-table", "format = 1\n[priors", "not valid TOML"),
    row("a-key-twice", HEAD + 'law = "power"', "not valid TOML"),
    row("endless-number", "format = 1" + "0" * 5000, "not valid TOML"),
    row("empty", "", "missing key 'format'", "format = 1"),
    row("no-format", 'law = "chinchilla"', "missing key 'format'", "format = 1"),
    row("format-of-the-future", 'format = 2\nlaw = "x"', "format: 2 is newer", "upgrade bayescale"),
    row("format-zero", 'format = 0\nlaw = "x"', "format: expected the whole number 1, got 0"),
    row("format-as-text", 'format = "1"', "format: expected the whole number 1, got '1'"),
    row("format-as-float", "format = 1.0", "format: expected the whole number 1, got 1.0"),
    row("format-as-bool", "format = true", "format: expected the whole number 1, got True"),
    row("top-level-key", HEAD + "[prios]", "unknown key 'prios'", "did you mean 'priors'?"),
    row("top-level-far-off", HEAD + "zzz = 1", "unknown key 'zzz'", "keys here are format, name"),
    row("name-as-number", HEAD + "name = 3", "name: expected a name, got 3"),
    row("blank-name", HEAD + 'name = " "', "name: expected a name, got ' '"),
    row("title-as-list", HEAD + "title = []", "title: expected a line of text, got []"),
    row("cite-as-bool", HEAD + "cite = true", "cite: expected text, got True"),
    # The law and its inputs.
    row("no-law", "format = 1", "missing key 'law'"),
    row("unknown-law", 'format = 1\nlaw = "chinchila"', "law: unknown law", "mean 'chinchilla'?"),
    row("law-far-off", 'format = 1\nlaw = "zzz"', "law: unknown law 'zzz'", "The laws are "),
    row("law-as-number", "format = 1\nlaw = 3", "law: expected the name of a law, got 3"),
    row("law-as-table", "format = 1\n[law]\nname = 'x'", "law: expected the name of a law, got {"),
    row("unknown-input", HEAD + "[inputs]\nparam = 'n'", "inputs: unknown key", "mean 'params'?"),
    row("input-of-another-law", HEAD + "[inputs]\nscale = 'n'", "inputs: unknown key 'scale'"),
    row("input-as-number", POWER + "inputs = {scale = 3}", "inputs.scale: expected the name", "3"),
    row("input-blank", POWER + "inputs = {scale = ''}", "inputs.scale: expected the name of a col"),
    row("inputs-as-text", HEAD + "inputs = 'params'", "inputs: expected a table", "params, tokens"),
    row("input-twice", HEAD + "inputs = {params = 'tokens'}",
        "inputs.params: column 'tokens' is taken already, by inputs.tokens; name another"),
    row("input-is-the-loss", POWER + "inputs = {scale = 'loss'}",
        "inputs.scale: 'loss' is the column that the model explains; name another"),
    # Which priors.
    row("priors-as-number", HEAD + "priors = 5", "priors: expected a table", "got 5"),
    row("priors-as-list", HEAD + "priors = ['alpha']", "priors: expected a table"),
    row("unknown-prior", HEAD + "[priors.alfa]", "priors: unknown key 'alfa'", "mean 'alpha'?"),
    row("prior-number", HEAD + "priors = {alpha = 3}", "priors.alpha: expected a table", "got 3"),
    row(
        "level-and-terms",
        HEAD + BY_TERM + A_AND_B + 'level = { dist = "HalfNormal", kwargs = { sigma = 1.0 } }',
        "priors: level and E, A, B state the same thing twice",
        "either level and shares",
    ),
    row(
        "shares-and-one-term",
        HEAD + BY_TERM + "shares = {}",
        "priors: shares and E state the same thing twice",
    ),
    row("only-some-terms", HEAD + BY_TERM, "priors: missing key 'A'"),
    row("shares-of-one-term-too-few", HEAD + "[priors.shares]\ndist = 'Dirichlet'\n"
        "kwargs = { a = [4.0, 1.5] }", "priors.shares: law 'chinchilla' has 3 terms (E, A, B)"),
    row("shares-of-one-number", HEAD + "[priors.shares]\ndist = 'Dirichlet'\n"
        "kwargs = { a = [4.0] }", "priors.shares.kwargs.a: expected a list of numbers above zero"),
    row("shares-negative", HEAD + "[priors.shares]\ndist = 'Dirichlet'\n"
        "kwargs = { a = [4.0, -1.0, 1.5] }", "priors.shares.kwargs.a: expected a list of numbers"),
    row("shares-from-beta", HEAD + "[priors.shares]\ndist = 'Beta'\n"
        "kwargs = { alpha = 1, beta = 1 }", "priors.shares.dist: Beta puts mass on unit values"),
    # One prior.
    row("no-dist", HEAD + "[priors.alpha]\nkwargs = {}", "priors.alpha: missing key 'dist'"),
    row("misspelt-kwargs", HEAD + "[priors.alpha]\ndist = 'Normal'\nkwrgs = {}",
        "priors.alpha: unknown key 'kwrgs'", "did you mean 'kwargs'?"),
    row("wrong-dist", alpha("Lognormal"), "priors.alpha.dist: unknown distribution 'Lognormal'",
        "did you mean 'LogNormal'?"),
    row("dist-far-off", alpha("zzz"), "unknown distribution 'zzz'", "Known: Normal, StudentT"),
    row("dist-as-list", HEAD + "[priors.alpha]\ndist = []", "priors.alpha.dist: expected one of"),
    row("dist-as-table", HEAD + "[priors.alpha.dist]", "priors.alpha.dist: expected one of"),
    row("kwargs-as-number", HEAD + "[priors.alpha]\ndist = 'Beta'\nkwargs = 3",
        "priors.alpha.kwargs: expected a table with keys alpha, beta; got 3"),
    row("unknown-kwarg", alpha("HalfNormal", "sgma = 1"), "priors.alpha.kwargs: unknown key 'sgma'",
        "did you mean 'sigma'?"),
    row("missing-kwarg", alpha("Gamma", "alpha = 1"), "priors.alpha.kwargs: missing key 'beta'"),
    row("no-kwargs", HEAD + "[priors.alpha]\ndist = 'HalfNormal'", "missing key 'sigma'"),
    row("number-as-text", alpha("HalfNormal", "sigma = '1'"),
        "priors.alpha.kwargs.sigma: expected a number above zero, got '1'"),
    row("bool", alpha("HalfNormal", "sigma = true"), "expected a number above zero, got True"),
    row("negative-sigma", alpha("HalfNormal", "sigma = -1"), "a number above zero, got -1"),
    row("sigma-zero", alpha("HalfNormal", "sigma = 0.0"), "a number above zero, got 0.0"),
    row("sigma-nan", alpha("HalfNormal", "sigma = nan"), "a number above zero, got nan"),
    row("sigma-infinite", alpha("HalfNormal", "sigma = inf"), "a number above zero, got inf"),
    row("sigma-too-large", alpha("HalfNormal", "sigma = 1" + "0" * 400), "a number above zero"),
    row("mu-nan", alpha("LogNormal", "mu = nan, sigma = 1"), "mu: expected a number, got nan"),
    row("median-and-mu", alpha("LogNormal", "median = 0.3, mu = -1.1, sigma = 0.4"),
        "priors.alpha.kwargs: LogNormal takes either 'median' or 'mu'"),
    row("neither-median-nor-mu", alpha("LogNormal", "sigma = 0.4"), "either 'median' or 'mu'"),
    row("median-of-the-runs-elsewhere", alpha("LogNormal", "median = 'runs', sigma = 0.4"),
        "priors.alpha.kwargs.median: expected a number above zero, got 'runs'"),
    row("mass-below-zero", alpha("Normal", "mu = 0.3, sigma = 0.1"),
        "priors.alpha.dist: Normal puts mass on real values; this parameter is positive"),
    row("mass-on-a-simplex", alpha("Dirichlet", "a = [1, 1]"), "puts mass on simplex values"),
    row("uniform-below-zero", alpha("Uniform", "lower = -1, upper = 1"), "mass on real values"),
    row("bounds-upside-down", alpha("Uniform", "lower = 2, upper = 1"),
        "priors.alpha.kwargs: 'lower' must be below 'upper'"),
    row("bounds-alike", alpha("TruncatedNormal", "mu = 1, sigma = 1, lower = 1, upper = 1"),
        "'lower' must be below 'upper'"),
    # Pooling.
    row("pool-as-text", HEAD + "pool = 'family'", "pool: expected a table"),
    row("pool-of-unknown", HEAD + "[pool.levl]\nover = 'family'", "pool: unknown key 'levl'",
        "did you mean 'level'?"),
    row("pool-without-over", HEAD + "[pool.level]\nsd = {}", "pool.level: missing key 'over'"),
    row("pool-over-number", HEAD + "pool = {level = {over = 3}}", "pool.level.over: expected the"),
    row("pool-over-nothing", HEAD + "pool = {level = {over = []}}", "pool.level.over: expected the"),
    row("pool-over-twice", HEAD + "pool = {level = {over = ['family', 'family']}}",
        "pool.level.over: a column is there twice"),
    row("pool-with-too-few-spreads", HEAD + "[pool.level]\nover = ['family', 'corpus']\n"
        "[[pool.level.sd]]\ndist = 'HalfNormal'\nkwargs = {sigma = 1}",
        "pool.level.sd: expected one prior, or one for each of family, corpus; got 1"),
    row("pool-as-number", HEAD + "pool = {level = 3}", "pool.level: expected a table", "over, sd"),
    row("pool-over-the-loss", HEAD + "pool = {level = 'loss'}", "pool.level.over: 'loss' is the"),
    row("pool-over-an-input", HEAD + "pool = {level = {over = ['family', 'params']}}",
        "pool.level.over: column 'params' is taken already, by inputs.params"),
    *(
        row(f"pool-over-{over}", f"{head}pool = {{level = {{over = ['family', '{over}']}}}}\n{tail}",
            f"pool.level.over: with a column named '{over}' two things", f"the name '{name}'",
            f"rename the column in the run table and here, say to '{over}_group'")
        for over, name, head, tail in [
            *((over, over, HEAD, "") for over in ("term", "run", "chain", "draw", "alpha", "level", "sigma", "E")),
            ("A_ref", "A_ref", HEAD, ""),
            ("log_params", "log_params", HEAD, ""),
            ("mode", "mode", POWER + "discrepancy = 'drift'\n", ""),
            ("task", "task", HEAD, "[tasks]\ncolumns = 'acc'"),
            ("constant", "constant", HEAD, "[tasks]\ncolumns = 'acc'"),
            ("midpoint_sd", "midpoint_sd", HEAD, "[tasks]\ncolumns = 'acc'"),
        ]
    ),
    row("pool-over-sd", HEAD + "pool = {level = 'sd'}", "a column named 'sd'", "'level_sd'"),
    row("pool-over-index", HEAD + "pool = {level = 'a', alpha = 'a_index'}", "name 'a_index'"),
    row("pool-centered-as-text", HEAD + "pool = {level = {over = 'family', centered = 'no'}}",
        "pool.level.centered: expected true or false, got 'no'"),
    row("pool-sd-below-zero", HEAD + "[pool.level]\nover = 'family'\n[pool.level.sd]\n"
        "dist = 'Normal'\nkwargs = {mu = 0, sigma = 1}", "pool.level.sd.dist: Normal puts mass on"),
    row("pool-of-shares", HEAD + "[pool]\nshares = 'family'", "pool.shares: its prior is on"),
    row("pool-of-a-unit-prior", alpha("Uniform", "lower = 0.1, upper = 0.9")
        + "[pool]\nalpha = 'family'", "pool.alpha: its prior is on unit values"),
    # Noise.
    row("noise-as-number", HEAD + "noise = 0.01", "noise: expected a table", "got 0.01"),
    row("noise-key", HEAD + "[noise]\nsgima = 1", "noise: unknown key", "did you mean 'sigma'?"),
    row("noise-dist", HEAD + "[noise]\ndist = 'Cauchy'", "noise.dist: expected one of Normal, StudentT, ExGaussian"),
    row("noise-list", HEAD + "[noise]\ndist = []", "noise.dist: expected one of Normal, StudentT, ExGaussian"),
    row("noise-sigma-as-number", HEAD + "[noise]\nsigma = 0.01", "noise.sigma: expected a table"),
    row("noise-sigma-below-zero", HEAD + "[noise.sigma]\ndist = 'Normal'\n"
        "kwargs = {mu = 0, sigma = 1}", "noise.sigma.dist: Normal puts mass on real values"),
    row("nu-of-normal", HEAD + "[noise]\ndist = 'Normal'\nnu = 4", "noise.nu: degrees of freedom"),
    row("nu-negative", HEAD + "[noise]\nnu = -4.0", "noise.nu: expected a prior or a number", "-4"),
    row("nu-as-bool", HEAD + "[noise]\nnu = true", "noise.nu: expected a prior or a number"),
    row("slope-as-bool", HEAD + "[noise]\nslope = true", "noise.slope: expected a table"),
    row("known-number", HEAD + "[noise]\nknown = 3", "noise.known: expected the name", "got 3"),
    row("known-blank", HEAD + "[noise]\nknown = ''", "noise.known: expected the name of a column"),
    row("known-loss", HEAD + "[noise]\nknown = 'loss'", "noise.known: 'loss' is the column that"),
    row("known-input", HEAD + "[noise]\nknown = 'tokens'", "noise.known: column 'tokens' is taken",
        "by inputs.tokens"),
    row("trials-input", POWER + "[noise]\ndist = 'Binomial'\ntrials = 'flops'",
        "noise.trials: column 'flops' is taken already, by inputs.scale"),
    row("excess-of-t", HEAD + "[noise.excess]\ndist = 'HalfNormal'\nkwargs = {sigma = 1}",
        "noise.excess: an excess goes with ExGaussian"),
    row("counts-and-drift", POWER + "discrepancy = 'drift'\n[noise]\ndist = 'Beta'",
        "noise.dist: a model with discrepancy takes Normal, StudentT, ExGaussian", "discrepancy = 'none'"),
    # Discrepancy.
    row("discrepancy-misspelt", HEAD + "discrepancy = 'drfit'", "discrepancy: expected 'drift'"),
    row("discrepancy-as-number", HEAD + "discrepancy = 3", "discrepancy: expected 'drift'", "3"),
    row("drift-key", HEAD + "[discrepancy]\nrte = 1", "discrepancy: unknown key", "mean 'rate'?"),
    row("breaks-key", HEAD + "[discrepancy.breaks]\nrat = 1", "discrepancy.breaks: unknown key",
        "mean 'rate'?"),
    row("breaks-negative", HEAD + "[discrepancy.breaks.change]\ndist = 'Normal'\n"
        "kwargs = {mu = 0, sigma = 1}", "discrepancy.breaks.change.dist: Normal puts mass on real"),
    row("drift-rate-as-number", HEAD + "[discrepancy]\nrate = 0.3", "discrepancy.rate: expected a"),
    row("drift-and-sampled-nu", HEAD + "discrepancy = 'drift'\n[noise.nu]\ndist = 'Gamma'\n"
        "kwargs = {alpha = 2, beta = 0.1}", "noise.nu: a model with discrepancy takes a number"),
    # Tasks.
    row("tasks-dist-list", HEAD + "[tasks]\ncolumns = 'a'\ndist = ['Beta']", "tasks.dist: expected one"),
    row("tasks-dist-table", HEAD + "[tasks]\ncolumns = 'a'\ndist = {a = 1}", "tasks.dist: expected one"),
    row("tasks-of-the-loss", HEAD + "[tasks]\ncolumns = ['a', 'loss']", "tasks.columns: 'loss' is the"),
    row("tasks-trials-loss", HEAD + "[tasks]\ncolumns = 'a'\ndist = 'Binomial'\ntrials = 'loss'",
        "tasks.trials: 'loss' is the column that the model explains"),
    row("tasks-trials-score", HEAD + "[tasks]\ncolumns = 'a'\ndist = 'Binomial'\ntrials = 'a'",
        "tasks.trials: column 'a' is taken already, by tasks.columns"),
    *(
        row(f"tasks-no-room-{at}", HEAD + f"[tasks]\ncolumns = ['a', 'b']\n{given}",
            f"tasks.{key}: the floor{of} must lie below its ceiling; got a floor of {low} and a ceiling of {high}")
        for at, (given, key, of, low, high) in enumerate([
            ("floor = 0.9\nceiling = 0.5", "floor", "", 0.9, 0.5),
            ("floor = 0.5\nceiling = 0.5", "floor", "", 0.5, 0.5),
            ("floor = 1.0", "floor", "", 1, 1),
            ("ceiling = 0.0", "ceiling", "", 0, 0),
            ("floor = {a = 0.2, b = 1.0}", "floor", " of 'b'", 1, 1),
            ("ceiling = {a = 0.2, b = 0.0}", "ceiling", " of 'b'", 0, 0),
            ("floor = {a = 0.2, b = 0.6}\nceiling = 0.5", "floor", " of 'b'", 0.6, 0.5),
            ("floor = {a = 0.2, b = 0.6}\nceiling = {a = 0.9, b = 0.5}", "floor", " of 'b'", 0.6, 0.5),
            ("floor = {dist = 'Uniform', kwargs = {lower = 0.6, upper = 0.8}}\nceiling = 0.5",
             "ceiling", "", 0.6, 0.5),
        ])
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "pieces"), WRONG)
def test_a_wrong_file_is_refused_with_place_and_remedy(text: str, pieces: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"^mine\.toml: ") as caught:
        Model.from_toml(text, where="mine.toml")
    message = str(caught.value)
    assert message.count("mine.toml") == 1
    assert all(piece in message for piece in pieces), message


# What is read -----------------------------------------------------------------------------------

FULL = """
format = 1
name = "mine"
title = "Everything at once"
law = "chinchilla"
cite = "Nobody, arXiv 0000.00000"

[inputs]
params = "active_params"

[priors.level]
dist = "LogNormal"
kwargs = { median = "runs", sigma = 0.1 }

[priors.alpha]
dist = "Uniform"
kwargs = { lower = 0, upper = 2 }

[pool]
level = "family"

[pool.beta]
over = "corpus"
sd = { dist = "Exponential", kwargs = { lam = 5.0 } }
centered = true

[noise]
dist = "StudentT"
nu = 4
known = "loss_sd"
sigma = { dist = "HalfStudentT", kwargs = { nu = 4.0, sigma = 0.01 } }
slope = { dist = "Normal", kwargs = { mu = 0.0, sigma = 0.2 } }
"""


def test_every_choice_of_a_file_arrives() -> None:
    model = Model.from_toml(FULL, where="elsewhere.toml")
    assert (model.name, model.title, model.law) == ("mine", "Everything at once", "chinchilla")
    assert model.cite == "Nobody, arXiv 0000.00000"
    assert model.law_object is laws.get("chinchilla")
    assert model.inputs == {"params": "active_params", "tokens": "tokens"}
    assert model.columns == ("active_params", "tokens", "family", "corpus", "loss_sd")
    assert model.shared_level
    assert list(model.priors) == ["level", "shares", "alpha", "beta"]
    assert model.priors["level"].kwargs == {"median": "runs", "sigma": 0.1}
    assert model.priors["alpha"] == Prior("Uniform", {"lower": 0, "upper": 2})
    assert model.pool["level"] == Pool("family", Prior("HalfNormal", {"sigma": 0.1}))
    assert model.pool["beta"] == Pool("corpus", Prior("Exponential", {"lam": 5.0}), centered=True)
    assert model.noise.dist == "StudentT"
    assert model.noise.nu == 4.0
    assert model.noise.slope == Prior("Normal", {"mu": 0.0, "sigma": 0.2})
    assert model.discrepancy is None


def test_defaults_are_filled_in() -> None:
    model = Model.from_toml(POWER, where="folder/mine.toml")
    assert model.name == "mine"
    assert model.title == laws.get("power").title
    assert model.inputs == {"scale": "flops"}
    assert model.columns == ("flops",)
    assert model.priors["shares"] == Prior("Dirichlet", {"a": [4.0, 1.5]})
    assert model.priors["gamma"].as_dict() == laws.get("power").param("gamma").prior
    assert model.noise.dist == "StudentT"
    assert isinstance(model.noise.nu, Prior)
    assert (model.noise.slope, model.noise.known, model.cite) == (None, None, "")


@pytest.mark.parametrize(
    ("law", "a"), [("chinchilla", [4.0, 1.5, 1.5]), ("kaplan", [1.5, 1.5]), ("m4", [4.0, 1.5, 1.5])]
)
def test_most_of_a_loss_is_its_floor_where_the_law_has_one(law: str, a: list[float]) -> None:
    model = Model.from_toml(f'format = 1\nlaw = "{law}"')
    assert model.priors["shares"].kwargs["a"] == a


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "[pool]\nlevel = 'family'\nalpha = 'family'",
        HEAD + "[pool]\nlevel = {over = ['family', 'corpus']}\nalpha = 'corpus'",
        HEAD + "[pool]\nlevel = 'task'\nalpha = 'mode'",
        HEAD
        + "[tasks]\ncolumns = ['a', 'b']\nfloor = {a = 0.2, b = 0.6}\nceiling = {a = 0.5, b = 0.9}",
        'format = 1\nlaw = "coverage"\n[noise]\ndist = "Binomial"\ntrials = "n"\n'
        "[tasks]\ncolumns = 'a'\ndist = 'Binomial'\ntrials = 'n'",
    ],
)
def test_a_column_may_serve_several_parameters(text: str) -> None:
    assert Model.from_toml(text).text == text


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(POWER, encoding="utf-8-sig")
    assert Model.load(path).text == POWER
    path.write_text(POWER, encoding="utf-16")
    with pytest.raises(ValueError, match=r"; save the file as UTF-8$"):
        Model.load(path)


def test_terms_may_be_stated_instead_of_level_and_shares() -> None:
    text = HEAD + BY_TERM.replace("Normal", "LogNormal").replace("mu = 1.8", "median = 1.8")
    model = Model.from_toml(text + A_AND_B)
    assert not model.shared_level
    assert list(model.priors) == ["E", "A", "B", "alpha", "beta"]


def test_normal_noise_has_no_degrees_of_freedom() -> None:
    assert Model.from_toml(HEAD + '[noise]\ndist = "Normal"').noise.nu is None


@pytest.mark.parametrize("table", ['discrepancy = "drift"', "[discrepancy]"])
@pytest.mark.parametrize(("head", "same"), [(POWER, "power-drift"), (HEAD, "skaling-drift")])
def test_a_drift_has_a_default_rate_and_fixed_degrees_of_freedom(
    head: str, same: str, table: str
) -> None:
    model, shipped = Model.from_toml(head + table), Model.load(same)
    assert model.discrepancy is not None
    assert model.discrepancy == shipped.discrepancy
    assert model.noise.nu == 4.0
    assert Model.from_toml(head + 'discrepancy = "none"').discrepancy is None


@pytest.mark.parametrize(
    ("dist", "kwargs", "support"),
    [
        ("Uniform", {"lower": -1.0, "upper": 1.0}, "real"),
        ("Uniform", {"lower": 0.0, "upper": 1.0}, "unit"),
        ("Uniform", {"lower": 0.0, "upper": 2.0}, "positive"),
        ("TruncatedNormal", {"mu": 0.3, "sigma": 0.1}, "real"),
        ("TruncatedNormal", {"mu": 0.3, "sigma": 0.1, "upper": 1.0}, "real"),
        ("TruncatedNormal", {"mu": 0.3, "sigma": 0.1, "lower": 0.0}, "positive"),
        ("TruncatedNormal", {"mu": 0.3, "sigma": 0.1, "lower": 0.0, "upper": 1.0}, "unit"),
        ("Beta", {"alpha": 1.0, "beta": 1.0}, "unit"),
        ("Dirichlet", {"a": [1.0, 1.0]}, "simplex"),
    ],
)
def test_support_follows_bounds(dist: str, kwargs: dict[str, object], support: str) -> None:
    assert Prior(dist, kwargs).support == support


# Round trips and places -------------------------------------------------------------------------


@pytest.mark.parametrize("text", [FULL, HEAD, POWER + "# a remark, kept\n"])
def test_the_text_is_kept_word_for_word(text: str) -> None:
    model = Model.from_toml(text, where="mine.toml")
    assert model.text == text
    assert Model.from_toml(model.text, where="mine.toml") == model


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_model_loads_and_travels(name: str) -> None:
    model = Model.load(name)
    assert model.name == name
    assert model.title
    assert "arXiv" in model.cite
    assert Model.load(models_dir() / f"{name}.toml") == model
    assert Model.load(model) is model
    assert Model.from_toml(model.text, where="saved") == model
    assert pickle.loads(pickle.dumps(model)) == model
    assert copy.deepcopy(model) == model


def test_unknown_model_gives_a_hint() -> None:
    with pytest.raises(
        ValueError, match=r"'chinchila': did you mean 'chinchilla'\? shipped models"
    ):
        Model.load("chinchila")


def test_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"mine\.toml: no such model file; shipped models:"):
        Model.load(tmp_path / "mine.toml")


def test_messages_about_a_file_start_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for content in (b"format = 2", b"\xff\xfe", b"format = 1\nlaw = 3"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="^" + re.escape(f"{path}: ")):
            Model.load(path)


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package folder somewhere else."""
    package = tmp_path / "bayescale"
    package.mkdir()
    monkeypatch.setattr(module, "__file__", str(package / "model" / "_model.py"))
    models_dir.cache_clear()
    yield package
    models_dir.cache_clear()


@pytest.mark.parametrize("place", ["models", "bayescale/models"], ids=["checkout", "wheel"])
def test_models_are_found_in_a_checkout_and_in_the_package(moved: Path, place: str) -> None:
    folder = moved.parent / place
    folder.mkdir()
    (folder / "mine.toml").write_text(POWER, encoding="utf-8")
    (folder / "README.md").write_text("not a model", encoding="utf-8")
    assert models_dir() == folder
    assert shipped() == ["mine"]
    assert Model.load("mine").name == "mine"


# The page about the format ----------------------------------------------------------------------

PAGE = (models_dir() / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_the_examples_of_the_page_are_valid(text: str) -> None:
    assert Model.from_toml(text).text == text


def test_the_page_covers_the_format() -> None:
    assert "`format = 1`" in PAGE
    named = set(re.findall(r"`([\w-]+)`", PAGE))
    arguments = {name for kwargs, _ in DISTRIBUTIONS.values() for name in kwargs}
    keys = "law name title cite noise discrepancy over sd centered dist sigma nu slope known rate"
    assert named >= {*DISTRIBUTIONS, *arguments, *keys.split(), *shipped()}


# Anything else that TOML can hold ---------------------------------------------------------------

WORDS = st.sampled_from(
    sorted(
        {*re.findall(r"[A-Za-z]\w*", FULL + BY_TERM + A_AND_B), *DISTRIBUTIONS}
        | {"power", "runs", "none", "drift", "discrepancy", "rate", "median", "upper"}
    )
)
TEXT = WORDS | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5)
SCALAR = (
    TEXT
    | st.booleans()
    | st.integers(-2, 5)
    | st.sampled_from([10**400, -(10**400)])
    | st.floats()
    | st.just(datetime.date(2026, 1, 1))
)
NESTED = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
# Plain values more often than hypothesis would choose them: most wrong files hold one.
VALUE = SCALAR | NESTED
WHOLE = {
    "format": 1,
    "name": "mine",
    "law": "chinchilla",
    "inputs": {"params": "n"},
    "priors": {
        "level": {"dist": "LogNormal", "kwargs": {"median": "runs", "sigma": 0.3}},
        "shares": {"dist": "Dirichlet", "kwargs": {"a": [4.0, 1.5, 1.5]}},
        "alpha": {"dist": "TruncatedNormal", "kwargs": {"mu": 1, "sigma": 1, "lower": 0}},
    },
    "pool": {"level": {"over": "family", "sd": {"dist": "Exponential", "kwargs": {"lam": 1}}}},
    "noise": {"dist": "StudentT", "nu": 4.0, "known": "loss_sd"},
    "discrepancy": "none",
}


def paths(table: dict, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def read_or_refuse(table: dict) -> None:
    text = tomli_w.dumps(table)
    try:
        model = Model.from_toml(text, where="fuzz.toml")
    except ValueError as error:
        if not str(error).startswith("fuzz.toml: "):
            raise
        return
    assert model.text == text
    assert set(model.inputs) == set(model.law_object.input_names)
    assert all(isinstance(column, str) for column in model.columns)
    assert all(prior.support for prior in model.priors.values())


@settings(max_examples=300)
@given(st.dictionaries(TEXT, VALUE, max_size=4), st.booleans())
def test_any_table_is_read_or_refused(table: dict, started: bool) -> None:
    read_or_refuse({"format": 1, "law": "chinchilla"} | table if started else table)


@settings(max_examples=1000)
@given(st.sampled_from(sorted(paths(WHOLE))), st.booleans(), TEXT, VALUE)
def test_any_change_of_one_key_is_read_or_refused(
    path: tuple[str, ...], rename: bool, other: str, value: object
) -> None:
    table = copy.deepcopy(WHOLE)
    *above, key = path
    inner = table
    for step in above:
        inner = inner[step]
    if rename:
        del inner[key]
    inner[other if rename else key] = value
    read_or_refuse(table)


def test_letting_the_slope_drift_leaves_tails_that_are_stated() -> None:
    stated = Model.load("chinchilla").changed(noise={"nu": 30.0})
    assert stated.with_discrepancy("drift").noise.nu == 30.0
    assert Model.load("chinchilla").with_discrepancy("drift").noise.nu == 4.0


def test_a_change_takes_priors_and_arrays() -> None:
    model = Model.load("chinchilla")
    prior = Prior("LogNormal", {"median": np.float32(0.5), "sigma": np.int64(1)})
    shares = {"dist": "Dirichlet", "kwargs": {"a": np.array([4.0, 2.0, 2.0])}}
    changed = model.changed(
        priors={"alpha": model.priors["beta"], "beta": prior, "shares": shares},
        noise={"nu": np.float64(30)},
    )
    assert changed.priors["alpha"] == model.priors["beta"]
    assert changed.priors["beta"] == Prior("LogNormal", {"median": 0.5, "sigma": 1})
    assert changed.priors["shares"].kwargs["a"] == [4.0, 2.0, 2.0]
    assert changed.noise.nu == 30.0
    assert Model.from_toml(changed.text) == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cite": None}, "cite: expected what a model file holds: .* got None"),
        ({"priors": {"alpha": None}}, "priors.alpha: expected what a model file holds"),
        ({"noise": Model.load("chinchilla").noise}, r"noise: expected .* got Noise\("),
        ({"pool": {3: "family"}}, "pool: unknown key '3'"),
    ],
)
def test_a_change_that_no_file_can_hold_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^mine: {message}"):
        Model.load("chinchilla").changed("mine", **change)
