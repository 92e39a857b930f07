"""The residual of a joint fit: what members that are fitted together leave of the update.

Where the members' δ span fewer dimensions than there are members, most features lie in the column space of M
only in sums, and no search of that space shows them. But the remainder M − (1/N) Σ f δᵀ over the K fitted
members is the sum of the others alone. With exact images it has at most N − K singular values above the
noise. So its trailing singular values are the residual; its leading directions are free (variable projection:
Golub & Pereyra 1973).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer, features_of
from gradleak.attacks.span.subspace import Subspace, of_matrix


@dataclass(frozen=True)
class FittedImages:
    """K images that are taken for members. O outputs of the layer.

    images: float64 [K, H, W, C]. labels: int [K]. error: [K], how far off their pixels may be (RMS). active:
    bool [K, O], the layer's units that they activate.
    """

    images: np.ndarray
    labels: np.ndarray
    error: np.ndarray
    active: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, which: np.ndarray | slice) -> FittedImages:
        names = [part.name for part in fields(self)]
        return FittedImages(**{name: getattr(self, name)[which] for name in names})

    def joined(self, others: FittedImages) -> FittedImages:
        names = [part.name for part in fields(self)]
        return FittedImages(
            **{name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in names}
        )


@dataclass(frozen=True)
class JointModel:
    """One update, as a function of images that are fitted to it together.

    layer: in float64, with a ReLU behind it. span, matrix: of the update, M = span.matrix. samples: N. rows:
    orthonormal basis [O, R] of M's row space above the noise. nonzero_rows: rows of M that are not zero for
    all members; the others have no noise. weight: of a member, N where the scale is right. weak: number of
    missing members too weak to have a direction of their own in the remainder; at most half of the missing
    ones count as such.
    """

    layer: DenseLayer
    span: Subspace
    samples: int
    matrix: np.ndarray
    rows: np.ndarray
    nonzero_rows: int
    weight: float
    weak: int = 0

    @property
    def inputs(self) -> int:
        """Inputs of the layer without the constant one of the bias."""
        return len(self.layer.weights)

    def most_weak(self, fitted: FittedImages) -> int:
        """The largest number of members that can count as weak."""
        return (self.samples - len(fitted)) // 2

    def directions(self, fitted: FittedImages) -> int:
        """Number of leading directions of the remainder that are free."""
        return self.samples - len(fitted) - min(self.weak, self.most_weak(fitted))

    def is_possible(self, fitted: FittedImages) -> bool:
        """Whether the missing members leave any direction that determines ``fitted``, and the Jacobians fit
        into memory."""
        if not len(fitted):
            return False
        size = 8 * self.samples * len(self.span.left) * fitted.images[0].size
        return self.directions(fitted) < self.rows.shape[1] and size < thresholds.JACOBIAN_BYTES

    def start(self, images: np.ndarray, labels: np.ndarray, residual: np.ndarray) -> FittedImages:
        """``images`` [K, H, W, C] with their ρ [K], as the start of a fit."""
        black = thresholds.BLACK_STEPS * thresholds.JACOBIAN_STEP
        images = np.where(images < black, 0.0, images)
        active = (
            self.unit_inputs(features_of(self.layer, images)) > 0
            if len(images)
            else np.zeros((0, len(self.layer.offset)), bool)
        )
        error = np.maximum(thresholds.ERROR_OF_RESIDUAL * np.sqrt(residual), thresholds.LEAST_ERROR)
        return FittedImages(images, labels, error, active)

    def features(self, fitted: FittedImages) -> np.ndarray:
        """[K, I]."""
        if not len(fitted):
            return np.zeros((0, len(self.span.left)))
        return features_of(self.layer, fitted.images)

    def unit_inputs(self, features: np.ndarray) -> np.ndarray:
        """What the layer's units receive [K, O], for features [K, I]."""
        return features[:, : self.inputs] @ self.layer.weights + self.layer.offset

    def products(self, features: np.ndarray, active: np.ndarray) -> np.ndarray:
        """``unit_inputs`` without the bias, each unit held on its side of zero (``active``)."""
        received = self.unit_inputs(features)
        margin = thresholds.UNIT_MARGIN
        return (
            np.where(active, np.maximum(received, margin), np.minimum(received, -margin)) - self.layer.offset
        )

    def terms(self, fitted: FittedImages) -> tuple[np.ndarray, np.ndarray]:
        """Features [K, I] and δ [K, O]."""
        features = self.features(fitted)
        products = self.products(features, fitted.active)
        return features, self.layer.delta_at(products, fitted.labels).numpy()

    def without(self, features: np.ndarray, deltas: np.ndarray) -> np.ndarray:
        """M [I, O] less the terms of features [K, I] and δ [K, O]."""
        return self.matrix - features.T @ deltas / self.weight

    def remainder(self, fitted: FittedImages) -> np.ndarray:
        """M − (1/N) Σ f δᵀ over ``fitted`` [I, O]."""
        return self.without(*self.terms(fitted))

    def trailing(self, remainder: np.ndarray, directions: int) -> float:
        """χ of a ``remainder`` [I, R]: its norm beyond the leading ``directions``, in standard deviations of
        one entry's noise."""
        values = np.linalg.svd(remainder, compute_uv=False)
        return float(np.sqrt(np.square(values[directions:]).sum()) / self.span.deviation)

    def misfit(self, fitted: FittedImages) -> float:
        """χ of what ``fitted`` leave."""
        return self.trailing(self.remainder(fitted) @ self.rows, self.directions(fitted))

    def is_explained(self, misfit: float, fitted: FittedImages) -> bool:
        """Whether χ of what ``fitted`` leave is no more than that of noise."""
        directions = self.directions(fitted)
        freedom = (self.nonzero_rows - directions) * (self.rows.shape[1] - directions)
        return misfit < thresholds.EXPLAINED * np.sqrt(freedom)

    def noise(self, fitted: FittedImages) -> float:
        """Spectral norm of the remainder beside the missing members: noise, and errors of ``fitted``."""
        values = np.linalg.svd(self.remainder(fitted), compute_uv=False)
        return max(self.span.noise, float(values[min(self.directions(fitted), len(values) - 1)]))

    def with_weak(self, weak: int) -> JointModel:
        return replace(self, weak=weak)


