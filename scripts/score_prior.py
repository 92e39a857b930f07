"""Truth projected onto a prior: the best that any latent attack with this decoder could do. Scoring only."""

import numpy as np

from gradleak.evaluation import metrics
from gradleak.files import read_npz, write_npz
from gradleak.images import to_float
from gradleak.jobs import job
from gradleak.priors import vae
from gradleak.priors.options import VaeOptions


def project(encoder, decoder, images: np.ndarray, steps: int = 300) -> np.ndarray:
    """The decoder's images nearest to ``images`` (n, H, W, C): from the encoder's mean, then Adam on the MSE."""
    import tensorflow as tf

    from gradleak.optim import minimise

    codes = encoder.predict(images, verbose=0, batch_size=256)[0]

    def objective(variables: dict, data: dict) -> tf.Tensor:
        return tf.reduce_mean(
            tf.square(decoder(variables["codes"], training=False) - data["images"]), axis=[1, 2, 3]
        )

    settings = minimise.LoopSettings(steps=steps, learning_rate=0.05, decay="cosine")
    result = minimise.minimise(objective, {"codes": codes}, settings, data={"images": images})
    return decoder.predict(result.best["codes"], verbose=0, batch_size=256)


def main(snakemake) -> None:
    truth = read_npz(snakemake.input.truth)
    x = to_float(truth["x"])
    flat = x.reshape(-1, *x.shape[2:])
    networks = vae.load_networks(
        VaeOptions(**snakemake.params.prior), flat.shape[1:], read_npz(snakemake.input.prior)
    )
    nearest = project(*networks, flat)
    mse = np.mean((nearest.astype(np.float64) - flat) ** 2, axis=(1, 2, 3))
    write_npz(snakemake.output.ceiling, psnr=metrics.psnr(mse).reshape(x.shape[:2]), draws=truth["draws"])


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
