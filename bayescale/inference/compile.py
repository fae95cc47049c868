"""From a ``pm.Model`` to a density that nutpie can sample, compiled once for every data set of the same structure.

``nutpie.compile_pymc_model`` spends most of its time on a generic wrapper around the density (numba types it anew in
every process). Here all data of the model travel in one flat vector with a vector that says where each array lies, so
that the wrapper is the same short loop for every model and the machine code does not depend on the data. It is kept on
disk beside PyTensor's own, under a hash of the graph of the log density: the next process that meets the same graph
neither differentiates nor rewrites nor compiles it. The posterior quantities that are not sampled come from a second,
vectorised function that needs no compiler at all.
"""

import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from numba import types
from numba.core.errors import TypingError
from nutpie.compile_pymc import CompiledPyMCModel, address_as_void_pointer
from pytensor.compile.mode import Mode, get_mode
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import Op
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.traversal import ancestors
from pytensor.link.numba.cache import compile_numba_function_src

from bayescale.inference.build import OBSERVED, OBSERVED_RATE
from bayescale.inference.collapse import NAME, Collapsed, at_nodes, summed
from bayescale.inference.rates import PARAMETERS

#: Without rewrites: a graph that is called once is compiled for longer than it runs.
PLAIN = Mode(linker="py", optimizer="merge")
#: Without PyMC's checks of parameters: they raise, and a C callback that raises returns as if all were well, with
#: whatever stood in memory for a density. Unchecked, such a point has none: its log density is -inf or NaN.
UNCHECKED = get_mode("NUMBA").including("local_remove_check_parameter")
#: Packages whose functions and operations are known by their versions.
VERSIONED = ("copyreg", "numpy", "pymc", "pytensor")

_LOGP_SIGNATURE = types.int64(
    types.uint64,
    types.CPointer(types.double),
    types.CPointer(types.double),
    types.CPointer(types.double),
    types.voidptr,
)
_EXPAND_SIGNATURE = types.int64(
    types.uint64,
    types.uint64,
    types.CPointer(types.double),
    types.CPointer(types.double),
    types.voidptr,
)


@dataclass(frozen=True)
class Compiled:
    """A density with its data, and what is needed to read its draws.

    Parameters
    ----------
    names : tuple of str
        Value variables in the order of the flat point.
    shapes : tuple of tuple of int
        Their shapes.
    density : numba cfunc
        Log density and gradient of a flat point without what is collapsed, given the flat data.
    expand : callable
        ``expand(points, flat, layout)`` for points (draw, dim): every quantity of :attr:`outputs`.
    outputs : tuple of (str, str)
        Group and name of each result of ``expand``.
    order : tuple of str
        Names of the data arrays in the flat vector.
    ranks : mapping
        Number of dims of each data array.
    data : mapping
        The arrays themselves.
    start : numpy.ndarray
        A point of finite density.
    collapsed : Collapsed, optional
        The coordinate of the points that :attr:`density` is not a density of.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    density: Any
    expand: Callable[..., list[np.ndarray]]
    outputs: tuple[tuple[str, str], ...]
    order: tuple[str, ...]
    ranks: Mapping[str, int]
    data: Mapping[str, np.ndarray]
    start: np.ndarray
    collapsed: Collapsed | None = None

    @property
    def size(self) -> int:
        """Number of dimensions of a whole point."""
        return self.start.size

    @property
    def sampled_start(self) -> np.ndarray:
        """:attr:`start` in the dimensions that are sampled."""
        return self.start if self.collapsed is None else np.delete(self.start, self.collapsed.place)

    def with_data(self, data: Mapping[str, np.ndarray]) -> "Compiled":
        """Return the same density with other data: same names and ranks, any lengths."""
        if set(data) != set(self.order) or any(
            np.ndim(data[k]) != rank for k, rank in self.ranks.items()
        ):
            raise ValueError(
                f"data must have the names and ranks {dict(self.ranks)}; got {sorted(data)}"
            )
        return replace(self, data=dict(data))

    def packed(self) -> tuple[np.ndarray, np.ndarray]:
        """The data as one flat vector, with the offset and the shape of every array."""
        return pack([np.asarray(self.data[name], dtype=float) for name in self.order])


def pack(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Arrays as one flat vector, with the offset, end and shape of each."""
    flat = np.concatenate([np.ravel(each) for each in arrays]).astype(np.float64)
    layout: list[int] = []
    start = 0
    for each in arrays:
        layout += [start, start + each.size, *each.shape]
        start += each.size
    return np.ascontiguousarray(flat), np.array(layout, dtype=np.int64)


