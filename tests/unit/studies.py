"""Small studies for figures and report, with all that can be missing: functions that fill ``Results``."""

import numpy as np
from results import image_scores, interval_scores, label_scores

from gradleak.evaluation.figures import draw, registry
from gradleak.files import read_npz


def whole(results):
    """Two sizes, two weightings, a control, an oracle, a latent attack and labels, all well."""
    results.cell("a").cell("b", weighting="depth").cell("c", **{"target.batch_size": 1})
    results.cell("d", control="random_gradient").cell("e", labels="oracle").cell("f", "latent", prior="vae")
    for name in results.cells:
        results.block(name, scores=image_scores)
    for method in ("rank1", "uniform"):
        results.cell(method, "labels", method=method).block(method, scores=label_scores)
    results.cell("posterior", "labels", method="posterior").block("posterior", scores=interval_scores)


def failed(results):
    """One cell whose trials all failed, one in which one did, and a label method that was not applicable."""
    results.cell("a").cell("b", weighting="depth").cell("rank1", "labels", method="rank1")
    results.block("a", (0, 1), image_scores, {0: "diverged", 1: "diverged"}, "no finite objective")
    results.block("b", (0, 1), image_scores, {0: "diverged"}, "no finite objective")
    results.block("rank1", (0, 1), label_scores, {0: "not applicable", 1: "not applicable"}, "no bias")


def nothing(results):
    """Every trial failed."""
    results.cell("a").cell("rank1", "labels", method="rank1")
    results.block("a", (0, 1), image_scores, {0: "diverged", 1: "diverged"}, "no finite objective")
    results.block("rank1", (0,), label_scores, {0: "not applicable"}, "no bias")


def blind(results):
    """A leak from elsewhere: no truth, and the number of images is not known."""
    results.cell("a", **{"target.batch_size": None}).block("a", scores=lambda seed: {"counts": [4] + [0] * 9})
    results.cell("rank1", "labels", method="rank1", **{"target.batch_size": None})
    results.block("rank1", scores=lambda seed: {"counts": [4] + [0] * 9})
    for block in results.blocks:
        data = read_npz(block["pairs"])
        np.savez(block["pairs"], **data | {"truth": data["truth"][:, :0], "psnr": data["psnr"][:, :0]})


def single(results):
    """One cell, one seed, one draw: no interval anywhere."""
    results.cell("a").block("a", (0,), image_scores)
    results.cell("rank1", "labels", method="rank1").block("rank1", (0,), label_scores)


def foreign(results):
    """The size is not stated and comes from the truth. One attack used another number of dummies."""
    results.cell("a", **{"target.batch_size": None}).block("a", scores=image_scores)
    results.cell("b", **{"target.batch_size": None, "dummy_batch": 2})
    results.block("b", scores=lambda seed: {"psnr": 9.0, "share_20db": 0.0})
    results.cell("rank1", "labels", method="rank1", **{"target.batch_size": None}).block(
        "rank1", scores=label_scores
    )


CASES = [whole, failed, nothing, blind, single, foreign]


def drawn(name, results):
    """The figure ``name`` of ``results``, through the readers that the plot job uses."""
    results.frames()
    images = [b for b in results.blocks if results.cells[b["cell"]]["attack"] != "labels"]
    files = {
        table: str(results.folder / f"{table}.csv") for table in ("trials", "cells", "labels", "effects")
    }
    files |= {"pairs": [b["pairs"] for b in images], "records": [b["record"] for b in images]}
    asked = {part: files[part] for part in registry.FIGURES[name].inputs}
    return draw.DRAW[name](**draw.read(asked, [b["cell"] for b in images]))
