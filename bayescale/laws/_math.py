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
