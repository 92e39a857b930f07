"""The description of a cell."""

from syncing import Seen
from syncing import sync_to as sync


def test_a_cell_describes_itself(demo, database):
    sync(demo, database)
    note = Seen(f"sqlite:///{database}").runs()["aaa"].data.tags["mlflow.note.content"]
    assert "2 of 2 trials succeeded, on 2 draws." in note
    assert "* PSNR, dB: **20.5** (20.0 to 21.0)" in note
    assert "results/report.html#cell-aaa" in note
    assert "tags.kind = 'study'" in note
