"""A mapping's findings in plain words: one section of the report for each target."""

from __future__ import annotations

from typing import Any

from gradleak.evaluation.markup import escape, number_cell, row, table, text_cell, text_heads

QUESTIONS = {
    "sign": "What is the sign of the update?",
    "scale": "What is its scale per unit of gradient?",
    "samples": "How many images were in the batch?",
    "optimizer": "Which optimizer was used?",
    "loss": "Which loss did the client minimise?",
    "weights": "Was the model trained before the round?",
    "smoothing": "Were labels smoothed?",
    "weight_decay": "Was weight decay used?",
    "noise": "Was noise added?",
    "clipping": "Was it clipped?",
    "entry_clipping": "Were entries clipped one by one?",
    "quantisation": "Were entries quantised?",
    "sparsity": "Were entries dropped?",
    "precision": "How precise are its numbers?",
    "batch_norm": "By which statistics did BatchNorm normalise?",
}
ANSWERS = {
    "after_minus_before": "weights after − before",
    "before_minus_after": "weights before − after, or a gradient",
    "sgd": "SGD, with or without momentum",
    "adam": "an adaptive one, such as Adam",
    "categorical_crossentropy": "the cross-entropy of a softmax",
    "binary_crossentropy": "the binary cross-entropy of sigmoids",
    "training": "by those of the batch (training mode)",
    "inference": "by the moving ones (inference)",
    "none": "the model has no such layer",
    "unknown": "cannot be determined",
}
NONE_FOUND = dict.fromkeys(
    ("smoothing", "weight_decay", "noise", "clipping", "entry_clipping", "quantisation", "sparsity"),
    "no sign of it",
)
PROBABLY = {
    "smoothing": "by {:.2g}",
    "weight_decay": "weights shrink by {:.2g} of themselves a round",
    "noise": "standard deviation {:.3g}",
    "clipping": "to a norm of {:.3g}",
    "entry_clipping": "to a size of {:.3g}",
    "quantisation": "{} bits an entry",
}
EXPECT = {"good": "good", "poor": "poor", "none": "hopeless"}


def section(name: str, found: dict[str, Any]) -> str:
    """HTML. found: mapping.json and prospects. All but sign, scale, samples and verdict may be missing."""
    parts = [f"<h3>{escape(name)}</h3><p>{escape(headline(found))}</p>"]
    if found.get("contradictions"):
        lines = "".join(f"<li>{escape(line)}</li>" for line in found["contradictions"])
        parts.append(f'<div class="bad"><b>Claims and findings do not agree:</b><ul>{lines}</ul></div>')
    rows = [_finding(key, question, found[key]) for key, question in QUESTIONS.items() if key in found]
    parts.append(table(text_heads("question", "answer", "how sure", "evidence"), rows))
    if found.get("prospects"):
        rows = [
            row(
                [
                    text_cell(escape(one["attack"])),
                    _bold(EXPECT[one["expect"]]),
                    text_cell(escape(one["why"])),
                ]
            )
            for one in found["prospects"]
        ]
        parts.append("<p>Prospects of each attack, before it runs:</p>")
        parts.append(table(text_heads("attack", "prospect", "why"), rows))
    parts.append(_details(found))
    return "".join(parts)


def _finding(key: str, question: str, finding: dict[str, Any]) -> str:
    return row(
        [
            text_cell(escape(question)),
            _bold(answer(key, finding["value"])),
            text_cell(sure(finding.get("confidence"))),
            text_cell(escape(finding["evidence"])),
        ]
    )


def _bold(text: str) -> str:
    return text_cell(f"<b>{escape(text)}</b>")


def headline(found: dict[str, Any]) -> str:
    """How the tensors were matched, and the verdict."""
    tensors = found.get("tensors", [])
    ways = sorted({row["matched_by"] for row in tensors})
    matched = f"{len(tensors)} tensors were matched to the model by {' and '.join(ways)}. " if tensors else ""
    return f"{matched}{found['verdict']}"


def answer(key: str, value: Any) -> str:
    """A finding's value in words."""
    if value is None:
        return ANSWERS["unknown"]
    if not value and key in NONE_FOUND:
        return NONE_FOUND[key]
    if key == "sparsity":
        return f"probably: {value:.0%} of them"
    if key in PROBABLY:
        return f"probably: {PROBABLY[key].format(value)}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ANSWERS.get(value, str(value))


def sure(confidence: float | None) -> str:
    """A confidence in [0, 1] in words; empty where there is none."""
    if confidence is None:
        return ""
    words = ((0.95, "sure"), (0.75, "likely"), (0.5, "a guess"), (-1, "not known"))
    return next(word for least, word in words if confidence >= least)


def _details(found: dict[str, Any]) -> str:
    """Files, tensors and notes, folded away."""
    files = [
        row(
            [
                *(text_cell(escape(one[key])) for key in ("name", "role")),
                number_cell(str(one["bytes"])),
                text_cell(f"<code>{escape(one['sha256'][:16])}…</code>"),
                text_cell(escape(one["evidence"])),
            ]
        )
        for one in found.get("files", [])
    ]
    tensors = [
        row(
            [
                text_cell(escape(one["variable"])),
                *(text_cell(escape(one.get(key, ""))) for key in ("shape", "key")),
                text_cell(escape(one["matched_by"])),
                number_cell(f"{one['norm']:.3g}"),
            ]
        )
        for one in found.get("tensors", [])
        if "matched_by" in one
    ]
    notes = [note for note in (found.get("head"), *found.get("notes", [])) if note]
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    inner = table(text_heads("file", "role", "bytes", "SHA-256", "why"), files) if files else ""
    inner += table(text_heads("variable", "shape", "tensor of the file", "matched by", "norm"), tensors)
    return f"<details><summary>Files, tensors and notes</summary><ul>{listed}</ul>{inner}</details>"
