"""A model of one sigmoid unit is the softmax of two classes, from the mapping to the recovered images."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sigmoid_clients import RATE, keras_gradient, mapped, net, update, zeros_and_ones

import validate_mapping
from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets.examples import Examples
from gradleak.evaluation import metrics
from gradleak.federated import shadow_clients
from gradleak.gradients.matcher import Matcher, build_matcher
from gradleak.labels.evidence import Client
from gradleak.labels.packing import pack
from gradleak.labels.recovery import Source, recover_block
from gradleak.losses import BINARY, CATEGORICAL
from gradleak.mapping.classifier import logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.files import model_of, read_block, write_block
from gradleak.mapping.head import SIGMOID, Head, find_head, head_of, head_weights
from gradleak.mapping.scale import absent_class_scale
from gradleak.mapping.sign import sign_evidence


@pytest.fixture(scope="module")
def private(digits):
    return zeros_and_ones(digits["private"])


@pytest.fixture(scope="module")
def public(digits):
    return zeros_and_ones(digits["public"])


@pytest.mark.parametrize("kind", ["traced", "black box"])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_the_engines_gradient_is_that_of_keras(activation, kind, private):
    model = net(1, activation)
    linear, _ = logits_model(model.to_json())
    linear.set_weights(model.get_weights())
    matcher = build_matcher(linear) if kind == "traced" else Matcher(linear, None)
    x, y = (part[:6] for part in private)
    found = matcher.gradients(tf.constant(x[None]), tf.one_hot(y, 2)[None])
    for one, other in zip(found, keras_gradient(model, x, y), strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-6)


def test_the_head_is_that_of_a_softmax_of_two_classes(private):
    """With the logits (0, z): the same probabilities, so the same gradient at them."""
    model, (x, y) = net(1), (part[:6] for part in private)
    linear, what = logits_model(model.to_json())
    head, _ = find_head(linear)
    assert head == Head(2, 3, model.layers[-1].name, SIGMOID)
    assert "two logits" in what
    weight, offset = head_weights([v.numpy() for v in model.trainable_variables], head)
    softmax = net(2)
    softmax.set_weights([*model.get_weights()[:2], weight, offset])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = loss(y, softmax(x))
    kernel, bias = head_of(keras_gradient(model, x, y), head)
    expected = tape.gradient(value, softmax.trainable_variables[2:])
    np.testing.assert_allclose(kernel, expected[0], atol=1e-6)
    np.testing.assert_allclose(bias, expected[1], atol=1e-6)
    stacked, _ = head_of([np.zeros((3, 5, 1))] * 4, head)
    assert stacked.shape == (3, 5, 2)


def test_a_head_is_found_behind_what_changes_nothing_and_any_name():
    last = [layers.Dense(1, name="two_logits"), layers.Dropout(0.5), layers.Activation("sigmoid")]
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), *last])
    assert find_head(logits_model(model.to_json())[0])[0] == Head(0, 1, "two_logits", SIGMOID)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_an_update_is_mapped(activation, private, public, tmp_path):
    model, (x, y) = net(1, activation), (part[:8] for part in private)
    found = mapped([update(model, x, y)], public)
    for one, other in zip(found.gradients, keras_gradient(model, x, y), strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-5)
    report = found.report
    assert (report["loss"]["value"], found.loss) == (BINARY, CATEGORICAL)
    assert report["loss"]["confidence"] == (0.5 if activation is None else 0.95)
    assert report["scale"]["estimate"] is None
    assert report["optimizer"]["value"] == "unknown"
    assert (report["noise"]["value"], report["weight_decay"]["value"]) == (0.0, 0.0)
    block = validate_mapping.block_of(found, [0])
    write_block(tmp_path / "block.npz", block)
    read = read_block(tmp_path / "block.npz")
    assert read.head == found.head
    np.testing.assert_allclose(model_of(read)(x).numpy()[:, 0], 0)


def test_a_claim_that_the_model_refutes_is_an_error(private, public):
    leak = update(net(1, "sigmoid"), *(part[:8] for part in private))
    with pytest.raises(MappingError, match="ends in one sigmoid unit"):
        mapped([leak], public, loss=CATEGORICAL)


@pytest.mark.parametrize("samples", [1, 8])
def test_two_classes_show_no_sign_and_no_scale_by_their_columns(samples, private, public):
    """They are opposite for any update, also where one image fits p − e_y exactly."""
    model = net(1)
    linear, _ = logits_model(model.to_json())
    linear.set_weights(model.get_weights())
    statistics = look_at(linear, *public)
    draws = [keras_gradient(model, *(part[i : i + samples] for part in private)) for i in range(20)]
    deltas = [-RATE * np.stack(parts) for parts in zip(*draws, strict=True)]
    statistics = replace(statistics, features=statistics.features[[0, 0]])  # so that these show nothing
    assert sign_evidence(deltas, statistics).value is None
    assert absent_class_scale(deltas, statistics, 1.0) is None


@pytest.mark.parametrize("method", ["aux_mean", "llg_plus", "soft_label"])
def test_labels_are_recovered(method, private, public):
    x, y = private
    chosen = np.flatnonzero(y == 0)[:5].tolist() + np.flatnonzero(y == 1)[:3].tolist()
    found = mapped([update(net(1), x[chosen], y[chosen])], public)
    block = validate_mapping.block_of(found, [0])
    images = Examples((public[0] * 255).astype(np.uint8), public[1], 10)
    known = shadow_clients.simulate(model_of(block), images, shadow_clients.Rounds(None, 1.0), [])
    shadow = pack(known, Client(1, 0.1, "sgd"))
    recovered = recover_block(method, [Source(block, {}, shadow)], np.array([0]), None)
    np.testing.assert_array_equal(recovered.arrays(1)["counts"], [[5, 3]])


def test_the_images_of_four_are_recovered_by_their_span(private, public):
    x, y = (part[:4] for part in private)
    found = mapped([update(net(1), x, y)], public)
    problem = Problem(
        model=found.model,
        gradients=found.gradients,
        layer=found.layer,
        samples=4,
        seeds=[0],
        counts=None,
        public=public[0],
        public_labels=public[1],
        rounding=found.rounding,
        noise=found.noise,
        steps=1,
        scale_confidence=found.scale_confidence,
    )
    result = attack.invert(problem, SpanOptions(starts=64, rounds=6, copies=2))
    images, labels = result.images[0][result.accepted[0]], result.labels[0][result.accepted[0]]
    rows, columns = metrics.assign(images, x)
    assert len(images) == 4
    assert metrics.psnr(np.mean((images[rows] - x[columns]) ** 2, axis=(1, 2, 3))).min() > 30
    assert labels[rows].tolist() == y[columns].tolist()
    assert result.certificates["samples_estimated"][0] == 4
