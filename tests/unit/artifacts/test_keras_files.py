"""Models and weights as Keras 2 wrote them, on any system."""

import json
import zipfile

import corpus
import h5py
import keras
import numpy as np
import pytest
from corpus import layer
from leak_files import ARCHITECTURE, MODEL, assert_arrays, inspect, role_of
from safetensors.numpy import save_file

from gradleak.artifacts import architecture
from gradleak.artifacts.errors import ArtifactError

VARIABLES = [f"{one}/{two}" for one in ("conv", "hidden", "head") for two in ("kernel", "bias")]
NONE = dict.fromkeys(
    ("kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint")
)
CONV = {
    "strides": [1, 1],
    "padding": "valid",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "groups": 1,
    "activation": "linear",
    "use_bias": True,
    "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
    "bias_initializer": {"class_name": "Zeros", "config": {}},
    **NONE,
}
POOL = {"pool_size": [2, 2], "padding": "valid", "strides": [2, 2], "data_format": "channels_last"}
# The options of each layer as Keras 2.4 to 2.15 write them.
KERAS_2 = {
    "Conv2D": {"filters": 2, "kernel_size": [3, 3], **CONV},
    "DepthwiseConv2D": {
        "kernel_size": [3, 3],
        **CONV,
        "depth_multiplier": 1,
        "depthwise_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "depthwise_regularizer": None,
        "depthwise_constraint": None,
    },
    "SeparableConv2D": {
        "filters": 2,
        "kernel_size": [3, 3],
        **CONV,
        "depth_multiplier": 1,
        "depthwise_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "pointwise_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "depthwise_regularizer": None,
        "pointwise_regularizer": None,
        "depthwise_constraint": None,
        "pointwise_constraint": None,
    },
    "MaxPooling2D": POOL,
    "AveragePooling2D": POOL,
    "Dropout": {"rate": 0.5, "noise_shape": None, "seed": None},
    "SpatialDropout2D": {"rate": 0.5, "noise_shape": None, "seed": None},
    "GaussianNoise": {"stddev": 0.1, "seed": None},
    "GaussianDropout": {"rate": 0.1, "seed": None},
    "BatchNormalization": {
        "axis": [3],
        "momentum": 0.99,
        "epsilon": 0.001,
        "center": True,
        "scale": True,
        "beta_initializer": {"class_name": "Zeros", "config": {}},
        "gamma_initializer": {"class_name": "Ones", "config": {}},
        "moving_mean_initializer": {"class_name": "Zeros", "config": {}},
        "moving_variance_initializer": {"class_name": "Ones", "config": {}},
        "beta_regularizer": None,
        "gamma_regularizer": None,
        "beta_constraint": None,
        "gamma_constraint": None,
        "renorm": False,
        "fused": True,
        "virtual_batch_size": None,
        "synchronized": False,
        "adjustment": None,
    },
    "LayerNormalization": {"axis": [3], "epsilon": 0.001, "center": True, "scale": True, "dynamic": False},
    "Activation": {"activation": "relu"},
    "ReLU": {"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0},
    "LeakyReLU": {"alpha": 0.30000001192092896},
    "ELU": {"alpha": 1.0},
    "PReLU": {
        "alpha_initializer": {"class_name": "Zeros", "config": {}},
        "alpha_regularizer": None,
        "alpha_constraint": None,
        "shared_axes": [1, 2],
    },
    "Softmax": {"axis": -1},
    "ZeroPadding2D": {"padding": [[1, 1], [1, 1]], "data_format": "channels_last"},
    "Cropping2D": {"cropping": [[1, 1], [1, 1]], "data_format": "channels_last"},
    "UpSampling2D": {"size": [2, 2], "data_format": "channels_last", "interpolation": "nearest"},
    "Rescaling": {"scale": 2.0, "offset": 0.0},
    "Reshape": {"target_shape": [8, 8, 1]},
}


def keras2(*entries):
    """A model as ``to_json`` of Keras 2 writes it."""
    first = {"batch_input_shape": [None, 8, 8, 1], "dtype": "float32", "sparse": False, "ragged": False}
    layers = [{"class_name": "InputLayer", "config": {**first, "name": "image"}}, *entries]
    return {
        "class_name": "Sequential",
        "config": {"name": "sequential", "layers": layers},
        "keras_version": "2.11.0",
        "backend": "tensorflow",
    }


def entry(kind, **config):
    base = {"name": kind.lower(), "trainable": True, "dtype": "float32"}
    return {"class_name": kind, "config": {**base, **config}}


def read(*entries):
    return architecture.read(corpus.text(keras2(*entries, entry("Flatten"), entry("Dense", units=10))))


@pytest.mark.parametrize("kind", list(KERAS_2))
def test_all_options_of_keras_2_are_read(kind):
    config = {"batch_input_shape": [None, 8, 8, 1], **KERAS_2[kind]}
    model = keras.models.model_from_json(read(entry(kind, **config)).json)
    assert type(model.layers[0]).__name__ == kind


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("BatchNormalization", "renorm", True),
        ("BatchNormalization", "virtual_batch_size", 4),
        ("Dropout", "noise_shape", [1, 8, 8, 1]),
        ("DepthwiseConv2D", "groups", 2),
        ("SeparableConv2D", "groups", 2),
        ("LayerNormalization", "dynamic", True),
    ],
)
def test_options_with_an_effect_are_refused_by_name(kind, option, value):
    with pytest.raises(ArtifactError, match=f"layer {kind.lower()}: the option '{option}' of {kind} is not"):
        read(entry(kind, **KERAS_2[kind] | {option: value}))


