"""How many images or steps are behind the update at least: the numerical ranks of its dense kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING


def find_ranks(
    variables: list,
    deltas: list[np.ndarray],
    before: list[np.ndarray],
    factor: float = 1.0,
    noise: float = 0.0,
    precision: float = FLOAT32_ROUNDING,
) -> tuple[dict, dict, list[dict]]:
    """Numerical rank of every dense kernel's delta above the rounding noise of subtracting float32 weights.

    factor: what the delta was multiplied with after the subtraction, and the rounding with it. noise: standard
    deviation of white noise found on the update. precision: relative rounding of the delta's own entries. Returns singular values and floors by variable, and rows for people.
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
    return singular, floor, rows


def widest(ranks: list[dict]) -> dict | None:
    """The row of the dense kernel that can show most images."""
    return max(ranks, key=lambda row: row["full"], default=None)


def verdict(ranks: list[dict], samples: int, steps: Any, optimizer: str) -> str:
    """What the rank says about the number of images, in one sentence."""
    host = widest(ranks)
    if host is None:
        return "No dense layer: the rank says nothing about the number of images."
    rank, full = max(host["ranks"]), host["full"]
    if optimizer == "adam":
        return f"{host['variable']} has rank {rank} of {full}, which says nothing: Adam does not keep the gradient's rank."
    if rank >= full:
        return f"{host['variable']} has full rank {full}: at least that many images or directions are behind the update."
    steps = steps if isinstance(steps, int) and steps > 0 else 1
    text = f"{host['variable']} has rank {rank} of {full}: at least {rank} images are behind the update"
    if rank > samples * steps:
        return f"{text}, more than the {samples} that were stated. The statement is refuted."
    return f"{text}, which fits the stated {samples}."
