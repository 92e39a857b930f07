"""Scores of small blocks: labels, images with and without certificates, updates without truth."""

from dataclasses import replace

import numpy as np
import pytest

from gradleak.attacks.inversion_files import InversionFile
from gradleak.datasets import builtin
from gradleak.datasets.description import described
from gradleak.evaluation import reference_classifier, scoring
from gradleak.images import to_float

OK, DIVERGED = {"seed": 0, "status": "ok"}, {"seed": 1, "status": "diverged"}


@pytest.fixture
def truth(rng):
    return scoring.Truth(rng.integers(0, 256, (2, 4, 8, 8, 1), dtype=np.uint8), np.array([[0, 1, 2, 2]] * 2))


@pytest.fixture(scope="module")
def references(digits):
    classifier = reference_classifier.train(to_float(digits["pretraining"].x), digits["pretraining"].y)
    public = to_float(digits["public"].x[:20]).astype(np.float64)
    return scoring.References(classifier, public, described(digits["public"]))


def inversion(truth, accepted, certificates=None):
    """An attack that returns the true images in reverse order, of which it accepts some."""
    images = to_float(truth.x)[:, ::-1]
    return InversionFile(
        images, truth.y[:, ::-1], np.arange(2), np.zeros(2), np.array([accepted] * 2), certificates or {}
    )


def test_images_are_scored_against_their_pairs(truth, references):
    found = inversion(truth, [True, True, False, True])
    (row, empty), pairs = scoring.score_images(found, truth, [OK, DIVERGED], references, 10)
    assert row["matched"] == 3
    assert row["psnr"] == 100
    assert row["share_20db"] == 0.75
    assert row["pair_label_accuracy"] == 1
    assert (row["counts"][:3], row["true_counts"][:3]) == ([1, 0, 2], [1, 1, 2])
    assert row["irec"] == 0.75
    assert 0 <= row["reference_accuracy"] <= 1
    assert row["nearest_public_psnr"] < 20
    assert row["relative_error"] == row["perceptual_distance"] == 0
    assert "field_accuracy" not in row
    assert "certified" not in row
    assert empty == {"seed": 1}
    assert pairs["pairs"].tolist() == [3, 0]
    assert pairs["found"].shape == pairs["truth"].shape == (2, 3, 8, 8, 1)
    np.testing.assert_array_equal(pairs["found"][0], pairs["truth"][0])
    assert not pairs["psnr"][1].any()


def test_padding_is_scored_as_no_candidate(truth, references):
    residual = np.array([[1e-6, 1e-5, 1e-4, -1]] * 2)
    certificates = {
        "residual": residual,
        "expected_psnr": np.array([[40, 50, np.nan, np.nan]] * 2),
        "samples_estimated": np.array([4, 4]),
    }
    found = inversion(truth, [True, True, False, False], certificates)
    (row, _), _ = scoring.score_images(found, truth, [OK, OK | {"seed": 1}], references, 10)
    assert (row["certified"], row["false_positives"], row["samples_exact"]) == (2, 0, 1)
    assert row["expected_psnr"] == 45
    assert "residual_rank" not in row  # all three candidates have the same PSNR


def test_nothing_accepted_is_a_row_without_means(truth, references):
    (row, _), pairs = scoring.score_images(
        inversion(truth, [False] * 4), truth, [OK, DIVERGED], references, 10
    )
    assert row["matched"] == row["share_20db"] == row["pair_label_accuracy"] == 0
    assert "reference_accuracy" not in row
    assert pairs["found"].shape == (2, 0, 8, 8, 1)


