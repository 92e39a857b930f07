"""A data set → its three disjoint pools."""

from gradleak.federated import datasets
from gradleak.files import write_npz
from gradleak.jobs import job


def main(snakemake) -> None:
    images = datasets.load(snakemake.wildcards.dataset, snakemake.params.path)
    pools = datasets.split(snakemake.wildcards.dataset, images)
    for name, pool in pools.items():
        write_npz(snakemake.output[name], x=pool.x, y=pool.y)
        job.log.info(
            "%s: %d images, per class %s",
            name,
            len(pool.y),
            [(pool.y == c).sum() for c in range(datasets.CLASSES)],
        )


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
