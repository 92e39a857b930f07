"""JSON of untrusted files, with bounds on its size and depth."""

from __future__ import annotations

import json
from typing import Any

from gradleak.artifacts import limits
from gradleak.artifacts.errors import ArtifactError


def parse_json(text: bytes | str, what: str) -> Any:
    """JSON without duplicate keys, NaN, or more size and depth than any model or metadata needs."""
    if len(text) > limits.MAX_JSON:
        raise ArtifactError(f"{what}: {len(text)} bytes of JSON are more than the limit of {limits.MAX_JSON}")
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{what}: not valid JSON ({_first_line(error)})") from None
    _check_depth(value, what)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check_depth(value: Any, what: str) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > limits.MAX_DEPTH:
            raise ArtifactError(
                f"{what}: not valid JSON for any of this (nested deeper than {limits.MAX_DEPTH})"
            )
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
