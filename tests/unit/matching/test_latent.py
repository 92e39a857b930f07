"""Latent inversion and its control."""

from dataclasses import replace

import numpy as np

from gradleak.attacks.matching import latent
from gradleak.attacks.matching.latent_options import LatentOptions


def test_label_only_does_not_look_at_the_gradient(problem_of, decoder):
    problem = problem_of([5, 6])
    blind = replace(problem, gradients=[-3 * g for g in problem.gradients])
    options = LatentOptions(steps=5, control="label_only")
    one, other = (latent.invert(p, options, decoder) for p in (problem, blind))
    np.testing.assert_array_equal(one.images, other.images)
    seeing = [latent.invert(p, LatentOptions(steps=5), decoder).images for p in (problem, blind)]
    assert not np.array_equal(*seeing)