# Nobody will read where in the code each of a thousand nodes was made.
@pytensor.config.change_flags(traceback__limit=0)
def compile_model(
    model: pm.Model, *, density: bool = True, nodes: np.ndarray | None = None
) -> Compiled:
    """Compile a model's log density, and the function that expands its draws.

    Parameters
    ----------
    model : pm.Model
        All of its data in ``pm.Data``, as :func:`bayescale.build` makes it.
    density : bool
        Leave it out for a sampler that compiles its own.
    nodes : numpy.ndarray, optional
        Sum the rate of the drift out of the density, over these values of it: see :mod:`bayescale.inference.collapse`.

    Returns
    -------
    Compiled
    """
    point = model.initial_point(random_seed=0)
    value_vars = [model.rvs_to_values[rv] for rv in model.free_RVs]
    shapes = tuple(np.shape(point[value.name]) for value in value_vars)
    start = np.concatenate([np.ravel(point[value.name]) for value in value_vars]).astype(float)
    order = tuple(var.name for var in model.data_vars)
    arrays = [np.asarray(var.get_value()) for var in model.data_vars]

    ranks = {var.name: each.ndim for var, each in zip(model.data_vars, arrays, strict=True)}
    cfunc, collapsed = None, None
    if density:
        cfunc, collapsed = _density(model, point, nodes, sum(2 + rank for rank in ranks.values()))

    x, flat, layout, given = open_graph(model, point)
    outputs, graphs = _outputs(model)
    points = pt.dmatrix("points")
    graphs = vectorize_graph(clone_replace(graphs, given), {x: points})
    return Compiled(
        names=tuple(value.name for value in value_vars),
        shapes=shapes,
        density=cfunc,
        expand=pytensor.function(
            [points, flat, layout], graphs, mode=PLAIN, on_unused_input="ignore"
        ),
        outputs=outputs,
        order=order,
        ranks=ranks,
        data=dict(zip(order, arrays, strict=True)),
        start=start,
        collapsed=collapsed,
    )


def _density(
    model: pm.Model, point: Mapping[str, Any], nodes: np.ndarray | None, layout_size: int
) -> tuple[Any, Collapsed | None]:
    """C function of the log density and its gradient, and what was summed out of it."""
    without = None if nodes is None else NAME
    values = {rv.name: model.rvs_to_values[rv] for rv in model.free_RVs}
    moved = [value for name, value in values.items() if name != without]
    x, flat, layout, given = open_graph(model, point, without)
    factors = [each.sum() for each in model.logp(sum=False)]
    logp, collapsed = pt.add(*factors), None
    if nodes is not None:
        # What does not depend on the rate says nothing of it, and may be slow without a compiler.
        telling = pt.add(*(each for each in factors if values[NAME] in ancestors([each])))
        points = pt.dmatrix("points")
        table = pytensor.function(
            [points, flat, layout],
            vectorize_graph(
                clone_replace(at_nodes(telling, values[NAME], nodes), given), {x: points}
            ),
            mode=PLAIN,
            on_unused_input="ignore",
        )
        before = takewhile(lambda name: name != NAME, values)
        place = sum(np.size(point[values[name].name]) for name in before)
        collapsed = Collapsed(place, nodes, table)
        logp = summed(at_nodes(logp, values[NAME], nodes), nodes)

    def jitted() -> Callable[..., Any]:
        gradient = pt.concatenate([each.ravel() for each in pt.grad(logp, moved)])
        function = pytensor.function(
            [x, flat, layout],
            clone_replace([logp, gradient], given),
            mode=UNCHECKED,
            on_unused_input="ignore",
            trust_input=True,
        )
        return function.vm.jit_fn

    key = _graph_key([x, flat, layout], clone_replace(logp, given))
    return _density_cfunc(key, jitted, x.type.shape[0], layout_size), collapsed


def open_graph(
    model: pm.Model, point: Mapping[str, Any], without: str | None = None
) -> tuple[Any, Any, Any, dict[Any, Any]]:
    """Symbolic point, flat data and their layout, and what stands for a model's own variables in terms of these.

    Parameters
    ----------
    model : pm.Model
    point : mapping
        A point of the model, for its shapes; to find one takes as long as to open the graph.
    without : str, optional
        Variable that the symbolic point lacks.
    """
    value_vars = [model.rvs_to_values[rv] for rv in model.free_RVs if rv.name != without]
    shapes = tuple(np.shape(point[value.name]) for value in value_vars)
    size = sum(int(np.prod(shape)) for shape in shapes)
    x = pt.TensorType("float64", shape=(size,))("point")
    flat, layout = pt.dvector("flat"), pt.lvector("layout")
    given = dict(zip(value_vars, _unpack_point(x, shapes), strict=True))
    given |= dict(zip(model.data_vars, _unpack_data(model.data_vars, flat, layout), strict=True))
    # The number of groups is part of the structure: it sets the length of the point.
    given |= {
        length: pt.constant(length.get_value())
        for length in model.dim_lengths.values()
        if hasattr(length, "get_value")
    }
    return x, flat, layout, given


