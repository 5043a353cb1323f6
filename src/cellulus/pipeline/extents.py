"""The extents that an experiment leaves to us: of crops, tiles and blocks.

Pure arithmetic on settings, shared by the steps and by the plan of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cellulus.nn import shapes

if TYPE_CHECKING:
    from cellulus.experiment.sections import Experiment

_CROP = {2: 128, 3: 48}
_TILE = {2: 512, 3: 96}
_BLOCK = {2: 2048, 3: 256}


def crop_extent(experiment: Experiment, ndim: int) -> tuple[int, ...]:
    """Return what the network is given to learn from [canonical voxel]."""
    crop = experiment.train.crop
    edge = _CROP[ndim] if crop == "auto" else crop
    return (shapes.legal_size(edge, experiment.network.depth),) * ndim


def tile_extent(experiment: Experiment, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return what a prediction is made of at a time, without its halo [canonical voxel].

    A tile is as large as the grid if that is smaller, and moves by whole strides of the network.
    """
    tile, step = experiment.predict.tile, shapes.stride(experiment.network.depth)
    edge = _TILE[len(shape)] if tile == "auto" else tile
    return tuple(step * math.ceil(min(n, edge) / step) for n in shape)


def block_extent(experiment: Experiment, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return what is segmented at a time, without its halo [voxel]."""
    block = experiment.segment.block
    edge = _BLOCK[len(shape)] if block == "auto" else block
    return tuple(min(n, edge) for n in shape)
