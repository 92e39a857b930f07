"""Images from features: polished until feature and δ are in their spans."""

import numpy as np
from span_updates import span_of

from gradleak.attacks.span import certificates, feature_inversion


def test_images_are_sharpened_until_feature_and_delta_fit(update):
    layer, span = span_of(update)
    inexact = np.clip(update.x + np.random.default_rng(0).normal(0, 0.001, update.x.shape), 0, 1)
    before = certificates.of_images(layer, span, inexact)
    after = certificates.of_images(
        layer, span, feature_inversion.sharpened(layer, span, update.y, inexact, 400)
    )
    assert before.normalised_residual.min() > 9
    assert np.sort(after.normalised_residual)[:3].max() < 2  # one of the four is stopped by its units' kinks
    assert np.sort(after.label_normalised_residual)[:3].max() < 2