def unconstrain(model: pm.Model, posterior: xr.Dataset) -> np.ndarray:
    """Flat points, dims (chain, draw, point), of a posterior that another sampler drew."""
    drawn = {
        rv: pt.as_tensor(posterior[rv.name].transpose("chain", "draw", ...).values)
        for rv in model.free_RVs
    }
    columns = []
    for rv, values in drawn.items():
        transform = model.rvs_to_transforms[rv]
        if transform is not None:
            # What is sampled of one variable may depend on others: a group's value on the typical one.
            forward = transform.forward(rv, *rv.owner.inputs)
            values = vectorize_graph(forward, drawn)
        found = values.eval(mode=PLAIN)
        columns.append(found.reshape(*found.shape[:2], -1))
    return np.concatenate(columns, axis=2)


def _unpack_point(
    x: pt.TensorVariable, shapes: tuple[tuple[int, ...], ...]
) -> list[pt.TensorVariable]:
    found, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        found.append(x[start : start + size].reshape(shape) if shape else x[start])
        start += size
    return found


def _unpack_data(
    variables: list[Any], flat: pt.TensorVariable, layout: pt.TensorVariable
) -> list[pt.TensorVariable]:
    found, cell = [], 0
    for variable in variables:
        rank = variable.type.ndim
        piece = flat[layout[cell] : layout[cell + 1]]
        shape = [layout[cell + 2 + axis] for axis in range(rank)]
        piece = piece[0] if rank == 0 else (piece if rank == 1 else piece.reshape(shape, ndim=rank))
        found.append(
            variable.type.filter_variable(piece.astype(variable.type.dtype), allow_convert=True)
        )
        cell += 2 + rank
    return found


def _outputs(model: pm.Model) -> tuple[tuple[tuple[str, str], ...], list[Any]]:
    """Everything a fit keeps of a draw: constrained parameters, deterministics, log densities, replicated runs."""
    wanted = {var.name for var in model.unobserved_RVs}
    free = [var for var in model.unobserved_value_vars if var.name in wanted]
    named = [("posterior", var.name) for var in free]
    densities = model.logp(vars=[*model.free_RVs, *model.observed_RVs], jacobian=False, sum=False)
    named += [("log_prior", rv.name) for rv in model.free_RVs]
    named += [("log_likelihood", rv.name) for rv in model.observed_RVs]
    of_rate = OBSERVED_RATE in model.named_vars
    noise = model[OBSERVED_RATE if of_rate else OBSERVED].owner
    noise_params = noise.op.dist_params(noise)
    # A drifting law has location, scale and the drift's scale.
    names = (
        PARAMETERS[noise.op.name]
        if of_rate
        else {
            2: ("mu", "sigma"),
            3: ("mu", "sigma", "excess") if "excess" in model.named_vars else ("nu", "mu", "sigma"),
        }.get(len(noise_params), ("mu", "sigma", "kappa"))
    )
    named += [("noise", name) for name in names]
    used = noise_params[-len(names) :] if of_rate else noise_params[: len(names)]
    noise_params = model.replace_rvs_by_values(used)
    return tuple(named), [*free, *densities, *noise_params]


def _graph_key(inputs: list[pt.TensorVariable], logp: pt.TensorVariable) -> str | None:
    """Name for the machine code of a log density and its gradient; None if the graph does not tell all of it."""
    content = io.BytesIO()
    try:
        _GraphPickler(content, protocol=5).dump((inputs, logp))
    except (AttributeError, TypeError, pickle.PicklingError):
        return None
    return _key(content.getvalue())


