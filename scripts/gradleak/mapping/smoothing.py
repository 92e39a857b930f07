"""Label smoothing in the client's loss, which turns the columns of absent classes around on a trained model.

With the targets (1 − ε) e_y + ε / C (Szegedy et al. 2016, section 7) the gradient of an absent class's
column is Σ_n (p_nc − ε / C) h_n / N. Where the model gives the class less than ε / C, its sign is that of −h,
and where it gives much less, all absent classes have the same column −(ε / C) h̄.
"""

from __future__ import annotations

import numpy as np

from gradleak.mapping.classifier import Public
from gradleak.mapping.finding import Finding

# One image: the largest misfit of p − e_y to the delta that counts as exact, and by how much it must be
# better than under the other sign. Measured with tests/benchmarks/bench_mapping.py, as the others below.
EXACT, BETTER = 0.02, 5.0
ONE_IMAGE = 1e-3  # largest share of the last kernel's delta that is not of rank one
MOST = 0.6  # ε that counts as one
NONE = 0.005  # ε below which the labels count as hard
# A plateau: the larger columns differ by at most EQUAL, the expected softmax of their classes by a factor of
# more than exp(UNEQUAL) (standard deviation of its logarithm). Of hard labels the columns differ by 0.17 or
# more where the softmax does by 0.3. LEAST_COLUMNS that are ALIKE, whatever the others, are a doubt, and so
# is one more that are ROUGHLY alike, or two of a few.
EQUAL, ALIKE, ROUGHLY, UNEQUAL, LEAST_COLUMNS = 0.08, 0.1, 0.25, 0.3, 3
# Median public softmax of the true class from which smoothed labels lower it again.
CONFIDENT, FEW_COLUMNS = 0.75, 5
RARE = 0.03  # largest median softmax of classes that smoothed labels turn around, ε / C for ε = 0.3


def one_image(
    kernel: np.ndarray, bias: np.ndarray, weight: np.ndarray, offset: np.ndarray
) -> tuple[int, float] | None:
    """(direction, ε) if the delta is exactly that of one image, or of equal features; else None.

    direction: 1 for after − before, −1 for the opposite. kernel [d, C], bias [C]: deltas of the last layer.
    weight, offset: its weights. One image has the gradient h rᵀ, so h = kernel · bias / ‖bias‖² is known, and
    with it p. Then r = a (p − (1 − ε) e_y − ε / C) has the unknowns a, ε and y.
    """
    features = single_feature(kernel, bias)
    if features is None or len(bias) < LEAST_COLUMNS:  # of two classes p − e_y has one direction for any y
        return None
    bias = bias.astype(np.float64)
    logits = features @ weight + offset
    softmax = np.exp(logits - logits.max())
    softmax /= softmax.sum()
    fits = {direction: _fit(-direction * bias, softmax) for direction in (1, -1)}
    best = min(fits, key=lambda direction: fits[direction][0])
    misfit, epsilon = fits[best]
    if misfit > EXACT or fits[-best][0] < BETTER * misfit:
        return None
    return best, epsilon


