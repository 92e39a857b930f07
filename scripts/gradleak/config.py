"""The configuration as models: what a config file may say, and errors that name the path and the nearest valid name.

Imported while the workflow is parsed, so nothing here or below imports TensorFlow, MLflow or pandas.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from gradleak import client, labels, vae
from gradleak.attacks import dlg, latent
from gradleak.datasets import DATASETS
from gradleak.strict import Strict

ATTACKS = {"labels": labels.Options, "dlg": dlg.Options, "latent": latent.Options}


class ConfigError(Exception):
    """What is wrong, where in the YAML, and what to do about it."""


class Leaked(Strict):
    """What a target that was not simulated here has in common: little is known, most is found out."""

    dataset: Literal[*DATASETS] = Field(
        "mnist-5k", description="Public data of the same kind, for priors and controls."
    )
    samples: int | None = Field(
        None, ge=1, description="Images behind the update; default: what the metadata says."
    )
    sign: Literal["auto", "after_minus_before", "before_minus_after"] = Field(
        "auto", description="Convention of the shared delta; auto: found out from the update, with evidence."
    )
    scale: float | Literal["auto"] = Field(
        "auto",
        description="Delta per unit of gradient (learning rate × steps × client weight); auto: found out.",
    )

    @property
    def draws(self) -> int:
        return 1


class LocalTarget(Leaked):
    """Your own artifacts in a folder: model JSON, weights before, delta, optional metadata. Any file names."""

    source: Literal["local"]
    path: str = Field(description="Folder of the artifacts.")
    truth: str | None = Field(
        None, description="Optional .npz with x (uint8) and y, read by the scoring alone."
    )


class DriveTarget(Leaked):
    """Artifacts on Google Drive, by file id."""

    source: Literal["drive"]
    ids: list[str] = Field(
        min_length=3, description="Drive file ids, in any order: roles are found by content."
    )


Target = Annotated[client.Options | LocalTarget | DriveTarget, Field(discriminator="source")]


class Study(Strict):
    """A named set of cells and the seeds they run with."""

    description: str = Field("", description="One line for the report.")
    seeds: int | list[int] = Field(8, description="Number of seeds (0, 1, …) or the list of them.")
    block_size: int = Field(8, ge=1, description="Seeds per job: they run as one batch in one process.")
    base: dict[str, Any] = Field({}, description="Parameters that every cell of the study starts from.")
    cells: list[dict[str, Any]] = Field(
        min_length=1,
        description="Each entry: `attack`, `target` (a name; single settings as `target.batch_size: 8`), any option of "
        "the attack, `axes` (option → list of values), `combine` (product, zip, one_at_a_time), `exclude` "
        "(list of option → value, all of which must match).",
    )


class Dataset(Strict):
    path: str | None = Field(None, description="Folder of the IDX files, for the sets that need one.")


class Tracking(Strict):
    enabled: bool = Field(True, description="Write the finished trials into MLflow at the end.")
    uri: str | None = Field(
        None,
        description="Tracking URI; default: MLFLOW_TRACKING_URI, else sqlite:///results/mlflow/mlflow.db.",
    )


class Config(Strict):
    """A whole config file."""

    study: str | list[str] = Field("demo", description="Which study runs: a name, a list of names, or all.")
    targets: dict[str, Target] = Field({}, description="Leak sources by name.")
    priors: dict[str, vae.Options] = Field({}, description="VAE priors by name.")
    studies: dict[str, Study] = Field({}, description="Studies by name.")
    datasets: dict[Literal[*DATASETS], Dataset] = Field({}, description="Where data sets lie.")
    tracking: Tracking = Field(Tracking(), description="MLflow.")
    threads: int = Field(1, ge=1, description="Threads of an attack job.")

    @property
    def selected(self) -> list[str]:
        return [self.study] if isinstance(self.study, str) else list(self.study)


def load(raw: dict[str, Any], studies_folder: str | Path = "config/studies") -> Config:
    """Check a merged config. A selected study that it lacks is looked up as ``<studies_folder>/<name>.yaml``.

    Such a file may hold targets, priors and one or more studies; what the config itself says goes first.
    """
    merged = dict(raw)
    wanted = merged.get("study", "demo")
    for name in [wanted] if isinstance(wanted, str) else list(wanted):
        path = Path(studies_folder) / f"{name}.yaml"
        if name not in (merged.get("studies") or {}) and path.exists():
            shipped = yaml.safe_load(path.read_text()) or {}
            shipped.pop("study", None)
            merged = _merge(shipped, merged)
    config = parse(Config, merged, "")
    available = sorted({*config.studies, *(path.stem for path in Path(studies_folder).glob("*.yaml"))})
    for name in config.selected:
        if name not in config.studies:
            raise ConfigError(
                f"study: there is no study {name!r}{nearest(name, available)}. Known: {', '.join(available)}"
            )
    return config


def _merge(low: Any, high: Any) -> Any:
    if isinstance(low, dict) and isinstance(high, dict):
        return {
            key: _merge(low[key], high[key]) if key in low and key in high else {**low, **high}[key]
            for key in {**low, **high}
        }
    return high


def parse(model: Any, value: Any, path: str) -> Any:
    """Check ``value``; all its errors in one ConfigError, each with its path in the YAML."""
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(item, path, model) for item in error.errors())) from None


def _describe(error: dict, prefix: str, model: Any) -> str:
    # Tags of discriminated unions ('simulate', 'function-…') are pydantic's, not the user's.
    keys = [
        part
        for part in error["loc"]
        if part not in ("simulate", "local", "drive") and not str(part).startswith("function-")
    ]
    path = prefix
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key{nearest(str(keys[-1]), _fields(model, keys[:-1], error))}"
    if error["type"] == "literal_error":
        expected = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"{path}: {error['input']!r} is not one of {', '.join(expected)}{nearest(str(error['input']), expected)}"
    if error["type"] == "union_tag_not_found":
        return f"{path}: 'source' is missing (simulate, local or drive)"
    if error["type"] == "union_tag_invalid":
        return f"{path}.source: {error['ctx']['tag']!r} is not one of simulate, local, drive"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path or 'config'}: {message[0].lower() + message[1:]} (got {error['input']!r})"


def _fields(model: Any, keys: list, error: dict) -> list[str]:
    """The valid names where an unknown key was found."""
    if isinstance(model, type) and model is not Config:
        return list(model.model_fields)
    if not keys:
        return list(Config.model_fields)
    section = {
        "studies": Study, "priors": vae.Options, "datasets": Dataset, "tracking": Tracking,
    }.get(keys[0])  # fmt: skip
    if keys[0] == "targets":
        tag = next((part for part in error["loc"] if part in ("local", "drive")), "simulate")
        section = {"simulate": client.Options, "local": LocalTarget, "drive": DriveTarget}[tag]
    return list(section.model_fields) if section else []


def nearest(name: str, valid: list[str]) -> str:
    """ ", did you mean …?", or nothing."""
    found = difflib.get_close_matches(name, [str(v) for v in valid], 1, 0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
