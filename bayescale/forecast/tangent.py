"""What a per cent of each input buys, in one pass of the law: forward-mode derivatives through NumPy's own functions.

A law is written in operators and a few of NumPy's functions, and runs on anything that answers to these. Here it runs
on values that carry their slopes along, at about the price of the loss itself; complex inputs give the same digits at
four times the price, and only one derivative.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from bayescale.forecast.curve import Saved, log_location

type Slope = np.ndarray | None
type Rule = Callable[..., tuple[Any, Sequence[Any]]]

#: Imaginary step of derivatives along a drawn drift, which knows its own slope.
_STEP = 1e-30


def _divide(a: Any, b: Any) -> tuple[Any, Sequence[Any]]:
    value = a / b
    return value, (1 / b, -value / b)


def _power(a: Any, b: Any) -> tuple[Any, Sequence[Any]]:
    value = a**b
    return value, (b * value / a, value * np.log(a))


def _exp(a: Any) -> tuple[Any, Sequence[Any]]:
    value = np.exp(a)
    return value, (value,)


def _expm1(a: Any) -> tuple[Any, Sequence[Any]]:
    value = np.expm1(a)
    return value, (value + 1,)


def _sqrt(a: Any) -> tuple[Any, Sequence[Any]]:
    value = np.sqrt(a)
    return value, (0.5 / value,)


def _tanh(a: Any) -> tuple[Any, Sequence[Any]]:
    value = np.tanh(a)
    return value, (1 - value * value,)


#: Value and partial derivatives of what laws are written in.
_RULES: dict[np.ufunc, Rule] = {
    np.add: lambda a, b: (a + b, (1.0, 1.0)),
    np.subtract: lambda a, b: (a - b, (1.0, -1.0)),
    np.multiply: lambda a, b: (a * b, (b, a)),
    np.divide: _divide,
    np.power: _power,
    np.negative: lambda a: (-a, (-1.0,)),
    np.exp: _exp,
    np.expm1: _expm1,
    np.log: lambda a: (np.log(a), (1 / a,)),
    np.log1p: lambda a: (np.log1p(a), (1 / (1 + a),)),
    np.log10: lambda a: (np.log10(a), (1 / (np.log(10.0) * a),)),
    np.sqrt: _sqrt,
    np.square: lambda a: (a * a, (2 * a,)),
    np.tanh: _tanh,
    np.arctan: lambda a: (np.arctan(a), (1 / (1 + a * a),)),
    np.absolute: lambda a: (np.abs(a), (np.sign(a),)),
    np.minimum: lambda a, b: (np.minimum(a, b), (1.0 * (a <= b), 1.0 * (a > b))),
}


class Tangent(NDArrayOperatorsMixin):
    """A value and its derivatives by some inputs; None where it does not depend on one.

    Parameters
    ----------
    value : numpy.ndarray
    slopes : sequence of numpy.ndarray or None

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
        value, partials = rule(*(x.value if isinstance(x, Tangent) else x for x in args))
        slopes: list[Slope] = [None] * len(self.slopes)
        for x, partial in zip(args, partials, strict=True):
            if not isinstance(x, Tangent):
                continue
            for place, slope in enumerate(x.slopes):
                if slope is not None:
                    moved, known = slope * partial, slopes[place]
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
    saved: Saved, inputs: Mapping[str, np.ndarray], params: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Loss, and its fall for a relative increase of each input: ``-dL / dln x``, by slot.

    Parameters
    ----------
    saved : Saved
    inputs : mapping
        Each input of the law by slot, in its own unit; axes (sample, point).
    params : mapping
        Parameters of the law; axes (sample, point).

    Returns
    -------
    numpy.ndarray, dict of numpy.ndarray
        Axes (sample, point) [unit of the loss; for a unit of ln(input)].
    """
    ratios = saved.ratios(inputs)
    names = saved.law.input_names
    if saved.drift is not None:
        return _by_complex_inputs(saved, ratios, params)
    carried = [
        Tangent(ratios[name], [ratios[name] if each == name else None for each in names])
        for name in names
    ]
    try:
        loss = saved.law.loss(*carried, **{name: params[name] for name in saved.law.param_names})
    except TypeError:
        # Of one's own law, written in a function that is not among the rules.
        return _by_complex_inputs(saved, ratios, params)
    shape = np.broadcast_shapes(*(np.shape(each) for each in (*ratios.values(), loss.value)))
    slopes = {
        name: np.zeros(shape) if slope is None else np.broadcast_to(-slope, shape)
        for name, slope in zip(names, loss.slopes, strict=True)
    }
    return np.broadcast_to(loss.value, shape), slopes


def _by_complex_inputs(
    saved: Saved, ratios: Mapping[str, np.ndarray], params: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    found = {}
    for name in saved.law.input_names:
        turned = {**ratios, name: ratios[name] * (1 + _STEP * 1j)}
        location = log_location(saved, turned, params)
        found[name] = -np.exp(location.real) * location.imag / _STEP
    return np.exp(location.real), found
