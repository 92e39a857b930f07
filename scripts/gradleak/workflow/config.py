"""The configuration as models, and errors that name the place in the YAML and the nearest valid name.

Imported while the workflow is parsed, so nothing here or below imports TensorFlow, MLflow or pandas.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    Field,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gradleak import losses
from gradleak.attacks.matching.dlg_options import DlgOptions
from gradleak.attacks.matching.latent_options import LatentOptions
from gradleak.attacks.span.options import SpanOptions
from gradleak.datasets.builtin import BUILTIN
from gradleak.datasets.names import PATTERN, OwnOrBuiltin
from gradleak.datasets.options import Dataset
from gradleak.federated.options import ClientOptions
from gradleak.labels.options import LabelOptions
from gradleak.mapping.preprocess import Preprocess
from gradleak.priors.options import VaeOptions
from gradleak.strict import StrictModel

ATTACKS = {"labels": LabelOptions, "dlg": DlgOptions, "latent": LatentOptions, "span": SpanOptions}
COMBINE = ("product", "zip", "one_at_a_time")  # how the axes of an entry may be combined
NO_DATASET = "none"  # of a target, for whose images no public ones exist
RENAMED = {  # keys of earlier versions → their names now; CHANGELOG.md lists them too
    "optimiser": "optimizer",
    "fill_unseen": "fill_outside_receptive_field",
    "states_sign": "sign_in_metadata",
}


class ConfigError(Exception):
    """What is wrong, where in the YAML, and what to do about it."""


def _loss(text: str) -> str:
    """``text`` in the one form that files have."""
    if text != "auto" and losses.parse(text) is None:
        raise ValueError(f"{text} is no loss that can be read; losses are {', '.join(losses.NAMES)}")
    return losses.canonical(text)


class Leaked(StrictModel):
    """Settings of updates that were not simulated here. What the user does not state is estimated."""

    dataset: OwnOrBuiltin = Field(
        "mnist-5k",
        description="Public data of the same kind, for priors and controls: a built-in set, or one of "
        "`datasets`. none: there are no public data; attacks and estimates that need them do not apply.",
    )
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None,
        description="With dataset: none, how the model's input is an image: [height, width, channels], as "
        "[28, 28, 1] of a model that takes vectors of 784. Default: the shape that the model takes.",
    )
    samples: int | None = Field(
        None, ge=1, description="Images behind the update; default: what the metadata says."
    )
    sign: Literal["auto", "after_minus_before", "before_minus_after"] = Field(
        "auto", description="Convention of the shared delta; auto: decided from the update, with evidence."
    )
    scale: float | Literal["auto"] = Field(
        "auto",
        description="Delta per unit of gradient (learning rate × steps × client weight); auto: estimated.",
    )
    batch_norm: Literal["auto", "training", "inference"] = Field(
        "auto",
        description="Whether the client's BatchNorm layers normalised by the statistics of its batch "
        "(training) or by the moving ones (inference); auto: decided from the update, with evidence.",
    )
    loss: Annotated[str, AfterValidator(_loss)] = Field(
        "auto",
        description="Loss of the client: that of a softmax (categorical_crossentropy), that of a single "
        "sigmoid or of one sigmoid per class (binary_crossentropy), focal, squared_error, "
        "squared_error_of_softmax or crossentropy_of_softmax, perhaps with options, as in "
        "`categorical_crossentropy(label_smoothing=0.1)`; auto: decided from the metadata, the model and the "
        "update, with evidence.",
    )

    preprocess: Preprocess | None = Field(
        None,
        description="What the client did to its examples, as numbers in [0, 1], before the model: "
        "`{mean: …, std: …}` or `{range: [lo, hi]}`; null: nothing, or the model does it itself.",
    )

    @model_validator(mode="after")
    def _one_shape(self) -> Leaked:
        if self.input_shape is not None and self.dataset != NO_DATASET:
            raise ValueError(
                f"input_shape: the images of {self.dataset} have a shape already; leave input_shape out, or "
                f"choose dataset: {NO_DATASET}"
            )
        return self

    @property
    def draws(self) -> int:
        return 1


class LocalTarget(Leaked):
    """Your own artifacts in a folder: model JSON, weights before, delta, optional metadata. Any names.

    With `rounds` or `clients` a recorded run: a folder of rounds and clients, with the model at its top.
    """

    source: Literal["local"]
    path: str = Field(description="Folder of the artifacts, or of the recorded run.")
    truth: str | None = Field(
        None,
        description="Optional .npz with x (images) and y (labels), read by the scoring alone. Of a recorded "
        "run a folder with `round-0001/client-<id>.npz` for each update.",
    )
    rounds: Literal["all"] | Annotated[list[PositiveInt], Field(min_length=1)] | None = Field(
        None, description="Of a recorded run, the rounds to attack; each (round, client) is a draw."
    )
    clients: Literal["all"] | Annotated[list[str | int], Field(min_length=1)] | None = Field(
        None, description="Of a recorded run, the clients to attack, by the ids in the names of folders."
    )


class DriveTarget(Leaked):
    """Artifacts on Google Drive, by file id."""

    source: Literal["drive"]
    ids: list[str] = Field(
        min_length=3, description="Drive file ids, in any order: roles are found by content."
    )


Target = Annotated[ClientOptions | LocalTarget | DriveTarget, Field(discriminator="source")]


class Study(StrictModel):
    """A named set of cells and the seeds they run with."""

    description: str = Field("", description="One line for the report.")
    seeds: int | list[int] = Field(8, description="Number of seeds (0, 1, …) or the list of them.")
    block_size: int = Field(8, ge=1, description="Seeds per job: they run as one batch in one process.")
    base: dict[str, Any] = Field({}, description="Parameters that every cell of the study starts from.")
    cells: list[dict[str, Any]] = Field(
        min_length=1,
        description="Each entry: `attack`, `target` (a name; single settings as `target.batch_size: 8`), any "
        "option of the attack, `axes` (option → list of values), `combine` (product, zip, one_at_a_time), "
        "`exclude` (list of option → value, all of which must match).",
    )


class Tracking(StrictModel):
    enabled: bool = Field(True, description="Write the finished trials into MLflow at the end.")
    uri: str | None = Field(
        None,
        description="Tracking URI; default: MLFLOW_TRACKING_URI, else sqlite:///results/mlflow/mlflow.db.",
    )
    prune: bool = Field(
        False,
        description="Compare every run in MLflow with its files, and delete the runs of cells that are no "
        "longer in the studies. `make prune` does it once.",
    )


class Config(StrictModel):
    """A whole config file."""

    study: str | list[str] = Field(
        "demo", description="Which study runs: a name, a list of names, or all (every one under `studies`)."
    )
    targets: dict[str, Target] = Field({}, description="Leak sources by name.")
    priors: dict[str, VaeOptions] = Field({}, description="VAE priors by name.")
    studies: dict[str, Study] = Field({}, description="Studies by name.")
    datasets: dict[Annotated[str, StringConstraints(pattern=PATTERN, max_length=60)], Dataset] = Field(
        {}, description="Your own data sets by name, and where the files of built-in ones lie."
    )
    tracking: Tracking = Field(Tracking(), description="MLflow.")
    threads: int = Field(1, ge=1, description="Threads of an attack job.")
    gpus: int = Field(
        0,
        ge=0,
        description="GPUs that an attack job or the training of a prior requests from a cluster.",
    )
    trials_at_once: int = Field(
        0,
        ge=0,
        description="The most trials of a block that an attack job computes side by side; 0: as many as fit "
        "into the job's memory (`mem_mb`) and the processor's caches. Changes no result beyond rounding.",
    )

    partial: bool = Field(
        False,
        description="true: tables, figures and report are made from the finished blocks, and trials of the "
        "others are rows with the reason. A run in which jobs failed does this at its end.",
    )

    @property
    def dataset_names(self) -> list[str]:
        """All that a target or prior can name."""
        return list(dict.fromkeys([*BUILTIN, *self.datasets]))

    def unknown_dataset(self, options: Any, path: str) -> str:
        """What is wrong with the data set of a target or a prior, or ''. path: of its key in the config."""
        valid = [*self.dataset_names, *([NO_DATASET] if isinstance(options, Leaked) else [])]
        return "" if options.dataset in valid else not_one_of(path, options.dataset, valid)

    def dataset(self, name: str) -> Dataset:
        """What is said about a data set."""
        return self.datasets.get(name, Dataset())

    @property
    def selected(self) -> list[str]:
        if self.study == "all" and "all" not in self.studies:
            return list(self.studies)
        return [self.study] if isinstance(self.study, str) else list(dict.fromkeys(self.study))


def load(raw: dict[str, Any], studies_folder: str | Path = "config/studies") -> Config:
    """Check a merged config. A selected study without cells is read from ``<studies_folder>/<name>.yaml``.

    Such a file may hold targets, priors and studies. The config itself takes precedence over it.
    """
    merged = dict(raw)
    wanted = merged.get("study", "demo")
    for name in wanted if isinstance(wanted, list) else [wanted]:
        path = Path(studies_folder) / f"{name}.yaml"
        if not _defines(merged, name) and path.exists():
            merged = with_own_entries(_merge(_read_study(path), merged), merged)
    config = parse(Config, merged, "")
    _check_datasets(config)
    if not config.selected:
        raise ConfigError("study: names no study, so there is nothing to run")
    available = sorted({*config.studies, *(path.stem for path in Path(studies_folder).glob("*.yaml"))})
    for name in config.selected:
        if name not in config.studies:
            raise ConfigError(
                f"study: there is no study {name!r}{nearest(name, available)}. Known: {', '.join(available)}"
            )
    return config


def _check_datasets(config: Config) -> None:
    """Raises ConfigError for data sets without a path, and for names of data sets that there are not."""
    lines = [
        f"datasets.{name}.path: is missing; {name!r} is no built-in set{nearest(name, BUILTIN)}"
        for name, dataset in config.datasets.items()
        if name not in BUILTIN and not dataset.path
    ]
    if NO_DATASET in config.datasets:
        lines.append(f"datasets.{NO_DATASET}: means that there is no data set; choose another name")
    for section in ("targets", "priors"):
        for name, options in getattr(config, section).items():
            if line := config.unknown_dataset(options, f"{section}.{name}.dataset"):
                lines.append(line)
    if lines:
        raise ConfigError("\n".join(lines))


def _defines(raw: dict[str, Any], name: Any) -> bool:
    """Whether the config holds the study itself, and not just what differs from the shipped one."""
    studies = raw.get("studies")
    study = studies.get(name) if isinstance(studies, dict) and isinstance(name, str) else None
    return isinstance(study, dict) and "cells" in study


def _read_study(path: Path) -> dict[str, Any]:
    try:
        shipped = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(shipped, dict):
        raise ConfigError(f"{path}: must be a mapping with `studies` (and `targets`, `priors`) in it")
    return {key: value for key, value in shipped.items() if key != "study"}


# Section → the key that makes an entry a whole one. Without it, an entry changes keys of the shipped one.
WHOLE = {"targets": "source", "studies": "cells", "priors": None}


def with_own_entries(merged: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``merged`` with the whole entries of ``own`` as they are: without keys of shipped entries."""
    found = dict(merged)
    for section, key in WHOLE.items():
        entries = own.get(section)
        if isinstance(entries, dict) and isinstance(found.get(section), dict):
            whole = {
                name: entry
                for name, entry in entries.items()
                if isinstance(entry, dict) and (key is None or key in entry)
            }
            found[section] = found[section] | whole
    return found


