"""Training history and images of a VAE → its panel."""

from gradleak.evaluation.figures import priors, style
from gradleak.files import read_json, read_npz
from gradleak.jobs import job


def main(snakemake) -> None:
    history, panel = read_json(snakemake.input.history), read_npz(snakemake.input.panel)
    figure = priors.vae_panel(
        history["epochs"],
        panel["held_out"],
        panel["reconstructed"],
        panel["samples"],
        history["options"]["latent_dim"],
    )
    style.save(figure, snakemake.output.figure)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
