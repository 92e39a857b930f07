"""Images from features: many starting images at once, each moved until its feature lies in the span, or
equals a given one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import keras
import numpy as np
import tensorflow as tf

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer
from gradleak.attacks.span.subspace import Subspace
from gradleak.optim import minimise

_LOOPS = 16  # compiled searches that are kept
_SIZES = (2, 8, 32, 64, 128)  # images of a compiled search; more are not filled up
_PER_IMAGE = ("labels", "wanted")  # data with an entry for each image
_COLUMNS = 32  # basis vectors of a compiled search: a multiple of it


@dataclass(frozen=True)
class Steps:
    """How far images are moved: ``adam`` steps at ``rate`` (in pixels), then ``lbfgs`` steps. plateau: Adam
    steps without headway after which an image stays where it is; 0: never."""

    adam: int
    rate: float
    lbfgs: int = 0
    plateau: int = 0


def pixels(
    layer: DenseLayer, span: Subspace, avoid: np.ndarray | None, starts: np.ndarray, steps: Steps
) -> np.ndarray:
    """Images [S, H, W, C] in [0, 1], of least ρ near ``starts``. avoid: as in ``Subspace.residual``."""
    settings = _settings(steps)
    return _run(_loop(layer, _span_objective, settings), layer, starts, _data(span, avoid, layer.dtype))[0]


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
    settings = _settings(Steps(1, thresholds.POLISH_RATE, steps))
    data = _data(span, None, layer.dtype) | {
        "right": _columns(span.transposed.left, layer.dtype),
        "labels": labels.astype(np.int32),
    }
    return _run(_loop(layer, _span_and_delta_objective, settings), layer, starts, data)[0]


def images_of(
    layer: DenseLayer, features: np.ndarray, starts: np.ndarray, steps: int, polish_steps: int = 0
) -> np.ndarray:
    """Images [B, H, W, C] in [0, 1] whose features have the directions of ``features`` [B, I].

    Each is the best of those that S ``starts`` [B, S, H, W, C] lead to. polish_steps: of L-BFGS at the end.
    """
    settings = _settings(Steps(steps, thresholds.FEATURE_RATE, polish_steps))
    batch, each = starts.shape[:2]
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    data = {"wanted": np.repeat(directions, each, axis=0).astype(layer.dtype)}
    flat = starts.reshape(-1, *starts.shape[2:])
    images, loss = _run(_loop(layer, _direction_objective, settings), layer, flat, data)
    best = loss.reshape(batch, each).argmin(axis=1)
    return images.reshape(starts.shape)[np.arange(batch), best]


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
        features = layer.features(images)
        residual = _log_residual(features, data["left"][0], data["gain"], data["avoid"][0])
        return residual + thresholds.CODE_PENALTY * prior

    settings = minimise.LoopSettings(
        steps=steps, learning_rate=thresholds.CODE_RATE, decay="cosine", history_points=2
    )
    start = {"codes": starts.astype(np.float32)}
    result = minimise.minimise(objective, start, settings, data=_data(span, avoid, layer.dtype))
    return np.clip(decoder(result.best["codes"], training=False).numpy(), 0.0, 1.0)


def _settings(steps: Steps) -> minimise.LoopSettings:
    return minimise.LoopSettings(
        steps=steps.adam,
        learning_rate=steps.rate,
        decay="cosine",
        clip_norm=thresholds.GRADIENT_BOUND,
        chunk=steps.plateau or minimise.LoopSettings.chunk,
        polish_steps=steps.lbfgs,
        plateau=steps.plateau,
        history_points=2,
    )


@lru_cache(maxsize=_LOOPS)
def _loop(layer: DenseLayer, objective: Callable, settings: minimise.LoopSettings) -> minimise.Loop:
    """The compiled search of ``objective(layer, variables, data)``. Rounds and trials share it, since
    compiling takes longer than many of the searches."""
    return minimise.Loop(partial(objective, layer), settings, box={"images": (0.0, 1.0)})


def _run(
    loop: minimise.Loop, layer: DenseLayer, starts: np.ndarray, data: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Images [S, H, W, C] from ``starts``, and their losses [S].

    The last start is repeated up to one of few numbers of images, so that few shapes are compiled.
    """
    count = len(starts)
    more = next((size for size in _SIZES if size >= count), count) - count

    def filled(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.repeat(array[-1:], more, axis=0)]) if more else array

    data = {name: filled(array) if name in _PER_IMAGE else array for name, array in data.items()}
    result = loop.run({"images": filled(starts).astype(layer.dtype)}, data)
    return result.best["images"][:count], result.objective[:count]


def _data(span: Subspace, avoid: np.ndarray | None, dtype: str) -> dict[str, np.ndarray]:
    left = _columns(span.left, dtype)
    gain = np.zeros([1, left.shape[2]], dtype)
    gain[0, : len(span.gain)] = span.gain
    none = np.zeros([len(span.left), 0])
    return {"left": left, "gain": gain, "avoid": _columns(none if avoid is None else avoid, dtype)}


def _columns(matrix: np.ndarray, dtype: str) -> np.ndarray:
    """``matrix`` [I, R] as data of the loop, with zero columns up to a multiple of ``_COLUMNS``: few shapes
    are compiled then."""
    more = -matrix.shape[1] % _COLUMNS or (0 if matrix.shape[1] else _COLUMNS)
    return np.pad(matrix, ((0, 0), (0, more)))[None].astype(dtype)


def _span_objective(layer: DenseLayer, variables: dict, data: dict) -> tf.Tensor:
    features = layer.features(variables["images"])
    return _log_residual(features, data["left"][0], data["gain"], data["avoid"][0])


def _span_and_delta_objective(layer: DenseLayer, variables: dict, data: dict) -> tf.Tensor:
    features = layer.features(variables["images"])
    deltas = layer.delta(features, data["labels"])
    of_features = _log_residual(features, data["left"][0], data["gain"])
    return of_features + _log_residual(deltas, data["right"][0], data["gain"])


def _direction_objective(layer: DenseLayer, variables: dict, data: dict) -> tf.Tensor:
    """log of the squared sine between the features and ``wanted``, [S]."""
    reached, wanted = layer.features(variables["images"]), data["wanted"]
    inner = tf.reduce_sum(reached * wanted, axis=1)
    across = tf.reduce_sum(tf.square(reached - inner[:, None] * wanted), axis=1)
    return tf.math.log(across / tf.reduce_sum(tf.square(reached), axis=1) + thresholds.RESIDUAL_FLOOR)


def _log_residual(
    values: tf.Tensor, columns: tf.Tensor, gain: tf.Tensor, avoid: tf.Tensor | None = None
) -> tf.Tensor:
    """log ρ [S]."""
    across = values - _inside(values, columns, gain)
    if avoid is not None:
        values -= _inside(values, avoid)
    rho = tf.reduce_sum(tf.square(across), axis=1) / tf.reduce_sum(tf.square(values), axis=1)
    return tf.math.log(rho + thresholds.RESIDUAL_FLOOR)


def _inside(values: tf.Tensor, columns: tf.Tensor, gain: tf.Tensor | float = 1.0) -> tf.Tensor:
    return tf.matmul(tf.matmul(values, columns) * gain, columns, transpose_b=True)
