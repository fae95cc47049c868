"""Arrows point down: each room imports only the rooms beneath it and the libraries that it owns."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGE = REPO / "bayescale"

ARRAYS = {"numpy", "pandas", "xarray"}
FIT_READERS = {"drift", "laws", "links", "model", "notes", "rates", "runs", "saving"}

#: Room -> (rooms that it may import, libraries that it may import), ground floor first.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "notes": (set(), {"xarray"}),
    "runs": ({"notes"}, ARRAYS | {"polars", "tensorboard"}),
    "datasets": ({"notes", "runs"}, ARRAYS | {"pooch"}),
    "cost": ({"notes"}, {"numpy", "xarray"}),
    "laws": (set(), {"numpy"}),
    "links": ({"laws"}, {"numpy"}),
    "drift": (set(), {"numpy", "scipy"}),
    "rates": (set(), {"numpy", "scipy"}),
    "model": ({"laws", "links", "notes"}, {"tomli_w", "xarray"}),
    "saving": ({"model", "notes", "runs"}, {"xarray"}),
    "checks.sampler": ({"notes"}, ARRAYS | {"arviz_base", "arviz_stats", "scipy"}),
    "inference": (
        FIT_READERS | {"checks.sampler"},
        ARRAYS | {"dask", "distributed", "numba", "nutpie", "pymc", "pytensor", "rich", "scipy"},
    ),
    "forecast": (FIT_READERS | {"cost"}, ARRAYS | {"arviz_base", "scipy"}),
    "checks": (
        FIT_READERS | {"checks.sampler", "forecast"},
        ARRAYS | {"arviz_base", "arviz_stats", "scipy"},
    ),
    "decide": (FIT_READERS | {"cost", "forecast"}, ARRAYS | {"arviz_base", "scipy"}),
    "validate": (
        FIT_READERS
        | {"checks", "checks.sampler", "cost", "datasets", "decide", "forecast", "inference"},
        ARRAYS | {"arviz_base", "arviz_stats", "scipy"},
    ),
    "plots": ({"notes"}, ARRAYS | {"arviz_base", "arviz_plots", "matplotlib"}),
    "report": (
        FIT_READERS
        | {"checks", "checks.sampler", "cost", "datasets", "decide", "forecast", "plots"},
        ARRAYS | {"arviz_base", "arviz_plots", "arviz_stats", "jinja2", "markupsafe", "matplotlib"},
    ),
}
ROOMS["cli"] = ({*ROOMS, "front door"}, ARRAYS | {"arviz_base", "matplotlib", "rich", "typer"})

#: The front door and `python -m bayescale` see every room; what they may load is tested below.
FRONT = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}

#: Rooms whose import has to stay quick, and the libraries that would make it slow.
QUICK = [room for room in ROOMS if room not in {"inference", "plots", "report", "validate"}]
HEAVY = ("arviz_plots", "matplotlib", "nutpie", "pymc", "pytensor")
#: Takes as long to load as xarray and pandas together; the judge of samplers, from ArviZ, needs it.
STATISTICS = "scipy.stats"

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Dotted name below the package: ``checks/sampler.py`` is ``checks.sampler``, ``__init__.py`` is empty."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def room_of(module: str) -> str | None:
    """Room of a module below the package; ``None`` if it is in none."""
    if not module:
        return "front door"
    while module and module not in ROOMS:
        module = module.rpartition(".")[0]
    return module or None


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every import of a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(REPO)}:{node.lineno}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                # `from bayescale.laws import Law` names an object, `from bayescale import laws` a module.
                is_object = name.removeprefix("bayescale.") not in MODULES
                yield node.lineno, node.module if is_object else name


def test_the_table_itself_points_down() -> None:
    order = TopologicalSorter({room: below for room, (below, _) in ROOMS.items()}).static_order()
    assert set(order) == {*ROOMS, "front door"}  # CycleError where two rooms stand on each other


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path not in FRONT],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_imports_point_down(path: Path) -> None:
    room = room_of(module_name(path))
    assert room, f"{path.relative_to(REPO)} is in no room: add it to ROOMS"
    rooms, libraries = ROOMS[room]
    wrong = []
    for line, name in imports(path):
        top, _, module = name.partition(".")
        if top == "bayescale":
            aim = room_of(module)
            if aim != room and aim not in rooms:
                wrong.append(f"line {line}: {name} ({aim or 'in no room'}) lies above {room}")
        elif top not in sys.stdlib_module_names and top not in libraries:
            wrong.append(f"line {line}: {top} is not a library of {room}")
    assert not wrong, "\n".join([str(path.relative_to(REPO)), *wrong])


@pytest.mark.parametrize("name", ["decide", "options", "report"])
def test_what_help_loads_is_light(name: str) -> None:
    tree = ast.parse((PACKAGE / "cli" / f"{name}.py").read_text(encoding="utf-8"))
    loaded = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert loaded - sys.stdlib_module_names - {"collections.abc"} <= {
        "typer",
        "bayescale.cli.options",
    }


def test_every_library_is_declared() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in lines}
    declared |= {"arviz_base", "arviz_plots", "arviz_stats"} if "arviz" in declared else set()
    used = {name.partition(".")[0] for path in FILES for _, name in imports(path)}
    assert used - {"bayescale"} - sys.stdlib_module_names <= declared


@pytest.mark.parametrize(
    ("rooms", "heavy"), [(QUICK, HEAVY), (("forecast", "decide"), (*HEAVY, STATISTICS))]
)
def test_reading_forecasting_and_deciding_load_no_sampler_and_no_plots(
    rooms: Sequence[str], heavy: Sequence[str]
) -> None:
    quick = ["bayescale", *(f"bayescale.{room}" for room in rooms if room in MODULES)]
    code = f"""
import importlib, sys
for module in {quick}:
    importlib.import_module(module)
    loaded = [name for name in {list(heavy)} if name in sys.modules]
    if loaded:
        sys.exit(f"import {{module}} loads {{', '.join(loaded)}}")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
