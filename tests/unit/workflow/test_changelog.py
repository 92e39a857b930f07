"""The changelog's names exist: config keys, columns, rules and modules."""

import re
from pathlib import Path

from gradleak.evaluation import tables
from gradleak.workflow import config

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CHANGELOG.md").read_text()


def rows(header: str) -> list[tuple[list[str], list[str]]]:
    """The names in both columns of the table with this header."""
    table = TEXT.split(f"| {header}")[1].split("\n\n")[0].splitlines()[2:]
    return [tuple(re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:3]) for row in table]


def test_every_renamed_key_is_listed():
    found = {old: new for (old,), (new,) in rows("config key (old)")}
    assert found == config.RENAMED


def test_new_columns_exist():
    columns = rows("column of")
    assert len(columns) == 4
    assert all(new in tables.METRICS and old not in tables.METRICS for (old,), (new,) in columns)


def test_new_rules_exist_and_old_ones_do_not():
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for (old,), (new,) in rows("rule (old)"):
        assert f"rule {new}:" in text
        assert f"rule {old}:" not in text


def test_new_modules_exist():
    library = ROOT / "scripts" / "gradleak"
    for _, names in rows("module of `gradleak` (old)"):
        package = ""
        for name in names:
            if "<" in name or name in ("registry", "strict.StrictModel", "errors.UserError"):
                continue
            if name.startswith("."):
                name = package + name
            package = name.rpartition(".")[0] or name
            path = library / name.replace(".", "/")
            assert path.is_dir() or path.with_suffix(".py").is_file(), name
