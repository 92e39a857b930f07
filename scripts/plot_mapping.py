"""Mapping findings of one block of draws → a figure of norms and singular values."""

from gradleak.evaluation.figures import mapping, style
from gradleak.files import read_json, read_npz
from gradleak.jobs import job


def main(snakemake) -> None:
    spectrum = read_npz(snakemake.input.spectrum)
    floor = {name.removeprefix("floor:"): spectrum[name] for name in spectrum if name.startswith("floor:")}
    singular = {name: spectrum[name] for name in floor}
    style.save(mapping.mapping(read_json(snakemake.input.report), singular, floor), snakemake.output.figure)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
