"""Variants of one leak: each is mapped to the same gradient, or refused with the right reason."""

import itertools
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from safetensors.numpy import save_file
from scipy.signal import correlate2d

import validate_mapping
from gradleak.artifacts import roles
from gradleak.artifacts.errors import ArtifactError
from gradleak.images import to_float
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.classifier import logits_model
from gradleak.mapping.errors import MappingError
from gradleak.mapping.preflight import prospects, update_of
from gradleak.mapping.settle import settle as settle_mapping

RATE = 0.1
KERAS2 = Path(__file__).parents[1] / "keras2"


def sequential(*middle, head="linear", last=()):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            *middle,
            layers.Flatten(),
            layers.Dense(24, activation="relu"),
            layers.Dense(10, activation=head),
            *last,
        ]
    )


def functional():
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(4, 3, activation="relu")(x)
    y = layers.Dense(24, activation="relu")(layers.Flatten()(y))
    return keras.Model(x, layers.Dense(10)(y))


class Round:
    """A client's round with a model, and the files that show it."""

    def __init__(self, model, digits, optimizer=None, steps=1, samples=8):
        self.model, self.samples = model, samples
        kept = digits["private"].y < 4  # absent classes tell the sign
        self.x, self.y = to_float(digits["private"].x[kept][:samples]), digits["private"].y[kept][:samples]
        last = model.layers[-1]
        logits = not (
            "softmax" in last.name or getattr(last, "activation", None) is keras.activations.softmax
        )
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        self.variables, self.before = model.trainable_variables, [w.numpy() for w in model.weights]
        self.gradient = self._gradient()
        optimizer = optimizer or keras.optimizers.SGD(RATE)
        for _ in range(steps):
            optimizer.apply_gradients(
                zip([tf.constant(g) for g in self._gradient()], self.variables, strict=True)
            )
        after = [w.numpy() for w in model.weights]
        for weight, value in zip(model.weights, self.before, strict=True):
            weight.assign(value)
        self.delta = [a - b for a, b in zip(after, self.before, strict=True)]
        self.trained = [any(w is v for v in self.variables) for w in model.weights]

    def _gradient(self):
        with tf.GradientTape() as tape:
            value = self.loss(self.y, self.model(self.x, training=False))
        return [g.numpy() for g in tape.gradient(value, self.variables)]

    def trainable(self, arrays):
        return [a for a, kept in zip(arrays, self.trained, strict=True) if kept]

    def write(self, folder, before=None, delta=None, model=None, meta=None):
        folder.mkdir(exist_ok=True)
        (folder / "model.json").write_text(self.model.to_json() if model is None else model)
        np.savez(folder / "before.npz", **arr(self.trainable(self.before) if before is None else before))
        np.savez(folder / "delta.npz", **arr(self.trainable(self.delta) if delta is None else delta))
        if meta is not None:
            np.save(folder / "meta.npy", np.array(meta, dtype=object), allow_pickle=True)
        return folder


def arr(arrays):
    return arrays if isinstance(arrays, dict) else {f"arr_{i}": a for i, a in enumerate(arrays)}


@pytest.fixture(scope="module")
def public(digits):
    return to_float(digits["public"].x[:100]), digits["public"].y[:100]


@pytest.fixture(scope="module")
def plain(digits):
    keras.utils.set_random_seed(1)
    return Round(sequential(), digits)


def understand(folder, public, **claims):
    leak = roles.inspect(sorted(folder.iterdir()))
    return settle_mapping([leak], *public, UserClaims(**{"samples": 8, "scale": RATE, **claims}))


def assert_right(found, truth, tolerance=2e-4):
    for one, other in zip(found.gradients, truth.gradient, strict=True):
        assert one[0].shape == other.shape
        np.testing.assert_allclose(one[0], other, atol=tolerance * np.abs(other).max(), rtol=tolerance)
    assert found.report["sign"]["found"] == "after_minus_before"
    assert found.report["optimizer"]["value"] == "sgd"
    assert found.report["contradictions"] == []
    assert max(found.report["ranks"][0]["ranks"]) <= truth.samples
    json.dumps(found.report, allow_nan=False)


FILES = ("model.json", "before.npz", "delta.npz", "meta.npy")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_names_in_any_permutation(plain, public, tmp_path, order):
    folder = plain.write(tmp_path / "x", meta={"learning_rate": RATE, "samples": 8})
    contents = [(folder / name).read_bytes() for name in FILES]
    for name, index in zip(FILES, order, strict=True):
        (folder / name).write_bytes(contents[index])
    assert_right(understand(folder, public, samples=None, scale="auto"), plain)


def by_path(form):
    return lambda r, arrays: {form(v.path): a for v, a in zip(r.variables, r.trainable(arrays), strict=True)}


