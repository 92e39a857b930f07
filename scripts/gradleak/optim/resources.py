"""What a run of the optimizer may use beside its data. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradleak.optim.limits import UNLIMITED, Limits


@dataclass(frozen=True)
class Resources:
    """What a run may use. Nothing here changes its result beyond rounding.

    checkpoint: a folder. The state is saved there after every chunk, and a run with the same settings, start,
    box and ``key`` continues from it, to the same bytes as without the break. The caller removes the folder.
    key: stands for all else that the result depends on, such as the data.
    progress: called after every chunk with evaluations done, evaluations at most, and the last losses [T].
    limits: what is computed side by side.
    """

    checkpoint: Path | None = None
    key: str = ""
    progress: Callable[[int, int, np.ndarray], None] | None = None
    limits: Limits = UNLIMITED
