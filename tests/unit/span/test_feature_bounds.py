"""Bounds of features whose δ is known while others are missing."""

from types import SimpleNamespace

import numpy as np
import pytest

from gradleak.attacks.span import activation_patterns, feature_bounds, subspace
from gradleak.attacks.span.pixel_inputs import PixelInputs

MEMBERS, SIDE, UNITS, CLASSES = 8, 8, 240, 5
NOISE = 1e-9


@pytest.fixture
def layer(rng):
    """Images with some black pixels behind a scaling, their δ, and what is known of the update."""
    pixels = np.clip(rng.uniform(-0.3, 1, (MEMBERS, SIDE * SIDE)), 0, 1)
    features = np.column_stack([2 * pixels - 1, np.ones(MEMBERS)])
    kernel, bias = rng.normal(size=(SIDE * SIDE, UNITS)), rng.normal(size=UNITS)
    head = rng.normal(size=(UNITS, CLASSES))
    errors = rng.dirichlet(np.ones(CLASSES), MEMBERS) - np.eye(CLASSES)[np.arange(MEMBERS) % CLASSES]
    deltas = errors @ head.T * (features[:, :-1] @ kernel + bias > 0)
    matrix = features.T @ deltas / MEMBERS
    span = subspace.of_matrix(matrix + NOISE / 40 * rng.normal(size=matrix.shape), NOISE)
    rows = activation_patterns.row_space(span)
    coordinates = deltas[:, rows.live] @ rows.basis
    return SimpleNamespace(
        features=features,
        rows=rows,
        left=span.left[:, : rows.rank] * rows.values,
        coordinates=coordinates / np.linalg.norm(coordinates, axis=1, keepdims=True),
        inputs=PixelInputs(-np.ones(SIDE * SIDE), np.full(SIDE * SIDE, 2.0), (SIDE, SIDE, 1)),
        path=[(kernel, bias)],
    )


def bounded(layer, known):
    return feature_bounds.features(layer.left, layer.rows, known, layer.inputs, layer.path)


@pytest.mark.parametrize("missing", [1, 3])
def test_known_members_are_found_while_others_are_missing(layer, missing):
    found, deviation = bounded(layer, layer.coordinates[missing:])
    errors = np.sqrt(np.square(found - layer.features[missing:])[:, :-1].mean(axis=1))
    np.testing.assert_allclose(found[:, -1], 1)
    assert errors.max() < 0.3
    assert np.median(errors) < 0.1
    # The coordinates alone leave a combination of the missing features open.
    rough = (layer.left @ np.linalg.pinv(layer.coordinates[missing:])).T
    rough = rough / rough[:, -1:]
    assert np.median(errors) < 0.3 * np.median(
        np.sqrt(np.square(rough - layer.features[missing:]).mean(axis=1))
    )
    assert (errors < deviation).all(), "the expected error has a factor of safety"
    assert np.median(deviation) < 10 * np.median(errors)


def test_units_that_contradict_the_others_widen_the_bounds(layer):
    """As units whose δ is lost in the noise, which look inactive."""
    known = layer.coordinates[1:]
    kernel, bias = (array.copy() for array in layer.path[0])
    wrong = [3, 50, 51, 120]
    kernel[:, wrong], bias[wrong] = -kernel[:, wrong], -bias[wrong]
    found, wide = feature_bounds.features(layer.left, layer.rows, known, layer.inputs, [(kernel, bias)])
    errors = np.sqrt(np.square(found - layer.features[1:])[:, :-1].mean(axis=1))
    assert (errors < wide).all()
    assert np.median(wide) > 3 * np.median(bounded(layer, known)[1])


def test_a_direction_of_no_member_lies_far_outside_its_bounds(layer, rng):
    wrong = rng.normal(size=(1, MEMBERS))
    found, _ = bounded(layer, np.concatenate([layer.coordinates[2:], wrong]))
    pixels = layer.inputs.images(found[-1:])
    units = np.concatenate([layer.coordinates[2:], wrong]) @ layer.rows.basis.T
    kernel, bias = layer.path[0]
    active = found[-1, :-1] @ kernel[:, layer.rows.live] + bias[layer.rows.live] > 0
    agrees = (active == (np.abs(units[-1]) > 1e-6)).mean()
    assert agrees < 0.9 or np.abs(pixels - 0.5).max() > 0.6
