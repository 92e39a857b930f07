"""Other clients' images → the reference classifier, and how good it is on images that it has not seen."""

from gradleak.evaluation import reference_classifier
from gradleak.files import read_npz, write_json
from gradleak.images import to_float
from gradleak.jobs import job


def main(snakemake) -> None:
    others, public = read_npz(snakemake.input.pretraining), read_npz(snakemake.input.public)
    trained = reference_classifier.train(to_float(others["x"]), others["y"])
    reference_classifier.save(trained, snakemake.output.reference)
    held = slice(None, 2000)
    found = reference_classifier.accuracy(trained, to_float(public["x"][held]), public["y"][held])
    write_json(snakemake.output.accuracy, {"accuracy_on_public": found})
    job.log.info("accuracy on unseen public images: %.4f", found)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
