"""The law's curve on the draws of a saved fit: the one place where a forecast evaluates a law.

Arrays here are plain NumPy with axes (sample, point): a sample is a draw of a chain, a point is a scale. Anything
that does not depend on one of them has length one there. The edges of the package speak xarray.
"""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
import xarray as xr

from bayescale.cost import training_flops
from bayescale.drift import Paths, Sudden, axes
from bayescale.laws import Law
from bayescale.model import Effect, Model, Pool, crossed
from bayescale.saving import FORMAT

#: Imaginary step of derivatives: so small that nothing of it is left in the real part.
STEP = 1e-30
#: Samples times points evaluated at once: half a megabyte for each real array, which stays in a processor's cache.
BLOCK = 2**16

#: The group of each pooling column; an empty name is a group that has no name yet.
type Group = Mapping[str, str]


@dataclass(frozen=True)
class Saved:
    """What a forecast needs of a saved fit.

    Parameters
    ----------
    model : Model
    law : Law
    reference : mapping
        Reference scale of each input, by slot.
    posterior : xr.Dataset
        Dims chain, draw and those of each variable.
    runs : xr.Dataset
        The training runs; dim ``run``.
    smallest, largest : float
        Training compute of the smallest and of the largest run, see :func:`compute_of`.
    units : str
        Unit of the loss.
    drift : Paths or None
        Drawn departures from the law, if the model lets its slope drift.
    held : mapping
        Draws of inputs that are held at uncertain values, by the parameter of the law that they have become; axes
        (sample, 1). See :func:`~bayescale.forecast.held.hold_inputs`.
    """

    model: Model
    law: Law
    reference: Mapping[str, float]
    posterior: xr.Dataset
    runs: xr.Dataset
    smallest: float
    largest: float
    units: str
    drift: Paths | None = None
    held: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Chains and draws."""
        return self.posterior.sizes["chain"], self.posterior.sizes["draw"]

    @property
    def samples(self) -> int:
        """Draws of all chains."""
        return self.shape[0] * self.shape[1]

    @property
    def pooled(self) -> tuple[str, ...]:
        """Columns that the model pools over."""
        return self.model.pooled

    @property
    def has_compute(self) -> bool:
        """Whether the law grows with parameters and tokens, hence with compute."""
        return {"params", "tokens"} <= set(self.law.input_names)

    @property
    def grows_by_compute(self) -> bool:
        """Whether what the law grows with is training compute, in FLOP, and no other input."""
        return self.has_compute or tuple(self.model.inputs.values()) == ("flops",)

    def ratios(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs of the law as ratios to the reference scale, as :func:`log_location` takes them."""
        return {slot: values / self.reference[slot] for slot, values in inputs.items()}

    def draws_of(self, name: str) -> np.ndarray:
        """Draws of a scalar quantity of the posterior, along one axis."""
        return self.posterior[name].transpose("chain", "draw").values.reshape(-1).astype(float)

    def names_of(self, over: str) -> list[str]:
        """Groups of a pooling column that have runs."""
        return [str(name) for name in self.posterior[over].values]


def read_fit(fit: xr.DataTree) -> Saved:
    """Read what a forecast needs of a saved fit.

    Parameters
    ----------
    fit : xr.DataTree
        From :func:`bayescale.fit`, or opened from its file.

    Returns
    -------
    Saved

    Raises
    ------
    ValueError
        If the tree is not a fit of bayescale, or is of a later format.
    """
    saved = read_bare(fit)
    return replace(saved, drift=_drift(saved, fit))


