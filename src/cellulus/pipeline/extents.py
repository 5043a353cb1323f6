"""The extents of crops, tiles and blocks, and what is seen around them.

Pure arithmetic on settings, shared by the steps and by the plan of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellulus.nn import shapes
from cellulus.space import Blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.experiment.sections import Experiment, Network, Postprocess

_WIDTH = {2: 20.0, 3: 12.0}
"""Width of an object: the published one, and one that costs volumes a fifth [canonical voxel]."""
_CROP = {2: 6.4, 3: 3.0}
"""Edge of a crop [object width]."""
_TILE = {2: 512, 3: 96}
_BLOCK = {2: 2048, 3: 256}
ROUND = 16
"""Long edges that are not set are multiples of it [voxel]."""

SEEN = 1.5
"""What is seen around a block where a decoder cannot be local [object diameter]."""


def object_width(network: Network, ndim: int) -> float:
    """Return how wide an object is on the grid that the network sees [canonical voxel]."""
    return _WIDTH[ndim] if network.object_voxels == "auto" else network.object_voxels


def crop_extent(experiment: Experiment, ndim: int) -> tuple[int, ...]:
    """Return what the network is given to learn from [canonical voxel]."""
    crop, depth = experiment.train.crop, experiment.network.depth
    halo = shapes.halo(depth)
    # A deeper network answers for as much as one of depth 1, and as wide as what it sees beyond.
    objects = round(_CROP[ndim] * object_width(experiment.network, ndim))
    auto = max(objects + 2 * max(0, halo - shapes.halo(1)), 4 * halo)
    return (shapes.legal_size(auto if crop == "auto" else crop, depth),) * ndim


def tile_edge(experiment: Experiment, ndim: int) -> int:
    """Return the largest edge of a tile [canonical voxel]."""
    tile = experiment.predict.tile
    return _TILE[ndim] if tile == "auto" else tile


def tile_extent(experiment: Experiment, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return what a prediction is made of at a time, without its halo [canonical voxel].

    A tile is as large as the grid if that is smaller, and moves by whole strides of the network.
    """
    step, edge = shapes.stride(experiment.network.depth), tile_edge(experiment, len(shape))
    return tuple(step * math.ceil(min(n, edge) / step) for n in shape)


def tile_input(core: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Return what the network is given for a tile, with its halo [canonical voxel]."""
    return tuple(shapes.legal_size(n + 2 * shapes.halo(depth), depth) for n in core)


def block_edge(experiment: Experiment, ndim: int) -> int:
    """Return the largest edge of a block [voxel]."""
    block = experiment.segment.block
    return _BLOCK[ndim] if block == "auto" else block


def block_extent(
    experiment: Experiment, shape: tuple[int, ...], zoom: Sequence[float]
) -> tuple[int, ...]:
    """Return what is segmented at a time, without its halo [voxel].

    A block is as wide along every axis in um, because what must be seen around it is: of all
    blocks of as many voxels, the cube needs the fewest around it.

    Parameters
    ----------
    experiment
        The settings; a block has as many voxels as a cube of its edge.
    shape
        Of the image; a block is no larger [voxel].
    zoom
        Canonical voxels per voxel, per axis.
    """
    edge, middle = block_edge(experiment, len(shape)), math.prod(zoom) ** (1 / len(zoom))
    return tuple(min(n, _near(edge, middle / z)) for n, z in zip(shape, zoom, strict=True))


def _near(edge: int, ratio: float) -> int:
    """Return about `ratio` edges, so that chunks of usual sizes can fill it."""
    if math.isclose(ratio, 1.0, rel_tol=1e-6):
        return edge
    length = edge * ratio
    return max(1, round(length) if length < 4 * ROUND else ROUND * round(length / ROUND))


def seen_around(halo: float, object_voxels: float) -> float:
    """Return how far around a block is seen: the halo of its decoder, if that is local.

    Parameters
    ----------
    halo, object_voxels
        Of a decoder, and the object diameter; both in canonical voxels, as is the result.
    """
    return SEEN * object_voxels if math.isinf(halo) else halo


def seen_from(
    experiment: Experiment, shape: tuple[int, ...], zoom: Sequence[float], halo: float
) -> Blocks:
    """Return the blocks of an image, each with what a decoder must see around it [voxel].

    Parameters
    ----------
    experiment
        The settings.
    shape
        Of the image [voxel].
    zoom
        Canonical voxels per voxel, per axis.
    halo
        How far must be seen [canonical voxel].
    """
    around = tuple(math.ceil(halo / z) + 1 if halo else 0 for z in zoom)
    return Blocks(shape, block_extent(experiment, shape, zoom), around)


def sees_objects_whole(settings: Postprocess) -> bool:
    """Return whether a voxel may depend on all of its object when labels are reshaped."""
    return settings.kind == "intensity" or settings.keep_largest or settings.fill_holes


def reshaping_margin(
    settings: Postprocess, spacing: Sequence[float], object_voxels: float
) -> tuple[int, ...]:
    """Return how far beyond its object a voxel looks when labels are reshaped [voxel].

    Parameters
    ----------
    settings
        What is done to the labels.
    spacing
        Canonical voxels per voxel, per axis.
    object_voxels
        Object diameter [canonical voxel].
    """
    distance = 2 * settings.grow + settings.shrink if settings.kind == "cell" else 0.0
    return tuple(math.ceil(distance * object_voxels / s) + 2 for s in spacing)


def reshaping_blocks(grid: Blocks, margin: Sequence[int], widest: Sequence[int]) -> Blocks:
    """Return blocks with the halo that reshaping needs.

    Parameters
    ----------
    grid
        The blocks.
    margin
        How far beyond its object a voxel looks, per axis [voxel].
    widest
        Extent of the widest object where objects must be seen whole, else zeros [voxel].
    """
    # A margin wider than a block would read every voxel more than 27 times.
    reach = (min(w, core) for w, core in zip(widest, grid.core, strict=True))
    halo = tuple(a + b for a, b in zip(reach, margin, strict=True))
    return Blocks(grid.shape, grid.core, halo)
