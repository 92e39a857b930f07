"""For any bytes, the readers return arrays or raise ArtifactError: no other exception, crash or endless run.

A bounded run is part of the suite; ``make fuzz`` does thousands of examples of each, anew each time.
"""

import copy
import json
import os
import resource
import shutil
import warnings
from pathlib import Path

import corpus
import numpy as np
import onnx_corpus
import onnx_nets
import onnx_writer
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from sandbox import Sandbox

from gradleak.artifacts import architecture, framework_files, limits, lock, onnx_model, roles
from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.layer_options import LAYERS

LONG = int(os.environ.get("FUZZ", "0"))
BYTES = settings(
    max_examples=LONG or 120,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)
SLOW = settings(BYTES, max_examples=(LONG + 19) // 20 or 12)
GOOD = corpus.good()


@pytest.fixture(scope="module", autouse=True)
def bounded():
    """A file that asks for much memory must not get it from the test either."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (3 << 30), hard))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@st.composite
def damaged(draw, content):
    """``content`` with some bytes changed, removed, put in, repeated, or its end cut off."""
    raw = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place, size = draw(st.integers(0, max(len(raw) - 1, 0))), draw(st.integers(1, 16))
        how = draw(st.sampled_from(["flip", "cut", "remove", "insert", "repeat", "number"]))
        if how == "flip":
            raw[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif how == "cut":
            del raw[place:]
        elif how == "remove":
            del raw[place : place + size]
        elif how == "insert":
            raw[place:place] = draw(st.binary(min_size=1, max_size=size))
        elif how == "repeat":
            raw[place:place] = raw[place : place + size] * draw(st.integers(1, 40))
        else:
            raw[place : place + 4] = draw(
                st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000])
            ).to_bytes(4, "little")
    return bytes(raw)


def taken(folder, **changes):
    """The leak that the good files with ``changes`` make, or None where they are refused."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in {**GOOD, **{key.replace("_", "."): value for key, value in changes.items()}}.items():
        (folder / name).write_bytes(content)
    try:
        leak = roles.inspect(sorted(folder.iterdir()))
    except ArtifactError:
        return None
    model = architecture.read(leak.model_json)
    for tensors in (leak.before, leak.delta):
        assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in tensors.values())
        assert sum(a.size for a in tensors.values()) <= model.parameters + 1000
    json.dumps(leak.meta, allow_nan=False)
    json.dumps(leak.manifest, allow_nan=False)
    return leak


COMPRESSED = corpus.zipped(
    *[(f"arr_{i}.npy", corpus.npy(np.ones(s, "f4"))) for i, s in enumerate(corpus.SHAPES)],
    compression=corpus.zipfile.ZIP_DEFLATED,
)
OBJECTS = corpus.saved(np.array([np.ones(3), np.zeros((2, 2))], dtype=object))
NESTED = corpus.saved(
    np.array({"a": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}, "b": [[np.ones(3)], None]}, dtype=object)
)


@BYTES
@given(damaged(GOOD["delta.npz"]) | damaged(COMPRESSED) | damaged(OBJECTS) | damaged(NESTED))
def test_archives(folder, content):
    taken(folder / "x", delta_npz=content)


@BYTES
@given(
    damaged(GOOD["meta.npy"]) | damaged(corpus.npy(np.array({"a": [1.0, {"b": np.arange(4)}]}, dtype=object)))
)
def test_pickled_metadata(folder, content):
    taken(folder / "x", meta_npy=content)


@BYTES
@given(damaged(GOOD["model.json"]))
def test_models_as_bytes(folder, content):
    taken(folder / "x", model_json=content)


@BYTES
@given(st.binary(max_size=600))
def test_anything_at_all(folder, content):
    taken(folder / "x", delta_npz=content)


@BYTES
@given(damaged(save({f"t{i}": np.ones(s, "f4") for i, s in enumerate(corpus.SHAPES)})))
def test_safetensors(folder, content):
    (folder / "t").write_bytes(content)
    try:
        found = framework_files.read_safetensors(folder / "t")
    except ArtifactError:
        return
    assert all(np.isfinite(a).all() for a in found.values())


@BYTES
@given(damaged(b'{"one": {"sha256": "aa", "bytes": 3, "first_used": "2026-01-01"}}'))
def test_lock_files(folder, content):
    (folder / "lock").write_bytes(content)
    try:
        lock.enforce(folder / "lock", "one", "aa")
    except ArtifactError:
        return


STRUCTURES = [
    onnx_corpus.onnx(),
    *((onnx_nets.FILES / f"{name}.onnx").read_bytes() for name in ("branches", "depthwise")),
]


def exported(folder, content):
    """The model in an ONNX file, or None where it is refused."""
    (folder / "model.onnx").write_bytes(content)
    try:
        found = onnx_model.read(folder / "model.onnx")
    except ArtifactError:
        return None
    assert found.architecture.parameters <= limits.MAX_PARAMETERS
    assert architecture.read(found.architecture.json).variables == found.architecture.variables
    assert found.variables.keys() == found.shapes.keys()
    sizes = sum(int(np.prod(shape)) for shape in found.shapes.values())
    assert sizes == found.architecture.parameters
    return found


@BYTES
@given(st.sampled_from(STRUCTURES).flatmap(damaged))
def test_onnx_files_as_bytes(folder, content):
    exported(folder, content)


