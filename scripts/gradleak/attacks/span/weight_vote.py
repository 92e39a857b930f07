"""The weight of a member, by a vote of all candidates that are surely members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradleak.attacks.span import membership, thresholds
from gradleak.attacks.span.certificates import Certificates


@dataclass(frozen=True)
class Vote:
    """weight: of a member, as most voters have it; 0 without a vote. deviation: its standard deviation.
    voters: dissimilar images that agree on it. dissent: the weights of those that do not, [D]. is_exact:
    whether voters are in the span to the noise.
    """

    weight: float = 0.0
    deviation: float = 0.0
    voters: int = 0
    dissent: tuple[float, ...] = ()
    is_exact: bool = False

    @property
    def differs(self) -> bool:
        """Whether members have weights of their own."""
        return thresholds.AGREEING_VOTERS * len(self.dissent) > self.voters


def vote(certificates: Certificates, one_step: bool, samples: int = 0) -> Vote:
    """The weight that most candidates agree on; of equally many the one nearest to ``samples``, if given.

    Candidates in the span up to the noise vote. If there are none, as where the δ of many members are
    linearly dependent, at least two dissimilar images with a moderate residual and a clear label must agree
    (not after several local steps, where the weights of members differ).
    """
    weight, uncertainty = certificates.weight, certificates.uncertainty
    sure = uncertainty < thresholds.VOTE_UNCERTAINTY * weight
    exact = sure & (certificates.normalised_residual < thresholds.NORMALISED_RESIDUAL)
    voters = _dissimilar(certificates, np.flatnonzero(exact))
    share, least = thresholds.WEIGHT_DEVIATION, 1
    if not voters and one_step:
        close = sure & (certificates.normalised_residual < thresholds.COARSE_NORMALISED_RESIDUAL)
        close &= certificates.label_margin > thresholds.CLEAR_MARGIN
        voters = _dissimilar(certificates, np.flatnonzero(close))
        share, least = 0.5 / samples if samples else thresholds.COARSE_VOTE_DEVIATION, 2
    if len(voters) < least:
        return Vote()
    values, errors = weight[voters], uncertainty[voters]
    agrees = _largest_group(values, errors, share, samples)
    if agrees.sum() < least:
        return Vote()
    middle = float(np.median(values[agrees]))
    return Vote(
        weight=middle,
        deviation=float(np.median(errors[agrees])),
        voters=int(agrees.sum()),
        dissent=_dissent(certificates, middle),
        is_exact=bool(exact.any()),
    )


def _dissimilar(certificates: Certificates, which: np.ndarray) -> list[int]:
    """Of the images ``which`` those unlike all others of less uncertainty: a copy is no second voter."""
    order = which[np.argsort(certificates.uncertainty[which], kind="stable")]
    return membership.mutually_dissimilar(certificates, order, certificates.feature[:0])


def _largest_group(values: np.ndarray, errors: np.ndarray, share: float, samples: int) -> np.ndarray:
    """bool [V]: the largest set of weights that agree with one of them, up to ``share`` and 3 σ."""
    allowed = share * np.abs(values)[:, None] + thresholds.WEIGHT_SIGMAS * np.hypot(errors[:, None], errors)
    agree = np.abs(values[:, None] - values) < allowed
    best = np.lexsort((np.abs(values - samples) if samples else np.zeros(len(values)), -agree.sum(axis=1)))[0]
    return agree[best]


def _dissent(certificates: Certificates, usual: float) -> tuple[float, ...]:
    """The weights of members by their own evidence that are not the ``usual`` one.

    Of k images alike the weight is a k-th of it; these agree.
    """
    weight = np.where(certificates.weight > 0, certificates.weight, np.inf)
    copies = np.maximum(np.round(usual / weight), 1)
    allowed = thresholds.WEIGHT_DEVIATION * usual / copies
    off = np.abs(weight - usual / copies) > allowed + thresholds.WEIGHT_SIGMAS * certificates.uncertainty
    others = np.flatnonzero(membership.has_own_evidence(certificates) & off)
    return tuple(float(certificates.weight[k]) for k in _dissimilar(certificates, others))
