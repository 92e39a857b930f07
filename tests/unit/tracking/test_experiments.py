"""Experiments: where their files lie, their view, their links."""

import json

from syncing import Seen
from syncing import sync_to as sync

from gradleak.tracking import experiments


def test_images_lie_beside_the_database(demo, database, tmp_path):
    sync(demo, database)
    assert list((database.parent / "artifacts" / "demo").rglob("*.png"))
    assert not (tmp_path / "mlruns").exists()


def test_an_experiment_deleted_in_the_ui_comes_back(demo, database):
    sync(demo, database)
    seen = Seen(f"sqlite:///{database}")
    seen.client.delete_experiment(seen.client.get_experiment_by_name("gradleak/demo").experiment_id)
    sync(demo, database)
    assert seen.client.get_experiment_by_name("gradleak/demo").lifecycle_stage == "active"
    assert Seen(f"sqlite:///{database}").count() == 9


def test_the_experiment_opens_ready_to_compare(demo, database):
    sync(demo, database)
    tags = Seen(f"sqlite:///{database}").client.get_experiment_by_name("gradleak/demo").tags
    assert tags["mlflow.experiment.primaryMetric.name"] == "psnr"
    assert "metrics.`psnr`" in json.loads(tags["mlflow.sharedViewState.gradleak"])["selectedColumns"]
    (link,) = experiments.links(f"sqlite:///{database}", "http://here").values()
    assert link.startswith("http://here/#/experiments/")
    assert link.endswith("viewStateShareKey=gradleak")
