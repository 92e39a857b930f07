"""The sign of the delta, by evidence, settings and metadata."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from mapped import BASE, all_present, gradient, leak_of, simulated, small

from gradleak.artifacts.leak import Leak
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.mapping.classifier import look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.finding import Contradiction, Finding
from gradleak.mapping.sign import SIGNS, Entries, find_sign, sign_evidence


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
        # A few columns of a confident model could also be those of smoothed labels.
        doubtful = changes.get("model") == "lenet_sigmoid" or changes.get("pretrain_epochs") == 5
        may_abstain = [None] if doubtful else []
        assert sign_of(model, leak, public) in ["after_minus_before", *may_abstain]
        assert sign_of(model, negated, public) in ["before_minus_after", *may_abstain]


def sign_of(model, leak, public):
    before = [v.numpy() for v in model.trainable_variables]
    deltas = [a[None] for a in leak.delta.values()]
    return sign_evidence(deltas, look_at(model, *public), Entries(before)).value


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


@pytest.fixture
def signed(digits):
    """A model whose last features can be negative, and a batch."""
    model = small(layers.Flatten(), layers.Dense(20, activation="tanh"))
    return model, to_float(digits["private"].x[:8]), digits["private"].y[:8]


def test_features_that_can_be_negative_show_the_sign_along_public_features(signed, settle):
    model, x, y = signed
    for factor, sign in ((-0.1, "after_minus_before"), (0.1, "before_minus_after")):
        leak = leak_of(model, [np.float32(factor) * g for g in gradient(model, x, y)])
        assert settle([leak]).report["sign"]["value"] == sign


def test_features_that_can_be_negative_show_no_sign_in_single_columns(signed, settle):
    delta = all_present(signed[0])
    delta[-2:] = [a - a.mean(axis=-1, keepdims=True) for a in delta[-2:]]
    with pytest.raises(MappingError, match="can be negative"):
        settle([leak_of(signed[0], delta)])


@pytest.mark.parametrize("claimed", ["auto", "before_minus_after"])
def test_statements_that_the_evidence_contradicts_are_named(claimed):
    found = find_sign(Finding("after_minus_before", 0.99, "columns"), claimed, {"sign": "before_minus_after"})
    sources = ["metadata"] if claimed == "auto" else ["metadata", "settings"]
    expected = [Contradiction(s, "before_minus_after", "update", "after_minus_before") for s in sources]
    assert list(found.contradicts) == expected
    assert found.estimate == "after_minus_before"


# --- other losses -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(digits):
    """A model that is sure of nearly all images, and what the mapping knows about it."""
    options = ClientOptions(**BASE | {"pretrain_epochs": 6})
    return client.global_model(options, digits["pretraining"])


@pytest.fixture(scope="module")
def said(trained, public):
    """Delta → the sign found."""
    before, look = [v.numpy() for v in trained.trainable_variables], look_at(trained, *public)
    return lambda delta: sign_evidence([part[None] for part in delta], look, Entries(before)).value


def smoothed(epsilon):
    return lambda y, z: tf.nn.softmax_cross_entropy_with_logits(
        tf.one_hot(y, 10) * (1 - epsilon) + epsilon / 10, z
    )


def logit_error(y, z):
    return tf.reduce_mean((z - tf.one_hot(y, 10)) ** 2, axis=1)


def delta_under(model, loss, x, y, rate=0.05):
    """One step of SGD, as a difference of float32 weights."""
    before = [v.numpy() for v in model.trainable_variables]
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(y, model(x, training=False)))
    gradients = tape.gradient(value, model.trainable_variables)
    return [(w - np.float32(rate) * g.numpy()) - w for w, g in zip(before, gradients, strict=True)]


def batch(digits, size, classes, seed):
    places = np.flatnonzero(np.isin(digits["private"].y, classes))
    chosen = np.random.default_rng(seed).choice(places, size, replace=False)
    return to_float(digits["private"].x[chosen]), digits["private"].y[chosen]


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.1, 0.2])
def test_smoothed_labels_never_turn_the_sign_around(digits, trained, said, epsilon):
    found = []
    for size, seed in ((1, 0), (4, 1), (8, 2), (32, 3)):
        for classes in ([0, 3, 5, 7], [1, 2], [4, 6, 8, 9, 0], range(10)):
            delta = delta_under(trained, smoothed(epsilon), *batch(digits, size, classes, seed))
            found.append(said(delta))
            opposite = {None: None, SIGNS[0]: SIGNS[1], SIGNS[1]: SIGNS[0]}
            assert said([-part for part in delta]) == opposite[found[-1]]
    assert SIGNS[1] not in found
    assert SIGNS[0] in found


def test_the_smoothing_of_one_image_is_found_with_the_sign(digits, trained, settle):
    for epsilon in (0.0, 0.1):
        delta = delta_under(trained, smoothed(epsilon), *batch(digits, 1, [5], 3))
        report = settle([leak_of(trained, delta, {"samples": 1, "local_steps": 1})]).report
        assert report["sign"]["value"] == "after_minus_before"
        assert report["smoothing"]["value"] == pytest.approx(epsilon, abs=1e-3)


def test_equal_columns_of_absent_classes_are_smoothed_labels(digits, trained, settle):
    delta = delta_under(trained, smoothed(0.2), *batch(digits, 16, [0, 6], 0))
    meta = {"samples": 16, "local_steps": 1, "learning_rate": 0.05}
    report = settle([leak_of(trained, delta, meta)]).report
    assert report["sign"]["value"] == "after_minus_before"
    assert report["smoothing"]["value"] == pytest.approx(0.2, rel=0.2)


def test_a_loss_beyond_the_softmax_shows_no_sign(digits, trained, settle):
    for seed in range(4):
        delta = delta_under(trained, logit_error, *batch(digits, 8, [0, 3, 5, 7], seed))
        report = settle([leak_of(trained, delta)], sign="after_minus_before").report
        assert report["sign"]["found"] is None
