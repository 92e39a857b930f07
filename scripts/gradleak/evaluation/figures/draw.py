"""Name of a figure → its drawing function, and the readers of its inputs.

A drawing function takes the inputs that ``registry`` states for its figure, by name. Captions are not
imported here: a new caption changes no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from gradleak import records
from gradleak.evaluation import tables
from gradleak.evaluation.figures import effects, images, labels, recovery, trials
from gradleak.files import read_npz

DRAW: Mapping[str, Callable[..., Figure]] = {
    "reconstructions": images.reconstructions,
    "recovery": recovery.recovery,
    "psnr_by_batch_size": recovery.psnr_by_batch_size,
    "weighting": recovery.weighting,
    "effects": effects.differences,
    "seeds": trials.seeds,
    "loss_curves": trials.loss_curves,
    "label_recovery": labels.recovery,
    "label_counts": labels.counts,
    "label_skill": labels.skill,
    "label_coverage": labels.coverage,
    "label_intervals": labels.intervals,
    "label_table": labels.table,
}
READERS = {"pairs": read_npz, "records": records.read}  # one file a cell; all other inputs are tables


def read(files: Mapping[str, Any], cells: list[str]) -> dict[str, Any]:
    """The inputs of a figure by name.

    files: input → its path; for READERS the paths, one for each of ``cells``. A table is read at once. Of the
    others the result is cell → a function that reads its file.
    """
    return {
        name: {cell: partial(READERS[name], path) for cell, path in zip(cells, given, strict=True)}
        if name in READERS
        else tables.read(given)
        for name, given in files.items()
    }
