"""Pretraining pool → the reference classifier, and its accuracy on public examples, all of them new to it."""

from gradleak.datasets.pools import read_pool
from gradleak.evaluation import reference_classifier
from gradleak.files import write_json
from gradleak.images import to_float
from gradleak.jobs import job


def main(snakemake) -> None:
    pretraining, public = read_pool(snakemake.input.pretraining), read_pool(snakemake.input.public)
    trained = reference_classifier.train(to_float(pretraining.x), pretraining.y)
    reference_classifier.save(trained, snakemake.output.reference)
    accuracy = None
    if trained:
        tested = slice(None, 2000)
        accuracy = reference_classifier.accuracy(trained, to_float(public.x[tested]), public.y[tested])
    write_json(snakemake.output.accuracy, {"accuracy_on_public": accuracy})
    job.log.info("accuracy on public examples: %s", accuracy)


if "snakemake" in globals():
    with job.job(snakemake):  # noqa: F821
        main(snakemake)  # noqa: F821
