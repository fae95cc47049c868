"""What a per cent of each input buys, in one pass of the law: forward-mode derivatives through NumPy's own functions.

A law is written in operators and a few of NumPy's functions, and runs on anything that answers to these. Here it runs
on values that carry their slopes along, at about the price of the loss itself; complex inputs give the same digits at
four times the price, and only one derivative.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from bayescale.forecast.curve import STEP, Saved, log_location

type Slope = np.ndarray | float | None
type Turn = Callable[[Any], Any]
type Rule = Callable[..., tuple[Any, Sequence[Turn]]]


def _same(slope: Any) -> Any:
    return slope


def _divide(a: Any, b: Any) -> tuple[Any, Sequence[Turn]]:
    value = a / b
    return value, (lambda slope: slope / b, lambda slope: slope * (-value / b))


def _power(a: Any, b: Any) -> tuple[Any, Sequence[Turn]]:
    value = a**b
    return value, (lambda slope: slope * (b * value / a), lambda slope: slope * (value * np.log(a)))


def _exp(a: Any) -> tuple[Any, Sequence[Turn]]:
    value = np.exp(a)
    return value, (lambda slope: slope * value,)


def _log(a: Any) -> tuple[Any, Sequence[Turn]]:
    # An input carries itself as its slope by its own log: no array of ones is made of that.
    return np.log(a), (lambda slope: 1.0 if slope is a else slope / a,)


def _expm1(a: Any) -> tuple[Any, Sequence[Turn]]:
    value = np.expm1(a)
    return value, (lambda slope: slope * (value + 1),)


def _sqrt(a: Any) -> tuple[Any, Sequence[Turn]]:
    value = np.sqrt(a)
    return value, (lambda slope: slope * (0.5 / value),)


def _tanh(a: Any) -> tuple[Any, Sequence[Turn]]:
    value = np.tanh(a)
    return value, (lambda slope: slope * (1 - value * value),)


#: Value of what laws are written in, and for each argument what turns its slope into the value's.
_RULES: dict[np.ufunc, Rule] = {
    np.add: lambda a, b: (a + b, (_same, _same)),
    np.subtract: lambda a, b: (a - b, (_same, np.negative)),
    np.multiply: lambda a, b: (a * b, (lambda slope: slope * b, lambda slope: slope * a)),
    np.divide: _divide,
    np.power: _power,
    np.negative: lambda a: (-a, (np.negative,)),
    np.exp: _exp,
    np.expm1: _expm1,
    np.log: _log,
    np.log1p: lambda a: (np.log1p(a), (lambda slope: slope / (1 + a),)),
    np.log10: lambda a: (np.log10(a), (lambda slope: slope / (np.log(10.0) * a),)),
    np.sqrt: _sqrt,
    np.square: lambda a: (a * a, (lambda slope: slope * (2 * a),)),
    np.tanh: _tanh,
    np.arcsinh: lambda a: (np.arcsinh(a), (lambda slope: slope / np.sqrt(1 + a * a),)),
    np.arctan: lambda a: (np.arctan(a), (lambda slope: slope / (1 + a * a),)),
    np.absolute: lambda a: (np.abs(a), (lambda slope: slope * np.sign(a),)),
    np.minimum: lambda a, b: (
        np.minimum(a, b),
        (lambda slope: slope * (a <= b), lambda slope: slope * (a > b)),
    ),
}


class Tangent(NDArrayOperatorsMixin):
    """A value and its derivatives by some inputs; None where it does not depend on one.

    Parameters
    ----------
    value : numpy.ndarray
    slopes : sequence of numpy.ndarray, float or None

    Examples
    --------
    >>> x = Tangent(np.array([2.0]), (np.array([1.0]),))
    >>> (np.exp(3 * x) / x).slopes[0] / (np.exp(6.0) * (3 / 2 - 1 / 4))
    array([1.])
    """

    __slots__ = ("slopes", "value")

    def __init__(self, value: np.ndarray, slopes: Sequence[Slope]) -> None:
        self.value, self.slopes = value, tuple(slopes)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: Any, **options: Any) -> Any:
        """Apply one of NumPy's functions to values, and its derivative to slopes."""
        rule = _RULES.get(ufunc)
        if rule is None or method != "__call__" or options:
            return NotImplemented
        value, turns = rule(*(x.value if isinstance(x, Tangent) else x for x in args))
        slopes: list[Slope] = [None] * len(self.slopes)
        for x, turn in zip(args, turns, strict=True):
            if not isinstance(x, Tangent):
                continue
            for place, slope in enumerate(x.slopes):
                if slope is not None:
                    moved, known = turn(slope), slopes[place]
                    slopes[place] = moved if known is None else known + moved
        return Tangent(value, slopes)


def loss_of_inputs(
    saved: Saved, inputs: Mapping[str, np.ndarray], params: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Loss at inputs of the law, in their own units; axes (sample, point). See :func:`marginal_loss`."""
    ratios = saved.ratios(inputs)
    if saved.drift is not None:
        return np.exp(log_location(saved, ratios, params))
    given = (ratios[name] for name in saved.law.input_names)
    found = saved.law.loss(*given, **{name: params[name] for name in saved.law.param_names})
    return np.asarray(found)


def marginal_loss(
    saved: Saved,
    inputs: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray],
    by: Sequence[str] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Loss, and its fall for a relative increase of each input: ``-dL / dln x``, by slot.

    Parameters
    ----------
    saved : Saved
    inputs : mapping
        Each input of the law by slot, in its own unit; axes (sample, point).
    params : mapping
        Parameters of the law; axes (sample, point).
    by : sequence of str, optional
        Inputs whose increase is asked about: all by default.

    Returns
    -------
    numpy.ndarray, dict of numpy.ndarray
        Axes (sample, point) [unit of the loss; for a unit of ln(input)].
    """
    ratios = saved.ratios(inputs)
    names = saved.law.input_names if by is None else by
    if saved.drift is not None:
        return _by_complex_inputs(saved, ratios, params, names)
    carried = [
        Tangent(ratios[name], [ratios[name] if each == name else None for each in names])
        if name in names
        else ratios[name]
        for name in saved.law.input_names
    ]
    try:
        loss = saved.law.loss(*carried, **{name: params[name] for name in saved.law.param_names})
    except (AttributeError, TypeError):
        # Of one's own law, written in a function that is not among the rules, or in a method of arrays.
        return _by_complex_inputs(saved, ratios, params, names)
    shape = np.broadcast_shapes(*(np.shape(each) for each in (*ratios.values(), loss.value)))
    slopes = {
        name: np.broadcast_to(0.0 if slope is None else np.negative(slope), shape)
        for name, slope in zip(names, loss.slopes, strict=True)
    }
    return np.broadcast_to(loss.value, shape), slopes


def _by_complex_inputs(
    saved: Saved,
    ratios: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray],
    names: Sequence[str],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    found = {}
    for name in names:
        turned = {**ratios, name: ratios[name] * (1 + STEP * 1j)}
        location = log_location(saved, turned, params)
        found[name] = -np.exp(location.real) * location.imag / STEP
    return np.exp(location.real), found
