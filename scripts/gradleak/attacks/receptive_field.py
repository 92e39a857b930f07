"""Pixels that a classifier's units do not look at: no gradient says anything of them.

Pooling drops the last row and column of an odd map, and the convolutions before it then need less of the image: of
28 × 28 pixels ``cnn7`` sees 26 × 26. What is not seen can only be guessed from what is, with the help of public images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

_IMAGES = 2000  # public images that the guess is learnt from, at most
_TREES = {"n_estimators": 100, "max_features": 0.3, "random_state": 0, "n_jobs": 1}


def mask(model: keras.Model) -> np.ndarray:
    """bool [H, W, C]: True where the logits of ``model`` do not depend on the pixel, whatever the weights.

    Read off a linear net of the same connections, with positive kernels, where the derivative is zero for such pixels
    and for no others. ``model`` is Sequential or Functional, built of Keras's own layers.
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
    """A layer with the same connections as ``layer`` that neither chooses nor bends."""
    from keras import layers

    averages = {
        layers.MaxPooling2D: layers.AveragePooling2D,
        layers.GlobalMaxPooling2D: layers.GlobalAveragePooling2D,
    }
    if type(layer).__module__.startswith("keras.src.layers.activations"):
        return layers.Identity(name=layer.name)
    config = layer.get_config()
    if "activation" in config:
        config["activation"] = "linear"
    return averages.get(type(layer), type(layer)).from_config(config)


def fill(images: np.ndarray, mask: np.ndarray, public: np.ndarray) -> np.ndarray:
    """``images`` [..., H, W, C] in [0, 1] with the pixels under ``mask`` [H, W, C] guessed from the others.

    By randomised trees (Geurts et al. 2006) grown on ``public`` [P, H, W, C], and their mean where nothing is seen. The
    rest is left as it is. Trees, since what lies at the border is no linear function of the rest: a digit of MNIST is 20
    pixels long, so that where it begins says where it ends.
    """
    hidden, flat = mask.ravel(), images.reshape(-1, *mask.shape)
    if not hidden.any() or not len(flat):
        return images
    from sklearn.ensemble import ExtraTreesRegressor  # a second that a model which sees all does without

    known = public[:_IMAGES].astype(np.float64)
    wanted = known.reshape(len(known), -1)[:, hidden]
    if hidden.all():
        guess = wanted.mean(axis=0)
    else:
        trees = ExtraTreesRegressor(**_TREES).fit(_seen(known, mask), wanted)
        guess = trees.predict(_seen(flat, mask)).reshape(len(flat), -1)  # one column comes back flat
    filled = flat.reshape(len(flat), -1).copy()
    filled[:, hidden] = np.clip(guess, 0, 1)
    return filled.reshape(images.shape)


def _seen(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the guess is made from [B, F]: the pixels that are seen, and the brightest of each row and column."""
    shown = np.where(mask, 0.0, images)
    return np.concatenate(
        [images.reshape(len(images), -1)[:, ~mask.ravel()], shown.max(axis=(2, 3)), shown.max(axis=(1, 3))],
        axis=1,
    )
