"""The notes of a trial in words: what span inversion found that limits or contradicts what is stated.

The kinds of notes and their numbers are those of ``attacks.span.verdict``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from gradleak.attacks.span import note_kinds
from gradleak.evaluation.markup import escape

SENTENCES = {
    note_kinds.SCALE_CORRECTED: (
        "The weights of members agree on {weight:.4g}, and {samples} images are stated. If that is right, "
        "the scale is {factor:.4g} times the one that was used; weights are shown in that scale. N is not "
        "proven."
    ),
    note_kinds.SCALE_OR_SAMPLES: (
        "The weights of members agree on {weight:.4g}, and {samples} images are stated. Either {weight:.0f} "
        "images are behind the update, or the scale is {factor:.4g} times the stated one. N is not proven."
    ),
    note_kinds.SAMPLES_REFUTED: (
        "{samples} images are stated, and the update shows at least {least} images, or images × local steps. "
        "N is not proven."
    ),
    note_kinds.WEIGHTS_DIFFER: (
        "Members have different weights, {least:.4g} to {most:.4g}: the loss weighs images, as by class, or "
        "an image is in the batch more than once. Weights do not show N."
    ),
    note_kinds.EXPLAINED_BY_FEWER: (
        "{images} certified images explain the whole update, and {samples} images are stated: either the "
        "loss of the others is nearly zero, or both scale and number are wrong. N is not proven."
    ),
    note_kinds.LOSS_UNEXPECTED: (
        "Of {images} of {of} certified images no label explains the update, as with label smoothing or a "
        "squared error: the loss is not the cross-entropy of one label an image. Labels, weights and N are "
        "not known."
    ),
}


def text(notes: Iterable[dict[str, Any]]) -> str:
    """All notes of a trial; empty without."""
    return " ".join(SENTENCES[str(note["kind"])].format(**note) for note in notes)


def section(trials: pd.DataFrame) -> str:
    """HTML: the notes of all trials, by cell; empty without. trials: trials.csv."""
    noted = trials[trials["notes"].fillna("") != ""]
    if not len(noted):
        return ""
    groups = noted.groupby(["cell", "attack", "notes"]).size().reset_index(name="trials")
    rows = "".join(
        f"<li><b>{r.trials}</b> × {escape(r.attack)} <code>{r.cell}</code>: {escape(r.notes)}</li>"
        for r in groups.itertuples()
    )
    return f'<p class="bad" id="notes">What updates contradict or do not prove:</p><ul>{rows}</ul>'
