"""The prospects of each attack on an update, before hours are spent: by ranks, sizes and the optimiser.

No attack reads this. It is for the report alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from gradleak.losses import BINARY, loss_named
from gradleak.mapping.batch_norm import NONE as NO_NORM
from gradleak.mapping.batch_norm import TRAINING
from gradleak.mapping.files import MappedBlock
from gradleak.mapping.finding import UNKNOWN
from gradleak.mapping.ranks import widest

GOOD, POOR, NONE = "good", "poor", "none"

# Why BatchNormalization in training mode makes a prospect poor.
_COUPLED = "BatchNorm in training mode: each gradient depends on the statistics of the whole batch"
COUPLED = {
    "labels": f"{_COUPLED}, which the update does not show, and so do the client's probabilities",
    "dlg": f"{_COUPLED}, so all images have to be found at once",
    "latent": f"{_COUPLED}, so all images have to be found at once",
    "span": f"{_COUPLED}, which the update does not show, so that no member's feature can be computed",
}


@dataclass(frozen=True)
class Update:
    """ranks: of ``rank_kernels``. parameters: numbers in the update. pixels: of an image, in all channels.

    samples: images behind it. optimizer: the family. steps: local steps, None if unknown. noise: standard
    deviation of white noise, or 0. has_bias: of the last dense layer. is_trained: the model before the round,
    None if that is not known.
    no_head: why there is no last dense layer, or ''. doubt: why the model may not be the client's, or ''.
    batch_norm: mode of the BatchNormalization layers. has_statistics: those of the batch were recovered.
    mixed: dense kernels before a layer that normalised by the batch. multi_label: an image has any number of
    labels. smoothed: the client smoothed its labels, by how much is not known. loss: of the client where it
    is not the cross-entropy of hard labels, or ''.
    """

    ranks: list[dict]
    parameters: int
    pixels: int
    samples: int
    optimizer: str
    steps: int | None
    noise: float
    has_bias: bool
    is_trained: bool | None
    no_head: str = ""
    doubt: str = ""
    batch_norm: str = NO_NORM
    has_statistics: bool = False
    mixed: tuple[str, ...] = ()
    multi_label: bool = False
    smoothed: bool = False
    loss: str = ""


def update_of(block: MappedBlock, report: dict[str, Any]) -> Update:
    """The mapped update and its mapping.json, as far as the prospects depend on them."""
    return Update(
        ranks=report["ranks"],
        parameters=sum(math.prod(gradient.shape[1:]) for gradient in block.gradients),
        pixels=math.prod(block.image_shape),
        samples=block.samples,
        optimizer=report["optimizer"]["value"],
        steps=block.steps,
        noise=report["noise"]["value"],
        has_bias=block.head is not None and block.head.bias_index is not None,
        is_trained=_is_trained(report["weights"]),
        no_head=block.no_head,
        doubt=report["weights"]["doubt"],
        batch_norm=report["batch_norm"]["value"],
        has_statistics=block.has_statistics,
        mixed=_before(block, [row["variable"] for row in report["ranks"]]),
        multi_label=block.loss == BINARY,
        smoothed=bool(report["smoothing"]["value"]) and not loss_named(block.loss).smoothing,
        loss="" if loss_named(block.loss).is_plain else block.loss,
    )


def _is_trained(weights: dict[str, Any]) -> bool | None:
    """weights: the finding. A doubt about the model has a line of its own, see ``_doubted``."""
    if weights["value"] == UNKNOWN and not weights["doubt"]:
        return None
    return weights["value"] == "trained"


def _before(block: MappedBlock, kernels: list[str]) -> tuple[str, ...]:
    """Those of ``kernels`` (paths) whose layer comes before one of ``block.coupled`` in the model's order."""
    order = [layer["config"]["name"] for layer in json.loads(block.model_json)["config"]["layers"]]
    last = max((order.index(name) for name in block.coupled), default=-1)
    return tuple(path for path in kernels if order.index(path.split("/")[-2]) < last)


def prospects(update: Update) -> list[dict[str, Any]]:
    """Rows {attack, expect (good | poor | none), why}."""
    rows = [_labels(update), _dlg(update), _latent(update), _span(update)]
    rows = [_with_batch_norm(update, row) for row in rows]
    return [_doubted(one, update.doubt) for one in rows] if update.doubt else rows


def _doubted(row: dict[str, Any], doubt: str) -> dict[str, Any]:
    """At most poor, with the doubt before its own reason."""
    return row if row["expect"] == NONE else _row(row["attack"], POOR, f"{doubt}; {row['why']}")


