"""Optima of a lifetime budget, draw by draw: training takes ``6 * N * D`` FLOP, serving ``2 * N * D_inf``.

At the best division of a budget a per cent of parameters and a per cent of tokens are to what they cost as to what they
buy:

    eps_N / eps_D = 1 + D_inf / (3 * D),    eps_x = -dL / dln x

(Sardana et al. 2024, arXiv 2401.00448; without demand, Hoffmann et al. 2022, arXiv 2203.15556). The same condition
holds at the least lifetime cost of a given loss. Arrays have axes (sample, point).
"""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from bayescale.cost import inference_flops, tokens_for, training_flops
from bayescale.decide.draws import Draws, Part, evaluate, loss_of, marginal_losses
from bayescale.forecast.growth import check_range
from bayescale.forecast.optimum import falling_root
from bayescale.forecast.scales import positive
from bayescale.runs import parse_sizes

#: First secants of a search are this long, in ln(tokens).
FIRST_STEP = 1e-5
#: Searches reach this many units of ln(tokens), ln(params) or ln(FLOP) from where they start.
REACH = 30.0


@dataclass(frozen=True)
class Feasible:
    """What can be trained, and what it will serve.

    Parameters
    ----------
    demand : numpy.ndarray
        Tokens served over the model's lifetime; axes (sample, 1) or (1, 1).
    params_max, tokens_max : float
    sizes : numpy.ndarray or None
        The only numbers of parameters that can be trained.
    """

    demand: np.ndarray
    params_max: float = np.inf
    tokens_max: float = np.inf
    sizes: np.ndarray | None = None

    @property
    def cut(self) -> bool:
        """Whether bounds or sizes may cut an optimum off."""
        bounded = np.isfinite(self.params_max) or np.isfinite(self.tokens_max)
        return bool(bounded or self.sizes is not None)

    @property
    def unbounded(self) -> "Feasible":
        """The same without bounds and sizes."""
        return replace(self, params_max=np.inf, tokens_max=np.inf, sizes=None)

    @property
    def expected(self) -> "Feasible":
        """The same at the mean demand: lifetime FLOP is linear in it."""
        return replace(self, demand=self.demand.mean(axis=0, keepdims=True))


def read_one(given: ArrayLike | None, name: str) -> float | None:
    """One stated number above zero, which may be a size in text; ``None`` where there is none."""
    if given is None:
        return None
    number = parse_sizes(given, name)
    if number.size != 1 or not number.item() > 0:
        raise ValueError(f"{name} = {given!r}: expected a number above zero, or leave it out")
    return float(number.item())


def read_grid(given: ArrayLike | None) -> np.ndarray | None:
    """The only sizes that can be trained, the smallest first; axis (size,)."""
    if given is None:
        return None
    sizes = parse_sizes(np.atleast_1d(given), "grid")
    if not sizes.size:
        raise ValueError(
            "grid is empty: expected the sizes that can be trained, such as [7e9, 70e9], or leave it out"
        )
    return np.unique(positive(xr.DataArray(sizes), "grid: parameters").values)


def tokens_within(flops: np.ndarray, params: np.ndarray, feasible: Feasible) -> np.ndarray:
    """Training tokens that are left of a lifetime budget."""
    return tokens_for(flops - inference_flops(params, feasible.demand), params)


def tokens_left(flops: np.ndarray, params: np.ndarray, feasible: Feasible) -> np.ndarray:
    """The same of an optimum: where serving takes all of a budget, to the last bit, one token is left."""
    return np.maximum(tokens_within(flops, params, feasible), 1.0)


def params_within(flops: np.ndarray, tokens: np.ndarray, feasible: Feasible) -> np.ndarray:
    """Parameters that spend a lifetime budget on so many training tokens."""
    return flops / (training_flops(tokens, 1.0) + inference_flops(feasible.demand, 1.0))


def optimal_params(
    draws: Draws,
    flops: np.ndarray,
    feasible: Feasible,
    *,
    near: np.ndarray | None = None,
    tolerance: float = 1e-12,
) -> np.ndarray:
    """Optimal parameters of each draw under a budget; axes (sample, point).

    Parameters
    ----------
    draws : Draws
    flops : numpy.ndarray
    feasible : Feasible
    near : numpy.ndarray, optional
        Parameters from which a search starts.
    tolerance : float
        Of a search, in ln(tokens) as a share of itself.
    """
    if feasible.sizes is not None:
        table = size_losses(draws, flops, feasible)
        return sizes_of(table, table.min(axis=0), feasible.sizes)
    if not feasible.demand.any():
        best = evaluate(draws, _own_optimum, flops)
    else:
        rows = np.zeros((draws.samples, 1))
        best = _balanced(
            draws, flops + rows, feasible, expected=False, near=near, tolerance=tolerance
        )
    return bounded(best, flops, feasible)


