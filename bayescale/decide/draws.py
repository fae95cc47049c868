"""The draws that a decision rests on: of a fit, or of a stack of fits member by member.

Arrays are plain NumPy with axes (sample, point), as in :mod:`bayescale.forecast.curve`; the samples of a stack are
those of its members, one member after the other. The edges of the room speak xarray.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from bayescale.forecast.curve import Saved, blocks, read_fit, stream
from bayescale.forecast.doubts import fit_notes, group_notes
from bayescale.forecast.growth import check_range, growth
from bayescale.forecast.held import Held, hold_inputs
from bayescale.forecast.noise import run_loss
from bayescale.forecast.path import PathLike
from bayescale.forecast.predict import Kind
from bayescale.forecast.returns import Route, route_for
from bayescale.forecast.scales import group_label, group_of
from bayescale.forecast.stacked import COUNTS, is_stack, members
from bayescale.forecast.tangent import loss_of_inputs, marginal_loss
from bayescale.notes import Note

type Family = str | Mapping[str, str] | None


@dataclass(frozen=True)
class Part:
    """Draws of one model along a path.

    Parameters
    ----------
    name : str
        Of the model; in a stack, of the member.
    weight : float
        Share of the stack; one for a fit.
    route : Route
        Of the law in params and tokens, or in its one input: any other input is held where it was asked.
    whole : Saved
        The fit with all of its inputs.
    """

    name: str
    weight: float
    route: Route
    whole: Saved

    @property
    def saved(self) -> Saved:
        """What was read of the fit."""
        return self.route.saved


@dataclass(frozen=True)
class Draws:
    """Draws of a fit or of a stack along a path.

    Parameters
    ----------
    parts : tuple of Part
    notes : tuple of Note
        Doubts that every answer on these draws shares.
    """

    parts: tuple[Part, ...]
    notes: tuple[Note, ...]

    @property
    def saved(self) -> Saved:
        """What was read of the fit; of a stack, of its first member: runs and units are the same in all."""
        return self.parts[0].saved

    @property
    def samples(self) -> int:
        """Draws of all chains of all members."""
        return sum(part.saved.samples for part in self.parts)

    @property
    def name(self) -> str:
        """Name of the model, or of the models."""
        return ", ".join(part.name for part in self.parts)

    @property
    def drifts(self) -> bool:
        """Whether the slope of any member's law may drift."""
        return any(part.saved.drift is not None for part in self.parts)

    @property
    def lowest(self) -> float:
        """Least compute that the path covers."""
        return max(part.route.growth.lowest for part in self.parts)

    @property
    def highest(self) -> float:
        """Most compute that the path covers."""
        return min(part.route.growth.highest for part in self.parts)


def read_draws(
    fit: xr.DataTree,
    path: PathLike | None,
    family: Family = None,
    random_seed: int = 0,
    at: Held | None = None,
) -> Draws:
    """Read the draws of a fit or of a stack along a path.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit` or :func:`bayescale.stack`, or opened from its file.
    path : str, Path or table, optional
        As for :func:`bayescale.returns`.
    family : str or mapping, optional
        Group to ask about, for a model that pools; without it a new one is drawn.
    random_seed : int
        Of a new group.
    at : mapping, optional
        Values of the inputs that a law of params and tokens has besides, such as ``{"weight_bits": 8}``, or draws of
        them.

    Returns
    -------
    Draws

    Raises
    ------
    ValueError
        If the tree is no fit, its law cannot grow along the path, or another input is missing or makes no sense.
    """
    trees = (
        [(member.name, member.weight, member.share) for member in members(fit)]
        if is_stack(fit)
        else [(str(fit.attrs.get("model_name", "fit")), 1.0, fit)]
    )
    parts, notes = [], []
    for name, weight, tree in trees:
        whole = read_fit(tree)
        saved = hold_inputs(whole, at or {})
        parts.append(Part(name, weight, route_for(saved, path, family, random_seed), whole))
        notes += [*fit_notes(tree, saved), *group_notes(saved, [group_of(saved, family)])]
    return Draws(tuple(parts), tuple(dict.fromkeys(notes)))


