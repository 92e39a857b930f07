"""IDX files from elsewhere."""

import gzip
import struct

import numpy as np
import pytest

from gradleak.datasets import builtin
from gradleak.datasets.errors import DataError
from gradleak.datasets.idx import read_idx


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path, rng):
    x = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    y = np.arange(6, dtype=np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(x))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(y))
    return tmp_path, x, y


def test_idx_files_are_read(idx_folder):
    folder, x, y = idx_folder
    images, labels = read_idx(folder)
    np.testing.assert_array_equal(images, x[..., None])
    np.testing.assert_array_equal(labels, y)
    assert labels.dtype == np.int64


def test_idx_files_may_be_compressed(idx_folder):
    folder, x, _ = idx_folder
    path = folder / "train-images-idx3-ubyte"
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    np.testing.assert_array_equal(builtin.load("mnist", str(folder)).x, x[..., None])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], "header promises"),
        (lambda raw: raw + b"x", "header promises"),
        (lambda raw: raw[:10], "not an IDX file"),
        (lambda raw: b"", "not an IDX file"),
        (lambda raw: bytes((0, 0, 13, 3)) + raw[4:], "not an IDX file"),  # floats
        (lambda raw: bytes((0, 0, 8, 1)) + raw[4:], "not an IDX file"),  # labels under the images' name
        (lambda raw: b"<!DOCTYPE html><html>", "not an IDX file"),
    ],
)
def test_a_damaged_idx_file_is_named(idx_folder, damage, message):
    folder, *_ = idx_folder
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as caught:
        read_idx(folder)
    assert str(path) in str(caught.value)


def test_a_missing_idx_file_says_where_to_point(tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.*datasets.<name>.path"):
        read_idx(tmp_path)


def test_labels_must_be_as_many_as_images(idx_folder):
    folder, _, y = idx_folder
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(y[:-1]))
    with pytest.raises(DataError, match="6 images but 5 labels"):
        read_idx(folder)
