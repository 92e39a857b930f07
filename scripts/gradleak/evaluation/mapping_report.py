"""A mapping's findings in plain words: one section of the report for each target, for a person who has to trust it."""

from __future__ import annotations

import html
from typing import Any

QUESTIONS = {
    "sign": "Which way does the update go?",
    "scale": "How large is it per unit of gradient?",
    "samples": "How many images are behind it?",
    "optimizer": "Which optimiser made it?",
    "weights": "Was the model trained before the round?",
    "noise": "Was noise added?",
    "clipping": "Was it clipped?",
    "sparsity": "Were entries dropped?",
    "precision": "How precise are its numbers?",
}
ANSWERS = {
    "after_minus_before": "downhill: weights after − before",
    "before_minus_after": "uphill: weights before − after, or a gradient",
    "sgd": "SGD, with or without momentum",
    "adam": "an adaptive one, such as Adam",
    "unknown": "not to be told",
}
NONE_FOUND = {"noise": "no sign of it", "clipping": "no sign of it", "sparsity": "no sign of it"}
EXPECT = {"good": "good", "poor": "poor", "none": "hopeless"}


def section(name: str, found: dict[str, Any]) -> str:
    """HTML. found: mapping.json and prospects. All but sign, scale, samples and verdict may be missing."""
    parts = [f"<h3>{_e(name)}</h3><p>{_e(headline(found))}</p>"]
    if found.get("contradictions"):
        lines = "".join(f"<li>{_e(line)}</li>" for line in found["contradictions"])
        parts.append(
            f'<div class="bad"><b>What was said and what was found do not agree:</b><ul>{lines}</ul></div>'
        )
    rows = "".join(
        f"<tr><td class='w'>{_e(question)}</td><td class='w'><b>{_e(answer(key, found[key]['value']))}</b></td>"
        f"<td style='text-align:left'>{sure(found[key].get('confidence'))}</td><td class='w'>{_e(found[key]['evidence'])}</td></tr>"
        for key, question in QUESTIONS.items()
        if key in found
    )
    parts.append(_table(("question", "answer", "how sure", "evidence"), rows))
    if found.get("prospects"):
        rows = "".join(
            f"<tr><td class='w'>{_e(row['attack'])}</td><td class='w'><b>{EXPECT[row['expect']]}</b></td><td class='w'>{_e(row['why'])}</td></tr>"
            for row in found["prospects"]
        )
        parts.append(
            "<p>What each attack can expect here, before it has run:</p>"
            + _table(("attack", "prospect", "why"), rows)
        )
    parts.append(_details(found))
    return "".join(parts)


def headline(found: dict[str, Any]) -> str:
    """The findings in two sentences."""
    tensors = found.get("tensors", [])
    ways = sorted({row["matched_by"] for row in tensors})
    matched = f"{len(tensors)} tensors were matched to the model by {' and '.join(ways)}. " if tensors else ""
    return f"{matched}{found['verdict']}"


def answer(key: str, value: Any) -> str:
    """A finding's value as a person would say it."""
    if not value and key in NONE_FOUND:
        return NONE_FOUND[key]
    if key == "sparsity":
        return f"probably: {value:.0%} of them"
    if key in ("noise", "clipping"):
        return f"probably: {'standard deviation' if key == 'noise' else 'to a norm of'} {value:.3g}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ANSWERS.get(value, str(value))


def sure(confidence: float | None) -> str:
    if confidence is None:
        return ""
    words = ((0.95, "sure"), (0.75, "likely"), (0.5, "a guess"), (-1, "not known"))
    return next(word for least, word in words if confidence >= least)


def _details(found: dict[str, Any]) -> str:
    files = "".join(
        f"<tr><td class='w'>{_e(one['name'])}</td><td class='w'>{_e(one['role'])}</td><td>{one['bytes']}</td>"
        f"<td class='w'><code>{_e(one['sha256'][:16])}…</code></td><td class='w'>{_e(one['evidence'])}</td></tr>"
        for one in found.get("files", [])
    )
    tensors = "".join(
        f"<tr><td class='w'>{_e(row['variable'])}</td><td class='w'>{_e(row.get('shape', ''))}</td><td class='w'>{_e(row.get('key', ''))}</td>"
        f"<td class='w'>{_e(row['matched_by'])}</td><td>{row['norm']:.3g}</td></tr>"
        for row in found.get("tensors", [])
        if "matched_by" in row
    )
    notes = "".join(f"<li>{_e(note)}</li>" for note in [found.get("head"), *found.get("notes", [])] if note)
    inner = (_table(("file", "role", "bytes", "SHA-256", "why"), files) if files else "") + _table(
        ("variable", "shape", "tensor of the file", "matched by", "norm"), tensors
    )
    return f"<details><summary>Files, tensors and notes</summary><ul>{notes}</ul>{inner}</details>"


def _table(head: tuple[str, ...], rows: str) -> str:
    cells = "".join(f"<th class='w'>{name}</th>" for name in head)
    return f"<div class='wrap'><table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"


def _e(text: Any) -> str:
    return html.escape(str(text), quote=True)
