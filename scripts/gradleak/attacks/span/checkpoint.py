"""A trial's joint fit on disk between its rounds, so that a job that was stopped goes on from there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.joint_fit import Known
from gradleak.optim import checkpoints

if TYPE_CHECKING:
    from gradleak.attacks.span.deflation import Found


@dataclass
class Fit:
    """Where a joint fit stands: K images that are fitted together, and round ``number`` that comes next.

    place: int [K], of every image among all that were looked at; −1: it is new. most: images that were ever fitted together
    since ``faint`` (see ``Joint``) is what it is. idle: rounds since there were more. best, best_place: the same as known and place
    of the largest state that any round has fitted.
    """

    known: Known
    place: np.ndarray
    number: int = 0
    most: int = 0
    idle: int = 0
    faint: int = 0
    best: Known = field(init=False)
    best_place: np.ndarray = field(init=False)

    def __post_init__(self):
        self.best, self.best_place = self.known, self.place

    def keep_if_best(self) -> None:
        if len(self.known) >= len(self.best):
            self.best, self.best_place = self.known, self.place


class Kept:
    """The file of one trial. fingerprint: of all that the trial depends on."""

    def __init__(self, folder: Path, fingerprint: str):
        layout = " ".join(
            part.name for part in fields(Fit)
        )  # what a version kept that had another is another run's
        self.folder, self.fingerprint = folder, f"{fingerprint} {layout}"

    def save(self, found: Found, fit: Fit, rng: np.random.Generator) -> None:
        looked_at = found.known
        checkpoints.save(
            self.folder,
            self.fingerprint,
            {
                "samples": found.samples,
                "unexplained": np.array(found.unexplained),
                "control_minimum": np.nan if found.control_minimum is None else found.control_minimum,
                "images": looked_at.images,
                "judged": vars(looked_at.judged),
                "members": np.array(looked_at.members, int),
                "sharp": np.array(sorted(looked_at.sharp), int),
                "fit": vars(fit) | {"known": vars(fit.known), "best": vars(fit.best)},
                "generator": json.dumps(rng.bit_generator.state),
            },
        )

    def load(self, found: Found, rng: np.random.Generator) -> Fit | None:
        """Fills ``found`` and sets ``rng`` to what they were at the last ``save``; None, and nothing is changed, where there was none."""
        state = checkpoints.load(self.folder, self.fingerprint)
        if state is None:
            return None
        looked_at, fit = found.known, state["fit"]
        found.samples, found.unexplained = int(state["samples"]), state["unexplained"].tolist()
        found.control_minimum = (
            None if np.isnan(state["control_minimum"]) else float(state["control_minimum"])
        )
        looked_at.images, looked_at.judged = state["images"], Certificates(**state["judged"])
        looked_at.members, looked_at.sharp = state["members"].tolist(), set(state["sharp"].tolist())
        rng.bit_generator.state = json.loads(str(state["generator"]))
        kept = Fit(
            Known(**fit["known"]),
            fit["place"],
            int(fit["number"]),
            int(fit["most"]),
            int(fit["idle"]),
            int(fit["faint"]),
        )
        kept.best, kept.best_place = Known(**fit["best"]), fit["best_place"]
        return kept
