"""Update ↔ model: assignment, sign, scale and rank, on updates whose truth is known."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from gradleak.artifacts.leak import Leak
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.mapping.assign import assign_tensors
from gradleak.mapping.classifier import logits_model, look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.scale import find_scale
from gradleak.mapping.settle import settle as settle_mapping
from gradleak.mapping.sign import weigh

BASE = {"dataset": "digits-8x8", "model": "fcn3", "batch_size": 8}


def arr(arrays):
    return {f"arr_{i}": a for i, a in enumerate(arrays)}


def leak_of(model, delta, meta=None, before=None):
    weights = [v.numpy() for v in model.trainable_variables] if before is None else before
    return Leak(model.to_json(), arr(weights), arr(delta), {"samples": 8} if meta is None else meta)


@pytest.fixture(scope="module")
def public(digits):
    return to_float(digits["public"].x[:200]), digits["public"].y[:200]


@pytest.fixture
def settle(public):
    def run(leaks, samples=None, sign="auto", scale="auto"):
        return settle_mapping(leaks, *public, samples, sign, scale)

    return run


def simulated(digits, draws=range(2), **changes):
    options = ClientOptions(**BASE | changes)
    model = client.global_model(options, digits["pretraining"])
    made = client.simulate(options, model, digits["private"], list(draws))
    return options, model, made, [leak_of(model, draw.delta, draw.meta) for draw in made]


@pytest.fixture(scope="module")
def fedsgd(digits):
    return simulated(digits)


def gradient(model, x, y, from_logits=True):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=False))
    return [g.numpy() for g in tape.gradient(value, model.trainable_variables)]


def small(*middle, head="linear"):
    """A model on 8×8 digits with known, unlike layers."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [keras.Input((8, 8, 1)), *middle, layers.Flatten(), layers.Dense(10, activation=head)]
    )


# --- which tensor is which ---------------------------------------------------------------------------------------


def assign(arrays, model, variables=None):
    found, rows = assign_tensors(arrays, variables or model.trainable_variables, model.weights, "delta")
    return found, [row["matched_by"] for row in rows]


def numbered(model):
    return [np.full(tuple(v.shape), i, np.float32) for i, v in enumerate(model.trainable_variables)]


def assert_in_order(found):
    assert [int(a.flat[0]) for a in found] == list(range(len(found)))


@pytest.fixture
def conv():
    return small(layers.Conv2D(2, 3, activation="relu"), layers.Conv2D(3, 3, activation="relu"))


@pytest.mark.parametrize("decorate", ["{}", "{}:0", "/{}", "{}/"])
def test_names_win_over_order(conv, decorate):
    arrays = {
        decorate.format(v.path): a for v, a in zip(conv.trainable_variables, numbered(conv), strict=True)
    }
    found, how = assign(dict(reversed(arrays.items())), conv)
    assert_in_order(found)
    assert set(how) == {"name"}


def test_equal_shapes_are_told_apart_by_name():
    model = small(layers.Flatten(), layers.Dense(64), layers.Dense(64))
    arrays = {v.path: a for v, a in zip(model.trainable_variables, numbered(model), strict=True)}
    found, _ = assign(dict(reversed(arrays.items())), model)
    assert_in_order(found)


def test_unnamed_tensors_go_by_order(conv):
    found, how = assign(arr(numbered(conv)), conv)
    assert_in_order(found)
    assert set(how) == {"order"}


def test_numbered_tensors_go_by_number_whatever_the_archives_order(conv):
    arrays = arr(numbered(conv))
    found, how = assign({key: arrays[key] for key in sorted(arrays, reverse=True)}, conv)
    assert_in_order(found)
    assert set(how) == {"order"}


def test_twelve_numbered_tensors_sorted_as_text_are_put_right():
    model = small(*[layers.Conv2D(1, 3, padding="same") for _ in range(5)])
    arrays = arr(numbered(model))
    assert list(sorted(arrays))[2] == "arr_10"
    found, _ = assign({key: arrays[key] for key in sorted(arrays)}, model)
    assert_in_order(found)


def anonymous(arrays):
    """Names that say nothing, in an order that says nothing."""
    return {name: arrays[i] for name, i in zip("zyxwvuts", np.random.default_rng(1).permutation(len(arrays)))}


def test_shuffled_tensors_go_by_shape_where_shapes_are_unique(conv):
    found, how = assign(anonymous(numbered(conv)), conv)
    assert_in_order(found)
    assert set(how) == {"shape"}


def test_shuffled_tensors_of_equal_shape_are_refused_by_name():
    model = small(layers.Flatten(), layers.Dense(7), layers.Dense(7))
    with pytest.raises(MappingError, match=r"delta: 2 tensors could be .*bias \(7,\); name the tensors"):
        assign(anonymous(numbered(model)), model)


