"""The nearest of marked voxels, by a separable search: along z, then y, then x.

Exact: squares of distances are summed in float64, in the order of the axes. Nothing is searched
farther than where something nearer can lie. Beyond the first axis the search goes plane by plane:
what is looked at again and again stays in the cache. Knows nothing of objects.

Source: Saito and Toriwaki 1994, Pattern Recognition 27 (11).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.volume import as_volume, of_three

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NONE = np.uint16(2**16 - 1)


def distance_to(marked: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return the distance of every voxel to the nearest marked one; inf if none is.

    Parameters
    ----------
    marked
        ``(*S)``, fewer than 65,535 planes.
    spacing
        Extent of a voxel per axis.
    """
    result = np.empty(marked.shape, np.float32)
    _distances(as_volume(marked), of_three(spacing, 1.0), as_volume(result))
    return result


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
    steps, volume = of_three(spacing, 1.0), as_volume(ids)
    reach = tuple(
        min(int(math.sqrt(squared_reach) / step), n - 1)
        for step, n in zip(steps, volume.shape, strict=True)
    )
    result = np.empty(ids.shape, np.uint32)
    beyond = float(np.nextafter(squared_reach, np.inf))
    _spread(volume, beyond, steps, reach, as_volume(result))
    return result


@njit(cache=True, nogil=True)
def _distances(marked: Any, steps: Any, result: Any) -> None:
    depth, height, width = marked.shape
    planes = _planes_to(marked)
    before = np.empty((height, width))
    row = np.full(3 * width, np.inf)  # with nothing on both sides
    middle, least = row[width : 2 * width], np.empty(width)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                away = planes[z, y, x]
                before[y, x] = np.inf if away == _NONE else (steps[0] * away) ** 2
        for y in range(height):
            _search_rows(before, y, steps[1], middle)
            least[:] = middle
            for away in range(1, width):
                further = (steps[2] * away) ** 2
                if not _any_beyond(least, further):
                    break
                _take_nearer(least, row[width - away :], row[width + away :], further)
            for x in range(width):
                result[z, y, x] = math.sqrt(least[x])


@njit(cache=True, nogil=True)
def _search_rows(before: Any, y: int, step: float, least: Any) -> None:
    """Find the least squares along columns, for all of a row."""
    last = len(before) - 1
    least[:] = before[y]
    for away in range(1, max(y, last - y) + 1):
        further = (step * away) ** 2
        if not _any_beyond(least, further):
            break
        above = before[y - away if y >= away else y + away]  # one of the two is there
        below = before[y + away if y + away <= last else y - away]
        _take_nearer(least, above, below, further)


@njit(cache=True, nogil=True)
def _any_beyond(squared: Any, limit: float) -> bool:
    """Return whether there is something left to search for along a row."""
    found = False
    for x in range(squared.size):
        found |= squared[x] > limit
    return found


@njit(cache=True, nogil=True)
def _take_nearer(least: Any, above: Any, below: Any, further: float) -> None:
    """Take what is nearer on either side, all along a row."""
    for x in range(least.size):  # without branches, so that the compiler can do several
        far = (above[x] if above[x] < below[x] else below[x]) + further
        least[x] = far if far < least[x] else least[x]


@njit(cache=True, nogil=True)
def _planes_to(marked: Any) -> Any:
    """Return how many planes away the nearest marked voxel of each column is."""
    depth, height, width = marked.shape
    away = np.empty(marked.shape, np.uint16)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                last = away[z - 1, y, x] if z > 0 else _NONE
                far = last + np.uint16(last != _NONE)
                away[z, y, x] = np.uint16(0) if marked[z, y, x] else far
    for z in range(depth - 2, -1, -1):
        for y in range(height):
            for x in range(width):
                last = away[z + 1, y, x]
                far = last + np.uint16(last != _NONE)
                away[z, y, x] = min(away[z, y, x], far)
    return away


@njit(cache=True, nogil=True)
def _spread(ids: Any, beyond: float, steps: Any, reach: Any, result: Any) -> None:
    depth, height, width = ids.shape
    near, squared = np.empty((height, width), np.uint32), np.empty((height, width))
    filled = np.empty(height, np.bool_)
    margin = reach[2]
    row = np.zeros(width + 2 * margin, np.uint32)
    far, least = np.full(width + 2 * margin, beyond), np.empty(width)
    for z in range(depth):
        for y in range(height):
            _begin(ids, z, y, beyond, steps[0], reach[0], near[y], squared[y])
            filled[y] = near[y].any()
        for y in range(height):
            low, high = max(y - reach[1], 0), min(y + reach[1] + 1, height)
            result[z, y] = 0
            if not filled[low:high].any():
                continue
            row[margin : margin + width], far[margin : margin + width] = near[y], squared[y]
            here = row[margin : margin + width], far[margin : margin + width]
            for other in range(low, high):
                if other != y and filled[other]:
                    further = (steps[1] * abs(other - y)) ** 2
                    _take(here[0], here[1], near[other], squared[other], further)
            result[z, y] = here[0]
            least[:] = here[1]
            for away in range(1, margin + 1):
                further = (steps[2] * away) ** 2
                for start in (margin - away, margin + away):
                    _take(result[z, y], least, row[start:], far[start:], further)


@njit(cache=True, nogil=True)
def _begin(
    ids: Any, z: int, y: int, beyond: float, step: float, reach: int, near: Any, squared: Any
) -> None:
    """Take the nearest id of each column: of two at one distance the smaller."""
    near[:] = ids[z, y]
    for x in range(near.size):
        squared[x] = 0.0 if near[x] > 0 else beyond
    one = np.uint32(1)
    for away in range(1, reach + 1):
        further = (step * away) ** 2
        above, below = ids[max(z - away, 0), y], ids[min(z + away, len(ids) - 1), y]
        for x in range(near.size):
            # 0 is no id: less 1 it is larger than any.
            found = np.uint32(min(np.uint32(above[x] - one), np.uint32(below[x] - one)) + one)
            is_new = (near[x] == 0) & (found > 0)
            near[x] = found if is_new else near[x]
            squared[x] = further if is_new else squared[x]


@njit(cache=True, nogil=True)
def _take(near: Any, least: Any, ids: Any, squared: Any, further: float) -> None:
    """Take what is nearer, or as near and of a smaller id, all along a row."""
    for x in range(near.size):  # without branches, so that the compiler can do several
        far = squared[x] + further
        is_less = (far < least[x]) | ((far == least[x]) & (ids[x] < near[x]))
        near[x] = ids[x] if is_less else near[x]
        least[x] = far if is_less else least[x]
