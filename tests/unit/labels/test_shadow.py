"""Shadow clients of one step."""

import numpy as np
from last_layers import COUNTS, gradient, leaked

from gradleak.labels.simulated import shadow


def test_shadow_gradients_are_those_of_the_cross_entropy(rng):
    evidence = leaked(COUNTS["few"], rng, noise=0.5)
    index = rng.integers(0, len(evidence.public.labels), (5, 7))
    features, labels = evidence.public.features, evidence.public.labels
    weight, bias = shadow.gradients(features, evidence.logits(features), labels, index)
    for row, w, b in zip(index, weight, bias, strict=True):
        expected = gradient(features[row], labels[row], evidence.weight, evidence.bias)
        np.testing.assert_allclose(w, expected[0], atol=1e-6)
        np.testing.assert_allclose(b, expected[1], atol=1e-6)
