"""The few helpers that laws need beyond the operators, safe on NumPy, xarray and PyTensor alike."""

from typing import Any

import numpy as np


def power(base: Any, exponent: Any) -> Any:
    """``base ** exponent`` of a positive base, as ``exp(exponent * log(base))``.

    PyTensor knows that ``log(exp(x))`` is ``x``, so that inputs kept as logs cost one exponential
    and their gradient needs no logarithm; a plain ``**`` costs several times as much.

    Examples
    --------
    >>> round(float(power(4.0, 0.5)), 12)
    2.0
    """
    return np.exp(exponent * np.log(base))


#: Added under the root of ``z * z``, so that its gradient exists at zero; moves results by 1e-21.
_TINY = 1e-20


def ramp(z: Any) -> Any:
    """``z`` where it is positive, zero elsewhere, smooth to within 1e-10 of the corner.

    Real part and gradient come out right for complex ``z`` of small imaginary part too, where an
    absolute value would lose the derivative.

    Examples
    --------
    >>> round(float(ramp(2.0)), 9), round(float(ramp(-2.0)), 9)
    (2.0, 0.0)
    """
    return (z + np.sqrt(z * z + _TINY)) / 2


def softplus(z: Any) -> Any:
    """``log(1 + exp(z))`` for any ``z``: the exponential is only taken of what is not positive.

    A sharp break twelve decades away asks for ``exp(500)`` and beyond.

    Examples
    --------
    >>> round(float(softplus(0.0)), 12), float(softplus(2000.0)), float(softplus(-2000.0))
    (0.69314718056, 2000.0, 0.0)
    """
    return ramp(z) + np.log1p(np.exp(-np.sqrt(z * z + _TINY)))


def log_rising(z: Any, a: Any) -> Any:
    """``log(Gamma(z + a) / Gamma(z))`` of positive ``z`` and ``a``, without the cancellation of two large numbers.

    Stirling's series above 8, to which the recurrence of the gamma function leads; good to 1e-12.

    Examples
    --------
    >>> round(float(log_rising(5.0, 1.0)), 12) == round(float(np.log(5.0)), 12)
    True
    >>> round(float(np.exp(log_rising(0.5, 0.5))), 12)  # 1 / sqrt(pi)
    0.564189583548
    """
    below = 0.0
    for step in range(8):
        below = below + np.log1p(a / (z + step))
    low, high = z + 8, z + 8 + a
    return (
        (low - 0.5) * np.log1p(a / low)
        + a * (np.log(high) - 1)
        + _stirling(1 / high)
        - _stirling(1 / low)
        - below
    )


def _stirling(inverse: Any) -> Any:
    """What Stirling's formula leaves of the log of the gamma function, from ``1 / z``."""
    square = inverse * inverse
    series = 1 / 1260 - square * (1 / 1680 - square / 1188)
    return inverse * (1 / 12 - square * (1 / 360 - square * series))
