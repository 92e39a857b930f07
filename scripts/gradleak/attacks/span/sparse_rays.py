"""Members' features found without any image: sparse rays of the cone that a nonnegative layer leaves of its span.

Behind a ReLU every member's feature f is nonnegative and zero in many places, and all of them lie in the column space of
M. Of the vectors in that space a mixture of members has hardly a zero, and a member has hundreds: it is an extreme ray of
the cone {M a ≥ 0}, and one of the sparsest. Such rays are found by linear programs, in as many variables as M has rank:
the least sum of entries with one entry held fixed (sparse vectors in a subspace: Spielman et al. 2012, Qu et al. 2014),
then reweighted towards zeros (Candès et al. 2008). No label, no public data and no derivative of the model is needed.
"""

from __future__ import annotations

import highspy
import numpy as np

from gradleak.attacks.span.subspace import Subspace

_STRONG = 10.0  # times the noise: a singular value below it has directions too rough to ask for signs
_LIVE = 10.0  # times the noise of a row: below it a row of M is zero for all members
_SLACK = 5.0  # times the noise of an entry, by which a member's zero may come out negative
_REWEIGHTED = 5  # times at most
_SOFT = 1e-2  # of a ray's largest entry: what counts as nearly zero
_SETTLED = 1 - 1e-8  # cosine
_ALIKE = 0.995  # cosine of two rays that are taken for one


def rays(span: Subspace, count: int, rng: np.random.Generator, likes: np.ndarray | None = None) -> np.ndarray:
    """Up to ``count`` different unit vectors [K, I] in the strong part of ``span``, nonnegative and sparse; the sparsest first.

    ``span`` is of a layer whose inputs are never negative. likes: features [L, I] of images like the members, such as public
    ones. Each ray is sought from one row of M or, every other one, from what the span holds of one of ``likes``: where many
    members share a span it has many more rays than members, and these lead to rays that look like features.
    """
    strong = max(int((span.values > _STRONG * span.noise).sum()), 1)
    columns, values = span.left[:, :strong], span.values[:strong]
    inputs, outputs, noise = len(span.left), len(span.right), span.deviation
    alive = np.linalg.norm(columns * values, axis=1) > _LIVE * noise * np.sqrt(outputs)
    if alive.sum() <= strong:
        return np.zeros((0, inputs))
    rows = columns[alive]
    program, found = _Program(rows), []
    for held, cost in _beginnings(rows, columns, count, rng, likes):
        program.hold(held)
        ray = program.least(cost, 0.0)
        for _ in range(_REWEIGHTED):
            if ray is None:
                break
            last, ray = (
                ray,
                program.least(_towards_zeros(rows, ray), _SLACK * noise * np.linalg.norm(ray / values)),
            )
            if ray is not None and last @ ray > _SETTLED:
                break
        if ray is not None:
            found.append(ray)
    return distinct(np.array(found).reshape(-1, strong) @ columns.T)


def _beginnings(
    rows: np.ndarray, columns: np.ndarray, count: int, rng: np.random.Generator, likes: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What to hold fixed and what to make least, both [R], for each ray."""
    liked = 0 if likes is None else min(count // 2, len(likes))
    picked = rng.choice(len(rows), min(count - liked, len(rows)), replace=False)
    found = [(rows[row] / np.linalg.norm(rows[row]), rows.sum(axis=0)) for row in picked]
    for like in rng.choice(len(likes), liked, replace=False) if liked else ():
        inside = likes[like] @ columns
        inside /= np.linalg.norm(inside)
        found.append((inside, _towards_zeros(rows, inside)))
    return found


def _towards_zeros(rows: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """The sum of entries in which those count most that are nearly zero now."""
    reached = rows @ ray
    return (1 / (np.maximum(reached, 0) + _SOFT * np.abs(reached).max())) @ rows


def distinct(vectors: np.ndarray) -> np.ndarray:
    """One of each kind of the unit vectors [B, I], the sparsest first: by their sum, which is least for them."""
    kept: list[np.ndarray] = []
    for vector in vectors[np.argsort(vectors.sum(axis=1), kind="stable")]:
        if not kept or (np.array(kept) @ vector).max() < _ALIKE:
            kept.append(vector)
    return np.array(kept).reshape(-1, vectors.shape[1])


class _Program:
    """minimise cost·a over a [R] with rows·a ≥ −slack and held·a = 1; warm from one solution to the next."""

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

    def hold(self, held: np.ndarray) -> None:
        for column, value in enumerate(held):
            self.solver.changeCoeff(self.count, column, float(value))

    def least(self, cost: np.ndarray, slack: float) -> np.ndarray | None:
        """The solution as a unit vector; None where there is none."""
        self.solver.changeRowsBounds(
            self.count, self.rows, np.full(self.count, -slack), np.full(self.count, np.inf)
        )
        self.solver.changeColsCost(self.size, self.columns, cost)
        self.solver.run()
        if self.solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = np.array(self.solver.getSolution().col_value)
        length = np.linalg.norm(solution)
        return solution / length if length > 0 else None