def _merge(low: Any, high: Any) -> Any:
    if isinstance(low, dict) and isinstance(high, dict):
        return low | high | {key: _merge(low[key], high[key]) for key in low.keys() & high.keys()}
    return high


def parse(model: Any, value: Any, path: str, places: dict[str, str] | None = None) -> Any:
    """Check ``value``; all its errors in one ConfigError, each with its path in the YAML.

    places: where a key of ``value`` was written, if not right under ``path`` (``cells[0].axes.weighting``).
    """
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        lines = [_describe(item, path, model, places or {}) for item in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


UNION_TAGS = ("int", "float", "str")  # added by pydantic to the place of an error in `int | list[int]`


def _describe(error: Any, prefix: str, model: Any, places: dict[str, str]) -> str:
    keys = list(error["loc"])
    # Pydantic adds tags of unions that are not in the YAML: the kind of a target, the branch that failed.
    tag = keys.pop(2) if model is Config and keys[:1] == ["targets"] and len(keys) > 2 else None
    while len(keys) > 1 and (
        keys[-1] in UNION_TAGS or re.match(r"(list|literal|function-\w+)\[", str(keys[-1]))
    ):
        keys.pop()
    if keys[-1:] == ["[key]"]:  # the key itself is wrong, and it is the one before
        keys.pop()
    path = prefix
    if keys and keys[0] in places:
        path, *keys = places[keys[0]], *keys[1:]
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
    if error["type"] == "extra_forbidden":
        return f"{path}: {unknown(str(error['loc'][-1]), _fields(model, keys[:-1], tag))}"
    if error["type"] == "literal_error":
        expected = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return not_one_of(path, error["input"], expected)
    if error["type"] == "union_tag_not_found":
        return f"{path}: 'source' is missing (simulate, local or drive)"
    if error["type"] == "union_tag_invalid":
        return f"{path}.source: {error['ctx']['tag']!r} is not one of simulate, local, drive"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path or 'config'}: {message[0].lower() + message[1:]} (got {error['input']!r})"


