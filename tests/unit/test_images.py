"""Pixels as numbers."""

import numpy as np

from gradleak.images import to_float


def test_bytes_become_floats_between_zero_and_one():
    found = to_float(np.array([0, 51, 255], np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0.2, 1], rtol=1e-7)


def test_floats_stay_as_they_are():
    np.testing.assert_array_equal(to_float(np.array([0, 0.2, 1])), np.array([0, 0.2, 1], np.float32))
