"""A gradient matrix with noise in it, and how far a vector is from its column or row space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MARGIN = 3.0  # a singular value counts as signal when it exceeds the noise's norm this many times


@dataclass(frozen=True)
class Subspace:
    """The singular value decomposition of M [I, O] = left · diag(values) · rightᵀ, and its noise.

    left [I, R], values [R] falling, right [O, R], R = min(I, O). noise: spectral norm of what M has on top of the
    members' sum, such as the rounding of the shared float32 weights.
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    noise: float

    @property
    def rank(self) -> int:
        """Singular values above the noise."""
        return int((self.values > MARGIN * self.noise).sum())

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise of an entry of M, as if it were white."""
        return self.noise / (np.sqrt(len(self.left)) + np.sqrt(len(self.right)))

    @property
    def matrix(self) -> np.ndarray:
        """M [I, O]."""
        return self.left * self.values @ self.right.T

    @property
    def gain(self) -> np.ndarray:
        """How much of each singular direction counts as spanned, [R] in [0, 1].

        The residual q = f − left·(gain ∘ leftᵀf) has ‖q‖² = min over a of ‖f − M a‖² + noise²‖a‖²: a combination of M's
        columns is charged with the noise that it carries, so that there is no rank to choose.
        """
        return 1 - self.noise / np.hypot(self.values, self.noise)

    @property
    def transposed(self) -> Subspace:
        return Subspace(self.right, self.values, self.left, self.noise)

    def coefficients(self, vectors: np.ndarray) -> np.ndarray:
        """The minimiser a of ‖f − M a‖² + noise²‖a‖² for every f: [B, I] → [B, O]."""
        damped = self.values / (self.values**2 + self.noise**2)
        return (vectors @ self.left * damped) @ self.right.T

    def weigh(self, features: np.ndarray, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """δᵀ M⁺ f of every pair f, δ ([B, I], [B, O]), and how far the noise leaves it open; both [B].

        N for a member of a mean over N images (Wedderburn 1934).
        """
        left, right = self.coefficients(features), self.transposed.coefficients(signals)
        uncertainty = self.noise * np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        return (left * signals).sum(axis=1), uncertainty

    def residual(self, vectors: np.ndarray, avoid: np.ndarray | None = None) -> np.ndarray:
        """ρ [B] of vectors f [B, I]: that minimum relative to ‖f‖²; 0 in the span, 1 across it.

        avoid: orthonormal columns [I, A], within the span, that do not count: relative to the rest of f.
        """
        across = vectors - vectors @ self.left * self.gain @ self.left.T
        if avoid is not None:
            vectors = vectors - vectors @ avoid @ avoid.T
        return np.square(across).sum(axis=1) / np.maximum(np.square(vectors).sum(axis=1), 1e-300)

    def normalised_residual(self, vectors: np.ndarray) -> np.ndarray:
        """The same minimum relative to what noise alone would leave, noise²‖a‖², [B].

        About 1 to 2 for a vector that is in the noiseless span, whatever its weight in M; more for any other.
        """
        across = vectors - vectors @ self.left * self.gain @ self.left.T
        carried = self.noise * np.linalg.norm(self.coefficients(vectors), axis=1)
        return np.square(across).sum(axis=1) / np.maximum(np.square(carried), 1e-300)


def of_matrix(matrix: np.ndarray, noise: float) -> Subspace:
    """The subspace of M [I, O] (float64) whose noise has the spectral norm ``noise``."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return Subspace(left, values, right.T, noise)


def without(matrix: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """M with the members of ``signals`` [B, O] taken out: M (I − P), P the projector on those δ.

    Σ f_n δ_nᵀ (I − P) has lost exactly the terms whose δ lies in P, so its columns span the features of the other
    members alone. Unlike subtracting (1/N) f δᵀ this needs neither N nor the scale, and no error of f comes in.
    """
    if not len(signals):
        return matrix
    directions, _ = np.linalg.qr((signals / np.linalg.norm(signals, axis=1, keepdims=True)).T)
    return matrix - matrix @ directions @ directions.T


def basis(vectors: np.ndarray) -> np.ndarray:
    """Orthonormal columns [I, B] that span ``vectors`` [B, I]."""
    return np.linalg.qr(vectors.T)[0]
