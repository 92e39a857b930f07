"""Roles of files go by their content; tensors come in many kinds of files."""

import itertools
import json
import zipfile
from pathlib import Path

import corpus
import numpy as np
import pytest
from leak_files import (
    ARCHITECTURE,
    MODEL,
    NAMES,
    assert_arrays,
    inspect,
    role_of,
    saved_as,
    sgd_delta,
    weights,
)

from gradleak.artifacts import architecture, roles
from gradleak.artifacts.errors import ArtifactError


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_roles_go_by_content_under_every_permutation_of_names(leak, order):
    folder, before, delta = leak
    contents = [(folder / name).read_bytes() for name in NAMES]
    for name, index in zip(NAMES, order, strict=True):
        (folder / name).write_bytes(contents[index])
    found = inspect(folder)
    assert found.model_json == ARCHITECTURE.json
    assert_arrays(found.before, before)
    assert_arrays(found.delta, delta)
    assert found.meta == {"learning_rate": 0.05, "samples": 8, "values": 2.5, "nested": {"a": [1, 2]}}
    for role, index in (("model", 0), ("weights before", 1), ("delta", 2), ("meta", 3)):
        assert role_of(found, role)["name"] == NAMES[order.index(index)]
    assert "sums to zero" in role_of(found, "delta")["evidence"]


def test_names_without_suffix_are_fine(leak):
    folder, _, delta = leak
    for number, name in enumerate(NAMES):
        (folder / name).rename(folder / f"artifact-{number}")
    assert_arrays(inspect(folder).delta, delta)


def test_metadata_are_optional_and_may_be_json_or_a_json_string(leak):
    folder, *_ = leak
    (folder / "meta.npy").unlink()
    assert inspect(folder).meta == {}
    np.save(folder / "meta.npy", np.array('{"samples": 4}'))
    assert inspect(folder).meta == {"samples": 4}
    (folder / "meta.npy").unlink()
    (folder / "about.json").write_text('{"learning_rate": 0.1}')
    assert inspect(folder).meta == {"learning_rate": 0.1}


def test_metadata_become_plain_json(leak):
    folder, *_ = leak
    odd = {
        "a": np.arange(3),
        3: "x",
        "set": {1},
        "nan": float("nan"),
        "big": np.zeros(100_000),
        "what": slice(3),
        "n": None,
    }
    np.save(folder / "meta.npy", np.array(odd, dtype=object), allow_pickle=True)
    found = inspect(folder).meta
    assert found == {
        "a": [0, 1, 2],
        "3": "x",
        "set": [1],
        "nan": None,
        "big": "(array of shape [100000])",
        "what": "(slice)",
        "n": None,
    }
    json.dumps(found, allow_nan=False)


def delta_of(before, delta, model=ARCHITECTURE):
    """The name that is taken for the delta, whichever comes first."""
    pair = {Path(name): dict(enumerate(x)) for name, x in (("w", before), ("d", delta))}
    answers = {
        roles.find_delta(dict(items), model)[0].name
        for items in (list(pair.items()), list(pair.items())[::-1])
    }
    (only,) = answers
    return only


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.1, 1.0, 30.0])
def test_an_sgd_delta_is_found_beside_weights_of_any_relative_size(rng, size):
    assert delta_of(weights(rng), sgd_delta(rng, size)) == "d"


def test_the_delta_of_another_optimiser_is_found_by_its_norm(rng):
    trained = [a + 0.01 for a in weights(rng)]
    assert delta_of(trained, [1e-3 * np.sign(rng.normal(size=a.shape)) for a in trained]) == "d"


def test_a_large_adam_delta_is_found_by_unlit_pixels_and_untrained_biases(rng):
    delta = [10 * np.sign(rng.normal(size=s)) for s in corpus.SHAPES]
    delta[2][:20] = 0
    assert delta_of(weights(rng), delta) == "d"


def test_a_low_rank_delta_is_found_at_any_scale(rng):
    delta = [a + 0.5 for a in sgd_delta(rng)]  # no zero sums
    delta[2] = 50 * rng.normal(size=(72, 4)) @ rng.normal(size=(4, 30))
    assert delta_of([a + 0.01 for a in weights(rng)], delta) == "d"


def test_two_alike_archives_are_refused(rng):
    one, two = ([a + 0.01 for a in weights(rng)] for _ in range(2))
    with pytest.raises(ArtifactError, match="the delta cannot be distinguished from the weights"):
        delta_of(one, two)


def test_weights_before_and_after_are_refused_as_such(rng):
    one = weights(rng)
    with pytest.raises(ArtifactError, match=r"save their difference \(after − before\)"):
        delta_of(one, [a + d for a, d in zip(one, sgd_delta(rng), strict=True)])


