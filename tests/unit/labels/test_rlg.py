"""RLG: presence by linear programming."""

import numpy as np
from last_layers import leaked

from gradleak.labels.registry import recover


def test_rlg_finds_the_set_of_a_few_distinct_images(rng):
    evidence = leaked([1, 0, 1, 0, 0, 0, 0, 1, 0, 0], rng, noise=1.0, scale=0.5)
    np.testing.assert_array_equal(recover("rlg", evidence).counts[0], [1, 0, 1, 0, 0, 0, 0, 1, 0, 0])
