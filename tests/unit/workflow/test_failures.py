"""Why a block was not done: the first thing that went wrong on its way."""

import pytest

from gradleak.workflow import config, failures

CELL = {"attack": "dlg", "target": "demo", "label_method": "rank1"}


@pytest.fixture
def plan(plan_of):
    return plan_of(CELL, seeds=4, block_size=2)


def write(results, name, text=""):
    path = results / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def reasons(plan, results):
    return {m.block: m.reason for m in failures.missing(plan, results)}


def test_what_has_scores_and_a_record_is_done(plan, tmp_path):
    ((cell, first), (_, second)) = plan.asked()
    for folder in ("inversions", "scores"):
        write(tmp_path, f"{folder}/{cell}/{first}.json")
    (only,) = failures.missing(plan, tmp_path)
    assert only == failures.Missing(cell, second, [2, 3], [2, 3], "never started")


def test_the_reason_is_the_jobs_own_last_word(plan, tmp_path):
    ((cell, first), (_, second)) = plan.asked()
    write(
        tmp_path, f"logs/invert_pixels/{cell}/{first}.log", "09:00 begun\nERROR in invert_pixels: no memory\n"
    )
    write(tmp_path, f"logs/invert_pixels/{cell}/{second}.log", "09:00 begun\n")
    assert reasons(plan, tmp_path) == {
        first: f"invert_pixels: no memory (results/logs/invert_pixels/{cell}/{first}.log)",
        second: f"invert_pixels {failures.WORDLESS} (results/logs/invert_pixels/{cell}/{second}.log)",
    }


def test_what_failed_upstream_is_the_reason_and_old_logs_of_finished_jobs_are_not(plan, tmp_path):
    ((cell, first), _) = plan.asked()
    labels = plan.label_cell(cell)
    write(tmp_path, f"logs/recover_labels/{labels}/{first}.log", "ERROR in recover_labels: an old one")
    write(tmp_path, f"labels/{labels}/{first}.json")
    target = plan.cells[cell].target.id
    write(
        tmp_path, f"logs/validate_mapping/{target}/0000-0007.log", "ERROR in validate_mapping: not understood"
    )
    assert "not understood" in reasons(plan, tmp_path)[first]


def test_a_plan_without_its_missing_blocks(plan):
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


def test_every_attack_has_its_rule():
    assert failures.RULES.keys() == config.ATTACKS.keys()
