"""The input and the output of every attack: the trials of one block, and their reconstructions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

from gradleak.losses import BINARY, CATEGORICAL

if TYPE_CHECKING:
    import keras

    from gradleak.attacks.matching.options import MatchingOptions


class Members(NamedTuple):
    """What span inversion found in each of T updates: K images, with those that are certified as members."""

    images: np.ndarray  # float32 [T, K, H, W, C] in [0, 1]
    labels: np.ndarray  # int [T, K]
    accepted: np.ndarray  # bool [T, K]


@dataclass(frozen=True)
class Problem:
    """What the adversary has, for the T trials of one block.

    model: the classifier with the starting weights of the round (logits out). With ``has_statistics`` its
    moving statistics are those of the client's batch.
    gradients: pseudo-gradient of every trainable variable, L arrays [T, *shape], per-sample mean.
    layer: index of the layer of each variable, 0 = first, int [L].
    samples: N, the number of images behind the update.
    seeds: the trials' seeds.
    counts: images per class, int [T, C]; None where the labels are optimised along.
    public: the adversary's own images, float32 [P, H, W, C] in [0, 1]; P is 0 where there are none.
    public_labels: their classes, int [P].
    rounding: standard deviation of a gradient's rounding error, relative to the root mean square of its
    variable.
    noise: standard deviation of further noise on each variable's gradient [L], or None.
    steps: local steps; None where they are not known.
    members: images that are known to be in the updates, or None.
    scale_confidence: of the scale that the updates were divided by, from 0 (unknown) to 1 (stated).
    coupled: names of the BatchNormalization layers that normalised by the batch (training mode).
    has_statistics: the statistics of the batch are known.
    loss: of the logits, a text of ``losses.Loss``. With binary_crossentropy an image has any number of
    labels, so that counts are between 0 and N each (−1 where the label method gave none), and public_labels
    may be multi-hot [P, C].
    """

    model: keras.Model
    gradients: list[np.ndarray]
    layer: np.ndarray
    samples: int
    seeds: list[int]
    counts: np.ndarray | None
    public: np.ndarray
    public_labels: np.ndarray
    rounding: float = 0.0
    noise: np.ndarray | None = None
    steps: int | None = None
    members: Members | None = None
    scale_confidence: float = 1.0
    coupled: tuple[str, ...] = ()
    has_statistics: bool = False
    loss: str = CATEGORICAL

    @property
    def is_multi_label(self) -> bool:
        return self.loss == BINARY

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.model.input_shape[1:])

    @property
    def classes(self) -> int:
        return self.model.output_shape[-1]

    def dummies(self, options: MatchingOptions) -> int:
        return options.dummy_batch or self.samples

    def rng(self, seed: int, purpose: str) -> np.random.Generator:
        """The random stream of one trial: the same alone or in any block."""
        return np.random.default_rng([seed, crc32(purpose.encode())])

    @property
    def is_one_step(self) -> bool:
        """Whether the client took one local step, as far as is known."""
        return self.steps in (None, 1)

    def repeat(self, times: int) -> Problem:
        """Every trial ``times`` times, copies of a trial side by side."""
        if times == 1:
            return self
        return dataclasses.replace(
            self,
            gradients=[np.repeat(g, times, axis=0) for g in self.gradients],
            seeds=[seed for seed in self.seeds for _ in range(times)],
            counts=None if self.counts is None else np.repeat(self.counts, times, axis=0),
            members=self.members and Members(*(np.repeat(part, times, axis=0) for part in self.members)),
        )


@dataclass(frozen=True)
class Inversion:
    """The result of an attack on one block."""

    images: np.ndarray  # float32 [T, M, H, W, C] in [0, 1]
    labels: np.ndarray  # int64 [T, M]; of a model of many labels multi-hot [T, M, C]
    seeds: np.ndarray  # int64 [T]
    objective: np.ndarray  # float64 [T], the attack's own, lower is better
    accepted: np.ndarray  # bool [T, M]
    status: list[str]  # [T] "ok", or why not
    history_steps: np.ndarray  # int64 [P]
    history: np.ndarray  # float32 [T, P]
    seconds: dict[str, float]
    reason: str = ""  # why the whole block is not applicable
    # of span inversion, [T, M] or [T]
    certificates: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # [T], of span inversion: what each update proves and what it contradicts, see ``verdict``; else empty
    notes: list[list[dict[str, str | float | int]]] = dataclasses.field(default_factory=list)


def not_applicable(problem: Problem, reason: str) -> Inversion:
    """The result of an attack that cannot be done on this block, and why: no images."""
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
