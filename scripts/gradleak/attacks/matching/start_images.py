"""Starting images of DLG: noise, mean images, or public images fitted to the leaked feature."""

from __future__ import annotations

import numpy as np

from gradleak.attacks.matching import fitted_starts
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.dummy_labels import given_labels
from gradleak.attacks.matching.targets import targets
from gradleak.attacks.problem import Problem
from gradleak.errors import UserError
from gradleak.optim.limits import Limits


def start_images(problem: Problem, options: DlgOptions) -> np.ndarray:
    """float32 [T, M, H, W, C]; each trial's start depends on its own seed alone.

    ``problem`` holds every trial ``options.starts`` times; start k has its own stream, so that more starts
    never change the earlier ones.
    """
    size = (problem.dummies(options), *problem.shape)
    bases = _bases(problem, options)

    def one(rng: np.random.Generator, base: np.ndarray | float) -> np.ndarray:
        if options.init in ("auto", "uniform"):
            return rng.uniform(0, 1, size)
        if options.init == "smooth_noise":
            return _blurred(rng.uniform(0, 1, size))
        return base + rng.normal(0, options.init_scale, size)

    purposes = ["images", *(f"images:{k}" for k in range(1, options.starts))] * len(problem.seeds)
    streams = (problem.rng(seed, purpose) for seed, purpose in zip(problem.seeds, purposes, strict=False))
    return np.stack([one(rng, base) for rng, base in zip(streams, bases, strict=True)]).astype(np.float32)


def fitted_images(problem: Problem, options: DlgOptions, limits: Limits) -> np.ndarray:
    """``start_images`` of ``init: features``: public images fitted to the gradients that the attack
    matches.
    """
    if problem.dummies(options) != 1:
        raise UserError(
            f"init: features is for updates of one image, and this one has {problem.dummies(options)}; of "
            "several images the gradients give a mixture of features. Choose another init"
        )
    skip = np.arange(len(problem.seeds)) % options.starts * fitted_starts.STARTS
    leaked = targets(problem, options)
    return fitted_starts.fitted_images(problem.model, leaked, problem.public, skip, limits)[:, None]


def _bases(problem: Problem, options: DlgOptions) -> list:
    """The images to which the normal noise of each trial is added: 0, or mean images."""
    trials = len(problem.seeds)
    if options.init not in ("public_mean", "class_mean"):
        return [0.0] * trials
    mean = problem.public.mean(axis=0)
    if options.init == "public_mean":
        return [mean] * trials
    members = [problem.public[problem.public_labels == c] for c in range(problem.classes)]
    means = np.stack([own.mean(axis=0) if len(own) else mean for own in members])
    return list(means[given_labels(problem, options)])


def _blurred(noise: np.ndarray) -> np.ndarray:
    """Gaussian blur of [M, H, W, C], each image rescaled to [0, 1]."""
    from scipy.ndimage import gaussian_filter  # takes time to import, and only this start needs it

    width = noise.shape[2] / 14  # of the Gaussian: two pixels of 28
    smooth = gaussian_filter(noise, (0, width, width, 0), mode="wrap")
    low, high = (bound(smooth, axis=(1, 2, 3), keepdims=True) for bound in (np.min, np.max))
    return (smooth - low) / (high - low)
