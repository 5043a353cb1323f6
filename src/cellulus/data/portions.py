"""How a volume is best read in parts: whole chunks, so that none is fetched twice.

Knows nothing of what is done with the parts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellulus.data.volume import Volume

PORTION = 2**24
"""Voxels read at once, at most, unless a single chunk is larger [voxel]."""


def portion_of(*volumes: Volume) -> tuple[int, ...]:
    """Return the extent of the parts in which volumes of one shape are read together [voxel].

    A part is a whole number of shards, or of chunks where shards are too large: of all volumes
    if that does not get too large, else of the first.
    """
    shape, grains = volumes[0].shape, [_grain(volume) for volume in volumes]
    common = tuple(math.lcm(*along) for along in zip(*grains, strict=True))
    core = [min(g, n) for g, n in zip(common, shape, strict=True)]
    if math.prod(core) > PORTION:
        core = [min(g, n) for g, n in zip(grains[0], shape, strict=True)]
    while True:
        # Compact parts cut few objects, so the shortest side grows first.
        for axis in sorted(range(len(shape)), key=core.__getitem__):
            grown = min(2 * core[axis], shape[axis])
            if grown > core[axis] and math.prod(core) // core[axis] * grown <= PORTION:
                core[axis] = grown
                break
        else:
            return tuple(core)


def _grain(volume: Volume) -> tuple[int, ...]:
    """Return the smallest part that is read without waste."""
    for kind in ("shards", "chunks"):
        extents = getattr(volume.array, kind, None)
        if extents:
            found = tuple(extents[volume.axes.index(axis)] for axis in volume.space)
            if kind == "chunks" or math.prod(found) <= PORTION:
                return found
    # Files without chunks hold one plane after the other, row by row.
    *depth, height, width = volume.shape
    return (*(1 for _ in depth), min(height, max(1, PORTION // width)), width)
