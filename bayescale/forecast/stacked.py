"""Averages of several fits: a stack is a fit like any other, whose draws come from its members by their weights.

The tree of a stack holds its members' trees under ``members`` and their weights in its attributes. Every forecast is
made by each member on its share of the draws; the shares together are the stack's draws.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from bayescale.forecast.montecarlo import SAMPLE_DIMS
from bayescale.forecast.scales import POOLED_BESIDE
from bayescale.model import Model
from bayescale.notes import Note, dump_notes, get_notes

#: Groups of a member whose draws are thinned to its share.
_DRAWN = ("posterior", "log_prior", "log_likelihood")
#: Members with less weight do not count where models disagree.
COUNTS = 0.05
#: Parts of an answer in which members are compared.
_COMPARED = ("loss", "gain")


@dataclass(frozen=True)
class Member:
    """One fit of a stack.

    Parameters
    ----------
    name : str
    weight : float
    whole : xr.DataTree
        The fit with all of its draws.
    share : xr.DataTree
        The fit with as many draws as the stack takes from it.
    draws : slice
        Which of the stack's draws these are.
    """

    name: str
    weight: float
    whole: xr.DataTree
    share: xr.DataTree
    draws: slice


def is_stack(fit: xr.DataTree) -> bool:
    """Whether a tree is an average of several fits."""
    return "stack" in fit.attrs


def members(fit: xr.DataTree) -> Iterator[Member]:
    """The members of a stack that give at least one draw.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.stack`.
    """
    weights: dict[str, float] = json.loads(fit.attrs["stack"])
    total = fit["posterior"].sizes["draw"]
    ends = np.round(np.cumsum(list(weights.values())) * total).astype(int)
    pooled = _pooled({name: fit["members"].children[name] for name in weights})
    for (name, weight), start, end in zip(weights.items(), [0, *ends[:-1]], ends, strict=True):
        if end > start:
            whole = fit["members"].children[name]
            kept = (
                np.linspace(0, whole["posterior"].sizes["draw"] - 1, end - start)
                .round()
                .astype(int)
            )
            yield Member(
                name,
                weight,
                _with_draws(whole, slice(None), pooled),
                _with_draws(whole, kept, pooled),
                slice(start, end),
            )


def _pooled(fits: Mapping[str, xr.DataTree]) -> tuple[str, ...]:
    """Columns that any of the fits pools over."""
    models = [Model.from_toml(fit.attrs["model"], where=name) for name, fit in fits.items()]
    return tuple(dict.fromkeys(column for model in models for column in model.pooled))


def _with_draws(fit: xr.DataTree, kept: np.ndarray | slice, pooled: tuple[str, ...]) -> xr.DataTree:
    groups = {
        name: group.to_dataset().isel(draw=kept) if name in _DRAWN else group.to_dataset()
        for name, group in fit.children.items()
    }
    groups["posterior"] = groups["posterior"].assign_attrs({POOLED_BESIDE: pooled})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = fit.attrs
    return tree


def of_stack[Answer: (xr.DataArray, xr.Dataset)](
    fit: xr.DataTree, ask: Callable[[xr.DataTree, slice], Answer]
) -> Answer:
    """Ask every member, on its share of the draws, and put the draws together.

    Parameters
    ----------
    fit : xr.DataTree
        A stack.
    ask : callable
        ``ask(share, draws)`` answers from a member's share, which is these of the stack's draws.

    Returns
    -------
    DataArray or Dataset
        As of a fit, with ``weights`` (JSON) among the attributes and a note where the members disagree: in what was
        asked, or in loss and gain where the answer has them.
    """
    asked = list(members(fit))
    answers = [ask(member.share, member.draws) for member in asked]
    notes = [note for answer in answers for note in get_notes(answer)]
    weighty = {
        m.name: answer for m, answer in zip(asked, answers, strict=True) if m.weight > COUNTS
    }
    if isinstance(answers[0], xr.DataArray):
        notes += disagreement(weighty)
    else:
        for part in _COMPARED:
            if part in answers[0]:
                notes += disagreement({name: each[part] for name, each in weighty.items()})
    # Scales that vary by draw, of an input that not every member reads, are none in the others' draws.
    own = {
        name
        for each in answers
        for name, values in each.coords.items()
        if "draw" in values.dims and not all(name in other.coords for other in answers)
    }
    fresh = [
        each.drop_vars(own, errors="ignore").assign_coords(
            draw=np.arange(m.draws.start, m.draws.stop)
        )
        for m, each in zip(asked, answers, strict=True)
    ]
    merged = xr.concat(
        fresh,
        "draw",
        coords="different",
        compat="equals",
        join="exact",
        combine_attrs="override",
    )
    return merged.assign_attrs(
        model=str(fit.attrs["model_name"]), weights=fit.attrs["stack"], notes=dump_notes(notes)
    )


def mixed(
    fit: xr.DataTree, answers: Mapping[str, xr.Dataset], probabilities: list[str]
) -> xr.Dataset:
    """Mix the members' probabilities by weight, with those of each member beside them.

    The weights are those of the members that give a draw, and add up to one.

    Parameters
    ----------
    fit : xr.DataTree
        A stack.
    answers : mapping of Dataset
        By member, each with its probabilities and their ``_mcse``.
    probabilities : list of str
    """
    given = np.array([m.weight for m in members(fit)])
    weights = xr.DataArray(given / given.sum(), dims="model", coords={"model": list(answers)})
    # Nothing else: draws of the members need not be as many.
    mixable = [*probabilities, *(f"{name}_mcse" for name in probabilities)]
    together = xr.concat(
        [each[mixable].reset_coords(drop=True) for each in answers.values()],
        dim=weights["model"],
        join="exact",
    )
    found = xr.Dataset()
    for name in probabilities:
        found[name] = (together[name] * weights).sum("model")
        found[f"{name}_mcse"] = ((together[f"{name}_mcse"] * weights) ** 2).sum("model") ** 0.5
        found[f"{name}_by_model"] = together[name]
    found["weight"] = weights
    return found


def disagreement(answers: Mapping[str, xr.DataArray]) -> list[Note]:
    """The note that models differ by more than their intervals are wide, if they do.

    Examples
    --------
    >>> apart = {name: xr.DataArray(value + np.linspace(0, 0.1, 50)[None], dims=("chain", "draw"))
    ...          for name, value in {"a": 1.0, "b": 2.0}.items()}
    >>> disagreement(apart)[0].code
    'models_disagree'
    """
    if len(answers) < 2:
        return []
    levels = [
        each.quantile([0.05, 0.5, 0.95], SAMPLE_DIMS).reset_coords(drop=True).values
        for each in answers.values()
    ]
    middle = np.stack([each[1] for each in levels])
    apart = np.ptp(middle, axis=0)
    width = np.mean([each[2] - each[0] for each in levels], axis=0)
    if not (apart > width).any():
        return []
    where = int(np.argmax(apart / np.maximum(width, 1e-300)))
    low, high = (
        middle.reshape(len(levels), -1)[:, where].min(),
        middle.reshape(len(levels), -1)[:, where].max(),
    )
    what = next(iter(answers.values())).name
    return [
        Note(
            "models_disagree",
            "warning",
            f"the models' medians of the {'answer' if what is None else what} ({', '.join(answers)}) lie between "
            f"{low:.4g} and {high:.4g}, further apart than their 90 % intervals are wide",
            "look at each model's answer; runs that tell them apart are worth more than any average",
        )
    ]
