"""Images projected onto a generative prior: the best that any latent attack with this decoder could reach."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from gradleak.optim import minimise


def project(encoder: keras.Model, decoder: keras.Model, images: np.ndarray, steps: int = 300) -> np.ndarray:
    """The decoder's images nearest to ``images`` (n, H, W, C): from the encoder's mean, then Adam on the
    MSE.
    """
    codes = encoder.predict(images, verbose=0, batch_size=256)[0]

    def objective(variables: dict, data: dict) -> tf.Tensor:
        difference = decoder(variables["codes"], training=False) - data["images"]
        return tf.reduce_mean(tf.square(difference), axis=[1, 2, 3])

    settings = minimise.LoopSettings(steps=steps, learning_rate=0.05, decay="cosine")
    result = minimise.minimise(objective, {"codes": codes}, settings, data={"images": images})
    return decoder.predict(result.best["codes"], verbose=0, batch_size=256)
