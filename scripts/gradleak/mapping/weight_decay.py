"""Weight decay in a client's training: the part of a delta that is proportional to the weights of the round.

With the decay λ each local step of SGD adds −η λ w, so the delta of T steps is a sum of gradients plus κ w,
where κ = (1 − η λ)^T − 1 and w are the weights of the round. It is the same for decoupled decay (AdamW,
Loshchilov and Hutter 2019). The part is found where the gradients have no entries:

* rows and columns of a kernel whose gradient is zero, of pixels that are always 0 and of inactive units;
* the sums of the last layer over its classes, which are zero for the cross-entropy of a softmax;
* the singular directions beyond the rank of the gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.mapping.finding import Finding
from gradleak.mapping.head import Head

LEAST = 5e-7  # |κ|: eight times the rounding of a weight, 2⁻²⁴
CONSTANT = 6.0  # mean / standard deviation of δ / w in a row that has no gradient
LEAST_ENTRIES = 9  # of such a row
EXPLAINED = 0.95  # share of a sum's, or of a tail's, squares that κ w explains
AGREE = 0.1  # relative difference of two κ that count as one
LEAST_WIDTH = 32  # of a kernel whose singular directions are used


@dataclass(frozen=True)
class Decay:
    """finding: value |κ| per round, 0 if there is none. factors: κ of each tensor of the delta, float64 [L].

    κ has the sign of the delta: it is negative in after − before.
    """

    finding: Finding
    factors: np.ndarray

    @property
    def direction(self) -> int:
        """+1 if the weights shrink in after − before, −1 in before − after, 0 without decay."""
        return -int(np.sign(self.factors[np.argmax(np.abs(self.factors))]))


def find_weight_decay(deltas: list[np.ndarray], before: list[np.ndarray], head: Head | None) -> Decay:
    """deltas: [D, …] each, of clients with one protocol. before: the weights of the round.

    head: the last dense layer, None if there is none.
    """
    kernels = [i for i, weight in enumerate(before) if weight.ndim > 1]
    found = {i: _of_rows(deltas[i][0], before[i]) for i in kernels}
    if head and head.has_sums and found[head.kernel_index] is None:
        found[head.kernel_index] = _of_sums(deltas[head.kernel_index][0], before[head.kernel_index])
    if all(factor is None for factor in found.values()):
        widest = max(kernels, key=lambda i: min(_matrix(before[i]).shape))
        found[widest] = _of_tail(deltas[widest][0], before[widest])
    known = [factor for factor in found.values() if factor is not None]
    present = [factor for factor in known if abs(factor) >= LEAST]
    if not present:
        return Decay(
            Finding(0.0, 0.7, "no part of the delta is proportional to the weights"), np.zeros(len(before))
        )
    common = float(np.median(present))
    if any(abs(factor - common) > AGREE * abs(common) for factor in present):
        listed = ", ".join(f"{factor:.2e}" for factor in present)
        return Decay(
            Finding(
                0.0,
                0.0,
                f"parts of the delta are proportional to the weights, by different factors: {listed}",
            ),
            np.zeros(len(before)),
        )
    rest = common if len(present) == len(known) else 0.0
    factors = np.full(len(before), rest)
    for i, factor in found.items():
        if factor is not None:
            factors[i] = common if abs(factor) >= LEAST else 0.0
    bias = head.bias_index if head else None
    if bias is not None and not _biases_decay(deltas[bias][0], before[bias], common):
        factors[[i for i, weight in enumerate(before) if weight.ndim == 1]] = 0.0
    evidence = (
        f"in {len(present)} of {len(known)} kernels, delta = {common:.3e} × weights where no gradient is"
    )
    return Decay(Finding(abs(common), 0.95, evidence), factors)


def without_decay(deltas: list[np.ndarray], before: list[np.ndarray], decay: Decay) -> list[np.ndarray]:
    """The deltas less the part of the decay, float32; the same arrays where there is none."""
    return [
        (delta - factor * weight.astype(np.float64)).astype(np.float32) if factor else delta
        for delta, weight, factor in zip(deltas, before, decay.factors, strict=True)
    ]


def _matrix(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1]).astype(np.float64)


def _of_rows(delta: np.ndarray, weight: np.ndarray) -> float | None:
    """κ by rows and columns in which δ / w is constant; 0 if rows are exactly zero, None without any."""
    found, zero = [], False
    large = np.abs(weight) > 0.3 * np.sqrt(np.mean(np.square(weight, dtype=float)))
    ratio = np.divide(
        _matrix(delta), _matrix(weight), out=np.zeros_like(_matrix(weight)), where=_matrix(large) > 0
    )
    for values, used in ((ratio, _matrix(large)), (ratio.T, _matrix(large).T)):
        number = used.sum(axis=1)
        enough = number >= LEAST_ENTRIES
        mean = values.sum(axis=1) / np.maximum(number, 1)
        variance = (used * (values - mean[:, None]) ** 2).sum(axis=1) / np.maximum(number - 1, 1)
        constant = enough & (np.abs(mean) >= LEAST) & (np.abs(mean) > CONSTANT * np.sqrt(variance))
        found += mean[constant].tolist()
        zero |= bool((enough & (mean == 0) & (variance == 0)).any())
    if len(found) < 2:
        return 0.0 if zero else None
    common = float(np.median(found))
    alike = np.mean(np.abs(np.array(found) - common) < AGREE * abs(common))
    return common if alike > 0.8 and not zero else 0.0 if zero else None


def _biases_decay(delta: np.ndarray, bias: np.ndarray, factor: float) -> bool:
    """Whether the sum of the last bias's delta is that of κ b and not zero. True if it shows nothing."""
    return abs(float(delta.sum(dtype=float))) >= 0.5 * abs(factor * float(bias.sum(dtype=float)))


def _of_sums(delta: np.ndarray, weight: np.ndarray) -> float | None:
    """κ by the sums over the classes of the last kernel [d, C]; None if they show nothing."""
    sums, own = delta.astype(np.float64).sum(axis=-1), weight.astype(np.float64).sum(axis=-1)
    rounding = 2 * FLOAT32_ROUNDING * np.sqrt(np.sum(np.square(weight, dtype=float), axis=-1))
    if len(own) < LEAST_ENTRIES or not own.any():  # of weights that start at zero, no decay shows
        return None
    if np.linalg.norm(own) * LEAST < np.linalg.norm(rounding):
        return None
    factor = float(own @ sums / (own @ own))
    if np.linalg.norm(sums - factor * own) ** 2 < (1 - EXPLAINED) * np.linalg.norm(sums) ** 2:
        return factor
    return None


def _of_tail(delta: np.ndarray, weight: np.ndarray) -> float | None:
    """κ by the smaller half of the singular directions; None if κ w does not explain what is there."""
    matrix, own = _matrix(delta), _matrix(weight)
    half = min(matrix.shape) // 2
    if min(matrix.shape) < LEAST_WIDTH or not matrix.any():
        return None
    factor = 0.0
    for _ in range(2):  # the second time with the directions of the gradients alone
        left, _, right = np.linalg.svd(matrix - factor * own, full_matrices=False)
        tail = left[:, half:].T @ matrix @ right[half:].T
        of_weight = left[:, half:].T @ own @ right[half:].T
        factor = float(np.sum(tail * of_weight) / np.sum(of_weight**2))
    left_over = np.sum((tail - factor * of_weight) ** 2)
    return factor if left_over < (1 - EXPLAINED) * np.sum(tail**2) else None
