"""The three disjoint pools that a data set is cut into, and their files results/data/{dataset}/{pool}.npz.

The cut is made once, by a fixed permutation within each class:

* ``private``: the simulated clients draw their batches here;
* ``pretraining``: data of other clients; starting weights are trained on it, and so is the reference
classifier;
* ``public``: the adversary's own examples (priors, starts, class statistics), disjoint from every private
one.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np

from gradleak.datasets.errors import DataError
from gradleak.datasets.examples import Examples
from gradleak.files import read_npz, write_npz

SHARES = {"private": 0.2, "pretraining": 0.4, "public": 0.4}  # of every class
POOLS = tuple(SHARES)
LEAST = 3  # examples of a class of which every pool gets one


def split(name: str, data: Examples) -> dict[str, Examples]:
    """Cut ``data`` into the three pools, class by class; the same name gives the same cut everywhere.

    Classes of less than LEAST examples, and rare combinations of several labels, are cut as if they were one
    class. Raises DataError where a pool would be empty.
    """
    rng = np.random.default_rng([0, crc32(f"split:{name}".encode())])
    parts: dict[str, list[np.ndarray]] = {pool: [] for pool in POOLS}
    strata = _with_rare_ones_together(data.strata)
    for c in range(max(data.classes, int(strata.max(initial=0)) + 1)):
        members = rng.permutation(np.flatnonzero(strata == c))
        start = 0.0
        for pool in POOLS:
            stop = start + SHARES[pool]
            parts[pool].append(members[round(start * len(members)) : round(stop * len(members))])
            start = stop
    if not all(sum(map(len, found)) for found in parts.values()):
        raise DataError(
            f"{name}: {len(data.y)} examples do not make three pools; {LEAST} are needed at least, and as "
            "many of each class for it to be in every pool"
        )
    # Pools are shuffled over classes, so that "the first k" of a pool is a fair sample of it.
    return {pool: data.take(rng.permutation(np.concatenate(parts[pool]))) for pool in POOLS}


def _with_rare_ones_together(strata: np.ndarray) -> np.ndarray:
    """``strata`` with those of less than LEAST examples as one. They alone would all go to the same pools."""
    counts = np.bincount(strata)
    rare = (counts[strata] < LEAST) if len(strata) else np.zeros(0, bool)
    return np.where(rare, len(counts), strata) if rare.any() else strata


def write_pool(path: str | Path, pool: Examples) -> None:
    write_npz(path, **pool._asdict())


def read_pool(path: str | Path) -> Examples:
    arrays = read_npz(path)
    return Examples(arrays["x"], arrays["y"], int(arrays["classes"]))
