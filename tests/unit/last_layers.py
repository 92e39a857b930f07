"""Evidence of label methods: last layers of batches whose labels are known."""

from dataclasses import replace

import numpy as np

from gradleak.labels import members
from gradleak.labels.evidence import Evidence, Public, softmax

WIDTH, CLASSES = 12, 10
COUNTS = {
    "one": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    "few": [3, 0, 0, 1, 0, 0, 0, 4, 0, 0],
    "one class": [0, 0, 0, 0, 0, 0, 0, 0, 32, 0],
    "all": [1, 2, 3, 4, 5, 6, 7, 2, 1, 1],
}


def leaked(counts, rng, noise=0.0, scale=0.02, spread=None, public_images=200):
    """The evidence of a batch whose features are alike (an untrained net): non-negative, plus ``noise`` of
    each.

    spread: a (C, C) matrix of logits that the classes get instead: its features are known apart by class.
    """
    counts = np.asarray(counts)
    labels = np.repeat(np.arange(CLASSES), counts)
    weight, bias = rng.normal(0, scale, (WIDTH, CLASSES)), rng.normal(0, scale, CLASSES)
    common = np.abs(rng.normal(1, 0.3, WIDTH))
    means = np.tile(common, (CLASSES, 1))
    if spread is not None:
        means = np.abs(rng.normal(1, 0.5, (CLASSES, WIDTH)))
        weight = np.linalg.lstsq(means, spread - bias, rcond=None)[0]

    def features(of):
        return means[of] + noise * np.abs(rng.normal(size=(len(of), WIDTH)))

    weight_gradient, bias_gradient = gradient(features(labels), labels, weight, bias)
    public_labels = np.arange(public_images) % CLASSES
    public = Public(
        features(public_labels),
        public_labels,
        np.arange(public_images) // CLASSES % 2,
        np.tile(common, (5, 1)),
    )
    return Evidence(weight, bias, weight_gradient[None], bias_gradient[None], len(labels), public)


def gradient(features, labels, weight, bias):
    signal = softmax(features @ weight + bias) - np.eye(CLASSES)[labels]
    return features.T @ signal / len(labels), signal.mean(axis=0)


def stacked(*all_evidence):
    """Draws of one model as one stack."""
    return replace(
        all_evidence[0],
        grad_weight=np.concatenate([e.grad_weight for e in all_evidence]),
        grad_bias=np.concatenate([e.grad_bias for e in all_evidence]),
    )


def batch_with_members(rng, number):
    """Evidence of 32 images of which the first ``number`` are known, and that of the others alone."""
    base = leaked(COUNTS["all"], rng, noise=1.0, scale=0.5)
    labels = rng.permutation(np.repeat(np.arange(CLASSES), COUNTS["all"]))
    features = np.abs(rng.normal(1, 1, (32, WIDTH)))
    whole = gradient(features, labels, base.weight, base.bias)
    rest = gradient(features[number:], labels[number:], base.weight, base.bias) if number < 32 else whole
    known = members.gather(
        labels[:number], features[:number], base.logits(features[:number]), np.zeros(number, int), 1
    )
    evidence = replace(base, grad_weight=whole[0][None], grad_bias=whole[1][None], members=known)
    alone = replace(base, grad_weight=rest[0][None], grad_bias=rest[1][None], samples=32 - number)
    return evidence, alone, np.bincount(labels[:number], minlength=CLASSES)
