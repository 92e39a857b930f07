"""Last layer of the mapped updates → class counts per trial. No TensorFlow: the last layer is all it takes."""

import time

import numpy as np

from gradleak import jobs, labels, records
from gradleak.files import read_json, read_npz, write_json, write_npz
from gradleak.labels.evidence import LEVELS, Client, Estimate, Evidence, NotApplicable
from gradleak.labels.packing import of_draws, unpack


def evidence(block: dict, index: np.ndarray, meta: dict, rehearsed: dict | None) -> Evidence:
    """The last layers of the draws ``index`` of a mapped block. rehearsed: public data at the model, or None."""
    last = sorted(int(key.removeprefix("gradient_")) for key in block if key.startswith("gradient_"))[-2:]
    weights = {i: block[f"weight_{block['trainable'][i]}"] for i in last}
    grads = {i: block[f"gradient_{i}"][index] for i in last}
    bias = last[-1] if grads[last[-1]].ndim == 2 else None
    kernel = last[0] if bias is not None else last[-1]
    if rehearsed:
        public, client = unpack(rehearsed)
        public = of_draws(public, index)
    else:
        steps = meta.get("local_steps", 1)
        public, client = None, Client(steps if isinstance(steps, int) and steps > 0 else 1)
    return Evidence(
        weights[kernel], None if bias is None else weights[bias], grads[kernel], None if bias is None else grads[bias],
        int(block["samples"]), public, client,
    )  # fmt: skip


def rows_of(estimate: Estimate) -> list[dict]:
    """What is written of each draw."""
    return [
        {
            "counts": estimate.counts[d],
            "raw": estimate.raw[d],
            # No interval is an interval that says nothing.
            "low": np.zeros((len(LEVELS), len(estimate.raw[d])), int) if estimate.low is None else estimate.low[:, d],
            "high": np.full((len(LEVELS), len(estimate.raw[d])), -1) if estimate.high is None else estimate.high[:, d],
            "expected_irec": np.nan if estimate.expected_irec is None else estimate.expected_irec[d],
            "chosen": estimate.chosen[d] if estimate.chosen else "",
        }
        for d in range(len(estimate.counts))
    ]


def main(snakemake) -> None:
    began = time.monotonic()
    options = labels.Options(**snakemake.params.spec)
    draws = list(snakemake.params.draws)
    rows, reasons = {}, {}
    rehearsals = list(snakemake.input.get("rehearsal", [])) or [None] * len(snakemake.input.mapping)
    for mapping, report, rehearsed in zip(snakemake.input.mapping, snakemake.input.report, rehearsals, strict=True):
        block = read_npz(mapping)
        own = [int(draw) for draw in block["draws"] if int(draw) in draws]
        index = np.flatnonzero(np.isin(block["draws"], own))
        meta = read_json(report)["meta"]
        leak = evidence(block, index, meta, read_npz(rehearsed) if rehearsed else None)
        try:
            rows |= dict(zip(own, rows_of(labels.recover(options.method, leak)), strict=True))
        except NotApplicable as error:
            nothing = Estimate(np.zeros((len(own), leak.classes), int), np.full((len(own), leak.classes), np.nan),
                               np.zeros(len(own), int))  # fmt: skip
            rows |= dict(zip(own, rows_of(nothing), strict=True))
            reasons |= dict.fromkeys(own, str(error))
    chosen = [rows[draw] for draw in draws]
    write_npz(
        snakemake.output.labels,
        **{key: np.stack([row[key] for row in chosen]) for key in chosen[0]},
        levels=np.array(LEVELS),
        seeds=np.array(snakemake.params.seeds),
    )
    trials = [
        records.trial(seed, draw, "not applicable" if draw in reasons else "ok", reasons.get(draw, ""))
        for seed, draw in zip(snakemake.params.seeds, draws, strict=True)
    ]
    write_json(snakemake.output.record, records.of_block(snakemake, trials, began, {}))


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
