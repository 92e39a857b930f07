"""Gradient-matching losses as functions of three numbers per trial and tensor.

Notation: g the dummy gradient, G the target, T trials, L trainable tensors, w the weights [T, L].
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

# Below this squared norm a tensor counts as zero and has no direction. It is far under the square of
# anything a float32 gradient holds in earnest (a tensor with entries of 1e-6 has 1e-12 per entry),
# so it changes no gradient; it only keeps 0/0 out of the graph.
_ZERO_NORM2 = 1e-30


class Products(NamedTuple):
    """What a matching loss needs to know about g and G. All float64, [T, L].

    Float64 because ``||g - G||^2 = ||g||^2 - 2<g, G> + ||G||^2`` cancels near a solution: in float32
    the loss would bottom out at 1e-7 of ``||G||^2``, long before the images are exact.
    """

    inner: tf.Tensor  # <g, G>
    norm2: tf.Tensor  # ||g||^2
    target_norm2: tf.Tensor  # ||G||^2


def objective(products: Products, weights: tf.Tensor | np.ndarray, loss: str) -> tf.Tensor:
    """Matching loss of every trial, [T], float32.

    ``weights`` is [T, L] or [1, L] (shared by all trials), non-negative. ``loss`` is a key of ``LOSSES``:

    - ``l2``: ``sum_l w_l ||g - G||^2`` (Zhu et al. 2019, with w = 1), >= 0
    - ``l2_global``: the same over ``sum_l w_l ||G||^2``, so that its scale does not follow the update's
    - ``cosine``: ``sum_l w_l (1 - cos(g_l, G_l)) / sum_l w_l``, in [0, 2]
    - ``cosine_global``: 1 - cosine of the two whole gradients under the weighted inner product
      (Geiping et al. 2020, with w = 1), in [0, 2]

    Zero tensors. A target tensor of zeros has no direction: ``cosine`` leaves it out of both sums, the
    other losses need no exception (``l2_global`` and ``cosine_global`` ignore a wholly zero target: the
    former is then not normalised, the latter is the constant 1). A zero g against a non-zero G counts as
    orthogonal (cosine 0) and passes no gradient, rather than an infinite one.
    """
    inner, norm2, target_norm2 = products
    weights = tf.cast(weights, inner.dtype)
    return tf.cast(LOSSES[loss](inner, norm2, target_norm2, weights), tf.float32)


def _distance2(inner: tf.Tensor, norm2: tf.Tensor, target_norm2: tf.Tensor) -> tf.Tensor:
    """``||g - G||^2``; rounding may take it below zero at a perfect match, never a true distance."""
    return tf.maximum(norm2 - 2 * inner + target_norm2, 0)


def _l2(inner: tf.Tensor, norm2: tf.Tensor, target_norm2: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(weights * _distance2(inner, norm2, target_norm2), axis=1)


def _l2_global(inner: tf.Tensor, norm2: tf.Tensor, target_norm2: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    scale = tf.reduce_sum(weights * target_norm2, axis=1)
    distance2 = _l2(inner, norm2, target_norm2, weights)
    return distance2 / tf.where(scale > _ZERO_NORM2, scale, 1)


def _cosine(inner: tf.Tensor, norm2: tf.Tensor, target_norm2: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    weights = tf.where(target_norm2 > _ZERO_NORM2, weights, 0)
    total = tf.reduce_sum(weights, axis=1)
    apart = tf.reduce_sum(weights * (1 - _cosine_of(inner, norm2, target_norm2)), axis=1)
    return apart / tf.where(total > 0, total, 1)


def _cosine_global(
    inner: tf.Tensor, norm2: tf.Tensor, target_norm2: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
    return 1 - _cosine_of(
        tf.reduce_sum(weights * inner, axis=1),
        tf.reduce_sum(weights * norm2, axis=1),
        tf.reduce_sum(weights * target_norm2, axis=1),
    )


def _cosine_of(inner: tf.Tensor, norm2: tf.Tensor, target_norm2: tf.Tensor) -> tf.Tensor:
    """``inner / sqrt(norm2 * target_norm2)``, 0 without gradient where either vector is zero."""
    # Not ">": a norm that is NaN must show in the loss, not pass for zero.
    defined = ~((norm2 <= _ZERO_NORM2) | (target_norm2 <= _ZERO_NORM2))
    # Both branches of `where` are differentiated: the unused one must be finite as well.
    product = tf.where(defined, norm2, 1) * tf.where(defined, target_norm2, 1)
    return tf.where(defined, inner, 0) * tf.math.rsqrt(product)


LOSSES = {"l2": _l2, "l2_global": _l2_global, "cosine": _cosine, "cosine_global": _cosine_global}
