"""Files from strangers: roles by content, and every bad file ends in a reason. Nothing in them ever runs."""

import io
import itertools
import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from gradleak import artifacts
from gradleak.artifacts import ArtifactError

MODEL = json.dumps({"class_name": "Sequential", "config": {"layers": []}, "keras_version": "3"})
META = {"learning_rate": 0.05, "samples": 8, "values": np.float32(2.5), "nested": {"a": [1, 2]}}


def weights(rng):
    """A net 6-5-10 with zero biases, as before training."""
    return [
        rng.normal(0, 0.3, shape) if len(shape) == 2 else np.zeros(shape)
        for shape in ((6, 5), (5,), (5, 10), (10,))
    ]


def sgd_delta(rng, size=0.01):
    """Rows of the last kernel sum to zero, as a softmax's gradient does."""
    parts = [rng.normal(0, size, shape) for shape in ((6, 5), (5,), (5, 10), (10,))]
    return [*parts[:2], *(p - p.mean(axis=-1, keepdims=True) for p in parts[2:])]


@pytest.fixture
def leak(tmp_path, rng):
    """The four files, and what is in them."""
    before, delta = ([a.astype(np.float32) for a in make(rng)] for make in (weights, sgd_delta))
    artifacts.write_leak(tmp_path / "leak", MODEL, before, delta, META)
    return tmp_path / "leak", before, delta


def assert_arrays(found, expected):
    for one, other in zip(found.values(), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


NAMES = ("model.json", "weights_before.npz", "delta.npz", "meta.npy")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_roles_go_by_content_under_every_permutation_of_names(leak, order):
    folder, before, delta = leak
    contents = [(folder / name).read_bytes() for name in NAMES]
    for name, index in zip(NAMES, order, strict=True):
        (folder / name).write_bytes(contents[index])
    found = artifacts.read_leak(folder)
    assert found.model_json == MODEL
    assert_arrays(found.before, before)
    assert_arrays(found.delta, delta)
    assert found.meta == {"learning_rate": 0.05, "samples": 8, "values": 2.5, "nested": {"a": [1, 2]}}
    assert found.roles["model"] == NAMES[order.index(0)]
    assert found.roles["delta"].startswith(NAMES[order.index(2)])


def test_names_without_suffix_and_hidden_files_are_fine(leak):
    folder, _, delta = leak
    for number, name in enumerate(NAMES):
        (folder / name).rename(folder / f"artifact-{number}")
    (folder / ".DS_Store").write_bytes(b"junk")
    assert_arrays(artifacts.read_leak(folder).delta, delta)


def test_metadata_are_optional_and_may_be_json(leak):
    folder, *_ = leak
    (folder / "meta.npy").unlink()
    assert artifacts.read_leak(folder).meta == {}
    (folder / "about.json").write_text('{"learning_rate": 0.1}')
    assert artifacts.read_leak(folder).meta == {"learning_rate": 0.1}


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.1, 1.0])
def test_an_sgd_delta_is_told_from_weights_of_any_relative_size(tmp_path, rng, size):
    pair = [(tmp_path / name, {f"arr_{i}": a for i, a in enumerate(arrays)})
            for name, arrays in (("w", weights(rng)), ("d", sgd_delta(rng, size)))]  # fmt: skip
    for first, second in (pair, pair[::-1]):
        delta, before, evidence = artifacts.tell_delta(first, second)
        assert (delta.name, before.name) == ("d", "w")
        assert "sum to zero" in evidence


def test_another_optimisers_delta_is_told_by_its_norm(tmp_path, rng):
    adam = {f"arr_{i}": 1e-3 * np.sign(a) for i, a in enumerate(weights(rng))}
    before = {f"arr_{i}": a for i, a in enumerate(weights(rng))}
    delta, _, evidence = artifacts.tell_delta((tmp_path / "w", before), (tmp_path / "d", adam))
    assert delta.name == "d"
    assert "smaller norm" in evidence


def test_two_alike_archives_are_refused(tmp_path, rng):
    one, two = ({f"arr_{i}": a for i, a in enumerate(weights(rng))} for _ in range(2))
    with pytest.raises(ArtifactError, match="cannot tell the delta from the weights"):
        artifacts.tell_delta((tmp_path / "a", one), (tmp_path / "b", two))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>quota exceeded</html>", "web page"),
        (pickle.dumps({"a": 1}), "bare pickle"),
        (b"just words", "not an .npz, .npy or JSON file"),
        (b"{broken json", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_artifact_is_named_with_the_reason(leak, content, message):
    folder, *_ = leak
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        artifacts.read_leak(folder)
    assert "model.json" in str(caught.value)


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_missing_file_is_told_with_what_is_there(leak, name):
    folder, *_ = leak
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=r"needs one model JSON, two \.npz"):
        artifacts.read_leak(folder)


