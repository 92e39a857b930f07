"""Images that span inversion accepted → what they are at the last layer of the round's starting model."""

import numpy as np

from gradleak.files import read_npz, write_npz
from gradleak.jobs import job
from gradleak.mapping.files import model_of, read_block


def main(snakemake) -> None:
    from gradleak.federated import shadow_clients

    found = read_npz(snakemake.input.inversion)
    model = model_of(read_block(snakemake.input.gradients))
    trial, image = np.nonzero(found["accepted"])
    # One more image, so that there is a batch even where nobody was found.
    images = np.concatenate(
        [found["images"][trial, image], np.zeros((1, *model.input_shape[1:]), np.float32)]
    )
    features, logits = shadow_clients.taps(model).predict(images, batch_size=256, verbose=0)
    write_npz(
        snakemake.output.members,
        trial=trial,
        seeds=found["seeds"],
        labels=found["labels"][trial, image],
        features=features[:-1],
        logits=logits[:-1],
    )
    job.log.info("%d members in %d updates", len(trial), len(found["seeds"]))


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
