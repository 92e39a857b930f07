"""What was done to an update besides training without a penalty: weight decay, quantisation, noise, ….

The findings depend on each other, so they are made in one order: the number format and the quantisation by
the entries as shared, then the weight decay, which is removed, then noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradleak.mapping import suspicions
from gradleak.mapping.finding import Finding
from gradleak.mapping.head import Head
from gradleak.mapping.quantisation import find_quantisation
from gradleak.mapping.weight_decay import Decay, find_weight_decay, without_decay


@dataclass(frozen=True)
class Perturbations:
    """errors: standard deviation of each variable's entries by the findings [L], without rounded weights."""

    precision: Finding
    quantisation: Finding
    decay: Decay
    entry_clipping: Finding
    sparsity: Finding
    noise: Finding
    clipping: Finding
    errors: np.ndarray

    @property
    def hides_sums(self) -> bool:
        """Whether the sums of the last layer over its classes are not zero under SGD."""
        return bool(self.noise.value or self.entry_clipping.value or self.sparsity.value)

    @property
    def adds_to_rank(self) -> bool:
        return bool(self.hides_sums or self.quantisation.value)


def find_perturbations(
    deltas: list[np.ndarray], before: list[np.ndarray], factor: float, head: Head | None
) -> tuple[Perturbations, list[np.ndarray]]:
    """The findings, and the deltas without weight decay.

    deltas: as shared [D, …] each. before: the weights that were subtracted. factor: by which the delta was
    multiplied after that. head: the last dense layer, or None.
    """
    precision = suspicions.find_precision(deltas)
    quantisation, steps = find_quantisation(deltas, before, factor)
    entry_clipping = suspicions.find_entry_clipping(deltas, before, factor)
    sparsity = suspicions.find_sparsity(deltas, before, factor)
    clipping = suspicions.find_clipping(deltas)
    if quantisation.value or entry_clipping.value or sparsity.value:
        untested = "not examined: the entries were changed one by one"
        decay = Decay(Finding(0.0, 0.0, untested), np.zeros(len(deltas)))
        noise = Finding(0.0, 0.0, untested)
    else:
        decay = find_weight_decay(deltas, before, head)
        deltas = without_decay(deltas, before, decay)
        noise = suspicions.find_noise(deltas, before, head, factor)
    errors = suspicions.standard_deviations(deltas, noise, precision, sparsity, steps)
    return (
        Perturbations(precision, quantisation, decay, entry_clipping, sparsity, noise, clipping, errors),
        deltas,
    )
