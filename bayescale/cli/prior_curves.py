"""What a law looks like before any runs: its curves under the priors of its default model."""

import numpy as np
import xarray as xr

from bayescale import laws, links
from bayescale.forecast import predict
from bayescale.inference import sample_prior
from bayescale.laws import Input, Law
from bayescale.links import Link
from bayescale.model import Model, shipped

POINTS = 61
#: Decades below and above the scale of the largest runs, and a number that a law states as reference.
AROUND_RUNS, AROUND_NUMBER = (3.0, 3.0), (2.0, 3.0)
TASK = "acc_task"
#: What a law's loss is, by its outcome.
_LOSSES = {None: "loss", "nats": "loss", "error": "error rate", "success": "-ln(rate of success)"}


def model_of_law(law: Law) -> Model:
    """The shipped model that is named after a law, or the law with its own default priors.

    Examples
    --------
    >>> model_of_law(laws.get("pass_at_k")).name
    'pass-at-k'
    """
    name = law.name.replace("_", "-")
    if name in shipped():
        return Model.load(name)
    return Model.from_toml(f'format = 1\nname = "{law.name}"\nlaw = "{law.name}"\n')


def prior_curves(name: str, *, draws: int = 300, random_seed: int = 0) -> xr.Dataset:
    """Draws of a law or a link from its prior, along each of its inputs with the others at their references.

    Parameters
    ----------
    name : str
        Of a law or a link.
    draws : int
    random_seed : int

    Returns
    -------
    xr.Dataset
        ``value`` (input, draw, point): the loss as a ratio to that at the reference, or the loss itself where the
        prior of its level does not follow the runs; of a link the score. NaN where the law does not allow the input.
        ``at`` (input, point): the input, as a ratio to its reference where that is the runs' own; ``label`` (input).

    Raises
    ------
    ValueError
        If there is no such law or link.

    Examples
    --------
    >>> prior_curves("moe", draws=50)["input"].values.tolist()
    ['params', 'experts']
    """
    if name in links.names():
        return _link(links.get(name), draws, random_seed)
    law = laws.get(name)
    model = model_of_law(law)
    middle = law.references(dict.fromkeys(law.scales, 1.0))
    tree = sample_prior(_at_reference(model, middle), model, draws=draws, random_seed=random_seed)
    relative = model.shared_level and model.priors["level"].kwargs.get("median") == "runs"
    there = predict(tree, {model.inputs[slot]: value for slot, value in middle.items()})
    centre = there.values.reshape(draws, 1)
    curves, places, labels = [], [], []
    for each in law.inputs:
        grid = _grid(each, middle[each.name])
        at = {slot: np.full(POINTS, value) for slot, value in middle.items()} | {each.name: grid}
        allowed = ~np.any(
            [np.zeros(POINTS, bool)] + [mask for _, mask, _ in law.outside(at)], axis=0
        )
        value = np.full((draws, POINTS), np.nan)
        inside = {model.inputs[slot]: values[allowed] for slot, values in at.items()}
        value[:, allowed] = predict(tree, inside).values.reshape(draws, -1)
        if relative:
            value /= centre
        curves.append(value)
        places.append(grid)
        labels.append(_label(each, model.inputs[each.name]))
    what = "loss, as a ratio to that at the reference" if relative else _LOSSES[law.outcome]
    return _dataset(law.input_names, curves, places, labels, law.title, what, model.name)


def _at_reference(model: Model, middle: dict[str, float]) -> xr.Dataset:
    """Runs at the reference of every input, with a loss of one."""
    columns = {column: ("run", np.full(3, middle[slot])) for slot, column in model.inputs.items()}
    return xr.Dataset({**columns, "loss": ("run", np.ones(3))})


def _grid(each: Input, middle: float) -> np.ndarray:
    below, above = AROUND_NUMBER if isinstance(each.reference, float) else AROUND_RUNS
    low = middle / 10**below if each.lower is None else each.lower
    # Where there is a lower bound below the reference, as far above it.
    high = middle * (middle / low if each.lower and low < middle else 10**above)
    return np.geomspace(low, min(high, each.upper or high), POINTS)


def _label(each: Input, column: str) -> str:
    if not isinstance(each.reference, float):
        return f"{column},\nrelative to the runs"
    return column if each.unit in ("1", column) else f"{column} [{each.unit}]"


def _link(link: Link, draws: int, random_seed: int) -> xr.Dataset:
    model = Model.from_toml(
        f'format = 1\nname = "tasks"\nlaw = "power"\n'
        f'[tasks]\ncolumns = ["{TASK}"]\nlink = "{link.name}"\n'
    )
    runs = _at_reference(model, {"scale": 1.0}).assign({TASK: ("run", np.full(3, 0.5))})
    tree = sample_prior(runs, model, draws=draws, random_seed=random_seed)
    drawn = tree["posterior"].to_dataset().isel(chain=0, task=0)
    grid = np.linspace(0.4, 1.6, POINTS)
    constants = [
        drawn[f"{each}_task"].values[:, None]
        for each in (link.location, link.rate, "floor", "ceiling")
    ]
    score = link.score(1 - grid, *constants)
    label = "loss, relative to the largest runs"
    return _dataset(("loss",), [score], [grid], [label], link.title, "score", "the default [tasks]")


def _dataset(
    inputs: tuple[str, ...],
    curves: list[np.ndarray],
    places: list[np.ndarray],
    labels: list[str],
    title: str,
    what: str,
    model: str,
) -> xr.Dataset:
    return xr.Dataset(
        {
            "value": (("input", "draw", "point"), np.array(curves), {"long_name": what}),
            "at": (("input", "point"), np.array(places)),
            "label": ("input", labels),
        },
        {"input": list(inputs)},
        {"title": title, "model": model},
    )
