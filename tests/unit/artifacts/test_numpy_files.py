"""Arrays of any number type in .npz files, in the order of the archive."""

import numpy as np
import pytest
from leak_files import assert_arrays

from gradleak.artifacts.numpy_files import read_npz


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float64, ">f4", ">f8", np.longdouble, np.int32, np.uint8, bool]
)
def test_numbers_of_any_kind_become_float32(tmp_path, dtype):
    np.savez(
        tmp_path / "a.npz",
        a=np.array([[1, 0], [0, 1]], dtype).T,
        b=np.asfortranarray(np.arange(6).reshape(2, 3), dtype),
    )
    found = read_npz(tmp_path / "a.npz")
    assert_arrays(found, [np.eye(2), np.arange(6).reshape(2, 3).astype(dtype)])
    assert all(a.flags.c_contiguous and a.dtype.isnative for a in found.values())


def test_archives_keep_their_own_order(tmp_path):
    np.savez(tmp_path / "a.npz", *[np.full(1, i) for i in range(12)])
    assert [float(a[0]) for a in read_npz(tmp_path / "a.npz").values()] == list(range(12))
