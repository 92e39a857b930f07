"""The plan: all cells, blocks, targets and priors of the selected studies. Rules look everything up here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from gradleak.datasets import catalogue
from gradleak.evaluation import cell_names
from gradleak.evaluation.figures import registry
from gradleak.labels.registry import WITH_INTERVALS
from gradleak.workflow.cells import Cell, Prior, Target
from gradleak.workflow.config import Config


@dataclass(frozen=True)
class StudyPlan:
    name: str
    description: str
    cells: dict[str, tuple[str, ...]]  # cell id → its blocks


@dataclass(frozen=True)
class Plan:
    config: Config
    studies: list[StudyPlan]
    cells: dict[str, Cell]  # those of the studies, and the label and span cells that they need
    blocks: dict[tuple[str, str], list[int]]  # (cell id, block) → seeds

    @cached_property
    def targets(self) -> dict[str, Target]:
        return {cell.target.id: cell.target for cell in self.cells.values()}

    @cached_property
    def priors(self) -> dict[str, Prior]:
        return {cell.prior.id: cell.prior for cell in self.cells.values() if cell.prior}

    @property
    def target_names(self) -> dict[str, str]:
        """Target id → its name in the config."""
        return {cell.target.id: cell.target_name for cell in self.cells.values()}

    def asked(self) -> list[tuple[str, str]]:
        """The distinct (cell, block) pairs of the selected studies."""
        pairs = (
            (cell, block)
            for study in self.studies
            for cell, blocks in study.cells.items()
            for block in blocks
        )
        return sorted(set(pairs))

    def shown(self) -> list[tuple[str, str]]:
        """The first block of every image cell: the one that pictures, records and loss curves are from."""
        first: dict[str, str] = {}
        for cell, block in self.asked():
            if self.cells[cell].attack != "labels":
                first.setdefault(cell, block)
        return list(first.items())

    def pictured(self) -> list[tuple[str, str]]:
        """Those of ``shown`` whose examples are drawn: all but records of a table."""
        return [pair for pair in self.shown() if not self._has_records(self.cells[pair[0]])]

    def recorded(self) -> list[tuple[str, str]]:
        """Those of ``shown`` whose examples are records of a table."""
        return [pair for pair in self.shown() if self._has_records(self.cells[pair[0]])]

    def _has_records(self, cell: Cell) -> bool:
        name = cell.target.options.dataset
        return cell.target.has_public and catalogue.is_table(name, self.config.dataset(name))

    def mapped(self) -> list[tuple[str, str]]:
        """The distinct (target id, block of draws) pairs that the cells attack."""
        pairs = (
            (self.cells[cell].target.id, block)
            for (cell, _), seeds in self.blocks.items()
            for block in self.cells[cell].target.draw_blocks(self.cells[cell].draws(seeds))
        )
        return sorted(set(pairs))

    def update_name(self, target: str, block: str) -> str:
        """The updates of a block of draws, for people: with round and client, if the run was recorded."""
        recorded = self.targets[target].recorded
        place = recorded[int(block.split("-")[0])].in_words if recorded else f"draws {block}"
        return f"{self.target_names[target]} ({target}), {place}"

    def audited(self) -> Target | None:
        """The one target of the plan, if it is an update from outside: what a verdict is about."""
        targets = list(self.targets.values())
        return targets[0] if len(targets) == 1 and targets[0].options.source != "simulate" else None

    def place(self, target: str, block: str) -> dict[str, Any]:
        """The draw of a block of ``mapped``, and its round and client if the run was recorded."""
        draw, recorded = int(block.split("-")[0]), self.targets[target].recorded
        place = {"round": recorded[draw].round, "client": recorded[draw].client} if recorded else {}
        return {"draw": draw, "place": place}

    def without(self, missing: Iterable[tuple[str, str]]) -> Plan:
        """The plan less the (cell, block) pairs ``missing``. Cells that have no blocks left are dropped."""
        gone = set(missing)
        if not gone:
            return self
        asked = set(self.asked()) - gone
        studies = [replace(study, cells=_only(study.cells, asked)) for study in self.studies]
        kept = {cell for cell, _ in asked}
        cells = {id: cell for id, cell in self.cells.items() if id in kept}
        blocks = {pair: seeds for pair, seeds in self.blocks.items() if pair in asked}
        return Plan(self.config, studies, cells, blocks)

    def datasets(self) -> list[str]:
        """The data sets of the targets that have public images."""
        targets = (cell.target for cell in self.cells.values())
        return sorted({target.options.dataset for target in targets if target.has_public})

    def dataset_options(self, name: str) -> dict[str, Any]:
        """What the config says about a data set, defaults left out."""
        return self.config.dataset(name).model_dump(mode="json", exclude_defaults=True)

    def cell_ids(self, attack: str) -> str:
        """A wildcard constraint: the cells of one attack, and no cell of another one.

        Snakemake searches the text of a constraint for every file that it names. Therefore the expression
        has the shortest first digits that tell the ids apart, and not thousands of ids.
        """
        mine = [id for id, cell in self.cells.items() if cell.attack == attack]
        others = [id for id, cell in self.cells.items() if cell.attack != attack]
        starts = _distinct_starts(mine, others)
        return f"(?:{'|'.join(starts)})[0-9a-f]*" if starts else "none"

    def target_ids(self, *sources: str) -> str:
        """A wildcard constraint: the targets of some sources."""
        return _any_of(t.id for t in self.targets.values() if t.options.source in sources)

    def label_cell(self, cell: str) -> str | None:
        """The id of the label cell that gives the class counts of a cell with ``labels: recovered``."""
        found = self.cells[cell].label_cell
        return found.id if found else None

    def described(self) -> dict[str, dict[str, Any]]:
        """Cell id → attack, target, parameters, for tables and MLflow."""
        return {
            cell: {"attack": c.attack, "target": c.target_name, "parameters": c.parameters}
            for cell, c in sorted(self.cells.items())
            if any(cell in study.cells for study in self.studies)
        }

    def figures(self) -> list[str]:
        """The figures that the studies have something to show in."""
        cells = [self.cells[cell] for cell, _ in self.asked()]
        scored = [cell for cell in cells if cell.target.has_truth]
        methods = {cell.options.method for cell in scored if cell.attack == "labels"}
        facts = registry.StudyFacts(
            attacks=frozenset(cell.attack for cell in cells),
            scored=frozenset(cell.attack for cell in scored),
            has_intervals=not methods.isdisjoint(WITH_INTERVALS),
            has_pictures=bool(self.pictured()),
        )
        return registry.shown(facts)

    def cells_csv(self) -> str:
        """The text of cells.csv: what each id stands for, in the columns in which cells differ."""
        rows = [
            {"cell": id, "attack": cell["attack"], "target": cell["target"], **cell["parameters"]}
            for id, cell in self.described().items()
        ]
        columns = dict.fromkeys(["cell", "attack", "target", *cell_names.varying(rows)])
        out = io.StringIO()
        writer = csv.DictWriter(out, list(columns), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()


def _only(cells: dict[str, tuple[str, ...]], asked: set[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """The blocks of each cell that are in ``asked``; cells without any are left out."""
    kept = {cell: tuple(b for b in blocks if (cell, b) in asked) for cell, blocks in cells.items()}
    return {cell: blocks for cell, blocks in kept.items() if blocks}


def _distinct_starts(ids: list[str], others: list[str], start: str = "") -> list[str]:
    """The shortest first characters that each of ``ids`` and none of ``others`` begins with, sorted."""
    ids, others = ([id for id in group if id.startswith(start)] for group in (ids, others))
    if not ids or not others:
        return [start] if ids else []
    longer = sorted({id[: len(start) + 1] for id in ids})
    return [found for next_start in longer for found in _distinct_starts(ids, others, next_start)]


def _any_of(ids: Iterable[str]) -> str:
    """A regular expression for wildcards: one of ``ids``."""
    return "|".join(sorted(ids)) or "none"
