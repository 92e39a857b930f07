"""The bias identity with the mean softmax, or the mean sigmoids, of public images."""

from gradleak.labels.evidence import (
    Estimate,
    Evidence,
    confusion,
    counted,
    counted_each,
    sigmoid,
    solve_confusion,
)


def estimate(evidence: Evidence) -> Estimate:
    """n from N g_b = (Pᵀ − I) n and Σ n = N by least squares, with P[c] the mean softmax of public images of
    class c.

    On an untrained model all rows of P are alike, and n = N (p̄ − g_b); on a trained one the confusion of the
    classes matters. Assumes that public and private images of a class have the same mean softmax.

    With one sigmoid a class N g_b,c = (N p̄_c − n_c) / C, with p̄ the mean sigmoids of all public images.
    """
    if evidence.multi_label:
        mean = sigmoid(evidence.logits(evidence.public.features.astype(float))).mean(axis=0)
        share = mean - evidence.classes * evidence.grad_bias.astype(float)
        return counted_each(evidence.samples * share, evidence.samples)
    raw = solve_confusion(confusion(evidence), evidence.grad_bias, evidence.samples)
    return counted(raw, evidence.samples)
