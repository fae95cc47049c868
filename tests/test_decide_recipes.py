"""Two recipes against each other: closed forms, pairs, and brute force."""

import numpy as np
import pytest
import xarray as xr
from fake_fit import fake_fit
from test_decide import stacked

import bayescale as bs
from bayescale.cli.render import number
from bayescale.cli.render_decide import recipes_facts, recipes_table
from bayescale.decide import compare_recipes
from bayescale.inference import sample_prior
from bayescale.model import Model
from bayescale.notes import get_notes

SAMPLE = ("chain", "draw")


def power(A: float, gamma: float | np.ndarray, **options: object) -> xr.DataTree:
    return fake_fit("power", 2, 100, terms={"E": 1.5, "A": A}, gamma=gamma, **options)


def test_curves_cross_at_the_closed_form() -> None:
    # E + A x^-g = E + B x^-h at x = (A / B)^(1 / (g - h)), a ratio to the reference.
    expected = 1.2e20 * (1.4 / 1.0) ** (1 / (0.3 - 0.2))
    pair = {"steep": power(1.4, 0.3), "flat": power(1.0, 0.2)}
    found = compare_recipes(pair, flops=[1e20, 1e24])
    np.testing.assert_allclose(found["crossing"], expected, rtol=1e-8)
    np.testing.assert_allclose(found["crossing_quantile"], expected, rtol=1e-8)
    assert list(found["p_better"].values) == [0, 1]
    assert float(found["p_never"]) == 0
    assert (float(found["p_ahead"]), float(found["p_ahead_at_horizon"])) == (0, 1)
    turned = compare_recipes(dict(reversed(pair.items())), flops=[1e20, 1e24])
    np.testing.assert_allclose(turned["difference"], -found["difference"])
    np.testing.assert_allclose(turned["crossing"], expected, rtol=1e-8)
    assert list(turned["p_better"].values) == [1, 0]


def test_parallel_curves_never_cross() -> None:
    found = compare_recipes({"A": power(1.0, 0.3), "B": power(1.2, 0.3)}, flops=1e24)
    assert float(found["p_never"]) == 1
    assert np.isinf(found["crossing_quantile"]).all()
    assert float(found["p_ahead"]) == float(found["p_ahead_at_horizon"]) == 1


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (1.0, "the curves cross at {at} ({at} to {at}) FLOP; P(not between {ends}) = 0.0%"),
        (0.3, "the curves cross between {ends} FLOP with probability 30.0%, by {at} with 5%, by {at} with 25%"),
        (0.1, "the curves cross between {ends} FLOP with probability 10.0%, by {at} with 5%"),
        (0.02, "the curves cross between {ends} FLOP with probability 2.0%"),
        (0.0, "the curves do not cross between {ends} FLOP"),
    ],
)  # fmt: skip
def test_the_table_says_whether_the_curves_cross(
    share: float, told: str, capsys: pytest.CaptureFixture
) -> None:
    # Where B is the steeper it catches up at x = 1.1^(1 / .03), a ratio to the reference.
    gamma = np.where(np.arange(200).reshape(2, 100) < 200 * share, 0.33, 0.29)
    fits = {"A": power(1.0, 0.3), "B": power(1.1, gamma)}
    found = compare_recipes(fits, flops=1e24)
    recipes_table(recipes_facts(list(fits.values()), found))
    at = number(1.2e20 * 1.1 ** (1 / 0.03), 3)
    ends = f"{number(found.attrs['start'], 3)} and {number(found.attrs['horizon'], 3)}"
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("the curves")
    ]
    assert line == told.format(at=at, ends=ends)


def test_a_recipe_against_itself_is_a_tie() -> None:
    fit = power(1.0, 0.3, jitter=0.1)
    found = compare_recipes({"A": fit, "B": fit}, flops=[1e20, 1e24])
    np.testing.assert_array_equal(found["p_better"], 0.5)
    assert float(found["p_never"]) == 1
    assert float(np.abs(found["difference"]).max()) == 0
    (note,) = [note for note in get_notes(found) if note.code == "by_construction"]
    assert "'A' and 'B' are one fit and one family" in note.message


