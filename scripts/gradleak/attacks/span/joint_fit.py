"""Members refined together, so that what they leave of the update shows those that are hidden behind them.

Where a batch's δ span fewer dimensions than it has members, most features are in the column space of M only in sums, and
no search finds them there. But M − (1/N) Σ f δᵀ over the members that are known is the sum of the others alone: once the
known ones are exact to the noise, the others lie open. So known images are moved together until the rest has no more than
the N − K directions that K known members leave, or fewer (``faint``): Gauss–Newton on the trailing singular values, where
the rest's leading ones are free (variable projection: Golub & Pereyra 1973), on the pixels near those that are lit, within
[0, 1], each image no farther than its ρ says that it may be off. Which of the layer's units are on for an image is settled
apart: a unit that switches makes δ jump, which no derivative knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.ndimage import maximum_filter
from scipy.sparse.linalg import LinearOperator, lsmr

from gradleak.attacks.span import membership
from gradleak.attacks.span.dense_layer import Host
from gradleak.attacks.span.starting_images import features, slopes
from gradleak.attacks.span.subspace import Subspace, of_matrix

_ERROR = 1.5  # of a found image's pixels (RMS), in √ρ: what it was on the trained nets tried
_EXACT = 1e-6  # least error that an image is said to have
_LIT = 2.0  # times an image's error: a pixel that is darker, with all its neighbours, stays black
_STEP = 1e-5  # of the differences that the Jacobians are made of
_SIDE = 1e-9  # how far from zero a unit's input is held on its side
_SWITCHED = (
    0.2  # of what an image's error may move a unit's input: nearer to zero, the unit may be the wrong way
)
_WORTH = 0.99  # a switch must lower the misfit at least to that share of it
_ITERATIONS = 80  # of least squares
_BOUNDS = 3  # solutions of a step, each with more pixels at their bounds
_TRIES = 3  # of a step, each with less trust
_FITTED = 1.3  # times what noise leaves: nothing more to explain
_SETTLED = 0.97  # share of a step's misfit above which there is no point in another
_MISSED = 0.45  # of what χ² can grow by without an image: one that is missed less is set free
_MOST_FREE = 0.75  # of M's directions, that the rest may have for itself
_LARGEST = 2**31  # bytes of Jacobians


@dataclass
class Known:
    """K images that are taken for members. O outputs of the host.

    images: float64 [K, H, W, C]. labels: int [K]. error: [K], how far off their pixels may be (RMS). on: bool [K, O], which
    of the host's units they activate.
    """

    images: np.ndarray
    labels: np.ndarray
    error: np.ndarray
    on: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def chosen(self, which: np.ndarray) -> Known:
        return Known(self.images[which], self.labels[which], self.error[which], self.on[which])

    def with_(self, others: Known) -> Known:
        return Known(
            *(np.concatenate(pair) for pair in zip(vars(self).values(), vars(others).values(), strict=True))
        )


class Joint:
    """The refinement of one update's members."""

    def __init__(self, host: Host, span: Subspace, samples: int):
        """host: in float64, its outputs behind a ReLU (``switches``). samples: N."""
        self.host, self.span, self.samples, self.matrix = host, span, samples, span.matrix
        self.rows = span.right[:, span.values > span.noise]  # Q [O, R]
        self.inputs = len(host.weights)
        self.alive = int(span.matrix.any(axis=1).sum())  # what is zero for all members comes without noise
        self.trust = 1.0
        self.faint = 0  # of the members that are missing so many, half of them at most, leave no direction of their own

    def directions(self, known: Known) -> int:
        """How many the rest of ``known`` has, in which it is free."""
        return self.samples - len(known) - min(self.faint, self.most_faint(known))

    def most_faint(self, known: Known) -> int:
        """As which ``faint`` counts at most."""
        return (self.samples - len(known)) // 2

    def possible(self, known: Known) -> bool:
        """Whether the members that are missing leave any direction to fit ``known`` in, and Jacobians of all can be held in memory."""
        if not len(known):
            return False
        size = 8 * self.samples * len(self.span.left) * known.images[0].size
        return self.directions(known) < self.rows.shape[1] and size < _LARGEST

    def known(self, images: np.ndarray, labels: np.ndarray, residual: np.ndarray) -> Known:
        """``images`` [K, H, W, C] with their ρ [K]."""
        images = np.where(images < 10 * _STEP, 0.0, images)
        on = (
            self._inputs(features(self.host, images)) > 0
            if len(images)
            else np.zeros((0, len(self.host.offset)), bool)
        )
        return Known(images, labels, np.maximum(_ERROR * np.sqrt(residual), _EXACT), on)

    def features(self, known: Known) -> np.ndarray:
        """[K, I]."""
        return features(self.host, known.images) if len(known) else np.zeros((0, len(self.span.left)))

    def each_alone(self, known: Known) -> Iterator[Subspace]:
        """For each of ``known`` what all the others leave, of which only its own feature and δ should be new."""
        (values, signals), noise = self._terms(known), self.noise(known)
        for index in range(len(known)):
            others = np.arange(len(known)) != index
            yield of_matrix(self._less(values[others], signals[others]), noise)

    def rest(self, known: Known) -> np.ndarray:
        """M − (1/N) Σ f δᵀ over ``known`` [I, O]."""
        return self._less(*self._terms(known))

    def misfit(self, known: Known) -> float:
        """χ: what ``rest`` has beyond its leading ``directions``, in standard deviations of an entry's noise."""
        return self._trailing(self.rest(known) @ self.rows, self.directions(known))

    def explained(self, misfit: float, known: Known) -> bool:
        """Whether χ, of what ``known`` leave, is no more than noise would be."""
        directions = self.directions(known)
        return misfit < _FITTED * np.sqrt((self.alive - directions) * (self.rows.shape[1] - directions))

    def refined(self, known: Known, steps: int, progress: Callable[..., None] | None = None) -> Known:
        """``known`` after ``steps`` at most."""
        self.trust = 1.0
        for number in range(steps):
            lit = _lit(known)
            known = self._switched(
                Known(np.where(lit, known.images, 0.0), known.labels, known.error, known.on)
            )
            system = _Linear(self, known, lit)
            known, after = self._step(known, system)
            if progress:
                progress("step %d over %d images together: misfit %.3g", number + 1, len(known), after)
            if self.explained(after, known) or after > _SETTLED * system.misfit:
                break
        return known

    def relabelled(self, known: Known) -> Known:
        """``known``, those of another class that weigh N under it, and not under their own, in what all others leave.

        No derivative knows of labels, and a wrong one is made up for by moving all others.
        """
        values = self.features(known)
        signals, labels = self.host.signals(values), known.labels.copy()
        for k, span in enumerate(self.each_alone(known)):
            weights = span.weigh(np.repeat(values[[k]], len(signals[k]), axis=0), signals[k])
            labels[k] = membership.label_by_weight(labels[k], *weights, self.samples)
        return Known(known.images, labels, known.error, known.on)

    def needed(self, known: Known) -> np.ndarray:
        """bool [K]: all but those that the fit does better without, as far as they can be spared.

        One image that is off is made up for by moving all others. Without the images that are missed least the others become
        exact, and then the rest shows those again, sharper, beside others that were hidden.
        """
        missed = self.missed(known)
        spare = int(_MOST_FREE * self.rows.shape[1]) - self.directions(known)
        order = np.argsort(missed, kind="stable")[: max(spare, 0)]
        needed = np.ones(len(known), bool)
        needed[order[missed[order] < _MISSED]] = False
        return needed

    def missed(self, known: Known) -> np.ndarray:
        """[K]: what χ² would grow by without each image, as a share of the most that it can. 0: it explains nothing.

        One image more in the rest takes one of the rest's free ``directions``, and pushes out at most the weakest of them.
        """
        values, signals = self._terms(known)
        rest, directions = self._less(values, signals) @ self.rows, self.directions(known)
        squares = np.square(np.linalg.svd(rest, compute_uv=False) / self.span.deviation)
        now = squares[directions:].sum()
        most = squares[directions - 1] if directions else now
        terms = zip(values, signals @ self.rows, strict=True)
        without = np.array(
            [self._trailing(rest + np.outer(f, d) / self.samples, directions) for f, d in terms]
        )
        return (without**2 - now) / most

    def noise(self, known: Known) -> float:
        """Spectral norm of what is not members in ``rest``: the update's own noise, or what errors of ``known`` leave."""
        values = np.linalg.svd(self.rest(known), compute_uv=False)
        return max(self.span.noise, float(values[min(self.directions(known), len(values) - 1)]))

    def _inputs(self, values: np.ndarray) -> np.ndarray:
        """What the units are given [K, O], for features [K, I]."""
        return values[:, : self.inputs] @ self.host.weights + self.host.offset

    def _held(self, values: np.ndarray, on: np.ndarray) -> np.ndarray:
        """``_inputs`` less the bias, every unit's on its side."""
        given = self._inputs(values)
        return np.where(on, np.maximum(given, _SIDE), np.minimum(given, -_SIDE)) - self.host.offset

    def _terms(self, known: Known) -> tuple[np.ndarray, np.ndarray]:
        """Features [K, I] and δ [K, O]."""
        values = self.features(known)
        return values, self.host.signal_at(self._held(values, known.on), known.labels).numpy()

    def _less(self, values: np.ndarray, signals: np.ndarray) -> np.ndarray:
        """M [I, O] less the terms of features [K, I] and δ [K, O]."""
        return self.matrix - values.T @ signals / self.samples

    def _trailing(self, matrix: np.ndarray, directions: int) -> float:
        values = np.linalg.svd(matrix, compute_uv=False)
        return float(np.sqrt(np.square(values[directions:]).sum()) / self.span.deviation)

    def _switched(self, known: Known) -> Known:
        """``known`` with those doubtful units switched, the best first, that lower χ."""
        values, signals = self._terms(known)
        rest, directions = self._less(values, signals) @ self.rows, self.directions(known)
        reach = (
            np.linalg.norm(self.host.weights, axis=0)
            * np.linalg.norm(values, axis=1)[:, None]
            * known.error[:, None]
        )
        given = self._inputs(values)
        doubtful = np.argwhere((np.abs(given) < _SWITCHED * reach) | ((given > 0) != known.on))
        if not len(doubtful):
            return known
        image, unit = doubtful.T
        on = known.on[image]
        on[np.arange(len(unit)), unit] ^= True
        change = (
            self.host.signal_at(self._held(values[image], on), known.labels[image]).numpy() - signals[image]
        )
        change, terms, on = change @ self.rows, values[image] / self.samples, known.on.copy()
        left = np.ones(len(unit), bool)
        now = self._trailing(rest, directions)
        while left.any():
            # Singular values of rest − t cᵀ by its Gram matrix, for all switches at once.
            across = terms[left] @ rest
            crossed = across[:, :, None] * change[left][:, None, :]
            own = (
                np.square(terms[left]).sum(axis=1)[:, None, None]
                * change[left][:, :, None]
                * change[left][:, None, :]
            )
            squares = np.linalg.eigvalsh(rest.T @ rest - crossed - crossed.transpose(0, 2, 1) + own)
            trailing = np.maximum(squares[:, : squares.shape[1] - directions], 0).sum(axis=1)
            best = int(np.flatnonzero(left)[trailing.argmin()])
            switched = rest - np.outer(terms[best], change[best])
            after = self._trailing(switched, directions)
            if after > _WORTH * now:
                break
            rest, now = switched, after
            on[image[best], unit[best]] ^= True
            left &= image != image[best]  # its δ is another now
        return Known(known.images, known.labels, known.error, on)

    def _step(self, known: Known, system: _Linear) -> tuple[Known, float]:
        """One Gauss–Newton step from ``known``, around which ``system`` is linear, and χ after it."""
        before = system.misfit
        best = known, before
        for _ in range(_TRIES):
            wanted = system.solution(known.error / max(1.0, self.trust * system.level))
            for share in (1.0, 0.4):
                moved = Known(system.moved(known.images, share * wanted), known.labels, known.error, known.on)
                after = self.misfit(moved)
                if after < best[1]:
                    best = moved, after
                if after < 0.85 * before:
                    break
            if best[1] < _SETTLED * before:
                self.trust *= 0.6 if share == 1.0 and best[1] < 0.8 * before else 1.6
                break
            self.trust *= 4.0
        return best


