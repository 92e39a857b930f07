"""Latent inversion: optimise the latent codes of a VAE's decoder against the leaked gradient.

The prior keeps every candidate an image of the public kind, as in GAN-prior inversions (GIAS, Jeon et al.
2021; GGL, Li et al. 2022, doi:10.48550/arXiv.2203.15696). Several starts per trial run at once; the
attack's own objective chooses among them.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from gradleak.attacks.matching import search
from gradleak.attacks.matching.dummy_labels import objection, soft_labels, start_labels
from gradleak.attacks.matching.latent_options import LatentOptions
from gradleak.attacks.matching.objective import label_likelihood, matching_loss
from gradleak.attacks.problem import Inversion, Problem, not_applicable
from gradleak.optim.resources import Resources

NO_RESOURCES = Resources()


def invert(
    problem: Problem, options: LatentOptions, decoder: keras.Model, resources: Resources = NO_RESOURCES
) -> Inversion:
    """Reconstruct every trial of ``problem`` through ``decoder`` (z [B, d] → images [B, H, W, C] in [0,
    1]).
    """
    reason = objection(problem, options)
    if reason:
        return not_applicable(problem, reason)
    latent, dummies = decoder.input_shape[-1], problem.dummies(options)
    copies = problem.repeat(options.starts)
    # Start k of a trial has its own stream, so that more starts never change the earlier ones.
    codes = [
        problem.rng(seed, f"latent:{index % options.starts}").normal(0, 1, (dummies, latent))
        for index, seed in enumerate(copies.seeds)
    ]
    start = {
        "codes": np.stack(codes).astype(np.float32),
        **start_labels(copies, options, options.starts),
    }
    label_only = options.control == "label_only"
    match = label_likelihood(copies) if label_only else matching_loss(copies, options)

    def decode(codes: tf.Tensor) -> tf.Tensor:
        flat = decoder(tf.reshape(codes, [-1, latent]), training=False)
        return tf.reshape(flat, [-1, dummies, *problem.shape])

    def objective(variables: dict, data: dict) -> tf.Tensor:
        codes = variables["codes"]
        loss = match(decode(codes), soft_labels(variables, data, problem.loss), data)
        return loss + options.latent_penalty * tf.reduce_mean(tf.square(codes), axis=[1, 2]) * latent / 2

    result = search.run(search.Search(objective, start), copies, options, resources)
    result = search.best_of_starts(result, options.starts)
    images = np.clip(decode(result.best["codes"]).numpy(), 0.0, 1.0)
    return search.inversion(problem, options, result, images)
