"""Scores and records of all blocks → the three tables that everything people see is made from.

trials.csv: one row a study and trial. TRIAL_COLUMNS come first, in this order; all other parameters that
differ between cells follow as ``param.<name>``. cells.csv: one row a study and cell, every metric as mean,
low and high (95 % bootstrap over draws). labels.csv: long, one row a trial and class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from gradleak import records
from gradleak.evaluation import bootstrap, cell_names, trial_notes
from gradleak.files import read_json

IDENTITY = [
    *("study", "cell", "seed", "attack", "target", "batch_size", "weighting", "labels", "oracle"),
    *("status", "reason"),
]
METRICS = [
    *("objective", "psnr", "psnr_median", "psnr_best", "ssim", "mse", "share_20db", "share_30db", "matched"),
    *("relative_error", "reference_accuracy", "perceptual_distance", "pair_label_accuracy"),
    *("field_accuracy", "category_accuracy", "field_accuracy_chance"),
    *("leacc", "lnacc", "irec", "skill", "count_mae", "labels_exact", "expected_irec"),
    *("coverage_50", "coverage_90", "coverage_95", "width_50", "width_90", "width_95"),
    *("nearest_public_psnr", "prior_ceiling_psnr"),
    *("certified", "false_positives", "samples_estimated", "samples_exact"),
    *("residual_rank", "expected_psnr", "expected_rank"),
]
COST = ["seconds", "cpu_seconds", "peak_mb"]
PLACE = ["host", "job"]  # where a trial's block ran; the cluster's number of it
TRIAL_COLUMNS = [*IDENTITY, *METRICS, *COST, "block", "draw", "control", "method", *PLACE, "notes"]
LABEL_COLUMNS = ["study", "cell", "seed", "attack", "method", "batch_size"]
WORDS = [  # columns whose empty values are empty strings
    *("study", "cell", "attack", "target", "weighting", "labels", "status", "reason", "reasons", "block"),
    *("control", "method", "setting", "verdict", *PLACE, "notes"),
]


def trials(
    cells: dict[str, dict],
    blocks: list[dict[str, Any]],
    studies: dict[str, dict[str, tuple[str, ...]]],
    missing: Iterable[tuple[str, str, list[int], list[int], str]] = (),
) -> pd.DataFrame:
    """trials.csv.

    cells: id → {attack, target, parameters}. blocks: [{cell, block, record, rows}], the last two paths.
    studies: name → cell id → its blocks; a study shows the seeds that it asks for alone. missing: (cell,
    block, seeds, draws, reason) of blocks that were not done: their trials are failed, with the reason.
    """
    rows = [row for block in blocks for row in _rows_of_block(block, cells[block["cell"]])]
    rows += [row for name, *rest in missing for row in _missing_rows(name, cells[name], *rest)]
    frame = pd.DataFrame(rows)
    parameters = _varying_parameters(cells)
    for name in parameters:
        frame[cell_names.PARAMETER + name] = [cells[c]["parameters"].get(name) for c in frame["cell"]]
    asked = pd.DataFrame(
        [(study, c, b) for study, own in studies.items() for c, done in own.items() for b in done],
        columns=["study", "cell", "block"],
    )
    columns = [*TRIAL_COLUMNS, *(cell_names.PARAMETER + name for name in parameters)]
    return (
        asked.merge(frame, on=["cell", "block"])
        .reindex(columns=columns)
        .sort_values(["study", "attack", "cell", "seed"], kind="stable")
        .reset_index(drop=True)
    )


def _rows_of_block(block: dict[str, Any], cell: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each trial of a block that was done. The block's costs are divided by its trials."""
    record, scores = records.read(block["record"]), read_json(block["rows"])
    parameters = cell["parameters"]
    # Of a foreign leak only the truth, where there is one, says how many images there were.
    stated = parameters.get("target.samples") or parameters.get("target.batch_size")
    size = stated or max((sum(row.get("true_counts", ())) for row in scores), default=0) or None
    share = 1 / max(len(record["trials"]), 1)
    for trial, scored in zip(record["trials"], scores, strict=True):
        yield {
            **_fixed(block["cell"], cell),
            "batch_size": size,
            "block": block["block"],
            **{name: trial[name] for name in ("seed", "draw", "status", "reason", "objective")},
            **{name: scored[name] for name in METRICS if name in scored},
            "seconds": record["seconds"]["total"] * share,
            "cpu_seconds": record["cpu_seconds"] * share,
            "peak_mb": record["peak_mb"],
            "host": record["environment"]["host"],
            "job": record["job"],
            "notes": trial_notes.text(trial.get("notes", ())),
        }


