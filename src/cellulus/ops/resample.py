"""Resampling between an image grid and the canonical grid, index by index.

Every output voxel is computed from global coordinates alone, in a fixed order of additions: a
part of the grid computed by itself equals the same part of the whole, bit for bit. Upsampling is
linear; downsampling widens the triangle, so that it does not alias, unless the values are vectors
that must not be averaged across an edge. Knows nothing of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from cellulus.ops.volume import as_volume

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
    data: NDArray[Any],
    region: tuple[slice, ...],
    index: Sequence[NDArray[np.int64]],
    zoom: tuple[float, ...],
    shape: tuple[int, ...],
    *,
    widen: bool = True,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return the output voxels `index` of a grid resampled by `zoom`.

    Parameters
    ----------
    data
        ``(C, *region)``, the part of the input that `source_region` names, of any real type.
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
    out
        Where to put the result; a new array by default.

    Returns
    -------
    resampled
        ``(C, *[len(i) for i in index])`` float32.
    """
    still = (np.zeros((1, 1), np.uint32), np.ones((1, 1), np.float32))
    made = [still] * (3 - len(index))
    for i, z, n, part in zip(index, zoom, shape, region, strict=True):
        source, weight = taps(i, z, n, widen=widen)
        # Where rounding asks for one voxel more, that has no weight to speak of.
        inside = np.clip(source - part.start, 0, part.stop - part.start - 1)
        # Indices without a sign need no look whether they count from the end.
        made.append((inside.T.astype(np.uint32, order="C"), np.ascontiguousarray(weight.T)))
    result = np.empty((len(data), *(len(i) for i in index)), np.float32) if out is None else out
    for one, target in zip(data, result, strict=True):
        # Halves pass as their bits: Numba does not know them.
        is_half = one.dtype == np.float16
        values = one.view(np.uint16) if is_half else one.astype(np.float32, copy=False)
        _resample(as_volume(values), tuple(made), target[(np.newaxis,) * (3 - target.ndim)])
    return result


@njit(cache=True, nogil=True)
def _resample(data: Any, taps: Any, result: Any) -> None:
    """Resample along z, y and x, always in this order; one plane and one row at a time."""
    (source_z, weight_z), (source_y, weight_y), (source_x, weight_x) = taps
    plane, row = np.empty(data.shape[1:], np.float32), np.empty(data.shape[2], np.float32)
    for z in range(result.shape[0]):
        for y in range(data.shape[1]):
            plane[y] = 0
            for tap in range(len(source_z)):
                _add(plane[y], data[source_z[tap, z], y], weight_z[tap, z])
        for y in range(result.shape[1]):
            row[:] = 0
            for tap in range(len(source_y)):
                _add(row, plane[source_y[tap, y]], weight_y[tap, y])
            result[z, y] = 0
            for tap in range(len(source_x)):
                _pick(result[z, y], row, source_x[tap], weight_x[tap])


@njit(cache=True, nogil=True)
def _add(total: Any, values: Any, weight: Any) -> None:
    for x in range(total.size):
        total[x] += _single(values[x]) * weight


@njit(cache=True, nogil=True)
def _pick(total: Any, values: Any, source: Any, weight: Any) -> None:
    for x in range(total.size):
        total[x] += values[source[x]] * weight[x]


def _single(value: Any) -> Any:
    """Return a value in single precision: one that is, or the bits of a half."""
    raise NotImplementedError  # compiled alone


@overload(_single)
def _compile_single(value: Any) -> Any:
    def as_it_is(value: Any) -> Any:
        return value

    def of_half(value: Any) -> Any:
        sign, rest = np.uint32(value & 0x8000) << 16, np.uint32(value & 0x7FFF) << 13
        if rest >= 0x0F800000:  # infinite, or no number
            return np.uint32(sign | rest | 0x7F800000).view(np.float32)
        # The exponents of halves begin 112 later.
        return np.uint32(sign | rest).view(np.float32) * np.float32(2.0**112)

    return as_it_is if value == types.float32 else of_half
