"""From a checked config to the plan: every selected study expanded into cells and blocks."""

from __future__ import annotations

from typing import Any

from gradleak.workflow import own_files
from gradleak.workflow.cells import COUNTS, Cell
from gradleak.workflow.config import Config, ConfigError, LocalTarget, Study
from gradleak.workflow.grid import expand
from gradleak.workflow.plan import Plan, StudyPlan
from gradleak.workflow.resolve import check_local, resolve
from gradleak.workflow.seed_blocks import block_name, blocks_of


def plan(config: Config) -> Plan:
    """Expand the selected studies. Raises ConfigError. Only the folders of local targets are read."""
    cells: dict[str, Cell] = {}
    blocks: dict[tuple[str, str], list[int]] = {}
    studies = []
    for name in config.selected:
        study = config.studies[name]
        own: dict[str, tuple[str, ...]] = {}
        for cell in _cells_of(name, study, config):
            # The updates of a recorded run have weights of their own, so a job takes one of them.
            size = 1 if cell.target.recorded else study.block_size
            runs = blocks_of(study.seeds, size, f"studies.{name}.seeds")
            own[cell.id] = tuple(block_name(run) for run in runs)
            for needed in (cell, cell.label_cell, cell.members):
                if needed:
                    _agree(name, cells.setdefault(needed.id, needed), needed)
                    blocks |= {(needed.id, block_name(run)): run for run in runs}
        if not own:
            raise ConfigError(f"studies.{name}: every cell is excluded, nothing is left to run")
        studies.append(StudyPlan(name, study.description, own))
    _check_targets(cells)
    own_files.check(config, cells.values())
    return Plan(config, studies, cells, blocks)


def _cells_of(name: str, study: Study, config: Config) -> list[Cell]:
    """The cells of all entries of a study, in their order; a cell that is written twice comes twice."""
    found = []
    for index, entry in enumerate(study.cells):
        path, places = f"studies.{name}.cells[{index}]", _places(name, index, study)
        found += [resolve(point, config, path, places) for point in expand({**study.base, **entry}, path)]
    return found


def _places(name: str, index: int, study: Study) -> dict[str, str]:
    """Option → its path in the YAML: in the study's base, in the entry, or in the axes."""
    entry = study.cells[index]
    path = f"studies.{name}"
    found = {key: f"{path}.base.{key}" for key in study.base} | {
        key: f"{path}.cells[{index}].{key}" for key in entry
    }
    holder = f"{path}.cells[{index}]" if "axes" in entry else f"{path}.base"
    axes = entry.get("axes", study.base.get("axes"))
    return found | {key: f"{holder}.axes.{key}" for key in (axes if isinstance(axes, dict) else {})}


def _agree(name: str, known: Cell, cell: Cell) -> None:
    """Raises ConfigError where two cells of one id differ, in their spec or in settings outside of it."""
    if (known.spec, known.target.spec) != (cell.spec, cell.target.spec):
        raise ConfigError(f"cell id {cell.id} stands for two different cells: {known.spec} and {cell.spec}")
    for key in (*COUNTS, "truth"):
        values = [getattr(c.target.options, key, None) for c in (known, cell)]
        if values[0] != values[1]:
            raise ConfigError(
                f"studies.{name}: cell {cell.id} ({cell.attack} on {cell.target_name!r}) is asked for with "
                f"{key} {values[0]!r} and with {key} {values[1]!r}; they must agree, since the cell runs once"
            )


def _check_targets(cells: dict[str, Cell]) -> None:
    """Raises ConfigError where one update has two truths, or the files of a local target are missing."""
    truths: dict[str, Any] = {}
    for cell in cells.values():
        truth = getattr(cell.target.options, "truth", None)
        if truths.setdefault(cell.target.id, truth) != truth:
            raise ConfigError(
                f"targets.{cell.target_name}.truth: the same update is also a target with truth "
                f"{truths[cell.target.id]!r}; give one of them"
            )
        if isinstance(cell.target.options, LocalTarget):
            check_local(cell.target_name, cell.target)
