"""The best linear estimate of class shares from the whole last-layer gradient, under a Gaussian model of it.

A gradient is g = Σ_c q_c μ_c + noise, with q the class shares and μ_c the mean gradient of one image of class
c. Public data give M = [μ_1 … μ_C] and the covariance Σ of the noise. With a prior of mean π = 1/C and
covariance K (Dirichlet)

    q̂ = π + (Mᵀ Σ⁻¹ M + K⁻¹)⁻¹ Mᵀ Σ⁻¹ (g − M π)

This is the linear minimum mean squared error estimate. Published methods use g_b alone or column sums of g_W;
this one weighs every entry of both. No published method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, ShadowClients, class_means, counted, simplex
from gradleak.labels.simulated.shadow import shadow_clients_of
from gradleak.losses import signal

RANK = 400  # directions of the noise that are modelled one by one
SHRINKS = (1e-4, 1e-2, 1.0)  # of Σ towards a multiple of the identity
PRIORS = (0.1, 0.5, 5.0)  # concentration of the Dirichlet prior


@dataclass(frozen=True)
class Model:
    """basis: orthonormal rows (R, d·C + C). means: μ_c in it, (C, R). variances: of an update's noise in it,
    (R,).
    """

    basis: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def shares(self, coordinates: np.ndarray, shrink: float, prior: float) -> np.ndarray:
        """q̂ (D, C) of gradients in the basis, (D, R)."""
        classes = len(self.means)
        centre = np.full(classes, 1 / classes)
        # The covariance of Dirichlet shares is singular along 1, which the sum constraint settles anyway.
        cov = (np.eye(classes) - 1 / classes) / classes / (1 + prior * classes) + 1e-9 * np.eye(classes)
        variances = self.variances + shrink * self.variances.mean() + 1e-16
        scaled = self.means / variances
        gain = np.linalg.solve(scaled @ self.means.T + np.linalg.inv(cov), scaled)
        return centre + (coordinates - centre @ self.means) @ gain.T


def flatten(grad_weight: np.ndarray, grad_bias: np.ndarray) -> np.ndarray:
    """(D, d, C) and (D, C) → (D, d·C + C)."""
    return np.concatenate([grad_weight, grad_bias[:, None]], axis=1).reshape(len(grad_weight), -1)


def fit_images(evidence: Evidence, fold: int) -> Model:
    """One local step: the moments of the gradients of single images, of one half of the public data."""
    keep = evidence.public.fold == fold
    features, labels = evidence.public.features[keep].astype(np.float32), evidence.public.labels[keep]
    found = signal(evidence.loss, evidence.logits(features).astype(float), np.eye(evidence.classes)[labels])
    each = flatten(features[:, :, None] * found[:, None].astype(np.float32), found.astype(np.float32))
    means = class_means(each, labels, evidence.classes)
    return _model(means, each - means[labels], evidence.samples)


def fit_clients(evidence: Evidence, shadow: ShadowClients, fold: int) -> Model:
    """Several local steps: the moments of one half's shadow clients, the means by least squares on their
    shares.
    """
    keep = shadow.fold == fold
    flat, shares = (
        flatten(shadow.grad_weight[keep], shadow.grad_bias[keep]),
        shadow.counts[keep] / evidence.samples,
    )
    means = np.linalg.lstsq(shares, flat, rcond=None)[0].astype(np.float32)
    return _model(means, flat - shares.astype(np.float32) @ means, 1)


def _model(means: np.ndarray, residuals: np.ndarray, averaged: int) -> Model:
    """averaged: the noise of an update is the mean of so many independent rows of ``residuals`` (n, d·C +
    C).
    """
    values, vectors = np.linalg.eigh((residuals @ residuals.T).astype(float))
    values, vectors = np.maximum(values[::-1], 1e-30), vectors[:, ::-1]
    rank = min(RANK, int((values > 1e-9 * values[0]).sum()))
    noise = (residuals.T @ vectors[:, :rank].astype(np.float32) / np.sqrt(values[:rank], dtype=np.float32)).T
    # Outside of the modelled directions the noise has the mean variance of the rest.
    rest = means - (means @ noise.T) @ noise
    outside = np.linalg.qr(rest.T)[0].T
    floor = max(values[rank:].sum(), 1e-12 * values.sum()) / max(residuals.shape[1] - rank, 1)
    variances = np.concatenate([values[:rank], np.full(len(outside), floor)]) / len(residuals) / averaged
    basis = np.concatenate([noise, outside])
    return Model(basis, (means @ basis.T).astype(float), variances)


@dataclass(frozen=True)
class Fitted:
    """models: one of each half of the public data; the estimate is their mean. shrink, prior: chosen across
    halves.
    held_out: (S, C), counts of the shadow clients, each predicted by the model of the other half.
    """

    models: tuple[Model, Model]
    shrink: float
    prior: float
    held_out: np.ndarray

    def predict(self, evidence: Evidence) -> np.ndarray:
        flat = flatten(evidence.grad_weight, evidence.grad_bias)
        shares = [model.shares(flat @ model.basis.T, self.shrink, self.prior) for model in self.models]
        return evidence.samples * np.mean(shares, axis=0)


def fit(evidence: Evidence, shadow: ShadowClients) -> Fitted:
    """Choose shrinkage and prior by the IRec of the shadow clients of one half under the model of the
    other.
    """
    single = evidence.steps == 1
    models = tuple(
        fit_images(evidence, fold) if single else fit_clients(evidence, shadow, fold) for fold in (0, 1)
    )
    flat = flatten(shadow.grad_weight, shadow.grad_bias)
    others = [shadow.fold != fold for fold in (0, 1)]
    coordinates = [flat[own] @ model.basis.T for own, model in zip(others, models, strict=True)]
    best = None
    for shrink in SHRINKS:
        for prior in PRIORS:
            found = np.empty(shadow.counts.shape)
            for own, model, inside in zip(others, models, coordinates, strict=True):
                found[own] = evidence.samples * model.shares(inside, shrink, prior)
            score = np.minimum(simplex(found, evidence.samples), shadow.counts).sum()
            if best is None or score > best[0]:
                best = (score, shrink, prior, found)
    return Fitted(models, *best[1:])


def estimate(evidence: Evidence) -> Estimate:
    """n = N q̂. Assumes that gradients of a class have one Gaussian distribution in public and private
    data.
    """
    return counted(fit(evidence, shadow_clients_of(evidence)).predict(evidence), evidence.samples)
