"""The classifiers that simulated clients train. All give logits (B, classes) for examples (B, H, W, C) in
[0, 1], where a vector is (B, 1, D, 1).

Keras is imported inside the builders: the names below are read while the workflow is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


Shape = tuple[int, int, int]


def _sequential(shape: Shape, name: str, layers: list) -> keras.Model:
    import keras

    return keras.Sequential([keras.Input(shape), *layers], name=name)


def cnn7(shape: Shape, classes: int, width: int = 128) -> keras.Model:
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
            Dense(classes),
        ],
    )


def cnn7_dropout(shape: Shape, classes: int) -> keras.Model:
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
            Dense(classes),
        ],
    )


def cnn_pooled(shape: Shape, classes: int) -> keras.Model:
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
            Dense(classes),
        ],
    )


def lenet_sigmoid(shape: Shape, classes: int) -> keras.Model:
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
            Dense(classes),
        ],
    )


def fcn3(shape: Shape, classes: int, width: int = 300) -> keras.Model:
    """784-300-300-10 with ReLU: the net of the published label-recovery tables (Ma et al. 2023)."""
    from keras.layers import Dense, Flatten

    return _sequential(
        shape,
        "fcn3",
        [
            Flatten(),
            Dense(width, activation="relu"),
            Dense(width, activation="relu"),
            Dense(classes),
        ],
    )


def fcn3_published(shape: Shape, classes: int) -> keras.Model:
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
            dense(classes, 300),
        ],
    )


def mcmahan_cnn(shape: Shape, classes: int) -> keras.Model:
    """The CNN of McMahan et al. 2017 (doi:10.48550/arXiv.1602.05629): 1,663,370 parameters on 28×28×1."""
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    return _sequential(
        shape,
        "mcmahan_cnn",
        [
            Conv2D(32, 5, padding="same", activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 5, padding="same", activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dense(512, activation="relu"),
            Dense(classes),
        ],
    )


def mcmahan_2nn(shape: Shape, classes: int, width: int = 200) -> keras.Model:
    """The 2NN of McMahan et al. 2017 (doi:10.48550/arXiv.1602.05629): 199,210 parameters on 28×28×1."""
    from keras.layers import Dense, Flatten

    return _sequential(
        shape,
        "mcmahan_2nn",
        [Flatten(), Dense(width, activation="relu"), Dense(width, activation="relu"), Dense(classes)],
    )


def lenet5(shape: Shape, classes: int) -> keras.Model:
    """LeNet-5 with ReLU and max pooling, as tutorials train it on CIFAR-10: 62,006 parameters on 32×32×3."""
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    return _sequential(
        shape,
        "lenet5",
        [
            Conv2D(6, 5, activation="relu"),
            MaxPooling2D(),
            Conv2D(16, 5, activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dense(120, activation="relu"),
            Dense(84, activation="relu"),
            Dense(classes),
        ],
    )


def vgg11(shape: Shape, classes: int) -> keras.Model:
    """VGG-11 (Simonyan and Zisserman 2015, doi:10.48550/arXiv.1409.1556) with one dense layer, as it is used
    on small images: 9,225,610 parameters on 32×32×3.
    """
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    layers: list = []
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        layers += [Conv2D(filters, 3, padding="same", activation="relu") for filters in stage]
        layers.append(MaxPooling2D(padding="same"))
    return _sequential(shape, "vgg11", [*layers, Flatten(), Dense(classes)])


def resnet20_bn(shape: Shape, classes: int) -> keras.Model:
    """ResNet-20 (He et al. 2016, doi:10.48550/arXiv.1512.03385) with BatchNormalization."""
    from keras.layers import BatchNormalization

    return _resnet20(shape, classes, "resnet20_bn", BatchNormalization)


def resnet20_gn(shape: Shape, classes: int) -> keras.Model:
    """ResNet-20 with GroupNormalization of eight groups, which federated training prefers (Hsieh et al. 2020,
    doi:10.48550/arXiv.1910.00189).
    """
    from keras.layers import GroupNormalization

    return _resnet20(shape, classes, "resnet20_gn", lambda: GroupNormalization(8))


def _resnet20(shape: Shape, classes: int, name: str, normalise: Callable) -> keras.Model:
    """Three stages of three blocks with 16, 32 and 64 filters; a shortcut that changes its size is a 1×1
    convolution.
    """
    import keras
    from keras.layers import Activation, Add, Conv2D, Dense, GlobalAveragePooling2D

    def convolved(x, filters: int, size: int, strides: int):
        return normalise()(Conv2D(filters, size, strides, padding="same", use_bias=False)(x))

    image = keras.Input(shape)
    x = Activation("relu")(convolved(image, 16, 3, 1))
    for filters in (16, 32, 64):
        for block in range(3):
            strides = 2 if filters > 16 and block == 0 else 1
            y = Activation("relu")(convolved(x, filters, 3, strides))
            shortcut = convolved(x, filters, 1, strides) if strides > 1 else x
            x = Activation("relu")(Add()([convolved(y, filters, 3, 1), shortcut]))
    return keras.Model(image, Dense(classes)(GlobalAveragePooling2D()(x)), name=name)


MODELS = {
    "cnn7": cnn7,
    "cnn7_dropout": cnn7_dropout,
    "cnn_pooled": cnn_pooled,
    "lenet_sigmoid": lenet_sigmoid,
    "fcn3": fcn3,
    "fcn3_published": fcn3_published,
    "mcmahan_cnn": mcmahan_cnn,
    "mcmahan_2nn": mcmahan_2nn,
    "lenet5": lenet5,
    "vgg11": vgg11,
    "resnet20_bn": resnet20_bn,
    "resnet20_gn": resnet20_gn,
}
WITH_WIDTH = tuple(name for name, builder in MODELS.items() if "width" in signature(builder).parameters)


def build(name: str, shape: Shape, classes: int, seed: int, width: int | None = None) -> keras.Model:
    """The model ``name`` with starting weights that depend on ``seed`` alone.

    width: units of its hidden dense layers, of a model in WITH_WIDTH; None: the model's own.
    """
    import keras

    keras.utils.set_random_seed(seed)
    return MODELS[name](tuple(shape), classes, **({} if width is None else {"width": width}))
