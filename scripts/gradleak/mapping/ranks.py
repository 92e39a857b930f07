"""Numerical ranks of the deltas of dense kernels: a lower bound on the number of images × steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING


@dataclass(frozen=True)
class Ranks:
    """Of each dense kernel. singular: name → singular values of its delta, float64 [D, K].

    floor: name → the largest singular value that rounding and noise explain, float64 [D]. rows: variable,
    shape, ranks (singular values above the floor, one for each draw) and full (the largest possible rank),
    JSON types.
    """

    singular: dict[str, np.ndarray]
    floor: dict[str, np.ndarray]
    rows: list[dict]


def rank_kernels(
    variables: list,
    deltas: list[np.ndarray],
    before: list[np.ndarray],
    factor: float = 1.0,
    noise: float = 0.0,
    precision: float = FLOAT32_ROUNDING,
) -> Ranks:
    """The numerical rank of every dense kernel's delta.

    variables: of the model. deltas: [D, …] each. before: the float32 weights that were subtracted. factor:
    the delta was multiplied by it after the subtraction. noise: standard deviation of white noise found on
    the update. precision: relative rounding error of the delta's entries.
    """
    singular, floor, rows = {}, {}, []
    for variable, delta, weight in zip(variables, deltas, before, strict=True):
        if delta.ndim != 3:
            continue
        values = np.linalg.svd(delta.astype(np.float64), compute_uv=False)
        edge = sum(np.sqrt(weight.shape))  # the largest singular value of white noise of standard deviation 1
        rounding = 3 * factor * FLOAT32_ROUNDING * np.sqrt(np.mean(np.square(weight, dtype=float))) * edge
        own = 3 * precision * np.sqrt(np.mean(np.square(delta, dtype=float), axis=(1, 2))) * edge
        limit = np.maximum(
            np.maximum(own, max(rounding, 1.1 * noise * edge)),
            values[:, 0] * np.finfo(np.float32).eps * np.sqrt(max(weight.shape)),
        )
        ranks = (values > limit[:, None]).sum(axis=1)
        singular[variable.path], floor[variable.path] = values, limit
        rows.append(
            {
                "variable": variable.path,
                "shape": list(weight.shape),
                "ranks": ranks.tolist(),
                "full": int(min(weight.shape)),
            }
        )
    return Ranks(singular, floor, rows)


def widest(ranks: list[dict]) -> dict | None:
    """The row of the dense kernel with the largest possible rank."""
    return max(ranks, key=lambda row: row["full"], default=None)


def is_refuted(ranks: list[dict], samples: int, steps: Any, optimizer: str) -> bool:
    """Whether the rank is above ``samples`` × ``steps``. steps: None if they are several or unknown."""
    kernel = widest(ranks)
    if kernel is None or optimizer == "adam":
        return False
    rank = max(kernel["ranks"])
    return steps is not None and rank < kernel["full"] and rank > samples * _steps(steps)


def verdict(ranks: list[dict], samples: int, steps: Any, optimizer: str) -> str:
    """What the rank shows about the number of images, in one sentence."""
    kernel = widest(ranks)
    if kernel is None:
        return "No dense layer: the rank shows nothing about the number of images."
    rank, full = max(kernel["ranks"]), kernel["full"]
    head = f"{kernel['variable']} has "
    if optimizer == "adam":
        return f"{head}rank {rank} of {full}, which shows nothing: Adam does not keep the gradient's rank."
    if rank >= full:
        return f"{head}full rank {full}: at least that many images or directions are behind the update."
    text = f"{head}rank {rank} of {full}: at least {rank} images are behind the update"
    if is_refuted(ranks, samples, steps, optimizer):
        return f"{text}, more than the {samples} that were stated. The statement is refuted."
    return f"{text}, which fits the stated {samples}."


def _steps(stated: Any) -> int:
    return stated if isinstance(stated, int) and stated > 0 else 1
