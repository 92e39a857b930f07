"""An inversion's file: padding, and that what is read is what was written."""

import numpy as np
import pytest

from gradleak.attacks import inversion_files
from gradleak.attacks.inversion_files import CERTIFICATES, PADDING, InversionFile, padded
from gradleak.files import read_npz


@pytest.fixture
def ragged(rng):
    """Two trials with three candidates and one."""
    columns = {name: [rng.uniform(0, 1, m) for m in (3, 1)] for name in CERTIFICATES}
    columns["images"] = [rng.uniform(0, 1, (m, 4, 4, 1)) for m in (3, 1)]
    columns["labels"] = [np.array([7, 8, 9]), np.array([5])]
    columns["accepted"] = [np.array([True, True, False]), np.array([True])]
    return columns


@pytest.fixture
def certified(ragged):
    whole = {name: padded(parts, *PADDING[name]) for name, parts in ragged.items()}
    certificates = {name: whole.pop(name) for name in CERTIFICATES} | {"samples_estimated": np.array([4, 0])}
    return InversionFile(**whole, seeds=np.array([0, 1]), objective=np.zeros(2), certificates=certificates)


def test_shorter_lists_are_padded_at_their_end():
    found = padded([np.array([0.5, 0.25]), np.zeros(0)], -1, np.float64)
    np.testing.assert_array_equal(found, [[0.5, 0.25], [-1, -1]])
    assert padded([np.zeros((0, 4, 4, 1))] * 2, 0, np.float32).shape == (2, 0, 4, 4, 1)


def test_padding_says_that_it_is_no_candidate(certified):
    assert certified.images.dtype == np.float32
    assert not certified.accepted[1, 1:].any()
    assert (certified.certificates["residual"][1, 1:] == -1).all()
    assert np.isnan(certified.certificates["expected_psnr"][1, 1:]).all()


def test_a_trial_is_read_without_padding(certified, ragged, tmp_path):
    inversion_files.write(tmp_path / "block.npz", certified)
    found = inversion_files.read(tmp_path / "block.npz")
    for index, samples in enumerate((4, 0)):
        trial = found.trial(index)
        np.testing.assert_array_equal(trial.images, ragged["images"][index].astype(np.float32))
        np.testing.assert_array_equal(trial.labels, ragged["labels"][index])
        np.testing.assert_array_equal(trial.accepted, ragged["accepted"][index])
        assert trial.certificates.keys() == set(CERTIFICATES)
        for name in CERTIFICATES:
            np.testing.assert_array_equal(trial.certificates[name], ragged[name][index])
        assert trial.samples_estimated == samples


def test_the_file_has_the_documented_arrays(certified, tmp_path):
    inversion_files.write(tmp_path / "block.npz", certified)
    assert read_npz(tmp_path / "block.npz").keys() == {"seeds", "objective", "samples_estimated", *PADDING}


def test_without_certificates_every_image_is_real(tmp_path):
    images, labels = np.zeros((2, 3, 4, 4, 1), np.float32), np.zeros((2, 3), np.int64)
    plain = InversionFile(images, labels, np.arange(2), np.zeros(2), np.ones((2, 3), bool))
    inversion_files.write(tmp_path / "block.npz", plain)
    trial = inversion_files.read(tmp_path / "block.npz").trial(1)
    assert len(trial.images) == len(trial.labels) == 3
    assert trial.certificates == {}
    assert trial.samples_estimated == 0
