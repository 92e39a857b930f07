"""Features of members whose δ is known, while the δ of a few other members is not.

With P the projector on the known δ, the columns of M (I − P) span the features of the m members that are
missing. A known δ_k determines its feature f_k up to a combination of these: f_k lies in a space of m + 1
dimensions, and its last entry is one. There inequalities bound it. The pixels lie in [0, 1], and a unit is
inactive if δ_k is zero at it, and active if not. Two regions are computed, each with half of the units, since
some units may be wrong. The mean of the extreme points of both is taken for f_k, and their mean squared
distance from it for its error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, eye, hstack, vstack

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.activation_patterns import RowSpace
from gradleak.attacks.span.pixel_inputs import PixelInputs

Path = list[tuple[np.ndarray, np.ndarray]]


class _Flat(NamedTuple):
    """Features origin + directions · y whose last entry is one. origin: [I + 1]. directions: orthonormal
    [I + 1, m]."""

    origin: np.ndarray
    directions: np.ndarray


class _Region(NamedTuple):
    """The y [m] with rows · y ≤ ends; rows [Q, m]."""

    rows: np.ndarray
    ends: np.ndarray


def features(
    left: np.ndarray, rows: RowSpace, known: np.ndarray, inputs: PixelInputs, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Features [K, I + 1] of the ``known`` coordinates [K, R] of δ, 0 < K < R, and the standard deviation of
    an entry of each, [K]; infinite for a region that is empty.

    left: [I + 1, R], M times the basis of its row space. path: as in ``TwoSided``.
    """
    unknown = np.linalg.qr(known.T, mode="complete")[0][:, len(known) :]
    missing = np.linalg.qr(left @ unknown)[0]
    rough, inverse = left @ np.linalg.pinv(known), np.linalg.pinv(left)
    found = np.zeros((len(known), len(left)))
    deviations = np.full(len(known), np.inf)
    for index, t in enumerate(known):
        if _is_lost(rows, t):
            continue
        flat = _flat(rough[:, index], missing)
        pixels, units = _pixels(flat, inputs), _units(flat, rows, t, path)
        parts = (_Region(units.rows[k::2], units.ends[k::2]) for k in (0, 1))
        halves = [half for part in parts if (half := _extreme_points(pixels, part)) is not None]
        if len(halves) == 2:
            ends = np.concatenate(halves)
            centre = ends.mean(axis=0)
            found[index] = flat.origin + flat.directions @ centre
            spread = np.sqrt(np.square(ends - centre).sum(axis=1).mean() / (len(left) - 1))
            noise = rows.deviation * np.linalg.norm(inverse @ found[index])
            deviations[index] = np.hypot(thresholds.BOUND_SAFETY * spread, noise)
    return found, deviations


def _is_lost(rows: RowSpace, t: np.ndarray) -> bool:
    """Whether so many active units are lost in the noise that zeros of V t do not show the inactive ones."""
    size, noise = np.abs(rows.basis @ t), rows.noise_of(t)
    active = size[size > thresholds.ACTIVE_SIGMAS * noise]
    return not len(active) or thresholds.ZERO_SIGMAS * noise > thresholds.LOST_SHARE * np.median(active)


def _flat(feature: np.ndarray, missing: np.ndarray) -> _Flat:
    """The combinations of ``feature`` [I + 1] and the columns of ``missing`` [I + 1, m], orthonormal, whose
    last entry is one."""
    basis = np.linalg.qr(np.column_stack([missing, feature]))[0]
    last = basis[-1]
    others = np.linalg.qr(last[:, None], mode="complete")[0][:, 1:]
    return _Flat(basis @ last / (last @ last), basis @ others)


def _pixels(flat: _Flat, inputs: PixelInputs) -> _Region:
    """Pixels lie in [0, 1]."""
    rows = flat.directions[:-1] / inputs.slope[:, None]
    origin = (flat.origin[:-1] - inputs.offset) / inputs.slope
    return _Region(np.concatenate([rows, -rows]), np.concatenate([1 - origin, origin]))


def _units(flat: _Flat, rows: RowSpace, t: np.ndarray, path: Path) -> _Region:
    """Units are inactive all along the ``path`` where V t is zero. After one step they are active where it is
    not; after several steps only at some time. The rows are in units of a change of the feature."""
    size, noise = np.abs(rows.basis @ t), rows.noise_of(t)
    zero = rows.is_zero(t)
    active = size > thresholds.ACTIVE_SIGMAS * noise
    slopes, ends = [], []
    for kernel, bias in path:
        lengths = np.maximum(np.linalg.norm(kernel[:, rows.live], axis=0), thresholds.TINY_LENGTH)
        slope = (kernel[:, rows.live] / lengths).T @ flat.directions[:-1]
        value = (flat.origin[:-1] @ kernel[:, rows.live] + bias[rows.live]) / lengths
        slopes.append(slope[zero])
        ends.append(-value[zero])
        if len(path) == 1:
            slopes.append(-slope[active])
            ends.append(value[active])
    return _Region(np.concatenate(slopes), np.concatenate(ends))


def _extreme_points(pixels: _Region, units: _Region) -> np.ndarray | None:
    """The points [2 m, m] of the region that are farthest along each axis; None if there is no solution.

    Pixels may lie outside by the noise, and some units may be wrong: a small δ looks like none, and weights
    do not move in a straight line. So the violation of the pixels and the sum of the units' violations are
    minimised first. All bounds are then relaxed by the largest violation of their kind.
    """
    size, count = pixels.rows.shape[1], len(units.rows)
    free = [(None, None)] * size
    inside = len(pixels.rows)
    violations = vstack(
        [
            hstack([csr_matrix(units.rows), -eye(count), csr_matrix((count, 1))]),
            hstack([csr_matrix(pixels.rows), csr_matrix((inside, count)), csr_matrix(-np.ones((inside, 1)))]),
        ]
    )
    cost = np.concatenate([np.zeros(size), np.ones(count), [count]])
    ends = np.concatenate([units.ends, pixels.ends])
    least = linprog(cost, violations, ends, bounds=[*free, *[(0, None)] * (count + 1)])
    if least.status:
        return None
    off = np.concatenate([np.full(count, least.x[size:-1].max(initial=0)), np.full(inside, least.x[-1])])
    rows, ends = np.concatenate([units.rows, pixels.rows]), ends + off + thresholds.BOUND_ROUNDING
    points = []
    for axis in np.eye(size):
        for direction in (axis, -axis):
            found = linprog(direction, rows, ends, bounds=free)
            if found.status:
                return None
            points.append(found.x)
    return np.array(points)
