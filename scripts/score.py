"""Reconstructions or label counts + truth → metrics per trial. The first stage that sees the truth."""

import numpy as np

from gradleak.evaluation import metrics, reference_classifier
from gradleak.evaluation.truth import load_truth
from gradleak.federated.datasets import CLASSES
from gradleak.files import read_npz, write_json, write_npz
from gradleak.images import to_float
from gradleak.jobs import job, records

SHOWN = 32  # matched pairs kept per trial for the figures
SHOWN_LEVEL = 0.9  # of the intervals, in labels.csv


def score_labels(found: dict, y: np.ndarray | None, record: dict) -> list[dict]:
    rows, levels = [], found["levels"]
    for index, trial in enumerate(record["trials"]):
        row = {"seed": trial["seed"]}
        if trial["status"] == "ok":
            row["counts"] = found["counts"][index].tolist()
            low, high = found["low"][index], found["high"][index]
            if (high >= low).all():
                shown = int(np.abs(levels - SHOWN_LEVEL).argmin())
                row |= {"low": low[shown].tolist(), "high": high[shown].tolist()}
            if np.isfinite(found["expected_irec"][index]):
                row["expected_irec"] = float(found["expected_irec"][index])
            if y is not None:
                row |= _label_row(found["counts"][index], y[index])
                row |= (
                    metrics.interval_metrics(low, high, np.array(row["true_counts"]), levels)
                    if "low" in row
                    else {}
                )
        rows.append(row)
    return rows


def _label_row(counts: np.ndarray, y: np.ndarray) -> dict:
    truth = np.bincount(y, minlength=len(counts))
    return {"true_counts": truth.tolist(), **metrics.label_metrics(counts, truth)}


def score_images(
    found: dict, x: np.ndarray, y: np.ndarray, record: dict, judged, public: np.ndarray
) -> tuple[list[dict], dict]:
    """One row a trial, and the matched pairs (uint8) for the figures."""
    rows, kept = [], []
    classes = max(CLASSES, int(found["labels"].max(initial=0)) + 1, int(y.max()) + 1)
    nothing = np.zeros((0, *found["images"].shape[2:]))
    for index, trial in enumerate(record["trials"]):
        row, shown = {"seed": trial["seed"]}, (nothing, nothing, np.zeros(0))
        if trial["status"] == "ok":
            accepted = found["accepted"][index]
            images, labels = found["images"][index][accepted], found["labels"][index][accepted]
            scored, shown = _score_trial(
                images, labels, to_float(x[index]), y[index], classes, judged, public
            )
            row |= scored
            if "residual" in found:
                row |= _certificates(found, index, to_float(x[index]))
        rows.append(row)
        kept.append(shown)
    images, truth, psnr = (_padded(parts) for parts in zip(*kept, strict=True))
    pairs = np.array([len(values) for *_, values in kept])
    return rows, {"found": _bytes(images), "truth": _bytes(truth), "psnr": psnr, "pairs": pairs}


def _score_trial(
    images: np.ndarray,
    labels: np.ndarray,
    truth: np.ndarray,
    y: np.ndarray,
    classes: int,
    judged,
    public: np.ndarray,
) -> tuple[dict, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The figures of what one trial accepted, and its best pairs: reconstructions, true images, PSNR."""
    row, pairs = metrics.image_metrics(images, truth)
    matched, of = pairs["found"], pairs["truth"]
    if len(matched):
        row["reference_accuracy"] = reference_classifier.accuracy(judged, images[matched], y[of])
    row["nearest_public_psnr"] = float(metrics.psnr(metrics.pairwise_mse(truth, public).min(axis=1)).mean())
    counts = np.bincount(labels, minlength=classes)
    row["counts"] = counts.tolist()
    row["pair_label_accuracy"] = float((labels[matched] == y[of]).mean()) if len(labels) else 0.0
    row |= _label_row(counts, y)
    best = np.argsort(-pairs["psnr"], kind="stable")[:SHOWN]
    return row, (images[matched[best]], truth[of[best]], pairs["psnr"][best])


def _certificates(found: dict, index: int, truth: np.ndarray) -> dict:
    """What span inversion says of itself, against the truth of one trial."""
    looked_at = found["residual"][index] >= 0  # shorter lists are filled up with −1
    return metrics.certificate_metrics(
        found["images"][index][looked_at],
        found["accepted"][index][looked_at],
        found["residual"][index][looked_at],
        found["expected_psnr"][index][looked_at],
        int(found["samples_estimated"][index]),
        truth,
    )


def _padded(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """float32 [T, most, ...] from T arrays [n_t, ...], filled up with zeros."""
    out = np.zeros((len(parts), max(map(len, parts)), *parts[0].shape[1:]), np.float32)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return out


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.round(images * 255).astype(np.uint8)


def unscored(found: dict, record: dict) -> tuple[list[dict], dict]:
    """No truth was given: the attack's own figures are all there is, and the pictures stand alone."""
    rows, kept = [], []
    for index, (trial, images, labels, accepted) in enumerate(
        zip(record["trials"], found["images"], found["labels"], found["accepted"], strict=True)
    ):
        row = {"seed": trial["seed"], "counts": np.bincount(labels[accepted], minlength=CLASSES).tolist()}
        if trial["status"] == "ok" and "expected_psnr" in found:
            row |= metrics.certified(
                accepted, found["expected_psnr"][index], int(found["samples_estimated"][index])
            )
        rows.append(row)
        kept.append((images[accepted][:SHOWN],))
    (images,) = (_padded(parts) for parts in zip(*kept, strict=True))
    pairs = np.array([len(part) for (part,) in kept])
    return rows, {
        "found": _bytes(images),
        "truth": np.zeros((len(images), 0, *images.shape[2:]), np.uint8),
        "psnr": np.zeros((len(images), 0), np.float32),
        "pairs": pairs,
    }


def main(snakemake) -> None:
    found, record = read_npz(snakemake.input.result), records.read(snakemake.input.record)
    truth_files = list(snakemake.input.get("truth", []))
    x, y = load_truth(truth_files, snakemake.params.draws) if truth_files else (None, None)
    shown: dict = {}
    if snakemake.params.attack == "labels":
        rows = score_labels(found, y, record)
    elif x is None:
        rows, shown = unscored(found, record)
    else:
        public = to_float(read_npz(snakemake.input.public)["x"]).astype(
            np.float64
        )  # once, not trial by trial
        rows, shown = score_images(
            found, x, y, record, reference_classifier.load(snakemake.input.reference), public
        )
        if snakemake.input.get("ceiling"):
            ceilings = [read_npz(file) for file in snakemake.input.ceiling]
            best = {
                int(d): p for c in ceilings for d, p in zip(c["draws"], c["psnr"].mean(axis=1), strict=True)
            }
            for row, draw in zip(rows, snakemake.params.draws, strict=True):
                row["prior_ceiling_psnr"] = float(best[draw])
    write_json(snakemake.output.rows, rows)
    write_npz(snakemake.output.pairs, **shown)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