def _lit(known: Known) -> np.ndarray:
    """bool [K, H, W, 1]: pixels that are not black for all that is known."""
    brightest = np.stack([maximum_filter(image.max(axis=-1), size=3) for image in known.images])
    return (brightest > _LIT * known.error[:, None, None])[..., None]


class _Linear:
    """χ near some images, linear in their lit pixels: the least squares of one step. P pixels an image at most.

    Moving image k by x changes N·rest by −(J x) δᵀ − f (B Wᵀ J x)ᵀ, J = ∂f/∂x and B = ∂δ/∂(what the units are given). What
    lies along the rest's leading directions, on its left or on its right, is free.
    """

    def __init__(self, joint: Joint, known: Known, lit: np.ndarray):
        """lit: bool [K, H, W, 1], the pixels that may move."""
        host = joint.host
        values, signals = joint._terms(known)
        rest = joint._less(values, signals) @ joint.rows
        left, sizes, right = np.linalg.svd(rest, full_matrices=False)
        directions = joint.directions(known)
        self.misfit = float(np.sqrt(np.square(sizes[directions:]).sum()) / joint.span.deviation)
        self._choose(known, np.broadcast_to(lit, known.images.shape).reshape(len(known), -1))
        self.jacobian = self._jacobian(host, known, values)
        self.alive = alive = (self.jacobian != 0).any(axis=(0, 2)) | (values > 0).any(axis=0)
        self.jacobian = self.jacobian[:, alive]
        self.left, self.right = left[alive, :directions], right[:directions].T
        self.values, self.signals = values[:, alive], signals @ joint.rows
        self.bends = host.curvature_at(joint._held(values, known.on), known.labels).numpy() @ joint.rows
        self.kernel = host.weights[np.flatnonzero(alive[: joint.inputs])]
        self.scale = joint.samples * joint.span.deviation
        self.target = self._free(rest[alive]) / joint.span.deviation
        self.level = self.misfit / np.sqrt(self.target.size)

    def _choose(self, known: Known, lit: np.ndarray) -> None:
        """Numbers of every image's lit pixels [K, P], filled up with any; which are none (bool [K, P])."""
        most = int(lit.sum(axis=1).max())
        self.pixels = np.argsort(~lit, axis=1, kind="stable")[:, :most]
        self.padding = ~np.take_along_axis(lit, self.pixels, axis=1)
        self.start = np.take_along_axis(known.images.reshape(len(known), -1), self.pixels, axis=1)

    def _jacobian(self, host: Host, known: Known, values: np.ndarray) -> np.ndarray:
        """float32 [K, I, P], by differences into [0, 1]."""
        out = np.zeros((len(known), values.shape[1], self.pixels.shape[1]), np.float32)
        for k, image in enumerate(known.images):
            lit = self.pixels[k, ~self.padding[k]]
            out[k, :, : len(lit)] = slopes(host, image, values[k], lit, _STEP).T
        return out

    def _free(self, matrix: np.ndarray) -> np.ndarray:
        matrix = matrix - self.left @ (self.left.T @ matrix)
        return matrix - (matrix @ self.right) @ self.right.T

    def _change(self, moves: np.ndarray) -> np.ndarray:
        """−d rest / σ for changes of the features [K, I]."""
        bent = np.einsum("koq,ko->kq", self.bends, moves[:, : len(self.kernel)] @ self.kernel)
        return self._free(moves.T @ self.signals + self.values.T @ bent) / self.scale

    def _back(self, matrix: np.ndarray) -> np.ndarray:
        """The adjoint of ``_change``: [K, I]."""
        matrix = self._free(matrix) / self.scale
        moves = self.signals @ matrix.T
        moves[:, : len(self.kernel)] += (
            np.einsum("koq,kq->ko", self.bends, self.values @ matrix) @ self.kernel.T
        )
        return moves

    def _times(self, jacobian: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        return np.matmul(jacobian, pixels[:, :, None].astype(np.float32))[:, :, 0].astype(float)

    def _times_transposed(self, jacobian: np.ndarray, moves: np.ndarray) -> np.ndarray:
        return np.matmul(jacobian.transpose(0, 2, 1), moves[:, :, None].astype(np.float32))[:, :, 0]

    def solution(self, error: np.ndarray) -> np.ndarray:
        """Changes of the pixels [K, P] of least χ² + Σ ‖x‖²/error² (``error`` [K]) that leave all within [0, 1]."""
        downhill = self._times_transposed(self.jacobian, self._back(self.target))
        held = self.padding | ((self.start <= 0) & (downhill <= 0)) | ((self.start >= 1) & (downhill >= 0))
        fixed = np.zeros_like(self.start)
        for _ in range(_BOUNDS):
            target = self.target - self._change(self._times(self.jacobian, fixed))
            change = self._least(target, held, error) + fixed
            low, high = (self.start + change < 0) & ~held, (self.start + change > 1) & ~held
            if not (low | high).any():
                break
            fixed[low], fixed[high] = -self.start[low], 1 - self.start[high]
            held |= low | high
        return np.clip(self.start + change, 0, 1) - self.start

    def _least(self, target: np.ndarray, held: np.ndarray, error: np.ndarray) -> np.ndarray:
        """The least squares without bounds; pixels ``held`` do not move. Preconditioned by each image's own normal equations."""
        count, pixels = held.shape
        jacobian = self.jacobian * ~held[:, None, :]
        kept = self.signals - (self.signals @ self.right) @ self.right.T
        inverse = np.empty((count, pixels, pixels), np.float32)
        left = self.left.astype(np.float32)
        for k in range(count):
            own = jacobian[k] - left @ (left.T @ jacobian[k])
            normal = (own.T @ own).astype(float) * (kept[k] @ kept[k]) / self.scale**2 + np.eye(
                pixels
            ) / error[k] ** 2
            inverse[k] = solve_triangular(np.linalg.cholesky(normal), np.eye(pixels), lower=True).T
        moves, prior = np.matmul(jacobian, inverse), inverse / error[:, None, None].astype(np.float32)

        def forward(unknown: np.ndarray) -> np.ndarray:
            unknown = unknown.reshape(count, pixels)
            return np.concatenate(
                [self._change(self._times(moves, unknown)).ravel(), self._times(prior, unknown).ravel()]
            )

        def backward(residuals: np.ndarray) -> np.ndarray:
            data, rest = (
                residuals[: target.size].reshape(target.shape),
                residuals[target.size :].reshape(count, pixels),
            )
            return (
                (self._times_transposed(moves, self._back(data)) + self._times_transposed(prior, rest))
                .ravel()
                .astype(float)
            )

        size = count * pixels
        operator = LinearOperator((target.size + size, size), matvec=forward, rmatvec=backward, dtype=float)
        right = np.concatenate([target.ravel(), np.zeros(size)])
        found = lsmr(operator, right, maxiter=_ITERATIONS, atol=1e-9, btol=1e-9)[0].reshape(count, pixels)
        change = self._times(inverse, found)
        change[held] = 0
        return change

    def moved(self, images: np.ndarray, change: np.ndarray) -> np.ndarray:
        """``images`` [K, H, W, C] with ``change`` [K, P] added."""
        flat = images.reshape(len(images), -1).copy()
        for image, pixels, padding, values in zip(
            flat, self.pixels, self.padding, self.start + change, strict=True
        ):
            image[pixels[~padding]] = values[~padding]
        return flat.reshape(images.shape)
