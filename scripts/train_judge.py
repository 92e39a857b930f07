"""Other clients' images → the judge, and how good it is on images that it has not seen."""

from gradleak import jobs, judge
from gradleak.datasets import to_float
from gradleak.files import read_npz, write_json


def main(snakemake) -> None:
    others, public = read_npz(snakemake.input.others), read_npz(snakemake.input.public)
    trained = judge.train(to_float(others["x"]), others["y"])
    judge.save(trained, snakemake.output.judge)
    held = slice(None, 2000)
    found = judge.accuracy(trained, to_float(public["x"][held]), public["y"][held])
    write_json(snakemake.output.accuracy, {"accuracy_on_public": found})
    jobs.log.info("judge accuracy on unseen public images: %.4f", found)


if "snakemake" in globals():
    with jobs.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
