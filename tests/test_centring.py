"""How groups of a pooled parameter are sampled: the same posterior whatever the choice, and a choice by the runs."""

import json

import numpy as np
import pytensor.tensor as pt
import pytest
import xarray as xr

import bayescale as bs
from bayescale.inference.arrays import graph_data
from bayescale.inference.build import build
from bayescale.inference.centring import decide, explained
from bayescale.inference.compile import PLAIN, Compiled, compile_model, unconstrain
from bayescale.inference.variables import Centred
from bayescale.model import Model

POOLED = """
format = 1
law = "power"
[pool.level]
over = "family"
{level}
[pool.gamma]
over = "family"
{gamma}
"""


def model_of(level: str = "", gamma: str = "") -> Model:
    return Model.from_toml(POOLED.format(level=level, gamma=gamma))


def sweep(sizes: tuple[int, ...], sd: float, noise: float, seed: int = 0) -> xr.Dataset:
    """Families about one power law, apart in their level by ``sd``."""
    rng = np.random.default_rng(seed)
    family = np.repeat([f"f{i}" for i in range(len(sizes))], sizes)
    flops = 10 ** rng.uniform(18, 22, family.size)
    offset = np.repeat(rng.permutation(np.linspace(-1.4, 1.4, len(sizes))), sizes)
    loss = (1.5 + 1.2 * (flops / 1e20) ** -0.12) * np.exp(
        sd * offset + noise * rng.standard_normal(family.size)
    )
    return xr.Dataset({"flops": ("run", flops), "loss": ("run", loss), "family": ("run", family)})


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_transform_finds_back_and_has_the_jacobian_that_it_says(weight: float) -> None:
    inputs = [pt.as_tensor(each) for each in (0.0, 0.7, 0.2, weight)]
    transform, z = Centred(), pt.dvector("z")
    offset = transform.backward(z, *inputs)
    at = np.array([-1.5, 0.2, 3.0])
    back = transform.forward(offset, *inputs).eval({z: at})
    np.testing.assert_allclose(back, at, rtol=1e-12)
    slope = pt.grad(offset.sum(), z).eval({z: at})
    jacobian = transform.log_jac_det(z, *inputs).eval({z: at})
    np.testing.assert_allclose(jacobian, np.log(slope), atol=1e-12)
    if weight == 1.0:  # The group's own value: the location, and the spread times the offset.
        np.testing.assert_allclose(0.7 + 0.2 * offset.eval({z: at}), at, rtol=1e-12)


def test_centred_or_not_is_one_posterior_at_other_points() -> None:
    runs = sweep((3, 5, 4), 0.1, 0.01)
    rng = np.random.default_rng(1)
    found = {}
    posterior = None
    for chosen in ("centered = false", "centered = true"):
        model = model_of(chosen, "")
        graph = build(runs, model)
        compiled = compile_model(graph, density=False)
        if posterior is None:
            points = compiled.start + rng.uniform(-0.5, 0.5, (2, 3, compiled.size))
        else:
            points = unconstrain(graph, posterior)
        values = compiled.expand(points.reshape(6, -1), *compiled.packed())
        named = dict(zip(compiled.outputs, values, strict=True))
        dims = {name: graph.named_vars_to_dims.get(name, ()) for _, name in named}
        posterior = xr.Dataset(
            {
                name: (("chain", "draw", *dims[name]), value.reshape(2, 3, *value.shape[1:]))
                for (group, name), value in named.items()
                if group == "posterior"
            }
        )
        np.testing.assert_allclose(unconstrain(graph, posterior), points, rtol=1e-9, atol=1e-11)
        jacobian = [
            [
                graph.compile_logp(jacobian=each, mode=PLAIN)(point_of(compiled, flat))
                for flat in points.reshape(6, -1)
            ]
            for each in (True, False)
        ]
        found[chosen] = points, named, np.array(jacobian)
    (at, named, density), (moved, same, other) = found.values()
    assert not np.allclose(at, moved)
    for key, value in named.items():
        np.testing.assert_allclose(same[key], value, rtol=1e-8, atol=1e-9, err_msg=str(key))
    np.testing.assert_allclose(other[1], density[1], rtol=1e-9)
    # A group's own value has the density of its offset over the spread: three groups.
    spread = posterior["level_sd"].values.ravel()
    np.testing.assert_allclose(other[0] - density[0], -3 * np.log(spread), rtol=1e-7)


