"""The singular value decomposition of a layer's gradient with noise, and the distance of vectors from its
column or row space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradleak.attacks.span import thresholds


@dataclass(frozen=True)
class Subspace:
    """M [I, O] = left · diag(values) · rightᵀ, and its noise.

    left [I, R], values [R] in falling order, right [O, R], R = min(I, O). noise: spectral norm of what M has
    beside the members' sum, such as the rounding of the shared float32 weights.
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    noise: float

    @property
    def rank(self) -> int:
        """Singular values above the noise."""
        return int((self.values > thresholds.RANK_MARGIN * self.noise).sum())

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise of one entry of M, if the noise is white."""
        return self.noise / (np.sqrt(len(self.left)) + np.sqrt(len(self.right)))

    @property
    def matrix(self) -> np.ndarray:
        """M [I, O]."""
        return self.left * self.values @ self.right.T

    @property
    def gain(self) -> np.ndarray:
        """How much of each singular direction counts as spanned, [R] in [0, 1].

        The residual q = f − left·(gain ∘ leftᵀf) has ‖q‖² = min over a of ‖f − M a‖² + noise²‖a‖². A
        combination of M's columns pays for the noise that it carries, so no rank has to be chosen.
        """
        return 1 - self.noise / np.hypot(self.values, self.noise)

    @property
    def transposed(self) -> Subspace:
        return Subspace(self.right, self.values, self.left, self.noise)

    def coefficients(self, vectors: np.ndarray) -> np.ndarray:
        """The minimiser a of ‖f − M a‖² + noise²‖a‖² for every f: [B, I] → [B, O]."""
        damped = self.values / (self.values**2 + self.noise**2)
        return (vectors @ self.left * damped) @ self.right.T

    def weigh(self, features: np.ndarray, deltas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weight δᵀ M⁺ f of every pair f, δ ([B, I], [B, O]), and its standard uncertainty from the
        noise; both [B].

        The weight of a member of a mean over N images is N (Wedderburn 1934), in units of M's scale.
        """
        left, right = self.coefficients(features), self.transposed.coefficients(deltas)
        uncertainty = self.noise * np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        return (left * deltas).sum(axis=1), uncertainty

    def residual(self, vectors: np.ndarray, avoid: np.ndarray | None = None) -> np.ndarray:
        """ρ [B] of vectors f [B, I]: that minimum relative to ‖f‖². 0 in the span, 1 orthogonal to it.

        avoid: orthonormal columns [I, A] within the span. Then relative to the part of f orthogonal to them.
        """
        across = vectors - vectors @ self.left * self.gain @ self.left.T
        if avoid is not None:
            vectors = vectors - vectors @ avoid @ avoid.T
        return np.square(across).sum(axis=1) / np.maximum(np.square(vectors).sum(axis=1), thresholds.TINY)

    def normalised_residual(self, vectors: np.ndarray) -> np.ndarray:
        """The same minimum relative to noise²‖a‖², what noise alone would leave, [B].

        About 1 to 2 for a vector in the noiseless span, whatever its weight in M; more for any other.
        """
        across = vectors - vectors @ self.left * self.gain @ self.left.T
        carried = self.noise * np.linalg.norm(self.coefficients(vectors), axis=1)
        return np.square(across).sum(axis=1) / np.maximum(np.square(carried), thresholds.TINY)


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of the searched layer in one update, or what the members fitted so far leave of it.

    matrix: M [I, O], float64. span: its subspace. samples: the number of images as stated, 0 where it is not.
    weight: that of a member where it is known, else 0. one_step: whether the client made a single local step;
    after several, M is a sum of terms f δᵀ only where f does not change. steps: how many it made, as far as
    is known. rate: the client changed the layer's kernel and bias by −rate · M; 0 where that is not known.
    """

    matrix: np.ndarray
    span: Subspace
    samples: int = 0
    weight: float = 0.0
    one_step: bool = True
    steps: int = 1
    rate: float = 0.0

    @property
    def noise(self) -> float:
        return self.span.noise

    def without(self, deltas: np.ndarray) -> Subspace:
        """The subspace of M with the members of ``deltas`` [B, O] projected out."""
        return of_matrix(project_out(self.matrix, deltas), self.noise)


def layer_gradient(
    matrix: np.ndarray,
    noise: float,
    samples: int = 0,
    weight: float = 0.0,
    one_step: bool = True,
) -> LayerGradient:
    """The gradient M [I, O], whose noise has the spectral norm ``noise``."""
    return LayerGradient(matrix, of_matrix(matrix, noise), samples, weight, one_step)


def of_matrix(matrix: np.ndarray, noise: float) -> Subspace:
    """The subspace of M [I, O] (float64), whose noise has the spectral norm ``noise``."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return Subspace(left, values, right.T, noise)


def project_out(matrix: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """M (I − P), P the projector on the members' ``deltas`` [B, O].

    Σ f_n δ_nᵀ (I − P) has lost just the terms whose δ lies in P, so its columns span the features of the
    other members. Unlike a subtraction of (1/N) f δᵀ, this needs neither N nor the scale, and errors of f do
    not enter. A δ of zero spans nothing: the model is certain of that member, which adds nothing to M.
    """
    sizes = np.linalg.norm(deltas, axis=1, keepdims=True)
    deltas, sizes = deltas[sizes[:, 0] > 0], sizes[sizes[:, 0] > 0]
    if not len(deltas):
        return matrix
    directions, _ = np.linalg.qr((deltas / sizes).T)
    return matrix - matrix @ directions @ directions.T


def unexplained_share(matrix: np.ndarray, deltas: np.ndarray) -> float:
    """The share of M [I, O] (squared norm) outside the members' ``deltas`` [B, O]."""
    return float((np.linalg.norm(project_out(matrix, deltas)) / np.linalg.norm(matrix)) ** 2)


def orthonormal_basis(vectors: np.ndarray) -> np.ndarray:
    """Orthonormal columns [I, B] that span ``vectors`` [B, I]."""
    return np.linalg.qr(vectors.T)[0]