def objects(r, arrays):
    holder = np.empty(len(r.variables), dtype=object)
    holder[:] = r.trainable(arrays)
    return {"weights": holder}


KEYS = {
    "arr_i": lambda r, arrays: arr(r.trainable(arrays)),
    "arr_i backwards": lambda r, arrays: dict(reversed(arr(r.trainable(arrays)).items())),
    "paths": by_path(str),
    "paths as of TensorFlow": by_path("{}:0".format),
    "layer/kernel": by_path(lambda path: "/".join(path.split("/")[-2:])),
    "paths shuffled": lambda r, arrays: dict(sorted(by_path(str)(r, arrays).items(), reverse=True)),
    "layers of other names": by_path(lambda path: f"client_{path.split('/')[-2]}.{path.split('/')[-1]}"),
    "w0, b0, w1, …": lambda r, arrays: {
        f"{'wb'[i % 2]}{i // 2}": a for i, a in enumerate(r.trainable(arrays))
    },
    "numbers": lambda r, arrays: {str(i): a for i, a in enumerate(r.trainable(arrays))},
    "one object array": objects,
    "float16": lambda r, arrays: arr([a.astype(np.float16) for a in r.trainable(arrays)]),
    "float64": lambda r, arrays: arr([a.astype(np.float64) for a in r.trainable(arrays)]),
    "big-endian": lambda r, arrays: arr([a.astype(">f4") for a in r.trainable(arrays)]),
    "big-endian float64": lambda r, arrays: arr([a.astype(">f8") for a in r.trainable(arrays)]),
    "Fortran order": lambda r, arrays: arr([np.asfortranarray(a) for a in r.trainable(arrays)]),
}


@pytest.mark.parametrize("which", ["delta", "both"])
@pytest.mark.parametrize("keys", list(KEYS))
def test_keys_and_number_types(plain, public, tmp_path, keys, which):
    if keys == "float16" and which == "both":
        which = "delta"  # the weights themselves would be others
    chosen = {
        name: KEYS[keys](plain, getattr(plain, name))
        for name in ("before", "delta")
        if which == "both" or name == which
    }
    assert_right(
        understand(plain.write(tmp_path / "x", **chosen), public), plain, 2e-3 if keys == "float16" else 2e-4
    )


@pytest.mark.parametrize("factor", [1.0, -1.0, 1000.0, -0.001])
def test_sign_and_scale(plain, public, tmp_path, factor):
    delta = [np.float32(factor) * d for d in plain.trainable(plain.delta)]
    meta = {"client_weight": abs(factor)}
    found = understand(plain.write(tmp_path / "x", delta=delta, meta=meta), public, scale=RATE * abs(factor))
    expected = "after_minus_before" if factor > 0 else "before_minus_after"
    assert found.report["sign"]["found"] == expected
    assert found.report["optimizer"]["value"] == "sgd"
    for one, other in zip(found.gradients, plain.gradient, strict=True):
        np.testing.assert_allclose(one[0], other, atol=2e-4 * np.abs(other).max(), rtol=2e-4)


@pytest.mark.parametrize(
    ("make", "steps", "family"),
    [
        (lambda: keras.optimizers.SGD(RATE), 10, "sgd"),
        (lambda: keras.optimizers.SGD(RATE, momentum=0.9), 5, "sgd"),
        (lambda: keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True), 3, "sgd"),
        (lambda: keras.optimizers.Adam(1e-3), 1, "adam"),
        (lambda: keras.optimizers.Adam(1e-3), 10, "adam"),
        (lambda: keras.optimizers.RMSprop(1e-3), 2, "adam"),
    ],
)
def test_optimisers(digits, public, tmp_path, make, steps, family):
    keras.utils.set_random_seed(2)
    done = Round(sequential(), digits, make(), steps)
    meta = {"optimizer": "sgd" if family == "adam" else "adam", "local_steps": steps}
    found = understand(done.write(tmp_path / "x", meta=meta), public)
    report = found.report
    assert report["optimizer"]["value"] == family
    assert report["sign"]["found"] == "after_minus_before"
    assert [line for line in report["contradictions"] if line.startswith("optimizer")], (
        "the metadata are wrong"
    )
    assert [one["source"] for one in report["optimizer"]["contradicts"]] == ["metadata"]
    update = update_of(validate_mapping.block_of(found, [0]), report)
    expected = {row["attack"]: row["expect"] for row in prospects(update)}
    assert (expected["span"] == "none") == (family == "adam")


# --- models -------------------------------------------------------------------------------------------------


