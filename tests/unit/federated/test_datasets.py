"""Pools that never share an image, client draws, and files from elsewhere."""

import gzip
import struct

import numpy as np
import pytest

from gradleak.federated import datasets
from gradleak.federated.datasets import CLASSES, POOLS, Images
from gradleak.images import to_float


def tagged(per_class=40, classes=CLASSES):
    """A data set in which every image says which one it is."""
    y = np.repeat(np.arange(classes), per_class)
    x = np.arange(len(y), dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1)
    return Images(x, y)


def identities(images):
    return [image.tobytes() for image in images.x]


def test_the_pools_are_disjoint_and_hold_every_image_once():
    data = tagged()
    found = [identity for pool in datasets.split("mnist", data).values() for identity in identities(pool)]
    assert len(found) == len(set(found)) == len(data.y)


def test_the_pools_have_the_stated_share_of_every_class_and_keep_labels():
    data = tagged(per_class=50)
    label = dict(zip(identities(data), data.y, strict=True))
    pools = datasets.split("mnist", data)
    assert tuple(pools) == POOLS
    for name, pool in pools.items():
        np.testing.assert_array_equal(np.bincount(pool.y, minlength=CLASSES), 50 * datasets.SHARES[name])
        assert [label[identity] for identity in identities(pool)] == list(pool.y)


def test_the_first_images_of_a_pool_are_a_fair_sample():
    head = datasets.split("mnist", tagged(per_class=100))["public"].y[:100]
    assert len(set(head)) == CLASSES


def test_the_cut_depends_on_the_name_alone():
    first, again, other = (
        datasets.split(name, tagged())["private"] for name in ("mnist", "mnist", "mnist-5k")
    )
    assert identities(first) == identities(again)
    assert identities(first) != identities(other)


@pytest.mark.parametrize("name", ["mnist-5k", "digits-8x8"])
def test_embedded_sets_are_whole_and_balanced(name):
    data = datasets.load(name)
    assert data.x.dtype == np.uint8
    assert data.y.dtype == np.int64
    assert data.x.shape[1:] == datasets.SHAPES[name]
    assert data.x.max() == 255
    assert set(data.y) == set(range(CLASSES))


def test_no_private_image_of_mnist_5k_is_public_or_anothers():
    pools = {
        name: set(identities(pool))
        for name, pool in datasets.split("mnist-5k", datasets.load("mnist-5k")).items()
    }
    assert len(pools["private"]) == 1000
    assert pools["private"].isdisjoint(pools["public"])
    assert pools["private"].isdisjoint(pools["pretraining"])


@pytest.mark.parametrize("alpha", [None, 0.001, 0.15, 1.0, 100.0])
@pytest.mark.parametrize("samples", [1, 39, 399, 400])
def test_a_client_holds_what_it_asks_for_and_no_image_twice(alpha, samples):
    data = tagged()
    label = dict(zip(identities(data), data.y, strict=True))
    for seed in range(20):
        drawn = datasets.draw_batch(data, samples, alpha, [seed, 1])
        assert len(drawn.y) == len(set(identities(drawn))) == samples
        assert [label[identity] for identity in identities(drawn)] == list(drawn.y)


def test_a_client_of_more_than_the_pool_is_an_error():
    with pytest.raises(ValueError, match="401 samples does not fit the private pool of 400"):
        datasets.draw_batch(tagged(), 401, 0.15, [0])


def test_small_alpha_concentrates_and_iid_does_not():
    def largest_share(alpha):
        draws = [datasets.draw_batch(tagged(), 40, alpha, [seed]).y for seed in range(60)]
        return np.mean([np.bincount(y).max() / 40 for y in draws])

    iid = largest_share(None)
    assert largest_share(0.01) > 0.9
    assert largest_share(0.15) > 0.5
    assert iid < 0.3
    assert largest_share(1e4) == pytest.approx(iid, abs=0.05)


def test_the_order_within_a_batch_says_nothing_about_the_class():
    y = datasets.draw_batch(tagged(), 200, 1.0, [3]).y
    assert list(y) != sorted(y)


def test_a_draw_depends_on_its_seed_alone():
    first, again, other = (datasets.draw_batch(tagged(), 30, 0.15, seed) for seed in ([1, 2], [1, 2], [2, 2]))
    assert identities(first) == identities(again)
    assert identities(first) != identities(other)


def test_a_class_that_is_not_there_is_never_drawn():
    assert set(datasets.draw_batch(tagged(classes=3), 120, 0.15, [0]).y) == {0, 1, 2}


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
    found = datasets.read_idx(folder)
    np.testing.assert_array_equal(found.x, x[..., None])
    np.testing.assert_array_equal(found.y, y)
    assert found.y.dtype == np.int64


def test_idx_files_may_be_compressed(idx_folder):
    folder, x, _ = idx_folder
    path = folder / "train-images-idx3-ubyte"
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    np.testing.assert_array_equal(datasets.load("mnist", str(folder)).x, x[..., None])


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
    with pytest.raises(ValueError, match=message) as caught:
        datasets.read_idx(folder)
    assert str(path) in str(caught.value)


def test_a_missing_idx_file_says_where_to_point(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.*datasets.<name>.path"):
        datasets.read_idx(tmp_path)


def test_labels_must_be_as_many_as_images(idx_folder):
    folder, _, y = idx_folder
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(y[:-1]))
    with pytest.raises(ValueError, match="6 images but 5 labels"):
        datasets.read_idx(folder)


def test_bytes_become_floats_between_zero_and_one():
    found = to_float(np.array([0, 51, 255], np.uint8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 0.2, 1], rtol=1e-7)
