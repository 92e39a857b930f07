"""Span inversion of a client whose BatchNorm layers were in training mode."""

from dataclasses import replace

import numpy as np
import pytest
from batch_norm_clients import Round, net
from keras import layers

from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack, layer_selection
from gradleak.attacks.span.dense_layer import dense_layers
from gradleak.attacks.span.options import SpanOptions
from gradleak.images import to_float
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.settle import settle

IMAGES = 4


def mapped(digits, *behind, **options):
    """(client, its update as mapped, the Problem of it)."""
    done = Round(net(*behind, **options), digits, images=IMAGES)
    public = to_float(digits["public"].x[:100]), digits["public"].y[:100]
    found = settle([done.leak()], *public, UserClaims(sign="after_minus_before"))
    more = {"steps": 1, "coupled": found.coupled, "has_statistics": found.has_statistics}
    return done, found, Problem(found.model, found.gradients, found.layer, IMAGES, [0], None, *public, **more)


@pytest.fixture(scope="module")
def behind_convolution(digits):
    return mapped(digits)


def outside_span(model, found, images):
    """The share of each member's feature that is outside the span of the hidden layer's gradient."""
    layer = next(x for x in dense_layers(model, "float64") if x.name == "hidden")
    features = layer.features(images.astype(np.float64)).numpy()
    left, values, _ = np.linalg.svd(layer.gradient([g[0] for g in found.gradients]), full_matrices=False)
    basis = left[:, values > 1e-4 * values[0]]
    assert basis.shape[1] <= IMAGES
    rest = features - features @ basis @ basis.T
    return np.linalg.norm(rest, axis=1) / np.linalg.norm(features, axis=1)


def test_features_are_in_the_span_by_the_statistics_of_the_batch_alone(behind_convolution):
    done, found, _ = behind_convolution
    assert outside_span(found.model, found, done.x).max() < 1e-3
    assert outside_span(done.model, found, done.x).min() > 0.05, "by the moving statistics they are not"


def test_right_before_such_a_layer_no_feature_is_in_the_span(digits):
    """The δ of the batch sum to zero there, so that one direction is missing."""
    stack = layers.BatchNormalization(name="last"), layers.ReLU()
    done, found, problem = mapped(digits, *stack, hidden="linear")
    assert found.coupled == ("bn", "last")
    assert outside_span(found.model, found, done.x).min() > 0.05
    with pytest.raises(layer_selection.NoLayer, match="hidden receives features whose δ last couples"):
        layer_selection.select(problem.model, problem.public, True, problem.coupled)


def test_without_the_statistics_the_attack_does_not_apply(behind_convolution):
    problem = replace(behind_convolution[2], has_statistics=False)
    found = attack.invert(problem, SpanOptions())
    assert found.status == ["not applicable"]
    assert "statistics of the batch" in found.reason
