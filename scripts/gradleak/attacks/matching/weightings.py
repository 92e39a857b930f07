"""The weight of each tensor of the gradient in the matching loss: rows of a [T, L] matrix.

A weighting is one function of the tensors' layer depth and of the target's norms, and one entry in
WEIGHTINGS. (``learned`` needs the model and public images as well, see ``learned_weights``.) Rows are scaled
to sum to L, so a weighting changes the balance of the loss and not its size.
"""

from __future__ import annotations

import numpy as np


def uniform(layer: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Every tensor alike."""
    return np.ones_like(norms)


def depth(layer: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The first layers weigh most; the weight falls linearly to the last."""
    return np.broadcast_to((layer.max() + 1 - layer).astype(float), norms.shape)


def depth_exponential(layer: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The first layers weigh most, halving with every layer."""
    return np.broadcast_to(0.5 ** layer.astype(float), norms.shape)


def norm(layer: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Inverse to the norm of the leaked tensor, so that every tensor's l2 residual counts alike."""
    largest = norms.max(axis=1, keepdims=True)
    return 1.0 / np.maximum(norms, 1e-3 * np.where(largest > 0, largest, 1.0))


def top_norms(layer: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The half of the tensors with the largest norms, the rest not at all."""
    keep = -(-norms.shape[1] // 2)
    return (norms >= np.sort(norms, axis=1)[:, -keep][:, None]).astype(float)


def last(layer: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The last layer alone."""
    return np.broadcast_to((layer == layer.max()).astype(float), norms.shape)


WEIGHTINGS = {
    "uniform": uniform,
    "depth": depth,
    "depth_exponential": depth_exponential,
    "norm": norm,
    "top_norms": top_norms,
    "last": last,
}


def weights(name: str, layer: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """float32 [T, L] for the leaked tensors' layer index [L] (0 = first) and norms [T, L]; rows sum to L."""
    return scaled(WEIGHTINGS[name](np.asarray(layer), np.asarray(norms, float)))


def scaled(raw: np.ndarray) -> np.ndarray:
    """float32 [T, L] with rows that sum to L, in the proportions of ``raw``."""
    raw = np.asarray(raw, float)
    total = raw.sum(axis=1, keepdims=True)
    return (raw * raw.shape[1] / np.where(total > 0, total, 1.0)).astype(np.float32)
