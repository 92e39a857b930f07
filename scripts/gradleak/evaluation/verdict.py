"""What an audit shows of one update from outside, or of a recorded run: tables and findings as one record.

Read by programs and by ``verdict_text``, which says it in words. Nothing here reads the words of evidence or
of reasons; they are handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

INPUTS = "inputs_recovered"  # certified, and the control certifies none; or 20 dB with a truth
INPUTS_DOUBTED = "inputs_doubted"  # certified, but so is the control, or the truth contradicts
LABELS = "labels_recovered"
NOTHING = "nothing_shown"
UNDECIDED = "undecided"  # no attack has a result, or one on images is not finished
ORDER = (INPUTS, INPUTS_DOUBTED, LABELS, UNDECIDED, NOTHING)  # the first one of all updates counts
GUESSES = ("uniform", "aux_prior")  # label methods that do not read the update
CONFORMAL, CERTIFIED, ESTIMATE = BASES = ("conformal", "certified", "estimate")  # of labels, see _labels
IMAGES = ("span", "dlg", "latent")
NONE = "none"  # a prospect: the attack cannot work
# Limits: what the audit does not see. Each holds on a condition of the update or of the audit.
UNPROVEN_SAMPLES = "samples_not_proven"
NO_SPAN = "nothing_can_be_certified"
NO_PUBLIC = "no_public_images"
NO_TRUTH = "no_truth"
SEVERAL_STEPS = "several_local_steps"
NOISE = "noise_on_the_update"
BATCH_NORM = "batch_norm_in_training_mode"
UNFINISHED = "attacks_not_finished"
SEEDS = "finite_search"
OTHERS = "other_attacks"


@dataclass(frozen=True)
class Update:
    """One draw of the audited target. place: ``{}``, or round and client of a recorded run. mapping: of
    mapping.json. prospects: rows {attack, expect, why}.
    """

    draw: int
    place: dict[str, Any]
    mapping: dict[str, Any]
    prospects: list[dict[str, Any]]


UNMAPPED = "not mapped"  # kind of a row of ``not_applicable``: no attack ran on the update


def verdict(
    target: str,
    trials: pd.DataFrame,
    labels: pd.DataFrame,
    updates: list[Update],
    has_public: bool,
    unmapped: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The record. trials, labels: tables of this target alone. Numbers are sums over the updates.

    unmapped: {draw, place} of the updates of a recorded run that have no mapping.
    """
    has_truth = bool(trials["psnr"].notna().any() or trials["irec"].notna().any())
    each = [_of_update(one, trials[trials["draw"] == one.draw], labels, has_truth) for one in updates]
    for one, update in zip(each, updates):
        one["limits"] = _limits(one, update, has_public, has_truth)
    found: dict[str, Any] = {"target": target}
    if len(each) == 1 and not updates[0].place and not unmapped:
        return found | each[0]
    found |= {
        "verdict": min((one["verdict"] for one in each), key=ORDER.index),
        "samples": _total(one["samples"]["value"] for one in each),
        "inputs_certified": _total(one["inputs_certified"] for one in each),
        **({"inputs_20db": _total(one["inputs_20db"] for one in each)} if has_truth else {}),
        "labels": None,
    }
    for key in ("attacks", "not_applicable", "controls"):
        found[key] = [one.get("place", {}) | row for one in each for row in one[key]]
    for one in unmapped:
        reasons = trials.loc[trials["draw"] == one["draw"], "reason"]
        row = {"attack": "all", "kind": UNMAPPED, "reason": next(iter(reasons), "never started")}
        found["not_applicable"].append(one["place"] | row)
    limits = [limit for one in each for limit in one["limits"]]
    if not set(trials["draw"]) <= {one.draw for one in updates}:  # some updates have no mapping
        limits.append(UNFINISHED)
    found["limits"] = list(dict.fromkeys(limits))
    return found | {"updates": each}


def _of_update(update: Update, trials: pd.DataFrame, labels: pd.DataFrame, has_truth: bool) -> dict[str, Any]:
    number = update.mapping["samples"]
    attacks = _attempts(trials[trials["control"] == "none"])
    controls = _attempts(trials[trials["control"] != "none"]) + _attempts(_guesses(trials))
    attacks = [one for one in attacks if one.get("setting") not in GUESSES]
    recovered = _labels(trials, labels, attacks, number["value"])
    found = {
        **({"place": update.place} if update.place else {}),
        "samples": {"value": number["value"], "confidence": number["confidence"]},
        "inputs_certified": _certified(attacks),
        "inputs_20db": _at_20db(attacks, number["value"]) if has_truth else None,
        "labels": recovered,
        "attacks": attacks,
        "not_applicable": _not_applicable(update.prospects, trials),
        "controls": controls,
    }
    if not has_truth:
        del found["inputs_20db"]
    return {"verdict": _decide(found), **found}


