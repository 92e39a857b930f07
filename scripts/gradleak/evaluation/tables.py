"""Scores and records of all blocks → the three tables that everything people see is made from.

trials.csv: one row a study and trial. TRIAL_COLUMNS come first, in this order; all other parameters that differ
between cells follow as ``param.<name>``. cells.csv: one row a study and cell, every metric as mean, low and high
(95 % bootstrap over draws). labels.csv: long, one row a trial and class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from gradleak.evaluation.metrics import bootstrap
from gradleak.files import read_json

IDENTITY = [
    "study",
    "cell",
    "seed",
    "attack",
    "target",
    "batch_size",
    "weighting",
    "labels",
    "oracle",
    "status",
    "reason",
]
METRICS = [
    "objective",
    "psnr",
    "psnr_median",
    "psnr_best",
    "ssim",
    "mse",
    "share_20db",
    "share_30db",
    "matched",
    "reference_accuracy",
    "pair_label_accuracy",
    "leacc",
    "lnacc",
    "irec",
    "skill",
    "count_mae",
    "labels_exact",
    "expected_irec",
    "coverage_50",
    "coverage_90",
    "coverage_95",
    "width_50",
    "width_90",
    "width_95",
    "nearest_public_psnr",
    "prior_ceiling_psnr",
    "certified",
    "false_positives",
    "samples_estimated",
    "samples_exact",
    "residual_rank",
    "expected_psnr",
    "expected_rank",
]
COST = ["seconds", "cpu_seconds", "peak_mb"]
PLACE = ["host", "job"]  # where a trial's block ran; the cluster's number of it
TRIAL_COLUMNS = [*IDENTITY, *METRICS, *COST, "block", "draw", "control", "method", *PLACE]


def trials(
    cells: dict[str, dict],
    blocks: list[dict[str, Any]],
    studies: dict[str, dict[str, tuple[str, ...]]],
    missing: Iterable[tuple[str, str, list[int], list[int], str]] = (),
) -> pd.DataFrame:
    """cells: id → {attack, target, parameters}; blocks: [{cell, block, record, rows}] (paths);
    studies: name → cell id → its blocks. A study shows the seeds that it asks for, and none of another's.
    missing: (cell, block, seeds, draws, reason) of blocks that were not done: their trials are rows with the reason.
    """
    rows = []
    for block in blocks:
        cell = cells[block["cell"]]
        parameters = cell["parameters"]
        told = _told(block["cell"], cell)
        record, scores = read_json(block["record"]), read_json(block["rows"])
        # Of a foreign leak only the truth, where there is one, says how many images there were.
        stated = parameters.get("target.samples") or parameters.get("target.batch_size")
        samples = stated or max((sum(row.get("true_counts", ())) for row in scores), default=0) or None
        share = 1 / max(len(record["trials"]), 1)  # a block's trials run as one
        for trial, scored in zip(record["trials"], scores, strict=True):
            rows.append(
                {
                    **told,
                    "seed": trial["seed"],
                    "batch_size": samples,
                    "status": trial["status"],
                    "reason": trial["reason"],
                    "objective": trial["objective"],
                    **{name: scored[name] for name in METRICS if name in scored},
                    "seconds": record["seconds"]["total"] * share,
                    "cpu_seconds": record["cpu_seconds"] * share,
                    "peak_mb": record["peak_mb"],
                    "block": block["block"],
                    "draw": trial["draw"],
                    "host": record["environment"]["host"],
                    "job": record["job"],
                }
            )
    for cell, block, seeds, draws, reason in missing:
        told, size = _told(cell, cells[cell]), cells[cell]["parameters"].get("target.batch_size")
        rows += [
            {
                **told,
                "seed": seed,
                "batch_size": size,
                "status": "failed",
                "reason": reason,
                "block": block,
                "draw": draw,
            }
            for seed, draw in zip(seeds, draws, strict=True)
        ]
    frame = pd.DataFrame(rows)
    varying = _varying({c: cell["parameters"] for c, cell in cells.items()})
    for name in varying:
        frame[f"param.{name}"] = [cells[c]["parameters"].get(name) for c in frame["cell"]]
    members = pd.DataFrame(
        [(study, c, b) for study, own in studies.items() for c, names in own.items() for b in names],
        columns=["study", "cell", "block"],
    )
    frame = members.merge(frame, on=["cell", "block"])
    columns = [*TRIAL_COLUMNS, *(f"param.{name}" for name in varying)]
    return (
        frame.reindex(columns=columns)
        .sort_values(["study", "attack", "cell", "seed"], kind="stable")
        .reset_index(drop=True)
    )


def _told(name: str, cell: dict) -> dict[str, Any]:
    """What a cell says of all its trials."""
    parameters = cell["parameters"]
    return {
        "cell": name,
        "attack": cell["attack"],
        "target": cell["target"],
        "weighting": parameters.get("weighting", ""),
        "labels": parameters.get("labels", ""),
        "oracle": parameters.get("labels") == "oracle",
        "control": parameters.get("control", "none"),
        "method": _method(parameters),
    }


def _method(parameters: dict) -> str:
    """The label method, and that it was told of members: another method wherever methods are compared."""
    told = parameters.get("members", "none") != "none"
    return (parameters.get("method", "") + (" + members" if told else "")).strip()


def _varying(parameters: dict[str, dict]) -> list[str]:
    """Parameters in which cells differ, the ones that have a column of their own left out."""
    names = dict.fromkeys(name for values in parameters.values() for name in values)
    own = {"weighting", "labels", "control", "method"}
    return [
        n for n in names if n not in own and len({repr(v.get(n)) for v in parameters.values() if n in v}) > 1
    ]


def cells(trials: pd.DataFrame) -> pd.DataFrame:
    """One row a study and cell: how many trials ended how, and each metric's mean with its interval."""
    rows = []
    fixed = [
        c
        for c in trials.columns
        if c not in {*METRICS, *COST, *PLACE, "seed", "draw", "block", "status", "reason"}
    ]
    for _, group in trials.groupby(["study", "cell"], sort=False):
        row = {name: group[name].iloc[0] for name in fixed}
        row |= {
            "trials": len(group),
            "ok": int((group["status"] == "ok").sum()),
            "draws": group["draw"].nunique(),
        }
        row["reasons"] = "; ".join(sorted({str(r) for r in group["reason"].dropna() if str(r)}))
        for name in METRICS:
            values = pd.to_numeric(group[name], errors="coerce").to_numpy(float)
            row[name], row[f"{name}_low"], row[f"{name}_high"] = bootstrap(values, group["draw"].to_numpy())
        row["seconds_per_trial"] = float(group["seconds"].mean())
        row["cpu_hours"] = float(group["cpu_seconds"].sum()) / 3600
        rows.append(row)
    return pd.DataFrame(rows)


