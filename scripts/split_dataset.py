"""A data set → its three disjoint pools."""

import numpy as np

from gradleak.datasets import builtin, pools
from gradleak.jobs import job


def main(snakemake) -> None:
    data = builtin.load(snakemake.wildcards.dataset, snakemake.params.path)
    for name, pool in pools.split(snakemake.wildcards.dataset, data).items():
        pools.write_pool(snakemake.output[name], pool)
        counts = np.bincount(pool.y, minlength=pool.classes) if pool.y.ndim == 1 else pool.y.sum(axis=0)
        job.log.info("%s: %d examples, per class %s", name, len(pool.y), counts.tolist())


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
