"""Latent inversion: optimise the latent codes of a VAE's decoder against the leaked gradient.

The prior keeps every candidate an image of the public kind (GAN-prior inversions: GGL, Li et al. 2022; GIAS, Jeon
et al. 2021). Several starts per trial run at once; the attack's own objective chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradleak.attacks.matching.latent_options import LatentOptions
from gradleak.optim.limits import UNLIMITED, Limits

if TYPE_CHECKING:
    import keras

    from gradleak.attacks.problem import Inversion, Problem


def invert(
    problem: Problem,
    options: LatentOptions,
    decoder: keras.Model,
    checkpoint: Path | None = None,
    progress: Callable | None = None,
    limits: Limits = UNLIMITED,
) -> Inversion:
    """Reconstruct every trial of ``problem`` through ``decoder`` (z [B, d] → images [B, H, W, C] in [0, 1])."""
    import tensorflow as tf

    from gradleak.attacks.matching import gradient_matching

    latent = decoder.input_shape[-1]
    dummies = problem.dummies(options)
    copies = problem.repeat(options.starts)
    # Start k of a trial has its own stream, so that more starts never change the earlier ones.
    codes = [
        problem.rng(seed, f"latent:{index % options.starts}").normal(0, 1, (dummies, latent))
        for index, seed in enumerate(copies.seeds)
    ]
    start = {
        "codes": np.stack(codes).astype(np.float32),
        **gradient_matching.start_labels(copies, options, options.starts),
    }

    if options.control == "label_only":
        match = gradient_matching.label_likelihood(copies)
    else:
        match = gradient_matching.matching_loss(copies, options)

    def decode(codes: tf.Tensor) -> tf.Tensor:
        flat = decoder(tf.reshape(codes, [-1, latent]), training=False)
        return tf.reshape(flat, [-1, dummies, *problem.shape])

    def objective(variables: dict, data: dict) -> tf.Tensor:
        codes = variables["codes"]
        loss = match(decode(codes), gradient_matching.soft_labels(variables, data), data)
        return loss + options.latent_penalty * tf.reduce_mean(tf.square(codes), axis=[1, 2]) * latent / 2

    result = gradient_matching.run_loop(
        objective, start, copies, options, checkpoint=checkpoint, progress=progress, limits=limits
    )
    result = gradient_matching.best_of_starts(result, options.starts)
    return gradient_matching.inversion(
        problem, options, result, np.clip(decode(result.best["codes"]).numpy(), 0.0, 1.0)
    )
