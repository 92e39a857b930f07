"""The format of a user's data set is found by its content; CIFAR's batches."""

import numpy as np
import pandas as pd
import pytest
from test_idx import idx

from gradleak.datasets import builtin, catalogue, own
from gradleak.datasets.description import described, read_description, write_description
from gradleak.datasets.errors import DataError
from gradleak.datasets.options import Dataset


def load(path, **options):
    return own.load("mine", Dataset(path=str(path), **options))


def test_an_npz_needs_no_ending(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 2)), y=[0, 1, 2])
    (tmp_path / "d.npz").rename(tmp_path / "data")
    assert load(tmp_path / "data").examples.classes == 3


@pytest.mark.parametrize("name", ["emnist-digits-train-{}-idx{}-ubyte", "train-{}.idx{}-ubyte"])
def test_idx_files_of_other_names_are_found(tmp_path, rng, name):
    x = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    (tmp_path / name.format("images", 3)).write_bytes(idx(x))
    (tmp_path / name.format("labels", 1)).write_bytes(idx(np.arange(6, dtype=np.uint8)))
    examples, known = load(tmp_path)
    np.testing.assert_array_equal(examples.x[..., 0], x)
    assert (examples.classes, known.kind) == (6, "image")


def records(rng, labels, before=1):
    """CIFAR's records, and their pixels (n, 3, 32, 32)."""
    pixels = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    heads = np.zeros((len(labels), before), np.uint8)
    heads[:, -1] = labels
    return np.concatenate([heads, pixels.reshape(len(labels), -1)], axis=1).tobytes(), pixels


def test_cifar_10_batches_are_read_in_order(tmp_path, rng):
    raw, first = records(rng, [3, 9])
    (tmp_path / "data_batch_1.bin").write_bytes(raw)
    raw, _ = records(rng, [0])
    (tmp_path / "data_batch_2.bin").write_bytes(raw)
    (tmp_path / "test_batch.bin").write_bytes(raw)
    (tmp_path / "batches.meta.txt").write_text("\n".join(builtin.CIFAR_10) + "\n\n")
    examples, known = load(tmp_path)
    assert examples.y.tolist() == [3, 9, 0]
    np.testing.assert_array_equal(examples.x[0, :, :, 1], first[0, 1])
    assert known.class_names == builtin.CIFAR_10
    np.testing.assert_array_equal(builtin.load("cifar10", str(tmp_path)).x, examples.x)


def test_cifar_100_has_two_labels_of_which_the_fine_one_counts(tmp_path, rng):
    (tmp_path / "train.bin").write_bytes(records(rng, [99, 4], before=2)[0])
    examples, _ = load(tmp_path)
    assert examples.y.tolist() == [99, 4]
    assert examples.classes == 100


def test_damaged_cifar_batches_are_named(tmp_path, rng):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(records(rng, [3])[0][:-1])
    with pytest.raises(DataError, match=r"data_batch_1\.bin: 3072 bytes are not whole records of 3073 bytes"):
        load(tmp_path)
    path.write_bytes(records(rng, [3, 10])[0])
    with pytest.raises(DataError, match=r"record 1 has the label 10, and CIFAR-10 has 0 to 9"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x93NUMPY...", "d.bin: holds one array alone; save numpy.savez(path, x=x, y=y)"),
        (b"", "d.bin: needs an .npz with x and y, a .csv or .parquet"),
        (b"\x80\x04K\x01.", "d.bin: needs an .npz with x and y, a .csv or .parquet"),
        (b"\x89HDF\r\n\x1a\n", "d.bin: needs an .npz with x and y, a .csv or .parquet"),
    ],
)
def test_another_file_is_refused_with_what_is_accepted(tmp_path, content, message):
    path = tmp_path / "d.bin"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(message)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no files of a data set in it; needs an \.npz"):
        load(tmp_path)


def test_an_option_of_another_format_is_an_error(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 2)), y=[0, 1, 2])
    with pytest.raises(DataError, match=r"datasets\.mine\.size: changes nothing, since .* is an \.npz"):
        load(tmp_path / "d.npz", size=[2, 2])


@pytest.mark.parametrize("name", ["digits-8x8", "wine", "breast-cancer", "adult"])
def test_a_description_comes_back_as_it_was_written(tmp_path, name):
    examples, known = catalogue.load(name, Dataset())
    assert known.shape == builtin.BUILTIN[name].shape
    assert len(known.class_names) == examples.classes
    write_description(tmp_path / "dataset.json", known)
    assert read_description(tmp_path / "dataset.json") == known


def test_the_kind_follows_from_the_shape():
    assert described(builtin.load("digits-8x8")).kind == "image"
    assert described(builtin.load("wine")).kind == "vector"
    assert catalogue.load("wine", Dataset()).description.kind == "table"


def test_a_table_is_known_by_its_first_bytes(tmp_path):
    pd.DataFrame({"a": [1, 2], "label": [0, 1]}).to_parquet(tmp_path / "data")
    (tmp_path / "t.csv").write_text("a,label\n1,0\n")
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 2)), y=[0, 1, 2])
    expected = {"data": True, "t.csv": True, "d.npz": False, "nothing": False, "": False}
    found = {name: catalogue.is_table("mine", Dataset(path=str(tmp_path / name))) for name in expected}
    assert found == expected
    described_as = {
        name: one.load(None).description.kind for name, one in builtin.BUILTIN.items() if one.shape[0] == 1
    }
    assert described_as == {name: "table" for name in builtin.BUILTIN if catalogue.is_table(name, Dataset())}
