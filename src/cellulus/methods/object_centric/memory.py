"""The memory that surveys and decoding take, an estimate from above; without their imports.

The constants were measured: `benchmarks/memory.py` compares estimates with peaks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellulus.methods.object_centric.settings import ObjectCentric

COUNTS, SMOOTHED = 4, 8
"""While modes are looked for: per bin, and per bin of the planes that are smoothed [byte]."""
RING, BESIDE = 40, 4
"""How many planes are smoothed at a time at most, and what is beside them [plane]."""
TERRITORIES = 4
"""Which mode is nearest, per bin [byte]."""
OUTLINES = {2: 50, 3: 28}
"""While outlines are decided, per voxel, besides the prediction and the image [byte]."""
MEAN_SHIFT = 90
"""While mean-shift groups the embeddings of a block, per voxel; counted, not measured [byte]."""


def memory_of(
    settings: ObjectCentric,
    step: int,
    outer: tuple[int, ...],
    core: tuple[int, ...],
    zoom: tuple[float, ...],
    object_voxels: float,
) -> float:
    """Return what a step takes; see `cellulus.methods.base.MethodSettings.memory`."""
    voxels, ndim, reach = math.prod(outer), len(outer), settings.reach(object_voxels)
    decodes = step == len(reach.surveys)
    if decodes and settings.clustering == "meanshift":
        return MEAN_SHIFT * voxels
    # Bins of all embeddings of what is read, or of those that the modes of a block depend on.
    extent = outer if decodes else core
    around = 2 * math.ceil(object_voxels if decodes else max(reach.surveys)) + 2
    lattice = [math.ceil(n * z) + around for n, z in zip(extent, zoom, strict=True)]
    bins = math.prod(lattice)
    if decodes:
        return max(TERRITORIES * bins + 4 * voxels, OUTLINES[ndim] * voxels)
    plane = bins // lattice[0] if ndim == 3 else bins
    return COUNTS * bins + SMOOTHED * plane * (min(RING, bins // plane) + BESIDE)
