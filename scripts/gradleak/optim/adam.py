"""Adam and sign-Adam for T independent problems, with a way back for trials that blow up."""

import math

import numpy as np
import tensorflow as tf

from gradleak.optim.batched import broadcast, choose, evaluate, is_finite, norm, reported

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015
_MILESTONES = (3 / 8, 5 / 8, 7 / 8)  # Geiping et al. 2020
_PLATEAU = 1e-3  # relative improvement of the loss below which a trial makes no headway


def start(point: dict, active) -> dict:
    """State at ``point``, a dict of arrays [T, ...]; trials that are not ``active`` [T] stay there.

    Every entry of a state has the trials first.
    """
    trials = len(active)
    return {
        "x": point,
        "mean": {name: np.zeros_like(x) for name, x in point.items()},
        "square": {name: np.zeros_like(x) for name, x in point.items()},
        "updates": np.zeros(trials, np.int32),  # since the moments were last cleared
        "rate_scale": np.ones(trials, np.float32),
        "best": point,
        "best_loss": np.full(trials, np.inf, np.float32),
        "level": np.full(trials, np.inf, np.float32),  # loss that counts as headway when undercut
        "level_step": np.zeros(trials, np.int32),
        "active": active,
    }


def step(state: dict, data: dict, i, objective, settings, box: dict) -> tuple[dict, tf.Tensor]:
    """Evaluate at ``state["x"]``, then move. Returns the new state and the loss [T] before the move.

    A trial whose loss or gradient is not finite goes back to its best point with its moments cleared
    and its learning rate halved. A stopped trial stays where it is.
    """
    loss, gradients = evaluate(objective, state["x"], data)
    running, fine = state["active"], is_finite(loss, gradients)
    better = running & fine & (loss < state["best_loss"])
    # Headway is relative to the new loss, because the first level is infinite.
    headway = running & fine & (loss < state["level"] - _PLATEAU * tf.abs(loss))
    level_step = tf.where(headway, i, state["level_step"])
    new = {
        "best": choose(better, state["x"], state["best"]),
        "best_loss": tf.where(better, loss, state["best_loss"]),
        "level": tf.where(headway, loss, state["level"]),
        "level_step": level_step,
        "active": running & (i - level_step < settings.plateau) if settings.plateau else running,
        "updates": tf.where(fine, state["updates"] + 1, 0),
        "rate_scale": tf.where(fine, state["rate_scale"], state["rate_scale"] / 2),
    }
    rate = settings.learning_rate * _decay(i, settings) * new["rate_scale"]
    moved, means, squares = {}, {}, {}
    for name, x in state["x"].items():
        gradient = _conditioned(gradients[name], settings)
        mean = _BETA1 * state["mean"][name] + (1 - _BETA1) * gradient
        square = _BETA2 * state["square"][name] + (1 - _BETA2) * tf.square(gradient)
        moved[name] = _project(x - _change(mean, square, new["updates"], rate), box.get(name))
        means[name] = choose(fine, mean, tf.zeros_like(mean))
        squares[name] = choose(fine, square, tf.zeros_like(square))
    moved = choose(fine, moved, new["best"])
    new |= {"x": choose(new["active"], moved, state["x"]), "mean": means, "square": squares}
    return new, reported(loss, running)


def _decay(i, settings):
    """Factor on the learning rate at step ``i`` of ``settings.steps``."""
    done = tf.cast(i, tf.float32) / max(settings.steps, 1)
    if settings.decay == "cosine":
        return 0.5 * (1 + tf.cos(math.pi * done))
    if settings.decay == "step":
        passed = tf.reduce_sum(tf.cast(done >= tf.constant(_MILESTONES), tf.float32))
        return tf.pow(0.1, passed)
    return tf.ones([])


def _conditioned(gradient, settings):
    """The gradient that Adam sees: each trial's clipped to a norm, and only its signs for sign-Adam."""
    if settings.clip_norm is not None:
        length = tf.maximum(norm(gradient), settings.clip_norm)
        gradient *= broadcast(settings.clip_norm / length, gradient)
    return tf.sign(gradient) if settings.optimizer == "sign_adam" else gradient


def _change(mean, square, updates, rate):
    """Adam's bias-corrected step. ``updates`` [T] is 0 only in trials whose result is thrown away."""
    updates = tf.cast(tf.maximum(updates, 1), mean.dtype)
    mean = mean / broadcast(1 - tf.pow(tf.cast(_BETA1, mean.dtype), updates), mean)
    square = square / broadcast(1 - tf.pow(tf.cast(_BETA2, mean.dtype), updates), square)
    return broadcast(tf.cast(rate, mean.dtype), mean) * mean / (tf.sqrt(square) + _EPSILON)


def _project(x, bounds):
    return x if bounds is None else tf.clip_by_value(x, *bounds)
