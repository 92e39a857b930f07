"""Blocks of seeds and their names."""

import pytest

from gradleak.workflow import seed_blocks
from gradleak.workflow.seed_blocks import blocks_of


@pytest.mark.parametrize(
    ("seeds", "size", "expected"),
    [
        (3, 8, [[0, 1, 2]]),
        (8, 8, [list(range(8))]),
        (9, 8, [list(range(8)), [8]]),
        (4, 2, [[0, 1], [2, 3]]),
        (2, 1, [[0], [1]]),
        ([6, 7, 8, 9], 8, [[6, 7], [8, 9]]),
        ([3, 1], 8, [[1], [3]]),
        ([9, 8], 4, [[8, 9]]),
    ],
)
def test_blocks_are_fixed_runs_of_consecutive_seeds(seeds, size, expected):
    assert blocks_of(seeds, size, "here") == expected


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_adding_a_block_of_seeds_keeps_all_earlier_blocks(size):
    earlier, later = blocks_of(3 * size, size, ""), blocks_of(4 * size, size, "")
    assert later[:-1] == earlier
    assert later[-1] == list(range(3 * size, 4 * size))


@pytest.mark.parametrize("seeds", [[0], [4, 5, 6], [9999, 10000]])
def test_a_block_name_gives_its_seeds_back(seeds):
    assert seed_blocks.seeds_of_block(seed_blocks.block_name(seeds)) == seeds
