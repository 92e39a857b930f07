"""The findings on a block of draws, and their form in mapping.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradleak.artifacts.leak import Leak
from gradleak.losses import CATEGORICAL
from gradleak.mapping import batch_statistics
from gradleak.mapping.alignment import Aligned
from gradleak.mapping.finding import Contradiction, Finding, as_json
from gradleak.mapping.metadata import Metadata
from gradleak.mapping.perturbations import Perturbations
from gradleak.mapping.ranks import Bound, Ranks, verdict

ASSUMED_LOSS = Finding(CATEGORICAL, 0.0, "not examined")


@dataclass(frozen=True)
class Findings:
    """One for each question about an update. ranks: of its dense kernels. bound: what they prove, or None.
    coupled: names of the layers that normalised by the batch. statistics: of the batch, there. doubt: why the
    model with the weights of the file may not be the client's, or ''. loss: of the client.
    """

    weights: Finding
    sign: Finding
    scale: Finding
    samples: Finding
    optimizer: Finding
    smoothing: Finding
    perturbations: Perturbations
    batch_norm: Finding
    coupled: list[str]
    ranks: Ranks
    bound: Bound | None
    statistics: batch_statistics.Recovered = batch_statistics.NOT_NEEDED
    doubt: str = ""
    loss: Finding = ASSUMED_LOSS


def report(
    findings: Findings,
    head: str,
    aligned: Aligned,
    gradients: list[np.ndarray],
    leak: Leak,
    stated: Metadata,
) -> dict[str, Any]:
    """mapping.json. head: what was changed at the model's output. leak: of the first draw. stated: its
    metadata.
    """
    f, p, meta = findings, findings.perturbations, stated.values
    return {
        "head": head,
        "files": leak.manifest.get("files", []),
        "notes": [*leak.manifest.get("notes", []), *_unread(stated), *_missing(aligned)],
        "tensors": [
            row | {"norm": float(np.mean(np.linalg.norm(g.reshape(len(g), -1), axis=1)))}
            for row, g in zip(aligned.rows, gradients, strict=True)
        ],
        "weights_matched_by": aligned.weights_matched_by,
        "weights": as_json(f.weights, doubt=f.doubt),
        "loss": as_json(f.loss),
        "sign": as_json(f.sign, found=f.sign.estimate),
        "scale": as_json(f.scale, estimate=f.scale.estimate, error=f.scale.error),
        "samples": as_json(f.samples, images_times_steps_at_least=f.samples.estimate),
        "optimizer": as_json(f.optimizer),
        "smoothing": as_json(f.smoothing),
        "weight_decay": as_json(p.decay.finding),
        "noise": as_json(p.noise),
        "precision": as_json(p.precision, rounding=p.precision.rounding),
        "quantisation": as_json(p.quantisation),
        "clipping": as_json(p.clipping),
        "entry_clipping": as_json(p.entry_clipping),
        "sparsity": as_json(p.sparsity),
        "batch_norm": as_json(f.batch_norm, statistics=batch_statistics.as_json(f.statistics, f.coupled)),
        "ranks": f.ranks.rows,
        "verdict": verdict(f.bound, f.samples.value, meta.get("local_steps")),
        "contradictions": [*(_line(name, one) for name, one in stated.contradicts), *contradictions(f)],
        "metadata": {"read": meta, "unread": list(stated.unread)},
    }


def _unread(stated: Metadata) -> list[str]:
    """A note on the keys that have no effect."""
    keys = ", ".join(stated.unread[:20]) + (", …" if len(stated.unread) > 20 else "")
    return [f"keys of the metadata that were not read: {keys}"] if keys else []


def _missing(aligned: Aligned) -> list[str]:
    """A note on the statistics that ``weights.doubt`` lets pass."""
    paths = ", ".join(aligned.missing_weights)
    return [f"not in the file of weights, so mean 0 and variance 1: {paths}"] if paths else []


def contradictions(findings: Findings) -> list[str]:
    """A line for each statement that the update, or another statement, contradicts."""
    return [
        _line(name, one)
        for name in ("loss", "optimizer", "sign", "scale", "samples", "batch_norm")
        for one in getattr(findings, name).contradicts
    ]


def _line(name: str, one: Contradiction) -> str:
    if one.against == "settings":
        return f"{name}: the settings say {one.found}, the {one.source} {one.stated}"
    if one.against == "metadata":
        return f"{name}: the metadata say {one.stated}, and elsewhere {one.found}"
    if name == "scale":
        return f"scale: the {one.source} give {one.stated:.3g}, the update suggests {one.found:.3g}"
    if name == "samples":
        return f"samples: {one.stated} images were stated, the rank refutes it"
    return f"{name}: the {one.source} say {one.stated}, the update looks like {one.found}"
