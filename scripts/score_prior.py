"""Truth projected onto a prior → its PSNR, the best that any latent attack with this decoder could reach."""

import numpy as np

from gradleak.files import read_npz, write_npz
from gradleak.images import psnr, to_float
from gradleak.jobs import job
from gradleak.priors.options import VaeOptions


def main(snakemake) -> None:
    from gradleak.priors import projection, vae  # imports TensorFlow: only now is the log open

    truth = read_npz(snakemake.input.truth)
    x = to_float(truth["x"])
    flat = x.reshape(-1, *x.shape[2:])
    options, weights = VaeOptions(**snakemake.params.prior), read_npz(snakemake.input.prior)
    nearest = projection.project(*vae.load_networks(options, flat.shape[1:], weights), flat)
    mse = np.mean((nearest.astype(np.float64) - flat) ** 2, axis=(1, 2, 3))
    write_npz(snakemake.output.ceiling, psnr=psnr(mse).reshape(x.shape[:2]), draws=truth["draws"])


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
