"""Which variables read a flattened image, whatever stands between, and where its order cannot be followed."""

import corpus
import pytest
from corpus import layer

from gradleak.artifacts import architecture

CONV = layer("Conv2D", "conv", filters=8, kernel_size=3)
FLAT = layer("Flatten", "flat")
HEAD = layer("Dense", "head", units=10)
IMAGE = ((36, 8),)


def read(*layers, shape=(8, 8, 1)):
    return architecture.read(corpus.text(corpus.model(*layers, shape=shape)))


def flat(model):
    return {v.name: v.flat for v in model.variables if v.flat}


SAME = {
    "nothing": [],
    "Dropout": [layer("Dropout", "x", rate=0.5)],
    "Activation": [layer("Activation", "x", activation="relu")],
    "ReLU and noise": [layer("ReLU", "x"), layer("GaussianNoise", "y", stddev=0.1)],
    "a second Flatten": [layer("Flatten", "x")],
    "LeakyReLU": [layer("LeakyReLU", "x")],
    "Reshape to a vector": [layer("Reshape", "x", target_shape=[288])],
    "Reshape to the image and back": [
        layer("Reshape", "x", target_shape=[6, 6, 8]),
        layer("Flatten", "y"),
    ],
}


@pytest.mark.parametrize("between", list(SAME))
def test_layers_that_keep_the_shape_keep_the_order(between):
    model = read(CONV, FLAT, *SAME[between], HEAD)
    assert flat(model) == {"head/kernel": IMAGE}
    assert model.unordered == ()


@pytest.mark.parametrize("target", [[-1], [288]])
def test_a_reshape_flattens_too(target):
    assert flat(read(CONV, layer("Reshape", "r", target_shape=target), HEAD)) == {"head/kernel": IMAGE}


def test_vectors_behind_a_flattened_image_have_its_order():
    model = read(
        CONV,
        FLAT,
        layer("BatchNormalization", "bn"),
        layer("LayerNormalization", "ln"),
        layer("PReLU", "slope"),
        HEAD,
    )
    names = ("bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance", "ln/gamma", "ln/beta")
    assert flat(model) == dict.fromkeys([*names, "slope/alpha", "head/kernel"], IMAGE)


def test_nothing_is_turned_behind_a_dense_layer_or_where_both_orders_are_one():
    assert flat(read(CONV, FLAT, layer("Dense", "h", units=288), HEAD)) == {"h/kernel": IMAGE}
    assert flat(read(FLAT, HEAD)) == {}
    pooled = layer("GlobalAveragePooling2D", "pool")
    assert flat(read(CONV, pooled, HEAD)) == {}
    assert flat(read(CONV, layer("MaxPooling2D", "p", pool_size=6), FLAT, HEAD)) == {}


def functional(*layers):
    value = corpus.model(*layers)
    value["class_name"] = "Functional"
    entries = value["config"]["layers"]
    for one in entries:
        one["name"] = one["config"]["name"]
        one["inbound_nodes"] = [[[name, 0, 0, {}] for name in one.pop("reads", [])]] if "reads" in one else []
    value["config"] |= {
        "input_layers": [["image", 0, 0]],
        "output_layers": [[entries[-1]["config"]["name"], 0, 0]],
    }
    return architecture.read(corpus.text(value))


def reads(one, *names):
    return {**one, "reads": list(names)}


def branches(merge):
    return functional(
        reads(CONV, "image"),
        reads(layer("Conv2D", "other", filters=2, kernel_size=3, strides=2), "image"),
        reads(FLAT, "conv"),
        reads(layer("Flatten", "flat2"), "other"),
        reads(layer("Dense", "side", units=288), "flat"),
        merge,
        reads(HEAD, "merged"),
    )


def test_a_concatenation_has_the_orders_of_its_parts_one_after_the_other():
    model = branches(reads(layer("Concatenate", "merged"), "flat", "side", "flat2"))
    assert flat(model)["head/kernel"] == ((36, 8), (288, 1), (9, 2))
    assert model.unordered == ()


def test_a_sum_of_equal_orders_has_that_order():
    model = branches(reads(layer("Add", "merged"), "flat", "flat"))
    assert flat(model)["head/kernel"] == IMAGE


@pytest.mark.parametrize("kind", ["Add", "Average"])
def test_a_sum_of_different_orders_is_not_known(kind):
    assert branches(reads(layer(kind, "merged"), "flat", "side")).unordered == ("merged",)


@pytest.mark.parametrize(
    "lost",
    [
        [FLAT, layer("Reshape", "x", target_shape=[12, 12, 2]), layer("Flatten", "f")],
        [layer("Reshape", "x", target_shape=[3, 12, 8]), layer("Reshape", "y", target_shape=[6, 3, 16])],
        [FLAT, layer("Dense", "d", units=64), layer("Reshape", "x", target_shape=[4, 4, 4])],
        [layer("Reshape", "x", target_shape=[36, 8])],
        [FLAT, layer("GroupNormalization", "x", groups=4)],
        [layer("PReLU", "x")],
    ],
    ids=["image of a vector", "other channels", "image of units", "rows", "groups", "slopes of pixels"],
)
def test_where_the_order_cannot_be_followed_the_layer_is_named(lost):
    model = read(CONV, *lost, layer("Flatten", "end"), HEAD)
    (name,) = model.unordered
    assert name in ("x", "y", "end")