def test_fits_of_the_same_runs_are_not_independent() -> None:
    told = {}
    first = power(1.0, 0.3)
    for name, factor in (("same", 1.0), ("other", 1.1)):
        second = power(1.2, 0.3)
        losses = first["observed_data"].to_dataset() * factor
        second["observed_data"] = xr.DataTree(losses)
        found = compare_recipes({"A": first, "B": second}, flops=1e24)
        told[name] = [note.message for note in get_notes(found) if note.code == "same_runs"]
    assert told["other"] == []
    runs = first["observed_data"].sizes["run"]
    (message,) = told["same"]
    assert message.startswith(f"{runs} of {runs} runs of 'A' are among the {runs} of 'B'")


def test_that_levels_alone_cannot_cross_is_said() -> None:
    told = {}
    for model in ("chinchilla-families", "skaling-drift-families"):
        fit = sample_prior(bs.load_dataset("pile"), model, draws=100)
        pair = {"A": (fit, "pythia"), "B": (fit, "cerebras-gpt")}
        found = compare_recipes(pair, flops=1e23, path="fixed-ratio=20")
        told[tuple(Model.load(model).pool)] = (
            float(found["p_never"]),
            [note.message for note in get_notes(found) if note.code == "by_construction"],
        )
    for pooled, (never, messages) in told.items():
        assert bool(messages) == (pooled == ("level",))
        assert not messages or (never == 1 and "no finding" in messages[0])
    assert ("level",) in told
    apart = compare_recipes({"A": power(1.0, 0.3), "B": power(1.2, 0.3)}, flops=1e24)
    assert "by_construction" not in [note.code for note in get_notes(apart)]


def test_probabilities_are_those_of_independent_draws() -> None:
    a = fake_fit("chinchilla", 4, 500, jitter=0.02, seed=1)
    b = fake_fit("chinchilla", 4, 500, jitter=0.02, seed=2, level=2.52)
    found = compare_recipes({"A": a, "B": b}, flops=[1e21, 1e23], path="fixed-ratio=20")
    plan = bs.inputs_along(a, [1e21, 1e23], "fixed-ratio=20")
    losses = [bs.predict(each, plan).values.reshape(-1, 2) for each in (a, b)]
    for index in range(2):
        every = np.sort(losses[1][:, index])
        pairs = 1 - np.searchsorted(every, losses[0][:, index], side="right").mean() / every.size
        error = float(found["p_better_mcse"][index])
        assert float(found["p_better"][index]) == pytest.approx(pairs, abs=4 * error)
    np.testing.assert_allclose(found["loss_a"].values.reshape(-1, 2), losses[0])


