"""A stack is a fit like any other: its draws come from its members by their weights."""

import importlib
import json
from collections.abc import Sequence

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit

from bayescale import diminishing, load, load_dataset, next_runs, predict, returns, save, stack
from bayescale.forecast import inputs_along
from bayescale.inference import sample_prior
from bayescale.inference.many import Job, Outcome
from bayescale.model import Model
from bayescale.notes import Note, dump_notes, get_notes
from bayescale.validate.score import Predictive, score_runs
from bayescale.validate.stack import stacking_weights

AT = {"params": [7e9, 70e9], "tokens": 1.4e12}


@pytest.fixture(scope="module")
def fits() -> dict[str, xr.DataTree]:
    found = {"low": fake_fit("chinchilla", level=2.2), "high": fake_fit("chinchilla", level=2.8)}
    # Two models of the same runs.
    found["high"]["observed_data"] = found["low"]["observed_data"].copy()
    return found


@pytest.fixture(scope="module")
def both(fits: dict[str, xr.DataTree]) -> xr.DataTree:
    return stack(fits, weights={"low": 1.0, "high": 3.0})


def test_draws_come_from_members_by_weight(both: xr.DataTree, fits: dict[str, xr.DataTree]) -> None:
    loss = predict(both, AT).isel(run=0)
    total = fits["low"]["posterior"].sizes["draw"]
    assert loss.sizes["draw"] == total
    apart = (
        predict(fits["low"], AT).isel(run=0).max() + predict(fits["high"], AT).isel(run=0).min()
    ) / 2
    assert float((loss > apart).mean()) == pytest.approx(0.75, abs=1 / total)
    assert json.loads(loss.attrs["weights"]) == {"low": 0.25, "high": 0.75}
    assert "models_disagree" in {note.code for note in get_notes(loss)}


def test_scales_that_vary_by_draw_stay_with_their_member(both: xr.DataTree) -> None:
    along = inputs_along(both, [1e23, 1e24])
    assert np.allclose(
        predict(both, along).values, returns(both, flops=[1e23, 1e24])["loss"].values, rtol=1e-10
    )


