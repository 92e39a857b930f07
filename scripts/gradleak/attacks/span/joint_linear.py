"""The linear least squares of one Gauss–Newton step of the joint fit.

Moving image k by x changes −N · remainder by (J x) δᵀ + f (B Wᵀ J x)ᵀ, J = ∂f/∂x and B = ∂δ/∂(unit inputs).
Changes along the remainder's leading directions, on its left or on its right, are free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import LinearOperator, lsmr

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.dense_layer import DenseLayer, feature_slopes
from gradleak.attacks.span.joint_residual import FittedImages, JointModel


@dataclass(frozen=True)
class Pixels:
    """The pixels of K images that may move, P an image at most.

    numbers: int [K, P], of the flat image. padding: bool [K, P], where an image has fewer. values: [K, P],
    before the step.
    """

    numbers: np.ndarray
    padding: np.ndarray
    values: np.ndarray

    def moved(self, images: np.ndarray, change: np.ndarray) -> np.ndarray:
        """``images`` [K, H, W, C] with ``change`` [K, P] added."""
        flat = images.reshape(len(images), -1).copy()
        for image, numbers, padding, values in zip(
            flat, self.numbers, self.padding, self.values + change, strict=True
        ):
            image[numbers[~padding]] = values[~padding]
        return flat.reshape(images.shape)


@dataclass(frozen=True)
class Linearisation:
    """χ near some images as a linear function of their pixels. A of I inputs are not zero for all images.

    pixels: those that may move. misfit: χ. jacobian: ∂f/∂x, float32 [K, A, P]. left [A, D], right [R, D]: the
    free directions. features [K, A], deltas [K, R], delta_jacobian [K, O, R]: of the images, in the basis of
    rows. kernel: [A (− 1), O]. scale: the weight of a member times an entry's noise. target: [A, R], the
    part of the remainder that is to become small, over an entry's noise. inputs: bool [I], the A.
    """

    pixels: Pixels
    misfit: float
    jacobian: np.ndarray
    left: np.ndarray
    right: np.ndarray
    features: np.ndarray
    deltas: np.ndarray
    delta_jacobian: np.ndarray
    kernel: np.ndarray
    scale: float
    target: np.ndarray
    inputs: np.ndarray

    @property
    def level(self) -> float:
        """χ an entry."""
        return self.misfit / np.sqrt(self.target.size)

    def change(self, moves: np.ndarray) -> np.ndarray:
        """−d remainder / σ for changes of the features [K, A]."""
        bent = np.einsum("koq,ko->kq", self.delta_jacobian, moves[:, : len(self.kernel)] @ self.kernel)
        changed = moves.T @ self.deltas + self.features.T @ bent
        return without_free(changed, self.left, self.right) / self.scale

    def adjoint(self, matrix: np.ndarray) -> np.ndarray:
        """The adjoint of ``change``: [K, A]."""
        matrix = without_free(matrix, self.left, self.right) / self.scale
        moves = self.deltas @ matrix.T
        moves[:, : len(self.kernel)] += (
            np.einsum("koq,kq->ko", self.delta_jacobian, self.features @ matrix) @ self.kernel.T
        )
        return moves


def without_free(matrix: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``matrix`` [A, R] without the directions ``left`` [A, D] and ``right`` [R, D]."""
    matrix = matrix - left @ (left.T @ matrix)
    return matrix - (matrix @ right) @ right.T


def linearise(model: JointModel, fitted: FittedImages, lit: np.ndarray) -> Linearisation:
    """χ near ``fitted``. lit: bool [K, H, W, 1 or C], the pixels that may move."""
    features, deltas = model.terms(fitted)
    remainder = model.without(features, deltas) @ model.rows
    left, values, right = np.linalg.svd(remainder, full_matrices=False)
    directions = model.directions(fitted)
    misfit = float(np.sqrt(np.square(values[directions:]).sum()) / model.span.deviation)
    pixels = _pixels(fitted, np.broadcast_to(lit, fitted.images.shape).reshape(len(fitted), -1))
    jacobian = _jacobian(model.layer, fitted, features, pixels)
    inputs = (jacobian != 0).any(axis=(0, 2)) | (features > 0).any(axis=0)
    left, right = left[inputs, :directions], right[:directions].T
    products = model.products(features, fitted.active)
    return Linearisation(
        pixels=pixels,
        misfit=misfit,
        jacobian=jacobian[:, inputs],
        left=left,
        right=right,
        features=features[:, inputs],
        deltas=deltas @ model.rows,
        delta_jacobian=model.layer.delta_jacobian_at(products, fitted.labels).numpy() @ model.rows,
        kernel=model.layer.weights[np.flatnonzero(inputs[: model.inputs])],
        scale=model.weight * model.span.deviation,
        target=without_free(remainder[inputs], left, right) / model.span.deviation,
        inputs=inputs,
    )


