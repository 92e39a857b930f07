"""Pools that never share an image, client draws, and files from elsewhere."""

import numpy as np
import pytest
from tagged_examples import CLASSES, identities, tagged

from gradleak.datasets import builtin
from gradleak.datasets.errors import DataError
from gradleak.datasets.examples import Examples
from gradleak.datasets.pools import POOLS, SHARES, read_pool, split, write_pool


def test_the_pools_are_disjoint_and_hold_every_image_once():
    data = tagged()
    found = [identity for pool in split("mnist", data).values() for identity in identities(pool)]
    assert len(found) == len(set(found)) == len(data.y)


def test_the_pools_have_the_stated_share_of_every_class_and_keep_labels():
    data = tagged(per_class=50)
    label = dict(zip(identities(data), data.y, strict=True))
    pools = split("mnist", data)
    assert tuple(pools) == POOLS
    for name, pool in pools.items():
        np.testing.assert_array_equal(np.bincount(pool.y, minlength=CLASSES), 50 * SHARES[name])
        assert [label[identity] for identity in identities(pool)] == list(pool.y)


def test_the_first_images_of_a_pool_are_a_fair_sample():
    head = split("mnist", tagged(per_class=100))["public"].y[:100]
    assert len(set(head)) == CLASSES


def test_the_cut_depends_on_the_name_alone():
    first, again, other = (split(name, tagged())["private"] for name in ("mnist", "mnist", "mnist-5k"))
    assert identities(first) == identities(again)
    assert identities(first) != identities(other)


@pytest.mark.parametrize("name", ["mnist-5k", "digits-8x8"])
def test_embedded_sets_are_whole_and_balanced(name):
    data = builtin.load(name)
    assert data.x.dtype == np.uint8
    assert data.y.dtype == np.int64
    assert data.x.shape[1:] == builtin.BUILTIN[name].shape
    assert data.x.max() == 255
    assert set(data.y) == set(range(CLASSES))


def test_no_private_image_of_mnist_5k_is_public_or_anothers():
    pools = {
        name: set(identities(pool)) for name, pool in split("mnist-5k", builtin.load("mnist-5k")).items()
    }
    assert len(pools["private"]) == 1000
    assert pools["private"].isdisjoint(pools["public"])
    assert pools["private"].isdisjoint(pools["pretraining"])


def test_a_pool_comes_back_as_it_was_written(tmp_path):
    pool = Examples(np.zeros((2, 1, 3, 1), np.float32), np.array([[0, 1], [1, 1]], np.uint8), 2)
    write_pool(tmp_path / "pool.npz", pool)
    again = read_pool(tmp_path / "pool.npz")
    assert again.classes == 2
    for one, other in zip(again[:2], pool[:2], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_examples_of_several_labels_are_cut_by_their_combination(rng):
    y = (rng.random((200, 3)) < 0.3).astype(np.uint8)
    data = Examples(np.arange(200, dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1), y, 3)
    whole = np.bincount(data.strata)
    for name, pool in split("mine", data).items():
        assert pool.y.shape == (len(pool.x), 3)
        for combination in np.flatnonzero(whole > 5):
            row = y[data.strata == combination][0]
            share = (pool.y == row).all(axis=1).sum() / whole[combination]
            assert share == pytest.approx(SHARES[name], abs=1 / whole[combination])


@pytest.mark.parametrize("per_class", [3, 4, 5])
def test_every_pool_has_examples_of_small_classes(per_class):
    for pool in split("mine", tagged(per_class=per_class)).values():
        assert set(pool.y) == set(range(CLASSES))


def test_classes_of_one_or_two_examples_are_spread_over_the_pools():
    data = tagged(per_class=2)
    sizes = {name: len(pool.y) for name, pool in split("mine", data).items()}
    assert sizes == {name: len(data.y) * share for name, share in SHARES.items()}


def test_too_few_examples_for_three_pools_say_how_many_are_needed():
    with pytest.raises(DataError) as caught:
        split("mine", tagged().take(slice(2)))
    assert str(caught.value) == (
        "mine: 2 examples do not make three pools; 3 are needed at least, and as many of each class for it "
        "to be in every pool"
    )
