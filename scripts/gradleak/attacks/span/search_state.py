"""What a search has so far, as values that never change: candidates, the members among them, and a trial's
result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gradleak.attacks.span import certificates as certify
from gradleak.attacks.span import membership, thresholds
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.weight_vote import Vote

NO_LABEL = -1


@dataclass(frozen=True)
class CandidateSet:
    """K images with their certificates, and the members among them, all by their index.

    images: float64 [K, H, W, C]. members: in the order of acceptance. exact: those that were in the span to
    the noise. joint: those that the joint fit certifies. Both may hold indices of former members.
    expected_errors: of images, as far as computed. unlabelled: those whose label is not known.
    """

    images: np.ndarray
    certificates: Certificates
    members: tuple[int, ...] = ()
    exact: frozenset[int] = frozenset()
    joint: frozenset[int] = frozenset()
    expected_errors: dict[int, float] = field(default_factory=dict)
    unlabelled: frozenset[int] = frozenset()

    @property
    def member_features(self) -> np.ndarray:
        return self.certificates.feature[list(self.members)]

    @property
    def member_deltas(self) -> np.ndarray:
        return self.certificates.delta[list(self.members)]

    @property
    def exact_members(self) -> list[int]:
        return [index for index in self.members if index in self.exact]

    @property
    def exact_features(self) -> np.ndarray:
        return self.certificates.feature[self.exact_members]

    @property
    def exact_deltas(self) -> np.ndarray:
        return self.certificates.delta[self.exact_members]

    @property
    def is_member(self) -> np.ndarray:
        """bool [K]."""
        flags = np.zeros(len(self.images), bool)
        flags[list(self.members)] = True
        return flags

    @property
    def labels(self) -> np.ndarray:
        """Classes int [K] of all images; NO_LABEL of those that are ``unlabelled``."""
        near = self.is_member
        near[self.exact_members] = False
        labels = np.where(
            near, membership.near_labels(self.certificates, self.exact_members), self.certificates.label
        )
        labels[list(self.unlabelled)] = NO_LABEL
        return labels

    def added(self, images: np.ndarray, certificates: Certificates) -> CandidateSet:
        """With ``images`` at the end, none of them a member."""
        return replace(
            self,
            images=np.concatenate([self.images, images]),
            certificates=certify.joined(self.certificates, certificates),
        )

    def with_members(self, indices: Sequence[int]) -> CandidateSet:
        """With ``indices`` as further members."""
        return replace(self, members=(*self.members, *indices))

    def with_exact_member(self, index: int) -> CandidateSet:
        """With ``index`` as one more exact member; or as the better image of a near member that it is similar
        to."""
        near = [member for member in self.members if member not in self.exact]
        place = membership.similar_member(self.certificates, index, near, labels=False)
        grown = self.with_members([index]) if place is None else self.with_image_of(near[place], index)
        return replace(grown, exact=grown.exact | {index})

    def with_image_of(self, member: int, index: int) -> CandidateSet:
        """With ``index`` in the place of ``member``, and as exact as that."""
        members = list(self.members)
        members[members.index(member)] = index
        exact = self.exact | {index} if member in self.exact else self.exact
        return replace(self, members=tuple(members), exact=exact)

    def improved(self, indices: Sequence[int]) -> CandidateSet:
        """With those of ``indices`` in the place of an exact member that are better images of it."""
        improved, residual = self, self.certificates.normalised_residual
        for index in indices:
            exact = improved.exact_members
            place = membership.similar_member(self.certificates, index, exact)
            if place is not None and residual[index] < thresholds.BETTER_IMAGE * residual[exact[place]]:
                improved = improved.with_image_of(exact[place], index)
        return improved

    def with_members_of(self, other: CandidateSet) -> CandidateSet:
        """With the members of ``other`` as further candidates and members."""
        grown, joint, errors = self, set(self.joint), dict(self.expected_errors)
        for index in other.members:
            own = len(grown.images)
            grown = grown.added(other.images[[index]], certify.subset(other.certificates, [index]))
            grown = grown.with_members([own])
            if index in other.joint:
                joint.add(own)
            if index in other.expected_errors:
                errors[own] = other.expected_errors[index]
        return replace(grown, joint=frozenset(joint), expected_errors=errors)


def no_candidates(shape: tuple[int, ...], features: int, outputs: int) -> CandidateSet:
    """No image [H, W, C] = ``shape`` yet, of a layer with I features and O outputs."""
    return CandidateSet(np.zeros((0, *shape)), certify.of_none(features, outputs))


@dataclass(frozen=True)
class SearchState:
    """A search after some rounds.

    samples: the number of images that the search goes by, 0: unknown. vote: on the weight of a member.
    unexplained: after each round, the share of the layer's gradient (squared norm) outside the members' δ.
    control_minimum: the least ρ of
    the control, None before the first use. rounds: number of rounds so far. idle: rounds since the last new
    member. uses_images: whether rounds start from images, too. used: pool images that were starts.
    """

    candidates: CandidateSet
    samples: int = 0
    vote: Vote = field(default_factory=Vote)
    unexplained: tuple[float, ...] = ()
    control_minimum: float | None = None
    rounds: int = 0
    idle: int = 0
    uses_images: bool = False
    used: frozenset[int] = frozenset()


@dataclass(frozen=True)
class TrialResult:
    """All candidates of one trial, K, members first, each group by its residual.

    images: float64 [K, H, W, C]. labels: int [K]. accepted: bool [K]. residual, normalised_residual, weight,
    margin: [K], see ``Certificates``. error: [K], the expected squared error of members, see
    ``posterior_error``; NaN of others. samples: N where it is proven, else 0. member_weight: that most voters
    agree on, 0 without a vote. unexplained: as in ``SearchState``. notes: JSON, a list of
    ``weight_vote.Note``.
    """

    images: np.ndarray
    labels: np.ndarray
    accepted: np.ndarray
    residual: np.ndarray
    normalised_residual: np.ndarray
    weight: np.ndarray
    margin: np.ndarray
    error: np.ndarray
    samples: int
    member_weight: float
    unexplained: tuple[float, ...]
    notes: str = "[]"


def result_of(state: SearchState) -> TrialResult:
    """The result of a search that has ended."""
    candidates = state.candidates
    judged, accepted = candidates.certificates, candidates.is_member
    order = np.lexsort((judged.residual, ~accepted))
    errors = [candidates.expected_errors.get(index, np.nan) for index in range(len(candidates.images))]
    return TrialResult(
        images=candidates.images[order],
        labels=candidates.labels[order],
        accepted=accepted[order],
        residual=judged.residual[order],
        normalised_residual=judged.normalised_residual[order],
        weight=judged.weight[order],
        margin=judged.label_margin[order],
        error=np.array(errors)[order],
        samples=0,
        member_weight=state.vote.weight,
        unexplained=state.unexplained,
    )
