"""Which public images shadow clients own: class counts from a broad prior, and images with these counts."""

from __future__ import annotations

import numpy as np

# Dirichlet concentrations of the class shares, each as likely: half of the clients draw their images evenly,
# as in most of the literature, the others have from one class to nearly equal shares. Even clients are the
# hardest to tell from a guess.
CONCENTRATIONS = (0.1, 0.15, 0.3, 0.5, 1.0, 3.0, *(1e4,) * 6)


def compositions(rng: np.random.Generator, clients: int, samples: int, classes: int) -> np.ndarray:
    """Class counts of shadow clients, int (clients, C), each summing to N."""
    alphas = rng.choice(CONCENTRATIONS, clients)
    return np.stack([rng.multinomial(samples, rng.dirichlet(np.full(classes, alpha))) for alpha in alphas])


def draw_images(
    rng: np.random.Generator, counts: np.ndarray, labels: np.ndarray, pool: np.ndarray
) -> np.ndarray:
    """Indices (clients, N) into ``labels`` of images out of ``pool`` (indices) with the class counts
    (clients, C).

    Without repeats as long as a class has images left.
    """
    own = [pool[labels[pool] == c] for c in range(counts.shape[1])]
    own = [images if len(images) else pool for images in own]
    return np.stack(
        [
            np.concatenate([rng.choice(own[c], n, replace=n > len(own[c])) for c, n in enumerate(row)])
            for row in counts
        ]
    )
