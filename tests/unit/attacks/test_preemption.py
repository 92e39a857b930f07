"""SIGTERM at a random moment, again and again: the attack goes on from what it has saved, to the same
arrays.
"""

import os
import signal
import threading
import time
from dataclasses import replace

import keras
import numpy as np
import pytest

from gradleak.attacks.matching import dlg, latent
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.latent_options import LatentOptions
from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.federated import client
from gradleak.federated.options import ClientOptions
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import to_float
from gradleak.jobs import inversions, job
from gradleak.optim.resources import Resources

TIMES = {"dlg": 6, "joint labels, polished": 4, "plateau": 4, "latent": 4, "span": 2}  # 20 in all
SEEDS = [0, 1, 2]


@pytest.fixture(scope="module")
def problem(digits):
    options = ClientOptions(dataset="digits-8x8", model="fcn3", batch_size=2, pretrain_epochs=1)
    model = client.global_model(options, digits["pretraining"])
    draws = client.simulate(options, model, digits["private"], SEEDS)
    gradients = [
        -np.stack(parts) / np.float32(options.learning_rate) for parts in zip(*(d.delta for d in draws))
    ]
    counts = np.stack([np.bincount(draw.private.y, minlength=10) for draw in draws])
    return Problem(
        model,
        gradients,
        np.arange(len(gradients)) // 2,
        2,
        SEEDS,
        counts,
        to_float(digits["public"].x),
        digits["public"].y,
        FLOAT32_ROUNDING / options.learning_rate,
    )


@pytest.fixture(scope="module")
def decoder():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64, "sigmoid"), keras.layers.Reshape((8, 8, 1))]
    return keras.Sequential([keras.Input((4,)), *layers])


@pytest.fixture
def attacks(problem, decoder):
    """Name → f(checkpoint, progress, note)."""
    sweep = {"label_method": "idlg", "steps": 300}

    def pixels(**options):
        return lambda folder, progress, note: dlg.invert(
            problem, DlgOptions(**options), Resources(folder, progress=progress)
        )

    return {
        "dlg": pixels(**sweep),
        "joint labels, polished": pixels(labels="joint", steps=100, polish_steps=150),
        "plateau": pixels(**sweep, plateau=40, optimizer="sign_adam", starts=2),
        "latent": lambda folder, progress, note: latent.invert(
            problem, LatentOptions(**sweep), decoder, Resources(folder, progress=progress)
        ),
        "span": lambda folder, progress, note: attack.invert(
            replace(problem, seeds=SEEDS[:2]),  # each takes its time
            SpanOptions(starts=4, steps=10, polish_steps=2, copies=1, rounds=1),
            None,
            folder,
            note,
        ),
    }


@pytest.fixture
def sigterm():
    """SIGTERM to this process after some seconds, handled as in a job; and as before when the test is
    over.
    """
    before, timers = signal.getsignal(signal.SIGTERM), []

    def after(seconds):
        job.note_sigterm()
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)))
        timers[-1].start()
        return timers[-1]

    yield after
    for timer in timers:
        timer.cancel()
        timer.join()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("name", TIMES)
def test_preempted_at_random_moments_it_ends_in_the_same_arrays(attacks, name, sigterm, tmp_path):
    rng, whole, duration = np.random.default_rng(len(name)), None, np.inf
    preempted, attempt = 0, 0
    while whole is None or preempted < TIMES[name]:
        begun = time.monotonic()
        timer = sigterm(rng.uniform(0, duration)) if whole else None
        try:
            found = attacks[name](tmp_path / str(attempt), inversions.progress(name), inversions.note)
        except job.Preempted:
            preempted += 1
            continue  # on the same checkpoint
        if timer:
            timer.cancel()
            assert_same(found, whole)
        whole, attempt = whole or found, attempt + 1
        duration = min(duration, time.monotonic() - begun)
    job.note_sigterm()
    assert_same(attacks[name](tmp_path / str(attempt), inversions.progress(name), inversions.note), whole)


def assert_same(found, whole):
    assert found.status == whole.status
    for field in ("images", "labels", "seeds", "objective", "accepted", "history_steps", "history"):
        np.testing.assert_array_equal(getattr(found, field), getattr(whole, field), err_msg=field)
    assert found.certificates.keys() == whole.certificates.keys()
    for field in whole.certificates:
        np.testing.assert_array_equal(found.certificates[field], whole.certificates[field], err_msg=field)
