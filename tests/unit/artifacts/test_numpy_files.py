"""Arrays of any number type in .npz files, in the order of the archive."""

import ml_dtypes
import numpy as np
import pytest
from leak_files import assert_arrays

from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.numpy_files import read_npz


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", ">f8", np.longdouble])
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
    np.savez(tmp_path / "a.npz", *[np.full(2, float(i)) for i in range(12)])
    assert [float(a[0]) for a in read_npz(tmp_path / "a.npz").values()] == list(range(12))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64, bool])
def test_whole_numbers_are_refused_with_how_to_dequantise(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", a=np.ones(3), k=np.array([[1, 0], [0, 1]], dtype))
    with pytest.raises(ArtifactError, match=r"a\.npz: k has dtype .* zero point\) × scale as float32"):
        read_npz(tmp_path / "a.npz")


def test_zeros_of_whole_numbers_are_zeros(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 3), np.int64))
    assert_arrays(read_npz(tmp_path / "a.npz"), [np.zeros((2, 3))])


def test_bfloat16_is_decoded(tmp_path):
    a = np.array([[1.5, -0.25, 3e5], [2, 0, 1]]).astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "a.npz", a=a, b=np.asfortranarray(a))
    assert_arrays(read_npz(tmp_path / "a.npz"), [a, a])


def test_eight_bits_without_a_name_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(4).astype(ml_dtypes.float8_e4m3fn))
    with pytest.raises(ArtifactError, match=r"a has dtype \|V1, not numbers; save it as float32"):
        read_npz(tmp_path / "a.npz")


def test_counters_and_states_of_random_numbers_are_no_weights(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        **{"bn.num_batches_tracked": np.array([7.0])},
        flag=np.array(True),
        arr_6=np.array(120),
        arr_7=np.array([120]),
        seed=np.array([1, 2], np.uint32),
        bias=np.ones(1),
    )
    assert list(read_npz(tmp_path / "a.npz")) == ["bias"]


def of_objects(value):
    holder = np.empty((), dtype=object)
    holder[()] = value
    return holder


K, B = np.ones((2, 3)), np.zeros(3)
NESTED = {
    "names of layers and variables": (
        {"one": {"kernel": K, "bias": B}, "none": {}, "two": {"kernel": K, "bias": B}},
        ["one/kernel", "one/bias", "two/kernel", "two/bias"],
    ),
    "lists of layers": ([[K, B], [], [K, B]], ["arr_0", "arr_1", "arr_2", "arr_3"]),
    "lists by name": ({"one": [K, B], "two": [K]}, ["one/0", "one/1", "two/0"]),
    "dicts in a list": ([{"w": K, "b": B}, {"w": K}], ["0/w", "0/b", "1/w"]),
    "a state_dict": (
        {"c.weight": K, "bn.num_batches_tracked": np.array(3), "c.bias": B},
        ["c.weight", "c.bias"],
    ),
    "a list with a count": ([K, B, np.int64(3), K, 7], ["arr_0", "arr_1", "arr_3"]),
}


@pytest.mark.parametrize("kind", list(NESTED))
def test_nested_containers_are_opened_with_their_names(tmp_path, kind):
    value, names = NESTED[kind]
    np.savez(tmp_path / "a.npz", of_objects(value))
    assert list(read_npz(tmp_path / "a.npz")) == names


def test_members_may_be_lists_of_a_layer(tmp_path):
    one, two = np.empty(2, dtype=object), np.empty(1, dtype=object)
    one[:], two[:] = [K, B], [K]
    np.savez(tmp_path / "a.npz", one=one, two=two, three=K)
    assert list(read_npz(tmp_path / "a.npz")) == ["one/0", "one/1", "two/0", "three"]


def test_a_name_twice_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", of_objects({"a": {"b": K}, "a/b": K}))
    with pytest.raises(ArtifactError, match="two tensors have the name 'a/b'"):
        read_npz(tmp_path / "a.npz")


def test_an_object_array_of_single_numbers_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", np.array([K, K], dtype=object))
    with pytest.raises(ArtifactError, match="dtype object, not numbers; save it as float32"):
        read_npz(tmp_path / "a.npz")