def joint_model(layer: DenseLayer, span: Subspace, samples: int, weight: float) -> JointModel:
    """The model of the update with ``span`` over N = ``samples`` images. weight: of a member."""
    matrix = span.matrix
    rows = span.right[:, span.values > span.noise]
    return JointModel(layer, span, samples, matrix, rows, int(matrix.any(axis=1).sum()), weight)


def remainders_without_each(model: JointModel, fitted: FittedImages) -> Iterator[Subspace]:
    """For each of ``fitted``, what all the others leave of M: its own term and the missing members'."""
    (features, deltas), noise = model.terms(fitted), model.noise(fitted)
    for index in range(len(fitted)):
        others = np.arange(len(fitted)) != index
        yield of_matrix(model.without(features[others], deltas[others]), noise)


def leave_one_out(model: JointModel, fitted: FittedImages) -> np.ndarray:
    """[K]: the growth of χ² without each image, as a share of the most that it can be. 0: the image explains
    nothing.

    One image fewer frees one more direction of the remainder, and displaces at most the weakest of the free
    ones.
    """
    features, deltas = model.terms(fitted)
    remainder, directions = model.without(features, deltas) @ model.rows, model.directions(fitted)
    squares = np.square(np.linalg.svd(remainder, compute_uv=False) / model.span.deviation)
    now = squares[directions:].sum()
    most = squares[directions - 1] if directions else now
    terms = zip(features, deltas @ model.rows, strict=True)
    without = np.array(
        [model.trailing(remainder + np.outer(f, d) / model.weight, directions) for f, d in terms]
    )
    return (without**2 - now) / most


def is_essential(model: JointModel, fitted: FittedImages) -> np.ndarray:
    """bool [K]: all images but those of small ``leave_one_out``, as far as these can be spared.

    The fit compensates one wrong image by moving all others. Without the images of the least influence the
    others become exact, and the remainder then shows those again, more exactly, beside other missing members.
    """
    influence = leave_one_out(model, fitted)
    spare = int(thresholds.FREE_DIRECTIONS * model.rows.shape[1]) - model.directions(fitted)
    order = np.argsort(influence, kind="stable")[: max(spare, 0)]
    essential = np.ones(len(fitted), bool)
    essential[order[influence[order] < thresholds.WEAK_IMAGE]] = False
    return essential
