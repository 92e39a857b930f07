"""Models of every layer kind for the tests of the engine, and plain autodiff to compare with."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gradleak.gradients.matcher import build_matcher
from gradleak.gradients.objectives import LOSSES, objective

TRIALS, IMAGES, CLASSES = 3, 2, 4


def sequential(*stack, size=10, channels=2):
    return keras.Sequential(
        [keras.Input((size, size, channels)), *stack, layers.Flatten(), layers.Dense(CLASSES)]
    )


def residual():
    entry = keras.Input((10, 10, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(entry)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.Activation("relu")(layers.Add()([x, y]))
    x = layers.Concatenate()([x, layers.AveragePooling2D(1)(y)])
    return keras.Model(entry, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def multiplied(layer):
    entry = keras.Input((6, 6, 2))
    parts = [layers.Conv2D(3, 3, activation="tanh")(entry), layers.Conv2D(3, 3)(entry)]
    return keras.Model(entry, layers.Dense(CLASSES)(layers.Flatten()(layer(parts))))


def nested():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(2, 3, activation="tanh"), layers.MaxPooling2D()]
    )
    return sequential(layers.Conv2D(3, 3, activation="relu"), inner)


@keras.saving.register_keras_serializable("gradleak-tests")
class BatchCentred(layers.Layer):
    """Mixes the images of a batch: wrong as soon as trials are folded."""

    def call(self, inputs):
        return inputs - tf.reduce_mean(inputs, axis=0, keepdims=True)


def shared_layer():
    entry = keras.Input((6, 6, 2))
    conv = layers.Conv2D(2, 3, padding="same", activation="tanh")
    return keras.Model(entry, layers.Dense(CLASSES)(layers.Flatten()(conv(conv(entry)))))


def looked_at_twice():
    """One map, of which pooling sees 8 x 8 of 9 x 9, a convolution all and another, strided, 7 x 7."""
    entry = keras.Input((11, 11, 2))
    maps = layers.Conv2D(5, 3, activation="tanh")(entry)
    heads = [
        layers.MaxPooling2D(2)(maps),
        layers.Conv2D(3, 2, strides=3, activation="relu")(maps),
        layers.MaxPooling2D(3)(layers.Conv2D(3, 1)(maps)),
    ]
    return keras.Model(
        entry, layers.Dense(CLASSES)(layers.Concatenate()([layers.Flatten()(h) for h in heads]))
    )


def cnn7():
    return sequential(
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        size=28,
        channels=1,
    )


TRACED = {
    "cnn7": cnn7,
    "dense": lambda: sequential(
        layers.Flatten(), layers.Dense(40, activation="relu"), layers.Dense(30, "sigmoid")
    ),
    "dense without bias": lambda: sequential(
        layers.Flatten(), layers.Dense(30, use_bias=False), layers.ReLU()
    ),
    "dense on maps": lambda: sequential(layers.Dense(5, activation="tanh")),
    "conv": lambda: sequential(
        layers.Conv2D(6, 3, activation="relu"), layers.Conv2D(40, (2, 3), use_bias=False)
    ),
    "conv same, odd stride": lambda: sequential(
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")
    ),
    "conv same, even kernel": lambda: sequential(layers.Conv2D(4, (4, 2), strides=(3, 2), padding="same")),
    "conv dilated": lambda: sequential(
        layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same", activation="elu")
    ),
    "conv strided, valid": lambda: sequential(layers.Conv2D(4, 3, strides=2, activation="gelu"), size=12),
    "depthwise": lambda: sequential(
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")
    ),
    "depthwise strided": lambda: sequential(layers.DepthwiseConv2D(3, strides=2, use_bias=False)),
    "batch norm": lambda: sequential(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()),
    "batch norm, bare": lambda: sequential(layers.BatchNormalization(scale=False), layers.Conv2D(3, 3)),
    "max pooling": lambda: sequential(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()),
    "max pooling, odd": lambda: sequential(layers.Conv2D(4, 2, activation="relu"), layers.MaxPooling2D()),
    "max pooling, leaky": lambda: sequential(layers.Conv2D(4, 3), layers.LeakyReLU(), layers.MaxPooling2D(2)),
    "max pooling, overlapping": lambda: sequential(layers.Conv2D(4, 3), layers.MaxPooling2D(3, strides=2)),
    "max pooling, same": lambda: sequential(layers.Conv2D(4, 2), layers.MaxPooling2D(2, padding="same")),
    "average pooling": lambda: sequential(
        layers.Conv2D(4, 3), layers.AveragePooling2D(3, strides=2), layers.ReLU()
    ),
    "global max": lambda: sequential(layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()),
    "multiplied": lambda: multiplied(layers.Multiply()),
    "subtracted": lambda: multiplied(layers.Subtract()),
    "maximum": lambda: multiplied(layers.Maximum()),
    "shapes": lambda: sequential(
        layers.ZeroPadding2D(1),
        layers.Conv2D(4, 3),
        layers.Dropout(0.5),
        layers.Reshape((20, 20, 1)),
        layers.ReLU(),
    ),
    "pooling leaves over twice": lambda: sequential(
        layers.Conv2D(6, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(7, (2, 3), dilation_rate=(2, 1), activation="gelu"),
        layers.MaxPooling2D(3),
        size=17,
    ),
    "looked at twice": looked_at_twice,
    "residual": residual,
    "nested": nested,
    "frozen layer": lambda: sequential(
        layers.Conv2D(4, 3, trainable=False), layers.Conv2D(4, 3, activation="relu")
    ),
}
PART_BY_PART = {
    "grouped conv": lambda: sequential(layers.Conv2D(4, 3, groups=2, activation="relu")),
    "conv of signals": lambda: sequential(
        layers.Reshape((20, 10)), layers.Conv1D(4, 3, strides=2, activation="relu"), layers.MaxPooling1D()
    ),
    "layer norm": lambda: sequential(layers.Conv2D(4, 3, activation="relu"), layers.LayerNormalization()),
}
BLACK_BOX = {
    "unknown layer": lambda: sequential(layers.Conv2D(3, 3, activation="relu"), BatchCentred()),
    "shared layer": shared_layer,
}
MODELS = TRACED | PART_BY_PART | BLACK_BOX


def built(name):
    """The model with weights, biases and statistics that are all different from their defaults."""
    keras.utils.set_random_seed(7)
    model = MODELS[name]()
    rng = np.random.default_rng(7)
    for variable in model.variables:
        if variable.dtype == "float32":
            noise = rng.normal(0, 0.1, variable.shape)
            variable.assign_add(np.abs(noise) if "variance" in variable.path else noise)
    return model


def problem(model, trials=TRIALS, images=IMAGES, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((trials, images, *model.input_shape[1:]), np.float32)
    labels = rng.dirichlet(np.ones(CLASSES), (trials, images)).astype(np.float32)
    scales = [np.abs(v.numpy()).mean() * 0.05 + 1e-3 for v in model.trainable_variables]
    targets = [
        rng.normal(0, scale, (trials, *v.shape)).astype(np.float32)
        for scale, v in zip(scales, model.trainable_variables)
    ]
    weights = rng.uniform(0, 2, (trials, len(targets))).astype(np.float32)
    return x, labels, targets, weights


def engine(model, x, labels, targets, weights, losses=tuple(LOSSES)):
    """Per loss: the objective [T] and its gradients in x and labels."""
    matcher = build_matcher(model)

    @tf.function(autograph=False)
    def run(x, labels, targets):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, labels])
            products = matcher.products(x, labels, targets)
            values = {loss: objective(products, weights, loss) for loss in losses}
        return {loss: [value, *tape.gradient(value, [x, labels])] for loss, value in values.items()}

    found = run(tf.constant(x), tf.constant(labels), tf.nest.map_structure(tf.convert_to_tensor, targets))
    return {loss: [part.numpy() for part in parts] for loss, parts in found.items()}


def plain_losses(gradients, targets, weights):
    """All four losses of one trial by their definitions, in float64 from here on."""
    g, G = ([tf.reshape(tf.cast(v, tf.float64), [-1]) for v in tensors] for tensors in (gradients, targets))
    w = [float(weight) for weight in weights]

    def dot(a, b):
        return tf.reduce_sum(a * b)

    squares = [wl * dot(a - b, a - b) for wl, a, b in zip(w, g, G)]
    cosines = [dot(a, b) / tf.sqrt(dot(a, a) * dot(b, b)) for a, b in zip(g, G)]
    inner, own, other = (
        sum(wl * dot(*pair) for wl, pair in zip(w, pairs)) for pairs in (zip(g, G), zip(g, g), zip(G, G))
    )
    return {
        "l2": sum(squares),
        "l2_global": sum(squares) / other,
        "cosine": sum(wl * (1 - c) for wl, c in zip(w, cosines)) / sum(w),
        "cosine_global": 1 - inner / tf.sqrt(own * other),
    }


def plain(model, x, labels, targets, weights, chosen=tuple(LOSSES)):
    """The same as ``engine`` for one trial, per loss: double backprop through the model itself."""
    x, labels = tf.constant(x), tf.constant(labels)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([x, labels])
        with tf.GradientTape() as inner:
            logits = model(x, training=False)
            # Not tf.nn.softmax_cross_entropy_with_logits: its second derivative in the labels is wrong.
            entropy = tf.reduce_logsumexp(logits, axis=1) - tf.reduce_sum(labels * logits, axis=1)
            mean = tf.reduce_mean(entropy)
        losses = plain_losses(inner.gradient(mean, model.trainable_variables), targets, weights)
    return {loss: [losses[loss].numpy(), *outer.gradient(losses[loss], [x, labels])] for loss in chosen}


def assert_close(found, wanted, tolerance):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)


def assert_equal_derivatives(found, expected):
    """Objective, gradient in x, gradient in labels: within the rounding of float32 second derivatives."""
    for got, wanted, tolerance in zip(found, expected, [1e-5, 1e-4, 1e-4], strict=True):
        assert_close(got, wanted, tolerance)
