"""An entry of a study's ``cells`` → the points of its grid: axes combined, less what is excluded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from gradleak.workflow.config import COMBINE, ConfigError, not_one_of, unknown


def expand(entry: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    """Every point of the entry as a mapping option → value.

    path: the entry's place in the config, for the messages. Raises ConfigError.
    """
    axes, exclude = entry.get("axes") or {}, entry.get("exclude") or []
    base = {key: value for key, value in entry.items() if key not in ("axes", "combine", "exclude")}
    _check_axes(axes, path)
    _check_exclude(exclude, [*axes, *base], path)
    for point in _combined(axes, entry.get("combine", "product"), path):
        merged = {**base, **point}
        if not any(all(merged.get(key) == value for key, value in rule.items()) for rule in exclude):
            yield merged


def _combined(axes: dict[str, list], combine: Any, path: str) -> list[dict[str, Any]]:
    """The points of the axes alone."""
    if combine == "product":
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if combine == "zip":
        if len({len(values) for values in axes.values()}) > 1:
            lengths = ", ".join(f"{name} {len(values)}" for name, values in axes.items())
            raise ConfigError(f"{path}.axes: combine: zip needs lists of one length (got {lengths})")
        rows = zip(*axes.values(), strict=True) if axes else [()]
        return [dict(zip(axes, values, strict=True)) for values in rows]
    if combine == "one_at_a_time":
        # The first value of every axis is the base point; each axis is then varied alone.
        first = {name: values[0] for name, values in axes.items()}
        return [first, *({**first, name: value} for name, values in axes.items() for value in values[1:])]
    raise ConfigError(not_one_of(f"{path}.combine", combine, COMBINE))


def _check_axes(axes: Any, path: str) -> None:
    if not isinstance(axes, dict):
        raise ConfigError(f"{path}.axes: must be a mapping of option → list of values")
    for name, values in axes.items():
        if not isinstance(name, str):
            raise ConfigError(f"{path}.axes: {name!r} is not the name of an option")
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{path}.axes.{name}: must be a list with at least one value (got {values!r})")


def _check_exclude(exclude: Any, options: list[str], path: str) -> None:
    if not isinstance(exclude, list) or not all(isinstance(rule, dict) and rule for rule in exclude):
        raise ConfigError(f"{path}.exclude: must be a list of mappings option → value (got {exclude!r})")
    for rule in exclude:
        wrong = sorted(set(rule) - set(options))
        if wrong:
            words = unknown(wrong[0], options, "is not a parameter of this entry")
            raise ConfigError(f"{path}.exclude: {wrong[0]!r} {words}")
