"""The δ of members from rough features, by the units that each member leaves inactive.

Behind a ReLU the δ of a member is exactly zero at every unit whose input is negative. Let V be an orthonormal
basis of the row space of M, of rank R. The signs of the units' inputs at a rough feature estimate the set I
of inactive units. If I is right and V_I has rank R − 1, then V_I t = 0 determines t up to a factor, and δ = V
t. The estimate of I is refined in turn: t minimises ‖V_I t‖, then I becomes the units with the smallest |V
t|. Sparse vectors of the row space: SPEAR (Dimitrov et al. 2024), which samples I at random.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.subspace import Subspace


@dataclass(frozen=True)
class RowSpace:
    """The part of M's row space above the noise, at the units that are active for any member.

    live: bool [O]. basis: V [L, R], rows of the L live units. values: [R], singular values. deviation:
    standard deviation of an entry of M.
    """

    live: np.ndarray
    basis: np.ndarray
    values: np.ndarray
    deviation: float

    @property
    def rank(self) -> int:
        return len(self.values)

    @property
    def lengths(self) -> np.ndarray:
        """Euclidean norms of the rows of ``basis``, [L]."""
        return np.linalg.norm(self.basis, axis=1)

    @cached_property
    def directions(self) -> np.ndarray:
        """The rows of ``basis``, scaled to length one, [L, R]."""
        return self.basis / self.lengths[:, None]

    def noise_of(self, coordinates: np.ndarray) -> np.ndarray:
        """Standard deviation of an entry of V t for t in ``coordinates`` [..., R]: [...]."""
        return self.deviation * np.linalg.norm(coordinates / self.values, axis=-1)

    def is_zero(self, coordinates: np.ndarray) -> np.ndarray:
        """Whether V t is zero up to its noise, bool [..., L], for t in ``coordinates`` [..., R]."""
        limit = thresholds.ZERO_SIGMAS * self.noise_of(coordinates) + thresholds.ZERO_ROUNDING
        return np.abs(coordinates @ self.basis.T) < limit[..., None]

    def deltas(self, coordinates: np.ndarray) -> np.ndarray:
        """δ up to a factor at all O units, [K, O]."""
        full = np.zeros((len(coordinates), len(self.live)))
        full[:, self.live] = coordinates @ self.basis.T
        return full


def row_space(span: Subspace) -> RowSpace:
    """The row space of ``span``."""
    rank = int((span.values > thresholds.ROW_MARGIN * span.noise).sum())
    columns = np.linalg.norm(span.right[:, :rank] * span.values[:rank], axis=1)  # of M, one a unit
    live = columns > thresholds.LIVE_UNIT_NOISE * span.deviation * np.sqrt(len(span.left))
    return RowSpace(live, span.right[live, :rank], span.values[:rank], span.deviation)


@dataclass(frozen=True)
class Decoded:
    """K directions of δ that were decoded.

    coordinates: unit vectors t [K, R]. source: int [K], the rough feature that each comes from.
    """

    coordinates: np.ndarray
    source: np.ndarray

    def with_more(self, other: Decoded) -> Decoded:
        """These and ``other``."""
        return Decoded(
            np.concatenate([self.coordinates, other.coordinates]), np.concatenate([self.source, other.source])
        )


def decode(rows: RowSpace, inputs: np.ndarray, scale: np.ndarray) -> Decoded:
    """Directions of δ, decoded from the signs of the units' ``inputs`` [K, L] at K rough features. R ≥ 2.

    scale: [L], how far an input is off for a given error of a feature; the surest units have the largest
    ratio. A direction is accepted if (a) V t is zero to the noise at nearly as many units as are inactive,
    (b) these units determine it, and (c) each of them has a leverage below LEVERAGE. Without (c) a
    combination of two δ that cancels at one unit would be accepted.
    """
    found, source = [np.zeros((0, rows.rank))], [np.zeros(0, int)]
    inactive = (inputs < 0).sum(axis=1)
    usable = np.flatnonzero(inactive >= rows.rank + thresholds.SPARE_UNITS)
    order = np.argsort(inputs / scale, axis=1)
    step = max(1, int(thresholds.DECODING_BYTES / (8 * rows.rank * rows.rank)))
    for share in thresholds.SUREST_UNITS:
        failed = []
        for first in range(0, len(usable), step):
            chosen = usable[first : first + step]
            some, is_found = _decode(rows, order[chosen], inactive[chosen], share)
            found.append(some)
            source.append(chosen[is_found])
            failed.append(chosen[~is_found])
        usable = np.concatenate(failed) if failed else usable
    return Decoded(np.concatenate(found), np.concatenate(source))


def _decode(
    rows: RowSpace, order: np.ndarray, inactive: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """t [F, R] of those that are found, and which these are, bool [K]. order: units [K, L], the surest to be
    inactive first. inactive: how many are, int [K]. share: of these that are used first."""
    count, least = len(order), rows.rank + thresholds.SPARE_UNITS
    lengths = rows.lengths
    scaled = rows.directions
    coordinates, is_found = np.zeros((count, rows.rank)), np.zeros(count, bool)
    zero = _first(order, np.maximum(least, (share * inactive).astype(int)))
    gram, vectors = _gram(scaled, zero), np.random.default_rng(0).normal(size=(count, rows.rank, 2))
    at = np.arange(count)
    for iteration in range(thresholds.DECODING_STEPS):
        vectors = _towards_least(gram, vectors)
        t = vectors[:, :, 0]
        size = np.abs(t @ rows.basis.T)
        is_zero = rows.is_zero(t)
        enough = is_zero.sum(axis=1)
        ends = (enough >= thresholds.ZERO_SHARE * inactive[at]) & (enough >= least)
        if ends.any():
            coordinates[at[ends]], is_found[at[ends]] = _accepted(rows, scaled, is_zero[ends])
        part = thresholds.KEPT_UNITS - thresholds.KEPT_UNITS_LESS * min(iteration, thresholds.KEPT_STEPS)
        kept = np.maximum(least, (inactive[at] * part).astype(int))
        new = _first(np.argsort(size / lengths, axis=1), kept)
        goes_on = ~ends & (new != zero).any(axis=1)
        if not goes_on.any():
            break
        _update(gram, scaled, zero, new, goes_on)
        at, zero, gram, vectors = at[goes_on], new[goes_on], gram[goes_on], vectors[goes_on]
    return coordinates[is_found], is_found


def decode_annealed(rows: RowSpace, inputs: np.ndarray, scale: np.ndarray, unknown: np.ndarray) -> Decoded:
    """Like ``decode``, for patterns with more errors, such as those after many local steps. It is slower.

    t minimises Σ log((v_j t)² + ε²) over inactive units j, by iteratively reweighted least squares with a
    falling ε (Chartrand and Yin, ICASSP 2008). Units that are wrongly in the pattern lose their weight. The
    minimum depends on the start, so several shares of the surest units are tried, with and without a
    constraint that keeps t away from the δ that are known already: the part of t in ``unknown`` (orthonormal
    [R, m], the coordinates outside these δ) then has length one.
    """
    found = []
    everywhere = np.eye(rows.rank)
    constraints = (unknown, everywhere) if unknown.shape[1] < rows.rank else (everywhere,)
    for index in np.flatnonzero((inputs < 0).sum(axis=1) >= rows.rank + thresholds.SPARE_UNITS):
        order, count = np.argsort(inputs[index] / scale), int((inputs[index] < 0).sum())
        least = max(thresholds.ZERO_SHARE * count, rows.rank + thresholds.SPARE_UNITS)
        for share, outside in itertools.product(thresholds.ANNEALED_SHARES, constraints):
            t = _annealed(rows, order[: int(share * count)], outside)
            zero = rows.is_zero(t)
            if zero.sum() >= least:
                coordinates, is_unique = _accepted(rows, rows.directions, zero[None])
                if is_unique[0]:
                    found.append((coordinates[0], index))
                    break
    coordinates = np.array([t for t, _ in found]).reshape(-1, rows.rank)
    return Decoded(coordinates, np.array([index for _, index in found], int))


def _annealed(rows: RowSpace, inactive: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """The unit vector t [R] for which V t is nearly zero at most of the units ``inactive``, int [Z]."""
    lengths = rows.lengths[inactive]
    units = rows.directions[inactive]
    weights, t = np.ones(len(units)), np.zeros(rows.rank)
    for width in (np.inf, *thresholds.ANNEALING_WIDTHS):
        if np.isfinite(width):
            least = max(width, rows.noise_of(t) / np.median(lengths))
            weights = 1 / (np.square(units @ t) + least**2)
        gram = (units * weights[:, None]).T @ units
        gram += thresholds.SHIFT_OF_GRAM * np.trace(gram) * np.eye(len(gram))
        inverse = np.linalg.solve(gram, unknown)
        t = inverse @ np.linalg.eigh(unknown.T @ inverse)[1][:, -1]
        t /= np.linalg.norm(t)
    return t


def _first(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """bool [K, L]: the first ``counts`` (int [K]) units of each row of ``order`` [K, L]."""
    chosen = np.zeros(order.shape, bool)
    np.put_along_axis(chosen, order, np.arange(order.shape[1]) < counts[:, None], axis=1)
    return chosen


def _gram(scaled: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The Gram matrices [K, R, R] of the rows ``chosen`` (bool [K, L]) of ``scaled`` [L, R]."""
    rank = scaled.shape[1]
    return np.array([scaled[one].T @ scaled[one] for one in chosen]).reshape(-1, rank, rank)