@pytest.mark.parametrize(
    "kind", ["compressed", "object array", "list in npy", "dict in npy", "h5", "safetensors"]
)
@pytest.mark.parametrize("which", ["weights_before.npz", "delta.npz"])
def test_tensors_may_come_in_many_kinds_of_files(leak, kind, which):
    folder, before, delta = leak
    saved_as(kind, folder / which, before if which != "delta.npz" else delta)
    found = inspect(folder)
    assert_arrays(found.before, before)
    assert_arrays(found.delta, delta)


def test_a_keras_archive_is_model_and_weights(leak):
    folder, before, delta = leak
    saved_as("h5", folder / "w.h5", before)
    with zipfile.ZipFile(folder / "net.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", MODEL)
        archive.write(folder / "w.h5", "model.weights.h5")
    for name in ("w.h5", "model.json", "weights_before.npz"):
        (folder / name).unlink()
    found = inspect(folder)
    assert_arrays(found.before, before)
    assert list(found.before)[:2] == ["conv/kernel", "conv/bias"]
    assert_arrays(found.delta, delta)
    assert role_of(found, "model and weights before")["name"] == "net.keras"


def test_json_in_json_and_a_byte_order_mark_are_fine(leak):
    folder, *_ = leak
    (folder / "model.json").write_text(json.dumps(MODEL.decode()))
    assert inspect(folder).model_json == ARCHITECTURE.json
    (folder / "model.json").write_bytes(b"\xef\xbb\xbf\n" + MODEL)
    assert inspect(folder).model_json == ARCHITECTURE.json


@pytest.mark.parametrize("count", [np.array(1.0), np.array([1.0]), np.array(1), np.array([120])])
def test_a_counter_in_the_middle_has_no_part_in_the_evidence(leak, count):
    folder, before, delta = leak
    expected = inspect(folder).manifest["files"][0]["evidence"]
    for name, tensors, value in (("weights_before", before, 1000 * count), ("delta", delta, count)):
        np.savez(folder / f"{name}.npz", *tensors[:2], value, *tensors[2:])
    found = inspect(folder)
    assert_arrays(found.before, before)
    assert_arrays(found.delta, delta)
    assert found.manifest["files"][0]["evidence"] == expected
    is_noted = count.dtype.kind == "f"  # whole numbers are counters
    assert ("delta.npz: arr_2 left out" in " ".join(found.manifest["notes"])) == is_noted


def test_a_state_dict_in_npy_is_no_metadata(leak):
    folder, before, delta = leak
    names = ["c.weight", "c.bias", "h.weight", "h.bias", "o.weight", "o.bias"]
    state = dict(zip(names, before, strict=True)) | {"bn.num_batches_tracked": np.array(3)}
    (folder / "weights_before.npz").unlink()
    np.save(folder / "w.npy", state, allow_pickle=True)
    found = inspect(folder)
    assert list(found.before) == names
    assert_arrays(found.delta, delta)


FROZEN = corpus.model(
    corpus.layer("Conv2D", "conv", filters=2, kernel_size=3, trainable=False),
    corpus.layer("BatchNormalization", "bn", trainable=False),
    corpus.layer("Flatten", "flat"),
    corpus.layer("BatchNormalization", "bn2"),
    corpus.layer("Dense", "head", units=10),
)
SETS = {
    "all": lambda v: True,
    "trained": lambda v: v.trainable,
    "parameters": lambda v: not v.is_statistic,
    "trained layers": lambda v: v.layer in ("bn2", "head"),
}


@pytest.mark.parametrize("held", [*SETS, "another"])
def test_files_may_leave_out_what_is_frozen_or_no_parameter(leak, rng, held):
    folder, *_ = leak
    model = architecture.read(corpus.text(FROZEN))
    (folder / "model.json").write_bytes(corpus.text(FROZEN))
    kept = [v for v in model.variables if SETS.get(held, lambda v: v.layer == "head")(v)]
    np.savez(folder / "weights_before.npz", *[rng.normal(size=v.shape) for v in model.variables])
    parts = [1e-3 * rng.normal(size=v.shape) for v in kept]
    parts[-2:] = [p - p.mean(axis=-1, keepdims=True) for p in parts[-2:]]
    np.savez(folder / "delta.npz", *parts)
    if held == "another":
        with pytest.raises(ArtifactError, match=r"delta\.npz: holds 730 numbers .* or is not complete"):
            inspect(folder)
    else:
        assert_arrays(inspect(folder).delta, parts)