def test_without_truth_the_certificates_speak(truth):
    certificates = {
        "residual": np.full((2, 4), 1e-6),
        "expected_psnr": np.full((2, 4), 30.0),
        "samples_estimated": np.array([0, 4]),
    }
    rows, pairs = scoring.without_truth(
        inversion(truth, [True, False, True, True], certificates),
        [OK, OK | {"seed": 1}],
        10,
        scoring.References(),
    )
    assert [(row["certified"], row["expected_psnr"], row.get("samples_estimated")) for row in rows] == [
        (3, 30, None),
        (3, 30, 4),
    ]
    assert rows[0]["counts"][:3] == [1, 1, 1]
    assert pairs["pairs"].tolist() == [3, 3]
    assert pairs["truth"].shape == (2, 0, 8, 8, 1)
    assert pairs["psnr"].shape == (2, 0)


@pytest.fixture
def estimates():
    """Two trials of a label method whose first has intervals."""
    return {
        "counts": np.array([[2, 1, 1], [4, 0, 0]]),
        "levels": np.array([0.5, 0.9]),
        "low": np.array([[[2, 1, 1], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]]]),
        "high": np.array([[[2, 1, 1], [3, 2, 2]], [[0, 0, 0], [0, 0, 0]]]),
        "expected_irec": np.array([0.75, np.nan]),
    }


def test_labels_are_scored_with_their_intervals(estimates):
    y = np.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    rows = scoring.score_labels(estimates, y, [OK, OK | {"seed": 1}])
    assert rows[0] | {"low": [1, 0, 0], "high": [3, 2, 2], "true_counts": [2, 2, 0], "irec": 0.75} == rows[0]
    assert rows[0]["expected_irec"] == 0.75
    assert rows[0]["coverage_90"] == 1
    assert rows[0]["coverage_50"] == pytest.approx(1 / 3)
    assert rows[1]["labels_exact"] == 1
    assert not {"low", "high", "coverage_90", "expected_irec"} & rows[1].keys()


def test_labels_without_truth_keep_what_was_estimated(estimates):
    rows = scoring.score_labels(estimates, None, [OK, DIVERGED])
    assert rows[0]["counts"] == [2, 1, 1]
    assert "irec" not in rows[0]
    assert rows[1] == {"seed": 1}


def test_the_ceiling_of_a_draw_is_the_mean_of_its_images():
    parts = [{"draws": np.array([0, 1]), "psnr": np.array([[10.0, 20.0], [30.0, 30.0]])}]
    assert scoring.prior_ceilings(parts, [1, 0, 1]) == [30, 15, 30]


def test_a_label_that_is_not_known_counts_for_no_class(truth, references):
    """−1: certified, and the update does not show the label."""
    certificates = {
        "residual": np.full((2, 4), 1e-6),
        "expected_psnr": np.full((2, 4), 30.0),
        "samples_estimated": np.array([0, 0]),
    }
    found = inversion(truth, [True, True, True, False], certificates)
    labels = found.labels.copy()
    labels[:, 0], labels[1] = -1, -1
    found = replace(found, labels=labels)
    rows, _ = scoring.without_truth(found, [OK, OK | {"seed": 1}], 10, scoring.References())
    assert [sum(row["counts"]) for row in rows] == [2, 0]
    (one, other), _ = scoring.score_images(found, truth, [OK, OK | {"seed": 1}], references, 10)
    assert one["pair_label_accuracy"] == 1
    assert "pair_label_accuracy" not in other
    assert sum(one["counts"]) == 2