class _GraphPickler(pickle.Pickler):
    """Turns a graph into the same bytes in every process."""

    def reducer_override(self, obj: Any) -> Any:
        # By the order of bases: to ask isinstance of abstract classes takes longer than all the rest.
        kind = type(obj)
        bases = kind.__mro__
        maker = obj if kind is FunctionType else kind
        made_by_code = kind is FunctionType or Op in bases
        if made_by_code and maker.__module__.split(".")[0] not in VERSIONED:
            raise pickle.PicklingError("code of a user's own pickles as its name alone")
        if kind is FunctionGraph:
            # The graph within an operation: it also keeps who looked on as it was made, and for how many seconds.
            return tuple, ((obj.inputs, obj.outputs),)
        if Variable not in bases and Apply not in bases:
            return NotImplemented
        make, arguments, *state = obj.__reduce_ex__(5)
        if not state or not isinstance(state[0], dict):
            return (make, arguments, *state)
        # Names that PyTensor counts up, and the lines of code that it remembers.
        kept = {name: each for name, each in state[0].items() if name not in ("auto_name", "tag")}
        return make, arguments, kept


def _key(content: bytes) -> str:
    """Hash of what a function is made from and of what makes it."""
    makers = [version(name) for name in ("numba", "numpy", "nutpie", "pytensor")]
    config = pytensor.config.get_config_hash(), pytensor.config.numba__fastmath
    settings = repr((makers, config)).encode()
    return sha256(settings + Path(__file__).read_bytes() + content).hexdigest()


def _density_cfunc(
    key: str | None, jitted: Callable[[], Callable[..., Any]], dim: int, layout_size: int
) -> Any:
    """C function of nutpie's signature around a jitted (logp, gradient)."""

    def make() -> Callable[..., int]:
        inner = jitted()

        def density(n, x_, gradient_, logp_, user_data):
            table = numba.carray(user_data, (3,), np.int64)
            flat = numba.carray(address_as_void_pointer(table[0]), (table[1],), np.float64)
            layout = numba.carray(address_as_void_pointer(table[2]), (layout_size,), np.int64)
            logp, gradient = inner(numba.carray(x_, (dim,)), flat, layout)
            value = logp[()]
            logp_[0] = value
            if not np.isfinite(value):
                return 4
            # A loop: assigning the whole array would make numba type a message about shapes, for seconds.
            for i in range(dim):
                gradient_[i] = gradient[i]
                if not np.isfinite(gradient[i]):
                    return 3
            return 0

        return density

    return _cfunc(_LOGP_SIGNATURE, key, make)


def _cfunc(signature: Any, key: str | None, make: Callable[[], Callable[..., int]]) -> Any:
    """C function kept in PyTensor's folder of numba functions; if there is none, one of what ``make`` returns."""
    arguments = ", ".join(f"a{i}" for i in range(len(signature.args)))

    def kept(**scope: Callable[..., int]) -> Any:
        source = f"def wrapper({arguments}):\n    return body({arguments})"
        names: dict[str, Any] = {"__name__": __name__, **scope}
        wrapper = compile_numba_function_src(
            source, "wrapper", names, names, cache_key=f"bayescale_{key}"
        )
        return numba.cfunc(signature, cache=True)(wrapper)

    keep = key is not None and pytensor.config.numba__cache
    if keep:
        with suppress(TypingError):  # Numba looks for the body only where it has to compile.
            return kept()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=numba.NumbaWarning)
        return kept(body=numba.njit(make())) if keep else numba.cfunc(signature)(make())


def _identity(n, expanded, x_, out_, user_data):
    for i in range(n):
        out_[i] = x_[i]
    return 0


def nutpie_model(compiled: Compiled) -> CompiledPyMCModel:
    """Hand a compiled density to nutpie; its trace holds the flat points of :attr:`Compiled.names`.

    Chains start scattered about :attr:`Compiled.start`, by up to one on the unconstrained scale.
    """
    flat, layout = compiled.packed()
    table = np.array([flat.ctypes.data, flat.size, layout.ctypes.data], dtype=np.int64)
    names, origin = ["point"], compiled.sampled_start

    def start(seed: int | None) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return origin + rng.uniform(-1.0, 1.0, origin.size)

    return CompiledPyMCModel(
        dims={},
        reparameterized_names=[],
        _n_dim=origin.size,
        _shapes={"point": (origin.size,)},
        _coords={"unconstrained_parameter": pd.RangeIndex(origin.size)},
        compiled_logp_func=compiled.density,
        compiled_expand_func=_expand_cfunc(),
        initial_point_func=start,
        # The arrays live as long as the model: the table holds their addresses.
        shared_data={"flat": flat, "layout": layout},
        shared_var_keys={},
        user_data=table,
        n_expanded=origin.size,
        shape_info=(names, [slice(0, origin.size)], [(origin.size,)]),
        logp_func=None,
        expand_func=None,
    )


@cache
def _expand_cfunc() -> Any:
    return _cfunc(_EXPAND_SIGNATURE, _key(b"identity"), lambda: _identity)
