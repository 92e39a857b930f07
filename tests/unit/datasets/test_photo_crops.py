"""Crops of the photographs in installed packages."""

import numpy as np

from gradleak.datasets import builtin, photo_crops


def test_the_crops_are_as_many_of_each_photograph_and_all_different():
    data, description = builtin.BUILTIN["photo-crops"].load(None)
    assert data.x.shape == (10 * photo_crops.CROPS, *builtin.BUILTIN["photo-crops"].shape)
    assert data.x.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(data.y), photo_crops.CROPS)
    assert len(np.unique(data.x.reshape(len(data.x), -1), axis=0)) == len(data.x)
    assert description.class_names[1] == "chelsea"
