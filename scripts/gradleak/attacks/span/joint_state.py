"""The state of a joint search between its rounds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradleak.attacks.span.joint_residual import FittedImages


@dataclass(frozen=True)
class JointState:
    """K images that are fitted together.

    place: int [K], the index of each among the candidates; −1: it is new. best, best_place: the same of the
    largest fit of any round. round: number of the round that comes next. most: images that were ever fitted
    together since ``weak`` has its value. idle: rounds without more. weak: see ``JointModel``.
    """

    fitted: FittedImages
    place: np.ndarray
    best: FittedImages
    best_place: np.ndarray
    round: int = 0
    most: int = 0
    idle: int = 0
    weak: int = 0

    def with_fit(self, fitted: FittedImages, place: np.ndarray) -> JointState:
        return replace(self, fitted=fitted, place=place)

    def with_best(self) -> JointState:
        """With the present fit as the best, if none was larger."""
        if len(self.fitted) < len(self.best):
            return self
        return replace(self, best=self.fitted, best_place=self.place)

    def with_new(self, new: FittedImages, place: np.ndarray) -> JointState:
        """With the images ``new`` beside the fitted ones, and the counters of the round after."""
        fitted = self.fitted.joined(new)
        return replace(
            self,
            fitted=fitted,
            place=np.concatenate([self.place, place]),
            idle=0 if len(fitted) > self.most else self.idle + 1,
            most=max(self.most, len(fitted)),
            round=self.round + 1,
        )


def joint_state(fitted: FittedImages, place: np.ndarray) -> JointState:
    """The state before the first round."""
    return JointState(fitted, place, fitted, place, most=len(fitted))
