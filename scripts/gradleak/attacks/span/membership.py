"""Which candidates count as members: fixed rules on certificates, the same for every model and update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gradleak.attacks.span import subspace
from gradleak.attacks.span.certificates import Certificates

NORMALISED_RESIDUAL = 5.0  # a member's is 1 to 2; the nearest other image's began at 12 on all nets tried
SURE = 0.005  # relative uncertainty of a weight that may vote for N
DEVIATION = 0.02  # of a member's weight from N beside its uncertainty
UNSURE = 0.3  # a weight less certain than that share of N proves nothing
COARSE_NORMALISED_RESIDUAL = 100.0  # of a copy that is not quite sharp
COARSE_DEVIATION = 0.5
CLEAR_MARGIN = 100.0  # of the label; that of other images is 1 to 5
BELOW_CONTROL = 0.25  # of the least ρ that the same search reaches in a span without members: the search goes on beside it
_CERTIFIED_BELOW_CONTROL = 1 / 6  # the same for a member that nothing else certifies
_HIDDEN_BELOW_CONTROL = 0.1  # the same for one that came to light in what others leave
_HIDDEN_NORMALISED_RESIDUAL = (
    2.0  # of a member there: the noise is what errors of the others leave, and five times that hides much
)
_ASKED = 0.5  # share of labels known that a model must get right to be asked for others
_ALIKE, _SIMILAR = 0.9999, 0.98  # cosines of two features


def samples(found: Certificates, one_step: bool) -> int:
    """N, as the weights of all candidates so far have it; 0 where they do not say.

    Those that are in the span beyond doubt vote, rounded. Where there is none, as where members outnumber the directions of
    their δ by far, two unlike images at least must agree that come close and have the δ of just one class in the row space
    (not after several local steps, where members do not weigh N).
    """
    sure = (found.uncertainty < SURE * np.abs(found.weight)) & (found.weight > 0.5)
    voters, least = np.flatnonzero(sure & (found.normalised_residual < NORMALISED_RESIDUAL)), 1
    if not len(voters) and one_step:
        close = np.flatnonzero(
            sure
            & (found.normalised_residual < COARSE_NORMALISED_RESIDUAL)
            & (found.label_margin > CLEAR_MARGIN)
        )
        voters, least = apart(found, close[np.argsort(found.uncertainty[close])], found.feature[:0]), 2
    values, votes = np.unique(np.round(found.weight[voters]).astype(int), return_counts=True)
    return int(values[votes.argmax()]) if votes.max(initial=0) >= least else 0


def members(
    found: Certificates, samples: int, normalised_residual: float = NORMALISED_RESIDUAL
) -> np.ndarray:
    """bool [B]: who is a member, after one local step. normalised_residual: as far as which a feature counts as in the span.

    Where the update is a mean over N images, δᵀ M⁺ f = N for each of them, and for hardly anything else. So either the
    feature is in the span as far as the noise lets us see and the weight is N; or both come close, and on top the δ of
    just one class, which the search has never seen, is in the row space.
    """
    off = np.abs(found.weight - samples)
    sharp = (
        (found.normalised_residual < normalised_residual)
        & (off < DEVIATION * samples + 3 * found.uncertainty)
        & (found.uncertainty < UNSURE * samples)
    )
    coarse = (
        (found.normalised_residual < COARSE_NORMALISED_RESIDUAL)
        & _weighs(found.weight, samples)
        & (found.label_margin > CLEAR_MARGIN)
    )
    return sharp | coarse


def told_from_mixtures(found: Certificates, samples: int) -> Certificates:
    """``found``, where features do not bend, with those alone in the span that are not mixtures of members: such are in it, too, and weigh
    anything. A member is told by the one class whose δ is in the row space or, where N is known, by a weight that is sure enough to
    rule most others out. samples: N, 0 where it is not known yet."""
    told = (found.label_margin > CLEAR_MARGIN) | (3 * found.uncertainty < COARSE_DEVIATION * samples)
    return replace(found, normalised_residual=np.where(told, found.normalised_residual, np.inf))


def likely(found: Certificates, samples: int, taken: np.ndarray) -> list[int]:
    """Of features that no image is known to: those whose weight and label make them members, each unlike the others.

    samples: N, 0 where it is not known yet. taken: features [F, I] that are spoken for.
    """
    clear = (found.label_margin > CLEAR_MARGIN) & (found.weight > 0.5)
    if not clear.any():
        return []
    expected = samples or np.median(found.weight[clear])
    clear &= _weighs(found.weight, expected)
    return apart(found, np.flatnonzero(clear)[np.argsort(-found.label_margin[clear])], taken)


def near_members(found: Certificates, control_minimum: float) -> np.ndarray:
    """bool [B], where the noise does not say how near a member's feature comes to the span: it is hidden behind others, or
    drifted while the client learnt.

    In the span fourfold deeper than the best of the same search in a span that holds no member. (Its δ tells little: that of
    a hidden member is the others' too, and while the client learns it moves far more than the feature.)
    """
    return _deep(found.residual, control_minimum)


def certified_near(residual: np.ndarray | float, control_minimum: float) -> np.ndarray | bool:
    """Whether near members of such a ρ are members to the user, too, and not just to the search, which goes on beside them."""
    return residual < _CERTIFIED_BELOW_CONTROL * control_minimum


def hidden_members(
    found: Certificates, samples: int, control_minimum: float, near: np.ndarray | bool = False
) -> np.ndarray:
    """bool [B]: who is a member of those that are fitted together, judged by what all others leave of the update.

    In the span to the noise, as ``members``; or deeper than the control and surely of a member's weight: images that explain
    nothing can lie as deep among what errors of the others leave, and their weight is then anything. Tenfold deeper, or
    sixfold if they were ``near`` (bool [B]) to the whole update's span, too, before the fit.
    """
    depth = np.where(near, _CERTIFIED_BELOW_CONTROL, _HIDDEN_BELOW_CONTROL)
    deep = (found.residual < depth * control_minimum) & _surely_weighs(
        found.weight, found.uncertainty, samples
    )
    return deep | members(found, samples, _HIDDEN_NORMALISED_RESIDUAL)


def label_by_weight(label: int, weight: np.ndarray, uncertainty: np.ndarray, samples: int) -> int:
    """``label``, unless an image does not weigh N under it and does under another: of K weights the class of the nearest to N."""
    fits = _surely_weighs(weight, uncertainty, samples)
    if fits[label] or not fits.any():
        return label
    return int(np.where(fits, np.abs(weight - samples), np.inf).argmin())


def _surely_weighs(weight: np.ndarray, uncertainty: np.ndarray, samples: int) -> np.ndarray:
    """bool: whether about as much as a member, and not by chance."""
    return _weighs(weight, samples) & (uncertainty < UNSURE * samples)


def _weighs(weight: np.ndarray, samples: int) -> np.ndarray:
    """bool: whether about as much as a member."""
    return np.abs(weight - samples) < COARSE_DEVIATION * samples


def near_labels(found: Certificates, sharp: Sequence[int]) -> np.ndarray:
    """Classes int [B] of near members: what the row space says where it is clear, and else the model's answer.

    The δ of a hidden member is small, and that of a sure image is: of the class that the model gives it. Unless the model has learnt
    too little to be asked: of members ``sharp``, whose label is known, it then calls most something else.
    """
    asked = (found.answer[sharp] == found.label[sharp]).mean() > _ASKED if len(sharp) else True
    return np.where((found.label_margin > CLEAR_MARGIN) | (not asked), found.label, found.answer)


def _deep(residual: np.ndarray, control_minimum: float) -> np.ndarray:
    return residual < BELOW_CONTROL * control_minimum


def distinct(features: np.ndarray, order: Sequence[int]) -> list[int]:
    """The indices of ``order`` whose feature [B, I] is at a cosine below 0.9999 with every earlier one."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    kept: list[int] = []
    for index in order:
        if not kept or (unit[kept] @ unit[index]).max() < _ALIKE:
            kept.append(int(index))
    return kept


def unlike(features: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """bool [B]: whose feature [B, I] is at a cosine below 0.98 with every one of ``taken`` [F, I]."""
    unit, known = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (features, taken))
    return (unit @ known.T).max(axis=1, initial=-1) < _SIMILAR


def same(found: Certificates, index: int, members: Sequence[int], labels: bool = True) -> int | None:
    """Which of ``members`` image ``index`` shows too: the place in the list of the one with the likest feature, or None.

    labels: both must be of one class.
    """
    place = likest(found.feature[list(members)], found.feature[index])
    agree = place is None or not labels or found.label[index] == found.label[members[place]]
    return place if agree else None


def likest(features: np.ndarray, feature: np.ndarray) -> int | None:
    """Which of ``features`` [F, I] is the likest to ``feature`` [I], if any is at a cosine above 0.98."""
    if not len(features):
        return None
    cosines = features @ feature / (np.linalg.norm(features, axis=1) * np.linalg.norm(feature))
    place = int(cosines.argmax())
    return place if cosines[place] > _SIMILAR else None


def one_by_one(
    matrix: np.ndarray,
    noise: float,
    samples: int,
    found: Certificates,
    order: Sequence[int],
    features: np.ndarray,
    signals: np.ndarray,
) -> list[int]:
    """The indices of ``order`` that each take a rank of their own out of M, after the known ones
    (``features`` [F, I], ``signals`` [F, O]) have theirs.

    Two copies of one member share a rank, two members that look alike do not. But a copy that is not quite sharp leaves
    a little of its member in M, where another copy fits. So what looks like one that is known must be sharp, and each of
    the two must weigh what a member does in what the other leaves.
    """
    kept: list[int] = []
    unit = found.feature / np.linalg.norm(found.feature, axis=1, keepdims=True)
    for index in order:
        others = np.concatenate([features, found.feature[kept]])
        theirs = np.concatenate([signals, found.signal[kept]])
        cosines = others @ unit[index] / np.linalg.norm(others, axis=1)
        own = found.feature[index], found.signal[index]
        left = subspace.of_matrix(subspace.without(matrix, theirs), noise)
        if (cosines > _SIMILAR).any():
            alike = int(cosines.argmax())
            swapped = subspace.of_matrix(
                subspace.without(matrix, np.concatenate([np.delete(theirs, alike, axis=0), own[1][None]])),
                noise,
            )
            fits = found.normalised_residual[index] < NORMALISED_RESIDUAL and all(
                _weighs_surely(span, samples, *image)
                for span, image in ((left, own), (swapped, (others[alike], theirs[alike])))
            )
        else:
            normalised_residual, off, _ = _weighed(left, samples, *own)
            fits = normalised_residual < COARSE_NORMALISED_RESIDUAL and off < COARSE_DEVIATION
        if fits:
            kept.append(int(index))
    return kept


def _weighed(
    span: subspace.Subspace, samples: int, feature: np.ndarray, signal: np.ndarray
) -> tuple[float, float, float]:
    """Of an image with ``feature`` [I] and ``signal`` [O]: normalised_residual, and how far its weight is from N, how unsure, as shares of N."""
    (weight,), (doubt,) = span.weigh(feature[None], signal[None])
    return span.normalised_residual(feature[None])[0], abs(weight / samples - 1), doubt / samples


def _weighs_surely(span: subspace.Subspace, samples: int, feature: np.ndarray, signal: np.ndarray) -> bool:
    normalised_residual, off, doubt = _weighed(span, samples, feature, signal)
    return normalised_residual < NORMALISED_RESIDUAL and off < DEVIATION + 3 * doubt and doubt < UNSURE


def apart(found: Certificates, order: Sequence[int], taken: np.ndarray) -> list[int]:
    """The indices of ``order`` whose feature is unlike those ``taken`` [F, I] and unlike one another.

    Two members that look very much alike count as one.
    """
    return _apart(found, order, taken, lambda feature, alike: False)


def near_apart(
    found: Certificates,
    span: subspace.Subspace,
    order: Sequence[int],
    taken: np.ndarray,
    control_minimum: float,
) -> list[int]:
    """The same for near members, where no rank is anybody's own. One may look like another if what sets it apart, too, is as deep
    in the span: what a blurred copy adds to its member is not."""

    def differs(feature: np.ndarray, alike: np.ndarray) -> bool:
        return bool(_deep(span.residual(feature, subspace.basis(alike)), control_minimum)[0])

    return _apart(found, order, taken, differs)


def _apart(
    found: Certificates,
    order: Sequence[int],
    taken: np.ndarray,
    differs: Callable[[np.ndarray, np.ndarray], bool],
) -> list[int]:
    """The indices of ``order`` that are unlike all before and ``taken``, or differ from the ones that they are like: a feature
    [1, I] from those [A, I]."""
    kept: list[int] = []
    for index in order:
        feature, others = found.feature[[index]], np.concatenate([taken, found.feature[kept]])
        alike = others[~unlike(others, feature)]
        if not len(alike) or differs(feature, alike):
            kept.append(int(index))
    return kept