def _guesses(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[trials["method"].isin(GUESSES)]


def _attempts(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each cell: how many of its trials are ok, and the trial that its own objective prefers."""
    rows = []
    for (attack, cell), own in trials.groupby(["attack", "cell"], sort=False):
        ok = own[own["status"] == "ok"]
        row = {
            "attack": attack,
            "setting": own["method"].iloc[0] or own["control"].iloc[0].replace("none", ""),
            "cell": cell,
            "trials": len(own),
            "ok": len(ok),
            "seconds": _number(own["seconds"].sum()),
        }
        if len(ok):
            chosen = _chosen(ok, attack)
            names = ("seed", "objective", "certified", "false_positives", "expected_psnr")
            row |= {name: _number(chosen[name]) for name in (*names, "psnr", "share_20db", "irec")}
            row["notes"] = chosen["notes"]
        else:
            row["reason"] = own["reason"].iloc[0]
        rows.append({key: value for key, value in row.items() if value not in (None, "")})
    return rows


def _chosen(ok: pd.DataFrame, attack: str) -> pd.Series:
    """The trial with the most certified images or the lowest objective. No metric that needs a truth."""
    if attack == "span":
        return ok.sort_values(["certified", "objective"], ascending=[False, True], kind="stable").iloc[0]
    return ok.sort_values("objective", kind="stable").iloc[0]


def _certified(attacks: list[dict[str, Any]]) -> int | None:
    """Images that span inversion certified; None where it has no result."""
    counts = [one["certified"] for one in attacks if one["attack"] == "span" and "certified" in one]
    return int(max(counts)) if counts else None


def _at_20db(attacks: list[dict[str, Any]], samples: int) -> int | None:
    shares = [one["share_20db"] for one in attacks if "share_20db" in one and one["attack"] in IMAGES]
    return round(max(shares) * samples) if shares else None


def _labels(
    trials: pd.DataFrame, labels: pd.DataFrame, attacks: list[dict[str, Any]], samples: int
) -> dict[str, Any] | None:
    """Images of each class, with from ``low`` to ``high`` where the basis gives an interval.

    By the first of BASES that there is: a label method with intervals, the labels of certified images (the
    others may be of any class), a label method without.
    """
    ok = trials[(trials["attack"] == "labels") & (trials["status"] == "ok")]
    counted = [
        (trial.method, own)
        for trial in ok[~ok["method"].isin(GUESSES)].itertuples()
        if len(own := _rows(labels, trial.cell, trial.seed))
    ]
    for method, own in counted:
        if not own[["low", "high"]].isna().any(axis=None):
            return {"method": method, "basis": CONFORMAL, "classes": _classes(own, own["low"], own["high"])}
    for one in attacks:
        own = _rows(labels, one["cell"], one.get("seed"))
        if one["attack"] == "span" and one.get("certified") and len(own):
            others = max(0, samples - int(own["recovered"].sum()))
            bounds = own["recovered"], own["recovered"] + others
            return {"method": "span", "basis": CERTIFIED, "classes": _classes(own, *bounds)}
    for method, own in counted:
        return {"method": method, "basis": ESTIMATE, "classes": _classes(own)}
    return None


def _rows(labels: pd.DataFrame, cell: str, seed: Any) -> pd.DataFrame:
    """The classes of a trial in labels.csv."""
    return labels[(labels["cell"] == cell) & (labels["seed"] == seed)].drop_duplicates("class")


def _classes(
    own: pd.DataFrame, low: pd.Series | None = None, high: pd.Series | None = None
) -> list[dict[str, Any]]:
    found = own[["class"]].assign(count=own["recovered"])
    if low is not None:
        found = found.assign(low=low, high=high)
    return [{key: _number(value) for key, value in row.items()} for row in found.to_dict("records")]


def _not_applicable(prospects: list[dict[str, Any]], trials: pd.DataFrame) -> list[dict[str, str]]:
    """Attacks without a result: left out by their prospects, not applicable, not asked for, or failed."""
    rows = []
    for one in prospects:
        own = trials[(trials["attack"] == one["attack"]) & (trials["control"] == "none")]
        if not len(own):
            kind = "no prospect" if one["expect"] == NONE else "not tried"
            rows.append({"attack": one["attack"], "kind": kind, "reason": one["why"]})
            continue
        failed = own[own["status"] != "ok"].drop_duplicates(["cell", "status", "reason"])
        rows += [
            {"attack": r.attack, "kind": r.status, "reason": r.reason}
            | ({"setting": r.method} if r.method else {})
            for r in failed.itertuples()
        ]
    return rows


def _decide(found: dict[str, Any]) -> str:
    certified = found["inputs_certified"] or 0
    doubted = any(one.get("certified") for one in found["controls"])
    if certified and "inputs_20db" in found and not found["inputs_20db"]:
        doubted = True
    if certified:
        return INPUTS_DOUBTED if doubted else INPUTS
    if found.get("inputs_20db"):
        return INPUTS
    if not any(one["ok"] for one in found["attacks"]):
        return UNDECIDED
    labels = found["labels"]
    if labels and labels["basis"] == CONFORMAL and any(one["low"] >= 1 for one in labels["classes"]):
        return LABELS
    unfinished = [one for one in found["not_applicable"] if one["kind"] == "failed"]
    return UNDECIDED if any(one["attack"] in IMAGES for one in unfinished) else NOTHING


def _limits(found: dict, update: Update, has_public: bool, has_truth: bool) -> list[str]:
    """What the audit cannot see, as kinds."""
    mapping = update.mapping
    steps = mapping["metadata"]["read"].get("local_steps")
    span = [one for one in found["attacks"] if one["attack"] == "span"]
    conditions: dict[str, Callable[[], bool]] = {
        UNPROVEN_SAMPLES: lambda: found["inputs_certified"] != found["samples"]["value"],
        NO_SPAN: lambda: not any(one["ok"] for one in span),
        NO_PUBLIC: lambda: not has_public,
        NO_TRUTH: lambda: not has_truth,
        SEVERAL_STEPS: lambda: steps != 1,
        NOISE: lambda: bool(mapping["noise"]["value"]),
        BATCH_NORM: lambda: mapping["batch_norm"]["value"] == "training",
        UNFINISHED: lambda: any(one["kind"] == "failed" for one in found["not_applicable"]),
        SEEDS: lambda: True,
        OTHERS: lambda: True,
    }
    return [kind for kind, holds in conditions.items() if holds()]


def _total(values: Any) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _number(value: Any) -> float | int | None:
    """JSON's number; None for an empty one."""
    if value is None or pd.isna(value):
        return None
    number = float(value)
    return int(number) if number.is_integer() else float(f"{number:.6g}")
