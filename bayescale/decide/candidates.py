"""Runs that can be made: read from a table or generated, with their cost and the noise of their loss."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from bayescale.cost import params_at_ratio, training_flops
from bayescale.decide.draws import Draws, Part
from bayescale.forecast.curve import Saved, compute_of
from bayescale.forecast.noise import noise_scale, rates_at
from bayescale.forecast.scales import Scales, as_dataset, positive, read_scales

#: Generated candidates: levels of compute, and of tokens per parameter.
_LEVELS, _RATIOS = 16, 5
#: Least factor between the tokens per parameter that generated candidates may have: runs that lie closer to one ray
#: leave open what parameters and tokens each buy, which others on that ray do not tell either.
_SPAN = 16.0


def read_candidates(
    draws: Draws, candidates: Scales, limit: float
) -> tuple[xr.Dataset, np.ndarray]:
    """Table of the runs that can be made, and their cost."""
    saved = _sized(draws)
    given = as_dataset(candidates, "candidates")
    table = read_runs_to_come(draws, given, "candidates")
    if "cost" in given:
        cost = positive(given["cost"], "candidates: column 'cost'")
    elif saved.has_compute:
        cost = given["flops"] if "flops" in given else compute_of(saved, table)
        cost = positive(cost, "candidates: column 'flops'")
    elif "flops" in table:
        cost = table["flops"]
    else:
        raise ValueError(
            f"candidates: what does a run cost? Model {saved.model.name!r} has no params and tokens; add a column "
            "'cost' [FLOP]"
        )
    costs = np.broadcast_to(cost.values, _rows(table)).astype(float)
    if not (costs <= limit).any():
        raise ValueError(
            f"budget = {limit:.4g} pays for no candidate: the cheapest costs {costs.min():.4g} FLOP; raise it, or add "
            "smaller runs"
        )
    return table, costs


def read_runs_to_come(draws: Draws, given: Scales, where: str) -> xr.Dataset:
    """Table with one row a run that is not yet made: none shares its luck with another.

    Parameters
    ----------
    draws : Draws
    given : Dataset, DataFrame or mapping
        Columns of the law's inputs, and of the groups where the model pools; of a stack, of every member's.
    where : str
        Name of the table in messages, and of runs that have no name.
    """
    given = as_dataset(given, where)
    found = {
        name: values
        for part in draws.parts
        for name, values in read_scales(given, part.whole, where=where).items()
    }
    table = xr.Dataset(
        {name: values.drop_vars(found, errors="ignore") for name, values in found.items()}
    )
    dims = [dim for dim in table.sizes if dim not in ("chain", "draw")]
    if len(dims) != 1:
        raise ValueError(f"{where}: expected a table with one row a run")
    if not any("run_id" in part.whole.pooled for part in draws.parts):
        return table
    if "run_id" in table and (table["run_id"].values.astype(str) != "").any():
        return table
    names = [f"{where}: run {place + 1}" for place in range(table.sizes[dims[0]])]
    return table.assign(run_id=(dims[0], names))


def generated(draws: Draws, limit: float) -> Mapping[str, np.ndarray]:
    """A grid from the smallest run to one that takes the whole budget, over the runs' tokens per parameter.

    Where the runs' tokens per parameter span less than a factor of 16, the grid reaches to a factor of 4 either side of
    their middle. No model is smaller than the smallest of the runs, and none is trained on fewer tokens than they were:
    of runs on one ray, the smallest leaves no other ratio, and one of 4 times its compute leaves them all.
    """
    saved = _sized(draws)
    smallest = float(compute_of(saved, saved.runs).min())
    if limit < smallest:
        raise ValueError(
            f"budget = {limit:.4g} pays for no candidate: it is less than the smallest run ({smallest:.4g}); raise it, "
            "or give a table of smaller runs"
        )
    levels = _between(smallest, limit, _LEVELS)
    columns = saved.model.inputs
    sizes = {columns["params"], columns["tokens"]} if saved.has_compute else set()
    needed = [set(part.whole.model.inputs.values()) for part in draws.parts]
    for part, names in zip(draws.parts, needed, strict=True):
        if names <= sizes | {"flops"}:
            continue
        if len(names) == 1:
            raise ValueError(
                f"candidates: model {part.whole.model.name!r} grows with {names.pop()}; give a table with it and a "
                "column 'cost'"
            )
        raise ValueError(
            f"candidates: none can be generated for law {part.whole.law.name!r}; give a table of runs"
        )
    if not saved.has_compute:
        return {"flops": levels}
    params, tokens = (saved.runs[columns[name]].values for name in ("params", "tokens"))
    # Of C = 6 N D and r = D / N follow D^2 = r C / 6 and N^2 = C / (6 r).
    lowest, highest = _widened(tokens / params)
    low = np.maximum(lowest, training_flops(tokens.min(), tokens.min()) / levels)
    high = np.minimum(highest, levels / training_flops(params.min(), params.min()))
    ratios = [_between(*ends, _RATIOS) for ends in zip(low, high, strict=True)]
    flops, ratio = np.repeat(levels, [each.size for each in ratios]), np.concatenate(ratios)
    params = params_at_ratio(flops, ratio)
    # The largest pays the whole budget, to the last bit.
    tokens = params * ratio * (1 - 1e-12)
    found = {columns["params"]: params, columns["tokens"]: tokens}
    # A member that grows with compute reads it from a column.
    return found | ({"flops": flops} if any("flops" in names for names in needed) else {})


def _widened(ratios: np.ndarray) -> tuple[float, float]:
    """Ends of the runs' tokens per parameter, or of a span about their middle if that is wider."""
    low, high = float(ratios.min()), float(ratios.max())
    middle, half = (low * high) ** 0.5, _SPAN**0.5
    return min(low, middle / half), max(high, middle * half)


