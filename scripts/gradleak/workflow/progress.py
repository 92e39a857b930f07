"""How much of a plan is done, by the files under results/. Read while the workflow is parsed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from gradleak.workflow.plan import Plan, StudyPlan
from gradleak.workflow.seed_blocks import seeds_of_block

Block = tuple[str, str]  # cell id, name of the block


def summary(plan: Plan, results: Path = Path("results")) -> str:
    """A line for each study: its cells, trials, blocks, and how many blocks are done.

    One more line where trials are done in blocks of another size, which do not count.
    """
    done = finished(results)
    lines = []
    for study in plan.studies:
        blocks = [(cell, block) for cell, names in study.cells.items() for block in names]
        trials = sum(len(plan.blocks[pair]) for pair in blocks)
        lines.append(
            f"Study {study.name}: {len(study.cells):,} cells, {trials:,} trials in {len(blocks):,} "
            f"blocks, {sum(pair in done for pair in blocks):,} of them done"
        )
        if again := _in_other_blocks(plan, study, done):
            lines.append(
                f"Study {study.name}: {again:,} of its trials are done in blocks of another size. They run "
                "again, unless block_size is what it was."
            )
    return "\n".join(lines)


def finished(results: Path) -> set[Block]:
    """The blocks whose files are all there: result and record of the attack, scores, matched pairs."""

    def there(folders: str, ending: str) -> set[Block]:
        paths = (path for name in folders.split() for path in results.glob(f"{name}/*/*.{ending}"))
        return {(path.parent.name, path.stem) for path in paths}

    return set.intersection(
        *(there(folders, ending) for folders in ("inversions labels", "scores") for ending in ("npz", "json"))
    )


def _in_other_blocks(plan: Plan, study: StudyPlan, done: set[Block]) -> int:
    """How many trials of the study's unfinished blocks are in finished blocks that it does not have."""
    elsewhere: dict[str, set[int]] = defaultdict(set)
    for cell, block in done:
        if block not in study.cells.get(cell, (block,)):
            elsewhere[cell].update(seeds_of_block(block))
    own = [(cell, block) for cell, names in study.cells.items() for block in names]
    return sum(len(elsewhere[pair[0]] & {*plan.blocks[pair]}) for pair in own if pair not in done)