def _with_batch_norm(u: Update, row: dict[str, Any]) -> dict[str, Any]:
    """``row``, where BatchNormalization leaves the prospect as it is; else poor, and why."""
    if u.batch_norm == UNKNOWN:
        why = (
            "it is not known whether BatchNorm used the statistics of the batch (training mode); if it did, "
            "the activations that are computed here are not the client's: set `batch_norm` on the target"
        )
    elif u.batch_norm == TRAINING and not (u.has_statistics and row["attack"] in ("labels", "span")):
        why = COUPLED[row["attack"]]
    else:
        return row
    expect = POOR if row["expect"] == GOOD else row["expect"]
    return row | {"expect": expect, "why": f"{row['why']}; but {why}"}


def _labels(u: Update) -> dict[str, Any]:
    if u.no_head:
        return _row("labels", NONE, f"{u.no_head}, and every label method reads its update")
    if u.smoothed:
        return _row("labels", NONE, "the client smoothed its labels, and label methods assume hard ones")
    if u.optimizer == "adam":
        return _row(
            "labels",
            POOR,
            "Adam's steps are not proportional to the gradient, so counts are wrong; "
            "the classes that are present can still be found",
        )
    if u.loss and not u.multi_label:
        why = f"only methods that learn from shadow clients know the loss {u.loss}, and need the settings"
        return _row("labels", POOR, why)
    if u.noise:
        return _row("labels", POOR, "noise on the update makes the counts uncertain")
    if u.samples == 1:
        return _row("labels", GOOD, "one image: the sign of the last layer's update is its label")
    if not u.has_bias:
        return _row("labels", POOR, "no bias in the last layer, so counts come from the kernel alone")
    if u.is_trained:
        return _row(
            "labels",
            POOR,
            "the model is trained: images with a confident prediction have a small gradient, "
            "so intervals are wide",
        )
    if u.is_trained is None:
        return _row(
            "labels",
            POOR,
            "without public images it is not known whether the model is trained; if it is, counts are wrong",
        )
    return _row("labels", GOOD, "untrained model with a bias in the last layer: counts can be solved for")


def _dlg(u: Update) -> dict[str, Any]:
    share = u.parameters / (u.pixels * u.samples)
    size = f"{u.parameters} numbers for {u.samples} × {u.pixels} pixels ({share:.1f} a pixel)"
    if u.optimizer == "adam":
        return _row("dlg", POOR, f"{size}, but Adam's update is no gradient that could be matched")
    if share < 1:
        return _row("dlg", NONE, f"{size}: fewer equations than unknowns")
    if u.steps is not None and u.steps > 1:
        return _row("dlg", POOR, f"{size}, but {u.steps} local steps are matched as one")
    if u.smoothed:
        return _row("dlg", POOR, f"{size}, but the client smoothed its labels, and DLG matches hard ones")
    if u.samples <= 2:
        return _row("dlg", GOOD, size)
    many = f"many sets of images have the mean gradient of {u.samples} images"
    return _row("dlg", POOR, f"{size}, but {many}")


def _latent(u: Update) -> dict[str, Any]:
    if u.samples <= 1:
        return _row("latent", GOOD, "one image, and a prior of such images")
    return _row(
        "latent",
        POOR,
        f"images are plausible in any case; with {u.samples} in the mean, compare them with the control",
    )


def _span(u: Update) -> dict[str, Any]:
    if u.multi_label:
        return _row(
            "span", NONE, "it tries one class as the label of an image, which may have any set of labels"
        )
    ranks = [row for row in u.ranks if row["variable"] not in u.mixed]
    kernel = widest([row for row in ranks if row["shape"][0] >= 16]) or widest(ranks)
    if kernel is None and u.mixed:
        return _row(
            "span", NONE, "every dense layer comes before a BatchNorm in training mode, which mixes δ"
        )
    if kernel is None:
        return _row("span", NONE, "the model has no dense layer")
    rank, full = max(kernel["ranks"]), kernel["full"]
    head = f"{kernel['variable']} has "
    if u.optimizer == "adam":
        return _row("span", NONE, f"Adam changes the span of the features ({head}rank {rank} of {full})")
    if rank >= full:
        expect = NONE if u.samples > full else POOR
        return _row("span", expect, f"{head}full rank {full}, so its span excludes no direction")
    if u.noise:
        return _row("span", POOR, f"{head}rank {rank} of {full} above the noise, which disturbs its span")
    expect = GOOD if rank <= 0.75 * full else POOR
    return _row("span", expect, f"{head}rank {rank} of {full}, so its span excludes {full - rank} directions")


def _row(attack: str, expect: str, why: str) -> dict[str, Any]:
    return {"attack": attack, "expect": expect, "why": why}
