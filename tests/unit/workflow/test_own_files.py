"""The user's own data sets and models in the config: names, paths, inputs of rules."""

import os

import numpy as np
import pytest

from gradleak.workflow import config, own_files, study
from gradleak.workflow.config import ConfigError


@pytest.fixture
def own(raw, tmp_path):
    """A config whose target uses the data set ``mine``, an .npz."""
    np.savez(tmp_path / "mine.npz", x=np.zeros((9, 4)), y=np.arange(9) % 3)
    raw["datasets"] = {"mine": {"path": str(tmp_path / "mine.npz")}}
    raw["targets"]["demo"]["dataset"] = "mine"
    return raw


def plan(raw):
    return study.plan(config.load(raw, "nowhere"))


def error_of(raw):
    with pytest.raises(ConfigError) as caught:
        plan(raw)
    return str(caught.value)


def test_an_own_set_can_be_named_wherever_a_built_in_one_can(own, tmp_path):
    (tmp_path / "leak").mkdir()
    (tmp_path / "leak" / "model.json").touch()
    own["targets"]["local"] = {"source": "local", "dataset": "mine", "path": str(tmp_path / "leak")}
    own["priors"]["vae"] = {"dataset": "mine"}
    own["studies"]["demo"]["cells"] += [
        {"attack": "dlg", "target": "local"},
        {"attack": "latent", "target": "demo", "prior": "vae"},
    ]
    found = plan(own)
    assert found.datasets() == ["mine"]
    assert own_files.inputs_of(found.config, "mine") == [str(tmp_path / "mine.npz")]
    assert found.dataset_options("mine") == {"path": str(tmp_path / "mine.npz")}
    assert own_files.inputs_of(found.config, "mnist-5k") == []


def test_all_wrong_names_are_named_at_once_with_the_nearest(own):
    own["targets"]["demo"]["dataset"] = "mime"
    own["priors"]["vae"] = {"dataset": "mines"}
    names = (
        "mnist-5k, mnist, fashion-mnist, digits-8x8, photo-crops, cifar10, breast-cancer, wine, adult, mine"
    )
    assert error_of(own).splitlines() == [
        f"targets.demo.dataset: 'mime' is not one of {names}; did you mean 'mine'?",
        f"priors.vae.dataset: 'mines' is not one of {names}; did you mean 'mine'?",
    ]


def test_a_set_that_is_not_there_is_an_error(own):
    own["datasets"]["mine"]["path"] = "nothing.npz"
    assert error_of(own) == (
        f"datasets.mine.path: there is no file or folder 'nothing.npz' (from {os.getcwd()})"
    )


@pytest.mark.parametrize("name", ["Mine", "my set", "../mine", "-mine", ""])
def test_names_that_make_no_folder_are_refused(own, name):
    own["datasets"][name] = own["datasets"]["mine"]
    assert error_of(own).startswith(f"datasets.{name}: string should match pattern")


def test_none_is_no_name_of_a_set(own):
    own["datasets"]["none"] = own["datasets"]["mine"]
    assert error_of(own) == "datasets.none: means that there is no data set; choose another name"


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"range": [1, 0]}, "datasets.mine.range: the first number must be less than the second"),
        ({"size": [28]}, "datasets.mine.size[1]: field required"),
        ({"siez": [28, 28]}, "datasets.mine.siez: unknown key; did you mean 'size'?"),
    ],
)
def test_options_are_checked_with_their_place(own, options, place):
    own["datasets"]["mine"] |= options
    assert error_of(own).startswith(place)


def test_a_brace_in_a_path_is_refused(own, tmp_path):
    (tmp_path / "mine.npz").rename(tmp_path / "mine{1}.npz")
    own["datasets"]["mine"]["path"] = str(tmp_path / "mine{1}.npz")
    assert "has a brace or a control character in its name" in error_of(own)


def test_the_inputs_of_a_folder_are_its_files_and_those_of_its_folders(own, tmp_path, monkeypatch):
    for name in ("a/1.png", "b/1.png", "b/2.png", ".hidden/1.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()
    own["datasets"]["mine"]["path"] = str(tmp_path / "set")
    checked = plan(own).config

    def inputs():
        return [path.removeprefix(f"{tmp_path}/set/") for path in own_files.inputs_of(checked, "mine")]

    assert inputs() == ["a/1.png", "b/1.png", "b/2.png"]
    monkeypatch.setattr(own_files, "IMAGES_EACH", 1)
    assert inputs() == ["a/1.png", "b"]


def test_an_own_model_is_a_file_and_changes_the_id(raw, tmp_path):
    built_in = plan(raw).asked()
    path = tmp_path / "mine.json"
    raw["targets"]["demo"]["model"] = str(path)
    assert error_of(raw) == f"targets.demo.model: {str(path)!r} is not a file (from {os.getcwd()})"
    path.touch()
    found = plan(raw)
    assert set(found.asked()).isdisjoint(built_in)
    (target,) = found.targets.values()
    assert list(own_files.models([target.options]).values()) == [str(path)]


def test_a_built_in_model_is_no_file(raw):
    (target,) = plan(raw).targets.values()
    assert own_files.models([target.options]) == {}


def test_an_own_model_has_no_width(raw):
    raw["targets"]["demo"] |= {"model": "mine.keras", "width": 7}
    assert "model mine.keras has no width to choose" in error_of(raw)


def test_preprocess_changes_the_id_and_is_one_word_in_tables(raw):
    plain = plan(raw).asked()
    raw["targets"]["demo"]["preprocess"] = None
    assert plan(raw).asked() == plain
    raw["targets"]["demo"]["preprocess"] = {"mean": 0.1307, "std": 0.3081}
    cell = next(iter(plan(raw).cells.values()))
    assert plan(raw).asked() != plain
    assert cell.parameters["target.preprocess"] == "mean 0.1307, std 0.3081"
    assert cell.target.preprocess is None, "the simulated client shares the model with the layer in it"


def test_preprocess_of_a_local_target_goes_to_the_mapping(raw, tmp_path):
    (tmp_path / "model.json").touch()
    raw["targets"]["mine"] = {"source": "local", "path": str(tmp_path), "preprocess": {"range": [-1, 1]}}
    raw["studies"]["demo"]["cells"][0]["target"] = "mine"
    cell = next(iter(plan(raw).cells.values()))
    assert cell.target.preprocess == {"range": [-1.0, 1.0]}


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"men": 1}, "targets.demo.preprocess.men: unknown key; did you mean 'mean'?"),
        ({"mean": 1}, "targets.demo.preprocess: give mean and std, or range"),
        ({"mean": "x", "std": 1}, "targets.demo.preprocess.mean: "),
    ],
)
def test_a_wrong_preprocess_is_named(raw, stated, message):
    raw["targets"]["demo"]["preprocess"] = stated
    assert any(line.startswith(message) for line in error_of(raw).splitlines())
