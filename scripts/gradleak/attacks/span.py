"""Span inversion: take the aggregate apart, image by image, with certificates.

A dense layer's gradient M = (1/N) Σ f_n δ_nᵀ holds every member's feature in its column space. So members are searched for
one by one: images whose feature enters the span (first order, no labels, no dummy batch), each judged by certificates
that need no truth; those found are taken out of M, and the search goes on in the smaller span for those that are left.
Spans of a layer's gradient: SPEAR (Dimitrov et al. 2024), DAGER (Petrov et al. 2024); the search over images is ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from gradleak.strict import Strict

if TYPE_CHECKING:
    import keras

    from gradleak.attacks.matching import Inversion, Problem
    from gradleak.spans.certificates import Certificates
    from gradleak.spans.host import Host
    from gradleak.spans.subspace import Subspace


class Options(Strict):
    """A span-inversion cell."""

    attack: Literal["span"] = "span"
    prior: str | None = Field(
        None, description="Name of a prior in `priors`: half of the starts are then codes of its decoder, moved first."
    )
    starts: int = Field(128, ge=2, description="Images moved at once in a round.")
    steps: int = Field(300, ge=1, description="Steps of a round over pixels.")
    code_steps: int = Field(200, ge=1, description="Steps of a round over codes, before the pixels.")
    learning_rate: float = Field(0.03, gt=0, description="Step size over pixels.")
    polish_steps: int = Field(60, ge=0, description="L-BFGS steps in float64 for every candidate.")
    copies: int = Field(
        8, ge=1, description="Copies of the public images, shifted by up to two pixels, to choose starts from."
    )
    rounds: int = Field(24, ge=1, description="At most so many rounds.")
    patience: int = Field(3, ge=1, description="Stop after so many rounds that found nobody new.")
    control: Literal["none", "random_gradient"] = Field(
        "none",
        description="random_gradient: the layer's gradient is replaced by one of the same singular values over "
        "random mixtures of public features. It holds nobody, so that every image accepted is a false one.",
    )


@dataclass
class Candidates:
    """All that a trial looked at closely: K images with their certificates, best first."""

    images: np.ndarray  # float64 [K, H, W, C]
    labels: np.ndarray  # int [K]
    accepted: np.ndarray  # bool [K]
    residual: np.ndarray  # [K], as surprise, weight, margin: see spans.certificates
    surprise: np.ndarray
    weight: np.ndarray
    margin: np.ndarray


@dataclass
class Taken:
    """What is left of one trial."""

    candidates: Candidates
    samples: int  # N as the certificates have it; 0: they do not say
    unexplained: list[float]  # after each round, the share of the layer's gradient that no member accounts for


_CANDIDATE = 3e-3  # ρ up to which an image is looked at closely
_MOST = 96  # candidates of a round


class _Found:
    """The members known so far."""

    def __init__(self, shape: tuple[int, ...], features: int, outputs: int):
        self.images = np.zeros((0, *shape))
        self.features = np.zeros((0, features))
        self.signals = np.zeros((0, outputs))

    def __len__(self) -> int:
        return len(self.images)

    def add(self, images: np.ndarray, certificates: Certificates, chosen: list[int]) -> None:
        self.images = np.concatenate([self.images, images[chosen]])
        self.features = np.concatenate([self.features, certificates.feature[chosen]])
        self.signals = np.concatenate([self.signals, certificates.signal[chosen]])


class Search:
    """One model's search, ready for any number of trials."""

    def __init__(self, coarse: Host, fine: Host, public: np.ndarray, decoder: keras.Model | None, options: Options):
        from gradleak.spans.starts import Pool

        self.coarse, self.fine, self.decoder, self.options = coarse, fine, decoder, options
        self.pool = Pool(coarse, public, options.copies)

    def take_apart(self, matrix: np.ndarray, noise: float, rng: np.random.Generator, progress=None) -> Taken:
        """The members of M [I, O] whose noise has the spectral norm ``noise``."""
        from gradleak.spans import acceptance, subspace
        from gradleak.spans.certificates import certify

        options, whole = self.options, subspace.of_matrix(matrix, noise)
        found = _Found(self.pool.images.shape[1:], *matrix.shape)
        used: set[int] = set()
        votes: list[int] = []
        least_of_control: float | None = None
        samples, looked_at, unexplained, idle = 0, [], [], 0
        for _ in range(options.rounds):
            exact = bool(votes) or not unexplained
            span = subspace.of_matrix(subspace.without(matrix, found.signals), noise) if exact else whole
            avoid = None if exact else subspace.basis(found.features)
            if span.rank == 0:
                break
            images = self._candidates(span, avoid, used, rng)
            fresh: list[int] = []
            if len(images):
                judged = certify(self.fine, whole, images)
                votes += acceptance.samples(judged)
                order = np.argsort(judged.surprise if votes else judged.residual)
                if votes:
                    samples = int(np.bincount(votes).argmax())
                    good = order[acceptance.members(judged, samples)[order]]
                    fresh = acceptance.one_by_one(
                        matrix, noise, samples, judged, good, found.features, found.signals
                    )
                else:
                    if least_of_control is None:
                        least_of_control = self._control(whole, rng)
                    good = order[acceptance.near_members(judged, least_of_control)[order]]
                    fresh = acceptance.apart(whole, judged, good, found.features, least_of_control)
                found.add(images, judged, fresh)
                accepted = np.zeros(len(images), bool)
                accepted[fresh] = True
                looked_at.append(Candidates(
                    images, judged.label, accepted, judged.residual, judged.surprise, judged.weight, judged.label_margin
                ))  # fmt: skip
            left = np.linalg.norm(subspace.without(matrix, found.signals)) / np.linalg.norm(matrix)
            unexplained.append(float(left**2))
            if progress:
                progress("rank left %d: %d looked at, %d new, %d members, N %d",
                         span.rank, len(images), len(fresh), len(found), samples)  # fmt: skip
            idle = 0 if fresh else idle + 1
            if idle >= options.patience or 0 < samples <= len(found):
                break
        return Taken(_joined(looked_at, self.pool.images.shape[1:]), samples, unexplained)

    def _starts(self, span: Subspace, avoid, used: set[int], rng: np.random.Generator) -> np.ndarray:
        from gradleak.spans import search

        options = self.options
        if self.decoder is None:
            return self.pool.nearest(span, avoid, options.starts, used)
        half = options.starts // 2
        codes = rng.normal(size=(half, self.decoder.input_shape[-1]))
        drawn = search.codes(self.coarse, span, avoid, self.decoder, codes, options.code_steps)
        return np.concatenate([self.pool.nearest(span, avoid, options.starts - half, used), drawn])

    def _candidates(self, span: Subspace, avoid, used: set[int], rng: np.random.Generator) -> np.ndarray:
        """One round: float64 [B, H, W, C], near the span and unlike one another."""
        from gradleak.spans import acceptance, search
        from gradleak.spans.starts import features

        options = self.options
        starts = self._starts(span, avoid, used, rng)
        images = search.pixels(self.coarse, span, avoid, starts, options.steps, options.learning_rate)
        values = features(self.coarse, images)
        rho = span.residual(values, avoid)
        order = [index for index in np.argsort(rho) if rho[index] < _CANDIDATE]
        kept = acceptance.distinct(values, order)[:_MOST]
        if not kept or not options.polish_steps:
            return images[kept].astype(np.float64)
        return search.pixels(self.fine, span, avoid, images[kept], 1, 1e-4, options.polish_steps)

    def _control(self, span: Subspace, rng: np.random.Generator) -> float:
        """The least ρ that the same search reaches in a span like this one that holds nobody."""
        from gradleak.spans.starts import features

        null = self.without_members(span, rng)
        images = self._candidates(null, None, set(), rng)
        return float(null.residual(features(self.fine, images)).min()) if len(images) else _CANDIDATE

    def without_members(self, span: Subspace, rng: np.random.Generator) -> Subspace:
        """A span of the same singular values, over random mixtures of the pool's features."""
        from gradleak.spans.subspace import Subspace

        width = len(span.values)
        mixtures = rng.normal(size=(width, len(self.pool.features))) @ self.pool.features
        left, _ = np.linalg.qr(mixtures.T)
        right, _ = np.linalg.qr(rng.normal(size=span.right.shape))
        return Subspace(left, span.values, right, span.noise)


