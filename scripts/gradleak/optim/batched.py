"""Small tensor helpers for T independent problems that share a leading axis."""

import math

import tensorflow as tf


def choose(mask, chosen, other):
    """Per trial: ``chosen`` where ``mask`` [T], else ``other``; both [T, ...], or both dicts of such."""
    if isinstance(chosen, dict):
        return {name: choose(mask, chosen[name], other[name]) for name in chosen}
    return tf.where(broadcast(mask, chosen), chosen, other)


def broadcast(per_trial, like):
    """[T] -> [T, 1, ..., 1] of the rank of ``like``."""
    return tf.reshape(per_trial, [-1] + [1] * (len(like.shape) - 1))


def norm(tensor):
    """Euclidean norm over everything but the trials, [T]."""
    return tf.sqrt(tf.reduce_sum(tf.square(tensor), axis=range(1, len(tensor.shape))))


def is_finite(loss, gradients: dict):
    """Whether a trial's loss and all its gradients are finite, bool [T]."""
    finite = tf.math.is_finite(loss)
    for gradient in gradients.values():
        finite &= tf.reduce_all(tf.math.is_finite(gradient), axis=range(1, len(gradient.shape)))
    return finite


def evaluate(objective, variables: dict, data: dict):
    """Loss [T], float32, of ``objective`` at ``variables``, and its gradient in each of them.

    Trials do not mix, so the gradient of the sum over trials is each trial's own.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        loss = objective(variables, data)
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    return tf.cast(loss, tf.float32), gradients


def reported(loss, running):
    """Losses [T] as a step reports them: NaN for a stopped trial, infinite for one that is not finite."""
    return tf.where(running, tf.where(tf.math.is_finite(loss), loss, math.inf), math.nan)
