"""What can be done to labels, object by object, in any dimension.

Pure functions from integer labels to uint32 labels: 0 is background, ids are kept (only `relabel`
changes them), an object may lie in several pieces. Pieces hang together across corners, holes and
background only across faces. An axis of extent 1 is no dimension: one plane of a volume is treated
as the image it is. The edge of the image is no edge of an object. Distances are between voxel
centres, in the unit of `spacing`, the extent of a voxel per axis. Knows nothing of settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.ops import holes, pieces
from cellulus.ops.nearest import spread
from cellulus.ops.thresholds import otsu_by_group
from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellulus.space import Region

Labels = NDArray[np.uint32]

# Rounding must not decide whether a voxel at exactly the distance belongs.
_TOLERANCE = 1e-9


def relabel(labels: NDArray[Any]) -> Labels:
    """Renumber the objects 1, 2, ... in the order of their ids.

    Raises
    ------
    InputError
        If the array holds no ids: floats, negative numbers.
    """
    return _numbered(labels)[1].copy()


def grow(labels: NDArray[Any], distance: float, spacing: Sequence[float]) -> Labels:
    """Give background within `distance` of an object to the nearest; ties go to the smaller id.

    The result at a voxel depends on nothing farther away, so blocks with a halo of `distance`
    give the result of the whole.
    """
    _check_spacing(labels, spacing)
    known, dense = _numbered(labels)
    return spread(known[dense], distance**2 * (1 + _TOLERANCE), spacing)


def shrink(labels: NDArray[Any], distance: float, spacing: Sequence[float]) -> Labels:
    """Take from each object what lies within `distance` of its outside, neighbours included."""
    _check_spacing(labels, spacing)
    ids, dense = _numbered(labels)
    result = ids[dense]
    whole = pieces.find_pieces(dense, across_corners=True)[0]
    for number, box in enumerate(ndimage.find_objects(whole), start=1):
        wider = _widened(box, labels.shape)
        piece = whole[wider] == number
        result[wider][piece & ~_deep(piece, distance, spacing)] = 0
    return result


def shrink_foreground(labels: NDArray[Any], distance: float, spacing: Sequence[float]) -> Labels:
    """Take from the objects what lies within `distance` of the background.

    Touching objects keep their common border. `grow`, then this by as much, is a closing.
    """
    _check_spacing(labels, spacing)
    ids, dense = _numbered(labels)
    return np.where(_deep(dense > 0, distance, spacing), ids[dense], np.uint32(0))


def keep_largest(labels: NDArray[Any]) -> Labels:
    """Keep the largest piece of each object; of equal ones, the first in C order."""
    ids, dense = _numbered(labels)
    kept = dense.copy()
    pieces.keep_largest(as_volume(kept), ids.size)
    return ids[kept]


def fill_holes(labels: NDArray[Any]) -> Labels:
    """Give background that an object encloses to it: holes in an image, cavities in a volume.

    Other objects are never overwritten. Where one encloses another, the inner fills its own holes
    and the outer the space between.
    """
    if labels.dtype == np.uint32:  # ids may be any
        filled = labels.copy()
    else:
        ids, dense = _numbered(labels)
        filled = ids[dense]
    holes.fill(as_volume(filled))
    return filled


def keep_sizes(labels: NDArray[Any], smallest: float, largest: float = np.inf) -> Labels:
    """Keep objects of `smallest` to `largest` voxels, both inclusive, pieces counted together."""
    ids, dense = _numbered(labels)
    sizes = np.bincount(dense.ravel(), minlength=ids.size)
    return np.where((sizes >= smallest) & (sizes <= largest), ids, np.uint32(0))[dense]


def clear_border(labels: NDArray[Any]) -> Labels:
    """Drop the objects that touch the edge of the image."""
    ids, dense = _numbered(labels)
    ids = ids.copy()
    ids[_at_border(_without_thin_axes(dense))] = 0
    return ids[dense]


def brighter_part(labels: NDArray[Any], image: NDArray[Any]) -> Labels:
    """Keep of each object what is brighter than Otsu's threshold inside it.

    An object of one intensity stays whole. Not idempotent: what is left can be split again.

    Parameters
    ----------
    image
        Intensities, of the shape of the labels.

    Raises
    ------
    InputError
        If the shapes differ, or intensities inside objects are not finite.
    """
    if image.shape != labels.shape:
        raise InputError(
            "image",
            expected=f"the shape of the labels, {labels.shape}",
            found=f"shape {image.shape}",
        )
    ids, dense = _numbered(labels)
    where = np.flatnonzero(dense)
    groups, values = dense.ravel()[where], image.ravel()[where]
    bright = values > otsu_by_group(values, groups, ids.size)[groups]
    result = np.zeros(labels.shape, np.uint32)
    result.ravel()[where[bright]] = ids[groups[bright]]
    return result


def _numbered(labels: NDArray[Any]) -> tuple[Labels, Labels]:
    """Return the ids, ascending from 0 for background, and for each voxel its place among them.

    The places may be the labels themselves, and must not be written to.
    """
    if labels.dtype.kind not in "iub":
        raise InputError(
            "labels", expected="integer ids, 0 for background", found=f"an array of {labels.dtype}"
        )
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high >= 2**32:
        raise InputError(
            "labels",
            expected=f"ids from 0 to {2**32 - 1}",
            found=f"ids from {low} to {high}",
        )
    labels = labels.astype(np.uint32, copy=False)
    if high > labels.size:
        return _sorted(labels)
    exists = np.bincount(labels.ravel(), minlength=high + 1) > 0
    exists[0] = True
    ids = np.flatnonzero(exists).astype(np.uint32)
    if ids.size == exists.size:
        return ids, labels
    return ids, (np.cumsum(exists, dtype=np.uint32) - np.uint32(1))[labels]


def _sorted(labels: Labels) -> tuple[Labels, Labels]:
    """Return the same of ids too large for a table, by sorting those of runs, not of voxels."""
    flat = labels.ravel()
    starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    ids, place = np.unique(np.append(0, flat[starts]), return_inverse=True)
    lengths = np.diff(starts, append=flat.size)
    dense = np.repeat(place[1:].astype(np.uint32), lengths).reshape(labels.shape)
    return ids.astype(np.uint32), dense


def _deep(mask: NDArray[np.bool_], distance: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return the part of a mask farther than `distance` from its outside."""
    if mask.all():
        return mask
    # Objects may be of any width here, and SciPy's time does not grow with it.
    depth = ndimage.distance_transform_edt(mask, sampling=tuple(spacing))
    return np.asarray(depth > distance * (1 + _TOLERANCE))


def _at_border(regions: NDArray[Any]) -> NDArray[Any]:
    faces = [np.take(regions, [0, -1], axis).ravel() for axis in range(regions.ndim)]
    return np.unique(np.concatenate(faces)) if regions.size else regions.ravel()


def _without_thin_axes(array: Labels) -> Labels:
    return np.atleast_1d(array.squeeze())


def _widened(box: Region, shape: tuple[int, ...]) -> Region:
    """Return a box with one voxel more on each side: all that can be nearest to its inside."""
    return tuple(
        slice(max(part.start - 1, 0), min(part.stop + 1, n))
        for part, n in zip(box, shape, strict=True)
    )


def _check_spacing(labels: NDArray[Any], spacing: Sequence[float]) -> None:
    if len(spacing) != labels.ndim or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise InputError(
            "spacing",
            expected=f"{labels.ndim} positive extents, one per axis",
            found=str(tuple(spacing)),
        )
