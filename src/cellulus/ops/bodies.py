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
    summit = _climb(labels, hill)
    roots, piece = np.unique(summit, return_inverse=True)
    piece = piece.reshape(labels.shape).astype(np.int64)
    if roots[0] == -1:  # the background
        roots = roots[1:]
    else:
        piece += 1
    deepest = np.zeros(len(roots) + 1, np.float32)
    np.maximum.at(deepest, piece.ravel(), depth.ravel())
    parent = _parents(piece, depth, deepest, openness)
    for _ in range(len(parent).bit_length()):
        parent = parent[parent]
    kept, body = np.unique(parent, return_inverse=True)
    summits = np.stack(np.unravel_index(roots[kept[kept > 0] - 1], labels.shape), axis=1)
    bodies: NDArray[np.uint32] = body.astype(np.uint32)[piece]
    return bodies, summits.astype(np.int64)


def _depth(inside: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """Return the distance to the background; what the region's edge cuts goes on behind it."""
    if inside.all():  # SciPy would measure to a background outside of the array
        return np.ones(inside.shape, np.float32)
    depth: NDArray[np.float32] = ndimage.distance_transform_edt(inside, sampling=spacing)
    return depth.astype(np.float32)


def _climb(labels: NDArray[np.uint32], hill: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the flat index of the summit that each voxel climbs to; -1 in the background."""
    ndim = labels.ndim
    padded = np.pad(labels, 1)
    heights = np.pad(hill, 1)
    steps = np.stack(np.meshgrid(*[(-1, 0, 1)] * ndim, indexing="ij"), axis=-1).reshape(-1, ndim)
    strides = np.cumprod([1, *padded.shape[:0:-1]])[::-1]
    offsets = (steps @ strides).astype(np.int64)
    target = _ascend(padded.ravel(), heights.ravel(), np.sort(offsets[offsets != 0]))
    inner = (slice(1, -1),) * ndim
    found = target.reshape(padded.shape)[inner]
    where = np.unravel_index(np.maximum(found, 0), padded.shape)
    flat = np.ravel_multi_index([np.maximum(w - 1, 0) for w in where], labels.shape)
    return np.where(found < 0, -1, flat)


@numba.njit(cache=True)
def _ascend(labels: Any, heights: Any, offsets: Any) -> Any:
    target = np.full(labels.size, -1, np.int64)
    for i in range(labels.size):
        if labels[i] == 0:
            continue
        best = i
        for offset in offsets:
            j = i + offset
            if labels[j] != labels[i]:
                continue
            if heights[j] > heights[best] or (heights[j] == heights[best] and j < best):
                best = j
        target[i] = best
    _shorten(target)
    return target


@numba.njit(cache=True)
def _shorten(target: Any) -> None:
    """Let every voxel point at its summit; each step is taken once."""
    for i in range(target.size):
        top = i
        while target[top] >= 0 and target[top] != top:
            top = target[top]
        while target[i] >= 0 and target[i] != top:
            following = target[i]
            target[i] = top
            i = following


def _parents(
    piece: NDArray[np.int64],
    depth: NDArray[np.float32],
    deepest: NDArray[np.float32],
    openness: float,
) -> NDArray[np.int64]:
    """Return for each piece the deeper one it joins, or itself."""
    pairs, depths = [], []
    for axis in range(piece.ndim):
        one = tuple(slice(None, -1) if a == axis else slice(None) for a in range(piece.ndim))
        two = tuple(slice(1, None) if a == axis else slice(None) for a in range(piece.ndim))
        touch = (piece[one] != piece[two]) & (piece[one] > 0) & (piece[two] > 0)
        pairs.append(np.stack([piece[one][touch], piece[two][touch]], axis=1))
        depths.append(np.minimum(depth[one][touch], depth[two][touch]))
    parent = np.arange(len(deepest))
    touching, neck = np.concatenate(pairs), np.concatenate(depths)
    # From the shallower to the deeper; of equally deep ones from the later to the earlier.
    a, b = touching.min(axis=1), touching.max(axis=1)
    b_joins = deepest[b] <= deepest[a]
    child, deeper = np.where(b_joins, b, a), np.where(b_joins, a, b)
    share = neck / np.maximum(deepest[child], 1e-6)
    order = np.lexsort((deeper, -deepest[deeper], -share, child))
    child, deeper, share = child[order], deeper[order], share[order]
    first = np.concatenate([[True], child[1:] != child[:-1]]) if len(child) else np.zeros(0, bool)
    joins = first & (share > openness)
    parent[child[joins]] = deeper[joins]
    return parent
