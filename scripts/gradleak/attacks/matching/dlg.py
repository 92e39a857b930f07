"""DLG: optimise dummy images (and labels) until their gradient matches the leaked one.

Zhu et al. 2019 (l2 loss, joint labels), Zhao et al. 2020 (labels first), Geiping et al. 2020 (cosine loss,
total variation, box constraint, signed Adam with step decay).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradleak.attacks import receptive_field
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.errors import UserError
from gradleak.optim.limits import UNLIMITED, Limits

if TYPE_CHECKING:
    from gradleak.attacks.problem import Inversion, Problem


def start_images(problem: Problem, options: DlgOptions) -> np.ndarray:
    """float32 [T, M, H, W, C]; each trial's start depends on its own seed alone.

    ``problem`` holds every trial ``options.starts`` times; start k has its own stream, so that more starts never change
    the earlier ones.
    """
    size = (problem.dummies(options), *problem.shape)
    bases = _bases(problem, options)

    def one(rng: np.random.Generator, base: np.ndarray | float) -> np.ndarray:
        if options.init == "uniform":
            return rng.uniform(0, 1, size)
        if options.init == "smooth_noise":
            return _blurred(rng.uniform(0, 1, size))
        return base + rng.normal(0, options.init_scale, size)

    purposes = ["images", *(f"images:{k}" for k in range(1, options.starts))] * len(problem.seeds)
    streams = (problem.rng(seed, purpose) for seed, purpose in zip(problem.seeds, purposes, strict=False))
    return np.stack([one(rng, base) for rng, base in zip(streams, bases, strict=True)]).astype(np.float32)


def held_places(labels: np.ndarray, accepted: np.ndarray, found: np.ndarray) -> list[np.ndarray]:
    """For each trial pairs (dummy, image) [P, 2]: which accepted image stands where, each in a place of its label.

    labels: of the dummies, int [T, M]. accepted: bool [T, K], found: int [T, K], of the images. An image whose label has no
    place left has none.
    """
    pairs = []
    for own, kept, classes in zip(labels, accepted, found, strict=True):
        free = {label: list(np.flatnonzero(own == label)) for label in np.unique(own)}
        images = np.flatnonzero(kept)
        placed = [(free[c].pop(0), k) for k, c in zip(images, classes[images], strict=True) if free.get(c)]
        pairs.append(np.array(placed, int).reshape(-1, 2))
    return pairs


def _hold(problem: Problem, options: DlgOptions, images: np.ndarray) -> np.ndarray:
    """Puts the members of ``problem`` into ``images`` [T, M, H, W, C]; bool [T, M, 1, 1, 1]: where."""
    from gradleak.attacks.matching import gradient_matching

    held = np.zeros([*images.shape[:2], 1, 1, 1], bool)
    found = problem.members
    pairs = held_places(gradient_matching.given_labels(problem, options), found.accepted, found.labels)
    for trial, placed in enumerate(pairs):
        images[trial, placed[:, 0]] = found.images[trial, placed[:, 1]]
        held[trial, placed[:, 0]] = True
    return held


def _fitted(problem: Problem, options: DlgOptions, limits: Limits) -> np.ndarray:
    """``start_images`` of ``init: features``, from what the attack is given to match."""
    from gradleak.attacks.matching import fitted_starts, gradient_matching

    if problem.dummies(options) != 1:
        raise UserError(
            f"init: features is for updates of one image, and this one has {problem.dummies(options)}: of several, "
            "the gradients give a mixture of features; choose another init"
        )
    skip = np.arange(len(problem.seeds)) % options.starts * fitted_starts.STARTS
    leaked = gradient_matching.targets(problem, options)
    return fitted_starts.fitted_images(problem.model, leaked, problem.public, skip, limits)[:, None]


def _bases(problem: Problem, options: DlgOptions) -> list:
    """What each trial's normal noise is laid over: nothing, or mean images."""
    trials = len(problem.seeds)
    if options.init not in ("public_mean", "class_mean"):
        return [0.0] * trials
    mean = problem.public.mean(axis=0)
    if options.init == "public_mean":
        return [mean] * trials
    from gradleak.attacks.matching import gradient_matching

    members = [problem.public[problem.public_labels == c] for c in range(problem.classes)]
    means = np.stack([own.mean(axis=0) if len(own) else mean for own in members])
    return list(means[gradient_matching.given_labels(problem, options)])


def _blurred(noise: np.ndarray) -> np.ndarray:
    """[M, H, W, C] with neighbouring pixels alike, each image from 0 to 1."""
    from scipy.ndimage import gaussian_filter

    width = noise.shape[2] / 14  # of the Gaussian: two pixels of 28
    smooth = gaussian_filter(noise, (0, width, width, 0), mode="wrap")
    low, high = (bound(smooth, axis=(1, 2, 3), keepdims=True) for bound in (np.min, np.max))
    return (smooth - low) / (high - low)


def invert(
    problem: Problem,
    options: DlgOptions,
    checkpoint: Path | None = None,
    progress: Callable | None = None,
    limits: Limits = UNLIMITED,
) -> Inversion:
    """Reconstruct every trial of ``problem``; the best point by the attack's own objective is the result."""
    import tensorflow as tf

    from gradleak.attacks.matching import gradient_matching

    copies = problem.repeat(options.starts)
    match = gradient_matching.matching_loss(copies, options)
    images = _fitted(copies, options, limits) if options.init == "features" else start_images(copies, options)
    known = {"held": _hold(copies, options, images)} if problem.members else {}
    start = {"images": images, **gradient_matching.start_labels(copies, options, options.starts)}

    def objective(variables: dict, data: dict) -> tf.Tensor:
        images = variables["images"]
        if "held" in data:
            images = tf.where(data["held"], tf.stop_gradient(images), images)
        loss = match(images, gradient_matching.soft_labels(variables, data), data)
        if options.tv:
            flat = tf.reshape(images, [-1, *problem.shape])
            variation = tf.reshape(tf.image.total_variation(flat), tf.shape(images)[:2])
            loss += options.tv * tf.reduce_mean(variation, axis=1)
        return loss

    result = gradient_matching.run_loop(
        objective,
        start,
        copies,
        options,
        known,
        box={"images": (0.0, 1.0)} if options.box else None,
        checkpoint=checkpoint,
        progress=progress,
        limits=limits,
    )
    result = gradient_matching.best_of_starts(result, options.starts)
    found = np.clip(result.best["images"], 0.0, 1.0)
    if options.fill_outside_receptive_field:
        found = receptive_field.fill(found, receptive_field.mask(problem.model), problem.public)
    return gradient_matching.inversion(problem, options, result, found)
