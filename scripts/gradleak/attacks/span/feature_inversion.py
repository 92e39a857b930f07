"""Images from features: many starting images at once, each moved until its feature lies in the span, or
equals a given one."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer
from gradleak.attacks.span.subspace import Subspace
from gradleak.optim import minimise


@dataclass(frozen=True)
class Steps:
    """How far images are moved: ``adam`` steps at ``rate`` (in pixels), then ``lbfgs`` steps."""

    adam: int
    rate: float
    lbfgs: int = 0


def pixels(
    layer: DenseLayer, span: Subspace, avoid: np.ndarray | None, starts: np.ndarray, steps: Steps
) -> np.ndarray:
    """Images [S, H, W, C] in [0, 1], of least ρ near ``starts``. avoid: as in ``Subspace.residual``."""

    def objective(variables: dict, data: dict) -> tf.Tensor:
        return _log_residual(layer.features(variables["images"]), data)

    settings = minimise.LoopSettings(
        steps=steps.adam,
        learning_rate=steps.rate,
        decay="cosine",
        clip_norm=thresholds.GRADIENT_BOUND,
        polish_steps=steps.lbfgs,
        history_points=2,
    )
    start = {"images": starts.astype(layer.dtype)}
    result = minimise.minimise(
        objective, start, settings, data=_data(span, avoid, layer.dtype), box={"images": (0.0, 1.0)}
    )
    return result.best["images"]


def polished(
    layer: DenseLayer, span: Subspace, avoid: np.ndarray | None, starts: np.ndarray, steps: int
) -> np.ndarray:
    """The same by ``steps`` of L-BFGS, from ``starts`` of a small ρ."""
    return pixels(layer, span, avoid, starts, Steps(1, thresholds.POLISH_RATE, steps))


def sharpened(
    layer: DenseLayer, span: Subspace, labels: np.ndarray, starts: np.ndarray, steps: int
) -> np.ndarray:
    """Images [S, H, W, C] near ``starts``, of the least log ρ of the feature plus log ρ of the δ under
    ``labels`` (int [S]).

    Of a weak member neither the column space nor the row space determines the image alone. ``steps`` of
    L-BFGS.
    """
    rows = span.transposed

    def objective(variables: dict, data: dict) -> tf.Tensor:
        features = layer.features(variables["images"])
        deltas = layer.delta(features, data["labels"])
        return _log_residual(features, data) + _log_residual(
            deltas, {"left": data["right"], "gain": data["gain"]}
        )

    settings = minimise.LoopSettings(
        steps=1,
        learning_rate=thresholds.POLISH_RATE,
        clip_norm=thresholds.GRADIENT_BOUND,
        polish_steps=steps,
        history_points=2,
    )
    start = {"images": starts.astype(layer.dtype)}
    data = _data(span, None, layer.dtype) | {
        "right": rows.left[None].astype(layer.dtype),
        "labels": labels.astype(np.int32),
    }
    return minimise.minimise(objective, start, settings, data=data, box={"images": (0.0, 1.0)}).best["images"]


def images_of(
    layer: DenseLayer, features: np.ndarray, starts: np.ndarray, steps: int, polish_steps: int = 0
) -> np.ndarray:
    """Images [B, H, W, C] in [0, 1] whose features have the directions of ``features`` [B, I].

    Each is the best of those that S ``starts`` [B, S, H, W, C] lead to. polish_steps: of L-BFGS at the end.
    """

    def objective(variables: dict, data: dict) -> tf.Tensor:
        reached, wanted = layer.features(variables["images"]), data["wanted"]
        inner = tf.reduce_sum(reached * wanted, axis=1)
        across = tf.reduce_sum(tf.square(reached - inner[:, None] * wanted), axis=1)
        return tf.math.log(across / tf.reduce_sum(tf.square(reached), axis=1) + thresholds.RESIDUAL_FLOOR)

    settings = minimise.LoopSettings(
        steps=steps,
        learning_rate=thresholds.FEATURE_RATE,
        decay="cosine",
        clip_norm=thresholds.GRADIENT_BOUND,
        polish_steps=polish_steps,
        history_points=2,
    )
    batch, each = starts.shape[:2]
    wanted = np.repeat(features / np.linalg.norm(features, axis=1, keepdims=True), each, axis=0).astype(
        layer.dtype
    )
    start = {"images": starts.reshape(-1, *starts.shape[2:]).astype(layer.dtype)}
    result = minimise.minimise(
        objective, start, settings, data={"wanted": wanted}, box={"images": (0.0, 1.0)}
    )
    best = result.objective.reshape(batch, each).argmin(axis=1)
    return result.best["images"].reshape(starts.shape)[np.arange(batch), best]


def codes(
    layer: DenseLayer,
    span: Subspace,
    avoid: np.ndarray | None,
    decoder: keras.Model,
    starts: np.ndarray,
    steps: int,
) -> np.ndarray:
    """The same as ``pixels`` over the codes ``starts`` [S, d] of a decoder; returns the decoded images."""

    def objective(variables: dict, data: dict) -> tf.Tensor:
        images = decoder(variables["codes"], training=False)
        prior = tf.reduce_mean(tf.square(variables["codes"]), axis=1)
        return _log_residual(layer.features(images), data) + thresholds.CODE_PENALTY * prior

    settings = minimise.LoopSettings(
        steps=steps, learning_rate=thresholds.CODE_RATE, decay="cosine", history_points=2
    )
    start = {"codes": starts.astype(np.float32)}
    result = minimise.minimise(objective, start, settings, data=_data(span, avoid, layer.dtype))
    return np.clip(decoder(result.best["codes"], training=False).numpy(), 0.0, 1.0)


def _data(span: Subspace, avoid: np.ndarray | None, dtype: str) -> dict[str, np.ndarray]:
    parts = {"left": span.left, "gain": span.gain} | ({} if avoid is None else {"avoid": avoid})
    return {name: part[None].astype(dtype) for name, part in parts.items()}


def _log_residual(features: tf.Tensor, data: dict) -> tf.Tensor:
    """log ρ [S]."""
    across = features - _inside(features, data["left"][0], data["gain"])
    if "avoid" in data:
        features -= _inside(features, data["avoid"][0])
    rho = tf.reduce_sum(tf.square(across), axis=1) / tf.reduce_sum(tf.square(features), axis=1)
    return tf.math.log(rho + thresholds.RESIDUAL_FLOOR)


def _inside(features: tf.Tensor, columns: tf.Tensor, gain: tf.Tensor | float = 1.0) -> tf.Tensor:
    return tf.matmul(tf.matmul(features, columns) * gain, columns, transpose_b=True)
