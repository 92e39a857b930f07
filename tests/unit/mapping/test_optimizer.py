"""The optimiser's family, on gradients of a single layer, whose entries are as alike as its inputs."""

import numpy as np
import pytest

from gradleak.mapping.head import SIGMOID, SOFTMAX, Head
from gradleak.mapping.optimizer import find_optimizer


def single_layer(rng, inputs, residuals):
    """Delta and weights of one dense layer at the input. inputs [N, I]; residuals [N, C]."""
    kernel, bias = inputs.T @ residuals / len(inputs), residuals.mean(axis=0)
    before = [rng.normal(0, 0.1, kernel.shape).astype(np.float32), np.zeros(len(bias), np.float32)]
    return [(-0.1 * part).astype(np.float32) for part in (kernel, bias)], before


@pytest.mark.parametrize(
    "inputs",
    [
        lambda rng: rng.uniform(0, 1, (4, 30)),
        lambda rng: np.eye(5)[rng.integers(0, 5, (1, 8))].reshape(1, 40),
    ],
    ids=["numbers", "categories"],
)
@pytest.mark.parametrize("output", [SIGMOID, SOFTMAX])
def test_sgd_on_one_layer_is_not_taken_for_adam(rng, inputs, output):
    x = inputs(rng)
    signed = np.where(np.arange(len(x)) % 3, 0.5, -0.5)[:, None]
    residuals = signed if output == SIGMOID else np.concatenate([signed, -signed], axis=1)
    found = find_optimizer(*single_layer(rng, x, residuals), Head(0, 1, "head", output))
    assert found.value != "adam"
