"""One update taken apart: features from the cone, images from features, certificates, and again for those that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from gradleak.attacks.span import (
    certificates,
    feature_inversion,
    joint_search,
    membership,
    posterior_error,
    sparse_rays,
    subspace,
)
from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.checkpoint import Kept
from gradleak.attacks.span.dense_layer import Host
from gradleak.attacks.span.options import SpanOptions
from gradleak.attacks.span.starting_images import Pool, features
from gradleak.attacks.span.subspace import Subspace


@dataclass
class Candidates:
    """All that a trial looked at closely: K images with their certificates, best first."""

    images: np.ndarray  # float64 [K, H, W, C]
    labels: np.ndarray  # int [K]
    accepted: np.ndarray  # bool [K]
    residual: np.ndarray  # [K], as normalised_residual, weight, margin: see spans.certificates
    normalised_residual: np.ndarray
    weight: np.ndarray
    margin: np.ndarray
    error: np.ndarray  # of members: expected, see spans.sharpness; NaN of others


@dataclass
class Taken:
    """What is left of one trial."""

    candidates: Candidates
    samples: int  # the weight that members have: N after one local step; 0: the certificates do not say
    unexplained: list[
        float
    ]  # after each round, the share of the layer's gradient that no member accounts for


_CANDIDATE = 3e-3  # ρ up to which an image is looked at closely
_MOST = 96  # candidates of a round
_CONTROL = 32  # images that the control moves: they all end at much the same ρ
_SHARPER = 0.3  # of the noise, for polishing
_NEAR_STEPS, _NEAR_RATE = 100, 0.01  # over pixels, for images that are nearly there


def _sharp(span: Subspace) -> Subspace:
    """The span with less noise than it has: with all of it, faint members are drawn towards strong ones."""
    return replace(span, noise=_SHARPER * span.noise)


class LookedAt:
    """All images that certificates were computed for, and which of them stand for the members known so far."""

    def __init__(self, shape: tuple[int, ...], features: int, outputs: int):
        nothing = np.zeros(0)
        self.images = np.zeros((0, *shape))
        self.judged = Certificates(
            nothing,
            nothing,
            nothing.astype(int),
            nothing,
            nothing,
            nothing.astype(int),
            nothing,
            nothing,
            np.zeros((0, outputs)),
            np.zeros((0, features)),
        )
        self.members: list[int] = []
        self.sharp: set[int] = set()  # of the members those known to the noise
        self.fitted: set[int] = set()  # of the members those that a joint fit certifies
        self.errors: dict[int, float] = {}  # expected ones of images, as far as they were computed

    def add(self, images: np.ndarray, judged: Certificates) -> int:
        """Returns the number of the first one."""
        first = len(self.images)
        self.images = np.concatenate([self.images, images])
        self.judged = certificates.joined(self.judged, judged)
        return first

    def join(self, others: LookedAt) -> None:
        """Adds the members of ``pretraining``."""
        for index in others.members:
            own = self.add(others.images[[index]], certificates.of(others.judged, [index]))
            self.members.append(own)
            if index in others.fitted:
                self.fitted.add(own)
            if index in others.errors:
                self.errors[own] = others.errors[index]

    @property
    def features(self) -> np.ndarray:
        return self.judged.feature[self.members]

    @property
    def signals(self) -> np.ndarray:
        return self.judged.signal[self.members]

    @property
    def sharp_members(self) -> list[int]:
        return [index for index in self.members if index in self.sharp]

    @property
    def sharp_features(self) -> np.ndarray:
        return self.judged.feature[self.sharp_members]

    @property
    def sharp_signals(self) -> np.ndarray:
        return self.judged.signal[self.sharp_members]

    def take_sharp(self, index: int) -> None:
        """One more member, known to the noise; or the same one as a near member, for which it then stands."""
        near = [member for member in self.members if member not in self.sharp]
        place = membership.same(self.judged, index, near, labels=False)
        if place is None:
            self.members.append(index)
            self.sharp.add(index)
        else:
            self.stand_for(near[place], index)
            self.sharp.add(index)

    def improve(self, fresh: Sequence[int]) -> None:
        """Let one of ``fresh`` stand for a sharp member that it shows better than the one so far."""
        for index in fresh:
            sharp = self.sharp_members
            place = membership.same(self.judged, index, sharp)
            if (
                place is not None
                and self.judged.normalised_residual[index]
                < 0.5 * self.judged.normalised_residual[sharp[place]]
            ):
                self.stand_for(sharp[place], index)

    def stand_for(self, member: int, index: int) -> None:
        """Let ``index`` stand for ``member``, as sharp as that was."""
        self.members[self.members.index(member)] = index
        if member in self.sharp:
            self.sharp.add(index)

    @property
    def labels(self) -> np.ndarray:
        """Classes int [K] of all images."""
        near = self.accepted
        near[self.sharp_members] = False
        return np.where(near, membership.near_labels(self.judged, self.sharp_members), self.judged.label)

    @property
    def accepted(self) -> np.ndarray:
        """bool [K]: who is a member."""
        accepted = np.zeros(len(self.images), bool)
        accepted[self.members] = True
        return accepted

    def candidates(self) -> Candidates:
        """Members first, each group by its residual."""
        judged, accepted = self.judged, self.accepted
        order = np.lexsort((judged.residual, ~accepted))
        errors = np.array([self.errors.get(index, np.nan) for index in range(len(self.images))])
        columns = (
            self.images,
            self.labels,
            accepted,
            judged.residual,
            judged.normalised_residual,
            judged.weight,
            judged.label_margin,
            errors,
        )
        return Candidates(*(column[order] for column in columns))


@dataclass
class Found:
    """What a search has seen; the rest as in ``Taken``."""

    known: LookedAt
    samples: int
    unexplained: list[float]
    control_minimum: float | None = None  # as far as near members were asked for


class Search:
    """One model's search, ready for any number of trials."""

    def __init__(
        self,
        coarse: Host,
        fine: Host,
        public: np.ndarray,
        seen: np.ndarray,
        decoder: keras.Model | None,
        options: SpanOptions,
    ):
        """seen: bool [H, W, C], pixels that some unit of the model looks at."""
        self.coarse, self.fine, self.seen, self.decoder, self.options = coarse, fine, seen, decoder, options
        self.pool = Pool(coarse, public, options.copies)
        self.bends = coarse.bends(
            self.pool.images[:64]
        )  # else mixtures of members are in the span as deep as they are
        # Only such features lie in a cone, and only with a bias is a ray's length known.
        self.has_cone = options.rays > 0 and coarse.bias is not None and bool((self.pool.features >= 0).all())

    def take_apart(
        self,
        matrix: np.ndarray,
        noise: float,
        rng: np.random.Generator,
        progress=None,
        one_step: bool = True,
        kept: Kept | None = None,
    ) -> Taken:
        """The members of M [I, O] whose noise has the spectral norm ``noise``. one_step: else local steps are in it, and M is no sum of f δᵀ.

        kept: where a joint fit is saved, and goes on from.
        """
        whole = subspace.of_matrix(matrix, noise)
        found = Found(LookedAt(self.pool.images.shape[1:], *matrix.shape), 0, [])
        fit = kept.load(found, rng) if kept else None
        if fit is None:
            found = self.searched(matrix, noise, self.options.rounds, rng, progress, one_step)
        if fit or self._hides(found, one_step):
            joint_search.bring_to_light(self, found, whole, rng, progress, kept=kept, fit=fit)
        return self._taken(found, whole)

    def _taken(self, found: Found, whole: Subspace) -> Taken:
        """What is certified of ``found``: all but those near members of which the search was sure enough to go on beside them, no more."""
        known = found.known
        sure, residual = known.sharp | known.fitted, known.judged.residual
        known.members = [
            index
            for index in known.members
            if index in sure or membership.certified_near(residual[index], found.control_minimum)
        ]
        self.expect_errors(known, known.members, whole)
        return Taken(known.candidates(), found.samples, found.unexplained)

    def expect_errors(self, known: LookedAt, which: Sequence[int], span: Subspace) -> None:
        """Of images ``which`` whose error was not computed yet, by what ``span`` says of them."""
        for index in which:
            if index not in known.errors:
                known.errors[index] = posterior_error.expected_error(
                    self.coarse, span, self.seen, known.images[index], known.judged.residual[index]
                )

    def control(
        self, matrix: np.ndarray, noise: float, rng: np.random.Generator, progress=None, one_step: bool = True
    ) -> Taken:
        """The same where nobody is to be found: in a span like M's that holds nobody; and where members would be fitted together,
        in a rest like theirs that holds nobody."""
        whole = subspace.of_matrix(matrix, noise)
        nobody = self.without_members(whole, rng)
        found = self.searched(nobody.matrix, noise, self.options.rounds, rng, progress, one_step)
        if self.options.joint_rounds:
            real = self.searched(matrix, noise, self.options.rounds, rng, progress, one_step)
            if self._hides(real, one_step):
                joint_search.bring_to_light(self, real, whole, rng, progress, nobody=True)
                found.known.join(real.known)
        return self._taken(found, nobody)

    def _hides(self, found: Found, one_step: bool) -> bool:
        """Whether members are missing that a joint fit may bring to light."""
        some = self.bends and 0 < len(found.known.members) < found.samples
        return (
            some and one_step and self.options.joint_rounds > 0 and self.fine.switches(self.pool.images[:64])
        )

    def searched(
        self,
        matrix: np.ndarray,
        noise: float,
        most_rounds: int,
        rng: np.random.Generator,
        progress=None,
        one_step: bool = True,
        samples: int = 0,
    ) -> Found:
        """The members that show in M [I, O] one by one. one_step: as in ``take_apart``. samples: N, if it is known.

        Rounds go from rays while these show anybody new, then from images, and what the noise does not settle is then
        measured against the control: a member hidden behind others, or moved while the client learnt, lies off the span by
        more than the noise, and still far deeper in it than any image gets that is none. Where features do not bend, rays alone
        tell members from their mixtures.
        """
        options, whole = self.options, subspace.of_matrix(matrix, noise)
        known = LookedAt(self.pool.images.shape[1:], *matrix.shape)
        used: set[int] = set()
        told, unexplained, idle, from_images = samples > 0, [], 0, False
        control_minimum: float | None = None
        for number in range(most_rounds):
            if subspace.of_matrix(subspace.without(matrix, known.sharp_signals), noise).rank == 0:
                break
            avoid = subspace.basis(known.features) if known.members else None
            starts = []
            # After several local steps no weight votes, and no ray is exact.
            exact = one_step or samples > 0 or number == 0
            if self.has_cone and exact and not (idle and self.bends):
                starts.append(self._from_cone(matrix, whole, known, samples, number, rng))
            from_images = self.bends and (from_images or idle > 0 or not starts or not len(starts[0]))
            if from_images:
                starts.append(self._from_images(whole, avoid, used, options.starts, rng))
            images = self._candidates(
                whole, avoid, known.features, np.concatenate([self.pool.images[:0], *starts])
            )
            fresh: list[int] = []
            if len(images):
                judged = certificates.certify(self.fine, whole, images)
                if exact:
                    images, judged = self._sharpened(whole, images, judged)
                first = known.add(images, judged)
                if exact and not told:
                    voters = known.judged if self.bends else membership.told_from_mixtures(known.judged, 0)
                    samples = membership.samples(voters, one_step)
                if not self.bends:
                    judged = membership.told_from_mixtures(judged, samples)
                if samples:
                    fresh = self._sharp_members(matrix, noise, samples, judged, known, first)
                if from_images:
                    if control_minimum is None:
                        control_minimum = self.control_minimum(whole, rng)
                    fresh = fresh + self._near_members(whole, control_minimum, judged, known, first)
            left = np.linalg.norm(subspace.without(matrix, known.signals)) / np.linalg.norm(matrix)
            unexplained.append(float(left**2))
            if progress:
                progress(
                    "%d looked at, %d new, %d members in a span of %d directions, N %d",
                    len(images),
                    len(fresh),
                    len(known.members),
                    whole.rank,
                    samples,
                )
            idle = 0 if fresh or number == 0 else idle + 1
            if idle >= options.patience or 0 < samples <= len(known.members):
                break
        return Found(known, samples, unexplained, control_minimum)

    def _from_cone(
        self,
        matrix: np.ndarray,
        whole: Subspace,
        known: LookedAt,
        samples: int,
        skip: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Images [B, H, W, C] of features that were found without one, besides those of sharp members.

        Features that look like members are taken out for the time being, so that others come to light.
        """
        taken, signals, drawn = known.sharp_features, known.sharp_signals, []
        while True:
            span = subspace.of_matrix(subspace.without(matrix, signals), whole.noise)
            rays = (
                sparse_rays.rays(span, self.options.rays, rng, self.pool.features)
                if span.rank
                else np.zeros((0, len(matrix)))
            )
            rays = rays[rays[:, -1] > 0]
            if not len(rays):
                break
            judged = certificates.judge(self.fine, whole, rays / rays[:, -1:])
            likely = membership.likely(judged, samples, taken)
            drawn.append(rays[likely] if likely else rays)
            if not likely:
                break
            taken = np.concatenate([taken, judged.feature[likely]])
            signals = np.concatenate([signals, judged.signal[likely]])
        if not drawn:
            return self.pool.images[:0]
        images = self._fitted(np.concatenate(drawn), skip)
        return feature_inversion.pixels(self.coarse, whole, None, images, _NEAR_STEPS, _NEAR_RATE)

    def _fitted(self, wanted: np.ndarray, skip: int) -> np.ndarray:
        """Images [B, H, W, C] of features [B, I], from public ones that no earlier round (``skip`` of them) began from."""
        copies = self.options.ray_starts
        return feature_inversion.images_of(
            self.coarse, wanted, self.pool.alike(wanted, copies, skip * copies), self.options.ray_steps
        )

    def _from_images(
        self, span: Subspace, avoid, used: set[int], count: int, rng: np.random.Generator
    ) -> np.ndarray:
        """``count`` public images, or half of them images of a decoder, moved towards the span."""
        options, drawn, rest = self.options, [], count
        if self.decoder is not None:
            rest = count // 2
            codes = rng.normal(size=(count - rest, self.decoder.input_shape[-1]))
            drawn.append(
                feature_inversion.codes(self.coarse, span, avoid, self.decoder, codes, options.code_steps)
            )
        starts = np.concatenate([self.pool.nearest(span, avoid, rest, used), *drawn])
        return feature_inversion.pixels(
            self.coarse, span, avoid, starts, options.steps, options.learning_rate
        )

    def _candidates(self, span: Subspace, avoid, taken: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Of one round's ``images`` those near ``span`` and unlike one another, polished: float64 [B, H, W, C].

        Of those like a feature ``taken`` [F, I] only the ones that are in the span with what makes them unlike it.
        """
        if not len(images):
            return images
        values = features(self.coarse, images)
        rho = span.residual(values)
        near = (rho < _CANDIDATE) & (
            membership.unlike(values, taken) | (span.residual(values, avoid) < _CANDIDATE)
        )
        kept = membership.distinct(values, [index for index in np.argsort(rho) if near[index]])[:_MOST]
        return self.polished(span, avoid, images[kept].astype(np.float64))

    def polished(self, span: Subspace, avoid, images: np.ndarray) -> np.ndarray:
        """float64 ``images`` [B, H, W, C] of the least ρ nearby."""
        if not len(images) or not self.options.polish_steps:
            return images
        return feature_inversion.polished(self.fine, _sharp(span), avoid, images, self.options.polish_steps)

    def _sharpened(
        self, whole: Subspace, images: np.ndarray, judged: Certificates
    ) -> tuple[np.ndarray, Certificates]:
        """``images`` with the δ of their labels made to fit as well, where that leaves them in the span; and what they are then."""
        close = np.flatnonzero(
            judged.normalised_residual < membership.COARSE_NORMALISED_RESIDUAL
        )  # of others δ tells nothing
        if not len(close) or not self.options.polish_steps:
            return images, judged
        moved, steps = images.copy(), self.options.polish_steps
        moved[close] = feature_inversion.sharpened(
            self.fine, _sharp(whole), judged.label[close], images[close], steps
        )
        after = certificates.certify(self.fine, whole, moved)
        better = (after.normalised_residual < membership.NORMALISED_RESIDUAL) & (after.label == judged.label)
        images = np.where(better[:, None, None, None], moved, images)
        return images, certificates.chosen(better, after, judged)

    def _sharp_members(
        self,
        matrix: np.ndarray,
        noise: float,
        samples: int,
        judged: Certificates,
        known: LookedAt,
        first: int,
    ) -> list[int]:
        """Adds to ``known`` the members among a round's candidates, of which ``first`` is the number of the first."""
        order = np.argsort(judged.normalised_residual)
        good = order[membership.members(judged, samples)[order]]
        taken = known.sharp_features, known.sharp_signals
        fresh = membership.one_by_one(matrix, noise, samples, judged, good, *taken)
        known.improve([first + int(index) for index in good if index not in fresh])
        for index in fresh:
            known.take_sharp(first + index)
        return fresh

    def _near_members(
        self, whole: Subspace, control_minimum: float, judged: Certificates, known: LookedAt, first: int
    ) -> list[int]:
        """The same for images that the noise does not settle."""
        order = np.argsort(judged.residual)
        good = order[membership.near_members(judged, control_minimum)[order]]
        fresh = membership.near_apart(judged, whole, good, known.features, control_minimum)
        known.members += [first + index for index in fresh]
        return fresh

    def control_minimum(self, span: Subspace, rng: np.random.Generator) -> float:
        """The least ρ that the search from images reaches in a span like this one that holds nobody."""
        null = self.without_members(span, rng)
        images = self._from_images(null, None, set(), _CONTROL, rng)
        return float(null.residual(features(self.fine, images)).min())

    def without_members(self, span: Subspace, rng: np.random.Generator) -> Subspace:
        """A span of the same singular values, over random mixtures of the pool's features."""
        width = len(span.values)
        mixtures = rng.normal(size=(width, len(self.pool.features))) @ self.pool.features
        left, _ = np.linalg.qr(mixtures.T)
        right, _ = np.linalg.qr(rng.normal(size=span.right.shape))
        return Subspace(left, span.values, right, span.noise)
