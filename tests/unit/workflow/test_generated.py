"""Files that are generated, or that must agree with one another, do."""

import ast
import re
from pathlib import Path

from gradleak.workflow import schema

ROOT = Path(__file__).parents[3]


def test_schema_and_reference_are_what_the_models_say():
    hint = "run `make schema` and commit the result"
    assert (ROOT / "config" / "config.schema.json").read_text() == schema.schema(), hint
    assert (ROOT / "docs" / "reference" / "config.md").read_text() == schema.reference(), hint


def pins(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for package, version in re.findall(
        r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", (ROOT / "envs" / name).read_text(), re.M
    ):
        found.setdefault(package, set()).add(version)
    return found


def test_every_pin_is_hashed_and_no_index_is_named():
    for name in ("requirements.lock", "requirements-gpu.lock"):
        text = (ROOT / "envs" / name).read_text()
        entries = re.split(r"^(?=[a-z0-9][a-z0-9._-]*==)", text, flags=re.M)[1:]
        assert len(entries) > 20
        assert all("--hash=sha256:" in entry for entry in entries)
        assert not re.search(r"https?://|index-url|find-links", text)


def test_direct_dependencies_are_locked():
    wanted = re.findall(r"^([a-z0-9-]+)", (ROOT / "envs" / "requirements.in").read_text(), re.M)
    assert set(wanted) <= set(pins("requirements.lock"))


def test_conda_container_and_gpu_use_the_same_pins():
    """Conda and the container install the very lock; the GPU lock repeats the pins that it shares."""
    conda = (ROOT / "envs" / "environment.yaml").read_text()
    container = (ROOT / "envs" / "Dockerfile").read_text()
    assert "-r requirements.lock" in conda
    assert "--require-hashes" in conda
    assert "--require-hashes -r envs/requirements.lock" in container
    assert not re.search(r"==\d", container), "pins live in the lock alone"
    python = re.search(r"python=(\d+\.\d+)", conda).group(1)
    assert f"FROM python:{python}-" in container
    cpu, gpu = pins("requirements.lock"), pins("requirements-gpu.lock")
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == set()


def test_the_snakefile_is_short_and_rules_hold_no_logic():
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 60
    for path in (ROOT / "rules").glob("*.smk"):
        assert not re.search(r"^\s+run:", path.read_text(), re.M), path
        for function in re.findall(r"^def .*?(?=^\S|\Z)", path.read_text(), re.M | re.S):
            (statement,) = without_docstring(ast.parse(function).body[0])
            assert isinstance(statement, ast.Return), f"{path}: {function}"


def without_docstring(function: ast.FunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) else function.body


def test_only_the_scoring_rules_read_truth():
    """Truth is an input of score*, and of attacks only through oracle_truths, that is with labels: oracle."""
    for path in (ROOT / "rules").glob("*.smk"):
        rules = re.findall(
            r"^(?:use rule \w+ as|rule) (\w+)(?: with)?:\n((?:    .*\n|\n)+)", path.read_text(), re.M
        )
        assert rules or path.name == "common.smk"
        for rule, body in rules:
            inputs = re.search(r"    input:\n((?:        .*\n)+)", body)
            reads = bool(inputs) and "truth" in inputs.group(1)
            if reads and not rule.startswith("score"):
                assert rule == "import_truth" or "truth=oracle_truths" in inputs.group(1), f"{path}: {rule}"
