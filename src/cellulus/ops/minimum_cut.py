"""The best choice of voxels where each has its gain and neighbours had rather agree: a minimum cut.

Chosen are the voxels for which the sum of their gains, less the ties between chosen and not chosen
neighbours, is greatest; of several such choices the smallest. This is a binary Markov random
field, solved exactly by a maximum flow. What is certain whatever the rest may be is settled first,
which leaves few voxels and changes nothing. Neighbours share a face; nothing lies beyond the edge,
and nothing wraps. More gain anywhere never makes the choice smaller.

Source: Greig, Porteous & Seheult 1989, doi:10.1111/j.2517-6161.1989.tb01764.x. Knows nothing of
images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from cellulus.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LARGEST = 2**27
"""Of gains and ties: sums over a voxel and its neighbours fit into 32 bits."""

_OPEN, _CHOSEN, _LEFT = 0, 1, 2


def choose(gain: NDArray[np.int32], ties: Sequence[NDArray[np.int32]]) -> NDArray[np.bool_]:
    """Return the choice.

    Parameters
    ----------
    gain
        What choosing a voxel is worth, ``(*S)``, at most three axes; negative where it costs.
    ties
        Per axis, what it costs if a voxel and the next one along it differ: of shape `S`, one
        less along that axis; not negative.

    Returns
    -------
    chosen
        ``(*S)``.

    Raises
    ------
    InputError
        If a tie is negative, or a number too large.
    """
    if any(tie.min(initial=0) < 0 for tie in ties):
        raise InputError("ties", expected="none below 0", found="negative ones")
    largest = max(int(np.abs(numbers).max(initial=0)) for numbers in (gain, *ties))
    if largest > LARGEST:
        raise InputError("gain", expected=f"numbers up to {LARGEST}", found=str(largest))
    shape = (1,) * (3 - gain.ndim) + gain.shape
    steps = np.array([shape[1] * shape[2], shape[2], 1])
    forward = np.zeros((3, gain.size), np.int32)
    for axis, tie in enumerate(ties, 3 - gain.ndim):
        target = forward[axis].reshape(gain.shape)
        target[tuple(slice(0, n) for n in tie.shape)] = tie
    # The last voxel of a row has no tie to the next one, which is that of the next row.
    state = np.zeros(gain.size, np.uint8)
    _settle(gain.ravel(), forward, steps, state)
    _solve(gain.ravel(), forward, steps, state)
    chosen: NDArray[np.bool_] = (state == _CHOSEN).reshape(gain.shape)
    return chosen


def _solve(
    gain: NDArray[np.int32],
    forward: NDArray[np.int32],
    steps: NDArray[np.int64],
    state: NDArray[np.uint8],
) -> None:
    """Decide what is open by a maximum flow from what gains to what costs."""
    voxels = np.flatnonzero(state == _OPEN)
    if not voxels.size:
        return
    count = voxels.size
    source, sink = count, count + 1
    number = np.full(gain.size, -1, np.int32)
    number[voxels] = np.arange(count, dtype=np.int32)
    balance = gain[voxels].astype(np.int64)
    edges = []
    for axis, step in enumerate(steps):
        for there, tie in _neighbours(voxels, forward[axis], int(step)):
            balance += tie * ((state[there] == _CHOSEN).astype(int) - (state[there] == _LEFT))
            joined = (state[there] == _OPEN) & (tie > 0)
            edges.append((np.flatnonzero(joined), number[there[joined]], tie[joined]))
    rich, poor = np.flatnonzero(balance > 0), np.flatnonzero(balance < 0)
    edges.append((np.full(rich.size, source), rich, balance[rich]))
    edges.append((poor, np.full(poor.size, sink), -balance[poor]))
    row, column, capacity = (np.concatenate(part) for part in zip(*edges, strict=True))
    places = (row.astype(np.int32), column.astype(np.int32))
    graph = coo_array((capacity.astype(np.int32), places), shape=(count + 2, count + 2)).tocsr()
    rest = graph - maximum_flow(graph, source, sink).flow
    rest.eliminate_zeros()
    reached = breadth_first_order(rest, source, return_predecessors=False)
    state[voxels] = _LEFT
    state[voxels[reached[reached < count]]] = _CHOSEN


def _neighbours(
    voxels: NDArray[np.int64], forward: NDArray[np.int32], step: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the next and the previous voxels, and the ties to them; without any where none is."""
    after, before = voxels + step, voxels - step
    size = forward.size
    to_next = forward[voxels].astype(np.int64)
    to_last = np.where(before >= 0, forward[np.maximum(before, 0)], 0).astype(np.int64)
    return [(np.minimum(after, size - 1), to_next), (np.maximum(before, 0), to_last)]


@njit(cache=True, nogil=True)
def _settle(gain: Any, forward: Any, steps: Any, state: Any) -> None:
    """Decide each voxel that no choice of its open neighbours could change, until none is left."""
    waiting = np.arange(gain.size)
    is_waiting = np.ones(gain.size, np.bool_)
    n_waiting = gain.size
    while n_waiting > 0:
        n_waiting -= 1
        voxel = waiting[n_waiting]
        is_waiting[voxel] = False
        balance, free = _weigh(voxel, gain, forward, steps, state)
        if balance - free > 0:
            state[voxel] = _CHOSEN
        elif balance + free <= 0:
            state[voxel] = _LEFT
        else:
            continue
        for axis in range(len(steps)):
            for there in (voxel - steps[axis], voxel + steps[axis]):
                if 0 <= there < gain.size and state[there] == _OPEN and not is_waiting[there]:
                    waiting[n_waiting] = there
                    is_waiting[there] = True
                    n_waiting += 1


@njit(cache=True, nogil=True)
def _weigh(voxel: int, gain: Any, forward: Any, steps: Any, state: Any) -> Any:
    """Return a voxel's gain by what is decided around it, and its ties to what is open."""
    balance, free = np.int64(gain[voxel]), np.int64(0)
    for axis in range(len(steps)):
        step = steps[axis]
        for there in (voxel - step, voxel + step):
            if not 0 <= there < gain.size:
                continue
            tie = np.int64(forward[axis, min(voxel, there)])
            if state[there] == _OPEN:
                free += tie
            elif state[there] == _CHOSEN:
                balance += tie
            else:
                balance -= tie
    return balance, free
