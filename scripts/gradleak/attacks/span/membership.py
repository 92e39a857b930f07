"""Which candidates count as members: fixed rules on certificates, the same for every model and update.

``exact`` members are in the span to the noise. ``near`` members are judged by their ρ relative to a control
without members.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gradleak.attacks.span import subspace, thresholds
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.subspace import LayerGradient, Subspace


def is_exact_member(
    certificates: Certificates, expected: float, normalised_residual: float | None = None
) -> np.ndarray:
    """bool [B], after one local step. expected: the weight of a member. normalised_residual: the largest of a
    feature in the span (NORMALISED_RESIDUAL).

    Where the update is a mean over N images, δᵀ M⁺ f is the same for each of them (N, if the scale is right),
    and for hardly any other image. So either the feature is in the span to the noise and the weight is that
    of a member; or both hold roughly, and the δ of just one class is in the row space, which the search has
    not optimised.
    """
    limit = thresholds.NORMALISED_RESIDUAL if normalised_residual is None else normalised_residual
    off = np.abs(certificates.weight - expected)
    allowed = thresholds.WEIGHT_DEVIATION * expected + thresholds.WEIGHT_SIGMAS * certificates.uncertainty
    exact = (
        (certificates.normalised_residual < limit)
        & (off < allowed)
        & (certificates.uncertainty < thresholds.WEIGHT_UNCERTAINTY * expected)
    )
    coarse = (
        (certificates.normalised_residual < thresholds.COARSE_NORMALISED_RESIDUAL)
        & _has_member_weight(certificates.weight, expected)
        & (certificates.label_margin > thresholds.CLEAR_MARGIN)
    )
    return exact | coarse


def has_own_evidence(certificates: Certificates) -> np.ndarray:
    """bool [B], after one local step: members by both spans, whatever their weight.

    The feature is in the column space to the noise, and the δ of one class alone in the row space. The weight
    of such an image is its own where the loss weighs images, or where the batch holds it more than once.
    """
    weight = certificates.weight
    return (
        (certificates.normalised_residual < thresholds.NORMALISED_RESIDUAL)
        & has_expected_delta(certificates)
        & (certificates.label_margin > thresholds.CLEAR_MARGIN)
        & (certificates.uncertainty < thresholds.VOTE_UNCERTAINTY * weight)
    )


def has_expected_delta(certificates: Certificates) -> np.ndarray:
    """bool [B]: whether the δ of the label, by the cross-entropy, is in the row space to the noise, or so
    much nearer to it than that of any other label that no other loss explains it.

    Of a member whose feature is exact it is, unless the client minimised another loss: label smoothing, a
    squared error, one sigmoid a class. Small errors of the image move δ out of the row space, too, but far
    less than another loss does.
    """
    return (certificates.label_normalised_residual < thresholds.NORMALISED_RESIDUAL) | (
        certificates.label_margin > thresholds.PROVEN_LABEL_MARGIN
    )


def without_mixtures(certificates: Certificates, expected: float) -> Certificates:
    """``certificates`` of linear features, where mixtures of members count as outside the span (an infinite
    normalised residual).

    Mixtures are in the span, too, and have any weight. A member is distinguished from them by a clear label
    or, where the weight ``expected`` of members is known, by a weight whose uncertainty excludes most other
    values. expected: 0 where it is not known yet.
    """
    certain = (
        thresholds.WEIGHT_SIGMAS * certificates.uncertainty < thresholds.COARSE_WEIGHT_DEVIATION * expected
    )
    member = (certificates.label_margin > thresholds.CLEAR_MARGIN) | certain
    return replace(
        certificates, normalised_residual=np.where(member, certificates.normalised_residual, np.inf)
    )


def probable_members(certificates: Certificates, expected: float, taken: np.ndarray) -> list[int]:
    """Features of unknown images whose weight and label are those of members, each unlike the others.

    expected: the weight of a member, 0 where it is not known yet. taken: features [F, I] of members that are
    known.
    """
    clear = (certificates.label_margin > thresholds.CLEAR_MARGIN) & (certificates.weight > 0)
    if not clear.any():
        return []
    expected = expected or float(np.median(certificates.weight[clear]))
    clear &= _has_member_weight(certificates.weight, expected)
    order = np.flatnonzero(clear)[np.argsort(-certificates.label_margin[clear])]
    return mutually_dissimilar(certificates, order, taken)


def is_near_member(residual: np.ndarray, control_minimum: float) -> np.ndarray:
    """bool [B]: whether ρ is so far below the control's minimum that the search treats the image as a member.

    If the δ of a member is linearly dependent on others', or its feature changed during local training, ρ is
    above the noise, and still far below that of the best image of the same search in a span without members.
    δ is no evidence then: it lies in the span of others' δ, and in local training it changes far more than
    the feature.
    """
    return residual < thresholds.NEAR_BELOW_CONTROL * control_minimum


def certified_near_members(
    gradient: LayerGradient,
    certificates: Certificates,
    near: Sequence[int],
    sure: Sequence[int],
    control_minimum: float,
) -> list[int]:
    """Those of the members ``near`` that are certified beside the members ``sure``, each of another image.

    Of one similar to others already certified, what is left must be certified, too. Beside near members that
    is the difference of the features. Beside sure ones, after one local step, it is ρ in M without their δ:
    the difference from an exact image can be in the span because of the error of the other.
    """
    certified: list[int] = []
    feature = certificates.feature
    for index in sorted(near, key=lambda one: certificates.residual[one]):
        own, limit = feature[[index]], control_minimum
        alike = [one for one in (*sure, *certified) if not is_unlike(feature[[one]], own)[0]]
        residuals = [certificates.residual[index]]
        if alike:
            residuals.append(gradient.span.residual(own, subspace.orthonormal_basis(feature[alike]))[0])
        beside = [one for one in alike if one in sure]
        if beside and gradient.one_step:
            residuals.append(gradient.without(certificates.delta[beside]).residual(own)[0])
        if is_certified_near(max(residuals), limit):
            certified.append(index)
    return certified


def is_certified_near(residual: np.ndarray | float, control_minimum: float) -> np.ndarray | bool:
    """Whether a near member of that ρ is certified, too."""
    return residual < thresholds.CERTIFIED_BELOW_CONTROL * control_minimum


def is_joint_member(
    certificates: Certificates, expected: float, control_minimum: float, near: np.ndarray | bool = False
) -> np.ndarray:
    """bool [B], for images that are fitted together. certificates: of each image in the remainder after
    subtracting all others. expected: the weight of a member.

    Either the feature is in the span up to the noise; or ρ is far below the control's and the weight is that
    of a member with little uncertainty. The weight is needed: because of errors of the other images, an image
    that is no member can have as small a ρ, and its weight is arbitrary. near (bool [B]): whether the image
    was a candidate in the whole update, too; then the rule of certified near members is enough.
    """
    deep = np.where(
        near,
        certificates.residual < thresholds.CERTIFIED_BELOW_CONTROL * control_minimum,
        certificates.residual < thresholds.JOINT_BELOW_CONTROL * control_minimum,
    )
    deep &= _has_certain_member_weight(certificates.weight, certificates.uncertainty, expected)
    return deep | is_exact_member(certificates, expected, thresholds.JOINT_NORMALISED_RESIDUAL)


def label_by_weight(label: int, weight: np.ndarray, uncertainty: np.ndarray, expected: float) -> int:
    """``label``, unless its weight is not that ``expected`` of a member and another class's is: then the
    class whose weight (of K) is nearest to it."""
    fits = _has_certain_member_weight(weight, uncertainty, expected)
    if fits[label] or not fits.any():
        return label
    return int(np.where(fits, np.abs(weight - expected), np.inf).argmin())


def near_labels(certificates: Certificates, exact: Sequence[int]) -> np.ndarray:
    """Classes int [B] of near members: by the row space where the label is clear, else the model's
    prediction.

    The δ of a member whose δ is linearly dependent is small, and so is that of a confident image under its
    predicted class. The prediction is not used if the model mislabels most of the members ``exact``, whose
    labels are known.
    """
    agrees = (
        (certificates.predicted[exact] == certificates.label[exact]).mean() > thresholds.MODEL_AGREES
        if len(exact)
        else True
    )
    clear = certificates.label_margin > thresholds.CLEAR_MARGIN
    return np.where(clear | (not agrees), certificates.label, certificates.predicted)


def distinct(features: np.ndarray, order: Sequence[int]) -> list[int]:
    """The indices of ``order`` whose feature [B, I] has a cosine below SAME_FEATURE with all earlier ones."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    chosen: list[int] = []
    for index in order:
        if not chosen or (unit[chosen] @ unit[index]).max() < thresholds.SAME_FEATURE:
            chosen.append(int(index))
    return chosen


