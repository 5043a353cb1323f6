"""Peaks of a smoothed histogram, found plane by plane.

Counts and weights are integers, and their sums are held exactly in float64: the order of adding
is of no consequence. Only as many planes are smoothed at a time as the kernel is long, so the
density of a whole lattice never exists. Knows nothing of what is counted.
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
    half, size = len(weights) // 2, len(weights)
    peaks, heights = [np.zeros((0, 3), np.int64)], [np.zeros(0)]
    depth, height, width = counts.shape
    smooth = np.zeros((size, height, width))  # in y and x: a ring of planes
    filled = np.zeros((size, height), np.bool_)  # its rows that hold anything
    near = np.zeros((3, height, width))  # in z too: a plane and its neighbours, a ring as well
    for plane in range(-half, depth + 1):
        place = (plane + half) % size
        if plane + half < depth:
            _smooth_plane(counts[plane + half], weights, smooth[place], filled[place])
        elif filled[place].any():
            smooth[place], filled[place] = 0, False
        if 0 <= plane < depth:
            _smooth_across(smooth, filled, weights, plane, near[plane % 3])
        elif plane == depth:
            near[plane % 3] = 0
        if plane >= 1:
            where, value = _peaks(near, plane - 1)
            peaks.append(where)
            heights.append(value)
    return np.concatenate(peaks), np.concatenate(heights)


@njit(cache=True, nogil=True)
def _smooth_plane(counts: Any, weights: Any, smooth: Any, filled: Any) -> None:
    """Smooth a plane along x, then along y; say which of its rows hold anything."""
    height, width = counts.shape
    half = len(weights) // 2
    along = np.zeros((height + 2 * half, width))
    busy = np.zeros(height + 2 * half, np.bool_)
    row = np.zeros(width + 2 * half)
    for y in range(height):
        busy[half + y] = counts[y].any()
        if busy[half + y]:
            row[half : half + width] = counts[y]
            _weigh(along[half + y], row[half:], weights[half])
            for k in range(half):
                _add(along[half + y], row[k:], row[2 * half - k :], weights[k])
    for y in range(height):
        _weigh(smooth[y], along[half + y], weights[half])
        filled[y] = busy[y : y + 2 * half + 1].any()
        for k in range(half):
            if busy[y + k] or busy[y + 2 * half - k]:
                _add(smooth[y], along[y + k], along[y + 2 * half - k], weights[k])


@njit(cache=True, nogil=True)
def _smooth_across(smooth: Any, filled: Any, weights: Any, plane: int, near: Any) -> None:
    """Smooth along z what the ring of planes around one holds."""
    half, size = len(weights) // 2, len(weights)
    for y in range(near.shape[0]):
        _weigh(near[y], smooth[plane % size, y], weights[half])
        for k in range(half):
            before, after = (plane + k - half) % size, (plane + half - k) % size
            if filled[before, y] or filled[after, y]:
                _add(near[y], smooth[before, y], smooth[after, y], weights[k])


@njit(cache=True, nogil=True)
def _weigh(total: Any, values: Any, weight: float) -> None:
    for x in range(total.size):
        total[x] = weight * values[x]


@njit(cache=True, nogil=True)
def _add(total: Any, one: Any, other: Any, weight: float) -> None:
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
