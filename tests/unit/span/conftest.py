"""Updates of four and of eight images, made once."""

from types import SimpleNamespace

import pytest
from span_updates import exact_matrix, update_of_four

from gradleak.attacks.span import joint_residual, subspace
from gradleak.attacks.span.layer_selection import select
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.images import to_float

N = 8


@pytest.fixture(scope="session")
def update(digits):
    """fcn3, four images, one step."""
    return update_of_four(digits)


@pytest.fixture(scope="session")
def batch(digits):
    """Eight images under fcn3 after an epoch, the exact matrix of the layer, and noise of a millionth of its
    norm."""
    options = ClientOptions(dataset="digits-8x8", model="fcn3", batch_size=N, pretrain_epochs=1)
    model = client.global_model(options, digits["pretraining"])
    (draw,) = client.simulate(options, model, digits["private"], [0])
    x, y, public = to_float(draw.private.x).astype(float), draw.private.y, to_float(digits["public"].x)
    coarse, layer = select(model, public)
    noisy, noise = exact_matrix(layer, x, y)
    span = subspace.of_matrix(noisy, noise)
    return SimpleNamespace(
        x=x, y=y, layer=layer, coarse=coarse, public=public, matrix=noisy, noise=noise, span=span, samples=N
    )


@pytest.fixture
def joint(batch):
    """The residual model of that batch."""
    return joint_residual.joint_model(batch.layer, batch.span, N, N)