def _pixels(fitted: FittedImages, lit: np.ndarray) -> Pixels:
    """The pixels ``lit`` (bool [K, H·W·C])."""
    most = int(lit.sum(axis=1).max())
    numbers = np.argsort(~lit, axis=1, kind="stable")[:, :most]
    values = np.take_along_axis(fitted.images.reshape(len(fitted), -1), numbers, axis=1)
    return Pixels(numbers, ~np.take_along_axis(lit, numbers, axis=1), values)


def _jacobian(layer: DenseLayer, fitted: FittedImages, features: np.ndarray, pixels: Pixels) -> np.ndarray:
    """∂f/∂x, float32 [K, I, P], by differences that stay within [0, 1]."""
    out = np.zeros((len(fitted), features.shape[1], pixels.numbers.shape[1]), np.float32)
    for k, image in enumerate(fitted.images):
        numbers = pixels.numbers[k, ~pixels.padding[k]]
        slopes = feature_slopes(layer, image, features[k], numbers, thresholds.JACOBIAN_STEP)
        out[k, :, : len(numbers)] = slopes.T
    return out


def solution(system: Linearisation, error: np.ndarray) -> np.ndarray:
    """Changes of the pixels [K, P] of least χ² + Σ ‖x‖²/error² that leave all within [0, 1]. error: [K]."""
    start = system.pixels.values
    downhill = transposed_times(system.jacobian, system.adjoint(system.target))
    fixed_pixels = system.pixels.padding | ((start <= 0) & (downhill <= 0)) | ((start >= 1) & (downhill >= 0))
    fixed = np.zeros_like(start)
    for _ in range(thresholds.BOUND_SOLUTIONS):
        target = system.target - system.change(times(system.jacobian, fixed))
        change = _unbounded(system, target, fixed_pixels, error) + fixed
        low, high = (start + change < 0) & ~fixed_pixels, (start + change > 1) & ~fixed_pixels
        if not (low | high).any():
            break
        fixed[low], fixed[high] = -start[low], 1 - start[high]
        fixed_pixels |= low | high
    return np.clip(start + change, 0, 1) - start


def _unbounded(system: Linearisation, target: np.ndarray, fixed: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The least squares without bounds, by LSMR (Fong & Saunders 2011). Pixels ``fixed`` do not move."""
    count, pixels = fixed.shape
    jacobian = system.jacobian * ~fixed[:, None, :]
    inverse = _preconditioner(system, jacobian, error)
    moves, prior = np.matmul(jacobian, inverse), inverse / error[:, None, None].astype(np.float32)

    def forward(unknown: np.ndarray) -> np.ndarray:
        unknown = unknown.reshape(count, pixels)
        return np.concatenate([system.change(times(moves, unknown)).ravel(), times(prior, unknown).ravel()])

    def backward(residuals: np.ndarray) -> np.ndarray:
        data = residuals[: target.size].reshape(target.shape)
        rest = residuals[target.size :].reshape(count, pixels)
        back = transposed_times(moves, system.adjoint(data)) + transposed_times(prior, rest)
        return back.ravel().astype(float)

    size, tolerance = count * pixels, thresholds.LSMR_TOLERANCE
    operator = LinearOperator((target.size + size, size), matvec=forward, rmatvec=backward, dtype=float)
    right = np.concatenate([target.ravel(), np.zeros(size)])
    unknown = lsmr(operator, right, maxiter=thresholds.LSMR_ITERATIONS, atol=tolerance, btol=tolerance)[0]
    change = times(inverse, unknown.reshape(count, pixels))
    change[fixed] = 0
    return change


def _preconditioner(system: Linearisation, jacobian: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The inverse Cholesky factor of each image's own normal equations, float32 [K, P, P]."""
    count, _, pixels = jacobian.shape
    bound = system.deltas - (system.deltas @ system.right) @ system.right.T
    inverse = np.empty((count, pixels, pixels), np.float32)
    left = system.left.astype(np.float32)
    for k in range(count):
        own = jacobian[k] - left @ (left.T @ jacobian[k])
        normal = (own.T @ own).astype(float) * (bound[k] @ bound[k]) / system.scale**2 + np.eye(
            pixels
        ) / error[k] ** 2
        inverse[k] = solve_triangular(np.linalg.cholesky(normal), np.eye(pixels), lower=True).T
    return inverse


def times(jacobian: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """jacobian [K, A, P] times pixels [K, P] in float32: [K, A] in float64."""
    return np.matmul(jacobian, pixels[:, :, None].astype(np.float32))[:, :, 0].astype(float)


def transposed_times(jacobian: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The transpose of jacobian [K, A, P] times moves [K, A]: float32 [K, P]."""
    return np.matmul(jacobian.transpose(0, 2, 1), moves[:, :, None].astype(np.float32))[:, :, 0]
