"""What the config says about a data set. Read while the workflow is parsed."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gradleak.strict import StrictModel


def _increasing(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError(f"the first number must be less than the second, not {list(pair)}")
    return pair


class Dataset(StrictModel):
    """Your own data set, under a name of your choice, or where the files of a built-in one lie."""

    path: str | None = Field(
        None,
        description="File or folder: .npz, .csv, .parquet, IDX files, CIFAR's binary batches, or a folder of "
        "images a class. For a built-in set the folder of its files, where it needs one.",
    )
    range: Annotated[tuple[float, float], AfterValidator(_increasing)] | None = Field(
        None,
        description=".npz: the numbers that become 0 and 1; default: 0 and 255 for uint8, 0 and 1 for "
        "floats.",
    )
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None,
        description="Folder of images: height and width that all are scaled to; default: their common size.",
    )
    label: str | None = Field(
        None, description="Table: the column with the class; default: the column `label`."
    )
    categorical: list[str] | None = Field(
        None,
        description="Table: columns of numbers that are codes of categories. Columns of text always are "
        "categories.",
    )
