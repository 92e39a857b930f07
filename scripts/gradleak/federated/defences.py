"""Defences of a client, applied to its update before it is shared: clipping, noise, sparsification,
rounding.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

PRECISIONS = ("float32", "float16", "bfloat16")


def defend(
    delta: list[np.ndarray],
    rng: np.random.Generator,
    *,
    clip_norm: float | None = None,
    noise_std: float = 0.0,
    top_k: float = 1.0,
    precision: Literal[*PRECISIONS] = "float32",
) -> list[np.ndarray]:
    """float32 tensors of one update, in this order: clipped, with noise added, sparsified, rounded.

    clip_norm: L2 norm over all tensors that is not exceeded. noise_std: of white Gaussian noise on every
    entry; with ``clip_norm`` the Gaussian mechanism of DP-FedAvg (McMahan et al. 2018) with noise multiplier
    noise_std / clip_norm, applied by the client itself. top_k: share in (0, 1] of each tensor's entries that
    is kept, the largest (Aji and Heafield 2017, without its memory of what was dropped). precision: the
    number format that is sent.
    """
    if clip_norm is not None:
        norm = np.sqrt(sum(np.square(part, dtype=float).sum() for part in delta))
        delta = [part * np.float32(min(1.0, clip_norm / max(norm, 1e-300))) for part in delta]
    if noise_std:
        delta = [part + rng.normal(scale=noise_std, size=part.shape).astype(np.float32) for part in delta]
    if top_k < 1:
        delta = [_largest(part, top_k) for part in delta]
    return [_rounded(part, precision) for part in delta]


def _largest(part: np.ndarray, share: float) -> np.ndarray:
    keep = max(1, round(share * part.size))
    order = np.argsort(-np.abs(part), axis=None, kind="stable")
    out = np.zeros_like(part)
    out.flat[order[:keep]] = part.flat[order[:keep]]
    return out


def _rounded(part: np.ndarray, precision: str) -> np.ndarray:
    import tensorflow as tf  # NumPy has no bfloat16 of its own; not while a workflow is parsed

    return part.astype(tf.as_dtype(precision).as_numpy_dtype).astype(np.float32)