def invert(
    problem: Problem,
    options: Options,
    decoder: keras.Model | None = None,
    checkpoint: Path | None = None,
    progress: Callable[..., None] | None = None,
) -> Inversion:
    """Take every trial of ``problem`` apart. M, the images of a trial, are all that were looked at, members first.

    decoder: z [B, d] → images [B, H, W, C] in [0, 1]. checkpoint: a folder; a finished trial is kept there, and not done
    again. progress: called as ``logging.info`` is.
    """
    from gradleak import unseen
    from gradleak.files import read_npz, write_npz
    from gradleak.gradients.trace import Untraceable
    from gradleak.spans import host
    from gradleak.spans.subspace import of_matrix

    began = time.monotonic()
    try:
        found = zip(host.hosts(problem.model), host.hosts(problem.model, "float64"), strict=True)
        usable = (pair for pair in found if pair[0].bends(problem.public[:64]))
        coarse, fine = next(usable, (None, None))
        reason = "" if coarse else "no dense layer that all data passes through behind a nonlinear one: no span to search"
    except Untraceable as error:
        coarse, reason = None, f"the model cannot be cut open at a dense layer: {error}"
    if coarse is None:
        return _not_applicable(problem, reason)

    search = Search(coarse, fine, problem.public, decoder, options)
    noise = problem.rounding * np.sqrt(np.mean(fine.weights**2)) * sum(np.sqrt(fine.weights.shape))
    hidden = unseen.mask(problem.model)
    trials: list[Taken] = []
    for index, seed in enumerate(problem.seeds):
        kept = checkpoint / f"seed-{seed}.npz" if checkpoint else None
        if kept and kept.exists():
            trials.append(_loaded(read_npz(kept)))
            continue
        matrix = fine.gradient([gradient[index] for gradient in problem.gradients])
        floor = max(noise, np.linalg.norm(matrix, 2) * np.finfo(np.float32).eps)
        rng = problem.rng(seed, "span")
        if options.control == "random_gradient":
            matrix = search.without_members(of_matrix(matrix, floor), rng).matrix
        if progress:
            progress("seed %d, layer %s", seed, fine.name)
        taken = search.take_apart(matrix, floor, rng, progress)
        taken.candidates.images = unseen.fill(taken.candidates.images, hidden, problem.public)
        trials.append(taken)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_npz(kept, samples=taken.samples, unexplained=taken.unexplained, **vars(taken.candidates))
    return _inversion(problem, trials, time.monotonic() - began)


