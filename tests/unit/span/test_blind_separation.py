"""Separation of a column space into its members."""

import numpy as np

from gradleak.attacks.span import blind_separation


def test_members_come_back_from_mixtures_of_them(rng):
    members = rng.laplace(size=(20000, 6))
    mixed = np.linalg.qr(members @ rng.normal(size=(6, 6)))[0]
    found = blind_separation.separated(mixed, mixed, np.random.default_rng(0))
    cosines = np.abs(np.corrcoef(found, members.T)[: len(found), len(found) :])
    assert cosines.max(axis=0).min() > 0.98
    np.testing.assert_allclose(found[:, -1], 1)


def test_components_are_finite_where_float32_overflows(rng, monkeypatch):
    """As on a client whose two components became equal on the way."""
    fit, used = blind_separation.FastICA.fit, []

    def overflowing(self, signals):
        used.append(signals.dtype)
        return fit(self, np.where(signals.dtype == np.float32, np.inf, signals))

    monkeypatch.setattr(blind_separation.FastICA, "fit", overflowing)
    members = rng.laplace(size=(2000, 3))
    mixed = np.linalg.qr(members @ rng.normal(size=(3, 3)))[0]
    found = blind_separation.separated(mixed, mixed, np.random.default_rng(0))
    assert used == [np.float32, np.float64]
    assert np.abs(np.corrcoef(found, members.T)[:3, 3:]).max(axis=0).min() > 0.95


def test_signals_of_images_are_their_differences():
    ramp = np.arange(16.0).reshape(1, 4, 4, 1)
    signals = blind_separation.image_signals(ramp)
    assert signals.shape == (12 + 12, 1)  # second differences of a ramp are zero and left out
    np.testing.assert_allclose(signals, 1)


def test_grey_images_have_no_colour_differences(rng):
    grey = np.repeat(rng.uniform(size=(3, 5, 5, 1)), 3, axis=3)
    kinds = 20 + 20 + 15 + 15 + 16
    assert len(blind_separation.image_signals(rng.uniform(size=(3, 5, 5, 3)))) == 3 * kinds
    luma = blind_separation.image_signals(grey)[:20]
    one = blind_separation.image_signals(grey[..., :1])[:20]
    np.testing.assert_allclose(luma, one)


def test_signals_of_vectors_leave_out_what_is_zero_for_all():
    columns = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 6.0]])
    np.testing.assert_allclose(blind_separation.vector_signals(columns), [[-1, -2], [1, 2]])


def test_nothing_is_separated_where_nothing_differs():
    flat = np.ones((3, 4, 4, 1))
    columns = np.ones((17, 3))
    for signals in (blind_separation.image_signals(flat), blind_separation.vector_signals(np.zeros((5, 3)))):
        assert blind_separation.separated(columns, signals, np.random.default_rng(0)).shape == (0, 17)
