"""Reasons why blocks are missing: the first error on the way to their scores, by the real rules."""

from pathlib import Path

import pytest
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

from gradleak.workflow import config, failures, study

ROOT = Path(__file__).parents[3]
CELL = {"attack": "dlg", "target": "failing", "label_method": "rank1"}
RAW = {
    "study": "failing",
    "targets": {"failing": {"source": "simulate"}},
    "priors": {"failing": {}},
    "studies": {
        "failing": {
            "seeds": 4,
            "block_size": 2,
            "cells": [
                CELL,
                CELL | {"members": {}, "labels": "oracle"},
                {"attack": "latent", "target": "failing", "prior": "failing", "labels": "joint"},
                {"attack": "span", "target": "failing"},
                {"attack": "labels", "target": "failing", "method": "posterior"},
            ],
        }
    },
}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return study.plan(config.load(RAW, "nowhere"))


@pytest.fixture
def first(plan):
    """The plan's DLG cell without members, and its two blocks."""
    (cell,) = (id for id, c in plan.cells.items() if c.attack == "dlg" and not c.members)
    return cell, [block for other, block in plan.asked() if other == cell]


@pytest.fixture(scope="module")
def rules():
    """The rules of the workflow, parsed with the config above."""
    with SnakemakeApi(OutputSettings(quiet=set())) as api:
        parsed = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=RAW),
            snakefile=ROOT / "Snakefile",
        )
        yield list(parsed._workflow.rules)


def write(name, text=""):
    path = Path("results", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def reasons(plan, rules, cell):
    return {
        m.block: m.reason for m in failures.explained(plan, failures.missing(plan), rules) if m.cell == cell
    }


def test_what_has_all_its_files_is_done(plan, rules, first):
    cell, blocks = first
    for folder in ("inversions", "scores"):
        for ending in ("npz", "json"):
            write(f"{folder}/{cell}/{blocks[0]}.{ending}")
    (only,) = [pair for pair in failures.missing(plan) if pair[0] == cell]
    assert failures.explained(plan, [only], rules) == [
        failures.Missing(cell, blocks[1], [2, 3], [2, 3], "never started")
    ]


def test_the_reason_is_the_jobs_own_error(plan, rules, first):
    cell, blocks = first
    write(f"logs/invert_pixels/{cell}/{blocks[0]}.log", "09:00 begun\nERROR in invert_pixels: no memory\n")
    write(f"logs/invert_pixels/{cell}/{blocks[1]}.log", "09:00 begun\n")
    assert reasons(plan, rules, cell) == {
        blocks[0]: f"invert_pixels: no memory (results/logs/invert_pixels/{cell}/{blocks[0]}.log)",
        blocks[1]: f"invert_pixels {failures.NO_MESSAGE} (results/logs/invert_pixels/{cell}/{blocks[1]}.log)",
    }


def test_what_failed_upstream_is_the_reason_and_old_logs_of_finished_jobs_are_not(plan, rules, first):
    cell, blocks = first
    labels = plan.label_cell(cell)
    write(f"logs/recover_labels/{labels}/{blocks[0]}.log", "ERROR in recover_labels: an old one")
    write(f"labels/{labels}/{blocks[0]}.npz")
    target = plan.cells[cell].target.id
    write(f"logs/validate_mapping/{target}/0000-0007.log", "ERROR in validate_mapping: not understood")
    assert "not understood" in reasons(plan, rules, cell)[blocks[0]]


def test_the_jobs_to_the_scores_are_those_that_the_rules_need(plan, rules):
    expected = {
        "dlg": {"recover_labels", "invert_pixels"},
        "dlg members": {"invert_span", "invert_pixels"},
        "latent": {"train_vae", "invert_latent", "score_prior"},
        "span": {"invert_span"},
        "labels": {"simulate_shadow_clients", "recover_labels"},
    }
    always = {
        "split_dataset",
        "simulate_client",
        "validate_mapping",
        "train_reference_classifier",
        "score",
    }
    asked = {cell for cell, _ in plan.asked()}
    found = {}
    for cell in asked:
        jobs = failures.jobs_to(failures.SCORES.format(cell=cell, block="0000-0001"), rules, {})
        assert jobs[-1].rule == "score"
        assert [job.log.split("/")[2] for job in jobs] == [job.rule for job in jobs]
        name = plan.cells[cell].attack + (" members" if plan.cells[cell].members else "")
        found[name] = {job.rule for job in jobs} - always
    assert found == expected


def test_a_plan_without_its_missing_blocks(plan_of):
    plan = plan_of(CELL | {"target": "demo"}, seeds=4, block_size=2)
    ((cell, first), (_, second)) = plan.asked()
    left = plan.without([(cell, first)])
    assert left.asked() == left.shown() == [(cell, second)]
    assert plan.without([]) is plan
    nothing = plan.without(plan.asked())
    assert (nothing.asked(), nothing.mapped(), nothing.figures()) == ([], [], [])


def test_an_interrupted_run_is_no_failed_one():
    failed = "Exiting because a job execution failed. Look above for error messages"
    assert failures.jobs_failed(failed)
    assert not failures.jobs_failed(
        f"Terminating processes on user request, this might take some time.\n{failed}"
    )
    assert not failures.jobs_failed("Nothing to be done")


def test_every_attack_has_a_rule_that_makes_its_results(plan, rules):
    attacks = {}
    for cell in plan.cells.values():
        record = f"results/{cell.stage}/{cell.id}/0000-0001.json"
        (attacks[cell.attack],) = {rule.name for rule in rules if rule.is_producer(record)}
    assert attacks == {
        "labels": "recover_labels",
        "dlg": "invert_pixels",
        "latent": "invert_latent",
        "span": "invert_span",
    }
    assert attacks.keys() == config.ATTACKS.keys()
