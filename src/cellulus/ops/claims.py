"""Who gets a voxel that several objects claim, and how much of what one claims is new.

The membership of a voxel in an object is ``2 ** -q``, q the sum over axes of the squares of
``(embedding - centre) / margin``. An object claims the voxels whose membership is more than one
half: where q is less than 1. What becomes of a voxel depends on its own embedding and on the
claimants alone, and is computed from global coordinates in one order: the time is linear in the
voxels, and results do not depend on how the image was cut.

Source: Lalit et al. 2022, arXiv 2101.10033, section 2; Neven et al., CVPR 2019. Lengths are
canonical voxels. Knows nothing of where claimants come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cellulus.ops.claimants import SLACK, away, build_lattice, embed, look_up
from cellulus.ops.volume import as_volume, of_three

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellulus.ops.claimants import Claimants, EmbeddingMap


def assign(region: EmbeddingMap, claimants: Claimants, foreground: float) -> NDArray[np.uint32]:
    """Return the claimant that each voxel belongs to, from 1; 0 if there is none, ``(*S)``.

    Parameters
    ----------
    region
        Where voxels point to.
    claimants
        Of those that claim a voxel, that with the highest membership gets it; of equals the first.
    foreground
        Voxels with more seediness can be claimed.
    """
    labels = np.zeros(region.seeds.shape, np.uint32)
    if len(claimants) > 0 and labels.size > 0:
        lattice = build_lattice(region, claimants)
        limit = np.float32(foreground)
        _assign(region.as_volumes(), limit, lattice, claimants.reach, as_volume(labels))
    return labels


def count_claims(
    region: EmbeddingMap, claimants: Claimants, foreground: float, window: float
) -> NDArray[np.int64]:
    """Count the voxels that each claimant claims, as far as it can reach.

    Parameters
    ----------
    region, foreground
        As for `assign`.
    claimants
        In order: a voxel is new to the first that claims it.
    window
        Half the edge of a box around each centre.

    Returns
    -------
    counts
        ``(n, 4)``: voxels claimed; those of them that are new; those whose middles lie in the
        window; those in it, less than a voxel from one of its faces.
    """
    counts = np.zeros((len(claimants), 4), np.int64)
    if len(claimants) > 0 and region.seeds.size > 0:
        lattice = build_lattice(region, claimants)
        clear = of_three([window - step - SLACK for step in region.spacing], window)
        limit = np.float32(foreground)
        _count(region.as_volumes(), limit, lattice, window, clear, counts)
    return counts


@njit(cache=True, nogil=True)
def _assign(volumes: Any, foreground: Any, lattice: Any, reach: Any, labels: Any) -> None:
    positions, offsets, farthest, seeds = volumes
    corner, cell, shape, starts, members, centres, inverse = lattice
    depth, height, width = seeds.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not seeds[z, y, x] > foreground:
                    continue
                a, b, c, is_any = embed(positions, offsets, farthest, z, y, x)
                place = look_up(corner, cell, shape, a, b, c) if is_any else -1
                if place < 0:
                    continue
                nearest = 1.0
                for n in range(starts[place], starts[place + 1]):
                    m = members[n]
                    squared = away(centres[m], inverse[m], a, b, c)
                    if squared < nearest and _is_within(
                        centres[m], reach[m], positions[0][z], positions[1][y], positions[2][x]
                    ):
                        nearest = squared
                        labels[z, y, x] = m + 1


@njit(cache=True, nogil=True)
def _count(
    volumes: Any, foreground: Any, lattice: Any, window: float, clear: Any, counts: Any
) -> None:
    positions, offsets, farthest, seeds = volumes
    corner, cell, shape, starts, members, centres, inverse = lattice
    depth, height, width = seeds.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not seeds[z, y, x] > foreground:
                    continue
                a, b, c, is_any = embed(positions, offsets, farthest, z, y, x)
                place = look_up(corner, cell, shape, a, b, c) if is_any else -1
                if place < 0:
                    continue
                is_new = True
                for n in range(starts[place], starts[place + 1]):
                    m = members[n]
                    if not away(centres[m], inverse[m], a, b, c) < 1:
                        continue
                    counts[m, 0] += 1
                    counts[m, 1] += is_new
                    is_new = False
                    k = abs(positions[0][z] - centres[m, 0])
                    j = abs(positions[1][y] - centres[m, 1])
                    i = abs(positions[2][x] - centres[m, 2])
                    if k <= window and j <= window and i <= window:
                        counts[m, 2] += 1
                        counts[m, 3] += k > clear[0] or j > clear[1] or i > clear[2]


@njit(cache=True, nogil=True)
def _is_within(centre: Any, reach: float, z: float, y: float, x: float) -> bool:
    """Return whether a voxel is not too far from a centre."""
    return bool(
        abs(z - centre[0]) <= reach and abs(y - centre[1]) <= reach and abs(x - centre[2]) <= reach
    )