def test_many_labels_are_scored_one_by_one(truth, references, rng):
    """A count is right or wrong for each label; IRec is the mean over them."""
    labels = np.array([[[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]] * 2, np.uint8)
    found = {
        "counts": np.array([[3, 2, 0]] * 2),
        "low": np.zeros((2, 1, 3), int),
        "high": np.full((2, 1, 3), -1),
        "levels": np.array([0.9]),
        "expected_irec": np.full(2, np.nan),
    }
    row, _ = scoring.score_labels(found, labels, [OK, DIVERGED])
    assert (row["true_counts"], row["count_mae"]) == ([3, 3, 0], pytest.approx(1 / 3))
    assert row["irec"] == pytest.approx(1 - 1 / 12)
    assert row["skill"] == pytest.approx((1 / 3 - 1 / 12) / (1 / 3))  # against half of the images each
    images = InversionFile(
        to_float(truth.x)[:, :1], labels[:, :1], np.arange(2), np.zeros(2), np.ones((2, 1), bool), {}
    )
    (row, _), _ = scoring.score_images(images, scoring.Truth(truth.x, labels), [OK, DIVERGED], references, 10)
    assert (row["counts"], row["true_counts"], row["pair_label_accuracy"]) == ([1, 1, 0], [3, 3, 0], 1)


def test_without_public_images_what_compares_with_them_is_left_out(truth, references):
    found = inversion(truth, [True] * 4)
    with_public, _ = scoring.score_images(found, truth, [OK], references, 10)
    without, _ = scoring.score_images(found, truth, [OK], scoring.References(), 10)
    gone = {"nearest_public_psnr", "reference_accuracy", "relative_error", "perceptual_distance"}
    assert without == [{key: value for key, value in with_public[0].items() if key not in gone}]
    assert gone <= set(with_public[0])


def test_counts_have_the_classes_of_the_model(truth, references):
    found = inversion(truth, [True] * 4)
    scored, _ = scoring.score_images(found, truth, [OK], references, classes=3)
    blind, _ = scoring.without_truth(found, [OK], 62, references)
    assert (len(scored[0]["counts"]), len(scored[0]["true_counts"]), len(blind[0]["counts"])) == (3, 3, 62)


@pytest.mark.parametrize("shape", [(1, 64, 1), (1, 20, 2), (12, 9, 3), (1, 2, 1)])
def test_inputs_of_any_shape_are_scored(rng, shape):
    truth = scoring.Truth(rng.integers(0, 256, (2, 4, *shape), dtype=np.uint8), np.array([[0, 1, 2, 2]] * 2))
    rows, _ = scoring.score_images(inversion(truth, [True] * 4), truth, [OK], scoring.References(), classes=3)
    assert rows[0]["psnr"] > 50
    assert ("ssim" in rows[0]) == (shape[0] > 1)


def test_the_relative_error_of_the_mean_public_example_is_about_one(digits):
    public = to_float(digits["public"].x).astype(np.float64)
    truth = scoring.Truth(digits["private"].x[None, :100], digits["private"].y[None, :100])
    mean = np.broadcast_to(public.mean(axis=0), truth.x.shape).astype(np.float32)
    found = InversionFile(mean, truth.y, np.arange(1), np.zeros(1), np.ones((1, 100), bool), {})
    (row,), _ = scoring.score_images(found, truth, [OK], scoring.References(None, public), 10)
    assert row["relative_error"] == pytest.approx(1, abs=0.05)
    assert "perceptual_distance" not in row


def test_records_of_a_table_are_scored_by_their_fields():
    examples, description = builtin.BUILTIN["wine"].load(None)
    public = examples.x[100:].astype(np.float64)
    references = scoring.References(None, public, description)
    truth = scoring.Truth(examples.x[None, :4], examples.y[None, :4])
    found = InversionFile(
        truth.x[:, ::-1] + np.float32(1e-4),
        truth.y[:, ::-1],
        np.arange(1),
        np.zeros(1),
        np.array([[True, False, True, True]]),
        {},
    )
    (row,), _ = scoring.score_images(found, truth, [OK], references, 3)
    assert row["field_accuracy"] == 0.75 > row["field_accuracy_chance"]
    assert "category_accuracy" not in row
    assert "perceptual_distance" not in row
    assert row["relative_error"] < 0.01
    records = row["records"]
    assert len(records["found"]) == len(records["true"]) == 3
    assert np.array(records["right"]).all()
    (row,), _ = scoring.without_truth(found, [OK], 3, references)
    assert len(row["records"]["found"]) == 3
    assert row["records"]["true"] == []
