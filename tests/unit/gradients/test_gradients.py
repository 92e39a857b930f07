"""The engine against plain autodiff: every layer kind, loss and weighting, per trial, alone and in a block."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from gradleak.gradients import LOSSES, Products, build_matcher, objective, pack_targets, unpack_targets

TRIALS, IMAGES, CLASSES = 3, 2, 4


def sequential(*stack, size=10, channels=2):
    return keras.Sequential(
        [keras.Input((size, size, channels)), *stack, layers.Flatten(), layers.Dense(CLASSES)]
    )


def residual():
    entry = keras.Input((10, 10, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(entry)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x))
    x = layers.Activation("relu")(layers.Add()([x, y]))
    x = layers.Concatenate()([x, layers.AveragePooling2D(1)(y)])
    return keras.Model(entry, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def nested():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(2, 3, activation="tanh"), layers.MaxPooling2D()]
    )
    return sequential(layers.Conv2D(3, 3, activation="relu"), inner)


@keras.saving.register_keras_serializable("gradleak-tests")
class BatchCentred(layers.Layer):
    """Mixes the images of a batch: wrong as soon as trials are folded."""

    def call(self, inputs):
        return inputs - tf.reduce_mean(inputs, axis=0, keepdims=True)


def shared_layer():
    entry = keras.Input((6, 6, 2))
    conv = layers.Conv2D(2, 3, padding="same", activation="tanh")
    return keras.Model(entry, layers.Dense(CLASSES)(layers.Flatten()(conv(conv(entry)))))


def looked_at_twice():
    """One map, of which pooling sees 8 x 8 of 9 x 9, a convolution all and another, strided, 7 x 7."""
    entry = keras.Input((11, 11, 2))
    maps = layers.Conv2D(5, 3, activation="tanh")(entry)
    heads = [
        layers.MaxPooling2D(2)(maps),
        layers.Conv2D(3, 2, strides=3, activation="relu")(maps),
        layers.MaxPooling2D(3)(layers.Conv2D(3, 1)(maps)),
    ]
    return keras.Model(
        entry, layers.Dense(CLASSES)(layers.Concatenate()([layers.Flatten()(h) for h in heads]))
    )


def cnn7():
    return sequential(
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        size=28,
        channels=1,
    )


TRACED = {
    "cnn7": cnn7,
    "dense": lambda: sequential(
        layers.Flatten(), layers.Dense(40, activation="relu"), layers.Dense(30, "sigmoid")
    ),
    "dense without bias": lambda: sequential(
        layers.Flatten(), layers.Dense(30, use_bias=False), layers.ReLU()
    ),
    "dense on maps": lambda: sequential(layers.Dense(5, activation="tanh")),
    "conv": lambda: sequential(
        layers.Conv2D(6, 3, activation="relu"), layers.Conv2D(40, (2, 3), use_bias=False)
    ),
    "conv same, odd stride": lambda: sequential(
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")
    ),
    "conv same, even kernel": lambda: sequential(layers.Conv2D(4, (4, 2), strides=(3, 2), padding="same")),
    "conv dilated": lambda: sequential(
        layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same", activation="elu")
    ),
    "conv strided, valid": lambda: sequential(layers.Conv2D(4, 3, strides=2, activation="gelu"), size=12),
    "depthwise": lambda: sequential(
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")
    ),
    "depthwise strided": lambda: sequential(layers.DepthwiseConv2D(3, strides=2, use_bias=False)),
    "batch norm": lambda: sequential(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()),
    "batch norm, bare": lambda: sequential(layers.BatchNormalization(scale=False), layers.Conv2D(3, 3)),
    "max pooling": lambda: sequential(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()),
    "max pooling, odd": lambda: sequential(layers.Conv2D(4, 2, activation="relu"), layers.MaxPooling2D()),
    "max pooling, leaky": lambda: sequential(layers.Conv2D(4, 3), layers.LeakyReLU(), layers.MaxPooling2D(2)),
    "max pooling, overlapping": lambda: sequential(layers.Conv2D(4, 3), layers.MaxPooling2D(3, strides=2)),
    "max pooling, same": lambda: sequential(layers.Conv2D(4, 2), layers.MaxPooling2D(2, padding="same")),
    "average pooling": lambda: sequential(
        layers.Conv2D(4, 3), layers.AveragePooling2D(3, strides=2), layers.ReLU()
    ),
    "global max": lambda: sequential(layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()),
    "shapes": lambda: sequential(
        layers.ZeroPadding2D(1),
        layers.Conv2D(4, 3),
        layers.Dropout(0.5),
        layers.Reshape((20, 20, 1)),
        layers.ReLU(),
    ),
    "pooling leaves over twice": lambda: sequential(
        layers.Conv2D(6, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(7, (2, 3), dilation_rate=(2, 1), activation="gelu"),
        layers.MaxPooling2D(3),
        size=17,
    ),
    "looked at twice": looked_at_twice,
    "residual": residual,
    "nested": nested,
    "frozen layer": lambda: sequential(
        layers.Conv2D(4, 3, trainable=False), layers.Conv2D(4, 3, activation="relu")
    ),
}
PART_BY_PART = {
    "grouped conv": lambda: sequential(layers.Conv2D(4, 3, groups=2, activation="relu")),
    "layer norm": lambda: sequential(layers.Conv2D(4, 3, activation="relu"), layers.LayerNormalization()),
}
BLACK_BOX = {
    "unknown layer": lambda: sequential(layers.Conv2D(3, 3, activation="relu"), BatchCentred()),
    "shared layer": shared_layer,
}
MODELS = TRACED | PART_BY_PART | BLACK_BOX


def built(name):
    """The model with weights, biases and statistics that are all different from their defaults."""
    keras.utils.set_random_seed(7)
    model = MODELS[name]()
    rng = np.random.default_rng(7)
    for variable in model.variables:
        if variable.dtype == "float32":
            noise = rng.normal(0, 0.1, variable.shape)
            variable.assign_add(np.abs(noise) if "variance" in variable.path else noise)
    return model


def problem(model, trials=TRIALS, images=IMAGES, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((trials, images, *model.input_shape[1:]), np.float32)
    labels = rng.dirichlet(np.ones(CLASSES), (trials, images)).astype(np.float32)
    scales = [np.abs(v.numpy()).mean() * 0.05 + 1e-3 for v in model.trainable_variables]
    targets = [
        rng.normal(0, scale, (trials, *v.shape)).astype(np.float32)
        for scale, v in zip(scales, model.trainable_variables)
    ]
    weights = rng.uniform(0, 2, (trials, len(targets))).astype(np.float32)
    return x, labels, targets, weights


def engine(model, x, labels, targets, weights):
    """Per loss: the objective [T] and its gradients in x and labels."""
    matcher = build_matcher(model)

    @tf.function(autograph=False)
    def run(x, labels, targets):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x, labels])
            products = matcher.products(x, labels, targets)
            values = {loss: objective(products, weights, loss) for loss in LOSSES}
        return {loss: [value, *tape.gradient(value, [x, labels])] for loss, value in values.items()}

    found = run(tf.constant(x), tf.constant(labels), tf.nest.map_structure(tf.convert_to_tensor, targets))
    return {loss: [part.numpy() for part in parts] for loss, parts in found.items()}


def plain_losses(gradients, targets, weights):
    """All four losses of one trial by their definitions, in float64 from here on."""
    g, G = ([tf.reshape(tf.cast(v, tf.float64), [-1]) for v in tensors] for tensors in (gradients, targets))
    w = [float(weight) for weight in weights]

    def dot(a, b):
        return tf.reduce_sum(a * b)

    squares = [wl * dot(a - b, a - b) for wl, a, b in zip(w, g, G)]
    cosines = [dot(a, b) / tf.sqrt(dot(a, a) * dot(b, b)) for a, b in zip(g, G)]
    inner, own, other = (
        sum(wl * dot(*pair) for wl, pair in zip(w, pairs)) for pairs in (zip(g, G), zip(g, g), zip(G, G))
    )
    return {
        "l2": sum(squares),
        "l2_global": sum(squares) / other,
        "cosine": sum(wl * (1 - c) for wl, c in zip(w, cosines)) / sum(w),
        "cosine_global": 1 - inner / tf.sqrt(own * other),
    }


def plain(model, x, labels, targets, weights):
    """The same as ``engine`` for one trial, per loss: double backprop through the model itself."""
    x, labels = tf.constant(x), tf.constant(labels)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([x, labels])
        with tf.GradientTape() as inner:
            logits = model(x, training=False)
            # Not tf.nn.softmax_cross_entropy_with_logits: its second derivative in the labels is wrong.
            entropy = tf.reduce_logsumexp(logits, axis=1) - tf.reduce_sum(labels * logits, axis=1)
            mean = tf.reduce_mean(entropy)
        losses = plain_losses(inner.gradient(mean, model.trainable_variables), targets, weights)
    return {loss: [value.numpy(), *outer.gradient(value, [x, labels])] for loss, value in losses.items()}


def assert_close(found, wanted, tolerance):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)


def assert_equal_derivatives(found, expected):
    """Objective, gradient in x, gradient in labels: as exact as float32 second derivatives can be asked to be."""
    for got, wanted, tolerance in zip(found, expected, [1e-5, 1e-4, 1e-4], strict=True):
        assert_close(got, wanted, tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_equals_plain_autodiff_in_a_block_and_alone(name):
    model = built(name)
    x, labels, targets, weights = problem(model)
    block = engine(model, x, labels, targets, weights)
    last = slice(TRIALS - 1, TRIALS)
    alone = engine(model, x[last], labels[last], [G[last] for G in targets], weights[last])
    for t in range(TRIALS):
        expected = plain(model, x[t], labels[t], [G[t] for G in targets], weights[t])
        for loss in LOSSES:
            assert_equal_derivatives([part[t] for part in block[loss]], expected[loss])
    for loss in LOSSES:
        assert_equal_derivatives([part[0] for part in alone[loss]], expected[loss])


@pytest.mark.parametrize("name", MODELS)
def test_materialised_gradients_equal_plain_autodiff(name):
    model = built(name)
    x, labels, _, _ = problem(model)
    found = build_matcher(model).gradients(tf.constant(x), tf.constant(labels))
    for t in range(TRIALS):
        with tf.GradientTape() as tape:
            entropy = tf.nn.softmax_cross_entropy_with_logits(labels[t], model(x[t], training=False))
            mean = tf.reduce_mean(entropy)
        for got, wanted in zip(found, tape.gradient(mean, model.trainable_variables), strict=True):
            assert_close(got[t], wanted, 1e-5)


def test_what_pooling_drops_is_not_computed():
    """Of 28 x 28 pixels cnn7 sees 26 x 26, so that both poolings come out even."""
    matcher = build_matcher(built("cnn7"))
    crops = [step for step in matcher.steps if step.stage.name == "crop"]
    assert [step.inputs for step in crops] == [(0,)]
    assert crops[0].stage.run(tf.zeros([1, 28, 28, 1])).shape == (1, 26, 26, 1)


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_norms_and_inner_products_of_a_large_tensor_are_exact_at_any_ratio(size):
    """Of a gradient far smaller or larger than its target, and of one close to it."""
    from gradleak.gradients.products import products

    rng = np.random.default_rng(5)
    target = rng.normal(size=(3, 20_000)).astype(np.float32)
    rows = (size * rng.normal(size=(3, 20_000))).astype(np.float32)
    rows[2] = target[2] * (1 + 1e-6 * rng.normal(size=20_000))
    inner, own, other = (part.numpy() for part in products(tf.constant(rows), tf.constant(target)))
    g, G = rows.astype(np.float64), target.astype(np.float64)
    np.testing.assert_allclose(own, (g * g).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(inner, (g * G).sum(axis=1), atol=1e-6 * np.sqrt(own * other).max())
    distance2 = ((g - G) ** 2).sum(axis=1)
    np.testing.assert_allclose(own - 2 * inner + other, distance2, rtol=1e-2 if size < 1 else 1e-3)


@pytest.mark.parametrize("images", [1, 40])
def test_equals_plain_autodiff_whether_few_rows_or_many(images):
    """One image leaves the kernel of 200 x 40 in factors, forty images multiply it out."""
    model = built("dense")
    x, labels, targets, weights = problem(model, trials=2, images=images)
    block = engine(model, x, labels, targets, weights)
    for t in range(2):
        expected = plain(model, x[t], labels[t], [G[t] for G in targets], weights[t])
        for loss in LOSSES:
            assert_equal_derivatives([part[t] for part in block[loss]], expected[loss])


@pytest.mark.parametrize("name", ["dense", "conv", "unknown layer"])
def test_one_target_for_all_trials_is_as_good_as_one_each(name):
    model = built(name)
    x, labels, targets, weights = problem(model)
    shared = [G[:1] for G in targets]
    repeated = [np.repeat(G, TRIALS, axis=0) for G in shared]
    one = engine(model, x, labels, shared, weights[:1])
    each = engine(model, x, labels, repeated, np.repeat(weights[:1], TRIALS, axis=0))
    for loss in LOSSES:
        for a, b in zip(one[loss], each[loss]):
            assert_close(a, b, 1e-6)


@pytest.mark.parametrize("images", [1, 40])
def test_packed_targets_are_as_good_as_plain_ones(images):
    """Leaks of two images: of rank 2 in the dense kernels, whose own gradient is in factors or multiplied out."""
    model = built("dense")
    leaks = build_matcher(model).gradients(*(tf.constant(part) for part in problem(model, seed=1)[:2]))
    targets = [leak.numpy() for leak in leaks]
    packed = pack_targets(targets)
    assert packed["target_0_left"].shape == (TRIALS, IMAGES, 200)
    x, labels, _, weights = problem(model, images=images)
    plain_ones = engine(model, x, labels, targets, weights)
    again = {name: tf.constant(array) for name, array in packed.items()}
    for loss, parts in engine(model, x, labels, unpack_targets(again, len(targets)), weights).items():
        for got, wanted in zip(parts, plain_ones[loss]):
            assert_close(got, wanted, 1e-5)


@pytest.mark.parametrize("name", ["grouped conv", "unknown layer"])
def test_packed_targets_serve_where_gradients_are_materialised(name):
    model = built(name)
    leaks = build_matcher(model).gradients(*(tf.constant(part) for part in problem(model, seed=1)[:2]))
    targets = [leak.numpy() for leak in leaks]
    packed = {key: tf.constant(array) for key, array in pack_targets(targets).items()}
    assert any(key.endswith("_left") for key in packed) == (name == "unknown layer")
    x, labels, _, weights = problem(model)
    plain_ones = engine(model, x, labels, targets, weights)
    for loss, parts in engine(model, x, labels, unpack_targets(packed, len(targets)), weights).items():
        for got, wanted in zip(parts, plain_ones[loss]):
            assert_close(got, wanted, 1e-5)


def test_a_target_that_is_not_finite_stays_whole():
    spoilt = np.ones((2, 40, 50), np.float32)
    spoilt[1] = np.nan
    assert list(pack_targets([spoilt])) == ["target_0"]


def test_packing_keeps_full_ranks_whole_and_shared_targets_once():
    rng = np.random.default_rng(3)
    full = rng.normal(size=(3, 40, 50)).astype(np.float32)
    low = (rng.normal(size=(3, 40, 2)) @ rng.normal(size=(3, 2, 50))).astype(np.float32)
    shared = np.repeat(low[:1], 3, axis=0)
    nothing = np.zeros((3, 40, 50), np.float32)
    packed = pack_targets([full, low, shared, nothing])
    shapes = {name: array.shape for name, array in packed.items()}
    assert shapes == {
        "target_0": (3, 40, 50),
        "target_1_left": (3, 2, 40),
        "target_1_right": (3, 2, 50),
        "target_2_left": (1, 2, 40),
        "target_2_right": (1, 2, 50),
        "target_3_left": (1, 1, 40),
        "target_3_right": (1, 1, 50),
    }
    assert {array.dtype for array in packed.values()} == {np.dtype(np.float32)}
    left, right = packed["target_1_left"], packed["target_1_right"]
    assert_close(np.einsum("tsi,tso->tio", left, right), low, 1e-6)


def test_finite_differences_of_a_float64_model():
    keras.config.set_dtype_policy("float64")
    try:
        model = built("dense")
    finally:
        keras.config.set_dtype_policy("float32")
    for variable in model.variables:
        variable.assign(np.random.default_rng(1).normal(0, 0.2, variable.shape))
    x, labels, targets, weights = (
        [a.astype(np.float64) for a in part] if isinstance(part, list) else part.astype(np.float64)
        for part in problem(model)
    )
    found = engine(model, x, labels, targets, weights)
    rng = np.random.default_rng(2)
    along_x, along_labels = rng.normal(size=x.shape), rng.normal(size=labels.shape)
    step = 1e-3
    ahead, behind = (
        engine(model, x + s * along_x, labels + s * along_labels, targets, weights) for s in (step, -step)
    )
    for loss, (_, by_x, by_labels) in found.items():
        slope = (by_x * along_x).sum((1, 2, 3, 4)) + (by_labels * along_labels).sum((1, 2))
        difference = ahead[loss][0].astype(float) - behind[loss][0]
        np.testing.assert_allclose(difference / (2 * step), slope, rtol=2e-3)


def test_a_trial_that_is_not_finite_leaves_the_others_alone():
    model = built("conv")
    x, labels, targets, weights = problem(model)
    clean = engine(model, x, labels, targets, weights)
    x[1] = np.nan
    spoilt = engine(model, x, labels, targets, weights)
    for loss in LOSSES:
        assert np.isnan(spoilt[loss][0][1])
        for before, after in zip(clean[loss], spoilt[loss]):
            np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])


def test_l2_at_the_solution_is_far_below_float32_resolution():
    model = built("dense")
    x, labels, _, _ = problem(model)
    targets = build_matcher(model).gradients(tf.constant(x), tf.constant(labels))
    found = engine(model, x, labels, [t.numpy() for t in targets], np.ones((1, len(targets))))
    value, by_x, _ = found["l2_global"]
    assert np.all((value >= 0) & (value < 1e-12))
    assert np.isfinite(by_x).all()


def products_of(*columns):
    return Products(*(tf.constant([column], tf.float64) for column in columns))


def test_cosine_leaves_out_target_tensors_of_zeros():
    with_zero = products_of([1.0, 0.0], [1.0, 5.0], [4.0, 0.0])
    assert objective(with_zero, [[1.0, 9.0]], "cosine").numpy() == pytest.approx([0.5])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_no_gradient_is_nan_where_the_dummy_gradient_is_zero(loss, target):
    g = tf.Variable(np.zeros((1, 3)))
    with tf.GradientTape() as tape:
        products = Products(
            tf.reduce_sum(g * target, axis=1, keepdims=True),
            tf.reduce_sum(g * g, axis=1, keepdims=True),
            tf.constant([[3 * target**2]], tf.float64),
        )
        value = objective(products, [[1.0]], loss)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, g)).all()


@pytest.mark.parametrize("loss", ["cosine", "cosine_global", "l2_global"])
def test_tiny_gradients_are_not_distorted(loss):
    large = products_of([3.0, 1.0], [5.0, 2.0], [4.0, 6.0])
    tiny = Products(*(part * 1e-18 for part in large))  # tensors with entries of about 1e-9
    weights = [[1.0, 2.0]]
    assert objective(tiny, weights, loss).numpy() == pytest.approx(objective(large, weights, loss).numpy())


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_of_zero_select_nothing(loss):
    assert np.isfinite(objective(products_of([3.0], [5.0], [4.0]), [[0.0]], loss)).all()


@pytest.mark.parametrize("name", PART_BY_PART)
def test_log_names_a_layer_without_algebra(name, caplog):
    with caplog.at_level(logging.INFO, "gradleak"):
        assert build_matcher(built(name)).steps is not None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", BLACK_BOX)
def test_log_says_why_a_model_falls_back_as_a_whole(name, caplog):
    with caplog.at_level(logging.INFO, "gradleak"):
        assert build_matcher(built(name)).steps is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", TRACED)
def test_log_is_silent_about_what_is_covered(name, caplog):
    with caplog.at_level(logging.INFO, "gradleak"):
        build_matcher(built(name))
    assert not caplog.records
