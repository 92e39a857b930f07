"""The user's truth for a local target → the format that scoring reads."""

import numpy as np

from gradleak.errors import UserError
from gradleak.files import write_npz
from gradleak.jobs import job


def main(snakemake) -> None:
    path = snakemake.input.truth
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y = archive["x"], archive["y"]
    except (KeyError, ValueError, OSError) as error:
        raise UserError(
            f"{path}: needs an .npz with plain arrays x (N, H, W, C) uint8 and y (N,) ({error})"
        ) from None
    x = x[..., None] if x.ndim == 3 else x
    if x.dtype != np.uint8 or x.ndim != 4 or y.shape != (len(x),):
        raise UserError(
            f"{path}: x must be uint8 (N, H, W, C) and y (N,); found {x.dtype} {x.shape} and {y.shape}"
        )
    write_npz(snakemake.output.truth, x=x[None], y=y[None].astype(np.int64), draws=np.array([0]))


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
