"""A point of the grid → a cell: its target, options, prior and members looked up and checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gradleak.datasets.builtin import BUILTIN
from gradleak.workflow.cells import COUNTS, Cell, Prior, Target, make_cell
from gradleak.workflow.config import (
    ATTACKS,
    NO_DATASET,
    Config,
    ConfigError,
    LocalTarget,
    nearest,
    not_one_of,
    parse,
)
from gradleak.workflow.identity import identify, spec_of
from gradleak.workflow.own_files import check_name
from gradleak.workflow.recorded_run import has_rounds, model_files, recorded
from gradleak.workflow.seed_blocks import seeds_of_block

TARGET = "target."  # the prefix of options that change single settings of the target
NEEDS_PUBLIC = {  # option → its values that need public images, and what to choose in their place
    "init": (("public_mean", "class_mean", "features"), "normal, uniform or smooth_noise"),
    "weighting": (("learned",), "another weighting, such as uniform or depth"),
}


def resolve(point: dict[str, Any], config: Config, path: str, places: dict[str, str]) -> Cell:
    """The cell at ``point``. Raises ConfigError.

    path: the entry's place in the config. places: where each key of ``point`` is written, for the messages.
    """
    target = _target(point, config, path, places)
    name = point["target"]
    attack = point.get("attack")
    if not isinstance(attack, str) or attack not in ATTACKS:
        raise ConfigError(not_one_of(f"{path}.attack", attack, ATTACKS))
    chosen = {k: v for k, v in point.items() if k != "target" and not k.startswith(TARGET)}
    options = parse(ATTACKS[attack], chosen, path, places)
    if hasattr(options, "label_method"):
        where = places.get("label_method", f"{path}.label_method")
        parse(ATTACKS["labels"], {"method": options.label_method}, path, {"method": where})
    prior = _prior(options, config, path)
    if prior:
        # The shape of the user's own data is not known before its files are read.
        drawn, wanted = _image_shape(prior.options), _image_shape(target.options)
        if drawn and wanted and drawn != wanted:
            raise ConfigError(
                f"{path}.prior: {options.prior!r} draws images {drawn}, and target {name!r} has {wanted}"
            )
    _check_public(options, target, name, path, places)
    if getattr(options, "labels", None) == "oracle" and not target.has_truth:
        raise ConfigError(f"{path}.labels: oracle needs truth, and target {name!r} has none")
    return make_cell(options, target, name, prior, _members(point, options, config, path, places))


def _image_shape(options: Any) -> tuple[int, ...] | None:
    """(H, W, C) of the images of a target or a prior; None where only files say it."""
    builtin = BUILTIN.get(options.dataset)
    return builtin.shape if builtin else getattr(options, "input_shape", None)


def _check_public(options: Any, target: Target, name: str, path: str, places: dict[str, str]) -> None:
    """Raise ConfigError where an option needs public images and the target has none."""
    if target.has_public:
        return
    for key, (values, instead) in NEEDS_PUBLIC.items():
        value = getattr(options, key, None)
        if value in values:
            raise ConfigError(
                f"{places.get(key, f'{path}.{key}')}: {value} needs public images, and target {name!r} has "
                f"none (dataset: {NO_DATASET}); choose {instead}"
            )


def _members(
    point: dict[str, Any], options: Any, config: Config, path: str, places: dict[str, str]
) -> Cell | None:
    """The span cell of a cell's option ``members``, on the target of ``point``."""
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
    return resolve({**asked, "attack": "span", **target}, config, where, written)


def _target(point: dict[str, Any], config: Config, path: str, places: dict[str, str]) -> Target:
    """The target that ``point`` names, with the single settings that it changes."""
    name = point.get("target")
    if not isinstance(name, str) or name not in config.targets:
        raise ConfigError(f"{path}.target: there is no target {name!r}{nearest(str(name), config.targets)}")
    options = config.targets[name]
    overrides = {key.removeprefix(TARGET): value for key, value in point.items() if key.startswith(TARGET)}
    if overrides:
        written = {key.removeprefix(TARGET): place for key, place in places.items() if key.startswith(TARGET)}
        given = options.model_dump(exclude_unset=True)
        options = parse(type(options), {**given, **overrides}, path, written)
        if line := config.unknown_dataset(options, written.get("dataset", f"{path}.target.dataset")):
            raise ConfigError(line)
    spec = spec_of(options, *COUNTS, *(["truth"] if isinstance(options, LocalTarget) else []))
    updates = recorded(name, options) if isinstance(options, LocalTarget) else ()
    return Target(identify(spec), options, spec, updates)


def _prior(options: Any, config: Config, path: str) -> Prior | None:
    """The prior that the options name, if any."""
    name = getattr(options, "prior", None)
    if name is None:
        return None
    if name not in config.priors:
        raise ConfigError(f"{path}.prior: there is no prior {name!r}{nearest(name, config.priors)}")
    spec = spec_of(config.priors[name])
    return Prior(identify({"prior": spec}), config.priors[name], spec)


def check_local(name: str, target: Target) -> None:
    """Raises ConfigError where files of a local target are missing, or cannot be inputs of a rule."""
    options, files = target.options, local_files(target)
    if not target.recorded and has_rounds(options.path):
        raise ConfigError(
            f"targets.{name}.path: {options.path!r} holds rounds: set `rounds: all`, or a list of rounds"
        )
    if not files:
        raise ConfigError(
            f"targets.{name}.path: no files in {options.path!r} (from {Path.cwd()}); "
            "it must hold the model JSON, the weights before and the delta"
        )
    truths = truth_files(target)
    for truth in truths:
        if not Path(truth).is_file():
            shown = options.truth if not target.recorded else truth
            raise ConfigError(f"targets.{name}.truth: {shown!r} is not a file")
    for setting, path in [*(("path", file) for file in files), *(("truth", truth) for truth in truths)]:
        check_name(f"targets.{name}.{setting}", path)


def local_files(target: Target, block: str | None = None) -> list[str]:
    """The files of a local target, sorted, without hidden ones. ``~`` is the home folder.

    block: of draws; of a recorded run then only the model and the files of this draw.
    """
    if not target.recorded:
        return _visible(os.path.expanduser(target.options.path))
    draws = range(len(target.recorded)) if block is None else seeds_of_block(block)
    return [
        *model_files(target.options),
        *(file for draw in draws for file in _visible(target.recorded[draw].folder)),
    ]


def _visible(folder: str) -> list[str]:
    if not Path(folder).is_dir():
        return []
    return sorted(str(p) for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith("."))


def truth_files(target: Target, block: str | None = None) -> list[str]:
    """The files of a local target's truth, if it has one: one for each draw. ``~`` is the home folder."""
    if not target.options.truth:
        return []
    truth = os.path.expanduser(target.options.truth)
    if not target.recorded:
        return [truth]
    draws = range(len(target.recorded)) if block is None else seeds_of_block(block)
    return [f"{truth}/{target.recorded[draw].truth_name}" for draw in draws]
