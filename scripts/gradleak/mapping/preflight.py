"""What each attack can expect of this update, before any hours are spent: from ranks, sizes and the optimiser."""

from __future__ import annotations

from typing import Any

from gradleak.mapping.ranks import widest

GOOD, POOR, NONE = "good", "poor", "none"


def preflight(
    ranks: list[dict],
    parameters: int,
    pixels: int,
    samples: int,
    optimizer: str,
    steps: Any,
    noise: float,
    has_bias: bool,
    trained: bool,
) -> list[dict[str, Any]]:
    """Rows {attack, expect (good | poor | none), why}. pixels: of one image; parameters: numbers in the update."""
    return [
        _labels(samples, optimizer, has_bias, trained, noise),
        _dlg(parameters, pixels, samples, optimizer, steps),
        _latent(samples),
        _span(ranks, samples, optimizer, noise),
    ]


def _labels(samples: int, optimizer: str, has_bias: bool, trained: bool, noise: float) -> dict[str, Any]:
    if optimizer == "adam":
        return _row(
            "labels",
            POOR,
            "Adam's steps are not proportional to the gradient, so counts are off; which classes are present still shows",
        )
    if noise:
        return _row("labels", POOR, "noise on the update blurs the counts")
    if samples == 1:
        return _row("labels", GOOD, "one image: the sign of the last layer's update gives its label")
    if not has_bias:
        return _row("labels", POOR, "no bias in the last layer, so counts come from the kernel alone")
    if trained:
        return _row(
            "labels",
            POOR,
            "the model is trained: images that it is sure of leave little trace, so expect wide intervals",
        )
    return _row("labels", GOOD, "untrained model with a bias in the last layer: counts can be solved for")


def _dlg(parameters: int, pixels: int, samples: int, optimizer: str, steps: Any) -> dict[str, Any]:
    share = parameters / (pixels * samples)
    known = f"{parameters} numbers for {samples} × {pixels} pixels ({share:.1f} a pixel)"
    if optimizer == "adam":
        return _row("dlg", POOR, f"{known}, but Adam's update is no gradient that could be matched")
    if share < 1:
        return _row("dlg", NONE, f"{known}: fewer equations than unknowns")
    if isinstance(steps, int) and steps > 1:
        return _row("dlg", POOR, f"{known}, but {steps} local steps are matched as if they were one")
    if samples <= 2:
        return _row("dlg", GOOD, known)
    return _row(
        "dlg",
        POOR,
        f"{known}, but matching an average of {samples} images has many solutions that look like none of them",
    )


def _latent(samples: int) -> dict[str, Any]:
    if samples <= 1:
        return _row("latent", GOOD, "one image, and a prior that knows what such images look like")
    return _row(
        "latent",
        POOR,
        f"makes plausible images; with {samples} in the average, compare with its control before believing them",
    )


def _span(ranks: list[dict], samples: int, optimizer: str, noise: float) -> dict[str, Any]:
    host = widest([row for row in ranks if row["shape"][0] >= 16]) or widest(ranks)
    if host is None:
        return _row("span", NONE, "the model has no dense layer")
    rank, full = max(host["ranks"]), host["full"]
    if optimizer == "adam":
        return _row(
            "span",
            NONE,
            f"Adam scrambles the span of the features ({host['variable']} has rank {rank} of {full})",
        )
    if rank >= full:
        return _row(
            "span",
            NONE if samples > full else POOR,
            f"{host['variable']} has full rank {full}: no direction is left that a member would have to avoid",
        )
    if noise:
        return _row(
            "span",
            POOR,
            f"{host['variable']} has rank {rank} of {full} above the noise, which blurs its span",
        )
    room = f"{host['variable']} has rank {rank} of {full}, which leaves {full - rank} directions that no member may have"
    return _row("span", GOOD if rank <= 0.75 * full else POOR, room)


def _row(attack: str, expect: str, why: str) -> dict[str, Any]:
    return {"attack": attack, "expect": expect, "why": why}
