"""The findings on a block of draws, and their form in mapping.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.artifacts.leak import Leak
from gradleak.mapping import batch_statistics
from gradleak.mapping.alignment import Aligned
from gradleak.mapping.finding import Contradiction, Finding, as_json
from gradleak.mapping.ranks import Ranks, verdict


@dataclass(frozen=True)
class Findings:
    """One for each question about an update. ranks: of its dense kernels.

    coupled: names of the layers that normalised by the batch. statistics: of the batch, there.
    """

    weights: Finding
    sign: Finding
    scale: Finding
    samples: Finding
    optimizer: Finding
    noise: Finding
    precision: Finding
    clipping: Finding
    sparsity: Finding
    batch_norm: Finding
    coupled: list[str]
    ranks: Ranks
    statistics: batch_statistics.Recovered = batch_statistics.NOT_NEEDED


def report(
    findings: Findings, head: str, aligned: Aligned, gradients: list[np.ndarray], leak: Leak
) -> dict[str, Any]:
    """mapping.json. head: what was changed at the model's output. leak: of the first draw."""
    f, meta = findings, leak.meta
    return {
        "head": head,
        "files": leak.manifest.get("files", []),
        "notes": leak.manifest.get("notes", []),
        "tensors": [
            row | {"norm": float(np.mean(np.linalg.norm(g.reshape(len(g), -1), axis=1)))}
            for row, g in zip(aligned.rows, gradients, strict=True)
        ],
        "weights_matched_by": aligned.weights_matched_by,
        "weights": as_json(f.weights),
        "sign": as_json(f.sign, found=f.sign.estimate),
        "scale": as_json(f.scale, estimate=f.scale.estimate),
        "samples": as_json(f.samples),
        "optimizer": as_json(f.optimizer),
        "noise": as_json(f.noise),
        "precision": as_json(f.precision, rounding=f.precision.rounding),
        "clipping": as_json(f.clipping),
        "sparsity": as_json(f.sparsity),
        "batch_norm": as_json(f.batch_norm, statistics=batch_statistics.as_json(f.statistics, f.coupled)),
        "ranks": f.ranks.rows,
        "verdict": verdict(f.ranks.rows, f.samples.value, meta.get("local_steps", 1), f.optimizer.value),
        "contradictions": contradictions(f),
        "meta": {
            key: value
            for key, value in meta.items()
            if isinstance(value, str | int | float | bool) or value is None
        },
    }


def contradictions(findings: Findings) -> list[str]:
    """A line for each statement that the update, or another statement, contradicts."""
    return [
        _line(name, one)
        for name in ("optimizer", "sign", "scale", "samples", "batch_norm")
        for one in getattr(findings, name).contradicts
    ]


def _line(name: str, one: Contradiction) -> str:
    if one.against == "settings":
        return f"{name}: the settings say {one.found}, the {one.source} {one.stated}"
    if name == "scale":
        return f"scale: the {one.source} give {one.stated:.3g}, the update suggests {one.found:.3g}"
    if name == "samples":
        return f"samples: {one.stated} images were stated, the rank refutes it"
    return f"{name}: the {one.source} say {one.stated}, the update looks like {one.found}"
