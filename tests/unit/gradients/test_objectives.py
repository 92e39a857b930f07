"""The losses at their limits: zeros, tiny gradients, weights of zero."""

import numpy as np
import pytest
import tensorflow as tf

from gradleak.gradients.objectives import LOSSES, Products, objective


def products_of(*columns):
    return Products(*(tf.constant([column], tf.float64) for column in columns))


def test_cosine_leaves_out_target_tensors_of_zeros():
    with_zero = products_of([1.0, 0.0], [1.0, 5.0], [4.0, 0.0])
    assert objective(with_zero, [[1.0, 9.0]], "cosine").numpy() == pytest.approx([0.5])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_no_gradient_is_nan_where_the_dummy_gradient_is_zero(loss, target):
    g = tf.Variable(np.zeros((1, 3)))
    with tf.GradientTape() as tape:
        products = Products(
            tf.reduce_sum(g * target, axis=1, keepdims=True),
            tf.reduce_sum(g * g, axis=1, keepdims=True),
            tf.constant([[3 * target**2]], tf.float64),
        )
        value = objective(products, [[1.0]], loss)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, g)).all()


@pytest.mark.parametrize("loss", ["cosine", "cosine_global", "l2_global"])
def test_tiny_gradients_are_not_distorted(loss):
    large = products_of([3.0, 1.0], [5.0, 2.0], [4.0, 6.0])
    tiny = Products(*(part * 1e-18 for part in large))  # tensors with entries of about 1e-9
    weights = [[1.0, 2.0]]
    assert objective(tiny, weights, loss).numpy() == pytest.approx(objective(large, weights, loss).numpy())


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_zero_select_nothing(loss):
    assert np.isfinite(objective(products_of([3.0], [5.0], [4.0]), [[0.0]], loss)).all()
