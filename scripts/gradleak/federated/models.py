"""The classifiers that simulated clients train. All give logits (B, 10) for images (B, H, W, C) in [0, 1].

Keras is imported inside the builders: the names below are read while the workflow is parsed.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING

from gradleak.federated.datasets import CLASSES

if TYPE_CHECKING:
    import keras


def _sequential(shape: tuple[int, int, int], name: str, layers: list) -> keras.Model:
    import keras

    return keras.Sequential([keras.Input(shape), *layers], name=name)


def cnn7(shape: tuple[int, int, int], width: int = 128) -> keras.Model:
    """Seven Keras layers, 225,034 parameters on 28×28×1: the first reading of "a 7-layer CNN"."""
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    return _sequential(
        shape,
        "cnn7",
        [
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dense(width, activation="relu"),
            Dense(CLASSES),
        ],
    )


def cnn7_dropout(shape: tuple[int, int, int]) -> keras.Model:
    """The other reading: Dropout in place of the hidden dense layer, 34,826 parameters on 28×28×1."""
    from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D

    return _sequential(
        shape,
        "cnn7_dropout",
        [
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dropout(0.5),
            Dense(CLASSES),
        ],
    )


def cnn_pooled(shape: tuple[int, int, int]) -> keras.Model:
    """``cnn7`` with its features averaged over the image, as in most nets since Lin et al. 2014: its
    first dense layer has 64 inputs.
    """
    from keras.layers import Conv2D, Dense, GlobalAveragePooling2D, MaxPooling2D

    return _sequential(
        shape,
        "cnn_pooled",
        [
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, activation="relu"),
            GlobalAveragePooling2D(),
            Dense(128, activation="relu"),
            Dense(CLASSES),
        ],
    )


def lenet_sigmoid(shape: tuple[int, int, int]) -> keras.Model:
    """The strided sigmoid LeNet that DLG was published with (Zhu et al. 2019), twice differentiable
    everywhere.
    """
    from keras.layers import Conv2D, Dense, Flatten

    kwargs = {"padding": "same", "activation": "sigmoid"}
    return _sequential(
        shape,
        "lenet_sigmoid",
        [
            Conv2D(12, 5, strides=2, **kwargs),
            Conv2D(12, 5, strides=2, **kwargs),
            Conv2D(12, 5, **kwargs),
            Flatten(),
            Dense(CLASSES),
        ],
    )


def fcn3(shape: tuple[int, int, int], width: int = 300) -> keras.Model:
    """784-300-300-10 with ReLU: the net of the published label-recovery tables (Ma et al. 2023)."""
    from keras.layers import Dense, Flatten

    return _sequential(
        shape,
        "fcn3",
        [
            Flatten(),
            Dense(width, activation="relu"),
            Dense(width, activation="relu"),
            Dense(CLASSES),
        ],
    )


def fcn3_published(shape: tuple[int, int, int]) -> keras.Model:
    """``fcn3`` as those tables have it: pixels normalised by (.1307, .3081), weights and biases
    ±1/√fan_in.
    """
    from keras.initializers import RandomUniform
    from keras.layers import Dense, Flatten, Rescaling

    def dense(units: int, inputs: int, **more) -> keras.layers.Layer:
        limit = inputs**-0.5
        start = {
            "kernel_initializer": RandomUniform(-limit, limit),
            "bias_initializer": RandomUniform(-limit, limit),
        }
        return Dense(units, **start, **more)

    pixels = shape[0] * shape[1] * shape[2]
    return _sequential(
        shape,
        "fcn3_published",
        [
            Rescaling(1 / 0.3081, -0.1307 / 0.3081),
            Flatten(),
            dense(300, pixels, activation="relu"),
            dense(300, 300, activation="relu"),
            dense(CLASSES, 300),
        ],
    )


MODELS = {
    "cnn7": cnn7,
    "cnn7_dropout": cnn7_dropout,
    "cnn_pooled": cnn_pooled,
    "lenet_sigmoid": lenet_sigmoid,
    "fcn3": fcn3,
    "fcn3_published": fcn3_published,
}
WITH_WIDTH = tuple(name for name, builder in MODELS.items() if "width" in signature(builder).parameters)


def build(name: str, shape: tuple[int, int, int], seed: int, width: int | None = None) -> keras.Model:
    """The model ``name`` with starting weights that depend on ``seed`` alone.

    width: units of its hidden dense layers, of a model in WITH_WIDTH; None: the model's own.
    """
    import keras

    keras.utils.set_random_seed(seed)
    return MODELS[name](tuple(shape), **({} if width is None else {"width": width}))
