"""The VAE prior: its objective by hand, and a training that keeps the best epoch."""

import numpy as np
import pytest
import tensorflow as tf

from gradleak.images import to_float
from gradleak.priors import vae
from gradleak.priors.options import VaeOptions

TINY = {"dataset": "digits-8x8", "latent_dim": 3, "epochs": 4, "batch_size": 16, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def images(digits):
    return to_float(digits["public"].x[:120])


@pytest.fixture(scope="module")
def trained(images):
    return vae.train(VaeOptions(**TINY), images, lambda line: None)


def elbo_terms(x, decoded, mean, log_variance):
    return [
        np.asarray(term) for term in vae.negative_elbo(*map(tf.constant, (x, decoded, mean, log_variance)))
    ]


def test_kl_of_known_gaussians():
    mean = np.array([[0, 0], [1, -2], [0, 0]], np.float32)
    log_variance = np.log(np.array([[1, 1], [1, 1], [4, 0.25]], np.float32))
    image = np.full((3, 2, 2, 1), 0.5, np.float32)
    _, kl = elbo_terms(image, image, mean, log_variance)
    # ½ Σ (σ² + μ² − 1 − ln σ²): nothing, (1 + 4)/2, and ½ (3 − ln 4) + ½ (−¾ + ln 4)
    np.testing.assert_allclose(kl, [0, 2.5, 0.5 * (3 - 0.75)], rtol=1e-6)


def test_reconstruction_sums_bernoulli_terms_over_pixels():
    x = np.array([1, 0, 1, 0.25], np.float32).reshape(1, 2, 2, 1)
    p = np.array([0.5, 0.5, 0.9, 0.8], np.float32).reshape(1, 2, 2, 1)
    zero = np.zeros((1, 2), np.float32)
    expected = -(np.log(0.5) + np.log(0.5) + np.log(0.9) + 0.25 * np.log(0.8) + 0.75 * np.log(0.2))
    reconstruction, _ = elbo_terms(x, p, zero, zero)
    np.testing.assert_allclose(reconstruction, [expected], rtol=1e-6)


def test_sure_but_wrong_pixels_cost_much_and_not_infinitely():
    zero = np.zeros((1, 2), np.float32)
    x, p = np.array([[[[1.0]]]], np.float32), np.array([[[[0.0]]]], np.float32)
    reconstruction, _ = elbo_terms(x, p, zero, zero)
    np.testing.assert_allclose(reconstruction, [-np.log(1e-6)], rtol=1e-3)


def test_terms_are_per_image(images):
    rng = np.random.default_rng(0)
    decoded = rng.uniform(0.1, 0.9, images[:4].shape).astype(np.float32)
    mean, log_variance = rng.normal(size=(2, 4, 3)).astype(np.float32)
    together = elbo_terms(images[:4], decoded, mean, log_variance)
    alone = elbo_terms(images[2:3], decoded[2:3], mean[2:3], log_variance[2:3])
    for one, other in zip(together, alone, strict=True):
        assert one.shape == (4,)
        np.testing.assert_allclose(one[2:3], other, rtol=1e-6)


def test_training_raises_the_elbo(trained):
    first, last = trained.history[0], trained.history[-1]
    assert last["elbo"] > first["elbo"] + 1
    assert last["held_out_elbo"] > first["held_out_elbo"] + 1
    for row in trained.history:
        assert row["elbo"] == pytest.approx(-(row["reconstruction"] + row["kl"]))
        assert row["held_out_elbo"] == pytest.approx(-(row["held_out_reconstruction"] + row["held_out_kl"]))
    assert [row["epoch"] for row in trained.history] == [1, 2, 3, 4]


def test_one_tenth_is_held_out_and_never_trained_on(trained, images):
    np.testing.assert_array_equal(trained.held_out, images[:12])


def test_images_bounds_what_is_used(images):
    few = vae.train(VaeOptions(**TINY | {"images": 40, "epochs": 1}), images, lambda line: None)
    assert len(few.held_out) == 4


def test_a_batch_larger_than_the_data_still_trains(images):
    options = VaeOptions(**TINY | {"images": 20, "epochs": 2, "batch_size": 64})
    assert len(vae.train(options, images, lambda line: None).history) == 2


def test_training_is_reproducible(trained, images):
    again = vae.train(VaeOptions(**TINY), images, lambda line: None)
    assert again.history == trained.history
    other = vae.train(VaeOptions(**TINY | {"seed": 1, "epochs": 1}), images, lambda line: None)
    assert other.history[0] != trained.history[0]


def held_out_elbo(model, options):
    noise = np.random.default_rng([options.seed, 2]).normal(size=(len(model.held_out), options.latent_dim))
    mean, log_variance = model.encoder(model.held_out)
    decoded = model.decoder(mean + tf.exp(0.5 * log_variance) * noise.astype(np.float32))
    return -float(
        sum(tf.reduce_mean(term) for term in vae.negative_elbo(model.held_out, decoded, mean, log_variance))
    )


def test_early_stopping_keeps_the_best_epoch(images):
    """A rate at which the held-out ELBO soon gets worse."""
    options = VaeOptions(**TINY | {"learning_rate": 0.05, "epochs": 40, "patience": 2})
    found = vae.train(options, images, lambda line: None)
    curve = [row["held_out_elbo"] for row in found.history]
    best = int(np.argmax(curve))
    assert best < len(curve) - 1, "the case must be one in which the last epoch is not the best"
    assert len(curve) == best + 1 + 2
    assert held_out_elbo(found, options) == pytest.approx(curve[best], rel=1e-4)


def test_a_training_that_diverges_says_what_to_change(images):
    bad = images.copy()
    bad[:] = np.nan
    with pytest.raises(ValueError, match="learning_rate"):
        vae.train(VaeOptions(**TINY | {"epochs": 2}), bad, lambda line: None)


def test_progress_is_told_every_epoch(images):
    lines = []
    vae.train(VaeOptions(**TINY | {"epochs": 2}), images, lines.append)
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]


