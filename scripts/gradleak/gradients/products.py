"""Per-trial gradients of one variable, and their inner products with targets.

The gradient of a dense kernel is a sum of outer products over a trial's rows, ``g = sum_r a_r delta_r^T``
with layer inputs ``a`` and signals ``delta``; a convolution's is the same over image patches. It is kept as
its factors and multiplied out only where that is cheaper. The norm from factors is the "ghost norm" of
differentially private training (Li et al. 2022, arXiv:2110.05679; Bu et al. 2022, arXiv:2205.10683); here
it serves inversion.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

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


# Of one variable, per trial. A tensor is [T, *variable.shape]; a target may have one entry for all trials.
Gradient: TypeAlias = Factored | tf.Tensor
# Of a function with several outcomes: their derivatives, None for what is constant.
_Backward: TypeAlias = Callable[..., tuple[tf.Tensor | None, ...]]


def as_tensor(gradient: Gradient, shape: Sequence[int]) -> tf.Tensor:
    """The gradient of a variable of ``shape`` in full, [T, *shape]."""
    if isinstance(gradient, Factored):
        gradient = gradient.multiplied_out()
    return tf.reshape(gradient, [gradient.shape[0], *shape])


def products(gradient: Gradient, target: Gradient) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """``<g, G>``, ``||g||^2`` and ``||G||^2`` per trial, float64 [T]; ``target`` is for T trials or for 1."""
    if isinstance(gradient, Factored) and gradient.is_cheaper_as_factors():
        own = _norm2_of_factors(*gradient)
        if isinstance(target, Factored):
            return _inner_of_factors(*gradient, *target), own, _norm2_of_factors(*target)
        full = tf.reshape(target, [target.shape[0], gradient.left.shape[2], gradient.right.shape[2]])
        return _inner_with_factors(*gradient, full), own, _norm2_in_float64(full)
    if isinstance(gradient, Factored) and isinstance(target, Factored):
        own = _norm2_in_float64(gradient.multiplied_out())
        return _inner_of_factors(*gradient, *target), own, _norm2_of_factors(*target)
    if isinstance(target, Factored):  # a dense kernel inside a layer or model without algebra of its own
        target = target.multiplied_out()
    if isinstance(gradient, Factored):
        gradient = gradient.multiplied_out()
    return _products_of_rows(_rows(gradient), _rows(target))


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tensor, [tensor.shape[0], -1])


# All below is exact enough for objectives.Products, which says why, and differentiates in the gradient's own
# precision, which is as exact as the terms of the derivative are. Left to autodiff, float64 would go all the
# way back.


@tf.custom_gradient
def _products_of_rows(rows: tf.Tensor, target: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], _Backward]:
    """Of g [T, M] with G [T, M] or [1, M].

    From ``d = g - c G`` with c near ``<g, G> / ||G||^2``: then ``<g, G> = c ||G||^2 + <d, G>`` and ``||g||^2
    = c^2 ||G||^2 + 2 c <d, G> + ||d||^2``. No term is larger than the sum, and where g comes close to G all
    that is
    rounded shrinks with d: the float32 sums are as good as float64 ones over copies twice the size.
    """
    target_norm2 = tf.reduce_sum(tf.square(target), axis=1)
    scale = tf.math.divide_no_nan(_dot(rows, target), target_norm2)
    difference = rows - scale[:, None] * target
    along, rest = _dot(difference, target), tf.reduce_sum(tf.square(difference), axis=1)
    scale, along, rest, target_norm2 = _exact(scale, along, rest, target_norm2)
    inner = scale * target_norm2 + along
    norm2 = scale * (inner + along) + rest

    def backward(
        by_inner: tf.Tensor, by_norm2: tf.Tensor, by_target_norm2: tf.Tensor
    ) -> tuple[tf.Tensor, None]:
        by_inner, by_norm2 = (tf.cast(by[:, None], rows.dtype) for by in (by_inner, by_norm2))
        return by_inner * target + 2 * by_norm2 * rows, None

    return (inner, norm2, target_norm2), backward


def _dot(rows: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Of [T, M] with [T, M] or [1, M], [T]."""
    if target.shape[0] == 1:
        return tf.linalg.matvec(rows, target[0])
    return tf.reduce_sum(rows * target, axis=1)


@tf.custom_gradient
def _norm2_in_float64(tensor: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Of [T, I, O]."""

    def backward(by: tf.Tensor) -> tf.Tensor:
        return 2 * tf.cast(by[:, None, None], tensor.dtype) * tensor

    return tf.reduce_sum(tf.square(tf.cast(tensor, tf.float64)), axis=[1, 2]), backward


@tf.custom_gradient
def _norm2_of_factors(left: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, _Backward]:
    """Of g with factors [T, R, I] and [T, R, O], from R x R Gram matrices."""
    left_gram, right_gram = (_times(exact, exact, transpose=True) for exact in _exact(left, right))

    def backward(by: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        by = 2 * tf.cast(by[:, None, None], left.dtype)
        by_left = by * tf.matmul(tf.cast(right_gram, left.dtype), left)
        return by_left, by * tf.matmul(tf.cast(left_gram, left.dtype), right)

    return tf.reduce_sum(left_gram * right_gram, axis=[1, 2]), backward


@tf.custom_gradient
def _inner_with_factors(left: tf.Tensor, right: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, _Backward]:
    """Of g with factors [T, R, I] and [T, R, O] with G [T, I, O] or [1, I, O]."""
    exact_left, exact_right, exact_target = _exact(left, right, target)
    pulled = _times(exact_left, exact_target)

    def backward(by: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        by = tf.cast(by[:, None, None], left.dtype)
        pushed = _times(right, tf.cast(target, left.dtype), transpose=True)
        return by * pushed, by * tf.cast(pulled, left.dtype), None

    return tf.reduce_sum(pulled * exact_right, axis=[1, 2]), backward


@tf.custom_gradient
def _inner_of_factors(
    left: tf.Tensor, right: tf.Tensor, target_left: tf.Tensor, target_right: tf.Tensor
) -> tuple[tf.Tensor, _Backward]:
    """Of g with factors [T, R, I] and [T, R, O] with G of factors [T, S, I] and [T, S, O], or 1 for T."""
    exact_left, exact_right, *exact_target = _exact(left, right, target_left, target_right)
    left_gram = _times(exact_left, exact_target[0], transpose=True)
    right_gram = _times(exact_right, exact_target[1], transpose=True)

    def backward(by: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
        by = tf.cast(by[:, None, None], left.dtype)
        by_left = by * _times(tf.cast(right_gram, left.dtype), tf.cast(target_left, left.dtype))
        by_right = by * _times(tf.cast(left_gram, left.dtype), tf.cast(target_right, left.dtype))
        return by_left, by_right, None, None

    return tf.reduce_sum(left_gram * right_gram, axis=[1, 2]), backward


def _exact(*tensors: tf.Tensor) -> list[tf.Tensor]:
    return [tf.cast(tensor, tf.float64) for tensor in tensors]


def _times(factor: tf.Tensor, other: tf.Tensor, transpose: bool = False) -> tf.Tensor:
    """[T, R, F] times [T, F, ·] or [1, F, ·]; if one serves all trials, one product over all their rows."""
    if other.shape[0] > 1:
        return tf.matmul(factor, other, transpose_b=transpose)
    product = tf.matmul(tf.reshape(factor, [-1, factor.shape[2]]), other[0], transpose_b=transpose)
    return tf.reshape(product, [*factor.shape[:2], -1])
