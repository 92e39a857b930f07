"""Weights of the gradient's tensors, learnt by the adversary from clients that it simulates with public images.

The matching loss is a sum over tensors, so the direction that it gives the dummies is linear in the weights. The weights
are those whose direction brings dummies closest to the images behind a gradient: they minimise, over simulated clients
and dummies on the way to their images, the expected distance that a step leaves. That is a least-squares problem with
weights that are not negative (Lawson and Hanson 1974), whatever the net.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gradleak import gradients
from gradleak.gradients import Matcher

CLIENTS = 32  # simulated, each with dummies of its own
_AT_ONCE = 4


def weights(matcher: Matcher, images: np.ndarray, labels: np.ndarray, loss: str) -> np.ndarray:
    """[L], >= 0 and not all zero, for the public batches ``images`` [K, N, H, W, C] and ``labels`` [K, N]."""
    from scipy.optimize import nnls  # a second of imports that all other weightings do without

    left, directions = steps(matcher, images, labels, loss)
    basis, triangle = np.linalg.qr(directions)
    found, _ = nnls(triangle, basis.T @ left)
    return found if found.any() else np.ones_like(found)


def steps(
    matcher: Matcher, images: np.ndarray, labels: np.ndarray, loss: str
) -> tuple[np.ndarray, np.ndarray]:
    """What is left from dummies to ``images``, [K N H W C], and which way each tensor's term leads them, [same, L]."""
    rng = np.random.default_rng(0)
    far = rng.uniform(0, 1, (len(images), 1, 1, 1, 1))
    dummies = (images + far * (rng.uniform(0, 1, images.shape) - images)).astype(np.float32)
    classes = np.eye(matcher.model.output_shape[-1], dtype=np.float32)[labels]
    count = len(matcher.variables)

    @tf.function(autograph=False)
    def directions(dummies, images, classes):
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


def _terms(products: gradients.Products, loss: str) -> list[tf.Tensor]:
    """Each tensor's part in the loss, summed over clients. A global cosine is near a match what ``l2_global`` is."""
    if loss == "cosine":
        rows = tf.eye(products.inner.shape[1], dtype=tf.float32)
        return [tf.reduce_sum(gradients.objective(products, row[None], "cosine")) for row in tf.unstack(rows)]
    distance2 = products.norm2 - 2 * products.inner + products.target_norm2
    # Of each client alike: the gradients of a trained net differ in size by orders of magnitude.
    distance2 /= tf.reduce_sum(products.target_norm2, axis=1, keepdims=True)
    return tf.unstack(tf.reduce_sum(distance2, axis=0))
