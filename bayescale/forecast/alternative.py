"""Does the money of the next step of training buy more elsewhere? By another recipe, fresh tokens, or at inference.

Both sides are told in one unit: the loss, or the score of a task. What training adds to a score goes through the link
of loss and task; a law along what is spent at inference gives a score by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.forecast.capability import linked, score_gain
from bayescale.forecast.curve import Saved, read_fit
from bayescale.forecast.held import Held, pair_draws
from bayescale.forecast.returns import Route, loss_at
from bayescale.forecast.scales import read_flops
from bayescale.forecast.stacked import is_stack
from bayescale.forecast.tokens import unique_slot

type Measure = Callable[[Route, np.ndarray], np.ndarray]

#: Laws along what is spent at inference, whose loss stands for a score.
SCORED = ("sigmoid_compute", "voting", "coverage", "pass_at_k")


@dataclass(frozen=True)
class Elsewhere:
    """What a comparison with other uses of the same money looks at.

    Parameters
    ----------
    whole : Saved
        The fit with all of its inputs.
    at : mapping
        Values of those that are held, or draws of them.
    route_of : callable
        The route of this fit with other values held, or of another fit.
    """

    whole: Saved
    at: Held
    route_of: Callable[[Saved, Held], Route]

    @property
    def unique(self) -> tuple[str, np.ndarray]:
        """Column of the unique tokens, and how many there are; axes (sample, 1) or (1, 1).

        Raises
        ------
        ValueError
            If the law does not tell repeated tokens from fresh ones.
        """
        column = self.whole.model.inputs[unique_slot(self.whole)]
        if column not in self.at:
            raise ValueError(
                f"how many unique tokens are there? Give at={{{column!r}: 1e12}}, or --at {column}=1T"
            )
        return column, pair_draws(self.at[column], self.whole.samples, f"at: {column}", zero=False)


def alternative_to(
    saved: Saved, other: Any, step: float, task: str | None, elsewhere: Elsewhere
) -> tuple[float, Measure]:
    """What the next step of training buys, less what its money buys elsewhere; and the price there [FLOP].

    Parameters
    ----------
    saved : Saved
    other : DataTree or tuple
        A fit of another recipe; ``(column, price)`` of unique tokens; or ``(fit, spent, price)`` of a law along what is
        spent at inference, what is spent now, and what a unit more costs.
    step : float
    task : str, optional
        Whose score training is to raise.
    elsewhere : Elsewhere

    Raises
    ------
    ValueError
        If the two sides cannot be told in one unit, or a number makes no sense.
    """
    if isinstance(other, xr.DataTree):
        return 0.0, _recipe(saved, other, step, elsewhere)
    try:
        tree, spent, price = other if len(other) == 3 else (None, *other)
        price = float(price)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"alternative = {other!r}: expected a fit of another recipe, a pair such as ('unique_tokens', 1e12): fresh "
            "tokens and what one costs [FLOP]; or (fit, spent, price): a fit along what is spent at inference, how "
            "much is now, and what one more costs over all that is served [FLOP]"
        ) from error
    if isinstance(tree, xr.DataTree):
        return price, _at_inference(saved, tree, spent, price, step, task, elsewhere)
    known, unique = elsewhere.unique
    if tree is not None or spent != known or not 0 < price < np.inf:
        raise ValueError(
            f"alternative = {other!r}: expected ({known!r}, price of one [FLOP, above zero])"
        )

    def fresh(route: Route, flops: np.ndarray) -> np.ndarray:
        found = []
        for point in range(flops.shape[1]):
            here = flops[:, [point]]
            more = unique + (step - 1) * float(here[0, 0]) / price
            there = elsewhere.route_of(elsewhere.whole, {**elsewhere.at, known: more})
            found.append(loss_at(there, here) - loss_at(route, here * step))
        return np.concatenate(found, axis=1)

    return price, fresh


def _read(tree: xr.DataTree) -> Saved:
    if is_stack(tree):
        raise ValueError("alternative: expected one fit; compare the members of a stack by turns")
    return read_fit(tree)


def _paired(values: np.ndarray, there: Route, route: Route, *, same: bool = False) -> np.ndarray:
    """Draws of fits made apart, paired with those half of all further on; of the same fit, with its own.

    Two fits with one seed drew alike at the same place, their drift beyond the runs above all.
    """
    every = np.broadcast_to(values, (there.saved.samples, values.shape[1]))
    place = np.linspace(0, every.shape[0] - 1, route.saved.samples).round().astype(int)
    return every[place if same else np.roll(place, place.size // 2)]


def _recipe(saved: Saved, tree: xr.DataTree, step: float, elsewhere: Elsewhere) -> Measure:
    other = _read(tree)
    columns = [tuple(each.model.inputs.values()) for each in (saved, other)]
    if columns[0] != columns[1] and not (saved.grows_by_compute and other.grows_by_compute):
        raise ValueError(
            f"alternative: the fit grows with {', '.join(columns[1])}, not with training compute, so that it is no "
            "recipe; what is spent at inference needs a price: (fit, spent now, FLOP of one more), or "
            "--alternative FIT.nc@NOW@PRICE"
        )
    if saved.units != other.units:
        raise ValueError(
            f"alternative: losses in {saved.units} and in {other.units} cannot be compared; convert one of the tables"
        )
    there = elsewhere.route_of(other, elsewhere.at)
    same = other.posterior.equals(elsewhere.whole.posterior)

    def measure(route: Route, flops: np.ndarray) -> np.ndarray:
        after = _paired(loss_at(there, flops * step), there, route, same=same)
        return after - loss_at(route, flops * step)

    return measure


def _at_inference(
    saved: Saved,
    tree: xr.DataTree,
    spent: Any,
    price: float,
    step: float,
    task: str | None,
    elsewhere: Elsewhere,
) -> Measure:
    """What a step of training adds to a score, less what its money adds at inference."""
    other = _read(tree)
    if other.law.name not in SCORED or len(other.law.inputs) != 1:
        raise ValueError(
            f"alternative: law {other.law.name!r} gives no score along what is spent at inference; fit one that does: "
            f"{', '.join(SCORED)}"
        )
    if not 0 < price < np.inf:
        raise ValueError(
            f"alternative: price = {price!r}: expected what one more {other.model.inputs[other.law.input_names[0]]} "
            "costs over all that is served [FLOP, above zero]"
        )
    now = read_flops(spent, other, "alternative: spent at inference").values[None, :1]
    there = elsewhere.route_of(other, {})
    if saved.model.tasks is None and saved.law.name not in SCORED:
        raise ValueError(
            f"alternative: inference is told as a score, and model {saved.model.name!r} knows only the loss; fit a "
            "model with [tasks], such as 'tasks', to runs with columns acc_..., so that both are in one unit"
        )
    link = None if saved.model.tasks is None else linked(saved, task)

    def measure(route: Route, flops: np.ndarray) -> np.ndarray:
        more = now + (step - 1) * flops / price
        bought = _score(there, more) - _score(there, now)
        if link is not None:
            trained = score_gain(route, link, flops, step)
        else:
            trained = _score(route, flops * step) - _score(route, flops)
        return trained - _paired(bought, there, route)

    return measure


def _score(route: Route, at: np.ndarray) -> np.ndarray:
    """Share of trials that succeed."""
    law = route.saved.law
    rate = law.observed_rate(loss_at(route, at))
    return rate if law.trials_give == "success" else 1 - rate
