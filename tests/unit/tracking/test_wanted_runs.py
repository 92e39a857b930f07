"""What the runs of cells and trials hold."""

import numpy as np
from syncing import Seen
from syncing import sync_to as sync


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
    assert run.info.run_name == "dlg #1"
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
