"""Local rounds: batches and steps."""

import numpy as np
import pytest

from gradleak.federated import rounds
from gradleak.federated.options import ClientOptions

BASE = {"dataset": "digits-8x8", "model": "fcn3", "batch_size": 4}


def test_an_epoch_shows_every_image_once():
    options = ClientOptions(**BASE | {"samples": 10, "local_epochs": 3})
    batches = rounds.batches(options, [0])
    assert [len(b) for b in batches] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(np.concatenate(batches[3 * epoch : 3 * epoch + 3])) == list(range(10))


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_exactly_so_many_steps_are_taken_as_are_asked_for(steps):
    options = ClientOptions(**BASE | {"samples": 10, "local_steps": steps})
    assert len(rounds.batches(options, [0])) == options.steps == steps
