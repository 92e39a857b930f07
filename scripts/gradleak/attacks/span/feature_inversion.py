"""Many starts at once, each moved until its feature lies in the span. First order only, no labels, no dummy batch."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from gradleak.attacks.span.dense_layer import Host
from gradleak.attacks.span.subspace import Subspace
from gradleak.optim import minimise

_FLOOR = 1e-12  # of ρ: float32 features are not known better
_STEEPEST = 0.05  # bound on a start's gradient: below that of log ρ nearly everywhere, so that all move alike
_FEATURE_RATE = 0.1
_SMALL_RATE = 1e-4  # of the one Adam step before L-BFGS
_CODE_RATE = 0.05
_CODE_PENALTY = 0.01  # weight of the mean of z²: keeps the decoder among images


def pixels(
    host: Host,
    span: Subspace,
    avoid: np.ndarray | None,
    starts: np.ndarray,
    steps: int,
    rate: float,
    polish: int = 0,
) -> np.ndarray:
    """Images [S, H, W, C] in [0, 1], of least ρ near ``starts``: Adam steps, then L-BFGS ones.

    avoid: as in ``Subspace.residual``.
    """

    def objective(variables: dict, data: dict) -> tf.Tensor:
        return _log_residual(host.features(variables["images"]), data)

    settings = minimise.LoopSettings(
        steps=steps,
        learning_rate=rate,
        decay="cosine",
        clip_norm=_STEEPEST,
        polish_steps=polish,
        history_points=2,
    )
    start = {"images": starts.astype(host.dtype)}
    result = minimise.minimise(
        objective, start, settings, data=_data(span, avoid, host.dtype), box={"images": (0.0, 1.0)}
    )
    return result.best["images"]


def polished(
    host: Host, span: Subspace, avoid: np.ndarray | None, starts: np.ndarray, steps: int
) -> np.ndarray:
    """The same by ``steps`` of L-BFGS alone, from ``starts`` that are nearly there."""
    return pixels(host, span, avoid, starts, 1, _SMALL_RATE, steps)


def sharpened(host: Host, span: Subspace, labels: np.ndarray, starts: np.ndarray, steps: int) -> np.ndarray:
    """Images [S, H, W, C] near ``starts`` whose feature is in the column space and whose δ under ``labels`` (int [S]) is in
    the row space, as deep as may be: of a faint member neither tells enough alone. ``steps`` of L-BFGS."""
    rows = span.transposed

    def objective(variables: dict, data: dict) -> tf.Tensor:
        features = host.features(variables["images"])
        signals = host.signal(features, data["labels"])
        return _log_residual(features, data) + _log_residual(
            signals, {"left": data["right"], "gain": data["gain"]}
        )

    settings = minimise.LoopSettings(
        steps=1, learning_rate=_SMALL_RATE, clip_norm=_STEEPEST, polish_steps=steps, history_points=2
    )
    start = {"images": starts.astype(host.dtype)}
    data = _data(span, None, host.dtype) | {
        "right": rows.left[None].astype(host.dtype),
        "labels": labels.astype(np.int32),
    }
    return minimise.minimise(objective, start, settings, data=data, box={"images": (0.0, 1.0)}).best["images"]


def images_of(host: Host, features: np.ndarray, starts: np.ndarray, steps: int) -> np.ndarray:
    """Images [B, H, W, C] in [0, 1] whose features point where ``features`` [B, I] do; the best of ``starts`` [B, S, H, W, C]."""

    def objective(variables: dict, data: dict) -> tf.Tensor:
        reached, wanted = host.features(variables["images"]), data["wanted"]
        inner = tf.reduce_sum(reached * wanted, axis=1)
        across = tf.reduce_sum(tf.square(reached - inner[:, None] * wanted), axis=1)
        return tf.math.log(across / tf.reduce_sum(tf.square(reached), axis=1) + _FLOOR)

    settings = minimise.LoopSettings(
        steps=steps, learning_rate=_FEATURE_RATE, decay="cosine", clip_norm=_STEEPEST, history_points=2
    )
    batch, each = starts.shape[:2]
    wanted = np.repeat(features / np.linalg.norm(features, axis=1, keepdims=True), each, axis=0).astype(
        host.dtype
    )
    start = {"images": starts.reshape(-1, *starts.shape[2:]).astype(host.dtype)}
    result = minimise.minimise(
        objective, start, settings, data={"wanted": wanted}, box={"images": (0.0, 1.0)}
    )
    best = result.objective.reshape(batch, each).argmin(axis=1)
    return result.best["images"].reshape(starts.shape)[np.arange(batch), best]


def codes(
    host: Host, span: Subspace, avoid: np.ndarray | None, decoder: keras.Model, starts: np.ndarray, steps: int
) -> np.ndarray:
    """The same over the codes [S, d] of a decoder; returns the decoded images.

    Where the landscape over pixels is shallow, as on an untrained net, images of the right kind lead into the span.
    """

    def objective(variables: dict, data: dict) -> tf.Tensor:
        images = decoder(variables["codes"], training=False)
        prior = tf.reduce_mean(tf.square(variables["codes"]), axis=1)
        return _log_residual(host.features(images), data) + _CODE_PENALTY * prior

    settings = minimise.LoopSettings(steps=steps, learning_rate=_CODE_RATE, decay="cosine", history_points=2)
    start = {"codes": starts.astype(np.float32)}
    result = minimise.minimise(objective, start, settings, data=_data(span, avoid, host.dtype))
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
    return tf.math.log(rho + _FLOOR)


def _inside(features: tf.Tensor, columns: tf.Tensor, gain: tf.Tensor | float = 1.0) -> tf.Tensor:
    return tf.matmul(tf.matmul(features, columns) * gain, columns, transpose_b=True)
