"""Smoothing of images and volumes, plane by plane: little memory, and the same in any cutting.

A value depends on those around it alone, never on where a region begins: smoothing adds in a fixed
order, and means over a window are sums of integers. Knows nothing of objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.volume import as_volume, of_three

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CUT = 4.0
"""Where the Gaussian ends [standard deviation]."""
UNIT = np.float32(2**20)
"""Steps that 1 is divided into where values are added as integers."""
LARGEST = np.float32(2**10)
"""Values beyond are cut, so that sums over any window fit into 64 bits."""


def smooth(values: NDArray[np.float32], sigma: Sequence[float]) -> NDArray[np.float32]:
    """Return values smoothed by a Gaussian; those at the edge go on outside.

    Parameters
    ----------
    values
        ``(*S)``.
    sigma
        Standard deviation along each axis [voxel].
    """
    result = np.empty(values.shape, np.float32)
    weights = tuple(_weights(s) for s in of_three(sigma, 0.0))
    _smooth(as_volume(values), weights, as_volume(result))
    return result


def stands_out(
    values: NDArray[np.float32], window: Sequence[int], factor: float
) -> NDArray[np.bool_]:
    """Return where values exceed the mean around them so many times.

    Parameters
    ----------
    values
        ``(*S)``, mirrored at the edge.
    window
        Extent of the surroundings along each axis, odd [voxel].
    factor
        How many times.
    """
    result = np.empty(values.shape, np.bool_)
    half = tuple(int(n) // 2 for n in of_three(window, 1))
    share = factor / float(np.prod(window)) / float(UNIT)
    _compare(as_volume(values), half, share, as_volume(result))
    return result


def _weights(sigma: float) -> NDArray[np.float64]:
    reach = int(CUT * sigma + 0.5)
    if reach == 0:
        return np.ones(1)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    return np.asarray(weights / weights.sum())


@njit(cache=True, nogil=True)
def _smooth(values: Any, weights: Any, result: Any) -> None:
    depth, height, width = values.shape
    half_z, half_y, half_x = weights[0].size // 2, weights[1].size // 2, weights[2].size // 2
    plane = np.empty((height, width), np.float32)
    row, total = np.empty(width + 2 * half_x, np.float32), np.empty(width)
    for z in range(depth):
        for y in range(height):
            _weigh(total, values[z, y], weights[0][half_z])
            for k in range(half_z, 0, -1):
                above, below = values[max(z - k, 0), y], values[min(z + k, depth - 1), y]
                _weigh_pair(total, above, below, weights[0][half_z - k])
            _store(total, plane[y])
        for y in range(height):
            _weigh(total, plane[y], weights[1][half_y])
            for k in range(half_y, 0, -1):
                above, below = plane[max(y - k, 0)], plane[min(y + k, height - 1)]
                _weigh_pair(total, above, below, weights[1][half_y - k])
            _store(total, row[half_x : half_x + width])
            row[:half_x], row[half_x + width :] = row[half_x], row[half_x + width - 1]
            _weigh(total, row[half_x:], weights[2][half_x])
            for k in range(half_x, 0, -1):
                _weigh_pair(total, row[half_x - k :], row[half_x + k :], weights[2][half_x - k])
            _store(total, result[z, y])


@njit(cache=True, nogil=True)
def _weigh(total: Any, values: Any, weight: float) -> None:
    for x in range(total.size):
        total[x] = np.float64(values[x]) * weight


@njit(cache=True, nogil=True)
def _weigh_pair(total: Any, one: Any, other: Any, weight: float) -> None:
    for x in range(total.size):
        total[x] += (np.float64(one[x]) + np.float64(other[x])) * weight


@njit(cache=True, nogil=True)
def _store(total: Any, values: Any) -> None:
    for x in range(total.size):
        values[x] = np.float32(total[x])


@njit(cache=True, nogil=True)
def _compare(values: Any, half: Any, share: float, result: Any) -> None:
    """Move a window over all voxels: at each step one plane, row or voxel enters, one leaves."""
    depth, height, width = values.shape
    planes = np.zeros((height, width), np.int64)  # sums along z
    rows = np.zeros(width, np.int64)  # of these, along y
    line = np.zeros(width + 2 * half[2] + 1, np.int64)
    for k in range(-half[0], half[0] + 1):
        _enter(planes, values[_mirrored(k, depth)], 1)
    for z in range(depth):
        rows[:] = 0
        for k in range(-half[1], half[1] + 1):
            rows += planes[_mirrored(k, height)]
        for y in range(height):
            line[1 + half[2] : 1 + half[2] + width] = rows
            for k in range(half[2]):
                line[half[2] - k] = rows[_mirrored(-1 - k, width)]
                line[1 + half[2] + width + k] = rows[_mirrored(width + k, width)]
            total = line[1 : 1 + 2 * half[2]].sum()
            for x in range(width):
                total += line[x + 1 + 2 * half[2]] - line[x]
                result[z, y, x] = values[z, y, x] > share * total
            rows += planes[_mirrored(y + half[1] + 1, height)]
            rows -= planes[_mirrored(y - half[1], height)]
        _enter(planes, values[_mirrored(z + half[0] + 1, depth)], 1)
        _enter(planes, values[_mirrored(z - half[0], depth)], -1)


@njit(cache=True, nogil=True)
def _enter(planes: Any, values: Any, sign: int) -> None:
    for y in range(planes.shape[0]):
        for x in range(planes.shape[1]):
            value = min(max(values[y, x], -LARGEST), LARGEST)
            planes[y, x] += sign * np.int32(value * UNIT)


@njit(cache=True, nogil=True)
def _mirrored(index: int, size: int) -> int:
    """Return the voxel inside that stands for one outside; the edge itself is repeated."""
    index %= 2 * size
    return min(index, 2 * size - 1 - index)
