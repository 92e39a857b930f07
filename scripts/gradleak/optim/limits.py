"""How much of a block is computed side by side."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """How many trials of a block are computed side by side. Results depend on it by no more than rounding."""

    at_once: int = 0  # at most; 0: as many as fit into memory and caches
    memory: float = 0  # bytes that the process may take; 0: any number


UNLIMITED = Limits()
