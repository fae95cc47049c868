"""How a budget of compute divides into parameters and tokens, and what another division would lose.

The optima themselves are found in :mod:`bayescale.decide.lifetime`. Allocations of one budget are compared under the
law itself: a drift of its slope, where the model has one, is left out of optima and regrets and kept in the loss.
"""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.cost import inference_flops, training_flops
from bayescale.decide.bowls import by_params, by_sizes, near_params, share_near
from bayescale.decide.draws import (
    Draws,
    Family,
    as_draws,
    loss_of,
    models_note,
    read_draws,
    told,
    without_drift,
)
from bayescale.decide.lifetime import (
    Feasible,
    allowed_tokens,
    read_grid,
    read_one,
    tokens_left,
    tokens_within,
)
from bayescale.decide.waste import regret_of
from bayescale.forecast.curve import compute_of, decades_beyond
from bayescale.forecast.doubts import design_note, distance_note
from bayescale.forecast.held import Held, pair_draws
from bayescale.forecast.scales import Scales, as_dataset, positive, read_flops
from bayescale.forecast.sensitivity import prior_note
from bayescale.forecast.stacked import is_stack
from bayescale.notes import Note, dump_notes

#: Loss within which allocations count as equally good [nat/token]: about the scatter between seeds of one run.
NEAR = 0.005
#: A budget of less than this share of the smallest run's compute is taken for a mistake.
LEAST_SHARE = 1e-3
#: Relative error within which an allocation lies at a bound: tokens come of a division.
_ROUNDING = 1e-9


