"""Images that span inversion certified → their features and logits under the round's starting model."""

from gradleak.attacks import inversion_files
from gradleak.files import write_npz
from gradleak.jobs import job
from gradleak.mapping.files import model_of, read_block


def main(snakemake) -> None:
    from gradleak.federated.last_layer import member_features  # imports TensorFlow: only now is the log open

    found = inversion_files.read(snakemake.input.inversion)
    model = model_of(read_block(snakemake.input.gradients))
    members = member_features(model, found.images, found.labels, found.accepted & (found.labels >= 0))
    write_npz(snakemake.output.members, **members, seeds=found.seeds)
    job.log.info("%d members in %d updates", len(members["trial"]), len(found.seeds))


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
