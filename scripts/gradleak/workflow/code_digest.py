"""Content digests of the code that a script runs.

Jobs run again when their code changes, never because of a timestamp. A digest covers the script and every
gradleak module that it imports, directly or not. Modules are compared as syntax trees without comments,
layout and docstrings. Text for people (messages, evidence, reasons) is left out, too, unless the product of
the script is text, such as the report.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from pathlib import Path

LIBRARY = Path(__file__).parents[1]
REGISTRY = "labels/registry.py"  # imports every label method, of which a cell runs one
METHODS = ("labels/methods/", "labels/simulated/")
SENTENCE = re.compile(r"[^\W\d_]{2,}[,;:]? [^\W\d_]+[,;:]? [^\W\d_]{2,}")  # three words in a row


def digest(script: str | Path, text: bool = False, methods: frozenset[str] | None = None) -> str:
    """Twelve hex digits over the script and the modules behind it.

    text: whether sentences in string literals count.
    methods: the label methods that the job runs, as paths in the library; None: all.
    """
    found = _collected(Path(script), methods)
    if REGISTRY in found and methods is not None:
        found[REGISTRY] = _registry_of(methods)
    lines = [
        f"{name} {module.with_text if text else module.without_text}"
        for name, module in sorted(found.items())
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def modules(script: str | Path) -> set[str]:
    """The names behind ``digest``: the script's, and those of modules relative to the library."""
    return set(_collected(Path(script), None))


class _Module:
    """One file: its imports inside gradleak, and digests of its syntax tree with and without sentences."""

    def __init__(self, path: Path, only: ast.NodeTransformer | None = None):
        tree = ast.parse(path.read_bytes())
        if only:
            tree = only.visit(tree)
        self.imports = tuple(dict.fromkeys(_imports(tree)))
        tree = _WithoutDocstrings().visit(tree)
        self.with_text = _hash(tree)
        self.without_text = _hash(_WithoutSentences().visit(tree))


_read = functools.cache(_Module)


@functools.cache
def _registry_of(methods: frozenset[str]) -> _Module:
    """The registry of label methods as a job sees it that runs ``methods``: a new method changes no other."""
    return _Module(LIBRARY / REGISTRY, _OnlyMethods(methods))


def _collected(script: Path, methods: frozenset[str] | None) -> dict[str, _Module]:
    found: dict[str, _Module] = {}
    left = [script]
    while left:
        path = left.pop()
        name = _name(path)
        if name in found:
            continue
        found[name] = _read(path)
        imports = found[name].imports
        if name == REGISTRY and methods is not None:
            imports = tuple(p for p in imports if not _name(p).startswith(METHODS) or _name(p) in methods)
        left += imports
    return found


def _name(path: Path) -> str:
    return str(path.relative_to(LIBRARY)) if path.is_relative_to(LIBRARY) else path.name


def _hash(tree: ast.AST) -> str:
    return hashlib.sha256(dump(tree).encode()).hexdigest()


def dump(value: object) -> str:
    """A syntax tree as text that is the same under every version of Python.

    ``ast.dump`` is not: Python 3.12 adds an empty field to every function, and an empty text to some
    f-strings; 3.13 leaves empty fields out.
    """
    if isinstance(value, ast.AST):
        fields = [(name, field) for name, field in ast.iter_fields(value) if field not in (None, [])]
        if isinstance(value, ast.JoinedStr):
            parts = [part for part in value.values if getattr(part, "value", None) != ""]
            fields = [("values", parts)]
        return f"{type(value).__name__}({', '.join(f'{name}={dump(field)}' for name, field in fields)})"
    if isinstance(value, list):
        return f"[{', '.join(map(dump, value))}]"
    return repr(value)


def _imports(tree: ast.AST) -> list[Path]:
    """The files of gradleak that a module imports, inside functions too."""
    found: list[Path] = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 0
            and (node.module or "").split(".")[0] == "gradleak"
        ):
            found += _files(node.module or "")
            for alias in node.names:
                found += _files(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "gradleak":
                    found += _files(alias.name)
    return found


def _files(module: str) -> list[Path]:
    """The files of a dotted name, with the packages on the way; none if it is not a module."""
    parts = module.split(".")[1:]
    base = LIBRARY.joinpath(*parts)
    above = [LIBRARY.joinpath(*parts[:depth]) / "__init__.py" for depth in range(len(parts))]
    if base.with_suffix(".py").exists():
        found = [base.with_suffix(".py"), *above]
    elif base.is_dir():
        found = [base / "__init__.py", *above]
    else:
        found = []
    return [path for path in found if path.exists()]


class _OnlyMethods(ast.NodeTransformer):
    """Leaves out of the registry the imports and entries of all label methods but some."""

    def __init__(self, methods: frozenset[str]):
        self.kept = {Path(method).stem for method in methods}
        self.others: set[str] = set()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        folder = (node.module or "").removeprefix("gradleak.").replace(".", "/") + "/"
        if folder in METHODS:
            self.others |= {alias.name for alias in node.names} - self.kept
            node.names = [alias for alias in node.names if alias.name in self.kept]
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        def is_other(value: ast.expr) -> bool:
            return any(isinstance(part, ast.Name) and part.id in self.others for part in ast.walk(value))

        pairs = [pair for pair in zip(node.keys, node.values, strict=True) if not is_other(pair[1])]
        return ast.Dict([key for key, _ in pairs], [value for _, value in pairs])


class _WithoutDocstrings(ast.NodeTransformer):
    def visit(self, node: ast.AST) -> ast.AST:
        node = self.generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:]
        return node


class _WithoutSentences(ast.NodeTransformer):
    """Empties string literals that hold a sentence, except where a program may depend on the words.

    Kept are keys, operands of comparisons, patterns of ``match``, and arguments of functions of ``re``.
    """

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) and SENTENCE.search(node.value) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        words = "".join(part.value if isinstance(part, ast.Constant) else "xx" for part in node.values)
        values = [self.visit(part) for part in node.values if not isinstance(part, ast.Constant)]
        return ast.JoinedStr(values) if SENTENCE.search(words) else node

    def visit_Compare(self, node: ast.Compare) -> ast.Compare:
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        node.value = self.visit(node.value)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.Dict:
        node.values = [self.visit(value) for value in node.values]
        return node

    def visit_MatchValue(self, node: ast.MatchValue) -> ast.MatchValue:
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        if (
            isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
        ):
            return node
        return self.generic_visit(node)
