"""A folder with a sub-folder of image files for each class."""

import numpy as np
import pytest
from PIL import Image

from gradleak.datasets import limits, own
from gradleak.datasets.errors import DataError
from gradleak.datasets.options import Dataset


def load(folder, **options):
    return own.load("mine", Dataset(path=str(folder), **options))


@pytest.fixture
def folder(tmp_path, rng):
    """Two classes of two grey images of 6×4."""
    for name in ("dog", "cat"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(2):
            pixels = rng.integers(0, 256, (6, 4), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{index}.png")
    return tmp_path / "set"


def refusal(folder, **options):
    with pytest.raises(DataError) as caught:
        load(folder, **options)
    return str(caught.value).replace(f"{folder}/", "").replace(str(folder), "set")


def test_grey_files_stay_grey_and_classes_are_sorted_by_name(folder):
    examples, known = load(folder)
    assert known.class_names == ("cat", "dog")
    assert examples.x.shape == (4, 6, 4, 1)
    assert examples.y.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(examples.x[2, ..., 0], np.asarray(Image.open(folder / "dog" / "0.png")))


def test_one_colour_file_makes_all_colour_and_a_size_scales_all(folder, rng):
    pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "dog" / "z.JPG", "jpeg")
    examples, known = load(folder, size=[5, 3])
    assert examples.x.shape == (5, 5, 3, 3)
    assert known.shape == (5, 3, 3)
    assert (examples.x[0, ..., 0] == examples.x[0, ..., 1]).all()


def test_hidden_files_are_left_alone(folder):
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "dog" / "Thumbs.db").write_bytes(b"x")
    assert len(load(folder).examples.y) == 4


def text(folder):
    (folder / "dog" / "notes.txt").write_text("x")


def no_image(folder):
    (folder / "dog" / "0.png").write_text("<html>")


def cut_off(folder):
    path = folder / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:60])


def another_size(folder):
    Image.new("L", (8, 9)).save(folder / "dog" / "1.png")


def deep(folder):
    Image.fromarray(np.full((6, 4), 40000, np.uint16)).save(folder / "dog" / "0.png")


def nested(folder):
    (folder / "dog" / "more").mkdir()


def empty(folder):
    (folder / "bird").mkdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (text, "dog/notes.txt: is no PNG or JPEG file; take it out of the folder, or convert it"),
        (no_image, "dog/0.png: cannot be read as PNG or JPEG (cannot identify image file"),
        (cut_off, "dog/0.png: cannot be read as PNG or JPEG ("),
        (
            another_size,
            "dog/1.png: is 9×8, and cat/0.png 6×4 (height × width); set `datasets.mine.size: [H, W]`, to "
            "which all are scaled",
        ),
        (deep, "dog/0.png: has more than 8 bits a channel (mode I;16); save it with 8"),
        (
            nested,
            "dog/more: a folder inside the folder of a class; the images must lie right in their class's",
        ),
        (empty, "bird: has no image; take the folder away, or fill it"),
    ],
)
def test_a_bad_file_is_named(folder, harm, message):
    harm(folder)
    assert refusal(folder).startswith(message)


def test_one_class_is_not_enough(tmp_path):
    (tmp_path / "set" / "a").mkdir(parents=True)
    Image.new("L", (2, 2)).save(tmp_path / "set" / "a" / "1.png")
    assert refusal(tmp_path / "set") == "set: has 1 sub-folders; needs one for each of two classes or more"


def test_an_image_is_measured_before_it_is_unpacked(folder, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 20)
    assert refusal(folder) == "cat/0.png: 24 pixels are more than the limit of 20"


def test_all_images_together_are_measured(folder, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 50)
    assert refusal(folder) == (
        "set: 96 bytes of pixels are more than the limit of 50; choose a smaller `size`, or fewer images"
    )
