"""Members of a layer that receives pixels, from both sides of its gradient: separate, decode, deflate.

Column side: rough features of the members, by blind separation of the column space or by units that one
member alone activates. Row side: the units that a rough feature leaves inactive give the exact δ
(``activation_patterns``). Known δ are projected out, which needs nothing else, and the smaller column space
is easier to separate. Once as many δ are known as M has rank, M = Σ f_n δ_nᵀ / N gives all features exactly,
F = M D⁺. While a few are missing, inequalities bound the features of the known ones (``feature_bounds``).

After several local steps both sides still hold: pixels do not change, and a member's summed δ is zero at the
units that it leaves inactive all along, at the weights before, after, and in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gradleak.attacks.span import (
    activation_patterns,
    blind_separation,
    feature_bounds,
    membership,
    thresholds,
)
from gradleak.attacks.span.activation_patterns import Decoded, RowSpace
from gradleak.attacks.span.dense_layer import DenseLayer
from gradleak.attacks.span.pixel_inputs import PixelInputs
from gradleak.attacks.span.subspace import Subspace
from gradleak.losses import SUM_TO_ZERO


@dataclass(frozen=True)
class Pairs:
    """K members. features: [K, I + 1], the last entry one. noise: [K], standard deviation of an entry of
    each. deltas: [K, O], each up to a factor of either sign. labels: int [K], the class whose derivative has
    the largest share in δ. is_exact: whether all δ were known, so that the features are exact up to the
    noise.
    """

    features: np.ndarray
    noise: np.ndarray
    deltas: np.ndarray
    labels: np.ndarray
    is_exact: bool = True


@dataclass(frozen=True)
class TwoSided:
    """What the search of one update needs.

    path: kernels and biases of the layer at points of the local training, the first one before it; [(kernel
    [I, O], bias [O])].
    """

    layer: DenseLayer
    inputs: PixelInputs
    span: Subspace
    rows: RowSpace
    path: list[tuple[np.ndarray, np.ndarray]]

    @cached_property
    def columns(self) -> np.ndarray:
        """M times the basis of its row space, [I + 1, R]."""
        return self.span.left[:, : self.rows.rank] * self.rows.values

    def preactivations(self, features: np.ndarray) -> np.ndarray:
        """The largest pre-activation of each live unit along the path, [K, L]."""
        return self._along_path(features).max(axis=0)

    def decode(self, features: np.ndarray) -> Decoded:
        """The δ decoded from rough ``features`` [K, I + 1]."""
        inputs = self.preactivations(features)
        return activation_patterns.decode(self.rows, inputs, self._scale(inputs))

    def decode_annealed(self, features: np.ndarray, known: np.ndarray) -> Decoded:
        """The same by reweighted least squares, for the first few ``features``: their patterns may have more
        errors. known: coordinates [K, R] of the δ that are known already."""
        inputs = self.preactivations(features)
        share = min(1.0, (thresholds.ANNEALED_RANK / self.rows.rank) ** 3)
        few = inputs[: max(1, int(thresholds.ANNEALED_FEATURES * share))]
        unknown = np.linalg.qr(known.T, mode="complete")[0][:, len(known) :]
        return activation_patterns.decode_annealed(self.rows, few, self._scale(inputs), unknown)

    def _scale(self, inputs: np.ndarray) -> np.ndarray:
        """The typical size of each unit's pre-activation, [L]. The sign of a larger one is more certain.

        The median over the ``inputs`` [K, L]; of too few of them, the norm of the unit's weights.
        """
        if len(inputs) >= thresholds.FEATURES_OF_MEDIAN:
            scale = np.median(np.abs(inputs), axis=0)
        else:
            scale = np.linalg.norm(self.path[0][0][:, self.rows.live], axis=0)
        return np.maximum(scale, thresholds.TINY_LENGTH)

    def is_always_active(self, features: np.ndarray) -> np.ndarray:
        """bool [K, L]: whether a unit is active all along the path."""
        return self._along_path(features).min(axis=0) > 0

    def _along_path(self, features: np.ndarray) -> np.ndarray:
        """Pre-activations [points of the path, K, L]."""
        live = self.rows.live
        return np.stack([features[:, :-1] @ kernel[:, live] + bias[live] for kernel, bias in self.path])


def members(search: TwoSided, public: np.ndarray, rng: np.random.Generator) -> Pairs:
    """The members whose features are determined, or bounded where a few of the R independent δ are missing.

    public: features [P, I + 1] of public images.
    """
    rows = search.rows
    # Coordinates of δ, [K, R]. The row space of rank one is that of one δ.
    known = np.zeros((0, rows.rank)) if rows.rank > 1 else np.ones((1, 1))
    best = _no_pairs(search)
    idle = most = 0
    for _ in range(thresholds.TWO_SIDED_ROUNDS):
        if len(known) < rows.rank:
            rough = _rough_features(search, known, public, idle, rng)
            decoded = search.decode(rough)
            if idle:
                decoded = decoded.with_more(search.decode_annealed(rough, known))
            known = np.concatenate([known, _new_coordinates(search, known, rough, decoded)])
        idle, most = (0, len(known)) if len(known) > most else (idle + 1, most)
        if len(known) == rows.rank:
            known, judged = _settled(search, known)
            known = known[judged.is_consistent]
            if len(known) > len(best.deltas):
                best = judged.consistent_pairs(rows.deltas(known))
        few = rows.rank - len(known) <= thresholds.FEW_MISSING
        patience = thresholds.PATIENCE_FOR_FEW if few else thresholds.TWO_SIDED_PATIENCE
        if len(known) == rows.rank or idle > patience:
            break
    if not len(best.deltas) and 0 < len(known) < rows.rank <= len(known) + thresholds.FEW_MISSING:
        return _bounded(search, known)
    return best


def _bounded(search: TwoSided, known: np.ndarray) -> Pairs:
    """The pairs of the ``known`` coordinates [K, R] of δ, K < R, whose features inequalities bound."""
    found = feature_bounds.features(search.columns, search.rows, known, search.inputs, search.path)
    judged = _judged(search, known, *found)
    pairs = judged.consistent_pairs(search.rows.deltas(known[judged.is_consistent]))
    return replace(pairs, is_exact=False)


def _no_pairs(search: TwoSided) -> Pairs:
    features, deltas = np.zeros((0, len(search.span.left))), np.zeros((0, len(search.rows.live)))
    return Pairs(features, np.zeros(0), deltas, np.zeros(0, int))


class _Judged(NamedTuple):
    """K pairs: features [K, I + 1] with their noise [K], labels int [K], and which pairs are consistent, bool
    [K]."""

    features: np.ndarray
    noise: np.ndarray
    labels: np.ndarray
    is_consistent: np.ndarray

    def consistent_pairs(self, deltas: np.ndarray) -> Pairs:
        """deltas: [K, O], of the consistent ones."""
        kept = self.is_consistent
        return Pairs(self.features[kept], self.noise[kept], deltas, self.labels[kept])


def _settled(search: TwoSided, known: np.ndarray) -> tuple[np.ndarray, _Judged]:
    """Coordinates [R, R] of all δ, and the pairs that they give.

    The patterns of these features are decoded again, as long as the number of consistent pairs grows.
    """
    judged = _judged(search, known, *_features(search, known))
    while not judged.is_consistent.all() and search.rows.rank > 1:
        doubtful = np.flatnonzero(~judged.is_consistent)
        decoded = search.decode(judged.features[doubtful])
        changed = known.copy()
        changed[doubtful[decoded.source]] = decoded.coordinates
        if np.linalg.cond(changed) > thresholds.LARGEST_CONDITION:
            break
        again = _judged(search, changed, *_features(search, changed))
        if again.is_consistent.sum() <= judged.is_consistent.sum():
            break
        known, judged = changed, again
    return known, judged


def _rough_features(
    search: TwoSided, known: np.ndarray, public: np.ndarray, idle: int, rng: np.random.Generator
) -> np.ndarray:
    """Rough features [K, I + 1] of members that are not ``known``, after ``idle`` rounds without a new
    one."""
    columns = _remaining_columns(search, known)
    if search.inputs.shape[0] > 1:
        signals = blind_separation.image_signals(search.inputs.combinations(columns.T))
    else:
        signals = blind_separation.vector_signals(columns[:-1])
    rough = [blind_separation.separated(columns, signals, rng)]
    if idle == 1:
        rough += [_of_single_units(search), public]
    return np.concatenate(rough)


def _remaining_columns(search: TwoSided, known: np.ndarray) -> np.ndarray:
    """An orthonormal basis [I + 1, R'] of the column space of M without the ``known`` δ."""
    rows = search.rows
    left = search.columns
    if len(known):
        directions = np.linalg.qr(known.T)[0]
        left = left - left @ directions @ directions.T
    basis, sizes, _ = np.linalg.svd(left, full_matrices=False)
    count = rows.rank - len(known)
    return basis[:, :count][:, sizes[:count] > thresholds.ROW_MARGIN * search.span.noise]


def _of_single_units(search: TwoSided) -> np.ndarray:
    """Columns of M [K, I + 1] that have pixels in [0, 1] once their last entry is one: of units that one
    member alone activates, whose feature they are."""
    columns = (search.span.left * search.span.values @ search.span.right[search.rows.live].T).T
    columns = columns[columns[:, -1] != 0]
    features = columns / columns[:, -1:]
    images = search.inputs.images(features)
    margin = thresholds.BOX_MARGIN
    inside = ((images > -margin) & (images < 1 + margin)).all(axis=(1, 2, 3))
    found = features[inside]
    return found[membership.distinct(found, range(len(found)))[: thresholds.PUBLIC_PATTERNS]]


def _new_coordinates(search: TwoSided, known: np.ndarray, rough: np.ndarray, decoded: Decoded) -> np.ndarray:
    """Coordinates [F, R] of δ ``decoded`` from ``rough`` features and independent of the ``known``."""
    fits = _of_head(search, decoded.coordinates, rough[decoded.source])[0]
    basis = np.linalg.qr(known.T)[0]
    new = []
    for t in decoded.coordinates[fits]:
        rest = t - basis @ (basis.T @ t)
        if np.linalg.norm(rest) > thresholds.NEW_DIRECTION:
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            new.append(t)
    return np.array(new).reshape(-1, search.rows.rank)


def _of_head(
    search: TwoSided, coordinates: np.ndarray, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether δ at its active units is roughly a linear combination of the logits' derivatives, bool [K]; and
    the class of the largest share in it, int [K].

    δ = Σ_c (p_c − y_c) ∂z_c/∂h, in which the label has the largest share. Other combinations of members' δ
    are not of this form. After several local steps the units count that are active all along.
    """
    live, fits = search.rows.live, np.zeros(len(coordinates), bool)
    labels = np.full(len(coordinates), -1)
    if not len(coordinates):
        return fits, labels
    values = coordinates @ search.rows.basis.T
    active = ~activation_patterns.zero_units(search.rows, coordinates, search.preactivations(features) < 0)
    always = search.is_always_active(features)
    slopes = -search.layer.slopes(features.astype(search.layer.dtype))[:, :, live]
    if search.layer.loss.name in SUM_TO_ZERO:
        slopes = slopes - slopes.mean(axis=1, keepdims=True)
    for index, (value, units, slope) in enumerate(zip(values, active, slopes, strict=True)):
        both = units & always[index]
        free = 1 - len(slope) / max(both.sum(), 1)  # share of a random vector that no combination explains
        if free < thresholds.FREE_UNITS or both.sum() < thresholds.COMMON_UNITS * units.sum():
            continue
        share = np.linalg.lstsq(slope[:, both].T, value[both], rcond=None)[0]
        rest = np.square(value[both] - share @ slope[:, both]).sum() / np.square(value[both]).sum()
        fits[index] = rest < thresholds.HEAD_RESIDUAL**2 * free
        labels[index] = np.abs(share - share.mean()).argmax()
    return fits, labels


def _features(search: TwoSided, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features [R, I + 1] of all members, from the coordinates of all δ; and the standard deviation of
    the noise of an entry of each, [R]."""
    dual = np.linalg.inv(known)
    found = (search.columns @ dual).T
    last = np.where(found[:, -1] == 0, np.inf, found[:, -1])  # inf: of no member, inconsistent
    features = found / last[:, None]
    ratio = np.sqrt(1 + np.square(features[:, :-1]).mean(axis=1))  # the divisor has noise, too
    return features, search.span.deviation * np.linalg.norm(dual, axis=0) / np.abs(last) * ratio


def _judged(search: TwoSided, known: np.ndarray, features: np.ndarray, noise: np.ndarray) -> _Judged:
    """The pairs of the ``known`` coordinates of δ [K, R] and ``features`` [K, I + 1] with their ``noise``.

    A pair is consistent if δ is zero at just the units that its feature leaves inactive, of those whose
    pre-activation is clear of the feature's noise; the pixels lie in [0, 1]; and δ fits the head at the
    feature.
    """
    inputs = search.preactivations(features)
    zero = activation_patterns.zero_units(search.rows, known, inputs < 0)
    kernel = search.path[0][0][:, search.rows.live]
    error = noise[:, None] * np.linalg.norm(kernel, axis=0)
    is_clear = np.abs(inputs) > thresholds.CLEAR_INPUT_SIGMAS * error
    right = ((zero == (inputs < 0)) & is_clear).sum(axis=1)
    share = thresholds.PATTERN_AGREES if len(search.path) == 1 else thresholds.PATTERN_AGREES_STEPS
    agree = right > share * np.maximum(is_clear.sum(axis=1), thresholds.CLEAR_INPUTS)
    images = search.inputs.images(features)
    outside = np.square(images - np.clip(images, 0, 1)).mean(axis=(1, 2, 3))
    fits, labels = _of_head(search, known, features)
    return _Judged(features, noise, labels, agree & (outside < thresholds.OUTSIDE_BOX) & fits)
