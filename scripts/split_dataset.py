"""A data set → its three disjoint pools, and its description."""

import numpy as np

from gradleak.datasets import catalogue, pools
from gradleak.datasets.description import write_description
from gradleak.datasets.options import Dataset
from gradleak.jobs import job


def main(snakemake) -> None:
    name = snakemake.wildcards.dataset
    data = catalogue.load(name, Dataset(**snakemake.params.options))
    cut = pools.split(name, data.examples)
    for part, pool in cut.items():
        pools.write_pool(snakemake.output[part], pool)
        counts = np.bincount(pool.y, minlength=pool.classes) if pool.y.ndim == 1 else pool.y.sum(axis=0)
        job.log.info("%s: %d examples, per class %s", part, len(pool.y), counts.tolist())
    write_description(snakemake.output.description, data.description)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
