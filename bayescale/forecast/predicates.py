"""What "diminishing" may mean: each predicate is a quantity along a path, and a threshold that it lies below."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescale.forecast.alternative import Elsewhere, Measure, alternative_to
from bayescale.forecast.capability import linked, score_gain
from bayescale.forecast.curve import Saved
from bayescale.forecast.returns import Route, check_step, elasticity_at, loss_at
from bayescale.forecast.tokens import token_values

#: A gain by which one may divide, and of which no share is worth a thought [nat/token].
_NOTHING = 1e-100


@dataclass(frozen=True)
class Predicate:
    """A quantity, and the threshold below which returns are called diminishing.

    Parameters
    ----------
    name : str
    threshold : float
        As the asker gave it.
    measure : callable
        Of a route and compute with axes (sample, point).
    below : float
        The measure's threshold.
    reach : tuple of float
        Scales besides C that it looks at, as factors of C.
    base : tuple of float
        Scales that it looks at whatever C.
    never : bool
        Whether it cannot hold, by construction of the law.
    """

    name: str
    threshold: float
    measure: Measure
    below: float
    reach: tuple[float, ...] = ()
    base: tuple[float, ...] = ()
    never: bool = False


def choose(
    saved: Saved,
    step: float,
    given: Mapping[str, Any],
    task: str | None = None,
    elsewhere: Elsewhere | None = None,
) -> Predicate:
    """The one predicate that was given.

    Parameters
    ----------
    saved : Saved
    step : float
        Factor of compute of one step.
    given : mapping
        Threshold by name; all but one None.
    task : str, optional
        Whose score ``capability_below`` asks about.
    elsewhere : Elsewhere, optional
        What ``data_limited`` and ``alternative`` look at beside the route.

    Raises
    ------
    ValueError
        If not exactly one is given, or its threshold makes no sense.
    """
    check_step(step)
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        what = f"got {' and '.join(chosen)}" if chosen else "got none"
        raise ValueError(
            f"diminishing in which sense? Give exactly one of {', '.join(given)}; {what}"
        )
    ((name, value),) = chosen.items()
    if task is not None and name not in ("capability_below", "alternative"):
        raise ValueError(f"task = {task!r} goes with capability_below; {name} asks about the loss")
    if name == "alternative":
        assert elsewhere is not None
        price, measure = alternative_to(saved, value, step, task, elsewhere)
        return Predicate(name, price, measure, 0.0, (step,))
    pair = name in ("relative_below", "price_above")
    share = name in ("floor", "data_limited")
    try:
        numbers = np.asarray(value, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    sensible = np.isfinite(numbers) & (numbers > 0) & ((numbers < 1) | (not share))
    if numbers.size != (2 if pair else 1) or not sensible.all():
        wanted = {
            "floor": "a share of the loss between zero and one, such as 0.05",
            "data_limited": "a share of what a fresh token is worth between zero and one, such as 0.5",
            "relative_below": "a pair (r, C0) of numbers above zero",
            "price_above": "a pair (worth, price) of numbers above zero: money for a nat, money for a FLOP",
        }.get(name, "a number above zero")
        raise ValueError(f"{name} = {value!r}: expected {wanted}")
    threshold = float(numbers[0])
    if name == "data_limited":
        assert elsewhere is not None
        return _data_limited(threshold, elsewhere)
    if name == "capability_below":
        link = linked(saved, task)
        return Predicate(
            name, threshold, lambda r, c: score_gain(r, link, c, step), threshold, (step,)
        )
    if name == "price_above":
        if not saved.grows_by_compute:
            raise ValueError(
                f"price_above: the fit grows with {', '.join(saved.model.inputs.values())}, not with training compute, "
                "so that a FLOP has no price along it; fit the runs by flops, or by params and tokens"
            )
        # What a unit of money buys, which falls below what it must.
        price = float(numbers[1])
        return Predicate(
            name,
            threshold,
            lambda r, c: gain_at(r, c, step) / ((step - 1) * c * price),
            1 / threshold,
            (step,),
        )
    if name == "gain_below":
        return Predicate(name, threshold, lambda r, c: gain_at(r, c, step), threshold, (step,))
    if name == "elasticity_below":
        return Predicate(name, threshold, lambda r, c: elasticity_at(r, c)[1], threshold)
    if name == "relative_below":
        base = float(numbers[1])
        return Predicate(
            name,
            threshold,
            # Where a step bought nothing at C0, less than a share of that is a loss that rises.
            lambda r, c: (
                gain_at(r, c, step) / np.maximum(gain_at(r, np.array([[base]]), step), _NOTHING)
            ),
            threshold,
            (step,),
            (base, base * step),
        )
    if name == "floor":
        if saved.law.floor is None:
            raise ValueError(
                f"floor = {threshold}: law {saved.law.name!r} has no floor; ask for gain_below instead"
            )
        return Predicate(name, threshold, lambda r, c: 1 - r.floor / loss_at(r, c), threshold)
    if saved.drift is not None:
        return Predicate(name, threshold, departure, -threshold)
    return Predicate(name, threshold, _bend, -threshold, (0.1,), never=not saved.law.can_bend)


def _data_limited(threshold: float, elsewhere: Elsewhere) -> Predicate:
    """A token that is read again is worth less than a share of a fresh one."""
    _, unique = elsewhere.unique
    law = replace(elsewhere.whole, drift=None)

    def measure(route: Route, flops: np.ndarray) -> np.ndarray:
        bare = replace(route, saved=replace(route.saved, drift=None))
        worth = token_values(law, bare, unique, flops)
        return worth["repeated"] / worth["fresh"]

    return Predicate("data_limited", threshold, measure, threshold)


def gain_at(route: Route, flops: np.ndarray, step: float) -> np.ndarray:
    """What the next step buys [nat/token]; axes (sample, point)."""
    return loss_at(route, flops) - loss_at(route, flops * step)


def departure(route: Route, flops: np.ndarray) -> np.ndarray:
    """Elasticity of the loss, less what the law alone would give; axes (sample, point)."""
    law_alone = replace(route, saved=replace(route.saved, drift=None))
    return elasticity_at(route, flops)[1] - elasticity_at(law_alone, flops)[1]


def bends_within(route: Route, threshold: float) -> np.ndarray | None:
    """Whether the slope fell by more than the law's, over the last decade of the runs; axis (sample,).

    None where the path does not cover that decade.
    """
    last = np.array([[route.saved.largest / 10, route.saved.largest]])
    if last[0, 0] < route.growth.lowest or last[0, 1] > route.growth.highest:
        return None
    early, late = departure(route, last).T
    return late - early < -threshold


def _bend(route: Route, flops: np.ndarray) -> np.ndarray:
    """Elasticity of the reducible loss, less what it was one decade earlier."""

    def reducible(flops: np.ndarray) -> np.ndarray:
        loss, elasticity = elasticity_at(route, flops)
        return elasticity * loss / (loss - route.floor)

    return reducible(flops) - reducible(flops / 10)
