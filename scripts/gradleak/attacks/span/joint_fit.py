"""Members fitted together: Gauss–Newton on the residual of ``joint_residual``, within [0, 1], each image
within its possible error.

Only pixels near lit ones move. Which of the layer's units an image activates is settled apart: a unit that
switches makes δ jump, and no derivative shows that. So is the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.ndimage import maximum_filter

from gradleak.attacks.span import joint_linear, membership, thresholds
from gradleak.attacks.span.joint_linear import Linearisation
from gradleak.attacks.span.joint_residual import FittedImages, JointModel, remainders_without_each


def refine(
    model: JointModel, fitted: FittedImages, steps: int, progress: Callable[..., None]
) -> FittedImages:
    """``fitted`` after ``steps`` Gauss–Newton steps at most, their units switched before each where that
    lowers χ."""
    damping = 1.0
    for number in range(steps):
        lit = lit_pixels(fitted)
        fitted = with_switched_units(model, replace(fitted, images=np.where(lit, fitted.images, 0.0)))
        system = joint_linear.linearise(model, fitted, lit)
        fitted, misfit, damping = _step(model, fitted, system, damping)
        progress("step %d over %d images together: misfit %.3g", number + 1, len(fitted), misfit)
        if model.is_explained(misfit, fitted) or misfit > thresholds.STEP_CONVERGED * system.misfit:
            break
    return fitted


def refine_and_relabel(
    model: JointModel, fitted: FittedImages, steps: int, progress: Callable[..., None]
) -> FittedImages:
    """``refine``, and once more where labels then change."""
    fitted = refine(model, fitted, steps, progress)
    other = relabelled(model, fitted)
    changed = int((other.labels != fitted.labels).sum())
    if not changed:
        return fitted
    progress("%d of %d fitted images are of another class", changed, len(fitted))
    return refine(model, other, steps, progress)


def relabelled(model: JointModel, fitted: FittedImages) -> FittedImages:
    """``fitted`` with another label where that, and not the present one, gives the weight of a member in what
    all others leave.

    No derivative shows a wrong label, and the fit compensates it by moving all other images.
    """
    features = model.features(fitted)
    deltas, labels = model.layer.deltas(features), fitted.labels.copy()
    for k, span in enumerate(remainders_without_each(model, fitted)):
        weights = span.weigh(np.repeat(features[[k]], len(deltas[k]), axis=0), deltas[k])
        labels[k] = membership.label_by_weight(labels[k], *weights, model.weight)
    return replace(fitted, labels=labels)


def lit_pixels(fitted: FittedImages) -> np.ndarray:
    """bool [K, H, W, 1]: pixels that are not surely black, or have such a neighbour."""
    brightest = np.stack([maximum_filter(image.max(axis=-1), size=3) for image in fitted.images])
    return (brightest > thresholds.LIT_ERRORS * fitted.error[:, None, None])[..., None]


def with_switched_units(model: JointModel, fitted: FittedImages) -> FittedImages:
    """``fitted`` with those doubtful units switched that lower χ, the best first, at most one an image."""
    features, deltas = model.terms(fitted)
    remainder, directions = model.without(features, deltas) @ model.rows, model.directions(fitted)
    image, unit = _doubtful_units(model, fitted, features)
    if not len(image):
        return fitted
    other = fitted.active[image]
    other[np.arange(len(unit)), unit] ^= True
    products = model.products(features[image], other)
    jumps = model.layer.delta_at(products, fitted.labels[image]).numpy() - deltas[image]
    jumps, terms, active = jumps @ model.rows, features[image] / model.weight, fitted.active.copy()
    left = np.ones(len(unit), bool)
    now = model.trailing(remainder, directions)
    while left.any():
        trailing = _trailing_after(remainder, terms[left], jumps[left], directions)
        best = int(np.flatnonzero(left)[trailing.argmin()])
        switched = remainder - np.outer(terms[best], jumps[best])
        after = model.trailing(switched, directions)
        if after > thresholds.SWITCH_GAIN * now:
            break
        remainder, now = switched, after
        active[image[best], unit[best]] ^= True
        left &= image != image[best]  # its δ has changed
    return replace(fitted, active=active)


def _doubtful_units(
    model: JointModel, fitted: FittedImages, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Images and units, int [D] each, where the error of the image allows the other side of zero."""
    reach = (
        np.linalg.norm(model.layer.weights, axis=0)
        * np.linalg.norm(features, axis=1)[:, None]
        * fitted.error[:, None]
    )
    received = model.unit_inputs(features)
    near = np.abs(received) < thresholds.DOUBTFUL_UNIT * reach
    image, unit = np.argwhere(near | ((received > 0) != fitted.active)).T
    return image, unit


def _trailing_after(
    remainder: np.ndarray, terms: np.ndarray, jumps: np.ndarray, directions: int
) -> np.ndarray:
    """The squared norm [D] beyond the leading ``directions`` of remainder − t cᵀ, for all D terms t and jumps
    c at once.

    By the eigenvalues of the Gram matrix.
    """
    across = terms @ remainder
    crossed = across[:, :, None] * jumps[:, None, :]
    own = np.square(terms).sum(axis=1)[:, None, None] * jumps[:, :, None] * jumps[:, None, :]
    squares = np.linalg.eigvalsh(remainder.T @ remainder - crossed - crossed.transpose(0, 2, 1) + own)
    return np.maximum(squares[:, : squares.shape[1] - directions], 0).sum(axis=1)


def _step(
    model: JointModel, fitted: FittedImages, system: Linearisation, damping: float
) -> tuple[FittedImages, float, float]:
    """One Gauss–Newton step from ``fitted``, near which ``system`` is linear; χ after it, and the next
    damping."""
    before = system.misfit
    best = fitted, before
    for _ in range(thresholds.STEP_ATTEMPTS):
        change = joint_linear.solution(system, fitted.error / max(1.0, damping * system.level))
        for share in (1.0, thresholds.SHORT_STEP):
            images = system.pixels.moved(fitted.images, share * change)
            moved = replace(fitted, images=images)
            after = model.misfit(moved)
            if after < best[1]:
                best = moved, after
            if after < thresholds.GOOD_STEP * before:
                break
        if best[1] < thresholds.STEP_CONVERGED * before:
            very_good = share == 1.0 and best[1] < thresholds.VERY_GOOD_STEP * before
            damping *= thresholds.DAMPING_AFTER_GOOD if very_good else thresholds.DAMPING_AFTER_FAIR
            break
        damping *= thresholds.DAMPING_AFTER_BAD
    return *best, damping