def single_feature(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray | None:
    """h [d] of the delta h rᵀ of one image, whose bias has the delta r; None if it is not of that form.

    kernel [d, C], bias [C]: deltas of the last layer.
    """
    kernel, bias = kernel.astype(np.float64), bias.astype(np.float64)
    if not bias.any():
        return None
    features = kernel @ bias / (bias @ bias)
    if np.linalg.norm(kernel - np.outer(features, bias)) > ONE_IMAGE * np.linalg.norm(kernel):
        return None
    return features


def _fit(residual: np.ndarray, softmax: np.ndarray) -> tuple[float, float]:
    """(relative misfit of ``residual`` to a (p − target), ε), over all y, a > 0 and ε in [0, MOST]."""
    classes, norm = len(softmax), float(np.linalg.norm(residual))
    label = int(np.argmin(residual))
    hard = softmax - np.eye(classes)[label]
    size = max(float(residual @ hard / (hard @ hard)), 0.0)
    best = float(np.linalg.norm(residual - size * hard)) / norm, 0.0
    for label in range(classes):  # where p_y is above its target, the label has the largest residual
        absent = np.arange(classes) != label
        design = np.stack([softmax[absent], -np.ones(classes - 1)], axis=1)
        (slope, level), *_ = np.linalg.lstsq(design, residual[absent], rcond=None)
        epsilon = classes * level / slope if slope > 0 else -1.0
        misfit = float(np.linalg.norm(residual[absent] - design @ [slope, level])) / norm
        if NONE < epsilon < MOST and misfit < 0.5 * best[0]:
            best = misfit, float(epsilon)
    return best


def plateau(kernel: np.ndarray, columns: np.ndarray, public: Public) -> float:
    """How far the larger half of some columns are from equal, relative.

    kernel: delta of the last layer [d, C]. columns: bool [C], those that count as absent classes. Equal
    columns show nothing if the public softmax of their classes is also equal, or above the targets: then
    inf.
    """
    if not _is_unequal(expected_softmax(columns, public)):
        return np.inf
    chosen = kernel[:, columns].astype(np.float64)
    order = np.argsort(-np.linalg.norm(chosen, axis=0))[: max(2, (chosen.shape[1] + 1) // 2)]
    mean = chosen[:, order].mean(axis=1, keepdims=True)
    apart = np.linalg.norm(chosen[:, order] - mean) / np.sqrt(len(order))
    return float(apart / max(float(np.linalg.norm(mean)), 1e-300))


def is_doubtful(kernel: np.ndarray, columns: np.ndarray, public: Public) -> bool:
    """Whether some of the columns are nearly equal, as of smoothed labels, and the others of present classes.

    Arguments as of ``plateau``. Three or four columns are enough where those of hard labels would differ. Two
    are enough among a few columns of a confident model.
    """
    relative, expected = _relative(kernel, columns), expected_softmax(columns, public)
    for most, number in ((ALIKE, LEAST_COLUMNS), (ROUGHLY, LEAST_COLUMNS + 1)):
        if any(row.sum() >= number and _is_unequal(expected[row]) for row in relative <= most):
            return True
    is_confident = np.median(np.diag(public.softmax)) >= CONFIDENT
    return bool(is_confident and len(relative) <= FEW_COLUMNS and (relative <= ROUGHLY).sum() > len(relative))


def are_alike(kernel: np.ndarray, columns: np.ndarray) -> bool:
    """``is_doubtful`` without public images to tell how columns of hard labels would differ."""
    relative = _relative(kernel, columns)
    if len(relative) <= FEW_COLUMNS:
        return bool((relative <= ROUGHLY).sum() > len(relative))
    pairs = ((ALIKE, LEAST_COLUMNS), (ROUGHLY, LEAST_COLUMNS + 1))
    return any(bool(((relative <= most).sum(axis=1) >= number).any()) for most, number in pairs)


def _relative(kernel: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[K, K]: how far each two of K columns are apart, relative to the larger one."""
    chosen = kernel[:, columns].astype(np.float64)
    size = np.linalg.norm(chosen, axis=0)
    far = np.linalg.norm(chosen[:, :, None] - chosen[:, None, :], axis=0)
    return far / np.maximum(np.maximum(size[:, None], size), 1e-300)


def _is_unequal(expected: np.ndarray) -> bool:
    """Whether columns of hard labels would differ, by the expected softmax of their classes."""
    if len(expected) < LEAST_COLUMNS or np.median(expected) > RARE:
        return False
    return bool(np.std(np.log(np.maximum(expected, 1e-12))) >= UNEQUAL)


def expected_softmax(absent: np.ndarray, public: Public) -> np.ndarray:
    """Mean public softmax of the absent classes on images of the others. absent: bool [C]."""
    present = ~absent if (~absent).any() else np.ones_like(absent)
    return public.softmax[present][:, absent].mean(axis=0)


def find_smoothing(of_draws: list[tuple[str, float | None]], classes: int, scale: Finding) -> Finding:
    """value: ε of the labels' smoothing, 0.0 for hard labels, None if undetermined.

    of_draws: what each draw shows (see ``sign.DrawEvidence``): ("exact", ε), ("plateau", its mean bias delta
    in size), ("sizes", None) where columns have the sizes of hard labels, or ("", None).
    """
    exact = [value for kind, value in of_draws if kind == "exact" and value is not None]
    levels = [value for kind, value in of_draws if kind == "plateau" and value is not None]
    if exact:
        epsilon = float(np.median(exact))
        return Finding(epsilon, 0.95, "the residual of a single image is known exactly")
    if levels:
        epsilon = classes * float(np.median(levels)) / scale.value
        return Finding(
            float(min(epsilon, 1.0)),
            min(0.9, scale.confidence),
            "the columns of absent classes are equal, though the public softmax of the classes is not",
        )
    if any(kind == "sizes" for kind, _ in of_draws):
        return Finding(0.0, 0.7, "the columns of absent classes have unequal sizes, like the public softmax")
    return Finding(None, 0.0, "no class is surely absent, or the model gives all classes like probabilities")
