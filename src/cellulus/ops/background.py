"""Where cells may be, told from the image alone: a rough foreground, not one cell from another.

Two classes of intensities, cells and background, share no threshold where dim and bright cells lie
side by side. So each voxel climbs to the summit near it, as far as an object is wide. A summit
above the image's limit (Otsu) that stands out of its surroundings is one of a cell, or one that a
marker lies on. The outline of a cell lies between two thresholds: the limit of the image, and the
middle between its summit and the background around it, which also holds in tissue that is brighter
than the limit. `graph_cut` draws it where neighbours
differ (`cellulus.ops.minimum_cut`), `otsu` knows the limit alone. Intensities count as their square
roots: light is counted, and its noise is then the same for dim and bright.

Cut into blocks: the limit is that of the whole image, from counts that add up over blocks. With
`reach` around it a block knows everything that the whole knows, but a minimum cut is not local:
where it is undecided over a long way the border of what is seen can show.

Source: ours; the cut after Boykov & Jolly 2001, doi:10.1109/ICCV.2001.937505. Images are
normalised, and on a grid where voxels are cubes. Knows nothing of files.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy import ndimage

from cellulus.errors import InputError
from cellulus.ops.minimum_cut import choose
from cellulus.ops.smoothing import CUT, smooth
from cellulus.ops.thresholds import otsu_of_histogram
from cellulus.ops.volume import as_volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FINE, COARSE, WIDE = 0.05, 0.15, 0.2
"""Standard deviation of the Gaussians for outlines, summits, background [object diameter]."""
STRIDE, STRIDES = 0.25, 4
"""How far a voxel looks for a higher one [object diameter], and how many times it moves there."""
AROUND = 0.75
"""Half the window whose least intensity is background [object diameter]."""
DARK = 0.02
"""Added before the square root is taken, which is too steep at 0 [range of percentiles]."""
CONTRAST = 0.1
"""A summit without a marker stands out by more [square root of intensity]."""
BINS = 1024
"""Of the histogram of square roots between 0 and 1; beyond counts as 1."""
SHARED = 2 / 3
"""How far the outline is from what its cell alone would ask for, towards the image's limit."""
LEAST = 0.35
"""An outline is higher, or in bright tissue everything around a cell would be in it [contrast]."""
TENSION = 0.04
"""Weight of the outline's length: of what a ball of the object diameter costs, by its gain."""
EDGE = 0.1
"""Neighbours that differ by more are hardly tied [contrast of their summit]."""
UNIT = 2**12
"""Steps that a gain of 1 is divided into."""


def reach(object_voxels: float) -> int:
    """Return how far around it a block must be seen, markers included: 3.3 diameters [voxel].

    Parameters
    ----------
    object_voxels
        Object diameter [voxel].
    """
    fine, coarse, wide, between = (
        _reach(part * object_voxels) for part in (FINE, COARSE, WIDE, 2 * FINE)
    )
    climb = STRIDES * math.floor(STRIDE * object_voxels)
    background = between + round(AROUND * object_voxels) + wide
    # A marker counts for all that climb to its summit. Half an object is for the cut itself.
    return fine + max(coarse + 2 * climb, background) + math.ceil(object_voxels / 2)


def survey(
    image: NDArray[np.float32], object_voxels: float, core: tuple[slice, ...] | None = None
) -> NDArray[np.int64]:
    """Count intensities, from which the limit between cells and background follows.

    Parameters
    ----------
    image
        ``(*S)``, normalised.
    object_voxels
        Object diameter [voxel].
    core
        The part of `image` that counts; by default all. Of an image cut into blocks, each should
        see `reach` around its core; counts of disjoint cores add up.

    Returns
    -------
    counts
        ``(BINS,)``.

    Raises
    ------
    InputError
        If intensities are not finite, or the diameter is not above 0.
    """
    _check(image, object_voxels)
    value = _value(image, object_voxels)[core if core is not None else ...]
    place = np.minimum((value * BINS).astype(np.int64), BINS - 1)
    return np.bincount(place.ravel(), minlength=BINS)


def limit_of(counts: NDArray[np.int64]) -> float:
    """Return the limit: cells are above it; all is background where all is equally bright.

    Parameters
    ----------
    counts
        Of the whole image, as `survey` counts them.
    """
    limit = otsu_of_histogram(counts, (np.arange(BINS) + 1) / BINS)
    return limit if math.isfinite(limit) else math.inf


def otsu(
    image: NDArray[np.float32], object_voxels: float, limit: float | None = None
) -> NDArray[np.bool_]:
    """Return where an image is above its limit.

    Parameters
    ----------
    image
        ``(*S)``, normalised.
    object_voxels
        Object diameter [voxel].
    limit
        Of the whole image; by default that of `image`.

    Returns
    -------
    foreground
        ``(*S)``.

    Raises
    ------
    InputError
        If intensities are not finite, or the diameter is not above 0.
    """
    _check(image, object_voxels)
    if limit is None:
        limit = limit_of(survey(image, object_voxels))
    found: NDArray[np.bool_] = _value(image, object_voxels) >= limit
    return found


