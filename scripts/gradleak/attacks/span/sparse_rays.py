"""Members' features as sparse extreme rays of the nonnegative cone in the column space of M, by linear
programs.

Behind a ReLU every member's feature f is nonnegative with many zeros, and lies in the column space of M. A
mixture of members has hardly a zero there. So f is an extreme ray of the cone {M a ≥ 0}, and one of the
sparsest. The programs have as many variables as M has rank: least sum of entries with one entry held fixed
(sparse vectors in a subspace: Spielman et al. 2012, Qu et al. 2014), then reweighted towards zeros (Candès et
al. 2008). They need no label, no public data, no image and no derivative.
"""

from __future__ import annotations

import highspy
import numpy as np

from gradleak.attacks.span import thresholds
from gradleak.attacks.span.subspace import Subspace


def rays(
    span: Subspace, count: int, rng: np.random.Generator, similar: np.ndarray | None = None
) -> np.ndarray:
    """Up to ``count`` different unit vectors [K, I] in the strong part of ``span``, nonnegative, the sparsest
    first.

    The features of ``span``'s layer are never negative. similar: features [L, I] of images like the members,
    such as public ones. Half of the programs start from a row of M; the others from the projection of one of
    ``similar`` onto the span. A span of many members has many more rays than members, and these starts lead
    to rays that resemble features.
    """
    strong = max(int((span.values > thresholds.RAY_STRENGTH * span.noise).sum()), 1)
    columns, values = span.left[:, :strong], span.values[:strong]
    inputs, outputs, noise = len(span.left), len(span.right), span.deviation
    alive = np.linalg.norm(columns * values, axis=1) > thresholds.RAY_ROW_NOISE * noise * np.sqrt(outputs)
    if alive.sum() <= strong:
        return np.zeros((0, inputs))
    rows = columns[alive]
    program, solutions = _Program(rows), []
    for fixed, cost in _starts(rows, columns, count, rng, similar):
        program.fix(fixed)
        ray = _sparsest(program, rows, values, noise, cost)
        if ray is not None:
            solutions.append(ray)
    return distinct(np.array(solutions).reshape(-1, strong) @ columns.T)


def _sparsest(
    program: _Program, rows: np.ndarray, values: np.ndarray, noise: float, cost: np.ndarray
) -> np.ndarray | None:
    """The solution [R] after reweighting, from the first ``cost`` [R]; None where there is none."""
    ray = program.minimum(cost, 0.0)
    for _ in range(thresholds.RAY_REWEIGHTINGS):
        if ray is None:
            break
        slack = float(thresholds.RAY_SLACK * noise * np.linalg.norm(ray / values))
        last, ray = ray, program.minimum(_reweighted(rows, ray), slack)
        if ray is not None and last @ ray > thresholds.RAY_CONVERGED:
            break
    return ray


def _starts(
    rows: np.ndarray, columns: np.ndarray, count: int, rng: np.random.Generator, similar: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each ray the functional that is held fixed and the first cost, both [R]."""
    of_similar = 0 if similar is None else min(count // 2, len(similar))
    picked = rng.choice(len(rows), min(count - of_similar, len(rows)), replace=False)
    starts = [(rows[row] / np.linalg.norm(rows[row]), rows.sum(axis=0)) for row in picked]
    if similar is None or not of_similar:
        return starts
    for index in rng.choice(len(similar), of_similar, replace=False):
        projection = similar[index] @ columns
        projection /= np.linalg.norm(projection)
        starts.append((projection, _reweighted(rows, projection)))
    return starts


def _reweighted(rows: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """The cost [R]: a sum of entries, each weighted by the inverse of its present size."""
    entries = rows @ ray
    return (1 / (np.maximum(entries, 0) + thresholds.RAY_SOFTENING * np.abs(entries).max())) @ rows


def distinct(vectors: np.ndarray) -> np.ndarray:
    """One of each group of similar unit vectors [B, I], the sparsest first, by their sum."""
    chosen: list[np.ndarray] = []
    for vector in vectors[np.argsort(vectors.sum(axis=1), kind="stable")]:
        if not chosen or (np.array(chosen) @ vector).max() < thresholds.RAY_SAME:
            chosen.append(vector)
    return np.array(chosen).reshape(-1, vectors.shape[1])


class _Program:
    """Minimise cost·a over a [R] subject to rows·a ≥ −slack and fixed·a = 1. Each solution is the start of
    the next."""

    def __init__(self, rows: np.ndarray):
        self.count, self.size = rows.shape
        everything = np.concatenate([rows, np.zeros((1, self.size))])
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = self.size, self.count + 1
        program.col_cost_ = np.zeros(self.size)
        program.col_lower_, program.col_upper_ = np.full(self.size, -np.inf), np.full(self.size, np.inf)
        program.row_lower_ = np.append(np.zeros(self.count), 1.0)
        program.row_upper_ = np.append(np.full(self.count, np.inf), 1.0)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.arange(self.count + 2) * self.size
        program.a_matrix_.index_ = np.tile(np.arange(self.size), self.count + 1)
        program.a_matrix_.value_ = everything.ravel()
        self.solver = highspy.Highs()
        for name, value in (
            ("output_flag", False),
            ("threads", 1),
            ("presolve", "off"),
            ("solver", "simplex"),
        ):
            self.solver.setOptionValue(name, value)
        self.solver.passModel(program)
        self.rows = np.arange(self.count, dtype=np.int32)
        self.columns = np.arange(self.size, dtype=np.int32)

    def fix(self, fixed: np.ndarray) -> None:
        for column, value in enumerate(fixed):
            self.solver.changeCoeff(self.count, column, float(value))

    def minimum(self, cost: np.ndarray, slack: float) -> np.ndarray | None:
        """The solution as a unit vector; None where there is none."""
        self.solver.changeRowsBounds(  # type: ignore[attr-defined]  # missing in the stub of highspy
            self.count, self.rows, np.full(self.count, -slack), np.full(self.count, np.inf)
        )
        self.solver.changeColsCost(self.size, self.columns, cost)
        self.solver.run()
        if self.solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = np.array(self.solver.getSolution().col_value)
        length = np.linalg.norm(solution)
        return solution / length if length > 0 else None
