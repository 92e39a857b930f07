"""Digests of code: what an edit reruns, and what it leaves alone."""

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gradleak.workflow import code_digest

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def tree(tmp_path):
    """A copy of scripts/ to edit: (edit a file by appending, digest a script)."""
    folder = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    copies = iter(range(100))

    def digest(script, **options):
        # A fresh copy of the module: it reads the library that it lies in, and its cache is empty.
        path = folder / "gradleak" / "workflow" / "code_digest.py"
        spec = importlib.util.spec_from_file_location(f"copied_code_{next(copies)}", path)
        code = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(code)
        return code.digest(folder / script, **options)

    def edit(name, change):
        path = folder / name
        path.write_text(change(path.read_text() if path.exists() else ""))

    return edit, digest


def appended(text):
    return lambda source: source + text


ALL = ("invert_latent.py", "invert_pixels.py", "train_vae.py", "score.py")


def test_comments_and_layout_change_nothing(tree):
    edit, digest = tree
    before = [digest(script) for script in ALL]
    for name in (
        "gradleak/optim/minimise.py",
        "gradleak/attacks/matching/latent.py",
        "gradleak/jobs/job.py",
        *ALL,
    ):
        edit(
            name,
            lambda source: "# first\n" + source.replace("\n\n\n", "\n\n\n\n# between\n") + "\n\n# last\n",
        )
    assert [digest(script) for script in ALL] == before


SOURCE = '''
"""Of the module."""
import re

LIMIT = 3


class A:
    """Of the class."""


def f(x):
    """Of the function."""
    if x == "one two three" or re.match("four five six", x):
        raise ValueError(f"{x} is not a number")
    return {"seven eight nine": "ten eleven twelve", "k": LIMIT}["seven eight nine"], "not applicable"
'''


@pytest.mark.parametrize(
    ("before", "after", "counts", "counts_as_text"),
    [
        ("Of the module.", "Another docstring.", False, False),
        ("Of the class.", "Another docstring.", False, False),
        ("Of the function.", "Another docstring.", False, False),
        ("is not a number", "must be a number", False, True),
        ("ten eleven twelve", "another sentence here", False, True),
        ("LIMIT = 3", "LIMIT = 4", True, True),
        ("{x} is not", "{len(x)} is not", True, True),
        ("one two three", "one two four", True, True),
        ("four five six", "four five seven", True, True),
        ("seven eight nine", "seven eight ten", True, True),
        ("not applicable", "not possible", True, True),
    ],
)
def test_only_sentences_and_docstrings_are_left_out(tree, before, after, counts, counts_as_text):
    """What a program may depend on counts: keys, comparisons, patterns, and strings that are no sentence."""
    edit, digest = tree
    edit("gradleak/new.py", lambda _: SOURCE)
    edit("score.py", appended("\nimport gradleak.new\n"))
    plain, text = digest("score.py"), digest("score.py", text=True)
    assert before in SOURCE
    edit("gradleak/new.py", lambda source: source.replace(before, after))
    assert (digest("score.py") != plain) == counts
    assert (digest("score.py", text=True) != text) == counts_as_text


def test_an_edit_of_one_label_method_counts_for_the_jobs_that_run_it(tree):
    edit, digest = tree
    runs = {
        "rlu": frozenset({"labels/methods/rlu.py"}),
        "llg": frozenset({"labels/methods/llg.py"}),
        "all": None,
    }
    before = {name: digest("recover_labels.py", methods=methods) for name, methods in runs.items()}
    assert len(set(before.values())) == 3
    edit("gradleak/labels/methods/rlu.py", appended("\nEDITED = 1\n"))
    after = {name: digest("recover_labels.py", methods=methods) for name, methods in runs.items()}
    assert [name for name in runs if before[name] != after[name]] == ["rlu", "all"]
    edit("gradleak/labels/methods/greedy.py", appended("\nEDITED = 1\n"))
    assert digest("recover_labels.py", methods=runs["llg"]) != after["llg"], "what a method imports counts"
    assert digest("recover_labels.py", methods=runs["rlu"]) == after["rlu"]


def test_a_new_label_method_counts_for_no_job_of_the_others(tree):
    """A file, an import and an entry in the registry, as docs/how-to/extend.md says."""
    edit, digest = tree
    runs = {"rlu": frozenset({"labels/methods/rlu.py"}), "all": None}
    before = {name: digest("recover_labels.py", methods=methods) for name, methods in runs.items()}
    registry = "gradleak/labels/registry.py"
    edit("gradleak/labels/methods/mine.py", appended("def estimate(evidence): ...\n"))
    edit(registry, lambda source: source.replace("    ilrg,\n", "    ilrg,\n    mine,\n", 1))
    edit(
        registry, lambda source: source.replace("METHODS = {", 'METHODS = {"mine": Method(mine.estimate),', 1)
    )
    after = {name: digest("recover_labels.py", methods=methods) for name, methods in runs.items()}
    assert after["rlu"] == before["rlu"]
    assert after["all"] != before["all"]
    edit(
        registry, lambda source: source.replace("Method(rlu.estimate,", "Method(rlu.estimate, bias=False,", 1)
    )
    assert digest("recover_labels.py", methods=runs["rlu"]) != after["rlu"], "its own entry counts"


