"""The number of images, where it is unknown."""

from dataclasses import replace

import numpy as np
import pytest
from last_layers import CLASSES, leaked

from gradleak.labels import unknown_samples
from gradleak.labels.registry import recover


@pytest.mark.parametrize("samples", [7, 16, 33])
def test_an_unknown_number_is_found_or_refused(samples, rng):
    right = wrong = 0
    for counts in rng.multinomial(samples, np.full(CLASSES, 0.1), 20):
        estimate = recover("rank1_weighted", replace(leaked(counts, rng, noise=0.02), samples=None))
        if not estimate.abstain[0]:
            right += estimate.samples[0] == samples
            wrong += estimate.samples[0] != samples
    assert wrong == 0
    assert right >= 15


def test_counts_with_a_common_divisor_are_not_mistaken_for_their_quotient(rng):
    estimate = recover("rank1", replace(leaked([16, 0, 0, 0, 16, 0, 0, 0, 0, 0], rng), samples=None))
    assert estimate.abstain[0]
    assert "common divisor" in estimate.reasons[0]


def test_shares_that_fit_no_number_abstain(rng):
    estimate = unknown_samples.estimate(rng.dirichlet(np.full(CLASSES, 1.0), 50))
    assert estimate.abstain.all()
    assert all(estimate.reasons)
