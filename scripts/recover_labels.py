"""Last layer of the mapped updates → class counts per trial. No TensorFlow: the last layer is all it takes."""

import time

import numpy as np

from gradleak import jobs, labels, records
from gradleak.files import read_npz, write_json, write_npz
from gradleak.labels.evidence import Evidence, NotApplicable


def evidence(files: dict[int, dict], draw: int) -> Evidence:
    """The last layer of one draw; ``files`` maps each draw to the mapped block that holds it."""
    block = files[draw]
    index = int(np.flatnonzero(block["draws"] == draw)[0])
    last = sorted(int(key.removeprefix("gradient_")) for key in block if key.startswith("gradient_"))[-2:]
    weights = {i: block[f"weight_{block['trainable'][i]}"] for i in last}
    grads = {i: block[f"gradient_{i}"][index] for i in last}
    bias = last[-1] if grads[last[-1]].ndim == 1 else None
    kernel = last[0] if bias is not None else last[-1]
    return Evidence(
        weights[kernel], None if bias is None else weights[bias], grads[kernel], None if bias is None else grads[bias],
        block["public_softmax"], int(block["samples"]),
    )  # fmt: skip


def main(snakemake) -> None:
    began = time.monotonic()
    options = labels.Options(**snakemake.params.spec)
    blocks = [read_npz(file) for file in snakemake.input.mapping]
    files = {int(draw): block for block in blocks for draw in block["draws"]}
    counts, raw, trials = [], [], []
    for seed, draw in zip(snakemake.params.seeds, snakemake.params.draws, strict=True):
        leak = evidence(files, draw)
        try:
            estimate = labels.METHODS[options.method](leak)
        except NotApplicable as error:
            counts.append(np.zeros(leak.classes, int))
            raw.append(np.full(leak.classes, np.nan))
            trials.append(records.trial(seed, draw, "not applicable", str(error)))
            continue
        counts.append(estimate.counts)
        raw.append(estimate.raw)
        trials.append(records.trial(seed, draw))
    write_npz(
        snakemake.output.labels,
        counts=np.stack(counts),
        raw=np.stack(raw),
        seeds=np.array(snakemake.params.seeds),
    )
    write_json(snakemake.output.record, records.of_block(snakemake, trials, began, {}))


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
