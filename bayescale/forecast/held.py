"""A law of params, tokens and more as one of params and tokens alone: other inputs are held at a value.

So allocations, targets and paths of compute are asked of laws of precision, sparsity or repeated data as of any other.
A value that is not known, such as how many unique tokens there will be, is held at draws of it: they become a parameter
of the law, one for each draw of the posterior.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.drift import Paths
from bayescale.forecast.curve import Saved
from bayescale.forecast.montecarlo import SAMPLE_DIMS
from bayescale.forecast.path import PLANNED
from bayescale.laws import Input, Param
from bayescale.model import hint
from bayescale.runs.cells import parse_sizes, typed

#: Columns of inputs to be held, each with a value or with draws of it.
type Held = Mapping[str, ArrayLike]


def pair_draws(values: ArrayLike, samples: int, name: str, *, zero: bool = True) -> np.ndarray:
    """Draws of a stated quantity, one for each sample of the posterior; axes (sample, 1) or (1, 1).

    Parameters
    ----------
    values : array-like
        One number, or draws of any number, independent of the posterior's: they are paired as they come. An
        array with dims chain and draw is read by their names; a size may be text, such as "2T".
    samples : int
    name : str
        Of the quantity, for messages.
    zero : bool
        Whether it may be zero.

    Raises
    ------
    ValueError
        If a value is no size, negative or not finite, or an array has other dims.

    Examples
    --------
    >>> pair_draws([1.0, 2.0, 3.0], 5, "demand")[:, 0]
    array([1., 2., 3., 1., 2.])
    """
    if isinstance(values, xr.DataArray) and values.ndim > 1:
        if set(values.dims) != set(SAMPLE_DIMS):
            raise ValueError(
                f"{name}: draws with the dims {', '.join(map(str, values.dims))}: expected chain and draw"
            )
        values = values.transpose(*SAMPLE_DIMS)
    flat = parse_sizes(values, name).reshape(-1)
    if not flat.size or not (np.isfinite(flat) & ((flat >= 0) if zero else (flat > 0))).all():
        what = "numbers of zero or more" if zero else "numbers above zero"
        raise ValueError(f"{name}: expected {what}, got {values!r}")
    if flat.size == 1:
        return flat[:, None]
    if flat.size > samples:
        flat = flat[np.linspace(0, flat.size - 1, samples).round().astype(int)]
    return np.resize(flat, samples)[:, None]


def hold_given(saved: Saved, at: Held | None) -> Saved:
    """The fit with its inputs held where values are given, otherwise as it is; see :func:`hold_inputs`."""
    return hold_inputs(saved, at) if at else saved


def hold_inputs(saved: Saved, at: Held) -> Saved:
    """The fit of a law of params and tokens alone, any other of its inputs held at a value or at draws of it.

    An input that cannot exceed another, as unique tokens cannot exceed tokens, follows it below that value.

    Parameters
    ----------
    saved : Saved
    at : mapping
        Column of the input to its value, or to draws of it, which are paired with the posterior's as they come.

    Raises
    ------
    ValueError
        If a value is missing, outside the law's domain, or of no such input.
    """
    law, columns = saved.law, saved.model.inputs
    others = [each for each in law.inputs if each.name not in ("params", "tokens")]
    if not saved.has_compute:
        others = []
    known = {columns[each.name]: each for each in others}
    for name in at:
        if name not in known:
            raise ValueError(_refused(saved, name, known))
    missing = [each for name, each in known.items() if name not in at]
    if missing:
        each = missing[0]
        column = columns[each.name]
        raise ValueError(
            f"law {law.name!r} depends on {each.name} ({each.meaning}) too: say at which value, such as "
            f"at={{{column!r}: {typical(saved, column)}}}, or --at {column}=VALUE"
        )
    if not others:
        return saved
    held = {
        each.name: pair_draws(
            at[columns[each.name]], saved.samples, f"at: {columns[each.name]}", zero=False
        )
        for each in others
    }
    wide = {name: held.get(name, np.full((1, 1), np.inf)) for name in law.input_names}
    for name, outside, bound in law.outside(wide):
        if outside.any() and name in held:
            wrong = held[name][np.broadcast_to(outside, held[name].shape)][0]
            raise ValueError(f"at: {columns[name]} = {wrong:g} must be {bound}")
    # Draws travel with the parameters of the law, sample by sample.
    drawn = {name: f"held {name}" for name, value in held.items() if value.size > 1}

    def hold(
        inputs: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        found = dict(inputs)
        for each in others:
            value = values[each.name]
            found[each.name] = (
                value if each.at_most is None else np.minimum(value, found[each.at_most])
            )
        return found

    def loss(params: np.ndarray, tokens: np.ndarray, **values: np.ndarray) -> np.ndarray:
        scale = saved.reference
        here = held | {name: values.pop(key) for name, key in drawn.items()}
        inputs = hold(
            {"params": params * scale["params"], "tokens": tokens * scale["tokens"]}, here
        )
        return law.loss(*(inputs[name] / scale[name] for name in law.input_names), **values)

    both = tuple(each for each in law.inputs if each.name in ("params", "tokens"))
    kept = {each.name: columns[each.name] for each in both}
    return replace(
        saved,
        law=replace(
            law,
            inputs=both,
            loss=loss,
            optimal_params=None,
            params=(*law.params, *(_as_param(each) for each in others if each.name in drawn)),
        ),
        model=replace(saved.model, inputs=kept),
        drift=(
            None
            if saved.drift is None
            else _HeldPaths(
                saved.drift,
                lambda inputs: hold(inputs, held),
                {each.name: each.at_most for each in others if each.at_most is not None},
            )
        ),
        held={key: held[name] for name, key in drawn.items()},
    )


def _refused(saved: Saved, name: str, known: Mapping[str, Input]) -> str:
    """Why an input cannot be held, with those that the law has."""
    law, columns = saved.law, list(saved.model.inputs.values())
    inputs = f"its inputs are {', '.join(columns)}"
    if name not in columns:
        held = f", of which {', '.join(known)} can be held" if known else ""
        return (
            f"at: law {law.name!r} has no input {name!r} to hold; {hint(name, known)}{inputs}{held}"
        )
    if saved.has_compute:
        return (
            f"at: {name!r} of law {law.name!r} grows with compute and cannot be held; say how with a path, such as "
            "fixed-ratio=20, fixed-params=7B or fixed-tokens=300B"
        )
    if len(columns) == 1:
        return f"at: {name!r} is all that law {law.name!r} has to grow by; leave at out"
    return (
        f"at: {name!r} of law {law.name!r} cannot be held, since the law is not of params and tokens: {inputs}; "
        f"{PLANNED}"
    )


def typical(saved: Saved, column: str) -> str:
    """The median of an input in the runs, as one writes it after ``--at``."""
    return typed(float(np.median(saved.runs[column])))


def _as_param(each: Input) -> Param:
    return Param(f"held {each.name}", each.meaning, each.unit)


class _HeldPaths(Paths):
    """Drifts with some inputs held at a value, or at another input, given by ``most``, as long as that is less."""

    def __init__(
        self,
        paths: Paths,
        hold: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]],
        most: Mapping[str, str],
    ) -> None:
        self._paths, self._hold, self._most = paths, hold, most

    def evaluate(
        self, inputs: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Delta and its slopes, as of all inputs; one that follows another gives it its own slope."""
        full = self._hold(inputs)
        delta, slopes = self._paths.evaluate(full)
        for name, followed in self._most.items():
            follows = full[name] == full[followed]
            slopes[followed] = slopes[followed] + np.where(follows, slopes[name], 0.0)
        return delta, slopes

    def delta(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Delta, as of all inputs."""
        return self._paths.delta(self._hold(inputs))