def _between(low: float, high: float, count: int) -> np.ndarray:
    """Values at equal factors; one where the ends differ by rounding, lest one run be offered several times."""
    return np.geomspace(low, high, count) if high > low * (1 + 1e-9) else np.array([low])


def _sized(draws: Draws) -> Saved:
    """The member that says what a run costs: the first of params and tokens, if one is."""
    every = [part.whole for part in draws.parts]
    return next((each for each in every if each.has_compute), every[0])


def noise_variance(draws: Draws, table: xr.Dataset, log_loss: np.ndarray) -> np.ndarray:
    """Variance of normal noise of log loss that tells as much as a run's does, for each candidate.

    Student's t of scale s and nu degrees of freedom has the Fisher information (nu + 1) / ((nu + 3) s^2) about its
    centre (Lange, Little and Taylor 1989, doi 10.1080/01621459.1989.10478852). Of a rate it is the variance to first
    order about the law's own.

    Parameters
    ----------
    draws : Draws
    table : xr.Dataset
        Candidates, one row each.
    log_loss : numpy.ndarray
        Draws of the law there, axes (sample, row).
    """
    total = np.zeros(1)
    for part in draws.parts:
        total = total + part.weight * variance_of(part, table, np.median(log_loss, axis=0))
    return np.broadcast_to(total / sum(part.weight for part in draws.parts), _rows(table)).copy()


def variance_of(part: Part, table: xr.Dataset, log_loss: np.ndarray) -> np.ndarray:
    """The same under one model, given the middle of its draws.

    A model that drifts is fitted with normal noise, and heavy tails enter as weights that are one on average: there a
    run counts in full.
    """
    saved, noise = part.whole, part.whole.model.noise
    ratios = {
        slot: np.broadcast_to(table[column].values, _rows(table)) / saved.reference[slot]
        for slot, column in saved.model.inputs.items()
    }
    if noise.of_rate:
        given = table[noise.trials].values if noise.trials in table else None
        rates = rates_at(saved, log_loss[None, :], ratios, given)
        # How fast the log of the loss moves with the rate.
        turn = 1.0 if saved.law.trials_give == "error" else np.exp(-log_loss)
        return np.asarray((rates.variance * (turn / rates.center) ** 2).mean(axis=0))
    sigma = noise_scale(saved, ratios)
    assert sigma is not None
    variance = sigma**2
    if noise.excess is not None:
        variance = variance + saved.draws_of("excess")[:, None] ** 2
    if noise.nu is not None and saved.model.discrepancy is None:
        nu = noise.nu if isinstance(noise.nu, float) else saved.draws_of("nu")[:, None]
        variance = variance * (nu + 3) / (nu + 1)
    return np.broadcast_to(variance.mean(axis=0), _rows(table))


def _rows(table: xr.Dataset) -> int:
    return next(size for dim, size in table.sizes.items() if dim not in ("chain", "draw"))
