"""How a budget of compute divides into parameters and tokens, and what another division would lose.

The optima themselves are found in :mod:`bayescale.decide.lifetime`. Allocations of one budget are compared under the
law itself: a drift of its slope, where the model has one, is left out of optima and regrets and kept in the loss.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.cost import inference_flops, training_flops
from bayescale.decide.draws import (
    Draws,
    Family,
    as_draws,
    loss_of,
    models_note,
    of_samples,
    pair_draws,
    read_draws,
    some_of,
    told,
    without_drift,
)
from bayescale.decide.lifetime import (
    FIRST_STEP,
    REACH,
    Feasible,
    allowed_tokens,
    bounded,
    expected_optimum,
    optimal_params,
    params_within,
    size_losses,
    tokens_left,
    tokens_within,
)
from bayescale.decide.smooth import Answers, over_scales
from bayescale.decide.waste import regret_of
from bayescale.forecast.curve import blocks, compute_of, decades_beyond
from bayescale.forecast.doubts import design_note, distance_note
from bayescale.forecast.optimum import falling_root
from bayescale.forecast.scales import Scales, as_dataset, positive, read_flops
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import is_stack
from bayescale.notes import Note, dump_notes

#: Loss within which allocations count as equally good [nat/token]: about the scatter between seeds of one run.
NEAR = 0.005
#: A budget of less than this share of the smallest run's compute is taken for a mistake.
LEAST_SHARE = 1e-3
#: How well the edges of a draw's bowl are known, in ln(parameters).
EDGE = 1e-7
#: How well what is smooth in compute need be known between nodes.
ENOUGH = {"wasted_share": 1e-8, "lower": EDGE, "upper": EDGE}
#: What only guides the search at further nodes.
ENOUGH |= dict.fromkeys(("log_best", "log_instead", "log_seen"), np.inf)


def allocate(
    fit: xr.DataTree,
    *,
    flops: ArrayLike,
    params_max: float | None = None,
    tokens_max: float | None = None,
    grid: ArrayLike | None = None,
    inference_tokens: ArrayLike = 0.0,
    near: float = NEAR,
    probability: float = 0.9,
    at: Mapping[str, float] | None = None,
    family: Family = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Divide a budget of compute into parameters and tokens.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.stack`, of a law of params and tokens.
    flops : array-like
        Budgets [FLOP]: of training, and with ``inference_tokens`` of training and serving together.
    params_max, tokens_max : float, optional
        Bounds: what memory holds, how many tokens there are.
    grid : array-like, optional
        The only numbers of parameters that can be trained.
    inference_tokens : array-like
        Tokens that the model will read and write over its lifetime; several numbers are draws of an uncertain demand.
    near : float
        Loss within which an allocation counts as near-optimal [nat/token].
    probability : float
        How probable that must be for an allocation to be in the near-optimal set.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``.
    family : str or mapping, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    random_seed : int
        Of a new group.

    Returns
    -------
    xr.Dataset
        *How to read it*:

        - ``params_optimal``, ``tokens_optimal``, ``tokens_per_param``, dims chain, draw, flops: the optimum of each
          draw; their quantiles are what the runs say about the optimum;
        - ``params``, ``tokens``, dim flops: the one allocation of least expected loss, to be trained;
        - ``loss``, dims chain, draw, flops: the loss that it reaches [nat/token];
        - ``regret`` [nat/token] and ``wasted_flops`` [FLOP], dims chain, draw, flops: what it loses against the
          draw's own optimum of the same cost, and how much of the budget that optimum would have saved;
        - ``near_params``, dims flops, bound ("lower", "upper"): the near-optimal set, ``P(L(N) - L* <= near) >=
          probability``; NaN where no allocation is so safe. With ``grid``, ``is_near``, dims flops, size, in its place;
        - ``p_near``, dim flops: that probability for the one allocation.

        In attrs: ``near``, ``probability``, ``inference_tokens`` (mean), ``family``, ``model``, ``units``, ``notes``.

    Raises
    ------
    ValueError
        If the law has no params and tokens, a budget is below a thousandth of the smallest run or cannot be spent
        within the bounds, or a number makes no sense.

    References
    ----------
    Hoffmann et al. 2022, arXiv 2203.15556; Sardana et al. 2024, arXiv 2401.00448.

    Examples
    --------
    >>> import bayescale as bs
    >>> from bayescale.inference.fit import prior_tree
    >>> prior = prior_tree(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> best = allocate(prior, flops=[1e23, 1e24])
    >>> bool((best["regret"] >= 0).all()), bool(best["params"][0] < best["params"][1])
    (True, True)
    """
    whole = read_draws(fit, "compute-optimal", family, random_seed, at)
    draws = without_drift(whole)
    scale = read_flops(flops, draws.saved)
    _check_near(near, probability)
    feasible = _feasible(draws, inference_tokens, params_max, tokens_max, grid)
    budget = scale.values[None, :]
    _check_budget(draws, budget, feasible)

    solved = _by_sizes(draws, budget, feasible, near, probability)
    if not solved:
        solved = _by_params(draws, budget, feasible, near)
    params, params_optimal = solved["params"], solved["params_optimal"]
    tokens_optimal = tokens_left(budget, params_optimal, feasible)
    tokens = tokens_left(budget, params, feasible.expected)
    regret = np.maximum(solved["regret"], 0.0)
    cost = training_flops(params, tokens) + inference_flops(params, feasible.demand)
    found = {
        "params_optimal": as_draws(draws, params_optimal, "flops").assign_attrs(units="parameters"),
        "tokens_optimal": as_draws(draws, tokens_optimal, "flops").assign_attrs(units="tokens"),
        "tokens_per_param": as_draws(draws, tokens_optimal / params_optimal, "flops").assign_attrs(
            units="tokens/parameter"
        ),
        "params": xr.DataArray(params[0], dims="flops", attrs={"units": "parameters"}),
        "tokens": xr.DataArray(tokens[0], dims="flops", attrs={"units": "tokens"}),
        "loss": as_draws(whole, loss_of(whole, params, tokens), "flops").assign_attrs(
            units=draws.saved.units
        ),
        "regret": as_draws(draws, regret, "flops").assign_attrs(units=draws.saved.units),
        "wasted_flops": as_draws(
            draws, cost * np.maximum(solved["wasted_share"], 0.0), "flops"
        ).assign_attrs(units="FLOP"),
        "p_near": xr.DataArray((regret <= near).mean(axis=0), dims="flops", attrs={"units": "1"}),
    }
    if feasible.sizes is not None:
        coords = {"size": feasible.sizes}
        found["is_near"] = xr.DataArray(
            solved["is_near"].T > 0, dims=("flops", "size"), coords=coords, attrs={"units": "1"}
        )
    else:
        found |= _near_params(solved["lower"], solved["upper"], probability)
    result = xr.Dataset(found, coords={"flops": scale["flops"]})
    trained = training_flops(params[0], tokens[0])
    result["decades_beyond"] = decades_beyond(draws.saved, xr.DataArray(trained, dims="flops"))
    largest = int(np.argmax(trained))
    notes = [
        *whole.notes,
        *law_only_note(whole),
        *models_note(
            draws,
            params_optimal[:, largest],
            f"the optimum at {budget[0, largest]:.3g} FLOP",
            "parameters",
        ),
        *distance_note(draws.saved, trained),
        *design_note(
            draws.saved,
            {"params": params[:, [largest]], "tokens": tokens[:, [largest]]},
            "the allocation of the largest budget",
        ),
    ]
    if not is_stack(fit):
        ratio = xr.ufuncs.log(result["tokens_per_param"].isel(flops=largest)).reset_coords(
            drop=True
        )
        notes += prior_note(fit, draws.saved, ratio, "the optimal tokens per parameter")
    return result.assign_attrs(
        near=float(near),
        probability=float(probability),
        inference_tokens=float(feasible.demand.mean()),
        units=draws.saved.units,
        **told(draws, family),
        notes=dump_notes(notes),
    )


