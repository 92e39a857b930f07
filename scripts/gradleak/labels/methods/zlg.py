"""Counts from column sums and an assumed mean feature sum (ZLG, and its extension to several local steps).

Geng et al. 2021, "Towards General Deep Leakage in Federated Learning", doi:10.48550/arXiv.2110.09074.
Dimitrov et al. 2022, "Data Leakage in Federated Averaging", doi:10.48550/arXiv.2206.12395.
"""

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
    """Geng et al. 2021: n_c = N (p̄_c − s_c / Ō) with s_c = Σ_d g_W[d, c].

    p̄ and Ō = E Σ_d h_d are the mean softmax and the mean feature sum of noise images. Assumes that private
    images have the same, which holds for untrained models with non-negative features.
    """
    dummy = evidence.public.dummy
    return _counts(evidence, softmax(evidence.logits(dummy)).mean(axis=0), dummy.sum(axis=1).mean())


def estimate_dimitrov(evidence: Evidence) -> Estimate:
    """Dimitrov et al. 2022: the same with public images, and p̄ and Ō averaged over the local steps.

    The paper interpolates linearly between the server's and the client's model; the mean over the steps is
    then the mean of the two ends.
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
