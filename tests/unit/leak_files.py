"""The four files of a leak as a client writes them, and what is read from them."""

import corpus
import h5py
import numpy as np
from safetensors.numpy import save_file

from gradleak.artifacts import architecture, roles

MODEL = corpus.text(corpus.model())
ARCHITECTURE = architecture.read(MODEL)
META = {"learning_rate": 0.05, "samples": 8, "values": np.float32(2.5), "nested": {"a": [1, 2]}}
NAMES = ("model.json", "weights_before.npz", "delta.npz", "meta.npy")


def weights(rng):
    """Zero biases, as before training."""
    return [rng.normal(0, 0.3, s) if len(s) > 1 else np.zeros(s) for s in corpus.SHAPES]


def sgd_delta(rng, size=0.01):
    """Rows of the last kernel sum to zero, as a softmax's gradient does."""
    parts = [rng.normal(0, size, s) for s in corpus.SHAPES]
    return [*parts[:-2], *(p - p.mean(axis=-1, keepdims=True) for p in parts[-2:])]


def inspect(folder):
    return roles.inspect(sorted(folder.iterdir()))


def assert_arrays(found, expected):
    for one, other in zip(found.values(), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, np.asarray(other, np.float32))


def role_of(found, role):
    (entry,) = [entry for entry in found.manifest["files"] if entry["role"] == role]
    return entry


def saved_as(kind, path, tensors):
    named = {f"arr_{i}": np.ascontiguousarray(a, np.float32) for i, a in enumerate(tensors)}
    if kind == "safetensors":
        save_file(named, path)
    elif kind == "object array":
        holder = np.empty(len(tensors), dtype=object)
        holder[:] = tensors
        np.savez(path.with_suffix(".npz"), holder)
        path.with_suffix(".npz").rename(path)
    elif kind == "list in npy":
        holder = np.empty(len(tensors), dtype=object)
        holder[:] = tensors
        np.save(path.with_suffix(".npy"), holder, allow_pickle=True)
        path.with_suffix(".npy").rename(path)
    elif kind == "dict in npy":
        np.save(path.with_suffix(".npy"), named, allow_pickle=True)
        path.with_suffix(".npy").rename(path)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            for place, name in enumerate(("conv2d", "dense", "dense_1")):
                for variable in (0, 1):
                    file[f"layers/{name}/vars/{variable}"] = tensors[2 * place + variable]
            file["optimizer/vars/0"] = np.ones(3)
            file["layers/dropout/seed_generator/vars/0"] = np.ones(2, np.uint32)
    else:
        np.savez_compressed(path.with_suffix(".npz"), **named)
        path.with_suffix(".npz").rename(path)
