"""A study's MLflow experiment, with a view that compares cells, and links to its pages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradleak.tracking import artifact_folders, study_run
from gradleak.tracking.artifact_folders import PREFIX
from gradleak.tracking.stores import client_of
from gradleak.tracking.write_runs import IMAGE

VIEW = "gradleak"
COLUMNS = ["attack", "batch_size", "weighting", "labels", "control", "status"]
# Metrics by which a study can be sorted: the first that it has. The last two need no true images.
BEST = ("psnr", "field_accuracy", "irec", "expected_psnr", "certified")
LEAST = "objective"  # of a study that has none of them
SHOWN = ("certified", "irec", "share_20db", "ssim", "seconds_per_trial")  # beside it: as many as fit a screen
SECTION: dict[str, Any] = {"display": True, "isReordered": False}
CHART: dict[str, Any] = {"deleted": False, "isGenerated": False, "runsCountToCompare": 10}
PICTURES: dict[str, Any] = {
    "type": "IMAGE",
    "uuid": "pictures",
    "metricSectionId": "pictures",
    "imageKeys": [IMAGE],
    "step": 0,
    "showRunParams": False,
}
CURVES: dict[str, Any] = {
    "type": "LINE",
    "uuid": "loss",
    "metricSectionId": "measures",
    "metricKey": "loss",
    "selectedMetricKeys": ["loss"],
    "scaleType": "log",
    "xAxisKey": "step",
    "lineSmoothness": 0,
}


def preset(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Tags of an experiment that MLflow's UI reads. They make a view that fits the study.

    cells: the study's rows of cells.csv. The view is sorted by the first of BEST that the study has.
    """
    names = {*BEST, *SHOWN, LEAST}
    has = {name for name in names if any(math.isfinite(cell.get(name, math.nan)) for cell in cells)}
    best = next((name for name in BEST if name in has), LEAST)
    shown = dict.fromkeys([best, *(name for name in SHOWN if name in has)])
    bars = [name for name in (best, "share_20db", "irec", "certified") if name in has]
    inverts = any(cell["attack"] != "labels" for cell in cells)
    charts = [
        *([PICTURES] if inverts else []),
        *(
            {"type": "BAR", "uuid": name, "metricSectionId": "measures", "metricKey": name}
            for name in dict.fromkeys(bars)
        ),
        *([CURVES] if inverts else []),
    ]
    sections = [
        SECTION | {"uuid": "pictures", "name": "Reconstructions", "columns": 1, "cardHeight": 420},
        # MLflow sorts sections by name, and draws pictures once they are in sight: they come first.
        SECTION | {"uuid": "measures", "name": "Scores"},
    ]
    view = {
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": best == LEAST,
        "searchFilter": "tags.kind = 'cell'",
        "selectedColumns": [
            *(f"tags.`{name}`" for name in COLUMNS),
            *(f"metrics.`{name}`" for name in shown),
        ],
        "compareRunSections": sections if inverts else sections[1:],
        "compareRunCharts": [CHART | chart for chart in charts],
    }
    return {
        "mlflow.experimentKind": "custom_model_development",  # the pages for runs, not for language models
        "mlflow.experiment.primaryMetric.name": best,
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
    }


def experiment_of(client: Any, uri: str, study: str, cells: Sequence[Mapping[str, Any]]) -> Any:
    """The experiment of a study, made or restored where it is missing. cells: its rows of cells.csv."""
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
    for key, value in preset(cells).items():
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
        pages[name] = f"{server}/{view_address(number)}"
        for run in client.search_runs([number], "tags.kind = 'study'", max_results=1):
            pages[f"{name}, {study_run.NAME}"] = f"{server}/{address(number, run.info.run_id)}"
    return pages


def view_address(experiment_id: str) -> str:
    """The page of the UI with the cells of a study, best first, relative to the server."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}"


def address(experiment_id: str, run_id: str) -> str:
    """The page of the UI with a run's artifacts, relative to the server."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts"
