"""Digests of code: what an edit reruns, and what it leaves alone."""

import importlib.util
import shutil
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture
def tree(tmp_path):
    """A copy of scripts/ to edit: (edit a file by appending, digest a script)."""
    folder = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    copies = iter(range(100))

    def digest(script):
        # A fresh copy of the module each time: its library folder is the one that it lies in, its cache is empty.
        path = folder / "gradleak" / "workflow" / "code_digest.py"
        spec = importlib.util.spec_from_file_location(f"copied_code_{next(copies)}", path)
        code = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(code)
        return code.digest(folder / script)

    def edit(name, change):
        path = folder / name
        path.write_text(change(path.read_text()))

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


@pytest.mark.parametrize(
    ("name", "changed", "same"),
    [
        (
            "gradleak/attacks/matching/latent.py",
            ["invert_latent.py"],
            ["invert_pixels.py", "score.py", "train_vae.py"],
        ),
        ("gradleak/attacks/matching/dlg.py", ["invert_pixels.py"], ["invert_latent.py", "score.py"]),
        ("gradleak/evaluation/figures.py", ["plot.py"], ["invert_latent.py", "invert_pixels.py", "score.py"]),
        ("gradleak/optim/minimise.py", ["invert_latent.py", "invert_pixels.py"], []),
        ("gradleak/gradients/objectives.py", ["invert_latent.py", "invert_pixels.py"], []),
        ("gradleak/labels/methods/rank1.py", ["recover_labels.py"], ["invert_pixels.py", "score.py"]),
        (
            "gradleak/evaluation/metrics.py",
            ["score.py", "summarise.py"],
            ["invert_pixels.py", "train_vae.py"],
        ),
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
        "attacks/latent.py",
        "optim/minimise.py",
        "gradients/matcher.py",
        "vae.py",
    } <= found
    assert found.isdisjoint({"attacks/dlg.py", "figures.py", "tracking.py", "metrics.py"})


def test_every_script_has_a_digest_of_its_own():
    from gradleak.workflow import code_digest

    digests = {script.name: code_digest.digest(script) for script in SCRIPTS.glob("*.py")}
    assert len(set(digests.values())) == len(digests)
    assert all(len(value) == 12 for value in digests.values())
