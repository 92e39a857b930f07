"""Blocks: runs of consecutive seeds (or draws) for one job, named by first and last: ``0000-0007``."""

from __future__ import annotations

from collections.abc import Sequence

from gradleak.workflow.config import ConfigError


def block_name(seeds: Sequence[int]) -> str:
    return f"{seeds[0]:04d}-{seeds[-1]:04d}"


def seeds_of_block(block: str) -> list[int]:
    """The seeds of the block with this name."""
    first, last = (int(part) for part in block.split("-"))
    return list(range(first, last + 1))


def blocks_of(seeds: int | list[int], size: int, path: str) -> list[list[int]]:
    """The blocks of ``seeds`` (a number of seeds or a list of them), at most ``size`` seeds each.

    Block k holds the seeds k·size … (k + 1)·size − 1 that are asked for, so that more seeds leave earlier
    blocks unchanged. Raises ConfigError with ``path``, the place of the seeds in the config.
    """
    listed = list(range(seeds)) if isinstance(seeds, int) else sorted(seeds)
    if not listed or listed[0] < 0 or len(set(listed)) != len(listed):
        raise ConfigError(f"{path}: needs at least one seed, none negative, none twice (got {seeds!r})")
    runs: list[list[int]] = []
    for seed in listed:
        if runs and seed == runs[-1][-1] + 1 and seed % size:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return runs
