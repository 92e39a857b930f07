"""The judge against scikit-learn, whose classifier it is."""

import numpy as np

from gradleak import judge


def test_it_decides_as_the_classifier_that_it_was_made_of(rng, tmp_path):
    x, y = rng.uniform(size=(400, 8, 8, 1)).astype(np.float32), rng.integers(2, 9, 400)
    x += y[:, None, None, None] / 10
    judge.save(judge.train(x, y), tmp_path / "judge.npz")
    pca, svc = judge.fitted(x, y)
    strange = rng.uniform(0, 2, (1000, 8, 8, 1)).astype(np.float32)
    expected = svc.predict(pca.transform(strange.reshape(1000, -1)))
    found = judge.predict(judge.load(tmp_path / "judge.npz"), strange)
    assert len(set(expected)) > 4
    np.testing.assert_array_equal(found, expected)