@pytest.mark.parametrize(
    ("other", "path", "group"),
    [
        ("power", None, {}),
        ("chinchilla-families", "compute-optimal", {"family": "pythia"}),
        ("chinchilla-families", "compute-optimal-expected", {"family": "pythia"}),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_scales_along_a_path_are_those_of_every_member(
    believed: dict[str, xr.DataTree], other: str, path: str | None, group: dict, turn: int
) -> None:
    both = of(believed, **dict.fromkeys(("chinchilla", other)[::turn], 0.5))
    along = inputs_along(both, [1e23, 1e24], path, **group)
    assert along["params"].dims == ("chain", "draw", "flops")
    expected = returns(both, flops=[1e23, 1e24], path=path, **group)["loss"]
    np.testing.assert_allclose(predict(both, along), expected, rtol=1e-10)
    assert np.isnan(along["params"]).any() == (other == "power")


def test_members_that_disagree_are_told_of_by_every_answer() -> None:
    low = fake_fit("chinchilla", jitter=0.002)
    high = fake_fit("chinchilla", jitter=0.002, shares=(0.5, 0.3, 0.2))
    high["observed_data"] = low["observed_data"].copy()

    def told(other: xr.DataTree) -> list[str]:
        both = stack({"low": low, "other": other}, weights={"low": 0.5, "other": 0.5})
        answers = (
            returns(both, flops=[1e25]),
            diminishing(both, beyond=1e25, gain_below=0.02),
        )
        notes = [note for answer in answers for note in get_notes(answer)]
        return [note.message for note in notes if note.code == "models_disagree"]

    messages = told(high)
    assert [each.partition(" (")[0] for each in messages] == [
        f"the models' medians of the {what}" for what in ("loss", "gain", "gain")
    ]
    assert not told(low)


def test_probabilities_mix_by_weight(both: xr.DataTree, fits: dict[str, xr.DataTree]) -> None:
    ask = {"beyond": 1e24, "gain_below": 0.02}
    mixed = diminishing(both, **ask)
    each = {name: float(diminishing(fit, **ask)["probability"]) for name, fit in fits.items()}
    assert float(mixed["probability"]) == pytest.approx(0.25 * each["low"] + 0.75 * each["high"])
    assert (
        dict(zip(mixed["model"].values, mixed["probability_by_model"].values, strict=True)) == each
    )
    assert mixed["onset"].sizes == {"quantile": 5}


@pytest.fixture(scope="module")
def believed() -> dict[str, xr.DataTree]:
    """Fits of several models that have seen no losses, of as many draws as no other."""
    names = ("chinchilla", "skaling", "power", "chinchilla-families", "skaling-drift")
    runs = load_dataset("pile")
    return {
        name: sample_prior(runs, name, draws=200 + 50 * place) for place, name in enumerate(names)
    }


def of(believed: dict[str, xr.DataTree], **weights: float) -> xr.DataTree:
    return stack({name: believed[name] for name in weights}, weights=weights)


def test_members_need_not_have_as_many_draws(believed: dict[str, xr.DataTree]) -> None:
    unequal = of(believed, skaling=0.37, chinchilla=0.63)
    ask = {"beyond": 1e24, "gain_below": 0.03}
    found = diminishing(unequal, **ask)
    each = [diminishing(believed[name], **ask) for name in ("skaling", "chinchilla")]
    for name in ("probability", "p_never"):
        expected = 0.37 * float(each[0][name]) + 0.63 * float(each[1][name])
        assert float(found[name]) == pytest.approx(expected)
    assert found["onset_draws"].sizes["draw"] == 200
    told = next_runs(unequal, budget=1e23, target="onset", flops=1e24, gain_below=0.03)
    assert told.attrs["sd_after"] < told.attrs["sd_before"]


def test_the_onset_of_a_draw_is_where_its_own_gain_falls(believed: dict[str, xr.DataTree]) -> None:
    both = of(believed, **{"skaling-drift": 0.6, "chinchilla": 0.4})
    found = diminishing(both, beyond=1e23, gain_below=0.03, grid=60)
    scales = np.geomspace(found.attrs["start"], found.attrs["horizon"], 60)
    holds = returns(both, flops=scales)["gain"] < 0.03
    # Scales at the end at which it holds, without a gap.
    last = holds.isel(flops=slice(None, None, -1)).cumprod("flops").sum("flops").values
    within = (last > 0) & (last < scales.size)
    assert within[0, :120].sum() > 30
    place, onset = scales.size - last[within], found["onset_draws"].values[within]
    # The scale that is asked about is one more in the search.
    far = np.abs(np.log(onset / 1e23)) > np.log(scales[1] / scales[0])
    assert (scales[place - 1] * (1 - 1e-9) <= onset)[far].all()
    assert (onset <= scales[place] * (1 + 1e-9))[far].all()


SIZES = {"params": [1e9, 7e9], "tokens": [1e11, 1e11]}


@pytest.mark.parametrize(
    ("other", "columns", "family"),
    [
        ("chinchilla-families", {"family": ["pythia", "opt"]}, "pythia"),
        ("power", {"flops": [6e20, 42e20]}, None),
    ],
)
@pytest.mark.parametrize("generated", [False, True])
@pytest.mark.parametrize("target", ["loss", "table"])
def test_the_order_of_members_does_not_matter(
    believed: dict[str, xr.DataTree],
    other: str,
    columns: dict[str, list],
    family: str | None,
    generated: bool,
    target: str,
) -> None:
    table = SIZES | columns
    asked = (
        {"flops": 1e24, "family": family}
        if target == "loss"
        else {"target": {**table, "params": [1e10, 7e10]}}
    )
    orders = [("chinchilla", other), (other, "chinchilla")]
    found = [
        next_runs(
            of(believed, **dict.fromkeys(order, 0.5)),
            None if generated else table,
            budget=1e22,
            **asked,
        )
        for order in orders
    ]
    for each in found:
        assert (each["share"] > 0).all()
        assert set(each.data_vars) >= set(columns)
        if generated and family and target == "loss":
            assert (each["family"] == family).all()
    np.testing.assert_allclose(found[0]["share"], found[1]["share"], rtol=1e-6)


def test_a_family_is_asked_of_those_that_pool(believed: dict[str, xr.DataTree]) -> None:
    for order in (("chinchilla", "chinchilla-families"), ("chinchilla-families", "chinchilla")):
        both = of(believed, **dict.fromkeys(order, 0.5))
        found = returns(both, flops=1e24, path="fixed-ratio=20", family="pythia")
        sizes = inputs_along(both, 1e24, "fixed-ratio=20", family="pythia")
        for family, alike in (("pythia", True), ("opt", False)):
            loss = predict(both, sizes.assign(family=family))
            assert np.allclose(loss.values, found["loss"].values, rtol=1e-10) == alike
        assert returns(both, flops=1e24).attrs["family"] == "new"
        diminishing(both, beyond=1e24, gain_below=0.03, family="pythia")
    neither = of(believed, chinchilla=0.5, skaling=0.5)
    for fit in (neither, believed["chinchilla"]):
        with pytest.raises(ValueError, match="does not tell families apart"):
            returns(fit, flops=1e24, family="pythia")


def test_a_stack_is_saved_whole(both: xr.DataTree, tmp_path) -> None:
    again = load(save(both, tmp_path / "stack.nc"))
    xr.testing.assert_allclose(predict(again, AT), predict(both, AT))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fits: stack({"low": fits["low"]}), "at least two fits; got low"),
        (
            lambda fits: stack(fits, weights={"low": 1.0}),
            "one finite number of zero or more for each of low, high",
        ),
        (lambda fits: stack(fits, weights={"low": np.inf, "high": 1.0}), "one finite number"),
        (lambda fits: stack(fits, weights={"low": np.nan, "high": 1.0}), "one finite number"),
        (lambda fits: stack(fits, weights={"low": 0.0, "high": 0.0}), "not zero for all"),
        (lambda fits: stack(fits, weights={"low": -1.0, "high": 1.0}), "zero or more"),
        (lambda fits: stack(fits, weights={"low": "a", "high": 1.0}), "got {'low': 'a'"),
        (lambda fits: stack(fits, weights={"low": None, "high": 1.0}), "got {'low': None"),
        (lambda fits: stack(fits, weights=[0.5, 0.5]), r"give a mapping .* got \[0.5, 0.5\]"),
        (lambda fits: stack(fits, cuts=[]), r"cuts = \[\]: expected one finite number"),
        (lambda fits: stack(fits, cuts=1e21), "cuts = 1e.21: expected one finite number"),
        (
            lambda fits: stack({"a": stack(fits, weights={"low": 1, "high": 1}), "b": fits["low"]}),
            "'a' is a stack itself",
        ),
        (
            lambda fits: stack(
                {"low": fits["low"], "b": fake_fit("chinchilla", 3)}, weights={"low": 1, "b": 1}
            ),
            r"number of chains \(low 2, b 3\).*chains=3",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(change, message: str, fits: dict[str, xr.DataTree]) -> None:
    with pytest.raises(ValueError, match=message):
        change(fits)


@pytest.mark.parametrize("name", ["a/x", "", "..", 1])
def test_a_name_must_be_that_of_a_group(fits: dict[str, xr.DataTree], name: object) -> None:
    both = {name: fits["low"], "b": fits["high"]}
    with pytest.raises(ValueError, match=f"^fits: {name!r} cannot name a member"):
        stack(both, weights=dict.fromkeys(both, 1.0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda fits: list(fits.values()), "expected a mapping of names to fits.* got list"),
        (lambda fits: "fit.nc", "expected a mapping of names to fits.* got str"),
        (lambda fits: fits["low"], "expected a mapping of names to fits.* got DataTree"),
        (lambda fits: fits | {"b": "fit.nc"}, "'b' is of type str; .*bayescale.load"),
    ],
)
def test_what_are_no_fits_is_told(fits: dict[str, xr.DataTree], given, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        stack(given(fits))


def test_runs_with_the_same_losses_need_not_be_the_same(believed: dict[str, xr.DataTree]) -> None:
    runs = load_dataset("pile")
    other = sample_prior(runs.assign(tokens=2 * runs["tokens"]), "skaling", draws=50)
    both = {"one": believed["chinchilla"], "other": other}
    with pytest.raises(
        ValueError, match=r"'other' is of other runs than 'one' \('tokens' differs\)"
    ):
        stack(both, weights={"one": 1, "other": 1})
    renamed = runs.assign(family=runs["family"].str.upper())
    with pytest.raises(ValueError, match=r"than 'one' \('family' differs\)"):
        stack(
            {
                "one": believed["chinchilla"],
                "other": sample_prior(renamed, "chinchilla-families", draws=50),
            },
            weights={"one": 1, "other": 1},
        )
    # What neither model reads is nothing to them.
    plain = {"one": believed["chinchilla"], "other": sample_prior(renamed, "skaling", draws=50)}
    assert "one" in stack(plain, weights={"one": 1, "other": 1}).attrs["stack"]


def counted(trials: float) -> xr.DataTree:
    model = Model.from_toml(
        'format = 1\nname = "mine"\nlaw = "coverage"\n[noise]\ndist = "BetaBinomial"\ntrials = "trials"'
    )
    samples = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
    table = {"samples": samples, "loss": 1.2 * samples**-0.3, "trials": np.full(5, trials)}
    return sample_prior(xr.Dataset({name: ("run", each) for name, each in table.items()}), model)


def erring(share: float) -> xr.DataTree:
    runs = load_dataset("pile")
    model = Model.load("chinchilla").changed(noise={"known": "loss_sd"})
    return sample_prior(runs.assign(loss_sd=share * runs["loss"]), model)


def scored(part: float) -> xr.DataTree:
    runs = load_dataset("pile")
    model = Model.load("chinchilla").changed(tasks={"columns": ["acc_*"]})
    return sample_prior(runs.assign(acc_x=part / runs["loss"]), model)


@pytest.mark.parametrize(
    ("fitted", "values", "column"),
    [
        (counted, (50.0, 5000.0), "trials"),
        (erring, (0.01, 0.1), "loss_sd"),
        (scored, (0.5, 0.7), "acc_x"),
    ],
)
def test_runs_measured_otherwise_are_not_the_same(fitted, values, column: str) -> None:
    both = {"one": fitted(values[0]), "other": fitted(values[1])}
    with pytest.raises(ValueError, match=rf"other runs than 'one' \('{column}' differs\)"):
        stack(both, weights={"one": 1, "other": 1})


def test_a_stack_takes_what_was_measured_from_those_that_read_it() -> None:
    runs = load_dataset("pile")
    # Means over checkpoints: of a known error the error of the mean, of any other number the mean.
    plain = sample_prior(runs.assign(loss_sd=0.05 * runs["loss"]), "chinchilla")
    found = stack({"plain": plain, "known": erring(0.01)}, weights={"plain": 1, "known": 1})
    np.testing.assert_allclose(found["constant_data"]["loss_sd"], 0.01 * runs["loss"])


def test_a_stack_has_the_columns_that_each_member_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = load_dataset("pile")
    fits = {
        "chinchilla": sample_prior(runs[["params", "tokens", "loss"]], "chinchilla", draws=50),
        "power": sample_prior(runs[["flops", "loss"]], "power", draws=50),
    }
    seen: list[xr.Dataset] = []

    def stop(table: xr.Dataset, *_: object, **__: object) -> None:
        seen.append(table)
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("bayescale.validate.stack"), "backtest", stop)
    with pytest.raises(KeyboardInterrupt):
        stack(fits)
    assert {"params", "tokens", "flops", "loss"} <= set(seen[0].data_vars)
    both = stack(fits, weights={"chinchilla": 0.5, "power": 0.5})
    assert {"params", "tokens", "flops"} <= set(both["constant_data"].data_vars)
    assert returns(both, flops=1e24).sizes["draw"] == 50


def test_weights_favour_the_better_forecast_and_keep_the_other() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(2.0, 0.1, 20)
    weights = stacking_weights(np.stack([good, good - 1.0]))
    assert weights[0] > 0.9
    assert weights.sum() == pytest.approx(1.0)
    # One run is no reason to silence a model.
    assert stacking_weights(np.array([[0.0], [-5.0]]))[1] > 0.2


def test_checkpoints_and_cuts_of_a_run_count_as_one() -> None:
    one = np.array([[0.0], [-0.5]])
    wanted = stacking_weights(one)
    # 24 means of one run, held out at four cuts, are one run.
    np.testing.assert_allclose(stacking_weights(np.tile(one, 96), run=np.repeat("a", 96)), wanted)
    several = np.random.default_rng(0).normal(2.0, 0.5, (2, 7))
    alone = stacking_weights(several)
    np.testing.assert_array_equal(stacking_weights(several, run=np.arange(7)), alone)
    mixed = np.repeat(np.arange(7), [1, 3, 1, 24, 2, 1, 1])
    np.testing.assert_allclose(stacking_weights(several[:, mixed], run=mixed), alone)


def test_cuts_of_a_backtest_do_not_multiply_its_runs(
    monkeypatch: pytest.MonkeyPatch, believed: dict[str, xr.DataTree]
) -> None:
    found = weighed(monkeypatch, believed, ["done"] * 4, [0, 0, 1, 1])
    share = json.loads(found.attrs["stack"])["skaling"]
    assert share == pytest.approx(stacking_weights(np.array([[0.0, 0.0], [1.0, 1.0]]))[1])
    # Two rows of one run are no more than one.
    found = weighed(monkeypatch, believed, ["done"] * 4, [0, 0, 1, 1], names=("a", "a"))
    share = json.loads(found.attrs["stack"])["skaling"]
    assert share == pytest.approx(stacking_weights(np.array([[0.0], [1.0]]))[1])


def test_weights_may_be_the_largest_numbers_that_there_are(fits: dict[str, xr.DataTree]) -> None:
    found = stack(fits, weights={"low": 1e308, "high": 1e308})
    assert json.loads(found.attrs["stack"]) == {"low": 0.5, "high": 0.5}


def test_a_member_without_weight_has_no_say(fits: dict[str, xr.DataTree]) -> None:
    note = Note("not_converged", "error", "did not converge: none")
    none = fake_fit("chinchilla", draws=5, converged=False, notes=(note,))
    none["observed_data"] = fits["low"]["observed_data"].copy()
    for order in (("low", "none"), ("none", "low")):
        members = {"low": fits["low"], "none": none}
        found = stack({name: members[name] for name in order}, weights={"low": 2.0, "none": 0.0})
        assert json.loads(found.attrs["stack"]) == {"low": 1.0, "none": 0.0}
        assert found["posterior"].sizes["draw"] == fits["low"]["posterior"].sizes["draw"]
        assert (found.attrs["converged"], get_notes(found)) == (1, [])
        np.testing.assert_array_equal(predict(found, AT), predict(fits["low"], AT))
    some = stack({"low": fits["low"], "none": none}, weights={"low": 2.0, "none": 1.0})
    assert (some.attrs["converged"], get_notes(some)) == (0, [note])


# --- Weights from refits: cuts 1e20 and 1e21, two held-out runs of each ---------------------------------------------


def weighed(
    monkeypatch: pytest.MonkeyPatch,
    fits: dict[str, xr.DataTree],
    status: Sequence[str],
    density: Sequence[float],
    names: tuple[str, str] = ("8", "9"),
) -> xr.DataTree:
    """Stack by a backtest whose refits of chinchilla, at either cut, and then of skaling became so."""
    models, cuts = ["chinchilla", "skaling"], [1e20, 1e21]
    table = np.array(status).reshape(2, 2)
    done = [
        (model, cut, run, name, density[2 * i + j])
        for i, model in enumerate(models)
        for j, cut in enumerate(cuts)
        for run, name in zip((8, 9), names, strict=True)
        if table[i, j] in ("done", "loose")
    ]
    facts = "of_model", "of_cut", "of_run", "of_run_id", "lpd"
    columns = zip(facts, zip(*done, strict=True), strict=True)
    note = Note("not_converged", "error", "did not converge: one")
    found = xr.Dataset(
        {
            "converged": (("model", "cut"), table == "done"),
            "status": (("model", "cut"), np.where(table == "loose", "done", table)),
            "error": (("model", "cut"), np.where(table == "failed", "no start was found", "")),
            **{name: ("forecast", list(values)) for name, values in columns},
        },
        {"model": models, "cut": cuts},
        {"notes": dump_notes([note] if "loose" in status else [])},
    )
    module = importlib.import_module("bayescale.validate.stack")
    monkeypatch.setattr(module, "backtest", lambda *_, **__: found)
    return stack({name: fits[name] for name in models})


@pytest.mark.parametrize(
    ("became", "code"), [("done", None), ("loose", "not_converged"), ("failed", "partial")]
)
def test_refits_that_went_wrong_do_not_weigh(
    monkeypatch: pytest.MonkeyPatch,
    believed: dict[str, xr.DataTree],
    became: str,
    code: str | None,
) -> None:
    found = weighed(monkeypatch, believed, ["done", "done", "done", became], [0, 0, 0, 9])
    share = json.loads(found.attrs["stack"])["skaling"]
    assert share == pytest.approx(0.5) if code else share > 0.6
    codes = {note.code for note in get_notes(found)}
    assert codes & {"not_converged", "partial"} == ({code} if code else set())


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            ["done", "done", "failed", "loose"],
            "no refit of model 'skaling' .*1e\\+20 failed: no start was found; .*did not converge",
        ),
        (["done", "failed", "failed", "done"], "no held-out run is forecast by .* every model"),
        (["loose", "loose", "loose", "loose"], "no refit of model 'chinchilla'"),
    ],
)
def test_weights_need_a_forecast_that_all_share(
    monkeypatch: pytest.MonkeyPatch,
    believed: dict[str, xr.DataTree],
    status: list[str],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        weighed(monkeypatch, believed, status, [0, 0, 0, 0])


@pytest.mark.parametrize("became", ["interrupted", "done"])
def test_an_interrupted_refit_ends_the_stacking(
    monkeypatch: pytest.MonkeyPatch, believed: dict[str, xr.DataTree], became: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        weighed(monkeypatch, believed, ["done", became, "interrupted", "done"], [0, 0, 0, 0])


@pytest.mark.parametrize("density", [np.nan, -np.inf])
def test_a_model_that_gives_no_density_to_some_runs_does_not_win_by_that(
    monkeypatch: pytest.MonkeyPatch, believed: dict[str, xr.DataTree], density: float
) -> None:
    with pytest.raises(ValueError, match=r"'skaling' to runs up to 1e\+21 converged.* run 8, 9 is"):
        weighed(monkeypatch, believed, ["done"] * 4, [0, 0, 5, density])
    # Of a refit that did not converge nothing is asked.
    weighed(monkeypatch, believed, ["done", "done", "done", "loose"], [0, 0, 0, density])


def test_two_fits_of_one_model_are_weighed_by_the_names_they_have_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = load_dataset("pile")
    power = Model.load("power")
    level = {"dist": "LogNormal", "kwargs": {"median": "runs", "sigma": 1.0}}
    wide = power.changed(priors={"level": level})
    fits = {"A": sample_prior(runs, power, draws=100), "C": sample_prior(runs, wide, draws=100)}
    module = importlib.import_module("bayescale.validate.backtest")
    jobs: list[Job] = []

    def fit_many(given: Sequence[Job], **_: object) -> list[Outcome]:
        jobs.extend(given)
        # C forecasts as sharply as the runs deserve, A is off by far.
        done = []
        for job in given:
            center = np.log(job.aside["loss"].values) + (0.0 if job.model.name == "C" else 0.2)
            forecast = Predictive(center[None, None], np.full((1, 1, 1), 0.01))
            table = score_runs(forecast, job.aside["loss"].values)
            value = {str(name): each.values for name, each in table.items()}
            done.append(Outcome(job.name, value={**value, "converged": np.array(True)}))
        return done

    monkeypatch.setattr(module, "fit_many", fit_many)
    weights = json.loads(stack(fits, cuts=[1e21]).attrs["stack"])
    assert list(weights) == ["A", "C"]
    assert weights["C"] > 0.9
    # Under another name each is still the model of its fit.
    assert [(job.model.name, job.model.priors) for job in jobs] == [
        ("A", power.priors),
        ("C", wide.priors),
    ]