def without_drift(draws: Draws) -> Draws:
    """The same draws, of the law alone.

    A drawn drift is not to be known beforehand: allocations of one budget are compared under the law.
    """
    if not draws.drifts:
        return draws
    parts = [
        replace(part, route=replace(part.route, saved=replace(part.saved, drift=None)))
        for part in draws.parts
    ]
    return replace(draws, parts=tuple(parts))


def some_of(draws: Draws, rows: np.ndarray) -> Draws:
    """The law on some of the samples: what optima and regrets need of them.

    Parameters
    ----------
    draws : Draws
        Without drift.
    rows : numpy.ndarray
        Indices of samples, in order.
    """
    kept = []
    for part, here in each_part(draws):
        own = rows[(rows >= here.start) & (rows < here.stop)] - here.start
        if not own.size:
            continue
        coords = {"chain": [0], "draw": np.arange(own.size)}
        saved = replace(part.saved, posterior=xr.Dataset(coords=coords))
        params = {name: of_samples(values, own) for name, values in part.route.params.items()}
        route = Route(saved, params, growth(saved, params, part.route.growth.path))
        kept.append(replace(part, route=route))
    return replace(draws, parts=tuple(kept))


def each_part(draws: Draws) -> Iterator[tuple[Part, slice]]:
    """Every member with its samples."""
    start = 0
    for part in draws.parts:
        yield part, slice(start, start + part.saved.samples)
        start += part.saved.samples


def floors(draws: Draws) -> np.ndarray:
    """Irreducible loss of each draw; axes (sample, 1)."""
    return np.concatenate(
        [np.broadcast_to(p.route.floor, (p.saved.samples, 1)) for p in draws.parts]
    )


