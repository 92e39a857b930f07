"""Gradient matching of a client whose BatchNorm layers were in training mode."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from batch_norm_clients import Round, net

from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.objective import coupling_of, matching_loss
from gradleak.attacks.problem import Problem
from gradleak.gradients.targets import pack_targets
from gradleak.images import to_float
from gradleak.mapping.settle import settle


@pytest.fixture(scope="module")
def client(digits):
    """(client of four images, the Problem of its update)."""
    done = Round(net(), digits, images=4)
    public = to_float(digits["public"].x[:100]), digits["public"].y[:100]
    found = settle([done.leak()], *public)
    more = {"coupled": found.coupled, "has_statistics": found.has_statistics}
    return done, Problem(found.model, found.gradients, found.layer, 4, [0], None, *public, **more)


def loss_at_the_batch(client, problem, **options):
    """The loss of the client's own images and labels, relative to that of a zero gradient."""
    options = DlgOptions(loss="l2_global", **options)
    data = {k: tf.constant(v) for k, v in pack_targets(problem.gradients).items()}
    data["weights"] = np.ones((1, len(problem.gradients)), np.float32)
    labels = tf.constant(np.eye(10, dtype=np.float32)[client[0].y][None])
    return float(matching_loss(problem, options)(tf.constant(client[0].x[None]), labels, data)[0])


def test_the_batch_itself_has_no_loss_as_on_the_client(client):
    problem = client[1]
    assert loss_at_the_batch(client, problem) < 1e-5, "with the regulariser"
    fixed = loss_at_the_batch(client, problem, batch_norm="fixed")
    inference = loss_at_the_batch(client, replace(problem, model=client[0].model, coupled=()))
    assert 1e-3 < fixed < inference


def test_the_regulariser_needs_the_statistics_of_the_batch(client):
    """By the moving statistics it would lead away from the batch."""
    problem = replace(client[1], model=client[0].model)
    assert loss_at_the_batch(client, problem) > 0.01
    unknown = replace(problem, has_statistics=False)
    assert loss_at_the_batch(client, unknown) < 1e-5
    assert loss_at_the_batch(client, problem, statistics_weight=0) < 1e-5


def test_other_clients_have_no_coupling(client):
    problem = replace(client[1], coupled=())
    assert coupling_of(problem, DlgOptions(), 4) is None
