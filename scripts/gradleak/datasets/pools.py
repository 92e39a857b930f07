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

from gradleak.datasets.examples import Examples
from gradleak.files import read_npz, write_npz

SHARES = {"private": 0.2, "pretraining": 0.4, "public": 0.4}  # of every class
POOLS = tuple(SHARES)


def split(name: str, data: Examples) -> dict[str, Examples]:
    """Cut ``data`` into the three pools, class by class; the same name gives the same cut everywhere."""
    rng = np.random.default_rng([0, crc32(f"split:{name}".encode())])
    parts: dict[str, list[np.ndarray]] = {pool: [] for pool in POOLS}
    strata = data.strata
    for c in range(max(data.classes, int(strata.max(initial=0)) + 1)):
        members = rng.permutation(np.flatnonzero(strata == c))
        start = 0.0
        for pool in POOLS:
            stop = start + SHARES[pool]
            parts[pool].append(members[round(start * len(members)) : round(stop * len(members))])
            start = stop
    # Pools are shuffled over classes, so that "the first k" of a pool is a fair sample of it.
    return {pool: data.take(rng.permutation(np.concatenate(parts[pool]))) for pool in POOLS}


def write_pool(path: str | Path, pool: Examples) -> None:
    write_npz(path, **pool._asdict())


def read_pool(path: str | Path) -> Examples:
    arrays = read_npz(path)
    return Examples(arrays["x"], arrays["y"], int(arrays["classes"]))