def of_samples(values: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    """Values of some samples; what does not vary by sample stays as it is."""
    return values[rows] if values.shape[0] > 1 else values


def so_many(share: float, samples: int) -> int:
    """The least number of draws that are such a share of all, whatever the rounding."""
    return int(np.ceil(share * samples - 1e-9))


def evaluate(
    draws: Draws,
    ask: Callable[[Part, tuple[np.ndarray, ...]], np.ndarray | Sequence[np.ndarray]],
    *inputs: np.ndarray,
    answers: int | None = None,
) -> np.ndarray:
    """Ask every member about its own samples, block by block so that memory stays bounded.

    Parameters
    ----------
    draws : Draws
    ask : callable
        ``ask(part, inputs)`` gives values with axes (sample, point) from inputs of these axes.
    *inputs : numpy.ndarray
        Axes (sample, point); what does not vary by sample or by point has length one there, and stays so.
    answers : int, optional
        How many such values it gives.

    Returns
    -------
    numpy.ndarray
        Axes (sample, point), after that of the answers if there are several.
    """
    points = max(each.shape[1] for each in inputs)
    found = np.empty((answers or 1, draws.samples, points))
    for part, rows in each_part(draws):
        for block in blocks(points, part.saved.samples):
            given = (of_samples(each, rows) for each in inputs)
            values = ask(
                part, tuple(each[:, block] if each.shape[1] > 1 else each for each in given)
            )
            for place, each in enumerate(values if answers else [values]):
                found[place, rows, block] = each
    return found if answers else found[0]


def loss_along(
    draws: Draws,
    flops: np.ndarray,
    kind: Kind = "curve",
    random_seed: int = 0,
    *,
    what: str = "flops",
) -> np.ndarray:
    """Loss along the path [unit of the runs]; axes (sample, point).

    Of kind "run", each sample has one draw of luck, the same at every scale. Raises ValueError, naming ``what``, where
    compute lies outside a plan.
    """
    for part in draws.parts:
        check_range(part.route.growth, flops, what)

    def ask(part: Part, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
        saved = part.saved
        grown = part.route.growth.inputs(inputs[0])
        loss = loss_at_inputs(part, grown)
        if kind == "curve":
            return loss
        rng = stream(random_seed, "noise", part.name)
        return run_loss(saved, np.log(loss), saved.ratios(grown), 1, rng)

    return evaluate(draws, ask, flops)


def loss_of(draws: Draws, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Loss of models of so many parameters after so many tokens; axes (sample, point)."""
    return evaluate(
        draws,
        lambda part, inputs: loss_at_inputs(part, {"params": inputs[0], "tokens": inputs[1]}),
        params,
        tokens,
    )


def loss_at_inputs(part: Part, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Loss of one member's draws at inputs of its law; axes (sample, point)."""
    return loss_of_inputs(part.saved, inputs, part.route.params)


def loss_and_marginals(
    draws: Draws,
    params: np.ndarray,
    tokens: np.ndarray,
    by: Sequence[str] = ("params", "tokens"),
) -> np.ndarray:
    """Loss, and its fall for a relative increase of parameters and of tokens: ``-dL/dln N`` and ``-dL/dln D``.

    Axes (answer, sample, point): the loss first, then the falls by the inputs that are named.
    """

    def ask(part: Part, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        given = {"params": inputs[0], "tokens": inputs[1]}
        loss, found = marginal_loss(part.saved, given, part.route.params, by)
        return [loss, *(found[name] for name in by)]

    return evaluate(draws, ask, params, tokens, answers=1 + len(by))


def marginal_losses(
    draws: Draws, params: np.ndarray, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fall of the loss for a relative increase of parameters, and of tokens: ``-dL/dln N`` and ``-dL/dln D``."""
    _, of_params, of_tokens = loss_and_marginals(draws, params, tokens)
    return of_params, of_tokens


def as_draws(draws: Draws, values: np.ndarray, *dims: str) -> xr.DataArray:
    """Values with axes (sample, ...) as an array with dims chain, draw and ``dims``."""
    pieces = [
        of_samples(values, rows).reshape(*part.saved.shape, *values.shape[1:])
        for part, rows in each_part(draws)
    ]
    stacked = np.concatenate(pieces, axis=1)
    first = draws.saved.posterior
    draw = first["draw"].values if len(draws.parts) == 1 else np.arange(stacked.shape[1])
    coords = {"chain": first["chain"].values, "draw": draw}
    return xr.DataArray(stacked, dims=("chain", "draw", *dims), coords=coords)


def told(draws: Draws, family: Family) -> dict[str, str]:
    """What every decision says of the draws that it rests on."""
    return {"model": draws.name, "family": group_label(draws.saved, family)}


def models_note(draws: Draws, values: np.ndarray, what: str, unit: str) -> list[Note]:
    """The note that the members of a stack disagree by more than they are uncertain, if they do.

    Parameters
    ----------
    draws : Draws
    values : numpy.ndarray
        Positive, axis (sample,); compared by their ratio.
    what, unit : str
        What is compared, for the message.
    """
    weighty = {part.name: values[rows] for part, rows in each_part(draws) if part.weight > COUNTS}
    if len(weighty) < 2:
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        levels = np.array(
            [np.log(np.quantile(each, [0.05, 0.5, 0.95])) for each in weighty.values()]
        )
        apart, width = np.ptp(levels[:, 1]), np.mean(levels[:, 2] - levels[:, 0])
    if not apart > width:
        return []
    middle = ", ".join(
        f"{name} {np.exp(level):.3g}" for name, level in zip(weighty, levels[:, 1], strict=True)
    )
    return [
        Note(
            "models_disagree",
            "warning",
            f"the models' medians of {what} ({middle} {unit}) lie further apart than their 90 % intervals are wide",
            "look at each model's answer; runs that tell them apart are worth more than any average",
        )
    ]
