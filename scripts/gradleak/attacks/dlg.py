"""DLG: optimise dummy images (and labels) until their gradient matches the leaked one.

Zhu et al. 2019 (l2 loss, joint labels), Zhao et al. 2020 (labels first), Geiping et al. 2020 (cosine loss,
total variation, box constraint, signed Adam with step decay).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from gradleak import unseen
from gradleak.attacks.options import UNLIMITED, Limits, MatchingOptions
from gradleak.errors import Expected

if TYPE_CHECKING:
    from gradleak.attacks.matching import Inversion, Problem


class Options(MatchingOptions):
    """A pixel-space inversion cell."""

    attack: Literal["dlg"] = "dlg"
    tv: float = Field(
        3e-5, ge=0, description="Weight of the total variation (sum over pixels, mean over images)."
    )
    box: bool = Field(True, description="Keep pixels in [0, 1] after every step.")
    init: Literal["normal", "uniform", "smooth_noise", "public_mean", "class_mean", "features"] = Field(
        "uniform",
        description="Start: small normal noise, uniform noise in [0, 1], the same blurred, the mean public image, "
        "the mean of those of the dummy's class (not with labels: joint), or (for updates of one image) the public "
        "image fitted to the input of the first dense layer, which its gradients give in closed form.",
    )
    init_scale: float = Field(
        0.01, ge=0, description="Standard deviation of normal noise (also on public_mean and class_mean)."
    )
    starts: int = Field(
        1, ge=1, description="Restarts per trial, run at once; the attack's own objective chooses."
    )
    members: dict[str, Any] | None = Field(
        None,
        description="Options of a span cell on the same target ({}: its defaults), which then runs first. The images "
        "that it accepts take the place of as many dummies of their labels and stay as they are; the others are searched "
        "for. They count among the recovered labels, too.",
    )
    fill_unseen: bool = Field(
        False,
        description="Guess the pixels that no unit of the model sees from the others, with public images; else they "
        "stay as they were at the start.",
    )

    @model_validator(mode="after")
    def _members_fit(self) -> Options:
        if self.members is not None and self.labels == "joint":
            raise ValueError("members need labels that are known beforehand: recovered or oracle")
        if self.members is not None and self.control != "none":
            raise ValueError("members are found in the leak, which the control replaces; leave one of them out")
        return self

    @model_validator(mode="after")
    def _class_is_known(self) -> Options:
        if self.init == "class_mean" and self.labels == "joint":
            raise ValueError("init: class_mean needs labels that are known beforehand: recovered or oracle")
        return self


def start_images(problem: Problem, options: Options) -> np.ndarray:
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


def _hold(problem: Problem, options: Options, images: np.ndarray) -> np.ndarray:
    """Puts the members of ``problem`` into ``images`` [T, M, H, W, C]; bool [T, M, 1, 1, 1]: where."""
    from gradleak.attacks import matching

    held = np.zeros([*images.shape[:2], 1, 1, 1], bool)
    found = problem.members
    pairs = held_places(matching.given_labels(problem, options), found.accepted, found.labels)
    for trial, placed in enumerate(pairs):
        images[trial, placed[:, 0]] = found.images[trial, placed[:, 1]]
        held[trial, placed[:, 0]] = True
    return held


def _fitted(problem: Problem, options: Options, limits: Limits) -> np.ndarray:
    """``start_images`` of ``init: features``, from what the attack is given to match."""
    from gradleak.attacks import features, matching

    if problem.dummies(options) != 1:
        raise Expected(
            f"init: features is for updates of one image, and this one has {problem.dummies(options)}: of several, "
            "the gradients give a mixture of features; choose another init"
        )
    skip = np.arange(len(problem.seeds)) % options.starts * features.STARTS
    leaked = matching.targets(problem, options)
    return features.fitted_images(problem.model, leaked, problem.public, skip, limits)[:, None]


def _bases(problem: Problem, options: Options) -> list:
    """What each trial's normal noise is laid over: nothing, or mean images."""
    trials = len(problem.seeds)
    if options.init not in ("public_mean", "class_mean"):
        return [0.0] * trials
    mean = problem.public.mean(axis=0)
    if options.init == "public_mean":
        return [mean] * trials
    from gradleak.attacks import matching

    members = [problem.public[problem.public_labels == c] for c in range(problem.classes)]
    means = np.stack([own.mean(axis=0) if len(own) else mean for own in members])
    return list(means[matching.given_labels(problem, options)])


def _blurred(noise: np.ndarray) -> np.ndarray:
    """[M, H, W, C] with neighbouring pixels alike, each image from 0 to 1."""
    from scipy.ndimage import gaussian_filter

    width = noise.shape[2] / 14  # of the Gaussian: two pixels of 28
    smooth = gaussian_filter(noise, (0, width, width, 0), mode="wrap")
    low, high = (bound(smooth, axis=(1, 2, 3), keepdims=True) for bound in (np.min, np.max))
    return (smooth - low) / (high - low)


def invert(
    problem: Problem,
    options: Options,
    checkpoint: Path | None = None,
    progress: Callable | None = None,
    limits: Limits = UNLIMITED,
) -> Inversion:
    """Reconstruct every trial of ``problem``; the best point by the attack's own objective is the result."""
    import tensorflow as tf

    from gradleak.attacks import matching

    copies = problem.repeat(options.starts)
    match = matching.matching_loss(copies, options)
    images = _fitted(copies, options, limits) if options.init == "features" else start_images(copies, options)
    known = {"held": _hold(copies, options, images)} if problem.members else {}
    start = {"images": images, **matching.start_labels(copies, options, options.starts)}

    def objective(variables: dict, data: dict) -> tf.Tensor:
        images = variables["images"]
        if "held" in data:
            images = tf.where(data["held"], tf.stop_gradient(images), images)
        loss = match(images, matching.soft_labels(variables, data), data)
        if options.tv:
            flat = tf.reshape(images, [-1, *problem.shape])
            variation = tf.reshape(tf.image.total_variation(flat), tf.shape(images)[:2])
            loss += options.tv * tf.reduce_mean(variation, axis=1)
        return loss

    result = matching.run_loop(
        objective, start, copies, options, known, box={"images": (0.0, 1.0)} if options.box else None,
        checkpoint=checkpoint, progress=progress, limits=limits,
    )  # fmt: skip
    result = matching.best_of_starts(result, options.starts)
    found = np.clip(result.best["images"], 0.0, 1.0)
    if options.fill_unseen:
        found = unseen.fill(found, unseen.mask(problem.model), problem.public)
    return matching.inversion(problem, options, result, found)