def built(kind):
    keras.utils.set_random_seed(4)
    return {
        "functional": functional,
        "softmax": lambda: sequential(head="softmax"),
        "softmax layer": lambda: sequential(last=[layers.Softmax()]),
        "softmax activation layer": lambda: sequential(last=[layers.Activation("softmax")]),
        "dropout": lambda: sequential(layers.Dropout(0.4)),
        "batch normalisation": lambda: sequential(layers.BatchNormalization()),
        "frozen layer": lambda: sequential(layers.Conv2D(4, 1, trainable=False)),
        "regularised": lambda: sequential(layers.Conv2D(4, 1, kernel_regularizer="l2")),
    }[kind]()


@pytest.mark.parametrize("holds", ["trainable", "all"])
@pytest.mark.parametrize(
    "kind",
    [
        "functional",
        "softmax",
        "softmax layer",
        "softmax activation layer",
        "dropout",
        "batch normalisation",
        "frozen layer",
        "regularised",
    ],
)
def test_models(digits, public, tmp_path, kind, holds):
    done = Round(built(kind), digits)
    before, delta = (done.before, done.delta) if holds == "all" else (None, None)
    if kind == "frozen layer" and holds == "trainable":
        with pytest.raises(ArtifactError, match="belongs to another model, or is not complete"):
            understand(done.write(tmp_path / "x", before=done.trainable(done.before)[:-1]), public)
        return
    found = understand(done.write(tmp_path / "x", before, delta), public)
    assert_right(found, done)
    assert ("softmax" in found.report["head"]) == ("softmax" in kind)
    assert any("regularizer" in note for note in found.report["notes"]) == (kind == "regularised")


@pytest.mark.parametrize("name", ["sequential", "functional", "first_layer"])
def test_keras_2(digits, public, tmp_path, name):
    """JSON that Keras 2.20 wrote."""
    text = (KERAS2 / f"{name}.json").read_text()
    keras.utils.set_random_seed(5)
    model, _ = logits_model(text)
    done = Round(model, digits)
    folder = done.write(tmp_path / "x", done.before, done.delta, model=text)
    if name == "functional":  # it has no ReLU, so its columns show no sign
        found = understand(folder, public)
        assert found.report["sign"]["value"] == "after_minus_before"
        np.testing.assert_allclose(found.gradients[0][0], done.gradient[0], atol=1e-5)
    else:
        found = understand(folder, public)
        assert_right(found, done)
    assert any("upgraded from Keras '2.20.1'" in note for note in found.report["notes"])


@pytest.mark.parametrize("form", ["keras", "weights.h5", "safetensors"])
@pytest.mark.parametrize("kind", ["plain", "batch normalisation"])
def test_files_of_frameworks(digits, public, tmp_path, form, kind):
    done = Round(built(kind) if kind != "plain" else sequential(), digits)
    folder = done.write(tmp_path / "x", done.before, done.delta)
    (folder / "before.npz").unlink()
    if form == "keras":
        done.model.save(folder / "a.keras")
        (folder / "model.json").unlink()
    elif form == "weights.h5":
        done.model.save_weights(folder / "a.weights.h5")
    else:
        save_file(
            {w.path: np.ascontiguousarray(b) for w, b in zip(done.model.weights, done.before, strict=True)},
            folder / "a",
        )
    assert_right(understand(folder, public), done)


# --- PyTorch's layout ---------------------------------------------------------------------------------------


def as_torch(arrays, flat):
    """Keras arrays in the layout of PyTorch. flat: place → (H, W, C) if the kernel reads a Flatten."""
    found = []
    for place, a in enumerate(arrays):
        if a.ndim == 4:
            a = np.einsum("hwio->oihw", a)
        elif a.ndim == 2 and place in flat:
            h, w, c = flat[place]
            a = np.stack([a[:, o].reshape(h, w, c).transpose(2, 0, 1).ravel() for o in range(a.shape[1])])
        elif a.ndim == 2:
            a = a.T
        found.append(np.ascontiguousarray(a))
    return found


def names(*modules, norm=()):
    found = []
    for module in modules:
        found += [f"{module}.weight", f"{module}.bias"]
        found += [f"{module}.running_mean", f"{module}.running_var"] if module in norm else []
    return found


@pytest.mark.parametrize("how", ["module names", "sequential numbers", "arr_i", "safetensors"])
def test_pytorch_layout(plain, public, tmp_path, how):
    keys = {
        "module names": names("conv1", "fc1", "fc2"),
        "sequential numbers": names("0", "3", "5"),
        "arr_i": [f"arr_{i}" for i in range(6)],
        "safetensors": names("conv1", "fc1", "fc2"),
    }[how]
    before, delta = (
        dict(zip(keys, as_torch(a, {2: (6, 6, 4)}), strict=True)) for a in (plain.before, plain.delta)
    )
    folder = plain.write(tmp_path / "x", before, delta)
    if how == "safetensors":
        for name, arrays in (("before", before), ("delta", delta)):
            (folder / f"{name}.npz").unlink()
            save_file(arrays, folder / f"{name}.safetensors")
    found = understand(folder, public)
    assert_right(found, plain)
    assert "PyTorch" in found.report["tensors"][0]["matched_by"]


