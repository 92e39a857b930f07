"""Recovery in rounds: all members of a small update, and when rounds end."""

import dataclasses

import numpy as np
import pytest
from span_updates import context_of

from gradleak.attacks.span import control, deflation
from gradleak.attacks.span.options import SpanOptions
from gradleak.attacks.span.subspace import layer_gradient
from gradleak.evaluation import metrics


@pytest.fixture(scope="module")
def context(batch):
    return context_of(batch, SpanOptions(starts=16, copies=2, ray_steps=60, polish_steps=60))


def test_rounds_recover_all_members_and_n(batch, context):
    gradient = layer_gradient(batch.matrix, batch.noise)
    state = deflation.recover_members(context, gradient, 4, np.random.default_rng(0))
    images = state.candidates.images[list(state.candidates.members)]
    errors = metrics.pairwise_mse(images, batch.x)
    assert state.samples == batch.samples
    assert sorted(errors.argmin(axis=1)) == list(range(batch.samples))
    assert len(state.unexplained) == state.rounds
    assert state.unexplained[-1] < 1e-6


def test_a_known_n_is_not_estimated(batch, context):
    gradient = layer_gradient(batch.matrix, batch.noise, samples=99)
    state = deflation.recover_members(context, gradient, 1, np.random.default_rng(0))
    assert state.samples == 99


def test_rounds_end_with_patience_with_n_members_or_with_an_empty_span(batch, context):
    gradient = layer_gradient(batch.matrix, batch.noise)
    state = deflation.recover_members(context, gradient, 0, np.random.default_rng(0))
    assert state.rounds == 0
    assert not deflation._is_done(context, gradient, state)
    assert deflation._is_done(context, gradient, dataclasses.replace(state, idle=context.options.patience))
    nothing = layer_gradient(0 * batch.matrix, 1.0)
    assert deflation._is_done(context, nothing, state)


def test_the_control_has_the_singular_values_and_none_of_the_members(batch, context, rng):
    null = control.span_without_members(context, batch.span, rng)
    np.testing.assert_array_equal(null.values, batch.span.values)
    features = batch.layer.features(batch.x).numpy()
    assert null.residual(features).min() > 1e3 * batch.span.residual(features).max()
    np.testing.assert_allclose(null.left.T @ null.left, np.eye(len(null.values)), atol=1e-5)
