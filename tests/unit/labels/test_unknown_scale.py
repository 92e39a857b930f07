"""Sign and scale of a delta, where they are unknown."""

from dataclasses import replace

import pytest
from last_layers import leaked

from gradleak.labels import unknown_scale


@pytest.mark.parametrize("factor", [0.05, -0.05, 3.0, -700.0])
def test_sign_and_scale_of_a_delta_are_found(factor, rng):
    evidence = leaked([3, 0, 2, 1, 0, 4, 1, 2, 0, 0], rng, noise=0.02)
    scaled = replace(
        evidence, grad_weight=factor * evidence.grad_weight, grad_bias=factor * evidence.grad_bias
    )
    found = unknown_scale.find_scale(scaled)
    assert not found.abstain[0], found.reasons
    assert found.factor[0] == pytest.approx(factor, rel=0.05)


def test_no_absent_class_no_scale(rng):
    found = unknown_scale.find_scale(leaked([3, 1, 2, 1, 5, 4, 1, 2, 3, 7], rng, noise=0.02))
    assert found.abstain[0]
    assert "absent" in found.reasons[0]
