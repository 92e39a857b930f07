"""The reference classifier against scikit-learn, whose classifier it is."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from gradleak.datasets import builtin
from gradleak.datasets.pools import split
from gradleak.evaluation import reference_classifier
from gradleak.images import to_float


def test_it_decides_as_the_classifier_that_it_was_made_of(rng, tmp_path):
    x, y = rng.uniform(size=(400, 8, 8, 1)).astype(np.float32), rng.integers(2, 9, 400)
    x += y[:, None, None, None] / 10
    reference_classifier.save(reference_classifier.train(x, y), tmp_path / "reference.npz")
    pca, svc = reference_classifier.fitted(x, y)
    strange = rng.uniform(0, 2, (1000, 8, 8, 1)).astype(np.float32)
    expected = svc.predict(pca.transform(strange.reshape(1000, -1)))
    found = reference_classifier.predict(reference_classifier.load(tmp_path / "reference.npz"), strange)
    assert len(set(expected)) > 4
    np.testing.assert_array_equal(found, expected)


def test_two_classes_and_few_features_are_enough(rng):
    x, y = rng.uniform(size=(200, 1, 5, 1)).astype(np.float32), rng.integers(0, 2, 200)
    x += y[:, None, None, None] / 2
    pca, svc = reference_classifier.fitted(x, y)
    trained = reference_classifier.train(x, y)
    strange = rng.uniform(0, 2, (500, 1, 5, 1)).astype(np.float32)
    expected = svc.predict(pca.transform(strange.reshape(500, -1)))
    assert len(set(expected)) == 2
    np.testing.assert_array_equal(reference_classifier.predict(trained, strange), expected)


def test_what_has_no_classes_has_no_classifier(rng, tmp_path):
    x = rng.uniform(size=(20, 1, 5, 1)).astype(np.float32)
    for y in (np.zeros(20, int), np.eye(2, dtype=np.uint8)[rng.integers(0, 2, 20)]):
        reference_classifier.save(reference_classifier.train(x, y), tmp_path / "reference.npz")
        assert reference_classifier.load(tmp_path / "reference.npz") is None


def test_the_perceptual_distance_is_that_of_the_feature_space_of_the_machine(digits):
    """1 − cosine by the kernel of scikit-learn, whose features have length 1."""
    x, y = to_float(digits["pretraining"].x), digits["pretraining"].y
    pca, svc = reference_classifier.fitted(x, y)
    trained = reference_classifier.train(x, y)
    a, b = to_float(digits["public"].x[:50]), to_float(digits["public"].x[50:100])
    seen = [pca.transform(part.reshape(50, -1)) for part in (a, b)]
    expected = 1 - np.diag(rbf_kernel(*seen, gamma=svc._gamma))
    found = reference_classifier.perceptual_distance(trained, a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert 0.5 < np.median(found) < 1
    assert (reference_classifier.perceptual_distance(trained, a, a) == 0).all()


@pytest.mark.parametrize(("name", "least"), [("breast-cancer", 0.92), ("wine", 0.92)])
def test_records_are_classified_too(name, least):
    pools = split(name, builtin.load(name))
    trained = reference_classifier.train(pools["pretraining"].x, pools["pretraining"].y)
    assert reference_classifier.accuracy(trained, pools["public"].x, pools["public"].y) >= least
