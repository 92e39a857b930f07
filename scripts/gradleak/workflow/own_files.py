"""The user's own data sets and models: that they are there, and which of their files are inputs of rules."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradleak.datasets.builtin import BUILTIN
from gradleak.workflow.cells import Cell
from gradleak.workflow.config import Config, ConfigError
from gradleak.workflow.identity import identify

NEAR = 0.8  # similarity of names above which one may be the other, misspelt
IMAGES_EACH = 1000  # files of a folder up to which each is an input; of more, the folder is


def check_name(place: str, path: str) -> None:
    """Raises ConfigError where ``path`` cannot be an input of a rule. place: its key in the config."""
    if "{" in path or "}" in path or not path.isprintable():
        raise ConfigError(
            f"{place}: {path!r} has a brace or a control character in its name, which Snakemake cannot take "
            "for an input (braces are its wildcards); rename it"
        )


def check(config: Config, cells: Iterable[Cell]) -> None:
    """Raises ConfigError where a data set or a model of ``cells`` is not there, or cannot be an input of a
    rule; and for a data set that nothing uses and that is called almost like a built-in one.
    """
    cells = list(cells)
    used = {cell.target.options.dataset for cell in cells}
    used |= {cell.prior.options.dataset for cell in cells if cell.prior}
    for name in sorted(used & set(config.datasets) - set(BUILTIN)):
        _check_path(f"datasets.{name}.path", config.datasets[name].path or "", "file or folder")
    for cell in cells:
        for path in models([cell.target.options]).values():
            if not Path(path).is_file():
                raise ConfigError(
                    f"targets.{cell.target_name}.model: {cell.target.options.model!r} is not a file (from "
                    f"{Path.cwd()})"
                )
            _check_path(f"targets.{cell.target_name}.model", path, "file")
    known = used | {options.dataset for options in (*config.targets.values(), *config.priors.values())}
    for name in config.datasets:
        meant = difflib.get_close_matches(name, BUILTIN, 1, NEAR)
        if name not in BUILTIN and name not in known and meant:
            raise ConfigError(f"datasets.{name}: no target or prior uses it; did you mean {meant[0]!r}?")


def _check_path(place: str, path: str, kind: str) -> None:
    whole = Path(os.path.expanduser(path))
    if not whole.exists():
        raise ConfigError(f"{place}: there is no {kind} {path!r} (from {Path.cwd()})")
    for one in [str(whole), *_inputs(whole)]:
        check_name(place, one)


def inputs_of(config: Config, name: str) -> list[str]:
    """The files of a data set of the user's own; none for a built-in one."""
    options = config.dataset(name)
    if name in BUILTIN or not options.path:
        return []
    return _inputs(Path(os.path.expanduser(options.path)))


def _inputs(path: Path) -> list[str]:
    """The file, or those of the folder and its sub-folders. Of a sub-folder with many files it stands alone:
    its time changes as files come and go.
    """
    if not path.is_dir():
        return [str(path)]
    found: list[Path] = []
    for one in _visible(path):
        inside = _visible(one) if one.is_dir() else []
        found += inside if one.is_dir() and len(inside) <= IMAGES_EACH else [one]
    return [str(one) for one in found]


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def models(targets: Iterable[Any]) -> dict[str, str]:
    """Id → file of the own models among the options of ``targets``. ``~`` is the home folder."""
    paths = filter(None, (getattr(options, "own_model", None) for options in targets))
    return {identify({"model": path}): os.path.expanduser(path) for path in paths}
