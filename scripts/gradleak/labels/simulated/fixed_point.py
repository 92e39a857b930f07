"""The FedAvg fixed point: the mean softmax drifts with the composition that is being looked for. Ours."""

import numpy as np

from gradleak.labels.evidence import Estimate, Evidence, counted, simplex
from gradleak.labels.simulated.virtual import rounds_of

ITERATIONS = 30
NEIGHBOURS = 40  # virtual rounds whose composition is nearest to the guess


def estimate(evidence: Evidence) -> Estimate:
    """Iterate n ← N (p̄(n) − g_b), with p̄(n) the mean softmax over the steps of virtual clients composed like n.

    A virtual round tells its own p̄ exactly: n/N + g_b. p̄(n) is its linear regression on the composition, plus the
    mean residual of the nearest rounds.
    """
    rounds, samples = rounds_of(evidence), evidence.samples
    shares = rounds.counts / samples
    means = shares + rounds.grad_bias
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
