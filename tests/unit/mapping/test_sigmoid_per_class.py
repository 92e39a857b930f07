"""Models of one sigmoid a class, whose images have any number of labels, from the mapping to the attacks."""

import numpy as np
import pytest
import tensorflow as tf
from mapped import gradient, leak_of, problem_of
from sigmoid_clients import META, RATE, keras_gradient, mapped, net, parities, update

import validate_mapping
from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets.examples import Examples
from gradleak.federated import shadow_clients
from gradleak.gradients.matcher import Matcher, build_matcher
from gradleak.images import to_float
from gradleak.labels.evidence import Client
from gradleak.labels.packing import pack
from gradleak.labels.recovery import Source, recover_block
from gradleak.labels.registry import METHODS
from gradleak.losses import BINARY, CATEGORICAL
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError
from gradleak.mapping.files import model_of, read_block, write_block
from gradleak.mapping.head import SIGMOIDS
from gradleak.mapping.preflight import prospects, update_of

UNSIGNED = {"learning_rate": None, "sign": None}


@pytest.fixture(scope="module")
def private(digits):
    return to_float(digits["private"].x[:8]), parities(digits["private"].y[:8])


@pytest.fixture(scope="module")
def public(digits):
    return to_float(digits["public"].x[:200]), parities(digits["public"].y[:200])


@pytest.mark.parametrize("kind", ["traced", "black box"])
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_the_engines_gradient_is_that_of_keras(activation, kind, private):
    model, (x, y) = net(3, activation), private
    linear, _ = logits_model(model.to_json())
    linear.set_weights(model.get_weights())
    matcher = build_matcher(linear, loss=BINARY) if kind == "traced" else Matcher(linear, None, BINARY)
    found = matcher.gradients(tf.constant(x[None]), tf.constant(y[None], tf.float32))
    for one, other in zip(found, keras_gradient(model, x, y), strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-6)


def test_the_derivatives_of_a_match_are_those_of_plain_autodiff(private):
    model, x = net(3), tf.constant(private[0][None, :2])
    y = tf.random.stateless_uniform((1, 2, 3), [1, 2])
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        squares = build_matcher(model, loss=BINARY).products(
            x, y, [g[None] for g in model.trainable_variables]
        )
        value = tf.reduce_sum(squares.norm2 - squares.inner)
    found = tape.gradient(value, [x, y])
    with tf.GradientTape() as outer:
        outer.watch([x, y])
        with tf.GradientTape() as inner:
            logits = model(x[0])
            loss = tf.reduce_mean(tf.nn.softplus(logits) - y[0] * logits)
        plain = inner.gradient(loss, model.trainable_variables)
        value = tf.add_n([tf.reduce_sum(g * (g - v)) for g, v in zip(plain, model.trainable_variables)])
    for one, other in zip(found, outer.gradient(value, [x, y]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_image_shows_the_loss_the_sign_and_the_scale(sign, private, public, tmp_path):
    model, (x, y) = net(3), (part[:1] for part in private)
    leak = update(model, x, y, **UNSIGNED)
    leak.delta.update({name: sign * part for name, part in leak.delta.items()})
    found = mapped([leak], public)
    assert (found.report["loss"]["value"], found.loss, found.head.output) == (BINARY, BINARY, SIGMOIDS)
    assert found.report["loss"]["confidence"] == 0.95
    assert found.report["sign"]["value"] == ("after_minus_before" if sign > 0 else "before_minus_after")
    assert found.report["scale"]["value"] == pytest.approx(RATE, rel=1e-3)
    for one, other in zip(found.gradients, keras_gradient(model, x, y), strict=True):
        np.testing.assert_allclose(one[0], other, atol=1e-4)
    write_block(tmp_path / "block.npz", validate_mapping.block_of(found, [0]))
    read = read_block(tmp_path / "block.npz")
    assert (read.loss, read.head) == (BINARY, found.head)
    np.testing.assert_allclose(read.public_softmax, found.public_softmax)


def test_several_images_show_no_loss_and_statements_count(private, public, digits):
    model, (x, y) = net(3), private
    classes = public[0], np.arange(len(public[0])) % 3
    assumed = mapped([update(model, x, y)], classes).report["loss"]
    assert (assumed["value"], assumed["confidence"]) == (CATEGORICAL, 0.3)
    stated = mapped([update(model, x, y, loss="nn.BCEWithLogitsLoss()")], public)
    assert (stated.loss, stated.report["loss"]["confidence"]) == (BINARY, 0.5)
    claimed = mapped([update(model, x, y)], public, loss=BINARY)
    assert (claimed.loss, claimed.report["loss"]["confidence"]) == (BINARY, 1.0)
    explicit = mapped([update(net(3, "sigmoid"), x, y)], public)
    assert (explicit.loss, explicit.report["loss"]["confidence"]) == (BINARY, 0.95)
    assert explicit.report["scale"]["estimate"] is None
    with pytest.raises(MappingError, match="one sigmoid a class"):
        mapped([update(net(3, "sigmoid"), x, y)], public, loss=CATEGORICAL)
    with pytest.raises(MappingError, match="any number of 3 labels"):
        mapped([update(model, x, y)], public)


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("kind", ["softmax", "squared error"])
def test_other_losses_are_not_taken_for_sigmoids(kind, samples, digits):
    model, y = net(10), digits["private"].y[:samples]
    x, public = to_float(digits["private"].x[:samples]), digits["public"]
    if kind == "softmax":
        found = gradient(model, x, y)
    else:
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(tf.square(model(x) - tf.one_hot(y, 10)))
        found = tape.gradient(value, model.trainable_variables)
    leak = leak_of(model, [-RATE * np.asarray(g) for g in found], META | {"samples": samples})
    loss = mapped([leak], (to_float(public.x[:200]), public.y[:200])).report["loss"]
    assert loss["value"] == CATEGORICAL
    assert loss["confidence"] == (0.95 if kind == "softmax" else 0.3)


def recovered(method, found, public):
    block = validate_mapping.block_of(found, [0])
    images = Examples((public[0] * 255).astype(np.uint8), public[1], 10)
    known = shadow_clients.simulate(model_of(block), images, shadow_clients.Rounds(None, 1.0), [])
    source = Source(block, {}, pack(known, Client(1, 0.1, "sgd")))
    return recover_block(method, [source], np.array([0]), None)


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.multi_label])
def test_the_labels_of_one_image_are_recovered(method, private, public):
    x, y = (part[:1] for part in private)
    found = mapped([update(net(3, "sigmoid"), x, y)], public)
    counts = recovered(method, found, public).arrays(1)["counts"]
    if method != "uniform":
        np.testing.assert_array_equal(counts, y)
    assert ((counts >= 0) & (counts <= 1)).all()


