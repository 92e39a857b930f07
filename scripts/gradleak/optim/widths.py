"""How many trials go through one pass: as many as fit into memory and into the processor's caches."""

import resource
from collections.abc import Callable

import numpy as np

# Of the tensors that a step makes, the share that is in memory at once. Measured over batch sizes and nets:
# 0.14 to 0.42.
_ALIVE = 0.5
# Bytes of one pass, by that estimate, beyond which its tensors leave the caches and a trial takes longer. 32
# images of cnn7 take 0.1 GB (docs/results/engine.md). Below it, more trials at once only spread the fixed
# cost of a pass.
_BEST_PASS = 1.3e8
# Bytes of a pass by the bytes of its variables, for pixels under cnn7: a first guess. A bad guess costs a
# trace.
_BYTES_OF_PASS = 1000


def guess_of(variables: list[np.ndarray]) -> float:
    """Bytes of one trial, a first guess from the variables [T, ...] that it optimises."""
    return _BYTES_OF_PASS * sum(array[0].nbytes for array in variables)


def bytes_of(graph) -> float:
    """Memory that running a graph takes, an estimate."""
    outputs = (tensor for op in graph.get_operations() for tensor in op.outputs)
    return _ALIVE * sum(t.shape.num_elements() * t.dtype.size for t in outputs if t.shape.is_fully_defined())


def best_width(trials: int, memory: Callable[[int], float], free: float = np.inf, each: float = 0.0) -> int:
    """How many of ``trials`` go through one pass: as many as fit into ``free`` bytes and the caches, at least
    one.

    memory: trials of a pass -> bytes that it takes, by ``bytes_of``. It is called for few widths, since each
    call is a trace. each: bytes of one trial, a guess. Measured times would be a better criterion, but they
    differ from run to run, and the last bits of results would differ with them.
    """
    most = min(free, _BEST_PASS)
    width = even(trials, max(1, int(most / each))) if each else trials
    if width < trials:
        width = even(trials, max(1, int(width * most / memory(width))))
    while width > 1:
        taken = memory(width)
        if taken <= most:
            break
        width = even(trials, min(width - 1, max(1, int(width * most / taken))))
    return width


def even(trials: int, at_once: int) -> int:
    """Size of groups of at most ``at_once``, and at least half of it, that compute fewest trials twice."""
    at_once = min(at_once, trials)
    sizes = range(at_once, (at_once - 1) // 2, -1)
    return min(sizes, key=lambda size: -(-trials // size) * size)


def peak_memory() -> float:
    """Of this process so far, bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
