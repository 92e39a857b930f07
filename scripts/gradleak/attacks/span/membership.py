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


def estimate_samples(certificates: Certificates, one_step: bool) -> int:
    """N by a vote of all candidates' weights; 0 where there is no vote.

    Candidates in the span to the noise vote with their rounded weight. Where there is none, as where members
    far outnumber the directions of their δ, at least two unlike images must agree that have a moderate
    residual and a clear label (not after several local steps, where the weight of a member is not N).
    """
    sure = (certificates.uncertainty < thresholds.VOTE_UNCERTAINTY * np.abs(certificates.weight)) & (
        certificates.weight > thresholds.LEAST_WEIGHT
    )
    exact = certificates.normalised_residual < thresholds.NORMALISED_RESIDUAL
    voters: np.ndarray | list[int] = np.flatnonzero(sure & exact)
    least = 1
    if not len(voters) and one_step:
        close = np.flatnonzero(
            sure
            & (certificates.normalised_residual < thresholds.COARSE_NORMALISED_RESIDUAL)
            & (certificates.label_margin > thresholds.CLEAR_MARGIN)
        )
        order = close[np.argsort(certificates.uncertainty[close])]
        voters, least = unlike_one_another(certificates, order, certificates.feature[:0]), 2
    values, votes = np.unique(np.round(certificates.weight[voters]).astype(int), return_counts=True)
    return int(values[votes.argmax()]) if votes.max(initial=0) >= least else 0


def is_exact_member(
    certificates: Certificates, samples: int, normalised_residual: float | None = None
) -> np.ndarray:
    """bool [B], after one local step. normalised_residual: the largest of a feature in the span
    (NORMALISED_RESIDUAL).

    Where the update is a mean over N images, δᵀ M⁺ f = N for each of them, and for hardly any other image. So
    either the feature is in the span to the noise and the weight is N; or both hold roughly, and the δ of
    just one class is in the row space, which the search has not optimised.
    """
    limit = thresholds.NORMALISED_RESIDUAL if normalised_residual is None else normalised_residual
    off = np.abs(certificates.weight - samples)
    allowed = thresholds.WEIGHT_DEVIATION * samples + thresholds.WEIGHT_SIGMAS * certificates.uncertainty
    exact = (
        (certificates.normalised_residual < limit)
        & (off < allowed)
        & (certificates.uncertainty < thresholds.WEIGHT_UNCERTAINTY * samples)
    )
    coarse = (
        (certificates.normalised_residual < thresholds.COARSE_NORMALISED_RESIDUAL)
        & _weighs(certificates.weight, samples)
        & (certificates.label_margin > thresholds.CLEAR_MARGIN)
    )
    return exact | coarse


def without_mixtures(certificates: Certificates, samples: int) -> Certificates:
    """``certificates`` of linear features, where mixtures of members count as outside the span (an infinite
    normalised residual).

    Mixtures are in the span, too, and have any weight. A member is told from them by a clear label or, where
    N is known, by a weight whose uncertainty excludes most other values. samples: N, 0 where it is not known
    yet.
    """
    certain = (
        thresholds.WEIGHT_SIGMAS * certificates.uncertainty < thresholds.COARSE_WEIGHT_DEVIATION * samples
    )
    member = (certificates.label_margin > thresholds.CLEAR_MARGIN) | certain
    return replace(
        certificates, normalised_residual=np.where(member, certificates.normalised_residual, np.inf)
    )


def probable_members(certificates: Certificates, samples: int, taken: np.ndarray) -> list[int]:
    """Features of unknown images whose weight and label are those of members, each unlike the others.

    samples: N, 0 where it is not known yet. taken: features [F, I] of members that are known.
    """
    clear = (certificates.label_margin > thresholds.CLEAR_MARGIN) & (
        certificates.weight > thresholds.LEAST_WEIGHT
    )
    if not clear.any():
        return []
    expected = samples or np.median(certificates.weight[clear])
    clear &= _weighs(certificates.weight, expected)
    order = np.flatnonzero(clear)[np.argsort(-certificates.label_margin[clear])]
    return unlike_one_another(certificates, order, taken)


def is_near_member(residual: np.ndarray, control_minimum: float) -> np.ndarray:
    """bool [B]: whether ρ is so far below the control's least that the search goes on beside the image as a
    member.

    The feature of a member that others cover, or that moved during local training, lies farther off the span
    than the noise, and still much nearer than the best image of the same search in a span without members. δ
    is no evidence then: that of a covered member is the others' too, and in local training it moves far more
    than the feature.
    """
    return residual < thresholds.NEAR_BELOW_CONTROL * control_minimum


def is_certified_near(residual: np.ndarray | float, control_minimum: float) -> np.ndarray | bool:
    """Whether a near member of that ρ is certified, too."""
    return residual < thresholds.CERTIFIED_BELOW_CONTROL * control_minimum


