"""Pictures of runs, and which runs have one."""

from pathlib import Path

import numpy as np
import pytest
from syncing import Seen
from syncing import sync_to as sync

from gradleak.tracking import pictures


def images(count, level, size=(8, 8, 1)):
    return np.full((count, *size), level, np.uint8)


def test_grid_shows_truth_above_what_was_found():
    """Of ten images: five columns, four rows; images of 8 pixels with a frame, fourteen times as large."""
    picture = pictures.grid(images(10, 200), images(10, 50), 10)
    assert picture.dtype == np.uint8
    assert [int(picture[360 + int(140 * row), 360, 0]) for row in (-1.5, -0.5, 0.5, 1.5)] == [
        50,
        200,
        50,
        200,
    ]
    assert picture[0, 0, 0] == pictures.BLANK, "beside the grid"
    alone = pictures.grid(images(10, 200), images(0, 50), 10)
    assert set(np.unique(alone)) == {200, pictures.FRAME, pictures.BLANK}


@pytest.mark.parametrize(
    "size", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (224, 224, 3), (1, 105, 1), (5, 900, 1)]
)
@pytest.mark.parametrize("pairs", [1, 3, 8, 32, 40])
def test_pictures_are_of_one_size(size, pairs):
    """And each image is in it, whole and of its own proportions."""
    picture = pictures.grid(images(pairs, 200, size), images(pairs, 50, size), pairs)
    assert picture.shape == (pictures.HEIGHT, pictures.WIDTH, 3)
    dark, bright = ((picture[..., 0] == level).sum() for level in (50, 200))
    assert dark > 0
    if min(size[:2]) > 1:
        assert abs(int(dark) - int(bright)) <= 0.2 * dark


def test_grid_keeps_colours():
    colours = images(2, 0, (4, 4, 3))
    colours[..., 1] = 180
    assert (pictures.grid(colours, colours, 2) == [0, 180, 0]).all(axis=-1).any()


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
    shown = [row for row in picture[..., 0].tolist() if {0, 2, 4, 6, 8, 10} <= set(row)]
    below = [row for row in picture[..., 0].tolist() if {1, 3, 5, 7, 9, 11} <= set(row)]
    assert shown
    assert below
