"""Public images and the updates of two clients."""

import pytest
from mapped import simulated

from gradleak.images import to_float
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.settle import settle as settle_block


@pytest.fixture(scope="module")
def public(digits):
    return to_float(digits["public"].x[:200]), digits["public"].y[:200]


@pytest.fixture
def settle(public):
    def run(leaks, **claims):
        return settle_block(leaks, *public, UserClaims(**claims))

    return run


@pytest.fixture(scope="module")
def fedsgd(digits):
    """(options, model, draws, leaks) of two clients of one step of SGD."""
    return simulated(digits)
