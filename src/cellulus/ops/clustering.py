"""Embeddings to clusters: the modes of their density, found locally and in linear time.

Mean-shift moves every embedding uphill in the density of all embeddings until it rests on a mode.
Here the density is a histogram on a global integer lattice, so that

- counts are integers and smoothed with integer weights: sums are exact in any order;
- a mode is a maximum that nothing higher within the bandwidth suppresses, ties going to the
  first in lexicographic order of coordinates;
- every embedding goes to the nearest mode within the bandwidth.

Each of these looks no farther than a few bandwidths: what a region yields does not depend on how
the image was cut, except near the region's edge. Lengths are canonical voxels, which are also the
lattice's bins. Knows nothing of images or foreground.

Source: Fukunaga and Hostetler 1975; Comaniciu and Meer 2002 (mean-shift); the lattice is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from scipy import ndimage, spatial

from cellulus.ops.density import KERNEL_SHARE, WEIGHT_UNIT, kernel, mode_reach, reach

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "KERNEL_SHARE",
    "WEIGHT_UNIT",
    "count_votes",
    "find_modes",
    "kernel",
    "look_up",
    "mode_reach",
    "reach",
    "territories",
]


def count_votes(
    bins: NDArray[np.int32], votes: NDArray[np.bool_], counts: NDArray[np.int32]
) -> None:
    """Add the voting embeddings to a histogram; those outside the lattice do not count.

    Parameters
    ----------
    bins
        ``(D, n)``, lattice coordinates relative to its corner.
    votes
        ``(n,)``, which embeddings count.
    counts
        Embeddings per bin, ``(*L)``.
    """
    _count(bins, votes, np.array(counts.shape, np.int64), counts.reshape(-1))


def find_modes(counts: NDArray[np.int32], bandwidth: float) -> NDArray[np.int64]:
    """Return the modes of a histogram.

    Parameters
    ----------
    counts
        Embeddings per bin, ``(*L)``.
    bandwidth
        Of two maxima closer than this only the higher is a mode [bin].

    Returns
    -------
    modes
        ``(n, D)`` bins, in lexicographic order.
    """
    weights = kernel(bandwidth)
    density = counts.astype(np.float64)
    for axis in range(counts.ndim):
        density = ndimage.correlate1d(density, weights, axis, mode="constant")
    peaks = np.argwhere(_local_maxima(density))
    if len(peaks) == 0:
        return np.zeros((0, counts.ndim), np.int64)
    height = density[tuple(peaks.T)]
    pairs = spatial.cKDTree(peaks).query_pairs(bandwidth, output_type="ndarray")
    # Peaks are in lexicographic order, so of equals the one with the smaller index is higher.
    first, second = pairs.min(axis=1), pairs.max(axis=1)
    second_loses = height[first] >= height[second]
    suppressed = np.zeros(len(peaks), bool)
    suppressed[np.where(second_loses, second, first)] = True
    modes: NDArray[np.int64] = peaks[~suppressed]
    return modes


def territories(
    modes: NDArray[np.int64], bandwidth: float, shape: tuple[int, ...]
) -> NDArray[np.uint32]:
    """Return for each bin the number of its nearest mode, from 1; 0 if none is near.

    Parameters
    ----------
    modes
        ``(m, D)`` bins; they may lie outside of the lattice.
    bandwidth
        Farthest distance to a mode [bin].
    shape
        Extent of the lattice, ``(D,)``.

    Returns
    -------
    owner
        ``(*L)`` uint32; of equally near modes the first.
    """
    ball = _ball(bandwidth, len(shape))
    nearest = np.full(int(np.prod(shape)), np.iinfo(np.int32).max, np.int32)
    owner = np.zeros(int(np.prod(shape)), np.uint32)
    extent = np.array(shape, np.int64)
    _stamp(modes, ball, (ball**2).sum(axis=1).astype(np.int32), extent, nearest, owner)
    return owner.reshape(shape)


def look_up(bins: NDArray[np.int32], owner: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return what a lattice holds at bins, ``(D, n)``; 0 outside of it, ``(n,)``."""
    found: NDArray[np.uint32] = _look_up(bins, np.array(owner.shape, np.int64), owner.reshape(-1))
    return found


def _ball(radius: float, ndim: int) -> NDArray[np.int64]:
    r = int(radius)
    grid = np.stack(np.meshgrid(*[np.arange(-r, r + 1)] * ndim, indexing="ij"), axis=-1)
    points: NDArray[np.int64] = grid.reshape(-1, ndim)
    inside: NDArray[np.int64] = points[(points**2).sum(axis=1) <= radius**2]
    return inside


def _local_maxima(density: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark bins that no neighbour, diagonals included, exceeds; of equals the first counts."""
    neighbours = np.ones((3,) * density.ndim, bool)
    flat = neighbours.ravel()
    middle = flat.size // 2
    before, after = flat.copy(), flat.copy()
    before[middle:] = False
    after[: middle + 1] = False
    higher_before = ndimage.maximum_filter(
        density, footprint=before.reshape(neighbours.shape), mode="constant", cval=-1.0
    )
    higher_after = ndimage.maximum_filter(
        density, footprint=after.reshape(neighbours.shape), mode="constant", cval=-1.0
    )
    is_peak: NDArray[np.bool_] = density > higher_before
    is_peak &= (density > 0) & (density >= higher_after)
    return is_peak


@numba.njit(cache=True)
def _index(bins: Any, i: int, shape: Any) -> int:
    index = 0
    for d in range(shape.size):
        b = bins[d, i]
        if b < 0 or b >= shape[d]:
            return -1
        index = index * shape[d] + b
    return index


@numba.njit(cache=True)
def _count(bins: Any, votes: Any, shape: Any, counts: Any) -> None:
    for i in range(bins.shape[1]):
        if votes[i]:
            index = _index(bins, i, shape)
            if index >= 0:
                counts[index] += 1


@numba.njit(cache=True)
def _stamp(modes: Any, ball: Any, squared: Any, shape: Any, nearest: Any, owner: Any) -> None:
    for m in range(modes.shape[0]):
        for k in range(ball.shape[0]):
            index = 0
            inside = True
            for d in range(shape.size):
                b = modes[m, d] + ball[k, d]
                if b < 0 or b >= shape[d]:
                    inside = False
                    break
                index = index * shape[d] + b
            if inside and squared[k] < nearest[index]:
                nearest[index] = squared[k]
                owner[index] = m + 1


@numba.njit(cache=True)
def _look_up(bins: Any, shape: Any, owner: Any) -> Any:
    labels = np.zeros(bins.shape[1], np.uint32)
    for i in range(bins.shape[1]):
        index = _index(bins, i, shape)
        if index >= 0:
            labels[i] = owner[index]
    return labels
