"""From loss to what a model can do: one file a link, found by listing this folder."""

import importlib
import pkgutil
from functools import cache

from bayescale.links._link import Link

__all__ = ["Link", "get", "names"]


@cache
def _shipped() -> dict[str, Link]:
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    found = [importlib.import_module(f"{__name__}.{name}").LINK for name in modules]
    return {link.name: link for link in found}


def names() -> list[str]:
    """Names of every link.

    Examples
    --------
    >>> names()
    ['exponential', 'sigmoid']
    """
    return sorted(_shipped())


def get(name: str) -> Link:
    """Return the link of that name.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> get("sigmoid").location
    'midpoint'
    """
    if name not in _shipped():
        raise ValueError(f"unknown link {name!r}: the links are {', '.join(names())}")
    return _shipped()[name]