def _update(
    gram: np.ndarray, scaled: np.ndarray, old: np.ndarray, new: np.ndarray, which: np.ndarray
) -> None:
    """Change ``gram`` in place from the rows ``old`` to the rows ``new``, for ``which``: few rows change."""
    for index in np.flatnonzero(which):
        changed = np.flatnonzero(old[index] != new[index])
        sign = np.where(new[index, changed], 1.0, -1.0)
        gram[index] += (scaled[changed] * sign[:, None]).T @ scaled[changed]


def _towards_least(gram: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """``vectors`` [K, R, 2] after some steps of inverse iteration; the first is near the eigenvector of the
    least eigenvalue."""
    shift = thresholds.SHIFT_OF_GRAM * np.trace(gram, axis1=1, axis2=2)
    inverse = np.linalg.inv(gram + shift[:, None, None] * np.eye(gram.shape[1]))
    for _ in range(thresholds.INVERSE_STEPS):
        vectors = np.linalg.qr(inverse @ vectors)[0]
    small = vectors.transpose(0, 2, 1) @ inverse @ vectors
    return vectors @ np.linalg.eigh(small)[1][:, :, ::-1]


def _accepted(rows: RowSpace, scaled: np.ndarray, is_zero: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t [K, R] of the units ``is_zero`` (bool [K, L]), and whether it passes (b) and (c), bool [K]."""
    values, vectors = np.linalg.eigh(_gram(scaled, is_zero))
    unique = values[:, 1] > thresholds.UNIQUE
    t = vectors[:, :, 0]
    for index in np.flatnonzero(unique):
        others = scaled[is_zero[index]] @ (vectors[index][:, 1:] / np.sqrt(values[index, 1:]))
        unique[index] = np.square(others).sum(axis=1).max() < thresholds.LEVERAGE
        if unique[index]:
            t[index] = _refined(rows, t[index], is_zero[index])
    return t, unique


def _refined(rows: RowSpace, t: np.ndarray, is_zero: np.ndarray) -> np.ndarray:
    """t [R] of least squares at the units that are zero to the noise; their rows as they are.

    All entries of V t have the same noise, so least squares uses the rows as they are. Rows of length one
    only select the units.
    """
    for _ in range(thresholds.REFINEMENTS):
        better = np.linalg.eigh(rows.basis[is_zero].T @ rows.basis[is_zero])[1][:, 0]
        if abs(better @ t) < thresholds.SAME_DIRECTION:
            return t
        t = better
        is_zero = zero_units(rows, t[None], is_zero[None])[0]
    return t


def zero_units(rows: RowSpace, coordinates: np.ndarray, first: np.ndarray) -> np.ndarray:
    """bool [K, L]: the units where V t is zero to its noise, or to the spread that it has at the units
    ``first`` (bool [K, L]), whichever is more."""
    size = np.abs(coordinates @ rows.basis.T)
    spread = np.array(
        [np.median(one[few]) if few.any() else 0.0 for one, few in zip(size, first, strict=True)]
    )
    deviation = np.maximum(thresholds.MEDIAN_TO_SIGMA * spread, rows.noise_of(coordinates))
    return size < thresholds.ZERO_SIGMAS * deviation[:, None] + thresholds.ZERO_ROUNDING
