"""Mapped updates + public images → what the label methods may know of the model beyond its last layer."""

from gradleak.federated.datasets import Images
from gradleak.files import read_json, read_npz, write_npz
from gradleak.jobs import job
from gradleak.labels.evidence import Client
from gradleak.labels.packing import pack
from gradleak.mapping.files import model_of, read_block


def main(snakemake) -> None:
    from gradleak.federated import shadow_clients

    block = read_block(snakemake.input.gradients)
    model = model_of(block)
    report = read_json(snakemake.input.report)
    meta = report["meta"]
    options = shadow_clients.published(meta, block.samples)
    weight = meta.get("client_weight")
    per_gradient = report["scale"]["value"] / (
        weight if isinstance(weight, int | float) and weight > 0 else 1.0
    )
    start = [v.numpy() for v in model.trainable_variables]
    finals = [
        [value - per_gradient * block.gradients[i][index] for i, value in enumerate(start)]
        for index in range(len(block.draws))
    ]
    public = shadow_clients.simulate(
        model, Images(**read_npz(snakemake.input.public)), options, per_gradient, finals
    )
    settings = None if options is None else Client(options.steps, options.learning_rate, options.optimizer)
    write_npz(snakemake.output.shadow, **pack(public, settings))
    if options is None:
        job.log.info("the client's settings are not published: no virtual clients")
    elif public.rounds is not None:
        job.log.info("%d virtual clients of %d local steps", len(public.rounds.counts), options.steps)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
