"""Files from strangers that are fine: roles by content, any kind of file, and the confinement in which they are read."""

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import corpus
import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from gradleak import artifacts
from gradleak.artifacts import ArtifactError, Leak, architecture, arrays, limits, lock, roles

SCRIPTS = Path(__file__).parents[3] / "scripts"
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


@pytest.fixture
def leak(tmp_path, rng):
    """The four files as the seed notebook's client wrote them, and what is in them."""
    before, delta = ([a.astype(np.float32) for a in make(rng)] for make in (weights, sgd_delta))
    folder = tmp_path / "leak"
    folder.mkdir()
    (folder / "model.json").write_bytes(MODEL)
    np.savez(folder / "weights_before.npz", *before)
    np.savez(folder / "delta.npz", *delta)
    np.save(folder / "meta.npy", np.array(META, dtype=object), allow_pickle=True)
    return folder, before, delta


def inspect(folder):
    return roles.inspect(sorted(folder.iterdir()))


def assert_arrays(found, expected):
    for one, other in zip(found.values(), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, np.asarray(other, np.float32))


def role_of(found, role):
    (entry,) = [entry for entry in found.manifest["files"] if entry["role"] == role]
    return entry


# --- roles --------------------------------------------------------------------------------------------------------


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


def test_received_files_are_kept_as_plain_arrays_with_a_manifest(leak, tmp_path):
    folder, before, delta = leak
    (tmp_path / "kept").mkdir()
    files = sorted(folder.iterdir())
    found = artifacts.receive(files, tmp_path / "kept")
    assert_arrays(found.before, before)
    assert_arrays(found.delta, delta)
    assert found.meta["values"] == 2.5
    again = artifacts.read_leak(tmp_path / "kept")
    assert again.manifest == found.manifest
    for entry, path in zip(found.manifest["files"], files, strict=True):
        assert entry["name"] == path.name
        assert entry["bytes"] == path.stat().st_size
        assert entry["sha256"] == subprocess.check_output(["sha256sum", path], text=True).split()[0]
    for path in (tmp_path / "kept").glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert all(not file[name].dtype.hasobject for name in file.files)


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


def tell(before, delta, model=ARCHITECTURE):
    """The name that is taken for the delta, whichever comes first."""
    pair = {Path(name): dict(enumerate(x)) for name, x in (("w", before), ("d", delta))}
    answers = {
        roles.tell_delta(dict(items), model)[0].name
        for items in (list(pair.items()), list(pair.items())[::-1])
    }
    (only,) = answers
    return only


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.1, 1.0, 30.0])
def test_an_sgd_delta_is_told_from_weights_of_any_relative_size(rng, size):
    assert tell(weights(rng), sgd_delta(rng, size)) == "d"


def test_another_optimisers_delta_is_told_by_its_norm(rng):
    trained = [a + 0.01 for a in weights(rng)]
    assert tell(trained, [1e-3 * np.sign(rng.normal(size=a.shape)) for a in trained]) == "d"


def test_a_large_adam_delta_is_told_by_unlit_pixels_and_untrained_biases(rng):
    delta = [10 * np.sign(rng.normal(size=s)) for s in corpus.SHAPES]
    delta[2][:20] = 0
    assert tell(weights(rng), delta) == "d"


def test_a_low_rank_delta_is_told_at_any_scale(rng):
    delta = [a + 0.5 for a in sgd_delta(rng)]  # no zero sums
    delta[2] = 50 * rng.normal(size=(72, 4)) @ rng.normal(size=(4, 30))
    assert tell([a + 0.01 for a in weights(rng)], delta) == "d"


def test_two_alike_archives_are_refused(rng):
    one, two = ([a + 0.01 for a in weights(rng)] for _ in range(2))
    with pytest.raises(ArtifactError, match="cannot tell the delta from the weights"):
        tell(one, two)


def test_weights_before_and_after_are_told_as_what_they_are(rng):
    one = weights(rng)
    with pytest.raises(ArtifactError, match=r"save their difference \(after − before\)"):
        tell(one, [a + d for a, d in zip(one, sgd_delta(rng), strict=True)])


# --- kinds of files -----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float64, ">f4", ">f8", np.longdouble, np.int32, np.uint8, bool]
)
def test_numbers_of_any_kind_become_float32(tmp_path, dtype):
    np.savez(
        tmp_path / "a.npz",
        a=np.array([[1, 0], [0, 1]], dtype).T,
        b=np.asfortranarray(np.arange(6).reshape(2, 3), dtype),
    )
    found = arrays.read_npz(tmp_path / "a.npz")
    assert_arrays(found, [np.eye(2), np.arange(6).reshape(2, 3).astype(dtype)])
    assert all(a.flags.c_contiguous and a.dtype.isnative for a in found.values())


def test_archives_keep_their_own_order(tmp_path):
    np.savez(tmp_path / "a.npz", *[np.full(1, i) for i in range(12)])
    assert [float(a[0]) for a in arrays.read_npz(tmp_path / "a.npz").values()] == list(range(12))


def test_any_key_survives_the_plain_form(tmp_path, rng):
    keys = ["file", "keys", "allow_pickle", "conv/kernel:0", "arr_0", "ключ", "a b"]
    tensors = {key: rng.normal(size=3).astype(np.float32) for key in keys}
    artifacts.write_leak(tmp_path / "x", Leak(ARCHITECTURE.json, tensors, tensors, {}))
    found = artifacts.read_leak(tmp_path / "x")
    assert list(found.before) == keys
    assert_arrays(found.delta, tensors.values())


