"""Pyramids: which levels an image gets, and how each is made from the one before it.

Works from disk to disk, one output shard at a time. Knows nothing of OME-Zarr metadata.
Images are averaged, labels are sampled: a label between two labels would be a third object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellulus.space import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr
    from numpy.typing import NDArray

    from cellulus.progress import Progress
    from cellulus.space import Region

_COARSEST = 256
"""No further level is made once every axis is this short [voxel]."""
_SHORTEST = 4
"""An axis shorter than this is left alone, so that no volume turns into a plane [voxel]."""


@dataclass(frozen=True)
class Grid:
    """One level of a pyramid.

    Attributes
    ----------
    shape
        Extent per axis [voxel].
    factors
        Voxels of the finest level per voxel of this one, per axis.
    """

    shape: tuple[int, ...]
    factors: tuple[float, ...]


def plan(axes: str, shape: tuple[int, ...], extents: tuple[float, ...]) -> tuple[Grid, ...]:
    """Return the levels of a pyramid, finest first; its voxels approach isotropy.

    Parameters
    ----------
    axes, shape, extents
        Letter, number of voxels and extent of a voxel, per axis; only z, y and x shrink.
    """
    spatial = [i for i, axis in enumerate(axes) if axis in "zyx"]
    grids = [Grid(shape, (1.0,) * len(shape))]
    while max(grids[-1].shape[i] for i in spatial) > _COARSEST:
        last = grids[-1]
        sizes = [e * f for e, f in zip(extents, last.factors, strict=True)]
        finest = min(sizes[i] for i in spatial if last.shape[i] >= _SHORTEST)
        # Halving brings an axis closer to the finest one up to a ratio of sqrt(2).
        steps = [
            2 if i in spatial and n >= _SHORTEST and sizes[i] < math.sqrt(2) * finest else 1
            for i, n in enumerate(last.shape)
        ]
        grids.append(
            Grid(
                tuple(-(-n // step) for n, step in zip(last.shape, steps, strict=True)),
                tuple(f * step for f, step in zip(last.factors, steps, strict=True)),
            )
        )
    return tuple(grids)


def predecessor(grids: tuple[Grid, ...], index: int) -> tuple[int, tuple[float, ...]]:
    """Return from which level to make level `index`, and the ratios between the two.

    The one just before it, unless somebody else's pyramid has steps such as 1, 2, 3.
    """
    for source in range(index - 1, -1, -1):
        ratios = tuple(
            b / a for a, b in zip(grids[source].factors, grids[index].factors, strict=True)
        )
        if all(abs(ratio - round(ratio)) < 1e-3 for ratio in ratios):
            break
    return source, ratios


def fill(
    source: zarr.Array[Any],
    target: zarr.Array[Any],
    ratios: tuple[float, ...],
    average: bool,
    progress: Progress,
) -> None:
    """Fill one level from the one before it, holding one shard of `target` in memory.

    Parameters
    ----------
    source, target
        Two levels.
    ratios
        Voxels of `source` per voxel of `target`, per axis; 1 or 2 for averages.
    average
        Whether a voxel is the mean of those it covers, or the first of them.
    progress
        Advances by one per shard.
    """
    for region in regions(target.shape, target.shards or target.chunks):
        fill_region(source, target, region, ratios, average)
        progress.advance()


def fill_region(
    source: zarr.Array[Any],
    target: zarr.Array[Any],
    region: Region,
    ratios: tuple[float, ...],
    average: bool,
) -> None:
    """Fill one shard of a level; see `fill`."""
    reduce = _mean if average else _nearest
    shape = tuple(r.stop - r.start for r in region)
    shard = np.empty(shape, target.dtype)
    for piece in regions(shape, target.chunks):
        place = tuple(
            slice(r.start + p.start, r.start + p.stop) for r, p in zip(region, piece, strict=True)
        )
        shard[piece] = reduce(source, place, ratios)
    target[region] = shard


def regions(shape: tuple[int, ...], step: tuple[int, ...]) -> Iterator[Region]:
    """Cut a grid into pieces of at most `step` voxels, in C order."""
    return (block.core for block in blocks(shape, step, (0,) * len(shape)))


def count(shape: tuple[int, ...], step: tuple[int, ...]) -> int:
    """Return the number of pieces that `regions` yields."""
    return math.prod(-(-n // s) for n, s in zip(shape, step, strict=True))


def _mean(source: zarr.Array[Any], place: Region, ratios: tuple[float, ...]) -> NDArray[Any]:
    steps = [round(ratio) for ratio in ratios]
    wanted = [
        slice(p.start * step, min(p.stop * step, n))
        for p, step, n in zip(place, steps, source.shape, strict=True)
    ]
    data = np.asarray(source[tuple(wanted)])
    kind = np.float64 if data.dtype.itemsize > 2 else np.float32
    whole = [(p.stop - p.start) * step for p, step in zip(place, steps, strict=True)]
    # At a ratio of two, repeating the last voxel leaves the mean of what is there unchanged.
    missing = [(0, n - have) for n, have in zip(whole, data.shape, strict=True)]
    data = np.pad(data, missing, mode="edge") if any(m for _, m in missing) else data
    split = [e for n, step in zip(whole, steps, strict=True) for e in (n // step, step)]
    result = data.reshape(split).mean(axis=tuple(range(1, len(split), 2)), dtype=kind)
    rounded: NDArray[Any] = np.rint(result) if source.dtype.kind in "iub" else result
    return rounded


def _nearest(source: zarr.Array[Any], place: Region, ratios: tuple[float, ...]) -> NDArray[Any]:
    indices = [
        # A little more than nothing, so that 3 * (1 / 3) does not fall short of 1.
        np.minimum((np.arange(p.start, p.stop) * ratio + 1e-6).astype(np.intp), n - 1)
        for p, ratio, n in zip(place, ratios, source.shape, strict=True)
    ]
    data = source[tuple(slice(int(i[0]), int(i[-1]) + 1) for i in indices)]
    part: NDArray[Any] = np.asarray(data)[np.ix_(*(i - i[0] for i in indices))]
    return part
