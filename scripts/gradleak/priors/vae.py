"""The VAE prior: networks, training, held-out ELBO (Kingma and Welling 2014, doi:10.48550/arXiv.1312.6114).

Loss = −ELBO per image in nats: Bernoulli cross-entropy summed over pixels plus KL summed over latents. Both
terms are sums, so their balance does not depend on the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gradleak.datasets.builtin import BUILTIN
from gradleak.priors.options import VaeOptions


class OtherShape(ValueError):
    """A prior draws images of another shape than is asked for."""


@dataclass(frozen=True)
class Trained:
    """encoder: x → (mean, log variance). decoder: z → image. history: one row for each epoch, see
    ``_row``.
    """

    encoder: keras.Model
    decoder: keras.Model
    history: list[dict[str, float]]
    held_out: np.ndarray  # float32 [H, h, w, c], images that were never trained on


def build(options: VaeOptions, shape: tuple[int, int, int]) -> tuple[keras.Model, keras.Model]:
    """(encoder, decoder) with starting weights that depend on ``options.seed`` alone."""
    keras.utils.set_random_seed(options.seed)
    height, width, channels = shape
    image, code = keras.Input(shape), keras.Input((options.latent_dim,))
    if options.architecture == "notebook":
        x = layers.Flatten()(layers.Conv2D(16, 3, activation="relu", padding="same")(image))
        y = layers.Dense(height * width * 16, activation="relu")(code)
        y = layers.Reshape((height, width, 16))(y)
    else:
        if height % 4 or width % 4:
            raise ValueError(f"architecture conv needs sides divisible by 4, not {height}×{width}")
        x = layers.Conv2D(16, 4, strides=2, activation="relu", padding="same")(image)
        x = layers.Conv2D(32, 4, strides=2, activation="relu", padding="same")(x)
        x = layers.Dense(256, activation="relu")(layers.Flatten()(x))
        y = layers.Dense(256, activation="relu")(code)
        y = layers.Dense(height // 4 * (width // 4) * 32, activation="relu")(y)
        y = layers.Reshape((height // 4, width // 4, 32))(y)
        y = layers.Conv2DTranspose(32, 4, strides=2, activation="relu", padding="same")(y)
        y = layers.Conv2DTranspose(16, 4, strides=2, activation="relu", padding="same")(y)
    y = layers.Conv2D(channels, 3, padding="same", activation="sigmoid")(y)
    statistics = [layers.Dense(options.latent_dim)(x), layers.Dense(options.latent_dim)(x)]
    return keras.Model(image, statistics, name="encoder"), keras.Model(code, y, name="decoder")


def negative_elbo(x, decoded, mean, log_variance) -> tuple:
    """(reconstruction [B], KL [B]) in nats per image; their sum is −ELBO with one sample of z."""
    axes = list(range(1, len(x.shape)))
    p = tf.clip_by_value(decoded, 1e-6, 1 - 1e-6)
    reconstruction = -tf.reduce_sum(x * tf.math.log(p) + (1 - x) * tf.math.log(1 - p), axis=axes)
    kl = 0.5 * tf.reduce_sum(tf.exp(log_variance) + tf.square(mean) - 1 - log_variance, axis=1)
    return reconstruction, kl


def train(options: VaeOptions, public: np.ndarray, progress: Callable[[str], None]) -> Trained:
    """Train on ``public`` (float32 [P, H, W, C] in [0, 1]); one tenth is held out for the ELBO that stops it.

    The weights of the best held-out epoch are the result. Raises ValueError if the held-out ELBO is never
    finite.
    """
    public = public[: options.images]
    held = max(1, len(public) // 10)
    held_out, training = public[:held], public[held:]
    encoder, decoder = build(options, public.shape[1:])
    variables = encoder.trainable_variables + decoder.trainable_variables
    step, evaluate = _compiled(options, encoder, decoder)
    rng = np.random.default_rng([options.seed, 1])
    held_noise = _noise(options, np.random.default_rng([options.seed, 2]), held)
    history: list[dict[str, float]] = []
    best, best_weights, best_epoch = np.inf, [v.numpy() for v in variables], 0
    for epoch in range(1, options.epochs + 1):
        trained = _epoch(options, step, training, rng)
        held_terms = [float(value) for value in evaluate(held_out, held_noise)]
        history.append(_row(epoch, trained, held_terms))
        elbo, held_elbo = history[-1]["elbo"], history[-1]["held_out_elbo"]
        progress(f"epoch {epoch}/{options.epochs}  ELBO {elbo:.2f}  held out {held_elbo:.2f}")
        if -held_elbo < best:
            best, best_weights, best_epoch = -held_elbo, [v.numpy() for v in variables], epoch
        elif epoch - best_epoch >= options.patience:
            break
    if not best_epoch:
        raise ValueError("the held-out ELBO was never finite: lower the prior's learning_rate")
    for variable, value in zip(variables, best_weights, strict=True):
        variable.assign(value)
    return Trained(encoder, decoder, history, held_out)


def _compiled(options: VaeOptions, encoder: keras.Model, decoder: keras.Model) -> tuple[Callable, Callable]:
    """One step of Adam, and an evaluation: (images, noise) → mean reconstruction and KL in nats."""
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer = keras.optimizers.Adam(options.learning_rate)
    optimizer.build(variables)

    def terms(x: tf.Tensor, noise: tf.Tensor) -> tuple:
        mean, log_variance = encoder(x)
        return negative_elbo(x, decoder(mean + tf.exp(0.5 * log_variance) * noise), mean, log_variance)

    @tf.function(reduce_retracing=True)
    def step(x: tf.Tensor, noise: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            reconstruction, kl = (tf.reduce_mean(term) for term in terms(x, noise))
            loss = reconstruction + kl
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return reconstruction, kl

    return step, tf.function(lambda x, noise: tuple(tf.reduce_mean(term) for term in terms(x, noise)))


def _noise(options: VaeOptions, rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.normal(size=(size, options.latent_dim)).astype(np.float32)


def _epoch(options: VaeOptions, step: Callable, training: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean reconstruction and KL of one pass over ``training``."""
    order = rng.permutation(len(training))
    rows = []
    # The last, partial batch is left out: another shape would be traced anew for a few images.
    for at in range(0, max(1, len(order) - options.batch_size + 1), options.batch_size):
        x = training[order[at : at + options.batch_size]]
        rows.append([float(value) for value in step(x, _noise(options, rng, len(x)))])
    return np.mean(rows, axis=0)