def test_a_function_that_keras_3_changed_is_refused():
    with pytest.raises(ArtifactError, match="hard_sigmoid of Keras 2"):
        read(entry("Activation", activation="hard_sigmoid"))
    architecture.read(
        corpus.text(
            corpus.model(layer("Flatten", "f"), layer("Dense", "d", units=2, activation="hard_sigmoid"))
        )
    )


# --- HDF5 and .keras ----------------------------------------------------------------------------------------


def keras2_weights(file, tensors, folder=""):
    """As ``save_weights("w.h5")`` of Keras 2 writes them."""
    group = file.require_group(folder) if folder else file
    names = ("conv", "flatten", "hidden", "head")
    group.attrs["layer_names"] = [name.encode() for name in names]
    for name, a in zip(VARIABLES, tensors, strict=True):
        group[f"{name.partition('/')[0]}/{name}:0"] = a
    for name in names:
        group.require_group(name).attrs["weight_names"] = [
            f"{one}:0".encode() for one in VARIABLES if one.startswith(f"{name}/")
        ]
    group.require_group("top_level_model_weights").attrs["weight_names"] = np.zeros(0)


def written(leak, fill, suffix=".h5"):
    folder, before, delta = leak
    (folder / "weights_before.npz").unlink()
    with h5py.File(folder / f"w{suffix}", "w") as file:
        fill(file, before)
    return folder, before, delta


def test_weights_of_keras_2_in_hdf5(leak):
    folder, before, delta = written(leak, keras2_weights)
    found = inspect(folder)
    assert list(found.before) == VARIABLES
    assert_arrays(found.before, before)
    assert_arrays(found.delta, delta)


def test_weights_before_and_after_are_refused_in_any_order(leak):
    folder, before, _ = written(leak, keras2_weights)
    after = dict(zip(VARIABLES, before, strict=True))
    (folder / "delta.npz").unlink()
    save_file({key: a * np.float32(1.01) for key, a in after.items()}, folder / "after.safetensors")
    with pytest.raises(ArtifactError, match="both look like weights"):
        inspect(folder)


def test_a_whole_model_of_keras_2_in_hdf5(leak):
    def fill(file, tensors):
        keras2_weights(file, tensors, "model_weights")
        file.attrs["model_config"] = MODEL
        file.attrs["keras_version"] = b"2.11.0"
        file["optimizer_weights/Adam/iterations:0"] = 3

    folder, before, _ = written(leak, fill)
    (folder / "model.json").unlink()
    found = inspect(folder)
    assert found.model_json == ARCHITECTURE.json
    assert_arrays(found.before, before)
    assert role_of(found, "model and weights before")["name"] == "w.h5"


def test_a_whole_model_that_keras_3_wrote_in_hdf5(tmp_path):
    hidden = keras.layers.Dense(10, activation="hard_sigmoid")  # Keras 3's own
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), hidden])
    model.save(tmp_path / "w.h5")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "delta.npz", *[1e-3 * rng.normal(size=w.shape) for w in model.get_weights()])
    found = inspect(tmp_path)
    assert sorted(found.before) == sorted(f"{model.layers[-1].name}/{v.name}" for v in model.weights)
    assert {a.shape for a in found.before.values()} == {(64, 10), (10,)}
    assert found.manifest["notes"] == []


CONTAINERS = {
    "Keras 2": "_layer_checkpoint_dependencies/{}/vars/{}",
    "Keras 2 on Windows": "_layer_checkpoint_dependencies\\{}/vars/{}",
    "Keras 3 on Windows": "layers\\{}/vars/{}",
}


@pytest.mark.parametrize("system", list(CONTAINERS))
def test_keras_archives_of_keras_2_and_of_windows(leak, system):
    def fill(file, tensors):
        for place, group in enumerate(("conv2d", "dense", "dense_1")):
            for variable in (0, 1):
                file[CONTAINERS[system].format(group, variable)] = tensors[2 * place + variable]
        file["metrics/mean/vars/0"] = 1.0
        file["optimizer/vars/0"] = np.ones(3)

    folder, before, _ = written(leak, fill, ".weights.h5")
    with zipfile.ZipFile(folder / "net.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.13.1"}))
        archive.writestr("config.json", MODEL)
        archive.writestr("assets\\vocabulary.txt", "")
        archive.write(folder / "w.weights.h5", "model.weights.h5")
    for name in ("w.weights.h5", "model.json"):
        (folder / name).unlink()
    found = inspect(folder)
    assert list(found.before) == VARIABLES
    assert_arrays(found.before, before)


@pytest.mark.parametrize("value", [3, [b"a", b"b"], b"no JSON", MODEL.replace(b"Dense", b"Lambda")])
def test_a_model_config_that_is_no_model_is_refused(leak, value):
    def fill(file, tensors):
        keras2_weights(file, tensors, "model_weights")
        file.attrs["model_config"] = value

    folder, *_ = written(leak, fill)
    (folder / "model.json").unlink()
    with pytest.raises(ArtifactError, match=r"w\.h5: .*(no text|not valid JSON|not on the list)"):
        inspect(folder)