def test_pytorchs_flattening_is_its_own(plain):
    """A forward pass as PyTorch does it, on arrays in its layout, agrees with the Keras model."""
    kernel, bias, w1, b1, w2, b2 = as_torch(plain.before, {2: (6, 6, 4)})
    for image, expected in zip(plain.x, plain.model(plain.x).numpy(), strict=True):
        maps = np.stack(
            [correlate2d(image[..., 0], k[0], "valid") + b for k, b in zip(kernel, bias, strict=True)]
        )
        hidden = np.maximum(w1 @ np.maximum(maps, 0).ravel() + b1, 0)
        np.testing.assert_allclose(w2 @ hidden + b2, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("holds", ["state_dict", "parameters"])
def test_pytorch_layout_with_batch_normalisation(digits, public, tmp_path, holds):
    done = Round(built("batch normalisation"), digits)
    flat = {6 if holds == "state_dict" else 4: (6, 6, 4)}
    before, delta = (
        (done.before, done.delta) if holds == "state_dict" else map(done.trainable, (done.before, done.delta))
    )
    keys = names("conv", "bn", "fc1", "fc2", norm=("bn",) if holds == "state_dict" else ())
    before, delta = (dict(zip(keys, as_torch(a, flat), strict=True)) for a in (before, delta))
    if holds == "state_dict":
        before["bn.num_batches_tracked"] = np.array(7)
        delta["bn.num_batches_tracked"] = np.array(1)
    assert_right(understand(done.write(tmp_path / "x", before, delta), public), done)


# --- what cannot be determined is refused -------------------------------------------------------------------


def test_square_kernels_that_could_be_either_layout(digits, public, tmp_path):
    keras.utils.set_random_seed(6)
    model = keras.Sequential(
        [keras.Input((1, 10, 1)), layers.Flatten(), layers.Dense(10), layers.ReLU(), layers.Dense(10)]
    )
    folder = tmp_path / "x"
    folder.mkdir()
    weights = [w.numpy() for w in model.weights]
    delta = [0.01 * np.random.default_rng(0).normal(size=w.shape) for w in weights]
    (folder / "m.json").write_text(model.to_json())
    np.savez(folder / "w.npz", **arr(weights))
    np.savez(folder / "d.npz", **arr(delta))
    leak = roles.inspect(sorted(folder.iterdir()))
    with pytest.raises(
        MappingError, match=r"every kernel is square, so it could be Keras's layout or PyTorch's"
    ):
        settle_mapping(
            [leak], np.zeros((4, 1, 10, 1), np.float32), np.arange(4), UserClaims(samples=1, scale=1.0)
        )


@pytest.mark.parametrize(
    ("change", "claims", "message"),
    [
        (lambda r: {"delta": dict(zip("fbdaec", r.trainable(r.delta)[::-1]))}, {}, None),
        (lambda r: {"delta": r.trainable(r.delta)[:-1]}, {}, "belongs to another model, or is not complete"),
        (lambda r: {"delta": [*r.trainable(r.delta), np.zeros(10)]}, {}, "belongs to another model"),
        (
            lambda r: {"delta": [a.reshape(-1) for a in r.trainable(r.delta)]},
            {},
            "no tensors? could be|could be",
        ),
        (
            lambda r: {"delta": [b + d for b, d in zip(r.trainable(r.before), r.trainable(r.delta))]},
            {},
            "save their difference",
        ),
        (
            lambda r: {"delta": [0 * d for d in r.trainable(r.delta)]},
            {},
            "the update is zero|cannot be distinguished",
        ),
        (lambda r: {"model": sequential(head="hard_sigmoid").to_json()}, {}, "ends in hard_sigmoid"),
        (lambda r: {}, {"samples": None}, "number of images behind the update is not known"),
    ],
)
def test_what_cannot_be_determined_is_refused_with_the_reason(
    plain, public, tmp_path, change, claims, message
):
    folder = plain.write(tmp_path / "x", **change(plain))
    if message is None:  # different shapes are matched in any order
        assert_right(understand(folder, public, **claims), plain)
        return
    with pytest.raises((MappingError, ArtifactError), match=message):
        understand(folder, public, **claims)


def test_a_folder_of_a_zip_is_refused_with_what_to_do(plain, public, tmp_path):
    folder = plain.write(tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(folder / "model.json", "model.json")
    with pytest.raises(ArtifactError, match="unpack it"):
        roles.inspect([tmp_path / "all.zip"])