def allocate(
    fit: xr.DataTree,
    *,
    flops: ArrayLike,
    params_max: float | str | None = None,
    tokens_max: float | str | None = None,
    grid: ArrayLike | None = None,
    inference_tokens: ArrayLike = 0.0,
    near: float = NEAR,
    probability: float = 0.9,
    at: Held | None = None,
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
    params_max, tokens_max : float or str, optional
        Bounds: what memory holds, how many tokens there are; numbers, or sizes as text such as ``"70B"``, as for
        ``grid`` and ``inference_tokens``.
    grid : array-like, optional
        The only numbers of parameters that can be trained.
    inference_tokens : array-like
        Tokens that the model will read and write over its lifetime; several numbers are draws of an uncertain demand.
    near : float
        Loss within which an allocation counts as near-optimal [nat/token].
    probability : float
        How probable that must be for an allocation to be in the near-optimal set.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.
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
        - ``p_near``, dim flops: that probability for the one allocation. Of an uncertain demand both take the mean,
          and ``regret`` each draw's own.

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
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=100)
    >>> best = allocate(prior, flops=[1e23, 1e24])
    >>> bool((best["regret"] >= 0).all()), bool(best["params"][0] < best["params"][1])
    (True, True)
    """
    whole = read_draws(fit, "compute-optimal", family, random_seed, at)
    draws = without_drift(whole)
    scale = read_flops(flops, draws.saved)
    _check_near(near, probability)
    feasible = Feasible(
        demand=pair_draws(inference_tokens, draws.samples, "inference_tokens"),
        params_max=read_one(params_max, "params_max") or np.inf,
        tokens_max=read_one(tokens_max, "tokens_max") or np.inf,
        sizes=read_grid(grid),
    )
    budget = scale.values[None, :]
    _check_budget(draws, budget, feasible)

    solved = by_sizes(draws, budget, feasible, near, probability)
    if not solved:
        solved = by_params(draws, budget, feasible, near)
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
    }
    if feasible.sizes is not None:
        p_near, coords = solved["p_near"], {"size": feasible.sizes}
        found["is_near"] = xr.DataArray(
            solved["is_near"].T > 0, dims=("flops", "size"), coords=coords, attrs={"units": "1"}
        )
    else:
        bowls = solved["lower"], solved["upper"]
        p_near = share_near(*bowls, params)
        found |= near_params(*bowls, probability)
    found["p_near"] = xr.DataArray(p_near[0], dims="flops", attrs={"units": "1"})
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
        *_bound_note(params_optimal, params[0], tokens[0], scale.values, feasible),
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
    at: Held | None = None,
    family: Family = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Regret of proposed or released models: how far from the best use of their compute they are.

    Parameters
    ----------
    fit : xr.DataTree
        Of a law of params and tokens.
    table : Dataset, DataFrame or mapping
        Columns ``params`` and ``tokens``, one row a model; columns of different dims make the grid of both.
    inference_tokens : array-like
        As for :func:`allocate`: with demand, what was trained beyond the compute-optimal tokens is not wasted.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.
    family : str or mapping, optional
    random_seed : int

    Returns
    -------
    xr.Dataset
        Dim ``run``, or the dims of the columns, with their index. *How to read it*:

        - ``p_under_trained``: that fewer parameters and more tokens for the same FLOP would have been better;
        - ``params_optimal``, ``tokens_optimal``, dims chain, draw, run: the optimum at the model's own cost;
        - ``regret`` [nat/token] and ``wasted_flops`` [FLOP], dims chain, draw, run: loss above that of the optimum,
          and the FLOP that reaching the same loss at the optimum would have saved;
        - ``wasted_share``: of the model's own FLOP.

    Raises
    ------
    ValueError
        If a column is missing, empty or not positive, or the law has no params and tokens.

    Examples
    --------
    >>> import bayescale as bs
    >>> prior = bs.sample_prior(bs.load_dataset("pile"), "chinchilla", draws=100)
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
    labels = [name for name in ("run_id", "family", "name") if name in models]
    models = models[["params", "tokens", *labels]]
    if 0 in models.sizes.values():
        raise ValueError(
            "table: the table has no rows; give params and tokens of one model or more"
        )
    models = models if models.sizes else models.expand_dims("run")
    # A column that is an index is not its own coordinate here.
    columns = xr.broadcast(
        *(
            positive(models[name], f"table: column {name!r}")
            .reset_coords(drop=True)
            .drop_vars(("params", "tokens"), errors="ignore")
            for name in ("params", "tokens")
        )
    )
    dims, shape = tuple(map(str, columns[0].dims)), columns[0].shape
    params, tokens = (column.values.reshape(1, -1) for column in columns)
    feasible = Feasible(pair_draws(inference_tokens, draws.samples, "inference_tokens"))
    lost = regret_of(draws, params, tokens, feasible)
    found = {
        "params_optimal": (lost.params_optimal, "parameters"),
        "tokens_optimal": (tokens_left(lost.cost, lost.params_optimal, feasible), "tokens"),
        "regret": (lost.regret, draws.saved.units),
        "wasted_flops": (lost.wasted, "FLOP"),
        "wasted_share": (lost.wasted / lost.cost, "1"),
    }
    under = (lost.params_optimal < params).mean(axis=0)
    result = xr.Dataset(
        {
            "params": (dims, columns[0].values, {"units": "parameters"}),
            "tokens": (dims, columns[1].values, {"units": "tokens"}),
            "p_under_trained": (dims, under.reshape(shape), {"units": "1"}),
        },
        coords=columns[0].coords,
    ).assign(
        {
            name: as_draws(draws, values.reshape(-1, *shape), *dims).assign_attrs(units=units)
            for name, (values, units) in found.items()
        }
    )
    result = result.assign_coords(
        {name: models[name].variable.astype(str) for name in labels if name not in dims}
    )
    trained = training_flops(params[0], tokens[0])
    notes = [*whole.notes, *law_only_note(whole), *distance_note(draws.saved, trained)]
    return result.assign_attrs(
        inference_tokens=float(feasible.demand.mean()),
        units=draws.saved.units,
        **told(draws, family),
        notes=dump_notes(notes),
    )


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


def _bound_note(
    optima: np.ndarray,
    params: np.ndarray,
    tokens: np.ndarray,
    flops: np.ndarray,
    feasible: Feasible,
) -> list[Note]:
    """The note that a bound decides an allocation rather than what the runs tell of the optimum, if one does."""
    bounds: list[tuple[str, np.ndarray]] = [
        (
            f"params_max = {feasible.params_max:.3g}",
            params >= feasible.params_max * (1 - _ROUNDING),
        ),
        (
            f"tokens_max = {feasible.tokens_max:.3g}",
            tokens >= feasible.tokens_max * (1 - _ROUNDING),
        ),
    ]
    # One size alone leaves nothing to decide.
    if feasible.sizes is not None and feasible.sizes.size > 1:
        for what, size in (("smallest", feasible.sizes[0]), ("largest", feasible.sizes[-1])):
            bounds.append((f"the {what} size of grid, {size:.3g} parameters", params == size))
    notes = []
    for bound, holds in bounds:
        if holds.any():
            first = int(holds.argmax())
            share = float(np.isclose(optima[:, first], params[first], rtol=1e-6).mean())
            notes.append(
                Note(
                    "bound_decides",
                    "info",
                    f"the allocation of {flops[first]:.3g} FLOP lies at {bound}, as the optimum of {share:.0%} of the "
                    "draws does",
                    "what is trained there follows from the bound; widen it to see what the runs say",
                )
            )
    return notes


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