@pytest.mark.parametrize(
    ("name", "changed", "same"),
    [
        (
            "gradleak/attacks/matching/latent.py",
            ["invert_latent.py"],
            ["invert_pixels.py", "score.py", "train_vae.py"],
        ),
        ("gradleak/attacks/matching/dlg.py", ["invert_pixels.py"], ["invert_latent.py", "score.py"]),
        (
            "gradleak/evaluation/figures/labels.py",
            ["plot.py"],
            ["invert_latent.py", "invert_pixels.py", "score.py", "plot_mapping.py", "write_report.py"],
        ),
        ("gradleak/evaluation/figures/registry.py", ["write_report.py"], ["plot.py", "score.py"]),
        ("gradleak/optim/minimise.py", ["invert_latent.py", "invert_pixels.py"], []),
        ("gradleak/gradients/objectives.py", ["invert_latent.py", "invert_pixels.py"], []),
        ("gradleak/labels/methods/rank1.py", ["recover_labels.py"], ["invert_pixels.py", "score.py"]),
        (
            "gradleak/evaluation/metrics.py",
            ["score.py"],
            ["summarise.py", "invert_pixels.py", "train_vae.py"],
        ),
        ("gradleak/evaluation/bootstrap.py", ["summarise.py"], ["score.py"]),
        ("gradleak/federated/client.py", ["simulate_client.py"], ["invert_pixels.py", "score.py"]),
        ("gradleak/__init__.py", ALL, []),
        ("gradleak/attacks/__init__.py", ["invert_pixels.py"], []),
        ("invert_pixels.py", ["invert_pixels.py"], ["invert_latent.py"]),
    ],
)
def test_an_edit_reruns_what_imports_the_file_and_nothing_else(tree, name, changed, same):
    edit, digest = tree
    before = {script: digest(script) for script in (*changed, *same)}
    edit(name, appended("\nEDITED = 1\n"))
    after = {script: digest(script) for script in (*changed, *same)}
    assert [script for script in before if before[script] != after[script]] == list(changed)


@pytest.mark.parametrize(
    "imports",
    [
        "\ndef late():\n    from gradleak.labels.methods import uniform\n    return uniform\n",
        "\nimport gradleak.labels.methods.uniform\n",
    ],
    ids=["inside a function", "plain, of a submodule"],
)
def test_imports_of_every_form_are_followed(tree, imports):
    edit, digest = tree
    edit("score.py", appended(imports))
    before = digest("score.py")
    edit("gradleak/labels/methods/uniform.py", appended("\nEDITED = 1\n"))
    assert digest("score.py") != before


def test_touching_and_cloning_change_nothing(tree):
    from gradleak.workflow import code_digest

    edit, digest = tree
    edit("gradleak/jobs/job.py", lambda source: source)  # a new time stamp, in another folder
    assert digest("invert_pixels.py") == code_digest.digest(SCRIPTS / "invert_pixels.py")


def test_modules_names_what_a_script_runs():
    from gradleak.workflow import code_digest

    found = code_digest.modules(SCRIPTS / "invert_latent.py")
    assert {
        "invert_latent.py",
        "attacks/matching/latent.py",
        "optim/minimise.py",
        "gradients/matcher.py",
        "priors/vae.py",
    } <= found
    assert not any(
        name.startswith(("evaluation/metrics", "tracking/", "attacks/span/", "mapping/sign"))
        for name in found
    )


def test_every_script_has_a_digest_of_its_own():
    from gradleak.workflow import code_digest

    digests = {script.name: code_digest.digest(script) for script in SCRIPTS.glob("*.py")}
    assert len(set(digests.values())) == len(digests)
    assert all(len(value) == 12 for value in digests.values())


EXAMPLE = '''
@functools.cache
def greet(name: str, *rest, loud=False, **more) -> str:
    """Never counts."""
    return f"hello {name!r:>{width}}" + (lambda: "none" "of it")()


class Point(tuple[int, ...]):
    x: int
    y: int | None = None
'''


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_version_of_python_gives_the_same_digests(version):
    """A run goes on under another Python without beginning again."""
    program = shutil.which(f"python{version}")
    if program is None or subprocess.run([program, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no python{version} here: install it, or add it to PATH")
    code = (
        "import ast, sys; from gradleak.workflow import code_digest as c; "
        f"print(c.dump(ast.parse({EXAMPLE!r})), c.digest('scripts/invert_span.py'))"
    )
    there, here = (
        subprocess.run(
            [python, "-c", code],
            cwd=SCRIPTS.parent,
            env={"PYTHONPATH": "scripts"},
            capture_output=True,
            text=True,
        )
        for python in (program, sys.executable)
    )
    assert here.stdout
    assert there.stdout == here.stdout, there.stderr


def test_empty_fields_of_the_tree_do_not_count():
    """Those are what versions of Python differ in."""
    tree = ast.parse(EXAMPLE)
    for node in ast.walk(tree):
        node._fields = (*node._fields, "new_in_a_later_python")
        node.new_in_a_later_python = []
    assert code_digest.dump(tree) == code_digest.dump(ast.parse(EXAMPLE))
