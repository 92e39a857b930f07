"""From a checked config to the plan: cells, blocks, ids. The only place that knows how work is named.

* cell id: the first ten hex digits of SHA-256 over the canonical JSON of all that differs from its default, so that
  a new option with a neutral default renames nothing;
* block: a run of consecutive seeds, named by its first and last one (``0000-0007``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gradleak.federated.datasets import SHAPES
from gradleak.federated.options import ClientOptions
from gradleak.labels.registry import METHODS, WITH_INTERVALS
from gradleak.priors.options import VaeOptions
from gradleak.strict import StrictModel
from gradleak.workflow.config import (
    ATTACKS,
    COMBINE,
    Config,
    ConfigError,
    LocalTarget,
    nearest,
    not_one_of,
    parse,
    unknown,
)

SCHEMA = 2  # raise it when a declared default changes its meaning: it renames every cell


def spec_of(options: StrictModel, *leave_out: str) -> dict[str, Any]:
    """What differs from the declared defaults, as plain JSON types; the discriminating key is always there."""
    spec = options.model_dump(mode="json", exclude_defaults=True, exclude=set(leave_out))
    for key in ("attack", "source"):
        if hasattr(options, key):
            spec[key] = getattr(options, key)
    return spec


def identify(spec: dict[str, Any]) -> str:
    canonical = json.dumps({"schema": SCHEMA, **spec}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class TargetPlan:
    """A leak source with all its settings resolved. ``draws`` is no part of the id: it is a count, like seeds."""

    id: str
    options: Any
    spec: dict[str, Any]

    @property
    def has_truth(self) -> bool:
        return isinstance(self.options, ClientOptions) or bool(getattr(self.options, "truth", None))

    @property
    def user_claims(self) -> dict[str, Any]:
        """What the user says of the update, for the mapping to weigh; of a simulated one nothing is said."""
        if isinstance(self.options, ClientOptions):
            return {"samples": None, "sign": "auto", "scale": "auto"}
        return {key: getattr(self.options, key) for key in ("samples", "sign", "scale")}

    def draw_blocks(self, draws: list[int]) -> list[str]:
        """The blocks of draws that hold ``draws``; a target's draws are made and mapped in fixed runs."""
        return sorted({self._block(draw) for draw in draws})

    def _block(self, draw: int) -> str:
        if not isinstance(self.options, ClientOptions):
            return block_name([0])
        size = self.options.draws_per_job
        first = draw // size * size
        return block_name(range(first, first + size))


@dataclass(frozen=True)
class PriorPlan:
    id: str
    options: VaeOptions
    spec: dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One point of the grid without its seed."""

    id: str
    options: Any
    spec: dict[str, Any]  # of the attack alone, defaults left out
    target: TargetPlan
    target_name: str
    prior: PriorPlan | None
    members: Cell | None = None  # the span cell whose accepted images a label cell counts in, or DLG holds

    @property
    def attack(self) -> str:
        return self.options.attack

    @property
    def stage(self) -> str:
        """The folder of results/ in which its results lie."""
        return "labels" if self.attack == "labels" else "inversions"

    def draws(self, seeds: list[int]) -> list[int]:
        """The draw that each seed attacks."""
        return [seed % self.target.options.draws for seed in seeds]

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value, defaults included, flat: what tables and trackers show."""
        flat = {key: value for key, value in self.options.model_dump(mode="json").items() if key != "attack"}
        if "members" in flat:
            flat["members"] = _in_words(self.members)
        settings = self.target.options.model_dump(mode="json")
        for count in ("draws", "draws_per_job"):
            settings.pop(count, None)
        return flat | {f"target.{key}": value for key, value in settings.items()}


@dataclass(frozen=True)
class StudyPlan:
    name: str
    description: str
    cells: dict[str, tuple[str, ...]]  # cell id → its blocks


