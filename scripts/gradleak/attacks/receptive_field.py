"""Pixels outside the receptive field of a classifier's units: its gradients do not depend on them.

Pooling drops the last row and column of an odd map, and the convolutions before it then read less of the
image: of 28 × 28 pixels ``cnn7`` reads 26 × 26. The others are predicted from these, with public images as
training data; without any, each is given the value of the nearest pixel inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

_TRAINING_IMAGES = 2000  # public images that the prediction is learnt from, at most
_TREES = {"n_estimators": 100, "max_features": 0.3, "random_state": 0, "n_jobs": 1}
_COMPONENTS = (
    8  # of the outside pixels, by which the trees split; splits by all pixels take 4 to 7 times as long
)


def mask(model: keras.Model) -> np.ndarray:
    """bool [H, W, C]: True where the logits of ``model`` do not depend on the pixel, whatever the weights.

    Computed on a linear net of the same connections with positive kernels, where the derivative is zero for
    such pixels and for no others. ``model`` is Sequential or Functional, built of Keras's own layers.
    """
    import keras
    import tensorflow as tf

    connections = keras.models.clone_model(model, clone_function=_linear, recursive=True)
    for variable in connections.trainable_variables:
        inputs = np.prod(variable.shape[:-1])  # so that no net is too deep or too wide for float32
        variable.assign(tf.fill(variable.shape, 1 / max(float(inputs), 1.0)))
    image = tf.ones([1, *model.input_shape[1:]])
    with tf.GradientTape() as tape:
        tape.watch(image)
        logits = connections(image, training=False)
    derivative = tape.gradient(logits, image)
    return np.ones(image.shape[1:], bool) if derivative is None else derivative.numpy()[0] == 0


def _linear(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A linear layer with the same connections as ``layer``: averages for maxima, no activation, and for the
    normalisation of an example by its own statistics the values plus their mean.
    """
    from keras import layers

    averages = {
        layers.MaxPooling1D: layers.AveragePooling1D,
        layers.MaxPooling2D: layers.AveragePooling2D,
        layers.GlobalMaxPooling1D: layers.GlobalAveragePooling1D,
        layers.GlobalMaxPooling2D: layers.GlobalAveragePooling2D,
        layers.Maximum: layers.Average,
        layers.Subtract: layers.Add,
    }
    if type(layer).__module__.startswith("keras.src.layers.activations"):
        return layers.Identity(name=layer.name)
    config = layer.get_config()
    if isinstance(layer, layers.LayerNormalization | layers.GroupNormalization):
        axes = config["axis"] if isinstance(layer, layers.LayerNormalization) else None
        return _plus_mean(axes, layer.name)
    if "activation" in config:
        config["activation"] = "linear"
    return averages.get(type(layer), type(layer)).from_config(config)


def _plus_mean(axes: int | list[int] | None, name: str) -> keras.layers.Layer:
    """The layer x + mean of x over ``axes``; None: over all but the first, as a bound on what groups read."""
    import keras

    class PlusMean(keras.layers.Layer):
        def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
            over = tuple(range(1, len(x.shape))) if axes is None else axes
            return x + keras.ops.mean(x, axis=over, keepdims=True)

    return PlusMean(name=name)


def fill(images: np.ndarray, outside: np.ndarray, public: np.ndarray) -> np.ndarray:
    """``images`` [..., H, W, C] in [0, 1] with the pixels ``outside`` the receptive field predicted from the
    others.

    outside: bool [H, W, C]. By randomised trees (Geurts et al. 2006) trained on ``public`` [P, H, W, C]; by
    the mean of these if all pixels are outside; without any (P = 0) by the nearest pixel inside. Pixels
    inside stay as they are. Trees, because pixels at the border are no linear function of the others: a digit
    of MNIST is 20 pixels long, so that its first row determines its last. The trees split by the principal
    components of the outside pixels, and a leaf predicts the mean of these pixels.
    """
    flat_outside, flat = outside.ravel(), images.reshape(-1, *outside.shape)
    if not flat_outside.any() or not len(flat):
        return images
    if not len(public):
        return _nearest(flat, outside).reshape(images.shape)
    training = public[:_TRAINING_IMAGES].astype(np.float64)
    targets = training.reshape(len(training), -1)[:, flat_outside]
    if flat_outside.all():
        predicted = targets.mean(axis=0)
    else:
        predicted = _predicted(_inputs(training, outside), targets, _inputs(flat, outside))
    filled = flat.reshape(len(flat), -1).copy()
    filled[:, flat_outside] = np.clip(predicted, 0, 1)
    return filled.reshape(images.shape)


def _predicted(training: np.ndarray, targets: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """[B, D] for ``inputs`` [B, F], from ``training`` [P, F] and its ``targets`` [P, D]."""
    from sklearn.ensemble import (
        ExtraTreesRegressor,
    )  # takes a second to import, and most models need no trees

    centred = targets - targets.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    components = centred @ directions[:_COMPONENTS].T
    forest = ExtraTreesRegressor(**_TREES).fit(training, components.squeeze())
    predicted = np.zeros([len(inputs), targets.shape[1]])
    for of_training, of_inputs in zip(forest.apply(training).T, forest.apply(inputs).T, strict=True):
        leaves, place, size = np.unique(of_training, return_inverse=True, return_counts=True)
        sums = np.zeros([len(leaves), targets.shape[1]])
        np.add.at(sums, place, targets)
        predicted += (sums / size[:, None])[np.searchsorted(leaves, of_inputs)]
    return predicted / len(forest.estimators_)


def _nearest(images: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """``images`` [B, H, W, C] with the nearest inside pixel of the same channel in each pixel ``outside``."""
    from scipy.ndimage import distance_transform_edt  # takes time to import, and most models need none

    filled = images.copy()
    for channel in range(outside.shape[2]):
        own = outside[..., channel]
        if own.any() and not own.all():
            rows, columns = distance_transform_edt(own, return_distances=False, return_indices=True)
            filled[..., channel] = images[:, rows, columns, channel]
    return filled


def _inputs(images: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Inputs of the prediction [B, F]: the pixels inside the receptive field, and the maximum of each row and
    column."""
    inside = np.where(outside, 0.0, images)
    return np.concatenate(
        [
            images.reshape(len(images), -1)[:, ~outside.ravel()],
            inside.max(axis=(2, 3)),
            inside.max(axis=(1, 3)),
        ],
        axis=1,
    )