def read_bare(fit: xr.DataTree) -> Saved:
    """The same but for the paths of a drift, which take a while to draw: for what is asked about the runs alone."""
    if not isinstance(fit, xr.DataTree):
        raise ValueError(
            f"fit: expected what bayescale.fit returned or bayescale.load read, a DataTree; got {type(fit).__name__}"
        )
    version = fit.attrs.get("bayescale_format")
    if version is None or "posterior" not in fit.children:
        raise ValueError(
            f"this tree is not a fit of bayescale: its groups are {', '.join(fit.children) or 'none'} and it has no "
            "'bayescale_format'; pass what bayescale.fit returned or saved"
        )
    if int(version) > FORMAT:
        raise ValueError(
            f"fit has format {version}, newer than this bayescale reads ({FORMAT}); upgrade bayescale"
        )
    posterior = fit["posterior"].to_dataset()
    if not {"chain", "draw"} <= set(posterior.dims):
        raise ValueError(
            f"the posterior of this fit has the dims {', '.join(map(str, posterior.sizes))}: expected chain and draw; "
            "keep one chain by .sel(chain=[0])"
        )
    model = Model.from_toml(fit.attrs["model"], where=str(fit.attrs.get("model_name", "model")))
    runs = fit["constant_data"].to_dataset()
    observed = (
        fit["observed_data"].to_dataset()["loss"]
        if "observed_data" in fit.children
        else xr.DataArray()
    )
    saved = Saved(
        model=model,
        law=model.law_object,
        reference=json.loads(fit.attrs["reference"]),
        posterior=posterior,
        runs=runs,
        smallest=np.nan,
        largest=np.nan,
        units=_units(model, observed),
    )
    compute = compute_of(saved, runs).values
    smallest, largest = float(np.nanmin(compute)), float(np.nanmax(compute))
    return replace(saved, smallest=smallest, largest=largest)


def _units(model: Model, observed: xr.DataArray) -> str:
    """Unit of the loss: a table of errors is read as one of nats, and the model knows better."""
    if model.noise.of_rate:
        return "error rate" if model.law_object.trials_give == "error" else "-ln(success rate)"
    return str(observed.attrs.get("units", "nat/token"))


#: Drifts of the fits last read, by what they were drawn from: answers about one fit come several in a row.
_DRAWN: dict[bytes, Paths] = {}
_KEEP = 2


def _drift(saved: Saved, fit: xr.DataTree) -> Paths | None:
    """One path of drift a draw. The fit's own seed makes it the same path in every answer."""
    if saved.model.discrepancy is None:
        return None
    seed = int(fit.attrs["seed"])
    content = blake2b(repr((seed, fit.attrs["model"], fit.attrs["reference"])).encode())
    for table in (saved.posterior, saved.runs):
        for name in sorted(map(str, table.data_vars)):
            values = table[name].values
            content.update(f"{name}{values.shape}".encode())
            content.update(
                repr(values.tolist()).encode()
                if values.dtype == object
                else np.ascontiguousarray(values)
            )
    key = content.digest()
    found = _DRAWN.pop(key, None) or _draw_drift(saved, seed)
    _DRAWN[key] = found
    while len(_DRAWN) > _KEEP:
        del _DRAWN[next(iter(_DRAWN))]
    return found


