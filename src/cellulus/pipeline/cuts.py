"""How an image is cut for each step: how many parts, and how much is read for them.

Exact, and arithmetic alone; only how wide the objects are that postprocess must see whole is not
known before they are found. Knows nothing of bytes, seconds or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellulus.pipeline.extents import (
    block_extent,
    reshaping_blocks,
    reshaping_margin,
    seen_around,
    seen_from,
    sees_objects_whole,
    tile_extent,
    tile_input,
)
from cellulus.space import Blocks, Scale

if TYPE_CHECKING:
    from cellulus.data.volume import Volume
    from cellulus.experiment.sections import Experiment
    from cellulus.pipeline.prediction import Facts

Shape = tuple[int, ...]

WIDE = 2.0
"""How wide the widest object is taken to be before it is found [object diameter]."""


@dataclass(frozen=True)
class Subject:
    """What is worked on, as far as its cutting depends on it.

    Attributes
    ----------
    shape
        Of the image, ``(z,) y, x`` [voxel].
    zoom
        Canonical voxels per voxel, per axis.
    inputs
        Channels of the image that are used.
    itemsize
        Of its intensities [byte].
    object_voxels
        Object diameter [canonical voxel].
    """

    shape: Shape
    zoom: tuple[float, ...]
    inputs: int
    itemsize: int
    object_voxels: float

    @classmethod
    def of(cls, facts: Facts, image: Volume) -> Subject:
        """Return an image that was looked at, as a subject."""
        inputs, itemsize = len(facts.channels), image.dtype.itemsize
        return cls(facts.shape, facts.zoom, inputs, itemsize, facts.object_voxels)

    @property
    def canonical(self) -> Shape:
        """Extent of the canonical grid [voxel]."""
        return Scale(self.zoom).canonical_shape(self.shape)


@dataclass(frozen=True)
class Cut:
    """How a grid is cut for a step.

    Attributes
    ----------
    count
        Number of parts.
    core
        Extent of a part [voxel].
    outer
        The most that is read for one part [voxel].
    voxels
        All that is read, voxel by voxel as often as it is read.
    overhead
        The same, over the voxels of the grid.
    """

    count: int
    core: Shape
    outer: Shape
    voxels: int
    overhead: float

    @classmethod
    def of(cls, grid: Blocks) -> Cut:
        """Return what a grid of blocks comes to; those with a halo overlap."""
        along = [
            [block.outer[axis] for block in _row(grid, axis)] for axis in range(len(grid.shape))
        ]
        lengths = [[part.stop - part.start for part in parts] for parts in along]
        read = math.prod(sum(axis) for axis in lengths)
        outer = tuple(max(axis) for axis in lengths)
        return cls(len(grid), grid.core, outer, read, read / math.prod(grid.shape))


def tiling(experiment: Experiment, subject: Subject) -> Cut:
    """Return how the canonical grid is cut for the network; tiles are read alike."""
    shape = subject.canonical
    core = tile_extent(experiment, shape)
    outer = tile_input(core, experiment.network.depth)
    count = len(Blocks(shape, core, (0,) * len(shape)))
    read = count * math.prod(outer)
    return Cut(count, core, outer, read, read / math.prod(shape))


def surveys(experiment: Experiment, subject: Subject) -> list[Cut]:
    """Return how the image is cut for each survey of the decoder."""
    found = experiment.method.reach(subject.object_voxels).surveys
    return [Cut.of(seen_from(experiment, subject.shape, subject.zoom, halo)) for halo in found]


def decoding(experiment: Experiment, subject: Subject) -> Cut:
    """Return how the image is cut for the decoder."""
    halo = experiment.method.reach(subject.object_voxels).halo
    around = seen_around(halo, subject.object_voxels)
    return Cut.of(seen_from(experiment, subject.shape, subject.zoom, around))


def reshaping(experiment: Experiment, subject: Subject) -> Cut:
    """Return how labels are cut to be reshaped, if no object is wider than `WIDE`."""
    settings, shape = experiment.postprocess, subject.shape
    margin = reshaping_margin(settings, subject.zoom, subject.object_voxels)
    widest = [0] * len(shape)
    if sees_objects_whole(settings):
        widest = [math.ceil(WIDE * subject.object_voxels / z) for z in subject.zoom]
    grid = Blocks(shape, block_extent(experiment, shape, subject.zoom), (0,) * len(shape))
    return Cut.of(reshaping_blocks(grid, margin, widest))


def _row(grid: Blocks, axis: int) -> Blocks:
    """Return the first blocks along an axis: what a block reads along it is alike for all."""
    shape = tuple(n if a == axis else 1 for a, n in enumerate(grid.shape))
    return Blocks(shape, grid.core, grid.halo, grid.clip)
