"""The δ of members from the units that they leave inactive."""

from types import SimpleNamespace

import numpy as np
import pytest

from gradleak.attacks.span import activation_patterns, subspace

MEMBERS, INPUTS, UNITS, CLASSES = 10, 60, 160, 5
NOISE = 1e-12


@pytest.fixture
def layer(rng):
    """Dense features, their inputs to the units, their δ, and the row space of M."""
    kernel, head = rng.normal(size=(INPUTS, UNITS)), rng.normal(size=(UNITS, CLASSES))
    features = rng.uniform(size=(MEMBERS, INPUTS)) - 0.5
    inputs = features @ kernel
    errors = rng.dirichlet(np.ones(CLASSES), MEMBERS) - np.eye(CLASSES)[rng.integers(0, CLASSES, MEMBERS)]
    deltas = errors @ head.T * (inputs > 0)
    rows = activation_patterns.row_space(subspace.of_matrix(features.T @ deltas / MEMBERS, NOISE))
    scale = np.linalg.norm(kernel[:, rows.live], axis=0)
    return SimpleNamespace(
        features=features, kernel=kernel, inputs=inputs, deltas=deltas, rows=rows, scale=scale
    )


def cosines(layer, decoded):
    found = layer.rows.deltas(decoded.coordinates)
    unit = layer.deltas / np.linalg.norm(layer.deltas, axis=1, keepdims=True)
    return np.abs(found @ unit.T)


def test_the_exact_pattern_gives_the_exact_direction(layer):
    decoded = activation_patterns.decode(layer.rows, layer.inputs[:, layer.rows.live], layer.scale)
    assert list(decoded.source) == list(range(MEMBERS))
    assert np.diag(cosines(layer, decoded)).min() > 1 - 1e-12


def test_a_rough_feature_gives_the_exact_direction_too(layer, rng):
    rough = layer.features + 0.1 * layer.features.std() * rng.normal(size=layer.features.shape)
    inputs = rough @ layer.kernel
    assert ((inputs < 0) != (layer.inputs < 0)).mean() > 0.02  # else the test is the one before
    decoded = activation_patterns.decode(layer.rows, inputs[:, layer.rows.live], layer.scale)
    assert len(decoded.source) >= MEMBERS - 2
    own = cosines(layer, decoded)[np.arange(len(decoded.source)), decoded.source]
    assert own.min() > 1 - 1e-10


def test_patterns_of_mixtures_and_of_strangers_give_no_other_direction(layer, rng):
    mixtures = (layer.features + np.roll(layer.features, 1, axis=0)) / 2
    strangers = rng.uniform(size=(30, INPUTS)) - 0.5
    inputs = np.concatenate([mixtures, strangers]) @ layer.kernel
    decoded = activation_patterns.decode(layer.rows, inputs[:, layer.rows.live], layer.scale)
    assert (cosines(layer, decoded).max(axis=1) > 1 - 1e-10).all()


@pytest.fixture
def many_errors(layer, rng):
    """Patterns in which an eighth of the units that count as inactive are active."""
    inputs = layer.inputs.copy()
    for member in range(MEMBERS):
        active = np.flatnonzero((inputs[member] > 0) & layer.rows.live)
        wrong = rng.choice(active, int(0.14 * (inputs[member] < 0).sum()), replace=False)
        inputs[member, wrong] *= -0.3
    return inputs[:, layer.rows.live]


def test_patterns_with_many_errors_are_decoded_by_reweighted_least_squares(layer, many_errors):
    decoded = activation_patterns.decode_annealed(layer.rows, many_errors, layer.scale, np.eye(MEMBERS))
    assert len(decoded.source) >= MEMBERS - 1
    own = cosines(layer, decoded)[np.arange(len(decoded.source)), decoded.source]
    assert own.min() > 1 - 1e-10


def test_reweighted_least_squares_gives_no_known_direction_and_none_of_mixtures(layer, many_errors, rng):
    exact = activation_patterns.decode(layer.rows, layer.inputs[:, layer.rows.live], layer.scale).coordinates
    unknown = np.linalg.qr(exact[1:].T, mode="complete")[0][:, MEMBERS - 1 :]
    few = many_errors[:1]
    decoded = activation_patterns.decode_annealed(layer.rows, few, layer.scale, unknown)
    assert cosines(layer, decoded)[0, 0] > 1 - 1e-10
    mixtures = (layer.features + np.roll(layer.features, 1, axis=0)) / 2
    strangers = rng.uniform(size=(10, INPUTS)) - 0.5
    inputs = (np.concatenate([mixtures, strangers]) @ layer.kernel)[:, layer.rows.live]
    decoded = activation_patterns.decode_annealed(layer.rows, inputs, layer.scale, np.eye(MEMBERS))
    assert (cosines(layer, decoded).max(axis=1) > 1 - 1e-10).all()


def test_a_combination_that_one_unit_decides_is_refused(rng):
    """Two members are inactive at the same 60 units. A combination of them is zero there and at any one
    more."""
    deltas = rng.normal(size=(4, 101))
    deltas[:2, :60] = 0
    span = subspace.of_matrix(rng.normal(size=(50, 4)) @ deltas, NOISE)
    rows = activation_patterns.row_space(span)
    pattern = np.where(np.arange(101) < 61, -1.0, 1.0)
    assert not len(activation_patterns.decode(rows, pattern[None], np.ones(101)).source)
    deltas[1, 40:60] = rng.normal(size=20)  # now 40 units are inactive for one of them alone
    rows = activation_patterns.row_space(subspace.of_matrix(rng.normal(size=(50, 4)) @ deltas, NOISE))
    pattern = np.where(np.arange(101) < 60, -1.0, 1.0)
    assert len(activation_patterns.decode(rows, pattern[None], np.ones(101)).source) == 1


def test_units_that_no_member_activates_are_left_out(rng):
    matrix = rng.normal(size=(30, 40))
    matrix[:, 5] = 0
    rows = activation_patterns.row_space(
        subspace.of_matrix(matrix + 1e-9 * rng.normal(size=matrix.shape), 1e-8)
    )
    assert not rows.live[5]
    assert rows.live.sum() == 39
    assert not rows.deltas(np.ones((1, rows.rank)))[:, 5].any()
