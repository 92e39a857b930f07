"""How much of a plan is done."""

import pytest

from gradleak.workflow import progress

DLG = {"attack": "dlg", "target": "demo"}
LABELS = {"attack": "labels", "target": "demo", "method": "rank1"}


def write(results, plan, block, leave_out=""):
    """All files of a block of every cell, but ``leave_out``."""
    for cell in plan.cells.values():
        for folder in (cell.stage, "scores"):
            for ending in ("npz", "json"):
                path = results / folder / cell.id / f"{block}.{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if f"{folder}.{ending}" != leave_out:
                    path.touch()


def test_a_block_is_done_with_all_of_its_files(plan_of, tmp_path):
    plan = plan_of(LABELS)
    (block, *_) = next(iter(plan.studies[0].cells.values()))
    assert "0 of them done" in progress.summary(plan, tmp_path)
    write(tmp_path, plan, block)
    assert "1 of them done" in progress.summary(plan, tmp_path)


@pytest.mark.parametrize("lost", ["labels.npz", "labels.json", "scores.npz", "scores.json"])
def test_a_block_that_lacks_a_file_is_not_done(plan_of, tmp_path, lost):
    plan = plan_of(LABELS)
    (block, *_) = next(iter(plan.studies[0].cells.values()))
    write(tmp_path, plan, block, lost)
    assert "0 of them done" in progress.summary(plan, tmp_path)


def test_trials_in_blocks_of_another_size_are_pointed_out(plan_of, tmp_path):
    plan = plan_of(LABELS)
    (block, *_) = next(iter(plan.studies[0].cells.values()))
    first, last = (int(part) for part in block.split("-"))
    assert last > first
    write(tmp_path, plan, f"{first:04d}-{first:04d}")
    summary = progress.summary(plan, tmp_path)
    assert "0 of them done" in summary
    assert "1 of its trials are done in blocks of another size" in summary
    write(tmp_path, plan, block)
    assert "another size" not in progress.summary(plan, tmp_path)
