"""The catalogue of laws: one file a law, found by listing this folder."""

import difflib
import importlib
import pkgutil
from functools import cache

from bayescale.laws._claims import TAKEN, TAKEN_BY_DRIFT, TAKEN_BY_TASKS, check
from bayescale.laws._law import GROUPS, LOG_LOSS, RATES, Input, Law, Param
from bayescale.laws._math import ramp, softplus

__all__ = [
    "GROUPS",
    "LOG_LOSS",
    "RATES",
    "TAKEN",
    "TAKEN_BY_DRIFT",
    "TAKEN_BY_TASKS",
    "Input",
    "Law",
    "Param",
    "get",
    "names",
    "ramp",
    "register",
    "softplus",
]

_REGISTERED: dict[str, Law] = {}


@cache
def _shipped() -> dict[str, Law]:
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    found = [importlib.import_module(f"{__name__}.{name}").LAW for name in modules]
    return {law.name: law for law in found}


def names() -> list[str]:
    """Names of every law, shipped and registered.

    Examples
    --------
    >>> "chinchilla" in names()
    True
    """
    return sorted({*_shipped(), *_REGISTERED})


def register(law: Law) -> Law:
    """Add a law of your own, so that model files and saved fits can name it.

    What it claims is first tried on a few draws of its default priors: names and signatures, functions that run on
    NumPy, xarray and PyTensor, terms that add up to the loss at the reference, a loss that is positive and falls in the
    inputs of which more is said to be never worse. Where a parameter has no default prior, the last two are not tried.

    Parameters
    ----------
    law : Law

    Returns
    -------
    Law
        The same law.

    Raises
    ------
    ValueError
        If a shipped law has that name, or the law does not keep what it claims; the message says what to change.

    Examples
    --------
    >>> from dataclasses import replace
    >>> register(replace(get("power"), name="my-power")).name
    'my-power'
    """
    check(law)
    if law.name in _shipped():
        raise ValueError(f"law {law.name!r} is shipped with bayescale; give yours another name")
    _REGISTERED[law.name] = law
    return law


def get(name: str) -> Law:
    """Return the law of that name.

    Raises
    ------
    ValueError
        If there is none; the message names the nearest.

    Examples
    --------
    >>> get("chinchilla").inputs[0].name
    'params'
    """
    law = _REGISTERED.get(name) or _shipped().get(name)
    if law is None:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown law {name!r}: {hint}The laws are {', '.join(names())}")
    return law
