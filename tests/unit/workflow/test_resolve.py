"""A point of the grid becomes a cell, or an error at its place."""

import pytest

from gradleak.workflow import resolve
from gradleak.workflow.cells import Target
from gradleak.workflow.config import ConfigError, LocalTarget

DLG = {"attack": "dlg", "target": "demo"}


LABELS = {"attack": "labels", "target": "demo", "method": "posterior"}


def test_the_entry_overrides_the_base_and_axes_override_both(plan_of):
    plan = plan_of(DLG | {"steps": 7, "axes": {"tv": [0.5]}}, base={"steps": 3, "tv": 0.1, "loss": "l2"})
    options = next(iter(plan.cells.values())).options
    assert (options.steps, options.tv, options.loss) == (7, 0.5, "l2")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"start": 3}, r"cells\[0\].members.start: unknown key; did you mean 'starts'"),
        ({"starts": 0}, r"cells\[0\].members.starts: .* greater than or equal to 2"),
        ({"attack": "dlg"}, r"members.attack: .* leave it out"),
        ({"target.batch_size": 3}, r"members.target.batch_size: .* leave it out"),
        ("span", r"cells\[0\].members: "),
    ],
)
def test_members_that_cannot_be_found_are_errors_with_their_place(plan_of, asked, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(LABELS | {"members": asked})


def test_an_error_in_a_setting_of_the_target_names_its_own_place(plan_of):
    """The attack has an option of the same name."""
    with pytest.raises(ConfigError, match=r"cells\[0\].target.optimizer: 'sdg' is not one of"):
        plan_of(DLG | {"target.optimizer": "sdg", "optimizer": "adam"})


def local(path, truth=None):
    options = LocalTarget(source="local", path=str(path), truth=truth and str(truth))
    return Target("0" * 10, options, {})


@pytest.mark.parametrize("name", ["run{1}", "run{a}x", "a}b", "{", "two\nlines", "a\x07b"])
@pytest.mark.parametrize("where", ["folder", "file", "truth"])
def test_paths_that_snakemake_would_take_for_patterns_are_refused(tmp_path, name, where):
    folder = tmp_path / (name if where == "folder" else "leak")
    folder.mkdir()
    (folder / (name if where == "file" else "model.json")).touch()
    truth = tmp_path / (f"{name}.npz" if where == "truth" else "truth.npz")
    truth.touch()
    setting = "truth" if where == "truth" else "path"
    with pytest.raises(
        ConfigError, match=rf"targets\.mine\.{setting}: .*brace or a control character.*rename"
    ):
        resolve.check_local("mine", local(folder, truth))


@pytest.mark.parametrize("name", ["w[0].npz", "a*b?.npz", "a, b;c.npz", "50%.npz", "ü.npz"])
def test_other_names_are_fine(tmp_path, name):
    (tmp_path / name).touch()
    resolve.check_local("mine", local(tmp_path))
    assert resolve.local_files(local(tmp_path)) == [str(tmp_path / name)]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "leak").mkdir()
    (tmp_path / "leak" / "model.json").touch()
    (tmp_path / "truth.npz").touch()
    target = local("~/leak", "~/truth.npz")
    resolve.check_local("mine", target)
    assert resolve.local_files(target) == [str(tmp_path / "leak" / "model.json")]
    assert resolve.truth_files(target) == [str(tmp_path / "truth.npz")]
    with pytest.raises(ConfigError, match=r"targets\.mine\.truth: '~/none' is not a file"):
        resolve.check_local("mine", local("~/leak", "~/none"))


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "leak").mkdir()
    (tmp_path / "leak" / "model.json").touch()
    return {"source": "local", "path": str(tmp_path / "leak"), "samples": 4, "dataset": "none"}


def test_a_target_without_public_images_needs_no_data_set(plan_of, mine):
    plan = plan_of({"attack": "dlg", "target": "mine"}, targets={"mine": mine})
    (target,) = plan.targets.values()
    assert plan.datasets() == []
    assert not target.has_public
    assert "input_shape" not in target.user_claims
    shaped = mine | {"input_shape": [28, 28, 1]}
    (target,) = plan_of({"attack": "dlg", "target": "mine"}, targets={"mine": shaped}).targets.values()
    assert target.user_claims["input_shape"] == [28, 28, 1]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            {"attack": "dlg", "init": "public_mean"},
            r"cells\[0\].init: public_mean needs public .*; choose normal",
        ),
        ({"attack": "dlg", "init": "features"}, r"cells\[0\].init: features needs .* target 'mine' .*none"),
        ({"attack": "dlg", "weighting": "learned"}, r"weighting: learned needs .*; choose another weighting"),
        ({"attack": "latent", "prior": "vae", "weighting": "learned"}, "weighting: learned needs"),
    ],
)
def test_options_that_need_public_images_are_errors_that_name_others(plan_of, mine, cell, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(cell | {"target": "mine"}, targets={"mine": mine})


def test_a_prior_fits_the_shape_that_the_user_says(plan_of, mine):
    cell = {"attack": "latent", "prior": "vae", "target": "mine"}
    plan_of(cell, targets={"mine": mine})  # only the model says which shape it is
    plan_of(cell, targets={"mine": mine | {"input_shape": [28, 28, 1]}})
    with pytest.raises(ConfigError, match="draws images"):
        plan_of(cell, targets={"mine": mine | {"input_shape": [32, 32, 3]}})


def test_a_shape_beside_a_data_set_is_an_error(plan_of, mine):
    both = mine | {"dataset": "mnist-5k", "input_shape": [28, 28, 1]}
    with pytest.raises(ConfigError, match=r"targets.mine: input_shape: .*choose dataset: none"):
        plan_of(DLG, targets={"mine": both})


def test_tables_have_the_shape_as_one_word(plan_of, mine):
    plan = plan_of({"attack": "dlg", "target": "mine"}, targets={"mine": mine | {"input_shape": [28, 28, 1]}})
    assert [cell.parameters["target.input_shape"] for cell in plan.cells.values()] == ["28×28×1"] * 2
