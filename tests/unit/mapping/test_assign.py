"""Tensors go to variables by name, order, layer or shape, or are refused."""

import numpy as np
import pytest
from keras import layers
from mapped import anonymous, arr, small

from gradleak.mapping.assign import assigned, match
from gradleak.mapping.errors import MappingError


def assign(arrays, model, variables=None):
    wanted = variables or model.trainable_variables
    found, rows = assigned(match(arrays, wanted, model.weights, "delta"), wanted)
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


def test_equal_shapes_are_distinguished_by_name():
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


def test_shuffled_tensors_go_by_shape_where_shapes_are_unique(conv):
    found, how = assign(anonymous(numbered(conv)), conv)
    assert_in_order(found)
    assert set(how) == {"shape"}


def test_shuffled_tensors_of_equal_shape_are_refused_by_name():
    model = small(layers.Flatten(), layers.Dense(7), layers.Dense(7))
    with pytest.raises(MappingError, match=r"delta: 2 tensors could be .*bias \(7,\); name the tensors"):
        assign(anonymous(numbered(model)), model)


def test_equal_biases_are_distinguished_by_the_kernels_of_their_layers():
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


def test_variables_without_a_tensor_are_known():
    model = small(layers.Flatten(), layers.Dense(4), layers.BatchNormalization())
    trained = numbered(model)
    found = match(arr(trained), model.trainable_variables, model.weights, "weights before")
    assert found.missing == tuple(v.path for v in model.weights if "moving" in v.path)
    whole = arr([v.numpy() for v in model.weights])
    assert match(whole, model.trainable_variables, model.weights, "weights before").missing == ()
