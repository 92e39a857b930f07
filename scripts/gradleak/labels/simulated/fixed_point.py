"""The FedAvg fixed point: over local steps the mean softmax drifts with the class counts that are sought."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, counted, simplex
from gradleak.labels.simulated.shadow import shadow_clients_of

ITERATIONS = 30
NEIGHBOURS = 40  # shadow clients whose class shares are nearest to the estimate


def estimate(evidence: Evidence) -> Estimate:
    """Iterate n ← N (p̄(n/N) − g_b), damped, with p̄(q) the mean softmax over the local steps of clients with
    shares q.

    For a shadow client p̄ is known exactly: p̄ = n/N + g_b. p̄(q) is the linear regression of these on the
    shares, plus the mean residual of the nearest shadow clients. Assumes that the shadow clients train as the
    client does. No published method.
    """
    shadow, samples = shadow_clients_of(evidence), evidence.samples
    shares = shadow.counts / samples
    means = shares + shadow.grad_bias
    slope = np.linalg.lstsq(shares, means, rcond=None)[0]  # shares sum to one, so the constant is in them
    residuals = means - shares @ slope
    guess = simplex(shares.mean(axis=0) - evidence.grad_bias, 1)
    near = min(NEIGHBOURS, len(shares))
    for _ in range(ITERATIONS):
        distance = (guess**2).sum(axis=1)[:, None] + (shares**2).sum(axis=1) - 2 * guess @ shares.T
        nearest = np.argpartition(distance, near - 1, axis=1)[:, :near]
        mean = guess @ slope + residuals[nearest].mean(axis=1)
        raw = mean - evidence.grad_bias
        guess = simplex((guess + raw) / 2, 1)  # damped, so that a slope near one cannot swing
    return counted(samples * raw, samples)
