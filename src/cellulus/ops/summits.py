"""Which summit each voxel climbs to: a few strides, each to the highest voxel near.

Unlike the basins of a watershed this is local: nothing beyond the strides matters, so that a part
of an image gives what the whole gives. Knows nothing of what is high.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray


def climb(relief: NDArray[np.float32], stride: float, strides: int) -> NDArray[np.int64]:
    """Return the voxel that each voxel reaches.

    Parameters
    ----------
    relief
        ``(*S)``, at most three axes.
    stride
        How far a voxel looks for a higher one; of equal ones it takes the nearest, and of equally
        near ones the first [voxel].
    strides
        How many times it moves, at least once.

    Returns
    -------
    summits
        ``(*S)``, places in the flat array. After enough strides they are local maxima.
    """
    summits: NDArray[np.int64] = _climb(as_volume(relief), _ball(stride, relief.ndim), strides)
    return summits.reshape(relief.shape)


def _ball(radius: float, ndim: int) -> NDArray[np.int64]:
    """Return the offsets of a ball's voxels, nearest first, along three axes."""
    half = math.floor(radius)
    around = np.indices((2 * half + 1,) * ndim).reshape(ndim, -1).T - half
    squared = (around**2).sum(axis=1)
    order = np.argsort(squared, kind="stable")
    offsets = np.zeros((len(around), 3), np.int64)
    offsets[:, 3 - ndim :] = around
    inside: NDArray[np.int64] = offsets[order[squared[order] <= radius**2]]
    return inside


@njit(cache=True, nogil=True)
def _climb(relief: Any, ball: Any, strides: int) -> Any:
    depth, height, width = relief.shape
    step = np.empty(relief.size, np.int64)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                highest, place = relief[z, y, x], (z * height + y) * width + x
                for k in range(len(ball)):
                    a, b, c = z + ball[k, 0], y + ball[k, 1], x + ball[k, 2]
                    inside = 0 <= a < depth and 0 <= b < height and 0 <= c < width
                    if inside and relief[a, b, c] > highest:
                        highest, place = relief[a, b, c], (a * height + b) * width + c
                step[(z * height + y) * width + x] = place
    reached = step.copy()
    for _ in range(strides - 1):
        for voxel in range(step.size):
            reached[voxel] = step[reached[voxel]]
    return reached
