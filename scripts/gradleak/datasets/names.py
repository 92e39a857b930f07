"""Names of data sets in the config. No reader of files: imported while the workflow is parsed."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, WithJsonSchema

from gradleak.datasets.builtin import BUILTIN

NAME = "[a-z0-9][a-z0-9_-]*"  # it becomes a folder under results/data/
PATTERN = f"^{NAME}$"

OwnOrBuiltin = Annotated[
    str,
    StringConstraints(max_length=60),
    WithJsonSchema({"anyOf": [{"enum": list(BUILTIN)}, {"type": "string", "pattern": PATTERN}]}),
]
"""A built-in set, or one of the config's `datasets`. Which there are is checked with the whole config."""