def test_layers_of_unlike_kernels_tell_equal_biases_apart():
    model = small(layers.Flatten(), layers.Dense(7), layers.Dense(7))
    arrays = {
        f"{v.path.split('/')[-2]}_x/{v.name}": a
        for v, a in zip(model.trainable_variables, numbered(model), strict=True)
    }
    found, how = assign(dict(sorted(arrays.items(), key=lambda item: item[0][::-1])), model)
    assert_in_order(found)
    assert set(how) == {"shape"}


def test_a_wrong_shape_is_refused_by_name(conv):
    arrays = numbered(conv)
    arrays[2] = arrays[2].transpose(3, 2, 0, 1)
    with pytest.raises(MappingError, match=rf"no tensor could be {conv.trainable_variables[2].path}"):
        assign(arr(arrays), conv)


def test_a_named_tensor_of_wrong_shape_is_refused_by_name(conv):
    arrays = {v.path: a for v, a in zip(conv.trainable_variables, numbered(conv), strict=True)}
    path = conv.trainable_variables[0].path
    arrays[path] = arrays[path][..., 0]
    with pytest.raises(MappingError, match=rf"{path} has shape \(3, 3, 1\), {path} needs \(3, 3, 1, 2\)"):
        assign(arrays, conv)


@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: [*a, np.zeros(3)]])
def test_a_wrong_number_of_tensors_is_refused_or_matched_by_shape(conv, change):
    arrays = arr(change(numbered(conv)))
    if len(arrays) < 6:
        with pytest.raises(MappingError, match="no tensor could be"):
            assign(arrays, conv)
    else:  # two tensors could be the bias of three
        with pytest.raises(MappingError, match="2 tensors could be"):
            assign(arrays, conv)


# --- what the model is --------------------------------------------------------------------------------------------


@pytest.fixture
def normalised(digits):
    """A model with BatchNorm statistics and Dropout between its trainable variables, somewhat trained."""
    model = small(layers.Conv2D(3, 3), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.5))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(to_float(digits["pretraining"].x[:64]), digits["pretraining"].y[:64], verbose=0)
    return model


@pytest.mark.parametrize("holds", ["all", "trainable"])
def test_archives_may_hold_statistics_or_leave_them_out(settle, normalised, digits, holds):
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    delta = [-0.1 * g for g in gradient(normalised, x, y)]
    if holds == "all":
        by_variable = {id(v): d for v, d in zip(normalised.trainable_variables, delta, strict=True)}
        before = [w.numpy() for w in normalised.weights]
        delta = [by_variable.get(id(w), np.zeros(w.shape, np.float32)) for w in normalised.weights]
        found = settle([leak_of(normalised, delta, before=before)], scale=0.1)
        for one, other in zip(found.model.weights, normalised.weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())
    else:
        found = settle([leak_of(normalised, delta)], scale=0.1)
    assert len(found.gradients) == len(normalised.trainable_variables) == 6
    for one, other in zip(found.gradients, gradient(normalised, x, y), strict=True):
        np.testing.assert_allclose(one[0], other, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(found.layer, [0, 0, 1, 1, 2, 2])


def with_softmax(kind):
    if kind == "activation":
        return small(layers.Dense(6, activation="relu"), head="softmax")
    model = small(layers.Dense(6, activation="relu"))
    last = layers.Softmax() if kind == "layer" else layers.Activation("softmax")
    return (
        keras.Sequential([*model.layers, last])
        if kind != "functional"
        else keras.Model(model.inputs, last(model.outputs[0]))
    )


@pytest.mark.parametrize("kind", ["activation", "layer", "activation layer", "functional"])
def test_a_softmax_head_is_made_linear_with_the_same_gradients(kind, digits):
    model = with_softmax(kind)
    if not model.built:
        model.build((None, 8, 8, 1))
    linear, what = logits_model(model.to_json())
    linear.set_weights(model.get_weights())
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    assert "softmax" in what
    np.testing.assert_allclose(tf.nn.softmax(linear(x)), model(x), rtol=1e-5, atol=1e-6)
    assert not np.allclose(np.sum(linear(x), axis=1), 1)
    for one, other in zip(gradient(linear, x, y), gradient(model, x, y, from_logits=False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_linear_head_is_left_alone(digits):
    model = small()
    linear, what = logits_model(model.to_json())
    assert "linear already" in what
    linear.set_weights(model.get_weights())
    x = to_float(digits["private"].x[:8])
    np.testing.assert_array_equal(linear(x), model(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no Keras model"),
        ("{}", "no Keras model"),
        (json.dumps({"class_name": "Nonsense", "config": {}}), "neither Sequential nor Functional"),
        (small(head="sigmoid").to_json(), "ends in sigmoid"),
        (keras.Sequential([keras.Input((4,)), layers.Dense(10)]).to_json(), "needs images in"),
        (keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 3)]).to_json(), "needs images in"),
    ],
)
def test_a_model_that_cannot_be_attacked_is_refused_with_the_reason(text, message):
    with pytest.raises(MappingError, match=message):
        logits_model(text)


