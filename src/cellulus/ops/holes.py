"""Background that objects enclose, found run by run of a row.

Enclosed is what no path of faces leads out of to the edge of the array. Mostly one object alone
borders on such a region, and then it is a hole of that object: its border hangs together across
corners. Where several do, the region belongs to the object with the smallest box that still
encloses it when the others are taken for background too. Knows nothing of what labels stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy import ndimage

from cellulus.ops.pieces import find_pieces, find_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fill(labels: NDArray[np.uint32]) -> None:
    """Give enclosed background to the object that encloses it, in place.

    Parameters
    ----------
    labels
        ``(z, y, x)``; an axis of extent 1 is no dimension.
    """
    if sum(n > 1 for n in labels.shape) < 2:  # along a line nothing is around anything
        return
    first, begin, end, region, count = find_runs(labels == 0, across_corners=False)
    closed = _closed(labels, first, begin, end, region, count)
    if not closed[1:].any():
        return
    shared = _fill_simple(labels, first, begin, end, region, closed)
    if shared.any():
        _fill_shared(labels, first, begin, end, region, shared)


def _fill_shared(
    labels: NDArray[np.uint32],
    first: NDArray[np.int64],
    begin: NDArray[np.int32],
    end: NDArray[np.int32],
    region: NDArray[np.uint32],
    shared: NDArray[np.bool_],
) -> None:
    """Fill the regions that several objects border on."""
    pieces, owner, _ = find_pieces(labels, across_corners=True)
    boxes = np.array(
        [[(part.start, part.stop) for part in box] for box in ndimage.find_objects(pieces)]
    )
    order = np.argsort(np.prod(boxes[:, :, 1] - boxes[:, :, 0], axis=1), kind="stable")
    is_axis = np.array(labels.shape) > 1
    row = np.repeat(np.arange(len(first) - 1), np.diff(first))
    for number in np.flatnonzero(shared):
        runs = np.flatnonzero(region == number)
        z, y = np.divmod(row[runs], labels.shape[1])
        low = np.array([z.min(), y.min(), begin[runs].min()])
        high = np.array([z.max(), y.max(), end[runs].max() - 1])
        is_outside = (boxes[:, :, 0] < low) & (boxes[:, :, 1] - 1 > high)
        around = np.all(is_outside | ~is_axis, axis=1)
        seed = (z[0], y[0], int(begin[runs[0]]))
        for piece in order[around[order]]:
            if _encloses(pieces, np.uint32(piece + 1), boxes[piece], seed):
                for k, j, run in zip(z, y, runs, strict=True):
                    labels[k, j, begin[run] : end[run]] = owner[piece + 1]
                break


@njit(cache=True, nogil=True)
def _closed(labels: Any, first: Any, begin: Any, end: Any, region: Any, count: int) -> Any:
    """Return which regions do not reach the edge, ``(count + 1,)``."""
    depth, height, width = labels.shape
    closed = np.ones(count + 1, np.bool_)
    for row in range(first.size - 1):
        z, y = row // height, row % height
        at_edge = (depth > 1 and (z == 0 or z == depth - 1)) or (
            height > 1 and (y == 0 or y == height - 1)
        )
        for run in range(first[row], first[row + 1]):
            if at_edge or (width > 1 and (begin[run] == 0 or end[run] == width)):
                closed[region[run]] = False
    return closed


@njit(cache=True, nogil=True)
def _fill_simple(labels: Any, first: Any, begin: Any, end: Any, region: Any, closed: Any) -> Any:
    """Fill the regions that one object alone borders on; return which others there are."""
    height = labels.shape[1]
    around = np.zeros(closed.size, labels.dtype)
    shared = np.zeros(closed.size, np.bool_)
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            number = region[run]
            if closed[number]:
                one, more = _border(labels, row, begin[run], end[run], around[number])
                around[number] = one
                shared[number] |= more
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            number = region[run]
            if closed[number] and not shared[number]:
                labels[row // height, row % height, begin[run] : end[run]] = around[number]
    return shared


@njit(cache=True, nogil=True)
def _border(labels: Any, row: int, begin: int, end: int, known: Any) -> Any:
    """Return the label that a run of background borders on, and whether there is another."""
    depth, height, width = labels.shape
    z, y, more = row // height, row % height, False
    for x in range(np.int64(begin), np.int64(end)):  # of one type with its neighbours
        for k, j, i in (
            (z - 1, y, x), (z + 1, y, x), (z, y - 1, x), (z, y + 1, x), (z, y, x - 1),
            (z, y, x + 1),
        ):  # fmt: skip
            if 0 <= k < depth and 0 <= j < height and 0 <= i < width:
                found = labels[k, j, i]
                more |= known > 0 and found > 0 and found != known
                known = found if known == 0 else known
    return known, more


@njit(cache=True, nogil=True)
def _encloses(pieces: Any, piece: Any, box: Any, seed: Any) -> bool:
    """Return whether a piece alone, in its box, keeps a voxel from the edge of the box."""
    shape = (box[0, 1] - box[0, 0], box[1, 1] - box[1, 0], box[2, 1] - box[2, 0])
    seen = np.zeros(shape, np.bool_)
    start = (seed[0] - box[0, 0], seed[1] - box[1, 0], seed[2] - box[2, 0])
    seen[start] = True
    stack = [start]
    while len(stack) > 0:
        z, y, x = stack.pop()
        for axis in range(3):
            for step in (-1, 1):
                k = z + step * (axis == 0)
                j = y + step * (axis == 1)
                i = x + step * (axis == 2)
                if not (0 <= k < shape[0] and 0 <= j < shape[1] and 0 <= i < shape[2]):
                    if shape[axis] > 1 or pieces.shape[axis] > 1:
                        return False
                    continue
                if (
                    not seen[k, j, i]
                    and pieces[k + box[0, 0], j + box[1, 0], i + box[2, 0]] != piece
                ):
                    seen[k, j, i] = True
                    stack.append((k, j, i))
    return True
