"""The covariance of the drift, and the eigenfunctions in which it is written within the runs."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from bayescale.drift._axes import LN10, Axis, positions

#: Eigenfunctions kept over all axes: the eigenvalues fall with the fourth power, and 20 hold all but 1e-4 of the
#: variance of delta on sweeps of one to five decades. Of that of its slope they hold less: 60 % where a side keeps one.
MODES = 20
_GRID = 96


def kernel(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Covariance of delta at distances ``s`` and ``t`` on one side of the anchor, for ``kappa = 1``.

    Examples
    --------
    >>> float(kernel(np.array([1.0]), np.array([1.0]))[0, 0].round(4))
    1.7673
    """
    low, high = np.minimum(s[:, None], t[None, :]), np.maximum(s[:, None], t[None, :])
    return LN10**2 * low**2 * (3 * high - low) / 6


def covariance(inputs: Mapping[str, np.ndarray], found: Sequence[Axis]) -> np.ndarray:
    """Covariance of delta between points, over all axes and for ``kappa = 1``.

    Parameters
    ----------
    inputs : mapping of array
        The law's inputs in their own units, dims (point,).
    found : sequence of Axis

    Returns
    -------
    numpy.ndarray
        Dims (point, point). At the runs it is ``design @ design.T``, but for the modes that :func:`design` leaves out.

    Examples
    --------
    >>> found = [Axis("compute", anchor=20.0, behind=2.0, ahead=0.0)]
    >>> covariance({"scale": np.array([1e19, 1e20, 1e21])}, found).round(2)
    array([[1.77, 0.  , 0.  ],
           [0.  , 0.  , 0.  ],
           [0.  , 0.  , 1.77]])
    """
    at = positions(inputs)
    total = np.zeros((1, 1))
    for axis in found:
        offset = at[axis.name] - axis.anchor
        for side in (-1, 1):
            distance = np.clip(side * offset, 0.0, None)
            total = total + kernel(distance, distance)
    return total


def kernel_slope(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Derivative of :func:`kernel` by ``s``."""
    low = np.minimum(s[:, None], t[None, :])
    return LN10**2 * (low * t[None, :] - low**2 / 2)


def basis(found: Sequence[Axis]) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    """Leading eigenfunctions of the drift within the runs.

    Parameters
    ----------
    found : sequence of Axis

    Returns
    -------
    list of (axis index, side, grid, weights)
        ``side`` is -1 behind the anchor and 1 ahead; ``kernel(s, grid) @ weights`` are the eigenfunctions of that side,
        one column each, scaled so that independent standard Normal weights give delta. Columns over all sides number
        at most :data:`MODES`.
    """
    return _basis(tuple(found))


@cache
def _basis(found: tuple[Axis, ...]) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    sides = []
    for index, axis in enumerate(found):
        for side, length in ((-1, axis.behind), (1, axis.ahead)):
            if length > 1e-6:
                unit, values, vectors = _unit()
                # The kernel of a scaled distance is the kernel, scaled by the cube.
                values = values * length**3
                # Nystrom: eigenvalues of the operator are those of the matrix times the spacing.
                spectrum = values * length / _GRID
                sides.append((index, side, unit * length, values, vectors, spectrum))
    if not sides:
        return []
    # Sides of one length have equal eigenvalues: counted by place, so that never more than MODES are kept.
    owner = np.repeat(np.arange(len(sides)), _GRID)
    leading = owner[np.argsort(-np.concatenate([each[5] for each in sides]), kind="stable")[:MODES]]
    kept = []
    for place, (index, side, grid, values, vectors, _) in enumerate(sides):
        count = int((leading == place).sum())
        if count:
            kept.append((index, side, grid, vectors[:, :count] / np.sqrt(values[:count])))
    return kept


@cache
def _unit() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid on a side one decade long; eigenvalues of the kernel there, the largest first; its eigenvectors.

    A fit keeps weights of these, so that their signs must be the same on every machine: they are positive at the end.
    """
    grid = np.linspace(0, 1, _GRID + 1)[1:]
    values, vectors = np.linalg.eigh(kernel(grid, grid))
    return grid, values[::-1], (vectors * np.sign(vectors[-1]))[:, ::-1]


def design(inputs: Mapping[str, np.ndarray], found: list[Axis]) -> np.ndarray:
    """Matrix (run, mode) that turns standard Normal weights into delta at the runs, for ``kappa = 1``.

    Columns that the runs do not need are zero, so that every run table has :data:`MODES` of them.
    """
    at = positions(inputs)
    size = next(iter(at.values())).size
    columns = []
    for index, side, grid, weights in basis(found):
        axis = found[index]
        distance = side * (at[axis.name] - axis.anchor)
        block = kernel(np.clip(distance, 0.0, None), grid) @ weights
        columns.append(np.where(distance[:, None] > 0, block, 0.0))
    matrix = np.concatenate(columns, axis=1) if columns else np.zeros((size, 0))
    return np.pad(matrix, ((0, 0), (0, MODES - matrix.shape[1])))
