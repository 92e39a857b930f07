"""The dense layer: its features, δ and gradient, and what kind of layer it is."""

import numpy as np
from span_updates import SHAPE, layer_of, noise_of

from gradleak.attacks.span.dense_layer import dense_layers
from gradleak.federated.models import build


def test_dense_layers_are_those_that_all_data_passes_through_widest_first():
    assert [layer.weights.shape for layer in dense_layers(build("fcn3", SHAPE, 10, 0))] == [
        (64, 300),
        (300, 300),
        (300, 10),
    ]
    assert [layer.weights.shape[1] for layer in dense_layers(build("cnn7", (28, 28, 1), 10, 0))] == [128, 10]


def test_a_layer_on_pixels_is_linear_and_one_behind_a_relu_is_not():
    images = np.random.default_rng(0).uniform(0, 1, (8, *SHAPE))
    first, second, _ = dense_layers(build("fcn3", SHAPE, 10, 0))
    assert not first.is_nonlinear(images)
    assert second.is_nonlinear(images)


def test_features_and_deltas_multiply_to_the_gradient(update):
    layer = layer_of(update.model)
    features = layer.features(update.x.astype(float)).numpy()
    deltas = layer.deltas(features)[np.arange(4), update.y]
    expected = features.T @ deltas / 4
    got = layer.gradient(update.gradients)
    assert np.abs(got - expected).max() < 20 * noise_of(layer, update.rounding)
    np.testing.assert_allclose(layer.delta(features, update.y), deltas, rtol=1e-10, atol=1e-14)


def test_the_jacobian_of_delta_agrees_with_differences(batch):
    features = batch.layer.features(batch.x).numpy()
    product = features[:, : len(batch.layer.weights)] @ batch.layer.weights
    jacobian = batch.layer.delta_jacobian_at(np.asarray(product), batch.y).numpy()
    move = np.random.default_rng(1).normal(size=product.shape) * (np.abs(product) > 1e-3)
    both = [batch.layer.delta_at(product + step * move, batch.y).numpy() for step in (1e-6, -1e-6)]
    np.testing.assert_allclose(np.einsum("koq,kq->ko", jacobian, move), (both[0] - both[1]) / 2e-6, atol=1e-7)


def test_only_a_layer_in_front_of_a_relu_feeds_one():
    images = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 1))
    *_, last = dense_layers(build("fcn3", (8, 8, 1), 10, 0), "float64")
    assert not last.feeds_relu(images)
    assert dense_layers(build("fcn3", (8, 8, 1), 10, 0), "float64")[1].feeds_relu(images)
