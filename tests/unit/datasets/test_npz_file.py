"""x and y in an .npz: what is accepted, and the sentence for what is not."""

import io
import zipfile

import numpy as np
import pytest

from gradleak.datasets import limits, npz_file
from gradleak.datasets.errors import DataError
from gradleak.datasets.options import Dataset

Y = np.array([0, 2, 1, 0])


def read(path, **options):
    return npz_file.read_npz(path, "mine", Dataset(**options))


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return tmp_path / "d.npz"

    return save


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return str(caught.value).replace(str(path), "d.npz")


@pytest.mark.parametrize(
    ("shape", "expected", "kind"),
    [
        ((4, 6, 5, 3), (6, 5, 3), "image"),
        ((4, 6, 5), (6, 5, 1), "image"),
        ((4, 14), (1, 14, 1), "vector"),
    ],
)
def test_images_and_vectors_are_kept_as_they_are(saved, rng, shape, expected, kind):
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    examples, known = read(saved(x=x, y=Y))
    assert examples.x.dtype == np.uint8
    assert examples.x.shape == (4, *expected)
    np.testing.assert_array_equal(examples.x.reshape(shape), x)
    np.testing.assert_array_equal(examples.y, Y)
    assert (examples.classes, known.kind, known.shape, known.high) == (3, kind, expected, 255.0)


def test_floats_in_a_stated_range_become_0_to_1(saved, rng):
    x = rng.uniform(-1, 1, (4, 3))
    examples, known = read(saved(x=x, y=Y), range=[-1, 1])
    np.testing.assert_allclose(examples.x[:, 0, :, 0], (x + 1) / 2, atol=1e-7)
    assert examples.x.dtype == np.float32
    assert (known.low, known.high) == (-1.0, 1.0)


def test_whole_numbers_of_another_range_can_be_stated(saved):
    examples, _ = read(saved(x=np.array([[0, 16], [8, 4], [0, 0], [1, 1]], np.uint8), y=Y), range=[0, 16])
    np.testing.assert_array_equal(examples.x[0, 0, :, 0], [0, 1])


@pytest.mark.parametrize("y", [Y, Y[:, None], Y.astype(float), np.eye(3)[Y]])
def test_labels_may_be_a_column_floats_or_one_hot(saved, y):
    examples, _ = read(saved(x=np.zeros((4, 3)), y=y))
    np.testing.assert_array_equal(examples.y, Y)
    assert examples.y.dtype == np.int64
    assert examples.classes == 3


def test_several_labels_an_example_stay_rows(saved):
    y = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    examples, known = read(saved(x=np.zeros((4, 3)), y=y))
    np.testing.assert_array_equal(examples.y, y)
    assert examples.y.dtype == np.uint8
    assert len(known.class_names) == 3


@pytest.mark.parametrize("keys", [("x_train", "y_train"), ("train_images", "train_labels"), ("X", "Y")])
def test_the_names_of_other_tools_are_known(saved, keys):
    more = {"x_test": np.zeros(1)} if keys[0] == "x_train" else {}
    examples, _ = read(saved(**dict(zip(keys, (np.zeros((4, 3)), Y))), **more))
    assert len(examples.y) == 4


FLOATS = np.full((4, 3), 0.5)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (
            {"x": FLOATS * 5, "y": Y},
            {},
            "d.npz: x: row 0 has values from 2.5 to 2.5, and which range they lie in is not known; scale "
            "them to [0, 1], or set `datasets.mine.range: [lo, hi]` to the numbers that mean 0 and 1",
        ),
        (
            {"x": FLOATS * 5, "y": Y},
            {"range": [0, 2]},
            "d.npz: x: row 0 has values from 2.5 to 2.5, and `datasets.mine.range` is [0, 2]; scale them to "
            "[0, 1], or set `datasets.mine.range: [lo, hi]` to the numbers that mean 0 and 1",
        ),
        ({"x": np.where(np.eye(4, 3) > 0, np.nan, FLOATS), "y": Y}, {}, "d.npz: x: row 0 holds NaN or Inf"),
        (
            {"a": FLOATS, "y": Y},
            {},
            "d.npz: no array is called x; needs x (N, H, W, C), (N, H, W) or (N, D), and y (N,) or (N, K). "
            "It has a, y",
        ),
        (
            {"x": FLOATS, "images": FLOATS, "y": Y},
            {},
            "d.npz: x and images could both be x; needs x (N, H, W, C), (N, H, W) or (N, D), and y (N,) or "
            "(N, K). It has x, images, y",
        ),
        ({"x": FLOATS, "y": Y[:3]}, {}, "d.npz: x has 4 examples and y 3 labels"),
        (
            {"x": np.zeros((4, 3, 8, 8)), "y": Y},
            {},
            "d.npz: x: has shape (4, 3, 8, 8), with the channels before height and width; give "
            "numpy.transpose(x, (0, 2, 3, 1))",
        ),
        (
            {"x": np.zeros(4), "y": Y},
            {},
            "d.npz: x: has shape (4,); give (N, H, W, C), (N, H, W) or vectors (N, D)",
        ),
        (
            {"x": np.array(["a", "b"]), "y": Y},
            {},
            "d.npz: x: has dtype <U1, not plain numbers; nothing is unpickled",
        ),
        (
            {"x": np.array([{}, []], dtype=object), "y": Y},
            {},
            "d.npz: x: has dtype object, not plain numbers; nothing is unpickled",
        ),
        (
            {"x": FLOATS, "y": np.array([0, 1, -1, 0])},
            {},
            "d.npz: y: row 2 is -1; classes are whole numbers from 0 to 4095",
        ),
        (
            {"x": FLOATS, "y": np.array([0, 1.5, 1, 0])},
            {},
            "d.npz: y: row 1 is 1.5; classes are whole numbers from 0 to 4095",
        ),
        (
            {"x": FLOATS, "y": np.array([[0, 1], [1, 2], [0, 0], [1, 1]])},
            {},
            "d.npz: y: row 1 has numbers other than 0 and 1, which mark the labels of an example; for one "
            "class an example give whole numbers (N,)",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(saved, arrays, options, message):
    assert refusal(saved(**arrays), **options) == message


def test_a_header_that_lies_allocates_nothing(tmp_path):
    path = tmp_path / "d.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 1)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    assert refusal(path) == (
        f"d.npz: x: {1 << 40} bytes are more than the limit of {limits.MAX_BYTES}; save fewer examples, or "
        "images as uint8"
    )


@pytest.mark.parametrize("left", [10, 100, 400])
def test_a_file_that_is_cut_off_is_named(saved, left):
    path = saved(x=FLOATS, y=Y)
    path.write_bytes(path.read_bytes()[:left])
    assert refusal(path).startswith("d.npz: ")
