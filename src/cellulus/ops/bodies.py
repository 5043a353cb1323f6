"""Labels to convex bodies: pieces are cut at necks, and joined where they open into each other.

Every voxel climbs the smoothed distance to the background, inside its label, to a summit; what
climbs to one summit is a piece. The neck between two pieces is the greatest depth on their
contact, over the greatest depth of the shallower. A piece joins, of the deeper pieces it touches,
the one it is most open to, if it is open enough. Each piece makes one choice, towards greater
depth: the result does not depend on an order, and a sliver between two bodies cannot join them.

Ties go to the first in lexicographic order of coordinates. Knows nothing of intensities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.nearest import distance_to
from cellulus.ops.smoothing import smooth
from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def regroup(
    labels: NDArray[np.uint32], spacing: Sequence[float], openness: float, blur: float
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Cut labels at their necks, and join what is one body.

    Parameters
    ----------
    labels
        ``(*S)``; 0 is background.
    spacing
        Extent of a voxel per axis.
    openness
        Neck above which two pieces are one body, 0 to 1.
    blur
        Standard deviation of the smoothing of the distance, in the unit of `spacing`.

    Returns
    -------
    bodies, summits
        ``(*S)`` uint32 from 1; the voxel of each body's summit, ``(n, D)``, in lexicographic order.
    """
    outside = labels == 0
    if outside.all():
        return np.zeros(labels.shape, np.uint32), np.zeros((0, labels.ndim), np.int64)
    # What the region's edge cuts goes on behind it; without a background none is invented.
    is_open = outside.any()
    depth = distance_to(outside, spacing) if is_open else np.ones(labels.shape, np.float32)
    del outside
    hill = smooth(depth, [blur / s for s in spacing])
    piece, roots = _climb(as_volume(labels), as_volume(hill))
    del hill
    parent = _parents(piece, as_volume(depth), len(roots) + 1, np.float32(openness))
    for _ in range(len(parent).bit_length()):
        parent = parent[parent]
    kept, body = np.unique(parent, return_inverse=True)
    summits = np.stack(np.unravel_index(roots[kept[1:] - 1], labels.shape), axis=1)
    _rename(piece.ravel(), body.astype(np.uint32))
    return piece.reshape(labels.shape), summits.astype(np.int64)


def _climb(
    labels: NDArray[np.uint32], hill: NDArray[np.float32]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the piece of each voxel from 1, and the flat indices of their summits, ascending."""
    # Half the memory where indices are small enough.
    target = np.empty(labels.shape, np.int32 if labels.size < 2**31 else np.int64)
    piece = np.empty(labels.shape, np.uint32)
    summits = _ascend(labels, hill, target, piece)
    _follow(target.ravel(), piece.ravel())
    return piece, summits


@njit(cache=True, nogil=True)
def _ascend(labels: Any, hill: Any, target: Any, piece: Any) -> Any:
    """Find the next voxel uphill of each; number those that there is none of."""
    depth, height, width = labels.shape
    summits = [0 for _ in range(0)]
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                piece[z, y, x] = 0
                if labels[z, y, x] == 0:
                    target[z, y, x] = -1
                    continue
                next_ = _steepest(labels, hill, z, y, x)
                target[z, y, x] = next_
                if next_ == (z * height + y) * width + x:
                    summits.append(next_)
                    piece[z, y, x] = len(summits)
    return np.array(summits, np.int64)


@njit(cache=True, nogil=True)
def _follow(target: Any, piece: Any) -> None:
    """Give every voxel the piece of the summit that it climbs to; each step is taken once."""
    for start in range(target.size):
        if target[start] < 0:
            continue
        top = start
        while piece[top] == 0:
            top = target[top]
        voxel = start
        while piece[voxel] == 0:
            piece[voxel] = piece[top]
            voxel = target[voxel]


@njit(cache=True, nogil=True)
def _steepest(labels: Any, hill: Any, z: int, y: int, x: int) -> Any:
    """Return the first of the highest voxels around one, itself included, in its label."""
    depth, height, width = labels.shape
    own, best, top = labels[z, y, x], -1, np.float32(-1)
    for k in range(z - 1, z + 2):  # always three, so that the compiler can unroll it
        for j in range(y - 1, y + 2):
            if not (0 <= k < depth and 0 <= j < height):
                continue
            for i in range(x - 1, x + 2):
                if 0 <= i < width and hill[k, j, i] > top and labels[k, j, i] == own:
                    best, top = (k * height + j) * width + i, hill[k, j, i]
    return best


@njit(cache=True, nogil=True)
def _parents(piece: Any, depth: Any, count: int, openness: Any) -> Any:
    """Return for each piece the deeper one it joins, or itself."""
    deepest = np.zeros(count, np.float32)
    for number, deep in zip(piece.ravel(), depth.ravel()):  # noqa: B905 - numba knows no strict
        deepest[number] = max(deepest[number], deep)
    parent = np.arange(count)
    share = np.full(count, openness)
    planes, height, width = piece.shape
    for z in range(planes):
        for y in range(height):
            for x in range(width):
                here = piece[z, y, x]
                if here == 0:
                    continue
                for k, j, i in ((z, y, x + 1), (z, y + 1, x), (z + 1, y, x)):
                    if k == planes or j == height or i == width:
                        continue
                    there = piece[k, j, i]
                    if there > 0 and there != here:
                        neck = min(depth[z, y, x], depth[k, j, i])
                        _weigh_contact(min(here, there), max(here, there), neck, deepest, share,
                                       parent)  # fmt: skip
    return parent


@njit(cache=True, nogil=True)
def _weigh_contact(
    first: Any, second: Any, neck: Any, deepest: Any, share: Any, parent: Any
) -> None:
    """Let the shallower of two pieces join the deeper, if it is more open to none so far."""
    # Of equally deep ones from the later to the earlier.
    later = deepest[second] <= deepest[first]
    child, deeper = (second, first) if later else (first, second)
    open_ = neck / max(deepest[child], np.float32(1e-6))
    known = parent[child]
    is_wider = open_ > share[child] or (
        open_ == share[child] and known != child
        and (deepest[deeper] > deepest[known]
             or (deepest[deeper] == deepest[known] and deeper < known))
    )  # fmt: skip
    if is_wider:
        share[child], parent[child] = open_, deeper


@njit(cache=True, nogil=True)
def _rename(piece: Any, names: Any) -> None:
    for voxel in range(piece.size):
        piece[voxel] = names[piece[voxel]]
