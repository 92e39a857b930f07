"""A loss that is stated: the mapped gradient is that of the attacks' model of the client."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from mapped import leak_of, small

from gradleak.attacks.span.dense_layer import dense_layers
from gradleak.federated import shadow_clients
from gradleak.gradients.matcher import build_matcher
from gradleak.images import to_float
from gradleak.labels import registry
from gradleak.labels.evidence import Client, Evidence, NotApplicable, Public
from gradleak.labels.simulated import shadow
from gradleak.losses import CATEGORICAL, Loss, loss_named
from gradleak.mapping.errors import MappingError
from gradleak.mapping.settle import settle

WEIGHTS = [0.2, 1.0, 3.0, 0.5, 1.5, 1.0, 2.0, 0.3, 1.2, 0.8]
META = {"samples": 6, "learning_rate": 0.05, "local_steps": 1, "sign": "after_minus_before"}


def cross_entropy(y, z, smoothing=0.0):
    return tf.nn.softmax_cross_entropy_with_logits(y * (1 - smoothing) + smoothing / 10, z)


def weighted(y, z):
    weights = tf.linalg.matvec(y, tf.constant(WEIGHTS))
    return tf.reduce_sum(weights * cross_entropy(y, z)) / tf.reduce_sum(weights)


# What the client minimises, and what its metadata state.
CLIENTS = {
    "sum": (
        lambda y, z: tf.reduce_sum(cross_entropy(y, z)),
        {"loss": "torch.nn.CrossEntropyLoss(reduction='sum')"},
    ),
    "half": (lambda y, z: 0.5 * tf.reduce_mean(cross_entropy(y, z)), {"loss": "cross_entropy(factor=0.5)"}),
    "smoothing": (
        lambda y, z: tf.reduce_mean(cross_entropy(y, z, 0.2)),
        {"loss": "CrossEntropyLoss(label_smoothing=0.2)"},
    ),
    "smoothing as a key": (lambda y, z: tf.reduce_mean(cross_entropy(y, z, 0.1)), {"label_smoothing": 0.1}),
    "class weights": (weighted, {"loss": "cross_entropy", "class_weights": WEIGHTS}),
    "focal": (
        lambda y, z: tf.reduce_mean(
            (1 - tf.reduce_sum(y * tf.nn.softmax(z), axis=1)) ** 2 * cross_entropy(y, z)
        ),
        {"loss": "FocalLoss(gamma=2)"},
    ),
    "squared error": (lambda y, z: tf.reduce_mean((z - y) ** 2), {"loss": "nn.MSELoss()"}),
    "squared error of the softmax": (
        lambda y, z: tf.reduce_mean((tf.nn.softmax(z) - y) ** 2),
        {"loss": "brier"},
    ),
    "softmax in a softmax": (
        lambda y, z: tf.reduce_mean(cross_entropy(y, tf.nn.softmax(z))),
        {"loss": "double_softmax"},
    ),
}


@pytest.fixture(scope="module")
def model():
    return small(layers.Flatten(), layers.Dense(40, activation="relu"))


def delta_of(model, value, x, y, rate=0.05):
    with tf.GradientTape() as tape:
        loss = value(tf.one_hot(y, 10), model(x))
    return [-rate * g.numpy() for g in tape.gradient(loss, model.trainable_variables)]


def mapped(digits, model, kind, meta=None, count=6):
    value, stated = CLIENTS[kind]
    x, y = to_float(digits["private"].x[:count]), digits["private"].y[:count]
    meta = META | {"samples": count} | stated if meta is None else meta
    leak = leak_of(model, delta_of(model, value, x, y), meta)
    public = digits["public"]
    return settle([leak], to_float(public.x[:200]), public.y[:200]), x, y


@pytest.mark.parametrize("kind", CLIENTS)
def test_the_matched_gradient_and_the_delta_of_span_inversion_are_the_clients(digits, model, kind):
    found, x, y = mapped(digits, model, kind)
    labels = np.eye(10, dtype=np.float32)[y]
    own = build_matcher(found.model, None, found.loss).gradients(tf.constant(x[None]), labels[None])
    for expected, gradient in zip(found.gradients, own, strict=True):
        assert np.linalg.norm(gradient - expected) < 2e-3 * np.linalg.norm(expected)
    loss = loss_named(found.loss)
    for layer in dense_layers(found.model, "float64", loss):
        features = layer.features(x.astype("float64")).numpy()
        delta = layer.deltas(features)[np.arange(len(y)), y]
        total = np.sum(np.array(loss.weights)[y]) if loss.weights else len(y)
        whole = layer.gradient([g[0] for g in found.gradients])
        assert np.linalg.norm(features.T @ delta / total - whole) < 2e-3 * np.linalg.norm(whole)
        again = layer.delta_at(features[:, :-1] @ layer.weights, y).numpy()
        np.testing.assert_allclose(again, delta, atol=1e-9)


@pytest.mark.parametrize("kind", ["squared error of the softmax", "softmax in a softmax"])
def test_columns_show_no_sign_under_a_loss_that_turns_them_around(digits, model, kind):
    meta = {key: value for key, value in META.items() if key != "sign"} | CLIENTS[kind][1]
    with pytest.raises(MappingError, match="have no one sign under the loss"):
        mapped(digits, model, kind, meta)


def test_a_loss_that_the_update_refutes_is_a_contradiction(digits, model):
    found, *_ = mapped(digits, model, "smoothing", META | {"loss": "nn.MSELoss()"})
    assert loss_named(found.loss).name == CATEGORICAL
    assert any(
        line.startswith("loss: the metadata say squared_error") for line in found.report["contradictions"]
    )


def test_class_weights_of_other_classes_are_an_error(digits, model):
    with pytest.raises(MappingError, match="weights of 3 classes, and the model 10"):
        mapped(digits, model, "class weights", META | {"class_weights": [1, 2, 3]})


def test_smoothing_that_one_image_shows_exactly_is_used(digits, model):
    found, *_ = mapped(digits, model, "smoothing", META | {"samples": 1}, count=1)
    assert loss_named(found.loss).smoothing == pytest.approx(0.2, abs=2e-3)
    found, *_ = mapped(digits, model, "smoothing", META | {"samples": 1, "label_smoothing": 0.1}, count=1)
    assert loss_named(found.loss).smoothing == pytest.approx(0.2, abs=2e-3)
    assert any("label_smoothing=0.1" in line for line in found.report["contradictions"])
    found, *_ = mapped(digits, model, "half", META | {"samples": 1, "label_smoothing": 0.1}, count=1)
    assert loss_named(found.loss).is_plain


def evidence(rng, loss, **changes):
    features = np.abs(rng.normal(size=(60, 8))).astype(np.float32)
    labels = np.arange(60) % 10
    public = Public(features, labels, np.arange(60) % 2, features[:5])
    given = {
        "weight": rng.normal(size=(8, 10)).astype(np.float32),
        "bias": np.zeros(10, np.float32),
        "grad_weight": np.ones((1, 8, 10), np.float32),
        "grad_bias": np.ones((1, 10), np.float32),
        "samples": 4,
        "public": public,
        "client": Client(1, 0.1),
    }
    return Evidence(**given | changes, loss=loss)


def test_only_methods_that_learn_from_shadow_clients_read_another_loss(rng):
    focal = evidence(rng, Loss("focal"))
    able = {name for name in registry.METHODS if not registry.refusal(name, focal)}
    assert able == {"auto", "posterior", "linear", "uniform", "aux_prior"}
    assert "the client's loss is focal(gamma=2)" in registry.refusal("rank1", focal)
    with pytest.raises(NotApplicable, match="needs public images"):
        registry.recover("auto", evidence(rng, Loss("focal"), public=None))


@pytest.mark.parametrize("loss", [Loss("focal"), Loss("squared_error"), Loss(weights=tuple(WEIGHTS))])
def test_shadow_clients_minimise_the_stated_loss(rng, loss):
    given = evidence(rng, loss)
    index = rng.integers(60, size=(3, 4))
    logits = given.logits(given.public.features)
    _, bias = shadow.gradients(given.public.features, logits, given.public.labels, index, loss)
    z = tf.constant(logits[index[1]], tf.float32)
    y = tf.one_hot(given.public.labels[index[1]], 10)
    value = {"focal": CLIENTS["focal"], "squared_error": CLIENTS["squared error"]}.get(
        loss.name, CLIENTS["class weights"]
    )[0]
    with tf.GradientTape() as tape:
        tape.watch(z)
        mean = value(y, z)
    np.testing.assert_allclose(bias[1], tf.reduce_sum(tape.gradient(mean, z), axis=0), atol=1e-5)


def test_steps_of_one_size_show_no_sign_of_smoothed_labels(digits, model):
    """Of a trained model the columns of absent classes are turned around, and equal sizes hide it."""
    x, y = to_float(digits["private"].x[:6]), digits["private"].y[:6]
    value, stated = CLIENTS["smoothing"]
    delta = [0.001 * np.sign(one) for one in delta_of(model, value, x, y)]
    public = digits["public"]
    leak = leak_of(model, delta, META | stated | {"optimizer": "adam"})
    found = settle([leak], to_float(public.x[:200]), public.y[:200]).report
    assert (found["optimizer"]["value"], found["sign"]["found"]) == ("adam", None)


def test_one_step_of_adam_has_no_scale_for_another_loss(rng):
    given = evidence(rng, Loss(smoothing=0.1), client=Client(1, 0.001, "adam"))
    assert "one step of Adam has no scale" in registry.refusal("auto", given)
    assert not registry.refusal("auto", evidence(rng, Loss(), client=Client(1, 0.001, "adam")))


def test_the_first_step_of_nesterov_is_simulated_as_sgd():
    meta = {"learning_rate": 0.1, "optimizer": "nesterov", "momentum": 0.9, "local_steps": 1}
    assert shadow_clients.published(meta, 4).optimizer == "sgd"
    assert shadow_clients.published(meta | {"local_steps": 2}, 4) is None
