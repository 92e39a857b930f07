"""Small updates of 8×8 digits that several tests of span inversion share."""

from types import SimpleNamespace

import numpy as np

from gradleak.attacks.problem import Problem
from gradleak.attacks.span.dense_layer import dense_layers
from gradleak.attacks.span.search_context import search_context
from gradleak.attacks.span.subspace import of_matrix
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float

SHAPE = (8, 8, 1)
SMALL = {"starts": 64, "rounds": 6, "copies": 2}
UNITS = 24


def update_of_four(pools, **options):
    """fcn3, four images: model, gradients, images, labels, rounding, options."""
    options = ClientOptions(dataset="digits-8x8", model="fcn3", batch_size=4, pretrain_epochs=1, **options)
    model = client.global_model(options, pools["pretraining"])
    (draw,) = client.simulate(options, model, pools["private"], [0])
    scale = np.float32(options.learning_rate * options.steps)
    return SimpleNamespace(
        model=model,
        gradients=[-part / scale for part in draw.delta],
        x=to_float(draw.private.x),
        y=draw.private.y,
        rounding=FLOAT32_ROUNDING / float(scale),
        options=options,
    )


def layer_of(model, dtype="float64"):
    """The widest layer behind a nonlinear one."""
    images = np.random.default_rng(0).uniform(0, 1, (8, *model.input_shape[1:]))
    return next(layer for layer in dense_layers(model, dtype) if layer.is_nonlinear(images))


def noise_of(layer, rounding):
    return rounding * np.sqrt(np.mean(layer.weights**2)) * sum(np.sqrt(layer.weights.shape))


def span_of(update):
    """The searched layer of an update, and its subspace."""
    layer = layer_of(update.model)
    return layer, of_matrix(layer.gradient(update.gradients), noise_of(layer, update.rounding))


def problem(update, pools, **more):
    public = to_float(pools["public"].x)
    given = dict(
        model=update.model,
        gradients=[g[None] for g in update.gradients],
        layer=np.arange(len(update.gradients)),
        samples=4,
        seeds=[0],
        counts=None,
        public=public,
        public_labels=pools["public"].y,
        rounding=update.rounding,
    )
    return Problem(**(given | more))


def shallow(pools, update, units=UNITS):
    """The problem of a net with one hidden layer, which receives pixels; its gradient of the four images,
    rounded like ``update``.

    The next layer's features do not determine the image.
    """
    import keras
    import tensorflow as tf
    from keras.layers import Dense, Flatten

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(SHAPE), Flatten(), Dense(units, activation="relu"), Dense(10)])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(update.y, model(update.x), from_logits=True)
        )
    gradients = [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
    return problem(update, pools, model=model, gradients=[g[None] for g in gradients], layer=np.arange(4))


def exact_matrix(layer, x, y):
    """M of these images with noise of a millionth of its norm, and the noise's norm."""
    features = layer.features(x).numpy()
    matrix = features.T @ layer.deltas(features)[np.arange(len(y)), y] / len(y)
    noise = 1e-6 * np.linalg.norm(matrix, 2)
    rng = np.random.default_rng(0)
    return matrix + noise / sum(np.sqrt(matrix.shape)) * rng.normal(size=matrix.shape), noise


def context_of(batch, options):
    inside = np.ones(batch.public.shape[1:], bool)
    return search_context((batch.coarse, batch.layer), batch.public, inside, None, options)


def quiet(text, *values):
    """No progress messages."""


def sparse_members(rng, members=6, inputs=200, outputs=20):
    """Nonnegative features, half of them zero, and the gradient that they make with random δ."""
    features = np.maximum(rng.normal(size=(members, inputs)), 0)
    features[:, -1] = 1  # the bias's row
    return features, features.T @ rng.normal(size=(members, outputs)) / members
