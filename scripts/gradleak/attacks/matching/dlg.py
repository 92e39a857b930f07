"""DLG: optimise dummy images (and labels) until their gradient matches the leaked one.

Zhu, Liu and Han 2019, doi:10.48550/arXiv.1906.08935 (l2 loss, joint labels); Zhao, Mopuri and Bilen 2020,
doi:10.48550/arXiv.2001.02610 (labels first); Geiping et al. 2020, doi:10.48550/arXiv.2003.14053 (cosine loss,
total variation, box constraint, signed Adam with step decay).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from gradleak.attacks import receptive_field
from gradleak.attacks.matching import one_image, search
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.dummy_labels import given_labels, objection, soft_labels, start_labels
from gradleak.attacks.matching.objective import matching_loss
from gradleak.attacks.matching.start_images import fitted_images, start_images
from gradleak.attacks.problem import Inversion, Problem, not_applicable
from gradleak.optim.resources import Resources

NO_RESOURCES = Resources()


def invert(problem: Problem, options: DlgOptions, resources: Resources = NO_RESOURCES) -> Inversion:
    """Reconstruct every trial of ``problem``; the result is the best point by the attack's own objective."""
    reason = objection(problem, options)
    if not reason and problem.is_multi_label and options.init == "class_mean":
        reason = (
            "init: class_mean needs one class an image, and with one sigmoid a class it has any set of them"
        )
    if reason:
        return not_applicable(problem, reason)
    copies = problem.repeat(options.starts)
    match = matching_loss(copies, options)
    if options.init == "features":
        images = fitted_images(copies, options, resources.limits)
    else:
        images = start_images(copies, options)
    known = {"held": _insert_members(copies, options, images)} if problem.members else {}

    def objective(variables: dict, data: dict) -> tf.Tensor:
        images = variables["images"]
        if "held" in data:
            images = tf.where(data["held"], tf.stop_gradient(images), images)
        loss = match(images, soft_labels(variables, data, problem.loss), data)
        if options.tv:
            flat = tf.reshape(images, [-1, *problem.shape])
            variation = tf.reshape(tf.image.total_variation(flat), tf.shape(images)[:2])
            loss += options.tv * tf.reduce_mean(variation, axis=1)
        return loss

    start = {"images": images, **start_labels(copies, options, options.starts)}
    box = {"images": (0.0, 1.0)} if options.box else None
    result = search.run(search.Search(objective, start, known, box), copies, options, resources)
    result = search.best_of_starts(result, options.starts)
    if options.init == "auto":
        result = one_image.matched_again(result, problem, options, resources)
    found = np.clip(result.best["images"], 0.0, 1.0)
    if options.fill_outside_receptive_field:
        found = receptive_field.fill(found, receptive_field.mask(problem.model), problem.public)
    return search.inversion(problem, options, result, found)


def _insert_members(problem: Problem, options: DlgOptions, images: np.ndarray) -> np.ndarray:
    """Write the members of ``problem`` into ``images`` [T, M, H, W, C]; bool [T, M, 1, 1, 1]: where."""
    held = np.zeros([*images.shape[:2], 1, 1, 1], bool)
    members = problem.members
    assert members is not None  # as the caller has made sure
    pairs = places_of_members(given_labels(problem, options), members.accepted, members.labels)
    for trial, placed in enumerate(pairs):
        images[trial, placed[:, 0]] = members.images[trial, placed[:, 1]]
        held[trial, placed[:, 0]] = True
    return held


def places_of_members(labels: np.ndarray, accepted: np.ndarray, found: np.ndarray) -> list[np.ndarray]:
    """For each trial pairs (dummy, image) [P, 2]: each accepted image takes the place of a dummy of its
    label.

    labels: of the dummies, int [T, M]. accepted: bool [T, K] and found: int [T, K], labels of the images. An
    image is left out if no dummy of its label is free.
    """
    pairs = []
    for own, kept, classes in zip(labels, accepted, found, strict=True):
        free = {label: list(np.flatnonzero(own == label)) for label in np.unique(own)}
        images = np.flatnonzero(kept)
        placed = [(free[c].pop(0), k) for k, c in zip(images, classes[images], strict=True) if free.get(c)]
        pairs.append(np.array(placed, int).reshape(-1, 2))
    return pairs
