"""The user's own model, an untrusted file → the same as plain JSON and arrays."""

from pathlib import Path

from gradleak.artifacts.receive import receive_model
from gradleak.files import replacing_folder, write_sums
from gradleak.jobs import job


def main(snakemake) -> None:
    with replacing_folder(snakemake.output.model) as folder:
        leak = receive_model(Path(snakemake.input.model), folder)
        write_sums(snakemake.output.sums, folder)
    job.log.info("%s: %d tensors of starting weights", snakemake.input.model, len(leak.before))


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
