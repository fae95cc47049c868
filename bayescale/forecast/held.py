"""A law of params, tokens and more as one of params and tokens alone: other inputs are held at a value.

So allocations, targets and paths of compute are asked of laws of precision, sparsity or repeated data as of any other.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from bayescale.drift import Paths
from bayescale.forecast.curve import Saved
from bayescale.model import hint


def hold_inputs(saved: Saved, at: Mapping[str, float]) -> Saved:
    """The fit of a law of params and tokens alone, any other of its inputs held at a value.

    An input that cannot exceed another, as unique tokens cannot exceed tokens, follows it below that value.

    Parameters
    ----------
    saved : Saved
    at : mapping
        Column of the input to its value.

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
            listed = ", ".join(known) or "none"
            raise ValueError(
                f"at: law {law.name!r} has no input {name!r} to hold; {hint(name, known)}besides params and "
                f"tokens it has {listed}"
            )
    missing = [each for name, each in known.items() if name not in at]
    if missing:
        each = missing[0]
        raise ValueError(
            f"law {law.name!r} depends on {each.name} ({each.meaning}) too: say at which value, such as "
            f"at={{{columns[each.name]!r}: {each.upper or each.lower or 1:g}}}, or --at {columns[each.name]}=VALUE"
        )
    if not others:
        return saved
    held = {each.name: float(at[columns[each.name]]) for each in others}
    wide = {name: np.array([held.get(name, np.inf)]) for name in law.input_names}
    for name, value in held.items():
        if not 0 < value < np.inf:
            raise ValueError(f"at: {columns[name]} = {value!r}: expected a number above zero")
    for name, outside, bound in law.outside(wide):
        if outside.any() and name in held:
            raise ValueError(f"at: {columns[name]} = {held[name]:g} must be {bound}")

    def hold(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = dict(inputs)
        for each in others:
            value = np.full((1, 1), held[each.name])
            found[each.name] = (
                value if each.at_most is None else np.minimum(value, found[each.at_most])
            )
        return found

    def loss(params: np.ndarray, tokens: np.ndarray, **values: np.ndarray) -> np.ndarray:
        scale = saved.reference
        inputs = hold({"params": params * scale["params"], "tokens": tokens * scale["tokens"]})
        return law.loss(*(inputs[name] / scale[name] for name in law.input_names), **values)

    both = tuple(each for each in law.inputs if each.name in ("params", "tokens"))
    kept = {each.name: columns[each.name] for each in both}
    return replace(
        saved,
        law=replace(law, inputs=both, loss=loss, optimal_params=None),
        model=replace(saved.model, inputs=kept),
        drift=None if saved.drift is None else _HeldPaths(saved.drift, hold),
    )


class _HeldPaths(Paths):
    """Drifts with some inputs held at a value."""

    def __init__(
        self, paths: Paths, hold: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    ) -> None:
        self._paths, self._hold = paths, hold

    def evaluate(
        self, inputs: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Delta and its slopes, as of all inputs."""
        return self._paths.evaluate(self._hold(inputs))
