"""Small results as the stages write them: records, scores and matched pairs."""

import numpy as np

from gradleak import records
from gradleak.evaluation import comparisons, tables
from gradleak.files import write_json, write_npz

DLG = {
    "weighting": "uniform",
    "labels": "recovered",
    "control": "none",
    "steps": 9,
    "target.batch_size": 4,
    "target.samples": None,
    "target.dataset": "digits-8x8",
}


class Results:
    """Cells by name, each with blocks of seeds; files under ``folder``."""

    def __init__(self, folder):
        self.folder, self.cells, self.blocks, self.shown = folder, {}, [], []

    def cell(self, name, attack="dlg", target="demo", **parameters):
        base = DLG if attack != "labels" else {k: v for k, v in DLG.items() if k.startswith("target.")}
        self.cells[name] = {"attack": attack, "target": target, "parameters": base | parameters}
        return self

    def block(
        self, cell, seeds=(0, 1), scores=None, status=None, reason="", draws=4, images=3, started=1000.0
    ):
        """scores: one dict a trial, or a function of the seed; status: seed → what it ended in, if not ok."""
        status, name = status or {}, f"{seeds[0]:04d}-{seeds[-1]:04d}"
        labels = self.cells[cell]["attack"] == "labels"
        trials, rows = [], []
        for seed in seeds:
            ended = status.get(seed, "ok")
            curve = {} if labels else records.thin(np.arange(5), np.linspace(1, 0.1 + seed / 10, 5))
            trials.append(
                records.trial(seed, seed % draws, ended, reason if ended != "ok" else "", 0.5, curve)
            )
            rows.append({"seed": seed} | (scores(seed) if ended == "ok" and scores else {}))
        stem = self.folder / cell / name
        write_json(
            f"{stem}.json",
            {
                "cell": cell,
                "block": name,
                "code": "c0de",
                "threads": 1,
                "environment": {"python": "3", "host": "h"},
                "job": "17",
                "started": started,
                "seconds": {"total": 4.0 * len(seeds)},
                "cpu_seconds": 5.0 * len(seeds),
                "peak_mb": 100.0,
                "trials": trials,
            },
        )
        write_json(f"{stem}-rows.json", rows)
        pixels = np.random.default_rng(seeds[0]).integers(
            0, 256, (2, len(seeds), images, 8, 8, 1), dtype=np.uint8
        )
        count = np.array([images if status.get(seed, "ok") == "ok" else 0 for seed in seeds])
        write_npz(
            f"{stem}.npz",
            found=pixels[0],
            truth=pixels[1],
            psnr=np.full((len(seeds), images), 12.5),
            pairs=count,
        )
        self.blocks = [b for b in self.blocks if (b["cell"], b["block"]) != (cell, name)]
        self.blocks.append(
            {
                "cell": cell,
                "block": name,
                "record": f"{stem}.json",
                "rows": f"{stem}-rows.json",
                "pairs": f"{stem}.npz",
            }
        )
        return self

    def exhibit(self, name, content):
        """A file that the study shows, such as figures/seeds.png."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.shown = [other for other in self.shown if other != path] + [path]
        return self

    def studies(self, **chosen):
        """study=[cells] → study → cell → its blocks; without arguments one study of all."""
        chosen = chosen or {"demo": list(self.cells)}
        return {
            study: {c: tuple(b["block"] for b in self.blocks if b["cell"] == c) for c in own}
            for study, own in chosen.items()
        }

    def frames(self, **chosen):
        """The tables, through CSV and back as the stages read them."""
        trials = tables.trials(self.cells, self.blocks, self.studies(**chosen))
        cells = tables.cells(trials)
        made = {
            "trials": trials,
            "cells": cells,
            "labels": tables.labels(trials, self.blocks),
            "headline": comparisons.headline(cells),
            "effects": comparisons.effects(trials),
        }
        for name, table in made.items():
            table.to_csv(self.folder / f"{name}.csv", index=False, float_format="%.6g")
        return {name: tables.read(str(self.folder / f"{name}.csv")) for name in made}


def image_scores(seed):
    return {
        "psnr": 20.0 + seed,
        "psnr_median": 20.0,
        "psnr_best": 25.0,
        "ssim": 0.5,
        "mse": 0.01,
        "share_20db": 0.75,
        "share_30db": 0.0,
        "matched": 4,
        "nearest_public_psnr": 11.0,
        "counts": [4] + [0] * 9,
        "true_counts": [3, 1] + [0] * 8,
        "irec": 0.75,
    }


def label_scores(seed):
    return {
        "counts": [4] + [0] * 9,
        "true_counts": [3, 1] + [0] * 8,
        "irec": 0.75,
        "skill": 0.6,
        "leacc": 0.9,
    }


def interval_scores(seed):
    covered = {f"coverage_{level}": 0.9 for level in (50, 90, 95)} | {
        f"width_{level}": 1.5 for level in (50, 90, 95)
    }
    return label_scores(seed) | covered | {"low": [3] + [0] * 9, "high": [5] + [0] * 9, "expected_irec": 0.7}
