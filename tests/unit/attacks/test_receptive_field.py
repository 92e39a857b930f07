"""Pixels outside the receptive field, by changing each of them; and their prediction."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
from keras import layers  # noqa: E402

from gradleak.attacks import receptive_field  # noqa: E402


def sequential(*stack, size):
    return keras.Sequential([keras.Input((size, size, 2)), *stack, layers.Flatten(), layers.Dense(3)])


def skipping():
    """A strided convolution that skips pixels, a pooling that reads some of them; nested, normalised."""
    image = keras.Input((9, 9, 2))
    sparse = layers.Conv2D(3, 1, strides=3, activation="relu")(image)
    pooled = layers.MaxPooling2D(2, strides=3)(image)
    inner = keras.Sequential(
        [keras.Input((3, 3, 5)), layers.BatchNormalization(gamma_initializer="zeros"), layers.ReLU()]
    )
    together = inner(layers.Concatenate()([sparse, pooled]))
    return keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(together)))


MODELS = {
    "all inside": lambda: sequential(layers.Conv2D(4, 3, padding="same", activation="sigmoid"), size=6),
    "pooling drops": lambda: sequential(
        layers.Conv2D(4, 2, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(4, 2),
        layers.MaxPooling2D(),
        size=12,
    ),
    "kernel starts at zero": lambda: sequential(
        layers.MaxPooling2D(4), layers.Dense(3, kernel_initializer="zeros"), size=6
    ),
    "skipping": skipping,
    "all inside, normalised by its own values": lambda: sequential(
        layers.LayerNormalization(), layers.Dense(3), size=4
    ),
    "groups": lambda: sequential(layers.Conv2D(4, 2, strides=3), layers.GroupNormalization(2), size=4),
}


def depended_on(model) -> np.ndarray:
    """By brute force: whether a change of the pixel ever changes a logit, over random weights and images."""
    rng = np.random.default_rng(0)
    shape = model.input_shape[1:]
    inside = np.zeros(shape, bool)
    changes = np.eye(inside.size).reshape(inside.size, *shape)
    for _ in range(30):
        for variable in model.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
        image = rng.random((1, *shape))
        for size in (-5, 5):
            moved = model.predict_on_batch(image + size * changes) != model.predict_on_batch(
                image + 0 * changes
            )
            inside |= moved.any(axis=1).reshape(shape)
    return inside


@pytest.mark.parametrize("name", MODELS)
def test_no_change_of_a_pixel_outside_changes_a_logit_and_any_other_does(name):
    model = MODELS[name]()
    found = receptive_field.mask(model)
    np.testing.assert_array_equal(found, ~depended_on(model))
    assert found.any() == (not name.startswith("all inside"))


def test_the_model_keeps_its_weights():
    model = MODELS["pooling drops"]()
    before = model.get_weights()
    receptive_field.mask(model)
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


@pytest.fixture
def images(rng):
    """Smooth images: neighbouring pixels are alike."""
    waves = rng.normal(size=(600, 2, 3))
    x = np.linspace(0, 1, 8)
    rows, columns = np.sin(waves[:, 0] @ [x, x**2, 1 + 0 * x]), np.sin(waves[:, 1] @ [x, x**2, 1 + 0 * x])
    return (0.5 + 0.25 * (rows[:, :, None] + columns[:, None, :]))[..., None].astype(np.float32)


def test_a_fill_comes_closer_than_the_mean_and_leaves_the_rest_alone(images):
    mask = np.zeros(images.shape[1:], bool)
    mask[-2:] = mask[:, -2:] = True
    public, private = images[:500], images[500:]
    spoilt = np.where(mask, np.float32(0.7), private)
    filled = receptive_field.fill(spoilt.reshape(10, 10, *mask.shape), mask, public)
    assert filled.shape == (10, 10, *mask.shape)
    assert filled.dtype == np.float32
    filled = filled.reshape(private.shape)
    np.testing.assert_array_equal(filled[:, ~mask], private[:, ~mask])
    error, of_mean = (((guess - private)[:, mask] ** 2).mean() for guess in (filled, public.mean(axis=0)))
    assert error < 0.1 * of_mean


def test_all_pixels_outside_give_the_mean_and_none_outside_change_nothing(images):
    everything = np.ones(images.shape[1:], bool)
    public, private = images[:500], images[500:]
    np.testing.assert_allclose(
        receptive_field.fill(private, everything, public)[3], public.mean(axis=0), atol=1e-6
    )
    np.testing.assert_array_equal(receptive_field.fill(private, ~everything, public), private)


def test_without_public_images_pixels_outside_are_those_next_to_them():
    outside = np.zeros((4, 4, 1), bool)
    outside[3] = outside[:, 3] = True
    image = np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1) / 16
    found = receptive_field.fill(image, outside, image[:0])
    np.testing.assert_array_equal(found[0, :3, :3], image[0, :3, :3])
    np.testing.assert_array_equal(found[0, :3, 3], image[0, :3, 2])
    assert found[0, 3, 3, 0] == image[0, 2, 2, 0]
    everything = np.ones_like(outside)
    np.testing.assert_array_equal(receptive_field.fill(image, everything, image[:0]), image)