def is_unlike(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool [B]: whether the feature [B, I] has a cosine below SIMILAR_FEATURE with every one of ``others``
    [F, I]."""
    unit, units = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (features, others))
    return (unit @ units.T).max(axis=1, initial=-1) < thresholds.SIMILAR_FEATURE


def similar_member(
    certificates: Certificates, index: int, members: Sequence[int], labels: bool = True
) -> int | None:
    """The place in ``members`` of the one with the feature most similar to that of image ``index``, or None.

    labels: both must have the same label.
    """
    place = most_similar(certificates.feature[list(members)], certificates.feature[index])
    agree = place is None or not labels or certificates.label[index] == certificates.label[members[place]]
    return place if agree else None


def most_similar(features: np.ndarray, feature: np.ndarray) -> int | None:
    """The index of the most similar of ``features`` [F, I] to ``feature`` [I], if its cosine is above
    SIMILAR_FEATURE."""
    if not len(features):
        return None
    cosines = features @ feature / (np.linalg.norm(features, axis=1) * np.linalg.norm(feature))
    place = int(cosines.argmax())
    return place if cosines[place] > thresholds.SIMILAR_FEATURE else None


def that_lower_the_rank(
    gradient: LayerGradient,
    certificates: Certificates,
    order: Sequence[int] | np.ndarray,
    features: np.ndarray,
    deltas: np.ndarray,
) -> list[int]:
    """The indices of ``order`` that each lower the rank of M by one, after the known members (``features``
    [F, I], ``deltas`` [F, O]) have been projected out. ``gradient.weight``: that of a member.

    Two copies of one member lower the rank by one together; two similar members by two. But projecting out an
    inexact copy leaves a small part of its member in M, and another copy fits there. So an image similar to a
    known one must be exact, and each of the two must have a member's weight after the other is projected out.
    """
    chosen: list[int] = []
    unit = certificates.feature / np.linalg.norm(certificates.feature, axis=1, keepdims=True)
    # A member keeps its weight while others are projected out.
    expected = np.where(has_own_evidence(certificates), certificates.weight, gradient.weight)
    for index in order:
        others = np.concatenate([features, certificates.feature[chosen]])
        theirs = np.concatenate([deltas, certificates.delta[chosen]])
        cosines = others @ unit[index] / np.linalg.norm(others, axis=1)
        own = certificates.feature[index], certificates.delta[index]
        remainder = gradient.without(theirs)
        if (cosines > thresholds.SIMILAR_FEATURE).any():
            alike = int(cosines.argmax())
            known = others[alike], theirs[alike]
            swapped = gradient.without(np.concatenate([np.delete(theirs, alike, axis=0), own[1][None]]))
            fits = certificates.normalised_residual[index] < thresholds.NORMALISED_RESIDUAL and all(
                _is_exact(span, weight, *image)
                for span, weight, image in (
                    (remainder, expected[index], own),
                    (swapped, _weight_of_member(gradient, *known), known),
                )
            )
        else:
            normalised_residual, off, _ = _residual_and_weight(remainder, expected[index], *own)
            fits = (
                normalised_residual < thresholds.COARSE_NORMALISED_RESIDUAL
                and off < thresholds.COARSE_WEIGHT_DEVIATION
            )
        if fits:
            chosen.append(int(index))
    return chosen


def _weight_of_member(gradient: LayerGradient, feature: np.ndarray, delta: np.ndarray) -> float:
    """The weight in M of a known member with ``feature`` [I] and ``delta`` [O]: its own where it is far from
    the usual one."""
    own = float(gradient.span.weigh(feature[None], delta[None])[0][0])
    return gradient.weight if own <= 0 or _has_member_weight(own, gradient.weight) else own


def mutually_dissimilar(
    certificates: Certificates, order: Sequence[int] | np.ndarray, taken: np.ndarray
) -> list[int]:
    """The indices of ``order`` whose feature is dissimilar to those ``taken`` [F, I] and to one another.

    Two very similar members count as one.
    """
    return _separate(certificates.feature, order, taken, lambda feature, alike: False)


def separate_near_members(
    features: np.ndarray,
    span: Subspace,
    order: Sequence[int] | np.ndarray,
    taken: np.ndarray,
    control_minimum: float,
) -> list[int]:
    """The same for near members with ``features`` [B, I], which need not lower the rank of M.

    A near member may be similar to another if the difference also has a small ρ. For an inexact copy it has
    not.
    """

    def differs(feature: np.ndarray, alike: np.ndarray) -> bool:
        difference = span.residual(feature, subspace.orthonormal_basis(alike))
        return bool(is_near_member(difference, control_minimum)[0])

    return _separate(features, order, taken, differs)


def _separate(
    features: np.ndarray,
    order: Sequence[int] | np.ndarray,
    taken: np.ndarray,
    differs: Callable[[np.ndarray, np.ndarray], bool],
) -> list[int]:
    """The indices of ``order`` that are unlike all before and ``taken``, or differ from those that they are
    similar to.

    differs: of a feature [1, I] from similar ones [A, I].
    """
    chosen: list[int] = []
    for index in order:
        feature, others = features[[index]], np.concatenate([taken, features[chosen]])
        alike = others[~is_unlike(others, feature)]
        if not len(alike) or differs(feature, alike):
            chosen.append(int(index))
    return chosen


def _has_certain_member_weight(weight: np.ndarray, uncertainty: np.ndarray, expected: float) -> np.ndarray:
    """bool: whether the weight is within half of that ``expected``, with an uncertainty below 0.3 of it."""
    return _has_member_weight(weight, expected) & (uncertainty < thresholds.WEIGHT_UNCERTAINTY * expected)


def _has_member_weight(weight: np.ndarray | float, expected: float) -> np.ndarray:
    """bool: whether the weight is within half of that ``expected``."""
    return np.abs(weight - expected) < thresholds.COARSE_WEIGHT_DEVIATION * expected


def _residual_and_weight(
    span: Subspace, expected: float, feature: np.ndarray, delta: np.ndarray
) -> tuple[float, float, float]:
    """Of an image with ``feature`` [I] and ``delta`` [O]: its normalised residual, how far its weight is from
    that ``expected``, and the weight's uncertainty, the last two as shares of it."""
    (weight,), (uncertainty,) = span.weigh(feature[None], delta[None])
    return span.normalised_residual(feature[None])[0], abs(weight / expected - 1), uncertainty / expected


def _is_exact(span: Subspace, expected: float, feature: np.ndarray, delta: np.ndarray) -> bool:
    """Whether an image with ``feature`` [I] and ``delta`` [O] is in the span to the noise, with the weight
    ``expected``."""
    normalised_residual, off, uncertainty = _residual_and_weight(span, expected, feature, delta)
    return (
        normalised_residual < thresholds.NORMALISED_RESIDUAL
        and off < thresholds.WEIGHT_DEVIATION + thresholds.WEIGHT_SIGMAS * uncertainty
        and uncertainty < thresholds.WEIGHT_UNCERTAINTY
    )
