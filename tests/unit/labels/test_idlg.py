"""iDLG: presence by sign."""

from dataclasses import replace

import numpy as np
from last_layers import COUNTS, leaked

from gradleak.labels.registry import recover


def test_idlg_shares_the_images_among_the_classes_that_it_finds(rng):
    estimate = recover("idlg", leaked(COUNTS["few"], rng))
    np.testing.assert_allclose(estimate.raw[0, [0, 3, 7]], 8 / 3)
    assert set(np.flatnonzero(estimate.counts[0])) == {0, 3, 7}
    assert estimate.counts.sum() == 8


def test_idlg_always_finds_some_class(rng):
    evidence = leaked(COUNTS["few"], rng)
    nothing = replace(evidence, grad_weight=np.abs(evidence.grad_weight))
    assert recover("idlg", nothing).counts.sum() == 8
