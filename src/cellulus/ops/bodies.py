"""Labels to convex bodies: pieces are cut at necks, and joined where they open into each other.

Every voxel climbs the smoothed distance to the background, inside its label, to a summit; what
climbs to one summit is a piece. The neck between two pieces is the greatest depth on their
contact, over the greatest depth of the shallower. A piece joins, of the deeper pieces it touches,
the one it is most open to, if it is open enough. Each piece makes one choice, towards greater
depth: the result does not depend on an order, and a sliver between two bodies cannot join them.

Ties go to the first in lexicographic order of coordinates. Knows nothing of intensities.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.nearest import distance_to
from cellulus.ops.smoothing import smooth
from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_STEPS = np.uint32(2**32 - 27)
"""Numbers from here on are no pieces but steps to the 27 voxels around, in lexicographic order."""
_STAY = np.uint32(2**32 - 14)


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
    piece = np.empty(labels.shape, np.uint32)
    summits = _ascend(labels, hill, piece)
    _, height, width = labels.shape
    moves = [(k * height + j) * width + i for k, j, i in itertools.product((-1, 0, 1), repeat=3)]
    _follow(piece.ravel(), np.array(moves))
    return piece, summits


@njit(cache=True, nogil=True)
def _ascend(labels: Any, hill: Any, piece: Any) -> Any:
    """Write each voxel's step uphill, in its label; number the summits, and return them."""
    depth, height, width = labels.shape
    summits = [0 for _ in range(0)]
    step, top = np.empty(width, np.uint32), np.empty(width, np.float32)
    for z in range(depth):
        for y in range(height):
            piece[z, y] = 0
            if not labels[z, y].any():
                continue
            _find_highest(labels, hill, z, y, step, top)
            for x in range(width):
                if labels[z, y, x] > 0:
                    piece[z, y, x] = step[x]
                    if step[x] == _STAY:
                        summits.append((z * height + y) * width + x)
                        piece[z, y, x] = len(summits)
    return np.array(summits, np.int64)


@njit(cache=True, nogil=True)
def _find_highest(labels: Any, hill: Any, z: int, y: int, step: Any, top: Any) -> None:
    """Find along a row the first of the highest voxels around each, itself included."""
    depth, height, width = labels.shape
    top[:] = -1
    for k in range(max(z - 1, 0), min(z + 2, depth)):
        for j in range(max(y - 1, 0), min(y + 2, height)):
            for i in range(-1, 2):
                low, high = max(-i, 0), min(width - i, width)
                code = _STEPS + 9 * (k - z + 1) + 3 * (j - y + 1) + i + 1
                there = labels[k, j, low + i : high + i], hill[k, j, low + i : high + i]
                _take_higher(labels[z, y, low:high], there[0], there[1], np.uint32(code),
                             step[low:high], top[low:high])  # fmt: skip


@njit(cache=True, nogil=True)
def _take_higher(own: Any, labels: Any, hill: Any, code: Any, step: Any, top: Any) -> None:
    """Step to what is higher than all so far, if it is of the same label, all along a row."""
    # Without branches, and in this order: so the compiler can do several at once.
    for x in range(top.size):
        is_higher = (labels[x] == own[x]) & (hill[x] > top[x])
        top[x] = hill[x] if is_higher else top[x]
        step[x] = code if is_higher else step[x]


@njit(cache=True, nogil=True)
def _follow(piece: Any, moves: Any) -> None:
    """Give every voxel the piece of the summit that it climbs to; each step is taken once."""
    for start in range(piece.size):
        if piece[start] < _STEPS:
            continue
        top = start
        while piece[top] >= _STEPS:
            top += moves[piece[top] - _STEPS]
        voxel = start
        while piece[voxel] >= _STEPS:
            move = moves[piece[voxel] - _STEPS]
            piece[voxel] = piece[top]
            voxel += move


@njit(cache=True, nogil=True)
def _parents(piece: Any, depth: Any, count: int, openness: Any) -> Any:
    """Return for each piece the deeper one it joins, or itself."""
    deepest = np.zeros(count, np.float32)
    for number, deep in zip(piece.ravel(), depth.ravel()):  # noqa: B905 - numba knows no strict
        if number > 0:
            deepest[number] = max(deepest[number], deep)
    parent = np.arange(count)
    share = np.full(count, openness)
    for z in range(piece.shape[0]):
        for y in range(piece.shape[1]):
            here, deep = piece[z, y], depth[z, y]
            _weigh_contacts(here[:-1], deep, here[1:], deep[1:], deepest, share, parent)
            for k, j in ((z, y + 1), (z + 1, y)):
                if k < piece.shape[0] and j < piece.shape[1]:
                    _weigh_contacts(here, deep, piece[k, j], depth[k, j], deepest, share, parent)
    return parent


@njit(cache=True, nogil=True)
def _weigh_contacts(
    here: Any, deep: Any, there: Any, deep_there: Any, deepest: Any, share: Any, parent: Any
) -> None:
    """Weigh the contacts between two rows of voxels."""
    count = 0
    for x in range(here.size):  # mostly there are none, and to see this is fast
        count += (here[x] != there[x]) & (here[x] > 0) & (there[x] > 0)
    for x in range(here.size if count > 0 else 0):
        one, other = here[x], there[x]
        if one != other and one > 0 and other > 0:
            neck = min(deep[x], deep_there[x])
            _weigh_contact(min(one, other), max(one, other), neck, deepest, share, parent)


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