def labels(trials: pd.DataFrame, blocks: list[dict[str, Any]]) -> pd.DataFrame:
    """True and recovered images per class: study, cell, seed, attack, method, batch_size, class, true, recovered, and the
    90 % interval low … high of the methods that have one.
    """
    counts, parts = {}, ("true_counts", "counts", "low", "high")
    for block in blocks:
        for row in read_json(block["rows"]):
            if "counts" in row:
                counts[block["cell"], row["seed"]] = tuple(row.get(key) for key in parts)
    names = ["study", "cell", "seed", "attack", "method", "batch_size"]
    rows = [
        (
            *identity,
            c,
            *(np.nan if part is None else part[c] for part in counts[identity.cell, identity.seed]),
        )
        for identity in trials[names].itertuples(index=False)
        if (identity.cell, identity.seed) in counts
        for c in range(len(counts[identity.cell, identity.seed][1]))
    ]
    return pd.DataFrame(rows, columns=[*names, "class", "true", "recovered", "low", "high"])


def read(path: str) -> pd.DataFrame:
    """A table as written: empty strings stay strings in the columns that hold words."""
    words = (
        "study",
        "cell",
        "attack",
        "target",
        "weighting",
        "labels",
        "status",
        "reason",
        "reasons",
        "block",
        "control",
        "method",
        "setting",
        "verdict",
        *PLACE,
    )
    return pd.read_csv(path, dtype=dict.fromkeys(words, str)).fillna(dict.fromkeys(words, ""))