def saved(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def zipped(*members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def corrupted():
    raw = bytearray(zipped(("a.npy", npy(np.arange(5000.0))), compression=zipfile.ZIP_DEFLATED))
    raw[len(raw) // 3 : len(raw) // 3 + 200] = bytes(200)
    return bytes(raw)


HUGE = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + (
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(a=np.ones(100))[:-40], "damaged or cut off"),
        (saved(a=np.ones(1000))[:300], "damaged or cut off"),
        (corrupted(), "damaged or cut off|plain numeric"),
        (saved(a=np.array([1.0, np.nan])), "a holds NaN or Inf"),
        (saved(a=np.array([1.0, np.inf])), "a holds NaN or Inf"),
        (saved(a=np.array([1e300])), "too large for float32"),
        (saved(a=np.array([{"x": 1}, 2], dtype=object)), "something other than plain numeric arrays"),
        (saved(a=np.array(["words"])), "a has dtype"),
        (saved(a=np.array([1j])), "a has dtype"),
        (saved(), "holds no arrays"),
        (zipped(("notes.txt", "hello")), "not numbers"),
        (zipped(("a.npy", HUGE)), "damaged or cut off|plain numeric"),
        (zipped(("a.npy", npy(np.ones(2))), ("a", npy(np.ones(2)))), "two members have the same name"),
    ],
)
def test_a_bad_archive_ends_in_a_reason(tmp_path, content, message):
    path = tmp_path / "delta.npz"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message) as caught:
        artifacts.read_arrays(path)
    assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members_are_refused(tmp_path):
    path = tmp_path / "delta.npz"
    path.write_bytes(zipped(("a.npy", npy(np.ones(2))), ("a.npy", npy(np.zeros(2)))))
    with pytest.raises(ArtifactError, match="two members have the same name"):
        artifacts.read_arrays(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "delta.npz"
    path.write_bytes(zipped(("a.npy", npy(np.zeros(10000))), compression=zipfile.ZIP_DEFLATED))
    monkeypatch.setattr(artifacts, "MAX_BYTES", 50_000)
    with pytest.raises(ArtifactError, match="unpacks to more than the limit"):
        artifacts.read_arrays(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4", np.int32, np.uint8])
def test_numbers_of_any_kind_become_float32(tmp_path, dtype):
    path = tmp_path / "delta.npz"
    np.savez(path, a=np.array([1, 2, 3], dtype))
    assert_arrays(artifacts.read_arrays(path), [np.array([1, 2, 3], np.float32)])


def test_archives_keep_their_own_order(tmp_path):
    path = tmp_path / "delta.npz"
    np.savez(path, *[np.full(1, i) for i in range(12)])
    assert [float(a[0]) for a in artifacts.read_arrays(path).values()] == list(range(12))


class Payload:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def payloads(marker):
    command = f"touch {marker}"
    return {
        "os.system": Payload(os.system, command),
        "eval": Payload(eval, f"__import__('os').system({command!r})"),
        "exec": Payload(exec, f"import os; os.system({command!r})"),
        "getattr": Payload(getattr, 1.0, "hex"),
        "open": Payload(open, str(marker), "w"),
        "numpy": Payload(np.load, str(marker)),
    }


@pytest.mark.parametrize("name", ["os.system", "eval", "exec", "getattr", "open", "numpy"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_malicious_pickle_never_runs(leak, tmp_path, name, nested):
    folder, *_ = leak
    marker = tmp_path / "it-ran"
    payload = payloads(marker)[name]
    array = np.array({"samples": payload} if nested else payload, dtype=object)
    np.save(folder / "meta.npy", array, allow_pickle=True)
    with pytest.raises(ArtifactError, match="cannot be read safely"):
        artifacts.read_leak(folder)
    assert not marker.exists()


def test_the_payload_of_these_tests_would_run(tmp_path):
    """Else the test above could not fail."""
    marker = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(payloads(marker)["os.system"]))
    assert marker.exists()


def test_a_malicious_member_of_an_archive_never_runs(leak, tmp_path):
    folder, *_ = leak
    marker = tmp_path / "it-ran"
    np.savez(folder / "delta.npz", a=np.array([payloads(marker)["os.system"]], dtype=object))
    with pytest.raises(ArtifactError, match="plain numeric arrays"):
        artifacts.read_leak(folder)
    assert not marker.exists()


def object_npy(pickled):
    """A .npy header of a 0-d object array, with ``pickled`` behind it."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue() + pickled


@pytest.mark.parametrize(
    "content",
    [
        npy(np.array(3.0)),
        npy(np.array([1, 2])),
        npy(np.array("[1, 2]")),
        npy(np.array("no json")),
        object_npy(b""),
        object_npy(pickle.dumps({"a": 1})[:-4]),
        object_npy(b"0."),
        object_npy(pickle.dumps([1, 2])),
        b"\x93NUMPY\x09\x00rest",
        b"\x93NUMPY",
    ],
)
def test_metadata_that_are_no_dict_end_in_a_reason(tmp_path, content):
    path = tmp_path / "meta.npy"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"meta\.npy"):
        artifacts.read_meta(path)


def test_metadata_may_hold_arrays_and_scalars(tmp_path):
    meta = {"a": np.arange(3), "b": np.float64(2), 3: "x"}
    np.save(tmp_path / "meta.npy", np.array(meta, dtype=object), allow_pickle=True)
    found = artifacts.read_meta(tmp_path / "meta.npy")
    np.testing.assert_array_equal(found["a"], np.arange(3))
    assert found["b"] == 2
    assert type(found["b"]) is float
    assert found["3"] == "x"


def test_a_json_string_in_an_array_is_metadata_too(tmp_path):
    np.save(tmp_path / "meta.npy", np.array('{"samples": 4}'))
    assert artifacts.read_meta(tmp_path / "meta.npy") == {"samples": 4}


def test_natural_order_puts_arr_2_before_arr_10():
    keys = ["arr_10", "arr_2", "arr_1", "b", "a10b2", "a10b1", "2", "x²"]
    assert sorted(keys, key=artifacts.natural) == [
        "2",
        "a10b1",
        "a10b2",
        "arr_1",
        "arr_2",
        "arr_10",
        "b",
        "x²",
    ]