def under_trained(
    fit: xr.DataTree,
    table: Scales,
    *,
    inference_tokens: ArrayLike = 0.0,
    at: Mapping[str, float] | None = None,
    family: Family = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Regret of proposed or released models: how far from the best use of their compute they are.

    Parameters
    ----------
    fit : xr.DataTree
        Of a law of params and tokens.
    table : Dataset, DataFrame or mapping
        Columns ``params`` and ``tokens``, one row a model.
    inference_tokens : array-like
        As for :func:`allocate`: with demand, what was trained beyond the compute-optimal tokens is not wasted.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``.
    family : str or mapping, optional
    random_seed : int

    Returns
    -------
    xr.Dataset
        Dim ``run``. *How to read it*:

        - ``p_under_trained``: that fewer parameters and more tokens for the same FLOP would have been better;
        - ``params_optimal``, ``tokens_optimal``, dims chain, draw, run: the optimum at the model's own cost;
        - ``regret`` [nat/token] and ``wasted_flops`` [FLOP], dims chain, draw, run: loss above that of the optimum,
          and the FLOP that reaching the same loss at the optimum would have saved;
        - ``wasted_share``: of the model's own FLOP.

    Raises
    ------
    ValueError
        If a column is missing or not positive, or the law has no params and tokens.

    Examples
    --------
    >>> import bayescale as bs
    >>> from bayescale.inference.fit import prior_tree
    >>> prior = prior_tree(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> gpt3 = under_trained(prior, {"params": [175e9], "tokens": [300e9]})
    >>> bool(gpt3["p_under_trained"][0] > 0.5)
    True
    """
    whole = read_draws(fit, "compute-optimal", family, random_seed, at)
    draws = without_drift(whole)
    models = as_dataset(table, "table")
    for name in ("params", "tokens"):
        if name not in models:
            raise ValueError(
                f"table: missing column {name!r}; it has {', '.join(map(str, models.variables)) or 'no columns'}. "
                "Give params and tokens of each model"
            )
    params, tokens = (
        np.atleast_1d(positive(models[name], f"table: column {name!r}").values)[None, :]
        for name in ("params", "tokens")
    )
    params, tokens = np.broadcast_arrays(params, tokens)
    feasible = _feasible(draws, inference_tokens, None, None, None)
    lost = regret_of(draws, params, tokens, feasible)
    best_tokens = tokens_left(lost.cost, lost.params_optimal, feasible)
    result = xr.Dataset(
        {
            "params": ("run", params[0], {"units": "parameters"}),
            "tokens": ("run", tokens[0], {"units": "tokens"}),
            "p_under_trained": ("run", (lost.params_optimal < params).mean(axis=0), {"units": "1"}),
            "params_optimal": as_draws(draws, lost.params_optimal, "run").assign_attrs(
                units="parameters"
            ),
            "tokens_optimal": as_draws(draws, best_tokens, "run").assign_attrs(units="tokens"),
            "regret": as_draws(draws, lost.regret, "run").assign_attrs(units=draws.saved.units),
            "wasted_flops": as_draws(draws, lost.wasted, "run").assign_attrs(units="FLOP"),
            "wasted_share": as_draws(draws, lost.wasted / lost.cost, "run").assign_attrs(units="1"),
        }
    )
    labels = {
        name: ("run", np.atleast_1d(models[name].values).astype(str))
        for name in ("run_id", "family", "name")
        if name in models
    }
    result = result.assign_coords(labels)
    trained = training_flops(params[0], tokens[0])
    notes = [*whole.notes, *law_only_note(whole), *distance_note(draws.saved, trained)]
    return result.assign_attrs(
        inference_tokens=float(feasible.demand.mean()),
        units=draws.saved.units,
        **told(draws, family),
        notes=dump_notes(notes),
    )


def _by_params(
    draws: Draws, budget: np.ndarray, feasible: Feasible, near: float
) -> dict[str, np.ndarray]:
    """Optima, the one allocation, what it loses, and each draw's bowl; axes (sample, point)."""
    free = feasible.unbounded
    known: dict[bytes, np.ndarray] = {}

    def expected(flops: np.ndarray, rows: np.ndarray | None, about: Answers) -> Answers:
        if flops.tobytes() not in known:
            known[flops.tobytes()] = expected_optimum(
                draws, flops, free.expected, near=_exp(about.get("log_params"))
            )
        return {"log_params": np.log(known[flops.tobytes()])}

    def solve(flops: np.ndarray, rows: np.ndarray | None, about: Answers) -> Answers:
        some, own = draws, free
        if rows is not None:
            some, own = some_of(draws, rows), replace(free, demand=of_samples(free.demand, rows))
        found = _optima(some, flops, own, free.expected, near, about)
        # Where bounds cut the optima off, what is lost is not smooth.
        if feasible.cut:
            return found
        expected(flops, None, {})
        params = known[flops.tobytes()]
        best = np.exp(found["log_optimal"])
        return found | _lost(some, flops, params, best, own, free.expected, about)

    params = np.exp(over_scales(expected, budget)["log_params"])
    known[budget.tobytes()] = params
    found = over_scales(solve, budget, ENOUGH)
    if not feasible.cut:
        return found | {"params": params, "params_optimal": np.exp(found["log_optimal"])}
    params = bounded(params, budget, feasible.expected)

    def within(block: slice) -> dict[str, np.ndarray]:
        here = {name: values[:, block] for name, values in found.items()}
        return _within(draws, budget[:, block], params[:, block], feasible, near, here)

    return _block_by_block(within, budget, draws.samples) | {"params": params}


def _block_by_block(
    solve: Callable[[slice], dict[str, np.ndarray]], flops: np.ndarray, samples: int
) -> dict[str, np.ndarray]:
    """Solve some scales at a time: arrays stay in a processor's cache, and searches end each in its own time."""
    found = [solve(block) for block in blocks(flops.shape[1], samples)]
    return {name: np.concatenate([each[name] for each in found], axis=1) for name in found[0]}


def _exp(logs: np.ndarray | None) -> np.ndarray | None:
    return None if logs is None else np.exp(logs)


def _optima(
    draws: Draws,
    flops: np.ndarray,
    feasible: Feasible,
    expected: Feasible,
    near: float,
    about: Answers,
) -> dict[str, np.ndarray]:
    """Optima at each draw's demand and at the mean one, and bowls; ``about`` holds the like, from which to look."""
    own = optimal_params(draws, flops, feasible, near=_exp(about.get("log_optimal")))
    found = {"log_optimal": np.log(own)}
    best = own
    if feasible.demand.shape[0] > 1:
        start = about.get("log_alike", found["log_optimal"])
        best = optimal_params(draws, flops, expected, near=_exp(start))
        found["log_alike"] = np.log(best)
    return found | _bowls(draws, flops, best, expected, near, about)


def _lost(
    draws: Draws,
    flops: np.ndarray,
    params: np.ndarray,
    own: np.ndarray,
    feasible: Feasible,
    expected: Feasible,
    about: Answers,
) -> dict[str, np.ndarray]:
    """What the allocation ``params`` loses beside ``own``, the optima; axes (sample, point)."""
    tokens = tokens_left(flops, params, expected)
    # With one demand for all draws every allocation costs the budget, and its optimum is known.
    alike = feasible.demand.shape[0] == 1
    instead = None
    if {"log_instead", "log_seen"} <= about.keys():
        instead = np.exp(about["log_instead"]), np.exp(about["log_seen"])
    lost = regret_of(
        draws,
        params,
        tokens,
        feasible,
        own if alike else None,
        near=_exp(about.get("log_best")),
        instead=instead,
    )
    found = {"regret": lost.regret, "wasted_share": lost.wasted / lost.cost}
    if not alike:
        found["log_best"] = np.log(lost.params_optimal)
    if lost.instead is not None:
        found |= dict(zip(("log_instead", "log_seen"), map(np.log, lost.instead), strict=True))
    return found


def _within(
    draws: Draws,
    flops: np.ndarray,
    params: np.ndarray,
    feasible: Feasible,
    near: float,
    free: Answers,
) -> dict[str, np.ndarray]:
    """Optima, losses and bowls within bounds, from the optima and bowls without."""
    expected = feasible.expected
    own = bounded(np.exp(free["log_optimal"]), flops, feasible)
    lost = _lost(draws, flops, params, own, feasible, expected, {})
    found = {name: lost[name] for name in ("regret", "wasted_share")} | {"params_optimal": own}
    best = np.exp(free.get("log_alike", free["log_optimal"]))
    held = bounded(best, flops, expected)
    for name in ("lower", "upper"):
        found[name] = np.log(bounded(np.exp(free[name]), flops, expected))
    # The bowl of an optimum that is cut off is another.
    rows, points = np.nonzero(held != best)
    if rows.size:
        some, at = some_of(draws, rows), (rows, points)
        edges = _bowls(some, flops[:, points].T, held[at][:, None], expected, near, {})
        for name, values in edges.items():
            found[name][at] = values[:, 0]
    return found


def _by_sizes(
    draws: Draws, budget: np.ndarray, feasible: Feasible, near: float, probability: float
) -> dict[str, np.ndarray]:
    """Of sizes that can be trained: the best, the one for all, what that loses, and which are near-optimal."""
    if feasible.sizes is None:
        return {}
    sizes, expected = feasible.sizes, feasible.expected
    enough = int(np.ceil(probability * draws.samples))

    def solve(block: slice) -> dict[str, np.ndarray]:
        flops = budget[:, block]
        table = size_losses(draws, flops, expected)
        params = sizes[table.mean(axis=1).argmin(axis=0)][None, :]
        close = (table - table.min(axis=0) <= near).sum(axis=1) >= enough
        # Each draw's own demand; with one for all the table is known.
        own = table if feasible.demand.shape[0] == 1 else size_losses(draws, flops, feasible)
        best = sizes[own.argmin(axis=0)]
        lost = _lost(draws, flops, params, best, feasible, expected, {})
        found = {name: lost[name] for name in ("regret", "wasted_share")}
        return found | {"params": params, "params_optimal": best, "is_near": close}

    return _block_by_block(solve, budget, draws.samples)


def _bowls(
    draws: Draws,
    flops: np.ndarray,
    best: np.ndarray,
    feasible: Feasible,
    near: float,
    about: Answers,
) -> dict[str, np.ndarray]:
    """Log of the least and most parameters with which a draw's regret is at most ``near``; axes (sample, point)."""
    at_best = loss_of(draws, best, tokens_left(flops, best, feasible))
    center = np.log(best)
    least = np.log(bounded(np.full_like(best, 1e-300), flops, feasible))
    most = np.log(np.minimum(feasible.params_max, _most_params(flops, feasible)))
    edges = {}
    for name, side, bound in (("lower", -1, least), ("upper", 1, most)):
        reach = np.clip(side * (bound - center), 0.0, REACH)

        def room(distance: np.ndarray, side: int = side) -> np.ndarray:
            size = np.exp(center + side * distance)
            regret = loss_of(draws, size, tokens_left(flops, size, feasible)) - at_best
            # The root makes a bowl's wall straight.
            return np.sqrt(near) - np.sqrt(np.maximum(regret, 0.0))

        start, step = np.minimum(0.5, reach / 2), None
        if name in about:
            start, step = np.clip(side * (about[name] - center), 1e-3, None), FIRST_STEP
        distance = falling_root(
            room,
            np.zeros_like(reach),
            reach,
            np.minimum(start, reach),
            tolerance=EDGE,
            step=step,
        )
        edges[name] = center + side * distance
    return edges


def _near_params(
    lower: np.ndarray, upper: np.ndarray, probability: float
) -> dict[str, xr.DataArray]:
    """The parameters that lie in so many draws' bowls; along a budget the loss has one minimum, so a bowl is whole."""
    samples, points = lower.shape
    enough = int(np.ceil(probability * samples))
    starts, ends = np.sort(lower, axis=0), np.sort(upper, axis=0)
    table = np.full((points, 2), np.nan)
    for point in range(points):
        # Bowls that hold the place where one begins: those begun by then, less those ended before.
        held = np.arange(1, samples + 1) - np.searchsorted(
            ends[:, point], starts[:, point], side="left"
        )
        reached = np.flatnonzero(held >= enough)
        if not reached.size:
            continue
        # The set ends where the last of its bowls but so many ends, after its last beginning.
        last = np.searchsorted(starts[:, point], ends[:, point], side="right")
        full = np.flatnonzero(last - np.arange(samples) >= enough)
        table[point] = np.exp([starts[reached[0], point], ends[full[-1], point]])
    array = xr.DataArray(table, dims=("flops", "bound"), coords={"bound": ["lower", "upper"]})
    return {"near_params": array.assign_attrs(units="parameters")}


def _most_params(flops: np.ndarray, feasible: Feasible) -> np.ndarray:
    """Parameters at which serving, or training on one token, takes all of a budget."""
    return params_within(flops, np.ones((1, 1)), feasible)


def law_only_note(whole: Draws) -> list[Note]:
    """The note that allocations are compared without the drift that the model allows for."""
    if not whole.drifts:
        return []
    return [
        Note(
            "bare_law",
            "info",
            "allocations are compared under the law itself: the drift of its slope, which is in the loss, is left out "
            "of the optimum, the near-optimal set and the regret",
            "read the near-optimal set as the least that the runs leave open",
        )
    ]


def _feasible(
    draws: Draws,
    inference_tokens: ArrayLike,
    params_max: float | None,
    tokens_max: float | None,
    grid: ArrayLike | None,
) -> Feasible:
    bounds = {"params_max": params_max, "tokens_max": tokens_max}
    for name, value in bounds.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} = {value!r}: expected a number above zero, or leave it out")
    sizes = None
    if grid is not None:
        sizes = np.unique(
            positive(xr.DataArray(np.atleast_1d(np.asarray(grid))), "grid: parameters").values
        )
    demand = pair_draws(draws, np.asarray(inference_tokens), "inference_tokens")
    known = {name: float(value) for name, value in bounds.items() if value is not None}
    return Feasible(demand=demand, sizes=sizes, **known)


def _check_near(near: float, probability: float) -> None:
    if not near > 0:
        raise ValueError(f"near = {near!r}: expected a loss above zero, such as {NEAR} nat/token")
    if not 0 < probability <= 1:
        raise ValueError(f"probability = {probability!r}: expected a number in (0, 1], such as 0.9")


def _check_budget(draws: Draws, flops: np.ndarray, feasible: Feasible) -> None:
    saved = draws.saved
    least = LEAST_SHARE * float(compute_of(saved, saved.runs).min())
    if (flops < least).any():
        raise ValueError(
            f"flops = {flops.min():.4g} is less than a thousandth of the smallest run ({least / LEAST_SHARE:.3g} "
            "FLOP), too little for any sensible run; give the budget in FLOP, such as 1e24"
        )
    if np.isfinite(feasible.params_max) and np.isfinite(feasible.tokens_max):
        most = training_flops(feasible.params_max, feasible.tokens_max)
        most = most + inference_flops(feasible.params_max, float(feasible.demand.min()))
        if (flops > most).any():
            raise ValueError(
                f"flops = {flops.max():.4g} cannot be spent: {feasible.params_max:.3g} parameters on "
                f"{feasible.tokens_max:.3g} tokens take {most:.4g} FLOP at most; raise params_max or tokens_max"
            )
    if feasible.sizes is None:
        return
    paid = [
        allowed_tokens(tokens_within(flops, size, feasible).min(axis=0), size, feasible)
        for size in feasible.sizes
    ]
    unpaid = flops[0, ~np.any(paid, axis=0)]
    if unpaid.size:
        raise ValueError(
            f"grid: no size of {feasible.sizes[0]:.3g} to {feasible.sizes[-1]:.3g} parameters spends {unpaid[0]:.4g} "
            "FLOP within the bounds; add sizes, or change tokens_max, params_max or flops"
        )
