"""The optimisation loop of all attacks: T independent problems, minimised side by side.

Adam first, then, if asked for, L-BFGS from each trial's best point. Steps run in chunks inside one
compiled function; between chunks the host sees the losses, writes a checkpoint and drops trials that
have stopped. The result is each trial's best point by its objective. Trials that do not fit into memory
together go through a chunk in groups.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from gradleak.optim import adam, checkpoints, lbfgs, widths
from gradleak.optim.limits import Limits
from gradleak.optim.resources import Resources

# Dropping stopped trials means a trace for a smaller width, which does not pay with fewer chunks left.
_CHUNKS_WORTH_A_TRACE = 4


@dataclass(frozen=True)
class LoopSettings:
    """How to search. One step is one evaluation of the objective and its gradient for all trials."""

    steps: int = 500  # of Adam
    learning_rate: float = 0.05
    # sign_adam: Adam on the signs of the gradient (Geiping et al. 2020)
    optimizer: Literal["adam", "sign_adam"] = "adam"
    # step: a tenth at 3/8, 5/8 and 7/8 of the steps (Geiping et al. 2020)
    decay: Literal["none", "cosine", "step"] = "none"
    clip_norm: float | None = None  # of a trial's gradient in one variable, L2
    chunk: int = 50  # steps between two visits to the host
    polish_steps: int = 0  # of L-BFGS
    plateau: int = 0  # Adam steps without 0.1 % of improvement after which a trial stops; 0: never
    history_points: int = 200  # at most, and at least 2


@dataclass(frozen=True)
class LoopResult:
    """The results of T trials."""

    best: dict[str, np.ndarray]  # point of least objective, [T, ...] per variable
    objective: np.ndarray  # at ``best``, [T]; infinite for a diverged trial
    history_steps: np.ndarray  # [P], evaluations counted from 0
    # [T, P]: least objective since the previous point, so that first, last and minimum are all there.
    # NaN: the trial had stopped, or was not finite.
    history: np.ndarray
    status: list[str]  # "ok", or "diverged": never finite, and ``best`` is the start
    steps_taken: np.ndarray  # [T], evaluations until the trial stopped
    seconds: dict[str, float]  # "tracing" and "compute", over all restarts from checkpoints


class _Phase(NamedTuple):
    """One optimiser's share of the run."""

    first: int  # number of its first evaluation
    evaluations: int  # at most
    start: Callable[[dict, np.ndarray], dict]  # point, trials that may move [T] -> state
    step: Callable[[dict, dict, tf.Tensor], tuple[dict, tf.Tensor]]  # state, data, step -> state, loss [T]
    best: Callable[[dict], tuple[dict, np.ndarray]]  # state -> point, its loss [T]


@dataclass
class _Run:
    """The state of a run, as a checkpoint holds it. Numbers come back from disk as 0-d arrays."""

    state: dict  # of the phase's optimiser
    history: np.ndarray  # [T, P]
    taken: np.ndarray  # evaluations of each trial, [T]
    width: int  # trials computed at a time; fewer as trials stop
    phase: int = 0
    step: int = 0  # within the phase
    tracing: float = 0.0  # seconds
    compute: float = 0.0


NO_RESOURCES = Resources()


