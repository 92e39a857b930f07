"""Mapped updates + public images → shadow clients, and the model on public and noise images."""

from gradleak.files import read_json, write_npz
from gradleak.jobs import job
from gradleak.jobs.public_pool import public_pool
from gradleak.labels.evidence import Client
from gradleak.labels.packing import pack
from gradleak.losses import BINARY
from gradleak.mapping.files import model_of, read_block


def main(snakemake) -> None:
    from gradleak.federated import shadow_clients  # imports TensorFlow: only now is the log open

    block, report = read_block(snakemake.input.gradients), read_json(snakemake.input.report)
    model, unit = model_of(block), shadow_clients.delta_per_gradient(report)
    options = shadow_clients.published(report["metadata"]["read"], block.samples)
    if block.loss == BINARY:  # no method that learns from shadow clients reads one sigmoid a class
        options = None
    finals = shadow_clients.final_weights(model, block, unit)
    images = public_pool(snakemake.input, model.input_shape[1:], model.output_shape[-1])
    loss = shadow_clients.loss_of(block, report)
    public = shadow_clients.simulate(model, images, shadow_clients.Rounds(options, unit, loss), finals)
    settings = None if options is None else Client(options.steps, options.learning_rate, options.optimizer)
    write_npz(snakemake.output.shadow, **pack(public, settings))
    if options is None:
        job.log.info("the client's settings are not published: no shadow clients")
    elif public.shadow_clients is not None:
        job.log.info("%d shadow clients of %d local steps", len(public.shadow_clients.counts), options.steps)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
