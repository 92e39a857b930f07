"""Certificates of images and of features."""

import numpy as np
from span_updates import span_of

from gradleak.attacks.span import certificates


def test_of_two_certificates_each_image_gets_its_own(update):
    layer, span = span_of(update)
    one, other = (certificates.of_images(layer, span, update.x[part]) for part in (slice(2), slice(2, None)))
    mixed = certificates.where(np.array([False, True]), one, other)
    assert mixed.residual.tolist() == [other.residual[0], one.residual[1]]
    np.testing.assert_array_equal(mixed.delta, [other.delta[0], one.delta[1]])


def test_certificates_are_joined_and_taken_by_index(update):
    layer, span = span_of(update)
    whole = certificates.of_images(layer, span, update.x)
    joined = certificates.joined(certificates.of_none(*span.matrix.shape), whole)
    for name, column in vars(certificates.subset(joined, [2, 0])).items():
        np.testing.assert_array_equal(column, getattr(whole, name)[[2, 0]], err_msg=name)


def test_a_given_label_is_the_one_that_is_judged(batch):
    free = certificates.of_images(batch.layer, batch.span, batch.x)
    assert (free.label == batch.y).all()
    given = certificates.of_images(batch.layer, batch.span, batch.x, batch.y)
    for name, column in vars(given).items():
        np.testing.assert_array_equal(column, getattr(free, name), err_msg=name)
    wrong = certificates.of_images(batch.layer, batch.span, batch.x, (batch.y + 1) % 10)
    assert (wrong.label_margin < 1).all()
    assert (np.abs(wrong.weight - batch.samples) > 0.5 * batch.samples).any()


def test_the_weight_lowers_the_rank_by_one(update):
    """Wedderburn 1934, by brute force: M − f δᵀ / w has one rank less for just the weight w of a pair f, δ of
    the span."""
    layer, span = span_of(update)
    judged = certificates.of_images(layer, span, update.x[:1])
    feature, delta, weight = judged.feature[0], judged.delta[0], judged.weight[0]

    def smallest(weight):
        values = np.linalg.svd(span.matrix - np.outer(feature, delta) / weight, compute_uv=False)
        return values[span.rank - 1]

    assert smallest(weight) < 3 * span.noise
    assert min(smallest(0.8 * weight), smallest(1.2 * weight)) > 3 * smallest(weight)


def test_the_prediction_is_the_models(update):
    layer, span = span_of(update)
    judged = certificates.of_images(layer, span, update.x)
    np.testing.assert_array_equal(judged.predicted, update.model.predict(update.x, verbose=0).argmax(axis=1))
