"""Which files a sync reads."""

from pathlib import Path
from types import SimpleNamespace

from results import label_scores
from syncing import sync_to as sync

from gradleak import records
from gradleak.files import read_json
from gradleak.tracking import contents


def test_unchanged_files_are_not_read_again(demo, database, monkeypatch):
    sync(demo, database)
    read = []
    # Of this module alone: the tables, which are made before each sync, read the records, too.
    monkeypatch.setattr(contents, "read_json", lambda path: read.append(str(path)) or read_json(path))
    counted = {"read": lambda path: read.append(str(path)) or records.read(path)}
    monkeypatch.setattr(contents, "records", SimpleNamespace(**vars(records) | counted))
    assert sync(demo, database) == {"kept": 9}
    assert [Path(path).name for path in read] == ["seen.json"]
    demo.block("ccc", (0, 1), label_scores, started=2000.0)
    assert sync(demo, database) == {"replaced": 3, "kept": 6}
    assert {Path(path).parent.name for path in read[1:]} <= {"ccc", demo.folder.name}