def test_networks_come_back_from_their_arrays(trained, images, tmp_path):
    from gradleak.files import read_npz, write_npz

    write_npz(tmp_path / "vae.npz", **vae.weights_of(trained))
    encoder, decoder = vae.load_networks(VaeOptions(**TINY), (8, 8, 1), read_npz(tmp_path / "vae.npz"))
    codes = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(decoder(codes), trained.decoder(codes))
    for one, other in zip(encoder(images[:5]), trained.encoder(images[:5]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("architecture", ["notebook", "conv"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (12, 16, 3)])
def test_networks_fit_the_images(architecture, shape):
    encoder, decoder = vae.build(VaeOptions(architecture=architecture, latent_dim=2), shape)
    mean, log_variance = encoder(np.zeros((2, *shape), np.float32))
    assert mean.shape == log_variance.shape == (2, 2)
    decoded = decoder(np.zeros((2, 2), np.float32))
    assert decoded.shape == (2, *shape)
    assert 0 < float(tf.reduce_min(decoded)) <= float(tf.reduce_max(decoded)) < 1


def test_sides_that_cannot_be_strided_are_refused():
    with pytest.raises(ValueError, match="divisible by 4, not 10×8"):
        vae.build(VaeOptions(), (10, 8, 1))


@pytest.mark.parametrize("architecture", ["conv", "notebook"])
@pytest.mark.parametrize("shape", [(12, 12, 1), (8, 8, 3), (1, 64, 1)])
def test_a_prior_of_another_shape_is_refused(images, architecture, shape):
    options = VaeOptions(**TINY | {"architecture": architecture})
    encoder, decoder = vae.build(options, images.shape[1:])
    arrays = vae.weights_of(vae.Trained(encoder, decoder, [], images))
    vae.load_networks(options, images.shape[1:], arrays)
    with pytest.raises(vae.OtherShape, match="choose a prior of images of that shape"):
        vae.load_networks(options, shape, arrays)
