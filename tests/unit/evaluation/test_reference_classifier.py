"""The reference classifier against scikit-learn, whose classifier it is."""

import numpy as np

from gradleak.evaluation import reference_classifier


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
