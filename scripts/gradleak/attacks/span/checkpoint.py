"""A joint search on disk between its rounds, so that a job that was stopped goes on from there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from gradleak.attacks.span.certificates import Certificates
from gradleak.attacks.span.joint_residual import FittedImages
from gradleak.attacks.span.joint_state import JointState
from gradleak.attacks.span.search_state import CandidateSet, SearchState
from gradleak.attacks.span.weight_vote import Vote
from gradleak.optim import checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """The file of one trial, in ``folder``. fingerprint: of all that the trial depends on."""

    folder: Path
    fingerprint: str

    def save(self, state: SearchState, joint: JointState, rng: np.random.Generator) -> None:
        candidates = state.candidates
        checkpoints.save(
            self.folder,
            self._key(),
            {
                "samples": state.samples,
                "vote": asdict(state.vote),
                "unexplained": np.array(state.unexplained),
                "control_minimum": np.nan if state.control_minimum is None else state.control_minimum,
                "images": candidates.images,
                "certificates": asdict(candidates.certificates),
                "members": np.array(candidates.members, int),
                "exact": np.array(sorted(candidates.exact), int),
                "joint": asdict(joint),
                "generator": json.dumps(rng.bit_generator.state),
            },
        )

    def load(self, rng: np.random.Generator) -> tuple[SearchState, JointState] | None:
        """The states of the last ``save``, and ``rng`` set to its state then. None, and ``rng`` untouched,
        without one."""
        saved = checkpoints.load(self.folder, self._key())
        if saved is None:
            return None
        minimum = float(saved["control_minimum"])
        candidates = CandidateSet(
            images=saved["images"],
            certificates=Certificates(**saved["certificates"]),
            members=tuple(saved["members"].tolist()),
            exact=frozenset(saved["exact"].tolist()),
        )
        state = SearchState(
            candidates,
            samples=int(saved["samples"]),
            vote=_vote(saved["vote"]),
            unexplained=tuple(saved["unexplained"].tolist()),
            control_minimum=None if np.isnan(minimum) else minimum,
        )
        rng.bit_generator.state = json.loads(str(saved["generator"]))
        return state, _joint_state(saved["joint"])

    def _key(self) -> str:
        """The fingerprint, and the fields of a state: the file of a version with others belongs to another
        run."""
        return f"{self.fingerprint} {' '.join(part.name for part in fields(JointState))}"


def _vote(saved: dict) -> Vote:
    return Vote(
        weight=float(saved["weight"]),
        deviation=float(saved["deviation"]),
        voters=int(saved["voters"]),
        dissent=tuple(np.ravel(saved["dissent"]).tolist()),
        is_exact=bool(saved["is_exact"]),
    )


def _joint_state(saved: dict) -> JointState:
    counters = {name: int(saved[name]) for name in ("round", "most", "idle", "weak")}
    return JointState(
        fitted=FittedImages(**saved["fitted"]),
        place=saved["place"],
        best=FittedImages(**saved["best"]),
        best_place=saved["best_place"],
        **counters,
    )