def expected_optimum(
    draws: Draws, flops: np.ndarray, feasible: Feasible, *, near: np.ndarray | None = None
) -> np.ndarray:
    """Parameters of the one allocation of least expected loss; axes (1, point)."""
    return bounded(_balanced(draws, flops, feasible, expected=True, near=near), flops, feasible)


def _own_optimum(part: Part, inputs: tuple[np.ndarray, ...]) -> np.ndarray:
    check_range(part.route.growth, inputs[0])
    return part.route.growth.inputs(inputs[0])["params"]


def bounded(params: np.ndarray, flops: np.ndarray, feasible: Feasible) -> np.ndarray:
    """The nearest parameters that the bounds allow: along a budget the loss has one minimum."""
    least = np.zeros(1)
    if np.isfinite(feasible.tokens_max):
        least = params_within(flops, np.full((1, 1), feasible.tokens_max), feasible)
    return np.minimum(np.maximum(params, least), feasible.params_max)


def _balanced(
    draws: Draws,
    flops: np.ndarray,
    feasible: Feasible,
    *,
    expected: bool,
    near: np.ndarray | None = None,
    tolerance: float = 1e-12,
) -> np.ndarray:
    """Parameters at which the first-order condition holds, for each draw or for the mean loss."""
    unserved = evaluate(draws, _own_optimum, flops) if near is None else near
    start = np.log(tokens_for(np.broadcast_to(flops, unserved.shape), unserved))
    if near is not None:
        left = tokens_within(flops, near, feasible)
        start = np.where(left > 0, np.log(np.maximum(left, 1e-300)), start)
    elif expected:
        start = np.median(start, axis=0, keepdims=True)

    def pull(log_tokens: np.ndarray) -> np.ndarray:
        tokens = np.exp(log_tokens)
        params = params_within(flops, tokens, feasible)
        of_params, of_tokens = marginal_losses(draws, params, tokens)
        if expected:
            of_params, of_tokens = (
                each.mean(axis=0, keepdims=True) for each in (of_params, of_tokens)
            )
        dear = np.log1p(feasible.demand / (3 * tokens))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.log(of_tokens) - np.log(of_params) + dear
        # Where one input no longer helps, only the direction is known.
        return np.where(np.isfinite(ratio), ratio, 50.0 * np.sign(of_tokens - of_params))

    found = falling_root(
        pull, start - REACH, start + REACH, start, tolerance=tolerance, step=FIRST_STEP
    )
    return params_within(flops, np.exp(found), feasible)


def size_losses(draws: Draws, flops: np.ndarray, feasible: Feasible) -> np.ndarray:
    """Loss of every size under a budget, infinite where the budget does not allow it; axes (size, sample, point)."""
    assert feasible.sizes is not None
    table = np.empty((feasible.sizes.size, draws.samples, flops.shape[1]))
    for size, losses in zip(feasible.sizes, table, strict=True):
        params = np.full((1, 1), size)
        tokens = tokens_within(flops, params, feasible)
        allowed = allowed_tokens(tokens, size, feasible)
        losses[:] = loss_of(draws, params, np.where(allowed, tokens, 1.0))
        np.copyto(losses, np.inf, where=~allowed)
    return table


def sizes_of(table: np.ndarray, least: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The smallest size of the least loss in a table of :func:`size_losses`; axes (sample, point)."""
    found = np.full(least.shape, sizes[-1])
    # Several times as fast as argmin along the first axis.
    for size, losses in zip(sizes[-2::-1], table[-2::-1], strict=True):
        np.copyto(found, size, where=losses == least)
    return found


def allowed_tokens(tokens: np.ndarray, size: float, feasible: Feasible) -> np.ndarray:
    """Whether a size may be trained on so many tokens.

    One that a budget only just pays for may, whatever the rounding.
    """
    within = (tokens > 0) & (tokens <= feasible.tokens_max * (1 + 1e-12))
    return within & (size <= feasible.params_max * (1 + 1e-12))