def _row(epoch: int, trained: np.ndarray, held: list[float]) -> dict[str, float]:
    """One epoch of the learning curve. trained, held: mean reconstruction and KL."""
    (reconstruction, kl), (held_reconstruction, held_kl) = trained, held
    return {
        "epoch": epoch,
        "reconstruction": reconstruction,
        "kl": kl,
        "elbo": -(reconstruction + kl),
        "held_out_reconstruction": held_reconstruction,
        "held_out_kl": held_kl,
        "held_out_elbo": -(held_reconstruction + held_kl),
    }


def load_networks(options: VaeOptions, shape: tuple[int, int, int], arrays: dict[str, np.ndarray]):
    """(encoder, decoder) with weights from the arrays of ``weights_of``. Raises OtherShape."""
    try:
        builtin = BUILTIN.get(options.dataset)
        if builtin and builtin.shape != tuple(shape):
            raise ValueError
        encoder, decoder = build(options, shape)
        for prefix, network in (("encoder", encoder), ("decoder", decoder)):
            network.set_weights([arrays[f"{prefix}_{index}"] for index in range(len(network.weights))])
    except ValueError:
        raise OtherShape(
            f"the prior draws images of {options.dataset}, which have another shape than {shape}: choose a "
            "prior of images of that shape"
        ) from None
    return encoder, decoder


def weights_of(trained: Trained) -> dict[str, np.ndarray]:
    """Flat names → arrays, for an .npz."""
    return {
        f"{prefix}_{index}": weight
        for prefix, network in (("encoder", trained.encoder), ("decoder", trained.decoder))
        for index, weight in enumerate(network.get_weights())
    }
