"""The verdict of an audit in plain words, as HTML for the first lines of the report."""

from __future__ import annotations

from typing import Any

from gradleak.evaluation import verdict as kinds
from gradleak.evaluation.markup import (
    escape,
    note,
    number_cell,
    number_heads,
    row,
    small,
    table,
    text_cell,
    text_heads,
)

TITLES = {
    kinds.INPUTS: "Private images were recovered from this update.",
    kinds.INPUTS_DOUBTED: "Images were found, but they are not reliable.",
    kinds.LABELS: "Labels were recovered from this update, and no image.",
    kinds.NOTHING: "The attacks that ran show no image and no certain label.",
    kinds.UNDECIDED: "Attacks are not finished or have no result, so nothing is decided.",
}
LIMITS = {
    kinds.UNPROVEN_SAMPLES: "The number of images is stated and not proven by the update.",
    kinds.NO_SPAN: "No attack that certifies images has a result. Other attacks always give images, and "
    "without the truth it is not known whether these are right.",
    kinds.NO_PUBLIC: "There are no public images, so attacks that need them were not tried (PUBLIC=).",
    kinds.NO_TRUTH: "Without the private images the accuracy is an estimate (TRUTH=).",
    kinds.SEVERAL_STEPS: "The update is not known to be of one local step. Most attacks assume one step and "
    "show less of several.",
    kinds.NOISE: "The update has noise. More leaks to an attacker who averages several rounds.",
    kinds.BATCH_NORM: "BatchNormalization layers used the statistics of the batch, which most attacks cannot "
    "follow.",
    kinds.UNFINISHED: "Some attacks failed or did not finish in the time given.",
    kinds.SEEDS: "A search may miss images that a longer one finds (MINUTES=). No result is no proof of "
    "safety.",
    kinds.OTHERS: "Only the listed attacks were tried. An attacker may know more, such as further rounds.",
}
KINDS = {
    "no prospect": "not tried, since it cannot work",
    "not tried": "not tried",
    "not applicable": "not applicable",
    "failed": "not finished",
    "not mapped": "the update was not understood",
}


def section(found: dict[str, Any] | None) -> str:
    """HTML of ``verdict.verdict``; empty without one."""
    if found is None:
        return ""
    parts = [f"<b>{TITLES[found['verdict']]}</b>", *_counts(found)]
    html = note("</p><p>".join(parts), "worst" if found["verdict"] == kinds.INPUTS else "")
    if "updates" in found:
        html += _updates(found["updates"])
    tried = _tried(found)
    limits = "".join(f"<li>{LIMITS[kind]}</li>" for kind in found["limits"])
    return html + tried + f"<p>What this audit cannot see:</p><ul>{limits}</ul>"


def _counts(found: dict[str, Any]) -> list[str]:
    """Sentences with the numbers."""
    samples = found["samples"] if isinstance(found["samples"], int) else found["samples"]["value"]
    lines = []
    certified = found["inputs_certified"]
    if certified is not None:
        expected = [one.get("expected_psnr") for one in found["attacks"] if one.get("certified") == certified]
        psnr = f" (expected accuracy {expected[0]:.0f} dB; 20 dB is a good likeness)" if any(expected) else ""
        lines.append(f"{certified} of {samples} images are certified as members of the batch{psnr}.")
    if found.get("inputs_20db") is not None:
        lines.append(
            f"Compared with the true images, {found['inputs_20db']} of {samples} are recovered at 20 dB or "
            "better."
        )
    wrong = [one["false_positives"] for one in found["attacks"] if one.get("false_positives")]
    if wrong:
        lines.append(f"{max(wrong):g} certified images are below 20 dB from every true image.")
    if found["labels"]:
        lines.append(_labels(found["labels"]))
    controls = [one["certified"] for one in found["controls"] if "certified" in one]
    if controls:
        lines.append(
            f"Control: on random gradients the same attack certifies {max(controls)} images; 0 is right."
        )
    return lines


def _labels(labels: dict[str, Any]) -> str:
    shown = [one for one in labels["classes"] if one["count"] or one.get("high")]
    if labels["basis"] == kinds.ESTIMATE:
        counts = ", ".join(f"class {one['class']}: {one['count']:g}" for one in shown)
        return (
            f"Estimated number of images by class ({escape(labels['method'])}, without intervals): {counts}."
        )
    counts = ", ".join(
        f"class {one['class']}: {one['count']:g} ({one['low']:g} to {one['high']:g})" for one in shown
    )
    of = "certified images" if labels["basis"] == kinds.CERTIFIED else f"{labels['method']}, 90 % intervals"
    return f"Images by class ({escape(of)}): {counts}."


def _updates(updates: list[dict[str, Any]]) -> str:
    """A row for each round and client."""
    has_truth = any("inputs_20db" in one for one in updates)
    head = text_heads("round", "client") + number_heads(
        "images stated", "certified", *(["≥ 20 dB"] if has_truth else [])
    )
    head += text_heads("verdict")
    rows = [
        row(
            [
                text_cell(str(one["place"]["round"])),
                text_cell(escape(one["place"]["client"])),
                number_cell(_shown(one["samples"]["value"])),
                number_cell(_shown(one["inputs_certified"])),
                *([number_cell(_shown(one.get("inputs_20db")))] if has_truth else []),
                text_cell(TITLES[one["verdict"]]),
            ]
        )
        for one in updates
    ]
    return "<h3>By round and client</h3>" + table(head, rows)


def _tried(found: dict[str, Any]) -> str:
    """What was tried with how many good trials, and what was not, with the reason."""
    done = dict.fromkeys(
        f"{one['attack']} {one.get('setting', '')}".strip() for one in found["attacks"] if one["ok"]
    )
    lines = [small(f"Tried: {escape(', '.join(done) or 'nothing')}.")]
    reasons = dict.fromkeys(
        f"{one['attack']} {one.get('setting', '')}".strip() + f" ({KINDS.get(one['kind'], one['kind'])}): "
        f"{one['reason']}"
        for one in found["not_applicable"]
    )
    return "".join([*lines, *(small(escape(reason)) for reason in reasons)])


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:g}"