def test_counts_of_several_images_are_each_up_to_n(private, public):
    x, y = private
    found = mapped([update(net(3, "sigmoid"), x, y)], public)
    counts = recovered("aux_mean", found, public).arrays(1)["counts"]
    assert counts.sum() > 8
    assert np.abs(counts - y.sum(axis=0)).max() <= 1


def test_other_methods_are_refused_with_the_reason(private, public):
    found = mapped([update(net(3, "sigmoid"), *private)], public)
    for name, method in METHODS.items():
        if not method.multi_label:
            assert "one sigmoid a class" in recovered(name, found, public).reasons_of(1)[0]


@pytest.mark.parametrize("labels", ["joint", "recovered"])
def test_dlg_recovers_one_image_and_its_labels(labels, private, public):
    x, y = (part[:1] for part in private)
    found = mapped([update(net(3, "sigmoid"), x, y)], public)
    options = DlgOptions(
        labels=labels, loss="l2_global", steps=300, polish_steps=100, tv=0.0, weighting="norm"
    )
    result = dlg.invert(problem_of(found, y[0].astype(int), public), options)
    assert result.status == ["ok"]
    np.testing.assert_array_equal(result.labels, y[None])
    assert np.square(result.images[0] - x).mean() < 1e-3


def test_attacks_that_need_one_class_an_image_do_not_apply(private, public):
    found = mapped([update(net(3, "sigmoid"), *private)], public)
    problem = problem_of(found, private[1].sum(axis=0, dtype=int), public)
    for result, reason in (
        (attack.invert(problem, SpanOptions()), "any set of labels"),
        (dlg.invert(problem, DlgOptions(labels="recovered")), "set labels: joint"),
    ):
        assert (result.status, result.images.shape[1]) == (["not applicable"], 0)
        assert reason in result.reason
    block = validate_mapping.block_of(found, [0])
    expected = {row["attack"]: row["expect"] for row in prospects(update_of(block, found.report))}
    assert expected["span"] == "none"


def test_the_mean_sigmoids_of_a_label_are_those_of_images_that_have_it(private, public):
    model = net(3, "sigmoid")
    found = mapped([update(model, *private)], public)
    x, y = public
    np.testing.assert_allclose(
        found.public_softmax[1], model(x[y[:, 1] == 1]).numpy().mean(axis=0), rtol=1e-4
    )
