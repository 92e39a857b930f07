"""Last layer of the mapped updates → class counts per trial. No TensorFlow: the last layer is all it takes."""

import time

import numpy as np

from gradleak.files import read_json, read_npz, write_npz
from gradleak.jobs import job, records
from gradleak.labels import members, registry
from gradleak.labels.evidence import LEVELS, Client, Estimate, Evidence, Members, NotApplicable
from gradleak.labels.packing import of_draws, unpack
from gradleak.mapping.files import MappedBlock, read_block


def evidence(
    block: MappedBlock, index: np.ndarray, meta: dict, rehearsed: dict | None, known: Members | None = None
) -> Evidence:
    """The last layers of the draws ``index`` of a mapped block. rehearsed: public data at the model, or None."""
    last = range(len(block.gradients))[-2:]
    weights = {i: block.weight(i) for i in last}
    grads = {i: block.gradients[i][index] for i in last}
    bias = last[-1] if grads[last[-1]].ndim == 2 else None
    kernel = last[0] if bias is not None else last[-1]
    if rehearsed:
        public, client = unpack(rehearsed)
        public = of_draws(public, index)
    else:
        steps = meta.get("local_steps", 1)
        public, client = None, Client(steps if isinstance(steps, int) and steps > 0 else 1)
    return Evidence(
        weights[kernel],
        None if bias is None else weights[bias],
        grads[kernel],
        None if bias is None else grads[bias],
        block.samples,
        public,
        client,
        known,
    )


def rows_of(estimate: Estimate) -> list[dict]:
    """What is written of each draw."""
    return [
        {
            "counts": estimate.counts[d],
            "raw": estimate.raw[d],
            # No interval is an interval that says nothing.
            "low": np.zeros((len(LEVELS), len(estimate.raw[d])), int)
            if estimate.low is None
            else estimate.low[:, d],
            "high": np.full((len(LEVELS), len(estimate.raw[d])), -1)
            if estimate.high is None
            else estimate.high[:, d],
            "expected_irec": np.nan if estimate.expected_irec is None else estimate.expected_irec[d],
            "chosen": estimate.chosen[d] if estimate.chosen else "",
        }
        for d in range(len(estimate.counts))
    ]


def nobody(block: MappedBlock) -> Estimate:
    """What is written of a draw that has no estimate."""
    classes = block.gradients[-1].shape[-1]
    return Estimate(np.zeros((1, classes), int), np.full((1, classes), np.nan), np.zeros(1, int))


def members_of(found: dict, trials: np.ndarray) -> Members:
    """The accepted images of some trials of a block."""
    own = np.isin(found["trial"], trials)
    owner = np.searchsorted(trials, found["trial"][own])
    return members.gather(
        found["labels"][own], found["features"][own], found["logits"][own], owner, len(trials)
    )


def main(snakemake) -> None:
    began = time.monotonic()
    options = registry.Options(**snakemake.params.spec)
    draws = np.array(snakemake.params.draws)
    rows: dict[int, dict] = {}  # by trial
    reasons: dict[int, str] = {}
    rehearsals = list(snakemake.input.get("shadow", [])) or [None] * len(snakemake.input.mapping)
    accepted = [read_npz(file) for file in snakemake.input.get("members", [])]
    for mapping, report, rehearsed in zip(
        snakemake.input.mapping, snakemake.input.report, rehearsals, strict=True
    ):
        block, meta = read_block(mapping), read_json(report)["meta"]
        trials = np.flatnonzero(np.isin(draws, block.draws))
        for found in accepted:
            numbers = np.bincount(found["trial"], minlength=len(draws))[trials]
            crowded = numbers > block.samples
            reasons |= {
                trial: f"span inversion accepted {number} images, and the update is of {block.samples}"
                for trial, number in zip(trials[crowded], numbers[crowded], strict=True)
            }
            trials = trials[~crowded]
        if not len(trials):
            continue
        place = {draw: position for position, draw in enumerate(block.draws)}
        leak = evidence(
            block,
            np.array([place[draw] for draw in draws[trials]]),
            meta,
            read_npz(rehearsed) if rehearsed else None,
            members_of(accepted[0], trials) if accepted else None,
        )
        try:
            rows |= dict(zip(trials, rows_of(registry.recover(options.method, leak)), strict=True))
        except NotApplicable as error:
            reasons |= dict.fromkeys(trials, str(error))
    (nothing,) = rows_of(nobody(block))
    chosen = [rows.get(trial, nothing) for trial in range(len(draws))]
    write_npz(
        snakemake.output.labels,
        **{key: np.stack([row[key] for row in chosen]) for key in chosen[0]},
        levels=np.array(LEVELS),
        seeds=np.array(snakemake.params.seeds),
    )
    trials = [
        records.trial(seed, draw, "not applicable" if trial in reasons else "ok", reasons.get(trial, ""))
        for trial, (seed, draw) in enumerate(zip(snakemake.params.seeds, snakemake.params.draws, strict=True))
    ]
    records.write(snakemake, trials, began, {})


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
