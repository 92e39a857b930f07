"""Results → MLflow, against a real SQLite database."""

import pytest
from mlflow import MlflowClient
from results import image_scores
from syncing import Seen, ids
from syncing import sync_to as sync

from gradleak.evaluation import tables
from gradleak.tracking import stores
from gradleak.tracking.sync import Results
from gradleak.tracking.sync import sync as tracking_sync


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
    note = experiment.tags["mlflow.note.content"]
    assert note.startswith("What it is.\n\n[Compare the cells, best first](#/experiments/")
    assert {run.info.run_name for run in runs.values()} == {
        cell + seed for cell in ("dlg", "dlg, depth", "labels") for seed in ("", " #0", " #1")
    }


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


def test_a_cell_in_two_studies_is_in_both_experiments(demo, database):
    sync(demo, database, one=["aaa"], two=["aaa", "ccc"])
    seen = Seen(f"sqlite:///{database}")
    assert set(seen.runs("one")) == {"aaa", "aaa/0", "aaa/1"}
    assert set(seen.runs("two")) == {"aaa", "aaa/0", "aaa/1", "ccc", "ccc/0", "ccc/1"}


def test_the_schema_can_be_made_again(database):
    stores.create_schema(f"sqlite:///{database}")
    assert MlflowClient(f"sqlite:///{database}").search_experiments()


def test_prune_deletes_what_the_study_has_no_more(demo, database):
    sync(demo, database)
    del demo.cells["ccc"]
    demo.blocks = [b for b in demo.blocks if b["cell"] != "ccc"]
    assert sync(demo, database) == {"kept": 6}, "left alone unless asked for"
    assert sync(demo, database, prune=True) == {"kept": 6, "pruned": 3}
    assert set(Seen(f"sqlite:///{database}").runs()) == {"aaa", "aaa/0", "aaa/1", "bbb", "bbb/0", "bbb/1"}


@pytest.mark.parametrize(
    "change",
    [
        lambda client, run: client.log_metric(run, "psnr", 99.0),
        lambda client, run: client.log_metric(run, "invented", 1.0),
        lambda client, run: client.set_tag(run, "weighting", "depth"),
        lambda client, run: client.update_run(run, name="the best of all"),
        lambda client, run: client.delete_tag(run, "batch_size"),
        lambda client, run: client.update_run(run, status="FAILED"),
    ],
)
def test_prune_repairs_what_was_changed_by_hand(demo, database, change):
    """In the run of a cell and in that of a trial."""
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    before = seen.content()
    for identity in ("aaa", "aaa/1"):
        change(seen.client, seen.runs()[identity].info.run_id)
    assert seen.content() != before
    assert sync(demo, database, prune=True) == {"replaced": 2, "kept": 7}
    assert seen.content() == before


def test_prune_keeps_what_users_added(demo, database):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    seen.client.set_tag(seen.runs()["aaa/0"].info.run_id, "mine", "look again")
    assert sync(demo, database, prune=True) == {"kept": 9}


def test_a_trial_that_left_no_files_is_a_failed_run_with_its_reason(demo, database):
    """As in a run with ``partial: true``. Later its block is done."""
    demo.block("aaa", (2, 3), image_scores)
    demo.frames()
    frames = {name: tables.read(str(demo.folder / f"{name}.csv")) for name in ("trials", "cells")}
    late = frames["trials"]["seed"].isin([2, 3])
    frames["trials"].loc[late, ["status", "reason"]] = ["failed", "ran out of memory"]
    files = {(b["cell"], b["block"]): (b["record"], b["pairs"]) for b in demo.blocks[:-1]}
    half = Results(frames["trials"], frames["cells"], files, demo.cells, {})
    uri = f"sqlite:///{database}"
    assert tracking_sync(uri, half, lambda *parts: None, prune=True)["created"] == 11
    assert tracking_sync(uri, half, lambda *parts: None, prune=True)["kept"] == 11
    run = Seen(uri).runs()["aaa/3"]
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "ran out of memory")
    assert run.data.params["weighting"] == "uniform"
    assert run.info.start_time == run.info.end_time > 1.6e12, "a time of this century, milliseconds"
    assert sync(demo, database) == {"replaced": 3, "kept": 8}
    assert Seen(uri).runs()["aaa/3"].info.status == "FINISHED"


def test_a_seed_that_the_study_has_no_more_leaves_with_its_cell(demo, database):
    sync(demo, database)
    demo.blocks = [b for b in demo.blocks if b["cell"] != "aaa"]
    demo.block("aaa", (0,), image_scores)
    assert sync(demo, database)["pruned"] == 1
    assert "aaa/1" not in Seen(f"sqlite:///{database}").runs()
