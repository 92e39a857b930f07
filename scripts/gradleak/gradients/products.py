"""Per-trial gradients of one variable, and their inner products with targets.

The gradient of a dense kernel is a sum of outer products over a trial's rows, ``g = sum_r a_r delta_r^T``
with layer inputs ``a`` and signals ``delta``; a convolution's is the same over image patches. It is kept as
its factors and multiplied out only where that is cheaper. The norm from factors is the "ghost norm" of
differentially private training (Li et al. 2022, arXiv:2110.05679; Bu et al. 2022, arXiv:2205.10683); here
it serves inversion.
"""

from typing import NamedTuple

import tensorflow as tf


class Factored(NamedTuple):
    """A gradient [T, I, O] as a sum of outer products, ``g_t = sum_r left[t, r] right[t, r]^T``."""

    left: tf.Tensor  # [T, R, I]
    right: tf.Tensor  # [T, R, O]

    def multiplied_out(self) -> tf.Tensor:
        return tf.matmul(self.left, self.right, transpose_a=True)

    def is_cheaper_as_factors(self) -> bool:
        """Whether R x R Gram matrices cost fewer operations than the I x O gradient.

        A gradient that is multiplied out is therefore never larger than R (I + O) numbers a trial, the
        size of its factors: memory follows activations, not parameters.
        """
        (rows, inputs), outputs = self.left.shape[1:], self.right.shape[2]
        return rows * (inputs + outputs) < inputs * outputs


Gradient = Factored | tf.Tensor  # of one variable; a tensor is [T, *variable.shape]


def as_tensor(gradient: Gradient, shape) -> tf.Tensor:
    """The gradient of a variable of ``shape`` in full, [T, *shape]."""
    if isinstance(gradient, Factored):
        gradient = gradient.multiplied_out()
    return tf.reshape(gradient, [gradient.shape[0], *shape])


def inner_and_norm2(gradient: Gradient, target) -> tuple[tf.Tensor, tf.Tensor]:
    """``<g, G>`` and ``||g||^2`` per trial, two float64 [T], for a target [T, *shape] or [1, *shape]."""
    if isinstance(gradient, Factored) and gradient.is_cheaper_as_factors():
        left, right = gradient
        target = tf.reshape(target, [target.shape[0], left.shape[2], right.shape[2]])
        return _products_of_factors(left, right, target)
    if isinstance(gradient, Factored):
        gradient = gradient.multiplied_out()
    rows = tf.reshape(gradient, [gradient.shape[0], -1])
    return _products_of_rows(rows, tf.reshape(target, [target.shape[0], -1]))


# Both below sum in float64 (see objectives.Products for why) and differentiate in the gradient's own
# precision: the derivative is a difference of terms that are themselves exact to no more than that.


@tf.custom_gradient
def _products_of_rows(rows, target):
    """For g [T, M] and G [T, M] or [1, M]."""
    exact, exact_target = tf.cast(rows, tf.float64), tf.cast(target, tf.float64)
    if target.shape[0] == 1:
        inner = tf.linalg.matvec(exact, exact_target[0])
    else:
        inner = tf.reduce_sum(exact * exact_target, axis=1)
    norm2 = tf.reduce_sum(tf.square(exact), axis=1)

    def backward(by_inner, by_norm2):
        by_inner, by_norm2 = (tf.cast(by[:, None], rows.dtype) for by in (by_inner, by_norm2))
        return by_inner * tf.cast(target, rows.dtype) + 2 * by_norm2 * rows, None

    return (inner, norm2), backward


@tf.custom_gradient
def _products_of_factors(left, right, target):
    """For g = left^T right with factors [T, R, I] and [T, R, O], and G [T, I, O] or [1, I, O]."""
    exact_left, exact_right = tf.cast(left, tf.float64), tf.cast(right, tf.float64)
    pulled = _times(exact_left, tf.cast(target, tf.float64))
    left_gram = tf.matmul(exact_left, exact_left, transpose_b=True)
    right_gram = tf.matmul(exact_right, exact_right, transpose_b=True)
    inner = tf.reduce_sum(pulled * exact_right, axis=[1, 2])
    norm2 = tf.reduce_sum(left_gram * right_gram, axis=[1, 2])

    def backward(by_inner, by_norm2):
        by_inner, by_norm2 = (tf.cast(by[:, None, None], left.dtype) for by in (by_inner, by_norm2))
        pushed = _times(right, tf.cast(target, left.dtype), transpose=True)
        by_left = by_inner * pushed + 2 * by_norm2 * tf.matmul(tf.cast(right_gram, left.dtype), left)
        by_right = by_inner * tf.cast(pulled, left.dtype) + 2 * by_norm2 * tf.matmul(
            tf.cast(left_gram, left.dtype), right
        )
        return by_left, by_right, None

    return (inner, norm2), backward


def _times(factor, target, transpose=False):
    """Factor [T, R, F] times target [T, ...] or [1, ...]: with one for all, a single product over all rows."""
    if target.shape[0] > 1:
        return tf.matmul(factor, target, transpose_b=transpose)
    product = tf.matmul(tf.reshape(factor, [-1, factor.shape[2]]), target[0], transpose_b=transpose)
    return tf.reshape(product, [*factor.shape[:2], -1])