def test_public_images_of_another_size_are_refused(fedsgd):
    _, _, _, leaks = fedsgd
    with pytest.raises(MappingError, match="choose another `dataset`"):
        settle_mapping(leaks, np.zeros((10, 28, 28, 1), np.float32), np.arange(10), None, "auto", "auto")


# --- the whole of it -----------------------------------------------------------------------------------------------


def test_the_pseudo_gradient_is_the_gradient(fedsgd, settle):
    _, model, made, leaks = fedsgd
    found = settle(leaks)
    for index, draw in enumerate(made):
        expected = gradient(model, to_float(draw.private.x), draw.private.y)
        for one, other in zip(found.gradients, expected, strict=True):
            assert one.dtype == np.float32
            np.testing.assert_allclose(one[index], other, atol=3e-6)
    for one, other in zip(found.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.samples == 8
    json.dumps(found.report)


def test_public_softmax_rows_are_distributions(fedsgd, settle):
    found = settle(fedsgd[3])
    assert found.public_softmax.shape == (10, 10)
    np.testing.assert_allclose(found.public_softmax.sum(axis=1), 1, rtol=1e-5)


def test_the_softmax_of_a_class_without_public_images_is_the_mean(fedsgd, public):
    x, y = public
    found = settle_mapping(fedsgd[3], x[y != 3], y[y != 3], None, "auto", "auto")
    assert np.isfinite(found.public_softmax).all()


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
        assert settle_sign(model, leak, public) in ["after_minus_before", *may_abstain]
        assert settle_sign(model, negated, public) in ["before_minus_after", *may_abstain]


def settle_sign(model, leak, public):
    found, _, _ = weigh([a[None] for a in leak.delta.values()], look_at(model, *public))
    return found


def test_the_clients_sign_does_not_change_the_gradient(digits, settle):
    *_, plain = simulated(digits)
    *_, negated = simulated(digits, sign="before_minus_after")
    for one, other in zip(settle(plain).gradients, settle(negated).gradients, strict=True):
        np.testing.assert_array_equal(one, other)


def all_present(model):
    """A delta in which no column of the last kernel has one sign."""
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1e-3, v.shape).astype(np.float32) for v in model.trainable_variables]


def test_a_sign_that_cannot_be_settled_stops_with_what_to_set(fedsgd, settle):
    model = fedsgd[1]
    with pytest.raises(MappingError, match="set `sign` on the target"):
        settle([leak_of(model, all_present(model))])


def test_settings_and_metadata_settle_the_sign_in_this_order(fedsgd, settle):
    model = fedsgd[1]
    leak = leak_of(model, all_present(model), {"samples": 8, "sign": "before_minus_after"})
    assert settle([leak]).report["sign"]["value"] == "before_minus_after"
    assert settle([leak], sign="after_minus_before").report["sign"]["value"] == "after_minus_before"


def test_a_told_sign_against_the_evidence_is_obeyed_and_noted(fedsgd, settle):
    found = settle(fedsgd[3], sign="before_minus_after").report["sign"]
    assert found["value"] == "before_minus_after"
    assert "disagrees" in found["evidence"]


def test_features_that_can_be_negative_tell_no_sign(digits, settle):
    model = small(layers.Flatten(), layers.Dense(20, activation="tanh"))
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    leak = leak_of(model, [-0.1 * g for g in gradient(model, x, y)])
    with pytest.raises(MappingError, match="can be negative"):
        settle([leak])


