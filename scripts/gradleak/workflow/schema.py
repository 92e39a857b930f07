"""Writes config/config.schema.json and docs/reference/config.md from the models (``make schema``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from gradleak.federated.options import ClientOptions
from gradleak.mapping.preprocess import Preprocess
from gradleak.priors.options import VaeOptions
from gradleak.workflow.config import (
    ATTACKS,
    COMBINE,
    Config,
    Dataset,
    DriveTarget,
    LocalTarget,
    Study,
    Tracking,
)

ROOT = Path(__file__).parents[3]
SECTIONS: dict[str, Any] = {
    "The file": Config,
    "`targets.<name>` with `source: simulate`": ClientOptions,
    "`targets.<name>` with `source: local`": LocalTarget,
    "`targets.<name>` with `source: drive`": DriveTarget,
    "`preprocess` of a target": Preprocess,
    "`priors.<name>`": VaeOptions,
    "`studies.<name>`": Study,
    **{f"`studies.<name>.cells[]` with `attack: {name}`": model for name, model in ATTACKS.items()},
    "`datasets.<name>`": Dataset,
    "`tracking`": Tracking,
}


def schema() -> str:
    """The JSON schema that editors use, as text."""
    whole = Config.model_json_schema()
    whole["title"] = "gradleak configuration"
    whole["$defs"]["Study"]["properties"]["cells"]["items"] = {
        "type": "object",
        "properties": {
            "attack": {"enum": list(ATTACKS)},
            "target": {"type": "string"},
            "axes": {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}},
            "combine": {"enum": list(COMBINE)},
            "exclude": {"type": "array", "items": {"type": "object"}},
        },
    }
    return json.dumps(whole, indent=1) + "\n"


def reference() -> str:
    """docs/reference/config.md as text."""
    parts = [
        "# Configuration\n\n"
        "Generated from the models in `scripts/gradleak/` by `make schema`; do not edit by hand.\n\n"
        "`config/config.yaml` holds the default study. A file of your own, given with "
        "`--configfile mine.yaml`, is merged into it and needs only the keys that differ. A target with "
        "`source`, a study with `cells`, and a prior replace the shipped one of that name whole. "
        "A study of `config/studies/` is chosen by its name: `snakemake --cores 2 --config study=ablation`. "
        "Unknown keys, unknown names and empty axes are errors that end the run before any job starts.\n"
    ]
    for title, model in SECTIONS.items():
        parts.append(
            f"\n## {title}\n\n{(model.__doc__ or '').strip()}\n\n"
            "| key | type | default | what it does |\n| --- | --- | --- | --- |\n"
        )
        properties = model.model_json_schema().get("properties", {})
        for name, field in model.model_fields.items():
            parts.append(
                f"| `{name}` | {_type(properties[name])} | {_default(field)} | {field.description or ''} |\n"
            )
    return "".join(parts)


def _type(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in entry:
            return " or ".join(dict.fromkeys(_type(option) for option in entry[key]))
    if "$ref" in entry:
        return entry["$ref"].rsplit("/", 1)[-1]
    if entry.get("type") == "array":
        return f"list of {_type(entry.get('items') or entry.get('prefixItems', [{}])[0])}"
    return {"object": "mapping", "boolean": "true or false", "number": "number", "integer": "integer"}.get(
        entry.get("type", ""), entry.get("type", "any")
    )


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if hasattr(field.default, "model_dump"):
        return "see below"
    return f"`{json.dumps(field.default)}`"


def main() -> None:
    (ROOT / "config" / "config.schema.json").write_text(schema(), encoding="utf-8")
    (ROOT / "docs" / "reference" / "config.md").write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