def _fields(model: Any, keys: list, tag: str | None) -> list[str]:
    """The valid names where an unknown key was found."""
    if not keys or (isinstance(model, type) and model is not Config):
        return list(getattr(model, "model_fields", ()))
    if keys[2:] == ["preprocess"]:
        return list(Preprocess.model_fields)
    section: Any = {
        "studies": Study,
        "priors": VaeOptions,
        "datasets": Dataset,
        "tracking": Tracking,
    }.get(keys[0])
    if keys[0] == "targets":
        section = {"local": LocalTarget, "drive": DriveTarget}.get(tag or "simulate", ClientOptions)
    return list(section.model_fields) if section else []


def unknown(key: str, valid: Iterable[str], words: str = "unknown key") -> str:
    """The message for a key that is not in ``valid``: its new name, or ``words`` and the nearest name."""
    prefix, _, name = key.rpartition(".")
    new = f"{prefix}.{RENAMED[name]}" if prefix and name in RENAMED else RENAMED.get(name, "")
    if new in valid:
        return f"was renamed to {new!r} (see CHANGELOG.md)"
    return f"{words}{nearest(key, valid)}"


def not_one_of(path: str, value: Any, valid: Iterable[str]) -> str:
    """The message for a value that is not among a few words."""
    return f"{path}: {value!r} is not one of {', '.join(valid)}{nearest(str(value), valid)}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """ "; did you mean …?", or nothing."""
    found = difflib.get_close_matches(name, [str(v) for v in valid], 1, 0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
