"""A data set of the user's: its format is found by what is in the file or folder."""

from __future__ import annotations

import os
from pathlib import Path

from gradleak.datasets import cifar_binary, idx, image_folder, npz_file, table_file
from gradleak.datasets.class_labels import class_labels
from gradleak.datasets.description import Loaded, described
from gradleak.datasets.errors import DataError
from gradleak.datasets.examples import Examples
from gradleak.datasets.options import Dataset

ACCEPTED = (
    "an .npz with x and y, a .csv or .parquet with a column for the class, or a folder of IDX files, of "
    "CIFAR's binary batches, or of a sub-folder of PNG or JPEG files a class"
)
NPZ, TABLE, IMAGES, OTHER = "an .npz", "a table", "a folder of images", "a folder of IDX or CIFAR files"
# Which options a format has.
OPTIONS = {NPZ: ("range",), TABLE: ("label", "categorical"), IMAGES: ("size",), OTHER: ()}
HEAD = 4096  # bytes that are looked at
ZIP, PARQUET = b"PK", b"PAR1"  # how files start


def load(name: str, options: Dataset) -> Loaded:
    """The data set ``name``. Raises DataError with the file, and the row, key or column."""
    path = location(options)
    if path.is_dir():
        return _folder(path, name, options)
    if not path.is_file():
        raise DataError(
            f"datasets.{name}.path: there is no file or folder {options.path!r} (from {Path.cwd()})"
        )
    with path.open("rb") as handle:
        head = handle.read(HEAD)
    if head.startswith(ZIP):
        _check(NPZ, path, name, options)
        return npz_file.read_npz(path, name, options)
    if _is_table(path, head):
        _check(TABLE, path, name, options)
        return table_file.read_table(path, head.startswith(PARQUET), name, options)
    alone = head.startswith(b"\x93NUMPY")
    what = "holds one array alone; save numpy.savez(path, x=x, y=y)" if alone else f"needs {ACCEPTED}"
    raise DataError(f"{path}: {what}" + ("" if alone else f" (starts with {head[:8]!r})"))


def location(options: Dataset) -> Path:
    """The file or folder. ``~`` is the home folder."""
    return Path(os.path.expanduser(options.path or ""))


def is_table(options: Dataset) -> bool:
    """Whether the data set is a table, by the first bytes of its file; False where no file can be read."""
    path = location(options)
    try:
        with path.open("rb") as handle:
            return _is_table(path, handle.read(HEAD))
    except OSError:
        return False


def _is_table(path: Path, head: bytes) -> bool:
    is_csv = path.suffix.lower() in (".csv", ".txt") and not head.startswith(ZIP) and _is_text(head)
    return head.startswith(PARQUET) or is_csv


def _is_text(head: bytes) -> bool:
    return bool(head.strip()) and b"\0" not in head


def _folder(path: Path, name: str, options: Dataset) -> Loaded:
    if idx.is_idx(path):
        _check(OTHER, path, name, options)
        x, y = idx.read_idx(path)
        examples = Examples(x, *class_labels(y, str(path)))
        return Loaded(examples, described(examples))
    if cifar_binary.is_cifar(path):
        _check(OTHER, path, name, options)
        examples, names = cifar_binary.read_cifar(path)
        return Loaded(examples, described(examples, names))
    if any(one.is_dir() and not one.name.startswith(".") for one in path.iterdir()):
        _check(IMAGES, path, name, options)
        return image_folder.read_images(path, name, options)
    raise DataError(f"{path}: no files of a data set in it; needs {ACCEPTED}")


def _check(kind: str, path: Path, name: str, options: Dataset) -> None:
    """Raise DataError for an option of another format, which would otherwise be ignored silently."""
    given = options.model_dump(exclude_none=True, exclude={"path"})
    for option in given:
        if option not in OPTIONS[kind]:
            raise DataError(
                f"datasets.{name}.{option}: changes nothing, since {path} is {kind}; leave it out"
            )
