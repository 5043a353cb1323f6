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

import numba
import numpy as np
from scipy import ndimage

from cellulus.ops.nearest import distance_to

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
    inside = labels > 0
    if not inside.any():
        return np.zeros(labels.shape, np.uint32), np.zeros((0, labels.ndim), np.int64)
    depth = _depth(inside, spacing)
    sigma = [blur / s for s in spacing]
    hill = ndimage.gaussian_filter(depth, sigma, mode="nearest")
    piece, roots = _climb(_volume(labels), _volume(hill))
    parent = _parents(piece, _volume(depth), len(roots) + 1, np.float32(openness))
    for _ in range(len(parent).bit_length()):
        parent = parent[parent]
    kept, body = np.unique(parent, return_inverse=True)
    summits = np.stack(np.unravel_index(roots[kept[1:] - 1], labels.shape), axis=1)
    bodies: NDArray[np.uint32] = body.astype(np.uint32)[piece].reshape(labels.shape)
    return bodies, summits.astype(np.int64)


def _volume(array: NDArray[Any]) -> NDArray[Any]:
    """Return an image as a volume of one plane."""
    return np.ascontiguousarray(array.reshape((1,) * (3 - array.ndim) + array.shape))


def _depth(inside: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return the distance to the background; what the region's edge cuts goes on behind it."""
    if inside.all():  # there is no background to measure to, and none is invented
        return np.ones(inside.shape, np.float32)
    return distance_to(~inside, spacing).astype(np.float32)


def _climb(
    labels: NDArray[np.uint32], hill: NDArray[np.float32]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the piece of each voxel from 1, and the flat indices of their summits, ascending."""
    # Half the memory where indices are small enough.
    index = np.int32 if labels.size < 2**31 else np.int64
    target = np.empty(labels.shape, index)
    _ascend(labels, hill, target)
    piece = np.zeros(labels.size, np.uint32)
    summits = np.flatnonzero(target.ravel() == np.arange(labels.size, dtype=index))
    piece[summits] = np.arange(1, len(summits) + 1)
    _follow(target.ravel(), piece)
    return piece.reshape(labels.shape), summits


@numba.njit(cache=True, nogil=True)
def _ascend(labels: Any, hill: Any, target: Any) -> None:
    for z, y, x in np.ndindex(labels.shape):
        target[z, y, x] = _steepest(labels, hill, z, y, x) if labels[z, y, x] > 0 else -1


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def _steepest(labels: Any, hill: Any, z: int, y: int, x: int) -> Any:
    """Return the first of the highest voxels around one, itself included, in its label."""
    depth, height, width = labels.shape
    own, best, top = labels[z, y, x], -1, np.float32(-1)
    for k in range(max(z - 1, 0), min(z + 2, depth)):
        for j in range(max(y - 1, 0), min(y + 2, height)):
            for i in range(max(x - 1, 0), min(x + 2, width)):
                if hill[k, j, i] > top and labels[k, j, i] == own:
                    best, top = (k * height + j) * width + i, hill[k, j, i]
    return best


@numba.njit(cache=True, nogil=True)
def _parents(piece: Any, depth: Any, count: int, openness: Any) -> Any:
    """Return for each piece the deeper one it joins, or itself."""
    deepest = np.zeros(count, np.float32)
    for index in np.ndindex(piece.shape):
        deepest[piece[index]] = max(deepest[piece[index]], depth[index])
    parent = np.arange(count)
    share = np.full(count, openness)
    for z, y, x in np.ndindex(piece.shape):
        here = z, y, x
        for there in ((z, y, x + 1), (z, y + 1, x), (z + 1, y, x)):
            if not _is_contact(piece, here, there):
                continue
            a, b = min(piece[here], piece[there]), max(piece[here], piece[there])
            # From the shallower to the deeper; of equally deep ones from the later to the earlier.
            child, deeper = (b, a) if deepest[b] <= deepest[a] else (a, b)
            neck = min(depth[here], depth[there]) / max(deepest[child], np.float32(1e-6))
            known = parent[child]
            is_wider = neck > share[child] or (
                neck == share[child] and known != child
                and (deepest[deeper] > deepest[known]
                     or (deepest[deeper] == deepest[known] and deeper < known))
            )  # fmt: skip
            if is_wider:
                share[child], parent[child] = neck, deeper
    return parent


@numba.njit(cache=True, nogil=True)
def _is_contact(piece: Any, here: Any, there: Any) -> Any:
    if there[0] == piece.shape[0] or there[1] == piece.shape[1] or there[2] == piece.shape[2]:
        return False
    return piece[here] > 0 and piece[there] > 0 and piece[here] != piece[there]
