"""Leaked gradients in the form in which matching them is cheapest."""

import numpy as np
import tensorflow as tf

from gradleak.gradients.products import Factored, Gradient

# A matrix counts as of lower rank when this is all that is lost, relative to its norm. It is the rounding
# of a float32 sum, so the loss that a perfect match can reach is not raised.
_ROUNDING = 3e-7
_MOST_FACTORS = 128  # beyond, finding them takes long and saves little


def pack_targets(gradients: list[np.ndarray]) -> dict[str, np.ndarray]:
    """L gradients [T, *shape] as the named arrays that a loop takes for data, leading axes T or 1.

    Trials that all share one gradient get it once. A matrix of low rank is stored as two factors: the
    gradient of a dense kernel has at most as many ranks as there were images (times steps), and a sweep
    over many leaks would otherwise spend its time reading targets. ``unpack_targets`` is the way back.
    """
    packed = {}
    for index, gradient in enumerate(gradients):
        gradient = gradient[:1] if (gradient == gradient[:1]).all() else gradient
        factors = _factors(gradient) if gradient.ndim == 3 else None
        if factors is None:
            packed[f"target_{index}"] = gradient
        else:
            packed[f"target_{index}_left"], packed[f"target_{index}_right"] = factors
    return packed


def unpack_targets(data: dict[str, tf.Tensor], count: int) -> list[Gradient]:
    """The ``targets`` of ``Matcher.products`` for ``count`` = L variables, from what ``pack_targets``
    gave.
    """
    return [
        data[f"target_{index}"]
        if f"target_{index}" in data
        else Factored(data[f"target_{index}_left"], data[f"target_{index}_right"])
        for index in range(count)
    ]


def _factors(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """[T, S, I] and [T, S, O] with S the greatest rank of the matrices [T, I, O]; None if that saves
    little.
    """
    *_, height, width = matrices.shape
    most = min(height * width // (2 * (height + width)), _MOST_FACTORS)
    split = []
    for matrix in matrices if most else []:
        pair = _split(matrix, most)
        if pair is None:
            break  # of a block of noise the first says all
        split.append(pair)
    if len(split) < len(matrices):
        return None
    rank = max(len(left) for left, _ in split)
    left, right = (
        np.stack([np.pad(pair[side], [(0, rank - len(pair[side])), (0, 0)]) for pair in split]).astype(
            matrices.dtype
        )
        for side in (0, 1)
    )
    return left, right


def _split(matrix: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Factors [S, I] and [S, O] of a matrix [I, O] of rank S <= ``most``, or None if its rank is higher.

    From the range of the matrix on random vectors (Halko et al. 2011, algorithm 4.1), as a full
    decomposition of a large layer takes longer than many an attack. By TensorFlow rather than NumPy, whose
    threads wait for one another in busy loops where cores are shared.
    """
    matrix = tf.constant(matrix, tf.float64)
    probes = np.random.default_rng(0).normal(size=(matrix.shape[1], most))
    basis, _ = tf.linalg.qr(matrix @ probes)
    within = tf.matmul(basis, matrix, transpose_a=True)
    floor = _ROUNDING * tf.norm(matrix)
    if not tf.norm(matrix - basis @ within) <= floor:  # so that one with a NaN in it stays whole
        return None
    values, inner, right = tf.linalg.svd(within)
    lost = tf.sqrt(tf.cumsum(values**2, reverse=True))  # by keeping none, one, two, ... of the values
    rank = max(int(tf.reduce_sum(tf.cast(lost > floor, tf.int32))), 1)
    left = basis @ inner[:, :rank] * values[:rank]
    return tf.transpose(left).numpy(), tf.transpose(right[:, :rank]).numpy()
