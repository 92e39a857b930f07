"""Mapped updates + public images → shadow clients, and the model on public and noise images."""

import numpy as np

from gradleak.federated.datasets import Images
from gradleak.files import read_json, read_npz, write_npz
from gradleak.jobs import job
from gradleak.labels.evidence import Client
from gradleak.labels.packing import pack
from gradleak.mapping.files import model_of, read_block


def public_images(inputs, shape: tuple[int, ...]) -> Images:
    """The public images of the target; none without a data set."""
    if inputs.get("public"):
        return Images(**read_npz(inputs.public))
    return Images(np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64))


def main(snakemake) -> None:
    from gradleak.federated import shadow_clients  # imports TensorFlow: only now is the log open

    block, report = read_block(snakemake.input.gradients), read_json(snakemake.input.report)
    model, unit = model_of(block), shadow_clients.delta_per_gradient(report)
    options = shadow_clients.published(report["metadata"]["read"], block.samples)
    finals = shadow_clients.final_weights(model, block, unit)
    images = public_images(snakemake.input, model.input_shape[1:])
    public = shadow_clients.simulate(model, images, options, unit, finals)
    settings = None if options is None else Client(options.steps, options.learning_rate, options.optimizer)
    write_npz(snakemake.output.shadow, **pack(public, settings))
    if options is None:
        job.log.info("the client's settings are not published: no shadow clients")
    elif public.shadow_clients is not None:
        job.log.info("%d shadow clients of %d local steps", len(public.shadow_clients.counts), options.steps)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
