"""Private and pretraining images → the artifacts of simulated clients, and their truth in a file apart."""

import numpy as np

from gradleak.artifacts.leak import read_leak, write_leak
from gradleak.datasets.pools import read_pool
from gradleak.federated.options import ClientOptions
from gradleak.files import replacing_folder, write_npz, write_sums
from gradleak.jobs import job


def main(snakemake) -> None:
    from gradleak.federated import client  # imports TensorFlow: only now is the log open

    options = ClientOptions(**snakemake.params.spec)
    draws = list(snakemake.params.draws)
    received = [read_leak(folder) for folder in snakemake.input.get("model", [])]
    model = client.global_model(options, read_pool(snakemake.input.pretraining), *received)
    made = client.simulate(options, model, read_pool(snakemake.input.private), draws)
    with replacing_folder(snakemake.output.artifacts) as folder:
        for draw, result in zip(draws, made, strict=True):
            write_leak(folder / f"draw-{draw:03d}", client.leak_of(model, result))
        write_sums(snakemake.output.sums, folder)
    x, y = np.stack([r.private.x for r in made]), np.stack([r.private.y for r in made])
    write_npz(snakemake.output.truth, x=x, y=y, draws=np.array(draws))
    job.log.info(
        "%d clients of %d images, %d local steps each", len(draws), options.client_samples, options.steps
    )


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
