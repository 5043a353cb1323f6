"""The connected pieces of labels, found row by row.

A row of voxels is cut into runs of one label, and runs that touch in neighbouring rows are united:
there are far fewer runs than voxels. Knows nothing of what is done with the pieces.

Source: union-find over runs; He, Chao and Suzuki 2008, IEEE Trans. Image Process. 17 (5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_pieces(
    labels: NDArray[Any], *, across_corners: bool
) -> tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.int64]]:
    """Return the connected pieces of all labels.

    Parameters
    ----------
    labels
        ``(*S)``, of at most three dimensions; 0 or False belongs to no piece.
    across_corners
        Whether voxels that share an edge or a corner touch, or only those that share a face.

    Returns
    -------
    pieces, owner, sizes
        ``(*S)`` from 1, in the order of their first voxels; the label of each piece, and its
        number of voxels, ``(n + 1,)`` with 0 for the background.
    """
    volume = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    pieces, owner, sizes = _unite(np.ascontiguousarray(volume), int(across_corners))
    return pieces.reshape(labels.shape), owner, sizes


@njit(cache=True, nogil=True)
def _unite(labels: Any, gap: int) -> Any:
    depth, height, _ = labels.shape
    first, begin, end = _runs(labels)
    parent = np.arange(begin.size)
    for z in range(depth):
        for y in range(height):
            row = z * height + y
            if y > 0:
                _join(labels, first, begin, end, parent, row, row - 1, gap)
            if z > 0:
                for other in range(max(y - gap, 0), min(y + gap + 1, height)):
                    _join(labels, first, begin, end, parent, row, row - height + other - y, gap)
    return _numbered(labels, first, begin, end, parent)


@njit(cache=True, nogil=True)
def _runs(labels: Any) -> Any:
    """Return the first run of each row, and where along their rows runs begin and end."""
    depth, height, width = labels.shape
    count = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                count += labels[z, y, x] > 0 and (x == 0 or labels[z, y, x - 1] != labels[z, y, x])
    first = np.zeros(depth * height + 1, np.int64)
    begin, end = np.empty(count, np.int32), np.empty(count, np.int32)
    run = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if labels[z, y, x] > 0:
                    if x == 0 or labels[z, y, x - 1] != labels[z, y, x]:
                        begin[run] = x
                        run += 1
                    end[run - 1] = x + 1
            first[z * height + y + 1] = run
    return first, begin, end


@njit(cache=True, nogil=True)
def _join(
    labels: Any, first: Any, begin: Any, end: Any, parent: Any, row: int, other: int, gap: int
) -> None:
    """Unite the runs of a row with those of one before it that they touch."""
    height = labels.shape[1]
    here, there = labels[row // height, row % height], labels[other // height, other % height]
    start = first[other]
    for one in range(first[row], first[row + 1]):
        while start < first[other + 1] and end[start] + gap <= begin[one]:
            start += 1
        two = start
        while two < first[other + 1] and begin[two] < end[one] + gap:
            if here[begin[one]] == there[begin[two]]:
                a, b = _root(parent, one), _root(parent, two)
                parent[max(a, b)] = min(a, b)
            two += 1


@njit(cache=True, nogil=True)
def _root(parent: Any, run: int) -> Any:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@njit(cache=True, nogil=True)
def _numbered(labels: Any, first: Any, begin: Any, end: Any, parent: Any) -> Any:
    """Write down the pieces; the first run of each is its root."""
    number, count = np.empty(begin.size, np.uint32), 0
    for run in range(begin.size):
        root = _root(parent, run)
        if root == run:
            count += 1
        number[run] = count if root == run else number[root]
    pieces = np.zeros(labels.shape, np.uint32)
    owner, sizes = np.zeros(count + 1, labels.dtype), np.zeros(count + 1, np.int64)
    height = labels.shape[1]
    sizes[0] = labels.size
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            z, y, piece = row // height, row % height, number[run]
            pieces[z, y, begin[run] : end[run]] = piece
            owner[piece] = labels[z, y, begin[run]]
            sizes[piece] += end[run] - begin[run]
            sizes[0] -= end[run] - begin[run]
    return pieces, owner, sizes
