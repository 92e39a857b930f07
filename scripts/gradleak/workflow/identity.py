"""Ids of cells, targets and priors, from what differs from the declared defaults.

An id is the first ten hex digits of SHA-256 over canonical JSON. Options at their defaults are left out, so a
new option with a neutral default changes no id.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from gradleak.strict import StrictModel

SCHEMA = 2  # raise it when a declared default changes its meaning: every cell then gets a new id


def spec_of(options: StrictModel, *leave_out: str) -> dict[str, Any]:
    """The options that differ from their defaults, as JSON types; always with ``attack`` or ``source``."""
    spec = options.model_dump(mode="json", exclude_defaults=True, exclude=set(leave_out))
    for key in ("attack", "source"):
        if hasattr(options, key):
            spec[key] = getattr(options, key)
    return spec


def identify(spec: dict[str, Any]) -> str:
    """Ten hex digits that stand for ``spec`` under this SCHEMA; the order of keys does not matter."""
    canonical = json.dumps({"schema": SCHEMA, **spec}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