@st.composite
def changed_nodes(draw):
    """The good net behind nodes of the list with odd inputs and attributes."""
    known = ["x", "conv.weight", "hidden.bias", "k0", "k1"]
    own = [
        onnx_writer.node(
            "Constant",
            [],
            [name],
            value=onnx_writer.integers("", *draw(st.lists(st.integers(-2, 9), min_size=1, max_size=4))),
        )
        for name in known[3:]
    ]
    small = st.integers(-2, 9)
    values = (
        small | st.floats(-2, 9, width=32) | st.lists(small, min_size=1, max_size=4) | st.just("constant")
    )
    for number in range(draw(st.integers(1, 5))):
        op = draw(st.sampled_from(sorted(onnx_model.OPS)))
        inputs = draw(st.lists(st.sampled_from(known), max_size=4))
        names = sorted(onnx_model.OPS[op][1])
        chosen = draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if names else []
        own.append(onnx_writer.node(op, inputs, [f"n{number}"], **{name: draw(values) for name in chosen}))
        known.append(f"n{number}")
    nodes = [*own, *onnx_corpus.nodes()[:-1]]
    end = draw(st.sampled_from(["e", "e", known[-1]]))
    last = onnx_writer.node("Gemm", [end, "head.weight", "head.bias"], ["y"], **onnx_corpus.GEMM)
    return onnx_corpus.onnx([*nodes, last])


@BYTES
@given(changed_nodes())
def test_onnx_files_as_graphs(folder, content):
    exported(folder, content)


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "relu",
            "softmax",
            "same",
            "Dense",
            "Conv2D",
            "Flatten",
            "Reshape",
            "BatchNormalization",
            "Lambda",
            "Sequential",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "config", "units", "class_name"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def changed_model(draw):
    """The good model with some of its values replaced, or with layers doubled, moved or of other classes."""
    value = copy.deepcopy(corpus.model())
    for _ in range(draw(st.integers(1, 3))):
        node, path = value, []
        while (
            isinstance(node, dict | list)
            and node
            and (not path or draw(st.booleans()) or draw(st.booleans()))
        ):
            key = (
                draw(st.sampled_from(sorted(node)))
                if isinstance(node, dict)
                else draw(st.integers(0, len(node) - 1))
            )
            path.append((node, key))
            node = node[key]
        holder, key = path[-1]
        small = st.integers(-1, 12) | st.sampled_from(sorted(LAYERS))
        holder[key] = draw(ODD | small)
    layers = value.get("config", {}).get("layers") if isinstance(value.get("config"), dict) else None
    if isinstance(layers, list) and layers and draw(st.booleans()):
        layers.insert(
            draw(st.integers(0, len(layers))), copy.deepcopy(layers[draw(st.integers(0, len(layers) - 1))])
        )
    return value


@BYTES
@given(changed_model())
def test_models_as_values(value):
    try:
        found = architecture.read(json.dumps(value))
    except ArtifactError:
        return
    assert found.parameters <= limits.MAX_PARAMETERS
    again = architecture.read(found.json)
    assert (again.json, again.variables) == (found.json, found.variables)


KINDS = st.sampled_from(
    [
        corpus.layer("ReLU", "a"),
        corpus.layer("Conv2D", "b", filters=4, kernel_size=2, strides=2, padding="same"),
        corpus.layer("SeparableConv2D", "c", filters=3, kernel_size=[2, 3], depth_multiplier=2),
        corpus.layer("PReLU", "d", shared_axes=[1]),
        corpus.layer("DepthwiseConv2D", "e", kernel_size=2),
        corpus.layer("MaxPooling2D", "f", pool_size=2, padding="same"),
        corpus.layer("AveragePooling2D", "g", pool_size=[2, 1]),
        corpus.layer("BatchNormalization", "h", center=False),
        corpus.layer("LayerNormalization", "i", axis=-1),
        corpus.layer("ZeroPadding2D", "j", padding=[[0, 1], [2, 0]]),
        corpus.layer("Cropping2D", "k", cropping=1),
        corpus.layer("UpSampling2D", "l", size=2),
        corpus.layer("Permute", "m", dims=[2, 1, 3]),
        corpus.layer("GlobalAveragePooling2D", "n", keepdims=True),
        corpus.layer("Dense", "o", units=3, use_bias=False),
        corpus.layer("Reshape", "p", target_shape=[-1, 2]),
        corpus.layer("Dropout", "q", rate=0.5),
        corpus.layer("Flatten", "r"),
    ]
)


@SLOW
@given(st.lists(KINDS, min_size=1, max_size=6))
def test_what_is_measured_is_what_keras_builds(layers):
    import keras

    named = [{**one, "config": {**one["config"], "name": f"l{i}"}} for i, one in enumerate(layers)]
    try:
        found = architecture.read(json.dumps(corpus.model(*named)))
    except ArtifactError:
        return
    built = keras.models.model_from_json(found.json)
    assert [tuple(w.shape) for w in built.weights] == [v.shape for v in found.variables]


def h5():
    def fill(file):
        for name, shapes in (
            ("conv2d", corpus.SHAPES[:2]),
            ("dense", corpus.SHAPES[2:4]),
            ("dense_1", corpus.SHAPES[4:]),
        ):
            for place, shape in enumerate(shapes):
                file[f"layers/{name}/vars/{place}"] = np.ones(shape, "f4")

    return corpus.h5(fill)


@pytest.fixture(scope="module")
def sandbox():
    made = Sandbox()
    yield made
    made.close()


@SLOW
@given(
    damaged(h5())
    | damaged(corpus.keras_file(corpus.text(corpus.model()), h5()))
    | damaged(corpus.keras2(json.dumps(corpus.model())))
)
def test_hdf5_cannot_take_the_script_down(folder, sandbox, content):
    """In the script's confined child, since a C library reads it: a crash there is a reason here."""
    files, results = folder / "in", folder / "out"
    for path in (files, results):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    for name, good in {**GOOD, "before.npz": content}.items():
        (files / name).write_bytes(good)
    code, log, memory = sandbox.run(results, files)
    assert code in (0, 1), log
    assert memory < 1 << 20
    assert "Traceback" not in log
