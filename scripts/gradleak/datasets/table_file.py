"""Records in a .csv or .parquet file, with the class in a column of its own."""

from __future__ import annotations

import csv
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradleak.datasets import limits, table
from gradleak.datasets.description import Loaded, described
from gradleak.datasets.errors import DataError
from gradleak.datasets.examples import Examples
from gradleak.datasets.options import Dataset

if TYPE_CHECKING:
    import pandas as pd

LABEL = "label"
MOSTLY_NUMBERS = 0.5  # share of values above which a column of text is thought to be numbers with errors


def read_table(path: Path, is_parquet: bool, name: str, options: Dataset) -> Loaded:
    """Records as vectors (n, 1, D, 1), float32 in [0, 1], with the fields that turn them back.

    Columns of text, of booleans and of ``options.categorical`` are categories; all others are numbers. The
    classes are the sorted values of the label's column. name: of the data set, for the messages. Raises
    DataError with the file, the column and the row; rows are counted from 1, after the header.
    """
    frame = _parquet(path) if is_parquet else _csv(path)
    if frame.empty:
        raise DataError(f"{path}: has no rows")
    label = _label(frame, path, name, options)
    codes = options.categorical or []
    for one in codes:
        if one not in frame.columns or one == label:
            place = f"`datasets.{name}.categorical`"
            raise DataError(f"{path}: {place} has {one!r}, which is no column{_nearest(one, frame)}")
    columns = {key: _column(frame[key], f"{path}: column {key!r}", key in codes) for key in frame.columns}
    y, names = _classes(columns.pop(label), f"{path}: column {label!r}")
    fields = table.fit(columns, str(path))
    if len(frame) * fields[-1].columns[1] * 4 > limits.MAX_BYTES:
        raise DataError(
            f"{path}: {len(frame)} records of {fields[-1].columns[1]} numbers take more than the limit of "
            f"{limits.MAX_BYTES} bytes; give fewer rows, or leave out columns with many categories"
        )
    examples = Examples(table.encode(columns, fields)[:, None, :, None], y, len(names))
    return Loaded(examples, described(examples, names, fields))


def _label(frame: pd.DataFrame, path: Path, name: str, options: Dataset) -> str:
    label = options.label or LABEL
    if label not in frame.columns:
        raise DataError(
            f"{path}: has no column {label!r}{_nearest(label, frame)}; set `datasets.{name}.label` to the "
            "column with the class"
        )
    return label


def _nearest(name: str, frame: pd.DataFrame) -> str:
    found = difflib.get_close_matches(name, list(frame.columns), 1, 0.5)
    return f" (the nearest is {found[0]!r})" if found else ""


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    size = path.stat().st_size
    if size > limits.MAX_BYTES:
        raise DataError(f"{path}: {size} bytes are more than the limit of {limits.MAX_BYTES}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = csv.reader(handle)
            header, first = next(lines, []), next(lines, [])
        _check_names(header, path)
        if len(first) > len(header):  # pandas would take the first column for the names of the rows
            raise DataError(f"{path}: row 1 has more columns than the first line has names; name each column")
        frame = pd.read_csv(
            path,
            encoding="utf-8-sig",
            compression=None,
            keep_default_na=False,  # "None" and "NA" are words
            na_values=[""],
            skipinitialspace=True,
            low_memory=False,
            nrows=limits.MAX_ROWS + 1,
        )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, ValueError) as error:
        first_line, _, _ = str(error).partition("\n")
        raise DataError(f"{path}: cannot be read as CSV ({first_line[:200]})") from None
    frame.columns = [one.strip() for one in header]
    if len(frame) > limits.MAX_ROWS:
        raise DataError(f"{path}: more rows than the limit of {limits.MAX_ROWS}")
    return frame


def _check_names(names: list[str], path: Path) -> None:
    names = [name.strip() for name in names]
    if len(names) > limits.MAX_COLUMNS:
        raise DataError(f"{path}: {len(names)} columns are more than the limit of {limits.MAX_COLUMNS}")
    if len(names) == 1 and (found := [mark for mark in ";\t|" if mark in names[0]]):
        raise DataError(f"{path}: its columns are separated by {found[0]!r}; save it with commas")
    for place, name in enumerate(names):
        if not name or name in names[:place]:
            problem = "has no name" if not name else f"is called {name!r}, as another is"
            raise DataError(f"{path}: column {place + 1} {problem}; name each column in the first line")


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            metadata = file.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > limits.MAX_BYTES:
                raise DataError(f"{path}: unpacks to more than the limit of {limits.MAX_BYTES} bytes")
            if metadata.num_rows > limits.MAX_ROWS:
                raise DataError(
                    f"{path}: {metadata.num_rows} rows are more than the limit of {limits.MAX_ROWS}"
                )
            schema = file.schema_arrow
            _check_names(schema.names, path)
            for one in schema:
                if not _is_plain(one.type):
                    raise DataError(
                        f"{path}: column {one.name!r} holds {one.type}, and not numbers, true and false, or "
                        "text; convert it, or leave it out"
                    )
            return file.read().to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        first_line, _, _ = str(error).partition("\n")
        raise DataError(f"{path}: cannot be read as Parquet ({first_line[:200]})") from None


def _is_plain(kind) -> bool:
    from pyarrow import types

    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(check(kind) for check in checks) or (types.is_dictionary(kind) and _is_plain(kind.value_type))


def _column(values: pd.Series, what: str, is_code: bool) -> np.ndarray:
    """(n,) numbers or text. is_code: whether numbers stand for categories."""
    import pandas as pd

    empty = values.isna().to_numpy()
    if empty.any():
        raise DataError(f"{what}, row {empty.argmax() + 1}, is empty; fill it in, or leave out the row")
    if pd.api.types.is_bool_dtype(values):
        return values.to_numpy(bool)
    if not pd.api.types.is_numeric_dtype(values):
        text = values.astype(str)
        numbers = pd.to_numeric(text, errors="coerce").notna().to_numpy()
        if not is_code and MOSTLY_NUMBERS < numbers.mean() < 1:
            row = int(numbers.argmin())
            raise DataError(
                f"{what}, row {row + 1}, is {text.iloc[row][:40]!r}, and most of the column are numbers; "
                "correct it, or name the column under `categorical`"
            )
        return text.to_numpy(str)
    if not np.isfinite(numbers := values.to_numpy()).all():
        raise DataError(f"{what}, row {np.isfinite(numbers).argmin() + 1}, is not finite")
    return values.astype(str).to_numpy(str) if is_code else numbers


def _classes(values: np.ndarray, what: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(int64 (n,), the names of the classes)."""
    if values.dtype.kind == "f":
        if not (values == np.round(values)).all():
            raise DataError(f"{what} holds measured numbers, and not classes")
        values = values.astype(np.int64)
    names, y = np.unique(values, return_inverse=True)
    if not 2 <= len(names) <= limits.MAX_CLASSES:
        raise DataError(
            f"{what} has {len(names)} different values; from 2 to {limits.MAX_CLASSES} classes are needed"
        )
    return y.astype(np.int64).reshape(-1), tuple(map(str, names))
