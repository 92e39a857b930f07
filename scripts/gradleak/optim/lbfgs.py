"""L-BFGS for T independent problems in lockstep: a polish from a point that is already good.

Nocedal and Wright 2006, algorithms 7.4 and 3.1. Every trial has its own memory, direction and step
length. One step is one evaluation of all trials: a trial whose candidate passes Armijo's test takes it
and turns to a new direction, any other shortens its step. So no trial waits for another's line search.
A box is kept by projecting candidates, with coordinates that push against a bound held there
(Bertsekas 1982).
"""

import math

import numpy as np
import tensorflow as tf

from gradleak.optim.batched import choose, evaluate, is_finite, norm, reported

_MEMORY = 10
_ARMIJO = 1e-4
_MAX_SHORTENINGS = 20  # in a row; then the memory is dropped, and with no memory left the trial is done
_FIRST_CHANGE = 1e-3  # root mean square change per coordinate of a step along the bare gradient
_MIN_CURVATURE = 1e-8  # cosine of change and gradient change below which a pair is not remembered


def start(point: dict, active) -> dict:
    """State at ``point``, a dict of arrays [T, ...]; trials that are not ``active`` [T] stay there."""
    trials = len(active)
    x = np.concatenate([point[name].reshape(trials, -1) for name in sorted(point)], axis=1)
    memory = np.zeros([trials, _MEMORY, x.shape[1]], x.dtype)
    return {
        "x": x,
        "loss": np.full(trials, np.inf, np.float32),  # so that the first candidate, x itself, is taken
        "gradient": np.zeros_like(x),
        "direction": np.zeros_like(x),
        "length": np.ones(trials, x.dtype),
        "shortenings": np.zeros(trials, np.int32),
        "changes": memory,  # of x, the newest last
        "gradient_changes": memory,
        "inverse_curvatures": np.zeros(
            [trials, _MEMORY], x.dtype
        ),  # 1 / <change, gradient change>; 0: no pair
        "active": active,
    }


def step(state: dict, data: dict, i, objective, shapes: dict, box: dict) -> tuple[dict, tf.Tensor]:
    """One evaluation of every trial's candidate. Returns the new state and the loss [T] of its ``x``.

    ``shapes`` are the variables' shapes without the trials.
    """
    low, high = _bounds(shapes, box, state["x"].dtype)
    x, gradient, running = state["x"], state["gradient"], state["active"]
    candidate = tf.clip_by_value(x + state["length"][:, None] * state["direction"], low, high)
    loss, gradients = evaluate(objective, _unpack(candidate, shapes), data)
    new_gradient = tf.concat([_flat(gradients[name]) for name in sorted(shapes)], axis=1)
    fine = is_finite(loss, {"": new_gradient})

    slope = _dot(gradient, candidate - x)
    taken = running & fine & (loss <= state["loss"] + _ARMIJO * tf.cast(slope, loss.dtype))
    memory = _remember(state, taken, candidate - x, new_gradient - gradient)
    shortenings = tf.where(taken, 0, state["shortenings"] + 1)
    stuck = shortenings > _MAX_SHORTENINGS
    forgotten = stuck & (memory["inverse_curvatures"][:, -1] > 0)
    memory = {name: choose(forgotten, tf.zeros_like(kept), kept) for name, kept in memory.items()}

    x, gradient = choose(taken, candidate, x), choose(taken, new_gradient, gradient)
    free = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
    turned = taken | forgotten
    direction = _direction(tf.where(free, gradient, 0), memory)
    new = memory | {
        "x": x,
        "gradient": gradient,
        "loss": tf.where(taken, loss, state["loss"]),
        "direction": choose(turned, tf.where(free, direction, 0), state["direction"]),
        "length": tf.where(~turned, _shortened(state["length"], slope, loss - state["loss"], fine), 1),
        "shortenings": tf.where(turned, 0, shortenings),
        "active": running & ~(stuck & ~forgotten),
    }
    return new, reported(new["loss"], running)


def best(state: dict, shapes: dict) -> tuple[dict, np.ndarray]:
    """Point, a dict of arrays [T, ...], and loss [T] of a state of arrays."""
    return {name: x.numpy() for name, x in _unpack(state["x"], shapes).items()}, state["loss"]


def _unpack(flat, shapes: dict) -> dict:
    """[T, D] -> the variables, a dict of [T, *shape]."""
    variables, offset = {}, 0
    for name in sorted(shapes):
        size = math.prod(shapes[name])
        variables[name] = tf.reshape(flat[:, offset : offset + size], [-1, *shapes[name]])
        offset += size
    return variables


def _bounds(shapes: dict, box: dict, dtype):
    """Lowest and highest value of every coordinate, two [D]."""
    bounds = [
        np.broadcast_to(box.get(n, (-np.inf, np.inf)), [math.prod(shapes[n]), 2]) for n in sorted(shapes)
    ]
    return tf.unstack(tf.constant(np.concatenate(bounds), dtype), axis=1)


def _remember(state, taken, change, gradient_change) -> dict:
    """The memory with one more pair, at the loss of the oldest, in trials that took a step of positive
    curvature.
    """
    curvature = _dot(change, gradient_change)
    kept = taken & (curvature > _MIN_CURVATURE * norm(change) * norm(gradient_change))
    pair = {
        "changes": change,
        "gradient_changes": gradient_change,
        "inverse_curvatures": tf.math.divide_no_nan(tf.ones_like(curvature), curvature),
    }
    return {
        name: choose(kept, tf.concat([state[name][:, 1:], newest[:, None]], axis=1), state[name])
        for name, newest in pair.items()
    }


def _direction(gradient, memory: dict):
    """Minus the inverse Hessian's estimate times ``gradient`` [T, D], by the two-loop recursion.

    Without memory, or should rounding have made it point uphill: down the gradient, a short way.
    """
    pairs = list(
        zip(*(tf.unstack(memory[k], axis=1) for k in ("changes", "gradient_changes", "inverse_curvatures")))
    )
    descent, shares = -gradient, []
    for change, gradient_change, inverse in reversed(pairs):
        shares.append(inverse * _dot(change, descent))
        descent -= shares[-1][:, None] * gradient_change
    _, newest, inverse = pairs[-1]
    descent *= tf.math.divide_no_nan(tf.ones_like(inverse), inverse * _dot(newest, newest))[:, None]
    for (change, gradient_change, inverse), share in zip(pairs, reversed(shares)):
        descent += (share - inverse * _dot(gradient_change, descent))[:, None] * change
    reach = _FIRST_CHANGE * math.sqrt(gradient.shape[1])
    bare = -gradient * tf.math.divide_no_nan(tf.cast(reach, gradient.dtype), norm(gradient))[:, None]
    return choose(_dot(descent, gradient) < 0, descent, bare)


def _shortened(length, slope, rise, fine):
    """Step length [T] after a refusal: the minimum of the parabola through what is known, within reason."""
    slope, rise = slope / length, tf.cast(rise, slope.dtype)
    minimum = tf.math.divide_no_nan(-slope * length**2, 2 * (rise - slope * length))
    return tf.where(fine, tf.clip_by_value(minimum, 0.1 * length, 0.5 * length), 0.1 * length)


def _dot(a, b):
    return tf.reduce_sum(a * b, axis=1)


def _flat(tensor):
    return tf.reshape(tensor, [tensor.shape[0], -1])
