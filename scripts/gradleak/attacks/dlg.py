"""DLG: optimise dummy images (and labels) until their gradient matches the leaked one.

Zhu et al. 2019 (l2 loss, joint labels), Zhao et al. 2020 (labels first), Geiping et al. 2020 (cosine loss,
total variation, box constraint, signed Adam with step decay).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from gradleak.attacks.options import UNLIMITED, Limits, MatchingOptions

if TYPE_CHECKING:
    from gradleak.attacks.matching import Inversion, Problem


class Options(MatchingOptions):
    """A pixel-space inversion cell."""

    attack: Literal["dlg"] = "dlg"
    tv: float = Field(
        3e-5, ge=0, description="Weight of the total variation (sum over pixels, mean over images)."
    )
    box: bool = Field(True, description="Keep pixels in [0, 1] after every step.")
    init: Literal["normal", "uniform", "smooth_noise", "public_mean", "class_mean"] = Field(
        "uniform",
        description="Start: small normal noise, uniform noise in [0, 1], the same blurred, the mean public image, or "
        "the mean of those of the dummy's class (not with labels: joint).",
    )
    init_scale: float = Field(
        0.01, ge=0, description="Standard deviation of normal noise (also on public_mean and class_mean)."
    )

    @model_validator(mode="after")
    def _class_is_known(self) -> Options:
        if self.init == "class_mean" and self.labels == "joint":
            raise ValueError("init: class_mean needs labels that are known beforehand: recovered or oracle")
        return self


def start_images(problem: Problem, options: Options) -> np.ndarray:
    """float32 [T, M, H, W, C]; each trial's start depends on its own seed alone."""
    size = (problem.dummies(options), *problem.shape)
    bases = _bases(problem, options)

    def one(rng: np.random.Generator, base: np.ndarray | float) -> np.ndarray:
        if options.init == "uniform":
            return rng.uniform(0, 1, size)
        if options.init == "smooth_noise":
            return _blurred(rng.uniform(0, 1, size))
        return base + rng.normal(0, options.init_scale, size)

    streams = (problem.rng(seed, "images") for seed in problem.seeds)
    return np.stack([one(rng, base) for rng, base in zip(streams, bases, strict=True)]).astype(np.float32)


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

    match = matching.matching_loss(problem, options)
    start = {"images": start_images(problem, options), **matching.start_labels(problem, options)}

    def objective(variables: dict, data: dict) -> tf.Tensor:
        images = variables["images"]
        loss = match(images, matching.soft_labels(variables, data), data)
        if options.tv:
            flat = tf.reshape(images, [-1, *problem.shape])
            variation = tf.reshape(tf.image.total_variation(flat), tf.shape(images)[:2])
            loss += options.tv * tf.reduce_mean(variation, axis=1)
        return loss

    result = matching.run_loop(
        objective, start, problem, options, box={"images": (0.0, 1.0)} if options.box else None,
        checkpoint=checkpoint, progress=progress, limits=limits,
    )  # fmt: skip
    return matching.inversion(problem, options, result, np.clip(result.best["images"], 0.0, 1.0))
