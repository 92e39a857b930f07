"""The data of simulated clients."""

import numpy as np
import pytest
from tagged_examples import identities, tagged

from gradleak.errors import UserError
from gradleak.federated import client_data


@pytest.mark.parametrize("alpha", [None, 0.001, 0.15, 1.0, 100.0])
@pytest.mark.parametrize("samples", [1, 39, 399, 400])
def test_a_client_holds_what_it_asks_for_and_no_image_twice(alpha, samples):
    data = tagged()
    label = dict(zip(identities(data), data.y, strict=True))
    for seed in range(20):
        drawn = client_data.draw_batch(data, samples, alpha, [seed, 1])
        assert len(drawn.y) == len(set(identities(drawn))) == samples
        assert [label[identity] for identity in identities(drawn)] == list(drawn.y)


def test_a_client_of_more_than_the_pool_is_an_error():
    with pytest.raises(UserError, match="401 samples does not fit the private pool of 400"):
        client_data.draw_batch(tagged(), 401, 0.15, [0])


def test_small_alpha_concentrates_and_iid_does_not():
    def largest_share(alpha):
        draws = [client_data.draw_batch(tagged(), 40, alpha, [seed]).y for seed in range(60)]
        return np.mean([np.bincount(y).max() / 40 for y in draws])

    iid = largest_share(None)
    assert largest_share(0.01) > 0.9
    assert largest_share(0.15) > 0.5
    assert iid < 0.3
    assert largest_share(1e4) == pytest.approx(iid, abs=0.05)


def test_the_order_within_a_batch_says_nothing_about_the_class():
    y = client_data.draw_batch(tagged(), 200, 1.0, [3]).y
    assert list(y) != sorted(y)


def test_a_draw_depends_on_its_seed_alone():
    first, again, other = (
        client_data.draw_batch(tagged(), 30, 0.15, seed) for seed in ([1, 2], [1, 2], [2, 2])
    )
    assert identities(first) == identities(again)
    assert identities(first) != identities(other)


def test_a_class_that_is_not_there_is_never_drawn():
    assert set(client_data.draw_batch(tagged(classes=3), 120, 0.15, [0]).y) == {0, 1, 2}
