"""Updates that a script of Keras and NumPy alone has saved, of nets that other people's tutorials train."""

import os
import subprocess
import sys
from pathlib import Path

import nets_of_others
import numpy as np
import pytest
from mapped import problem_of
from once import once

from gradleak.artifacts.errors import ArtifactError
from gradleak.artifacts.receive import receive
from gradleak.attacks.matching import dlg
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.evaluation import metrics
from gradleak.evaluation.truth import class_counts
from gradleak.labels.recovery import Source, recover_block
from gradleak.losses import BINARY
from gradleak.mapping.claims import UserClaims
from gradleak.mapping.settle import settle
from validate_mapping import block_of

FILES = ("model.json", "weights_before.npz", "delta.npz", "meta.json")
REFUSED = {"text": "reads tokens", "sequence": "reads a sequence", "two_inputs": "2 inputs"}
MAPPED = [name for name in nets_of_others.NETS if name not in REFUSED]
SEARCHED = ["adult_14", "normalised_rows"]  # nets of few inputs, whose examples come back within seconds
# DLG on inputs and heads of every kind. Tracing takes seconds a net, and the engine's tests have all layers.
MATCHED = {"adult_14", "activity_1d", "cat_or_dog", "grey_rows", "rgb_64x48_5", "tags", "wide_and_deep"}
# The counts of two classes need their mean probabilities, which noise does not show.
NO_COUNTS = {"cat_or_dog", "logistic_regression", "tags"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folders that the script writes, in a process that cannot import this project."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def write(made):
        command = [sys.executable, nets_of_others.__file__, str(made)]
        subprocess.run(command, check=True, cwd=made.parent, env=environment)

    return once(tmp_path_factory, "nets", write)


def received(folder, name, target):
    target.mkdir()
    return receive([folder / name / file for file in FILES], target)


def test_there_are_enough_nets():
    assert len(MAPPED) >= 20


@pytest.mark.parametrize("name", MAPPED)
def test_the_net_is_mapped_right_and_attacked(folder, name, tmp_path):
    truth = dict(np.load(folder / name / "truth.npz"))
    found = settle([received(folder, name, tmp_path / "x")], None, None, UserClaims())
    for index, got in enumerate(found.gradients):
        wanted = truth[f"gradient_{index}"]
        np.testing.assert_allclose(got[0], wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())
    assert found.report["contradictions"] == []
    assert found.samples == nets_of_others.N
    assert (found.loss == BINARY) == (name == "tags")  # one sigmoid is a softmax of two logits

    classes = found.model.output_shape[-1]
    counts = class_counts(truth["y"], classes)
    block = block_of(found, [0])
    labels = recover_block("auto", [Source(block, found.report["metadata"]["read"])], np.array([0]), None)
    if name not in NO_COUNTS:
        assert labels.rows[0]["counts"].tolist() == counts.tolist()

    if name not in MATCHED:
        return
    options = DlgOptions(steps=1, labels="joint" if name == "tags" else "recovered")
    guessed = dlg.invert(problem_of(found, counts), options)
    assert guessed.status == ["ok"]
    assert guessed.images.shape[1:] == (nets_of_others.N, *found.model.input_shape[1:])


@pytest.mark.parametrize("name", SEARCHED)
def test_few_inputs_come_back(folder, name, tmp_path):
    truth = dict(np.load(folder / name / "truth.npz"))
    found = settle([received(folder, name, tmp_path / "x")], None, None, UserClaims())
    problem = problem_of(found, np.bincount(truth["y"], minlength=found.model.output_shape[-1]))
    result = attack.invert(problem, SpanOptions(starts=8, rounds=2, copies=1))
    images = result.images[0][result.accepted[0]]
    x = truth["x"].reshape(-1, *problem.shape)
    rows, columns = metrics.assign(images, x)
    assert len(images) == nets_of_others.N
    errors = np.square(images[rows] - x[columns]).mean(axis=(1, 2, 3))
    assert metrics.psnr(errors).min() > 60


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_no_attack_applies_to_is_refused_by_what_it_reads(folder, name, tmp_path):
    with pytest.raises(ArtifactError, match=REFUSED[name]):
        received(folder, name, tmp_path / "x")


def test_the_script_knows_nothing_of_this_project():
    assert "gradleak" not in Path(nets_of_others.__file__).read_text(encoding="utf-8")
