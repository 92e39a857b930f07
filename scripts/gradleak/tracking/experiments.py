"""A study's MLflow experiment, with a view that compares cells, and links to its pages."""

from __future__ import annotations

import json
from typing import Any

from gradleak.tracking import artifact_folders, study_run
from gradleak.tracking.artifact_folders import PREFIX
from gradleak.tracking.stores import client_of
from gradleak.tracking.write_runs import IMAGE

VIEW = "gradleak"
COLUMNS = ["attack", "batch_size", "weighting", "labels", "control", "status"]
SHOWN = ["psnr", "ssim", "share_20db", "reference_accuracy", "irec", "seconds_per_trial"]
SECTION: dict[str, Any] = {"display": True, "isReordered": False}
CHART: dict[str, Any] = {"deleted": False, "isGenerated": False, "runsCountToCompare": 10}
CHARTS: list[dict[str, Any]] = [
    {
        "type": "IMAGE",
        "uuid": "pictures",
        "metricSectionId": "pictures",
        "imageKeys": [IMAGE],
        "step": 0,
        "showRunParams": False,
    },
    *(
        {"type": "BAR", "uuid": name, "metricSectionId": "measures", "metricKey": name}
        for name in ("psnr", "share_20db", "irec")
    ),
    {
        "type": "LINE",
        "uuid": "loss",
        "metricSectionId": "measures",
        "metricKey": "loss",
        "selectedMetricKeys": ["loss"],
        "scaleType": "log",
        "xAxisKey": "step",
        "lineSmoothness": 0,
    },
]
PRESET = {  # tags of an experiment that MLflow's UI reads
    "mlflow.experimentKind": "custom_model_development",  # the pages for runs, not those for language models
    "mlflow.experiment.primaryMetric.name": "psnr",
    f"mlflow.sharedViewState.{VIEW}": json.dumps(
        {
            "orderByKey": "metrics.`psnr`",
            "orderByAsc": False,
            "searchFilter": "tags.kind = 'cell'",
            "selectedColumns": [
                *(f"tags.`{name}`" for name in COLUMNS),
                *(f"metrics.`{name}`" for name in SHOWN),
            ],
            "compareRunSections": [
                SECTION | {"uuid": "pictures", "name": "Reconstructions", "columns": 1, "cardHeight": 420},
                # MLflow sorts sections by name, and draws pictures once they are in sight: they come first.
                SECTION | {"uuid": "measures", "name": "Scores"},
            ],
            "compareRunCharts": [CHART | chart for chart in CHARTS],
        }
    ),
}


def experiment_of(client: Any, uri: str, study: str) -> Any:
    """The experiment of a study, made or restored where it is missing."""
    from mlflow.exceptions import MlflowException

    name = f"{PREFIX}{study}"
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            client.create_experiment(name, artifact_location=artifact_folders.address_of(uri, name))
        except MlflowException:
            if client.get_experiment_by_name(name) is None:  # otherwise another writer was faster
                raise
        found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":  # in the UI, for example; its name is still taken
        client.restore_experiment(found.experiment_id)
    for key, value in PRESET.items():
        set_tag(client, found, key, value)
    return found


def set_tag(client: Any, experiment: Any, key: str, value: str) -> None:
    """Set a tag of an experiment that has another value; an empty value changes nothing."""
    if value and experiment.tags.get(key) != value:
        client.set_experiment_tag(experiment.experiment_id, key, value)


def links(uri: str, server: str) -> dict[str, str]:
    """Study → the page of the UI at ``server`` with its cells, best first; also the page with its figures."""
    client, pages = client_of(uri), {}
    for experiment in sorted(
        client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'"), key=lambda e: e.name
    ):
        name, number = experiment.name.removeprefix(PREFIX), experiment.experiment_id
        pages[name] = f"{server}/#/experiments/{number}/runs?viewStateShareKey={VIEW}"
        for run in client.search_runs([number], "tags.kind = 'study'", max_results=1):
            pages[f"{name}, {study_run.NAME}"] = f"{server}/{address(number, run.info.run_id)}"
    return pages


def address(experiment_id: str, run_id: str) -> str:
    """The page of the UI with a run's artifacts, relative to the server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts"
