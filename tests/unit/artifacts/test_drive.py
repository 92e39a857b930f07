"""The Drive flow end to end: real script, real download library, a loopback proxy in the place of Drive."""

import io
import json
import re

import corpus
import numpy as np
import pytest
from drive_proxy import Drive
from sandbox import Sandbox

from gradleak.artifacts import drive as downloads
from gradleak.artifacts.errors import ArtifactError

IDS = [f"{letter * 20}-_{number}" for number, letter in enumerate("abcd")]
BY_HAND = "download the files in a browser into a folder and use a target with `source: local"


@pytest.fixture(scope="module")
def sandbox():
    made = Sandbox()
    yield made
    made.close()


@pytest.fixture
def drive(tmp_path):
    made = Drive(tmp_path)
    for file_id, content in zip(IDS, corpus.good().values(), strict=True):
        made.files[file_id] = content, "plain"
    yield made
    made.close()


@pytest.fixture
def fetch(sandbox, drive, tmp_path):
    results = tmp_path / "results"
    results.mkdir()

    def run(**environment):
        (results / "fetch.log").unlink(missing_ok=True)
        code, log, memory = sandbox.run(results, ids=IDS, **{**drive.environment, **environment})
        assert memory < 1 << 20
        return code, log

    run.results = results
    run.lock = results / "artifacts.lock.json"
    run.kept = results / "targets" / "t" / "draw-000"
    return run


LARGE = corpus.npy(
    np.array({"note": "x" * 1_000_000}, dtype=object)
)  # the library keeps pieces of half a megabyte


def files_left(fetch):
    folder = fetch.results / "fetched"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def assert_refused(fetch, code, log, message):
    assert code == 1, log
    (error,) = [line for line in log.splitlines() if line.startswith("ERROR")]
    assert re.search(message, error), error
    assert BY_HAND in error
    assert len(error) < 1500
    assert not (fetch.results / "targets" / "t").exists()
    assert not fetch.lock.exists()
    assert "Traceback" not in log


def test_files_come_in_any_order_and_only_plain_arrays_stay(fetch, drive):
    code, log = fetch()
    assert code == 0, log
    assert {path.name for path in fetch.kept.iterdir()} == {
        "model.json",
        "weights_before.npz",
        "delta.npz",
        "meta.json",
        "manifest.json",
    }
    assert files_left(fetch) == []
    assert sorted(json.loads(fetch.lock.read_text())) == sorted(IDS)
    manifest = json.loads((fetch.kept / "manifest.json").read_text())
    assert {entry["name"]: entry["role"] for entry in manifest["files"]} == dict(
        zip(IDS, ("model", "weights before", "delta", "meta"), strict=True)
    )
    assert {host for host, _, _ in drive.requests} == {"drive.google.com"}
    assert drive.refused == []
    assert not any((fetch.results / name).exists() for name in ("cookies.txt", "whatever.npz"))


def test_a_confirmation_page_is_followed(fetch, drive):
    drive.files[IDS[2]] = drive.files[IDS[2]][0], "confirm"
    code, log = fetch()
    assert code == 0, log
    assert "drive.usercontent.google.com" in {host for host, _, _ in drive.requests}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("quota", "quota page came: too many people"),
        ("sign-in", "asks to sign in: the file is not shared"),
        ("404", "404: there is no such file"),
        ("403", "403: Drive refuses it"),
        ("500", "Drive answered 500. Try again later"),
        ("no type", "an answer that is no file"),
        ("huge", "larger than the limit"),
        ("endless", "larger than the limit"),
        ("other host", "no secure connection"),
    ],
)
def test_what_is_no_file_ends_in_a_reason(fetch, drive, how, message):
    drive.files[IDS[2]] = drive.files[IDS[2]][0], how
    code, log = fetch()
    assert_refused(fetch, code, log, message)
    assert IDS[2] in log
    assert files_left(fetch) == IDS[:2], (
        "what came whole is kept for the next run, and no part of anything else"
    )
    drive.files[IDS[2]] = drive.files[IDS[2]][0], "plain"
    before = len(drive.requests)
    code, log = fetch()
    assert code == 0, log
    assert not any(file_id in path for _, path, _ in drive.requests[before:] for file_id in IDS[:2]), (
        "not fetched twice"
    )


def test_a_page_sent_as_a_file_is_no_artifact(fetch, drive):
    drive.files[IDS[3]] = b"<html>Sorry, quota</html>", "plain"
    code, log = fetch()
    assert_refused(fetch, code, log, "this is a web page")
    assert IDS[3] not in files_left(fetch)


