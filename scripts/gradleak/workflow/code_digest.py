"""Content digests of the code that a script runs, so that reruns follow edits and never timestamps."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

LIBRARY = Path(__file__).parents[1]


def digest(script: str | Path) -> str:
    """Twelve hex digits over the script and every gradleak module that it imports, directly or not.

    Compared as syntax trees: comments and layout do not count, docstrings do.
    """
    lines = [f"{name} {content}" for name, content in sorted(_collected(Path(script)).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def modules(script: str | Path) -> set[str]:
    """The names behind ``digest``: the script's and the modules', relative to the library."""
    return set(_collected(Path(script)))


def _collected(script: Path) -> dict[str, str]:
    """Name → content digest of the script and of every module behind it."""
    found: dict[str, str] = {}
    left = [script]
    while left:
        path = left.pop()
        name = str(path.relative_to(LIBRARY)) if path.is_relative_to(LIBRARY) else path.name
        if name not in found:
            found[name], imported = _read(path)
            left += imported
    return found


@functools.cache
def _read(path: Path) -> tuple[str, tuple[Path, ...]]:
    tree = ast.parse(path.read_text())
    found: list[Path] = []
    for node in ast.walk(tree):  # imports inside functions count too
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 0
            and (node.module or "").split(".")[0] == "gradleak"
        ):
            found += _files(node.module)
            for alias in node.names:
                found += _files(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "gradleak":
                    found += _files(alias.name)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(dict.fromkeys(found))


def _files(module: str) -> list[Path]:
    """The files of a dotted name, packages on the way included; none if it is not a module."""
    parts = module.split(".")[1:]
    base = LIBRARY.joinpath(*parts)
    if base.is_dir() and (base / "__init__.py").exists():
        return [base / "__init__.py"]
    if base.with_suffix(".py").exists():
        above = [LIBRARY.joinpath(*parts[:depth]) / "__init__.py" for depth in range(1, len(parts))]
        return [base.with_suffix(".py"), *(p for p in above if p.exists())]
    return []
