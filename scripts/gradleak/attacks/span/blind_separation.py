"""Rough features of members from the column space of M alone, by independent component analysis.

Spatial derivatives of images have heavier tails than a normal distribution, and mixtures of images lighter
ones than each of them. The independent components of the derivatives of a basis of the column space
approximate the members. Attack on features: Kariyappa et al. 2023 (Cocktail Party). FastICA: Hyvärinen 1999.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from gradleak.attacks.span import thresholds

# Y, Cr, Cb of ITU-R BT.601. Colour differences of images are far sparser than those of red, green and blue.
LUMA_AND_CHROMA = np.array([[0.299, 0.587, 0.114], [0.5, -0.419, -0.081], [-0.169, -0.331, 0.5]]).T


def separated(columns: np.ndarray, signals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features [K, I], the last entry one, of the components of ``signals`` [S, R], which are linear
    functions of the columns [I, R].

    A component whose last entry is zero is left out. There is none where all signals are zero.
    """
    if not signals.any():
        return np.zeros((0, len(columns)))
    size = min(thresholds.SIGNALS, len(signals))
    some = signals[rng.choice(len(signals), size, replace=False)]
    # Whitened here: scikit-learn 1.9 with whiten_solver="eigh" does not separate the signals of the unit
    # test.
    values, vectors = np.linalg.eigh(some.T @ some / size)
    kept = values > values[-1] * np.finfo(np.float64).eps * len(values)
    white = vectors[:, kept] / np.sqrt(values[kept])
    start = np.linalg.qr(rng.normal(size=(kept.sum(),) * 2))[0]
    features = (columns @ white @ _components(some @ white, start).T).T
    features = features[features[:, -1] != 0]
    return features / features[:, -1:]


def _components(signals: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The unmixing matrix [R, R] of white ``signals`` [S, R], from ``start`` [R, R].

    In float32, where two components that are nearly equal can become infinite; then in float64.
    """
    for dtype in (np.float32, np.float64):
        ica = FastICA(
            whiten=False,
            max_iter=thresholds.SEPARATION_STEPS,
            tol=thresholds.SEPARATION_TOLERANCE,
            w_init=start.astype(dtype),
        )
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", ConvergenceWarning)
                ica.fit(signals.astype(dtype))
        except ValueError:  # not finite
            continue
        if np.isfinite(ica.components_).all():
            return ica.components_.astype(np.float64)
    return start


def image_signals(images: np.ndarray) -> np.ndarray:
    """First and second differences of ``images`` [R, H, W, C], each kind in each channel scaled to the same
    mean square: [S, R]. Three channels count as red, green and blue."""
    if images.shape[-1] == len(LUMA_AND_CHROMA):
        images = images @ LUMA_AND_CHROMA
    down, right = np.diff(images, axis=1), np.diff(images, axis=2)
    kinds = [down, right, np.diff(down, axis=1), np.diff(right, axis=2), np.diff(down, axis=2)]
    parts = [
        kind[..., channel].reshape(len(images), -1) for kind in kinds for channel in range(kind.shape[-1])
    ]
    sizes = [np.sqrt(np.square(part).mean()) if part.size else 0.0 for part in parts]
    found = [part.T / size for part, size in zip(parts, sizes, strict=True) if size > 0]
    return np.concatenate([np.zeros((0, len(images))), *found])


def vector_signals(columns: np.ndarray) -> np.ndarray:
    """The entries of ``columns`` [I, R] that are not zero for all, less their means: [S, R]."""
    alive = columns[np.abs(columns).max(axis=1) > thresholds.TINY_LENGTH]
    return alive - alive.mean(axis=0) if len(alive) else alive