def test_a_hostile_file_is_fetched_and_refused_and_not_kept(fetch, drive, tmp_path):
    marker = tmp_path / "it-ran"
    (files, _, message) = corpus.corpus(marker)["meta: os.system"]
    drive.files[IDS[3]] = files["meta.npy"], "plain"
    code, log = fetch()
    assert code == 1
    assert re.search(message, log)
    assert not marker.exists()
    assert files_left(fetch) == []
    assert not fetch.lock.exists()


def test_a_broken_connection_is_resumed_in_the_same_run(fetch, drive):
    drive.files[IDS[3]] = LARGE, "cut 1"
    code, log = fetch()
    assert code == 0, log
    assert any(asked for _, path, asked in drive.requests if IDS[3] in path), "by a range request"


def test_a_connection_that_keeps_breaking_is_resumed_by_the_next_run(fetch, drive):
    drive.files[IDS[3]] = LARGE, "cut"
    code, log = fetch()
    assert_refused(fetch, code, log, "Run again: it is resumed where it stopped")
    parts = [name for name in files_left(fetch) if name.endswith(".part")]
    assert len(parts) == 1, "kept under a name that is not taken for the file"
    drive.files[IDS[3]] = LARGE, "plain"
    before = len(drive.requests)
    code, log = fetch()
    assert code == 0, log
    assert any(asked and asked != "bytes=0-" for _, path, asked in drive.requests[before:] if IDS[3] in path)
    assert json.loads((fetch.kept / "meta.json").read_text())["note"] == "x" * 10_000


def test_parts_that_do_not_fit_are_thrown_away(fetch, drive):
    (fetch.results / "fetched").mkdir()
    (fetch.results / "fetched" / f"{IDS[1]}12345678.part").write_bytes(
        bytes(len(drive.files[IDS[1]][0]) + 100)
    )
    code, log = fetch()
    assert code == 0, log
    assert files_left(fetch) == []


def test_a_bad_file_that_is_already_there_is_fetched_again(fetch, drive):
    (fetch.results / "fetched").mkdir()
    (fetch.results / "fetched" / IDS[0]).write_text("<html>an old quota page</html>")
    (fetch.results / "fetched" / IDS[1]).write_bytes(drive.files[IDS[1]][0])
    code, log = fetch()
    assert code == 0, log
    assert "exists and is fetched again" in log
    assert not any(IDS[1] in path for _, path, _ in drive.requests)


def test_the_hash_of_the_first_use_is_enforced(fetch, drive, tmp_path):
    assert fetch()[0] == 0
    first = fetch.lock.read_text()
    good, (_, how) = drive.files[IDS[2]][0], drive.files[IDS[2]]
    changed = [2 * array for array in np.load(io.BytesIO(good)).values()]
    drive.files[IDS[2]] = corpus.saved(*changed), how
    code, log = fetch()
    assert code == 1
    assert re.search(f"{IDS[2]} is not the file of the first use.*remove its entry", log)
    assert fetch.lock.read_text() == first
    assert IDS[2] not in files_left(fetch)
    (fetch.results / "fetched").mkdir(exist_ok=True)
    (fetch.results / "fetched" / IDS[2]).write_bytes(
        drive.files[IDS[2]][0]
    )  # placed by hand, and not the one
    drive.files[IDS[2]] = good, "plain"
    code, log = fetch()
    assert code == 0, log
    assert "exists and is fetched again" in log


def test_no_network(fetch):
    unreachable = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    code, log = fetch(**unreachable)
    assert_refused(fetch, code, log, "no secure connection to Drive|no connection to Drive")


def test_an_unknown_certificate_is_not_trusted(fetch):
    import certifi

    code, log = fetch(REQUESTS_CA_BUNDLE=certifi.where())
    assert_refused(fetch, code, log, "no secure connection to Drive")


def test_silence_ends(drive, tmp_path, monkeypatch):
    for name, value in drive.environment.items():
        monkeypatch.setenv(name, value)
    drive.files[IDS[0]] = b"", "silence"
    with pytest.raises(ArtifactError, match=r"did not answer in time|no connection|could not be fetched"):
        downloads.fetch(IDS[0], tmp_path / "f", tmp_path / "lock", timeout=(2, 0.5), retries=0)


def test_the_size_limit_holds_for_what_is_announced_and_what_comes(drive, tmp_path, monkeypatch):
    for name, value in drive.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ArtifactError, match="larger than the limit of 1000 bytes"):
        downloads.fetch(IDS[1], tmp_path / "f", tmp_path / "lock", limit=1000)
    assert list((tmp_path / "f").iterdir()) == []


@pytest.mark.parametrize(
    "file_id", ["../../../etc/passwd", "a", "https://drive.google.com/x", "a" * 200, "abcdefghij\nk"]
)
def test_an_id_that_is_none_is_refused(tmp_path, file_id):
    with pytest.raises(ArtifactError, match="is no Drive file id"):
        downloads.fetch(file_id, tmp_path / "f", tmp_path / "lock")