def point_of(compiled: Compiled, flat: np.ndarray) -> dict[str, np.ndarray]:
    sizes = [int(np.prod(shape)) for shape in compiled.shapes]
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return {
        name: part.reshape(shape)
        for name, part, shape in zip(compiled.names, parts, compiled.shapes, strict=True)
    }


def test_the_choice_is_data_of_one_structure() -> None:
    runs = sweep((3, 5, 4), 0.1, 0.01)
    data = [
        graph_data(runs, model_of(each)) for each in ("centered = true", "centered = false", "")
    ]
    assert [each["level_centered"].tolist() for each in data] == [[1.0] * 3, [0.0] * 3, [0.0] * 3]
    assert [each["gamma_centered"].tolist() for each in data] == [[0.0] * 3] * 3
    assert all(each.keys() == data[0].keys() for each in data)


def drawn(sd: np.ndarray, left: np.ndarray, common: float = 0.0, size: int = 4000) -> np.ndarray:
    """Draws of groups about .1 apart, each known to within ``left`` and all to within ``common``."""
    rng = np.random.default_rng(2)
    apart = np.linspace(-0.14, 0.14, left.size)
    noise = rng.normal(size=(size, left.size)) * left + rng.normal(size=(size, 1)) * common
    return apart + noise


@pytest.mark.parametrize("common", [0.0, 0.5])
def test_what_runs_explain_is_told_group_by_group(common: float) -> None:
    """Closed form: one less the variance that is left over the variance between groups."""
    left = np.array([0.01, 0.05, 0.1, 0.01, 0.02])
    sd = np.full(4000, 0.1)
    found = explained(drawn(sd, left, common), sd)
    if common == 0.0:
        # Four standard errors of a variance of 4000 draws.
        np.testing.assert_allclose(found, 1 - (left / 0.1) ** 2, atol=0.1)
    assert (found > 0.5).tolist() == [True, True, False, True, True]


def test_a_spread_that_may_be_none_keeps_offsets() -> None:
    left, rng = np.full(6, 0.005), np.random.default_rng(3)
    certain, doubtful = np.full(4000, 0.02), np.abs(rng.normal(0, 0.02, 4000))
    values = drawn(certain, left)
    assert (explained(values, certain) > 0.9).all()
    assert (explained(values, doubtful) == 0.0).all()
    assert (explained(values, np.append(certain[1:], 0.0)) == 0.0).all()
    # A first run whose chains did not move says nothing.
    assert (explained(np.ones((50, 3)), np.full(50, 0.1)) == 0.0).all()


def test_a_choice_in_the_model_file_stands() -> None:
    draws = {
        f"{name}_family": np.exp(drawn(np.full(4000, 0.1), np.full(4, 0.01)))
        for name in ("level", "gamma")
    } | {f"{name}_sd": np.full(4000, 0.1) for name in ("level", "gamma")}
    assert decide(model_of("centered = false", "centered = true"), draws) == {}
    assert {name: value.tolist() for name, value in decide(model_of(), draws).items()} == {
        "level_centered": [1.0] * 4,
        "gamma_centered": [1.0] * 4,
    }
    # A positive parameter spreads in its log.
    far = draws | {"level_family": draws["level_family"] * 50}
    assert decide(model_of("", "centered = true"), far)["level_centered"].tolist() == [1.0] * 4


def test_fits_say_which_groups_were_sampled_by_their_own_value(fit: xr.DataTree) -> None:
    """Families that their runs place closely are; those of a spread that may be none are not."""
    assert json.loads(fit.attrs["centered"]) == {"level_family": []}
    model = Model.from_toml('format = 1\nlaw = "power"\npool = {level = "family"}')
    apart = bs.fit(sweep((4, 12, 12), 0.1, 0.003), model, draws=300, random_seed=1)
    assert json.loads(apart.attrs["centered"]) == {"level_family": ["f0", "f1", "f2"]}
    assert apart.attrs["converged"]
