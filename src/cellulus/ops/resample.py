"""Resampling between an image grid and the canonical grid, index by index.

Every output voxel is computed from global coordinates alone, in a fixed order of additions: a
part of the grid computed by itself equals the same part of the whole, bit for bit. Upsampling is
linear; downsampling widens the triangle, so that it does not alias, unless the values are vectors
that must not be averaged across an edge. Knows nothing of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def reflect(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Map indices outside a grid back into it, mirrored at the outermost voxels."""
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    folded = np.mod(index, period)
    mirrored: NDArray[np.int64] = np.minimum(folded, period - folded)
    return mirrored


def taps(
    index: NDArray[np.int64], zoom: float, size: int, *, widen: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return which input voxels make each output voxel, and with what weight.

    Parameters
    ----------
    index
        Output voxels, ``(n,)``.
    zoom
        Output voxels per input voxel.
    size
        Extent of the input; its edge voxels extend outwards.
    widen
        Whether downsampling averages over all it skips; otherwise it is linear too.

    Returns
    -------
    source, weight
        Each ``(n, t)``; the weights of an output voxel sum to 1.
    """
    centre = (index + 0.5) / zoom - 0.5
    reach = max(1.0, 1.0 / zoom) if widen else 1.0
    first = np.floor(centre - reach).astype(np.int64) + 1
    source = first[:, None] + np.arange(int(np.ceil(2 * reach)))
    weight = np.maximum(0.0, 1.0 - np.abs(source - centre[:, None]) / reach)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.clip(source, 0, size - 1), weight.astype(np.float32)


def source_region(
    index: Sequence[NDArray[np.int64]],
    zoom: tuple[float, ...],
    shape: tuple[int, ...],
) -> tuple[slice, ...]:
    """Return the part of the input that the output voxels `index`, per axis, need."""
    region = []
    for i, z, n in zip(index, zoom, shape, strict=True):
        source, _ = taps(i, z, n)
        region.append(slice(int(source.min()), int(source.max()) + 1))
    return tuple(region)


def resample(
    data: NDArray[np.float32],
    region: tuple[slice, ...],
    index: Sequence[NDArray[np.int64]],
    zoom: tuple[float, ...],
    shape: tuple[int, ...],
    *,
    widen: bool = True,
) -> NDArray[np.float32]:
    """Return the output voxels `index` of a grid resampled by `zoom`.

    Parameters
    ----------
    data
        ``(C, *region)``, the part of the input that `source_region` names.
    region
        Where `data` lies in the input.
    index
        Output voxels per axis.
    zoom
        Output voxels per input voxel, per axis.
    shape
        Extent of the whole input.
    widen
        As in `taps`.

    Returns
    -------
    resampled
        ``(C, *[len(i) for i in index])`` float32.
    """
    for axis, (i, z, n, part) in enumerate(zip(index, zoom, shape, region, strict=True), start=1):
        source, weight = taps(i, z, n, widen=widen)
        source = source - part.start
        along = [1] * data.ndim
        along[axis] = -1
        result = np.zeros((*data.shape[:axis], len(i), *data.shape[axis + 1 :]), np.float32)
        for tap in range(source.shape[1]):
            result += data.take(source[:, tap], axis=axis) * weight[:, tap].reshape(along)
        data = result
    return data
