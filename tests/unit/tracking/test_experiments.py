"""Experiments: where their files lie, their view, their links."""

import json
import math

import pytest
from syncing import Seen
from syncing import sync_to as sync

from gradleak.tracking import experiments

VIEW = "mlflow.sharedViewState.gradleak"
PRIMARY = "mlflow.experiment.primaryMetric.name"


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


@pytest.mark.parametrize(
    ("cells", "best", "ascending", "charts"),
    [
        (
            [{"attack": "dlg", "psnr": 20.0}, {"attack": "labels", "irec": 1.0}],
            "psnr",
            False,
            {"IMAGE", "BAR", "LINE"},
        ),
        ([{"attack": "labels", "irec": 0.5, "psnr": math.nan}], "irec", False, {"BAR"}),
        (
            [{"attack": "span", "expected_psnr": 31.0}, {"attack": "dlg", "objective": 1.0}],
            "expected_psnr",
            False,
            {"IMAGE", "BAR", "LINE"},
        ),
        (
            [{"attack": "dlg", "objective": 1.0, "psnr": math.nan}],
            "objective",
            True,
            {"IMAGE", "BAR", "LINE"},
        ),
        ([{"attack": "dlg", "psnr": math.nan}], "objective", True, {"IMAGE", "LINE"}),
    ],
)
def test_the_view_is_sorted_by_a_metric_that_the_study_has(cells, best, ascending, charts):
    """Also of a study of labels only, and of one without true images."""
    tags = experiments.preset(cells)
    view = json.loads(tags[VIEW])
    assert tags[PRIMARY] == best
    assert (view["orderByKey"], view["orderByAsc"]) == (f"metrics.`{best}`", ascending)
    assert {chart["type"] for chart in view["compareRunCharts"]} == charts
    sections = {section["uuid"] for section in view["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == sections
    assert set(view["selectedColumns"]) >= {f"metrics.`{best}`", "tags.`attack`"}
