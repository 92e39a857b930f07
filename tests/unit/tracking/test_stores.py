"""Many writers and sudden deaths, against a real PostgreSQL and a real SQLite."""

import shutil
import tempfile
from pathlib import Path

import pytest
import syncing
from results import Results, image_scores, label_scores
from syncing import Seen

from gradleak.tracking import postgres, stores

WRITERS = 8
KILLS = (3, 8, 11, 17, 28, 33, 73, 77, 94, 98)  # the late ones: in the run with the figures


@pytest.fixture(scope="module")
def server():
    """A PostgreSQL of our own; its tables are MLflow's from the start, as those of a team's server are."""
    if postgres.programs() is None:
        pytest.skip(f"PostgreSQL is not installed: {postgres.INSTALL}")
    folder = Path(tempfile.mkdtemp(prefix="gradleak-"))  # not pytest's: root's postgres cannot enter that
    try:
        with postgres.running(folder) as uri:
            stores.create_schema(uri)
            yield uri
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def sqlite(tmp_path, schema):
    def make(name):
        path = tmp_path / name / "mlflow.db"
        path.parent.mkdir()
        path.write_bytes(schema)
        return f"sqlite:///{path}"

    return make


def study(folder, name, seeds=(0, 1)):
    """A study of its own name: three cells with failures, images and labels, a figure and a table."""
    made = (
        Results(folder)
        .exhibit("figures/seeds.png", name.encode())
        .exhibit("tables/headline.csv", b"attack\n")
    )
    made.cell(f"{name}a").cell(f"{name}b", weighting="depth").cell(f"{name}c", "labels", method="rank1")
    made.block(f"{name}a", seeds, image_scores).block(
        f"{name}b", seeds, image_scores, {1: "diverged"}, "no finite objective"
    )
    made.block(f"{name}c", seeds, label_scores)
    made.frames(**{name: list(made.cells)})
    return made


@pytest.mark.parametrize("store", ["postgresql", "sqlite"])
def test_eight_writers_at_once_lose_and_double_nothing(store, request, sqlite, tmp_path, monkeypatch):
    """Half of them sync one study, the others one of their own each."""
    monkeypatch.chdir(tmp_path)
    uri = request.getfixturevalue("server") if store == "postgresql" else sqlite("shared")
    names = ["same", *(f"own{k}" for k in range(WRITERS // 2))]
    studies = {name: study(tmp_path / name, name) for name in names}
    workers = [
        syncing.start(syncing.sync, uri, studies[name]) for name in ["same"] * (WRITERS // 2) + names[1:]
    ]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * WRITERS
    alone = sqlite("alone")
    for made in studies.values():
        syncing.sync(alone, made)
    shared = Seen(uri).content(*names)
    assert len(shared) == len(names) * (3 * (1 + 2) + 1)
    assert shared == Seen(alone).content(*names)


@pytest.mark.parametrize(
    ("kill", "stage"),
    [
        (syncing.killed_writing_by_sql, "new"),
        (syncing.killed_writing_by_sql, "changed"),
        (syncing.killed_writing_by_client, "changed"),
    ],
)
def test_a_sync_killed_anywhere_and_repeated_ends_right(kill, stage, sqlite, tmp_path):
    made = study(tmp_path / "results", "demo")
    start = sqlite("start")
    if stage == "changed":  # every run has to be replaced
        syncing.sync(start, made)
        for name in made.cells:
            made.block(name, (0, 1), image_scores if name != "democ" else label_scores, started=5000.0)
        made.exhibit("figures/seeds.png", b"another picture")
    made.frames(demo=list(made.cells))
    right = sqlite("right")
    syncing.sync(right, made)
    expected, killed = Seen(right).content(), 0
    for at in KILLS:
        uri = sqlite(f"killed{at}")
        shutil.copytree(
            Path(start.removeprefix("sqlite:///")).parent,
            Path(uri.removeprefix("sqlite:///")).parent,
            dirs_exist_ok=True,
        )
        worker = syncing.start(kill, uri, made, at)
        worker.join()
        killed += worker.exitcode == -9
        syncing.sync(uri, made)
        assert Seen(uri).content() == expected, f"killed before step {at}"
        assert syncing.sync(uri, made, prune=True)["kept"] == 10, f"killed before step {at}: not at rest"
    assert killed >= 8


def test_the_client_writes_what_the_bulk_writes(sqlite, tmp_path, monkeypatch):
    """The one is MLflow's own, the other ours."""
    made = study(tmp_path / "results", "demo")
    bulk, client = sqlite("bulk"), sqlite("client")
    syncing.sync(bulk, made)
    monkeypatch.setattr(stores, "writer", stores.writer)
    syncing.through_the_client()
    syncing.sync(client, made)
    assert Seen(client).content() == Seen(bulk).content()


def test_a_killed_writer_leaves_no_lock_behind(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = study(tmp_path / "locked", "locked")
    worker = syncing.start(syncing.killed_writing_by_sql, server, made, 30)
    worker.join()
    assert worker.exitcode == -9
    assert sum(syncing.sync(server, made).values()) == 10
    assert len(Seen(server).content("locked")) == 10


def test_postgres_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(postgres, "programs", lambda: None)
    with pytest.raises(postgres.UserError, match="apt-get install postgresql"), postgres.running(tmp_path):
        pass
