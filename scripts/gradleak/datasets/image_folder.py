"""A folder with a sub-folder of PNG or JPEG files for each class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradleak.datasets import limits
from gradleak.datasets.description import Loaded, described
from gradleak.datasets.errors import DataError
from gradleak.datasets.examples import Examples
from gradleak.datasets.options import Dataset

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
LEFT_BEHIND = ("thumbs.db", "desktop.ini")  # by Windows
GREY = ("1", "L", "LA")  # modes of Pillow; all others become RGB
EIGHT_BIT = (*GREY, "P", "RGB", "RGBA", "CMYK", "YCbCr")


def read_images(folder: Path, name: str, options: Dataset) -> Loaded:
    """The images of all classes, scaled to ``options.size``. The classes are the sorted names of the folders.

    x is uint8 (n, H, W, 1) if all files are grey, else (n, H, W, 3); transparency is dropped. Scaling
    averages over the pixels that become one, and does not keep the proportions. name: of the data set, for
    the messages. Raises DataError with the file.
    """
    files = {one.name: _files(one) for one in sorted(_visible(folder)) if one.is_dir()}
    if len(files) < 2:
        raise DataError(f"{folder}: has {len(files)} sub-folders; needs one for each of two classes or more")
    paths = [path for own in files.values() for path in own]
    headers = [_opened(path, _header) for path in paths]
    size = options.size or _common_size(paths, [own for own, _ in headers], name)
    is_grey = all(mode in GREY for _, mode in headers)
    channels = 1 if is_grey else 3
    _check_amount(folder, len(paths), size[0] * size[1] * channels, len(files))
    x = np.empty((len(paths), *size, channels), np.uint8)
    for row, path in zip(x, paths, strict=True):
        row[:] = _opened(path, lambda image: _pixels(image, size, "L" if is_grey else "RGB"))
    y = np.repeat(np.arange(len(files)), [len(own) for own in files.values()])
    examples = Examples(x, y.astype(np.int64), len(files))
    return Loaded(examples, described(examples, tuple(files)))


def _visible(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in LEFT_BEHIND]


def _files(folder: Path) -> list[Path]:
    found = sorted(_visible(folder))
    for path in found:
        if path.is_dir():
            raise DataError(
                f"{path}: a folder inside the folder of a class; the images must lie right in their class's"
            )
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path}: is no PNG or JPEG file; take it out of the folder, or convert it")
    if not found:
        raise DataError(f"{folder}: has no image; take the folder away, or fill it")
    return found


def _check_amount(folder: Path, images: int, numbers: int, classes: int) -> None:
    if classes > limits.MAX_CLASSES or images > limits.MAX_IMAGES or numbers > limits.MAX_EXAMPLE:
        raise DataError(
            f"{folder}: {images} images of {numbers} numbers in {classes} classes; the limits are "
            f"{limits.MAX_IMAGES}, {limits.MAX_EXAMPLE} and {limits.MAX_CLASSES}"
        )
    if images * numbers > limits.MAX_BYTES:
        raise DataError(
            f"{folder}: {images * numbers} bytes of pixels are more than the limit of {limits.MAX_BYTES}; "
            "choose a smaller `size`, or fewer images"
        )


def _common_size(paths: list[Path], sizes: list[tuple[int, int]], name: str) -> tuple[int, int]:
    first = sizes[0]
    for path, size in zip(paths, sizes, strict=True):
        if size != first:
            raise DataError(
                f"{path}: is {size[0]}×{size[1]}, and {paths[0]} {first[0]}×{first[1]} (height × width); set "
                f"`datasets.{name}.size: [H, W]`, to which all are scaled"
            )
    return first


def _opened(path: Path, use: Callable[[Image], Any]) -> Any:
    """``use`` of an image of known format, depth and size. Any error of Pillow's names the file."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            pixels = image.width * image.height
            if pixels > limits.MAX_PIXELS:
                raise DataError(f"{path}: {pixels} pixels are more than the limit of {limits.MAX_PIXELS}")
            if image.mode not in EIGHT_BIT:
                raise DataError(f"{path}: has more than 8 bits a channel (mode {image.mode}); save it with 8")
            return use(image)
    except DataError:
        raise
    # Pillow's decoders raise many kinds of errors on damaged files.
    except Exception as error:
        first_line, _, _ = str(error).partition("\n")
        raise DataError(f"{path}: cannot be read as PNG or JPEG ({first_line[:200]})") from None


def _header(image: Image) -> tuple[tuple[int, int], str]:
    """((height, width), mode); no pixel is decoded."""
    return (image.height, image.width), image.mode


def _pixels(image: Image, size: tuple[int, int], mode: str) -> np.ndarray:
    """uint8 (H, W, channels)."""
    from PIL import Image as pillow

    converted = image.convert(mode)
    if (image.height, image.width) != size:
        converted = converted.resize((size[1], size[0]), pillow.Resampling.BILINEAR)
    return np.asarray(converted).reshape(*size, -1)