@pytest.fixture(scope="module")
def scale_under(fedsgd, public):
    """Metadata → the scale found for the updates of ``fedsgd``."""
    *_, leaks = fedsgd
    softmax = settle_mapping(leaks, *public, None, "auto", "auto").public_softmax
    deltas = [np.stack(arrays) for arrays in zip(*(leak.delta.values() for leak in leaks), strict=True)]
    return lambda meta: find_scale(deltas, 1.0, softmax, "auto", meta)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"learning_rate": 0.05}, 0.05),
        ({"learning_rate": 0.05, "local_steps": 4}, 0.2),
        ({"learning_rate": 0.05, "local_steps": 4, "client_weight": 0.5}, 0.1),
        ({"learning_rate": 0.1, "local_steps": 1, "momentum": 0.9}, 0.1),
        ({"learning_rate": 0.1, "local_steps": 3, "momentum": 0.5}, 0.1 * (1 + 1.5 + 1.75)),
        ({"learning_rate": 1, "local_steps": 2, "optimizer": "sgd", "momentum": None}, 2.0),
    ],
)
def test_the_scale_is_rate_times_effective_steps_times_weight(scale_under, meta, expected):
    assert scale_under(meta)["value"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"learning_rate": "fast"},
        {"learning_rate": -1.0},
        {"learning_rate": float("nan")},
        {"learning_rate": True},
        {"learning_rate": 0.05, "local_steps": 10**400},
        {"learning_rate": 0.05, "local_steps": None},
        {"learning_rate": 0.05, "momentum": 1.0},
        {"learning_rate": 0.05, "momentum": "heavy"},
        {"learning_rate": 0.05, "client_weight": None},
        {"learning_rate": 0.05, "client_weight": [1]},
        {"learning_rate": 0.05, "optimizer": "adam"},
    ],
    ids=str,
)
def test_metadata_that_make_no_sense_are_not_obeyed(scale_under, meta):
    found = scale_under(meta)
    assert found["value"] == pytest.approx(0.05, rel=0.5)  # from the update itself
    assert found["value"] == found["estimate"]


def test_many_steps_in_the_metadata_are_no_work(scale_under):
    meta = {"learning_rate": 1e-9, "local_steps": 10**15, "momentum": 0.5}
    assert scale_under(meta)["value"] == pytest.approx(2e6)


def test_a_told_scale_is_obeyed(fedsgd, settle):
    plain, told = settle(fedsgd[3]), settle(fedsgd[3], scale=0.5)
    for one, other in zip(plain.gradients, told.gradients, strict=True):
        np.testing.assert_allclose(other, one * (0.05 / 0.5), rtol=1e-5)


def test_a_scale_that_contradicts_the_update_is_noted(fedsgd, settle):
    leaks = [Leak(k.model_json, k.before, k.delta, k.meta | {"learning_rate": 5.0}) for k in fedsgd[3]]
    assert "contradict" in settle(leaks).report["scale"]["evidence"]
    assert "contradict" not in settle(fedsgd[3]).report["scale"]["evidence"]


@pytest.mark.parametrize(
    "meta", [{}, {"samples": "many"}, {"samples": -1}, {"samples": True}, {"samples": None}]
)
def test_an_unknown_number_of_images_stops_with_what_to_set(fedsgd, settle, meta):
    leak = fedsgd[3][0]
    leak = Leak(leak.model_json, leak.before, leak.delta, meta)
    with pytest.raises(MappingError, match="set `samples` on the target"):
        settle([leak], scale=0.05)
    assert settle([leak], scale=0.05, samples=5).samples == 5


@pytest.mark.parametrize(("samples", "scale"), [(1, 1.0), (8, 1.0), (8, 1000.0), (8, 1e-5), (20, 1.0)])
def test_the_rank_of_an_untrained_dense_layer_is_the_number_of_images(digits, settle, samples, scale):
    # Where the delta is scaled after the subtraction, its rounding noise is; a small rate makes that noise matter.
    rate = 0.05 if scale == 1 else 0.005
    *_, leaks = simulated(digits, batch_size=samples, scale=scale, learning_rate=rate, alpha=None)
    rows = settle(leaks).report["ranks"]
    assert [row["full"] for row in rows] == [64, 300, 10]
    for row in rows:
        assert max(row["ranks"]) <= samples
    assert rows[1]["ranks"] == [samples] * len(leaks)


def test_a_rank_above_the_stated_number_refutes_it(digits, settle):
    *_, leaks = simulated(digits, learning_rate=1.0, alpha=None)
    assert "refuted" in settle(leaks, samples=2).report["verdict"]
    assert "fits the stated 8" in settle(leaks).report["verdict"]


def test_draws_of_unlike_models_are_refused(digits, fedsgd, settle):
    *_, other = simulated(digits, model_seed=1)
    with pytest.raises(MappingError, match="draw 1 starts from other weights"):
        settle([fedsgd[3][0], other[0]])


def test_nothing_is_ever_nan(fedsgd, settle):
    model = fedsgd[1]
    zeros = [np.zeros(v.shape, np.float32) for v in model.trainable_variables]
    found = settle([leak_of(model, zeros)], sign="after_minus_before")
    assert all(np.isfinite(g).all() for g in found.gradients)
    assert all(row["ranks"] == [0] for row in found.report["ranks"])
    json.dumps(found.report, allow_nan=False)
