"""Where along the scales a run lies: the axes of drift, and the frontier of the runs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LN10 = np.log(10.0)


@dataclass(frozen=True)
class Axis:
    """One direction of drift: where it is anchored, and how far the runs reach on either side.

    Parameters
    ----------
    name : str
        ``compute``, or an input of the law.
    anchor : float
        log10 of the scale where the drift is zero.
    behind, ahead : float
        Reach of the runs below and above the anchor [decades].
    """

    name: str
    anchor: float
    behind: float
    ahead: float


def positions(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """log10 of the scale along every axis.

    Parameters
    ----------
    inputs : mapping of array
        The law's inputs in their own units, all of one shape.

    Returns
    -------
    dict of array
        ``compute`` (the product of all inputs), then each input if there are several.

    Examples
    --------
    >>> {name: float(at) for name, at in positions({"params": 1e9, "tokens": 1e11}).items()}
    {'compute': 20.0, 'params': 9.0, 'tokens': 11.0}
    """
    logs = {name: np.log10(values) for name, values in inputs.items()}
    compute = {"compute": np.add.reduce(np.broadcast_arrays(*logs.values()))}
    return compute | (logs if len(logs) > 1 else {})


def axes(inputs: Mapping[str, np.ndarray], reference: Mapping[str, float]) -> list[Axis]:
    """Axes of drift of a run table.

    Compute is anchored at the largest run, each of several inputs at the reference scale.

    Parameters
    ----------
    inputs : mapping of array
        The law's inputs over the runs.
    reference : mapping of float
        Reference scale of each input.
    """
    found = []
    for name, at in positions(inputs).items():
        anchor = float(at.max()) if name == "compute" else float(np.log10(reference[name]))
        found.append(
            Axis(
                name, anchor, max(anchor - float(at.min()), 0.0), max(float(at.max()) - anchor, 0.0)
            )
        )
    return found


def frontier(at: np.ndarray, width: float = 1.0, least: int = 4) -> np.ndarray:
    """Indices of the runs within ``width`` decades of the largest, at least ``least`` of them.

    Examples
    --------
    >>> frontier(np.array([18.0, 19.0, 19.5, 20.0]), least=2)
    array([3, 2, 1])
    """
    order = np.argsort(-at, kind="stable")
    return order[: max(int((at >= at.max() - width).sum()), min(least, at.size))]


def middle(scales: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Geometric mean of each scale over the :func:`frontier` of the runs: where their reference scale lies.

    Examples
    --------
    >>> middle({"scale": np.array([1e17, 1e19, 1e20, 1e20, 1e21])})
    {'scale': 1e+20}
    """
    near = frontier(positions(scales)["compute"])
    return {slot: float(np.exp(np.log(values[near]).mean())) for slot, values in scales.items()}
