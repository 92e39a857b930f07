"""Names of tensors tell their layers where they can; the order of a sorted file never does."""

import keras
import numpy as np
import pytest
from keras import layers

from gradleak.mapping.assign import match
from gradleak.mapping.errors import MappingError


def net(*middle, head=10):
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((8, 8, 1)), *middle, layers.Flatten(), layers.Dense(head)])


def three():
    """Three convolutions, of which two have one shape; the first is told by its shape."""
    return net(*[layers.Conv2D(6, 3, padding="same", name=f"keras_{i}") for i in range(3)])


def values(model, weights=None):
    """Each variable filled with its place, in PyTorch's layout."""
    found = []
    for place, variable in enumerate(model.weights if weights is None else weights):
        a = np.full(tuple(variable.shape), place, np.float32)
        found.append(a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T)
    return found


def matched(model, arrays, variables=None):
    return match(arrays, variables or model.trainable_variables, model.weights, "delta")


def places(model, arrays):
    """The values that the variables get, which are their places if all is right."""
    found = matched(model, arrays)
    return [int(found.arrays[id(v)].flat[0]) for v in model.weights if id(v) in found.arrays]


def in_file(names, arrays, order):
    pairs = dict(zip(names, arrays, strict=True))
    keys = {
        "as made": list(pairs),
        "sorted": sorted(pairs),
        "backwards": list(pairs)[::-1],
        "bias first": sorted(pairs, key=lambda key: (key.rpartition(".")[0], key.endswith("weight"))),
    }[order]
    return {key: pairs[key] for key in keys}


def torch_names(*modules):
    return [f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")]


NAMES = {
    "sequential": torch_names("body.0", "body.2", "body.10", "fc.0"),
    "attributes": torch_names("conv1", "conv2", "conv3", "fc"),
    "of DataParallel": torch_names("module.conv1", "module.conv2", "module.conv3", "module.fc"),
    "compiled": torch_names("_orig_mod.conv1", "_orig_mod.conv2", "_orig_mod.conv3", "_orig_mod.fc"),
    "compiled in part": torch_names(
        "net.f._orig_mod.0", "net.f._orig_mod.2", "net.f._orig_mod.10", "net.g.0"
    ),
    "of a wrapper": torch_names("model.net.c1", "model.net.c2", "model.net.c10", "model.net.out"),
    "with the model's names": torch_names("keras_0", "keras_1", "keras_2", "any_dense"),
    "w0, b0": [f"{leaf}{i}" for i in (0, 1, 2, 10) for leaf in "wb"],
    "conv1_w": [f"{one}_{leaf}" for one in ("conv1", "conv2", "conv11", "fc1") for leaf in "wb"],
    "weights/0": [f"{leaf}/{i}" for i in (0, 1, 2, 10) for leaf in ("weights", "biases")],
    "places in layers": [f"{one}/{i}" for one in ("conv1", "conv2", "conv11", "fc") for i in (0, 1)],
}


@pytest.mark.parametrize("order", ["as made", "sorted", "backwards", "bias first"])
@pytest.mark.parametrize("names", list(NAMES))
def test_equal_layers_go_by_the_numbers_in_their_names(names, order):
    model = three()
    assert places(model, in_file(NAMES[names], values(model), order)) == list(range(8))


WORDS = torch_names("stem", "trunk", "neck", "fc")


def test_words_are_no_order_but_that_of_an_unsorted_file_is():
    model = three()
    assert places(model, in_file(WORDS, values(model), "as made")) == list(range(8))
    for order in ("sorted", "bias first"):
        with pytest.raises(MappingError, match=r"neck, trunk could each be layer keras_1 or keras_2"):
            places(model, in_file(WORDS, values(model), order))


def test_a_file_whose_order_contradicts_its_shapes_is_no_evidence():
    with pytest.raises(MappingError, match="could each be layer"):
        places(three(), in_file(WORDS, values(three()), "backwards"))


def test_numbers_that_contradict_the_shapes_are_no_evidence():
    names = torch_names("c3", "c1", "c2", "fc")  # the first by its shape has the last number
    with pytest.raises(MappingError, match="c1, c2 could each be layer"):
        places(three(), in_file(names, values(three()), "sorted"))


def test_words_without_roles_are_no_order_either():
    model = net(layers.Flatten(), layers.Dense(9), layers.Dense(9), layers.Dense(9))
    names = ["alpha_of", "beta_of", "delta_of", "gamma_of", "kappa_of", "mu_of", "pi_of", "rho_of"]
    with pytest.raises(MappingError, match="tensors could be"):
        places(model, in_file(names, values(model), "sorted"))


def test_the_models_own_names_win_over_numbers():
    model = net(*[layers.Conv2D(6, 3, padding="same", name=name) for name in ("c9", "c2", "c1")])
    names = torch_names("c9", "c2", "c1", model.layers[-1].name)
    assert places(model, in_file(names, values(model), "sorted")) == list(range(8))
    assert matched(model, in_file(names, values(model), "sorted")).how.startswith("name")


def test_the_models_own_names_win_where_layers_are_lists():
    model = net(*[layers.Conv2D(6, 3, padding="same", name=name) for name in ("c9", "c2", "c1")])
    names = [f"{one}/{i}" for one in ("c9", "c2", "c1", model.layers[-1].name) for i in (0, 1)]
    assert places(model, in_file(names, values(model), "sorted")) == list(range(8))


def test_keras_names_with_tensors_in_pytorchs_layout():
    model = three()
    found = matched(model, {v.path: a for v, a in zip(model.weights, values(model), strict=True)})
    assert found.how == "name, converted from PyTorch's layout"


def norm_names(counter=True):
    bn = [f"bn.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")]
    return ["c.weight", "c.bias", *bn, *(["bn.num_batches_tracked"] if counter else []), "d.weight", "d.bias"]


