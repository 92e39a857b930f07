"""Records → MLflow, against a real SQLite database."""

import json
from pathlib import Path

import numpy as np
import pytest
import syncing
from mlflow import MlflowClient
from results import image_scores, label_scores
from syncing import Seen

from gradleak.evaluation.figures.registry import FIGURES
from gradleak.files import read_json
from gradleak.tracking import sync as tracking


@pytest.fixture
def database(tmp_path, schema, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mlflow" / "mlflow.db"
    path.parent.mkdir()
    path.write_bytes(schema)
    return path


@pytest.fixture
def demo(results):
    results.cell("aaa").cell("bbb", weighting="depth").cell("ccc", "labels", method="rank1")
    results.block("aaa", (0, 1), image_scores).block(
        "bbb", (0, 1), image_scores, {1: "diverged"}, "no finite objective"
    )
    return results.block("ccc", (0, 1), label_scores)


def sync(results, database, prune=False, **chosen):
    results.frames(**chosen)
    done = syncing.sync(f"sqlite:///{database}", results, prune, results.folder / "seen.json")
    return {what: count for what, count in done.items() if count}


def ids(runs):
    return {identity: run.info.run_id for identity, run in runs.items()}


def test_one_experiment_a_study_one_parent_a_cell_one_run_a_trial(demo, database):
    assert sync(demo, database) == {"created": 9}
    seen = Seen(f"sqlite:///{database}")
    runs = seen.runs()
    assert set(runs) == {cell + seed for cell in ("aaa", "bbb", "ccc") for seed in ("", "/0", "/1")}
    for identity, run in runs.items():
        kind = "trial" if "/" in identity else "cell"
        assert run.data.tags["kind"] == kind
        if kind == "trial":
            assert run.data.tags["mlflow.parentRunId"] == runs[identity[:3]].info.run_id
        else:
            assert "mlflow.parentRunId" not in run.data.tags
    experiment = seen.client.get_experiment_by_name("gradleak/demo")
    assert experiment.tags["mlflow.note.content"] == "What it is."


def test_a_run_holds_params_metrics_curve_times_and_tags_of_its_trial(demo, database):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    run = seen.runs()["aaa/1"]
    assert run.data.params["attack"] == "dlg"
    assert run.data.params["steps"] == "9"
    assert run.data.params["target.batch_size"] == "4"
    assert run.data.metrics["psnr"] == 21
    assert run.data.metrics["objective"] == 0.5
    assert run.data.metrics["seconds"] == 4
    curve = seen.history(run, "loss")
    assert [step for step, _, _ in curve] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose([value for _, value, _ in curve], np.linspace(1, 0.2, 5), rtol=1e-5)
    assert run.info.start_time == 1_000_000
    assert run.info.end_time == 1_008_000
    assert run.info.run_name == "dlg weighting=uniform seed=1"
    expected = {
        "study": "demo",
        "cell": "aaa",
        "seed": "1",
        "draw": "1",
        "block": "0000-0001",
        "weighting": "uniform",
        "labels": "recovered",
        "oracle": "false",
        "status": "ok",
        "batch_size": "4",
        "dataset": "digits-8x8",
        "code": "c0de",
        "env.python": "3",
    }
    assert {key: run.data.tags[key] for key in expected} == expected
    assert [used.dataset.name for used in run.inputs.dataset_inputs] == ["digits-8x8"]


def test_every_run_has_the_same_tags_to_filter_by(demo, database):
    sync(demo, database)
    common = {
        "study",
        "cell",
        "attack",
        "target",
        "batch_size",
        "weighting",
        "labels",
        "control",
        "method",
        "oracle",
        "dataset",
    }
    assert all(common <= set(run.data.tags) for run in Seen(f"sqlite:///{database}").runs().values())


def test_a_failed_trial_is_a_failed_run_with_its_reason(demo, database):
    sync(demo, database)
    runs = Seen(f"sqlite:///{database}").runs()
    assert runs["bbb/1"].info.status == "FAILED"
    assert runs["bbb/1"].data.tags["reason"] == "no finite objective"
    assert "psnr" not in runs["bbb/1"].data.metrics
    assert runs["bbb/0"].info.status == "FINISHED"
    assert "reason" not in runs["bbb/0"].data.tags
    assert runs["bbb"].info.status == "FAILED"  # not all of it is there
    assert runs["aaa"].info.status == "FINISHED"


def test_the_parent_shows_the_cells_means(demo, database):
    sync(demo, database)
    parent = Seen(f"sqlite:///{database}").runs()["aaa"]
    assert parent.data.metrics["psnr"] == 20.5
    assert parent.data.metrics["trials"] == 2
    assert {"psnr_low", "psnr_high"} <= set(parent.data.metrics)


def test_image_trials_and_their_cell_log_one_grid_and_others_none(demo, database):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    logged = {}
    for identity, run in seen.runs().items():
        files = seen.client.list_artifacts(run.info.run_id, "images")
        logged[identity] = sorted(Path(f.path).suffix for f in files if "reconstructions" in f.path)
    for identity in ("aaa", "aaa/0"):  # a cell shows the picture of its first good trial
        assert logged[identity] == [".png", ".webp"]
    for identity in ("bbb/1", "ccc", "ccc/0"):
        assert logged[identity] == []


def test_images_lie_beside_the_database(demo, database, tmp_path):
    sync(demo, database)
    assert list((database.parent / "artifacts" / "demo").rglob("*.png"))
    assert not (tmp_path / "mlruns").exists()


def test_an_attack_that_accepted_nothing_has_no_image(results, database):
    results.cell("aaa").block("aaa", (0,), lambda seed: {"matched": 0, "share_20db": 0.0}, images=0)
    assert sync(results, database) == {"created": 2}
    assert Seen(f"sqlite:///{database}").runs()["aaa/0"].info.status == "FINISHED"


def test_syncing_twice_leaves_the_same_runs(demo, database):
    sync(demo, database)
    before = ids(Seen(f"sqlite:///{database}").runs())
    assert sync(demo, database) == {"kept": 9}
    assert ids(Seen(f"sqlite:///{database}").runs()) == before


def test_a_changed_metric_replaces_its_run_and_its_cell_alone(demo, database):
    sync(demo, database)
    before = ids(Seen(f"sqlite:///{database}").runs())
    demo.block("aaa", (0, 1), lambda seed: image_scores(seed) | {"psnr": 33.0 if seed else 20.0})
    assert sync(demo, database) == {"replaced": 2, "kept": 7}
    seen = Seen(f"sqlite:///{database}")
    runs = seen.runs()
    assert seen.count() == 9
    assert {i for i in before if before[i] != runs[i].info.run_id} == {"aaa", "aaa/1"}
    assert runs["aaa/1"].data.metrics["psnr"] == 33
    assert seen.history(runs["aaa/1"], "psnr") == [(0, 33.0, 1_008_000)]


def test_kept_trials_follow_their_replaced_parent(demo, database):
    sync(demo, database)
    demo.block("aaa", (0, 1), lambda seed: image_scores(seed) | {"psnr": 33.0 if seed else 20.0})
    sync(demo, database)
    runs = Seen(f"sqlite:///{database}").runs()
    assert {runs[f"aaa/{seed}"].data.tags["mlflow.parentRunId"] for seed in (0, 1)} == {
        runs["aaa"].info.run_id
    }
    assert sync(demo, database)["kept"] == 9


def test_new_seeds_are_added_and_the_old_ones_kept(demo, database):
    sync(demo, database)
    before = ids(Seen(f"sqlite:///{database}").runs())
    demo.block("aaa", (2, 3), image_scores)
    assert sync(demo, database) == {"created": 2, "replaced": 1, "kept": 8}
    after = ids(Seen(f"sqlite:///{database}").runs())
    assert {i for i in before if before[i] != after[i]} == {"aaa"}


@pytest.mark.parametrize("tag", ["trial.digest", "status"])
def test_a_run_without_its_digest_is_unfinished_and_replaced(demo, database, tag):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    run_id = seen.runs()["aaa/0"].info.run_id
    if tag == "trial.digest":
        seen.client.delete_tag(run_id, tag)
    else:  # killed between the digest and the end
        seen.client.update_run(run_id, status="RUNNING")
    assert sync(demo, database, prune=True) == {"replaced": 1, "kept": 8}
    assert Seen(f"sqlite:///{database}").runs()["aaa/0"].info.run_id != run_id
    assert Seen(f"sqlite:///{database}").count() == 9


def test_a_doubled_run_is_reduced_to_one(demo, database):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    run = seen.runs()["aaa/0"]
    again = seen.client.create_run(run.info.experiment_id, tags=dict(run.data.tags))
    seen.client.set_terminated(again.info.run_id)
    assert sync(demo, database, prune=True)["kept"] == 9
    assert Seen(f"sqlite:///{database}").count() == 9


def test_a_deleted_database_is_rebuilt_equal(demo, database, schema):
    sync(demo, database)
    before = Seen(f"sqlite:///{database}").content()
    database.unlink()
    database.with_name("again.db").write_bytes(schema)
    sync(demo, database.with_name("again.db"))
    assert Seen(f"sqlite:///{database.with_name('again.db')}").content() == before
    assert before["demo", "aaa/0"]["image"]


def test_an_experiment_deleted_in_the_ui_comes_back(demo, database):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    seen.client.delete_experiment(seen.client.get_experiment_by_name("gradleak/demo").experiment_id)
    sync(demo, database)
    assert seen.client.get_experiment_by_name("gradleak/demo").lifecycle_stage == "active"
    assert Seen(f"sqlite:///{database}").count() == 9


def test_a_cell_in_two_studies_is_in_both_experiments(demo, database):
    sync(demo, database, one=["aaa"], two=["aaa", "ccc"])
    seen = Seen(f"sqlite:///{database}")
    assert set(seen.runs("one")) == {"aaa", "aaa/0", "aaa/1"}
    assert set(seen.runs("two")) == {"aaa", "aaa/0", "aaa/1", "ccc", "ccc/0", "ccc/1"}


def test_the_schema_can_be_made_again(database):
    tracking.create_schema(f"sqlite:///{database}")
    assert MlflowClient(f"sqlite:///{database}").search_experiments()


def test_grid_shows_truth_above_what_was_found():
    found, truth = np.full((10, 8, 8, 1), 200, np.uint8), np.full((10, 8, 8, 1), 50, np.uint8)
    picture = tracking.grid(found, truth, 10)
    assert picture.dtype == np.uint8
    assert picture.shape == (
        4 * 30,
        8 * 30,
        3,
    )  # two rows of eight and two, a frame of one pixel, three times as large
    assert [int(picture[15 + 30 * row, 15, 0]) for row in range(4)] == [50, 200, 50, 200]
    assert picture[75, 75, 0] == 0  # the ninth and tenth end before here
    assert tracking.grid(found, truth[:0], 10).shape == (2 * 30, 8 * 30, 3)


def test_grid_keeps_colours():
    assert tracking.grid(*(np.zeros((2, 4, 4, 3), np.uint8),) * 2, 2).shape == (36, 36, 3)


def test_unchanged_files_are_not_read_again(demo, database, monkeypatch):
    sync(demo, database)
    read = []
    monkeypatch.setattr(tracking, "read_json", lambda path: read.append(str(path)) or read_json(path))
    assert sync(demo, database) == {"kept": 9}
    assert [Path(path).name for path in read] == ["seen.json"]
    demo.block("ccc", (0, 1), label_scores, started=2000.0)
    assert sync(demo, database) == {"replaced": 3, "kept": 6}
    assert {Path(path).parent.name for path in read[1:]} <= {"ccc", demo.folder.name}


def test_prune_deletes_what_the_study_has_no_more(demo, database):
    sync(demo, database)
    del demo.cells["ccc"]
    demo.blocks = [b for b in demo.blocks if b["cell"] != "ccc"]
    assert sync(demo, database) == {"kept": 6}, "left alone unless asked for"
    assert sync(demo, database, prune=True) == {"kept": 6, "pruned": 3}
    assert set(Seen(f"sqlite:///{database}").runs()) == {"aaa", "aaa/0", "aaa/1", "bbb", "bbb/0", "bbb/1"}


def test_a_seed_that_the_study_has_no_more_leaves_with_its_cell(demo, database):
    sync(demo, database)
    demo.blocks = [b for b in demo.blocks if b["cell"] != "aaa"]
    demo.block("aaa", (0,), image_scores)
    assert sync(demo, database)["pruned"] == 1
    assert "aaa/1" not in Seen(f"sqlite:///{database}").runs()


def test_the_experiment_opens_ready_to_compare(demo, database):
    sync(demo, database)
    tags = Seen(f"sqlite:///{database}").client.get_experiment_by_name("gradleak/demo").tags
    assert tags["mlflow.experiment.primaryMetric.name"] == "psnr"
    assert "metrics.`psnr`" in json.loads(tags["mlflow.sharedViewState.gradleak"])["selectedColumns"]
    (link,) = tracking.links(f"sqlite:///{database}", "http://here").values()
    assert link.startswith("http://here/#/experiments/")
    assert link.endswith("viewStateShareKey=gradleak")


def test_a_cell_describes_itself(demo, database):
    sync(demo, database)
    note = Seen(f"sqlite:///{database}").runs()["aaa"].data.tags["mlflow.note.content"]
    assert "2 of 2 trials ended well, on 2 draws." in note
    assert "* PSNR, dB: **20.5** (20.0 to 21.0)" in note
    assert "results/report.html#cell-aaa" in note
    assert "tags.kind = 'study'" in note


@pytest.fixture
def exhibited(demo):
    return demo.exhibit("figures/seeds.png", b"a picture").exhibit("tables/headline.csv", b"attack\n")


def test_figures_and_tables_are_one_more_run_of_the_study(exhibited, database):
    assert sync(exhibited, database) == {"created": 10}
    seen = Seen(f"sqlite:///{database}")
    run = seen.runs()["study"]
    assert seen.files(run) == {"figures/seeds.png": b"a picture", "tables/headline.csv": b"attack\n"}
    assert (run.info.run_name, run.info.status, run.data.tags["kind"]) == (
        "figures and tables",
        "FINISHED",
        "study",
    )
    assert run.data.metrics == {"cells": 3, "trials": 6, "ok": 5}
    assert (run.info.start_time, run.info.end_time) == (1_000_000, 1_008_000)
    assert f"* `figures/seeds.png`: {FIGURES['seeds'].caption}" in run.data.tags["mlflow.note.content"]
    where = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts"
    note = seen.client.get_experiment_by_name("gradleak/demo").tags["mlflow.note.content"]
    assert note == f"What it is.\n\n[Figures and tables]({where})"
    assert (
        tracking.links(f"sqlite:///{database}", "http://here")["demo, figures and tables"]
        == f"http://here/{where}"
    )


@pytest.mark.parametrize("prune", [False, True])
def test_the_run_with_the_figures_is_kept_until_one_changes(prune, exhibited, database):
    sync(exhibited, database)
    before = ids(Seen(f"sqlite:///{database}").runs())
    assert sync(exhibited, database, prune) == {"kept": 10}
    assert ids(Seen(f"sqlite:///{database}").runs()) == before
    exhibited.exhibit("figures/seeds.png", b"another one")
    assert sync(exhibited, database, prune) == {"replaced": 1, "kept": 9}
    seen = Seen(f"sqlite:///{database}")
    after = seen.runs()
    assert seen.count() == 10
    assert {name for name in before if before[name] != after[name].info.run_id} == {"study"}
    assert seen.files(after["study"])["figures/seeds.png"] == b"another one"
    assert (
        after["study"].info.run_id
        in seen.client.get_experiment_by_name("gradleak/demo").tags["mlflow.note.content"]
    )


def test_a_doubled_or_unfinished_run_with_the_figures_is_put_right(exhibited, database):
    sync(exhibited, database)
    seen = Seen(f"sqlite:///{database}")
    whole, tags = seen.content(), dict(seen.runs()["study"].data.tags)
    again = seen.client.create_run(seen.runs()["study"].info.experiment_id, tags=tags)
    seen.client.set_terminated(again.info.run_id)
    assert sync(exhibited, database) == {"kept": 10}
    assert len(seen.all_runs()) == 10
    seen.client.update_run(seen.runs()["study"].info.run_id, status="RUNNING")
    assert sync(exhibited, database) == {"replaced": 1, "kept": 9}
    assert seen.content() == whole


def test_figures_that_studies_share_are_in_each_of_them(exhibited, database):
    sync(exhibited, database, one=["aaa"], two=["aaa", "ccc"])
    seen = Seen(f"sqlite:///{database}")
    assert seen.files(seen.runs("one")["study"]) == seen.files(seen.runs("two")["study"])
    assert seen.runs("one")["study"].data.metrics["cells"] == 1
