"""Mapped updates + public images → what the label methods may know of the model beyond its last layer."""

from gradleak.federated.datasets import Images
from gradleak.files import read_json, read_npz, write_npz
from gradleak.jobs import job
from gradleak.labels.evidence import Client
from gradleak.labels.packing import pack


def main(snakemake) -> None:
    import keras  # imports TensorFlow: only now is the log open

    from gradleak.federated import shadow_clients

    arrays = read_npz(snakemake.input.gradients)
    model = keras.models.model_from_json(str(arrays["model"]))
    model.set_weights([arrays[f"weight_{i}"] for i in range(len(model.weights))])
    report = read_json(snakemake.input.report)
    meta, samples = report["meta"], int(arrays["samples"])
    options = shadow_clients.published(meta, samples)
    weight = meta.get("client_weight")
    per_gradient = report["scale"]["value"] / (
        weight if isinstance(weight, int | float) and weight > 0 else 1.0
    )
    start = [v.numpy() for v in model.trainable_variables]
    finals = [
        [value - per_gradient * arrays[f"gradient_{i}"][index] for i, value in enumerate(start)]
        for index in range(len(arrays["draws"]))
    ]
    public = shadow_clients.simulate(
        model, Images(**read_npz(snakemake.input.public)), options, per_gradient, finals
    )
    settings = None if options is None else Client(options.steps, options.learning_rate, options.optimizer)
    write_npz(snakemake.output.shadow, **pack(public, settings))
    if options is None:
        job.log.info("the client's settings are not published: no shadow clients")
    elif public.shadow_clients is not None:
        job.log.info("%d shadow clients of %d local steps", len(public.shadow_clients.counts), options.steps)


if "snakemake" in globals():
    with job.job(snakemake, tensorflow=True):  # noqa: F821
        main(snakemake)  # noqa: F821