def graph_cut(
    image: NDArray[np.float32],
    object_voxels: float,
    limit: float | None = None,
    markers: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return where cells may be: around bright summits, cut along edges.

    Parameters
    ----------
    image
        ``(*S)``, normalised; at most three axes.
    object_voxels
        Object diameter [voxel].
    limit
        Of the whole image; by default that of `image`.
    markers
        Voxels that are of cells for certain, ``(*S)``, if any are known. The summits they climb to
        are then those of cells, however dim; others may be so too.

    Returns
    -------
    foreground
        ``(*S)``.

    Raises
    ------
    InputError
        If intensities are not finite, the diameter is not above 0, or markers have another shape.
    """
    _check(image, object_voxels)
    if markers is not None and markers.shape != image.shape:
        raise InputError("markers", expected=f"shape {image.shape}", found=str(markers.shape))
    if limit is None:
        limit = limit_of(survey(image, object_voxels))
    value = _value(image, object_voxels)
    top, is_cell = _summits(value, object_voxels, markers)
    low = _background(value, object_voxels)
    height = np.maximum(top - low, np.float32(1 / BINS))
    is_bright = top >= limit
    is_cell |= is_bright & (height > CONTRAST)
    outline = (low + top) / 2
    outline[is_bright] += SHARED * (limit - outline[is_bright])
    np.maximum(outline, low + LEAST * height, out=outline)
    gain = np.where(is_cell, np.clip((value - outline) / height, -0.5, 0.5), -0.5)
    units = np.rint(UNIT * gain).astype(np.int32)
    if markers is not None:
        # More than all ties of a voxel together: nothing can outvote it.
        units[markers] = UNIT * math.ceil(object_voxels)
    return choose(units, _ties(value, height, object_voxels))


def _check(image: NDArray[np.float32], object_voxels: float) -> None:
    if not object_voxels > 0:
        raise InputError(
            "object_voxels", expected="a diameter above 0", found=repr(float(object_voxels))
        )
    if not np.isfinite(image).all():
        raise InputError(
            "image",
            expected="finite intensities",
            found="NaN or infinite ones",
            remedy="replace them (for example by 0) before conversion",
        )


def _reach(sigma: float) -> int:
    return int(CUT * sigma + 0.5)


def _value(image: NDArray[np.float32], object_voxels: float) -> NDArray[np.float32]:
    """Return the square roots of intensities, smoothed as much as outlines allow."""
    root = np.sqrt(np.maximum(image, 0, dtype=np.float32) + np.float32(DARK))
    return smooth(root, (FINE * object_voxels,) * image.ndim)


def _background(value: NDArray[np.float32], object_voxels: float) -> NDArray[np.float32]:
    """Return how bright it would be without cells: what is least around, smoothed."""
    even = smooth(value, (2 * FINE * object_voxels,) * value.ndim)
    least = ndimage.minimum_filter(even, size=2 * round(AROUND * object_voxels) + 1)
    return smooth(least, (WIDE * object_voxels,) * value.ndim)


def _summits(
    value: NDArray[np.float32], object_voxels: float, markers: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how high each voxel's summit is, and whether a marker climbs to it too."""
    relief = smooth(value, (COARSE * object_voxels,) * value.ndim)
    summit: NDArray[np.int64] = _climb(
        as_volume(relief), _ball(STRIDE * object_voxels, value.ndim), STRIDES
    )
    is_marked = np.zeros(value.size, np.bool_)
    if markers is not None:
        is_marked[summit[markers.ravel()]] = True
    top = relief.ravel()[summit].reshape(value.shape)
    return top, is_marked[summit].reshape(value.shape)


def _ball(radius: float, ndim: int) -> NDArray[np.int64]:
    """Return the offsets of a ball's voxels, nearest first, along three axes."""
    half = math.floor(radius)
    around = np.indices((2 * half + 1,) * ndim).reshape(ndim, -1).T - half
    squared = (around**2).sum(axis=1)
    order = np.argsort(squared, kind="stable")
    offsets = np.zeros((len(around), 3), np.int64)
    offsets[:, 3 - ndim :] = around
    inside: NDArray[np.int64] = offsets[order[squared[order] <= radius**2]]
    return inside


def _ties(
    value: NDArray[np.float32], height: NDArray[np.float32], object_voxels: float
) -> Sequence[NDArray[np.int32]]:
    """Return what an outline costs between neighbours: least where they differ most."""
    # A ball of diameter d has 2 * ndim / d faces per voxel. A plane is no volume.
    ndim = max(1, sum(n > 1 for n in value.shape))
    weight = UNIT * TENSION * object_voxels / (2 * ndim)
    ties = []
    for axis in range(value.ndim):
        least = np.diff(value, axis=axis) / EDGE
        pair = np.moveaxis(height, axis, 0)
        least /= np.moveaxis((pair[1:] + pair[:-1]) / 2, 0, axis)
        ties.append(np.rint(weight * np.exp(-0.5 * least**2)).astype(np.int32))
    return ties


@njit(cache=True, nogil=True)
def _climb(relief: Any, ball: Any, strides: int) -> Any:
    """Return the voxel that each reaches: with every stride, to the highest within the ball."""
    depth, height, width = relief.shape
    step = np.empty(relief.size, np.int64)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                highest, place = relief[z, y, x], (z * height + y) * width + x
                for k in range(len(ball)):
                    a, b, c = z + ball[k, 0], y + ball[k, 1], x + ball[k, 2]
                    inside = 0 <= a < depth and 0 <= b < height and 0 <= c < width
                    if inside and relief[a, b, c] > highest:
                        highest, place = relief[a, b, c], (a * height + b) * width + c
                step[(z * height + y) * width + x] = place
    reached = step.copy()
    for _ in range(strides - 1):
        for voxel in range(step.size):
            reached[voxel] = step[reached[voxel]]
    return reached