@pytest.mark.parametrize("order", ["as made", "sorted"])
@pytest.mark.parametrize("named", [True, False])
def test_pytorchs_counter_is_no_weight(named, order):
    model = net(layers.Conv2D(4, 3, name="x"), layers.BatchNormalization(name="y"))
    arrays = values(model)
    arrays.insert(6, np.array(120.0, np.float32))
    names = norm_names() if named else [f"arr_{i}" for i in range(9)]
    found = matched(model, in_file(names, arrays, order))
    assert [int(found.arrays[id(v)].flat[0]) for v in model.weights] == list(range(8))
    assert found.missing == ()


def test_a_vector_of_one_number_is_a_weight():
    model = net(layers.Conv2D(1, 3))
    assert places(model, in_file(torch_names("c", "d"), values(model), "sorted")) == list(range(4))


def frozen():
    model = net(
        layers.Conv2D(4, 3, name="c"),
        layers.BatchNormalization(name="bn"),
        layers.Conv2D(4, 3, name="e"),
        layers.BatchNormalization(name="bn2"),
    )
    for layer in model.layers[:2]:
        layer.trainable = False
    return model


HELD = {
    "trained": lambda v, trained: trained,
    "all": lambda v, trained: True,
    "parameters": lambda v, trained: "moving" not in v.path,
    "trained layers": lambda v, trained: trained or v.path.split("/")[-2] == "bn2",
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("held", list(HELD))
def test_frozen_layers_and_statistics_may_be_left_out(held, named):
    model = frozen()
    trained = {id(v) for v in model.trainable_variables}
    kept = [v for v in model.weights if HELD[held](v, id(v) in trained)]
    arrays = {v.path if named else f"arr_{i}": a for i, (v, a) in enumerate(zip(kept, values(model, kept)))}
    found = matched(model, arrays)
    assert [int(found.arrays[id(v)].flat[0]) for v in kept] == list(range(len(kept)))
    paths = {v.path for v in kept}
    assert found.missing == tuple(v.path for v in model.weights if v.path not in paths)


def test_the_tensor_that_misfits_is_named():
    model = three()
    arrays = in_file(NAMES["attributes"], values(model), "as made")
    arrays["conv3.weight"] = np.zeros((5, 6, 3, 3), np.float32)
    with pytest.raises(MappingError, match=r"no variable has the shape of conv3.weight \(5, 6, 3, 3\)"):
        matched(model, arrays)


def test_all_kernels_square_and_numbered_could_be_either_layout():
    model = keras.Sequential([keras.Input((1, 10, 1)), layers.Flatten(), layers.Dense(10), layers.Dense(10)])
    rng = np.random.default_rng(0)
    arrays = {f"arr_{i}": rng.normal(size=v.shape) for i, v in enumerate(model.weights)}
    with pytest.raises(MappingError, match="could be Keras's layout or PyTorch's"):
        matched(model, arrays)


def test_a_list_may_have_what_is_trained_first():
    model = net(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Conv2D(4, 3))
    kept = model.trainable_variables + model.non_trainable_variables
    arrays = {f"arr_{i}": a for i, a in enumerate(values(model, kept))}
    found = matched(model, arrays)
    assert [int(found.arrays[id(v)].flat[0]) for v in kept] == list(range(len(kept)))


def test_a_model_that_is_not_trained_is_refused():
    model = net(layers.Conv2D(4, 3))
    model.trainable = False
    arrays = {f"arr_{i}": a for i, a in enumerate(values(model))}
    with pytest.raises(MappingError, match="no layer of the model is trainable"):
        match(arrays, model.trainable_variables, model.weights, "delta")