class Loop:
    """The loop for one objective: runs of equal shapes share one compiled function.

    ``objective(variables, data) -> [T]`` must not mix trials, and must accept fewer than T of them, because
    stopped trials are dropped. It must depend on nothing but its arguments and constants. ``box``: lowest and
    highest value of a variable, kept by projection.
    """

    def __init__(
        self,
        objective: Callable[[dict, dict], tf.Tensor],
        settings: LoopSettings,
        box: dict[str, tuple[float, float]] | None = None,
    ):
        self.objective, self.settings = objective, settings
        self.box = {name: (float(low), float(high)) for name, (low, high) in (box or {}).items()}
        self._compiled: dict[tuple, list[tuple[_Phase, _Chunk]]] = {}

    def run(
        self,
        start: dict[str, np.ndarray],
        data: dict[str, np.ndarray] | None = None,
        resources: Resources = NO_RESOURCES,
    ) -> LoopResult:
        """Minimise over the variables, from ``start``.

        ``start``: per variable, an array [T, ...]. ``data``: constants of the objective, with a leading axis
        of T (one entry per trial) or of 1 (shared). ``resources``: memory, checkpoints and progress. Raises
        ValueError where arrays disagree about T.
        """
        settings = self.settings
        start = {name: np.asarray(array) for name, array in start.items()}
        data = {name: np.asarray(array) for name, array in (data or {}).items()}
        trials = _count_trials(start, data)
        parts = self._phases_for(start)
        phases = [phase for phase, _ in parts]
        total = sum(phase.evaluations for phase in phases)
        marks = _history_marks(total, settings.history_points)
        limits, folder = resources.limits, resources.checkpoint
        free = limits.memory - widths.peak_memory() if limits.memory else np.inf
        facts = {"settings": asdict(settings), "box": self.box, "key": resources.key}
        fingerprint = checkpoints.digest(facts, start)

        saved = checkpoints.load(folder, fingerprint) if folder else None
        run = _Run(**saved) if saved else _begin(phases[0], start, trials, len(marks))
        for number in range(int(run.phase), len(phases)):
            phase, chunk = parts[number]
            if run.phase < number:
                point, loss = phases[number - 1].best(run.state)
                run.phase, run.step = number, 0
                run.state = phase.start(point, np.isfinite(loss))
            if run.step == 0:
                _choose_width(run, chunk, data, limits, free)
            while run.step < phase.evaluations and run.state["active"].any():
                evaluation = phase.first + int(run.step)
                losses = _advance(run, chunk, data, phase.evaluations, settings.chunk)
                _record(run.history, marks, evaluation, losses)
                if folder:
                    checkpoints.save(folder, fingerprint, vars(run))
                if resources.progress:
                    resources.progress(phase.first + run.step, total, losses[-1])
        return _result(run, phases[-1], marks)

    def _phases_for(self, start: dict[str, np.ndarray]) -> list[tuple[_Phase, _Chunk]]:
        """The phases for variables of the shapes and types in ``start``, and their compiled steps."""
        key = tuple(sorted((name, array.shape[1:], str(array.dtype)) for name, array in start.items()))
        if key not in self._compiled:
            phases = _phases(self.objective, start, self.settings, self.box)
            self._compiled[key] = [(phase, _Chunk(phase.step)) for phase in phases]
        return self._compiled[key]


def minimise(
    objective: Callable[[dict, dict], tf.Tensor],
    start: dict[str, np.ndarray],
    settings: LoopSettings,
    *,
    data: dict[str, np.ndarray] | None = None,
    box: dict[str, tuple[float, float]] | None = None,
    resources: Resources = NO_RESOURCES,
) -> LoopResult:
    """One run of a ``Loop``: minimise ``objective`` over the variables of ``start``."""
    return Loop(objective, settings, box).run(start, data, resources)


def _result(run: _Run, phase: _Phase, marks: np.ndarray) -> LoopResult:
    best, loss = phase.best(run.state)
    reached = np.isfinite(run.history).any(axis=0)
    return LoopResult(
        best=best,
        objective=loss,
        history_steps=marks[reached],
        history=run.history[:, reached],
        status=["ok" if finite else "diverged" for finite in np.isfinite(loss)],
        steps_taken=run.taken,
        seconds={"tracing": float(run.tracing), "compute": float(run.compute)},
    )


def _count_trials(start: dict, data: dict) -> int:
    """T, once every array is known to agree on it."""
    trials = len(next(iter(start.values())))
    for name, array in start.items():
        if len(array) != trials:
            raise ValueError(f"start[{name!r}] holds {len(array)} trials, others {trials}")
    for name, array in data.items():
        if len(array) not in (1, trials):
            raise ValueError(f"data[{name!r}] has a leading axis of {len(array)}, neither 1 nor {trials}")
    return trials


def _phases(objective, start: dict, settings: LoopSettings, box: dict) -> list[_Phase]:
    shapes = {name: array.shape[1:] for name, array in start.items()}
    phases = [
        _Phase(
            first=0,
            evaluations=settings.steps + 1,  # the last one judges the last step's outcome
            start=adam.start,
            step=partial(adam.step, objective=objective, settings=settings, box=box),
            best=lambda state: (state["best"], state["best_loss"]),
        )
    ]
    if settings.polish_steps:
        phases.append(
            _Phase(
                first=settings.steps + 1,
                evaluations=settings.polish_steps,
                start=lbfgs.start,
                step=partial(lbfgs.step, objective=objective, shapes=shapes, box=box),
                best=partial(lbfgs.best, shapes=shapes),
            )
        )
    return phases


def _begin(phase: _Phase, start: dict, trials: int, points: int) -> _Run:
    return _Run(
        state=phase.start(start, np.ones(trials, bool)),
        history=np.full([trials, points], np.nan, np.float32),
        taken=np.zeros(trials, int),
        width=trials,
    )


