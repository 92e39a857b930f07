"""Public images → a VAE: weights, learning curve, sample images."""

import numpy as np

from gradleak.datasets.pools import read_pool
from gradleak.files import write_json, write_npz
from gradleak.images import to_float
from gradleak.jobs import job
from gradleak.priors.options import VaeOptions


def main(snakemake) -> None:
    from gradleak.priors import vae  # imports TensorFlow: only now is the log open

    options = VaeOptions(**snakemake.params.spec)
    public = to_float(read_pool(snakemake.input.public).x)
    trained = vae.train(options, public, job.log.info)
    write_npz(snakemake.output.weights, **vae.weights_of(trained))
    write_json(
        snakemake.output.history, {"options": options.model_dump(mode="json"), "epochs": trained.history}
    )
    codes = np.random.default_rng(options.seed).normal(size=(16, options.latent_dim)).astype(np.float32)
    shown = trained.held_out[:16]
    reconstructed = trained.decoder.predict(trained.encoder.predict(shown, verbose=0)[0], verbose=0)
    samples = trained.decoder.predict(codes, verbose=0)
    write_npz(snakemake.output.panel, held_out=shown, reconstructed=reconstructed, samples=samples)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