def _loaded(kept: dict[str, np.ndarray]) -> Taken:
    candidates = Candidates(**{name: kept[name] for name in Candidates.__dataclass_fields__})
    return Taken(candidates, int(kept["samples"]), kept["unexplained"].tolist())


def _inversion(problem: Problem, trials: list[Taken], seconds: float) -> Inversion:
    from gradleak.attacks.matching import Inversion

    def padded(name: str, fill: float, dtype: type) -> np.ndarray:
        """[T, M, ...]: one column of all candidates, shorter lists filled up."""
        columns = [getattr(trial.candidates, name) for trial in trials]
        out = np.full((len(trials), max(map(len, columns)), *columns[0].shape[1:]), fill, dtype)
        for row, column in zip(out, columns, strict=True):
            row[: len(column)] = column
        return out

    rounds = max(len(trial.unexplained) for trial in trials)
    curves = [trial.unexplained or [1.0] for trial in trials]
    return Inversion(
        images=padded("images", 0, np.float32),
        labels=padded("labels", 0, np.int64),
        seeds=np.asarray(problem.seeds, np.int64),
        objective=np.array([curve[-1] for curve in curves]),
        accepted=padded("accepted", False, bool),
        status=["ok"] * len(trials),
        history_steps=np.arange(1, max(rounds, 1) + 1),
        history=np.array([curve + curve[-1:] * (max(rounds, 1) - len(curve)) for curve in curves], np.float32),
        seconds={"search": seconds},
        certificates={
            **{name: padded(name, -1, np.float64) for name in ("residual", "surprise", "weight", "margin")},
            "samples_found": np.array([trial.samples for trial in trials]),
        },
    )


def _not_applicable(problem: Problem, reason: str) -> Inversion:
    from gradleak.attacks.matching import Inversion

    trials = len(problem.seeds)
    return Inversion(
        images=np.zeros((trials, 0, *problem.shape), np.float32),
        labels=np.zeros((trials, 0), np.int64),
        seeds=np.asarray(problem.seeds, np.int64),
        objective=np.full(trials, np.nan),
        accepted=np.zeros((trials, 0), bool),
        status=["not applicable"] * trials,
        history_steps=np.zeros(0, np.int64),
        history=np.zeros((trials, 0), np.float32),
        seconds={},
        reason=reason,
    )


def _joined(parts: list[Candidates], shape: tuple[int, ...]) -> Candidates:
    if not parts:
        nothing = np.zeros(0)
        return Candidates(np.zeros((0, *shape)), nothing.astype(int), nothing.astype(bool), *(nothing,) * 4)
    names = Candidates.__dataclass_fields__
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    order = np.lexsort((joined["residual"], ~joined["accepted"]))
    return Candidates(**{name: values[order] for name, values in joined.items()})