@pytest.mark.parametrize("name", ["model.json", "weights_before.npz", "delta.npz", "meta.json"])
def test_a_plain_form_that_was_damaged_since_is_refused(tmp_path, rng, name):
    tensors = {"a": rng.normal(size=3).astype(np.float32)}
    artifacts.write_leak(tmp_path / "x", Leak(ARCHITECTURE.json, tensors, tensors, {"a": 1}))
    path = tmp_path / "x" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArtifactError, match=name):
        artifacts.read_leak(tmp_path / "x")
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        artifacts.read_leak(tmp_path / "x")


def test_natural_order_puts_arr_2_before_arr_10():
    keys = ["arr_10", "arr_2", "arr_1", "b", "a10b2", "a10b1", "2", "x²"]
    assert sorted(keys, key=arrays.natural) == ["2", "a10b1", "a10b2", "arr_1", "arr_2", "arr_10", "b", "x²"]


# --- the confinement ------------------------------------------------------------------------------------------------


def confined(tmp_path, code, before="pass"):
    """Run ``code`` as a payload that the allowlist had let through."""
    start = f"from pathlib import Path; from gradleak.artifacts import child; {before}; child.confine(Path({str(tmp_path / 'target')!r}))"
    (tmp_path / "target").mkdir()
    return subprocess.run(
        [sys.executable, "-c", f"import os, subprocess, socket, sys, numpy as np\n{start}\n{code}"],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "code",
    [
        "os.system('touch {marker}')",
        "subprocess.run(['touch', {marker!r}])",
        "os.execv('/bin/touch', ['touch', {marker!r}])",
        "os.posix_spawn('/bin/touch', ['touch', {marker!r}], dict())",
        "os.fork()",
        "open({marker!r}, 'w')",
        "os.open({marker!r}, os.O_CREAT | os.O_WRONLY)",
        "socket.create_connection(('127.0.0.1', 9))",
        "os.remove({victim!r})",
        "os.rename({victim!r}, {marker!r})",
        "import ctypes; ctypes.CDLL('libc.so.6').system(b'touch {marker}')",
        "try:\n    os.system('touch {marker}')\nexcept BaseException:\n    pass\nsys.exit(0)",
    ],
)
def test_what_gets_past_the_allowlist_is_stopped_by_the_confinement(tmp_path, code):
    marker, victim = tmp_path / "it-ran", tmp_path / "victim"
    victim.write_text("here")
    done = confined(
        tmp_path,
        code.replace("{marker!r}", repr(str(marker)))
        .replace("{victim!r}", repr(str(victim)))
        .replace("{marker}", str(marker)),
    )
    assert done.returncode == 3, done
    assert "it tried to run" in done.stdout
    assert not marker.exists()
    assert victim.read_text() == "here"


def test_the_confinement_bounds_memory_and_time(tmp_path):
    assert "MemoryError" in confined(tmp_path, "np.ones(1 << 28)").stderr
    (tmp_path / "target").rmdir()
    forever = confined(tmp_path, "while True: pass", "child.limits.CHILD_SECONDS = 1")
    assert forever.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_the_confinement_lets_results_be_written(tmp_path):
    assert confined(tmp_path, f"open({str(tmp_path / 'target' / 'x')!r}, 'w').write('y')").returncode == 0


def test_the_payload_of_the_corpus_would_run(tmp_path):
    """Else the tests on it could not fail."""
    marker = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(corpus.calls(marker)["os.system"]))
    assert marker.exists()


def test_a_file_that_takes_too_long_or_crashes_the_reader_is_named(leak, tmp_path, monkeypatch):
    folder, *_ = leak
    target = tmp_path / "target"
    target.mkdir()
    for ending, message in (
        ("import time; time.sleep(60)", "took more than"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ("raise KeyError('odd')", "cannot be read"),
    ):
        script = f"import os; print('reading {folder}/delta.npz', flush=True); {ending}"
        popen = subprocess.Popen
        monkeypatch.setattr(limits, "CHILD_SECONDS", -4)
        monkeypatch.setattr(
            subprocess, "Popen", lambda command, s=script, p=popen, **kw: p([command[0], "-c", s], **kw)
        )
        with pytest.raises(ArtifactError, match=rf"delta\.npz: .*{message}"):
            artifacts.receive(sorted(folder.iterdir()), target)
        monkeypatch.undo()


# --- hashes of the first use -----------------------------------------------------------------------------------------


def test_the_hash_of_the_first_use_is_enforced(tmp_path):
    path = tmp_path / "artifacts.lock.json"
    lock.enforce(path, "one", "aa")  # nothing is known yet
    lock.record(path, {"one": ("aa", 3)})
    lock.record(path, {"one": ("bb", 4), "two": ("cc", 5)})  # a known one is left as it was
    lock.enforce(path, "one", "aa")
    with pytest.raises(
        ArtifactError, match=r"one is not the one that was first used \(20\d\d-.*remove its entry"
    ):
        lock.enforce(path, "one", "bb")
    assert {key: entry["bytes"] for key, entry in json.loads(path.read_text()).items()} == {
        "one": 3,
        "two": 5,
    }


@pytest.mark.parametrize("content", ["{", "[1]", '{"one": 3}'])
def test_a_broken_lock_file_is_no_licence(tmp_path, content):
    path = tmp_path / "artifacts.lock.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match="not a lock file"):
        lock.enforce(path, "one", "aa")
