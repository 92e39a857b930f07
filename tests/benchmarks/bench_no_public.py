"""What is found without public images (`dataset: none`), and whether any of it is wrong.

    python tests/benchmarks/bench_no_public.py noise      # probabilities of noise and of real images
    python tests/benchmarks/bench_no_public.py sign [--draws 6]
    python tests/benchmarks/bench_no_public.py span [--draws 1] [--public]

noise: for each net and data set the largest factor between a class's probability on a noise image and its
mean (``without_public.flat_ratio``), and the range of its mean over noise divided by that over public images.
sign: of clients with hard or smoothed labels, SGD or Adam, even or uneven classes, how many signs are right,
wrong and not stated, the confidences, and the range of estimated by true scale. span: images certified,
recovered at 20 dB or better, false positives and right labels, beside the control; ``--public``: the same
with public images.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from mapped import leak_of

from gradleak.attacks.problem import Problem
from gradleak.attacks.span import attack
from gradleak.attacks.span.options import SpanOptions
from gradleak.evaluation.metrics import pairwise_mse
from gradleak.federated import client, datasets
from gradleak.federated.options import ClientOptions
from gradleak.float32 import FLOAT32_ROUNDING
from gradleak.images import noise_images, psnr, to_float
from gradleak.mapping.errors import MappingError
from gradleak.mapping.settle import settle
from gradleak.mapping.without_public import flat_ratio

SETS = {
    "digits-8x8": ("fcn3", "lenet_sigmoid", "fcn3_published"),
    "mnist-5k": ("cnn7", "fcn3", "lenet_sigmoid", "fcn3_published"),
}
CLIENTS = ({}, {"alpha": None}, {"smoothing": 0.1}, {"smoothing": 0.3}, {"optimizer": "adam", "alpha": None})
SPAN = (  # data set, net, epochs before the round, local steps
    ("digits-8x8", "fcn3", 0, 1),
    ("digits-8x8", "fcn3", 1, 1),
    ("digits-8x8", "fcn3", 1, 3),
    ("mnist-5k", "fcn3", 0, 1),
    ("mnist-5k", "cnn7", 0, 1),
    ("mnist-5k", "cnn7", 1, 1),
)


def pools_of(name: str) -> dict:
    return datasets.split(name, datasets.load(name))


def noise(_: argparse.Namespace) -> None:
    for name, nets in SETS.items():
        pools = pools_of(name)
        shape, public = pools["public"].x.shape[1:], to_float(pools["public"].x[:300])
        plain = np.stack([np.zeros(shape), np.ones(shape)])
        images = np.concatenate([plain, noise_images(shape, 64, seed=0)]).astype(np.float32)
        for net in nets:
            for epochs in (0, 0.1, 0.3, 1):
                options = ClientOptions(dataset=name, model=net, pretrain_epochs=epochs)
                model = client.global_model(options, pools["pretraining"])
                of_noise, of_public = (tf.nn.softmax(model(x)).numpy() for x in (images, public))
                ratio = of_noise.mean(axis=0) / of_public.mean(axis=0)
                print(
                    f"{name} {net} {epochs:g} epochs: factor {flat_ratio(of_noise):.3g}, "
                    f"noise / public {ratio.min():.2f} to {ratio.max():.2f}"
                )


def smoothed(model: keras.Model, batch: datasets.Images, options: ClientOptions, epsilon: float) -> list:
    """The delta of one step of SGD on labels smoothed by ``epsilon``."""
    classes = model.output_shape[-1]
    targets = np.eye(classes)[batch.y] * (1 - epsilon) + epsilon / classes
    with tf.GradientTape() as tape:
        each = keras.losses.categorical_crossentropy(targets, model(to_float(batch.x)), from_logits=True)
        loss = tf.reduce_mean(each)
    return [-options.learning_rate * g.numpy() for g in tape.gradient(loss, model.trainable_variables)]


def sign(asked: argparse.Namespace) -> None:
    pools = pools_of("digits-8x8")
    for net in SETS["digits-8x8"]:
        for epochs in (0, 1, 3, 20):
            for given in CLIENTS:
                for images in (1, 8, 32):
                    signs(pools, net, epochs, dict(given), images, asked.draws)


def signs(pools: dict, net: str, epochs: int, given: dict, images: int, draws: int) -> None:
    """One line: the signs of some clients of one kind."""
    epsilon = given.pop("smoothing", 0)
    more = {"batch_size": images, "pretrain_epochs": epochs, **given}
    options = ClientOptions(dataset="digits-8x8", model=net, **more)
    model = client.global_model(options, pools["pretraining"])
    counts, confidences, scales = dict.fromkeys(("right", "wrong", "not stated"), 0), set(), []
    for draw in client.simulate(options, model, pools["private"], list(range(draws))):
        delta = smoothed(model, draw.private, options, epsilon) if epsilon else draw.delta
        try:
            report = settle([leak_of(model, delta, {"samples": images})], None, None).report
        except MappingError:
            counts["not stated"] += 1
            continue
        counts["right" if report["sign"]["value"] == "after_minus_before" else "wrong"] += 1
        confidences.add(report["sign"]["confidence"])
        if report["scale"]["estimate"]:
            scales.append(report["scale"]["estimate"] / options.learning_rate)
    scale = f"{min(scales):.2f} to {max(scales):.2f}" if scales else "none"
    print(
        f"{net} {epochs} epochs {given} smoothing {epsilon} N {images}: {counts}, confidence "
        f"{sorted(confidences)}, scale {scale}",
        flush=True,
    )


def span(asked: argparse.Namespace) -> None:
    for case in SPAN:
        for control in ("none", "random_gradient"):
            recovered(*case, control, asked)


def recovered(
    name: str, net: str, epochs: int, steps: int, control: str, asked: argparse.Namespace, images: int = 8
) -> None:
    """A line for each client: what span inversion certifies."""
    pools = pools_of(name)
    options = ClientOptions(
        dataset=name,
        model=net,
        batch_size=images,
        samples=images,
        pretrain_epochs=epochs,
        local_steps=steps,
    )
    model = client.global_model(options, pools["pretraining"])
    scale = np.float32(options.learning_rate * steps)
    public = pools["public"] if asked.public else datasets.Images(*(part[:0] for part in pools["public"]))
    for seed, draw in enumerate(client.simulate(options, model, pools["private"], list(range(asked.draws)))):
        problem = Problem(
            model=model,
            gradients=[-(part / scale)[None] for part in draw.delta],
            layer=np.arange(len(draw.delta)),
            samples=images,
            seeds=[seed],
            counts=None,
            public=to_float(public.x),
            public_labels=public.y,
            rounding=FLOAT32_ROUNDING / float(scale),
            steps=steps,
        )
        found = attack.invert(problem, SpanOptions(control=control))
        accepted, x = found.accepted[0], to_float(draw.private.x)
        errors = pairwise_mse(found.images[0][accepted], x)
        back, best = psnr(errors.min(axis=1, initial=1)), psnr(errors.min(axis=0, initial=1))
        right = found.labels[0][accepted] == draw.private.y[errors.argmin(axis=1)] if len(errors) else back
        print(
            f"{name} {net} {epochs} epochs, {steps} steps, control {control}: certified {accepted.sum()}, "
            f"recovered {(best >= 20).sum()} of {images}, false positives {(back < 20).sum()}, "
            f"labels right {int((right > 0).sum())} {found.reason}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("noise", "sign", "span"))
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--public", action="store_true")
    parsed = parser.parse_args()
    {"noise": noise, "sign": sign, "span": span}[parsed.what](parsed)
