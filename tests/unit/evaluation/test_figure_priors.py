"""The panel of a VAE prior."""

import numpy as np
import pytest

from gradleak.evaluation.figures import priors, style


@pytest.mark.parametrize("held", [1, 4, 8, 16])
def test_the_vae_panel_draws_with_few_images(tmp_path, held, rng):
    history = [{"epoch": e, "elbo": -30.0 + e, "held_out_elbo": -31.0 + e} for e in (1, 2, 3)]
    images = rng.uniform(0, 1, (held, 8, 8, 1)).astype(np.float32)
    style.save(priors.vae_panel(history, images, images, images, 2), tmp_path / "vae.png")
    assert (tmp_path / "vae.png").stat().st_size > 1000
