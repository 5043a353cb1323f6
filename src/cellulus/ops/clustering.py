"""Embeddings to clusters: the modes of their density, found locally and in linear time.

Mean-shift moves every embedding uphill in the density of all embeddings until it rests on a mode.
Here the density is a histogram on a global integer lattice, so that

- counts are integers and smoothed with integer weights: sums are exact in any order;
- a mode is a maximum that nothing higher within the bandwidth suppresses, ties going to the
  first in lexicographic order of coordinates;
- every embedding goes to the nearest mode within the bandwidth.

Each of these looks no farther than a few bandwidths: what a region yields does not depend on how
the image was cut, except near the region's edge. Lengths are canonical voxels, which are also the
lattice's bins. An image is a volume of one plane. Knows nothing of intensities or foreground.

Source: Fukunaga and Hostetler 1975; Comaniciu and Meer 2002 (mean-shift); the lattice is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy import spatial

from cellulus.ops.density import KERNEL_SHARE, WEIGHT_UNIT, kernel, mode_reach
from cellulus.ops.peaks import find_peaks
from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "KERNEL_SHARE",
    "WEIGHT_UNIT",
    "Embeddings",
    "count_votes",
    "find_modes",
    "kernel",
    "look_up",
    "mode_reach",
    "territories",
]


@dataclass(frozen=True)
class Embeddings:
    """Where the voxels of a region point to.

    Attributes
    ----------
    positions
        Global coordinates of the voxels along each axis, ``(n,)`` float64 [bin].
    offsets
        From each voxel to its embedding, ``(D, *S)`` float32 [bin].
    farthest
        Longer offsets, and such that are no number, are none.
    """

    positions: tuple[NDArray[np.float64], ...]
    offsets: NDArray[np.float32]
    farthest: float

    def _volumes(self) -> tuple[Any, ...]:
        """Return positions, offsets as volumes along each of three axes, and the limit."""
        missing = 3 - len(self.positions)
        shape = (1,) * missing + self.offsets.shape[1:]
        still = np.broadcast_to(np.zeros(1, np.float32), shape)
        offsets = [still] * missing + [offset.reshape(shape) for offset in self.offsets]
        positions = [np.zeros(1)] * missing + list(self.positions)
        return tuple(positions), tuple(offsets), np.float32(self.farthest**2)


def count_votes(
    embeddings: Embeddings,
    uncertainty: NDArray[np.float32],
    certain: float,
    corner: NDArray[np.int64],
    counts: NDArray[np.int32],
) -> None:
    """Add the certain embeddings to a histogram; those outside of the lattice do not count.

    Parameters
    ----------
    embeddings
        Of a region.
    uncertainty
        ``(*S)``.
    certain
        Voxels that are less uncertain vote.
    corner
        First bin of the lattice, ``(D,)``.
    counts
        Embeddings per bin, ``(*L)``.
    """
    positions, offsets, farthest = embeddings._volumes()
    doubt = uncertainty.reshape(offsets[0].shape)
    _count(positions, offsets, farthest, doubt, np.float32(certain), _three(corner),
           as_volume(counts))  # fmt: skip


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
    peaks, height = find_peaks(as_volume(counts), kernel(bandwidth))
    peaks = peaks[:, 3 - counts.ndim :]
    if len(peaks) == 0:
        return peaks
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
    owner = np.zeros(shape, np.uint32)
    places = np.zeros((len(modes), 3), np.int64)
    places[:, 3 - len(shape) :] = modes
    _stamp(places, bandwidth**2, int(bandwidth), as_volume(owner))
    return owner


def look_up(
    embeddings: Embeddings, owner: NDArray[np.uint32], corner: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Return what a lattice holds at the embeddings, ``(*S)``; 0 outside of it.

    Parameters
    ----------
    embeddings
        Of a region.
    owner
        What each bin holds, ``(*L)``.
    corner
        First bin of the lattice, ``(D,)``.
    """
    found = np.zeros(embeddings.offsets.shape[1:], np.uint32)
    positions, offsets, farthest = embeddings._volumes()
    lattice = as_volume(owner)
    _look_up(positions, offsets, farthest, _three(corner), lattice, as_volume(found))
    return found


def _three(corner: NDArray[np.int64]) -> tuple[int, ...]:
    return (0,) * (3 - len(corner)) + tuple(int(c) for c in corner)


@njit(cache=True, nogil=True)
def _bin(positions: Any, offsets: Any, farthest: Any, z: int, y: int, x: int) -> Any:
    """Return the bin of an embedding, and whether it is any."""
    a, b, c = offsets[0][z, y, x], offsets[1][z, y, x], offsets[2][z, y, x]
    is_near = (a * a + b * b) + c * c <= farthest
    if not is_near:
        return 0, 0, 0, False
    # float64, so that a voxel falls into the same bin whatever region it was read in.
    k = math.floor(positions[0][z] + a)
    j = math.floor(positions[1][y] + b)
    return k, j, math.floor(positions[2][x] + c), True


@njit(cache=True, nogil=True)
def _count(
    positions: Any, offsets: Any, farthest: Any, doubt: Any, certain: Any, corner: Any, counts: Any
) -> None:
    depth, height, width = counts.shape
    for z in range(doubt.shape[0]):
        for y in range(doubt.shape[1]):
            for x in range(doubt.shape[2]):
                if not doubt[z, y, x] < certain:
                    continue
                k, j, i, is_near = _bin(positions, offsets, farthest, z, y, x)
                k, j, i = k - corner[0], j - corner[1], i - corner[2]
                if is_near and 0 <= k < depth and 0 <= j < height and 0 <= i < width:
                    counts[k, j, i] += 1


@njit(cache=True, nogil=True)
def _look_up(
    positions: Any, offsets: Any, farthest: Any, corner: Any, owner: Any, found: Any
) -> None:
    depth, height, width = owner.shape
    for z in range(found.shape[0]):
        for y in range(found.shape[1]):
            for x in range(found.shape[2]):
                k, j, i, is_near = _bin(positions, offsets, farthest, z, y, x)
                k, j, i = k - corner[0], j - corner[1], i - corner[2]
                if is_near and 0 <= k < depth and 0 <= j < height and 0 <= i < width:
                    found[z, y, x] = owner[k, j, i]


@njit(cache=True, nogil=True)
def _stamp(modes: Any, squared_reach: float, reach: int, owner: Any) -> None:
    depth, height, width = owner.shape
    for m in range(len(modes)):
        z, y, x = modes[m]
        for k in range(max(z - reach, 0), min(z + reach + 1, depth)):
            for j in range(max(y - reach, 0), min(y + reach + 1, height)):
                flat = (k - z) ** 2 + (j - y) ** 2
                for i in range(max(x - reach, 0), min(x + reach + 1, width)):
                    away = flat + (i - x) ** 2
                    if away > squared_reach:
                        continue
                    other = modes[owner[k, j, i] - 1]
                    if owner[k, j, i] == 0 or away < (
                        (k - other[0]) ** 2 + (j - other[1]) ** 2 + (i - other[2]) ** 2
                    ):
                        owner[k, j, i] = m + 1
