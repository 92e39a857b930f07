"""Counts from column sums and a guessed mean feature sum (Geng et al. 2021; Dimitrov et al. 2022)."""

import numpy as np

from gradleak.labels.evidence import (
    Estimate,
    Evidence,
    NotApplicable,
    class_means,
    confusion,
    counted,
    softmax,
)


def estimate(evidence: Evidence) -> Estimate:
    """Geng et al. 2021: n_j = N (p̄_j − s_j / Ō), s_j = Σ_d g_W[d, j], with p̄ and Ō = E Σ_d h_d of noise images."""
    dummy = evidence.public.dummy
    return _counts(evidence, softmax(evidence.logits(dummy)).mean(axis=0), dummy.sum(axis=1).mean())


def estimate_dimitrov(evidence: Evidence) -> Estimate:
    """Dimitrov et al. 2022: the same with public images, p̄ and Ō in the middle between server's and client's model.

    The paper interpolates linearly over local steps; the mean over the steps is the mean of the two ends.
    """
    public = evidence.public
    softmaxes = confusion(evidence).mean(axis=0)
    sums = class_means(public.features.sum(axis=1), public.labels, evidence.classes).mean()
    if evidence.steps > 1:
        if public.end_softmax is None:
            raise NotApplicable("dimitrov interpolates to the client's final model, which was not evaluated")
        softmaxes = (softmaxes + public.end_softmax.mean(axis=1)) / 2
        sums = (sums + public.end_feature_sum.mean(axis=1, keepdims=True)) / 2
    return _counts(evidence, softmaxes, sums)


def _counts(evidence: Evidence, softmaxes: np.ndarray, feature_sum: np.ndarray | float) -> Estimate:
    if not np.all(np.asarray(feature_sum) > 0):
        raise NotApplicable("the mean feature sum is not positive, and it is divided by")
    ratio = evidence.grad_weight.sum(axis=1) / feature_sum
    return counted(evidence.samples * (softmaxes - ratio), evidence.samples)
