"""From the files of an update to labels and images, without any public image."""

import keras
import numpy as np
import pytest
from keras import layers
from mapped import gradient, leak_of, problem_of

from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.evaluation import metrics
from gradleak.images import to_float
from gradleak.labels.recovery import Source, recover_block
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.settle import settle
from validate_mapping import block_of

N, RATE = 3, np.float32(0.1)
SPAN = {"starts": 32, "rounds": 4, "copies": 1}


@pytest.fixture(scope="module")
def leaked(digits):
    """A net that takes vectors, three digits, one step: (x, y, the mapping)."""
    keras.utils.set_random_seed(1)
    hidden = layers.Dense(200, activation="relu"), layers.Dense(60, activation="relu")
    model = keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10)])
    x, y = to_float(digits["private"].x[:N]), digits["private"].y[:N]
    delta = [-RATE * g for g in gradient(model, x.reshape(N, 64), y)]
    leak = leak_of(model, delta, {"samples": N, "learning_rate": float(RATE)})
    return x, y, settle([leak], None, None, UserClaims(input_shape=(8, 8, 1)))


@pytest.fixture(scope="module")
def problem(leaked):
    _, y, found = leaked
    return problem_of(found, np.bincount(y, minlength=10))


@pytest.mark.parametrize(
    ("method", "reason"), [("rank1", ""), ("auto", ""), ("llg_plus", "needs public data")]
)
def test_labels_by_methods_that_need_no_data(leaked, method, reason):
    _, y, found = leaked
    block = block_of(found, [0])
    recovered = recover_block(method, [Source(block, found.report["metadata"]["read"])], np.array([0]), None)
    assert reason in recovered.reasons.get(0, "")
    if not reason:
        assert recovered.rows[0]["counts"].tolist() == np.bincount(y, minlength=10).tolist()


def test_the_members_are_recovered_and_nothing_else(leaked, problem):
    x, y, _ = leaked
    found = attack.invert(problem, SpanOptions(**SPAN))
    assert found.reason == ""
    images, labels = found.images[0][found.accepted[0]], found.labels[0][found.accepted[0]]
    rows, columns = metrics.assign(images, x)
    assert len(images) == N
    assert metrics.psnr(np.mean((images[rows] - x[columns]) ** 2, axis=(1, 2, 3))).min() > 30
    assert labels[rows].tolist() == y[columns].tolist()


def test_the_control_accepts_nothing(problem):
    found = attack.invert(problem, SpanOptions(**SPAN, control="random_gradient"))
    assert not found.accepted.any()


def test_dlg_starts_from_noise(problem):
    found = dlg.invert(problem, DlgOptions(steps=3, fill_outside_receptive_field=True))
    assert found.images.shape == (1, N, 8, 8, 1)
    assert found.status == ["ok"]
