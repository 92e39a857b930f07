"""The private examples that a simulated client draws."""

from __future__ import annotations

import numpy as np

from gradleak.datasets.examples import Examples
from gradleak.errors import UserError


def draw_batch(pool: Examples, samples: int, alpha: float | None, seed: list[int]) -> Examples:
    """One client's private data: ``samples`` examples with Dirichlet(``alpha``) class shares.

    ``alpha = None`` draws IID. Without replacement: once a class is used up, the others are drawn in
    proportion to their shares (Hsu et al. 2019 draw clients this way). Of examples with several labels, each
    combination of labels counts as a class. Raises UserError for more samples than the pool has.
    """
    if samples > len(pool.y):
        raise UserError(
            f"a client of {samples} samples does not fit the private pool of {len(pool.y)}; set a smaller "
            "`samples` or `batch_size` of the target"
        )
    rng = np.random.default_rng(seed)
    if alpha is None:
        return pool.take(rng.choice(len(pool.y), samples, replace=False))
    strata = pool.strata
    classes = max(pool.classes, int(strata.max()) + 1)
    shares = rng.dirichlet(np.full(classes, alpha))
    left = [list(rng.permutation(np.flatnonzero(strata == c))) for c in range(classes)]
    index: list[int] = []
    while len(index) < samples:
        open_shares = np.array([shares[c] if left[c] else 0.0 for c in range(classes)])
        if open_shares.sum() <= 0:  # every class with a share is used up: any other will do
            open_shares = np.array([len(members) for members in left], float)
        counts = rng.multinomial(samples - len(index), open_shares / open_shares.sum())
        for c, count in enumerate(counts):
            index += [left[c].pop() for _ in range(min(count, len(left[c])))]
    return pool.take(rng.permutation(np.array(index)))
