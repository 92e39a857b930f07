"""Updates of nets that other people's tutorials train, made by Keras and NumPy alone.

Nothing here knows this project. ``python nets_of_others.py FOLDER`` writes a folder for each net: model.json,
weights_before.npz, delta.npz and meta.json as a tutorial would save them, and truth.npz with the client's
examples, labels and gradient.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers as k

N, RATE = 2, 0.1
SOFTMAX, SIGMOID = "categorical_crossentropy", "binary_crossentropy"


def stack(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


def conv(filters, size=3, **options):
    return k.Conv2D(filters, size, **{"activation": "relu", "padding": "same"} | options)


def residual(norm, classes=10):
    """Two blocks of a ResNet for images of 32×32."""
    image = keras.Input((32, 32, 3))
    x = k.ReLU()(norm()(conv(16, activation=None, use_bias=False)(image)))
    for filters, stride in ((16, 1), (32, 2)):
        y = k.ReLU()(norm()(conv(filters, strides=stride, activation=None, use_bias=False)(x)))
        y = norm()(conv(filters, activation=None, use_bias=False)(y))
        short = x if stride == 1 else k.Conv2D(filters, 1, strides=stride, use_bias=False)(x)
        x = k.ReLU()(k.Add()([y, short]))
    return keras.Model(image, k.Dense(classes)(k.GlobalAveragePooling2D()(x)))


def two_branches():
    row = keras.Input((20,))
    wide, deep = k.Dense(8)(row), k.Dense(16, activation="relu")(k.Dense(32, activation="relu")(row))
    return keras.Model(row, k.Dense(3, activation="softmax")(k.Concatenate()([wide, deep])))


def two_inputs():
    one, other = keras.Input((9,)), keras.Input((9,))
    return keras.Model([one, other], k.Dense(2)(k.Add()([one, other])))


NETS = {
    # Federated learning
    "tff_softmax_regression": lambda: stack((784,), k.Dense(10, kernel_initializer="zeros"), k.Softmax()),
    "mcmahan_2nn": lambda: stack(
        (28, 28), k.Flatten(), k.Dense(200, "relu"), k.Dense(200, "relu"), k.Dense(10, "softmax")
    ),
    "mcmahan_cnn": lambda: stack(
        (28, 28, 1),
        *(conv(32, 5), k.MaxPooling2D(), conv(64, 5), k.MaxPooling2D()),
        *(k.Flatten(), k.Dense(512, "relu"), k.Dense(10, "softmax")),
    ),
    "flower_quickstart": lambda: stack(
        (32, 32, 3),
        *(conv(32, padding="valid"), k.MaxPooling2D(), conv(64, padding="valid"), k.MaxPooling2D()),
        *(k.Flatten(), k.Dropout(0.5), k.Dense(10, "softmax")),
    ),
    "femnist_62": lambda: stack(
        (28, 28, 1),
        *(conv(16), k.MaxPooling2D(), conv(32), k.MaxPooling2D()),
        *(k.Dropout(0.25), k.Flatten(), k.Dense(128, "relu"), k.Dropout(0.5), k.Dense(62, "softmax")),
    ),
    # Images
    "rgb_64x48_5": lambda: stack(
        (64, 48, 3),
        *(conv(16, strides=2), k.MaxPooling2D(), conv(32), k.MaxPooling2D()),
        *(k.Flatten(), k.Dense(64, "relu"), k.Dense(5)),
    ),
    "classes_100": lambda: stack(
        (32, 32, 3), conv(32, strides=2), conv(32, strides=2), k.Flatten(), k.Dense(128, "relu"), k.Dense(100)
    ),
    "lenet_tanh": lambda: stack(
        (28, 28, 1),
        *(conv(6, 5, activation="tanh"), k.AveragePooling2D(2)),
        *(conv(16, 5, activation="tanh", padding="valid"), k.AveragePooling2D(2)),
        *(k.Flatten(), k.Dense(120, "tanh"), k.Dense(84, "tanh"), k.Dense(10, "softmax")),
    ),
    "vgg_pooled": lambda: stack(
        (32, 32, 3),
        *(conv(16), conv(16), k.MaxPooling2D(), conv(32), conv(32), k.GlobalAveragePooling2D(), k.Dense(10)),
    ),
    "separable": lambda: stack(
        (32, 32, 3),
        *(conv(16, strides=2), k.DepthwiseConv2D(3, padding="same"), k.BatchNormalization(), k.ReLU(6.0)),
        *(conv(32, 1), k.GlobalAveragePooling2D(), k.Dense(10, "softmax")),
    ),
    "resnet_batch_norm": lambda: residual(k.BatchNormalization),
    "resnet_group_norm": lambda: residual(lambda: k.GroupNormalization(8)),
    "cat_or_dog": lambda: stack(
        (32, 32, 3), conv(16), k.MaxPooling2D(), k.Flatten(), k.Dense(64, "relu"), k.Dense(1, "sigmoid")
    ),
    "tags": lambda: stack(
        (32, 32, 3), conv(16), k.MaxPooling2D(), k.Flatten(), k.Dense(64, "relu"), k.Dense(6, "sigmoid")
    ),
    "grey_rows": lambda: stack((8, 8), k.Flatten(), k.Dense(50, "relu"), k.Dense(10)),
    # Tables
    "adult_14": lambda: stack((14,), k.Dense(64, "relu"), k.Dense(32, "relu"), k.Dense(2, "softmax")),
    "columns_100": lambda: stack((100,), k.Dense(256, "relu"), k.Dropout(0.2), k.Dense(4, "softmax")),
    "logistic_regression": lambda: stack((30,), k.Dense(1, "sigmoid")),
    "wide_and_deep": two_branches,
    "normalised_rows": lambda: stack(
        (30,), k.Dense(64), k.LayerNormalization(), k.LeakyReLU(), k.Dense(64, "gelu"), k.Dense(3)
    ),
    # Signals
    "activity_1d": lambda: stack(
        (128, 3),
        *(k.Conv1D(32, 5, activation="relu"), k.MaxPooling1D(), k.Conv1D(32, 5, activation="relu")),
        *(k.Flatten(), k.Dense(64, "relu"), k.Dense(6, "softmax")),
    ),
    "keywords_1d": lambda: stack(
        (400, 1),
        *(k.Conv1D(16, 9, strides=4, activation="relu"), k.Conv1D(16, 9, strides=4, activation="relu")),
        *(k.GlobalAveragePooling1D(), k.Dense(12)),
    ),
    # No attack of the project applies to these
    "text": lambda: stack((12,), k.Embedding(100, 8), k.GlobalAveragePooling1D(), k.Dense(2)),
    "sequence": lambda: stack((12, 3), k.LSTM(8), k.Dense(2)),
    "two_inputs": two_inputs,
}
LOSSES = {"cat_or_dog": SIGMOID, "tags": SIGMOID, "logistic_regression": SIGMOID}


def smooth(rng, count, shape):
    """Examples in [0, 1] with a few bright blobs, which are sharper than noise and as smooth as things."""
    axes = [np.linspace(0, 1, size) for size in shape[:-1]] if len(shape) > 1 else []
    if not axes:
        return rng.uniform(0, 1, (count, *shape)).round(2)
    places = np.meshgrid(*axes, indexing="ij")
    x = np.zeros((count, *shape))
    for one in x:
        for channel in range(shape[-1]):
            for _ in range(4):
                middle, size = rng.uniform(0, 1, len(axes)), rng.uniform(0.05, 0.3)
                apart = sum((p - m) ** 2 for p, m in zip(places, middle, strict=True))
                one[..., channel] += rng.uniform(0.3, 1) * np.exp(-apart / (2 * size**2))
    return np.clip(x, 0, 1)


def batch(name, rng, shape, outputs):
    """(x, y) of the client. Labels are classes; of several sigmoids one 0 or 1 each."""
    grey = shape if len(shape) != 2 or shape[1] == 3 or shape[1] == 1 else (*shape, 1)
    x = smooth(rng, N, grey).reshape(N, *shape).astype(np.float32)
    if name == "text":
        return rng.integers(0, 100, (N, *shape)), np.array([0, 1])
    if name == "tags":
        return x, rng.integers(0, 2, (N, outputs))
    return x, rng.permutation(max(outputs, 2))[:N]


def gradient_of(model, x, y, loss):
    """The gradient of the mean loss on one batch, at inference (no dropout, moving statistics)."""
    outputs = model.output_shape[-1]
    last = getattr(model.layers[-1], "activation", None)
    is_linear = last is keras.activations.linear and not isinstance(model.layers[-1], k.Softmax)
    if loss == SIGMOID:
        function, y = keras.losses.BinaryCrossentropy(from_logits=is_linear), np.reshape(y, (N, outputs))
    else:
        function = keras.losses.SparseCategoricalCrossentropy(from_logits=is_linear)
    with tf.GradientTape() as tape:
        value = function(y, model(x, training=False))
    return [g.numpy() for g in map(tf.convert_to_tensor, tape.gradient(value, model.trainable_variables))]


def write(folder, name, number):
    keras.utils.set_random_seed(number)
    rng = np.random.default_rng(number)
    model = NETS[name]()
    folder.mkdir(parents=True)
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    x, y = batch(name, rng, shapes[0][1:], model.output_shape[-1])
    loss = LOSSES.get(name, SOFTMAX)
    gradient = gradient_of(model, x if len(shapes) == 1 else [x, x], y, loss)
    (folder / "model.json").write_text(model.to_json())
    np.savez(folder / "weights_before.npz", *model.get_weights())
    np.savez(folder / "delta.npz", *[np.float32(-RATE) * g for g in gradient])
    meta = {"samples": N, "learning_rate": RATE, "local_steps": 1, "optimizer": "sgd", "loss": loss}
    (folder / "meta.json").write_text(json.dumps(meta | {"sign": "after_minus_before"}))
    np.savez(
        folder / "truth.npz", x=x, y=y, **{f"gradient_{index}": part for index, part in enumerate(gradient)}
    )


if __name__ == "__main__":
    for number, name in enumerate(NETS):
        write(Path(sys.argv[1]) / name, name, number)
