"""The number of images: stated by the user or the metadata, and checked against the rank."""

import pytest

from gradleak.artifacts.leak import Leak
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction
from gradleak.mapping.ranks import Bound
from gradleak.mapping.samples import find_samples

BOUND = Bound("dense/kernel", 8, 30)


@pytest.mark.parametrize(
    "meta", [{}, {"samples": "many"}, {"samples": -1}, {"samples": True}, {"samples": None}]
)
def test_an_unknown_number_of_images_stops_with_what_to_set(fedsgd, settle, meta):
    leak = fedsgd[3][0]
    leak = Leak(leak.model_json, leak.before, leak.delta, meta)
    with pytest.raises(MappingError, match="set `samples` on the target"):
        settle([leak], scale=0.05)
    assert settle([leak], scale=0.05, samples=5).samples == 5


@pytest.mark.parametrize(
    ("claimed", "meta", "expected"),
    [
        (None, {"samples": 8}, []),
        (None, {"samples": 4, "local_steps": 1}, [Contradiction("metadata", 4, "update", 8)]),
        (None, {"samples": 4}, []),  # it may have made two steps
        (None, {"samples": 4, "local_steps": 2}, []),
        (4, {"local_steps": 1}, [Contradiction("settings", 4, "update", 8)]),
        (8, {"samples": 9}, [Contradiction("metadata", 9, "settings", 8)]),
        (8, {"batch_size": 8}, []),
        (8, {"samples": "many"}, []),
    ],
)
def test_statements_that_the_rank_or_the_settings_contradict_are_named(claimed, meta, expected):
    found = find_samples(claimed, meta, BOUND)
    assert list(found.contradicts) == expected
    assert found.value == (claimed or meta["samples"])


def test_without_a_bound_nothing_is_contradicted():
    found = find_samples(4, {"local_steps": 1}, None)
    assert (found.contradicts, found.estimate) == ((), None)
