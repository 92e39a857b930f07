"""What public images say about the weights: another range of pixels, another order of rows, no statistics."""

import keras
import numpy as np
import pytest
from keras import layers
from mapped import gradient, leak_of, small

import validate_mapping
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float
from gradleak.mapping.classifier import look_at
from gradleak.mapping.errors import MappingError
from gradleak.mapping.preflight import prospects, update_of
from gradleak.mapping.weights import doubt, find_weights


def trained(model, digits, change=lambda x: x, epochs=8, optimizer=None):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(5e-3), loss)
    pool = digits["pretraining"]
    model.fit(change(to_float(pool.x)), pool.y, batch_size=32, epochs=epochs, verbose=0)
    return model


def dense(*last):
    keras.utils.set_random_seed(3)
    hidden = layers.Dense(32, activation="relu")
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), hidden, *(last or [layers.Dense(10)])])


def looked_at(model, public, missing=()):
    return doubt(model, missing, look_at(model, *public), *public)


RESCALED = "the client's images were probably rescaled: put that into the model"


@pytest.mark.parametrize(("scale", "offset"), [(255.0, 0.0), (2.0, -1.0), (-1.0, 1.0)])
def test_a_model_of_pixels_in_another_range_is_refused(scale, offset, digits, public):
    keras.utils.set_random_seed(3)
    model = small(
        layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(32, activation="relu")
    )
    with pytest.raises(MappingError, match=RESCALED):
        looked_at(trained(model, digits, lambda x: scale * x + offset), public)


def test_a_model_that_works_better_on_another_range_is_doubted(digits, public):
    assert RESCALED in looked_at(trained(dense(), digits, lambda x: 2 * x - 1), public)


def test_statistics_that_lag_behind_are_no_other_range(digits, public):
    """The moving statistics of Keras (momentum 0.99) after a few epochs."""
    keras.utils.set_random_seed(1)
    first = [layers.Conv2D(6, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten()]
    last = [layers.Dense(32, activation="relu"), layers.Dense(10)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *first, *last])
    model = trained(model, digits, epochs=3, optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
    x, y = public
    assert look_at(model, 2 * x - 1, y).accuracy > look_at(model, x, y).accuracy + 0.08
    assert looked_at(model, public) == ""


def test_pixels_up_to_255_are_named_with_the_layer_that_is_missing(digits, public):
    """The hidden units of this model look for pixels of about 128, so those in [0, 1] switch nothing."""
    model = trained(dense(), digits)
    hidden, last = model.layers[1:]
    hidden.bias.assign(hidden.bias - 2 / 255)
    hidden.kernel.assign(hidden.kernel / 255)
    last.kernel.assign(last.kernel * 20)
    with pytest.raises(MappingError, match=r"% in \[0, 255\].* keras.layers.Rescaling\(255, offset=0\)"):
        looked_at(model, public)


def test_rows_in_the_other_order_are_refused(digits, public):
    keras.utils.set_random_seed(3)
    model = small(layers.Conv2D(6, 3, activation="relu"), layers.Conv2D(8, 3, activation="relu"))
    model = trained(model, digits)
    assert looked_at(model, public) == ""
    kernel = model.layers[-1].kernel
    right = kernel.numpy()
    kernel.assign(right.reshape(4, 4, 8, 10).transpose(2, 0, 1, 3).reshape(128, 10))
    wrong = kernel.numpy()
    with pytest.raises(MappingError, match=r"with channels first in the rows of .*kernel.*Reorder the rows"):
        looked_at(model, public)
    np.testing.assert_array_equal(kernel.numpy(), wrong)
    kernel.assign(right.reshape(8, 4, 4, 10).transpose(1, 2, 0, 3).reshape(128, 10))
    with pytest.raises(MappingError, match="with channels last"):
        looked_at(model, public)


@pytest.mark.parametrize("others", [[1, 0], [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]])
def test_classes_under_other_numbers_are_refused(others, digits, public):
    model = trained(dense(), digits)
    order = [*others, *range(len(others), 10)]
    last = model.layers[-1]
    last.set_weights([w[..., order] for w in last.get_weights()])
    with pytest.raises(MappingError, match=r"numbers the classes .* \(0 is its"):
        looked_at(model, public)


def test_a_trained_model_at_chance_has_poor_prospects_and_the_reason(digits, public, settle):
    model = trained(dense(), digits)
    kernel = model.layers[1].kernel
    kernel.assign(np.random.default_rng(0).permutation(kernel.numpy()))
    x, y = to_float(digits["private"].x[:8]), digits["private"].y[:8]
    leak = leak_of(model, [-0.1 * g for g in gradient(model, x, y)])
    found = settle([leak], scale=0.1, sign="after_minus_before")
    assert found.report["weights"]["value"] == "unknown"
    assert "the weights were trained, but the model is right on" in found.report["weights"]["doubt"]
    rows = prospects(update_of(validate_mapping.block_of(found, [0]), found.report))
    assert {row["expect"] for row in rows} <= {"poor", "none"}


@pytest.mark.parametrize("epochs", [0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 3])
def test_ordinary_clients_are_not_doubted(digits, public, epochs):
    options = ClientOptions(dataset="digits-8x8", model="fcn3", pretrain_epochs=epochs)
    model = client.global_model(options, digits["pretraining"])
    assert looked_at(model, public) == ""


def test_an_untrained_model_of_pytorch_is_not_doubted(public, rng):
    """Kernels and biases uniform in ±1/√(inputs), as torch.nn.Linear draws them."""
    model = dense()
    for layer in model.layers[1:]:
        bound = 1 / np.sqrt(layer.kernel.shape[0])
        for variable in layer.weights:
            variable.assign(rng.uniform(-bound, bound, variable.shape))
    assert looked_at(model, public) == ""
    assert find_weights(look_at(model, *public)).value == "untrained"


def normalised(digits, epochs):
    keras.utils.set_random_seed(3)
    norm = layers.BatchNormalization(momentum=0.5, name="bn")
    model = small(layers.Conv2D(4, 3, name="c"), norm, layers.ReLU())
    return trained(model, digits, epochs=epochs)


@pytest.mark.parametrize("kind", ["does not work", "works", "untrained"])
def test_missing_statistics_are_initial_doubted_or_refused(kind, digits, public):
    model = normalised(digits, 8)
    layer = model.get_layer("bn")
    if kind == "untrained":
        layer.gamma.assign(np.ones(4))
        layer.beta.assign(np.zeros(4))
    if kind != "works":
        layer.gamma.assign(np.full(4, 0.01) if kind == "does not work" else np.ones(4))
    layer.moving_mean.assign(np.zeros(4))
    layer.moving_variance.assign(np.ones(4))
    missing = (layer.moving_mean.path, layer.moving_variance.path)
    statistics = look_at(model, *public)
    if kind == "does not work":
        model.layers[-1].bias.assign(100 * np.eye(10)[3])
        with pytest.raises(
            MappingError, match=r"moving statistics of bn are not in the file.*save all weights"
        ):
            looked_at(model, public, missing)
    elif kind == "works":
        assert statistics.accuracy > 0.4
        assert "the moving statistics of bn are not in the file" in looked_at(model, public, missing)
    else:
        assert "moving statistics" not in looked_at(model, public, missing)


@pytest.mark.parametrize("name", ["kernel", "bias"])
def test_a_missing_kernel_is_refused(name, digits, public):
    model = normalised(digits, 1)
    path = getattr(model.get_layer("c"), name).path
    with pytest.raises(MappingError, match=f"no tensor for {path}.*save all weights"):
        looked_at(model, public, (path,))
