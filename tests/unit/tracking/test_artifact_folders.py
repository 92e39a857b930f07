"""A database that is moved or copied with its folder keeps its pictures. The original stays as it is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import syncing
from results import image_scores
from syncing import Seen

from gradleak.errors import UserError
from gradleak.tracking import artifact_folders, stores

ROOT = Path(__file__).parents[3]


@pytest.fixture
def original(exhibited, tmp_path, schema):
    """A folder with a synced study in it."""
    folder = tmp_path / "original"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(schema)
    exhibited.frames()
    syncing.sync(uri_in(folder), exhibited)
    return folder


def uri_in(folder):
    return f"sqlite:///{folder / 'mlflow.db'}"


def files_in(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["moved", "a b's"])
def test_a_moved_database_shows_its_pictures_and_changes_nothing(original, exhibited, name):
    before = Seen(uri_in(original)).content()
    moved = original.rename(original.with_name(name))
    kept = {name for name in files_in(moved) if name.startswith("artifacts")}
    done = syncing.sync(uri_in(moved), exhibited, prune=True)
    assert {what: count for what, count in done.items() if count} == {"kept": 10}
    assert Seen(uri_in(moved)).content() == before
    assert {name for name in files_in(moved) if name.startswith("artifacts")} == kept
    assert not original.exists(), "the old path is not made again"


def test_a_copy_never_touches_its_original(original, exhibited):
    copy = original.with_name("copy")
    shutil.copytree(original, copy)
    before = files_in(original)
    exhibited.cell("ddd").block("ddd", (0, 1), image_scores)
    exhibited.frames()
    del exhibited.cells["aaa"]
    exhibited.blocks = [block for block in exhibited.blocks if block["cell"] != "aaa"]
    exhibited.frames()
    syncing.sync(uri_in(copy), exhibited, prune=True)
    assert files_in(original) == before
    addresses = {run.info.artifact_uri for run in Seen(uri_in(copy)).all_runs()}
    assert all(address.startswith((copy / "artifacts" / "demo").as_uri()) for address in addresses)


def test_mlflow_gc_in_a_copy_frees_the_copys_files_alone(original, exhibited):
    """After a prune, with the command of docs/how-to/tracking.md."""
    copy = original.with_name("copy")
    shutil.copytree(original, copy)
    before = files_in(original)
    del exhibited.cells["aaa"]
    exhibited.blocks = [block for block in exhibited.blocks if block["cell"] != "aaa"]
    exhibited.frames()
    syncing.sync(uri_in(copy), exhibited, prune=True)
    page = (ROOT / "docs/how-to/tracking.md").read_text(encoding="utf-8")
    (arguments,) = re.findall(r"python -m (mlflow gc .*)", page)
    command = [sys.executable, "-m", *arguments.replace("$U", uri_in(copy)).split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_in(original) == before
    kept = {Path(name).parts[2] for name in files_in(copy) if name.startswith("artifacts")}
    assert kept
    assert kept <= {run.info.run_id for run in Seen(uri_in(copy)).all_runs()}


@pytest.mark.parametrize("prune", [False, True])
def test_lost_files_are_stored_again(original, exhibited, prune):
    before = Seen(uri_in(original)).content()
    shutil.rmtree(original / "artifacts")
    done = syncing.sync(uri_in(original), exhibited, prune=prune)
    assert done["replaced"] == sum(bool(run["image"] or run["files"]) for run in before.values())
    assert Seen(uri_in(original)).content() == before


def test_the_same_folder_by_another_path_is_no_move(original, tmp_path):
    (tmp_path / "link").symlink_to(original)
    assert artifact_folders.move_here(uri_in(tmp_path / "link")) == []


def test_an_address_that_the_user_chose_is_kept(original):
    stores.client_of(uri_in(original)).create_experiment("gradleak/far", artifact_location="s3://mine/far")
    assert artifact_folders.move_here(uri_in(original)) == []
    experiment = stores.client_of(uri_in(original)).get_experiment_by_name("gradleak/far")
    assert artifact_folders.address_for_writing(uri_in(original), experiment) == "s3://mine/far"


def test_a_folder_that_cannot_be_written_is_named(original, exhibited, tmp_path):
    shutil.rmtree(original / "artifacts")
    (original / "artifacts").write_text("a file in the place of the folder")
    with pytest.raises(UserError, match=r"original/artifacts/demo.*make the folder writable"):
        syncing.sync(uri_in(original), exhibited)
