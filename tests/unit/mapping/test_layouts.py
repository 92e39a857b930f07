"""Tensors in PyTorch's layout become those of Keras."""

import keras
import numpy as np
import pytest
from keras import layers
from mapped import arr

from gradleak.artifacts.leak import Leak
from gradleak.mapping.alignment import align
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError

# Place in Keras's vector of each place in PyTorch's, for an image of 6 × 6 pixels and 4 channels.
PLACES = np.arange(144).reshape(6, 6, 4).transpose(2, 0, 1).ravel()


def as_torch(model):
    """PyTorch's state_dict of a model whose vectors of 144 numbers are images of 6 × 6 × 4."""
    found = {}
    for variable in model.weights:
        a = variable.numpy()
        if a.shape[0] == 144:
            a = a[PLACES]
        turned = {4: lambda a: a.transpose(3, 2, 0, 1), 2: lambda a: a.T}.get(a.ndim, lambda a: a)(a)
        found[variable.path] = turned
    return found


def loaded(*middle, torch=as_torch):
    """(model with random weights, its weights as they are loaded from PyTorch's)."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, name="c"), *middle, layers.Dense(10, name="d")]
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype("f4") for w in model.get_weights()])
    text = model.to_json()
    again, _ = logits_model(text)
    before = arr(torch(model).values())
    delta = arr([a for a, w in zip(before.values(), model.weights, strict=True) if w.trainable])
    align([Leak(text, before, delta, {})], again)
    return model, again


MIDDLES = {
    "Flatten": lambda: [layers.Flatten()],
    "Dropout": lambda: [layers.Flatten(), layers.Dropout(0.5)],
    "Activation": lambda: [layers.Flatten(), layers.Activation("relu")],
    "ReLU": lambda: [layers.Flatten(), layers.ReLU()],
    "noise": lambda: [layers.Flatten(), layers.GaussianNoise(0.1)],
    "Reshape": lambda: [layers.Reshape((-1,))],
    "Reshape to a size": lambda: [layers.Reshape((144,))],
    "BatchNormalization": lambda: [layers.Flatten(), layers.BatchNormalization()],
    "LayerNormalization": lambda: [layers.Flatten(), layers.LayerNormalization()],
    "PReLU": lambda: [layers.Flatten(), layers.PReLU()],
}


@pytest.mark.parametrize("middle", list(MIDDLES))
def test_what_stands_between_the_image_and_its_dense_layer_does_not_matter(middle):
    model, again = loaded(*MIDDLES[middle]())
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)


def test_where_the_order_cannot_be_followed_pytorchs_layout_is_refused():
    with pytest.raises(MappingError, match=r"PyTorch's layout.* at layer odd is not known"):
        loaded(layers.Reshape((12, 12, 1), name="odd"), layers.Flatten())


def test_kerass_layout_needs_no_order():
    odd = layers.Reshape((12, 12, 1), name="odd")
    model, again = loaded(odd, layers.Flatten(), torch=lambda m: {v.path: v.numpy() for v in m.weights})
    np.testing.assert_array_equal(model.get_weights()[2], again.get_weights()[2])


def test_a_depthwise_convolution():
    def torch(model):
        found = as_torch(model)
        key = next(key for key in found if key.endswith("depth/kernel"))
        kernel = next(v.numpy() for v in model.weights if v.path == key)
        found[key] = np.stack([kernel[:, :, c, m][None] for c in range(4) for m in range(2)])
        return found

    middle = [layers.DepthwiseConv2D(3, depth_multiplier=2, name="depth"), layers.GlobalAveragePooling2D()]
    model, again = loaded(*middle, torch=torch)
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)


@pytest.mark.parametrize(("shared", "slopes"), [([1, 2], 4), ([1, 2, 3], 1)])
def test_slopes_of_channels(shared, slopes):
    def torch(model):
        return {k: a.reshape(slopes) if k.endswith("alpha") else a for k, a in as_torch(model).items()}

    model, again = loaded(layers.PReLU(shared_axes=shared), layers.GlobalMaxPooling2D(), torch=torch)
    np.testing.assert_array_equal(model.get_weights()[2], again.get_weights()[2])


def test_parts_of_a_concatenation_have_their_own_orders():
    keras.utils.set_random_seed(2)
    x = keras.Input((8, 8, 1))
    one = layers.Flatten()(layers.Conv2D(4, 3)(x))
    other = layers.Flatten()(layers.Conv2D(2, 3, strides=2)(x))
    y = layers.BatchNormalization()(layers.Concatenate()([one, other]))
    model = keras.Model(x, layers.Dense(10)(y))
    places = [*PLACES, *(144 + np.arange(18).reshape(3, 3, 2).transpose(2, 0, 1).ravel())]
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype("f4") for w in model.get_weights()])
    values = [w[places] if len(w) == 162 else w for w in model.get_weights()]
    torch = [w.transpose(3, 2, 0, 1) if w.ndim == 4 else w.T for w in values]
    again, _ = logits_model(model.to_json())
    trained = [a for a, w in zip(torch, model.weights, strict=True) if w.trainable]
    align([Leak(model.to_json(), arr(torch), arr(trained), {})], again)
    for mine, loaded_weight in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), loaded_weight.numpy(), mine.path)
