"""Metrics on cases that can be worked out by hand, and the assignment against brute force."""

import itertools

import numpy as np
import pytest

from gradleak.evaluation import metrics


def noisy(truth, rng, sigma):
    return (truth + rng.normal(0, sigma, truth.shape)).astype(np.float32)


@pytest.fixture
def images(rng):
    return rng.uniform(0, 1, (5, 8, 8, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("mse", "expected"),
    [(1.0, 0), (0.1, 10), (0.01, 20), (1e-3, 30), (0.25, 6.0206), (0.0, 100), (1e-30, 100)],
)
def test_psnr_of_known_errors(mse, expected):
    assert metrics.psnr(np.array(mse)) == pytest.approx(expected, abs=1e-4)


def test_pairwise_mse_is_the_mean_of_squares(rng):
    a, b = (
        rng.uniform(0, 1, (3, 4, 5, 2)).astype(np.float32),
        rng.uniform(0, 1, (6, 4, 5, 2)).astype(np.float32),
    )
    plain = [[np.mean((x.astype(float) - y) ** 2) for y in b] for x in a]
    np.testing.assert_allclose(metrics.pairwise_mse(a, b), plain, rtol=1e-9)


def test_pairwise_mse_of_no_images_is_empty(rng):
    images = rng.uniform(size=(5, 4, 4, 1))
    assert metrics.pairwise_mse(images[:0], images).shape == (0, 5)


def test_pairwise_mse_of_equal_images_is_never_negative(images):
    assert (np.diag(metrics.pairwise_mse(images, images)) >= 0).all()
    np.testing.assert_allclose(np.diag(metrics.psnr(metrics.pairwise_mse(images, images))), 100)


def test_ssim_of_equal_unlike_and_inverted_images(images):
    assert metrics.ssim(images[0], images[0]) == pytest.approx(1)
    assert abs(metrics.ssim(images[0], images[1])) < 0.3
    assert metrics.ssim(images[0], 1 - images[0]) < -0.5


def test_ssim_of_flat_images_is_its_luminance_term():
    """(2 a b + c) / (a² + b² + c) with c = 0.01², for images without any structure."""
    a, b = np.full((9, 9, 1), 0.2), np.full((9, 9, 1), 0.8)
    expected = (2 * 0.2 * 0.8 + 1e-4) / (0.2**2 + 0.8**2 + 1e-4)
    assert metrics.ssim(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("side", [3, 4, 5, 6, 7, 28])
def test_ssim_takes_images_of_any_size(side, rng):
    image = rng.uniform(0, 1, (side, side, 1)).astype(np.float32)
    assert metrics.ssim(image, image) == pytest.approx(1)
    assert np.isfinite(metrics.ssim(image, image[::-1]))


@pytest.mark.parametrize(("found", "true"), [(1, 1), (3, 3), (5, 5), (2, 5), (5, 2)])
def test_the_assignment_is_the_best_of_all(found, true, rng):
    for _ in range(10):
        a, b = rng.uniform(0, 1, (found, 2, 2, 1)), rng.uniform(0, 1, (true, 2, 2, 1))
        a[0] = b[-1]  # a perfect pair must not blind it to the rest
        scores = metrics.psnr(metrics.pairwise_mse(a, b))
        rows, columns = metrics.assign(a, b)
        assert len(set(rows)) == len(set(columns)) == len(rows) == min(found, true)
        assert list(columns) == sorted(columns)
        if found <= true:
            best = max(
                sum(scores[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(true), found)
            )
        else:
            best = max(
                sum(scores[i, j] for j, i in enumerate(p)) for p in itertools.permutations(range(found), true)
            )
        assert scores[rows, columns].sum() == pytest.approx(best)


def test_a_permuted_batch_is_put_back_in_order(images, rng):
    order = rng.permutation(5)
    rows, columns = metrics.assign(noisy(images, rng, 0.02)[order], images)
    np.testing.assert_array_equal(order[rows], columns)


def test_one_good_image_does_not_stand_for_many(images):
    found, _ = metrics.image_metrics(np.repeat(images[:1], 5, axis=0), images)
    assert found["share_20db"] == pytest.approx(0.2)


def test_metrics_of_exact_copies_are_finite(images):
    found, pairs = metrics.image_metrics(images[::-1], images)
    assert found["psnr"] == found["psnr_median"] == found["psnr_best"] == 100
    assert found["ssim"] == pytest.approx(1)
    assert found["mse"] == 0
    assert found["share_20db"] == found["share_30db"] == 1
    np.testing.assert_array_equal(pairs["found"], [4, 3, 2, 1, 0])
    np.testing.assert_array_equal(pairs["truth"], range(5))


def test_metrics_of_known_offsets():
    truth = np.zeros((2, 8, 8, 1), np.float32)
    truth[1] = 1
    found, _ = metrics.image_metrics(truth + np.float32([0.1, -0.01])[:, None, None, None], truth)
    assert found["matched"] == 2
    assert found["psnr"] == pytest.approx(30, abs=1e-3)
    assert found["psnr_best"] == pytest.approx(40, abs=1e-3)
    assert found["mse"] == pytest.approx((0.01 + 0.0001) / 2, rel=1e-4)
    assert found["share_30db"] == 0.5


def test_what_was_not_found_counts_as_not_recovered(images):
    found, pairs = metrics.image_metrics(images[[3, 1]], images)
    assert found["matched"] == 2
    assert found["psnr"] == 100
    assert found["share_20db"] == pytest.approx(2 / 5)
    np.testing.assert_array_equal(pairs["truth"], [1, 3])
    np.testing.assert_array_equal(pairs["found"], [1, 0])


def test_nothing_found_is_a_row_without_means(images):
    found, pairs = metrics.image_metrics(images[:0], images)
    assert found == {"matched": 0, "share_20db": 0.0, "share_30db": 0.0}
    assert all(len(values) == 0 for values in pairs.values())


def test_label_metrics_by_hand():
    found = metrics.label_metrics(np.array([3, 1, 0, 0]), np.array([2, 1, 1, 0]))
    # right presence: classes 0, 1, 3; right count: 1, 3; recovered: 2 + 1 of 4; uniform guess: 1 + 1 + 1 of 4
    assert found == pytest.approx(
        {"leacc": 0.75, "lnacc": 0.5, "irec": 0.75, "skill": 0.0, "count_mae": 0.5, "labels_exact": 0.0}
    )


def test_label_metrics_of_the_truth_itself():
    truth = np.array([4, 0, 0, 0])
    assert metrics.label_metrics(truth, truth) == pytest.approx(
        {"leacc": 1, "lnacc": 1, "irec": 1, "skill": 1, "count_mae": 0, "labels_exact": 1}
    )


def test_skill_is_negative_below_guessing_and_defined_on_even_batches():
    assert metrics.label_metrics(np.array([0, 4, 0, 0]), np.array([4, 0, 0, 0]))["skill"] == pytest.approx(
        -1 / 3
    )
    even = np.array([1, 1, 1, 1])
    assert metrics.label_metrics(even, even)["skill"] == 1
    assert metrics.label_metrics(np.array([2, 0, 1, 1]), even)["skill"] == 0


def test_intervals_are_scored_by_coverage_and_width():
    truth = np.array([3, 0, 5])
    low, high = np.array([[3, 1, 4], [2, 0, 0]]), np.array([[3, 1, 5], [4, 1, 5]])
    assert metrics.interval_metrics(low, high, truth, (0.5, 0.9)) == pytest.approx(
        {"coverage_50": 2 / 3, "coverage_90": 1.0, "width_50": 1 / 3, "width_90": 8 / 3}
    )


def test_certificates_are_scored_against_the_truth_and_speak_without_it(rng):
    truth = rng.uniform(size=(4, 5, 5, 1))
    off = np.array([0.01, 0.001, 0.3, 0.02])  # the third is a false positive
    images = np.concatenate([truth + off[:, None, None, None], np.zeros((1, 5, 5, 1))])
    accepted, residual = np.array([True] * 4 + [False]), np.array([2e-5, 1e-7, 1e-6, 3e-5, 1e-2])
    expected = np.array([40, 60, 12, 30, np.nan])
    alone = metrics.certified(accepted, expected, 4)
    assert alone == {"certified": 4, "expected_psnr": 35.5, "samples_estimated": 4}
    assert metrics.certificate_metrics(images, accepted, residual, expected, 4, truth) == alone | {
        "false_positives": 1,
        "samples_exact": 1.0,
        "residual_rank": pytest.approx(-0.7),
        "expected_rank": pytest.approx(1.0),
    }
    assert metrics.certified(np.zeros(2, bool), np.full(2, np.nan), 0) == {"certified": 0}