def _draw_drift(saved: Saved, seed: int) -> Paths:
    inputs = {
        slot: saved.runs[column].values.astype(float) for slot, column in saved.model.inputs.items()
    }
    weights = (
        saved.posterior["drift"]
        .transpose("chain", "draw", "mode")
        .values.reshape(saved.samples, -1)
    )
    kappa, sudden = saved.draws_of("kappa"), None
    if saved.model.discrepancy is not None and saved.model.discrepancy.breaks is not None:
        gradual, often, change = map(saved.draws_of, ("drift_rate", "break_rate", "break_change"))
        elasticity = kappa / np.sqrt(gradual**2 + often * change**2)
        sudden = Sudden(gradual * elasticity, often, change * elasticity)
    paths = Paths(
        axes(inputs, saved.reference), weights, kappa, stream(seed, "drift"), sudden=sudden
    )
    new: Group = dict.fromkeys(saved.pooled, "")
    # Where slopes differ between groups, one path is to suit all of them and the new one that answers draw.
    laws = (
        [law_params(saved, [group], 0) for group in (new, *_groups_with_runs(saved))]
        if set(saved.model.pool) - {"level"}
        else [law_params(saved, [new], seed)]
    )
    scales = saved.law.scales
    # What shares a scale's reference, as unique tokens share that of tokens, grows with it.
    grown = [
        each.name for each in saved.law.inputs if each.name in scales or each.reference in scales
    ]

    def along(ray: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        turn = dict.fromkeys(grown, 1 + STEP * 1j / len(grown))
        ratios = {slot: values * turn.get(slot, 1) for slot, values in saved.ratios(ray).items()}
        found = [log_location(saved, ratios, params) for params in laws]
        falls = np.minimum.reduce([-np.diff(each.real, axis=1) for each in found])
        return falls, np.minimum.reduce([-each.imag / STEP for each in found])

    reference = {slot: saved.reference[slot] for slot in inputs}
    return paths.never_rising(along, reference, grown)


def _groups_with_runs(saved: Saved) -> list[Group]:
    names = {over: saved.runs[over].values.astype(str) for over in saved.pooled}
    return [
        dict(zip(names, each, strict=True))
        for each in sorted(set(zip(*names.values(), strict=True)))
    ]


def compute_of(saved: Saved, table: xr.Dataset) -> xr.DataArray:
    """Training compute of the rows of a table, by which distance beyond the runs is told.

    Parameters
    ----------
    saved : Saved
    table : xr.Dataset
        With the columns of the law's inputs.

    Returns
    -------
    xr.DataArray
        Column ``flops`` [FLOP] where both the table and the runs have it, otherwise 6 * params * tokens; for a law
        of other inputs the product of its scales, in their own units.
    """
    columns = saved.model.inputs
    if not saved.has_compute:
        product = xr.DataArray(1.0)
        for slot in saved.law.scales:
            product = product * table[columns[slot]]
        return product
    if "flops" in table and "flops" in saved.runs:
        return table["flops"]
    return training_flops(table[columns["params"]], table[columns["tokens"]])


def largest_of(saved: Saved, group: Group) -> float | None:
    """Compute of the largest run of a group, by every column that it names; None if it has no runs or names none."""
    named = {column: name for column, name in group.items() if name and column in saved.runs}
    own = np.ones(saved.runs.sizes["run"], dtype=bool)
    for column, name in named.items():
        own &= saved.runs[column].values.astype(str) == name
    if not named or not own.any():
        return None
    return float(compute_of(saved, saved.runs).values[own].max())


def decades_beyond(saved: Saved, compute: xr.DataArray) -> xr.DataArray:
    """Decades of compute beyond the largest run; zero within the runs."""
    beyond = xr.ufuncs.log10(compute / saved.largest).clip(min=0.0)
    units = {"units": "decade", "long_name": "compute beyond the largest run"}
    return beyond.rename("decades_beyond").assign_attrs(units)


def samples(saved: Saved, values: np.ndarray, *dims: str) -> xr.DataArray:
    """Values with axes (sample, ...) as an array with dims chain, draw and ``dims``."""
    coords = {dim: saved.posterior[dim] for dim in ("chain", "draw")}
    shape = (*saved.shape, *values.shape[1:])
    return xr.DataArray(values.reshape(shape), dims=("chain", "draw", *dims), coords=coords)


def log_location(
    saved: Saved, ratios: Mapping[str, np.ndarray], params: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Log of the curve: where log loss lies without run-to-run noise.

    Parameters
    ----------
    saved : Saved
    ratios : mapping
        Each input, by slot, as a ratio to its reference scale; axes (sample, point). Complex ratios give derivatives
        to machine precision: with a ratio of ``r * (1 + STEP * 1j)`` the imaginary part of the result, divided by
        :data:`STEP`, is the elasticity of the loss.
    params : mapping
        Parameters of the law; axes (sample, point). See :func:`law_params`.

    Returns
    -------
    numpy.ndarray
        Log of loss in nat/token; axes (sample, point).
    """
    law = saved.law
    inputs = [ratios[slot] for slot in law.input_names]
    location = np.log(law.loss(*inputs, **{name: params[name] for name in law.param_names}))
    if saved.drift is None:
        return location
    at = {slot: ratios[slot].real * saved.reference[slot] for slot in ratios}
    if not any(np.iscomplexobj(ratio) for ratio in ratios.values()):
        return location + saved.drift.delta(at)
    delta, slopes = saved.drift.evaluate(at)
    # A drawn path is known by its values and slopes: complex ratios take the slope along.
    turned = sum(slopes[slot] * np.log(ratio).imag for slot, ratio in ratios.items())
    return location + delta + 1j * turned


def law_params(saved: Saved, groups: Sequence[Group], random_seed: int) -> dict[str, np.ndarray]:
    """Parameters of the law for each group.

    Parameters
    ----------
    saved : Saved
    groups : sequence of mapping
        For each, the name in every pooling column. A name without runs is a new group, drawn once a sample from the
        population; the same name and seed give the same draws, whatever else is asked.
    random_seed : int

    Returns
    -------
    dict
        By name of the law's parameter; axes (sample, group), or (sample, 1) where groups share it.
    """
    model, law = saved.model, saved.law
    values: dict[str, np.ndarray] = {}
    for name in model.priors:
        if name == "shares":
            continue
        pool = model.pool.get(name)
        if pool is None:
            values[name] = saved.draws_of(law.posterior_name(name))[:, None]
        else:
            each = [_of_group(saved, name, pool, group, random_seed) for group in groups]
            values[name] = np.stack(each, axis=1)
    if not model.shared_level:
        return {**values, **saved.held}
    level = values.pop("level")
    return {**values, **law.terms_from_shares(level, _shares(saved), values), **saved.held}


def _shares(saved: Saved) -> list[np.ndarray]:
    if "shares" not in saved.model.priors:
        return [np.ones((1, 1))]
    shares = saved.posterior["shares"].transpose("chain", "draw", "term")
    flat = shares.sel(term=list(saved.law.terms)).values.reshape(saved.samples, -1)
    return [flat[:, [index]] for index in range(flat.shape[1])]


def _of_group(saved: Saved, name: str, pool: Pool, group: Group, random_seed: int) -> np.ndarray:
    sampled = saved.law.posterior_name(name)
    positive = saved.model.priors[name].support == "positive"
    typical = saved.draws_of(sampled)
    each = [
        _of_column(saved, name, effect, group[effect.pool.over], typical, positive, random_seed)
        for effect in pool.effects(sampled)
    ]
    return np.asarray(crossed(each, typical, positive))


def _of_column(
    saved: Saved,
    name: str,
    effect: Effect,
    group: str,
    typical: np.ndarray,
    positive: bool,
    random_seed: int,
) -> np.ndarray:
    """Draws of a parameter for a group of one column, with every other column at its typical group."""
    over = effect.pool.over
    known = saved.names_of(over)
    if group in known:
        values = saved.posterior[effect.name].transpose("chain", "draw", over)
        return values.values[..., known.index(group)].reshape(-1).astype(float)
    offset = stream(random_seed, over, group, name).standard_normal(saved.samples)
    spread = saved.draws_of(effect.sd_name)
    return typical * np.exp(spread * offset) if positive else typical + spread * offset


def stream(random_seed: int, *purpose: str) -> np.random.Generator:
    """Random numbers of one purpose: they stay the same whatever else is drawn.

    Examples
    --------
    >>> bool(stream(1, "noise").normal() == stream(1, "noise").normal())
    True
    """
    if np.asarray(random_seed).dtype.kind not in "iu" or random_seed < 0:
        raise ValueError(f"random_seed = {random_seed!r}: expected a whole number of zero or more")
    return np.random.default_rng([random_seed, *(zlib.crc32(word.encode()) for word in purpose)])


def blocks(points: int, samples: int) -> Iterator[slice]:
    """Slices of points that keep an array of (sample, point) within :data:`BLOCK` elements.

    Examples
    --------
    >>> list(blocks(5, BLOCK // 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, BLOCK // max(samples, 1))
    return (slice(start, min(start + size, points)) for start in range(0, points, size))
