"""CSV and Parquet files."""

import pandas as pd
import pytest

from gradleak.datasets import own, table
from gradleak.datasets.errors import DataError
from gradleak.datasets.options import Dataset

TEXT = "age,work,member,label\n25,state,true,yes\n60, private,false,no\n30,NA,true,no\n"


def load(path, **options):
    return own.load("mine", Dataset(path=str(path), **options))


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    return str(caught.value).replace(str(path), path.name)


def csv(folder, text):
    path = folder / "d.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_csv_becomes_records_with_classes(tmp_path):
    examples, known = load(csv(tmp_path, TEXT))
    assert known.kind == "table"
    assert known.class_names == ("no", "yes")
    assert known.shape == (1, 1 + 3 + 2, 1) == examples.x.shape[1:]
    assert examples.y.tolist() == [1, 0, 0]
    assert table.decode(examples.x, known.fields) == [
        {"age": 25, "work": "state", "member": "True"},
        {"age": 60, "work": "private", "member": "False"},
        {"age": 30, "work": "NA", "member": "True"},
    ]


def test_parquet_gives_the_same_as_csv(tmp_path):
    here = load(csv(tmp_path, TEXT))
    frame = pd.read_csv(tmp_path / "d.csv", keep_default_na=False, skipinitialspace=True)
    frame["work"] = frame["work"].astype("category")
    frame.set_index(frame.index + 5).to_parquet(tmp_path / "d.parquet", index=False)
    there = load(tmp_path / "d.parquet")
    assert here.description == there.description
    assert here.examples.x.tobytes() == there.examples.x.tobytes()


def test_codes_can_be_categories_and_the_label_another_column(tmp_path):
    path = csv(tmp_path, "grade,code,x\n3,7,.5\n4,9,1.5\n3,7,2\n")
    examples, known = load(path, label="grade", categorical=["code"])
    assert known.class_names == ("3", "4")
    assert [field.kind for field in known.fields] == [table.CATEGORY, table.NUMBER]
    assert known.fields[0].categories == ("7", "9")
    assert examples.x.shape == (3, 1, 3, 1)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,lable\n1,2\n3,4\n", {}, "d.csv: has no column 'label' (the nearest is 'lable'); set "
         "`datasets.mine.label` to the column with the class"),
        ("a,label\n1,x\n,y\n", {}, "d.csv: column 'a', row 2, is empty; fill it in, or leave out the row"),
        ("a,label\n1,x\n2\n", {}, "d.csv: column 'label', row 2, is empty; fill it in, or leave out the row"),
        ("a,label\n1,x\n2,y\nn/a,y\n", {}, "d.csv: column 'a', row 3, is 'n/a', and most of the column are "
         "numbers; correct it, or name the column under `categorical`"),
        ("a,label\n1,x\n1e999,y\n", {}, "d.csv: column 'a', row 2, is not finite"),
        ("a,a,label\n1,1,x\n", {}, "d.csv: column 2 is called 'a', as another is; name each column in the "
         "first line"),
        ("a,,label\n1,1,x\n", {}, "d.csv: column 2 has no name; name each column in the first line"),
        ("a;label\n1;x\n", {}, "d.csv: its columns are separated by ';'; save it with commas"),
        ("a,label\n", {}, "d.csv: has no rows"),
        ("a,label\n1,.5\n2,.7\n", {}, "d.csv: column 'label' holds measured numbers, and not classes"),
        ("a,label\n1,x\n2,x\n", {}, "d.csv: column 'label' has 1 different values; from 2 to 4096 classes "
         "are needed"),
        ("a,label\n1,x,3\n2,y,4\n", {}, "d.csv: row 1 has more columns than the first line has names; name "
         "each column"),
        ("a,label\n1,x\n", {"categorical": ["b"]}, "d.csv: `datasets.mine.categorical` has 'b', which is "
         "no column"),
        (b"a,label\n\xff,x\n2,y\n", {}, "d.csv: is not UTF-8 text (byte 8); save it as UTF-8"),
        ("a,label\n1,x\n", {"range": [0, 1]}, "datasets.mine.range: changes nothing, since d.csv is a table; "
         "leave it out"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(tmp_path, text, options, message):
    assert refusal(csv(tmp_path, text), **options) == message


def test_a_row_with_too_many_fields_has_its_line(tmp_path):
    message = refusal(csv(tmp_path, "a,label\n1,x\n2,y,z\n"))
    assert message.startswith("d.csv: cannot be read as CSV (")
    assert "line 3" in message


def test_nested_columns_of_parquet_are_refused(tmp_path):
    path = tmp_path / "d.parquet"
    pd.DataFrame({"a": [[1], [2]], "label": ["x", "y"]}).to_parquet(path)
    assert refusal(path).startswith("d.parquet: column 'a' holds list<")


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = tmp_path / "d.parquet"
    pd.DataFrame({"a": [1, 2], "label": ["x", "y"]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(path).startswith("d.parquet: cannot be read as Parquet (")
