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


def log1p(z: Any) -> Any:
    """``log(1 + z)`` of ``z`` above -1, complex ones of small imaginary part included.

    NumPy's own rounds ``1 + z`` where ``z`` is complex, and so returns zero for a ``z`` of 1e-17.

    Examples
    --------
    >>> float(log1p(1e-20)), float(log1p(1e-20 + 1e-30j).real), round(float(log1p(np.e - 1)), 12)
    (1e-20, 1e-20, 1.0)
    """
    return 2 * np.arcsinh(z / (2 * np.sqrt(1 + z)))


def log_gamma_ratio(z: Any, a: Any, k: Any) -> Any:
    """``log(Gamma(z + a) * Gamma(z + k) / (Gamma(z) * Gamma(z + a + k)))`` of positive numbers: it is negative.

    No two large numbers are subtracted, however large ``z`` is. Stirling's series above 8, to which the recurrence of
    the gamma function leads; good to a relative 1e-12.

    Examples
    --------
    >>> round(float(np.exp(log_gamma_ratio(3.0, 1.0, 1.0))), 12)  # 3 / 4
    0.75
    >>> float(log_gamma_ratio(1e20, 0.5, 2.0))
    -1e-20
    """
    both = a * k
    below: Any = 0.0
    for step in range(8):
        below = below + log1p(both / ((z + step) * (z + step + a + k)))
    low = z + 8
    with_a, with_k, with_both = low + a, low + k, low + a + k
    return (
        (low - 0.5) * log1p(both / (low * with_both))
        - a * log1p(k / with_a)
        - k * log1p(a / with_k)
        + (_stirling(1 / with_a) - _stirling(1 / low))
        - (_stirling(1 / with_both) - _stirling(1 / with_k))
        - below
    )


def _stirling(inverse: Any) -> Any:
    """What Stirling's formula leaves of the log of the gamma function, from ``1 / z``."""
    square = inverse * inverse
    series = 1 / 1260 - square * (1 / 1680 - square / 1188)
    return inverse * (1 / 12 - square * (1 / 360 - square * series))