def is_joint_member(
    certificates: Certificates, samples: int, control_minimum: float, near: np.ndarray | bool = False
) -> np.ndarray:
    """bool [B], for images that are fitted together, judged by what all others leave of the update.

    In the span to the noise; or ρ far below the control's and a weight that is surely a member's. The weight
    is needed: among others' errors an image that explains nothing can have as small a ρ, and its weight is
    arbitrary. near (bool [B]): whether the image was a candidate in the whole update, too; then the rule of
    certified near members is enough.
    """
    deep = np.where(
        near,
        certificates.residual < thresholds.CERTIFIED_BELOW_CONTROL * control_minimum,
        certificates.residual < thresholds.JOINT_BELOW_CONTROL * control_minimum,
    )
    deep &= _surely_weighs(certificates.weight, certificates.uncertainty, samples)
    return deep | is_exact_member(certificates, samples, thresholds.JOINT_NORMALISED_RESIDUAL)


def label_by_weight(label: int, weight: np.ndarray, uncertainty: np.ndarray, samples: int) -> int:
    """``label``, unless its weight is not N and another class's is: then the class whose weight (of K) is
    nearest to N."""
    fits = _surely_weighs(weight, uncertainty, samples)
    if fits[label] or not fits.any():
        return label
    return int(np.where(fits, np.abs(weight - samples), np.inf).argmin())


def near_labels(certificates: Certificates, exact: Sequence[int]) -> np.ndarray:
    """Classes int [B] of near members: by the row space where the label is clear, else the model's
    prediction.

    The δ of a covered member is small, and so is that of a confident image under its predicted class. The
    prediction is not used if the model mislabels most of the members ``exact``, whose labels are known.
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


def with_own_rank(
    gradient: LayerGradient,
    certificates: Certificates,
    order: Sequence[int] | np.ndarray,
    features: np.ndarray,
    deltas: np.ndarray,
) -> list[int]:
    """The indices of ``order`` that each lower the rank of M by one, after the known members (``features``
    [F, I], ``deltas`` [F, O]) have been taken out. ``gradient.samples``: N.

    Two copies of one member share a rank; two similar members do not. But an inexact copy leaves a little of
    its member in M, and another copy fits there. So an image similar to a known one must be exact, and each
    of the two must have a member's weight in what the other leaves.
    """
    chosen: list[int] = []
    unit = certificates.feature / np.linalg.norm(certificates.feature, axis=1, keepdims=True)
    for index in order:
        others = np.concatenate([features, certificates.feature[chosen]])
        theirs = np.concatenate([deltas, certificates.delta[chosen]])
        cosines = others @ unit[index] / np.linalg.norm(others, axis=1)
        own = certificates.feature[index], certificates.delta[index]
        remainder = gradient.without(theirs)
        if (cosines > thresholds.SIMILAR_FEATURE).any():
            alike = int(cosines.argmax())
            swapped = gradient.without(np.concatenate([np.delete(theirs, alike, axis=0), own[1][None]]))
            fits = certificates.normalised_residual[index] < thresholds.NORMALISED_RESIDUAL and all(
                _surely_member(span, gradient.samples, *image)
                for span, image in ((remainder, own), (swapped, (others[alike], theirs[alike])))
            )
        else:
            normalised_residual, off, _ = _weighed(remainder, gradient.samples, *own)
            fits = (
                normalised_residual < thresholds.COARSE_NORMALISED_RESIDUAL
                and off < thresholds.COARSE_WEIGHT_DEVIATION
            )
        if fits:
            chosen.append(int(index))
    return chosen


def unlike_one_another(
    certificates: Certificates, order: Sequence[int] | np.ndarray, taken: np.ndarray
) -> list[int]:
    """The indices of ``order`` whose feature is unlike those ``taken`` [F, I] and unlike one another.

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
    """The same for near members with ``features`` [B, I], which have no rank of M of their own.

    A near member may be similar to another if the difference also has a small ρ: that of an inexact copy has
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


def _surely_weighs(weight: np.ndarray, uncertainty: np.ndarray, samples: int) -> np.ndarray:
    """bool: whether the weight is roughly a member's, and known well enough to prove it."""
    return _weighs(weight, samples) & (uncertainty < thresholds.WEIGHT_UNCERTAINTY * samples)


def _weighs(weight: np.ndarray, samples: float) -> np.ndarray:
    """bool: whether the weight is roughly a member's."""
    return np.abs(weight - samples) < thresholds.COARSE_WEIGHT_DEVIATION * samples


def _weighed(
    span: Subspace, samples: int, feature: np.ndarray, delta: np.ndarray
) -> tuple[float, float, float]:
    """Of an image with ``feature`` [I] and ``delta`` [O]: its normalised residual, how far its weight is from
    N, and the weight's uncertainty, the last two as shares of N."""
    (weight,), (uncertainty,) = span.weigh(feature[None], delta[None])
    return span.normalised_residual(feature[None])[0], abs(weight / samples - 1), uncertainty / samples


def _surely_member(span: Subspace, samples: int, feature: np.ndarray, delta: np.ndarray) -> bool:
    normalised_residual, off, uncertainty = _weighed(span, samples, feature, delta)
    return (
        normalised_residual < thresholds.NORMALISED_RESIDUAL
        and off < thresholds.WEIGHT_DEVIATION + thresholds.WEIGHT_SIGMAS * uncertainty
        and uncertainty < thresholds.WEIGHT_UNCERTAINTY
    )
