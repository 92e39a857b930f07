"""Class counts and images of shadow clients."""

import numpy as np
from last_layers import CLASSES, COUNTS, leaked

from gradleak.labels.simulated import compositions


def test_shadow_clients_keep_to_their_half_of_the_public_images(rng):
    public = leaked(COUNTS["few"], rng).public
    counts = compositions.compositions(rng, 20, 30, CLASSES)
    assert (counts.sum(axis=1) == 30).all()
    index = compositions.draw_images(rng, counts, public.labels, np.flatnonzero(public.fold == 1))
    assert (public.fold[index] == 1).all()
    found = np.stack([np.bincount(public.labels[row], minlength=CLASSES) for row in index])
    np.testing.assert_array_equal(found, counts)
