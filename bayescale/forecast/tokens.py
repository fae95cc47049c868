"""What one more training token is worth: a fresh one beside one that is read again.

Of a law that counts unique tokens ``U`` beside tokens seen ``D``, reading on lowers the loss by ``-dL/dD`` a token and
a fresh token by ``-dL/dD - dL/dU``, since it is seen and unique (Muennighoff et al. 2023, arXiv 2305.16264). While the
data last every further token is fresh.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.forecast.curve import Saved, blocks, decades_beyond, read_fit, samples
from bayescale.forecast.doubts import distance_note, fit_notes, group_notes
from bayescale.forecast.growth import check_range
from bayescale.forecast.held import Held, hold_inputs, pair_draws
from bayescale.forecast.path import PathLike
from bayescale.forecast.returns import Route, elasticity_at, route_for
from bayescale.forecast.scales import group_label, group_of, read_flops
from bayescale.forecast.stacked import is_stack, of_stack
from bayescale.forecast.tangent import marginal_loss
from bayescale.notes import dump_notes


def unique_slot(saved: Saved) -> str:
    """The law's input that counts unique tokens.

    Raises
    ------
    ValueError
        If it has none.
    """
    for each in saved.law.inputs:
        if each.at_most == "tokens":
            return each.name
    raise ValueError(
        f"law {saved.law.name!r} does not tell repeated tokens from fresh ones; fit one that does, such as 'repetition'"
    )


def token_values(
    whole: Saved, route: Route, unique: np.ndarray, flops: np.ndarray
) -> dict[str, np.ndarray]:
    """Worth of a token that is read again, and of a fresh one [unit of the loss for a token]; axes (sample, point).

    Parameters
    ----------
    whole : Saved
        The fit with all of its inputs.
    route : Route
        Along which compute grows, unique tokens held.
    unique : numpy.ndarray
        Unique tokens that there are, axes (sample, 1) or (1, 1).
    flops : numpy.ndarray
        Axes (1, point).
    """
    slot = unique_slot(whole)
    grown = route.growth.inputs(flops)
    tokens = grown["tokens"]
    inputs = grown | {slot: np.minimum(unique, tokens)}
    _, buys = marginal_loss(whole, inputs, route.params)
    again = buys["tokens"] / tokens
    fresh = again + buys[slot] / inputs[slot]
    # Until they run out, every further token is fresh.
    again = np.where(tokens < unique, fresh, again)
    return {"tokens": tokens + 0 * again, "repeated": again, "fresh": fresh}


def data_value(
    fit: xr.DataTree,
    *,
    flops: ArrayLike,
    unique_tokens: ArrayLike,
    path: PathLike | None = None,
    at: Held | None = None,
    family: str | Mapping[str, str] | None = None,
    random_seed: int = 0,
) -> xr.Dataset:
    """Worth of more data: of a fresh token beside a repeated one, and in compute.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.stack`, of a law of repeated data, such as ``repetition``.
    flops : array-like
        Training compute [FLOP].
    unique_tokens : float or array-like
        Unique tokens that there are, or draws of how many there will be.
    path : str, Path or table, optional
        As for :func:`bayescale.returns`. On ``compute-optimal`` the epochs and the size are the best for these data.
    at : mapping, optional
        Values of further inputs of the law, or draws of them.
    family : str or mapping, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    random_seed : int
        Of a new group.

    Returns
    -------
    xr.Dataset
        Dims chain, draw, flops; coordinate ``decades_beyond`` along flops. *How to read it*:

        - ``params``, ``epochs``: the model, and how often it reads the data; below one some are left over;
        - ``fresh``, ``repeated`` [nat/token for 1e9 tokens]: what more tokens would take off the loss;
        - ``ratio``: of repeated to fresh: 1 while the data last; a small one says to buy data, or a larger model;
        - ``worth`` [FLOP/token]: the training compute that lowers the loss by as much as one more unique token does, at
          the same compute: times the price of a FLOP, the most to pay for a token; 0 while the data last.

        In attrs: ``unique_tokens`` (of draws the median), ``path``, ``family``, ``model``, ``units``, ``notes``.

    Raises
    ------
    ValueError
        If the law does not tell repeated tokens from fresh ones, or a number makes no sense.

    References
    ----------
    Muennighoff et al. 2023, arXiv 2305.16264.

    Examples
    --------
    >>> import bayescale as bs
    >>> runs = bs.load_dataset("pile")
    >>> runs["unique_tokens"] = runs["tokens"]
    >>> prior = bs.sample_prior(runs, "repetition", draws=50)
    >>> found = data_value(prior, flops=[1e22, 1e26], unique_tokens=1e12, path="fixed-ratio=20")
    >>> found["epochs"].mean(("chain", "draw")).values.round(2)
    array([ 0.18, 18.26])
    >>> float(found["ratio"][0, 0, 0]), bool((found["ratio"] <= 1).all())
    (1.0, True)
    """
    if is_stack(fit):
        return of_stack(
            fit,
            lambda share, _: data_value(
                share,
                flops=flops,
                unique_tokens=unique_tokens,
                path=path,
                at=at,
                family=family,
                random_seed=random_seed,
            ),
        )
    whole = read_fit(fit)
    column = whole.model.inputs[unique_slot(whole)]
    unique = pair_draws(unique_tokens, whole.samples, "unique_tokens", zero=False)
    held = hold_inputs(whole, {**(at or {}), column: unique})
    scale = read_flops(flops, whole)
    route = route_for(held, path, family, random_seed)
    check_range(route.growth, scale.values)
    # Worths of tokens are of the law itself; so is that of compute beside them.
    law = replace(whole, drift=None)
    bare = replace(route, saved=replace(held, drift=None))
    names = ("params", "epochs", "fresh", "repeated", "ratio", "worth")
    found = {name: np.empty((whole.samples, scale.size)) for name in names}
    for block in blocks(scale.size, whole.samples):
        points = scale.values[None, block]
        worth = token_values(law, bare, unique, points)
        loss, elasticity = elasticity_at(bare, points)
        found["params"][:, block] = bare.growth.inputs(points)["params"]
        found["epochs"][:, block] = worth["tokens"] / unique
        found["fresh"][:, block] = 1e9 * worth["fresh"]
        found["repeated"][:, block] = 1e9 * worth["repeated"]
        found["ratio"][:, block] = worth["repeated"] / worth["fresh"]
        found["worth"][:, block] = (worth["fresh"] - worth["repeated"]) / (
            elasticity * loss / points
        )
    units = {
        "params": "parameters",
        "epochs": "epochs",
        "ratio": "1",
        "worth": "FLOP/token",
    }
    result = xr.Dataset(
        {
            name: samples(whole, values, "flops").assign_attrs(
                units=units.get(name, f"{whole.units} for 1e9 tokens")
            )
            for name, values in found.items()
        },
        coords={"flops": scale["flops"], "decades_beyond": decades_beyond(whole, scale).variable},
    )
    groups = [group_of(whole, family)]
    notes = [
        *fit_notes(fit, whole),
        *group_notes(whole, groups),
        *distance_note(whole, scale.values, groups),
    ]
    return result.assign_attrs(
        unique_tokens=float(np.median(unique)),
        path=str(route.growth.path),
        family=group_label(whole, family),
        model=whole.model.name,
        units=whole.units,
        notes=dump_notes(notes),
    )
