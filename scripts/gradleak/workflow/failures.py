"""What a run did not get done, and why: from the files that are there and the logs of those that are not.

Read while the workflow is parsed, so no TensorFlow, MLflow or pandas.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gradleak.workflow.cells import Cell
from gradleak.workflow.plan import Plan

RULES = {"labels": "recover_labels", "dlg": "invert_pixels", "latent": "invert_latent", "span": "invert_span"}
WORDLESS = "ended without a word (killed, out of memory or out of time?)"


class Missing(NamedTuple):
    """A block that has no scores."""

    cell: str
    block: str
    seeds: list[int]
    draws: list[int]
    reason: str


def missing(plan: Plan, results: Path = Path("results")) -> list[Missing]:
    """The blocks of the plan without their record or their scores."""
    found = []
    for cell, block in plan.asked():
        stage = plan.cells[cell].stage
        if not all((results / folder / cell / f"{block}.json").exists() for folder in (stage, "scores")):
            seeds = plan.blocks[cell, block]
            draws = plan.cells[cell].draws(seeds)
            found.append(
                Missing(cell, block, seeds, draws, _reason(plan, cell, block, draws, results / "logs"))
            )
    return found


def _reason(plan: Plan, cell: str, block: str, draws: list[int], logs: Path) -> str:
    """The first thing that went wrong on the way to a block's scores."""
    silent = ""
    for path, output in _way(plan, plan.cells[cell], block, draws):
        log = logs / path
        if not log.exists() or (logs.parent / output).exists():
            continue
        if words := [
            line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR in ")
        ]:
            return f"{words[-1].removeprefix('ERROR in ')} (results/logs/{path})"
        silent = silent or f"{path.split('/')[0]} {WORDLESS} (results/logs/{path})"
    return silent or "never started"


def _way(plan: Plan, cell: Cell, block: str, draws: list[int]) -> list[tuple[str, str]]:
    """The log and the output, under their folders, of every job on the way to a block's scores, in order."""
    target, dataset = cell.target.id, cell.target.options.dataset
    way = [(f"split_dataset/{dataset}.log", f"data/{dataset}/public.npz")]
    for made in cell.target.draw_blocks(draws):
        name = f"{target}/{made}"
        way += [
            (f"simulate_client/{name}.log", f"targets/{name}"),
            (f"fetch_artifacts/{name}.log", f"targets/{name}"),
            (f"import_truth/{name}.log", f"truth/{name}.npz"),
            (f"validate_mapping/{name}.log", f"mapping/{name}/mapping.json"),
            (f"simulate_shadow_clients/{name}.log", f"shadow_clients/{name}.npz"),
        ]
    if cell.prior:
        way.append((f"train_vae/{cell.prior.id}.log", f"priors/{cell.prior.id}/weights.npz"))
        way += [
            (
                f"score_prior/{cell.prior.id}/{target}/{made}.log",
                f"ceilings/{cell.prior.id}/{target}/{made}.npz",
            )
            for made in cell.target.draw_blocks(draws)
        ]
    if labels := plan.label_cell(cell.id):
        way.append((f"recover_labels/{labels}/{block}.log", f"labels/{labels}/{block}.json"))
    return [
        *way,
        (f"{RULES[cell.attack]}/{cell.id}/{block}.log", f"{cell.stage}/{cell.id}/{block}.json"),
        (f"train_reference_classifier/{dataset}.log", f"reference_classifiers/{dataset}.npz"),
        (f"score/{cell.id}/{block}.log", f"scores/{cell.id}/{block}.json"),
    ]


def jobs_failed(log: str) -> bool:
    """Whether Snakemake's own log tells of failed jobs, and not of a run that its user ended."""
    return (
        "Exiting because a job execution failed" in log and "Terminating processes on user request" not in log
    )
