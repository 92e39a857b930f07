"""gradients.npz: its arrays are read as they were written, under fixed names, and without TensorFlow."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from gradleak.files import read_npz
from gradleak.mapping.files import (
    MappedBlock,
    gradients_of,
    model_of,
    read_block,
    read_classes,
    trainable_places,
    write_block,
)
from gradleak.mapping.head import Head

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def model():
    keras.utils.set_random_seed(3)
    inner = [layers.Flatten(), layers.Dense(3), layers.BatchNormalization(), layers.Dense(10)]
    return keras.Sequential([keras.Input((4, 4, 1)), *inner])


@pytest.fixture
def block(model, rng):
    shapes = [v.shape for v in model.trainable_variables]
    return MappedBlock(
        model_json=model.to_json(),
        weights=model.get_weights(),
        gradients=[rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes],
        trainable=trainable_places(model),
        layer=np.array([0, 0, 1, 1, 2, 2]),
        samples=8,
        public_softmax=rng.dirichlet(np.ones(10), 10).astype(np.float32),
        rounding=1e-7,
        noise=rng.uniform(size=6),
        steps=3,
        draws=np.array([4, 5]),
        head=Head(4, 5, "dense_1"),
        scale_confidence=0.3,
        coupled=("batch_normalization",),
        has_statistics=True,
    )


def assert_same(one, other):
    if isinstance(one, Head | None):
        assert one == other
    elif isinstance(one, list):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"steps": None},
        {"head": Head(4, None, "dense_1")},
        {"head": None, "no_head": "the logits are the output of x"},
    ],
    ids=str,
)
def test_what_is_written_is_read_again(block, tmp_path, changed):
    block = MappedBlock(**{**vars(block), **changed})
    write_block(tmp_path / "gradients.npz", block)
    again = read_block(tmp_path / "gradients.npz")
    for field in fields(block):
        assert_same(getattr(again, field.name), getattr(block, field.name))
    assert read_classes(tmp_path / "gradients.npz") == len(block.public_softmax)
    write_block(tmp_path / "again.npz", again)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "gradients.npz").read_bytes()


def test_the_names_of_the_arrays_are_fixed(block, tmp_path):
    write_block(tmp_path / "gradients.npz", block)
    numbered = [f"weight_{i}" for i in range(8)] + [f"gradient_{i}" for i in range(6)]
    rest = ["trainable", "layer", "samples", "public_softmax", "rounding", "noise", "steps", "draws"]
    rest += ["head", "head_layer", "no_head", "scale_confidence", "coupled", "has_statistics"]
    assert list(read_npz(tmp_path / "gradients.npz")) == ["model", *numbered, *rest]


def test_the_model_has_the_weights_of_the_round(block, model, rng):
    x = rng.uniform(size=(3, 4, 4, 1)).astype(np.float32)
    np.testing.assert_array_equal(model_of(block)(x), model(x))
    for variable, value in enumerate(model.trainable_variables):
        np.testing.assert_array_equal(block.weight(variable), value.numpy())


def test_gradients_are_chosen_by_draw_across_blocks(block):
    later = MappedBlock(**{**vars(block), "gradients": [2 * g for g in block.gradients], "draws": [6, 7]})
    for chosen, own in zip(gradients_of([block, later], [7, 4, 7]), block.gradients, strict=True):
        np.testing.assert_array_equal(chosen, np.stack([2 * own[1], own[0], 2 * own[1]]))


def test_reading_needs_no_tensorflow(block, tmp_path):
    write_block(tmp_path / "gradients.npz", block)
    code = (
        "import sys; from gradleak.mapping.files import read_block; read_block(sys.argv[1]); "
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'keras')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "gradients.npz"],
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
