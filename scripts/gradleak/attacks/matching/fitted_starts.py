"""A start for DLG on one image: public images fitted to the input of a dense layer.

For one image the gradients of a dense layer's kernel and bias are f δᵀ and δ, with f the layer's input. So
the quotient gives f in closed form (Phong et al. 2018, Zhu and Blaschko 2021). An image with this feature is
found by first derivatives alone, from many public images at once.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import keras
import numpy as np
import tensorflow as tf

from gradleak.errors import UserError
from gradleak.gradients.matcher import Matcher, build_matcher
from gradleak.gradients.trace import forward
from gradleak.optim import minimise
from gradleak.optim.limits import UNLIMITED, Limits
from gradleak.optim.resources import Resources

STARTS = 8  # public images that are fitted for a trial, at most, the nearest in the feature first
_AT_A_TIME = 4
_EXACT = 1e-9  # squared distance, relative, at which no further start is tried; float32 ends near 1e-13
# (weight of the total variation, search) one after the other, each from where the last one ended. Many images
# share a feature nearly, and a smooth one is chosen among them; without the penalty at the end the feature is
# matched exactly. Weights by `bench_dlg_one_image.py --variation`, on clients that are in no table.
STAGES = (
    (1e-5, minimise.LoopSettings(steps=300, learning_rate=0.03, decay="cosine", polish_steps=300)),
    (1e-6, minimise.LoopSettings(steps=1, learning_rate=1e-5, polish_steps=300)),
    (0.0, minimise.LoopSettings(steps=1, learning_rate=1e-5, polish_steps=300)),
)


def fitted_images(
    model: keras.Model,
    leaked: list[np.ndarray],
    public: np.ndarray,
    skip: np.ndarray,
    limits: Limits = UNLIMITED,
) -> np.ndarray:
    """float32 [T, H, W, C] in [0, 1]: each trial's best fit to the feature in its gradients ``leaked``, L of
    [T, *shape].

    public: images [P, H, W, C]. skip: int [T], how many of the nearest public images a trial leaves out.
    """
    matcher = build_matcher(model)
    kernel, bias = _dense_layer(matcher, public[:1])
    wanted = leaked_feature(leaked[kernel], leaked[bias])
    feature = _feature(matcher, kernel)
    nearest = _nearest(feature, wanted, public)

    best, least = public[nearest[:, 0]], np.full(len(wanted), np.inf)
    for first in range(0, STARTS, _AT_A_TIME):
        trials = np.flatnonzero(least > _EXACT)
        if not len(trials):
            break
        columns = (first + skip[trials, None] + np.arange(_AT_A_TIME)) % len(public)
        start = public[np.take_along_axis(nearest[trials], columns, axis=1).ravel()]
        images, objective = _fitted(feature, start, np.repeat(wanted[trials], _AT_A_TIME, axis=0), limits)
        objective = objective.reshape(-1, _AT_A_TIME)
        chosen = images.reshape(-1, _AT_A_TIME, *public.shape[1:])[
            np.arange(len(trials)), objective.argmin(axis=1)
        ]
        better = objective.min(axis=1) < least[trials]
        best[trials[better]], least[trials[better]] = chosen[better], objective.min(axis=1)[better]
    return best


def _fitted(
    feature: Callable[[tf.Tensor], tf.Tensor], start: np.ndarray, wanted: np.ndarray, limits: Limits
) -> tuple[np.ndarray, np.ndarray]:
    """Images [B, H, W, C] from ``start`` whose features are near those ``wanted`` [B, I], and their squared
    distance relative to these [B].
    """
    objective = np.zeros(len(start))
    for variation, settings in STAGES:

        def distance(variables: dict, data: dict, variation: float = variation) -> tf.Tensor:
            apart = tf.reduce_sum(tf.square(feature(variables["x"]) - data["wanted"]), axis=1)
            apart /= tf.reduce_sum(tf.square(data["wanted"]), axis=1)
            return apart + variation * tf.image.total_variation(variables["x"]) if variation else apart

        found = minimise.minimise(
            distance,
            {"x": start},
            settings,
            data={"wanted": wanted},
            box={"x": (0, 1)},
            resources=Resources(limits=limits),
        )
        start, objective = found.best["x"], found.objective
    return start, objective


def leaked_feature(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """float32 [T, I]: the input of a dense layer, from its gradients [T, I, O] and [T, O] of one image
    each.
    """
    bias = bias.astype(np.float64)
    feature = np.einsum("tio,to->ti", kernel, bias)
    norm2 = np.square(bias).sum(axis=1, keepdims=True)
    return (feature / np.where(norm2 > 0, norm2, 1)).astype(np.float32)


def _dense_layer(matcher: Matcher, image: np.ndarray) -> tuple[int, int]:
    """Which variables are kernel and bias of the first dense layer that has both and is given one row per
    image. Raises UserError if there is none.
    """
    number = {id(variable): index for index, variable in enumerate(matcher.variables)}
    captured = forward(matcher.steps, tf.constant(image))[1] if matcher.steps else []
    for part, after in pairwise(captured):
        kernels = part.stage.variables
        is_dense = len(kernels) == 1 and len(kernels[0].shape) == 2 and len(part.entered.shape) == 2
        if is_dense and after.stage.name == part.stage.name:
            return number[id(kernels[0])], number[id(after.stage.variables[0])]
    raise UserError(
        f"init: features needs a dense layer with a bias, and {matcher.model.name} has none that can be "
        "traced; choose another init"
    )


def _feature(matcher: Matcher, kernel: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Images [B, H, W, C] → what enters the dense layer with that kernel, [B, I]."""

    steps = matcher.steps
    assert steps is not None  # as _dense_layer has found the kernel in them

    def feature(images: tf.Tensor) -> tf.Tensor:
        _, captured = forward(steps, images)
        return next(part.entered for part in captured if part.stage.variables[0] is matcher.variables[kernel])

    return feature


def _nearest(feature: Callable[[tf.Tensor], tf.Tensor], wanted: np.ndarray, public: np.ndarray) -> np.ndarray:
    """int [T, P]: numbers of the public images, those whose feature is nearest first."""
    run = tf.function(feature, autograph=False)  # one trace a size: the engine folds by static shapes
    found = np.concatenate(
        [run(tf.constant(public[i : i + 500])).numpy() for i in range(0, len(public), 500)]
    )
    inner = wanted @ found.T
    return np.argsort(np.square(found).sum(axis=1) - 2 * inner, axis=1, kind="stable")
