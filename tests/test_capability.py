"""From loss to scores of tasks: links, the joint model, forecasts, targets and the verbs that ask for them."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from fake_fit import fake_fit, with_tasks
from scipy import stats
from scipy.special import expit, logit
from typer.testing import CliRunner

import bayescale as bs
from bayescale import cli, links
from bayescale.forecast.capability import over_steps
from bayescale.inference.arrays import graph_data, reference
from bayescale.inference.build import build
from bayescale.inference.compile import PLAIN
from bayescale.inference.scores import SCORE, AtOneLoss
from bayescale.model import Model
from bayescale.saving import save

TASKS = {"acc_easy": (-0.2, 8.0, 0.25, 0.95), "acc_hard": (0.2, 10.0, 0.0, 1.0)}


@pytest.fixture
def known() -> xr.DataTree:
    """A fit whose tasks are known exactly, and whose law is not."""
    return with_tasks(fake_fit("chinchilla", draws=100, jitter=0.05), TASKS)


def of(fit: xr.DataTree, task: str, loss: np.ndarray) -> np.ndarray:
    """The sigmoid of the fixture, written down anew."""
    midpoint, steepness, floor, ceiling = TASKS[task]
    gap = 1 - loss / json.loads(fit.attrs["reference"])["loss"]
    return floor + (ceiling - floor) * expit(steepness * (gap - midpoint))


# Links ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", links.names())
def test_a_link_rises_from_nothing_to_all_and_can_be_inverted(name: str) -> None:
    link = links.get(name)
    gap = np.linspace(-3, 0.9, 200)
    rise = link.rise(gap, 0.3, 8.0)
    assert (np.diff(rise) >= 0).all()
    assert (rise >= 0).all()
    assert (rise <= 1).all()
    assert rise[0] < 1e-3
    assert rise[-1] > 0.98
    share = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(link.rise(link.gap(share, 0.3, 8.0), 0.3, 8.0), share, rtol=1e-10)
    symbolic = link.score(pt.as_tensor(gap), 0.3, 8.0, 0.2, 0.9).eval()
    np.testing.assert_allclose(symbolic, 0.2 + 0.7 * rise, rtol=1e-12)
    labelled = link.score(xr.DataArray(gap, dims="x"), 0.3, 8.0, 0.2, 0.9)
    np.testing.assert_allclose(labelled.values, 0.2 + 0.7 * rise, rtol=1e-12)


def test_links_are_the_published_equations() -> None:
    loss = np.linspace(0.5, 4, 30)
    reference, location, rate = 2.5, 0.1, 6.0
    at = 1 - loss / reference
    sigmoid = links.get("sigmoid")
    named = sigmoid.textbook(reference, location, rate)
    bhagia = 0.25 + 0.7 / (1 + np.exp(named["k"] * (loss - named["L0"])))
    np.testing.assert_allclose(sigmoid.score(at, location, rate, 0.25, 0.95), bhagia, rtol=1e-12)
    exponential = links.get("exponential")
    named = exponential.textbook(reference, location, rate)
    # Below the loss of the ceiling the published error is negative; the link stays at the ceiling.
    gadre = 1 - (0.75 - 0.7 * np.exp(-named["gamma"] * (loss - named["L_ceiling"])))
    expected = np.where(loss > named["L_ceiling"], gadre, 0.95)
    found = exponential.score(at, location, rate, 0.25, 0.95)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dependence", [0.1, 0.5, 0.9])
def test_dependent_steps_are_beta_binomial(dependence: float) -> None:
    score = np.array([0.0, 0.02, 0.5, 0.97, 1.0])
    total = (1 - dependence) / dependence
    inner = score[1:-1]
    expected = stats.betabinom(20, inner * total, (1 - inner) * total).pmf(20)
    found = over_steps(score, 20, dependence)
    np.testing.assert_allclose(found[1:-1], expected, rtol=1e-9)
    assert found[0] == 0
    assert found[-1] == pytest.approx(1)
    # More alike, better: one lucky attempt passes every step.
    assert (found[1:-1] > over_steps(inner, 20)).all()


# The joint model --------------------------------------------------------------------------------


def scored(simulate: Callable[..., xr.Dataset], trials: int | None = None, **kwargs) -> xr.Dataset:
    """A sweep with scores of two tasks that follow the sigmoids of :data:`TASKS`."""
    runs = simulate(8, seed=3, **kwargs)
    ref = reference(runs, Model.load("chinchilla"))["loss"]
    rng = np.random.default_rng(5)
    for name, (midpoint, steepness, floor, ceiling) in TASKS.items():
        mean = floor + (ceiling - floor) * expit(
            steepness * (1 - runs["loss"].values / ref - midpoint)
        )
        if trials:
            score = rng.binomial(trials, mean) / trials
        else:
            score = expit(logit(np.clip(mean, 1e-4, None)) + 0.05 * rng.standard_normal(mean.size))
        runs[name] = "run", score
    return runs


def with_table(**table: object) -> Model:
    return Model.load("chinchilla").changed(tasks={"columns": list(TASKS), **table})


@pytest.mark.parametrize("dist", ["LogitNormal", "Beta", "Binomial", "BetaBinomial"])
@pytest.mark.parametrize("link", links.names())
def test_the_density_of_scores_is_scipys(
    dist: str, link: str, simulate: Callable[..., xr.Dataset]
) -> None:
    counts = {"trials": 400} if "Binomial" in dist else {}
    model = with_table(dist=dist, link=link, floor=0.0, ceiling=1.0, **counts)
    runs = scored(simulate)
    runs["acc_hard"][2] = np.nan
    graph = build(runs, model)
    point = graph.initial_point(random_seed=1)
    found = graph.compile_logp(vars=[graph[SCORE]], sum=False)(point)[0]
    named = [f"{each.name}_task" for each in links.get(link).params]
    outputs = [graph[name] for name in named]
    outputs += [graph["scatter_task"]] if dist != "Binomial" else []
    inputs = graph.value_vars
    function = pytensor.function(
        inputs, graph.replace_rvs_by_values(outputs), on_unused_input="ignore", mode=PLAIN
    )
    values = function(*(point[each.name] for each in inputs))
    data = graph_data(runs, model)
    scores = np.stack([runs[name].values for name in TASKS])
    task, run = np.nonzero(np.isfinite(scores))
    assert task.size == scores.size - 1
    gap = 1 - runs["loss"].values[run] / reference(runs, model)["loss"]
    mean = links.get(link).rise(gap, values[0][task], values[1][task])
    mean = np.clip(mean, 1e-9, 1 - 1e-9)
    score = scores[task, run]
    count = np.rint(score * 400)
    expected = {
        "LogitNormal": lambda s: stats.norm(logit(mean), s).logpdf(logit(score)),
        "Beta": lambda s: stats.beta(mean * s, (1 - mean) * s).logpdf(score),
        "Binomial": lambda s: stats.binom(400, mean).logpmf(count),
        "BetaBinomial": lambda s: stats.betabinom(400, mean * s, (1 - mean) * s).logpmf(count),
    }[dist](values[2][task] if len(values) > 2 else None)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    assert data["score_task"].size == found.size


@pytest.mark.parametrize("link", links.names())
@pytest.mark.parametrize(
    "known", [{}, {"floor": 0.1}, {"ceiling": 0.9}, {"floor": 0.1, "ceiling": 0.9}]
)
def test_constants_are_sampled_as_score_and_slope_with_the_jacobian(
    link: str, known: dict[str, float]
) -> None:
    change = AtOneLoss(links.get(link), {key: np.full(2, each) for key, each in known.items()})
    at = pt.dmatrix("at")
    inputs = (pt.constant(0), pt.as_tensor(np.array([-0.3, 0.1])))
    constants = change.backward(at, *inputs)
    function = pytensor.function(
        [at],
        [constants, change.forward(constants, *inputs), change.log_jac_det(at, *inputs)],
        mode=PLAIN,
    )
    point = np.random.default_rng(2).normal(size=(2, 4 - len(known)))
    values, back, found = function(point)
    np.testing.assert_allclose(back, point, rtol=1e-9, atol=1e-9)
    if link == "sigmoid":
        floor = known.get("floor", values[:, 2] if "floor" not in known else None)
        ceiling = known.get("ceiling", floor + (1 - floor) * values[:, -1])
        score = links.get(link).score(
            np.array([-0.3, 0.1]), values[:, 0], values[:, 1], floor, ceiling
        )
        low, high = known.get("floor", 0.0), known.get("ceiling", 1.0)
        np.testing.assert_allclose((score - low) / (high - low), expit(point[:, 0]), rtol=1e-9)
    step = 1e-6
    for task in range(2):
        columns = []
        for place in range(point.shape[1]):
            moved = np.zeros_like(point)
            moved[task, place] = step
            columns.append(
                (function(point + moved)[0] - function(point - moved)[0])[task] / (2 * step)
            )
        _, expected = np.linalg.slogdet(np.array(columns))
        assert found[task] == pytest.approx(expected, abs=1e-6)


#: Bounds that are known, or estimated from counts.
KNOWN = {
    "dist": "LogitNormal",
    "floor": {name: row[2] for name, row in TASKS.items()},
    "ceiling": {name: row[3] for name, row in TASKS.items()},
}
ESTIMATED = {"dist": "BetaBinomial", "trials": 1000}


@pytest.mark.slow
@pytest.mark.parametrize("table", [KNOWN, ESTIMATED])
def test_tasks_are_recovered_and_the_loss_is_left_alone(
    simulate: Callable[..., xr.Dataset], table: dict[str, object]
) -> None:
    runs = scored(simulate, trials=table.get("trials"))
    fit = bs.fit(runs, with_table(**table), random_seed=2)
    assert fit.attrs["converged"]
    posterior = fit["posterior"]
    truth = dict(
        zip(
            ("midpoint_task", "steepness_task", "floor_task"),
            np.array(list(TASKS.values())).T,
            strict=False,
        )
    )
    for name in truth.keys() & set(posterior):
        values = truth[name]
        mean, sd = posterior[name].mean(("chain", "draw")), posterior[name].std(("chain", "draw"))
        np.testing.assert_array_less(abs(mean - values), 3.5 * sd + 1e-9, err_msg=name)
    # Scores follow the runs' own losses: they say nothing about the law.
    alone = bs.fit(runs, "chinchilla", random_seed=2)["posterior"]
    for name in ("alpha", "beta", "E"):
        apart = float(posterior[name].mean() - alone[name].mean())
        assert abs(apart) < 0.25 * float(alone[name].std()), name
    assert set(fit["log_likelihood"].data_vars) == {"loss", SCORE}
    assert bs.check(fit).attrs["verdict"] in ("ok", "warn")
    at = {"params": [1e10], "tokens": [2e11]}
    curve, run = (bs.predict_scores(fit, at, kind=kind) for kind in ("curve", "run"))
    assert (run.std(("chain", "draw")) > curve.std(("chain", "draw"))).all()
    assert ((run > 0) & (run < 1)).all()


def test_what_cannot_be_scores_is_refused(simulate: Callable[..., xr.Dataset]) -> None:
    runs = scored(simulate)
    with pytest.raises(ValueError, match=r"needs scores in column 'acc_hard'; the table has"):
        build(runs.drop_vars("acc_hard"), with_table())
    with pytest.raises(
        ValueError, match=r"'acc_easy' must hold scores above 0 and below 1; see rows 1.*per cent"
    ):
        build(runs.assign(acc_easy=100 * runs["acc_easy"]), with_table())
    edge = runs.copy(deep=True)
    edge["acc_hard"][4] = 0.0
    with pytest.raises(
        ValueError, match=r"'acc_hard'.*see rows 5; scores of all or none need their trials"
    ):
        build(edge, with_table())
    build(edge, with_table(dist="Binomial", trials=100))
    with pytest.raises(
        ValueError, match=r"floor .* one number for each of acc_easy, acc_hard; see 'acc_hard'"
    ):
        build(runs, with_table(floor={"acc_easy": 0.25}))
    with pytest.raises(
        ValueError, match=r"trials of each score from column 'n', which the table lacks"
    ):
        build(runs, with_table(dist="Binomial", trials="n"))
    counted = with_table(dist="Binomial", trials="n")
    build(runs.assign(n=("run", np.full(runs.sizes["run"], 100.0))), counted)
    for wrong, told in (
        (99.5, r"rows 3 \(99\.5\)"),
        (np.nan, r"rows 3 \(nan\)"),
        (0.0, r"rows 3 \(0\)"),
    ):
        trials = np.full(runs.sizes["run"], 100.0)
        trials[2] = wrong
        with pytest.raises(ValueError, match=rf"'n' must hold whole numbers of trials.*{told}"):
            build(runs.assign(n=("run", trials)), counted)
        unscored = runs.assign(n=("run", trials)).copy(deep=True)
        for name in TASKS:
            unscored[name][2] = np.nan
        build(unscored, counted)
    with pytest.raises(ValueError, match=r"column 'n' must hold numbers; .*'many'"):
        build(runs.assign(n=("run", ["many"] * runs.sizes["run"])), counted)
    few = runs.copy(deep=True)
    few["acc_hard"][2:] = np.nan
    with pytest.raises(ValueError, match=r"'acc_hard' has fewer than three scores"):
        build(few, with_table())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"link": "sigmod"}, r"tasks\.link: unknown link 'sigmod'; did you mean 'sigmoid'\?"),
        ({"dist": "Normal"}, r"tasks\.dist: expected one of LogitNormal, Beta"),
        ({"dist": "Binomial"}, r"tasks\.trials: Binomial needs number of trials"),
        ({"trials": 30}, r"tasks\.trials: LogitNormal takes no number of trials"),
        ({"dist": "Binomial", "trials": 0}, r"tasks\.trials: expected a whole number"),
        ({"floor": 1.5}, r"tasks\.floor: expected a score between 0 and 1"),
        ({"colums": ["a"]}, r"tasks: unknown key 'colums'; did you mean 'columns'\?"),
        ({"columns": []}, r"tasks\.columns: expected names of columns"),
        ({"priors": {"rate": {}}}, r"tasks\.priors: unknown key 'rate'"),
        ({"sd": {"midpoint": {"dist": "Normal", "kwargs": {"mu": 0, "sigma": 1}}}}, r"real values"),
    ],
)
def test_a_table_of_tasks_that_makes_no_sense_is_refused(table: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_table(**table)


# Forecasts --------------------------------------------------------------------------------------


def test_scores_follow_the_forecast_loss(known: xr.DataTree) -> None:
    at = {"params": [1e9, 1e10, 1e11], "tokens": [1e10, 1e11, 1e12]}
    loss = bs.predict(known, at)
    found = bs.predict_scores(known, at)
    assert found.dims == (*loss.dims, "task")
    for task in TASKS:
        np.testing.assert_allclose(
            found.sel(task=task).values, of(known, task, loss.values), rtol=1e-12
        )


def test_returns_in_loss_and_in_capability(known: xr.DataTree) -> None:
    flops = np.array([1e22, 1e23, 1e24])
    found = bs.capability(known, flops=flops, length=[1, 10], dependence=0.2, path="fixed-ratio=20")
    plain = bs.returns(known, flops=[*flops, *(2 * flops)], path="fixed-ratio=20")["loss"].values
    now, then = plain[..., :3], plain[..., 3:]
    np.testing.assert_allclose(found["loss"].values, now, rtol=1e-12)
    np.testing.assert_allclose(found["loss_gain"].values, now - then, rtol=1e-9)
    for task in TASKS:
        for length in (1, 10):
            at = found.sel(task=task, length=length)
            score = over_steps(of(known, task, now), length, 0.2)
            after = over_steps(of(known, task, then), length, 0.2)
            np.testing.assert_allclose(at["score"].values, score, rtol=1e-10)
            np.testing.assert_allclose(at["gain"].values, after - score, rtol=1e-7, atol=1e-12)


def test_the_peak_is_where_a_step_adds_most(known: xr.DataTree) -> None:
    found = bs.capability(known, flops=1e23, path="fixed-ratio=20", length=[1], horizon=1e30)
    grid = np.geomspace(found.attrs["start"], 1e30, 3000)
    for task in TASKS:
        peak = found["peak"].sel(task=task, length=1).values.ravel()
        losses = bs.returns(known, flops=grid, path="fixed-ratio=20")
        after = losses["loss"].values - losses["gain"].values
        gain = of(known, task, after) - of(known, task, losses["loss"].values)
        best = grid[gain.reshape(-1, grid.size).argmax(axis=1)]
        inside = np.isfinite(peak)
        step = (1e30 / found.attrs["start"]) ** (1 / 119)
        assert (np.abs(np.log(peak[inside] / best[inside])) <= np.log(step)).all()
        assert (best[~inside] > 1e30 / step).all()
    easy = found.sel(task="acc_easy", length=1)
    assert float(easy["p_peak_passed"]) == pytest.approx(
        float((easy["peak"] == found.attrs["start"]).mean())
    )


def test_longer_tasks_peak_later(known: xr.DataTree) -> None:
    found = bs.capability(known, flops=1e23, length=[1, 10, 100], horizon=1e34)
    peak = found["peak_quantile"].sel(quantile=0.5)
    assert (peak.diff("length") >= 0).all()
    assert (peak.sel(task="acc_hard").diff("length") > 0).all()


@pytest.mark.parametrize("dependence", [0.0, 1e-4])
def test_the_peak_of_chances_too_small_for_floats(dependence: float) -> None:
    # A score of at most .4, to the thousandth power, is zero in a float: sums of logs, and decimals, know better.
    fit = with_tasks(fake_fit("chinchilla", draws=5, jitter=0.1), {"acc_long": (-0.3, 8.0, 0, 0.4)})
    path, options = "fixed-ratio=20", {"dependence": dependence, "horizon": 1e26}
    found = bs.capability(fit, flops=1e23, length=[1000], path=path, **options)
    grid = np.geomspace(found.attrs["start"], 1e26, 120)
    single = bs.capability(fit, flops=grid, length=[1], path=path).isel(task=0, length=0)
    now = single["score"].values.reshape(-1, grid.size)
    then = now + single["gain"].values.reshape(-1, grid.size)
    assert not over_steps(then, 1000, dependence).any()

    def exact(score: np.ndarray) -> np.ndarray:
        n = np.arange(1000)
        # After n steps that succeed the next does so with the mean of the beta distribution that they leave.
        steps = (score[..., None] * (1 - dependence) + n * dependence) / (1 + (n - 1) * dependence)
        return np.vectorize(lambda log: Decimal(log).exp(), otypes=[object])(np.log(steps).sum(-1))

    best = grid[(exact(then) - exact(now)).argmax(axis=1)]
    best[best == grid[-1]] = np.inf
    np.testing.assert_array_equal(found["peak"].values.ravel(), best)
    assert float(found["p_peak_passed"].squeeze()) == (best == grid[0]).mean()
    assert 0 < np.isinf(best).mean() < 1


def test_without_any_gain_no_peak_has_been_passed_below_the_ceiling() -> None:
    # Two sigmoids so steep that a float knows their floor and their ceiling alone.
    tasks = {"acc_never": (0.9, 1e4, 0.0, 1.0), "acc_done": (-0.9, 1e4, 0.25, 0.95)}
    fit = with_tasks(fake_fit("chinchilla", draws=5), tasks)
    for dependence in (0.0, 0.5):
        found = bs.capability(fit, flops=1e23, dependence=dependence, path="fixed-ratio=20")
        assert (found["gain"] == 0).all()
        assert (found["p_peak_passed"].sel(task="acc_never") == 0).all()
        assert (found["p_peak_beyond"].sel(task="acc_never") == 1).all()
        assert (found["p_peak_passed"].sel(task="acc_done") == 1).all()


def test_a_target_score_is_met_at_its_compute(known: xr.DataTree) -> None:
    path = "fixed-ratio=20"
    found = bs.compute_for(known, accuracy=[0.5, 0.6], task="acc_easy", path=path)
    assert found["compute"].dims == ("chain", "draw", "accuracy")
    for accuracy in (0.5, 0.6):
        compute = found["compute"].sel(accuracy=accuracy).values.ravel()
        inside = np.isfinite(compute) & (compute > found.attrs["start"])
        assert inside.mean() > 0.9
        for draw in np.flatnonzero(inside)[:5]:
            losses = bs.returns(known, flops=compute[draw], path=path)["loss"].values.reshape(-1)
            assert of(known, "acc_easy", losses[draw]) == pytest.approx(accuracy, abs=1e-6)
    never = bs.compute_for(known, accuracy=0.97, task="acc_easy", path=path)
    assert float(never["p_unreachable"][0]) == 1.0
    messages = [note.message for note in bs.get_notes(never) if note.code == "unreachable_target"]
    assert "acc_easy of 0.97 is unreachable in every draw" in messages[0]
    # A score that chance alone gives is met at once.
    least = bs.compute_for(known, accuracy=0.2, task="acc_easy", path=path)
    assert (least["compute"].values == least.attrs["start"]).all()


def test_capability_and_price_as_predicates(known: xr.DataTree) -> None:
    path, beyond = "fixed-ratio=20", 1e24
    found = bs.diminishing(known, beyond=beyond, capability_below=0.01, task="acc_easy", path=path)
    losses = bs.returns(known, flops=[beyond, 2 * beyond], path=path)["loss"].values
    gain = of(known, "acc_easy", losses[..., 1]) - of(known, "acc_easy", losses[..., 0])
    assert float(found["probability"]) == pytest.approx((gain < 0.01).mean())
    assert found.attrs["task"] == "acc_easy"
    worth, price = 1e9, 1e-17
    found = bs.diminishing(known, beyond=beyond, price_above=(worth, price), path=path)
    cost = price * beyond / (losses[..., 0] - losses[..., 1])
    assert float(found["probability"]) == pytest.approx((cost > worth).mean())
    with pytest.raises(ValueError, match="task = 'acc_easy' goes with capability_below"):
        bs.diminishing(known, beyond=beyond, gain_below=0.01, task="acc_easy")
    with pytest.raises(ValueError, match=r"price_above = 1e-05: expected a pair \(worth, price\)"):
        bs.diminishing(known, beyond=beyond, price_above=1e-5)  # type: ignore[arg-type]


def test_what_a_fit_does_not_know_is_refused(known: xr.DataTree) -> None:
    with pytest.raises(ValueError, match="model 'chinchilla' says nothing of scores"):
        bs.capability(fake_fit("chinchilla"), flops=1e24)
    with pytest.raises(ValueError, match="did you mean 'acc_hard'"):
        bs.capability(known, flops=1e24, tasks=["acc_hrd"])
    with pytest.raises(ValueError, match=r"length = \[0\.5\]: expected whole numbers"):
        bs.capability(known, flops=1e24, length=[0.5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"dependence = 1\.0: expected a correlation"):
        bs.capability(known, flops=1e24, dependence=1.0)
    with pytest.raises(ValueError, match="either a loss or an accuracy; got both"):
        bs.compute_for(known, loss=2.0, accuracy=0.5)
    with pytest.raises(ValueError, match=r"accuracy = 70: expected scores between 0 and 1"):
        bs.compute_for(known, accuracy=70, task="acc_easy")
    with pytest.raises(
        ValueError, match="task = None: The tasks of this fit are acc_easy, acc_hard"
    ):
        bs.compute_for(known, accuracy=0.5)


def test_a_stack_answers_for_tasks(known: xr.DataTree) -> None:
    other = with_tasks(fake_fit("chinchilla", draws=100, level=2.6, jitter=0.05), TASKS)
    stacked = xr.DataTree.from_dict({"posterior": known["posterior"].to_dataset()})
    stacked["members"] = xr.DataTree.from_dict({"a": known, "b": other})
    stacked.attrs = known.attrs | {"stack": json.dumps({"a": 0.5, "b": 0.5}), "model_name": "a, b"}
    found = bs.capability(stacked, flops=[1e23], length=[1], path="fixed-ratio=20")
    assert found.sizes["draw"] == 100
    assert set(found["peak_quantile"].dims) == {"task", "length", "quantile"}


def test_scores_of_a_stack_at_scales_that_vary_by_draw(known: xr.DataTree) -> None:
    other = with_tasks(fake_fit("chinchilla", draws=100, level=2.6, jitter=0.05), TASKS)
    other["observed_data"] = known["observed_data"].copy()
    both = bs.stack({"a": known, "b": other}, weights={"a": 0.6, "b": 0.4})
    found = bs.predict_scores(both, bs.inputs_along(both, [1e23, 1e24]))
    expected = bs.capability(both, flops=[1e23, 1e24], length=[1])["score"].isel(length=0)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_capability_of_a_law_whose_other_inputs_are_held(tmp_path: Path) -> None:
    fit = with_tasks(fake_fit("repetition", draws=50, jitter=0.05), TASKS)
    asked = {"at": {"unique_tokens": 1e11}, "path": "fixed-ratio=20"}
    found = bs.capability(fit, flops=[1e24], length=[1], **asked)
    expected = bs.predict_scores(fit, bs.inputs_along(fit, [1e24], **asked))
    np.testing.assert_allclose(found["score"].isel(length=0), expected, rtol=1e-10)
    path = save(fit, tmp_path / "fit.nc")
    options = ["--flops", "1e24", "--length", "1", "--path", "fixed-ratio=20", "--json"]
    told = CliRunner().invoke(
        cli.app, ["capability", str(path), *options, "--at", "unique_tokens=1e11"]
    )
    assert told.exit_code == 0, told.output
    with pytest.raises(ValueError, match="no path is known"):
        bs.capability(fit, flops=[1e24])


# The command line -------------------------------------------------------------------------------


def test_the_verbs_ask_for_tasks(known: xr.DataTree, tmp_path: Path) -> None:
    path = save(known, tmp_path / "fit.nc")

    def run(*args: object) -> dict:
        result = CliRunner().invoke(cli.app, [*map(str, args), "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    facts = run(
        "capability", path, "--flops", "1e23,1e24", "--length", "1,10", "--task", "acc_hard"
    )
    assert [(row["flops"], row["length"]) for row in facts["rows"]] == [
        (1e23, 1), (1e23, 10), (1e24, 1), (1e24, 10),
    ]  # fmt: skip
    assert facts["rows"][0]["score"]["q05"] <= facts["rows"][0]["score"]["median"]
    facts = run("target", path, "--accuracy", "0.5,0.97", "--task", "acc_easy")
    assert facts["target"] == "accuracy"
    assert facts["rows"][1]["p_unreachable"] == 1.0
    facts = run(
        "returns", path, "--beyond", "1e24", "--capability-below", "0.01", "--task", "acc_easy"
    )
    assert facts["predicate"] == "capability_below"
    assert 0 <= facts["probability"] <= 1
    shown = CliRunner().invoke(cli.app, ["capability", str(path), "--flops", "1e23"])
    assert shown.exit_code == 0
    assert "a doubling adds" in shown.output
    wrong = CliRunner().invoke(cli.app, ["target", str(path), "--accuracy", "high"])
    assert "--accuracy 'high': expected numbers" in wrong.stderr


# Real tasks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task", [pytest.param("hellaswag_val", marks=pytest.mark.slow), "arc_easy_test"]
)
def test_larger_runs_of_the_olmo_ladder_score_as_forecast(data_dir: Path, task: str) -> None:
    """Both steps of Bhagia et al. 2024 at once: task loss from the sizes, accuracy from task loss."""
    runs = bs.read_runs(data_dir / "olmo_ladder_small.csv")
    runs = runs.assign(loss=runs[f"bpb_{task}_rc_5shot"], score=runs[f"acc_{task}_rc_5shot"])
    large = runs["params"].values > 1e9
    model = Model.load("skaling-drift").changed(tasks={"columns": ["score"]})
    fit = bs.fit(runs.isel(run=~large), model, random_seed=1)
    assert fit.attrs["converged"]
    ahead = runs.isel(run=large)
    found = bs.predict_scores(fit, ahead[["params", "tokens"]], kind="run").sel(task="score")
    lower, upper = np.quantile(found.values.reshape(-1, ahead.sizes["run"]), [0.05, 0.95], axis=0)
    inside = (ahead["score"].values >= lower) & (ahead["score"].values <= upper)
    assert inside.mean() >= 0.6  # of six runs
    assert abs(np.median(found, axis=(0, 1)) - ahead["score"].values).max() < 0.05
