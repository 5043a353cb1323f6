"""The connected pieces of labels, found row by row.

A row of voxels is cut into runs of one label, and runs that touch in neighbouring rows are united:
there are far fewer runs than voxels. Knows nothing of what is done with the pieces.

Source: union-find over runs; He, Chao and Suzuki 2008, IEEE Trans. Image Process. 17 (5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.volume import as_volume, of_three

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
    volume = as_volume(labels)
    runs = find_runs(volume, across_corners=across_corners)
    pieces, owner, sizes = _write_pieces(volume, *runs)
    return pieces.reshape(labels.shape), owner, sizes


def keep_largest(labels: NDArray[np.uint32], count: int) -> None:
    """Leave each label its largest piece only, joined across corners; of equal ones the first.

    Parameters
    ----------
    labels
        ``(z, y, x)``; changed in place.
    count
        One more than the largest label.
    """
    _leave_largest(labels, count, *find_runs(labels, across_corners=True))


def keep_nearest(
    labels: NDArray[np.uint32],
    points: NDArray[np.float64],
    origin: tuple[int, ...],
    spacing: tuple[float, ...],
) -> None:
    """Leave each label the piece that comes nearest to its point; of equal ones the first.

    Parameters
    ----------
    labels
        ``(*S)``, contiguous, joined across corners; changed in place.
    points
        Of each label from 1, ``(n, D)``, from the corner of the whole image.
    origin
        Index of the first voxel in the whole image [voxel].
    spacing
        Extent of a voxel along each axis, in the unit of the points.
    """
    volume = as_volume(labels)
    runs = find_runs(volume, across_corners=True)
    places = np.zeros((len(points), 3))
    # Middles of voxels are at whole numbers, and the one axis that a plane lacks does not count.
    places[:, 3 - len(spacing) :] = points / spacing - 0.5 - origin
    _leave_nearest(volume, places, np.array(of_three(spacing, 1.0)), *runs)


def find_runs(labels: NDArray[Any], *, across_corners: bool) -> tuple[Any, ...]:
    """Return the runs of labels along rows, and the pieces that they make.

    Parameters
    ----------
    labels
        ``(z, y, x)``.
    across_corners
        As above.

    Returns
    -------
    first, begin, end, piece, count
        The first run of each row, ``(rows + 1,)``; where along its row each run begins and ends;
        its piece, from 1; how many pieces there are.
    """
    first, begin, end = _runs(labels)
    piece, count = _unite(labels, first, begin, end, int(across_corners))
    return first, begin, end, piece, count


@njit(cache=True, nogil=True)
def _unite(labels: Any, first: Any, begin: Any, end: Any, gap: int) -> Any:
    depth, height, _ = labels.shape
    parent = np.arange(begin.size)
    for z in range(depth):
        for y in range(height):
            row = z * height + y
            if y > 0:
                _join(labels, first, begin, end, parent, row, row - 1, gap)
            if z > 0:
                for other in range(max(y - gap, 0), min(y + gap + 1, height)):
                    _join(labels, first, begin, end, parent, row, row - height + other - y, gap)
    piece, count = np.empty(begin.size, np.uint32), 0
    for run in range(begin.size):
        root = _root(parent, run)  # the first run of a piece is its root
        if root == run:
            count += 1
        piece[run] = count if root == run else piece[root]
    return piece, count


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
def _write_pieces(labels: Any, first: Any, begin: Any, end: Any, piece: Any, count: int) -> Any:
    pieces = np.zeros(labels.shape, np.uint32)
    owner, sizes = _measure(labels, first, begin, end, piece, count)
    height = labels.shape[1]
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            pieces[row // height, row % height, begin[run] : end[run]] = piece[run]
    return pieces, owner, sizes


@njit(cache=True, nogil=True)
def _leave_largest(
    labels: Any, labels_count: int, first: Any, begin: Any, end: Any, piece: Any, count: int
) -> None:
    owner, sizes = _measure(labels, first, begin, end, piece, count)
    largest = np.zeros(labels_count, np.uint32)
    for number in range(1, count + 1):
        best = largest[owner[number]]
        if best == 0 or sizes[number] > sizes[best]:
            largest[owner[number]] = number
    height = labels.shape[1]
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            if largest[owner[piece[run]]] != piece[run]:
                labels[row // height, row % height, begin[run] : end[run]] = 0


@njit(cache=True, nogil=True)
def _leave_nearest(
    labels: Any, places: Any, spacing: Any, first: Any, begin: Any, end: Any, piece: Any, count: int
) -> None:
    height, away = labels.shape[1], np.full(count + 1, np.inf)
    nearest = np.zeros(len(places) + 1, np.uint32)
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            place = places[labels[row // height, row % height, begin[run]] - 1]
            x = min(max(place[2], begin[run]), end[run] - 1)
            far = ((place[0] - row // height) * spacing[0]) ** 2
            far += ((place[1] - row % height) * spacing[1]) ** 2
            far += ((place[2] - x) * spacing[2]) ** 2
            away[piece[run]] = min(away[piece[run]], far)
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            label = labels[row // height, row % height, begin[run]]
            best = nearest[label]
            if best == 0 or away[piece[run]] < away[best]:
                nearest[label] = piece[run]
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            label = labels[row // height, row % height, begin[run]]
            if nearest[label] != piece[run]:
                labels[row // height, row % height, begin[run] : end[run]] = 0


@njit(cache=True, nogil=True)
def _measure(labels: Any, first: Any, begin: Any, end: Any, piece: Any, count: int) -> Any:
    """Return the label and the number of voxels of each piece; 0 is the background."""
    owner, sizes = np.zeros(count + 1, labels.dtype), np.zeros(count + 1, np.int64)
    height = labels.shape[1]
    sizes[0] = labels.size
    for row in range(first.size - 1):
        for run in range(first[row], first[row + 1]):
            owner[piece[run]] = labels[row // height, row % height, begin[run]]
            sizes[piece[run]] += end[run] - begin[run]
            sizes[0] -= end[run] - begin[run]
    return owner, sizes
