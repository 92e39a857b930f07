"""Weights of the gradient's tensors, learnt from shadow clients.

The matching loss is a sum over tensors, so its descent direction is linear in the weights. The weights
minimise the expected distance between dummies and images after a step in this direction, over shadow clients
and over dummies between noise and their images. This is a least-squares problem with non-negative weights
(Lawson and Hanson 1974), for any net.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gradleak.gradients.matcher import Matcher
from gradleak.gradients.objectives import Products, objective

CLIENTS = 32  # simulated, each with dummies of its own
_AT_ONCE = 4


def weights(matcher: Matcher, images: np.ndarray, labels: np.ndarray, loss: str) -> np.ndarray:
    """[L], >= 0 and not all zero, for the public batches ``images`` [K, N, H, W, C] and ``labels`` [K, N], or
    rows of labels [K, N, C].
    """
    from scipy.optimize import nnls  # takes a second to import, and only this weighting needs it

    left, directions = steps(matcher, images, labels, loss)
    basis, triangle = np.linalg.qr(directions)
    found, _ = nnls(triangle, basis.T @ left)
    return found if found.any() else np.ones_like(found)


def steps(
    matcher: Matcher, images: np.ndarray, labels: np.ndarray, loss: str
) -> tuple[np.ndarray, np.ndarray]:
    """The difference from dummies to ``images``, [K N H W C], and the descent direction of each tensor's
    term, [same, L].
    """
    rng = np.random.default_rng(0)
    far = rng.uniform(0, 1, (len(images), 1, 1, 1, 1))
    dummies = (images + far * (rng.uniform(0, 1, images.shape) - images)).astype(np.float32)
    classes = labels if labels.ndim == 3 else np.eye(matcher.model.output_shape[-1])[labels]
    classes = classes.astype(np.float32)
    count = len(matcher.variables)

    @tf.function(autograph=False)
    def directions(dummies: tf.Tensor, images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        leaked = [tf.stop_gradient(g) for g in matcher.gradients(images, classes)]
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(dummies)
            terms = _terms(matcher.products(dummies, classes, leaked), loss)
        return tf.stack([-tape.gradient(terms[index], dummies) for index in range(count)], axis=-1)

    found = [
        directions(
            *(tf.constant(part[first : first + _AT_ONCE]) for part in (dummies, images, classes))
        ).numpy()
        for first in range(0, len(images), _AT_ONCE)
    ]
    left = images.astype(np.float64) - dummies
    return left.ravel(), np.concatenate(found).reshape(-1, count).astype(np.float64)


def _terms(products: Products, loss: str) -> list[tf.Tensor]:
    """Each tensor's part of the loss, summed over clients. Near a match a global cosine behaves as
    ``l2_global``.
    """
    if loss == "cosine":
        rows = tf.eye(products.inner.shape[1], dtype=tf.float32)
        return [tf.reduce_sum(objective(products, row[None], "cosine")) for row in tf.unstack(rows)]
    distance2 = products.norm2 - 2 * products.inner + products.target_norm2
    # Each client weighs the same: the gradients of a trained net differ in size by orders of magnitude.
    distance2 /= tf.reduce_sum(products.target_norm2, axis=1, keepdims=True)
    return tf.unstack(tf.reduce_sum(distance2, axis=0))
