"""The last dense layer by the model's graph, and what is said of models that end in anything else."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from mapped import gradient, leak_of

import validate_mapping
from gradleak.images import to_float
from gradleak.labels.recovery import Source, recover_block
from gradleak.mapping.classifier import logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.head import Head, find_head, head_of
from gradleak.mapping.preflight import prospects, update_of

C = layers.Conv2D


def model_of(*last, seed=1):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((8, 8, 1)), C(4, 3, activation="relu"), *last])


FOUND = {
    "dense": lambda: [layers.Flatten(), layers.Dense(10, name="d")],
    "no bias": lambda: [layers.Flatten(), layers.Dense(10, use_bias=False, name="d")],
    "dropout": lambda: [layers.Flatten(), layers.Dense(10, name="d"), layers.Dropout(0.1)],
    "gaussian noise": lambda: [layers.Flatten(), layers.Dense(10, name="d"), layers.GaussianNoise(0.1)],
    "flatten": lambda: [layers.Flatten(), layers.Dense(10, name="d"), layers.Flatten()],
    "reshape": lambda: [layers.Flatten(), layers.Dense(10, name="d"), layers.Reshape((10,))],
    "linear": lambda: [layers.Flatten(), layers.Dense(10, name="d"), layers.Activation("linear")],
    "rescaling by 1": lambda: [layers.Flatten(), layers.Dense(10, name="d"), layers.Rescaling(1.0)],
    "softmax": lambda: [layers.Flatten(), layers.Dense(10, activation="softmax", name="d")],
    "log-softmax": lambda: [layers.Flatten(), layers.Dense(10, activation="log_softmax", name="d")],
    "softmax and dropout": lambda: [
        layers.Flatten(),
        layers.Dense(10, activation="softmax", name="d"),
        layers.Dropout(0.1),
    ],
    "dropout and softmax": lambda: [
        layers.Flatten(),
        layers.Dense(10, name="d"),
        layers.Dropout(0.1),
        layers.Softmax(),
        layers.Flatten(),
    ],
}
NONE = {
    "batch normalisation": lambda: [layers.Flatten(), layers.Dense(10), layers.BatchNormalization()],
    "convolution and pooling": lambda: [C(10, 1), layers.GlobalAveragePooling2D(), layers.Softmax()],
    "convolution of everything": lambda: [C(10, 6), layers.Flatten(), layers.Softmax()],
    "leaky ReLU": lambda: [layers.Flatten(), layers.Dense(10), layers.LeakyReLU()],
    "temperature": lambda: [layers.Flatten(), layers.Dense(10), layers.Rescaling(0.5)],
    "frozen": lambda: [layers.Flatten(), layers.Dense(10, trainable=False)],
    "softmax of softmax": lambda: [
        layers.Flatten(),
        layers.Dense(10, activation="softmax"),
        layers.Softmax(),
    ],
    "dense at places": lambda: [layers.MaxPooling2D(6), layers.Dense(10), layers.Reshape((10,))],
}


@pytest.mark.parametrize("kind", list(FOUND))
def test_the_last_dense_layer_is_found_behind_what_changes_nothing(kind, digits):
    model = model_of(*FOUND[kind]())
    linear, _ = logits_model(model.to_json())
    linear.set_weights(model.get_weights())
    head, reason = find_head(linear)
    assert head == Head(2, None if kind == "no bias" else 3, "d")
    assert reason == ""
    assert linear.layers[-1].name == "d"
    x = to_float(digits["private"].x[:4])
    same = tf.nn.softmax(linear(x)).numpy()
    expected = model(x).numpy()
    expected = np.exp(expected) if kind == "log-softmax" else expected
    expected = expected if "softmax" in kind else tf.nn.softmax(expected).numpy()
    np.testing.assert_allclose(same, expected, rtol=1e-5, atol=1e-6)


def test_the_head_of_a_graph_is_no_matter_of_the_order_of_layers(digits):
    image = keras.Input((8, 8, 1))
    flat = layers.Flatten()(image)
    one, other = layers.Dense(6, activation="relu")(flat), layers.Dense(7, activation="relu")(flat)
    model = keras.Model(image, layers.Dense(10, name="d")(layers.Concatenate()([one, other])))
    head, _ = find_head(model)
    kernel, bias = head_of(model.trainable_variables, head)
    assert (tuple(kernel.shape), tuple(bias.shape)) == ((13, 10), (10,))


@pytest.mark.parametrize("kind", list(NONE))
def test_what_needs_a_last_dense_layer_abstains_without_one(kind, public, digits):
    model = model_of(*NONE[kind]())
    linear, _ = logits_model(model.to_json())
    head, reason = find_head(linear)
    assert head is None
    assert linear.layers[-1].name in reason
    statistics = look_at(linear, *public)
    assert (statistics.head, statistics.no_head, statistics.features.shape) == (None, reason, (10, 0))
    assert not statistics.positive
    assert not statistics.sparse


@pytest.mark.parametrize("kind", list(NONE))
def test_a_model_without_a_last_dense_layer_is_mapped_if_the_sign_is_set(kind, settle, digits):
    model = model_of(*NONE[kind]())
    linear, _ = logits_model(model.to_json())
    linear.set_weights(model.get_weights())
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    expected = gradient(linear, x, y)
    leak = leak_of(model, [-0.1 * g for g in expected], before=[w.numpy() for w in model.weights])
    leak.delta.clear()
    trained = dict(zip([id(v) for v in linear.trainable_variables], expected, strict=True))
    leak.delta.update(
        {
            f"arr_{i}": -0.1 * trained.get(id(w), np.zeros(w.shape, np.float32))
            for i, w in enumerate(linear.weights)
        }
    )
    leak.meta.update({"learning_rate": 0.1, "local_steps": 1})
    with pytest.raises(MappingError, match=r"cannot be determined \(the l.*set `sign`"):
        settle([leak])
    found = settle([leak], sign="after_minus_before")
    for one, other in zip(found.gradients, expected, strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-5)
    report = found.report
    assert [report[name]["confidence"] for name in ("optimizer", "noise")] == [0.0, 0.0]
    assert report["scale"]["estimate"] is None
    block = validate_mapping.block_of(found, [0])
    (labels, *_) = prospects(update_of(block, report))
    assert (labels["attack"], labels["expect"]) == ("labels", "none")
    recovered = recover_block("rank1", [Source(block, {})], np.array([0]), None)
    assert "label methods read the last dense layer" in recovered.reasons_of(1)[0]
    assert recovered.arrays(1)["counts"].shape == (1, 10)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ([layers.Dense(10, activation="softmax"), layers.Rescaling(2.0)], "rescaling.* changes the prob"),
        ([layers.Dense(10), layers.Softmax(), layers.BatchNormalization()], None),
        ([layers.Dense(10), layers.Softmax(), layers.LeakyReLU()], "leaky_re_lu.* changes the probabilities"),
        ([layers.Dense(10), layers.Activation("hard_sigmoid")], "ends in hard_sigmoid"),
        ([layers.Dense(10, activation="relu"), layers.Dropout(0.5)], "ends in relu"),
    ],
)
def test_probabilities_are_never_taken_for_logits(last, message):
    model = model_of(layers.Flatten(), *last)
    if message is None:  # a layer with weights makes logits of anything
        assert find_head(logits_model(model.to_json())[0])[0] is None
        return
    with pytest.raises(MappingError, match=message):
        logits_model(model.to_json())


def test_the_mean_of_two_softmaxes_is_refused():
    image = keras.Input((8, 8, 1))
    flat = layers.Flatten()(image)
    both = [layers.Dense(10, activation="softmax")(flat) for _ in range(2)]
    model = keras.Model(image, layers.Average(name="mean")(both))
    with pytest.raises(MappingError, match=r"mean .* changes the probabilities of dense"):
        logits_model(model.to_json())
