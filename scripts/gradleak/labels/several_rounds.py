"""Class counts from several updates: one client in several rounds, and single clients from sums of clients.

The benchmark of the label methods uses both (``tests/benchmarks/bench_labels.py``); no rule of the workflow
does yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from gradleak.labels.evidence import Estimate, counted

RANK_TOLERANCE = 1e-9


def combine(raws: np.ndarray, variances: np.ndarray, samples: int) -> Estimate:
    """The same D clients in R rounds: the mean of the raw counts (R, D, C), weighed by inverse variance.

    variances: mean squared error of a count in each round, (R,), (R, D) or (R, D, C), in images²; from
    simulation.
    """
    weights = 1 / np.maximum(np.asarray(variances, float), 1e-12)
    weights = weights.reshape(weights.shape + (1,) * (3 - weights.ndim))
    return counted((raws * weights).sum(axis=0) / weights.sum(axis=0), samples)


@dataclass(frozen=True)
class Unmixed:
    """Class counts of K clients.

    counts: int (K, C). rank: of the participation matrix. known: bool (K,), clients whose counts the sums
    determine; the other rows are one of many solutions. reasons: for each client why it is not determined, or
    ''.
    """

    counts: np.ndarray
    rank: int
    known: np.ndarray
    reasons: tuple[str, ...]


def unmix(
    totals: np.ndarray, participation: np.ndarray, sizes: np.ndarray, variances: np.ndarray | None = None
) -> Unmixed:
    """Counts of each client from class counts of sums of clients, as secure aggregation gives them.

    Least squares with n ≥ 0 and Σ_c n_kc = N_k. Client k is determined without these constraints if and only
    if e_k lies in the row space of the participation matrix.

    totals: (R, C), raw counts of each round's sum. participation: 0/1 (R, K). sizes: N_k, (K,).
    variances: (R,), squared error of a count in each round; default: all alike.
    """

    participation = np.asarray(participation, float)
    rounds, clients = participation.shape
    weights = np.ones(rounds) if variances is None else 1 / np.sqrt(np.maximum(variances, 1e-12))
    _, singular, rows = np.linalg.svd(participation)
    rank = int((singular > RANK_TOLERANCE * singular[0]).sum())
    known = np.square(rows[:rank]).sum(axis=0) > 1 - 1e-6
    classes = totals.shape[1]
    # The sums over classes are exact, so they weigh far more than any estimate.
    heavy = 1e3 * weights.max()
    measured = np.kron(weights[:, None] * participation, np.eye(classes))
    summed = heavy * np.kron(np.eye(clients), np.ones((1, classes)))
    right = np.concatenate([(weights[:, None] * totals).ravel(), heavy * sizes])
    found, _ = nnls(np.vstack([measured, summed]), right)
    reasons = tuple(
        "" if ok else f"the rounds' participation has rank {rank} and does not single out this client"
        for ok in known
    )
    return Unmixed(counted(found.reshape(clients, classes), sizes).counts, rank, known, reasons)