def _missing_rows(
    name: str, cell: dict[str, Any], block: str, seeds: list[int], draws: list[int], reason: str
) -> Iterator[dict[str, Any]]:
    """A failed row for each trial of a block that was not done."""
    size = cell["parameters"].get("target.batch_size")
    for seed, draw in zip(seeds, draws, strict=True):
        trial = {"seed": seed, "draw": draw, "status": "failed", "reason": reason}
        yield {**_fixed(name, cell), "batch_size": size, "block": block, **trial}


def _fixed(name: str, cell: dict[str, Any]) -> dict[str, Any]:
    """The columns that are the same in all trials of a cell."""
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


def _method(parameters: dict[str, Any]) -> str:
    """The label method. With known members it is another method wherever methods are compared."""
    with_members = parameters.get("members", "none") != "none"
    return (parameters.get("method", "") + (" + members" if with_members else "")).strip()


def _varying_parameters(cells: dict[str, dict]) -> list[str]:
    """Parameters in which cells differ, but for those that have a column of their own."""
    found = cell_names.varying([cell["parameters"] for cell in cells.values()])
    return [name for name in found if name not in cell_names.SETTINGS]


def cells(trials: pd.DataFrame) -> pd.DataFrame:
    """cells.csv, a row a study and cell: how many trials ended how; each metric's mean with its interval."""
    rows = []
    changing = {*METRICS, *COST, *PLACE, "seed", "draw", "block", "status", "reason", "notes"}
    fixed = [name for name in trials.columns if name not in changing]
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
            row[name], row[f"{name}_low"], row[f"{name}_high"] = bootstrap.mean(
                values, group["draw"].to_numpy()
            )
        row["seconds_per_trial"] = float(group["seconds"].mean())
        row["cpu_hours"] = float(group["cpu_seconds"].sum()) / 3600
        rows.append(row)
    return pd.DataFrame(rows)


def labels(trials: pd.DataFrame, blocks: list[dict[str, Any]]) -> pd.DataFrame:
    """labels.csv: true and recovered images per class.

    Columns: LABEL_COLUMNS, class, true, recovered, and low … high, the 90 % interval of the methods that have
    one.
    """
    counts, parts = {}, ("true_counts", "counts", "low", "high")
    for block in blocks:
        for row in read_json(block["rows"]):
            if "counts" in row:
                counts[block["cell"], row["seed"]] = tuple(row.get(key) for key in parts)
    rows = [
        (
            *identity,
            c,
            *(np.nan if part is None else part[c] for part in counts[identity.cell, identity.seed]),
        )
        for identity in trials[LABEL_COLUMNS].itertuples(index=False)
        if (identity.cell, identity.seed) in counts
        for c in range(len(counts[identity.cell, identity.seed][1]))
    ]
    return pd.DataFrame(rows, columns=[*LABEL_COLUMNS, "class", "true", "recovered", "low", "high"])


def read(path: str) -> pd.DataFrame:
    """A table as written: empty strings stay strings in the columns WORDS, and so do words such as nan."""
    frame = pd.read_csv(path, dtype=dict.fromkeys(WORDS, str), keep_default_na=False, na_values=[""])
    return frame.fillna(dict.fromkeys(WORDS, ""))


def varying(cells: pd.DataFrame) -> list[str]:
    """The columns of settings in which the rows of ``cells`` differ, see ``cell_names.varying``."""
    return cell_names.varying(_records(cells), cell_names.settings(cells.columns))


def names(cells: pd.DataFrame, skip: Iterable[str] = ()) -> pd.Series:
    """The name of every row of ``cells``, with its index, see ``cell_names.names``."""
    return pd.Series(cell_names.names(_records(cells), tuple(skip)), cells.index, dtype=object)


def shown_order(cells: pd.DataFrame) -> list[str]:
    """The index of ``cells`` as reconstructions are shown: span inversion first, then by size and attack,
    controls last.
    """
    keys = {
        cell: (row["attack"] != "span", row["batch_size"], row["attack"], row["control"] != "none", cell)
        for cell, row in cells.iterrows()
    }
    return sorted(cells.index, key=keys.__getitem__)


def _records(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Each row's attack and settings."""
    return cells[[*(c for c in ("attack",) if c in cells), *cell_names.settings(cells.columns)]].to_dict(
        "records"
    )