@dataclass(frozen=True)
class Plan:
    """All that the workflow needs to know."""

    config: Config
    studies: list[StudyPlan]
    cells: dict[str, Cell]  # those of the studies, and the label cells that others build on
    blocks: dict[tuple[str, str], list[int]]  # (cell id, block) → seeds

    @cached_property
    def targets(self) -> dict[str, TargetPlan]:
        return {cell.target.id: cell.target for cell in self.cells.values()}

    @cached_property
    def priors(self) -> dict[str, PriorPlan]:
        return {cell.prior.id: cell.prior for cell in self.cells.values() if cell.prior}

    def asked(self) -> list[tuple[str, str]]:
        """The distinct (cell, block) pairs of the selected studies."""
        return sorted(
            {
                (cell, block)
                for study in self.studies
                for cell, blocks in study.cells.items()
                for block in blocks
            }
        )

    def summary(self, results: Path = Path("results")) -> str:
        """A line a study for people: its cells, trials and blocks, and how many blocks are done."""
        done = {(path.parent.name, path.stem) for path in (results / "scores").glob("*/*.json")} & set(
            self.asked()
        )
        lines = []
        for study in self.studies:
            blocks = [(cell, block) for cell, names in study.cells.items() for block in names]
            trials = sum(len(self.blocks[pair]) for pair in blocks)
            lines.append(
                f"Study {study.name}: {len(study.cells):,} cells, {trials:,} trials in {len(blocks):,} blocks, "
                f"{sum(pair in done for pair in blocks):,} of them done"
            )
        return "\n".join(lines)

    def without(self, missing: Iterable[tuple[str, str]]) -> Plan:
        """The plan as if the (cell, block) pairs ``missing`` had not been asked for; cells left without blocks go too."""
        gone = set(missing)
        if not gone:
            return self
        asked = {pair for pair in self.asked() if pair not in gone}
        kept = {cell for cell, _ in asked}
        studies = [
            replace(
                study,
                cells={
                    cell: left
                    for cell, blocks in study.cells.items()
                    if (left := tuple(block for block in blocks if (cell, block) in asked))
                },
            )
            for study in self.studies
        ]
        cells = {id: cell for id, cell in self.cells.items() if id in kept}
        return Plan(
            self.config, studies, cells, {pair: seeds for pair, seeds in self.blocks.items() if pair in asked}
        )

    def shown(self) -> list[tuple[str, str]]:
        """The first block of every image cell: what pictures and loss curves are drawn from."""
        first: dict[str, str] = {}
        for cell, block in self.asked():
            if self.cells[cell].attack != "labels":
                first.setdefault(cell, block)
        return list(first.items())

    def mapped(self) -> list[tuple[str, str]]:
        """The distinct (target id, block of draws) pairs behind the studies."""
        return sorted(
            {
                (self.cells[cell].target.id, block)
                for (cell, _), seeds in self.blocks.items()
                for block in self.cells[cell].target.draw_blocks(self.cells[cell].draws(seeds))
            }
        )

    def datasets(self) -> list[str]:
        return sorted({cell.target.options.dataset for cell in self.cells.values()})

    def dataset_path(self, name: str) -> str | None:
        return self.config.datasets[name].path if name in self.config.datasets else None

    @property
    def target_names(self) -> dict[str, str]:
        """Target id → the name that it has in the config."""
        return {cell.target.id: cell.target_name for cell in self.cells.values()}

    def cell_ids(self, attack: str) -> str:
        """A wildcard constraint: the cells of one attack."""
        return _any_of(c.id for c in self.cells.values() if c.attack == attack)

    def target_ids(self, *sources: str) -> str:
        """A wildcard constraint: the targets of some sources."""
        return _any_of(t.id for t in self.targets.values() if t.options.source in sources)

    def described(self) -> dict[str, dict[str, Any]]:
        """Cell id → attack, target, parameters, for tables and trackers."""
        return {
            cell: {"attack": c.attack, "target": c.target_name, "parameters": c.parameters}
            for cell, c in sorted(self.cells.items())
            if any(cell in study.cells for study in self.studies)
        }

    def figures(self) -> list[str]:
        """The figures that the studies have something to show in."""
        cells = [self.cells[cell] for cell, _ in self.asked()]
        attacks = {cell.attack for cell in cells}
        with_truth = {cell.attack for cell in cells if cell.target.has_truth}
        with_intervals = {
            cell.options.method
            for cell in cells
            if cell.attack == "labels" and cell.target.has_truth and cell.options.method in WITH_INTERVALS
        }
        drawn = {
            "reconstructions": attacks - {"labels"},
            "recovery": with_truth - {"labels"},
            "psnr_by_batch_size": with_truth - {"labels"},
            "weighting": with_truth & {"dlg"},
            "effects": with_truth,
            "seeds": with_truth - {"labels"},
            "loss_curves": attacks - {"labels"},
            "label_recovery": with_truth & {"labels"},
            "label_counts": with_truth & {"labels"},
            "label_skill": with_truth & {"labels"},
            "label_table": with_truth & {"labels"},
            "label_coverage": with_intervals,
            "label_intervals": with_intervals,
        }
        return [name for name, attacks_in in drawn.items() if attacks_in]

    def label_cell(self, cell: str) -> str | None:
        """The label cell that a cell with labels: recovered takes its counts from."""
        return label_cell_of(self.cells[cell]).id if needs_labels(self.cells[cell]) else None

    def cells_csv(self) -> str:
        """cells.csv: what each id stands for, only the columns in which cells differ or that name them."""
        rows = {
            cell: {
                "cell": cell,
                "attack": self.cells[cell].attack,
                "target": self.cells[cell].target_name,
                **self.cells[cell].parameters,
            }
            for cell in sorted({c for c, _ in self.asked()})
        }
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        varying = [
            k
            for k in columns
            if k in ("cell", "attack", "target") or len({repr(r.get(k)) for r in rows.values()}) > 1
        ]
        out = io.StringIO()
        writer = csv.DictWriter(out, varying, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
        return out.getvalue()


def _in_words(cell: Cell | None) -> str:
    """A cell in one word or a few: its attack, and what differs from the defaults."""
    if cell is None:
        return "none"
    said = {**cell.spec, **({"prior": cell.options.prior} if cell.prior else {})}
    return " ".join(
        [cell.attack, *(f"{key}={value}" for key, value in sorted(said.items()) if key != "attack")]
    )


def _any_of(ids: Iterable[str]) -> str:
    """A regular expression for wildcards: one of ``ids``."""
    return "|".join(sorted(ids)) or "none"


def needs_labels(cell: Cell) -> bool:
    return getattr(cell.options, "labels", None) == "recovered"


def label_cell_of(cell: Cell) -> Cell:
    options = ATTACKS["labels"](
        method=cell.options.label_method, members=cell.members and cell.options.members
    )
    return _make_cell(options, cell.target, cell.target_name, None, cell.members)


def block_name(seeds: Sequence[int]) -> str:
    return f"{seeds[0]:04d}-{seeds[-1]:04d}"


def seeds_of_block(block: str) -> list[int]:
    first, last = (int(part) for part in block.split("-"))
    return list(range(first, last + 1))


def blocks_of(seeds: int | list[int], size: int, path: str) -> list[list[int]]:
    """Fixed runs: block k holds seeds k·size … k·size + size − 1, as far as they are asked for."""
    listed = list(range(seeds)) if isinstance(seeds, int) else sorted(seeds)
    if not listed or listed[0] < 0 or len(set(listed)) != len(listed):
        raise ConfigError(f"{path}: needs at least one seed, none negative, none twice (got {seeds!r})")
    runs: list[list[int]] = []
    for seed in listed:
        if runs and seed == runs[-1][-1] + 1 and seed % size:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return runs


def expand(entry: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    """The points of one `cells` entry: base parameters crossed with its axes, less what is excluded."""
    axes, combine, exclude = (
        entry.get("axes") or {},
        entry.get("combine", "product"),
        entry.get("exclude") or [],
    )
    base = {key: value for key, value in entry.items() if key not in ("axes", "combine", "exclude")}
    if not isinstance(axes, dict):
        raise ConfigError(f"{path}.axes: must be a mapping of option → list of values")
    if not isinstance(exclude, list) or not all(isinstance(rule, dict) and rule for rule in exclude):
        raise ConfigError(f"{path}.exclude: must be a list of mappings option → value (got {exclude!r})")
    for name, values in axes.items():
        if not isinstance(name, str):
            raise ConfigError(f"{path}.axes: {name!r} is not the name of an option")
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{path}.axes.{name}: must be a list with at least one value (got {values!r})")
    if combine == "product":
        points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    elif combine == "zip":
        if len({len(values) for values in axes.values()}) > 1:
            lengths = ", ".join(f"{name} {len(values)}" for name, values in axes.items())
            raise ConfigError(f"{path}.axes: combine: zip needs lists of one length (got {lengths})")
        rows = zip(*axes.values(), strict=True) if axes else [()]
        points = [dict(zip(axes, values, strict=True)) for values in rows]
    elif combine == "one_at_a_time":
        # The first value of every axis is the base point; each axis is then varied alone.
        first = {name: values[0] for name, values in axes.items()}
        points = [first, *({**first, name: value} for name, values in axes.items() for value in values[1:])]
    else:
        raise ConfigError(not_one_of(f"{path}.combine", combine, COMBINE))
    for rule in exclude:
        wrong = sorted(set(rule) - set(axes) - set(base))
        if wrong:
            words = unknown(wrong[0], [*axes, *base], "is not a parameter of this entry")
            raise ConfigError(f"{path}.exclude: {wrong[0]!r} {words}")
    for point in points:
        merged = {**base, **point}
        if not any(all(merged.get(key) == value for key, value in rule.items()) for rule in exclude):
            yield merged


def _make_cell(
    options: Any, target: TargetPlan, target_name: str, prior: PriorPlan | None, members: Cell | None = None
) -> Cell:
    # What a name stands for goes into the id, not the name.
    spec = spec_of(options, *(["prior"] if prior else []), *(["members"] if members else []))
    identity = {"cell": spec, "target": target.spec, **({"prior": prior.spec} if prior else {})}
    if members:
        identity["members"] = members.id
        spec = {**spec, "members": {k: v for k, v in members.spec.items() if k != "attack"}}
    return Cell(identify(identity), options, spec, target, target_name, prior, members)


def _resolve(point: dict[str, Any], config: Config, path: str, places: dict[str, str]) -> Cell:
    """``places``: where each key of ``point`` was written, for the messages."""
    target = _resolve_target(point, config, path, places)
    attack = point.get("attack")
    if not isinstance(attack, str) or attack not in ATTACKS:
        raise ConfigError(not_one_of(f"{path}.attack", attack, ATTACKS))
    chosen = {k: v for k, v in point.items() if k != "target" and not k.startswith("target.")}
    options = parse(ATTACKS[attack], chosen, path, places)
    method = getattr(options, "label_method", None)
    if method is not None and method not in METHODS:
        raise ConfigError(not_one_of(f"{path}.label_method", method, METHODS))
    name = point["target"]
    asked = getattr(options, "prior", None)
    prior = _resolve_prior(asked, config, path) if asked is not None else None
    if prior:
        drawn, wanted = SHAPES[prior.options.dataset], SHAPES[target.options.dataset]
        if drawn != wanted:
            raise ConfigError(
                f"{path}.prior: {options.prior!r} draws images {drawn}, and target {name!r} has {wanted}"
            )
    if getattr(options, "labels", None) == "oracle" and not target.has_truth:
        raise ConfigError(f"{path}.labels: oracle needs truth, and target {name!r} has none")
    return _make_cell(options, target, name, prior, _resolve_members(point, options, config, path, places))


def _resolve_members(
    point: dict[str, Any], options: Any, config: Config, path: str, places: dict[str, str]
) -> Cell | None:
    """The span cell of a cell's ``members``, on the target of ``point``."""
    asked = getattr(options, "members", None)
    if asked is None:
        return None
    where = places.get("members", f"{path}.members")
    own = [key for key in asked if key == "attack" or key.partition(".")[0] == "target"]
    if own:
        raise ConfigError(
            f"{where}.{own[0]}: members are found by span inversion on the cell's own target; leave it out"
        )
    target = {key: value for key, value in point.items() if key.partition(".")[0] == "target"}
    written = {key: place for key, place in places.items() if key in target} | {
        key: f"{where}.{key}" for key in asked
    }
    return _resolve({**asked, "attack": "span", **target}, config, where, written)


def _resolve_target(point: dict[str, Any], config: Config, path: str, places: dict[str, str]) -> TargetPlan:
    """The target that ``point`` names, with the single settings that it changes."""
    name = point.get("target")
    if not isinstance(name, str) or name not in config.targets:
        raise ConfigError(f"{path}.target: there is no target {name!r}{nearest(str(name), config.targets)}")
    options = config.targets[name]
    prefix = "target."
    overrides = {key.removeprefix(prefix): value for key, value in point.items() if key.startswith(prefix)}
    if overrides:
        written = {key.removeprefix(prefix): place for key, place in places.items()}
        given = options.model_dump(exclude_unset=True)
        options = parse(type(options), {**given, **overrides}, path, written)
    spec = spec_of(
        options, "draws", "draws_per_job", *(["truth"] if isinstance(options, LocalTarget) else [])
    )
    return TargetPlan(identify(spec), options, spec)


def _resolve_prior(name: str, config: Config, path: str) -> PriorPlan:
    if name not in config.priors:
        raise ConfigError(f"{path}.prior: there is no prior {name!r}{nearest(name, config.priors)}")
    spec = spec_of(config.priors[name])
    return PriorPlan(identify({"prior": spec}), config.priors[name], spec)


def plan(config: Config) -> Plan:
    """Expand the selected studies. Raises ConfigError; nothing is read but the folders of local targets."""
    cells: dict[str, Cell] = {}
    blocks: dict[tuple[str, str], list[int]] = {}
    studies = []

    def add(cell: Cell, runs: list[list[int]]) -> None:
        known = cells.setdefault(cell.id, cell)
        if (known.spec, known.target.spec) != (cell.spec, cell.target.spec):
            raise ConfigError(
                f"cell id {cell.id} stands for two different cells: {known.spec} and {cell.spec}"
            )
        # Neither is part of a cell's identity, so one cell cannot have two of them.
        for key in ("draws", "draws_per_job", "truth"):
            values = [getattr(c.target.options, key, None) for c in (known, cell)]
            if values[0] != values[1]:
                raise ConfigError(
                    f"studies.{name}: cell {cell.id} ({cell.attack} on {cell.target_name!r}) is asked for with "
                    f"{key} {values[0]!r} and with {key} {values[1]!r}; {key} must agree, since the cell runs once"
                )
        for run in runs:
            blocks[cell.id, block_name(run)] = run

    for name in config.selected:
        study = config.studies[name]
        runs = blocks_of(study.seeds, study.block_size, f"studies.{name}.seeds")
        own: dict[str, tuple[str, ...]] = {}
        for index, entry in enumerate(study.cells):
            path = f"studies.{name}.cells[{index}]"
            places = _places(name, index, study)
            for point in expand({**study.base, **entry}, path):
                cell = _resolve(point, config, path, places)
                own[cell.id] = tuple(block_name(run) for run in runs)
                add(cell, runs)
                if needs_labels(cell):
                    add(label_cell_of(cell), runs)
                if cell.members:
                    add(cell.members, runs)
        if not own:
            raise ConfigError(f"studies.{name}: every cell is excluded, nothing is left to run")
        studies.append(StudyPlan(name, study.description, own))
    truths: dict[str, Any] = {}
    for cell in cells.values():
        truth = getattr(cell.target.options, "truth", None)
        if truths.setdefault(cell.target.id, truth) != truth:
            raise ConfigError(
                f"targets.{cell.target_name}.truth: the same update is also a target with truth "
                f"{truths[cell.target.id]!r}; give one of them"
            )
        if isinstance(cell.target.options, LocalTarget):
            _check_local(cell.target_name, cell.target.options)
    return Plan(config, studies, cells, blocks)


def _places(name: str, index: int, study: Any) -> dict[str, str]:
    """Option → its path in the YAML: in the study's base, in the entry, or in the axes."""
    entry = study.cells[index]
    path = f"studies.{name}"
    found = {key: f"{path}.base.{key}" for key in study.base} | {
        key: f"{path}.cells[{index}].{key}" for key in entry
    }
    holder = f"{path}.cells[{index}]" if "axes" in entry else f"{path}.base"
    axes = entry.get("axes", study.base.get("axes"))
    return found | {key: f"{holder}.axes.{key}" for key in (axes if isinstance(axes, dict) else {})}


def _check_local(name: str, target: LocalTarget) -> None:
    if not local_files(target):
        raise ConfigError(
            f"targets.{name}.path: no files in {target.path!r} (from {Path.cwd()}); "
            "it must hold the model JSON, the weights before and the delta"
        )
    if target.truth and not Path(target.truth).is_file():
        raise ConfigError(f"targets.{name}.truth: {target.truth!r} is not a file")


def local_files(target: LocalTarget) -> list[str]:
    folder = Path(target.path)
    return (
        sorted(str(p) for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        if folder.is_dir()
        else []
    )