class _Chunk:
    """Some steps of an optimiser, compiled once for each shape of their arguments."""

    def __init__(self, step):
        self.step = step
        self.memory = {}  # bytes, by the number of trials: an estimate on the safe side
        self._functions = {}  # one a shape: a single function of many shapes makes TensorFlow warn

    def _function(self, state: dict, data: dict):
        key = str([(part.shape, part.dtype) for part in tf.nest.flatten((state, data))])
        if key not in self._functions:
            self._functions[key] = tf.function(lambda *given: self._steps(*given), autograph=False)
        return self._functions[key]

    def _steps(self, state, data, first, count):
        def body(i, state, losses):
            state, loss = self.step(state, data, first + i)
            self.memory[loss.shape[0]] = widths.bytes_of(tf.compat.v1.get_default_graph())
            return i + 1, state, losses.write(i, loss)

        losses = tf.TensorArray(tf.float32, size=count, element_shape=state["active"].shape)
        _, state, losses = tf.while_loop(
            lambda i, *_: i < count, body, (0, state, losses), parallel_iterations=1
        )
        return state, losses.stack()

    def __call__(self, rows: np.ndarray, state: dict, data: dict, first: int, count: int):
        """``count`` steps from number ``first`` on for some trials of a state: their state, losses [count,
        rows].
        """
        given = _of_rows(rows, state, data)
        return self._function(*given)(*given, tf.constant(first), tf.constant(count))

    def traced(self, width: int, state: dict, data: dict) -> float:
        """Bytes that the first ``width`` trials take. Nothing runs, so no graph that is too wide is
        optimised.
        """
        given = _of_rows(np.arange(width), state, data)
        self._function(*given).get_concrete_function(*given, tf.constant(0), tf.constant(0))
        return self.memory[width]


def _of_rows(rows: np.ndarray, state: dict, data: dict) -> tuple[dict, dict]:
    return (
        tf.nest.map_structure(lambda array: tf.constant(array[rows]), state),
        {name: tf.constant(array if len(array) == 1 else array[rows]) for name, array in data.items()},
    )


def _choose_width(run: _Run, chunk: _Chunk, data: dict, limits: Limits, free: float) -> None:
    """Trials of one pass on a processor with ``free`` bytes; where the memory is not known, all of them."""
    begun = time.perf_counter()
    trials = len(run.state["active"])
    if limits.at_once:
        run.width = widths.even(trials, limits.at_once)
    elif not np.isfinite(free):
        run.width = trials
    else:
        each = widths.guess_of(tf.nest.flatten(run.state["x"]))
        run.width = widths.best_width(trials, lambda width: chunk.traced(width, run.state, data), free, each)
    run.tracing += time.perf_counter() - begun


def _advance(run: _Run, chunk: _Chunk, data: dict, evaluations: int, size: int) -> np.ndarray:
    """Run one chunk and bring ``run`` up to date; returns losses [count, T], see ``batched.reported``."""
    active = run.state["active"]
    count = min(size, evaluations - int(run.step))
    if evaluations - run.step >= _CHUNKS_WORTH_A_TRACE * size:
        run.width = _narrowed(int(run.width), active.sum())
    losses = np.full([count, len(active)], np.nan, np.float32)
    advanced = tf.nest.map_structure(np.copy, run.state)
    for rows in _groups(active, int(run.width)):
        given = (rows, run.state, data, int(run.step))
        begun = time.perf_counter()
        chunk(*given, 0)  # traces and optimises the graph if this width is new
        traced = time.perf_counter()
        state, computed = chunk(*given, count)
        losses[:, rows] = computed.numpy()
        run.tracing += traced - begun
        run.compute += time.perf_counter() - traced
        tf.nest.map_structure(partial(_put, rows), advanced, state)
    run.state = advanced
    run.taken = run.taken + (~np.isnan(losses)).sum(axis=0)
    run.step = int(run.step) + count
    return losses


def _groups(active: np.ndarray, width: int) -> list[np.ndarray]:
    """All trials that still run, ``width`` at a time; the last group is filled up with others, in a fixed
    order.
    """
    order = np.argsort(~active, kind="stable")
    starts = np.minimum(np.arange(0, active.sum(), width), len(active) - width)
    return [np.sort(order[start : start + width]) for start in starts]


def _narrowed(width: int, active: int) -> int:
    """Width to compute at: a quarter as often as the running trials allow, so that few widths are ever
    traced.
    """
    while width > 1 and (width + 3) // 4 >= active:
        width = (width + 3) // 4
    return width


def _put(rows: np.ndarray, array: np.ndarray, new: tf.Tensor) -> None:
    array[rows] = new.numpy()


def _history_marks(total: int, points: int) -> np.ndarray:
    """Evaluations that end a stretch of history: the first and the last stand alone, the rest is even."""
    inner = np.linspace(0, max(total - 2, 0), max(points, 2) - 1).round().astype(int)
    return np.union1d(inner, [total - 1])


def _record(history: np.ndarray, marks: np.ndarray, first: int, losses: np.ndarray) -> None:
    """Lower ``history`` [T, P] to the losses [count, T] of evaluations ``first`` and on, where they are
    finite.
    """
    points = np.searchsorted(marks, np.arange(first, first + len(losses)))
    np.fmin.at(history.T, points, np.where(np.isfinite(losses), losses, np.nan))
