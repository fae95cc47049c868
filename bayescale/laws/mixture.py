"""Law of a data mixture: ``L = E + k * exp(-t * r)`` in the share r of one domain.

Ye et al. 2024 (arXiv 2403.16952) give the loss on each domain as an exponential of all shares of
the mixture, ``c + k * exp(sum of t_j r_j)``. Here one share varies and the others keep their
proportions among themselves; the loss is that on the domain itself, which falls with its share.
"""

from typing import Any

import numpy as np

from bayescale.laws._law import Input, Law, Param


def loss(share: Any, *, E: Any, k: Any, t: Any) -> Any:
    """Loss on the domain at a share given as a ratio to the reference."""
    return E + k * np.exp(-t * share)


def split(level: Any, shares: list[Any], *, t: Any, **_: Any) -> dict[str, Any]:
    """Floor as its share of the level, and what the rest would be without the domain."""
    floor, reducible = shares
    return {"E": level * floor, "k": level * reducible * np.exp(t)}


def textbook(reference: dict[str, float], *, k: Any, t: Any, **_: Any) -> dict[str, Any]:
    """Rate per unit of share, as papers print it; the amplitude is the same."""
    return {"k": k, "t": t / reference["share"]}


LAW = Law(
    name="mixture",
    title="Law of the share of one domain in a data mixture",
    group="What limits data",
    question="What share of the mixture should a domain have?",
    equation="L = E + k * exp(-t * r)",
    latex=r"L(r) = E + k\,e^{-t\,r}",
    source="Ye et al. 2024, arXiv 2403.16952",
    inputs=(Input("share", "share of the domain in the training mixture", "1", upper=1.0),),
    params=(
        Param("E", "loss on the domain that no share removes", "nat/token"),
        Param("k", "reducible loss on the domain when nothing of it is in the data", "nat/token"),
        Param(
            "t",
            "rate at which the reducible loss falls with the share, per reference share",
            "1",
            # By the largest shares tried .27 to .96 of it are gone, in 90 % of this prior.
            prior={"dist": "LogNormal", "kwargs": {"median": 1.0, "sigma": 0.7}},
            relative=True,
        ),
    ),
    loss=loss,
    terms=("E", "k"),
    split=split,
    textbook=textbook,
)
