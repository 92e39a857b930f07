"""The losses of the gradient-matching attacks, for many trials at once."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from gradleak.attacks.matching.options import MatchingOptions
from gradleak.attacks.problem import Problem
from gradleak.gradients.layers import Coupling
from gradleak.gradients.matcher import build_matcher
from gradleak.gradients.objectives import objective
from gradleak.gradients.targets import unpack_targets


def matching_loss(problem: Problem, options: MatchingOptions) -> Callable:
    """f(images [T,M,H,W,C], labels [T,M,C], data) → loss [T]; ``data`` is that of ``search.run``."""
    coupling = coupling_of(problem, options, problem.dummies(options))
    matcher = build_matcher(problem.model, coupling, problem.loss)
    weight = options.statistics_weight if problem.has_statistics else 0.0
    count = len(matcher.variables)
    # The objective 'cosine' is a mean over tensors. The published attacks sum, and their TV weights fit the
    # sum.
    factor = float(count) if options.loss == "cosine" else 1.0

    def match(images: tf.Tensor, labels: tf.Tensor, data: dict) -> tf.Tensor:
        targets = unpack_targets(data, count)
        loss = factor * objective(matcher.products(images, labels, targets), data["weights"], options.loss)
        return loss + weight * matcher.statistics_distance(images) if weight else loss

    return match


def coupling_of(problem: Problem, options: MatchingOptions, images: int) -> Coupling | None:
    """How BatchNormalization is evaluated for a client in training mode; None for other clients.

    images: of a trial.
    """
    return Coupling(problem.coupled, images, options.batch_norm == "fixed") if problem.coupled else None


def label_likelihood(problem: Problem) -> Callable:
    """The same signature without the gradient: cross-entropy of the labels under the global model, a
    control.
    """

    def match(images: tf.Tensor, labels: tf.Tensor, data: dict) -> tf.Tensor:
        logits = problem.model(tf.reshape(images, [-1, *problem.shape]), training=False)
        rows = tf.reshape(labels, [-1, problem.classes])
        if problem.is_multi_label:
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(rows, logits), axis=1)
        else:
            loss = tf.nn.softmax_cross_entropy_with_logits(rows, logits)
        return tf.reduce_mean(tf.reshape(loss, tf.shape(images)[:2]), axis=1)

    return match