def test_fits_with_one_seed_are_paired_as_independent() -> None:
    runs = bs.load_dataset("pile")
    fits = {name: sample_prior(runs, "power-drift", draws=400, random_seed=1) for name in "AB"}
    found = compare_recipes(fits, flops=[1e24])
    a, b = (found[name].values.ravel() for name in ("loss_a", "loss_b"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(a.size)
    alike = compare_recipes({"A": fits["A"], "B": fits["A"]}, flops=[1e24])
    assert float(abs(alike["difference"]).max()) == 0


def test_every_crossing_is_one() -> None:
    a = fake_fit("chinchilla", 2, 200, jitter=0.03, seed=1)
    b = fake_fit("skaling", 2, 200, jitter=0.03, seed=2)
    found = compare_recipes({"A": a, "B": b}, flops=1e24)
    places = np.argwhere(np.isfinite(found["crossing"].values))
    assert len(places) > 20
    for place in places[::9]:
        flops = float(found["crossing"].values[tuple(place)])
        pair = [bs.returns(each, flops=flops)["loss"] for each in (a, b)]
        pair = [pair[0].values[tuple(place)], pair[1].roll(draw=100).values[tuple(place)]]
        assert pair[0].item() == pytest.approx(pair[1].item(), rel=1e-9)


def test_families_of_one_fit_share_its_draws() -> None:
    fit = fake_fit("chinchilla-families", 2, 300, jitter=0.05, families={"a": 1.0, "b": 1.001})
    found = compare_recipes({"A": (fit, "a"), "B": (fit, "b")}, flops=1e23)
    assert float(found["p_better"].item()) in (0.0, 1.0)
    assert float(found["difference"].std()) < 0.1 * float(found["loss_a"].std())


def test_fits_of_different_length_are_paired() -> None:
    long = fake_fit("chinchilla", 4, 300, jitter=0.03, seed=1)
    short = fake_fit("chinchilla", 2, 100, jitter=0.03, seed=2)
    found = compare_recipes({"A": long, "B": short}, flops=1e23)
    assert dict(found["difference"].sizes) == {"chain": 2, "draw": 100, "flops": 1}
    own = bs.returns(short, flops=1e23)["loss"].roll(draw=50)
    np.testing.assert_allclose(found["loss_b"], own)
    mixed = compare_recipes({"A": stacked(chinchilla=0.5, kaplan=0.5), "B": short}, flops=1e23)
    assert mixed["difference"].sizes["draw"] == 100


def test_the_scatter_of_runs_blurs_who_is_better() -> None:
    pair = {
        name: fake_fit("chinchilla", 2, 500, level=level, sigma=0.02)
        for name, level in (("A", 2.5), ("B", 2.51))
    }
    assert float(compare_recipes(pair, flops=1e23)["p_better"].item()) == 1
    assert 0.4 < float(compare_recipes(pair, flops=1e23, kind="run")["p_better"].item()) < 0.8


def test_drifting_recipes_cross_too() -> None:
    pair = {
        name: fake_fit("skaling-drift", 2, 60, jitter=0.02, kappa=0.02, seed=seed)
        for seed, name in enumerate("AB")
    }
    found = compare_recipes(pair, flops=1e24)
    place = tuple(np.argwhere(np.isfinite(found["crossing"].values))[0])
    flops = float(found["crossing"].values[place])
    first, second = (bs.returns(each, flops=flops)["loss"] for each in pair.values())
    losses = [each.values[place].item() for each in (first, second.roll(draw=30))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(
    ("recipes", "options", "message"),
    [
        ({"A": "chinchilla"}, {}, "expected two by name"),
        ({"A": "chinchilla", "B": "power"}, {"path": "fixed-ratio=20"}, "recipe 'B': path"),
        ({"A": "chinchilla", "B": "kaplan"}, {"horizon": 1e10}, "horizon = 1e[+]10 must lie above"),
        ({"A": "chinchilla", "B": "kaplan"}, {"kind": "runs"}, "unknown kind 'runs'"),
        ({"A": "chinchilla", "B": "kaplan"}, {"flops": 0.0}, "must be positive"),
    ],
)
def test_bad_input_to_compare_recipes(
    recipes: dict[str, str], options: dict[str, object], message: str
) -> None:
    fits = {name: fake_fit(model) for name, model in recipes.items()}
    with pytest.raises(ValueError, match=message):
        compare_recipes(fits, **({"flops": 1e24} | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flops": [1e21, 1e24]}, "flops = 1e[+]24 lies outside the plan"),
        ({"flops": 1e21, "horizon": 1e24}, "horizon = 1e[+]24 lies outside the plan"),
    ],
)
def test_recipes_are_compared_within_a_plan(options: dict[str, object], message: str) -> None:
    plan = {"params": [1e9, 1e10], "tokens": [2e10, 2e11]}
    pair = {"A": fake_fit("chinchilla"), "B": fake_fit("chinchilla", level=2.4)}
    assert compare_recipes(pair, flops=1e21, path=plan).attrs["horizon"] == pytest.approx(1.2e22)
    with pytest.raises(ValueError, match=message):
        compare_recipes(pair, path=plan, **options)


def test_other_units_cannot_be_compared() -> None:
    other = fake_fit("chinchilla")
    observed = other["observed_data"].to_dataset()
    other["observed_data"] = observed.assign(loss=observed["loss"].assign_attrs(units="bit/byte"))
    with pytest.raises(ValueError, match="losses in nat/token and in bit/byte"):
        compare_recipes({"A": fake_fit("chinchilla"), "B": other}, flops=1e24)
