"""Pictures of runs, and which runs have one."""

from pathlib import Path

import numpy as np
from syncing import Seen
from syncing import sync_to as sync

from gradleak.tracking import pictures


def test_grid_shows_truth_above_what_was_found():
    found, truth = np.full((10, 8, 8, 1), 200, np.uint8), np.full((10, 8, 8, 1), 50, np.uint8)
    picture = pictures.grid(found, truth, 10)
    assert picture.dtype == np.uint8
    assert picture.shape == (
        4 * 30,
        8 * 30,
        3,
    )  # two rows of eight and two, a frame of one pixel, three times as large
    assert [int(picture[15 + 30 * row, 15, 0]) for row in range(4)] == [50, 200, 50, 200]
    assert picture[75, 75, 0] == 0  # the ninth and tenth end before here
    assert pictures.grid(found, truth[:0], 10).shape == (2 * 30, 8 * 30, 3)


def test_grid_keeps_colours():
    assert pictures.grid(*(np.zeros((2, 4, 4, 3), np.uint8),) * 2, 2).shape == (36, 36, 3)


def test_image_trials_and_their_cell_log_one_grid_and_others_none(demo, database):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    logged = {}
    for identity, run in seen.runs().items():
        files = seen.client.list_artifacts(run.info.run_id, "images")
        logged[identity] = sorted(Path(f.path).suffix for f in files if "reconstructions" in f.path)
    for identity in ("aaa", "aaa/0"):  # a cell shows the picture of its first good trial
        assert logged[identity] == [".png", ".webp"]
    for identity in ("bbb/1", "ccc", "ccc/0"):
        assert logged[identity] == []


def test_an_attack_that_accepted_nothing_has_no_image(results, database):
    results.cell("aaa").block("aaa", (0,), lambda seed: {"matched": 0, "share_20db": 0.0}, images=0)
    assert sync(results, database) == {"created": 2}
    assert Seen(f"sqlite:///{database}").runs()["aaa/0"].info.status == "FINISHED"


def test_channels_that_are_no_colours_lie_below_one_another():
    signal = np.arange(12, dtype=np.uint8).reshape(1, 1, 6, 2)
    picture = pictures.grid(signal, signal, 1)
    assert picture.shape == (2 * (2 + 2) * 3, (6 + 2) * 3, 3)
    assert picture[3::3, 3::3, 0][0, :6].tolist() == signal[0, 0, :, 0].tolist()
    assert picture[3::3, 3::3, 0][1, :6].tolist() == signal[0, 0, :, 1].tolist()
