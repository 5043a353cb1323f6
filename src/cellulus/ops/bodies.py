"""Labels to convex bodies: pieces are cut at necks, and joined where they open into each other.

Every voxel climbs the smoothed distance to the background, inside its label, to a summit; what
climbs to one summit is a piece. The neck between two pieces is the greatest depth on their
contact, over the greatest depth of the shallower. A piece joins, of the deeper pieces it touches,
the one it is most open to, if it is open enough. Each piece makes one choice, towards greater
depth: the result does not depend on an order, and a sliver between two bodies cannot join them.

Ties go to the first in lexicographic order of coordinates. Knows nothing of intensities.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


ABREAST = 64
"""Lines searched at a time: neighbours in memory, few enough for the cache."""


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
    if inside.all():  # SciPy would measure to a background outside of the array
        return np.ones(inside.shape, np.float32)
    squared = np.zeros(inside.shape)
    squared[inside] = np.inf
    for axis, step in enumerate(spacing):
        lines = (-1, inside.shape[axis], math.prod(inside.shape[axis + 1 :]))
        _approach(squared.reshape(lines), step)
    return np.sqrt(squared, out=squared).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _approach(squared: Any, step: float) -> None:
    """Lower squared distances to what lies along the middle axis: one of a separable search."""
    before, length, after = squared.shape
    for outer in range(before):
        for start in range(0, after, ABREAST):
            least = squared[outer, :, start : start + ABREAST].copy()
            for target in range(length):
                for line in range(least.shape[1]):
                    if least[target, line] > 0:
                        near = _nearest(least[:, line], target, step)
                        squared[outer, target, start + line] = near


@numba.njit(cache=True, nogil=True)
def _nearest(squared: Any, target: int, step: float) -> Any:
    least = squared[target]
    for away in range(1, max(target, squared.size - 1 - target) + 1):
        further = (step * away) ** 2
        if further >= least:
            break
        if target >= away:
            least = min(least, squared[target - away] + further)
        if target + away < squared.size:
            least = min(least, squared[target + away] + further)
    return least


@numba.njit(cache=True, nogil=True)
def _climb(labels: Any, hill: Any) -> Any:
    """Return the piece of each voxel from 1, and the flat indices of their summits, ascending."""
    depth, height, width = labels.shape
    target = np.full(labels.size, -1, np.int64)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if labels[z, y, x] > 0:
                    target[(z * height + y) * width + x] = _steepest(labels, hill, z, y, x)
    return _gather(target, labels.shape)


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
def _gather(target: Any, shape: Any) -> Any:
    """Number the summits, and let every voxel know its own; each step is taken once."""
    piece = np.zeros(target.size, np.uint32)
    count = 0
    for i in range(target.size):
        if target[i] == i:
            count += 1
            piece[i] = count
    roots, number = np.empty(count, np.int64), 0
    for i in range(target.size):
        if target[i] == i:
            roots[number] = i
            number += 1
        top = i
        while target[top] >= 0 and piece[top] == 0:
            top = target[top]
        found, voxel = piece[top], i
        while target[voxel] >= 0 and piece[voxel] == 0:
            piece[voxel] = found
            voxel = target[voxel]
    return piece.reshape(shape), roots


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
def _is_contact(piece: Any, here: Any, there: Any) -> bool:
    if there[0] == piece.shape[0] or there[1] == piece.shape[1] or there[2] == piece.shape[2]:
        return False
    return piece[here] > 0 and piece[there] > 0 and piece[here] != piece[there]
