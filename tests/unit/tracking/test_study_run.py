"""The run with the figures and tables of a study."""

import pytest
from syncing import Seen, ids
from syncing import sync_to as sync

from gradleak.evaluation.figures.registry import FIGURES
from gradleak.tracking import experiments


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
    assert note.startswith("What it is.\n\n[Compare")
    assert note.endswith(f"\n\n[Figures and tables]({where})")
    assert (
        experiments.links(f"sqlite:///{database}", "http://here")["demo, figures and tables"]
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
