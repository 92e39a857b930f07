"""Mapped updates → class counts for each trial of a block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradleak.labels import members, registry
from gradleak.labels.evidence import LEVELS, Client, Estimate, Evidence, Members, NotApplicable, Public
from gradleak.labels.packing import of_draws, unpack
from gradleak.losses import BINARY, loss_named
from gradleak.mapping.files import MappedBlock
from gradleak.mapping.head import head_of, head_weights


@dataclass(frozen=True)
class Source:
    """A block of mapped updates with all that belongs to it.

    meta: the client's metadata, of ``Metadata.values``. shadow: arrays of results/shadow_clients/*.npz, or
    None. is_smoothed: as in ``Evidence``.
    """

    block: MappedBlock
    meta: dict[str, Any]
    shadow: dict[str, np.ndarray] | None = None
    is_smoothed: bool = False

    def evidence(self, draws: np.ndarray, known: Members | None = None) -> Evidence:
        """The last layer of the updates of ``draws`` (D,), with known members.

        Raises NotApplicable if the model does not end in a dense layer.
        """
        head = self.block.head
        if head is None:
            raise NotApplicable(f"label methods read the last dense layer, but {self.block.no_head}")
        place = {draw: position for position, draw in enumerate(self.block.draws)}
        index = np.array([place[draw] for draw in draws])
        public, client = self._public(index)
        grad_weight, grad_bias = head_of(self.block.gradients, head)
        return Evidence(
            *head_weights(self.block.start, head),
            grad_weight[index],
            None if grad_bias is None else grad_bias[index],
            self.block.samples,
            public,
            client,
            known,
            self.meta.get("local_steps", 1) is not None,
            self.block.loss == BINARY,
            self.is_smoothed,
            loss_named(self.block.loss),
        )

    def _public(self, index: np.ndarray) -> tuple[Public | None, Client | None]:
        """Public data and settings. Without shadow clients only the number of steps is taken from the
        metadata.
        """
        if self.shadow:
            public, client = unpack(self.shadow)
            return of_draws(public, index), client
        steps = self.meta.get("local_steps", 1)
        return None, Client(steps if isinstance(steps, int) and steps > 0 else 1)


@dataclass
class Recovered:
    """Of a block of T trials: each trial's row of arrays, or the reason why it has none."""

    classes: int = 0
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    def arrays(self, trials: int) -> dict[str, np.ndarray]:
        """counts int (T, C), raw float (T, C), low and high int (T, L, C), expected_irec (T,), chosen (T,).

        A trial without estimate has counts 0, and NaN in the place of real numbers.
        """
        empty = Estimate(
            np.zeros((1, self.classes), int), np.full((1, self.classes), np.nan), np.zeros(1, int)
        )
        (nothing,) = _rows(empty)
        rows = [self.rows.get(trial, nothing) for trial in range(trials)]
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    def reasons_of(self, trials: int) -> list[str]:
        """Why each trial has no estimate, or ''."""
        return [self.reasons.get(trial, "") for trial in range(trials)]


def recover_block(
    method: str, sources: Iterable[Source], draws: np.ndarray, certified: dict[str, np.ndarray] | None
) -> Recovered:
    """Class counts of T trials by ``method``. draws: the trials' draws, int (T,), each in one of ``sources``.

    certified: arrays of results/members/*.npz, the members that span inversion found in the same trials, or
    None.
    """
    found = Recovered()
    for source in sources:
        block = source.block
        found.classes = len(block.public_softmax)
        trials = np.flatnonzero(np.isin(draws, block.draws))
        if certified is not None:
            numbers = np.bincount(certified["trial"], minlength=len(draws))[trials]
            crowded = numbers > block.samples
            found.reasons |= {
                trial: f"span inversion accepted {number} images, and the update is of {block.samples}"
                for trial, number in zip(trials[crowded], numbers[crowded], strict=True)
            }
            trials = trials[~crowded]
        if not len(trials):
            continue
        try:
            known = (
                None if certified is None or block.head is None else _members(certified, trials, block.loss)
            )
            estimate = registry.recover(method, source.evidence(draws[trials], known))
        except NotApplicable as error:
            found.reasons |= dict.fromkeys(trials, str(error))
        else:
            found.rows |= dict(zip(trials, _rows(estimate), strict=True))
    return found


def _members(certified: dict[str, np.ndarray], trials: np.ndarray, loss: str) -> Members:
    """The certified members of some trials of a block whose client minimised ``loss``."""
    own = np.isin(certified["trial"], trials)
    owner = np.searchsorted(trials, certified["trial"][own])
    return members.gather(
        certified["labels"][own],
        certified["features"][own],
        certified["logits"][own],
        owner,
        len(trials),
        loss_named(loss),
    )


def _rows(estimate: Estimate) -> list[dict[str, Any]]:
    """The arrays of each draw. Intervals that a method does not give are empty: low 0, high −1."""
    draws, classes = estimate.raw.shape
    low, high = estimate.low, estimate.high
    return [
        {
            "counts": estimate.counts[d],
            "raw": estimate.raw[d],
            "low": np.zeros((len(LEVELS), classes), int) if low is None else low[:, d],
            "high": np.full((len(LEVELS), classes), -1) if high is None else high[:, d],
            "expected_irec": np.nan if estimate.expected_irec is None else estimate.expected_irec[d],
            "chosen": estimate.chosen[d] if estimate.chosen else "",
        }
        for d in range(draws)
    ]
