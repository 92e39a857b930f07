"""Hashes of the first use."""

import json

import pytest

from gradleak.artifacts import lock
from gradleak.artifacts.errors import ArtifactError


def test_the_hash_of_the_first_use_is_enforced(tmp_path):
    path = tmp_path / "artifacts.lock.json"
    lock.enforce(path, "one", "aa")  # nothing is known yet
    lock.record(path, {"one": ("aa", 3)})
    lock.record(path, {"one": ("bb", 4), "two": ("cc", 5)})  # a known one is left as it was
    lock.enforce(path, "one", "aa")
    with pytest.raises(
        ArtifactError, match=r"one is not the file of the first use \(20\d\d-.*remove its entry"
    ):
        lock.enforce(path, "one", "bb")
    assert {key: entry["bytes"] for key, entry in json.loads(path.read_text()).items()} == {
        "one": 3,
        "two": 5,
    }


@pytest.mark.parametrize("content", ["{", "[1]", '{"one": 3}'])
def test_a_broken_lock_file_is_refused(tmp_path, content):
    path = tmp_path / "artifacts.lock.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match="not a lock file"):
        lock.enforce(path, "one", "aa")
