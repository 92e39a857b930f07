"""Config files: what is accepted, and errors that say where and what instead."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gradleak.workflow import config, study
from gradleak.workflow.config import ConfigError

ROOT = Path(__file__).parents[3]
STUDIES = ROOT / "config" / "studies"


def put(raw, path, value):
    """``put(raw, ("studies", "demo", "seeds"), 3)``; a missing mapping on the way is made."""
    node = raw
    for key in path[:-1]:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
    node[path[-1]] = value
    return raw


def error_of(raw, folder="nowhere"):
    with pytest.raises(ConfigError) as caught:
        study.plan(config.load(raw, folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("thread",), 2, "thread: unknown key; did you mean 'threads'?"),
        (("tracking", "ur"), "x", "tracking.ur: unknown key; did you mean 'uri'?"),
        (
            ("targets", "demo", "batch_sise"),
            8,
            "targets.demo.batch_sise: unknown key; did you mean 'batch_size'?",
        ),
        (("priors", "vae", "latent"), 8, "priors.vae.latent: unknown key; did you mean 'latent_dim'?"),
        (("studies", "demo", "sedes"), 8, "studies.demo.sedes: unknown key; did you mean 'seeds'?"),
        (
            ("studies", "demo", "base"),
            {"wieghting": "x"},
            "studies.demo.base.wieghting: unknown key; did you mean 'weighting'?",
        ),
        (
            ("studies", "demo", "cells", 0, "lables"),
            "joint",
            "studies.demo.cells[0].lables: unknown key; did you mean 'labels'?",
        ),
        (
            ("studies", "demo", "cells", 0, "axes"),
            {"wieghting": ["uniform"]},
            "studies.demo.cells[0].axes.wieghting: unknown key; did you mean 'weighting'?",
        ),
        (
            ("studies", "demo", "cells", 0, "target.batch_sise"),
            8,
            "studies.demo.cells[0].target.batch_sise: unknown key; did you mean 'batch_size'?",
        ),
        (
            ("studies", "demo", "cells", 0, "axes"),
            {"target.modle": ["cnn7"]},
            "studies.demo.cells[0].axes.target.modle: unknown key; did you mean 'model'?",
        ),
        (("datasets", "mnist"), {"pth": "x"}, "datasets.mnist.pth: unknown key; did you mean 'path'?"),
    ],
)
def test_unknown_key_names_its_path_and_the_nearest_name(raw, path, value, expected):
    assert expected in error_of(put(raw, path, value)).splitlines()


@pytest.mark.parametrize(
    ("path", "value", "place", "new"),
    [
        (("studies", "demo", "cells", 0, "optimiser"), "adam", "cells[0].optimiser", "optimizer"),
        (("studies", "demo", "base"), {"optimiser": "adam"}, "base.optimiser", "optimizer"),
        (
            ("studies", "demo", "cells", 0, "axes"),
            {"optimiser": ["adam"]},
            "cells[0].axes.optimiser",
            "optimizer",
        ),
        (
            ("studies", "demo", "cells", 0),
            {"attack": "latent", "target": "demo", "optimiser": "adam"},
            "cells[0].optimiser",
            "optimizer",
        ),
        (
            ("studies", "demo", "cells", 0, "fill_unseen"),
            True,
            "cells[0].fill_unseen",
            "fill_outside_receptive_field",
        ),
        (
            ("studies", "demo", "cells", 0, "axes"),
            {"fill_unseen": [True]},
            "cells[0].axes.fill_unseen",
            "fill_outside_receptive_field",
        ),
        (
            ("studies", "demo", "cells", 0, "target.states_sign"),
            True,
            "cells[0].target.states_sign",
            "sign_in_metadata",
        ),
        (
            ("studies", "demo", "cells", 0, "axes"),
            {"target.states_sign": [True, False]},
            "cells[0].axes.target.states_sign",
            "sign_in_metadata",
        ),
    ],
)
def test_a_renamed_key_of_a_study_names_the_new_one(raw, path, value, place, new):
    assert error_of(put(raw, path, value)) == (
        f"studies.demo.{place}: was renamed to {new!r} (see CHANGELOG.md)"
    )


def test_a_renamed_key_of_a_target_names_the_new_one(raw):
    assert error_of(put(raw, ("targets", "demo", "states_sign"), True)) == (
        "targets.demo.states_sign: was renamed to 'sign_in_metadata' (see CHANGELOG.md)"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [("optimiser", "optimizer"), ("target.states_sign", "target.sign_in_metadata")],
)
def test_a_renamed_key_under_exclude_names_the_new_one(raw, old, new):
    raw["studies"]["demo"]["cells"][0] |= {"axes": {new: ["adam"]}, "exclude": [{old: "adam"}]}
    assert error_of(raw) == (
        f"studies.demo.cells[0].exclude: {old!r} was renamed to {new!r} (see CHANGELOG.md)"
    )


def test_a_key_that_was_renamed_elsewhere_is_just_unknown(raw):
    assert error_of(put(raw, ("optimiser",), 1)) == "optimiser: unknown key"


@pytest.mark.parametrize("name", ["local", "drive", "simulate"])
def test_a_target_may_be_called_like_a_source(raw, name):
    put(raw, ("targets", name), {"source": "simulate", "batch_sise": 8})
    assert error_of(raw) == f"targets.{name}.batch_sise: unknown key; did you mean 'batch_size'?"


@pytest.mark.parametrize(
    ("path", "value", "place", "nearest"),
    [
        (("targets", "demo", "dataset"), "mnist5k", "targets.demo.dataset", "mnist-5k"),
        (("targets", "demo", "optimizer"), "agd", "targets.demo.optimizer", "sgd"),
        (("priors", "vae", "architecture"), "cnov", "priors.vae.architecture", "conv"),
        (("studies", "demo", "cells", 0, "weighting"), "depht", "studies.demo.cells[0].weighting", "depth"),
        (
            ("studies", "demo", "cells", 0, "axes"),
            {"labels": ["joint", "orcale"]},
            "studies.demo.cells[0].axes.labels",
            "oracle",
        ),
        (("studies", "demo", "cells", 0, "attack"), "dgl", "studies.demo.cells[0].attack", "dlg"),
        (("studies", "demo", "cells", 0, "target"), "demmo", "studies.demo.cells[0].target", "demo"),
        (
            ("studies", "demo", "cells", 0, "label_method"),
            "rnak1",
            "studies.demo.cells[0].label_method",
            "rank1",
        ),
        (
            ("studies", "demo", "cells", 0),
            {"attack": "labels", "target": "demo", "method": "idgl"},
            "studies.demo.cells[0].method",
            "idlg",
        ),
        (
            ("studies", "demo", "cells", 0),
            {"attack": "latent", "target": "demo", "prior": "vea"},
            "studies.demo.cells[0].prior",
            "vae",
        ),
        (("studies", "demo", "cells", 0, "combine"), "zipp", "studies.demo.cells[0].combine", "zip"),
        (("study",), "dmeo", "study", "demo"),
        (("datasets", "mnits"), {"path": "x"}, "datasets.mnits", "mnist"),
        (("datasets", "mnits"), {}, "datasets.mnits.path", "mnist"),
        (("priors", "vae", "dataset"), "mnist5k", "priors.vae.dataset", "mnist-5k"),
        (("targets", "demo", "model"), "cnn8", "targets.demo.model", "cnn7"),
        (
            ("studies", "demo", "cells", 0, "target.dataset"),
            "mnits",
            "studies.demo.cells[0].target.dataset",
            "mnist",
        ),
    ],
)
def test_wrong_name_names_its_path_and_the_nearest_one(raw, path, value, place, nearest):
    message = error_of(put(raw, path, value))
    assert message.startswith(f"{place}: ")
    assert f"did you mean {nearest!r}?" in message


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            ("targets", "demo"),
            {"source": "simluate"},
            "targets.demo.source: 'simluate' is not one of simulate, local, drive",
        ),
        (
            ("targets", "demo"),
            {"batch_size": 3},
            "targets.demo: 'source' is missing (simulate, local or drive)",
        ),
        (("targets", "mine"), {"source": "local"}, "targets.mine.path: field required"),
        (
            ("targets", "mine"),
            {"source": "local", "path": 3},
            "targets.mine.path: input should be a valid string",
        ),
        (("targets", "mine"), {"source": "local", "path": "x", "scale": "x"}, "targets.mine.scale: "),
        (("targets", "mine"), {"source": "drive", "ids": ["a"]}, "targets.mine.ids: "),
        (("targets", "demo", "batch_size"), 0, "targets.demo.batch_size: "),
        (("targets", "demo", "samples"), 8, "targets.demo: samples (8) is less than batch_size (32)"),
        (("targets", "demo", "width"), 0, "targets.demo.width: "),
        (
            ("targets", "demo"),
            {"source": "simulate", "model": "cnn7_dropout", "width": 64},
            "targets.demo: model cnn7_dropout has no width to choose; those that have: cnn7, fcn3",
        ),
        (("targets",), ["demo"], "targets: input should be a valid dictionary"),
        (("studies", "demo", "seeds"), "x", "studies.demo.seeds: "),
        (("studies", "demo", "seeds"), 0, "studies.demo.seeds: needs at least one seed"),
        (("studies", "demo", "seeds"), [1, 1], "studies.demo.seeds: needs at least one seed"),
        (("studies", "demo", "seeds"), [-1], "studies.demo.seeds: needs at least one seed"),
        (("studies", "demo", "cells"), [], "studies.demo.cells: "),
        (("studies", "demo", "cells"), ["dlg"], "studies.demo.cells[0]: "),
        (("studies", "demo", "cells", 0, "steps"), 0, "studies.demo.cells[0].steps: "),
        (("studies", "demo", "cells", 0, "attack"), ["dlg"], "studies.demo.cells[0].attack: "),
        (("studies", "demo", "cells", 0, "target"), ["demo"], "studies.demo.cells[0].target: "),
        (("studies", "demo", "cells", 0, "target"), None, "studies.demo.cells[0].target: "),
        (("study",), 3, "study: "),
        (("study",), None, "study: "),
        (("study",), [], "study: "),
        (("study",), ["demo", "nothing"], "study: there is no study 'nothing'"),
    ],
)
def test_wrong_value_is_an_error_at_its_path(raw, path, value, expected):
    assert error_of(put(raw, path, value)).startswith(expected)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {"axes": {"weighting": []}},
            "studies.demo.cells[0].axes.weighting: must be a list with at least one value",
        ),
        ({"axes": {"weighting": "depth"}}, "studies.demo.cells[0].axes.weighting: must be a list"),
        ({"axes": {"weighting": None}}, "studies.demo.cells[0].axes.weighting: must be a list"),
        ({"axes": ["weighting"]}, "studies.demo.cells[0].axes: must be a mapping"),
        ({"axes": {3: ["a"]}}, "studies.demo.cells[0].axes: 3 is not the name of an option"),
        (
            {"axes": {"weighting": ["uniform", "depth"], "tv": [0.1]}, "combine": "zip"},
            "studies.demo.cells[0].axes: combine: zip needs lists of one length (got weighting 2, tv 1)",
        ),
        ({"exclude": {"weighting": "depth"}}, "studies.demo.cells[0].exclude: must be a list of mappings"),
        ({"exclude": [{}]}, "studies.demo.cells[0].exclude: must be a list of mappings"),
        (
            {"axes": {"weighting": ["depth"]}, "exclude": [{"weihgting": "depth"}]},
            "studies.demo.cells[0].exclude: 'weihgting' is not a parameter of this entry; "
            "did you mean 'weighting'?",
        ),
        (
            {"axes": {"weighting": ["depth"]}, "exclude": [{"weighting": "depth"}]},
            "studies.demo: every cell is excluded",
        ),
    ],
)
def test_wrong_axes_are_an_error_at_their_path(raw, entry, expected):
    raw["studies"]["demo"]["cells"][0] |= entry
    message = error_of(raw)
    if "did you mean" in expected:
        assert message == expected
    else:
        assert message.startswith(expected)


def test_all_errors_of_a_file_are_told_at_once(raw):
    put(raw, ("thread",), 2)
    put(raw, ("targets", "demo", "batch_size"), -1)
    assert len(error_of(raw).splitlines()) == 2


def test_oracle_labels_need_truth(raw, tmp_path):
    (tmp_path / "delta.npz").write_bytes(b"x")
    raw["targets"] |= {
        "mine": {"source": "local", "path": str(tmp_path)},
        "drive": {"source": "drive", "ids": ["a", "b", "c"]},
    }
    for name in ("mine", "drive"):
        raw["studies"]["demo"]["cells"] = [{"attack": "dlg", "target": name, "labels": "oracle"}]
        assert (
            error_of(raw) == f"studies.demo.cells[0].labels: oracle needs truth, and target {name!r} has none"
        )
    raw["targets"]["mine"]["truth"] = str(tmp_path / "delta.npz")
    raw["studies"]["demo"]["cells"][0]["target"] = "mine"
    assert study.plan(config.load(raw, tmp_path)).cells


def test_a_prior_of_another_image_size_is_an_error(raw):
    raw["priors"]["vae"] = {"dataset": "digits-8x8"}
    raw["studies"]["demo"]["cells"] = [{"attack": "latent", "target": "demo", "prior": "vae"}]
    assert error_of(raw).startswith("studies.demo.cells[0].prior: 'vae' draws images (8, 8, 1)")


def test_local_target_needs_its_files(raw, tmp_path):
    raw["studies"]["demo"]["cells"][0]["target"] = "mine"
    raw["targets"]["mine"] = {"source": "local", "path": str(tmp_path)}
    (tmp_path / ".hidden").write_text("x")
    assert error_of(raw).startswith("targets.mine.path: no files in")
    (tmp_path / "delta.npz").write_text("x")
    raw["targets"]["mine"]["truth"] = str(tmp_path / "truth.npz")
    assert error_of(raw).startswith("targets.mine.truth: ")


def test_a_list_of_studies_and_all_select_them_once(raw):
    raw["studies"]["other"] = {"cells": [{"attack": "labels", "target": "demo"}]}
    for wanted in (["demo", "other"], ["demo", "other", "demo"], "all"):
        plan = study.plan(config.load(raw | {"study": wanted}, "nowhere"))
        assert [s.name for s in plan.studies] == ["demo", "other"]


def write_shipped(folder, name="big", **content):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


SHIPPED = {
    "targets": {"shipped": {"source": "simulate", "batch_size": 4}},
    "studies": {"big": {"seeds": 16, "cells": [{"attack": "dlg", "target": "shipped"}]}},
}


def test_a_study_is_looked_up_in_the_folder_and_the_own_config_goes_first(raw, tmp_path):
    write_shipped(tmp_path, study="nothing", threads=2, **SHIPPED)
    raw |= {"study": ["big", "demo"]}
    raw["targets"]["shipped"] = {"batch_size": 2}  # what differs
    raw["studies"]["big"] = {"seeds": 3}
    found = config.load(raw, tmp_path)
    assert found.selected == ["big", "demo"]
    assert found.targets["shipped"].batch_size == 2
    assert found.studies["big"].seeds == 3
    assert len(found.studies["big"].cells) == 1
    assert found.threads == 2


def test_a_whole_entry_of_the_user_has_no_keys_of_the_shipped_one():
    """Snakemake merges the two files key by key."""
    shipped = {
        "targets": {"demo": {"source": "simulate", "dataset": "mnist-5k", "draws": 8}},
        "priors": {"vae": {"architecture": "conv", "latent_dim": 16}},
        "studies": {"demo": {"seeds": 8, "base": {"tv": 0}, "cells": [{"attack": "dlg"}]}},
    }
    own = {
        "targets": {"demo": {"source": "local", "path": "leaks/mine"}},
        "priors": {"vae": {"epochs": 3}},
        "studies": {"demo": {"cells": [{"attack": "span"}]}},
    }
    assert config.with_own_entries(config._merge(shipped, own), own) == own
    single = {"targets": {"demo": {"draws": 2}}, "studies": {"demo": {"seeds": 2}}}
    merged = config._merge(shipped, single)
    assert config.with_own_entries(merged, single) == merged
    assert merged["targets"]["demo"] == {"source": "simulate", "dataset": "mnist-5k", "draws": 2}


def test_a_whole_target_of_the_user_has_no_keys_of_the_study_file(raw, tmp_path):
    write_shipped(tmp_path, **SHIPPED)
    raw |= {"study": "big"}
    raw["targets"]["shipped"] = {"source": "simulate", "model": "fcn3"}
    assert config.load(raw, tmp_path).targets["shipped"].batch_size != 4


def test_a_whole_study_of_ones_own_is_left_alone(raw, tmp_path):
    write_shipped(tmp_path, name="demo", studies={"demo": {"seeds": 99, "base": {"tv": 1.0}, "cells": []}})
    found = config.load(raw, tmp_path)
    assert found.studies["demo"].base == {}
    assert found.studies["demo"].seeds == 4


def test_loading_leaves_the_given_config_unchanged(raw, tmp_path):
    write_shipped(tmp_path, **SHIPPED)
    before = yaml.safe_dump(raw)
    config.load(raw | {"study": "big"}, tmp_path)
    assert yaml.safe_dump(raw) == before


@pytest.mark.parametrize("text", ["- a list", "", "a: [1", "words"])
def test_a_damaged_study_file_is_an_error_that_names_it(raw, tmp_path, text):
    (tmp_path / "big.yaml").write_text(text)
    assert str(tmp_path / "big.yaml") in error_of(raw | {"study": "big"}, tmp_path)


def shipped_configs():
    return ["config.yaml", *sorted(path.stem for path in STUDIES.glob("*.yaml"))]


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_study_parses_and_expands(name):
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    if name != "config.yaml":
        raw["study"] = name
    plan = study.plan(config.load(raw, STUDIES))
    assert plan.asked()
    assert [s.name for s in plan.studies] == ["demo" if name == "config.yaml" else name]
    assert all(cell.options.attack in config.ATTACKS for cell in plan.cells.values())


def test_the_ablation_has_a_thousand_trials():
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text()) | {"study": "ablation"}
    plan = study.plan(config.load(raw, STUDIES))
    assert sum(len(plan.blocks[pair]) for pair in plan.asked()) >= 1000


def test_planning_imports_no_heavy_library():
    code = (
        "import sys, yaml; sys.path.insert(0, 'scripts')\n"
        "from gradleak.workflow import code_digest, config, study\n"
        "raw = yaml.safe_load(open('config/config.yaml'))\n"
        "plan = study.plan(config.load(raw)); plan.cells_csv(); plan.described(); plan.figures()\n"
        "code_digest.digest('scripts/invert_latent.py')\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'pandas', 'matplotlib', 'sklearn', 'scipy'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
