"""The sign of the delta, by evidence, settings and metadata."""

import numpy as np
import pytest
from keras import layers
from mapped import all_present, gradient, leak_of, simulated, small

from gradleak.artifacts.leak import Leak
from gradleak.images import to_float
from gradleak.mapping.classifier import look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.sign import find_sign, sign_evidence


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1},
        {"batch_size": 8},
        {"batch_size": 32},
        {"batch_size": 1, "pretrain_epochs": 2},
        {"batch_size": 32, "pretrain_epochs": 5},
        {"samples": 16, "local_epochs": 3},
        {"optimizer": "momentum", "local_steps": 4},
        {"model": "lenet_sigmoid"},
        {"scale": 100.0},
    ],
    ids=str,
)
def test_the_sign_is_found_by_every_single_draw(digits, public, changes):
    _, model, _, leaks = simulated(digits, range(12), **changes)
    for leak in leaks:
        negated = Leak(leak.model_json, leak.before, {k: -a for k, a in leak.delta.items()}, leak.meta)
        may_abstain = [None] if changes.get("model") == "lenet_sigmoid" else []
        assert sign_of(model, leak, public) in ["after_minus_before", *may_abstain]
        assert sign_of(model, negated, public) in ["before_minus_after", *may_abstain]


def sign_of(model, leak, public):
    found, _ = sign_evidence([a[None] for a in leak.delta.values()], look_at(model, *public))
    return found.value


def test_the_clients_sign_does_not_change_the_gradient(digits, settle):
    *_, plain = simulated(digits)
    *_, negated = simulated(digits, sign="before_minus_after")
    for one, other in zip(settle(plain).gradients, settle(negated).gradients, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_undetermined_sign_stops_with_what_to_set(fedsgd, settle):
    model = fedsgd[1]
    with pytest.raises(MappingError, match="set `sign` on the target"):
        settle([leak_of(model, all_present(model))])


def test_settings_and_metadata_decide_the_sign_in_this_order(fedsgd, settle):
    model = fedsgd[1]
    leak = leak_of(model, all_present(model), {"samples": 8, "sign": "before_minus_after"})
    assert settle([leak]).report["sign"]["value"] == "before_minus_after"
    assert settle([leak], sign="after_minus_before").report["sign"]["value"] == "after_minus_before"


def test_a_claimed_sign_against_the_evidence_is_used_and_noted(fedsgd, settle):
    found = settle(fedsgd[3], sign="before_minus_after").report["sign"]
    assert found["value"] == "before_minus_after"
    assert "disagrees" in found["evidence"]


def test_features_that_can_be_negative_show_no_sign(digits, settle):
    model = small(layers.Flatten(), layers.Dense(20, activation="tanh"))
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    leak = leak_of(model, [-0.1 * g for g in gradient(model, x, y)])
    with pytest.raises(MappingError, match="can be negative"):
        settle([leak])


@pytest.mark.parametrize("claimed", ["auto", "before_minus_after"])
def test_statements_that_the_evidence_contradicts_are_named(claimed):
    found = find_sign(Finding("after_minus_before", 0.99, "columns"), claimed, {"sign": "before_minus_after"})
    sources = ["metadata"] if claimed == "auto" else ["metadata", "settings"]
    expected = [Contradiction(s, "before_minus_after", "update", "after_minus_before") for s in sources]
    assert list(found.contradicts) == expected
    assert found.estimate == "after_minus_before"
