"""Peaks of a smoothed histogram, found plane by plane.

Counts and weights are integers, and their sums are held exactly in float64: the order of adding
is of no consequence. The density is made plane by plane: that of a whole lattice never exists.
Knows nothing of what is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_peaks(
    counts: NDArray[np.int32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the bins that none of their neighbours, diagonals included, exceeds.

    Parameters
    ----------
    counts
        ``(z, y, x)``; outside of it there is nothing.
    weights
        Of the smoothing along each axis, odd in number, even, and integers.

    Returns
    -------
    peaks, height
        ``(n, 3)`` in lexicographic order, and the smoothed count there; of equal neighbours the
        first is a peak.
    """
    depth, height, width = counts.shape
    peaks, heights = [np.zeros((0, 3), np.int64)], [np.zeros(0)]
    busy = counts.any(axis=2)
    near = np.zeros((3, height, width))  # the density of a plane and of its neighbours: a ring
    for plane in range(depth + 1):
        near[plane % 3] = 0
        if plane < depth:
            _smooth(counts, busy, weights, plane, near[plane % 3])
        if plane > 0:
            where, value = _peaks(near, plane - 1)
            peaks.append(where)
            heights.append(value)
    return np.concatenate(peaks), np.concatenate(heights)


@njit(cache=True, nogil=True)
def _smooth(counts: Any, busy: Any, weights: Any, plane: int, density: Any) -> None:
    """Smooth one plane: along z first, where most rows that could be added are empty."""
    depth, height, width = counts.shape
    half = len(weights) // 2
    along = np.zeros((height + 2 * half, width))
    filled = np.zeros(height + 2 * half, np.bool_)
    for y in range(height):
        for k in range(max(-half, -plane), min(half + 1, depth - plane)):
            if busy[plane + k, y]:
                _add(along[half + y], counts[plane + k, y], weights[half + k])
                filled[half + y] = True
    row = np.zeros(width + 2 * half)
    for y in range(height):
        middle = row[half : half + width]
        middle[:] = 0
        _add(middle, along[y + half], weights[half])
        for k in range(half):
            if filled[y + k] or filled[y + 2 * half - k]:
                _add_pair(middle, along[y + k], along[y + 2 * half - k], weights[k])
        if filled[y : y + 2 * half + 1].any():
            _add(density[y], middle, weights[half])
            for k in range(half):
                _add_pair(density[y], row[k:], row[2 * half - k :], weights[k])


@njit(cache=True, nogil=True)
def _add(total: Any, values: Any, weight: float) -> None:
    for x in range(total.size):
        total[x] += weight * values[x]


@njit(cache=True, nogil=True)
def _add_pair(total: Any, one: Any, other: Any, weight: float) -> None:
    for x in range(total.size):
        total[x] += weight * (one[x] + other[x])


@njit(cache=True, nogil=True)
def _peaks(near: Any, plane: int) -> Any:
    """Return the peaks of a plane, and how high they are."""
    height, width = near.shape[1:]
    middle = near[plane % 3]
    found = [(0, 0) for _ in range(0)]
    for y in range(height):
        for x in range(width):
            top = middle[y, x]
            # Most bins are exceeded in their row already.
            is_low = (
                top == 0
                or (x > 0 and middle[y, x - 1] >= top)
                or (x + 1 < width and middle[y, x + 1] > top)
            )
            if not is_low and _is_peak(near, plane, y, x):
                found.append((y, x))
    peaks, heights = np.empty((len(found), 3), np.int64), np.empty(len(found))
    for n, (y, x) in enumerate(found):
        peaks[n, 0], peaks[n, 1], peaks[n, 2] = plane, y, x
        heights[n] = middle[y, x]
    return peaks, heights


@njit(cache=True, nogil=True)
def _is_peak(near: Any, plane: int, y: int, x: int) -> bool:
    height, width = near.shape[1:]
    top = near[plane % 3, y, x]
    for k in range(-1, 2):
        for j in range(max(y - 1, 0), min(y + 2, height)):
            for i in range(max(x - 1, 0), min(x + 2, width)):
                other = near[(plane + k) % 3, j, i]
                if other > top or (other == top and (k, j, i) < (0, y, x)):
                    return False
    return True
