"""Local rounds: batches and steps."""

import numpy as np
import pytest
from sigmoid_clients import keras_gradient, net, parities

from gradleak.federated import rounds
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float

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


@pytest.mark.parametrize("units", [1, 3])
def test_the_loss_follows_the_labels(units, digits):
    """One unit has a sigmoid, and multi-hot labels have one sigmoid each."""
    model, x = net(units), to_float(digits["private"].x[:6])
    y = digits["private"].y[:6]
    y = y % 2 if units == 1 else parities(y)
    found = rounds.gradient_function(model)(x, y)
    for one, other in zip(found, keras_gradient(model, x, y), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
