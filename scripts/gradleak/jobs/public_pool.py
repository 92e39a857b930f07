"""The public examples of a rule's input, of which a target may have none."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.datasets.examples import Examples
from gradleak.datasets.pools import read_pool


def public_pool(inputs: Any, shape: tuple[int, ...], classes: int) -> Examples:
    """The examples of ``inputs.public``; none, of ``shape`` (H, W, C), where the target has no data set."""
    if inputs.get("public"):
        return read_pool(inputs.public)
    return Examples(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64), classes)
