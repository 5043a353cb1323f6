"""The nearest of marked voxels, by a separable search: one axis after the other.

Exact: squares of distances are summed in float64, in the order of the axes. A line is searched
from each voxel outwards until nothing nearer can come: the time grows with the distances that are
found, hardly with the array. Knows nothing of objects.

Source: Saito and Toriwaki 1994, Pattern Recognition 27 (11).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ABREAST = 64
"""Lines searched at a time: neighbours in memory, few enough for the cache."""


def distance_to(marked: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the distance of every voxel to the nearest marked one; inf if none is.

    Parameters
    ----------
    marked
        ``(*S)``.
    spacing
        Extent of a voxel per axis.
    """
    squared = np.where(np.ascontiguousarray(marked), 0.0, np.inf)
    for axis, step in enumerate(spacing):
        _approach(_lines(squared, axis), step)
    return np.sqrt(squared, out=squared)


def spread(
    ids: NDArray[np.uint32], squared_reach: float, spacing: Sequence[float]
) -> NDArray[np.uint32]:
    """Give every 0 the nearest id within reach; of equally near ones, the smallest.

    Parameters
    ----------
    ids
        ``(*S)``.
    squared_reach
        Square of the distance that is still within reach.
    spacing
        Extent of a voxel per axis.
    """
    nearest = np.array(ids, order="C")
    squared = np.where(nearest > 0, 0.0, np.nextafter(squared_reach, np.inf))
    for axis, step in enumerate(spacing):
        reach = min(int(math.sqrt(squared_reach) / step), ids.shape[axis] - 1)
        _spread(_lines(nearest, axis), _lines(squared, axis), reach, step)
    return nearest


def _lines(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return a view of three axes: the one asked for in the middle, the longest last."""
    before, length, after = np.split(array.shape, [axis, axis + 1])
    lines = array.reshape(math.prod(before), *length, math.prod(after))
    return lines.transpose(2, 1, 0) if axis == array.ndim - 1 else lines


@njit(cache=True, nogil=True)
def _approach(squared: Any, step: float) -> None:
    for outer in range(squared.shape[0]):
        for start in range(0, squared.shape[2], ABREAST):
            lines = slice(start, start + ABREAST)
            before = np.ascontiguousarray(squared[outer, :, lines])
            least = before.copy()
            for target in range(before.shape[0]):
                for line in range(before.shape[1]):
                    is_empty = target > 0 and least[target - 1, line] == np.inf  # the line
                    if before[target, line] > 0 and not is_empty:
                        least[target, line] = _least(before, target, line, step)
            squared[outer, :, lines] = least


@njit(cache=True, nogil=True)
def _least(before: Any, target: int, line: int, step: float) -> Any:
    """Return the least square of a distance, given those known so far along a line."""
    least, last = before[target, line], before.shape[0] - 1
    for away in range(1, max(target, last - target) + 1):
        further = (step * away) ** 2
        if further >= least:
            break
        if target >= away:
            least = min(least, before[target - away, line] + further)
        if target + away <= last:
            least = min(least, before[target + away, line] + further)
    return least


@njit(cache=True, nogil=True)
def _spread(ids: Any, squared: Any, reach: int, step: float) -> None:
    length = squared.shape[1]
    for outer in range(squared.shape[0]):
        for start in range(0, squared.shape[2], ABREAST):
            lines = slice(start, start + ABREAST)
            known = np.ascontiguousarray(ids[outer, :, lines])
            before = np.ascontiguousarray(squared[outer, :, lines])
            near, least = known.copy(), before.copy()
            for target in range(length):
                for away in range(1, reach + 1):
                    for source in (target - away, target + away):
                        if 0 <= source < length:
                            further = (step * away) ** 2
                            _take(
                                near[target],
                                least[target],
                                known[source],
                                before[source],
                                further,
                            )
            ids[outer, :, lines], squared[outer, :, lines] = near, least


@njit(cache=True, nogil=True)
def _take(near: Any, least: Any, ids: Any, squared: Any, further: float) -> None:
    """Take what is nearer, or as near and of a smaller id, on many lines at once."""
    for line in range(near.size):  # without branches, so that the compiler can do several
        far = squared[line] + further
        is_less = (far < least[line]) | ((far == least[line]) & (ids[line] < near[line]))
        near[line] = ids[line] if is_less else near[line]
        least[line] = far if is_less else least[line]
