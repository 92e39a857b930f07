"""Files of private images as people have them: converted where they are unambiguous, else refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import import_truth
from gradleak.evaluation.truth_import import TruthError, read_truth
from gradleak.files import read_npz
from gradleak.mapping.files import MappedBlock, write_block

X = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
Y = np.array([0, 3, 3, 5, 9, 0])


def block_of(shape=(8, 8, 1), samples=6):
    layer = {"class_name": "InputLayer", "config": {"batch_shape": [None, *shape]}}
    return MappedBlock(
        model_json=json.dumps({"config": {"layers": [layer]}}),
        weights=[],
        gradients=[],
        trainable=np.zeros(0, int),
        layer=np.zeros(0, int),
        samples=samples,
        public_softmax=np.full((10, 10), 0.1),
        rounding=0.0,
        noise=np.zeros(0),
        steps=1,
        draws=np.array([0]),
        head=None,
        scale_confidence=0.9,
    )


def read(folder, block=None, **arrays):
    np.savez(folder / "t.npz", **arrays)
    return read_truth(folder / "t.npz", block or block_of())


@pytest.mark.parametrize(
    "x",
    [
        X,
        X / np.float32(255),
        X / 255,
        X.astype(np.int64),
        X.astype(np.float32),
        X[..., 0],
        X.reshape(6, 64),
        X.transpose(0, 3, 1, 2),
        np.repeat(X, 3, axis=-1),
        X.astype(">i4"),
    ],
    ids=lambda x: f"{x.dtype.str} {x.shape}",
)
def test_images_that_can_be_read_in_one_way(x, tmp_path):
    found, labels = read(tmp_path, x=x, y=Y)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(labels, Y)


@pytest.mark.parametrize("x", [COLOUR, COLOUR.transpose(0, 3, 1, 2), COLOUR / np.float32(255)])
def test_colour_images_of_either_order(x, tmp_path):
    found, _ = read(tmp_path, block_of((8, 8, 3)), x=x, y=Y)
    np.testing.assert_array_equal(found, COLOUR)


@pytest.mark.parametrize(("x", "y"), [(X[0], Y[:1]), (X[0, ..., 0], 0), (X[:1], np.array(0.0))])
def test_a_single_image_may_have_no_axis_of_its_own(x, y, tmp_path):
    found, labels = read(tmp_path, block_of(samples=1), x=x, y=y)
    np.testing.assert_array_equal(found, X[:1])
    np.testing.assert_array_equal(labels, Y[:1])


@pytest.mark.parametrize(
    "y",
    [Y, Y.astype(float), Y[:, None], np.eye(10)[Y], np.eye(10, dtype=bool)[Y], Y.astype(np.uint8)],
    ids=lambda y: f"{y.dtype.str} {y.shape}",
)
def test_labels_that_can_be_read_in_one_way(y, tmp_path):
    _, labels = read(tmp_path, x=X, y=y)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, Y)


@pytest.mark.parametrize(("x", "y"), [("images", "labels"), ("X", "Y"), ("x_true", "targets")])
def test_keys_may_be_other_words(x, y, tmp_path):
    np.testing.assert_array_equal(read(tmp_path, **{x: X, y: Y})[1], Y)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "no array is called y"),
        ({"x": X, "images": X, "y": Y}, "x and images could both be x"),
        ({"arr_0": X, "arr_1": Y}, "no array is called x; .* It has arr_0, arr_1"),
        ({"x": X[:4], "y": Y[:4]}, "x has 4 images, and the update is of 6"),
        ({"x": X, "y": Y[:4]}, "x has 6 images and y 4 labels"),
        (
            {"x": np.concatenate([X, X[:2]]), "y": np.append(Y, Y[:2])},
            "x has 8 images, and the update is of 6",
        ),
        ({"x": np.zeros((6, 28, 28, 1), np.uint8), "y": Y}, r"x has shape \(6, 28, 28, 1\); the model takes"),
        ({"x": COLOUR, "y": Y}, r"x has shape \(6, 8, 8, 3\)"),
        ({"x": X / 127.5 - 1, "y": Y}, "x has values from -1"),
        ({"x": X // 16, "y": Y}, "x has values from 0 to 15, whose range is not known"),
        ({"x": X / 255 / 255, "y": Y}, "whose range is not known"),
        ({"x": X * 1.5, "y": Y}, "whose range is not known"),
        ({"x": np.where(X > 9, X / 255, np.nan), "y": Y}, "x must be finite numbers"),
        ({"x": X > 99, "y": Y}, "x must be finite numbers, not bool"),
        ({"x": X, "y": np.where(Y == 5, 12, Y)}, "y has the labels 12, but the model's classes are 0 to 9"),
        ({"x": X, "y": np.where(Y == 5, -1, Y)}, "y has the labels -1"),
        ({"x": X, "y": Y + 0.5}, "y has labels that are not whole"),
        ({"x": X, "y": np.full((6, 10), 0.1)}, "y has shape .* not one-hot"),
        ({"x": X, "y": np.eye(6)[[0, 1, 2, 3, 4, 5]]}, "one-hot rows .* of the 10 classes"),
        ({"x": X, "y": Y.astype(str)}, "y must be numbers"),
        ({"x": X, "y": np.array(list("abcdef"), dtype=object)}, "cannot be read as such"),
    ],
)
def test_what_is_ambiguous_is_refused_with_file_key_and_reason(arrays, message, tmp_path):
    with pytest.raises(TruthError, match=message) as error:
        read(tmp_path, **arrays)
    assert str(error.value).startswith(str(tmp_path / "t.npz"))


def test_vectors_of_colour_images_are_refused(tmp_path):
    with pytest.raises(TruthError, match="channels can come first or last"):
        read(tmp_path, block_of((8, 8, 3)), x=COLOUR.reshape(6, -1), y=Y)


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04 broken"])
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(TruthError, match=r"needs an \.npz with x"):
        read_truth(tmp_path / "t.npz", block_of())


def test_one_array_is_refused(tmp_path):
    np.save(tmp_path / "t.npy", X)
    with pytest.raises(TruthError, match="it is one plain array"):
        read_truth(tmp_path / "t.npy", block_of())


def test_the_job_writes_what_scoring_reads(tmp_path):
    write_block(tmp_path / "gradients.npz", block_of())
    np.savez(tmp_path / "t.npz", images=X / 255, labels=np.eye(10)[Y])
    paths = {"truth": str(tmp_path / "t.npz"), "gradients": str(tmp_path / "gradients.npz")}
    output = SimpleNamespace(truth=str(tmp_path / "truth.npz"))
    import_truth.main(SimpleNamespace(input=SimpleNamespace(**paths), output=output))
    arrays = read_npz(tmp_path / "truth.npz")
    np.testing.assert_array_equal(arrays["x"], X[None])
    np.testing.assert_array_equal(arrays["y"], Y[None])
    assert arrays["draws"].tolist() == [0]
