"""Labels of the dummies: given, or optimised along."""

import numpy as np
import pytest
from small_problems import CLASSES, SAMPLES, assert_rows

from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.dummy_labels import given_labels, start_labels
from gradleak.attacks.matching.latent_options import LatentOptions


def test_start_labels_are_the_same_alone_and_in_any_block(problem_of):
    options = DlgOptions(labels="joint")
    block = start_labels(problem_of([3, 4]), options)["label_logits"]
    assert block.shape == (2, SAMPLES, CLASSES)
    assert_rows(block, 1, start_labels(problem_of([4]), options)["label_logits"])


@pytest.mark.parametrize("labels", ["recovered", "oracle"])
def test_given_labels_are_no_variables(problem_of, labels):
    assert start_labels(problem_of([0]), DlgOptions(labels=labels)) == {}


def test_more_starts_never_change_the_earlier_ones(problem_of):
    options = LatentOptions(labels="joint")
    two = start_labels(problem_of([3, 4]).repeat(2), options, 2)["label_logits"]
    three = start_labels(problem_of([3, 4]).repeat(3), options, 3)["label_logits"]
    np.testing.assert_array_equal(two[[0, 1, 2, 3]], three[[0, 1, 3, 4]])
    assert not np.array_equal(two[0], two[1])


@pytest.mark.parametrize(
    ("dummies", "expected"),
    [
        (None, [0, 0, 0, 4, 7, 7]),
        (1, [4]),
        (2, [0, 7]),
        (3, [0, 4, 7]),
        (12, [0] * 6 + [4, 4] + [7] * 4),
        (7, [0, 0, 0, 4, 4, 7, 7]),
    ],
)
def test_counts_are_written_out_and_scaled_to_the_dummies(problem_of, dummies, expected):
    counts = np.array([[3, 0, 0, 0, 1, 0, 0, 2, 0, 0]])
    problem = problem_of([0], counts=counts, samples=6)
    found = given_labels(problem, DlgOptions(dummy_batch=dummies))
    np.testing.assert_array_equal(found, [expected])


def test_labels_that_were_promised_but_are_not_there_are_an_error(problem_of):
    with pytest.raises(ValueError, match="needs label counts"):
        given_labels(problem_of([0], counts=None), DlgOptions())
